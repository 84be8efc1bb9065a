//! Carries out what the scheduler decides: looks up finished work, starts attempts, stores and records what they made.
//!
//! What each command means stands in `driver/`. One thread drives; each attempt waits for its process on a thread of its own and reports through a channel.

mod attempts;
mod endings;
mod reuse;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mlpipe_artifacts::Digest;
use mlpipe_spec::Pipeline;
use mlpipe_tracking::RunId;
use rustix::process::Signal;

use self::reuse::Ahead;
use crate::attempt::{Control, Failure, Finished};
use crate::cache::Latest;
use crate::document::{Observer, RunDocument, StepRow, StepStatus, Update};
use crate::error::Result;
use crate::fingerprint::PreImage;
use crate::inputs::{Inputs, make_directory};
use crate::journal::{Entry, JOURNAL_FORMAT, Journal, Start};
use crate::outputs::Outputs;
use crate::pinned::RunRecord;
use crate::prepare::{Preparer, Reason};
use crate::recorder::Recorder;
use crate::recover::put_in_order;
use crate::scheduler::{Capacity, Command, Event, Scheduler, TaskIndex, TaskState};
use crate::scope::Scope;
use crate::usage::Usage;
use crate::work_lock::{WorkLock, most_locks};
use crate::workspace::{RunLock, Workspace};

/// How long a process that was asked to end may take before it is made to.
const GRACE: Duration = Duration::from_secs(5);
/// Tells a step where to write.
pub(crate) const OUTPUT_DIRECTORY_VARIABLE: &str = "MLPIPE_OUTPUT_DIR";
/// How often a driver looks whether work that somebody else does is done.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What to run, and on what.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// The checked pipeline.
    pub pipeline: &'a Pipeline,
    /// Items of its input collections.
    pub inputs: &'a Inputs,
    /// Facts about this machine's tools that can change results, by name.
    pub environment: &'a BTreeMap<String, String>,
    /// Cores, memory and GPUs that steps may use together.
    pub capacity: Capacity,
    /// What each of the GPUs is called in `CUDA_VISIBLE_DEVICES`.
    pub gpus: Vec<String>,
    /// Directory that steps find first in `PATH`: the one of the `mlpipe` command.
    pub program_directory: Option<PathBuf>,
    /// Which steps the run is about, and which are done again.
    pub scope: Scope,
    /// Version written to the journal.
    pub version: &'a str,
}

/// Receives what attempts report, and interruptions.
#[derive(Debug)]
pub struct Mailbox {
    sender: Sender<Message>,
    receiver: Receiver<Message>,
}

/// Stops a run from another thread: politely the first time, at once the second.
#[derive(Debug, Clone)]
pub struct Interrupter(Sender<Message>);

#[derive(Debug)]
enum Message {
    Interrupt,
    Started { attempt: usize, process_id: u32 },
    Ended { attempt: usize, results: Vec<(TaskIndex, std::result::Result<Finished, Failure>)>, usage: Option<Usage> },
}

impl Default for Mailbox {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel();
        Self { sender, receiver }
    }
}

impl Mailbox {
    /// Returns a handle that interrupts the run which gets this mailbox.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter(self.sender.clone())
    }
}

impl Interrupter {
    /// Asks the run to stop.
    pub fn interrupt(&self) {
        // The run may have ended already.
        let _ = self.0.send(Message::Interrupt);
    }
}

/// Runs a pipeline. A failing step is part of the result, not an error.
///
/// # Errors
/// When a project or a path given to a parameter cannot be read (before anything runs), or when the state directory or the
/// tracking store fails.
pub fn run(
    workspace: &Workspace,
    request: &RunRequest<'_>,
    mailbox: Mailbox,
    observer: &mut dyn Observer,
) -> Result<RunDocument> {
    let mut preparer = Preparer::new(request, workspace.content().known());
    preparer.check_sources()?;
    let (_use, store) = put_in_order(workspace)?;
    let run_id = RunId::random();
    let directory = workspace.run_directory(&run_id);
    make_directory(&directory)?;
    RunRecord::write(workspace, &directory, request, &mut preparer)?;
    let _lock = RunLock::drive(&directory)?;
    let started = Instant::now();
    let recorder = Recorder::start(workspace, store, request.pipeline, run_id.clone(), now_ms())?;
    let start = Start::of(request);
    let driver = Driver {
        workspace,
        request,
        preparer,
        scheduler: start.scheduler(),
        journal: Journal::create(&directory)?,
        latest: Latest::read(workspace, &request.pipeline.name),
        recorder,
        observer,
        run_id,
        directory,
        tasks: Vec::new(),
        outputs: HashMap::new(),
        attempts: HashMap::new(),
        attempts_started: 0,
        locks: HashMap::new(),
        secrets: request.pipeline.steps.iter().flat_map(|step| &step.secrets).collect(),
        most_locks: most_locks(),
        ahead: Ahead::default(),
        awaited: Vec::new(),
        delayed: Vec::new(),
        ended: 0,
        interrupted: false,
        sender: mailbox.sender.clone(),
    };
    let outcome = thread::scope(|scope| {
        rayon::in_place_scope(|lookups| driver.drive(scope, lookups, &mailbox.receiver, start, started))
    });
    workspace.save_digests();
    outcome
}

struct Driver<'a> {
    workspace: &'a Workspace,
    request: &'a RunRequest<'a>,
    preparer: Preparer<'a>,
    scheduler: Scheduler,
    journal: Journal,
    latest: Latest,
    recorder: Recorder<'a>,
    observer: &'a mut dyn Observer,
    run_id: RunId,
    directory: PathBuf,
    tasks: Vec<TaskRun>,
    outputs: HashMap<TaskIndex, Outputs>,
    attempts: HashMap<usize, RunningAttempt>,
    attempts_started: usize,
    /// Of the tasks that are running, where results may be reused.
    locks: HashMap<TaskIndex, WorkLock>,
    /// Every secret that some step asks for.
    secrets: BTreeSet<&'a String>,
    /// Beyond this number work is done without a lock: two drivers may then do the same.
    most_locks: usize,
    ahead: Ahead,
    /// Tasks whose work somebody else is doing.
    awaited: Vec<TaskIndex>,
    /// Tasks whose next attempt has to wait, and until when.
    delayed: Vec<(Instant, TaskIndex)>,
    ended: usize,
    interrupted: bool,
    sender: Sender<Message>,
}

/// What the driver knows of a task beside the scheduler's state.
#[derive(Debug)]
struct TaskRun {
    row: StepRow,
    /// Empty once it has ended.
    image: PreImage,
    fingerprint: Option<Digest>,
    reason: Option<Reason>,
    started: Option<Instant>,
}

#[derive(Debug)]
struct RunningAttempt {
    tasks: Vec<TaskIndex>,
    /// Below the run's directory.
    log: PathBuf,
    directory: PathBuf,
    control: Control,
    /// When it is asked to end, or, having been asked, made to end.
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    timed_out: bool,
}

impl<'a> Driver<'a> {
    fn drive<'scope, 'lookups>(
        mut self,
        scope: &'scope thread::Scope<'scope, '_>,
        lookups: &rayon::Scope<'lookups>,
        messages: &Receiver<Message>,
        start: Start,
        started: Instant,
    ) -> Result<RunDocument>
    where
        'a: 'scope + 'lookups,
    {
        let pipeline = &self.request.pipeline.name;
        self.observer.update(&Update::RunStarted { run_id: &self.run_id, pipeline });
        self.journal.append(
            now_ms(),
            Entry::RunStarted {
                format: JOURNAL_FORMAT.into(),
                pipeline: pipeline.clone(),
                run_id: self.run_id.to_string(),
                mlpipe: self.request.version.into(),
                start: Box::new(start),
            },
        )?;
        self.journal.flush()?;
        match self.work(scope, lookups, messages) {
            Ok(()) => self.finish(started),
            Err(error) => {
                self.abandon(messages);
                Err(error)
            }
        }
    }

    /// Carries out commands and waits for what comes of them, until all is over.
    fn work<'scope, 'lookups>(
        &mut self,
        scope: &'scope thread::Scope<'scope, '_>,
        lookups: &rayon::Scope<'lookups>,
        messages: &Receiver<Message>,
    ) -> Result<()>
    where
        'a: 'scope + 'lookups,
    {
        let mut commands: VecDeque<Command> = self.scheduler.start().into();
        loop {
            self.meet_new_tasks()?;
            while !commands.is_empty() {
                self.look_ahead(lookups, &commands)?;
                let command = commands.pop_front().expect("there is one");
                for event in self.obey(scope, command)? {
                    commands.extend(self.tell(event)?);
                }
            }
            if self.scheduler.is_finished() && self.attempts.is_empty() {
                return Ok(());
            }
            for event in self.next_events(messages)? {
                commands.extend(self.tell(event)?);
            }
        }
    }

    /// Hands an event to the scheduler and keeps it in the journal.
    fn tell(&mut self, event: Event) -> Result<Vec<Command>> {
        let commands = self.scheduler.on_event(&event);
        self.journal.append(now_ms(), Entry::Scheduler { event })?;
        self.meet_new_tasks()?;
        Ok(commands)
    }

    fn meet_new_tasks(&mut self) -> Result<()> {
        for index in (self.tasks.len()..self.scheduler.tasks().len()).map(TaskIndex) {
            let task = self.scheduler.task(index);
            let step = &self.request.pipeline.steps[task.step];
            let key: Vec<String> = task.key.iter().map(|part| part.to_string()).collect();
            let row = StepRow {
                name: step.name.to_string(),
                key: display_key(&task.key, step.dimensions.len()),
                status: StepStatus::Skipped,
                run_id: None,
                reason: String::new(),
                attempts: 0,
                duration_s: 0.0,
                error: None,
                reused_from: None,
                log: None,
            };
            self.journal.append(now_ms(), Entry::Task { task: index, step: row.name.clone(), key })?;
            self.tasks.push(TaskRun {
                row,
                image: PreImage::default(),
                fingerprint: None,
                reason: None,
                started: None,
            });
        }
        Ok(())
    }

    fn obey<'scope>(&mut self, scope: &'scope thread::Scope<'scope, '_>, command: Command) -> Result<Vec<Event>>
    where
        'a: 'scope,
    {
        match command {
            Command::Prepare(task) if self.scheduler.task(task).state == TaskState::Preparing => {
                return Ok(vec![self.prepare(task)?]);
            }
            Command::Prepare(_) => {}
            Command::Launch(tasks) => return self.launch(scope, &tasks),
            Command::Skip(task, cause) => self.skip(task, cause)?,
            Command::Delay(task, delay) => self.delayed.push((Instant::now() + delay, task)),
            Command::StopAttempts => self.stop_attempts(),
        }
        Ok(Vec::new())
    }

    /// Waits for messages or the next deadline.
    fn next_events(&mut self, messages: &Receiver<Message>) -> Result<Vec<Event>> {
        self.journal.flush()?;
        let settled = self.settle_awaited()?;
        if !settled.is_empty() {
            return Ok(settled);
        }
        let look_again = (!self.awaited.is_empty()).then(|| Instant::now() + LOOK_AGAIN);
        let retries = self.delayed.iter().map(|(until, _)| *until);
        let deadlines = self.attempts.values().filter_map(|attempt| attempt.deadline);
        let deadline = deadlines.chain(look_again).chain(retries).min();
        let message = match deadline {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => messages.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        match message {
            Ok(Message::Started { attempt, process_id }) => {
                self.attempt_started(attempt, process_id).map(|()| Vec::new())
            }
            Ok(Message::Ended { attempt, results, usage }) => self.attempt_ended(attempt, results, usage),
            Ok(Message::Interrupt) if self.interrupted => {
                self.signal_all(Signal::KILL);
                Ok(Vec::new())
            }
            Ok(Message::Interrupt) => {
                self.interrupted = true;
                Ok(vec![Event::Interrupted])
            }
            Err(RecvTimeoutError::Timeout) => {
                self.enforce_deadlines();
                Ok(self.end_delays())
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("the driver holds a sender itself"),
        }
    }
}

/// Key parts joined by `/`, with `*` for parts that were never expanded; none for a step that runs once.
pub(crate) fn display_key(key: &[impl AsRef<str>], dimensions: usize) -> Option<String> {
    let parts: Vec<&str> =
        key.iter().map(|part| part.as_ref()).chain((key.len() < dimensions).then_some("*")).collect();
    (dimensions > 0).then(|| parts.join("/"))
}

/// `step` or `step[key]`.
fn label(row: &StepRow) -> String {
    match &row.key {
        Some(key) => format!("{}[{key}]", row.name),
        None => row.name.clone(),
    }
}

/// Milliseconds since 1970, as MLflow counts time.
pub(crate) fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}
