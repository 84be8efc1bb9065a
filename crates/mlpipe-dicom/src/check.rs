//! Whether a group of planes is a sound volume: order, spacing, gaps, duplicates, tilt. Pure geometry on header values.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_object::StandardDataDictionary;

use crate::agree::{all_agree, oddities};
use crate::geometry::{dot, nearest_plane, norm, scale, subtract};
use crate::group::{Group, Slice, same_grid};
use crate::header::ImageFile;
use crate::limits::size_text;
use crate::{Frame, Limits, Problem, Status, VolumeGeometry, VolumePlan};

/// Slices nearer than this along the normal lie at the same position.
const SAME_POSITION_MM: f64 = 1e-3;
/// A step this many times the usual one means that a slice is missing.
const MISSING_SLICE_FACTOR: f64 = 1.5;
/// A slice this share of the spacing away from its place on an even grid is worth a warning.
const UNEVEN_WARN: f64 = 0.01;
/// A slice this share of the spacing away from its place on an even grid makes the volume unusable.
const UNEVEN_REJECT: f64 = 0.1;
/// Position rounding (mm) that never counts as uneven or tilted.
const POSITION_NOISE_MM: f64 = 0.01;
/// Sideways drift of the stack in pixels that is worth a warning.
const DRIFT_WARN_PX: f64 = 0.25;
/// Sideways drift of the stack in pixels that makes the volume unusable.
const DRIFT_REJECT_PX: f64 = 1.0;
/// Slices this many times their thickness apart may be every second slice of a complete series.
const SPARSE_FACTOR: f64 = 1.9;
/// No image plane lies farther than this from the origin of its frame of reference.
const FARTHEST_MM: f64 = 1e5;
/// Distinct values kept per attribute for selection.
const MOST_VALUES: usize = 16;
/// Fewer slices than this are rarely meant as a volume.
const FEW_SLICES: usize = 3;

/// Checks a group and turns it into a plan.
pub(crate) fn plan(mut group: Group, volume: usize, limits: Limits) -> VolumePlan {
    sort_slices(&mut group.slices);
    let checked = soundness(&group, limits);
    let mut warnings = std::mem::take(&mut group.warnings);
    let (geometry, reason) = match checked {
        Ok((geometry, found)) => {
            warnings.extend(found);
            (Some(geometry), None)
        }
        Err(problem) => (None, Some(*problem)),
    };
    let status = match (&reason, warnings.is_empty()) {
        (Some(_), _) => Status::Reject,
        (None, false) => Status::Warn,
        (None, true) => Status::Ok,
    };
    describe(group, volume, geometry, status, warnings, reason, limits)
}

/// Returns whether two slices of a group lie at the same position along their normal.
pub(crate) fn has_repeated_positions(slices: &[Slice]) -> bool {
    let Some(first) = slices.first() else { return false };
    let mut along: Vec<f64> = slices.iter().map(|slice| dot(slice.position(), first.geometry().normal())).collect();
    along.sort_by(f64::total_cmp);
    along.windows(2).any(|pair| pair[1] - pair[0] < SAME_POSITION_MM)
}

/// Returns whether two stacks on one grid fill each other's gaps evenly.
pub(crate) fn interleave(a: &[Slice], b: &[Slice]) -> bool {
    let (Some(first), Some(other)) = (a.first(), b.first()) else { return false };
    let count = a.len().abs_diff(b.len());
    if a.len() < 2 || b.len() < 2 || count > 1 || !same_grid(first.geometry(), other.geometry()) {
        return false;
    }
    let mut all = [a, b].concat();
    sort_slices(&mut all);
    let from_a = |slice: &Slice| a.iter().any(|of_a| of_a.position() == slice.position());
    let alternate = all.windows(2).all(|pair| from_a(&pair[0]) != from_a(&pair[1]));
    alternate && even_spacing(&all, &mut Vec::new()).is_ok()
}

/// Returns an attribute's text; empty when absent.
pub(crate) fn attribute(file: &ImageFile, keyword: &str) -> String {
    let tag = StandardDataDictionary.by_name(keyword).map(DataDictionaryEntry::tag);
    tag.and_then(|tag| file.attributes.get(tag)).unwrap_or_default().to_owned()
}

fn sort_slices(slices: &mut [Slice]) {
    let Some(normal) = slices.first().map(|slice| slice.geometry().normal()) else { return };
    slices.sort_by(|a, b| {
        dot(a.position(), normal)
            .total_cmp(&dot(b.position(), normal))
            .then_with(|| a.file.source.sop_instance_uid.cmp(&b.file.source.sop_instance_uid))
            .then_with(|| a.plane().number.cmp(&b.plane().number))
            .then_with(|| a.file.source.path.cmp(&b.file.source.path))
    });
}

pub(crate) type Checked<T> = Result<T, Box<Problem>>;

/// Runs all checks; the first that refuses ends them.
fn soundness(group: &Group, limits: Limits) -> Checked<(VolumeGeometry, Vec<Problem>)> {
    if let Some(trouble) = group.troubled.iter().find_map(|file| file.trouble.as_ref()) {
        return Err(Box::new(trouble.problem().clone()));
    }
    let slices = &group.slices;
    let mut warnings: Vec<Problem> = files(group).iter().flat_map(|file| file.warnings.clone()).collect();
    believable_size(slices, limits)?;
    all_agree(slices)?;
    believable_place(slices)?;
    if attribute(&slices[0].file, "ImageType").split('\\').any(|value| value == "LOCALIZER") {
        warnings.push(localizer(slices));
    }
    let spacing = match slices.len() {
        1 => single_slice_spacing(&slices[0], &mut warnings)?,
        _ => {
            no_duplicates(slices)?;
            let spacing = even_spacing(slices, &mut warnings)?;
            no_drift(slices, &mut warnings)?;
            few_slices(slices, &mut warnings);
            spacing_as_claimed(slices, spacing, &mut warnings);
            thin_slices(slices, spacing, &mut warnings);
            spacing
        }
    };
    warnings.extend(oddities(slices));
    Ok((grid(slices, spacing), warnings))
}

fn grid(slices: &[Slice], spacing: f64) -> VolumeGeometry {
    let first = slices[0].geometry();
    let format = &slices[0].file.source.pixel_format;
    VolumeGeometry {
        shape: [slices.len(), format.rows, format.columns],
        origin_lps: first.position,
        slice_axis: first.normal(),
        row_axis: first.row_axis,
        column_axis: first.column_axis,
        spacing_mm: [spacing, first.spacing_mm[0], first.spacing_mm[1]],
    }
}

pub(crate) fn path(slice: &Slice) -> &Path {
    &slice.file.source.path
}

pub(crate) fn refuse<T>(problem: Problem) -> Checked<T> {
    Err(Box::new(problem))
}

fn believable_size(slices: &[Slice], limits: Limits) -> Checked<()> {
    let format = &slices[0].file.source.pixel_format;
    let bytes = slices.len() as u128 * format.pixels() * 4;
    if bytes <= u128::from(limits.memory) {
        return Ok(());
    }
    let message = format!(
        "{} slices of Rows {} and Columns {} need {} where {} are allowed",
        slices.len(),
        format.rows,
        format.columns,
        size_text(bytes),
        size_text(limits.memory.into())
    );
    let cure = "check Rows and Columns, split the series, or allow more with --max-memory";
    refuse(Problem::new("too_large", message, cure).in_file(path(&slices[0])))
}

/// Positions of metres come from damaged numbers, and arithmetic on them loses the millimetres.
fn believable_place(slices: &[Slice]) -> Checked<()> {
    let far = |slice: &&Slice| slice.position().iter().any(|value| value.abs() > FARTHEST_MM);
    match slices.iter().find(far) {
        None => Ok(()),
        Some(slice) => {
            let message = format!("ImagePositionPatient (0020,0032) is {:?}, metres away", slice.position());
            refuse(Problem::new("bad_position", message, "export the series again").in_file(path(slice)))
        }
    }
}

fn localizer(slices: &[Slice]) -> Problem {
    Problem::new("localizer", "ImageType says LOCALIZER: a scout image", "choose another series for analysis")
        .in_file(path(&slices[0]))
}

/// A single image has no neighbour: its thickness is all that is known.
fn single_slice_spacing(slice: &Slice, warnings: &mut Vec<Problem>) -> Checked<f64> {
    let geometry = slice.geometry();
    let Some(spacing) = geometry.spacing_between_slices_mm.or(geometry.thickness_mm) else {
        let message = "one slice, and neither SpacingBetweenSlices (0018,0088) nor SliceThickness (0018,0050)";
        let problem = Problem::new("single_slice", message, "export the series with its slice thickness");
        return refuse(problem.in_file(path(slice)));
    };
    let message = format!("one slice; its extent of {spacing} mm is taken from the header, not from positions");
    warnings.push(Problem::new("single_slice", message, "check that the series is complete").in_file(path(slice)));
    Ok(spacing)
}

fn few_slices(slices: &[Slice], warnings: &mut Vec<Problem>) {
    if slices.len() < FEW_SLICES {
        let message = format!("only {} slices", slices.len());
        warnings.push(Problem::new("few_slices", message, "check that the series is complete"));
    }
}

fn along(slices: &[Slice]) -> Vec<f64> {
    let normal = slices[0].geometry().normal();
    slices.iter().map(|slice| dot(subtract(slice.position(), slices[0].position()), normal)).collect()
}

fn no_duplicates(slices: &[Slice]) -> Checked<()> {
    let along = along(slices);
    match along.windows(2).position(|pair| pair[1] - pair[0] < SAME_POSITION_MM) {
        None => Ok(()),
        Some(index) => {
            let message = format!(
                "ImagePositionPatient (0020,0032) puts it where `{}` is, and nothing tells the two apart",
                path(&slices[index]).display()
            );
            let cure = "remove the copy, or split the series by acquisition";
            refuse(Problem::new("duplicate_position", message, cure).in_file(path(&slices[index + 1])))
        }
    }
}

/// Returns the spacing of the even grid from first to last slice.
fn even_spacing(slices: &[Slice], warnings: &mut Vec<Problem>) -> Checked<f64> {
    let along = along(slices);
    let steps: Vec<f64> = along.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let usual = median(&steps);
    if let Some(index) = steps.iter().position(|step| *step > MISSING_SLICE_FACTOR * usual) {
        let message = format!(
            "ImagePositionPatient (0020,0032) is {:.3} mm after `{}` where steps are {usual:.3} mm: slices are missing",
            steps[index],
            path(&slices[index]).display()
        );
        let problem = Problem::new("missing_slice", message, "export the complete series");
        return refuse(problem.in_file(path(&slices[index + 1])));
    }
    let spacing = along[along.len() - 1] / steps.len() as f64;
    let off = |index: usize| (along[index] - spacing * index as f64).abs();
    let worst = (0..along.len()).max_by(|a, b| off(*a).total_cmp(&off(*b))).unwrap_or(0);
    if off(worst) > (UNEVEN_WARN * spacing).max(POSITION_NOISE_MM) {
        let message =
            format!("ImagePositionPatient (0020,0032) is {:.3} mm off an even spacing of {spacing:.3} mm", off(worst));
        let cure = "export the original series, or resample it to even spacing";
        let problem = Problem::new("uneven_spacing", message, cure).in_file(path(&slices[worst]));
        if off(worst) > UNEVEN_REJECT * spacing {
            return refuse(problem);
        }
        warnings.push(problem);
    }
    Ok(spacing)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[(sorted.len() - 1) / 2]
}

/// Positions must lie on the normal through the first; a tilted gantry or sheared stack drifts sideways.
fn no_drift(slices: &[Slice], warnings: &mut Vec<Problem>) -> Checked<()> {
    let normal = slices[0].geometry().normal();
    let sideways = |slice: &Slice| {
        let offset = subtract(slice.position(), slices[0].position());
        norm(subtract(offset, scale(normal, dot(offset, normal))))
    };
    let worst = slices.iter().max_by(|a, b| sideways(a).total_cmp(&sideways(b))).unwrap_or(&slices[0]);
    let [rows, columns] = slices[0].geometry().spacing_mm;
    let (drift, pixel) = (sideways(worst), rows.min(columns));
    if drift <= (DRIFT_WARN_PX * pixel).max(POSITION_NOISE_MM) {
        return Ok(());
    }
    let message = format!(
        "ImagePositionPatient (0020,0032) drifts {drift:.3} mm sideways ({:.2} degrees from the normal of \
         ImageOrientationPatient): the stack is tilted",
        drift.atan2(dot(subtract(worst.position(), slices[0].position()), normal)).to_degrees()
    );
    let problem = Problem::new("tilted_stack", message, "reformat the series without gantry tilt").in_file(path(worst));
    if drift > DRIFT_REJECT_PX * pixel {
        return refuse(problem);
    }
    warnings.push(problem);
    Ok(())
}

/// Every second slice missing leaves an even grid: only the header can tell.
fn spacing_as_claimed(slices: &[Slice], spacing: f64, warnings: &mut Vec<Problem>) {
    let Some(claimed) = slices[0].geometry().spacing_between_slices_mm else { return };
    if (claimed - spacing).abs() > UNEVEN_REJECT * claimed {
        let message = format!("positions are {spacing:.3} mm apart but SpacingBetweenSlices (0018,0088) is {claimed}");
        let problem = Problem::new("spacing_disagrees", message, "check that the series is complete");
        warnings.push(problem.in_file(path(&slices[0])));
    }
}

/// Evenly missing slices, and no SpacingBetweenSlices to tell: slices much thinner than their distance hint at it.
fn thin_slices(slices: &[Slice], spacing: f64, warnings: &mut Vec<Problem>) {
    let geometry = slices[0].geometry();
    let Some(thickness) = geometry.thickness_mm.filter(|_| geometry.spacing_between_slices_mm.is_none()) else {
        return;
    };
    if spacing > SPARSE_FACTOR * thickness {
        let message = format!("positions are {spacing:.3} mm apart but SliceThickness (0018,0050) is {thickness}");
        let problem = Problem::new("sparse_slices", message, "check that the series is complete");
        warnings.push(problem.in_file(path(&slices[0])));
    }
}

fn files(group: &Group) -> Vec<Arc<ImageFile>> {
    let mut seen = HashSet::new();
    let all = group.slices.iter().map(|slice| &slice.file).chain(&group.troubled);
    all.filter(|file| seen.insert(Arc::as_ptr(file))).cloned().collect()
}

fn describe(
    group: Group,
    volume: usize,
    geometry: Option<VolumeGeometry>,
    status: Status,
    warnings: Vec<Problem>,
    reason: Option<Problem>,
    limits: Limits,
) -> VolumePlan {
    let files = files(&group);
    let first = &files[0];
    let plane = group.slices.first().map(|slice| nearest_plane(slice.geometry().normal()));
    let format = group.slices.first().map_or(&first.source.pixel_format, |slice| &slice.file.source.pixel_format);
    let in_plane = group.slices.first().map(|slice| slice.geometry().spacing_mm);
    let syntaxes: BTreeSet<&String> = files.iter().map(|file| &file.source.transfer_syntax).collect();
    VolumePlan {
        series_instance_uid: first.series_instance_uid.clone(),
        study_instance_uid: first.study_instance_uid.clone(),
        modality: first.modality.clone(),
        volume,
        split_by: group.split_by.clone(),
        plane: plane.map(|(plane, _)| plane),
        obliquity_deg: plane.map(|(_, angle)| angle),
        shape: [group.slices.len().max(files.len()), format.rows, format.columns],
        spacing_mm: [
            geometry.as_ref().map(|geometry| geometry.spacing_mm[0]),
            in_plane.map(|spacing| spacing[0]),
            in_plane.map(|spacing| spacing[1]),
        ],
        geometry,
        frames: group.slices.iter().map(frame).collect(),
        limits,
        instances: files.len(),
        transfer_syntaxes: syntaxes.into_iter().cloned().collect(),
        monochrome1: files.iter().any(|file| file.monochrome1),
        status,
        warnings,
        reason,
        attributes: distinct_values(&files),
    }
}

fn frame(slice: &Slice) -> Frame {
    Frame {
        file: slice.file.source.clone(),
        number: slice.plane().number,
        slope: slice.plane().slope,
        intercept: slice.plane().intercept,
    }
}

/// Returns the distinct values of every attribute over the files, by keyword, the first few of them; the empty text
/// where a file has none.
fn distinct_values(files: &[Arc<ImageFile>]) -> BTreeMap<String, Vec<String>> {
    let mut values: BTreeMap<Tag, (usize, BTreeSet<&str>)> = BTreeMap::new();
    for (tag, value) in files.iter().flat_map(|file| file.attributes.iter()) {
        let (files, distinct) = values.entry(tag).or_default();
        *files += 1;
        distinct.insert(value);
        if distinct.len() > MOST_VALUES {
            distinct.pop_last();
        }
    }
    let keyword = |tag| Some(StandardDataDictionary.by_tag(tag)?.alias().to_owned());
    let listed = values.into_iter().map(|(tag, (with, distinct))| {
        let none = (with < files.len()).then_some("");
        (tag, none.into_iter().chain(distinct).take(MOST_VALUES).map(str::to_owned).collect())
    });
    listed.filter_map(|(tag, values)| Some((keyword(tag)?, values))).collect()
}
