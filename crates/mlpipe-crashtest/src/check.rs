//! What must hold after a disturbance, whatever it was.
//!
//! [`violations`] takes what was seen and says what is wrong with it; it looks at nothing itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::disturb::{Disturbed, Expected};
use crate::place::{Outputs, Ran};

/// What was seen of one point.
#[derive(Debug)]
pub(crate) struct Observed<'a> {
    pub(crate) disturbed: &'a [Disturbed],
    /// `mlpipe runs list` straight after the disturbance.
    pub(crate) list: &'a Ran,
    /// The undisturbed run after it.
    pub(crate) rerun: &'a Ran,
    /// Ids of the runs whose commands have completed, from the beginning.
    pub(crate) completed: Vec<String>,
    /// Outputs of that run.
    pub(crate) outputs: Result<Outputs, String>,
    /// What they must be.
    pub(crate) reference: &'a Outputs,
    /// All tracked runs after it.
    pub(crate) runs: &'a Ran,
    pub(crate) processes: Vec<i32>,
    pub(crate) leftovers: Vec<String>,
}

/// Says what is wrong, one line each.
pub(crate) fn violations(seen: &Observed<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    for disturbed in seen.disturbed {
        wrong.extend(ended_badly(disturbed));
    }
    if seen.list.code != Some(0) {
        wrong.push(format!("`mlpipe runs list` does not work: {}", shown(seen.list)));
    }
    if seen.rerun.hung || seen.rerun.code != Some(0) || seen.rerun.stderr.contains("panicked") {
        wrong.push(format!("the run after it fails: {}", shown(seen.rerun)));
        return wrong;
    }
    match &seen.outputs {
        Err(error) => wrong.push(format!("outputs cannot be read: {error}")),
        Ok(outputs) if outputs != seen.reference => {
            wrong.push(format!("outputs differ: {}", differing(outputs, seen.reference)))
        }
        Ok(_) => {}
    }
    match (seen.rerun.json(), seen.runs.json()) {
        (Ok(document), Ok(runs)) => {
            let acknowledged = acknowledged(seen.disturbed);
            wrong.extend(repeated(&acknowledged, &document, &seen.completed));
            wrong.extend(badly_recorded(&acknowledged, &tracked(&runs)));
        }
        (Err(error), _) | (_, Err(error)) => wrong.push(error),
    }
    if !seen.processes.is_empty() {
        wrong.push(format!("processes are left: {:?}", seen.processes));
    }
    if !seen.leftovers.is_empty() {
        wrong.push(format!("files are left: {}", seen.leftovers.join(", ")));
    }
    wrong
}

// ---- the disturbed drivers

fn ended_badly(disturbed: &Disturbed) -> Option<String> {
    let ran = &disturbed.ran;
    if ran.hung {
        return Some(format!("a driver hangs: {}", shown(ran)));
    }
    if ran.stderr.contains("panicked") {
        return Some(format!("a driver panicked: {}", shown(ran)));
    }
    let is_fine = match disturbed.expected {
        Expected::Anything => true,
        Expected::Success => ran.code == Some(0),
        Expected::StepMayFail => matches!(ran.code, Some(0 | 1)),
        Expected::StoreMayFail => match ran.code {
            Some(0 | 1) => true,
            Some(6) => says_why(&ran.stderr),
            _ => false,
        },
        Expected::InputMayFail => match ran.code {
            Some(0 | 1) => true,
            Some(2 | 4 | 6) => says_why(&ran.stderr),
            _ => false,
        },
        Expected::NothingCanBeWritten => matches!(ran.code, Some(0 | 1 | 6)),
    };
    (!is_fine).then(|| format!("a driver ended badly: {}", shown(ran)))
}

/// Exactly one line says what is wrong, in the system's or SQLite's words.
fn says_why(stderr: &str) -> bool {
    // SQLite opens a database for reading when it cannot be opened for writing.
    const WORDS: [&str; 7] = [
        "No space left",
        "Input/output error",
        "disk is full",
        "disk I/O error",
        "unable to open",
        "readonly database",
        "os error",
    ];
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    errors.len() == 1 && WORDS.iter().any(|word| errors[0].contains(word))
}

// ---- nothing acknowledged is missing, nothing is done twice

/// A task that was reported as done.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Acknowledged {
    task: String,
    run_id: String,
}

fn acknowledged(disturbed: &[Disturbed]) -> Vec<Acknowledged> {
    let lines = disturbed.iter().flat_map(|disturbed| disturbed.ran.stdout.lines());
    // A line cut short was not reported.
    let events = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let done = events.filter(|event| event["event"] == "task_ended" && event["task"]["status"] == "done");
    done.map(|event| Acknowledged { task: label(&event["task"]), run_id: text(&event["task"]["run_id"]) }).collect()
}

fn repeated(acknowledged: &[Acknowledged], rerun: &Value, completed: &[String]) -> Vec<String> {
    let steps = rerun["steps"].as_array().cloned().unwrap_or_default();
    let done: Vec<&Value> = steps.iter().filter(|step| step["status"] == "done").collect();
    let labels: BTreeSet<String> = done.iter().map(|step| label(step)).collect();
    let again = acknowledged.iter().filter(|acknowledged| labels.contains(&acknowledged.task));
    let mut wrong: Vec<String> =
        again.map(|task| format!("{} was reported as done and done again", task.task)).collect();
    for step in done {
        let count = completed.iter().filter(|run_id| step["run_id"] == run_id.as_str()).count();
        if count != 1 {
            wrong.push(format!("{} is reported as done, its command completed {count} times", label(step)));
        }
    }
    wrong
}

/// A tracked run.
#[derive(Debug, Clone)]
struct Tracked {
    status: String,
    name: String,
    fingerprint: Option<String>,
    cached_from: Option<String>,
}

fn tracked(document: &Value) -> BTreeMap<String, Tracked> {
    let runs = document["runs"].as_array().cloned().unwrap_or_default();
    let tag = |run: &Value, name: &str| run["tags"][name].as_str().map(str::to_owned);
    let read = |run: &Value| Tracked {
        status: text(&run["status"]),
        name: text(&run["name"]),
        fingerprint: tag(run, "mlpipe.fingerprint"),
        cached_from: tag(run, "mlpipe.cached_from"),
    };
    runs.iter().map(|run| (text(&run["run_id"]), read(run))).collect()
}

fn badly_recorded(acknowledged: &[Acknowledged], runs: &BTreeMap<String, Tracked>) -> Vec<String> {
    let mut wrong = Vec::new();
    let status = |run_id: &str| runs.get(run_id).map_or("missing", |run| run.status.as_str());
    for done in acknowledged {
        if status(&done.run_id) != "FINISHED" {
            wrong.push(format!("the run of {}, reported as done, is {}", done.task, status(&done.run_id)));
        }
    }
    let mut commits: BTreeMap<&str, usize> = BTreeMap::new();
    for run in runs.values() {
        if run.status == "RUNNING" {
            wrong.push(format!("a run of {} stays RUNNING", run.name));
        }
        match (&run.fingerprint, &run.cached_from) {
            (_, Some(origin)) if status(origin) != "FINISHED" => {
                wrong.push(format!("{} is reused from a run that is {}", run.name, status(origin)));
            }
            (Some(fingerprint), None) if run.status == "FINISHED" => *commits.entry(fingerprint).or_default() += 1,
            _ => {}
        }
    }
    let twice = commits.values().filter(|count| **count > 1).count();
    if twice > 0 {
        wrong.push(format!("{twice} tasks were committed twice"));
    }
    wrong
}

// ---- words

fn label(step: &Value) -> String {
    format!("{}[{}]", text(&step["name"]), step["key"].as_str().unwrap_or_default())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn differing(outputs: &Outputs, reference: &Outputs) -> String {
    let names: BTreeSet<&String> = outputs.keys().chain(reference.keys()).collect();
    let differing = names.into_iter().filter(|name| outputs.get(*name) != reference.get(*name));
    differing.cloned().collect::<Vec<_>>().join(", ")
}

fn shown(ran: &Ran) -> String {
    let hung = if ran.hung { ", had to be ended" } else { "" };
    let code = ran.code.map_or("a signal".to_owned(), |code| format!("exit code {code}"));
    let lines: Vec<&str> = ran.stderr.lines().collect();
    format!("{code}{hung}: {}", lines[lines.len().saturating_sub(6)..].join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(code: i32, stdout: &str) -> Ran {
        Ran { code: Some(code), stdout: stdout.into(), ..Ran::default() }
    }

    /// Violations when `disturbed` was printed before the end, the rerun did `rerun`, and `runs` are recorded.
    fn found(disturbed: &str, rerun: &str, runs: &str) -> Vec<String> {
        let disturbed = [Disturbed { ran: ran(0, disturbed), expected: Expected::Anything }];
        let rerun = ran(0, &format!(r#"{{"outputs": {{}}, "steps": [{rerun}]}}"#));
        let reference = Outputs::new();
        violations(&Observed {
            disturbed: &disturbed,
            list: &ran(0, ""),
            completed: vec!["2".to_owned()],
            rerun: &rerun,
            outputs: Ok(Outputs::new()),
            reference: &reference,
            runs: &ran(0, &format!(r#"{{"runs": [{runs}]}}"#)),
            processes: Vec::new(),
            leftovers: Vec::new(),
        })
    }

    const DONE: &str = r#"{"event": "task_ended", "task": {"name": "a", "key": "x", "status": "done", "run_id": "1"}}"#;
    const RECORDED: &str = r#"{"run_id": "1", "name": "a", "status": "FINISHED", "tags": {"mlpipe.fingerprint": "f"}}"#;

    #[test]
    fn acknowledged_work_that_is_reused_is_right() {
        let reused = r#"{"run_id": "2", "name": "a", "status": "FINISHED", "tags": {"mlpipe.fingerprint": "f", "mlpipe.cached_from": "1"}}"#;
        let runs = format!("{RECORDED}, {reused}");
        assert_eq!(found(DONE, r#"{"name": "a", "key": "x", "status": "cached"}"#, &runs), Vec::<String>::new());
    }

    #[test]
    fn acknowledged_work_done_again_or_not_recorded_is_wrong() {
        let wrong = found(DONE, r#"{"name": "a", "key": "x", "status": "done", "run_id": "2"}"#, RECORDED);
        assert_eq!(wrong, ["a[x] was reported as done and done again"]);
        let wrong = found(DONE, "", &RECORDED.replace("FINISHED", "KILLED"));
        assert_eq!(wrong, ["the run of a[x], reported as done, is KILLED"]);
        assert_eq!(found(DONE, "", ""), ["the run of a[x], reported as done, is missing"]);
        assert_eq!(found(&DONE[..60], "", ""), Vec::<String>::new(), "a line cut short acknowledges nothing");
    }

    #[test]
    fn work_reported_without_a_command_that_completed_is_wrong() {
        let wrong = found("", r#"{"name": "a", "key": null, "status": "done", "run_id": "3"}"#, "");
        assert_eq!(wrong, ["a[] is reported as done, its command completed 0 times"]);
    }

    #[test]
    fn open_runs_and_double_commits_are_wrong() {
        let open = r#"{"run_id": "3", "name": "b", "status": "RUNNING", "tags": {}}"#;
        assert_eq!(found("", "", open), ["a run of b stays RUNNING"]);
        let twice = format!("{RECORDED}, {}", RECORDED.replace("\"1\"", "\"2\""));
        assert_eq!(found("", "", &twice), ["1 tasks were committed twice"]);
    }

    #[test]
    fn failing_store_must_say_why_in_one_line() {
        assert!(says_why("  start a\nerror: write x: No space left on device (os error 28)\nhint: y\n"));
        assert!(!says_why("error: write x\n"));
        assert!(!says_why("error: a: Input/output error\nerror: b: Input/output error\n"));
    }
}
