//! What a good pipeline becomes.

mod common;

use std::time::{Duration, Instant};

use common::{PIPELINE, Workplace};
use mlpipe_spec::{
    CommandLine, DimensionSource, ItemForm, Need, OnItemError, ParamValue, Part, Pipeline, Reference, Step,
};

fn step<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Step {
    pipeline.steps.iter().find(|step| step.name.as_str() == name).expect(name)
}

fn id(pipeline: &Pipeline, name: &str) -> usize {
    pipeline.steps.iter().position(|step| step.name.as_str() == name).expect(name)
}

fn text<'s>(step: &'s Step, parameter: &str) -> &'s str {
    let argument = step.arguments.iter().find(|argument| argument.name == parameter).expect(parameter);
    argument.value.as_text().expect("no references")
}

#[test]
fn the_pipeline_of_the_design_is_read_whole() {
    let workplace = Workplace::new();
    let pipeline = workplace.load(PIPELINE, &[]).map_err(|d| d.render(false, 120)).expect("no mistakes");
    let root = workplace.path();
    assert_eq!(pipeline.name, "schmorl");
    assert_eq!(pipeline.directory, root.join("pipelines"));
    assert_eq!(pipeline.params["threshold"].value, ParamValue::Float(0.5));
    let input = &pipeline.inputs["studies"];
    assert_eq!((input.collection.as_str(), input.form), ("dicom-series", ItemForm::Manifest));
    assert_eq!(input.from, root.join("testdata/studies").to_string_lossy());
    let select = serde_json::json!({"Modality": "MR", "plane": "sagittal", "min_instances": 5, "Rows": 512});
    assert_eq!(serde_json::Value::from(input.select.clone()), select);

    let names: Vec<&str> = pipeline.steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!(names, ["slices", "vertebrae", "schmorl", "report", "summary"]);
    let schmorl = step(&pipeline, "schmorl");
    assert_eq!(schmorl.upstream(), [id(&pipeline, "slices"), id(&pipeline, "vertebrae")]);
    assert_eq!((schmorl.batch, schmorl.retries.max, schmorl.on_item_error), (Some(32), 1, OnItemError::Collect));
    assert_eq!(schmorl.timeout, Some(Duration::from_secs(5400)));
    assert!(!step(&pipeline, "summary").cache);
    assert_eq!(step(&pipeline, "summary").needs, [Need { step: id(&pipeline, "report"), optional: false }]);
    assert_eq!(pipeline.outputs["reports"].step, id(&pipeline, "report"));
}

#[test]
fn dimensions_over_the_same_items_have_the_same_origin() {
    let workplace = Workplace::new();
    let pipeline = workplace.load(PIPELINE, &[]).expect("no mistakes");
    let slices = &step(&pipeline, "slices").dimensions;
    let schmorl = &step(&pipeline, "schmorl").dimensions;
    assert_eq!(slices[0].source, DimensionSource::Input("studies".into()));
    assert_eq!(schmorl[0].source, DimensionSource::SameAs(id(&pipeline, "slices")));
    assert_eq!(schmorl[0].origin, slices[0].origin);
    let vertebrae = DimensionSource::Output { step: id(&pipeline, "vertebrae"), output: "vertebrae".into() };
    assert_eq!((schmorl[1].variable.as_str(), &schmorl[1].source), ("vertebra", &vertebrae));
    assert_ne!(schmorl[1].origin, slices[0].origin);
}

#[test]
fn arguments_follow_the_entry_point_and_its_defaults() {
    let workplace = Workplace::new();
    let pipeline = workplace.load(PIPELINE, &[]).expect("no mistakes");
    let root = workplace.path();
    let schmorl = step(&pipeline, "schmorl");
    let names: Vec<&str> = schmorl.arguments.iter().map(|argument| argument.name.as_str()).collect();
    assert_eq!(names, ["volume", "vertebra", "model"]);
    assert_eq!(text(schmorl, "model"), root.join("projects/schmorl/model").to_string_lossy());
    assert!(schmorl.arguments[2].from_project_default && !schmorl.arguments[0].from_project_default);
    let item = Part::Reference(Reference::Item { variable: "vertebra".into() });
    assert_eq!(schmorl.arguments[1].value.parts, [item]);
    let findings = &step(&pipeline, "report").arguments[2].value.parts;
    let gather =
        Reference::Gather { step: id(&pipeline, "schmorl"), output: "finding".into(), over: "vertebra".into() };
    assert_eq!(*findings, [Part::Reference(gather)]);
    assert_eq!(text(step(&pipeline, "slices"), "spacing_mm"), "1.0", "a float is written as one");
    assert_eq!(text(step(&pipeline, "vertebrae"), "threshold"), "0.5");
}

#[test]
fn overrides_win_and_their_paths_start_at_the_working_directory() {
    let workplace = Workplace::new();
    let overrides = [("threshold", "0.25"), ("studies", "elsewhere"), ("detector", "file:///models/a%20b")];
    let pipeline = workplace.load(PIPELINE, &overrides).expect("no mistakes");
    let here = std::env::current_dir().expect("a working directory");
    assert_eq!(pipeline.inputs["studies"].from, here.join("elsewhere").to_string_lossy());
    assert_eq!(text(step(&pipeline, "vertebrae"), "threshold"), "0.25");
    assert_eq!(text(step(&pipeline, "vertebrae"), "model"), "/models/a b");
    assert!(pipeline.params["threshold"].overridden && !pipeline.params["plane"].overridden);
}

#[test]
fn commands_have_a_shell_only_when_they_need_one() {
    let workplace = Workplace::new();
    let pipeline = workplace.load(PIPELINE, &[]).expect("no mistakes");
    let values = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let slices = step(&pipeline, "slices").entry();
    let words = ["mlpipe", "step", "slices", "/a b", "--spacing", "1.0"].map(str::to_owned);
    let line = slices.command_line(&values(&[("series", "/a b"), ("spacing_mm", "1.0")]));
    assert_eq!(line, CommandLine::Direct(words.to_vec()));
    let report = step(&pipeline, "report").entry();
    let line = report.command_line(&values(&[("volume", "/a b"), ("vertebrae", "/v"), ("findings", "/$f")]));
    assert_eq!(line, CommandLine::Shell("mlpipe step report '/a b' /v '/$f' > log.txt".into()));
    let batch = step(&pipeline, "schmorl").entry().batch_command_line("/b.json");
    let words = ["mlpipe", "step", "nodes", "--batch", "/b.json"].map(str::to_owned);
    assert_eq!(batch, Some(CommandLine::Direct(words.to_vec())));
}

#[test]
fn anchors_aliases_and_merge_keys_work() {
    let workplace = Workplace::new();
    let text = PIPELINE
        .replace("    parameters: {series:", "    parameters: &given {series:")
        .replace("    cache: false", "    env: &env {A: \"1\", B: 007}")
        .replace("    batch: 32", "    env: {<<: *env, C: 1.50}");
    let pipeline = workplace.load(&text, &[]).map_err(|d| d.render(false, 120)).expect_err("used before defined");
    assert!(pipeline.contains("not valid YAML"), "{pipeline}");
    let text = PIPELINE
        .replace("    batch: 32", "    env: &env {A: \"1\", B: 007}")
        .replace("    cache: false", "    env: {<<: *env, C: 1.50}");
    let pipeline = workplace.load(&text, &[]).map_err(|d| d.render(false, 120)).expect("no mistakes");
    let env: Vec<(&str, &str)> =
        step(&pipeline, "summary").env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(env, [("A", "1"), ("B", "007"), ("C", "1.50")], "numbers keep their spelling");
}

#[test]
fn one_anchor_serves_thousands_of_steps() {
    let workplace = Workplace::new();
    let mut text =
        "name: many\nsteps:\n  s0: &step {project: ../projects/sagittal, parameters: {series: /data}}\n".to_owned();
    for step in 1..3_000 {
        text += &format!("  s{step}:\n    <<: *step\n    retries: 2\n");
    }
    let pipeline = workplace.load(&text, &[]).map_err(|d| d.to_string()).expect("no mistakes");
    assert_eq!((pipeline.steps.len(), pipeline.steps[2_999].retries.max), (3_000, 2));
}

#[test]
fn twenty_thousand_steps_are_read_in_linear_time() {
    let workplace = Workplace::new();
    let pipeline_of = |steps: usize| {
        let mut text = "name: many\nsteps:\n".to_owned();
        for step in 0..steps {
            let before = if step == 0 { String::new() } else { format!(", needs: [s{}]", step - 1) };
            text += &format!("  s{step}: {{project: ../projects/sagittal, parameters: {{series: /data}}{before}}}\n");
        }
        text
    };
    let seconds = |steps: usize| {
        let text = pipeline_of(steps);
        let start = Instant::now();
        let pipeline = workplace.load(&text, &[]).map_err(|d| d.to_string()).expect("no mistakes");
        assert_eq!(pipeline.steps.len(), steps);
        start.elapsed().as_secs_f64()
    };
    let (few, many) = (seconds(2_000), seconds(20_000));
    // Ten times the steps: quadratic work would take a hundred times as long.
    assert!(many < 40.0 * few.max(0.01), "2,000 steps: {few} s; 20,000 steps: {many} s");
}

#[test]
fn a_diagnostic_is_shown_with_its_line_caret_and_help() {
    let workplace = Workplace::new();
    let text = PIPELINE.replace("{ params.detector }", "{ params.detektor }");
    let diagnostics = workplace.load(&text, &[]).expect_err("one mistake");
    let rendered = diagnostics.render(false, 100).replace(&format!("{}/", workplace.path().display()), "");
    let expected = "  × there is no parameter `detektor`
    ╭─[pipelines/schmorl.yaml:28:83]
 27 │     for_each: {study: slices}
 28 │     parameters: {volume: \"${{ steps.slices.outputs.volume }}\", model: \"${{ params.detektor }}\", threshold: \"${{ params.threshold }}\"}
    ·                                                                                   ────────
 29 │   schmorl:
    ╰────
  help: did you mean `detector`?

";
    assert_eq!(rendered, expected);
    let json = serde_json::to_value(&diagnostics).expect("diagnostics are JSON");
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&28.into(), &83.into()));
    assert_eq!(json[0]["help"], "did you mean `detector`?");
    assert!(diagnostics.render(true, 100).contains("\u{1b}["), "colours are there when asked for");
}
