//! Conditions, sweeps, retries, secrets and functions, as the engine gets them.

mod common;

use std::time::Duration;

use common::{PIPELINE, Workplace};
use mlpipe_spec::{
    Counted, DimensionSource, Expression, Facts, FailureCause, ParamValue, Part, Pipeline, Reference, Step,
};

/// The pipeline with one more setting of its last step, `summary`, which runs once.
fn with(setting: &str) -> Pipeline {
    let text = PIPELINE.replace("    cache: false\n", &format!("    cache: false\n    {setting}\n"));
    load(&text)
}

fn load(text: &str) -> Pipeline {
    let loaded = Workplace::new().load(text, &[]);
    loaded.unwrap_or_else(|diagnostics| panic!("{}", diagnostics.render(false, 120)))
}

fn step<'p>(pipeline: &'p Pipeline, name: &str) -> &'p Step {
    pipeline.steps.iter().find(|step| step.name.as_str() == name).expect("the step is there")
}

/// A task whose items are called like their variables and whose collections have three items.
struct Task;

impl Facts for Task {
    fn item_key(&self, variable: &str) -> String {
        variable.to_owned()
    }

    fn count(&self, _: &Counted) -> Option<usize> {
        Some(3)
    }
}

#[test]
fn condition_on_parameters_is_decided_when_the_file_is_read() {
    let truths = [
        "true",
        "params.plane == 'sagittal'",
        "${{ params.plane == 'sagittal' }}",
        "params.threshold >= 0.5 && params.instances < 6",
        "params.instances == 5.0",
        "(false || params.plane != 'axial') && !false",
        "len(params.plane) == 8",
        "default(params.plane, 'axial') == 'sagittal'",
        "'a' != 'b'",
        "-1 < 0",
    ];
    for text in truths {
        let pipeline = with(&format!("if: \"{text}\""));
        assert_eq!(step(&pipeline, "summary").condition, None, "{text}");
        let pipeline = with(&format!("if: \"!({})\"", text.trim_start_matches("${{").trim_end_matches("}}")));
        assert!(step(&pipeline, "summary").condition.as_ref().is_some_and(|condition| condition.is_never()), "{text}");
    }
}

#[test]
fn condition_on_items_is_left_to_the_task() {
    let cases = [
        ("count(inputs.studies) > 2", true),
        ("len(inputs.studies) == 2", false),
        ("count(gather(steps.report.outputs.report, over='study')) == 3", true),
        ("params.plane == 'axial' || count(inputs.studies) == 3", true),
        ("default(count(inputs.studies), 0) == 0", false),
    ];
    for (text, expected) in cases {
        let pipeline = with(&format!("if: {text}"));
        let condition = step(&pipeline, "summary").condition.as_ref().expect("it depends on the task");
        assert_eq!(condition.text, text);
        assert_eq!(condition.expression.value(&Task), Some(ParamValue::Bool(expected)), "{text}");
    }
    let text = PIPELINE
        .replace("    batch: 32\n", "    if: item.study == 'study' && count(steps.vertebrae.outputs.vertebrae) == 3\n");
    let pipeline = load(&text);
    let condition = step(&pipeline, "schmorl").condition.as_ref().expect("it depends on the task");
    assert_eq!(condition.expression.value(&Task), Some(ParamValue::Bool(true)));
    let vertebrae = pipeline.steps.iter().position(|step| step.name.as_str() == "vertebrae").expect("it is there");
    assert!(step(&pipeline, "schmorl").upstream().contains(&vertebrae), "a condition is waited for");
}

#[test]
fn matrix_is_the_last_dimension_and_its_values_are_checked() {
    let text = PIPELINE
        .replace("    for_each: {study: inputs.studies}\n", "    for_each: {study: inputs.studies}\n    matrix: {spacing: [1, 0.5], name: [a/b, c], exclude: [{spacing: 0.5, name: c}], max_parallel: 2, fail_fast: true}\n")
        .replace("spacing_mm: 1}", "spacing_mm: \"${{ matrix.spacing }}\"}")
        .replace("{study: slices}", "{study: slices, matrix: slices}")
        .replace("{study: slices, vertebra", "{study: slices, matrix: slices, vertebra")
        .replace("    needs: [report]\n", "    needs: [report]\n    for_each: {matrix: report}\n");
    let pipeline = load(&text);
    let slices = step(&pipeline, "slices");
    let matrix = &pipeline.matrices[slices.matrices[0]];
    let keys: Vec<&str> = matrix.items.iter().map(|item| item.key.as_str()).collect();
    assert_eq!(keys, ["spacing=1,name=a%2Fb", "spacing=1,name=c", "spacing=0.5,name=a%2Fb"]);
    assert_eq!((matrix.max_parallel, matrix.fail_fast), (Some(2), true));
    let variables: Vec<&str> = slices.dimensions.iter().map(|dimension| dimension.variable.as_str()).collect();
    assert_eq!(variables, ["study", "matrix"]);
    assert!(matches!(slices.dimensions[1].source, DimensionSource::Matrix(_)));
    let Part::Reference(Reference::Matrix { values, .. }) = &slices.arguments[1].value.parts[0] else {
        panic!("{:?}", slices.arguments[1])
    };
    // Written as the parameter's type wants it: a float.
    assert_eq!(values.values().collect::<Vec<_>>(), ["1.0", "1.0", "0.5"]);
    assert_eq!(step(&pipeline, "report").dimensions[1].origin, slices.dimensions[1].origin);
}

#[test]
fn retries_say_when_and_how_long_after() {
    let retries = |text: &str| step(&with(&format!("retries: {text}")), "summary").retries.clone();
    let typed = retries("{max: 3, on: [timeout, signal, \"exit 75\"], backoff: 2s}");
    assert_eq!(typed.next(2, FailureCause::Exit(75)), Some(Duration::from_secs(4)));
    assert_eq!(typed.next(1, FailureCause::Exit(1)), None);
    assert_eq!(retries("2").next(2, FailureCause::Other), Some(Duration::ZERO));
    assert_eq!(retries("{max: 1, on: timeout}").next(1, FailureCause::Timeout), Some(Duration::ZERO));
}

#[test]
fn secrets_are_known_by_name_alone() {
    let pipeline = with("secrets: [PATH]");
    assert_eq!(step(&pipeline, "summary").secrets, ["PATH"]);
    let value = std::env::var("PATH").expect("tests have a PATH");
    assert!(!format!("{pipeline:?}").contains(&value), "the value is nowhere");
}

#[test]
fn functions_in_values_are_computed_as_soon_as_possible() {
    let title = |text: &str| {
        let with = format!("over='study') }}}}\", title: \"{text}\"}}");
        let pipeline = load(&PIPELINE.replace("over='study') }}\"}", &with));
        step(&pipeline, "summary").arguments[1].value.clone()
    };
    assert_eq!(title("${{ default(params.plane, 'x') }}!").as_text(), Some("sagittal!"));
    assert_eq!(title("${{ len(params.plane) > 3 }}").as_text(), Some("true"));
    let parts = title("${{ count(inputs.studies) }} studies").parts;
    let Part::Reference(Reference::Computed(expression)) = &parts[0] else { panic!("{parts:?}") };
    assert_eq!(expression, &Expression::Count(Counted::Input("studies".into())));
    assert_eq!(parts[1], Part::Text(" studies".into()));
}

#[test]
fn default_stands_in_for_the_output_of_a_step_that_may_be_skipped() {
    let text = PIPELINE.replace(
        "vertebrae: ${{ steps.vertebrae.outputs.boxes }}",
        "vertebrae: \"${{ default(steps.vertebrae.outputs.boxes, '') }}\"",
    );
    let pipeline = load(&text);
    let report = step(&pipeline, "report");
    let parts = &report.arguments[1].value.parts;
    assert!(
        matches!(&parts[0], Part::Reference(Reference::OutputOr { otherwise, .. }) if otherwise.is_empty()),
        "{parts:?}"
    );
    assert!(report.reads().iter().any(|read| read.optional));
}
