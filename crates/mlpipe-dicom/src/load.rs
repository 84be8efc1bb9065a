//! From a checked plan to voxels: decodes every slice, in parallel, into f32 modality units.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Array3;
use rayon::prelude::*;

use crate::{Error, Frame, Result, SeriesManifest, SourceSlice, Volume, VolumeGeometry, VolumePlan, pixels, scan};

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
    by_file(&plan.frames, voxels.chunks_mut(rows * columns))
        .into_par_iter()
        .try_for_each(|frames| pixels::decode_file(&frames[0].0.file, frames, plan.limits))?;
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

/// Loads the one volume that the files of a manifest form, after checking that they are unchanged.
///
/// # Errors
/// When a file has changed, or the files form anything but one usable volume.
pub fn load_series(manifest: &SeriesManifest) -> Result<Volume> {
    load_volume(&plan_series(manifest)?)
}

/// Plans the one volume that the files of a manifest form, after checking that they are unchanged. Reads headers only.
///
/// # Errors
/// When a file has changed, or the files form anything but one volume.
pub fn plan_series(manifest: &SeriesManifest) -> Result<VolumePlan> {
    manifest.verify()?;
    let paths: Vec<PathBuf> = manifest.instances.iter().map(|instance| instance.path.clone()).collect();
    let scan = scan(&paths)?;
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

/// Pairs frames with their voxels, frames of one file together so that it is read once.
fn by_file<'a>(
    frames: &'a [Frame],
    slices: impl Iterator<Item = &'a mut [f32]>,
) -> Vec<Vec<(&'a Frame, &'a mut [f32])>> {
    let mut files: BTreeMap<&Path, Vec<(&Frame, &mut [f32])>> = BTreeMap::new();
    for (frame, voxels) in frames.iter().zip(slices) {
        files.entry(frame.path()).or_default().push((frame, voxels));
    }
    files.into_values().collect()
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
