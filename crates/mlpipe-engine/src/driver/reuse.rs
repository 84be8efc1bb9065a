//! Work that need not be done: finished before, here or elsewhere, or being done by another driver right now.

use std::collections::VecDeque;
use std::path::PathBuf;

use mlpipe_artifacts::Digest;
use mlpipe_tracking::RunId;

use super::Driver;
use crate::cache::{Lookup, Reusable};
use crate::document::{StepStatus, Update};
use crate::error::Result;
use crate::outputs::Outputs;
use crate::prepare::{Reason, Sought, TOGETHER, View, look_up_all};
use crate::scheduler::{Command, Event, TaskIndex, TaskState};
use crate::work_lock::{Claim, WorkLock};

impl<'a> Driver<'a> {
    /// Looks for the work of many tasks at the same time, when the next commands are to prepare many.
    pub(super) fn look_ahead(&mut self, commands: &VecDeque<Command>) -> Result<()> {
        if self.ahead > 0 {
            self.ahead -= 1;
            return Ok(());
        }
        let next = commands.iter().take(TOGETHER).map_while(|command| match command {
            Command::Prepare(index) => Some(*index),
            _ => None,
        });
        let next: Vec<TaskIndex> = next.collect();
        self.ahead = next.len().saturating_sub(1);
        self.looked_up.clear();
        let mut sought = Vec::with_capacity(next.len());
        for index in next {
            let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
            let task = self.scheduler.task(index);
            if task.state == TaskState::Preparing && !self.preparer.excludes(&view, index) {
                let repeats = self.request.scope.repeats(task.step);
                sought.push(self.preparer.sought(&view, index, repeats)?);
            }
        }
        let answers = look_up_all(self.workspace, &self.latest, &sought);
        self.looked_up.extend(sought.into_iter().zip(answers).map(|(sought, answer)| (sought.index, (sought, answer))));
        Ok(())
    }

    pub(super) fn prepare(&mut self, index: TaskIndex) -> Result<Event> {
        let view = View { scheduler: &self.scheduler, outputs: &self.outputs };
        if self.preparer.excludes(&view, index) {
            return Ok(Event::Excluded { task: index });
        }
        let (Sought { image, fingerprint, .. }, (action, reason)) = match self.looked_up.remove(&index) {
            Some(known) => known,
            None => {
                let repeats = self.request.scope.repeats(self.scheduler.task(index).step);
                let sought = [self.preparer.sought(&view, index, repeats)?];
                let answers = look_up_all(self.workspace, &self.latest, &sought);
                sought.into_iter().zip(answers).next().expect("one was asked for")
            }
        };
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
        self.record_start(index, &run_id, Some(&action.run_id))?;
        self.recorder.artifacts(&run_id, &outputs)?;
        self.outputs.insert(index, outputs);
        let row = &mut self.tasks[index.0].row;
        row.run_id = Some(run_id);
        row.duration_s = action.duration_s;
        row.reused_from = Some(action.run_id.clone());
        self.end_task(index, StepStatus::Cached, &action.metrics)?;
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
