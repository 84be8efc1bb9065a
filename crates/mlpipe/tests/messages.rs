//! What users are told when something is wrong: one screen that names the place and the cure, the documented exit code,
//! nothing half-written.

mod common;

use std::fs;
use std::path::PathBuf;

use common::{Place, pipeline, text};

#[test]
fn wrong_step_name_is_shown_with_its_line_and_a_suggestion() {
    let place = Place::new();
    let wrong = fs::read_to_string(pipeline()).expect("readable").replace("steps.vertebrae.", "steps.vertebra.");
    let wrong = wrong.replace("../projects", &text(&common::repository().join("projects")));
    place.write("wrong.yaml", &wrong);
    let line = wrong.lines().position(|line| line.contains("steps.vertebra.")).expect("it is there") + 1;
    let ran = place.mlpipe(&["run", "wrong.yaml"]);
    ran.expect(
        3,
        &["there is no step `vertebra`", &format!("wrong.yaml:{line}:"), "did you mean `vertebrae`?", "────"],
    );
    assert!(!place.path(".mlpipe").exists(), "nothing was written");
}

#[test]
fn wrong_parameter_type_and_unknown_parameter_are_told_together() {
    let place = Place::new();
    let ran = place.mlpipe(&["run", &pipeline(), "-P", "threshold=high", "-P", "stuides=x"]);
    ran.expect(3, &["-P threshold=high: `high` is not a number", "schmorl.yaml:", "did you mean `studies`?"]);
    let ran = place.mlpipe(&["run", &pipeline(), "-P", "threshold=1.5"]);
    ran.expect(3, &["threshold", "1"]);
    assert!(!place.path(".mlpipe").exists(), "nothing was written");
}

#[test]
fn missing_pipeline_is_a_usage_error() {
    Place::new().mlpipe(&["run", "nowhere.yaml"]).expect(2, &["cannot read nowhere.yaml", "No such file"]);
}

#[test]
fn missing_input_folder_is_named_with_the_cure() {
    let place = Place::new();
    let ran = place.mlpipe(&["run", &pipeline(), "-P", "studies=/no/such/folder"]);
    ran.expect(4, &["inputs.studies: `/no/such/folder`", "No such file", "hint: give the folder with -P"]);
    assert!(!place.path(".mlpipe").exists(), "nothing was written");
}

#[test]
fn folder_without_a_usable_series_says_why_each_was_left_out() {
    let place = Place::new();
    let ran =
        place.mlpipe(&["run", &pipeline(), "-P", &format!("studies={}", text(&common::repository().join("docs")))]);
    ran.expect(4, &["no usable series", "it holds no DICOM files"]);
    let place = Place::new();
    let study = place.copy_of_phantom();
    for (path, _) in sagittal_files(&study) {
        fs::remove_file(path).expect("removed");
    }
    let ran = place.mlpipe(&["run", &pipeline(), "-P", &format!("studies={}", text(&study))]);
    ran.expect(
        4,
        &["plane is axial, the rule asks for sagittal", "the rule asks for at least 5", "mlpipe dicom inspect"],
    );
}

#[test]
fn truncated_file_is_named_with_its_attribute_and_the_cure() {
    let place = Place::new();
    let study = place.copy_of_phantom();
    let (path, size) = sagittal_files(&study).swap_remove(3);
    let bytes = fs::read(&path).expect("readable");
    fs::write(&path, &bytes[..size / 2]).expect("written");
    let ran = place.mlpipe(&["run", &pipeline(), "-P", &format!("studies={}", text(&study))]);
    let name = text(&path);
    ran.expect(4, &["no usable series", &name, "PixelData (7FE0,0010)", "copy or export the file again"]);
}

#[test]
fn truncated_file_of_one_study_does_not_stop_another() {
    let place = Place::new();
    let study = place.copy_of_phantom();
    let (path, size) = sagittal_files(&study).swap_remove(0);
    fs::write(&path, &fs::read(&path).expect("readable")[..size / 2]).expect("written");
    let other = place.mlpipe(&["phantom", "--seed", "3", "--output", "study/other"]);
    other.expect(0, &[]);
    let ran = place.mlpipe(&["plan", &pipeline(), "-P", &format!("studies={}", text(&study)), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let inputs = &ran.json()["inputs"]["studies"];
    assert_eq!(inputs["chosen"].as_array().map(Vec::len), Some(1));
    assert_eq!(inputs["rejected_files"][0]["code"], "truncated_file");
}

#[test]
fn unreadable_model_fails_the_step_and_is_named() {
    let place = Place::new();
    let model = common::repository().join("projects/vertebrae/model");
    for name in ["MLmodel", "model.onnx"] {
        place.write(&format!("broken/{name}"), "");
        fs::copy(model.join(name), place.path("broken").join(name)).expect("copied");
    }
    place.write("broken/model.onnx", "this is no model");
    let ran = place.mlpipe(&["run", &pipeline(), "-P", "detector=broken"]);
    ran.expect(
        1,
        &["failed: vertebrae", "broken/model.onnx", "cannot be used as an ONNX model", "log:", "skipped report"],
    );
    assert!(!place.has_leftovers(), "nothing half-written is left");
    let ran = place.mlpipe(&["run", &pipeline(), "-P", "detector=missing"]);
    ran.expect(4, &["step `vertebrae`: parameter `model`", "missing", "hint:"]);
}

#[test]
fn unreadable_project_is_bad_input_and_names_the_file() {
    let place = Place::new();
    place.write("one.yaml", "name: one\nsteps: {say: {project: say}}\n");
    place.write("say/MLproject", "name: say\nentry_points: {main: {command: 'echo hello'}}\n");
    std::os::unix::fs::symlink("gone", place.path("say/words.txt")).expect("linked");
    place.mlpipe(&["run", "one.yaml"]).expect(4, &["step `say`: project", "say/words.txt is broken"]);
}

#[test]
fn step_by_hand_tells_bad_input_by_its_exit_code() {
    let place = Place::new();
    place.write("empty/readme", "no volume");
    let model = text(&common::repository().join("projects/vertebrae/model"));
    let ran = place.mlpipe(&["step", "detect-vertebrae", "--volume", "empty", "--model", &model, "-o", "out"]);
    ran.expect(4, &["empty/volume.json"]);
}

#[test]
fn unknown_run_is_told_with_a_hint() {
    let place = Place::new();
    place.mlpipe(&["runs", "show", "abcdef"]).expect(4, &["abcdef", "hint: `mlpipe runs list"]);
}

/// Files of the phantom's sagittal series with their sizes: the largest ones.
fn sagittal_files(study: &std::path::Path) -> Vec<(PathBuf, usize)> {
    let files = fs::read_dir(study).expect("readable").map(|entry| {
        let path = entry.expect("an entry").path();
        let size = fs::metadata(&path).expect("readable").len() as usize;
        (path, size)
    });
    let mut files: Vec<_> = files.filter(|(_, size)| *size > 150_000).collect();
    files.sort();
    assert_eq!(files.len(), 13);
    files
}
