//! Pipelines as steps: what they come to, and that mistakes are reported in the file that has them.

mod common;

use std::path::Path;

use common::Workplace;
use mlpipe_spec::{DimensionSource, Pipeline, Step};

const OUTER: &str = "name: outer
params: {scale: {type: float, default: 2}}
inputs:
  studies: {collection: files, from: .}
defaults: {retries: 2}
steps:
  slices:
    project: ../projects/sagittal
    for_each: {study: inputs.studies}
    parameters: {series: \"${{ item.study }}\"}
  find:
    pipeline: inner.yaml
    for_each: {study: slices}
    parameters: {volume: \"${{ steps.slices.outputs.volume }}\", threshold: 0.75}
    resources: {gpu: 1}
  all:
    project: ../projects/report
    entry_point: summary
    parameters: {reports: \"${{ gather(steps.find.outputs.findings, over='study') }}\"}
outputs: {boxes: steps.find.outputs.boxes}
";

const INNER: &str = "name: inner
params: {volume: path, threshold: {type: float, default: 0.5, max: 1}}
defaults: {retries: 1, timeout: 1m}
steps:
  vertebrae:
    project: ../projects/vertebrae
    parameters: {volume: \"${{ params.volume }}\", threshold: \"${{ params.threshold }}\"}
  nodes:
    project: ../projects/schmorl
    for_each: {vertebra: vertebrae.outputs.vertebrae}
    if: params.threshold > 0.5
    retries: 7
    parameters: {volume: \"${{ params.volume }}\", vertebra: \"${{ item.vertebra }}\"}
  report:
    project: ../projects/report
    parameters:
      volume: \"${{ params.volume }}\"
      vertebrae: \"${{ steps.vertebrae.outputs.boxes }}\"
      findings: \"${{ gather(steps.nodes.outputs.finding, over='vertebra') }}\"
outputs: {boxes: steps.vertebrae.outputs.boxes, findings: steps.report.outputs.report}
";

fn load(outer: &str, inner: &str) -> Result<Pipeline, Vec<String>> {
    let workplace = Workplace::new();
    workplace.write("pipelines/inner.yaml", inner);
    let folder = format!("{}/", workplace.path().display());
    let line = |item: &mlpipe_spec::Diagnostic| item.to_string().replace(&folder, "");
    workplace.load(outer, &[]).map_err(|found| found.items().iter().map(line).collect())
}

fn loaded(outer: &str, inner: &str) -> Pipeline {
    load(outer, inner).unwrap_or_else(|found| panic!("{found:#?}"))
}

fn step<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Step {
    pipeline.steps.iter().find(|step| step.name.as_str() == name).unwrap_or_else(|| panic!("no step {name}"))
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "`{from}` must be there once");
    text.replace(from, to)
}

/// Checks the mistakes of two texts: each contains all parts of its line, which are separated by ` | `.
fn check(outer: &str, inner: &str, expected: &[&str]) {
    let found = load(outer, inner).expect_err("there are mistakes");
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        for part in expected.split(" | ") {
            assert!(found.contains(part), "{found}\ndoes not contain\n{part}");
        }
    }
}

#[test]
fn steps_of_the_pipeline_take_the_place_of_the_step() {
    let pipeline = loaded(OUTER, INNER);
    let names: Vec<&str> = pipeline.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["slices", "find/vertebrae", "find/nodes", "find/report", "all"]);
    let nodes = step(&pipeline, "find/nodes");
    let variables: Vec<&str> = nodes.dimensions.iter().map(|dimension| dimension.variable.as_str()).collect();
    assert_eq!(variables, ["find/study", "vertebra"]);
    assert_eq!(nodes.dimensions[1].source, DimensionSource::Output { step: 1, output: "vertebrae".into() });
    assert_eq!(nodes.upstream(), [0, 1]);
    assert_eq!(step(&pipeline, "all").upstream(), [3]);
    assert_eq!(pipeline.outputs["boxes"].step, 1);
    assert!(nodes.condition.is_none(), "it is known to be true: the pipeline is given 0.75");
    assert_eq!(nodes.name.enclosing().collect::<Vec<_>>(), ["find"]);
    assert!(pipeline.included.keys().any(|path| path.ends_with(Path::new("pipelines/inner.yaml"))));
}

#[test]
fn settings_come_from_the_step_then_from_the_step_around_then_from_the_file() {
    let pipeline = loaded(OUTER, INNER);
    assert_eq!(step(&pipeline, "slices").retries.max, 2);
    assert_eq!(step(&pipeline, "find/nodes").retries.max, 7);
    let vertebrae = step(&pipeline, "find/vertebrae");
    assert_eq!((vertebrae.retries.max, vertebrae.resources.gpu), (1, 1));
    assert_eq!(vertebrae.timeout.map(|timeout| timeout.as_secs()), Some(60));
    let outer = replaced(OUTER, "    resources: {gpu: 1}\n", "    retries: 5\n");
    assert_eq!(step(&loaded(&outer, INNER), "find/vertebrae").retries.max, 5);
}

#[test]
fn condition_of_the_step_is_that_of_all_its_steps() {
    let outer = replaced(OUTER, "    resources: {gpu: 1}\n", "    if: item.study != 'x'\n");
    let inner = replaced(INNER, "params.threshold > 0.5", "item.vertebra != 'y'");
    let pipeline = loaded(&outer, &inner);
    let text = |name: &str| step(&pipeline, name).condition.as_ref().expect("a condition").text.clone();
    assert_eq!(text("find/report"), "item.study != 'x'");
    assert_eq!(text("find/nodes"), "(item.study != 'x') && (item.vertebra != 'y')");
    let never = loaded(&replaced(OUTER, "    resources: {gpu: 1}\n", "    if: params.scale > 3\n"), INNER);
    let excluded = |step: &&Step| step.condition.as_ref().is_some_and(mlpipe_spec::Condition::is_never);
    assert_eq!(never.steps.iter().filter(excluded).count(), 3);
}

#[test]
fn step_that_needs_a_pipeline_waits_for_all_of_it_and_is_excluded_only_with_all_of_it() {
    let outer = replaced(OUTER, "    entry_point: summary\n", "    entry_point: summary\n    needs: [find]\n");
    let inner = replaced(INNER, "params.threshold > 0.5", "item.vertebra != 'y'");
    let pipeline = loaded(&outer, &inner);
    let needs: Vec<_> = step(&pipeline, "all").needs.iter().map(|need| (need.step, need.optional)).collect();
    // The report needs the nodes: where its own pipeline's `if` excludes them, it is excluded too.
    assert_eq!(needs, [(1, false), (2, true), (3, true)]);
}

#[test]
fn pipeline_that_always_runs_takes_any_end_of_what_is_outside_of_it() {
    let outer = replaced(OUTER, "    resources: {gpu: 1}\n", "    always: true\n");
    let given = "\"${{ steps.slices.outputs.volume }}\", threshold";
    check(&outer, INNER, &["14:37: this step runs even when `slices` has failed | default("]);
    let outer = replaced(&outer, given, "\"${{ default(steps.slices.outputs.volume, '') }}\", threshold");
    let pipeline = loaded(&outer, INNER);
    let after: Vec<_> = pipeline.steps.iter().map(|step| step.always_after).collect();
    assert_eq!(after, [None, Some(1), Some(1), Some(1), None]);
}

#[test]
fn inputs_are_other_collections_and_items_stay_the_same_items() {
    let inner = "name: inner
inputs: {words: {collection: files, from: nowhere}}
steps:
  copy:
    project: ../projects/sagittal
    for_each: {word: inputs.words}
    if: count(inputs.words) > 1
    parameters: {series: \"${{ item.word }}\"}
outputs: {volume: steps.copy.outputs.volume}
";
    let outer = "name: outer
inputs: {studies: {collection: files, from: .}}
steps:
  find: {project: ../projects/vertebrae, for_each: {study: inputs.studies}, parameters: {volume: \"${{ item.study }}\"}}
  studies: {pipeline: inner.yaml, inputs: {words: inputs.studies}}
  parts: {pipeline: inner.yaml, for_each: {study: find}, inputs: {words: find.outputs.vertebrae}}
  own: {pipeline: inner.yaml}
  same:
    project: ../projects/sagittal
    for_each: {study: inputs.studies}
    parameters: {series: \"${{ steps.studies.outputs.volume }}\"}
  each:
    project: ../projects/sagittal
    for_each: {study: parts, word: parts}
    parameters: {series: \"${{ steps.parts.outputs.volume }}\"}
";
    let pipeline = loaded(outer, inner);
    let source = |name: &str| step(&pipeline, name).dimensions.last().expect("a loop").source.clone();
    assert_eq!(source("studies/copy"), DimensionSource::Input("studies".into()));
    assert_eq!(source("parts/copy"), DimensionSource::Output { step: 0, output: "vertebrae".into() });
    assert_eq!(source("own/copy"), DimensionSource::Input("own/words".into()));
    assert_eq!(pipeline.inputs.keys().collect::<Vec<_>>(), ["studies", "own/words"]);
    assert!(pipeline.inputs["own/words"].from.ends_with("pipelines/nowhere"), "paths count from the inner file");
    assert_eq!(step(&pipeline, "each").dimensions.len(), 2);
    let outer = replaced(outer, "{words: inputs.studies}", "{words: inputs.study, word: inputs.studies}");
    let outer = replaced(&outer, "for_each: {study: find}, inputs", "inputs");
    let outer = outer.split("  same:").next().expect("what comes before");
    check(
        outer,
        inner,
        &[
            "5:58: there is no input `study` | did you mean `studies`?",
            "5:65: the pipeline has no input `word` | did you mean `words`?",
            "6:49: step `find` runs once for each `study`, this step does not",
        ],
    );
}

#[test]
fn collections_of_another_kind_and_items_taken_twice_are_reported() {
    let inner = "name: inner
inputs: {series: {collection: dicom-series, from: .}, files: {collection: files, from: .}}
steps:
  copy:
    project: ../projects/sagittal
    for_each: {one: inputs.files}
    parameters: {series: \"${{ item.one }}\"}
";
    let outer = "name: outer
inputs: {studies: {collection: files, from: .}}
steps:
  a: {pipeline: inner.yaml, inputs: {series: inputs.studies}}
  b: {pipeline: inner.yaml, for_each: {study: inputs.studies}, inputs: {files: inputs.studies}}
";
    check(
        outer,
        inner,
        &[
            "4:53: `studies` is a collection of `files`, not of `dicom-series`",
            "5:87: this step runs once for each item of `studies` already | remove it from for_each",
        ],
    );
}

#[test]
fn mistakes_are_reported_in_their_file_all_at_once_with_the_step_that_leads_there() {
    let outer = replaced(OUTER, "threshold: 0.75", "threshold: 1.75, treshold: 1");
    let outer =
        replaced(&outer, "outputs: {boxes: steps.find.outputs.boxes}", "outputs: {boxes: steps.find.outputs.box}");
    let inner = replaced(INNER, "vertebra: \"${{ item.vertebra }}\"", "vertebra: \"${{ item.vertebre }}\"");
    let inner = replaced(&inner, "    retries: 7\n", "    retrys: 7\n");
    check(
        &outer,
        &inner,
        &[
            "pipelines/schmorl.yaml:14:75: parameter `threshold`: 1.75 is above the maximum 1",
            "pipelines/schmorl.yaml:14:81: pipeline `pipelines/inner.yaml` has no parameter `treshold`",
            "pipelines/schmorl.yaml:20:37: step `find` has no output `box` | did you mean `boxes`?",
            "pipelines/inner.yaml:12:5: a step has no key `retrys` | (used by step `find` in pipelines/schmorl.yaml:12:15)",
            "pipelines/inner.yaml:13:70: `vertebre` is not a variable of this step | used by step `find`",
        ],
    );
}

#[test]
fn what_a_step_must_give_or_cannot_say_is_reported() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "    parameters: {volume: \"${{ steps.slices.outputs.volume }}\", threshold: 0.75}\n",
            "",
            &["11:3: step `find`: parameter `volume` has no value | add volume: under parameters; it is of type path"],
        ),
        (
            "    resources: {gpu: 1}\n",
            "    timeout: 1m\n",
            &["15:5: `timeout` is for a step with a `project` | `defaults`"],
        ),
        ("    resources: {gpu: 1}\n", "    project: x\n", &["15:5: `project` is for a step | remove one of them"]),
        ("    resources: {gpu: 1}\n", "    batch: 4\n", &["15:5: `batch` is for a step with a `project`"]),
        (
            "    pipeline: inner.yaml\n",
            "    pipeline: iner.yaml\n",
            &["12:15: cannot read `pipelines/iner.yaml`: No such"],
        ),
        ("    pipeline: inner.yaml\n", "    pipeline: ''\n", &["12:15: `pipeline` is empty"]),
        (
            "    entry_point: summary\n",
            "    entry_point: summary\n    inputs: {}\n",
            &["`inputs` is for a step with a `pipeline`"],
        ),
    ];
    for (from, to, expected) in cases {
        check(&replaced(OUTER, from, to), INNER, expected);
    }
}

#[test]
fn value_that_is_known_too_late_is_reported_where_it_is_used() {
    let inner = replaced(INNER, "params.threshold > 0.5", "params.volume != ''");
    check(
        OUTER,
        &inner,
        &["inner.yaml:11:16: `volume` is known only when a step runs, and needed here before | step `find` gives it"],
    );
    let outer = replaced(
        OUTER,
        "for_each: {study: slices}\n    parameters",
        "for_each: {study: slices}\n    matrix: {t: [0.25, 0.75]}\n    parameters",
    );
    let outer = replaced(&outer, "threshold: 0.75", "threshold: \"${{ matrix.t }}\"");
    let outer = replaced(&outer, "  all:\n", "  all:\n    for_each: {matrix: find}\n");
    let pipeline = loaded(&outer, INNER);
    let nodes = step(&pipeline, "find/nodes");
    assert!(nodes.condition.is_some(), "values of a matrix can be used in expressions");
    assert_eq!(nodes.dimensions.len(), 3);
    assert_eq!(nodes.matrices, [0]);
}

#[test]
fn pipelines_that_are_part_of_themselves_are_reported_with_the_chain() {
    let workplace = Workplace::new();
    workplace.write("pipelines/a.yaml", "name: a\nsteps: {b: {pipeline: b.yaml}}\n");
    workplace.write("pipelines/b.yaml", "name: b\nsteps: {a: {pipeline: ../pipelines/a.yaml}}\n");
    let found = workplace.load("name: top\nsteps: {a: {pipeline: a.yaml}, top: {pipeline: schmorl.yaml}}\n", &[]);
    let found = found.expect_err("two cycles").to_string().replace(&format!("{}/", workplace.path().display()), "");
    for expected in [
        "schmorl.yaml:2:48: a pipeline is part of itself: pipelines/schmorl.yaml -> pipelines/schmorl.yaml",
        "b.yaml:2:23: a pipeline is part of itself: pipelines/a.yaml -> pipelines/b.yaml -> pipelines/a.yaml",
        "(used by step `b` in pipelines/a.yaml:2:23, used by step `a` in pipelines/schmorl.yaml:2:23)",
    ] {
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn variables_of_a_pipeline_in_a_pipeline_are_called_as_they_are_there() {
    let workplace = Workplace::new();
    workplace.write(
        "pipelines/inner.yaml",
        INNER.replace("findings: steps.report.outputs.report", "findings: steps.nodes.outputs.finding").as_str(),
    );
    workplace.write(
        "pipelines/middle.yaml",
        "name: middle
params: {volume: path}
steps:
  deep: {pipeline: inner.yaml, matrix: {threshold: [0.6, 0.7]}, parameters: {volume: \"${{ params.volume }}\", threshold: \"${{ matrix.threshold }}\"}}
outputs: {findings: steps.deep.outputs.findings}
",
    );
    let outer = OUTER.replace("pipeline: inner.yaml", "pipeline: middle.yaml").replace(", threshold: 0.75", "");
    let outer = replaced(
        &outer,
        "outputs: {boxes: steps.find.outputs.boxes}",
        "outputs: {findings: steps.find.outputs.findings}",
    );
    let outer = replaced(&outer, "  all:\n", "  all:\n    for_each: {study: find, matrix: find}\n");
    let outer = replaced(&outer, "over='study'", "over='vertebra'");
    let pipeline = workplace.load(&outer, &[]).unwrap_or_else(|found| panic!("{found}"));
    let variables = |name: &str| {
        let dimensions = step(&pipeline, name).dimensions.iter();
        dimensions.map(|dimension| dimension.variable.clone()).collect::<Vec<_>>()
    };
    assert_eq!(variables("find/deep/nodes"), ["deep/find/study", "deep/matrix", "vertebra"]);
    assert_eq!(variables("all"), ["study", "matrix"]);
}

#[test]
fn two_variables_of_one_name_are_told_apart_or_reported() {
    let outer = replaced(
        OUTER,
        "for_each: {study: slices}\n    parameters: {volume",
        "for_each: {study: slices}\n    parameters: {volume",
    );
    let inner = replaced(
        INNER,
        "for_each: {vertebra: vertebrae.outputs.vertebrae}",
        "for_each: {study: vertebrae.outputs.vertebrae}",
    );
    let inner = inner.replace("item.vertebra", "item.study").replace("over='vertebra'", "over='study'");
    let pipeline = loaded(&outer, &inner);
    let variables: Vec<&str> =
        step(&pipeline, "find/nodes").dimensions.iter().map(|dimension| dimension.variable.as_str()).collect();
    assert_eq!(variables, ["find/study", "study"]);
    let inner = replaced(&inner, "findings: steps.report.outputs.report", "findings: steps.nodes.outputs.finding");
    check(&outer, &inner, &["step `find` has two variables `study`: its own, and one of its pipeline"]);
}
