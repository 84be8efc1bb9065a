//! Files and folders in, series of checked volume plans out. Reads headers only, in parallel; the result does not
//! depend on file names or on the order in which files are found.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::group::group_into_series;
use crate::header::{FileKind, Trouble, read_header};
use crate::{Error, Frame, Limits, Plane, Problem, RejectedFile, Result, Status, VolumeGeometry};

/// What was found under some paths.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    /// Series, sorted by SeriesInstanceUID.
    pub series: Vec<Series>,
    /// DICOM files that cannot be used, sorted by path.
    pub rejected_files: Vec<RejectedFile>,
    /// How many files are not DICOM (or a DICOMDIR).
    pub other_files: usize,
}

/// The instances that share a SeriesInstanceUID.
#[derive(Debug, Clone)]
pub struct Series {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// Modality, such as `MR`; empty when the files do not say.
    pub modality: String,
    /// SeriesDescription; empty when the files do not say.
    pub series_description: String,
    /// Number of image files.
    pub instances: usize,
    /// The volumes the series falls into.
    pub volumes: Vec<VolumePlan>,
}

/// A volume that can be loaded, or the reason why not. Made by [`scan`].
#[derive(Debug, Clone)]
pub struct VolumePlan {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// Modality, such as `MR`.
    pub modality: String,
    /// Which volume of the series, from 0.
    pub volume: usize,
    /// What told this volume from the others of its series, such as `EchoTime 98`; empty when there is only one.
    pub split_by: Vec<String>,
    /// The plane nearest to the slices; none when the orientation is unknown.
    pub plane: Option<Plane>,
    /// Angle between the slices and that plane in degrees.
    pub obliquity_deg: Option<f64>,
    /// Number of slices, rows, columns.
    pub shape: [usize; 3],
    /// Distance between slices, rows, columns, as far as it is known.
    pub spacing_mm: [Option<f64>; 3],
    /// The grid; none when rejected.
    pub geometry: Option<VolumeGeometry>,
    /// The stored images in slice order; files that could not be placed are not among them.
    pub frames: Vec<Frame>,
    /// Bounds on memory that loading keeps.
    pub(crate) limits: Limits,
    /// Number of files.
    pub instances: usize,
    /// Transfer syntax UIDs of the files, sorted.
    pub transfer_syntaxes: Vec<String>,
    /// PhotometricInterpretation is MONOCHROME1: low values are meant to be shown bright. Voxels are not inverted.
    pub monochrome1: bool,
    /// Whether the volume can be used.
    pub status: Status,
    /// What should be looked at.
    pub warnings: Vec<Problem>,
    /// Why it is rejected; none unless `status` is reject.
    pub reason: Option<Problem>,
    /// Values of the text and number attributes by keyword: the distinct values over all instances.
    pub(crate) attributes: BTreeMap<String, Vec<String>>,
}

impl VolumePlan {
    /// Returns whether the volume can be loaded.
    pub fn is_usable(&self) -> bool {
        self.status != Status::Reject
    }

    /// Returns the distinct files, in order of their first slice.
    pub fn files(&self) -> Vec<&Path> {
        let mut seen = std::collections::HashSet::new();
        self.frames.iter().map(Frame::path).filter(|path| seen.insert(*path)).collect()
    }
}

/// Reads the headers of all DICOM files under `paths` and groups them into checked volumes.
///
/// # Errors
/// When one of `paths` itself cannot be read. Unreadable DICOM files below are listed in
/// [`Scan::rejected_files`] instead.
pub fn scan(paths: &[PathBuf]) -> Result<Scan> {
    scan_within(paths, Limits::default())
}

/// As [`scan`], with other bounds on memory.
///
/// # Errors
/// As [`scan`].
pub fn scan_within(paths: &[PathBuf], limits: Limits) -> Result<Scan> {
    let mut rejected_files = Vec::new();
    let files = files_under(paths, &mut rejected_files)?;
    let kinds: Vec<FileKind> =
        files.par_iter().map_init(Vec::new, |buffer, path| read_header(path, limits, buffer)).collect();
    let mut images = Vec::new();
    let mut other_files = 0;
    for kind in kinds {
        match kind {
            FileKind::Other => other_files += 1,
            FileKind::Rejected(file) => rejected_files.push(file),
            FileKind::Image(image) => {
                if let Some(Trouble::Damage(problem)) = &image.trouble {
                    rejected_files.push(problem.clone().into_rejected_file(&image.source.path));
                }
                images.push(*image);
            }
        }
    }
    rejected_files.sort_by(|a, b| a.path.cmp(&b.path));
    let series = group_into_series(images, limits);
    tracing::debug!(
        files = files.len(),
        series = series.len(),
        rejected = rejected_files.len(),
        other_files,
        "scanned"
    );
    Ok(Scan { series, rejected_files, other_files })
}

/// Returns every file under the paths once, however often paths or links lead to it, sorted.
pub(crate) fn files_under(paths: &[PathBuf], rejected: &mut Vec<RejectedFile>) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut visited = BTreeSet::new();
    for path in paths {
        let real = path.canonicalize().map_err(|source| Error::Read { path: path.clone(), source })?;
        let mut folders = Vec::new();
        if real.is_dir() {
            folders.push((path.clone(), real));
        } else if !real.is_file() {
            return Err(Error::Read { path: path.clone(), source: no_file() });
        } else {
            files.push((real.into_os_string(), path.clone()));
        }
        while let Some((folder, real)) = folders.pop() {
            if !visited.insert(real.clone()) {
                continue;
            }
            let listed = std::fs::read_dir(&folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
            let entries = match listed {
                Ok(entries) => entries,
                Err(source) if folder == *path => return Err(Error::Read { path: folder, source }),
                Err(error) => {
                    rejected.push(unreadable(&folder, &error));
                    continue;
                }
            };
            for entry in entries {
                match kind(&entry, &real) {
                    Ok((real, true)) => folders.push((entry.path(), real)),
                    Ok((real, false)) => files.push((real.into_os_string(), entry.path())),
                    Err(error) => rejected.push(unreadable(&entry.path(), &error)),
                }
            }
        }
    }
    // Of several paths to one file the first in order is told, whatever the order in which they are found.
    files.sort();
    files.dedup_by(|(later, _), (kept, _)| later == kept);
    let mut files: Vec<PathBuf> = files.into_iter().map(|(_, path)| path).collect();
    files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(files)
}

/// Returns the real path of a folder's entry, and whether it is a folder. Only links cost a look at the disk. Pipes and
/// devices are refused: reading them may never end.
fn kind(entry: &std::fs::DirEntry, folder: &Path) -> std::io::Result<(PathBuf, bool)> {
    let kind = entry.file_type()?;
    if kind.is_dir() || kind.is_file() {
        return Ok((folder.join(entry.file_name()), kind.is_dir()));
    }
    let real = entry.path().canonicalize()?;
    match real.metadata()? {
        found if found.is_dir() => Ok((real, true)),
        found if found.is_file() => Ok((real, false)),
        _ => Err(no_file()),
    }
}

fn no_file() -> std::io::Error {
    std::io::Error::other("it is neither a file nor a folder")
}

fn unreadable(path: &Path, error: &std::io::Error) -> RejectedFile {
    RejectedFile {
        path: path.to_path_buf(),
        code: "unreadable_file".into(),
        message: format!("it cannot be read: {error}; check its permissions and links"),
    }
}
