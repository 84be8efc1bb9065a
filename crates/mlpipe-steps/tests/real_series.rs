//! The shipped detector on real series with known vertebrae; skipped where the series are not there.
//!
//! What is written stays in Cargo's test folder (`real_series/`), so that other scorers can read it.

#![expect(clippy::print_stderr, reason = "a skipped test must be visible, and the figures of a run are worth seeing")]

use std::path::{Path, PathBuf};

use mlpipe_dicom::Plane;
use mlpipe_report::{BoxPx, Vertebra, VertebraeDocument};
use mlpipe_steps::{Runtime, detect, extract};
use serde_json::Value;

/// A vertebra is hit when the centres of its box and of the true one are this near.
const HIT_MM: f64 = 10.0;

fn data() -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/spine_dicom_dev");
    if !data.is_dir() {
        eprintln!("skipped: ../shared/data/spine_dicom_dev is absent");
        return None;
    }
    Some(data)
}

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../projects/vertebrae/model")
}

/// The sagittal cases of `truth_vertebrae.json`.
fn cases(data: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(data.join("truth_vertebrae.json")).expect("the truth can be read");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("the truth is JSON");
    cases.into_iter().filter(|case| case["plane"] == "SAG").collect()
}

/// Runs both steps on a case, in a folder of Cargo's test folder.
fn detected(data: &Path, case: &Value) -> VertebraeDocument {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("real_series").join(text(case, "case"));
    let series = data.join(text(case, "dir"));
    let extract = extract::Args { series, plane: Plane::Sagittal, spacing_mm: 1.0, output_dir: folder.clone() };
    extract::run(&extract).expect("the plane can be extracted");
    let runtime = Runtime::from_environment().expect("the environment names a backend");
    let detect = detect::Args {
        volume: folder.join("volume"),
        model: model(),
        threshold: 0.5,
        output_dir: folder.clone(),
        runtime,
    };
    let summary = detect::run(&detect).expect("the detector runs");
    eprintln!("{} {:?} {:?}", text(case, "case"), summary.metrics, summary.notes);
    let document = std::fs::read(folder.join("vertebrae.json")).expect("the document was written");
    serde_json::from_slice(&document).expect("the document is JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().expect("it is a text")
}

/// Truth boxes and found boxes on the slice on which most of the bodies is seen.
fn boxes_on_best_slice(case: &Value, document: &VertebraeDocument) -> (Vec<BoxPx>, Vec<BoxPx>) {
    let slices = case["slices"].as_array().expect("it is a list");
    let best = slices.iter().find(|slice| slice["instance"] == case["best_slice_instance"]).expect("it is listed");
    let number = |vertebra: &Value, key: &str| vertebra[key].as_f64().expect("it is a number");
    let truth = best["vertebrae"].as_array().expect("it is a list").iter();
    let truth = truth.map(|vertebra| ["x0", "y0", "x1", "y1"].map(|key| number(vertebra, key))).collect();
    let on_best = |vertebra: &Vertebra| {
        let found = vertebra.slices.iter().find(|slice| slice.sop_instance_uid.as_deref() == Some(text(best, "sop")));
        found.map_or(vertebra.box_px, |found| found.box_px)
    };
    (truth, document.vertebrae.iter().map(on_best).collect())
}

fn distance(a: &BoxPx, b: &BoxPx) -> f64 {
    let middle = |edges: &BoxPx, axis: usize| (edges[axis] + edges[axis + 2]) / 2.0;
    (middle(a, 0) - middle(b, 0)).hypot(middle(a, 1) - middle(b, 1))
}

/// The level that the lowest annotated body has: the strata VB2 and VB3 end at L5, VB1 at S1.
fn lowest_level(case: &Value) -> &'static str {
    if text(case, "case").starts_with("VB1") { "S1" } else { "L5" }
}

#[test]
fn annotated_vertebrae_are_found_and_none_is_invented_or_misnamed() {
    let Some(data) = data() else { return };
    let (mut hits, mut annotated, mut invented, mut misnamed) = (0, 0, 0, 0);
    for case in cases(&data) {
        let document = detected(&data, &case);
        let (truth, found) = boxes_on_best_slice(&case, &document);
        let hit = |edges: &BoxPx| found.iter().position(|other| distance(edges, other) <= HIT_MM);
        annotated += truth.len();
        hits += truth.iter().filter(|edges| hit(edges).is_some()).count();
        let middles = truth.iter().map(|edges| edges[1] + edges[3]);
        let (top, bottom) = (middles.clone().fold(f64::MAX, f64::min), middles.fold(0.0, f64::max));
        let within = found.iter().filter(|edges| (top..=bottom).contains(&(edges[1] + edges[3])));
        invented += within.filter(|edges| truth.iter().all(|other| distance(edges, other) > HIT_MM)).count();
        let lowest = truth.iter().max_by(|a, b| a[3].total_cmp(&b[3])).and_then(hit);
        let named = lowest.and_then(|index| document.vertebrae[index].level.as_deref());
        misnamed += usize::from(named.is_some_and(|level| level != lowest_level(&case)));
        for vertebra in &document.vertebrae {
            let (level, count) = (vertebra.level.as_deref().unwrap_or("-"), vertebra.slices.len());
            eprintln!("  {:3} {level:4} {:.2} {count:2} slices, {}", vertebra.id, vertebra.score, vertebra.level_basis);
        }
    }
    eprintln!("{hits} of {annotated} found, {invented} invented, {misnamed} series misnamed");
    assert!(hits * 20 >= annotated * 19, "{hits} of {annotated} found");
    assert!((invented, misnamed) == (0, 0), "{invented} invented, {misnamed} misnamed");
}
