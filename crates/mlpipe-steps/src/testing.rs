//! Small volumes whose geometry is known by construction.

use mlpipe_dicom::{SourceSlice, Volume, VolumeGeometry};
use ndarray::Array3;

/// A sagittal volume in canonical orientation, zero everywhere, without stored images.
pub(crate) fn sagittal_volume(shape: [usize; 3], slice_spacing_mm: f64, pixel_mm: f64) -> Volume {
    let geometry = VolumeGeometry {
        shape,
        origin_lps: [0.0, 0.0, 0.0],
        slice_axis: [1.0, 0.0, 0.0],
        row_axis: [0.0, 0.0, -1.0],
        column_axis: [0.0, 1.0, 0.0],
        spacing_mm: [slice_spacing_mm, pixel_mm, pixel_mm],
    };
    Volume {
        geometry,
        voxels: Array3::zeros(shape),
        sources: vec![None; shape[0]],
        series_instance_uid: "1.2.3".to_owned(),
        study_instance_uid: "1.2".to_owned(),
        modality: "MR".to_owned(),
    }
}

/// Gives every slice a stored image of the same pixels that begins `columns_before` columns earlier.
pub(crate) fn with_sources(mut volume: Volume, columns_before: f64) -> Volume {
    let geometry = volume.geometry.clone();
    let [slices, rows, columns] = geometry.shape;
    let source = |slice: usize| SourceSlice {
        sop_instance_uid: format!("1.2.3.{slice}"),
        shape: [rows, columns + columns_before as usize],
        origin_lps: geometry.index_to_lps([slice as f64, 0.0, -columns_before]),
        row_axis: geometry.row_axis,
        column_axis: geometry.column_axis,
        spacing_mm: [geometry.spacing_mm[1], geometry.spacing_mm[2]],
    };
    volume.sources = (0..slices).map(|slice| Some(source(slice))).collect();
    volume
}
