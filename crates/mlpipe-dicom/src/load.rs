//! From a checked plan to voxels: decodes every slice, in parallel, into f32 modality units.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ndarray::Array3;
use rayon::prelude::*;

use crate::pixels::OpenImage;
use crate::{
    Error, Frame, Limits, Result, SeriesManifest, SourceSlice, Volume, VolumeGeometry, VolumePlan, scan_within,
};

/// Decodes the pixels of a plan into `[slice, row, column]` of the stored orientation: nothing is flipped.
///
/// Slices ascend along the normal of ImageOrientationPatient. MONOCHROME1 is not inverted: voxels are modality values,
/// presentation is the viewer's.
///
/// # Errors
/// When the plan is rejected, or a file cannot be read or its pixels not be decoded.
pub fn load_volume(plan: &VolumePlan) -> Result<Volume> {
    let Some(geometry) = plan.geometry.clone() else { return Err(refused(plan)) };
    let [slices, rows, columns] = geometry.shape;
    let mut voxels = vec![0.0_f32; slices * rows * columns];
    decode(plan, voxels.chunks_mut(rows * columns), |image, frame, slice| image.decode(frame, slice))?;
    let voxels = Array3::from_shape_vec(geometry.shape, voxels)
        .map_err(|error| Error::Argument { message: format!("shape of the volume: {error}") })?;
    Ok(Volume {
        sources: sources(plan, &geometry),
        geometry,
        voxels,
        series_instance_uid: plan.series_instance_uid.clone(),
        study_instance_uid: plan.study_instance_uid.clone(),
        modality: plan.modality.clone(),
    })
}

/// Decodes every slice of a plan and hands it on, `[row, column]`, in modality units, with its index. `take` is called
/// from several threads, in no order; not more than a few slices are in memory at a time.
///
/// # Errors
/// As [`load_volume`], and what `take` returns.
pub(crate) fn for_each_slice(plan: &VolumePlan, take: impl Fn(usize, &[f32]) -> Result<()> + Sync) -> Result<()> {
    let Some(geometry) = &plan.geometry else { return Err(refused(plan)) };
    let [_, rows, columns] = geometry.shape;
    let spare = Spare::default();
    decode(plan, 0.., |image, frame, index| {
        let mut slice: Vec<f32> = spare.take();
        slice.resize(rows * columns, 0.0);
        image.decode(frame, &mut slice)?;
        take(index, &slice)?;
        spare.put(slice);
        Ok(())
    })
}

/// Loads the one volume that the files of a manifest form, after checking that they are unchanged.
///
/// # Errors
/// When a file has changed, or the files form anything but one usable volume.
pub fn load_series(manifest: &SeriesManifest, limits: Limits) -> Result<Volume> {
    load_volume(&plan_series(manifest, limits)?)
}

/// Plans the one volume that the files of a manifest form, after checking that they are unchanged. Reads headers only.
///
/// # Errors
/// When a file has changed, or the files form anything but one volume.
pub fn plan_series(manifest: &SeriesManifest, limits: Limits) -> Result<VolumePlan> {
    manifest.verify()?;
    let paths: Vec<PathBuf> = manifest.instances.iter().map(|instance| instance.path.clone()).collect();
    let scan = scan_within(&paths, limits)?;
    let not_one =
        |message: String| Error::NotOneVolume { series_instance_uid: manifest.series_instance_uid.clone(), message };
    if let Some(file) = scan.rejected_files.first() {
        return Err(not_one(format!("`{}`: {} [{}]", file.path.display(), file.message, file.code)));
    }
    let mut plans: Vec<VolumePlan> = scan.series.into_iter().flat_map(|series| series.volumes).collect();
    match (plans.pop(), plans.len()) {
        (Some(plan), 0) if plan.series_instance_uid == manifest.series_instance_uid => Ok(plan),
        (Some(plan), 0) => Err(not_one(format!("the files are of series {}", plan.series_instance_uid))),
        (last, others) => {
            let volumes = others + usize::from(last.is_some());
            Err(not_one(format!("its files form {volumes} volumes, not one; select again")))
        }
    }
}

pub(crate) fn refused(plan: &VolumePlan) -> Error {
    let unknown = || crate::Problem::new("rejected", "the volume is rejected", "inspect the series");
    Error::Refused {
        series_instance_uid: plan.series_instance_uid.clone(),
        volume: plan.volume,
        problem: Box::new(plan.reason.clone().unwrap_or_else(unknown)),
    }
}

/// Opens every file once and calls `each` for each of its frames with what `targets` gives for that slice.
fn decode<T: Send>(
    plan: &VolumePlan,
    targets: impl Iterator<Item = T>,
    each: impl Fn(&OpenImage, &Frame, T) -> Result<()> + Sync,
) -> Result<()> {
    let mut files: BTreeMap<&Path, Vec<(&Frame, T)>> = BTreeMap::new();
    for (frame, target) in plan.frames.iter().zip(targets) {
        files.entry(frame.path()).or_default().push((frame, target));
    }
    let spare = Spare::default();
    files.into_values().collect::<Vec<_>>().into_par_iter().try_for_each(|frames| {
        let image = OpenImage::read(&frames[0].0.file, plan.limits, spare.take())?;
        frames.into_par_iter().try_for_each(|(frame, target)| each(&image, frame, target))?;
        spare.put(image.into_bytes());
        Ok(())
    })
}

/// Buffers that are not in use: fresh memory of a megabyte costs more than filling it.
struct Spare<T>(Mutex<Vec<Vec<T>>>);

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Spare(Mutex::default())
    }
}

impl<T> Spare<T> {
    fn take(&self) -> Vec<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, buffer: Vec<T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
    }
}

fn sources(plan: &VolumePlan, geometry: &VolumeGeometry) -> Vec<Option<SourceSlice>> {
    let source = |(slice, frame): (usize, &Frame)| {
        Some(SourceSlice {
            sop_instance_uid: frame.sop_instance_uid().to_owned(),
            shape: [geometry.shape[1], geometry.shape[2]],
            origin_lps: geometry.index_to_lps([slice as f64, 0.0, 0.0]),
            row_axis: geometry.row_axis,
            column_axis: geometry.column_axis,
            spacing_mm: [geometry.spacing_mm[1], geometry.spacing_mm[2]],
        })
    };
    plan.frames.iter().enumerate().map(source).collect()
}
