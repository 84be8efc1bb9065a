//! A synthetic lumbar MR study as DICOM, with its truth: for trying a pipeline without anybody's images.
//!
//! A seed decides the anatomy (curvature, sizes, contrast, where Schmorl's nodes lie) and the pose; the same seed gives the
//! same bytes on every platform. A study holds one oblique sagittal T2-weighted series, which is what a pipeline should
//! choose, and a localizer and a short axial series, which it should leave out.
//!
//! `arithmetic` has numbers that do not depend on the platform; `anatomy`, `vertebra` and `node` the shapes; `tissue` and
//! `spine` the signals; `image` the planes and pixels; `dicom` the files; `truth` what a reader should find.

mod anatomy;
mod arithmetic;
mod canvas;
mod dicom;
mod image;
mod node;
mod spine;
mod tissue;
mod truth;
mod vertebra;

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;

use self::dicom::Identity;
use self::image::{Series, Study};

/// Which phantom to write, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhantomOptions {
    /// Decides everything: anatomy, pose, noise and UIDs.
    pub seed: u64,
    /// Folder that gets `studies/phantom-SEED/*.dcm`, `truth_vertebrae.json` and `truth_schmorl.json`. Truth files of
    /// another phantom that lie there are replaced.
    pub output: PathBuf,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhantomSummary {
    /// Folder of the DICOM files.
    pub study: PathBuf,
    /// Truth in the format that vertebra detections are scored with.
    pub truth_vertebrae: PathBuf,
    /// Truth in the format that findings are scored with.
    pub truth_schmorl: PathBuf,
    /// StudyInstanceUID.
    pub study_instance_uid: String,
    /// The series: sagittal, axial, localizer.
    pub series: Vec<PhantomSeries>,
    /// Levels whose bodies lie wholly in the sagittal images, from head to foot.
    pub levels: Vec<String>,
    /// The nodes, from head to foot.
    pub nodes: Vec<PhantomNode>,
}

/// A series that was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhantomSeries {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// SeriesDescription.
    pub description: String,
    /// Number of files.
    pub instances: usize,
}

/// A Schmorl's node of the phantom.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PhantomNode {
    /// Level, as in `L3`.
    pub level: String,
    /// `superior` or `inferior`.
    pub endplate: String,
    /// InstanceNumber of the image that shows it best.
    pub instance: usize,
    /// Extent along the endplate on that image.
    pub width_mm: f64,
    /// Extent into the body on that image.
    pub depth_mm: f64,
}

/// Why a phantom could not be written.
#[derive(Debug, thiserror::Error)]
pub enum PhantomError {
    /// A file or folder could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A DICOM object could not be put into bytes.
    #[error("{}: {message}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

/// Writes the phantom of a seed. The same seed gives the same bytes on every platform.
///
/// ```no_run
/// use mlpipe_steps::phantom::{PhantomOptions, write_phantom};
///
/// let summary = write_phantom(&PhantomOptions { seed: 1, output: "testdata".into() })?;
/// assert_eq!(summary.series.len(), 3);
/// # Ok::<(), mlpipe_steps::phantom::PhantomError>(())
/// ```
///
/// # Errors
/// When a file cannot be written.
pub fn write_phantom(options: &PhantomOptions) -> Result<PhantomSummary, PhantomError> {
    let study = Study::new(options.seed);
    let folder = options.output.join("studies").join(format!("phantom-{}", options.seed));
    std::fs::create_dir_all(&folder).map_err(|source| PhantomError::Write { path: folder.clone(), source })?;
    let mut series = Vec::new();
    for kind in dicom::KINDS {
        let images = kind.series(&study);
        let identity = Identity::new(options.seed, kind);
        write_series(&study, images, &identity, &folder)?;
        series.push(PhantomSeries {
            series_instance_uid: identity.series_instance_uid.clone(),
            description: kind.description().to_owned(),
            instances: images.slices.len(),
        });
    }
    let truth = truth::Truth::of(&study);
    let truth_vertebrae = options.output.join("truth_vertebrae.json");
    let truth_schmorl = options.output.join("truth_schmorl.json");
    write(&truth_vertebrae, &json_bytes(&truth.vertebrae_document()))?;
    write(&truth_schmorl, &json_bytes(&truth.schmorl_document()))?;
    Ok(PhantomSummary {
        study: folder,
        truth_vertebrae,
        truth_schmorl,
        study_instance_uid: dicom::study_instance_uid(options.seed),
        series,
        levels: truth.levels(),
        nodes: truth.nodes(),
    })
}

/// Writes one series, slices in parallel.
fn write_series(study: &Study, images: &Series, identity: &Identity, folder: &Path) -> Result<(), PhantomError> {
    images.slices.par_iter().enumerate().try_for_each(|(index, slice)| {
        let path = folder.join(identity.file_name(index));
        let pixels = study.pixels(images, slice);
        let bytes = dicom::encode(study, images, identity, index, &pixels)
            .map_err(|message| PhantomError::Encode { path: path.clone(), message })?;
        write(&path, &bytes)
    })
}

/// Writes a file by way of a temporary name, so that a reader never sees half of it.
fn write(path: &Path, bytes: &[u8]) -> Result<(), PhantomError> {
    let temporary = path.with_extension("part");
    std::fs::write(&temporary, bytes)
        .and_then(|()| std::fs::rename(&temporary, path))
        .map_err(|source| PhantomError::Write { path: path.to_owned(), source })
}

fn json_bytes(document: &serde_json::Value) -> Vec<u8> {
    let mut text = format!("{document:#}");
    text.push('\n');
    text.into_bytes()
}

#[cfg(test)]
mod tests;
