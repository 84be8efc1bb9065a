//! The pipelines that train and evaluate the shipped models: they can be planned without data, and, where a Python with torch
//! is, trained end to end on made-up volumes. `MLPIPE_TEST_TORCH=/path/to/python` names one; without it the test says so.

#![expect(clippy::print_stderr, reason = "a skipped test must be visible")]

mod common;

use std::os::unix::fs::symlink;
use std::process::Command;

use common::{Place, repository, text};

/// Six volumes of three strata, three of one so that each fold has one, whose bodies are bright rectangles on a grey ground, as `projects/training` reads them.
const VOLUMES: &str = r#"
import numpy as np
random = np.random.default_rng(1)
for number, name in enumerate(["VB1_02", "VB1_16", "VB2_06", "VB3_02", "VB3_03", "VB3_04"]):
    label = np.zeros((5, 224, 160), np.uint8)
    for body in range(5):
        label[:, 30 + 36 * body:56 + 36 * body, 60 + 2 * number:92 + 2 * number] = body + 1
    image = 60 + 110 * (label > 0) + random.integers(0, 30, label.shape)
    np.savez_compressed(f"volumes/{name}.npz", image=image.astype(np.uint8), label=label)
"#;

fn pipeline(name: &str) -> String {
    text(&repository().join("pipelines").join(name))
}

fn steps_of_plan(place: &Place, arguments: &[&str]) -> String {
    let planned = place.mlpipe(&[&["plan"], arguments].concat());
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    planned.stdout
}

#[test]
fn both_trainings_are_planned_without_any_data() {
    let place = Place::new();
    place.write("volumes/none", "");
    let data = format!("data={}", text(&place.path("volumes")));
    for name in ["train-vertebrae.yaml", "train-schmorl.yaml"] {
        let plan = steps_of_plan(&place, &[&pipeline(name), "-P", &data]);
        // One fold of the second setting is left out of the matrix twice.
        for (step, tasks) in
            [("train[", 4), ("labelled[", 4), ("score[", 4), ("select", 1), ("fit", 1), ("register", 1)]
        {
            let found =
                plan.lines().filter(|line| line.split_whitespace().nth(1).is_some_and(|id| id.starts_with(step)));
            assert_eq!(found.count(), tasks, "{step} of {name}:\n{plan}");
        }
    }
}

#[test]
fn an_evaluation_is_planned_for_the_phantom() {
    let place = Place::new();
    let studies = format!("studies={}", text(&repository().join("testdata/studies")));
    let truth = format!("truth={}", text(&repository().join("testdata")));
    let plan = steps_of_plan(&place, &[&pipeline("evaluate.yaml"), "-P", &studies, "-P", &truth]);
    assert!(plan.contains("find/vertebrae[") && plan.contains("evaluate"), "{plan}");
}

#[test]
fn a_small_training_ends_in_the_registry_and_again_everything_is_reused() {
    let Some(python) = std::env::var_os("MLPIPE_TEST_TORCH") else {
        eprintln!("skipped: MLPIPE_TEST_TORCH names no Python with torch");
        return;
    };
    let place = Place::new();
    place.write("volumes/README", "made up");
    let made = Command::new(&python).args(["-c", VOLUMES]).current_dir(place.path("")).status().expect("Python starts");
    assert!(made.success());
    // The steps say `python`.
    std::fs::create_dir(place.path("bin")).expect("a folder");
    symlink(&python, place.path("bin/python")).expect("a link");
    let path = format!("{}:{}", text(&place.path("bin")), std::env::var("PATH").unwrap_or_default());
    let data = format!("data={}", text(&place.path("volumes")));
    for name in ["train-vertebrae.yaml", "train-schmorl.yaml"] {
        let pipeline = pipeline(name);
        let small = ["-P", &data, "-P", "epochs=1", "-P", "final_epochs=1", "-P", "phantoms=0", "--json"];
        let run = || {
            let arguments = [&["run", pipeline.as_str()], small.as_slice()].concat();
            let output = place.command(&arguments).env("PATH", &path).output().expect("the command starts");
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            serde_json::from_slice::<serde_json::Value>(&output.stdout).expect("a document")
        };
        let (first, second) = (run(), run());
        assert_eq!(first["outputs"]["model"].as_str().map(str::is_empty), Some(false), "{first}");
        let steps = second["steps"].as_array().expect("steps");
        assert!(steps.iter().all(|step| step["status"] == "cached"), "{second}");
    }
    for model in ["vertebra-detector", "schmorl-classifier"] {
        let shown = place.mlpipe(&["models", "show", model]);
        assert!(shown.code == 0 && shown.stdout.contains("candidate"), "{}{}", shown.stdout, shown.stderr);
    }
}
