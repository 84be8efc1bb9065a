//! The models that come with the sources: both backends give the same values, and the phantom's spine is found.

#![expect(clippy::print_stderr, reason = "a skipped test must be visible, and the figures of a run are worth seeing")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mlpipe_dicom::{Plane, Volume, load_volume, scan};
use mlpipe_infer::{BackendChoice, Model, find_runtime_library};
use mlpipe_report::VertebraeDocument;
use mlpipe_steps::{detect, extract};
use ndarray::ArrayD;
use serde_json::Value;

/// Largest difference between the backends, absolute and relative: float32 sums in another order.
const TOLERANCE: f32 = 2e-4;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn open(name: &str, backend: BackendChoice) -> Model {
    Model::open(&root().join("projects").join(name).join("model"), backend, 0).expect("the model opens")
}

fn no_runtime() -> bool {
    let missing = find_runtime_library().is_none();
    if missing {
        eprintln!("skipped: no ONNX Runtime was found; set ORT_DYLIB_PATH");
    }
    missing
}

/// Smooth shapes and edges, 0..1, the same on every machine.
fn example_input(model: &Model) -> ArrayD<f32> {
    let shape: Vec<usize> = model.tensors().inputs[0].shape.iter().map(|size| size.unwrap_or(2)).collect();
    ArrayD::from_shape_fn(shape, |index| {
        let (item, row, column) = (index[0] + index[1], index[2] as f32, index[3] as f32);
        let wave = ((row / 11.0 + item as f32).sin() * (column / 17.0).cos() + 1.0) / 2.0;
        if (index[2] / 30 + index[3] / 40) % 2 == 0 { wave } else { wave * 0.3 }
    })
}

fn assert_backends_agree(name: &str) {
    if no_runtime() {
        return;
    }
    if !root().join("projects").join(name).join("model/MLmodel").is_file() {
        eprintln!("skipped: projects/{name}/model is absent");
        return;
    }
    let [mut fast, mut embedded] = [BackendChoice::OnnxRuntime, BackendChoice::Rten].map(|backend| open(name, backend));
    let input = example_input(&fast);
    let input_name = fast.tensors().inputs[0].name.clone();
    let outputs = [&mut fast, &mut embedded].map(|model| model.run(&[(&input_name, input.view())]).expect("it runs"));
    for output in fast.tensors().outputs.clone() {
        let [a, b] = outputs.each_ref().map(|outputs| outputs.get(&output.name).expect("there is such an output"));
        assert_eq!(a.shape(), b.shape());
        let excess = a.iter().zip(&b).map(|(a, b)| (a - b).abs() / (1.0 + b.abs())).fold(0.0, f32::max);
        eprintln!("{name} {}: largest difference {excess:e}", output.name);
        assert!(excess <= TOLERANCE, "{name} {}: {excess}", output.name);
    }
}

#[test]
fn both_backends_agree_on_the_detector() {
    assert_backends_agree("vertebrae");
}

#[test]
fn both_backends_agree_on_the_node_classifier() {
    assert_backends_agree("schmorl");
}

/// The sagittal series of the phantom study, 1 mm pixels.
fn phantom() -> Volume {
    let found = scan(&[root().join("testdata/studies/phantom-1")]).expect("the study can be read");
    let plans = found.series.iter().flat_map(|series| &series.volumes);
    let sagittal = plans.filter(|plan| plan.plane == Some(Plane::Sagittal) && plan.is_usable());
    let plan = sagittal.max_by_key(|plan| plan.shape[0]).expect("there is a sagittal series");
    let stored = load_volume(plan).expect("the series can be decoded");
    extract::in_plane(&stored, Plane::Sagittal, 1.0).expect("it is sagittal")
}

fn vertebrae(backend: BackendChoice) -> VertebraeDocument {
    let mut model = open("vertebrae", backend);
    detect::detect(phantom(), &mut model, 0.5, Path::new("phantom")).expect("the detector runs").document
}

/// Every true box of the phantom: level, SOPInstanceUID, middle `[x, y]`.
fn truth() -> Vec<(String, String, [f64; 2])> {
    let text = std::fs::read_to_string(root().join("testdata/truth_vertebrae.json")).expect("the truth is there");
    let cases: Value = serde_json::from_str(&text).expect("the truth is JSON");
    let word = |value: &Value| value.as_str().expect("it is a text").to_owned();
    let number = |value: &Value, key: &str| value[key].as_f64().expect("it is a number");
    let mut boxes = Vec::new();
    for slice in cases[0]["slices"].as_array().expect("it is a list") {
        for body in slice["vertebrae"].as_array().expect("it is a list") {
            let middle = [("x0", "x1"), ("y0", "y1")].map(|(low, high)| (number(body, low) + number(body, high)) / 2.0);
            boxes.push((word(&body["level"]), word(&slice["sop"]), middle));
        }
    }
    boxes
}

#[test]
fn the_vertebrae_of_the_phantom_are_found_and_named() {
    let document = vertebrae(BackendChoice::Auto);
    let is_found = |level: &str| {
        let vertebra = document.vertebrae.iter().find(|vertebra| vertebra.level.as_deref() == Some(level));
        truth().iter().filter(|(of, _, _)| of == level).any(|(_, sop, [x, y])| {
            let mut slices = vertebra.iter().flat_map(|vertebra| &vertebra.slices);
            let on_slice = slices.find(|found| found.sop_instance_uid.as_deref() == Some(sop));
            on_slice.is_some_and(|found| {
                let [left, top, right, bottom] = found.box_px;
                ((left + right) / 2.0 - x).hypot((top + bottom) / 2.0 - y) <= 10.0
            })
        })
    };
    let levels: BTreeSet<String> = truth().into_iter().map(|(level, _, _)| level).collect();
    let missed: Vec<&String> = levels.iter().filter(|level| !is_found(level)).collect();
    assert!(missed.is_empty() && levels.len() >= 5, "missed {missed:?} of {levels:?}");
}

#[test]
fn both_backends_find_the_same_vertebrae() {
    if no_runtime() {
        return;
    }
    let [fast, embedded] = [BackendChoice::OnnxRuntime, BackendChoice::Rten].map(vertebrae);
    assert_eq!(fast.vertebrae.len(), embedded.vertebrae.len());
    for (a, b) in fast.vertebrae.iter().zip(&embedded.vertebrae) {
        assert_eq!((&a.level, a.slices.len()), (&b.level, b.slices.len()));
        let pairs = a.slices.iter().zip(&b.slices).flat_map(|(a, b)| a.box_px.iter().zip(&b.box_px));
        let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(apart <= 0.01, "{}: {apart} px", a.id);
    }
}
