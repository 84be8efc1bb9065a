//! [`GroupCommit`]: writes of many threads, each atomic, few transactions.
//!
//! A commit costs the same for one write as for hundreds. So whoever finishes a write while others wait for the
//! connection leaves the transaction open for them, and the last commits for all. Every write after the first has a
//! savepoint: one that is refused takes no other along. Nobody is answered before the commit that holds his write.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::database::Connection;
use crate::keys::Keys;
use crate::{Error, Result};

/// How many writes share a transaction at most.
const MAX_GROUP: usize = 500;
/// How long a write is tried again when it is in the way of another process.
const RETRY_TIME: Duration = Duration::from_secs(120);
/// Pause before the next try.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// What a write works with: the connection within its transaction, and the numbers of keys.
pub(crate) struct Transaction<'a> {
    pub(crate) connection: &'a mut Connection,
    pub(crate) keys: &'a mut Keys,
}

/// The one connection that writes.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    /// How many threads wait for the connection.
    waiting: AtomicUsize,
    writer: Mutex<Writer>,
    committed: Condvar,
}

#[derive(Debug)]
struct Writer {
    /// None until it is needed, and after it was lost.
    connection: Option<Connection>,
    keys: Keys,
    /// The number of the group that is open or comes next.
    group: u64,
    /// How many writes are in the open transaction; 0 when none is open.
    members: usize,
    /// How groups ended, for those who have not been told yet, with their number.
    endings: HashMap<u64, (Result<(), Failure>, usize)>,
}

/// Why a group was not committed, as every one of its members is told.
#[derive(Clone, Debug)]
struct Failure {
    store: String,
    source: crate::DatabaseError,
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Database { store: failure.store, source: failure.source }
    }
}

impl GroupCommit {
    pub(crate) fn new(connection: Option<Connection>) -> Self {
        let writer = Writer { connection, keys: Keys::default(), group: 0, members: 0, endings: HashMap::new() };
        Self { waiting: AtomicUsize::new(0), writer: Mutex::new(writer), committed: Condvar::new() }
    }

    /// Runs `write` in a transaction and returns when it is committed. `write` may be run again, from the beginning and
    /// with nothing of it done, when it was in the way of another process. `connect` opens the connection when there is
    /// none.
    pub(crate) fn write<T>(
        &self,
        connect: impl Fn() -> Result<Connection>,
        write: impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut writer = self.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let outcome = catch_unwind(AssertUnwindSafe(|| writer.run(&connect, &write)));
        if outcome.is_err() {
            writer.undo();
        }
        let ending = self.end(writer, matches!(outcome, Ok(Ok(_))));
        let outcome = outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
        ending?;
        Ok(outcome)
    }

    /// Commits the open group, or leaves that to who waits; returns how the group ended, if the caller `is_member`.
    fn end(&self, mut writer: MutexGuard<'_, Writer>, is_member: bool) -> Result<()> {
        if writer.members == 0 {
            // Nothing is open: the write was rolled back, and with it, if the database said so, its group.
            self.committed.notify_all();
            return Ok(());
        }
        let group = writer.group;
        if self.waiting.load(Ordering::SeqCst) == 0 || writer.members >= MAX_GROUP {
            let ending = writer.commit(usize::from(is_member));
            self.committed.notify_all();
            return if is_member { ending.map_err(Error::from) } else { Ok(()) };
        }
        if !is_member {
            return Ok(());
        }
        loop {
            writer = self.committed.wait(writer).unwrap_or_else(PoisonError::into_inner);
            if let Some(ending) = writer.ending_of(group) {
                return ending.map_err(Error::from);
            }
        }
    }

    /// A thread that panicked has left nothing half done: see [`GroupCommit::write`].
    fn lock(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Runs a write within the open transaction, or begins one. When it fails, nothing of it is left.
    fn run<T>(
        &mut self,
        connect: &impl Fn() -> Result<Connection>,
        write: &impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + RETRY_TIME;
        loop {
            match self.attempt(connect, write) {
                Err(error) if error.is_busy() && Instant::now() < deadline => thread::sleep(RETRY_PAUSE),
                Err(error) if self.is_lost(&error) && Instant::now() < deadline => self.connection = None,
                outcome => return outcome,
            }
        }
    }

    /// Returns whether the connection was found dead before anything was done with it.
    fn is_lost(&self, error: &Error) -> bool {
        matches!(error, Error::Database { .. })
            && self.members == 0
            && self.connection.as_ref().is_some_and(Connection::is_closed)
    }

    fn attempt<T>(
        &mut self,
        connect: &impl Fn() -> Result<Connection>,
        write: &impl Fn(&mut Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(connect()?),
        };
        let begin = if self.members == 0 { connection.dialect().begin_writing() } else { "SAVEPOINT member" };
        connection.run(begin)?;
        let outcome = write(&mut Transaction { connection, keys: &mut self.keys });
        match outcome {
            Ok(outcome) => {
                if self.members > 0 {
                    connection.run("RELEASE member")?;
                }
                self.members += 1;
                Ok(outcome)
            }
            Err(error) => {
                self.undo_because(&error);
                Err(error)
            }
        }
    }

    /// Undoes the write that has failed.
    fn undo(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        self.keys.forget_uncommitted();
        let undone = if self.members == 0 { connection.run("ROLLBACK") } else { connection.run("ROLLBACK TO member") };
        if undone.is_err() && self.members == 0 && connection.is_in_transaction() {
            self.connection = None;
        }
    }

    /// Undoes the write that has failed; a database that is full or lost ends the whole transaction by itself.
    fn undo_because(&mut self, error: &Error) {
        let is_open = self.connection.as_ref().is_some_and(Connection::is_in_transaction);
        if is_open {
            self.undo();
            return;
        }
        self.keys.forget_uncommitted();
        if let (true, Error::Database { store, source }) = (self.members > 0, error) {
            self.finish(Err(Failure { store: store.clone(), source: source.clone() }), 0);
        }
    }

    /// Commits for all members, `told` of whom learn of it by the answer.
    fn commit(&mut self, told: usize) -> Result<(), Failure> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let outcome = connection.run("COMMIT").map_err(|error| match error {
            Error::Database { store, source } => Failure { store, source },
            other => Failure { store: String::new(), source: crate::DatabaseError::damaged(other.to_string()) },
        });
        match outcome {
            Ok(()) => self.keys.remember(),
            Err(_) => {
                self.keys.forget_uncommitted();
                // A transaction that could not be committed may be open still.
                if connection.is_in_transaction() && connection.run("ROLLBACK").is_err() {
                    self.connection = None;
                }
            }
        }
        self.finish(outcome.clone(), told);
        outcome
    }

    /// Notes how the open group ended, for its members but for `told` of them.
    fn finish(&mut self, ending: Result<(), Failure>, told: usize) {
        let untold = self.members.saturating_sub(told);
        if untold > 0 {
            self.endings.insert(self.group, (ending, untold));
        }
        self.group += 1;
        self.members = 0;
    }

    /// Returns how a group ended, and forgets it when all of its members know.
    fn ending_of(&mut self, group: u64) -> Option<Result<(), Failure>> {
        let (ending, untold) = self.endings.get_mut(&group)?;
        *untold -= 1;
        let (ending, is_known) = (ending.clone(), *untold == 0);
        if is_known {
            self.endings.remove(&group);
        }
        Some(ending)
    }
}
