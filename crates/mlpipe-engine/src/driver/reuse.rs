//! Work that need not be done: finished before, here or elsewhere, or being done by another driver right now.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver};

use mlpipe_artifacts::Digest;
use mlpipe_tracking::RunId;

use super::Driver;
use crate::cache::{Lookup, Reusable};
use crate::document::{StepStatus, Update};
use crate::error::Result;
use crate::outputs::Outputs;
use crate::prepare::{FEW, Reason, Sought, TOGETHER, View};
use crate::scheduler::{Command, Event, TaskIndex, TaskState};
use crate::work_lock::{Claim, WorkLock};

/// How many tasks one thread looks up in one go.
const PART: usize = 8;

/// Lookups for commands that come soon.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// How many of the next commands were looked at.
    commands: usize,
    sought: HashMap<TaskIndex, Sought>,
    /// Answers that are still to come, in the order of the commands.
    parts: VecDeque<Receiver<Part>>,
    /// Answers that nobody has asked for yet.
    found: HashMap<TaskIndex, Lookup>,
}

/// What one thread found.
type Part = Vec<(TaskIndex, Lookup)>;

impl Ahead {
    /// Returns a task that was sought, and what another thread has found, or finds just now; nothing where none has looked.
    fn take(&mut self, index: TaskIndex) -> Option<(Sought, Option<Lookup>)> {
        let sought = self.sought.remove(&index)?;
        let is_looked_for = sought.refused.is_none();
        while is_looked_for
            && !self.found.contains_key(&index)
            && let Some(part) = self.parts.pop_front()
        {
            // A thread that panicked sends nothing.
            self.found.extend(part.recv().unwrap_or_default());
        }
        Some((sought, self.found.remove(&index)))
    }
}

impl<'a> Driver<'a> {
    /// Has the work of the tasks that come next looked for, on other threads and many at a time, before it is asked for.
    pub(super) fn look_ahead<'lookups>(
        &mut self,
        lookups: &rayon::Scope<'lookups>,
        commands: &VecDeque<Command>,
    ) -> Result<()>
    where
        'a: 'lookups,
    {
        if self.ahead.commands <= TOGETHER / 2 {
            let next = commands.iter().skip(self.ahead.commands).take(TOGETHER).map_while(|command| match command {
                Command::Prepare(index) => Some(*index),
                _ => None,
            });
            let next: Vec<TaskIndex> = next.collect();
            if next.len() >= FEW {
                self.seek(lookups, &next)?;
                self.ahead.commands += next.len();
            }
        }
        self.ahead.commands = self.ahead.commands.saturating_sub(1);
        Ok(())
    }

    fn seek<'lookups>(&mut self, lookups: &rayon::Scope<'lookups>, tasks: &[TaskIndex]) -> Result<()>
    where
        'a: 'lookups,
    {
        let mut wanted = Vec::with_capacity(tasks.len());
        for index in tasks.iter().copied() {
            let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
            let task = self.scheduler.task(index);
            if task.state == TaskState::Preparing && !self.preparer.excludes(&view, index) {
                let sought = self.preparer.sought(&view, index, self.request.scope.repeats(task.step))?;
                wanted.extend(sought.refused.is_none().then_some((index, sought.fingerprint)));
                self.ahead.sought.insert(index, sought);
            }
        }
        let workspace = self.workspace;
        for part in wanted.chunks(PART).map(<[_]>::to_vec) {
            let (sender, receiver) = mpsc::sync_channel(1);
            self.ahead.parts.push_back(receiver);
            lookups.spawn(move |_| {
                let look_up = |(index, fingerprint)| (index, workspace.find_or_fetch_action(fingerprint));
                // The driver may have failed by now.
                let _ = sender.send(part.into_iter().map(look_up).collect());
            });
        }
        Ok(())
    }

    pub(super) fn prepare(&mut self, index: TaskIndex) -> Result<Event> {
        let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
        if self.preparer.excludes(&view, index) {
            return Ok(Event::Excluded { task: index });
        }
        let (sought, found) = match self.ahead.take(index) {
            Some(known) => known,
            None => {
                let repeats = self.request.scope.repeats(self.scheduler.task(index).step);
                (self.preparer.sought(&view, index, repeats)?, None)
            }
        };
        let (action, reason) = sought.answer(self.workspace, &self.latest, found);
        let Sought { image, fingerprint, .. } = sought;
        if let Reason::ContentDamaged(digest) = reason {
            self.workspace.content().discard(digest)?;
        }
        let run = &mut self.tasks[index.0];
        run.row.reason = reason.to_string();
        run.image = image;
        run.fingerprint = Some(fingerprint);
        run.reason = Some(reason);
        match action {
            Some(action) => self.reuse(index, &action),
            None => Ok(Event::MustRun { task: index }),
        }
    }

    /// The fingerprint of a task that was prepared.
    pub(super) fn fingerprint(&self, index: TaskIndex) -> Digest {
        self.tasks[index.0].fingerprint.expect("a task that ends well or is launched was prepared")
    }

    pub(super) fn reuse(&mut self, index: TaskIndex, action: &Reusable) -> Result<Event> {
        let step = self.scheduler.task(index).step;
        let declared = &self.request.pipeline.steps[step].entry().outputs;
        let Ok(mut outputs) = Outputs::find(&action.tree, declared) else { return Ok(Event::MustRun { task: index }) };
        let run_id = RunId::random();
        outputs.directory = Some(self.place(&run_id, &action.tree)?);
        let collections = outputs.collections();
        self.record(index, &run_id, Some(action))?;
        self.recorder.artifacts(&run_id, &outputs)?;
        self.outputs.insert(index, outputs);
        let row = &mut self.tasks[index.0].row;
        row.run_id = Some(run_id);
        row.duration_s = action.duration_s;
        row.reused_from = Some(action.run_id.clone());
        row.status = StepStatus::Cached;
        self.remember(index);
        self.announce_end(index)?;
        Ok(Event::Reused { task: index, collections })
    }

    /// Puts what a task wrote where its run's artifacts lie.
    pub(super) fn place(&self, run_id: &RunId, tree: &mlpipe_artifacts::Tree) -> Result<PathBuf> {
        let directory = self.workspace.artifact_directory(self.recorder.experiment_id(), run_id);
        if !tree.entries.is_empty() || !tree.empty_directories.is_empty() {
            self.workspace.content().materialize(tree, &directory)?;
        }
        Ok(directory)
    }

    /// Takes the locks on the work of these tasks. Returns the tasks to launch, and what there is to say of the others: their
    /// work is being done elsewhere, or has been done since it was looked for.
    pub(super) fn claim(&mut self, tasks: &[TaskIndex]) -> Result<(Vec<TaskIndex>, Vec<Event>)> {
        let (mut mine, mut events) = (Vec::with_capacity(tasks.len()), Vec::new());
        for index in tasks.iter().copied() {
            let step = self.scheduler.task(index).step;
            if !self.request.pipeline.steps[step].cache || self.locks.len() >= self.most_locks {
                mine.push(index);
                continue;
            }
            let repeats = self.request.scope.repeats(step);
            match WorkLock::take(self.workspace, self.fingerprint(index), &self.run_id)? {
                Claim::Free(lock) => match self.finished_meanwhile(index).filter(|_| !repeats) {
                    Some(action) => {
                        events.push(Event::Elsewhere { task: index });
                        events.push(self.reuse_meanwhile(index, &action)?);
                    }
                    None => {
                        self.locks.insert(index, lock);
                        mine.push(index);
                    }
                },
                Claim::Held { .. } if repeats => mine.push(index),
                Claim::Held { by } => {
                    self.wait_for(index, by);
                    events.push(Event::Elsewhere { task: index });
                }
            }
        }
        Ok((mine, events))
    }

    /// A usable result that was not there when the task was prepared.
    pub(super) fn finished_meanwhile(&self, index: TaskIndex) -> Option<Box<Reusable>> {
        let declared = &self.request.pipeline.steps[self.scheduler.task(index).step].entry().outputs;
        match self.workspace.find_action(self.fingerprint(index)) {
            Lookup::Hit(action) => Outputs::find(&action.tree, declared).is_ok().then_some(action),
            Lookup::ContentMissing | Lookup::ContentDamaged(_) | Lookup::Miss => None,
        }
    }

    pub(super) fn reuse_meanwhile(&mut self, index: TaskIndex, action: &Reusable) -> Result<Event> {
        self.tasks[index.0].row.reason = "the same work was finished in the meantime".into();
        self.reuse(index, action)
    }

    pub(super) fn wait_for(&mut self, index: TaskIndex, holder: Option<String>) {
        self.awaited.push(index);
        if holder.as_deref() == Some(self.run_id.as_str()) {
            // Two items of this run with the same content: nothing that anybody has to know.
            return;
        }
        let row = &self.tasks[index.0].row;
        self.observer.update(&Update::TaskWaiting { name: &row.name, key: row.key.as_deref(), run: holder.as_deref() });
    }

    /// Says what came of work that somebody else was doing: a result to reuse, or nothing.
    pub(super) fn settle_awaited(&mut self) -> Result<Vec<Event>> {
        let mut events = Vec::new();
        for index in std::mem::take(&mut self.awaited) {
            if self.scheduler.task(index).state != TaskState::Elsewhere {
                continue;
            }
            match WorkLock::take(self.workspace, self.fingerprint(index), &self.run_id)? {
                Claim::Held { .. } => self.awaited.push(index),
                Claim::Free(_) => events.push(match self.finished_meanwhile(index) {
                    Some(action) => self.reuse_meanwhile(index, &action)?,
                    None => Event::MustRun { task: index },
                }),
            }
        }
        Ok(events)
    }
}
