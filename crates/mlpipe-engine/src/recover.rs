//! Puts in order what a driver left behind that was killed: its processes, its attempt directories, its open runs.
//!
//! A run is left alone while its driver holds the lock on it.

use std::fs;
use std::time::{Duration, Instant};

use mlpipe_tracking::{Metric, Record, Run, RunId, RunQuery, RunStatus, Store, tags};
use rustix::process::{Pid, Signal};

use crate::cache::Latest;
use crate::driver::OUTPUT_DIRECTORY_VARIABLE;
use crate::error::Result;
use crate::past::RunHistory;
use crate::workspace::{RunLock, UseLock, Workspace};

/// How long killed processes may take to be gone; one that waits for a device may take longer.
const LONGEST_DEATH: Duration = Duration::from_secs(5);
/// How often it is looked whether they are.
const DEATH_CHECK: Duration = Duration::from_millis(2);

/// Puts the state directory in order and takes it into use; called before a run starts.
///
/// Whoever is alone also empties the directory of unfinished things: it is nobody's then. Returns the tracking store as well,
/// which takes some milliseconds to open.
///
/// # Errors
/// When the tracking store or a lock cannot be used.
pub(crate) fn put_in_order(workspace: &Workspace) -> Result<(UseLock, Store)> {
    let alone = workspace.clean_it()?;
    let store = workspace.store()?;
    let is_alone = alone.is_some();
    if is_alone {
        recover(workspace, &store)?;
        remove_attempts(workspace, "");
    }
    drop(alone);
    let in_use = workspace.use_it()?;
    if !is_alone {
        recover(workspace, &store)?;
    }
    Ok((in_use, store))
}

/// Ends the runs of dead drivers.
fn recover(workspace: &Workspace, store: &Store) -> Result<()> {
    let open = RunQuery { top_level_only: true, status: Some(RunStatus::Running), ..RunQuery::default() };
    for run in store.runs(&open)? {
        let directory = workspace.run_directory(&run.run_id);
        if !directory.exists() {
            continue;
        }
        let Some(_lock) = RunLock::take(&directory)? else { continue };
        // Its driver may have come to the end after the question was asked.
        if store.run(&run.run_id)?.is_none_or(|run| run.status != RunStatus::Running) {
            continue;
        }
        let attempts = workspace.attempts_directory().join(run.run_id.as_str());
        stop_leftover_processes(&attempts.display().to_string());
        remove_attempts(workspace, run.run_id.as_str());
        remember_finished(workspace, &run.run_id);
        let now = crate::driver::now_ms();
        let mut records = Vec::new();
        for child in descendants(store, &run)? {
            if child.status == RunStatus::Running {
                records.extend(ended(workspace, &child, now));
            }
        }
        // Last, so that it is looked at again if this process is killed as well.
        records.push(update(&run, RunStatus::Killed, now));
        store.apply(&records)?;
        tracing::info!(run_id = %run.run_id, "an earlier run was cut off; its finished steps are kept");
    }
    Ok(())
}

/// Notes what the run had finished, as it would have done at its end: the reasons of the next run are told against it.
fn remember_finished(workspace: &Workspace, run: &RunId) {
    let remember = || -> Result<()> {
        let history = RunHistory::read(workspace, run)?;
        let mut latest = Latest::read(workspace, &history.pipeline);
        for task in &history.tasks {
            if let Some(fingerprint) = task.end.as_ref().and_then(|end| end.fingerprint) {
                latest.set(&task.label(), fingerprint);
            }
        }
        latest.write()
    };
    if let Err(error) = remember() {
        // It may have been cut off before its journal began. Finished work is found all the same.
        tracing::info!(run_id = %run, %error, "the journal of a run that was cut off cannot be used");
    }
}

/// What is recorded of an open run whose driver is dead: it finished when its result was stored.
fn ended(workspace: &Workspace, run: &Run, now_ms: i64) -> Vec<Record> {
    let fingerprint = run.tags.get(tags::FINGERPRINT).and_then(|text| text.parse().ok());
    let action = fingerprint.and_then(|fingerprint| workspace.action(fingerprint));
    let Some(action) = action.filter(|action| action.run_id == run.run_id) else {
        return vec![update(run, RunStatus::Killed, now_ms)];
    };
    let metric = |(key, value): (String, f64)| Metric { key, value, timestamp_ms: now_ms, step: 0 };
    let metrics = action.metrics.into_iter().map(metric).collect();
    vec![Record::Metrics { run_id: run.run_id.clone(), metrics }, update(run, RunStatus::Finished, now_ms)]
}

fn update(run: &Run, status: RunStatus, now_ms: i64) -> Record {
    Record::UpdateRun { run_id: run.run_id.clone(), status, end_time_ms: Some(now_ms) }
}

fn descendants(store: &Store, run: &Run) -> Result<Vec<Run>> {
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

/// Removes what lies in the directory of unfinished things under names that begin with `prefix`.
fn remove_attempts(workspace: &Workspace, prefix: &str) {
    let Ok(entries) = fs::read_dir(workspace.attempts_directory()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
            // What cannot be removed now is tried again by the next run.
            let _ = if is_directory { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mlpipe_artifacts::{Tree, TreeKind};
    use mlpipe_tracking::Store;

    use super::*;
    use crate::cache::Action;
    use crate::fingerprint::PreImage;

    struct Fixture {
        _folder: tempfile::TempDir,
        workspace: Workspace,
        store: Store,
        experiment_id: String,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let workspace = Workspace::open(folder.path()).expect("a state directory");
            let store = workspace.store().expect("a store");
            let experiment_id = store.ensure_experiment("test", "artifacts").expect("made").experiment_id;
            Self { _folder: folder, workspace, store, experiment_id }
        }

        /// A run that its driver left open.
        fn open_run(&self, parent: Option<&RunId>, fingerprint: Option<String>) -> RunId {
            let run_id = RunId::random();
            let mut run_tags = Vec::new();
            run_tags.extend(parent.map(|parent| (tags::PARENT_RUN_ID.to_owned(), parent.to_string())));
            run_tags.extend(fingerprint.map(|text| (tags::FINGERPRINT.to_owned(), text)));
            let record = Record::CreateRun {
                run_id: run_id.clone(),
                experiment_id: self.experiment_id.clone(),
                name: "run".into(),
                start_time_ms: 0,
                end_time_ms: None,
                status: RunStatus::Running,
                artifact_uri: String::new(),
                tags: run_tags,
                params: Vec::new(),
            };
            self.store.apply(&[record]).expect("recorded");
            run_id
        }

        fn status(&self, run_id: &RunId) -> RunStatus {
            self.run(run_id).status
        }

        fn run(&self, run_id: &RunId) -> Run {
            self.store.run(run_id).expect("readable").expect("recorded")
        }
    }

    fn image(fact: &str) -> PreImage {
        let mut image = PreImage::default();
        image.add("fact", fact);
        image
    }

    #[test]
    fn open_run_whose_result_was_stored_has_finished_and_the_others_were_killed() {
        let fixture = Fixture::new();
        let pipeline = fixture.open_run(None, None);
        fs::create_dir_all(fixture.workspace.run_directory(&pipeline)).expect("made");
        let finished = fixture.open_run(Some(&pipeline), Some(image("a").fingerprint().to_string()));
        let unfinished = fixture.open_run(Some(&pipeline), Some(image("b").fingerprint().to_string()));
        let repeated = fixture.open_run(Some(&pipeline), Some(image("a").fingerprint().to_string()));
        let tree = Tree { kind: TreeKind::Directory, entries: Vec::new(), empty_directories: Vec::new() };
        let metrics = BTreeMap::from([("size".to_owned(), 3.0)]);
        let action = Action::new(image("a"), tree, metrics, finished.clone(), 1.0);
        fixture.workspace.store_action(image("a").fingerprint(), &action).expect("stored");
        put_in_order(&fixture.workspace).expect("in order");
        assert_eq!(fixture.status(&finished), RunStatus::Finished);
        assert_eq!(fixture.run(&finished).metric("size"), Some(3.0));
        for run_id in [unfinished, repeated, pipeline] {
            assert_eq!(fixture.status(&run_id), RunStatus::Killed);
        }
    }

    #[test]
    fn run_of_a_living_driver_is_left_alone() {
        let fixture = Fixture::new();
        let pipeline = fixture.open_run(None, None);
        let directory = fixture.workspace.run_directory(&pipeline);
        fs::create_dir_all(&directory).expect("made");
        let lock = RunLock::take(&directory).expect("usable").expect("free");
        put_in_order(&fixture.workspace).expect("in order");
        assert_eq!(fixture.status(&pipeline), RunStatus::Running);
        drop(lock);
        put_in_order(&fixture.workspace).expect("in order");
        assert_eq!(fixture.status(&pipeline), RunStatus::Killed);
    }

    #[test]
    fn unfinished_files_are_removed_by_whoever_is_alone() {
        let fixture = Fixture::new();
        let leftover = fixture.workspace.attempts_directory().join(".tmp-half");
        fs::write(&leftover, "half").expect("written");
        let other = fixture.workspace.use_it().expect("usable");
        put_in_order(&fixture.workspace).expect("in order");
        assert!(leftover.exists(), "it may be the other's");
        drop(other);
        put_in_order(&fixture.workspace).expect("in order");
        assert!(!leftover.exists());
    }
}
