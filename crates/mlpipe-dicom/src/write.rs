//! The document of `mlpipe dicom volume`: volumes written as `.npy` or NIfTI, one refused volume not stopping the others.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::nifti::DataType;
use crate::store::{little_endian, npy_header, write_slices};
use crate::{
    Error, Limits, RejectedFile, Result, Scan, VolumeEntry, VolumePlan, load, load_volume, nifti, scan_within,
};

/// What `mlpipe dicom volume --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VolumesDocument {
    /// The volumes written.
    pub volumes: Vec<WrittenVolume>,
    /// The volumes refused; when there is any, `mlpipe dicom volume` exits with 4.
    pub refused: Vec<RefusedVolume>,
    /// DICOM files that cannot be used.
    pub rejected_files: Vec<RejectedFile>,
}

/// A volume and the file it was written to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WrittenVolume {
    /// The file.
    pub path: PathBuf,
    /// The volume, as in the inspect document.
    #[serde(flatten)]
    pub volume: VolumeEntry,
}

/// A volume that was refused.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RefusedVolume {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Which volume of the series.
    pub volume: usize,
    /// Stable code.
    pub code: String,
    /// What is wrong, with file and cure.
    pub message: String,
}

/// Writes every usable volume under `paths` as f32 `.npy` `[slice, row, column]` into the folder `out`.
///
/// Voxels are in modality units in the stored orientation, slices ascending along the normal of
/// ImageOrientationPatient. Files are named by SeriesInstanceUID and volume number.
///
/// # Errors
/// When a path cannot be read or a file not written. A refused volume is not an error: it is in
/// [`VolumesDocument::refused`], and the others are still written.
pub fn write_volumes(paths: &[PathBuf], out: &Path, limits: Limits) -> Result<VolumesDocument> {
    let scan = scan_within(paths, limits)?;
    std::fs::create_dir_all(out).map_err(|source| Error::Write { path: out.to_path_buf(), source })?;
    let mut document = empty_document(&scan);
    for plan in scan.series.iter().flat_map(|series| &series.volumes) {
        add(&mut document, plan, &out.join(file_name(plan)))?;
    }
    Ok(document)
}

/// Writes one volume of one series to the file `out`: f32 `.npy` `[slice, row, column]`, or NIfTI-1 (`.nii`, `.nii.gz`) of
/// the same voxels with their place in RAS, as int16 where every value is a whole number that fits.
///
/// # Errors
/// When `out` does not end in `.npy`, `.nii` or `.nii.gz`, there is no such series or volume, `volume` is none and the series has several,
/// or a file cannot be read or written. A refused volume is not an error: it is in [`VolumesDocument::refused`].
pub fn write_volume(
    paths: &[PathBuf],
    series: &str,
    volume: Option<usize>,
    out: &Path,
    limits: Limits,
) -> Result<VolumesDocument> {
    let name = out.to_string_lossy();
    if ![".npy", ".nii", ".nii.gz"].iter().any(|ending| name.ends_with(ending)) {
        let message = format!("`{}`: volumes are written as .npy, .nii or .nii.gz", out.display());
        return Err(Error::Argument { message });
    }
    let scan = scan_within(paths, limits)?;
    let plan = find(&scan, series, volume)?;
    let mut document = empty_document(&scan);
    add(&mut document, plan, out)?;
    Ok(document)
}

fn empty_document(scan: &Scan) -> VolumesDocument {
    VolumesDocument { volumes: Vec::new(), refused: Vec::new(), rejected_files: scan.rejected_files.clone() }
}

fn find<'scan>(scan: &'scan Scan, uid: &str, volume: Option<usize>) -> Result<&'scan VolumePlan> {
    let not_found = |message: String| Error::NotFound { message };
    let series = scan.series.iter().find(|series| series.series_instance_uid == uid);
    let series =
        series.ok_or_else(|| not_found(format!("series {uid} is not among the {} found", scan.series.len())))?;
    let count = series.volumes.len();
    match volume {
        None if count > 1 => Err(not_found(format!("series {uid} has {count} volumes; name one, 0 to {}", count - 1))),
        _ => {
            let index = volume.unwrap_or(0);
            let plan = series.volumes.get(index);
            plan.ok_or_else(|| not_found(format!("series {uid} has no volume {index}; it has {count}, counted from 0")))
        }
    }
}

/// Writes a volume, or says why not. Only failing to write ends the whole.
fn add(document: &mut VolumesDocument, plan: &VolumePlan, path: &Path) -> Result<()> {
    match write_plan(plan, path) {
        Ok(()) => document.volumes.push(WrittenVolume { path: path.to_path_buf(), volume: VolumeEntry::of(plan) }),
        Err(error @ Error::Write { .. }) => return Err(error),
        Err(error) => document.refused.push(refused(plan, &error)),
    }
    Ok(())
}

/// Writes slice after slice as they are decoded; only what is compressed as a whole is in memory as a whole.
fn write_plan(plan: &VolumePlan, path: &Path) -> Result<()> {
    let Some(geometry) = &plan.geometry else { return Err(load::refused(plan)) };
    let slices = |write: &(dyn Fn(usize, &[f32]) -> Result<()> + Sync)| load::for_each_slice(plan, write);
    let data_type = DataType::of(plan);
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => nifti::write_gz(path, &load_volume(plan)?, data_type),
        Some("nii") => {
            let failed =
                |message: String| Error::Write { path: path.to_path_buf(), source: std::io::Error::other(message) };
            let header = nifti::header(geometry, data_type).map_err(failed)?;
            write_slices(path, &header, |voxels| data_type.encode(voxels), slices)
        }
        _ => write_slices(path, &npy_header(geometry.shape), little_endian, slices),
    }
}

fn refused(plan: &VolumePlan, error: &Error) -> RefusedVolume {
    let (code, message) = match error {
        Error::Refused { problem, .. } => (problem.code.clone(), problem.to_string()),
        Error::Pixels { code, .. } => (code.clone(), error.to_string()),
        Error::Changed { .. } => ("file_changed".to_owned(), error.to_string()),
        _ => ("unreadable_file".to_owned(), error.to_string()),
    };
    RefusedVolume { series_instance_uid: plan.series_instance_uid.clone(), volume: plan.volume, code, message }
}

/// Returns the file name of a volume. A UID comes from a file and may be anything: only digits, letters, `.` and `-`
/// stay, and a UID that had to be changed gets a digest so that two cannot meet.
fn file_name(plan: &VolumePlan) -> String {
    const LONGEST: usize = 64;
    let uid = &plan.series_instance_uid;
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let mut stem: String = uid.chars().filter(allowed).take(LONGEST).collect();
    if stem != *uid || stem.starts_with('.') {
        stem = format!("series-{}-{}", &blake3::hash(uid.as_bytes()).to_hex()[..16], stem.trim_start_matches('.'));
    }
    format!("{stem}-v{}.npy", plan.volume)
}
