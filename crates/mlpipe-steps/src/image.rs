//! A volume as the models see it: square pixels of a known size, grey values 0..1.

use std::path::Path;

use mlpipe_dicom::{Plane, Volume, VolumeGeometry};
use ndarray::Array3;

use crate::boxes::Grids;
use crate::intensity::{normalise, percentiles};
use crate::{Error, Result};

/// Slices of a sagittal volume, ready for a model.
#[derive(Debug)]
pub(crate) struct Image {
    /// The volume as read, and on the model's pixels with grey values 0..1.
    pub(crate) grids: Grids,
}

/// How a model was trained to see a volume.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Preparation {
    /// Size of a pixel.
    pub(crate) spacing_mm: f64,
    /// Percentiles, 0..=100, that become 0 and 1.
    pub(crate) percentiles: [f64; 2],
}

impl Preparation {
    /// Reads `input_spacing_mm` (1 mm when it is not there) and `input_percentiles`.
    pub(crate) fn of(metadata: &mlpipe_infer::Metadata) -> Result<Preparation> {
        let spacing_mm = metadata.get("input_spacing_mm").map_or(Ok(1.0), |_| metadata.number("input_spacing_mm"))?;
        if spacing_mm <= 0.0 {
            return Err(metadata.refuse("input_spacing_mm", "must be above 0").into());
        }
        match metadata.numbers("input_percentiles")?[..] {
            [low, high] if 0.0 <= low && low < high && high <= 100.0 => {
                Ok(Preparation { spacing_mm, percentiles: [low, high] })
            }
            _ => Err(metadata.refuse("input_percentiles", "must be two rising numbers within 0 and 100").into()),
        }
    }
}

impl Image {
    /// Prepares a volume that must be sagittal and in canonical orientation; `path` is for messages.
    pub(crate) fn prepared(volume: Volume, preparation: Preparation, path: &Path) -> Result<Image> {
        check_orientation(&volume.geometry).map_err(|message| Error::unsuitable(path, message))?;
        let mut grids = Grids::new(volume, preparation.spacing_mm);
        let range = percentiles(&grids.resampled.voxels, preparation.percentiles);
        let range = range.ok_or_else(|| Error::unsuitable(path, "no voxel of the volume is a finite number"))?;
        normalise(&mut grids.resampled.voxels, range);
        Ok(Image { grids })
    }

    /// `[slice, row, column]`, 0..1.
    pub(crate) fn voxels(&self) -> &Array3<f32> {
        &self.grids.resampled.voxels
    }
}

fn check_orientation(geometry: &VolumeGeometry) -> std::result::Result<(), String> {
    if geometry.plane() != Plane::Sagittal {
        let plane = geometry.plane();
        return Err(format!(
            "the model reads sagittal slices and this volume is {plane}; extract the plane `sagittal`"
        ));
    }
    let (down, back) = (-geometry.row_axis[2], geometry.column_axis[1]);
    if down < std::f64::consts::FRAC_1_SQRT_2 || back < std::f64::consts::FRAC_1_SQRT_2 {
        return Err(
            "rows must run from head to feet and columns from front to back; extract the plane again".to_owned()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sagittal_volume;

    const AS_TRAINED: Preparation = Preparation { spacing_mm: 1.0, percentiles: [0.0, 100.0] };

    fn refusal(volume: Volume) -> String {
        Image::prepared(volume, AS_TRAINED, Path::new("volume")).expect_err("it is refused").to_string()
    }

    #[test]
    fn grey_values_span_0_to_1() {
        let mut volume = sagittal_volume([2, 3, 4], 4.0, 1.0);
        volume.voxels[[0, 0, 0]] = 50.0;
        volume.voxels[[1, 2, 3]] = 200.0;
        let image = Image::prepared(volume, AS_TRAINED, Path::new("volume")).expect("it is usable");
        assert_eq!((image.voxels()[[0, 0, 0]], image.voxels()[[1, 2, 3]], image.voxels()[[0, 1, 1]]), (0.25, 1.0, 0.0));
    }

    #[test]
    fn other_planes_are_refused_with_the_cure() {
        let mut volume = sagittal_volume([2, 3, 4], 4.0, 1.0);
        volume.geometry.slice_axis = [0.0, 0.0, 1.0];
        volume.geometry.row_axis = [0.0, 1.0, 0.0];
        volume.geometry.column_axis = [1.0, 0.0, 0.0];
        assert!(refusal(volume).ends_with("this volume is axial; extract the plane `sagittal`"));
    }

    #[test]
    fn turned_slices_are_refused() {
        let mut volume = sagittal_volume([2, 3, 4], 4.0, 1.0);
        volume.geometry.row_axis = [0.0, 0.0, 1.0];
        assert!(refusal(volume).contains("rows must run from head to feet"));
    }

    #[test]
    fn volumes_without_numbers_are_refused() {
        let mut volume = sagittal_volume([2, 3, 4], 4.0, 1.0);
        volume.voxels.fill(f32::NAN);
        assert!(refusal(volume).contains("no voxel"));
    }
}
