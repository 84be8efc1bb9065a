//! [`Writer`]: takes records one at a time and writes them in groups, on a thread of its own.
//!
//! A transaction costs the same for one record as for hundreds, so the thread collects for [`MAX_WAIT`] after the first
//! record, or until there are [`ENOUGH`]; it sleeps meanwhile, since being woken costs as much as writing a record does. When a
//! group is refused, its records are applied one by one: a record that is refused takes no other along. When the store itself
//! fails, nothing that comes later is written: what the store holds is always everything up to some moment.

use std::collections::VecDeque;
use std::sync::mpsc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Error, Record, Result, Store};

/// How long a record may wait for others.
const MAX_WAIT: Duration = Duration::from_millis(20);
/// How many records are worth a transaction: whoever sends many sees them written while it goes on.
const ENOUGH: usize = 250;
/// How many records are written at once at most: each commit writes every page of an index that one of its rows belongs to,
/// so large groups cost less per record.
const MAX_BATCH: usize = 10_000;

/// Writes records to a store in the background, in the order in which they are sent.
///
/// Dropping it without [`Writer::finish`] writes everything too, but then an error can only be logged.
#[derive(Debug)]
pub struct Writer {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<Result<()>>>,
}

/// Tells who waits for it that everything is written, or why not.
type Flush = mpsc::Sender<Result<()>>;

/// What was sent and not taken yet.
#[derive(Debug, Default)]
struct Queue {
    pending: Mutex<Pending>,
    /// The thread has a reason to look.
    is_due: Condvar,
}

#[derive(Debug, Default)]
struct Pending {
    records: VecDeque<Record>,
    /// Who wants to be told once all records are written.
    flushes: Vec<Flush>,
    /// Nothing more will be sent.
    is_closed: bool,
    /// The thread has ended, or never began: nothing more will be written.
    is_abandoned: bool,
}

impl Queue {
    /// A thread that panicked has left nothing half done.
    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next group; none when there will not be one.
    fn next(&self) -> Option<(Vec<Record>, Vec<Flush>)> {
        let idle = |pending: &mut Pending| pending.records.is_empty() && !pending.is_urgent();
        let pending = self.is_due.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let collecting = |pending: &mut Pending| pending.records.len() < ENOUGH && !pending.is_urgent();
        let waited = self.is_due.wait_timeout_while(pending, MAX_WAIT, collecting);
        let (mut pending, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if pending.records.is_empty() && pending.flushes.is_empty() {
            return None;
        }
        let length = pending.records.len().min(MAX_BATCH);
        let records = pending.records.drain(..length).collect();
        let are_all = pending.records.is_empty();
        Some((records, if are_all { std::mem::take(&mut pending.flushes) } else { Vec::new() }))
    }
}

impl Pending {
    /// Somebody waits for what there is.
    fn is_urgent(&self) -> bool {
        self.is_closed || !self.flushes.is_empty()
    }
}

/// Tells whoever waits that the thread is gone, however it ended.
struct Abandon(Arc<Queue>);

impl Drop for Abandon {
    fn drop(&mut self) {
        let mut pending = self.0.lock();
        pending.is_abandoned = true;
        pending.flushes.clear();
    }
}

impl Writer {
    /// Starts a writer that owns `store`. To read at the same time, open the store once more.
    ///
    /// When no thread can be started, [`Writer::flush`] and [`Writer::finish`] say so.
    pub fn start(store: Store) -> Self {
        let queue = Arc::<Queue>::default();
        let abandon = Abandon(queue.clone());
        let thread = thread::Builder::new().name("mlpipe-tracking".to_owned()).spawn(move || {
            let mut batcher = Batcher { store, first_error: None, is_broken: false };
            batcher.run(&abandon.0);
            batcher.first_error.map_or(Ok(()), Err)
        });
        Self { queue, thread: thread.ok() }
    }

    /// Hands over a record. Never waits: records that cannot be written yet are kept in memory.
    pub fn send(&self, record: Record) {
        let mut pending = self.queue.lock();
        // A thread that has ended is reported by `flush` and `finish`.
        if pending.is_abandoned {
            return;
        }
        pending.records.push_back(record);
        let is_due = pending.records.len() == 1 || pending.records.len() == ENOUGH;
        drop(pending);
        if is_due {
            self.queue.is_due.notify_one();
        }
    }

    /// Waits until everything sent so far is in the store.
    ///
    /// # Errors
    /// The first error since the last call, whichever record it was about; [`Error::WriterStopped`].
    pub fn flush(&self) -> Result<()> {
        let (answer, answered) = mpsc::channel();
        let mut pending = self.queue.lock();
        if pending.is_abandoned {
            return Err(Error::WriterStopped);
        }
        pending.flushes.push(answer);
        drop(pending);
        self.queue.is_due.notify_one();
        answered.recv().map_err(|_| Error::WriterStopped)?
    }

    /// Writes everything and ends the thread.
    ///
    /// # Errors
    /// The first error that no [`Writer::flush`] has returned; [`Error::WriterStopped`].
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        self.queue.lock().is_closed = true;
        self.queue.is_due.notify_one();
        let thread = self.thread.take().ok_or(Error::WriterStopped)?;
        thread.join().unwrap_or(Err(Error::WriterStopped))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.thread.is_none() {
            return;
        }
        if let Err(error) = self.end() {
            tracing::error!(error = &error as &dyn std::error::Error, "records were not written to the tracking store");
        }
    }
}

/// The thread's side.
struct Batcher {
    store: Store,
    first_error: Option<Error>,
    /// The store has failed.
    is_broken: bool,
}

impl Batcher {
    /// Writes until the queue is closed and everything in it is written.
    fn run(&mut self, queue: &Queue) {
        while let Some((records, flushes)) = queue.next() {
            self.write(&records);
            for flush in flushes {
                // Whoever asked may have gone: the error then stays to be reported.
                if let Err(mpsc::SendError(Err(error))) = flush.send(self.answer()) {
                    self.first_error = Some(error);
                }
            }
        }
    }

    fn answer(&mut self) -> Result<()> {
        match self.first_error.take() {
            Some(error) => Err(error),
            None if self.is_broken => Err(Error::WriterStopped),
            None => Ok(()),
        }
    }

    fn write(&mut self, records: &[Record]) {
        if self.is_broken || records.is_empty() {
            return;
        }
        match self.store.apply(records) {
            Ok(()) => {}
            Err(error) if error.is_store_unavailable() => {
                self.is_broken = true;
                self.first_error.get_or_insert(error);
            }
            Err(error) if records.len() == 1 => self.note(error, &records[0]),
            Err(_) => {
                for record in records {
                    match self.store.apply(std::slice::from_ref(record)) {
                        Ok(()) => {}
                        Err(error) if error.is_store_unavailable() => {
                            self.is_broken = true;
                            self.first_error.get_or_insert(error);
                            return;
                        }
                        Err(error) => self.note(error, record),
                    }
                }
            }
        }
    }

    fn note(&mut self, error: Error, record: &Record) {
        tracing::warn!(run_id = %record.run_id(), "a record was not written to the tracking store");
        self.first_error.get_or_insert(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{RunId, RunQuery, RunStatus};

    struct Fixture {
        _directory: tempfile::TempDir,
        reader: Store,
        writer: Writer,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("temporary directory");
            let path = directory.path().join("store.db");
            let reader = Store::open(&path).expect("opened");
            reader.ensure_experiment("test", "artifacts").expect("made");
            let writer = Writer::start(Store::open(&path).expect("opened"));
            Self { _directory: directory, reader, writer }
        }

        fn create(&self) -> RunId {
            let run_id = RunId::random();
            self.writer.send(Record::CreateRun {
                run_id: run_id.clone(),
                experiment_id: "1".to_owned(),
                name: "run".to_owned(),
                start_time_ms: 0,
                end_time_ms: None,
                status: RunStatus::Running,
                artifact_uri: String::new(),
                tags: vec![],
                params: vec![("p".to_owned(), "1".to_owned())],
            });
            run_id
        }

        fn set_param(&self, run_id: &RunId, value: &str) {
            let params = vec![("p".to_owned(), value.to_owned())];
            self.writer.send(Record::Params { run_id: run_id.clone(), params });
        }
    }

    #[test]
    fn everything_sent_by_many_threads_is_there_after_finish() {
        let fixture = Fixture::new();
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..600 {
                        let run_id = fixture.create();
                        fixture.writer.send(Record::UpdateRun {
                            run_id,
                            status: RunStatus::Finished,
                            end_time_ms: Some(1),
                        });
                    }
                });
            }
        });
        fixture.writer.finish().expect("written");
        let finished = RunQuery { status: Some(RunStatus::Finished), ..RunQuery::default() };
        assert_eq!(fixture.reader.runs(&finished).expect("read").len(), 2_400);
    }

    #[test]
    fn refused_record_is_reported_and_takes_no_other_along() {
        let fixture = Fixture::new();
        let first = fixture.create();
        fixture.set_param(&first, "2");
        fixture.set_param(&first, "3");
        let second = fixture.create();
        let error = fixture.writer.finish().expect_err("reported");
        assert!(matches!(&error, Error::ParamChanged { new, .. } if new == "2"), "{error}");
        for run_id in [first, second] {
            let run = fixture.reader.run(&run_id).expect("read").expect("there");
            assert_eq!(run.params["p"], "1");
        }
    }

    #[test]
    fn flush_waits_for_what_was_sent_and_reports_an_error_once() {
        let fixture = Fixture::new();
        let run_id = fixture.create();
        fixture.writer.flush().expect("written");
        assert!(fixture.reader.run(&run_id).expect("read").is_some());
        fixture.set_param(&run_id, "2");
        assert!(matches!(fixture.writer.flush(), Err(Error::ParamChanged { .. })));
        fixture.writer.flush().expect("reported already");
        fixture.writer.finish().expect("reported already");
    }

    #[test]
    fn nothing_is_written_after_the_store_has_failed() {
        let fixture = Fixture::new();
        let breaker = rusqlite::Connection::open(fixture.reader.path()).expect("opened");
        let run_id = fixture.create();
        fixture.writer.flush().expect("written");
        breaker.execute_batch("ALTER TABLE runs RENAME TO runs_elsewhere").expect("renamed");
        fixture.writer.send(Record::UpdateRun {
            run_id: run_id.clone(),
            status: RunStatus::Finished,
            end_time_ms: Some(1),
        });
        let error = fixture.writer.flush().expect_err("reported");
        assert!(matches!(error, Error::Database { .. }), "{error}");
        breaker.execute_batch("ALTER TABLE runs_elsewhere RENAME TO runs").expect("renamed back");
        let later = fixture.create();
        assert!(matches!(fixture.writer.flush(), Err(Error::WriterStopped)));
        assert_eq!(fixture.reader.run(&run_id).expect("read").expect("there").status, RunStatus::Running);
        assert!(fixture.reader.run(&later).expect("read").is_none());
    }

    #[test]
    fn dropping_the_writer_writes_everything() {
        let fixture = Fixture::new();
        let run_id = fixture.create();
        drop(fixture.writer);
        assert!(fixture.reader.run(&run_id).expect("read").is_some());
    }
}
