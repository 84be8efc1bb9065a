//! The main job: DICOM study in, report out; again for nothing.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use common::{Place, phantom, pipeline, text};
use serde_json::Value;

/// All files below a folder with their content.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(text(&path), fs::read(&path).expect("readable"));
        }
    }
    found
}

fn statuses(document: &Value) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for step in document["steps"].as_array().expect("steps") {
        *counts.entry(step["status"].as_str().expect("a status").to_owned()).or_default() += 1;
    }
    counts
}

/// Bytes of each output file, by output, key and, in a folder, file.
fn outputs(document: &Value) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = BTreeMap::new();
    for (name, paths) in document["outputs"].as_object().expect("outputs") {
        for (key, path) in paths.as_object().expect("one path per item") {
            let path = Path::new(path.as_str().expect("a path"));
            if path.is_dir() {
                let inside = contents(path).into_iter();
                let named = |file: &str| format!("{name}[{key}]{}", &file[text(path).len()..]);
                bytes.extend(inside.map(|(file, content)| (named(&file), content)));
            } else {
                bytes.insert(format!("{name}[{key}]"), fs::read(path).expect("the output is there"));
            }
        }
    }
    bytes
}

#[test]
fn phantom_study_becomes_a_report_and_again_everything_is_reused() {
    let place = Place::new();
    let first = place.mlpipe(&["run", &pipeline(), "--json"]);
    assert_eq!(first.code, 0, "{}", first.stderr);
    let first = first.json();
    assert_eq!(first["status"], "done");
    assert_eq!(statuses(&first).keys().collect::<Vec<_>>(), ["done"]);
    let inputs = &first["inputs"]["studies"];
    assert_eq!(
        (inputs["chosen"].as_array().map(Vec::len), inputs["left_out"].as_array().map(Vec::len)),
        (Some(1), Some(4))
    );

    let made = outputs(&first);
    let report = made.iter().find(|(name, _)| name.starts_with("reports[")).expect("a report").1;
    let report = String::from_utf8(report.clone()).expect("UTF-8");
    for expected in ["Research use only", "<svg", "data:image/png;base64,", "SHA-256", "L3"] {
        assert!(report.to_lowercase().contains(&expected.to_lowercase()), "{expected}");
    }

    let second = place.mlpipe(&["run", &pipeline(), "--json"]).json();
    assert_eq!(statuses(&second).keys().collect::<Vec<_>>(), ["cached"]);
    assert_eq!(outputs(&second), made, "byte for byte");

    let plan = place.mlpipe(&["plan", &pipeline(), "--json"]).json();
    assert!(plan["tasks"].as_array().expect("tasks").iter().all(|task| task["action"] == "reuse"));

    let run_id = second["run_id"].as_str().expect("an id");
    let shown = place.mlpipe(&["runs", "show", &run_id[..10], "--json"]).json();
    let steps: Vec<&str> = shown["children"]
        .as_array()
        .expect("steps")
        .iter()
        .map(|step| step["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(steps, ["slices", "vertebrae", "schmorl", "report", "results"]);
    let listed = place.mlpipe(&["runs", "list", "--json"]).json();
    assert_eq!(listed["runs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn both_onnx_backends_give_the_same_boxes() {
    if place_without_runtime() {
        return;
    }
    let boxes = |backend: &str| {
        let place = Place::new();
        let output = place
            .command(&["run", &pipeline(), "--json"])
            .env("MLPIPE_ONNX_BACKEND", backend)
            .output()
            .expect("the command starts");
        let ran = common::ran(output);
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        let made = outputs(&ran.json());
        let (_, bytes) = made.iter().find(|(name, _)| name.starts_with("vertebrae[")).expect("vertebrae").to_owned();
        serde_json::from_slice::<Value>(bytes).expect("JSON")
    };
    let (ours, theirs) = (boxes("rten"), boxes("onnxruntime"));
    assert_ne!(ours["model"]["backend"], theirs["model"]["backend"]);
    let (ours, theirs) =
        (ours["vertebrae"].as_array().expect("a list"), theirs["vertebrae"].as_array().expect("a list"));
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!(ours["level"], theirs["level"]);
        for side in 0..4 {
            let difference =
                ours["box_px"][side].as_f64().expect("a number") - theirs["box_px"][side].as_f64().expect("a number");
            assert!(difference.abs() <= 1.0, "{ours} {theirs}");
        }
    }
}

/// Says that a comparison is skipped when this machine has no ONNX Runtime.
fn place_without_runtime() -> bool {
    let missing = mlpipe_infer::find_runtime_library().is_none();
    if missing {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: no ONNX Runtime found (`pip install onnxruntime`, or set ORT_DYLIB_PATH)");
        }
    }
    missing
}

#[test]
fn a_study_in_another_plane_is_not_given_to_the_sagittal_detector() {
    let place = Place::new();
    let study = format!("studies={}", text(&phantom()));
    let ran = place.mlpipe(&["run", &pipeline(), "-P", &study, "-P", "plane=axial"]);
    ran.expect(1, &["failed: vertebrae", "sagittal"]);
}

#[test]
fn dicom_commands_give_their_documents() {
    let place = Place::new();
    let inspected = place.mlpipe(&["dicom", "inspect", &text(&phantom()), "--json"]);
    assert_eq!(inspected.code, 0);
    let planes: Vec<Value> =
        inspected.json()["volumes"].as_array().expect("volumes").iter().map(|v| v["plane"].clone()).collect();
    assert!(planes.contains(&"sagittal".into()) && planes.contains(&"axial".into()));
    let written = place.mlpipe(&["dicom", "volume", &text(&phantom()), "--all", "-o", "volumes", "--json"]);
    assert_eq!(written.code, 0, "{}", written.stderr);
    let shapes: Vec<Value> =
        written.json()["volumes"].as_array().expect("volumes").iter().map(|v| v["shape"].clone()).collect();
    assert!(shapes.contains(&serde_json::json!([13, 320, 320])), "{shapes:?}");
    for volume in written.json()["volumes"].as_array().expect("volumes") {
        let path = place.path(volume["path"].as_str().expect("a path"));
        assert!(fs::read(path).expect("written").starts_with(b"\x93NUMPY"));
    }
}

#[test]
fn doctor_and_version_answer() {
    let place = Place::new();
    assert!(place.mlpipe(&["--version"]).stdout.starts_with("mlpipe "));
    let checks = place.mlpipe(&["doctor", "--json"]).json();
    assert_eq!(checks["checks"].as_array().map(Vec::len), Some(4));
}
