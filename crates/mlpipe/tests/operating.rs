//! What operators do beside running: ask why, run a part again, wait for each other, stop, read logs, clean up.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStderr, Stdio};

use common::{Place, text};

/// Per letter a step `upper`, whose process waits for the file `go` if the letter is in `slow`; then one step `join`.
fn letters() -> Place {
    let place = Place::new();
    place.write(
        "upper/MLproject",
        "name: upper\nentry_points:\n  main:\n    parameters: {letter: path, suffix: string, here: string}\n    \
         command: 'echo working on $(cat {letter}); echo ran >> {here}/count; \
         if grep -q slow {letter}; then echo $$ > {here}/pid; n=0; while [ ! -e {here}/go ] && [ $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done; fi; \
         if grep -q bad {letter}; then seq 1 20; exit 3; fi; \
         echo $(cat {letter}){suffix} | tr a-z A-Z > \"$MLPIPE_OUTPUT_DIR/result\"'\n    \
         outputs: {result: {path: result, type: file}}\n",
    );
    place.write(
        "join/MLproject",
        "name: join\nentry_points:\n  main:\n    parameters: {parts: path}\n    \
         command: 'cat {parts}/* > \"$MLPIPE_OUTPUT_DIR/all\"'\n    outputs: {all: {path: all, type: file}}\n",
    );
    let here = text(&place.path(""));
    place.write(
        "letters.yaml",
        &format!(
            "name: letters\nparams: {{suffix: {{type: string, default: \"!\"}}}}\ninputs:\n  letters: {{collection: files, from: letters}}\n\
             defaults: {{on_item_error: collect}}\nsteps:\n  upper:\n    project: upper\n    for_each: {{letter: inputs.letters}}\n    \
             parameters: {{letter: \"${{{{ item.letter }}}}\", suffix: \"${{{{ params.suffix }}}}\", here: \"{here}\"}}\n  \
             join:\n    project: join\n    parameters: {{parts: \"${{{{ gather(steps.upper.outputs.result, over='letter') }}}}\"}}\n\
             outputs: {{all: \"${{{{ steps.join.outputs.all }}}}\"}}\n"
        ),
    );
    place.write("letters/a", "a");
    place.write("letters/b", "b");
    place
}

/// How often step `upper` ran.
fn count(place: &Place) -> usize {
    fs::read_to_string(place.path("count")).unwrap_or_default().lines().count()
}

/// `name[key] status` of every task.
fn statuses(run: &serde_json::Value) -> Vec<String> {
    let rows = run["steps"].as_array().expect("steps").iter();
    rows.map(|row| match row["key"].as_str() {
        Some(key) => {
            format!("{}[{key}] {}", row["name"].as_str().expect("a name"), row["status"].as_str().expect("one"))
        }
        None => format!("{} {}", row["name"].as_str().expect("a name"), row["status"].as_str().expect("one")),
    })
    .collect()
}

/// A run in the background whose progress lines can be waited for.
struct Background {
    child: Child,
    lines: Lines<BufReader<ChildStderr>>,
}

impl Background {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut child = place.command(arguments).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        Self { child, lines }
    }

    /// Returns the first line that holds this text.
    fn wait_for(&mut self, text: &str) -> String {
        let mut lines = self.lines.by_ref().map(|line| line.expect("UTF-8"));
        lines.find(|line| line.contains(text)).unwrap_or_else(|| panic!("`{text}` is never said"))
    }

    fn code(&mut self) -> Option<i32> {
        // Whatever is still said is read, so that the pipe does not fill up.
        self.lines.by_ref().for_each(drop);
        self.child.wait().expect("ended").code()
    }
}

/// Process id of the slow step, once it has written it.
fn slow_process(place: &Place) -> i32 {
    loop {
        let text = fs::read_to_string(place.path("pid")).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().parse().expect("a number");
        }
        std::thread::yield_now();
    }
}

// ---- why

#[test]
fn why_tells_facts_and_who_made_a_result_that_is_reused() {
    let place = letters();
    let run = place.mlpipe(&["run", "letters.yaml", "--json"]).json();
    let why = place.mlpipe(&["why", "letters.yaml", "upper[a]", "--json"]).json();
    assert_eq!((why["action"].as_str(), why["key"].as_str()), (Some("reuse"), Some("a")));
    assert_eq!(why["facts"]["parameter suffix"], "string !");
    assert_eq!(why["made_by"]["pipeline_run_id"], run["run_id"]);
    assert_eq!(why["made_by"]["run_id"], run["steps"][0]["run_id"]);
    assert_eq!(why["fingerprint"].as_str().map(str::len), Some(64));
    assert_eq!(why["last_time"]["status"], "done");
    let text = place.mlpipe(&["why", "letters.yaml", "upper[a]"]).stdout;
    assert!(text.contains("a run would  reuse: same inputs, code and parameters"), "{text}");
}

#[test]
fn why_names_each_change_against_the_last_finished_result_though_a_try_failed_since() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    place.write("letters/a", "bad a");
    place.mlpipe(&["run", "letters.yaml"]).expect(1, &["failed: upper[a]"]);
    let why = place.mlpipe(&["why", "letters.yaml", "upper[a]", "-P", "suffix=?", "--json"]).json();
    let changed: Vec<&str> =
        why["changes"].as_array().expect("changes").iter().filter_map(|change| change["fact"].as_str()).collect();
    assert_eq!(changed, ["parameter letter", "parameter suffix"]);
    let suffix = &why["changes"][1];
    assert_eq!((suffix["old"].as_str(), suffix["new"].as_str()), (Some("string !"), Some("string ?")));
    assert_eq!((why["action"].as_str(), why["last_time"]["status"].as_str()), (Some("run"), Some("failed")));
    assert!(why["last_time"]["error"].as_str().expect("an error").starts_with("exit code 3"), "{why}");
    let join = place.mlpipe(&["why", "letters.yaml", "join"]).stdout;
    assert!(join.contains("last time    skipped in run") && join.contains(": `upper[a]` failed"), "{join}");
    assert!(join.contains("waits for    upper[a]"), "{join}");
}

#[test]
fn changes_are_told_against_what_a_killed_run_had_finished() {
    let place = letters();
    place.write("letters/a", "slow a");
    let mut run = Background::start(&place, &["run", "letters.yaml", "--jobs", "2"]);
    run.wait_for("done    upper[b]");
    run.child.kill().expect("killed");
    run.child.wait().expect("ended");
    place.write("go", "");
    let again = place.mlpipe(&["run", "letters.yaml", "-P", "suffix=?", "--json"]).json();
    assert_eq!(again["steps"][1]["reason"], "changed: parameter suffix: string ! -> string ?");
    assert_eq!(again["steps"][0]["reason"], "no finished result yet");
}

#[test]
fn why_asks_back_when_the_item_or_the_step_is_not_clear() {
    let place = letters();
    place.mlpipe(&["why", "letters.yaml", "uper[a]"]).expect(2, &["no step `uper`", "did you mean `upper`?"]);
    place.mlpipe(&["why", "letters.yaml", "upper"]).expect(2, &["step `upper` has 2 items", "'upper[a]' 'upper[b]'"]);
    place.mlpipe(&["why", "letters.yaml", "upper[c]"]).expect(2, &["no item `c`"]);
}

// ---- force, only, from

#[test]
fn force_does_a_step_again_and_what_follows_goes_by_its_result() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    let plan = place.mlpipe(&["plan", "letters.yaml", "--force", "upper", "--json"]).json();
    assert_eq!(plan["tasks"][0]["action"], "run");
    assert_eq!(plan["tasks"][0]["reason"], "asked for on the command line");
    let again = place.mlpipe(&["run", "letters.yaml", "--force", "upper", "--json"]).json();
    assert_eq!(statuses(&again), ["upper[a] done", "upper[b] done", "join cached"]);
    assert_eq!(count(&place), 4);
}

#[test]
fn from_does_everything_downstream_again_too() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    let again = place.mlpipe(&["run", "letters.yaml", "--from", "upper", "--json"]).json();
    assert_eq!(statuses(&again), ["upper[a] done", "upper[b] done", "join done"]);
    let again = place.mlpipe(&["run", "letters.yaml", "--from", "join", "--json"]).json();
    assert_eq!(statuses(&again), ["upper[a] cached", "upper[b] cached", "join done"]);
}

#[test]
fn only_leaves_out_what_is_downstream_and_runs_what_is_upstream() {
    let place = letters();
    let plan = place.mlpipe(&["plan", "letters.yaml", "--only", "upper", "--json"]).json();
    assert_eq!(plan["tasks"].as_array().map(Vec::len), Some(2));
    let run = place.mlpipe(&["run", "letters.yaml", "--only", "upper", "--json"]).json();
    assert_eq!(statuses(&run), ["upper[a] done", "upper[b] done"]);
    assert_eq!(run["outputs"], serde_json::json!({}));
    let run = place.mlpipe(&["run", "letters.yaml", "--only", "join", "--json"]).json();
    assert_eq!(statuses(&run), ["upper[a] cached", "upper[b] cached", "join done"]);
}

#[test]
fn unknown_step_is_a_usage_error_with_a_suggestion() {
    let place = letters();
    for flag in ["--force", "--only", "--from"] {
        for command in ["run", "plan"] {
            let ran = place.mlpipe(&[command, "letters.yaml", flag, "joyn"]);
            ran.expect(2, &["there is no step `joyn`", "did you mean `join`?"]);
        }
    }
    assert!(!place.path(".mlpipe").exists(), "nothing was written");
}

// ---- two drivers

#[test]
fn two_runs_wait_for_each_others_work_and_go_on_with_the_rest() {
    let place = letters();
    place.write("letters/a", "slow a");
    let mut first = Background::start(&place, &["run", "letters.yaml", "--only", "upper", "--jobs", "1"]);
    let started = first.wait_for("run ");
    slow_process(&place);
    let mut second = Background::start(&place, &["run", "letters.yaml", "--jobs", "1"]);
    let waiting = second.wait_for("waiting");
    let id = started.split_whitespace().nth(1).expect("an id");
    assert!(waiting.contains("upper[a]") && waiting.contains(&format!("run {}", &id[..8])), "{waiting}");
    second.wait_for("done    upper[b]");
    place.write("go", "");
    second.wait_for("reused  upper[a]");
    assert_eq!((first.code(), second.code()), (Some(0), Some(0)));
    assert_eq!(count(&place), 2, "each letter was done once");
}

#[test]
fn waiting_run_does_the_work_itself_when_the_other_one_is_killed() {
    let place = letters();
    place.write("letters/a", "slow a");
    let mut first = Background::start(&place, &["run", "letters.yaml", "--jobs", "1"]);
    let process = slow_process(&place);
    let mut second = Background::start(&place, &["run", "letters.yaml", "--jobs", "1"]);
    second.wait_for("waiting");
    first.child.kill().expect("killed");
    place.write("go", "");
    assert_eq!(second.code(), Some(0));
    let _ = first.child.wait();
    let orphan = rustix::process::Pid::from_raw(process).expect("a process");
    // Its step saw `go` too and ends by itself.
    let _ = rustix::process::kill_process(orphan, rustix::process::Signal::KILL);
    assert_eq!(place.mlpipe(&["run", "letters.yaml", "--json"]).json()["status"], "done");
}

#[test]
fn items_of_one_run_with_the_same_content_are_done_once() {
    let place = letters();
    place.write("letters/b", "a");
    let run = place.mlpipe(&["run", "letters.yaml", "--jobs", "4", "--json"]).json();
    let mut all = statuses(&run);
    all.sort();
    assert_eq!(all.iter().filter(|row| row.ends_with(" cached")).count(), 1, "{all:?}");
    assert_eq!(count(&place), 1);
}

// ---- cancel

#[test]
fn cancel_stops_a_run_from_outside_which_is_recorded_as_killed() {
    let place = letters();
    place.write("letters/a", "slow a");
    let mut run = Background::start(&place, &["run", "letters.yaml"]);
    slow_process(&place);
    let cancel = place.mlpipe(&["cancel", "latest"]);
    cancel.expect(0, &["was asked to stop"]);
    assert_eq!(run.code(), Some(143));
    let runs = place.mlpipe(&["runs", "list", "--json"]).json();
    assert_eq!(runs["runs"][0]["status"], "KILLED");
    assert!(!place.has_leftovers());
    let log = place.mlpipe(&["logs", "latest", "upper[a]"]);
    assert_eq!((log.code, log.stdout.as_str()), (0, "working on slow a\n"));
    place.mlpipe(&["cancel", "latest"]).expect(4, &["is not under way", "hint: `mlpipe runs show"]);
    place.mlpipe(&["cancel", "0000"]).expect(4, &["no pipeline run `0000`", "hint: `mlpipe runs list`"]);
}

#[test]
fn cancel_signals_nobody_when_the_lock_names_a_process_that_does_not_hold_it() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    let run = fs::read_dir(place.path(".mlpipe/runs")).expect("runs").next().expect("one").expect("readable").path();
    // The lock is held by this test; the file names a process that has nothing to do with it.
    let mut bystander = std::process::Command::new("sleep").arg("600").spawn().expect("starts");
    fs::write(run.join("lock"), format!("{}\n", bystander.id())).expect("written");
    let lock = fs::File::open(run.join("lock")).expect("opens");
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).expect("locked");
    place.mlpipe(&["cancel", "latest"]).expect(4, &["not as a process that can be seen from here"]);
    assert!(bystander.try_wait().expect("asked").is_none(), "it lives");
    bystander.kill().expect("killed");
    bystander.wait().expect("ended");
}

// ---- logs

#[test]
fn logs_show_what_a_task_printed_also_of_the_run_that_it_was_reused_from() {
    let place = letters();
    let first = place.mlpipe(&["run", "letters.yaml", "--json"]).json();
    let id = first["run_id"].as_str().expect("an id");
    assert_eq!(place.mlpipe(&["logs", &id[..10], "upper[a]"]).stdout, "working on a\n");
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    let reused = place.mlpipe(&["logs", "latest", "upper[a]"]);
    reused.expect(0, &[&format!("reused; this is from run {}", &id[..8])]);
    assert_eq!(reused.stdout, "working on a\n");
}

#[test]
fn logs_of_an_earlier_attempt_can_be_named() {
    let place = letters();
    place.write("letters/a", "bad a");
    let pipeline = fs::read_to_string(place.path("letters.yaml")).expect("readable");
    place.write("letters.yaml", &pipeline.replace("defaults: {", "defaults: {retries: 1, "));
    place.mlpipe(&["run", "letters.yaml"]).expect(1, &["retry   upper[a]"]);
    for attempt in ["1", "2"] {
        let log = place.mlpipe(&["logs", "latest", "upper[a]", "--attempt", attempt]).stdout;
        assert!(log.starts_with("working on bad a\n1\n2\n"), "{log}");
    }
    place.mlpipe(&["logs", "latest", "upper[a]", "--attempt", "3"]).expect(4, &["has no attempt 3", "it has 2"]);
    place.mlpipe(&["logs", "latest", "join"]).expect(4, &["`join` was skipped: `upper[a]` failed"]);
    place.mlpipe(&["logs", "latest", "uper"]).expect(2, &["did you mean `upper`?"]);
}

#[test]
fn followed_log_ends_with_the_task() {
    let place = letters();
    place.write("letters/a", "slow a");
    let mut run = Background::start(&place, &["run", "letters.yaml"]);
    slow_process(&place);
    let mut logs = place.command(&["logs", "latest", "upper[a]", "--follow"]);
    let mut logs = logs.stdout(Stdio::piped()).spawn().expect("starts");
    let mut lines = BufReader::new(logs.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next().expect("a line").expect("UTF-8"), "working on slow a");
    place.write("go", "");
    assert!(lines.next().is_none(), "nothing more is printed");
    assert!(logs.wait().expect("ended").success());
    assert_eq!(run.code(), Some(0));
}

// ---- gc

#[test]
fn gc_without_an_age_removes_only_what_nothing_refers_to() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    place.write(".mlpipe/tmp/half-written", "1234");
    let digest = "ab/cdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789";
    place.write(&format!(".mlpipe/cas/{digest}"), "of nobody");
    let planned = place.mlpipe(&["gc", "--dry-run", "--json"]).json();
    assert_eq!(planned["content"]["removed_bytes"], 9);
    assert_eq!(planned["leftovers"]["removed"], 1 + 3, "the file and three lock files");
    assert!(place.path(".mlpipe/tmp/half-written").exists(), "a dry run removes nothing");
    let done = place.mlpipe(&["gc", "--json"]).json();
    assert_eq!((&done["content"], &done["leftovers"]), (&planned["content"], &planned["leftovers"]));
    assert_eq!((done["runs"]["removed"].as_u64(), done["results"]["removed"].as_u64()), (Some(0), Some(0)));
    assert!(!place.path(".mlpipe/tmp/half-written").exists() && !place.path(".mlpipe/cas").join(digest).exists());
    let again = place.mlpipe(&["run", "letters.yaml", "--json"]).json();
    assert_eq!(statuses(&again), ["upper[a] cached", "upper[b] cached", "join cached"]);
}

#[test]
fn gc_by_number_keeps_what_the_newest_runs_use_and_says_beforehand_what_goes() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml", "-P", "suffix=?"]).expect(0, &[]);
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    let planned = place.mlpipe(&["gc", "-n", "--keep-runs", "1", "--json"]).json();
    let done = place.mlpipe(&["gc", "--keep-runs", "1", "--json"]).json();
    for part in ["runs", "results", "content", "leftovers", "removed_bytes"] {
        assert_eq!(planned[part], done[part], "{part}");
    }
    assert_eq!((done["runs"]["removed"].as_u64(), done["results"]["removed"].as_u64()), (Some(1), Some(3)));
    let again = place.mlpipe(&["plan", "letters.yaml", "--json"]).json();
    assert!(again["tasks"].as_array().expect("tasks").iter().all(|task| task["action"] == "reuse"), "{again}");
    let other = place.mlpipe(&["plan", "letters.yaml", "-P", "suffix=?", "--json"]).json();
    assert_eq!(other["tasks"][0]["action"], "run");
    assert_eq!(place.mlpipe(&["runs", "list", "--json"]).json()["runs"].as_array().map(Vec::len), Some(2));
    place.mlpipe(&["gc", "--older-than", "30"]).expect(2, &["30d"]);
}

#[test]
fn gc_leaves_everything_alone_that_a_live_run_uses() {
    let place = letters();
    place.mlpipe(&["run", "letters.yaml"]).expect(0, &[]);
    place.write("letters/c", "slow c");
    let mut run = Background::start(&place, &["run", "letters.yaml"]);
    slow_process(&place);
    place.write(".mlpipe/tmp/of-somebody", "");
    let collected = place.mlpipe(&["gc", "--older-than", "0s"]);
    collected.expect(0, &["is under way", "only leftovers are removed"]);
    let collected = place.mlpipe(&["gc", "--older-than", "0s", "--json"]).json();
    for part in ["runs", "results", "content", "leftovers"] {
        assert_eq!(collected[part]["removed"], 0, "{part}");
    }
    place.write("go", "");
    assert_eq!(run.code(), Some(0));
    let collected = place.mlpipe(&["gc", "--older-than", "0s", "--json"]).json();
    assert_eq!((collected["runs"]["kept"].as_u64(), collected["content"]["kept"].as_u64()), (Some(0), Some(0)));
    let left = |name: &str| fs::read_dir(place.path(".mlpipe").join(name)).expect("there").count();
    assert_eq!((left("runs"), left("tmp")), (0, 0));
    assert_eq!(place.mlpipe(&["run", "letters.yaml", "--json"]).json()["status"], "done");
}

// ---- reports

#[test]
fn junit_report_has_a_case_per_task() {
    let place = letters();
    place.write("letters/a", "bad a");
    let ran = place.mlpipe(&["run", "letters.yaml", "--junit", "report.xml"]);
    ran.expect(1, &[]);
    let xml = fs::read_to_string(place.path("report.xml")).expect("written");
    assert!(
        xml.contains("name=\"letters\"") && xml.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""),
        "{xml}"
    );
    assert!(xml.contains("<failure message=\"exit code 3: 17\">"), "{xml}");
    assert!(xml.contains("<skipped message=\"`upper[a]` failed\"/>"), "{xml}");
    let ran = place.mlpipe(&["run", "letters.yaml", "--junit", "missing/report.xml"]);
    ran.expect(6, &["the JUnit report", "missing", "hint:"]);
}

#[test]
fn summary_shows_the_last_ten_lines_of_a_failed_steps_log() {
    let place = letters();
    place.write("letters/a", "bad a");
    let ran = place.mlpipe(&["run", "letters.yaml"]);
    ran.expect(1, &["failed: upper[a]\n  exit code 3\n  | 11\n  | 12\n", "  | 20\n  log: "]);
    assert!(!ran.stderr.contains("  | 10\n"), "{}", ran.stderr);
}

#[test]
fn mermaid_shows_the_steps() {
    let place = letters();
    let plan = place.mlpipe(&["plan", "letters.yaml", "--mermaid"]);
    assert_eq!(plan.stdout, "flowchart LR\n  s0[\"upper\"]\n  s1[\"join\"]\n  s0 --> s1\n");
}
