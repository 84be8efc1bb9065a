//! Spools of runs that have ended, or whose driver died: what waits, and its delivery.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::courier::{Courier, note_upload, send_files};
use super::entry::Entry;
use super::file::{NoteFile, Notes, SpoolFile, read, read_head, spools};
use super::forward::root_of;
use crate::rest::Client;
use crate::{Record, Result, RunId, RunStatus, Store};

/// A spool that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The file.
    pub path: PathBuf,
    /// The run of the pipeline.
    pub run_id: RunId,
    /// Where it goes.
    pub uri: String,
    /// Lines that are not delivered.
    pub lines: usize,
}

/// What became of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// The server has everything; the spool is removed.
    All,
    /// Its run is under way, or somebody else delivers it.
    Held,
}

/// Returns the spools of a directory that wait to be delivered; those of runs under way too.
///
/// # Errors
/// [`crate::Error::LocalFile`]. A spool that cannot be understood is told of and left out.
pub fn waiting(directory: &Path) -> Result<Vec<Waiting>> {
    let mut found = Vec::new();
    for path in spools(directory)? {
        match look(&path) {
            Ok(waiting) => found.push(waiting),
            Err(error) if path.exists() => tracing::warn!("a spool cannot be used: {error}"),
            Err(_) => {}
        }
    }
    Ok(found)
}

fn look(path: &Path) -> Result<Waiting> {
    let (run_id, uri, _) = read_head(path)?;
    let notes = Notes::read(path)?;
    let entries = all_entries(path, u64::MAX)?;
    let is_open =
        |(at, entry): &&(u64, Entry)| matches!(entry, Entry::Artifacts { .. }) && !notes.uploaded.contains(at);
    let before = entries.iter().filter(|(at, _)| *at < notes.delivered).filter(is_open).count();
    let lines = entries.len() - notes.lines.min(entries.len()) + before;
    Ok(Waiting { path: path.to_owned(), run_id, uri, lines: lines.max(1) })
}

/// Delivers a spool to its server, to which `client` belongs. Runs that a dead driver left open are closed as `store` has them,
/// which must have been put in order.
///
/// # Errors
/// What keeps it from being delivered; what is left stays in the spool.
pub fn deliver(path: &Path, client: &Client, store: &Store) -> Result<Delivered> {
    let Some(mut spool) = SpoolFile::take(path)? else { return Ok(Delivered::Held) };
    let (_, _, experiment) = read_head(path)?;
    close_runs(&mut spool, store)?;
    let mut courier = Courier::new(client.clone(), path, experiment)?;
    let mut uploads = courier.open_uploads()?;
    while courier.position() < spool.length {
        uploads.extend(courier.deliver(spool.length, |_, _| {})?);
    }
    courier.clear_doubts()?;
    let notes = Mutex::new(NoteFile::open(path)?);
    let root = root_of(path.parent().unwrap_or(path));
    for upload in &uploads {
        send_files(client, &root, upload)?;
        note_upload(&notes, upload.at)?;
    }
    spool.remove();
    Ok(Delivered::All)
}

/// Closes the runs that a driver left open which was killed.
///
/// A line may be all that is known of a record: the driver wrote it and did not come to hand it to the store. So the store
/// gets all of them once more, and the server gets the ends that the store has.
fn close_runs(spool: &mut SpoolFile, store: &Store) -> Result<()> {
    let entries = all_entries(spool.path(), spool.length)?;
    let open = open_runs(&entries);
    if open.is_empty() {
        return Ok(());
    }
    let records = entries.into_iter().filter_map(|(_, entry)| match entry {
        Entry::Record { record } => Some(record),
        _ => None,
    });
    replay(store, records.collect())?;
    for run_id in open {
        let run = store.run(&run_id)?;
        let metrics = run.as_ref().map(|run| run.metrics.clone()).unwrap_or_default();
        let end = match run.filter(|run| run.status.is_terminal()) {
            Some(run) => Record::UpdateRun { run_id: run_id.clone(), status: run.status, end_time_ms: run.end_time_ms },
            None => {
                let end = Record::UpdateRun {
                    run_id: run_id.clone(),
                    status: RunStatus::Killed,
                    end_time_ms: Some(crate::store::now_ms()),
                };
                replay(store, vec![end.clone()])?;
                end
            }
        };
        if !metrics.is_empty() {
            spool.append(&Entry::Record { record: Record::Metrics { run_id, metrics } })?;
        }
        spool.append(&Entry::Record { record: end })?;
    }
    Ok(())
}

/// Applies records; what the store refuses (a run that was deleted) is left out.
fn replay(store: &Store, records: Vec<Record>) -> Result<()> {
    match store.apply(&records) {
        Err(error) if !error.is_store_unavailable() => {}
        other => return other,
    }
    for record in records {
        match store.apply(&[record]) {
            Err(error) if error.is_store_unavailable() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Runs whose last status is not an end, the last made first.
fn open_runs(entries: &[(u64, Entry)]) -> Vec<RunId> {
    let mut made: HashMap<&RunId, (usize, bool)> = HashMap::new();
    for (number, (_, entry)) in entries.iter().enumerate() {
        match entry {
            Entry::Record { record: Record::CreateRun { run_id, status, .. } } => {
                made.insert(run_id, (number, status.is_terminal()));
            }
            Entry::Record { record: Record::UpdateRun { run_id, status, .. } } => {
                if let Some(state) = made.get_mut(run_id) {
                    state.1 = status.is_terminal();
                }
            }
            _ => {}
        }
    }
    let mut open: Vec<(usize, RunId)> =
        made.into_iter().filter(|(_, state)| !state.1).map(|(run_id, state)| (state.0, run_id.clone())).collect();
    open.sort_by_key(|run| std::cmp::Reverse(run.0));
    open.into_iter().map(|(_, run_id)| run_id).collect()
}

fn all_entries(path: &Path, end: u64) -> Result<Vec<(u64, Entry)>> {
    let mut all = Vec::new();
    let mut position = 0;
    loop {
        let window = read(path, position, end)?;
        if window.end == position {
            return Ok(all);
        }
        position = window.end;
        all.extend(window.entries);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Metric;
    use crate::spool::SPOOL_FORMAT;

    fn create(run_id: &RunId, experiment_id: &str) -> Record {
        Record::CreateRun {
            run_id: run_id.clone(),
            experiment_id: experiment_id.to_owned(),
            name: "run".to_owned(),
            start_time_ms: 1,
            end_time_ms: None,
            status: RunStatus::Running,
            artifact_uri: String::new(),
            tags: Vec::new(),
            params: Vec::new(),
        }
    }

    #[test]
    fn what_the_store_lacks_is_replayed_and_open_runs_end_on_both_sides() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(&directory.path().join("store.db")).expect("opened");
        let experiment = store.ensure_experiment("e", "artifacts").expect("made").experiment_id;
        let (top, part) = (RunId::random(), RunId::random());
        let first = Entry::Began {
            format: SPOOL_FORMAT.to_owned(),
            run_id: top.clone(),
            uri: "http://host".to_owned(),
            experiment: "e".to_owned(),
        };
        let mut spool = SpoolFile::create(&directory.path().join("spool"), &first, &top).expect("made");
        let metric = Metric { key: "m".to_owned(), value: 2.0, timestamp_ms: 3, step: 0 };
        let metrics = Record::Metrics { run_id: part.clone(), metrics: vec![metric] };
        for record in [create(&top, &experiment), create(&part, &experiment), metrics] {
            spool.append(&Entry::Record { record }).expect("written");
        }
        // The driver was killed before the store had more, and the next one has put the store in order.
        let killed = Record::UpdateRun { run_id: top.clone(), status: RunStatus::Killed, end_time_ms: Some(7) };
        store.apply(&[create(&top, &experiment), killed]).expect("applied");

        close_runs(&mut spool, &store).expect("closed");
        let run = store.run(&part).expect("read").expect("replayed");
        assert_eq!((run.status, run.metric("m")), (RunStatus::Killed, Some(2.0)));
        assert_eq!(store.run(&top).expect("read").expect("there").end_time_ms, Some(7));
        let entries = all_entries(spool.path(), spool.length).expect("read");
        assert!(open_runs(&entries).is_empty());
        let length = spool.length;
        close_runs(&mut spool, &store).expect("closed");
        assert_eq!(spool.length, length, "there is nothing to close");
    }
}
