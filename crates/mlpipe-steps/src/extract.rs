//! Step `extract-plane`: a series in, its volume in the wanted plane out, in canonical orientation.
//!
//! A series that already has the plane keeps its slices (pixels are resampled in the plane when their size differs);
//! another plane is reformatted where the geometry allows it and refused where most of the picture would be invented.
//! Both are decided by mlpipe-dicom.

use std::path::{Path, PathBuf};

use mlpipe_dicom::{
    Limits, Plane, SeriesManifest, Volume, VolumePlan, load_series, load_volume, plan_series, scan_within,
};

use crate::files::create_directory;
use crate::{Error, Result, Summary};

/// What `extract-plane` needs.
#[derive(Debug, Clone)]
pub struct Args {
    /// A series manifest (`mlpipe.series/1`), a DICOM file, or a folder with exactly one usable volume.
    pub series: PathBuf,
    /// Wanted plane.
    pub plane: Plane,
    /// Wanted size of a pixel in the plane.
    pub spacing_mm: f64,
    /// Bounds on the memory that the stored volume takes.
    pub limits: Limits,
    /// Receives `volume/` (`mlpipe.volume/1`) and `metrics.json`.
    pub output_dir: PathBuf,
}

/// Runs the step.
///
/// # Errors
/// When the series cannot be read as one volume, the plane cannot be had, or an output cannot be written.
pub fn run(args: &Args) -> Result<Summary> {
    check_spacing(args.spacing_mm)?;
    let stored = load(&args.series, args.limits)?;
    let native = stored.geometry.plane() == args.plane;
    let volume = in_plane(&stored, args.plane, args.spacing_mm)?;
    let directory = args.output_dir.join("volume");
    create_directory(&args.output_dir)?;
    volume.save(&directory)?;
    let mut summary = Summary { outputs: vec![directory], ..Summary::default() };
    if !native {
        let plane = stored.geometry.plane();
        summary.notes.push(format!("the series is {plane}: its {} slices are interpolated", args.plane));
    }
    let [slices, rows, columns] = volume.geometry.shape;
    summary.metric("slices", slices as f64);
    summary.metric("rows", rows as f64);
    summary.metric("columns", columns as f64);
    summary.metric("obliquity_deg", crate::detect::rounded(volume.geometry.obliquity_deg(), 1e3));
    summary.write_metrics(&args.output_dir)?;
    Ok(summary)
}

/// Returns the volume cut in `plane` with pixels of `spacing_mm`, in canonical orientation.
///
/// # Errors
/// When the volume's geometry does not allow the plane.
pub fn in_plane(stored: &Volume, plane: Plane, spacing_mm: f64) -> Result<Volume> {
    if stored.geometry.plane() == plane {
        return Ok(stored.canonical().resampled_in_plane(spacing_mm));
    }
    Ok(stored.reformatted(plane, spacing_mm)?.canonical())
}

/// Returns the one volume of a manifest, a file or a folder, within `limits`.
///
/// # Errors
/// When there is none, or more than one.
pub fn load(series: &Path, limits: Limits) -> Result<Volume> {
    if is_manifest(series) {
        return Ok(load_series(&SeriesManifest::load(series)?, limits)?);
    }
    Ok(load_volume(&only_plan(series, limits)?)?)
}

/// Returns the plan of that volume without reading pixels, and the digest of its content.
pub(crate) fn plan(series: &Path, limits: Limits) -> Result<(VolumePlan, [u8; 32])> {
    if is_manifest(series) {
        let manifest = SeriesManifest::load(series)?;
        return Ok((plan_series(&manifest, limits)?, manifest.digest()));
    }
    let plan = only_plan(series, limits)?;
    let digest = SeriesManifest::of(&plan)?.digest();
    Ok((plan, digest))
}

fn only_plan(series: &Path, limits: Limits) -> Result<VolumePlan> {
    let found = scan_within(&[series.to_owned()], limits)?;
    let plans: Vec<&VolumePlan> = found.series.iter().flat_map(|series| &series.volumes).collect();
    let usable: Vec<&VolumePlan> = plans.iter().copied().filter(|plan| plan.is_usable()).collect();
    match usable[..] {
        [plan] => Ok(plan.clone()),
        [] => Err(Error::unsuitable(series, no_volume(&plans, found.rejected_files.len()))),
        _ => {
            let list: Vec<String> = usable.iter().map(|plan| describe(plan)).collect();
            let message =
                format!("it holds {} volumes; give the folder of one of them: {}", list.len(), list.join(", "));
            Err(Error::unsuitable(series, message))
        }
    }
}

pub(crate) fn is_manifest(path: &Path) -> bool {
    path.is_file() && path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"))
}

fn no_volume(plans: &[&VolumePlan], rejected_files: usize) -> String {
    let reasons: Vec<String> = plans.iter().filter_map(|plan| Some(plan.reason.as_ref()?.to_string())).collect();
    match (reasons.is_empty(), rejected_files) {
        (false, _) => format!("it holds no usable volume: {}", reasons.join("; ")),
        (true, 0) => "it holds no DICOM images".to_owned(),
        (true, count) => format!("it holds no usable volume: {count} file(s) cannot be read as DICOM images"),
    }
}

fn describe(plan: &VolumePlan) -> String {
    let plane = plan.plane.map_or("unknown plane".to_owned(), |plane| plane.to_string());
    format!("{} volume {} ({plane}, {} slices)", plan.series_instance_uid, plan.volume, plan.shape[0])
}

fn check_spacing(spacing_mm: f64) -> Result<()> {
    // A slice of 500 mm at 0.05 mm is 10,000 pixels wide; beyond 20 mm no anatomy is left.
    if (0.05..=20.0).contains(&spacing_mm) {
        return Ok(());
    }
    let message = "it must lie within 0.05 and 20 mm";
    Err(Error::Parameter { name: "spacing_mm", value: spacing_mm.to_string(), message })
}
