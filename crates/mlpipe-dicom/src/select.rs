//! Choosing volumes by rules, with the reason for every choice and every omission. Pure: looks at the scan alone.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde::Serialize;

use crate::{Plane, Preference, RejectedFile, Scan, SelectionRules, Series, VolumePlan};

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
    if let Some(preference) = rules.prefer {
        keep_preferred(&mut selection, scan, preference);
    }
    selection
}

/// Keeps one volume of each study and leaves the others out, saying to which they lost and by what.
fn keep_preferred(selection: &mut Selection, scan: &Scan, preference: Preference) {
    let mut best: BTreeMap<&str, (Rank, ChosenSeries)> = BTreeMap::new();
    let mut lost = Vec::new();
    for chosen in std::mem::take(&mut selection.chosen) {
        let Some(plan) = chosen.plan(scan) else { continue };
        let rank = Rank::of(plan, preference);
        match best.entry(&plan.study_instance_uid) {
            Entry::Vacant(entry) => drop(entry.insert((rank, chosen))),
            Entry::Occupied(mut entry) if rank.number > entry.get().0.number => {
                lost.push((entry.insert((rank, chosen)), plan))
            }
            Entry::Occupied(_) => lost.push(((rank, chosen), plan)),
        }
    }
    for ((rank, chosen), plan) in lost {
        let (winning, winner) = &best[plan.study_instance_uid.as_str()];
        let equal = if winning.number == rank.number { ", which comes first" } else { "" };
        let reason = format!("it has {}; {} of the same study has {}{equal}", rank.text, winner.key, winning.text);
        selection.left_out.push(LeftOut {
            series_instance_uid: chosen.series_instance_uid,
            volume: chosen.volume,
            plane: Some(chosen.plane),
            code: "not_preferred".into(),
            reason,
        });
    }
    selection.left_out.sort_by(|a, b| (&a.series_instance_uid, a.volume).cmp(&(&b.series_instance_uid, b.volume)));
    selection.chosen = best
        .into_values()
        .map(|(_, mut chosen)| {
            chosen.why.push_str(&format!(", preferred as {}", preference.as_str()));
            chosen
        })
        .collect();
    selection.chosen.sort_by(|a, b| (&a.series_instance_uid, a.volume).cmp(&(&b.series_instance_uid, b.volume)));
}

/// How good a volume is, higher being better, and in words.
struct Rank {
    number: f64,
    text: String,
}

impl Rank {
    fn of(plan: &VolumePlan, preference: Preference) -> Self {
        match preference {
            Preference::Largest => Rank { number: plan.shape[0] as f64, text: format!("{} slices", plan.shape[0]) },
            Preference::Thinnest => {
                let spacing = plan.spacing_mm[0].unwrap_or(f64::MAX);
                Rank { number: -spacing, text: format!("{spacing:.3} mm between slices") }
            }
            Preference::Newest => newest(plan),
        }
    }
}

/// Ranks by date and time; a volume without a date comes last.
fn newest(plan: &VolumePlan) -> Rank {
    let value =
        |keyword: &str| plan.attributes.get(keyword).and_then(|values| values.last()).filter(|value| !value.is_empty());
    let moment = |name: &str| {
        let date = value(&format!("{name}Date"))?;
        let time = value(&format!("{name}Time")).map_or("0", |time| time.as_str());
        let number = date.parse::<f64>().ok()? * 1e6 + time.parse::<f64>().ok()?;
        Some(Rank { number, text: format!("{name}Date {date}, {name}Time {time}") })
    };
    let found = ["Series", "Acquisition", "Content"].into_iter().find_map(moment);
    found.unwrap_or(Rank { number: f64::NEG_INFINITY, text: "no date".into() })
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
