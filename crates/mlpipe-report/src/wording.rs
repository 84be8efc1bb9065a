//! What every document of a report says in the same words, as plain text: HTML, PDF, key images and DICOM add their own
//! dress.

use std::fmt;

use crate::report::{Report, Verdict};
use crate::{Endplate, Vertebra};

/// What must be said on every page.
pub(crate) const NOTICE: &str = "Research use only - not a medical device";

/// Returns the result in one sentence: what stands out, and the rest, which begins with a space.
pub(crate) fn result(report: &Report) -> (String, String) {
    let vertebrae = report.input.vertebrae.vertebrae.len();
    let endplates = count(report.examined.len(), "endplate", "endplates");
    if vertebrae == 0 {
        let threshold = report.input.vertebrae.threshold;
        return (
            "No spine found.".into(),
            format!(" No column of vertebral bodies reached the score of {threshold:.2}."),
        );
    }
    let bodies = count(vertebrae, "vertebra", "vertebrae");
    let unclear = report.examined.iter().filter(|examined| examined.verdict == Verdict::NotLocalised).count();
    match (report.examined.len(), report.findings.len()) {
        (0, 0) => (format!("{bodies} found."), " No endplate was examined for Schmorl's nodes.".into()),
        (_, 0) if unclear > 0 => (
            "No Schmorl's node localised".into(),
            format!(
                " on {endplates} of {bodies}, but the probability of {} reaches the threshold.",
                count(unclear, "endplate", "endplates")
            ),
        ),
        (_, 0) => ("No Schmorl's node found".into(), format!(" on {endplates} of {bodies}.")),
        (_, found) => {
            let nodes = count(found, "Schmorl's node", "Schmorl's nodes");
            (format!("{nodes} found"), format!(" on {endplates} of {bodies}."))
        }
    }
}

/// Returns the thresholds of all models in words.
pub(crate) fn thresholds(report: &Report) -> String {
    let mut parts = vec![format!("vertebra {:.2}", report.input.vertebrae.threshold)];
    for (_, threshold) in &report.classifiers {
        let part = format!("node {threshold:.2}");
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    parts.join(", ")
}

/// Names a vertebra; one whose level is not known by its id, and that it is not.
pub(crate) fn level(vertebra: &Vertebra) -> String {
    match &vertebra.level {
        Some(level) => level.clone(),
        None => format!("{} (level not asserted)", vertebra.id),
    }
}

/// The level, or that it is not asserted and what it may be.
pub(crate) fn level_alone(vertebra: &Vertebra) -> String {
    match (&vertebra.level, vertebra.level_candidates.is_empty()) {
        (Some(level), _) => level.clone(),
        (None, true) => "not asserted".to_owned(),
        (None, false) => format!("not asserted: {}", vertebra.level_candidates.join(" or ")),
    }
}

/// Names what was found.
pub(crate) fn finding(finding: &str) -> String {
    if finding == "schmorl_node" { "Schmorl's node".to_owned() } else { finding.to_owned() }
}

/// Says what became of an endplate.
pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Node => "node",
        Verdict::Negative => "negative",
        Verdict::NotLocalised => "above the threshold, not localised",
    }
}

/// Returns a number with its noun.
pub(crate) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

impl fmt::Display for Endplate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Endplate::Superior => "superior",
            Endplate::Inferior => "inferior",
        })
    }
}
