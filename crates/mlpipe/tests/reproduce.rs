//! Locks and reproductions of small pipelines whose steps are shell commands: what is the same, what drifted, and the exit
//! codes.

mod common;

use std::fs;

use common::{Place, Ran};
use serde_json::Value;

const PIPELINE: &str = r#"
name: small
params:
  data: {type: path, default: data}
  weights: {type: uri, default: weights}
  factor: {type: float, default: 2.0}
inputs:
  texts: {collection: files, from: "${{ params.data }}"}
steps:
  measure:
    project: projects/measure
    for_each: {text: inputs.texts}
    parameters: {text: "${{ item.text }}", weights: "${{ params.weights }}", factor: "${{ params.factor }}"}
  report:
    project: projects/report
    for_each: {text: measure}
    parameters: {value: "${{ steps.measure.outputs.value }}"}
outputs: {reports: "${{ steps.report.outputs.report }}"}
"#;

/// Its output depends on the parameters and the inputs alone.
const STEADY: &str = r#"printf '{{"factor": %s, "letters": %s}}' {factor} $(cat {text} {weights} | wc -c) > "$MLPIPE_OUTPUT_DIR/value.json""#;
/// Its output has a number that depends on the run, between 1 and 1.1.
const TREMBLING: &str = r#"printf '{{"value": 1.0%010d}}' $(echo "$MLFLOW_RUN_ID" | cksum | cut -d' ' -f1) > "$MLPIPE_OUTPUT_DIR/value.json""#;
/// The line with the run does not count, when the project says so.
const REPORT: &str =
    r#"(echo "report of $(cat {value})"; echo "made by $MLFLOW_RUN_ID") > "$MLPIPE_OUTPUT_DIR/report.txt""#;

/// A pipeline in a place of its own.
struct Bench(Place);

impl Bench {
    fn new() -> Self {
        let bench = Self(Place::new());
        bench.write("small.yaml", PIPELINE);
        bench.write("data/one", "a b");
        bench.write("data/two", "c");
        bench.write("weights", "0.25");
        bench.measure(STEADY, "");
        bench.report(REPORT, ", compare: {text: {ignore_lines: made by}}");
        bench
    }

    fn write(&self, name: &str, text: &str) {
        self.0.write(name, text);
    }

    fn measure(&self, command: &str, compare: &str) {
        let project = format!(
            "name: measure\nentry_points:\n  main:\n    parameters: {{text: path, weights: uri, factor: float}}\n    \
             command: |\n      {command}\n    outputs: {{value: {{path: value.json, type: json{compare}}}}}\n"
        );
        self.write("projects/measure/MLproject", &project);
    }

    fn report(&self, command: &str, compare: &str) {
        let project = format!(
            "name: report\nentry_points:\n  main:\n    parameters: {{value: path}}\n    command: |\n      {command}\n    \
             outputs: {{report: {{path: report.txt, type: file{compare}}}}}\n"
        );
        self.write("projects/report/MLproject", &project);
    }

    fn mlpipe(&self, arguments: &[&str]) -> Ran {
        self.0.mlpipe(arguments)
    }

    /// Runs the pipeline and returns the run's id.
    fn run(&self, more: &[&str]) -> String {
        let ran = self.mlpipe(&[&["run", "small.yaml", "--json"], more].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran.json()["run_id"].as_str().expect("an id").to_owned()
    }

    fn lock(&self, more: &[&str]) -> Value {
        self.mlpipe(&[&["lock", "small.yaml"], more].concat()).expect(0, &["locked"]);
        self.read("small.lock")
    }

    fn read(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.0.path(name)).expect("readable");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Changes a JSON file.
    fn edit(&self, name: &str, pointer: &str, value: &str) {
        let mut document = self.read(name);
        *document.pointer_mut(pointer).expect("it is there") = value.into();
        self.write(name, &document.to_string());
    }

    fn forget_results(&self) {
        fs::remove_dir_all(self.0.path(".mlpipe")).expect("removed");
    }
}

/// `step.output: result` of every output of a reproduction, each once.
fn results(reproduction: &Value) -> Vec<String> {
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().expect("a text").to_owned();
        format!("{}.{}: {}", text("step"), text("output"), text("verdict"))
    };
    let mut rows: Vec<String> = reproduction["outputs"].as_array().expect("outputs").iter().map(row).collect();
    rows.dedup();
    rows
}

#[test]
fn a_run_is_reproduced_by_its_id_in_a_clean_place() {
    let bench = Bench::new();
    bench.report(&REPORT.replace("$MLFLOW_RUN_ID", "me"), "");
    let run = bench.run(&[]);
    let ran = bench.mlpipe(&["reproduce", &run[..10]]);
    ran.expect(
        0,
        &[&format!("run {} is reproduced: 4 identical", &run[..8]), "start   measure[one]: no finished result"],
    );
    assert!(ran.stdout.contains("measure  value   identical  bytes        2"), "{}", ran.stdout);
    let listed = bench.mlpipe(&["runs", "list", "--json"]).json();
    assert_eq!(listed["runs"].as_array().map(Vec::len), Some(1), "the rerun leaves no trace here");

    let document = bench.mlpipe(&["reproduce", &run, "--json"]).json();
    assert_eq!(document["format"], "mlpipe.reproduction/1");
    assert_eq!((&document["verdict"], &document["state_directory"]), (&"identical".into(), &Value::Null));
}

#[test]
fn outputs_within_the_declared_tolerance_are_equivalent() {
    let bench = Bench::new();
    bench.measure(TREMBLING, ", compare: {rtol: 0.2}");
    bench.report(REPORT, ", compare: {text: {ignore_lines: [made by, report of]}}");
    let run = bench.run(&[]);
    let ran = bench.mlpipe(&["reproduce", &run, "--json"]);
    ran.expect(0, &["is reproduced: 4 equivalent"]);
    let document = ran.json();
    assert_eq!(results(&document), ["measure.value: equivalent", "report.report: equivalent"]);
    let largest = document["outputs"][0]["max_relative"].as_f64().expect("a number");
    assert!(largest > 0.0 && largest < 0.2, "{largest}");
    assert_eq!(document["outputs"][0]["comparator"], "json");
}

#[test]
fn an_output_that_depends_on_the_run_is_different_and_the_place_is_told() {
    let bench = Bench::new();
    bench.measure(TREMBLING, ", compare: {rtol: 1e-12}");
    bench.report("cp {value} \"$MLPIPE_OUTPUT_DIR/report.txt\"", "");
    let run = bench.run(&[]);
    let ran = bench.mlpipe(&["reproduce", &run, "--json"]);
    ran.expect(
        5,
        &["is not reproduced: 4 different", "different measure[one].value (json): value: 1.0", " -> 1.0", "largest"],
    );
    ran.expect(5, &["different report[one].report (bytes): line 1: {\"value\": 1.0"]);
    assert_eq!(ran.json()["verdict"], "different");
    assert_eq!(ran.json()["outputs"][0]["difference"]["at"], "value");
}

#[test]
fn an_output_that_the_rerun_does_not_make_is_missing() {
    let bench = Bench::new();
    let marker = common::text(&bench.0.path("marker"));
    bench.report(&format!("test ! -e {marker} && {REPORT}"), ", compare: {text: {ignore_lines: made by}}");
    let run = bench.run(&[]);
    bench.write("marker", "");
    let ran = bench.mlpipe(&["reproduce", &run, "--json"]);
    ran.expect(5, &["missing report[one].report (text): the rerun did not make it", "failed: report[one]"]);
    assert!(results(&ran.json()).contains(&"report.report: missing".to_owned()));
}

#[test]
fn a_run_is_not_reproduced_on_something_else() {
    for (file, text, drift) in [
        ("data/one", "x", "inputs texts[one]: "),
        ("data/three", "x", "inputs texts[three]: new ("),
        ("weights", "0.5", "contents measure.weights: "),
        ("projects/measure/notes", "x", "projects projects/measure/notes: new ("),
    ] {
        let bench = Bench::new();
        let run = bench.run(&[]);
        bench.write(file, text);
        let ran = bench.mlpipe(&["reproduce", &run]);
        ran.expect(5, &[&format!("is not as run {} has it", &run[..8]), drift, "hint:"]);
        assert!(!ran.stderr.contains("start "), "nothing ran: {}", ran.stderr);
    }
    let bench = Bench::new();
    let run = bench.run(&[]);
    fs::remove_file(bench.0.path("data/one")).expect("removed");
    bench.mlpipe(&["reproduce", &run]).expect(5, &["inputs texts[one]: gone (was "]);
}

#[test]
fn the_pipeline_and_its_parameters_are_those_of_the_run() {
    let bench = Bench::new();
    bench.write("other/one", "a b");
    let run = bench.run(&["-P", "factor=3", "-P", "data=other"]);
    bench.write("small.yaml", "this is no pipeline any more");
    let ran = bench.mlpipe(&["reproduce", &run, "--json", "--keep", "kept"]);
    ran.expect(0, &["is reproduced"]);
    let rerun = ran.json()["run_id"].as_str().expect("an id").to_owned();
    let record = bench.read(&format!("kept/.mlpipe/runs/{rerun}/pipeline.json"));
    assert_eq!((&record["format"], &record["params"]["factor"]), (&"mlpipe.run/1".into(), &"3.0".into()));
    assert_eq!(record["paths"]["data"], "other");
    bench.mlpipe(&["reproduce", &run, "--keep", "kept"]).expect(2, &["kept: it must be new or empty"]);
}

#[test]
fn another_environment_is_told_and_compared_all_the_same() {
    let bench = Bench::new();
    let run = bench.run(&[]);
    bench.edit(&format!(".mlpipe/runs/{run}/pipeline.json"), "/environment/mlpipe", "0.0.1");
    let ran = bench.mlpipe(&["reproduce", &run, "--json"]);
    ran.expect(0, &["warning: the environment is not as run", "environment mlpipe: 0.0.1 -> "]);
    assert_eq!(ran.json()["environment_drift"][0]["old"], "0.0.1");
}

#[test]
fn what_cannot_be_reproduced_is_told_with_the_reason() {
    let bench = Bench::new();
    bench.mlpipe(&["reproduce", "abcdef"]).expect(4, &["there is no run and no lock file `abcdef`", "hint:"]);
    assert!(!bench.0.path(".mlpipe").exists(), "nothing was written");
    let run = bench.run(&[]);
    bench.mlpipe(&["reproduce", "nowhere.lock"]).expect(4, &["there is no run and no lock file"]);
    let shown = bench.mlpipe(&["runs", "show", &run, "--json"]).json();
    let step = shown["children"][0]["run_id"].as_str().expect("an id");
    bench.mlpipe(&["reproduce", step]).expect(4, &["is part of another run", &run[..8]]);

    bench.report("exit 3", "");
    let failed = bench.mlpipe(&["run", "small.yaml", "--json"]).json();
    let failed = failed["run_id"].as_str().expect("an id");
    bench.mlpipe(&["reproduce", failed]).expect(4, &["is FAILED: only a finished run can be reproduced"]);
}

#[test]
fn a_lock_is_made_of_finished_work_only() {
    let bench = Bench::new();
    let ran = bench.mlpipe(&["lock", "small.yaml"]);
    ran.expect(
        1,
        &["not locked: 4 tasks are not finished", "measure[one]: no finished result yet", "hint: `mlpipe run"],
    );
    assert!(!bench.0.path("small.lock").exists());

    bench.run(&[]);
    let lock = bench.lock(&[]);
    assert_eq!((&lock["format"], &lock["file"]), (&"mlpipe.lock/1".into(), &"small.yaml".into()));
    assert_eq!(lock["tasks"].as_object().map(serde_json::Map::len), Some(4));
    let report = &lock["tasks"]["report[one]"]["outputs"]["report"];
    assert!(report["digest"].is_string() && report["comparable"].is_string(), "{report}");
    let text = fs::read_to_string(bench.0.path("small.lock")).expect("readable");
    assert!(!text.contains(&common::text(&bench.0.path(""))), "no path of this machine: {text}");
    bench.lock(&[]);
    assert_eq!(fs::read_to_string(bench.0.path("small.lock")).expect("readable"), text, "the same lock again");
    bench.mlpipe(&["lock", "small.yaml", "-P", "factor=3"]).expect(1, &["parameter factor: float 2.0 -> float 3.0"]);
}

#[test]
fn a_locked_run_reuses_or_repeats_and_is_held_against_the_lock() {
    let bench = Bench::new();
    bench.run(&[]);
    bench.lock(&[]);
    bench.mlpipe(&["run", "small.yaml", "--locked"]).expect(0, &["4 reused", "small.lock has it: 4 identical"]);
    bench.forget_results();
    let ran = bench.mlpipe(&["run", "small.yaml", "--locked", "--json"]);
    ran.expect(0, &["4 done", "the run is as small.lock has it: 2 identical, 2 equivalent"]);
    assert_eq!(ran.json()["locked"]["verdict"], "equivalent");
}

#[test]
fn a_locked_run_with_other_results_is_told() {
    let bench = Bench::new();
    bench.measure(TREMBLING, ", compare: {json: {rtol: 0.2}}");
    bench.run(&[]);
    bench.lock(&[]);
    bench
        .mlpipe(&["run", "small.yaml", "--locked", "--force", "measure"])
        .expect(5, &["the run is not as small.lock has it: 2 equivalent, 2 different", "different report[one].report"]);
    bench.forget_results();
    let ran = bench.mlpipe(&["run", "small.yaml", "--locked"]);
    ran.expect(5, &["the original is not in this state directory, so `json` cannot be applied"]);
}

#[test]
fn a_locked_run_is_refused_when_anything_drifted_and_the_drift_is_named() {
    type Change = fn(&Bench);
    let cases: [(Change, &[&str], &str); 9] = [
        (|_| {}, &["-P", "factor=3"], "params factor: 2.0 -> 3.0"),
        (
            |bench| bench.write("small.yaml", &PIPELINE.replace("default: 2.0", "default: 4.0")),
            &[],
            "params factor: 2.0 -> 4.0",
        ),
        (|bench| bench.write("data/one", "x"), &[], "inputs texts[one]: "),
        (|bench| bench.write("data/new", "x"), &[], "inputs texts[new]: new ("),
        (|bench| bench.write("weights", "x"), &[], "contents measure.weights: "),
        (|bench| bench.report("true", ""), &[], "projects projects/report/MLproject: "),
        (|bench| bench.edit("small.lock", "/environment/onnx", "other 1"), &[], "environment onnx: other 1 -> "),
        (
            |bench| bench.write("small.yaml", &PIPELINE.replace("  report:\n", "  report:\n    env: {MODE: fast}\n")),
            &[],
            "steps report: env MODE: new (fast)",
        ),
        (
            |bench| bench.write("small.yaml", &PIPELINE.replace("factor: \"${{ params.factor }}\"}", "factor: 7.0}")),
            &[],
            "steps measure: factor: 2.0 -> 7.0",
        ),
    ];
    let bench = Bench::new();
    bench.run(&[]);
    bench.lock(&[]);
    let lock = fs::read_to_string(bench.0.path("small.lock")).expect("readable");
    for (change, more, drift) in cases {
        let bench = Bench::new();
        bench.write("small.lock", &lock);
        change(&bench);
        let ran = bench.mlpipe(&[&["run", "small.yaml", "--locked"], more].concat());
        ran.expect(5, &["is not as small.lock has it", drift, "hint:"]);
        assert!(!ran.stderr.contains("start "), "nothing ran: {}", ran.stderr);
    }
}

#[test]
fn a_lock_pins_the_parameters_and_where_content_lies_does_not_count() {
    let bench = Bench::new();
    bench.write("elsewhere/one", "a b");
    bench.write("elsewhere/two", "c");
    bench.run(&["-P", "factor=3"]);
    let lock = bench.lock(&["-P", "factor=3"]);
    assert_eq!(lock["given"], serde_json::json!(["factor"]));
    bench.mlpipe(&["run", "small.yaml", "--locked", "-P", "data=elsewhere"]).expect(0, &["4 reused"]);
    bench.mlpipe(&["run", "small.yaml", "--locked", "-P", "factor=2"]).expect(5, &["params factor: 3.0 -> 2.0"]);
}

#[test]
fn a_lock_is_reproduced_with_and_without_the_original_results() {
    let bench = Bench::new();
    bench.run(&[]);
    bench.lock(&[]);
    bench.mlpipe(&["reproduce", "small.lock"]).expect(0, &["small.lock is reproduced: 2 identical, 2 equivalent"]);
    bench.forget_results();
    bench.mlpipe(&["reproduce", "small.lock"]).expect(0, &["small.lock is reproduced: 2 identical, 2 equivalent"]);
    assert!(!bench.0.path(".mlpipe").exists(), "nothing was written here");
    bench.write("weights", "x");
    bench.mlpipe(&["reproduce", "small.lock"]).expect(5, &["contents measure.weights: "]);
}

#[test]
fn a_step_that_keeps_no_results_is_locked_without_them() {
    let bench = Bench::new();
    bench.write("small.yaml", &PIPELINE.replace("  report:\n", "  report:\n    cache: false\n"));
    bench.run(&[]);
    let lock = bench.lock(&[]);
    assert_eq!(lock["tasks"]["report[one]"]["outputs"], serde_json::json!({}));
    bench.mlpipe(&["run", "small.yaml", "--locked"]).expect(0, &["small.lock has it: 2 identical"]);
}

#[test]
fn a_damaged_or_missing_lock_is_named() {
    let bench = Bench::new();
    bench
        .mlpipe(&["run", "small.yaml", "--locked"])
        .expect(4, &["small.lock", "No such file", "mlpipe lock small.yaml"]);
    bench.write("small.lock", "{");
    bench.mlpipe(&["run", "small.yaml", "--locked"]).expect(4, &["small.lock"]);
    bench.write("small.lock", "");
    bench.mlpipe(&["reproduce", "small.lock"]).expect(4, &["small.lock"]);
    fs::remove_file(bench.0.path("small.lock")).expect("removed");
    bench.run(&[]);
    bench.lock(&[]);
    bench.edit("small.lock", "/format", "mlpipe.lock/9");
    bench.mlpipe(&["reproduce", "small.lock"]).expect(4, &["its format is `mlpipe.lock/9`", "mlpipe.lock/1"]);
    bench.edit("small.lock", "/format", "mlpipe.lock/1");
    bench.edit("small.lock", "/file", "../other.yaml");
    bench.mlpipe(&["reproduce", "small.lock"]).expect(4, &["must be the name of a file beside it"]);
}

#[test]
fn dicom_files_are_compared_without_the_declared_attributes_and_name_no_patient() {
    let bench = Bench::new();
    let image = common::phantom().join("12b15853.dcm");
    // The step writes the end of the run's id over the patient's: ids of one process begin alike.
    let command = format!(
        "LC_ALL=C sed \"s/PHANTOM/$(echo \"$MLFLOW_RUN_ID\" | cut -c26-32)/g\" {} > \"$MLPIPE_OUTPUT_DIR/report.txt\"",
        common::text(&image)
    );
    bench.report(&command, ", compare: {dicom: {ignore: [PatientID, ImplementationVersionName]}}");
    let run = bench.run(&[]);
    bench.mlpipe(&["reproduce", &run]).expect(0, &["2 identical, 2 equivalent"]);

    bench.report(&command, ", compare: {dicom: {ignore: [ImplementationVersionName]}}");
    let run = bench.run(&[]);
    let ran = bench.mlpipe(&["reproduce", &run]);
    ran.expect(5, &["different report[one].report (dicom): PatientID (0010,0020): a value of 8 bytes"]);
    let artifacts = bench.mlpipe(&["runs", "show", &run, "--json"]).json();
    let steps = artifacts["children"].as_array().expect("steps");
    let report = steps.iter().find(|step| step["name"] == "report").expect("the step");
    let written = report["children"][0]["run_id"].as_str().expect("an id");
    assert!(!ran.stderr.contains(&written[25..]), "{}", ran.stderr);

    bench.report(&command, ", compare: {dicom: {ignore: [PatientId]}}");
    bench.mlpipe(&["run", "small.yaml"]).expect(3, &["comparator `dicom`", "PatientId"]);
}

#[test]
fn content_of_every_value_of_a_sweep_is_pinned_by_its_path() {
    let bench = Bench::new();
    bench.write("other", "0.5");
    let swept = PIPELINE
        .replace(
            "    for_each: {text: inputs.texts}\n",
            "    for_each: {text: inputs.texts}\n    matrix: {weights: [weights, other]}\n",
        )
        .replace("weights: \"${{ params.weights }}\"", "weights: \"${{ matrix.weights }}\"")
        .replace("for_each: {text: measure}", "for_each: {text: measure, matrix: measure}");
    bench.write("small.yaml", &swept);
    bench.run(&[]);
    let lock = bench.lock(&[]);
    let text = lock.to_string();
    assert!(text.contains("measure.weights weights") && text.contains("measure.weights other"), "{text}");
    assert!(!text.contains(&common::text(&bench.0.path(""))), "no path of this machine: {text}");
    bench.write("other", "0.75");
    bench.mlpipe(&["run", "small.yaml", "--locked"]).expect(5, &["measure.weights other"]);
}
