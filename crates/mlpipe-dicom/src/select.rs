//! Choosing volumes by rules, with the reason for every choice and every omission. Pure: looks at the scan alone.

use std::collections::HashSet;
use std::path::Path;

use serde::Serialize;

use crate::{Plane, RejectedFile, Scan, SelectionRules, Series, VolumePlan};

/// What rules choose from a scan.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Selection {
    /// Chosen volumes, sorted by SeriesInstanceUID, then volume.
    pub chosen: Vec<ChosenSeries>,
    /// The others, sorted the same way.
    pub left_out: Vec<LeftOut>,
    /// DICOM files that could not be used.
    pub rejected_files: Vec<RejectedFile>,
}

/// A chosen volume of a series.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChosenSeries {
    /// Key of the item: the SeriesInstanceUID, with `-v1` and so on added where a series gives several volumes.
    pub key: String,
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Which volume of the series.
    pub volume: usize,
    /// Why it was chosen.
    pub why: String,
    /// Its plane.
    pub plane: Plane,
    /// Number of files.
    pub instances: usize,
    /// Index into [`Scan::series`].
    #[serde(skip)]
    pub series_index: usize,
}

impl ChosenSeries {
    /// Returns the plan in the scan the selection was made from.
    pub fn plan<'scan>(&self, scan: &'scan Scan) -> Option<&'scan VolumePlan> {
        let series: &Series = scan.series.get(self.series_index)?;
        series.volumes.get(self.volume)
    }
}

/// A volume that was not chosen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LeftOut {
    /// SeriesInstanceUID.
    pub series_instance_uid: String,
    /// Which volume of the series.
    pub volume: usize,
    /// Its plane, if known.
    pub plane: Option<Plane>,
    /// Stable code.
    pub code: String,
    /// What the rule asks and what the volume has.
    pub reason: String,
}

/// Chooses the usable volumes of `scan` that match `rules`.
///
/// A refused volume is left out with the code of its refusal. A volume whose file also holds another volume cannot be
/// handed on as a list of files, and is left out as `several_volumes_in_one_file`.
pub fn select(scan: &Scan, rules: &SelectionRules) -> Selection {
    let mut selection = Selection { rejected_files: scan.rejected_files.clone(), ..Selection::default() };
    for (series_index, series) in scan.series.iter().enumerate() {
        let shared = files_in_several_volumes(series);
        for plan in &series.volumes {
            match judge(plan, rules, &shared) {
                Ok((why, plane)) => selection.chosen.push(chosen(plan, series, series_index, why, plane)),
                Err((code, reason)) => selection.left_out.push(LeftOut {
                    series_instance_uid: plan.series_instance_uid.clone(),
                    volume: plan.volume,
                    plane: plan.plane,
                    code,
                    reason,
                }),
            }
        }
    }
    selection
}

fn chosen(plan: &VolumePlan, series: &Series, series_index: usize, why: String, plane: Plane) -> ChosenSeries {
    let key = match series.volumes.len() {
        1 => plan.series_instance_uid.clone(),
        _ => format!("{}-v{}", plan.series_instance_uid, plan.volume),
    };
    ChosenSeries {
        key,
        series_instance_uid: plan.series_instance_uid.clone(),
        volume: plan.volume,
        why,
        plane,
        instances: plan.instances,
        series_index,
    }
}

fn judge(
    plan: &VolumePlan,
    rules: &SelectionRules,
    shared: &HashSet<&Path>,
) -> Result<(String, Plane), (String, String)> {
    if let Some(problem) = &plan.reason {
        return Err((problem.code.clone(), problem.to_string()));
    }
    let fits = rules.matches(plan).map_err(|(code, reason)| (code.to_owned(), reason))?;
    let Some(plane) = plan.plane else {
        return Err(("plane".into(), "its plane is unknown".into()));
    };
    if let Some(path) = plan.files().into_iter().find(|path| shared.contains(path)) {
        let reason = format!("`{}` also holds another volume of the series", path.display());
        return Err(("several_volumes_in_one_file".into(), reason));
    }
    let mut why = if fits.is_empty() { "no rule excludes it".to_owned() } else { fits.join(", ") };
    for warning in &plan.warnings {
        why.push_str(&format!("; warning: {} [{}]", warning.message, warning.code));
    }
    Ok((why, plane))
}

fn files_in_several_volumes(series: &Series) -> HashSet<&Path> {
    let mut seen = HashSet::new();
    let files = series.volumes.iter().filter(|plan| plan.is_usable()).flat_map(VolumePlan::files);
    files.filter(|path| !seen.insert(*path)).collect()
}
