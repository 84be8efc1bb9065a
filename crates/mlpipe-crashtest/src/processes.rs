//! Processes that the harness started, known by a variable in their environment, which what they start inherits.

use std::fs;

use rustix::process::{Pid, Signal};

/// Names the working directory of a point.
pub(crate) const MARK_VARIABLE: &str = "MLPIPE_CRASHTEST_PLACE";

/// Living processes of the place, in order of their ids. One that has ended and was not waited for has no environment.
pub(crate) fn of_place(mark: &str) -> Vec<i32> {
    let mark = format!("{MARK_VARIABLE}={mark}").into_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let is_marked = |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|variable| variable == mark);
    let mut found: Vec<i32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|process| fs::read(format!("/proc/{process}/environ")).is_ok_and(is_marked))
        .collect();
    found.sort_unstable();
    found
}

/// Sends a signal; a process that has ended in the meantime is no error.
pub(crate) fn signal(process: i32, signal: Signal) {
    if let Some(process) = Pid::from_raw(process) {
        let _ = rustix::process::kill_process(process, signal);
    }
}

/// Ends everything that still runs in the place.
pub(crate) fn end_all(mark: &str) {
    /// A process may start another one while the list is read.
    const ROUNDS: usize = 20;
    for _ in 0..ROUNDS {
        let left = of_place(mark);
        if left.is_empty() {
            return;
        }
        for process in left {
            signal(process, Signal::KILL);
        }
    }
}
