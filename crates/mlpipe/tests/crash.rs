//! A driver that is killed or interrupted: finished work is kept, nothing is left running.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use common::Place;

/// Step `first` counts how often it ran; step `second` waits until a file `go` appears, at most two minutes.
fn slow_pipeline() -> Place {
    let place = Place::new();
    place.write(
        "first/MLproject",
        "name: first\nentry_points:\n  main:\n    parameters: {count: string}\n    \
         command: 'echo ran >> {count}; echo done > \"$MLPIPE_OUTPUT_DIR/result\"'\n    outputs: {result: {path: result, type: file}}\n",
    );
    place.write(
        "second/MLproject",
        "name: second\nentry_points:\n  main:\n    parameters: {before: path, go: string}\n    \
         command: 'echo $$ > {go}.pid; n=0; while [ ! -e {go} ] && [ $n -lt 1200 ]; do sleep 0.1; n=$((n+1)); done; \
         cp {before} \"$MLPIPE_OUTPUT_DIR/result\"'\n    outputs: {result: {path: result, type: file}}\n",
    );
    let (count, go) = (common::text(&place.path("count")), common::text(&place.path("go")));
    place.write(
        "slow.yaml",
        &format!(
            "name: slow\nsteps:\n  first:\n    project: first\n    parameters: {{count: {count}}}\n  second:\n    \
             project: second\n    parameters: {{before: \"${{{{ steps.first.outputs.result }}}}\", go: {go}}}\n"
        ),
    );
    place
}

/// Starts the run and returns when step `second` has started.
fn start(place: &Place) -> Child {
    let mut child = place.command(&["run", "slow.yaml"]).stderr(Stdio::piped()).spawn().expect("the command starts");
    let stderr = BufReader::new(child.stderr.take().expect("piped"));
    let mut lines = stderr.lines().map(|line| line.expect("UTF-8"));
    assert!(lines.any(|line| line.contains("start   second")), "the second step starts");
    // The pipe stays open, so that the driver can go on printing.
    std::mem::forget(lines);
    child
}

/// Process id of step `second`, once it has written it.
fn second_process(place: &Place) -> i32 {
    loop {
        let text = fs::read_to_string(place.path("go.pid")).unwrap_or_default();
        if text.ends_with('\n') {
            return text.trim().parse().expect("a number");
        }
        std::thread::yield_now();
    }
}

fn is_alive(process: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z")
}

#[test]
fn run_after_kill_9_keeps_finished_steps_and_stops_what_was_left_running() {
    let place = slow_pipeline();
    let mut driver = start(&place);
    let orphan = second_process(&place);
    driver.kill().expect("killed");
    driver.wait().expect("ended");
    assert!(is_alive(orphan), "the step outlives its driver");
    let mut again = start(&place);
    assert!(!is_alive(orphan), "the next run ends it");
    place.write("go", "");
    assert_eq!(again.wait().expect("ended").code(), Some(0));
    let again = place.mlpipe(&["run", "slow.yaml", "--json"]);
    let steps = again.json()["steps"].clone();
    assert_eq!((steps[0]["status"].as_str(), steps[1]["status"].as_str()), (Some("cached"), Some("cached")));
    assert_eq!(fs::read_to_string(place.path("count")).expect("counted"), "ran\n", "the first step ran once");
    assert!(!place.has_leftovers());
    let runs = place.mlpipe(&["runs", "list", "--all", "--json"]).json();
    let open = runs["runs"].as_array().expect("runs").iter().filter(|run| run["status"] == "RUNNING").count();
    assert_eq!(open, 0, "the runs of the dead driver are closed: {runs}");
}

#[test]
fn interrupt_ends_the_steps_and_exits_with_130() {
    for (signal, code) in [(rustix::process::Signal::INT, 130), (rustix::process::Signal::TERM, 143)] {
        let place = slow_pipeline();
        let mut driver = start(&place);
        let step = second_process(&place);
        rustix::process::kill_process(rustix::process::Pid::from_child(&driver), signal).expect("sent");
        assert_eq!(driver.wait().expect("ended").code(), Some(code));
        assert!(!is_alive(step), "the step was ended");
        assert!(!place.has_leftovers());
        let runs = place.mlpipe(&["runs", "list", "--all", "--json"]).json();
        let statuses: Vec<&str> =
            runs["runs"].as_array().expect("runs").iter().filter_map(|run| run["status"].as_str()).collect();
        assert!(statuses.contains(&"KILLED") && !statuses.contains(&"RUNNING"), "{statuses:?}");
    }
}
