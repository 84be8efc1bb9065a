//! Carries out what the scheduler decides: looks up finished work, starts attempts, stores and records what they made.
//!
//! One thread drives; each attempt waits for its process on a thread of its own and reports through a channel.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indexmap::IndexMap;
use mlpipe_artifacts::write_atomically;
use mlpipe_spec::{Pipeline, StepId};
use mlpipe_tracking::RunId;
use rustix::process::Signal;

use crate::attempt::{Attempt, AttemptItem, Control, Finished, batch_file};
use crate::cache::{Action, Latest};
use crate::document::{Observer, OutputPaths, RunDocument, RunOutcome, StepRow, StepStatus, Update};
use crate::error::Result;
use crate::fingerprint::PreImage;
use crate::inputs::{Inputs, make_directory};
use crate::journal::{Entry, Journal};
use crate::outputs::Outputs;
use crate::prepare::{Places, Preparer, Reason, View, look_up};
use crate::recorder::{Recorder, TaskRecord};
use crate::recover::recover;
use crate::scheduler::{Capacity, Command, Event, Key, Scheduler, SkipCause, TaskIndex, TaskState};
use crate::shape::shapes;
use crate::workspace::{RunLock, Workspace};

/// How long a process that was asked to end may take before it is made to.
const GRACE: Duration = Duration::from_secs(5);
/// Tells a step where to write.
pub(crate) const OUTPUT_DIRECTORY_VARIABLE: &str = "MLPIPE_OUTPUT_DIR";
const JOURNAL_FORMAT: &str = "mlpipe.journal/1";

/// What to run, and on what.
#[derive(Debug)]
pub struct RunRequest<'a> {
    /// The checked pipeline.
    pub pipeline: &'a Pipeline,
    /// Items of its input collections.
    pub inputs: &'a Inputs,
    /// Facts about this machine's tools that can change results, by name.
    pub environment: &'a BTreeMap<String, String>,
    /// Cores and memory that steps may use together.
    pub capacity: Capacity,
    /// Directory that steps find first in `PATH`: the one of the `mlpipe` command.
    pub program_directory: Option<PathBuf>,
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
    Ended { attempt: usize, results: Vec<(TaskIndex, std::result::Result<Finished, String>)> },
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
    let mut preparer = Preparer::new(request.pipeline, request.inputs, request.environment);
    preparer.check_sources()?;
    recover(workspace)?;
    let run_id = RunId::random();
    let directory = workspace.run_directory(&run_id);
    make_directory(&directory)?;
    let _lock = RunLock::take(&directory)?;
    let started = Instant::now();
    let recorder = Recorder::start(workspace, request.pipeline, run_id.clone(), now_ms())?;
    let keys = request.inputs.values().map(|items| items.keys().map(|key| Arc::from(key.as_str())).collect()).collect();
    let driver = Driver {
        workspace,
        request,
        preparer,
        scheduler: Scheduler::new(shapes(request.pipeline), keys, request.capacity),
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
        ended: 0,
        interrupted: false,
        sender: mailbox.sender.clone(),
    };
    std::thread::scope(|scope| driver.drive(scope, &mailbox.receiver, started))
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
    ended: usize,
    interrupted: bool,
    sender: Sender<Message>,
}

/// What the driver knows of a task beside the scheduler's state.
#[derive(Debug)]
struct TaskRun {
    row: StepRow,
    image: PreImage,
    reason: Option<Reason>,
    started: Option<Instant>,
}

#[derive(Debug)]
struct RunningAttempt {
    tasks: Vec<TaskIndex>,
    directory: PathBuf,
    control: Control,
    /// When it is asked to end, or, having been asked, made to end.
    deadline: Option<Instant>,
    timeout: Option<Duration>,
    timed_out: bool,
}

impl<'a> Driver<'a> {
    fn drive<'scope>(
        mut self,
        scope: &'scope Scope<'scope, '_>,
        messages: &Receiver<Message>,
        started: Instant,
    ) -> Result<RunDocument>
    where
        'a: 'scope,
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
            },
        )?;
        let mut commands: VecDeque<Command> = self.scheduler.start().into();
        loop {
            self.meet_new_tasks()?;
            while let Some(command) = commands.pop_front() {
                let event = self.obey(scope, command)?;
                if let Some(event) = event {
                    commands.extend(self.tell(event)?);
                }
            }
            if self.scheduler.is_finished() && self.attempts.is_empty() {
                return self.finish(started);
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
                log: None,
            };
            self.journal.append(now_ms(), Entry::Task { task: index, step: row.name.clone(), key })?;
            self.tasks.push(TaskRun { row, image: PreImage::default(), reason: None, started: None });
        }
        Ok(())
    }

    fn obey<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, command: Command) -> Result<Option<Event>>
    where
        'a: 'scope,
    {
        match command {
            Command::Prepare(task) if self.scheduler.task(task).state == TaskState::Preparing => {
                return self.prepare(task).map(Some);
            }
            Command::Prepare(_) => {}
            Command::Launch(tasks) => self.launch(scope, &tasks)?,
            Command::Skip(task, cause) => self.skip(task, cause),
            Command::StopAttempts => self.stop_attempts(),
        }
        Ok(None)
    }

    // ---- finished work

    fn prepare(&mut self, index: TaskIndex) -> Result<Event> {
        let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
        let image = self.preparer.pre_image(&view, index)?;
        let step = &self.request.pipeline.steps[self.scheduler.task(index).step];
        let label = label(&self.tasks[index.0].row);
        let (action, reason) = look_up(self.workspace, &self.latest, &label, &image, step.cache);
        self.latest.set(&label, image.fingerprint());
        let run = &mut self.tasks[index.0];
        run.row.reason = reason.to_string();
        run.image = image;
        run.reason = Some(reason);
        match action {
            Some(action) => self.reuse(index, &action),
            None => Ok(Event::MustRun { task: index }),
        }
    }

    fn reuse(&mut self, index: TaskIndex, action: &Action) -> Result<Event> {
        let step = self.scheduler.task(index).step;
        let declared = &self.request.pipeline.steps[step].entry().outputs;
        let Ok(mut outputs) = Outputs::find(&action.tree, declared) else { return Ok(Event::MustRun { task: index }) };
        let run_id = RunId::random();
        outputs.directory = Some(self.place(&run_id, &action.tree)?);
        let collections = outputs.collections();
        self.record_start(index, &run_id, Some(&action.run_id))?;
        self.outputs.insert(index, outputs);
        let row = &mut self.tasks[index.0].row;
        row.run_id = Some(run_id);
        row.duration_s = action.duration_s;
        self.end_task(index, StepStatus::Cached, &action.metrics);
        Ok(Event::Reused { task: index, collections })
    }

    /// Puts what a task wrote where its run's artifacts lie.
    fn place(&self, run_id: &RunId, tree: &mlpipe_artifacts::Tree) -> Result<PathBuf> {
        let directory = self.workspace.artifact_directory(self.recorder.experiment_id(), run_id);
        self.workspace.content().materialize(tree, &directory)?;
        Ok(directory)
    }

    // ---- attempts

    fn launch<'scope>(&mut self, scope: &'scope Scope<'scope, '_>, tasks: &[TaskIndex]) -> Result<()>
    where
        'a: 'scope,
    {
        let number = self.attempts_started;
        self.attempts_started += 1;
        let directory = self.workspace.attempts_directory().join(format!("{}-{number}", self.run_id));
        let (attempt, timeout) = self.attempt(tasks, &directory)?;
        for index in tasks {
            self.task_started(*index, &attempt.log)?;
        }
        let running = RunningAttempt {
            tasks: tasks.to_vec(),
            directory,
            control: attempt.control.clone(),
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            timeout,
            timed_out: false,
        };
        self.attempts.insert(number, running);
        let sender = self.sender.clone();
        let content = self.workspace.content();
        scope.spawn(move || {
            // The driver listens until every attempt has ended.
            let started = |process_id| drop(sender.send(Message::Started { attempt: number, process_id }));
            let results = attempt.run(content, started);
            let _ = sender.send(Message::Ended { attempt: number, results });
        });
        Ok(())
    }

    /// Puts together one process for tasks of one step.
    fn attempt(&mut self, tasks: &[TaskIndex], directory: &Path) -> Result<(Attempt, Option<Duration>)> {
        let step_id = self.scheduler.task(tasks[0]).step;
        let step = &self.request.pipeline.steps[step_id];
        let run_inputs = self.directory.join("inputs");
        let mut items = Vec::with_capacity(tasks.len());
        for (position, index) in tasks.iter().enumerate() {
            let place = directory.join(position.to_string());
            let output_directory = place.join("outputs");
            make_directory(&output_directory)?;
            let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
            let places = Places { inputs: place.join("inputs"), run_inputs: run_inputs.clone() };
            let values = self.preparer.values(&view, *index, &places)?;
            let key = self.tasks[index.0].row.key.clone().unwrap_or_default();
            self.tasks[index.0].row.run_id = Some(RunId::random());
            items.push((AttemptItem { task: *index, key, output_directory }, values));
        }
        let mut batch_results = None;
        let command = if step.batch.is_some() {
            let (list, results) = (directory.join("batch.json"), directory.join("results.ndjson"));
            write_atomically(&list, &batch_file(&items, &results))?;
            batch_results = Some(results);
            let line = step.entry().batch_command_line(&list.display().to_string());
            line.expect("the pipeline was checked: a batched step has a batch command")
        } else {
            step.entry().command_line(&items[0].1)
        };
        let attempt = Attempt {
            command,
            working_directory: step.project.directory.clone(),
            environment: self.step_environment(step_id, &items[0].0),
            log: self.log_path(tasks)?,
            items: items.into_iter().map(|(item, _)| item).collect(),
            declared: step.entry().outputs.clone(),
            batch_results,
            control: Control::default(),
        };
        Ok((attempt, step.timeout))
    }

    fn step_environment(&self, step: StepId, first: &AttemptItem) -> Vec<(String, String)> {
        let step = &self.request.pipeline.steps[step];
        let run_id = self.tasks[first.task.0].row.run_id.as_ref().expect("set when the attempt is put together");
        let mut variables = vec![
            ("MLFLOW_RUN_ID".to_owned(), run_id.to_string()),
            ("MLFLOW_EXPERIMENT_ID".into(), self.recorder.experiment_id().into()),
            (OUTPUT_DIRECTORY_VARIABLE.into(), first.output_directory.display().to_string()),
            ("MLPIPE_CPU".into(), step.resources.cpu.min(self.request.capacity.cpu).to_string()),
        ];
        if let Some(directory) = &self.request.program_directory {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = [directory.clone()].into_iter().chain(std::env::split_paths(&path));
            if let Ok(joined) = std::env::join_paths(all) {
                variables.push(("PATH".into(), joined.to_string_lossy().into_owned()));
            }
        }
        variables.extend(step.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        variables
    }

    /// `logs/STEP/KEY.ATTEMPT.log`; a batch has one log, named for its first item.
    fn log_path(&self, tasks: &[TaskIndex]) -> Result<PathBuf> {
        let task = self.scheduler.task(tasks[0]);
        let mut path = self.directory.join("logs").join(&self.tasks[tasks[0].0].row.name);
        let parents = task.key.len().saturating_sub(1);
        path.extend(task.key.iter().take(parents).map(|part| part.as_ref()));
        make_directory(&path)?;
        let name = task.key.last().map_or("step", |part| part);
        Ok(path.join(format!("{name}.{}.log", task.attempts)))
    }

    fn task_started(&mut self, index: TaskIndex, log: &Path) -> Result<()> {
        let attempts = self.scheduler.task(index).attempts;
        let run_id = self.tasks[index.0].row.run_id.clone().expect("set when the attempt is put together");
        self.record_start(index, &run_id, None)?;
        let run = &mut self.tasks[index.0];
        run.started = Some(Instant::now());
        run.row.attempts = attempts;
        run.row.log = Some(log.to_owned());
        let row = &run.row;
        self.observer.update(&Update::TaskStarted {
            name: &row.name,
            key: row.key.as_deref(),
            attempt: attempts,
            reason: &row.reason,
        });
        Ok(())
    }

    fn record_start(&mut self, index: TaskIndex, run_id: &RunId, cached_from: Option<&RunId>) -> Result<()> {
        let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
        let params = self.preparer.recorded(&view, index, |upstream| {
            self.tasks[upstream.0].row.run_id.as_ref().map_or_else(String::new, RunId::to_string)
        });
        let run = &self.tasks[index.0];
        self.recorder.task_started(TaskRecord {
            step: self.scheduler.task(index).step,
            label: &label(&run.row),
            key: run.row.key.as_deref(),
            run_id,
            params,
            fingerprint: run.image.fingerprint().to_string(),
            reason: run.row.reason.clone(),
            cached_from,
            time_ms: now_ms(),
        });
        Ok(())
    }

    // ---- what happens

    /// Waits for messages or the next deadline.
    fn next_events(&mut self, messages: &Receiver<Message>) -> Result<Vec<Event>> {
        let deadline = self.attempts.values().filter_map(|attempt| attempt.deadline).min();
        let message = match deadline {
            None => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => messages.recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        match message {
            Ok(Message::Started { attempt, process_id }) => {
                self.attempt_started(attempt, process_id).map(|()| Vec::new())
            }
            Ok(Message::Ended { attempt, results }) => self.attempt_ended(attempt, results),
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
                Ok(Vec::new())
            }
            Err(RecvTimeoutError::Disconnected) => unreachable!("the driver holds a sender itself"),
        }
    }

    fn attempt_started(&mut self, attempt: usize, process_id: u32) -> Result<()> {
        let tasks = self.attempts.get(&attempt).map(|attempt| attempt.tasks.clone()).unwrap_or_default();
        self.journal.append(now_ms(), Entry::AttemptStarted { tasks, process_id })
    }

    fn attempt_ended(
        &mut self,
        attempt: usize,
        results: Vec<(TaskIndex, std::result::Result<Finished, String>)>,
    ) -> Result<Vec<Event>> {
        let attempt = self.attempts.remove(&attempt).expect("each attempt ends once");
        let mut events = Vec::with_capacity(results.len());
        for (index, result) in results {
            events.push(match result {
                Ok(finished) => self.task_succeeded(index, finished)?,
                Err(error) => self.task_failed(index, error, &attempt),
            });
        }
        // What is left of a failed attempt is of no use; a leftover does no harm.
        let _ = std::fs::remove_dir_all(&attempt.directory);
        Ok(events)
    }

    fn task_succeeded(&mut self, index: TaskIndex, finished: Finished) -> Result<Event> {
        let run = &mut self.tasks[index.0];
        run.row.duration_s = run.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        let run_id = run.row.run_id.clone().expect("a task that ran has a run");
        let duration_s = run.row.duration_s;
        let image = run.image.clone();
        let cache = self.request.pipeline.steps[self.scheduler.task(index).step].cache;
        let mut outputs = finished.outputs;
        outputs.directory = Some(self.place(&run_id, &finished.tree)?);
        if cache {
            let fingerprint = image.fingerprint();
            let action = Action::new(image, finished.tree, finished.metrics.clone(), run_id, duration_s);
            self.workspace.store_action(fingerprint, &action)?;
        }
        let collections = outputs.collections();
        self.outputs.insert(index, outputs);
        self.end_task(index, StepStatus::Done, &finished.metrics);
        Ok(Event::Succeeded { task: index, collections })
    }

    fn task_failed(&mut self, index: TaskIndex, error: String, attempt: &RunningAttempt) -> Event {
        let error = match attempt.timeout {
            Some(timeout) if attempt.timed_out => format!("timed out after {} s", timeout.as_secs_f64()),
            _ => error,
        };
        let retries = self.request.pipeline.steps[self.scheduler.task(index).step].retries;
        let run = &mut self.tasks[index.0];
        run.row.duration_s = run.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        run.row.error = Some(error);
        if self.interrupted {
            self.end_task(index, StepStatus::Killed, &BTreeMap::new());
        } else if self.scheduler.task(index).attempts > retries {
            self.end_task(index, StepStatus::Failed, &BTreeMap::new());
        } else {
            self.retry(index);
        }
        Event::Failed { task: index }
    }

    fn retry(&mut self, index: TaskIndex) {
        let row = &self.tasks[index.0].row;
        let run_id = row.run_id.clone().expect("a task that ran has a run");
        let error = row.error.as_deref().unwrap_or_default();
        self.observer.update(&Update::TaskRetried { name: &row.name, key: row.key.as_deref(), error });
        self.recorder.attempt_failed(&run_id, now_ms());
    }

    fn skip(&mut self, index: TaskIndex, cause: SkipCause) {
        self.tasks[index.0].row.reason = match cause {
            SkipCause::Upstream(upstream) => {
                let row = &self.tasks[self.root_cause(upstream).0].row;
                format!("`{}` {}", label(row), if row.status == StepStatus::Killed { "was killed" } else { "failed" })
            }
            SkipCause::Stopped if self.interrupted => "the run was interrupted".into(),
            SkipCause::Stopped => "the run was stopped by a failed step".into(),
        };
        self.tasks[index.0].row.status = StepStatus::Skipped;
        self.announce_end(index);
    }

    fn root_cause(&self, mut index: TaskIndex) -> TaskIndex {
        while let TaskState::Skipped(SkipCause::Upstream(upstream)) = self.scheduler.task(index).state {
            index = upstream;
        }
        index
    }

    fn end_task(&mut self, index: TaskIndex, status: StepStatus, metrics: &BTreeMap<String, f64>) {
        self.tasks[index.0].row.status = status;
        if status == StepStatus::Done {
            self.tasks[index.0].row.error = None;
        }
        let run_id = self.tasks[index.0].row.run_id.as_ref().expect("a task that ended has a run");
        self.recorder.task_ended(self.scheduler.task(index).step, run_id, status, metrics, now_ms());
        self.announce_end(index);
    }

    fn announce_end(&mut self, index: TaskIndex) {
        self.ended += 1;
        let known = self.scheduler.tasks().len();
        let task = &self.tasks[index.0].row;
        self.observer.update(&Update::TaskEnded { task, ended: self.ended, known });
    }

    // ---- stopping

    fn stop_attempts(&mut self) {
        self.signal_all(Signal::TERM);
        for attempt in self.attempts.values_mut() {
            attempt.deadline = Some(Instant::now() + GRACE);
        }
    }

    fn signal_all(&self, signal: Signal) {
        for attempt in self.attempts.values() {
            attempt.control.signal(signal);
        }
    }

    fn enforce_deadlines(&mut self) {
        let now = Instant::now();
        for attempt in self.attempts.values_mut() {
            if attempt.deadline.is_some_and(|deadline| deadline <= now) {
                let asked_before = attempt.timed_out || self.interrupted;
                attempt.control.signal(if asked_before { Signal::KILL } else { Signal::TERM });
                attempt.timed_out |= !self.interrupted;
                attempt.deadline = Some(now + GRACE);
            }
        }
    }

    // ---- the end

    fn finish(mut self, started: Instant) -> Result<RunDocument> {
        let failed = self.tasks.iter().any(|run| matches!(run.row.status, StepStatus::Failed | StepStatus::Skipped));
        let status = match (self.interrupted, failed) {
            (true, _) => RunOutcome::Killed,
            (false, true) => RunOutcome::Failed,
            (false, false) => RunOutcome::Done,
        };
        self.latest.write()?;
        let outputs = self.pipeline_outputs();
        self.recorder.finish(status, now_ms())?;
        self.journal.append(now_ms(), Entry::RunEnded { status: format!("{status:?}").to_lowercase() })?;
        let document = RunDocument {
            run_id: self.run_id,
            status,
            duration_s: started.elapsed().as_secs_f64(),
            steps: self.tasks.into_iter().map(|run| run.row).collect(),
            outputs,
        };
        self.observer.update(&Update::RunEnded { run: &document });
        Ok(document)
    }

    fn pipeline_outputs(&self) -> IndexMap<String, OutputPaths> {
        let pipeline = self.request.pipeline;
        let of = |reference: &mlpipe_spec::OutputRef| {
            let dimensions = pipeline.steps[reference.step].dimensions.len();
            let done = (0..self.tasks.len()).map(TaskIndex).filter_map(|index| {
                let task = self.scheduler.task(index);
                let outputs = self.outputs.get(&index).filter(|_| task.step == reference.step)?;
                Some((display_key(&task.key, dimensions), outputs.path(&reference.output)))
            });
            let paths: Vec<(Option<String>, PathBuf)> = done.collect();
            if dimensions == 0 {
                paths.into_iter().next().map(|(_, path)| OutputPaths::One(path))
            } else {
                let by_key = paths.into_iter().map(|(key, path)| (key.unwrap_or_default(), path));
                Some(OutputPaths::ByKey(by_key.collect()))
            }
        };
        pipeline.outputs.iter().filter_map(|(name, reference)| Some((name.clone(), of(reference)?))).collect()
    }
}

/// Key parts joined by `/`, with `*` for parts that were never expanded; none for a step that runs once.
pub(crate) fn display_key(key: &Key, dimensions: usize) -> Option<String> {
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
