//! The shipped models on real series with known vertebrae and planted nodes; skipped where the series are not there.
//!
//! What is written stays in Cargo's test folder (`real_series/`), so that other scorers can read it.

#![expect(clippy::print_stderr, reason = "a skipped test must be visible, and the figures of a run are worth seeing")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use mlpipe_dicom::{Limits, Plane};
use mlpipe_report::{BoxPx, Finding, Vertebra, VertebraeDocument};
use mlpipe_steps::{Runtime, batch, detect, extract};
use serde_json::{Value, json};

/// A vertebra is hit when the centres of its box and of the true one are this near.
const HIT_MM: f64 = 10.0;
/// A node is found when the centres of its box and of the true one are this near.
const NODE_MM: f64 = 8.0;

/// A folder of the shared data.
fn data(name: &str) -> Option<PathBuf> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !data.is_dir() {
        eprintln!("skipped: ../shared/data/{name} is absent");
        return None;
    }
    Some(data)
}

fn model(project: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../projects").join(project).join("model")
}

fn runtime() -> Runtime {
    Runtime::from_environment().expect("the environment names a backend")
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("the file can be read")).expect("the file is JSON")
}

/// The sagittal cases of `truth_vertebrae.json`.
fn cases(data: &Path) -> Vec<Value> {
    let cases = read(&data.join("truth_vertebrae.json"));
    let cases = cases.as_array().expect("it is a list").iter();
    cases.filter(|case| case["plane"] == "SAG").cloned().collect()
}

/// Runs both steps on a series, in the folder `name` of Cargo's test folder; returns the folder and what was found.
fn detected(series: PathBuf, name: &str) -> (PathBuf, VertebraeDocument) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (limits, output_dir) = (Limits::default(), folder.clone());
    let extract = extract::Args { series, plane: Plane::Sagittal, spacing_mm: 1.0, limits, output_dir };
    extract::run(&extract).expect("the plane can be extracted");
    let (volume, model) = (folder.join("volume"), model("vertebrae"));
    let detect = detect::Args { volume, model, threshold: 0.5, output_dir: folder.clone(), runtime: runtime() };
    let summary = detect::run(&detect).expect("the detector runs");
    eprintln!("{name} {:?} {:?}", summary.metrics, summary.notes);
    let document = std::fs::read(folder.join("vertebrae.json")).expect("the document was written");
    (folder, serde_json::from_slice(&document).expect("the document is JSON"))
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
    let Some(data) = data("spine_dicom_dev") else { return };
    let (mut hits, mut annotated, mut invented, mut misnamed) = (0, 0, 0, 0);
    for case in cases(&data) {
        let name = format!("real_series/{}", text(&case, "case"));
        let (_, document) = detected(data.join(text(&case, "dir")), &name);
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

#[test]
fn vertebrae_of_another_scanner_are_found() {
    let Some(data) = data("sct_dicom") else { return };
    let (_, document) = detected(data.join("t2_lumbar_sag"), "other_scanner");
    let truth = read(&data.join("t2_lumbar_vertebrae_by_eye.json"));
    let middles = document.vertebrae.iter().map(|vertebra| {
        let [left, top, right, bottom] = vertebra.box_px;
        [(left + right) / 2.0, (top + bottom) / 2.0]
    });
    let middles: Vec<[f64; 2]> = middles.collect();
    for body in truth["vertebrae"].as_array().expect("it is a list") {
        let [x, y] = ["cx", "cy"].map(|key| body[key].as_f64().expect("it is a number"));
        assert!(
            middles.iter().any(|[a, b]| (a - x).hypot(b - y) <= HIT_MM),
            "missed the body at {x}, {y}: {middles:?}"
        );
    }
}

#[test]
fn a_head_has_no_spine() {
    let Some(data) = data("dcm_qa_decubitus") else { return };
    let (_, document) = detected(data.join("HFS_sag"), "head");
    assert!(document.vertebrae.is_empty(), "{:?}", document.vertebrae);
}

/// Runs the classifier on every vertebra of a folder, as one batch; returns all findings.
fn findings(folder: &Path) -> Vec<Finding> {
    let entries = std::fs::read_dir(folder.join("vertebrae")).expect("it is a folder");
    let names: Vec<_> = entries.map(|entry| entry.expect("readable").file_name()).collect();
    let parameters = |vertebra: PathBuf| json!({"volume": folder.join("volume"), "vertebra": vertebra, "model": model("schmorl"), "threshold": "0.5"});
    let item = |name: &OsString| {
        let parameters = parameters(folder.join("vertebrae").join(name));
        json!({"key": name.to_string_lossy(), "parameters": parameters, "output_dir": folder.join("nodes").join(name)})
    };
    let items: Vec<Value> = names.iter().map(item).collect();
    let batch = json!({"format": "mlpipe.batch/1", "items": items, "results": folder.join("results.ndjson")});
    let path = folder.join("batch.json");
    std::fs::write(&path, batch.to_string()).expect("the file can be written");
    assert_eq!(batch::run(&path, runtime()).expect("the batch runs").metrics["failed_items"], 0.0);
    let of = |name: &OsString| read(&folder.join("nodes").join(name).join("findings.json"))["findings"].clone();
    names.iter().flat_map(|name| serde_json::from_value::<Vec<Finding>>(of(name)).expect("findings")).collect()
}

#[test]
fn planted_nodes_are_found() {
    let Some(data) = data("schmorl_dev") else { return };
    if !model("schmorl").join("MLmodel").is_file() {
        eprintln!("skipped: projects/schmorl/model is absent");
        return;
    }
    let truth = read(&data.join("truth_schmorl.json"));
    let (mut planted, mut hits, mut reported) = (0, 0, 0);
    for case in truth["cases"].as_array().expect("it is a list") {
        let name = format!("planted_nodes/{}", text(case, "case"));
        let (folder, _) = detected(data.join(text(case, "dir")), &name);
        let findings = findings(&folder);
        reported += findings.len();
        for node in case["nodes"].as_array().expect("it is a list") {
            let edges: BoxPx = serde_json::from_value(node["box_px"].clone()).expect("it is a box");
            planted += 1;
            hits += usize::from(findings.iter().any(|found| distance(&found.box_px, &edges) <= NODE_MM));
        }
    }
    eprintln!("{hits} of {planted} planted nodes found, {reported} reported");
    assert!(hits * 3 >= planted * 2, "{hits} of {planted} planted nodes found");
}
