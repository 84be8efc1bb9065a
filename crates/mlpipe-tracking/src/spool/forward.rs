//! [`Forwarder`]: the spool of a run that is under way, and the threads that deliver it.
//!
//! One thread hands over records, another one files, so that a large file does not hold up a run that a step waits for. When
//! the server is away both try again, with pauses; nobody waits for them but [`Forwarder::remote_id`], for a moment, and
//! [`Forwarder::finish`].

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::courier::{Courier, Upload, note_upload, send_files};
use super::entry::{Entry, RemoteHandle, SPOOL_FORMAT};
use super::file::{NoteFile, SpoolFile};
use crate::rest::{Client, Retries};
use crate::{Record, Result, RunId};

/// The first pause after the server was found to be away; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// How long a step may wait for its run to be made. A server on the same machine takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(1);
/// With more lines than this before it, a step does not wait: the server cannot keep up, and the run must not be slowed.
const LONGEST_QUEUE: usize = 40;

/// Forwards the runs of one pipeline run to a server.
#[derive(Debug)]
pub struct Forwarder {
    spool: Mutex<SpoolFile>,
    client: Client,
    shared: Arc<Shared>,
}

/// A run as the server knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteId {
    /// Its id.
    pub run_id: String,
    /// The id of its experiment.
    pub experiment_id: String,
}

/// What is left when a run has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Lines that are not delivered.
    pub waiting: usize,
    /// Why not.
    pub reason: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    written_lines: usize,
    delivered_lines: usize,
    runs: HashMap<RunId, RemoteHandle>,
    experiment_id: Option<String>,
    uploads: VecDeque<Upload>,
    /// An upload is under way.
    is_uploading: bool,
    /// The server did not answer when it was last asked.
    is_away: bool,
    /// A step has waited in vain; set back when all is delivered.
    is_slow: bool,
    /// Nothing more will be written.
    is_ending: bool,
    /// All records are delivered.
    is_delivered: bool,
    /// The threads have given up, for now or for good.
    gave_up: bool,
    told: bool,
    told_slow: bool,
    reason: Option<String>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `until` holds.
    fn wait<'a>(&'a self, mut state: MutexGuard<'a, State>, until: impl Fn(&State) -> bool) -> MutexGuard<'a, State> {
        while !until(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    /// Waits until `until` holds, at most until `deadline`.
    fn wait_until<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        deadline: Instant,
        until: impl Fn(&State) -> bool,
    ) -> MutexGuard<'a, State> {
        while !until(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }
}

impl Forwarder {
    /// Begins the spool of a pipeline run in `directory`, a folder of the state directory, and delivers it from now on.
    ///
    /// # Errors
    /// [`crate::Error::LocalFile`] when the spool cannot be written. Nothing is asked of the server here.
    pub fn start(directory: &Path, run_id: &RunId, experiment: &str, client: &Client) -> Result<Self> {
        let first = Entry::Began {
            format: SPOOL_FORMAT.to_owned(),
            run_id: run_id.clone(),
            uri: client.uri().to_string(),
            experiment: experiment.to_owned(),
        };
        let spool = SpoolFile::create(directory, &first, run_id)?;
        // The threads try again by themselves.
        let client = client.with_retries(Retries::NONE);
        let courier = Courier::new(client.clone(), spool.path(), experiment.to_owned())?;
        let shared = Arc::new(Shared::default());
        shared.change(|state| (state.written, state.written_lines) = (spool.length, spool.lines));
        let root = directory.parent().unwrap_or(directory).to_owned();
        let notes = Mutex::new(NoteFile::open(spool.path())?);
        let (records, files) = (shared.clone(), shared.clone());
        let uploads = client.clone();
        let spawn =
            |name: &str, work: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.to_owned()).spawn(work);
        let started = spawn("mlpipe-forward", Box::new(move || deliver_records(courier, &records)))
            .and_then(|_| spawn("mlpipe-upload", Box::new(move || deliver_files(&uploads, &root, &notes, &files))));
        if let Err(error) = started {
            tracing::warn!(%error, "no thread can be started: what is recorded stays in the spool");
            shared.change(|state| state.gave_up = true);
        }
        Ok(Self { spool: Mutex::new(spool), client, shared })
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`crate::Error::LocalFile`].
    pub fn record(&self, record: &Record) -> Result<()> {
        self.append(&Entry::Record { record: record.clone() })
    }

    /// Appends a line: from here on it is not lost.
    ///
    /// # Errors
    /// [`crate::Error::LocalFile`].
    pub fn append(&self, entry: &Entry) -> Result<()> {
        let (length, lines) = {
            let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
            spool.append(entry)?;
            (spool.length, spool.lines)
        };
        self.shared.change(|state| {
            state.written = state.written.max(length);
            state.written_lines = state.written_lines.max(lines);
        });
        Ok(())
    }

    /// Returns the client, for what asks the server directly.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns how the server knows a run whose beginning was recorded. Waits a moment for it to be made there, unless the
    /// server is away or behind; none then.
    pub fn remote_id(&self, run_id: &RunId) -> Option<RemoteId> {
        let known = |state: &State| {
            let run_id = state.runs.get(run_id)?.remote.clone();
            Some(RemoteId { run_id, experiment_id: state.experiment_id.clone()? })
        };
        let state = self.shared.lock();
        let is_hopeless = |state: &State| state.is_away || state.is_slow || state.gave_up;
        if is_hopeless(&state) || state.written_lines - state.delivered_lines > LONGEST_QUEUE {
            return known(&state);
        }
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.wait_until(state, deadline, |state| known(state).is_some() || is_hopeless(state));
        let found = known(&state);
        if found.is_none() && !std::mem::replace(&mut state.is_slow, true) && !state.is_away && !state.told_slow {
            state.told_slow = true;
            tracing::warn!("tracking server: slow to answer; steps start without MLFLOW_RUN_ID until it has caught up");
        }
        found
    }

    /// Waits until everything is delivered, the server is away, or `patience` is over; then says what is left, in the spool.
    pub fn finish(&self, patience: Duration) -> Outcome {
        self.shared.change(|state| state.is_ending = true);
        let is_over = |state: &State| state.gave_up || is_complete(state);
        let state = self.shared.wait_until(self.shared.lock(), Instant::now() + patience, is_over);
        if is_complete(&state) {
            self.spool.lock().unwrap_or_else(PoisonError::into_inner).remove();
            return Outcome::default();
        }
        let waiting = state.written_lines - state.delivered_lines + state.uploads.len();
        let reason = state.reason.clone().or_else(|| Some("the server is slow".to_owned()));
        Outcome { waiting: waiting.max(1), reason }
    }
}

fn is_complete(state: &State) -> bool {
    state.is_ending && state.is_delivered && state.uploads.is_empty() && !state.is_uploading
}

/// The thread that hands over records, until the run has ended and all is delivered.
fn deliver_records(mut courier: Courier, shared: &Shared) {
    let mut pauses = Pauses::default();
    loop {
        let end = {
            let state = shared.wait(shared.lock(), |state| state.written > courier.position() || state.is_ending);
            if state.written == courier.position() {
                break;
            }
            state.written
        };
        let created = |run_id: &RunId, remote: &RemoteHandle| {
            shared.change(|state| drop(state.runs.insert(run_id.clone(), remote.clone())));
        };
        // Known before the first run is, so that whoever waits for a run finds both.
        let outcome = courier.prepare().map(|id| shared.change(|state| state.experiment_id = Some(id)));
        match outcome.and_then(|()| courier.deliver(end, created)) {
            Ok(uploads) => {
                pauses = Pauses::default();
                shared.change(|state| {
                    state.delivered_lines = courier.lines();
                    state.uploads.extend(uploads);
                    state.is_away = false;
                    state.is_slow &= state.written > courier.position();
                });
            }
            Err(error) if !pauses.wait(shared, &error) => return,
            Err(_) => {}
        }
    }
    while let Err(error) = courier.clear_doubts() {
        if !pauses.wait(shared, &error) {
            return;
        }
    }
    shared.change(|state| state.is_delivered = true);
}

/// The thread that sends files.
fn deliver_files(client: &Client, root: &Path, notes: &Mutex<NoteFile>, shared: &Shared) {
    let mut pauses = Pauses::default();
    loop {
        let upload = {
            let mut state = shared.wait(shared.lock(), |state| {
                !state.uploads.is_empty() || state.gave_up || (state.is_ending && state.is_delivered)
            });
            if state.gave_up {
                return;
            }
            let Some(upload) = state.uploads.pop_front() else { return };
            state.is_uploading = true;
            upload
        };
        let sent = send_files(client, root, &upload).and_then(|()| note_upload(notes, upload.at));
        shared.change(|state| {
            state.is_uploading = false;
            if sent.is_err() {
                state.uploads.push_front(upload);
            }
        });
        match sent {
            Ok(()) => pauses = Pauses::default(),
            Err(error) if !pauses.wait(shared, &error) => return,
            Err(_) => {}
        }
    }
}

/// Pauses between attempts.
struct Pauses {
    next: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Pauses {
    /// Notes that the server is away and waits; false when there is nothing more to wait for: the run has ended, or trying again
    /// is of no use.
    fn wait(&mut self, shared: &Shared, error: &crate::Error) -> bool {
        let mut state = shared.lock();
        let is_passing = error.is_server_unavailable();
        let first = !std::mem::replace(&mut state.told, true);
        state.is_away = true;
        state.reason = Some(error.to_string());
        state.gave_up |= !is_passing || state.is_ending;
        shared.changed.notify_all();
        let given_up = state.gave_up;
        if first && !given_up {
            tracing::warn!("tracking server: {error}; the run goes on, what is recorded waits in the spool");
        }
        if given_up {
            return false;
        }
        let deadline = Instant::now() + self.next;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
        // A run that ends tries once more, at once.
        let state = shared.wait_until(state, deadline, |state| state.is_ending || state.gave_up);
        !state.gave_up
    }
}

/// Where the files of a spool's artifacts are found: beside the spool's folder.
pub(super) fn root_of(directory: &Path) -> PathBuf {
    directory.parent().unwrap_or(directory).to_owned()
}
