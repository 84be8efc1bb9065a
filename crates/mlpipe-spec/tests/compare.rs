//! What projects may say about comparing their outputs. Mistakes are in `mistakes.rs`.

mod common;

use common::Workplace;
use mlpipe_spec::{Comparator, Tolerance};

/// The comparators of an output that is declared like this.
fn comparators(kind: &str, compare: &str) -> Vec<Comparator> {
    let workplace = Workplace::new();
    let project = format!(
        "entry_points:\n  main:\n    command: report\n    \
         outputs:\n      report: {{path: report, type: {kind}{compare}}}\n"
    );
    workplace.write("projects/report/MLproject", &project);
    let pipeline = workplace
        .load("name: one\nsteps: {report: {project: ../projects/report}}\n", &[])
        .expect("the pipeline is valid");
    pipeline.steps[0].entry().outputs["report"].compare.clone()
}

fn json(rtol: f64, atol: f64, ignore: &[&str]) -> Comparator {
    let ignore = ignore.iter().map(|text| (*text).to_owned()).collect();
    Comparator::Json { tolerance: Tolerance { rtol, atol }, ignore }
}

#[test]
fn comparators_are_read_with_their_settings() {
    let text = |line: &str| Comparator::Text { ignore_lines: vec![line.into()] };
    for (kind, compare, expected) in [
        ("file", "", vec![]),
        ("file", ", compare: bytes", vec![]),
        ("directory", ", compare: {bytes: }", vec![]),
        ("json", ", compare: {rtol: 1e-5}", vec![json(1e-5, 0.0, &[])]),
        ("json", ", compare: {atol: 1, ignore: [a.*.b, c]}", vec![json(0.0, 1.0, &["a.*.b", "c"])]),
        ("file", ", compare: {json: {ignore: at}}", vec![json(0.0, 0.0, &["at"])]),
        ("file", ", compare: {text: {ignore_lines: made at}}", vec![text("made at")]),
        (
            "directory",
            ", compare: {array: {rtol: 0.1}, json: {}}",
            vec![Comparator::Array(Tolerance { rtol: 0.1, atol: 0.0 }), json(0.0, 0.0, &[])],
        ),
    ] {
        assert_eq!(comparators(kind, compare), expected, "{compare}");
    }
}

#[test]
fn a_comparator_of_the_command_keeps_its_settings() {
    let [Comparator::Foreign { name, settings }] = &comparators("file", ", compare: {dicom: {ignore: [Rows]}}")[..]
    else {
        panic!("one comparator")
    };
    assert_eq!((name.as_str(), settings["ignore"][0].as_str()), ("dicom", Some("Rows")));
}
