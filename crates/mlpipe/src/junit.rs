//! A run as a JUnit report, which CI systems show: a test case per task.

use std::fmt::Write;
use std::path::Path;

use mlpipe_artifacts::write_atomically;
use mlpipe_engine::{RunDocument, StepRow, StepStatus};

use crate::failure::{Exit, Failure};

/// Writes the report to `path`.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, pipeline: &str, run: &RunDocument) -> Result<(), Failure> {
    write_atomically(path, report(pipeline, run).as_bytes()).map_err(|error| {
        Failure::new(Exit::StoreUnavailable, format!("the JUnit report: {error}"))
            .hint("the run itself is recorded; give --junit a file in a folder that exists")
    })
}

/// Returns the report. A reused task is a case that passed, with a property that says so.
fn report(pipeline: &str, run: &RunDocument) -> String {
    let count = |wanted: &[StepStatus]| run.steps.iter().filter(|row| wanted.contains(&row.status)).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(xml, "{text}").expect("a String takes everything");
    line(format_args!("<testsuites>"));
    line(format_args!(
        "  <testsuite name=\"{}\" id=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
        escape(pipeline),
        run.run_id,
        run.steps.len(),
        count(&[StepStatus::Failed]),
        count(&[StepStatus::Killed]),
        count(&[StepStatus::Skipped]),
        run.duration_s,
    ));
    for row in &run.steps {
        // What is reused took no time now.
        let time =
            if row.status == StepStatus::Done || row.status == StepStatus::Failed { row.duration_s } else { 0.0 };
        let name = row.key.as_ref().map_or_else(|| row.name.clone(), |key| format!("{}[{key}]", row.name));
        line(format_args!(
            "    <testcase classname=\"{}.{}\" name=\"{}\" time=\"{time:.3}\">",
            escape(pipeline),
            escape(&row.name),
            escape(&name),
        ));
        line(format_args!("{}    </testcase>", outcome(row)));
    }
    line(format_args!("  </testsuite>\n</testsuites>"));
    xml
}

fn outcome(row: &StepRow) -> String {
    let error = escape(row.error.as_deref().unwrap_or_default());
    let first = error.lines().next().unwrap_or_default();
    let log = row.log.as_ref().map(|log| format!("\nlog: {}", escape(&log.display().to_string()))).unwrap_or_default();
    match row.status {
        StepStatus::Failed => format!("      <failure message=\"{first}\">{error}{log}</failure>\n"),
        StepStatus::Killed => format!("      <error message=\"killed\">{error}{log}</error>\n"),
        StepStatus::Skipped => format!("      <skipped message=\"{}\"/>\n", escape(&row.reason)),
        StepStatus::Cached => "      <properties><property name=\"reused\" value=\"true\"/></properties>\n".to_owned(),
        StepStatus::Done => String::new(),
    }
}

/// XML 1.0 allows no control characters but tab and line breaks, however written.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_does_not_allow_is_replaced() {
        assert_eq!(escape("a<b> & \"c\"\u{1b}[0m"), "a&lt;b&gt; &amp; &quot;c&quot;\u{fffd}[0m");
    }
}
