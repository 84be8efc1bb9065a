//! Processes: put together, started, listened to, ended; and what their end means for their tasks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use mlpipe_artifacts::write_atomically;
use mlpipe_spec::{FailureCause, StepId};
use mlpipe_tracking::RunId;
use rustix::process::Signal;

use super::{Driver, GRACE, LOOK_AGAIN, Message, OUTPUT_DIRECTORY_VARIABLE, RunningAttempt, label, now_ms};
use crate::attempt::{Attempt, AttemptItem, Control, Failure, Finished, batch_file};
use crate::cache::{Action, Reusable};
use crate::document::{StepStatus, Update};
use crate::error::Result;
use crate::inputs::make_directory;
use crate::journal::Entry;
use crate::prepare::{Places, View};
use crate::recorder::{TaskRecord, Work};
use crate::scheduler::{Event, TaskIndex};
use crate::usage::Usage;

/// Tells a step which GPUs it holds; CUDA, and what builds on it, sees no others.
const VISIBLE_GPUS_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

impl<'a> Driver<'a> {
    /// Ends the processes that are under way when the run cannot go on, because nothing can be stored any more.
    pub(super) fn abandon(&mut self, messages: &Receiver<Message>) {
        while !self.attempts.is_empty() {
            // Again and again, for those that are only just being started.
            self.signal_all(Signal::KILL);
            if let Ok(Message::Ended { attempt, .. }) = messages.recv_timeout(LOOK_AGAIN)
                && let Some(attempt) = self.attempts.remove(&attempt)
            {
                // What cannot be removed now is removed by the next run.
                let _ = std::fs::remove_dir_all(&attempt.directory);
            }
        }
    }

    pub(super) fn launch<'scope>(
        &mut self,
        scope: &'scope thread::Scope<'scope, '_>,
        tasks: &[TaskIndex],
    ) -> Result<Vec<Event>>
    where
        'a: 'scope,
    {
        let (tasks, events) = self.claim(tasks)?;
        if !tasks.is_empty() {
            self.start_attempt(scope, &tasks)?;
        }
        Ok(events)
    }

    pub(super) fn start_attempt<'scope>(
        &mut self,
        scope: &'scope thread::Scope<'scope, '_>,
        tasks: &[TaskIndex],
    ) -> Result<()>
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
            log: attempt.log.strip_prefix(&self.directory).unwrap_or(&attempt.log).to_owned(),
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
            let (results, usage) = attempt.run(content, started);
            let _ = sender.send(Message::Ended { attempt: number, results, usage });
        });
        Ok(())
    }

    /// Puts together one process for tasks of one step.
    pub(super) fn attempt(&mut self, tasks: &[TaskIndex], directory: &Path) -> Result<(Attempt, Option<Duration>)> {
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
            gpus: self.gpus_of(tasks[0]),
            withheld: self.secrets_of_others(step_id),
            remote_run: self.recorder.remote_run(self.tasks[tasks[0].0].row.run_id.as_ref().expect("set above")),
            log: self.log_path(tasks)?,
            items: items.into_iter().map(|(item, _)| item).collect(),
            declared: step.entry().outputs.clone(),
            batch_results,
            control: Control::default(),
        };
        Ok((attempt, step.timeout))
    }

    pub(super) fn step_environment(&self, step: StepId, first: &AttemptItem) -> Vec<(String, String)> {
        let step = &self.request.pipeline.steps[step];
        let run_id = self.tasks[first.task.0].row.run_id.as_ref().expect("set when the attempt is put together");
        let mut variables = Vec::new();
        // A tracking server gives its own ids, which are known when the process is started.
        if self.workspace.tracking_server().is_none() {
            variables.push(("MLFLOW_RUN_ID".to_owned(), run_id.to_string()));
            variables.push(("MLFLOW_EXPERIMENT_ID".into(), self.recorder.experiment_id().into()));
        }
        variables.extend([
            (OUTPUT_DIRECTORY_VARIABLE.into(), first.output_directory.display().to_string()),
            ("MLPIPE_CPU".into(), step.resources.cpu.min(self.request.capacity.cpu).to_string()),
            ("MLPIPE_MAX_MEMORY".into(), step.resources.memory_bytes.to_string()),
            ("MLPIPE_ATTEMPT".into(), self.scheduler.task(first.task).attempts.to_string()),
        ]);
        if let Some(directory) = &self.request.program_directory {
            let path = std::env::var_os("PATH").unwrap_or_default();
            let all = [directory.clone()].into_iter().chain(std::env::split_paths(&path));
            if let Ok(joined) = std::env::join_paths(all) {
                variables.push(("PATH".into(), joined.to_string_lossy().into_owned()));
            }
        }
        variables.extend(step.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        variables.extend(self.gpus_of(first.task).map(|gpus| (VISIBLE_GPUS_VARIABLE.into(), gpus)));
        variables
    }

    /// Names of the GPUs that a task holds, if any, as CUDA takes them.
    fn gpus_of(&self, task: TaskIndex) -> Option<String> {
        let held = self.scheduler.gpus(task).iter().map(|gpu| self.request.gpus[*gpu as usize].as_str());
        Some(held.collect::<Vec<_>>().join(",")).filter(|gpus| !gpus.is_empty())
    }

    /// Secrets that only other steps ask for. A step's own are in our environment, which its process inherits.
    pub(super) fn secrets_of_others(&self, step: StepId) -> Vec<String> {
        let own = &self.request.pipeline.steps[step].secrets;
        self.secrets.iter().filter(|name| !own.contains(name)).map(|name| (*name).clone()).collect()
    }

    /// `logs/STEP/KEY.ATTEMPT.log`; a batch has one log, named for its first item.
    pub(super) fn log_path(&self, tasks: &[TaskIndex]) -> Result<PathBuf> {
        let task = self.scheduler.task(tasks[0]);
        let mut path = self.directory.join("logs").join(&self.tasks[tasks[0].0].row.name);
        let parents = task.key.len().saturating_sub(1);
        path.extend(task.key.iter().take(parents).map(|part| part.as_ref()));
        make_directory(&path)?;
        let name = task.key.last().map_or("step", |part| part);
        Ok(path.join(format!("{name}.{}.log", task.attempts)))
    }

    pub(super) fn task_started(&mut self, index: TaskIndex, log: &Path) -> Result<()> {
        let attempts = self.scheduler.task(index).attempts;
        let run_id = self.tasks[index.0].row.run_id.clone().expect("set when the attempt is put together");
        self.record(index, &run_id, None)?;
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

    /// Records that a task's work begins, or that it was `done` before.
    pub(super) fn record(&mut self, index: TaskIndex, run_id: &RunId, done: Option<&Reusable>) -> Result<()> {
        let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
        let params = self.preparer.recorded(&view, index, |upstream| {
            self.tasks[upstream.0].row.run_id.as_ref().map_or_else(String::new, RunId::to_string)
        });
        let inputs = match self.workspace.datasets().is_empty() {
            true => Vec::new(),
            false => self.preparer.input_items(&view, index),
        };
        let run = &self.tasks[index.0];
        let work = match done {
            Some(action) => Work::Done { by: &action.run_id, metrics: &action.metrics },
            None => Work::Begins(&run.row.reason),
        };
        self.recorder.task(TaskRecord {
            step: self.scheduler.task(index).step,
            label: &label(&run.row),
            key: run.row.key.as_deref(),
            run_id,
            params,
            inputs,
            fingerprint: self.fingerprint(index).to_string(),
            work,
            time_ms: now_ms(),
        });
        Ok(())
    }

    /// Says of which tasks the next attempt may start.
    pub(super) fn end_delays(&mut self) -> Vec<Event> {
        let now = Instant::now();
        let over = self.delayed.extract_if(.., |(until, _)| *until <= now);
        over.map(|(_, task)| Event::DelayOver { task }).collect()
    }

    pub(super) fn attempt_started(&mut self, attempt: usize, process_id: u32) -> Result<()> {
        let attempt = &self.attempts[&attempt];
        let run_id = |index: &TaskIndex| self.tasks[index.0].row.run_id.clone().expect("a task that runs has a run");
        let run_ids = attempt.tasks.iter().map(run_id).collect();
        let (tasks, log) = (attempt.tasks.clone(), attempt.log.clone());
        self.journal.append(now_ms(), Entry::AttemptStarted { tasks, run_ids, process_id, log })
    }

    pub(super) fn attempt_ended(
        &mut self,
        attempt: usize,
        results: Vec<(TaskIndex, std::result::Result<Finished, Failure>)>,
        usage: Option<Usage>,
    ) -> Result<Vec<Event>> {
        let number = attempt;
        let attempt = self.attempts.remove(&attempt).expect("each attempt ends once");
        if let Some(usage) = usage {
            self.record_usage(&attempt.tasks, number, &usage);
        }
        let one = |(index, result)| {
            let event = match result {
                Ok(finished) => self.task_succeeded(index, finished),
                Err(error) => self.task_failed(index, error, &attempt),
            };
            self.locks.remove(&index);
            event
        };
        let events = results.into_iter().map(one).collect();
        // What is left of an attempt is of no use; a leftover does no harm.
        let _ = std::fs::remove_dir_all(&attempt.directory);
        events
    }

    /// What a process used is recorded with its task; of a batch with the step, since it cannot be told apart.
    fn record_usage(&mut self, tasks: &[TaskIndex], attempt: usize, usage: &Usage) {
        match tasks {
            [index] => {
                let run_id = self.tasks[index.0].row.run_id.as_ref().expect("a task that ran has a run");
                self.recorder.used(run_id, usage.metrics(), 0, now_ms());
            }
            _ => {
                let step = self.scheduler.task(tasks[0]).step;
                let step_of_history = i64::try_from(attempt).unwrap_or(i64::MAX);
                self.recorder.used_by_step(step, usage.metrics(), step_of_history, now_ms());
            }
        }
    }

    pub(super) fn task_succeeded(&mut self, index: TaskIndex, finished: Finished) -> Result<Event> {
        let run = &mut self.tasks[index.0];
        run.row.duration_s = run.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        let run_id = run.row.run_id.clone().expect("a task that ran has a run");
        let duration_s = run.row.duration_s;
        let image = run.image.clone();
        let cache = self.request.pipeline.steps[self.scheduler.task(index).step].cache;
        let mut outputs = finished.outputs;
        outputs.directory = Some(self.place(&run_id, &finished.tree)?);
        self.recorder.artifacts(&run_id, &outputs)?;
        if cache {
            // Whoever reuses the result names its run, which must be known then.
            self.recorder.flush()?;
            let fingerprint = self.fingerprint(index);
            let action = Action::new(image, finished.tree, finished.metrics.clone(), run_id, duration_s);
            self.workspace.store_action(fingerprint, &action)?;
        }
        let collections = outputs.collections();
        self.outputs.insert(index, outputs);
        self.end_task(index, StepStatus::Done, &finished.metrics)?;
        Ok(Event::Succeeded { task: index, collections })
    }

    pub(super) fn task_failed(
        &mut self,
        index: TaskIndex,
        failure: Failure,
        attempt: &RunningAttempt,
    ) -> Result<Event> {
        let (error, cause) = match attempt.timeout {
            Some(timeout) if attempt.timed_out => {
                (format!("timed out after {} s", timeout.as_secs_f64()), FailureCause::Timeout)
            }
            _ => (failure.message, failure.cause),
        };
        let run = &mut self.tasks[index.0];
        run.row.duration_s = run.started.map_or(0.0, |started| started.elapsed().as_secs_f64());
        run.row.error = Some(error);
        if self.interrupted {
            self.end_task(index, StepStatus::Killed, &BTreeMap::new())?;
        } else if self.scheduler.will_retry(index, cause) {
            self.retry(index);
        } else {
            self.end_task(index, StepStatus::Failed, &BTreeMap::new())?;
        }
        Ok(Event::Failed { task: index, cause })
    }

    pub(super) fn retry(&mut self, index: TaskIndex) {
        let row = &self.tasks[index.0].row;
        let run_id = row.run_id.clone().expect("a task that ran has a run");
        let error = row.error.as_deref().unwrap_or_default();
        self.observer.update(&Update::TaskRetried { name: &row.name, key: row.key.as_deref(), error });
        self.recorder.attempt_failed(&run_id, now_ms());
    }

    pub(super) fn stop_attempts(&mut self) {
        self.signal_all(Signal::TERM);
        for attempt in self.attempts.values_mut() {
            attempt.deadline = Some(Instant::now() + GRACE);
        }
    }

    pub(super) fn signal_all(&self, signal: Signal) {
        for attempt in self.attempts.values() {
            attempt.control.signal(signal);
        }
    }

    pub(super) fn enforce_deadlines(&mut self) {
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
}
