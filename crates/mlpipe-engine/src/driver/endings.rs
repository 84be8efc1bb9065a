//! The end of a task and of the run: told to the tracking store, the journal and the observer.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use indexmap::IndexMap;

use super::{Driver, display_key, label, now_ms};
use crate::document::{OutputPaths, RunDocument, RunOutcome, StepStatus, Update};
use crate::error::Result;
use crate::fingerprint::PreImage;
use crate::journal::Entry;
use crate::scheduler::{SkipCause, TaskIndex, TaskState};

impl<'a> Driver<'a> {
    pub(super) fn skip(&mut self, index: TaskIndex, cause: SkipCause) -> Result<()> {
        self.tasks[index.0].row.reason = match cause {
            SkipCause::Upstream(upstream) => {
                let root = self.root_cause(upstream);
                let row = &self.tasks[root.0].row;
                let what = match row.status {
                    StepStatus::Killed => "was killed",
                    StepStatus::Skipped if self.scheduler.task(root).excluded => "was skipped: its `if` is false",
                    StepStatus::Skipped => "was skipped",
                    _ => "failed",
                };
                format!("`{}` {what}", label(row))
            }
            SkipCause::Condition => {
                let condition = &self.request.pipeline.steps[self.scheduler.task(index).step].condition;
                let text = condition.as_ref().map_or("", |condition| &condition.text);
                format!("its `if` is false: {text}")
            }
            SkipCause::FailFast(failed) => {
                format!("`{}` failed, and the matrix says `fail_fast`", label(&self.tasks[failed.0].row))
            }
            SkipCause::Stopped if self.interrupted => "the run was interrupted".into(),
            SkipCause::Stopped => "the run was stopped by a failed step".into(),
        };
        self.tasks[index.0].row.status = StepStatus::Skipped;
        self.announce_end(index)
    }

    pub(super) fn root_cause(&self, mut index: TaskIndex) -> TaskIndex {
        while let TaskState::Skipped(SkipCause::Upstream(upstream)) = self.scheduler.task(index).state {
            index = upstream;
        }
        index
    }

    /// Keeps under which fingerprint a task was last finished.
    pub(super) fn remember(&mut self, index: TaskIndex) {
        let fingerprint = self.fingerprint(index);
        self.latest.set(&label(&self.tasks[index.0].row), fingerprint);
    }

    /// Ends a task that was started.
    pub(super) fn end_task(
        &mut self,
        index: TaskIndex,
        status: StepStatus,
        metrics: &BTreeMap<String, f64>,
    ) -> Result<()> {
        self.tasks[index.0].row.status = status;
        if status == StepStatus::Done {
            self.tasks[index.0].row.error = None;
            self.remember(index);
        }
        let run_id = self.tasks[index.0].row.run_id.as_ref().expect("a task that ended has a run");
        self.recorder.task_ended(self.scheduler.task(index).step, run_id, status, metrics, now_ms());
        // What is announced is not lost, even if this process is killed now.
        self.recorder.flush()?;
        self.announce_end(index)
    }

    pub(super) fn announce_end(&mut self, index: TaskIndex) -> Result<()> {
        let row = &self.tasks[index.0].row;
        let entry = Entry::TaskEnded {
            task: index,
            status: row.status,
            run_id: row.run_id.clone(),
            fingerprint: matches!(row.status, StepStatus::Done | StepStatus::Cached).then(|| self.fingerprint(index)),
            reason: row.reason.clone(),
            error: row.error.clone(),
            reused_from: row.reused_from.clone(),
        };
        self.journal.append(now_ms(), entry)?;
        if self.tasks[index.0].row.status != StepStatus::Cached {
            self.journal.flush()?;
        }
        // The facts lie beside the result by now; a hundred thousand tasks' facts are too many to keep.
        self.tasks[index.0].image = PreImage::default();
        self.ended += 1;
        let known = self.scheduler.tasks().len();
        let task = &self.tasks[index.0].row;
        self.observer.update(&Update::TaskEnded { task, ended: self.ended, known });
        Ok(())
    }

    pub(super) fn finish(mut self, started: Instant) -> Result<RunDocument> {
        let failed = (0..self.tasks.len()).map(TaskIndex).any(|index| match self.tasks[index.0].row.status {
            StepStatus::Failed => true,
            StepStatus::Skipped => !self.scheduler.task(index).excluded,
            _ => false,
        });
        let status = match (self.interrupted, failed) {
            (true, _) => RunOutcome::Killed,
            (false, true) => RunOutcome::Failed,
            (false, false) => RunOutcome::Done,
        };
        self.latest.write()?;
        if let Some(remote) = self.workspace.remote() {
            remote.finish();
        }
        let outputs = self.pipeline_outputs();
        let tracking = self.recorder.finish(status, now_ms())?;
        self.journal.append(now_ms(), Entry::RunEnded { status: format!("{status:?}").to_lowercase() })?;
        self.journal.flush()?;
        let document = RunDocument {
            run_id: self.run_id,
            status,
            duration_s: started.elapsed().as_secs_f64(),
            steps: self.tasks.into_iter().map(|run| run.row).collect(),
            outputs,
            tracking,
        };
        self.observer.update(&Update::RunEnded { run: &document });
        Ok(document)
    }

    pub(super) fn pipeline_outputs(&self) -> IndexMap<String, OutputPaths> {
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
        let included = |reference: &mlpipe_spec::OutputRef| {
            self.request.scope.steps().is_none_or(|steps| steps.contains(&reference.step))
        };
        let outputs = pipeline.outputs.iter().filter(|(_, reference)| included(reference));
        outputs.filter_map(|(name, reference)| Some((name.clone(), of(reference)?))).collect()
    }
}
