//! Puts in order what a driver left behind that was killed: its processes, its attempt directories, its open runs.
//!
//! A run is left alone while its driver holds the lock on it.

use std::fs;

use mlpipe_tracking::{Record, Run, RunQuery, RunStatus};
use rustix::process::{Pid, Signal};

use crate::error::Result;
use crate::journal::{self, Entry};
use crate::workspace::{RunLock, Workspace};

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
        stop_leftover_processes(&journal::read(&directory));
        remove_attempts(workspace, &run.run_id.to_string());
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

/// Ends processes that outlived their driver. Process id and start time must both match: ids are used again.
fn stop_leftover_processes(entries: &[Entry]) {
    for entry in entries {
        let Entry::AttemptStarted { process_id, process_start: Some(start), .. } = entry else { continue };
        if process_start_time(*process_id) != Some(*start) {
            continue;
        }
        if let Some(group) = i32::try_from(*process_id).ok().and_then(Pid::from_raw) {
            // An error means that it ended in the meantime.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
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

/// Start time of a process in clock ticks since boot: field 22 of `/proc/PID/stat`, proc(5).
pub(crate) fn process_start_time(process_id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process_id}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold spaces.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
