//! Step `detect-vertebrae`: a sagittal volume in, `vertebrae.json` and one entry per vertebra out.
//!
//! Which boxes there are is decided by `detector.rs`, which of them form bodies by `column.rs`, which level a body has
//! by `level.rs`. Here they are put together and written.

use std::path::{Path, PathBuf};
use std::time::Instant;

use mlpipe_dicom::Volume;
use mlpipe_infer::Model;
use mlpipe_report::{BoxOnSlice, VERTEBRAE_FORMAT, Vertebra, VertebraeDocument};
use ndarray::{Array3, s};
use serde::{Deserialize, Serialize};

use crate::boxes::Grids;
use crate::column::{Body, Column, SURE_SCORE, SliceGrid, column};
use crate::detector::{Detector, reference};
use crate::files::{create_directory, temporary_beside, write_error, write_json, write_npy};
use crate::image::Image;
use crate::level::{Evidence, Level, levels};
use crate::{Error, Result, Runtime, Summary};

/// Value of `format` in an entry's `vertebra.json`.
pub const VERTEBRA_FORMAT: &str = "mlpipe.vertebra/1";

/// Margin of a crop around the body, in the plane; across it, one more slice on either side.
const CROP_MARGIN_MM: f64 = 15.0;

/// What `detect-vertebrae` needs.
#[derive(Debug, Clone)]
pub struct Args {
    /// Folder with a `mlpipe.volume/1`.
    pub volume: PathBuf,
    /// Model directory of the detector.
    pub model: PathBuf,
    /// Score, 0..1, that the best box of a vertebra must reach.
    pub threshold: f64,
    /// Receives `vertebrae.json`, `vertebrae/` and `metrics.json`.
    pub output_dir: PathBuf,
    /// How the model is run.
    pub runtime: Runtime,
}

/// One entry of the collection `vertebrae/`: `vertebra.json`, beside `crop.npy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VertebraEntry {
    /// [`VERTEBRA_FORMAT`].
    pub format: String,
    /// Series that was read.
    pub series_instance_uid: String,
    /// The vertebra, as in `vertebrae.json`.
    pub vertebra: Vertebra,
    /// Slice, row and column of the volume at which the crop begins.
    pub crop_offset: [usize; 3],
    /// Slices, rows and columns of the crop: f32, modality units, voxels of the volume as read.
    pub crop_shape: [usize; 3],
}

/// What was found in one volume.
#[derive(Debug)]
pub struct Detection {
    /// The document.
    pub document: VertebraeDocument,
    /// One per vertebra of the document: its entry and the voxels around it, `[slice, row, column]`.
    pub entries: Vec<(VertebraEntry, Array3<f32>)>,
    /// Why nothing was found, or what was left out.
    pub notes: Vec<String>,
}

/// Runs the step.
///
/// # Errors
/// When an input is missing, damaged or of another kind, or an output cannot be written.
pub fn run(args: &Args) -> Result<Summary> {
    let mut model = args.runtime.open(&args.model)?;
    let start = Instant::now();
    let volume = Volume::load(&args.volume)?;
    let detection = detect(volume, &mut model, args.threshold, &args.volume)?;
    create_directory(&args.output_dir)?;
    let mut summary = Summary { notes: detection.notes.clone(), ..Summary::default() };
    summary.notes.extend(model.note().map(str::to_owned));
    write(&detection, &args.output_dir, &mut summary)?;
    summary.add_times(start, &model);
    summary.write_metrics(&args.output_dir)?;
    let (vertebrae, elapsed_ms) = (detection.entries.len(), start.elapsed().as_millis());
    tracing::info!(vertebrae, backend = model.backend(), elapsed_ms, "vertebrae detected");
    Ok(summary)
}

/// Finds the vertebrae of a volume; `path` is where it came from, for messages.
///
/// # Errors
/// When the volume is not sagittal and canonical, or the model does not keep its contract.
pub fn detect(volume: Volume, model: &mut Model, threshold: f64, path: &Path) -> Result<Detection> {
    check_threshold(threshold)?;
    let model_reference = reference(model)?;
    let mut detector = Detector::new(model)?;
    let image = Image::prepared(volume, detector.preparation, path)?;
    // Weaker boxes may continue a body, though they cannot found one.
    let boxes = detector.boxes(&image, threshold.min(detector.score_threshold))?;
    let grid = SliceGrid { geometry: &image.grids.resampled.geometry };
    let Column { bodies, stray_bodies } = column(boxes, grid, threshold);
    let levels = levels(&bodies.iter().map(evidence).collect::<Vec<Evidence>>());
    let grids = &image.grids;
    let series_instance_uid = grids.volume.series_instance_uid.clone();
    let numbered = bodies.iter().zip(levels).enumerate();
    let vertebrae: Vec<Vertebra> = numbered.map(|(index, (body, level))| vertebra(index, body, level, grids)).collect();
    let crop = |(body, vertebra): (&Body, &Vertebra)| entry(body, vertebra.clone(), grids);
    Ok(Detection {
        entries: bodies.iter().zip(&vertebrae).map(crop).collect(),
        notes: notes(vertebrae.len(), stray_bodies, threshold),
        document: VertebraeDocument {
            format: VERTEBRAE_FORMAT.to_owned(),
            series_instance_uid,
            model: model_reference,
            threshold,
            vertebrae,
        },
    })
}

pub(crate) fn check_threshold(threshold: f64) -> Result<()> {
    if (0.0..=1.0).contains(&threshold) {
        return Ok(());
    }
    let message = "it must lie within 0 and 1";
    Err(Error::Parameter { name: "threshold", value: threshold.to_string(), message })
}

fn evidence(body: &Body) -> Evidence {
    Evidence {
        l5: body.boxes.iter().map(|found| found.l5).collect(),
        s1: body.boxes.iter().map(|found| found.s1).collect(),
        center_lps: body.center_lps,
        height_mm: body.height_mm,
    }
}

fn notes(found: usize, stray_bodies: usize, threshold: f64) -> Vec<String> {
    let mut notes = Vec::new();
    if found == 0 {
        notes.push(format!(
            "no spine found: neither three bodies with a score of {threshold} stand above each other nor two of {SURE_SCORE}"
        ));
    }
    if stray_bodies > 0 {
        notes.push(format!("{stray_bodies} body-like shape(s) away from the spine were left out"));
    }
    notes
}

fn vertebra(index: usize, body: &Body, level: Level, grids: &Grids) -> Vertebra {
    let on_slice = |found: &crate::decode::SliceBox| BoxOnSlice {
        slice: found.slice,
        sop_instance_uid: grids.sop_instance_uid(found.slice),
        box_px: grids.in_document(found.slice, &found.edges),
        score: rounded(found.score, 1e6),
    };
    let key = on_slice(body.key_box());
    Vertebra {
        id: format!("v{}", index + 1),
        level: level.name,
        level_candidates: level.candidates,
        level_basis: level.basis,
        score: key.score,
        slice: key.slice,
        sop_instance_uid: key.sop_instance_uid,
        box_px: key.box_px,
        center_lps: body.center_lps.map(|millimetres| rounded(millimetres, 1e3)),
        slices: body.boxes.iter().map(on_slice).collect(),
    }
}

/// Keeps the noise of the last digits, which differs between runtimes, out of documents.
pub(crate) fn rounded(value: f64, digits: f64) -> f64 {
    (value * digits).round() / digits
}

fn entry(body: &Body, vertebra: Vertebra, grids: &Grids) -> (VertebraEntry, Array3<f32>) {
    let [first, last] = crop_bounds(body, grids);
    let part = s![first[0]..=last[0], first[1]..=last[1], first[2]..=last[2]];
    let crop = grids.volume.voxels.slice(part).to_owned();
    let entry = VertebraEntry {
        format: VERTEBRA_FORMAT.to_owned(),
        series_instance_uid: grids.volume.series_instance_uid.clone(),
        vertebra,
        crop_offset: first,
        crop_shape: [0, 1, 2].map(|axis| crop.shape()[axis]),
    };
    (entry, crop)
}

/// First and last voxel `[slice, row, column]` of the volume as read that belong to the crop.
fn crop_bounds(body: &Body, grids: &Grids) -> [[usize; 3]; 2] {
    let (volume, resampled) = (&grids.volume.geometry, &grids.resampled.geometry);
    let mut low = [f64::INFINITY; 3];
    let mut high = [f64::NEG_INFINITY; 3];
    for found in &body.boxes {
        for [x, y] in [[found.edges[0], found.edges[1]], [found.edges[2], found.edges[3]]] {
            let index = volume.lps_to_index(resampled.index_to_lps([found.slice as f64, y, x]));
            for axis in 0..3 {
                low[axis] = low[axis].min(index[axis]);
                high[axis] = high[axis].max(index[axis]);
            }
        }
    }
    let margin = [1.0, CROP_MARGIN_MM / volume.spacing_mm[1], CROP_MARGIN_MM / volume.spacing_mm[2]];
    let within = |axis: usize, index: f64| index.clamp(0.0, volume.shape[axis] as f64 - 1.0) as usize;
    [
        std::array::from_fn(|axis| within(axis, (low[axis] - margin[axis]).round())),
        std::array::from_fn(|axis| within(axis, (high[axis] + margin[axis]).round())),
    ]
}

fn write(detection: &Detection, directory: &Path, summary: &mut Summary) -> Result<()> {
    let collection = directory.join("vertebrae");
    write_collection(&detection.entries, &collection)?;
    let document = directory.join("vertebrae.json");
    write_json(&document, &detection.document)?;
    summary.outputs.extend([document, collection]);
    let vertebrae = &detection.document.vertebrae;
    summary.metric("vertebrae", vertebrae.len() as f64);
    summary.metric("labelled_vertebrae", vertebrae.iter().filter(|vertebra| vertebra.level.is_some()).count() as f64);
    if let Some(lowest) = vertebrae.iter().map(|vertebra| vertebra.score).reduce(f64::min) {
        summary.metric("lowest_score", lowest);
    }
    Ok(())
}

/// Writes all entries into a folder beside the collection, then puts it in the place of an older one.
fn write_collection(entries: &[(VertebraEntry, Array3<f32>)], collection: &Path) -> Result<()> {
    let temporary = temporary_beside(collection);
    create_directory(&temporary)?;
    for (entry, crop) in entries {
        let directory = temporary.join(&entry.vertebra.id);
        create_directory(&directory)?;
        write_npy(&directory.join("crop.npy"), crop)?;
        write_json(&directory.join("vertebra.json"), entry)?;
    }
    if collection.exists() {
        std::fs::remove_dir_all(collection).map_err(write_error(collection))?;
    }
    std::fs::rename(&temporary, collection).map_err(write_error(collection))
}
