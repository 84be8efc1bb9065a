//! [`Writer`]: takes records one at a time and writes them in groups, on a thread of its own.
//!
//! A transaction costs the same for one record as for hundreds, so the thread collects for [`MAX_WAIT`] after the first
//! record, or until [`MAX_BATCH`] have come. When a group is refused, its records are applied one by one: a record that
//! is refused takes no other along. When the store itself fails, nothing that comes later is written: what the store holds
//! is always everything up to some moment.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Error, Record, Result, Store};

/// How long a record may wait for others.
const MAX_WAIT: Duration = Duration::from_millis(20);
/// How many records are written at once: each commit writes every page of an index that one of its rows belongs to, so
/// large groups cost less per record.
const MAX_BATCH: usize = 10_000;

/// Writes records to a store in the background, in the order in which they are sent.
///
/// Dropping it without [`Writer::finish`] writes everything too, but then an error can only be logged.
#[derive(Debug)]
pub struct Writer {
    /// Absent once the writer is being ended: that is what tells the thread.
    sender: Option<Sender<Message>>,
    thread: Option<JoinHandle<Result<()>>>,
}

#[derive(Debug)]
enum Message {
    Record(Box<Record>),
    /// Write everything now and answer with the first error since the last answer.
    Flush(Sender<Result<()>>),
}

impl Writer {
    /// Starts a writer that owns `store`. To read at the same time, open the store once more.
    ///
    /// When no thread can be started, [`Writer::flush`] and [`Writer::finish`] say so.
    pub fn start(store: Store) -> Self {
        let (sender, receiver) = mpsc::channel();
        let thread = thread::Builder::new().name("mlpipe-tracking".to_owned()).spawn(move || {
            let mut batcher = Batcher { store, first_error: None, is_broken: false };
            batcher.run(&receiver);
            batcher.first_error.map_or(Ok(()), Err)
        });
        Self { sender: Some(sender), thread: thread.ok() }
    }

    /// Hands over a record. Never waits: records that cannot be written yet are kept in memory.
    pub fn send(&self, record: Record) {
        // A thread that has ended is reported by `flush` and `finish`.
        let _ = self.post(Message::Record(Box::new(record)));
    }

    /// Waits until everything sent so far is in the store.
    ///
    /// # Errors
    /// The first error since the last call, whichever record it was about; [`Error::WriterStopped`].
    pub fn flush(&self) -> Result<()> {
        let (answer, answered) = mpsc::channel();
        self.post(Message::Flush(answer))?;
        answered.recv().map_err(|_| Error::WriterStopped)?
    }

    /// Writes everything and ends the thread.
    ///
    /// # Errors
    /// The first error that no [`Writer::flush`] has returned; [`Error::WriterStopped`].
    pub fn finish(mut self) -> Result<()> {
        self.end()
    }

    fn post(&self, message: Message) -> Result<()> {
        let sender = self.sender.as_ref().ok_or(Error::WriterStopped)?;
        sender.send(message).map_err(|_| Error::WriterStopped)
    }

    fn end(&mut self) -> Result<()> {
        self.sender = None;
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
    /// Writes until the senders are gone and everything they sent is written.
    fn run(&mut self, receiver: &Receiver<Message>) {
        while let Ok(message) = receiver.recv() {
            let (records, flush) = collect(message, receiver);
            self.write(&records);
            if let Some(answer) = flush {
                // Whoever asked may have gone: the error then stays to be reported.
                if let Err(mpsc::SendError(Err(error))) = answer.send(self.answer()) {
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
        if self.is_broken {
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

/// Returns the records of the next group, beginning with `first`, and who asked to be told when they are written.
fn collect(first: Message, receiver: &Receiver<Message>) -> (Vec<Record>, Option<Sender<Result<()>>>) {
    let deadline = Instant::now() + MAX_WAIT;
    let mut records = Vec::new();
    let mut next = Ok(first);
    loop {
        match next {
            Ok(Message::Record(record)) => records.push(*record),
            Ok(Message::Flush(answer)) => return (records, Some(answer)),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return (records, None),
        }
        if records.len() >= MAX_BATCH {
            return (records, None);
        }
        next = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()));
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
