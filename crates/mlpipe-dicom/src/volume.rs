//! A volume in memory: voxels in modality units, their place in the patient, and the stored images behind them.

use ndarray::Array3;
use serde::{Deserialize, Serialize};

use crate::VolumeGeometry;
use crate::geometry::{add, dot, scale, subtract};

/// The stored image behind a slice, placed as the volume places it.
///
/// The position agrees with the file's own ImagePositionPatient to within the tolerances of [`scan`](crate::scan).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceSlice {
    /// SOPInstanceUID of the file.
    pub sop_instance_uid: String,
    /// Rows and columns of the stored image.
    pub shape: [usize; 2],
    /// Centre of the stored pixel at row 0, column 0 (LPS, mm).
    pub origin_lps: [f64; 3],
    /// Unit vector along which the stored row index increases.
    pub row_axis: [f64; 3],
    /// Unit vector along which the stored column index increases.
    pub column_axis: [f64; 3],
    /// Distance between stored rows, and between stored columns.
    pub spacing_mm: [f64; 2],
}

/// A volume: f32 voxels `[slice, row, column]` in modality units on a grid in patient coordinates.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume {
    /// The grid.
    pub geometry: VolumeGeometry,
    /// `[slice, row, column]`, modality units (HU for CT, arbitrary for MR).
    pub voxels: Array3<f32>,
    /// The stored image behind each slice; none where the slice was interpolated.
    pub sources: Vec<Option<SourceSlice>>,
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// Modality, such as `MR`.
    pub modality: String,
}

impl Volume {
    /// Returns `[column, row]` in the stored image of a pixel of this volume, both with pixel centres at integers.
    ///
    /// None when the slice does not exist or was interpolated. Points outside the image give numbers outside it.
    pub fn source_px(&self, slice: usize, column: f64, row: f64) -> Option<[f64; 2]> {
        let source = self.sources.get(slice)?.as_ref()?;
        let offset = subtract(self.geometry.index_to_lps([slice as f64, row, column]), source.origin_lps);
        Some([
            dot(offset, source.column_axis) / source.spacing_mm[1],
            dot(offset, source.row_axis) / source.spacing_mm[0],
        ])
    }

    /// Returns `[column, row]` in this volume of a pixel of the stored image: the inverse of [`source_px`](Self::source_px).
    pub fn volume_px(&self, slice: usize, source_column: f64, source_row: f64) -> Option<[f64; 2]> {
        let source = self.sources.get(slice)?.as_ref()?;
        let along_columns = scale(source.column_axis, source_column * source.spacing_mm[1]);
        let along_rows = scale(source.row_axis, source_row * source.spacing_mm[0]);
        let [_, row, column] = self.geometry.lps_to_index(add(source.origin_lps, add(along_columns, along_rows)));
        Some([column, row])
    }
}
