//! Pipelines as steps, and GPUs, as the command shows them.

mod common;

use std::fs;
use std::path::Path;

use common::{Place, Ran, repository, text};
use serde_json::Value;

const PROJECT: &str = "entry_points:
  main:
    parameters: {text: {type: string, default: none}, file: {type: path, default: \"\"}}
    command: 'test {text} != bad && echo {text} > \"$MLPIPE_OUTPUT_DIR/out.txt\"'
    outputs: {out: {path: out.txt}}
  gpu:
    command: 'echo \"$CUDA_VISIBLE_DEVICES\" > \"$MLPIPE_OUTPUT_DIR/out.txt\"'
    outputs: {out: {path: out.txt}}
";

fn place(files: &[(&str, &str)]) -> Place {
    let place = Place::new();
    place.write("say/MLproject", PROJECT);
    for (name, text) in files {
        place.write(name, text);
    }
    place
}

fn run(place: &Place, more: &[&str]) -> Ran {
    place.mlpipe(&[&["run", "main.yaml", "--json"], more].concat())
}

/// `step[key] status`, in the order in which they became known.
fn rows(document: &Value) -> Vec<String> {
    let steps = document["steps"].as_array().expect("steps").iter();
    let key = |step: &Value| step["key"].as_str().map_or_else(String::new, |key| format!("[{key}]"));
    let word = |step: &Value, field: &str| step[field].as_str().unwrap_or_default().to_owned();
    steps.map(|step| format!("{}{} {}", word(step, "name"), key(step), word(step, "status"))).collect()
}

fn output(document: &Value, name: &str) -> String {
    fs::read_to_string(document["outputs"][name].as_str().expect("a path")).expect("readable")
}

const TWO: &str = "name: two
params: {text: string}
steps:
  first: {project: say, parameters: {text: \"${{ params.text }}\"}}
  second: {project: say, parameters: {text: after, file: \"${{ steps.first.outputs.out }}\"}}
outputs: {out: steps.second.outputs.out}
";

#[test]
fn work_is_the_same_by_itself_and_in_any_pipeline_around_it() {
    let place = place(&[
        ("two.yaml", TWO),
        ("main.yaml", "name: main\nsteps: {deep: {pipeline: middle.yaml}}\noutputs: {out: steps.deep.outputs.out}\n"),
        (
            "middle.yaml",
            "name: middle\nsteps: {inner: {pipeline: two.yaml, parameters: {text: x}}}\noutputs: {out: steps.inner.outputs.out}\n",
        ),
    ]);
    let alone = place.mlpipe(&["run", "two.yaml", "-P", "text=x", "--json"]);
    assert_eq!(alone.code, 0, "{}", alone.stderr);
    let around = run(&place, &[]);
    assert_eq!(rows(&around.json()), ["deep/inner/first cached", "deep/inner/second cached"], "{}", around.stderr);
    assert_eq!(output(&around.json(), "out"), output(&alone.json(), "out"));
    let id = around.json()["run_id"].as_str().expect("an id").to_owned();
    let shown = place.mlpipe(&["runs", "show", &id, "--json"]).json();
    let deep = &shown["children"][0];
    let names = [&deep["name"], &deep["children"][0]["name"], &deep["children"][0]["children"][0]["name"]];
    assert_eq!(names, ["deep", "deep/inner", "deep/inner/first"]);
    assert_eq!((&deep["status"], &deep["children"][0]["status"]), (&"FINISHED".into(), &"FINISHED".into()));
}

#[test]
fn commands_take_the_name_of_a_pipeline_step_for_all_of_it() {
    let place = place(&[
        ("two.yaml", TWO),
        (
            "main.yaml",
            "name: main\nsteps:\n  a: {pipeline: two.yaml, parameters: {text: x}}\n  b: {project: say, parameters: {text: b}}\n  c: {project: say, needs: [a, b], parameters: {text: c}}\n",
        ),
    ]);
    let only = run(&place, &["--only", "a"]);
    assert_eq!(rows(&only.json()), ["a/first done", "a/second done"], "{}", only.stderr);
    assert_eq!(rows(&run(&place, &["--only", "a/first"]).json()), ["a/first cached"]);
    assert_eq!(rows(&run(&place, &["--force", "a"]).json()), ["a/first done", "a/second done", "b done", "c done"]);
    let from = rows(&run(&place, &["--from", "a"]).json());
    assert_eq!(from, ["a/first done", "a/second done", "b cached", "c done"]);
    place.mlpipe(&["why", "main.yaml", "a"]).expect(2, &["step `a` is a pipeline", "a/first, a/second"]);
    let why = place.mlpipe(&["why", "main.yaml", "a/second", "--json"]).json();
    assert_eq!((&why["name"], &why["action"]), (&"a/second".into(), &"reuse".into()));
    place.mlpipe(&["run", "main.yaml", "--only", "a/frist"]).expect(2, &["did you mean `a/first`?"]);
    let graph = place.mlpipe(&["plan", "main.yaml", "--mermaid"]).stdout;
    assert!(graph.contains("  subgraph g0_0[\"a\"]\n  s0[\"a/first\"]\n  s1[\"a/second\"]\n  end\n  s2"), "{graph}");
    assert!(graph.contains("s0 --> s1"), "{graph}");
    assert!(place.mlpipe(&["plan", "main.yaml", "--dot"]).stdout.contains("label = \"a/second\""));
}

#[test]
fn failure_inside_stops_what_needs_the_pipeline_but_not_a_pipeline_that_always_runs() {
    let place = place(&[
        ("two.yaml", TWO),
        (
            "main.yaml",
            "name: main
steps:
  bad: {pipeline: two.yaml, parameters: {text: bad}}
  after: {project: say, needs: [bad]}
  clean: {pipeline: two.yaml, always: true, needs: [bad], parameters: {text: \"${{ default(steps.bad.outputs.out, 'none') }}\"}}
",
        ),
    ]);
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let expected = ["bad/first failed", "bad/second skipped", "after skipped", "clean/first done", "clean/second done"];
    let mut found = rows(&ran.json());
    found.sort_by_key(|row| expected.iter().position(|known| known == row));
    assert_eq!(found, expected, "{}", ran.stderr);
    let id = ran.json()["run_id"].as_str().expect("an id").to_owned();
    let shown = place.mlpipe(&["runs", "show", &id, "--json"]).json();
    let status = |name: &str| {
        let children = shown["children"].as_array().expect("children");
        children.iter().find(|child| child["name"] == name).expect("it is there")["status"].clone()
    };
    assert_eq!((status("bad"), status("clean")), ("FAILED".into(), "FINISHED".into()));
}

#[test]
fn excluded_pipeline_is_skipped_whole_and_is_no_failure() {
    let place = place(&[
        ("two.yaml", TWO),
        (
            "main.yaml",
            "name: main
params: {on: {type: bool, default: false}}
steps:
  a: {pipeline: two.yaml, if: params.on, parameters: {text: x}}
  needs: {project: say, needs: [a]}
  other: {project: say, parameters: {file: \"${{ default(steps.a.outputs.out, '') }}\"}}
outputs: {out: steps.other.outputs.out}
",
        ),
    ]);
    let ran = run(&place, &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(rows(&ran.json()), ["a/first skipped", "a/second skipped", "needs skipped", "other done"]);
    let on = rows(&run(&place, &["-P", "on=true"]).json());
    assert!(on.iter().all(|row| row.ends_with(" done")), "{on:?}");
}

#[test]
fn failed_combination_stops_the_others_of_a_pipeline_that_is_swept() {
    let place = place(&[
        ("two.yaml", TWO),
        (
            "main.yaml",
            "name: main
defaults: {on_item_error: collect}
steps:
  sweep:
    pipeline: two.yaml
    on_item_error: collect
    matrix: {text: [bad, good], max_parallel: 1, fail_fast: true}
    parameters: {text: \"${{ matrix.text }}\"}
",
        ),
    ]);
    let ran = run(&place, &[]);
    let expected = [
        "sweep/first[text=bad] failed",
        "sweep/first[text=good] skipped",
        "sweep/second[text=bad] skipped",
        "sweep/second[text=good] skipped",
    ];
    assert_eq!(rows(&ran.json()), expected, "{}", ran.stderr);
}

#[test]
fn run_is_reproduced_with_the_pipelines_that_it_had() {
    let place = place(&[
        ("two.yaml", TWO),
        ("main.yaml", "name: main\nsteps: {a: {pipeline: two.yaml, parameters: {text: x}}}\n"),
    ]);
    let id = run(&place, &[]).json()["run_id"].as_str().expect("an id").to_owned();
    assert_eq!(place.mlpipe(&["lock", "main.yaml"]).code, 0);
    place.write("two.yaml", &TWO.replace("text: after", "text: later"));
    let ran = place.mlpipe(&["reproduce", &id]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("a/second"), "{}", ran.stdout);
    place.mlpipe(&["run", "--locked", "main.yaml"]).expect(5, &["a/second: text: after -> later"]);
}

#[test]
fn mistake_in_a_pipeline_that_is_a_step_shows_its_line_and_the_step() {
    let place = place(&[
        ("two.yaml", &TWO.replace("outputs.out}}", "outputs.ot }}").replace("{text: after, ", "{txt: after, ")),
        ("main.yaml", "name: main\nsteps: {a: {pipeline: two.yaml, parameters: {text: x, more: 1}}}\n"),
    ]);
    let ran = place.mlpipe(&["plan", "main.yaml"]);
    ran.expect(
        3,
        &[
            "main.yaml:2:55",
            "no parameter `more`",
            "two.yaml:5:",
            "second: {project",
            "used by step `a` in main.yaml:2:23",
        ],
    );
}

// ---- GPUs

const GPUS: &str = "name: main
steps:
  one: {project: say, entry_point: gpu, resources: {gpu: 1}, cache: false}
  two: {project: say, entry_point: gpu, resources: {gpu: 2}, cache: false}
  none: {project: say, entry_point: gpu, cache: false}
outputs: {one: steps.one.outputs.out, two: steps.two.outputs.out, none: steps.none.outputs.out}
";

#[test]
fn step_is_told_which_gpus_it_holds() {
    let place = place(&[("main.yaml", GPUS)]);
    let visible = |value: &str, more: &[&str]| {
        let arguments = [&["run", "main.yaml", "--json"], more].concat();
        common::ran(place.command(&arguments).env("CUDA_VISIBLE_DEVICES", value).output().expect("the command starts"))
    };
    let ran = visible("4,GPU-7f", &[]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let document = ran.json();
    assert_eq!(output(&document, "two"), "4,GPU-7f\n");
    assert!(["4\n", "GPU-7f\n"].contains(&output(&document, "one").as_str()));
    assert_eq!(output(&document, "none"), "4,GPU-7f\n", "a step that asks for none sees what mlpipe sees");
    visible("4", &["--gpus", "2"]).expect(2, &["--gpus 2: CUDA_VISIBLE_DEVICES names 1 only"]);
}

#[test]
fn step_that_needs_more_gpus_than_there_are_is_refused_before_anything_runs() {
    let place = place(&[("main.yaml", GPUS)]);
    let mlpipe = |arguments: &[&str]| {
        let output = place.command(arguments).env_remove("CUDA_VISIBLE_DEVICES").output();
        common::ran(output.expect("the command starts"))
    };
    mlpipe(&["run", "main.yaml", "--gpus", "1"]).expect(2, &["step `two` needs 2 GPUs, and there is 1", "--gpus N"]);
    assert!(
        !place.path(".mlpipe/runs").exists()
            || fs::read_dir(place.path(".mlpipe/runs")).expect("readable").count() == 0
    );
    assert_eq!(mlpipe(&["run", "main.yaml", "--gpus", "1", "--only", "one"]).code, 0);
    assert_eq!(mlpipe(&["plan", "main.yaml", "--gpus", "0"]).code, 0, "a plan starts nothing");
    assert_eq!(mlpipe(&["run", "main.yaml", "--gpus", "2"]).code, 0);
}

#[test]
fn example_pipelines_share_the_work_of_the_pipeline_inside() {
    let place = Place::new();
    let example = |name: &str| text(&repository().join(format!("pipelines/examples/{name}.yaml")));
    assert_eq!(place.mlpipe(&["run", &example("for-each")]).code, 0);
    let document = place.mlpipe(&["run", &example("pipeline"), "--json"]).json();
    let done: Vec<String> = rows(&document).into_iter().filter(|row| row.ends_with(" done")).collect();
    assert_eq!(done, ["report done"]);
    let report = document["outputs"]["report"].as_str().expect("a path");
    assert!(fs::read_to_string(Path::new(report)).expect("readable").starts_with("2 texts\n"));
}
