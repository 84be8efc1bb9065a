//! Puts in order what a driver left behind that was killed: its processes, its attempt directories, its open runs.
//!
//! A run is left alone while its driver holds the lock on it.

use std::fs;
use std::time::{Duration, Instant};

use mlpipe_tracking::{Record, Run, RunQuery, RunStatus};
use rustix::process::{Pid, Signal};

use crate::driver::OUTPUT_DIRECTORY_VARIABLE;
use crate::error::Result;
use crate::workspace::{RunLock, Workspace};

/// How long killed processes may take to be gone; one that waits for a device may take longer.
const LONGEST_DEATH: Duration = Duration::from_secs(5);
/// How often it is looked whether they are.
const DEATH_CHECK: Duration = Duration::from_millis(2);

/// Ends the runs of dead drivers; called before a run starts.
///
/// # Errors
/// When the tracking store or a run's lock cannot be used.
pub(crate) fn recover(workspace: &Workspace) -> Result<()> {
    let store = workspace.store()?;
    let open = RunQuery { top_level_only: true, status: Some(RunStatus::Running), ..RunQuery::default() };
    for run in store.runs(&open)? {
        let directory = workspace.run_directory(&run.run_id);
        if !directory.exists() {
            continue;
        }
        let Some(_lock) = RunLock::take(&directory)? else { continue };
        let attempts = workspace.attempts_directory().join(run.run_id.as_str());
        stop_leftover_processes(&attempts.display().to_string());
        remove_attempts(workspace, run.run_id.as_str());
        let now = crate::driver::now_ms();
        let mut records = vec![killed(&run, now)];
        for child in descendants(&store, &run)? {
            if child.status == RunStatus::Running {
                records.push(killed(&child, now));
            }
        }
        store.apply(&records)?;
        tracing::info!(run_id = %run.run_id, "an earlier run was cut off; its finished steps are kept");
    }
    Ok(())
}

fn killed(run: &Run, now_ms: i64) -> Record {
    Record::UpdateRun { run_id: run.run_id.clone(), status: RunStatus::Killed, end_time_ms: Some(now_ms) }
}

fn descendants(store: &mlpipe_tracking::Store, run: &Run) -> Result<Vec<Run>> {
    let mut found = Vec::new();
    let mut parents = vec![run.run_id.clone()];
    while let Some(parent) = parents.pop() {
        let children = store.runs(&RunQuery { parent: Some(parent), ..RunQuery::default() })?;
        parents.extend(children.iter().map(|child| child.run_id.clone()));
        found.extend(children);
    }
    Ok(found)
}

/// Ends processes that outlived their driver. They are known by the output directory in their environment, which begins with
/// `attempts` and which what they start inherits; so neither a process id that was given out again nor a lost record can
/// mislead.
fn stop_leftover_processes(attempts: &str) {
    let mark = format!("{OUTPUT_DIRECTORY_VARIABLE}={attempts}-").into_bytes();
    let given_up = Instant::now() + LONGEST_DEATH;
    // A process may start another one while the list is read, and it takes a moment to die.
    loop {
        let leftovers = processes_with(&mark);
        if leftovers.is_empty() {
            return;
        }
        if Instant::now() > given_up {
            tracing::warn!(?leftovers, "processes of an earlier run cannot be ended");
            return;
        }
        for process in leftovers {
            // An error means that it ended in the meantime.
            let _ = rustix::process::kill_process(process, Signal::KILL);
        }
        std::thread::sleep(DEATH_CHECK);
    }
}

/// Processes of this user that have a variable which begins like this.
fn processes_with(mark: &[u8]) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let marked = |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(mark));
    entries
        .flatten()
        .filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
        .filter(|process| fs::read(format!("/proc/{}/environ", process.as_raw_nonzero())).is_ok_and(marked))
        .collect()
}

fn remove_attempts(workspace: &Workspace, run_id: &str) {
    let Ok(entries) = fs::read_dir(workspace.attempts_directory()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(run_id) {
            // What cannot be removed now is tried again by the next run.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
