//! Turns what happens in a run into tracked runs: one for the pipeline, below it one per step, below that one per item.
//!
//! A step that runs once is one run; reused work is a run too, tagged with the run that did it. A step that is a pipeline is
//! a run as well, above those of its steps.

use std::collections::{BTreeMap, HashMap};

use mlpipe_spec::{Pipeline, StepId};
use mlpipe_tracking::{Experiment, Metric, Record, RunId, RunStatus, Writer, tags};

use crate::document::{RunOutcome, StepStatus};
use crate::error::Result;
use crate::workspace::Workspace;

/// Writes the tracked runs of one pipeline run.
pub(crate) struct Recorder<'a> {
    workspace: &'a Workspace,
    pipeline: &'a Pipeline,
    writer: Writer,
    experiment: Experiment,
    run_id: RunId,
    steps: HashMap<StepId, RunId>,
    /// Of steps that are pipelines, by name.
    groups: HashMap<String, RunId>,
    failed_steps: std::collections::HashSet<StepId>,
}

/// A task as it is recorded when it starts.
pub(crate) struct TaskRecord<'t> {
    pub(crate) step: StepId,
    pub(crate) label: &'t str,
    pub(crate) key: Option<&'t str>,
    pub(crate) run_id: &'t RunId,
    pub(crate) params: Vec<(String, String)>,
    pub(crate) fingerprint: String,
    pub(crate) reason: String,
    pub(crate) cached_from: Option<&'t RunId>,
    pub(crate) time_ms: i64,
}

impl<'a> Recorder<'a> {
    pub(crate) fn start(workspace: &'a Workspace, pipeline: &'a Pipeline, run_id: RunId, time_ms: i64) -> Result<Self> {
        let store = workspace.store()?;
        let experiment =
            store.ensure_experiment(&pipeline.name, &workspace.root().join("artifacts").display().to_string())?;
        let recorder = Self {
            workspace,
            pipeline,
            writer: Writer::start(store),
            experiment,
            run_id,
            steps: HashMap::new(),
            groups: HashMap::new(),
            failed_steps: Default::default(),
        };
        let params = pipeline.params.iter().map(|(name, param)| (name.clone(), param.value.to_string())).collect();
        let tags = vec![
            (tags::SOURCE_NAME.to_owned(), pipeline.path.display().to_string()),
            (tags::SOURCE_TYPE.into(), "PROJECT".into()),
            (tags::PIPELINE.into(), pipeline.name.clone()),
        ];
        recorder.create(&recorder.run_id, &pipeline.name, None, params, tags, time_ms);
        // The next driver finds what this one leaves behind, should it be killed, by this record.
        recorder.flush()?;
        Ok(recorder)
    }

    /// Waits until everything recorded so far survives the end of this process.
    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.writer.flush()?)
    }

    pub(crate) fn experiment_id(&self) -> &str {
        &self.experiment.experiment_id
    }

    pub(crate) fn task_started(&mut self, task: TaskRecord<'_>) {
        let parent = self.parent(task.step, task.time_ms);
        let mut tags = vec![(tags::FINGERPRINT.to_owned(), task.fingerprint), (tags::REASON.to_owned(), task.reason)];
        if let Some(origin) = task.cached_from {
            tags.push((tags::CACHED_FROM.into(), origin.to_string()));
        }
        let step = &self.pipeline.steps[task.step];
        // The run that did the work says what its source was, and there may be a hundred thousand that reuse some.
        if task.cached_from.is_none() {
            tags.push((tags::PROJECT_ENTRY_POINT.into(), step.entry_point.clone()));
            tags.push((tags::SOURCE_NAME.into(), step.project.directory.display().to_string()));
            tags.push((tags::SOURCE_TYPE.into(), "PROJECT".into()));
            tags.push((tags::PIPELINE.into(), self.pipeline.name.clone()));
        }
        tags.push((tags::STEP.into(), step.name.to_string()));
        tags.extend(task.key.map(|key| (tags::ITEM.to_owned(), key.to_owned())));
        self.create(task.run_id, task.label, Some(&parent), task.params, tags, task.time_ms);
    }

    pub(crate) fn task_ended(
        &mut self,
        step: StepId,
        run_id: &RunId,
        status: StepStatus,
        metrics: &BTreeMap<String, f64>,
        time_ms: i64,
    ) {
        if !matches!(status, StepStatus::Done | StepStatus::Cached) {
            self.failed_steps.insert(step);
        }
        if !metrics.is_empty() {
            let metric = |(key, value): (&String, &f64)| Metric {
                key: key.clone(),
                value: *value,
                timestamp_ms: time_ms,
                step: 0,
            };
            self.send(Record::Metrics { run_id: run_id.clone(), metrics: metrics.iter().map(metric).collect() });
        }
        self.end(run_id, run_status(status), time_ms);
    }

    /// Ends the run of an attempt that is followed by another one, which gets a run of its own.
    pub(crate) fn attempt_failed(&mut self, run_id: &RunId, time_ms: i64) {
        self.end(run_id, RunStatus::Failed, time_ms);
    }

    /// Ends the runs of the steps and of the pipeline, and waits until everything is stored.
    pub(crate) fn finish(self, outcome: RunOutcome, time_ms: i64) -> Result<()> {
        let status = |has_failed: bool| match (outcome, has_failed) {
            (RunOutcome::Killed, _) => RunStatus::Killed,
            (_, true) => RunStatus::Failed,
            (_, false) => RunStatus::Finished,
        };
        for (step, run_id) in &self.steps {
            self.end(run_id, status(self.failed_steps.contains(step)), time_ms);
        }
        for (group, run_id) in &self.groups {
            let belongs = |step: &StepId| self.pipeline.steps[*step].name.is_or_belongs_to(group);
            self.end(run_id, status(self.failed_steps.iter().any(belongs)), time_ms);
        }
        let status = match outcome {
            RunOutcome::Done => RunStatus::Finished,
            RunOutcome::Failed => RunStatus::Failed,
            RunOutcome::Killed => RunStatus::Killed,
        };
        self.end(&self.run_id, status, time_ms);
        Ok(self.writer.finish()?)
    }

    /// The run above a task's run: the step's for a step with items, else that of the pipeline it is in.
    fn parent(&mut self, step: StepId, time_ms: i64) -> RunId {
        let pipeline = self.pipeline;
        let spec = &pipeline.steps[step];
        if let Some(known) = self.steps.get(&step).filter(|_| !spec.dimensions.is_empty()) {
            return known.clone();
        }
        let mut above = self.run_id.clone();
        for group in spec.name.enclosing() {
            above = self.group(group, &above, time_ms);
        }
        if spec.dimensions.is_empty() {
            return above;
        }
        if !self.steps.contains_key(&step) {
            let run_id = RunId::random();
            let tags = vec![
                (tags::STEP.to_owned(), spec.name.to_string()),
                (tags::PIPELINE.into(), self.pipeline.name.clone()),
            ];
            self.create(&run_id, spec.name.as_str(), Some(&above), Vec::new(), tags, time_ms);
            self.steps.insert(step, run_id);
        }
        self.steps[&step].clone()
    }

    /// The run of a step that is a pipeline.
    fn group(&mut self, name: &str, above: &RunId, time_ms: i64) -> RunId {
        if let Some(known) = self.groups.get(name) {
            return known.clone();
        }
        let run_id = RunId::random();
        let tags =
            vec![(tags::STEP.to_owned(), name.to_owned()), (tags::PIPELINE.into(), self.pipeline.name.clone())];
        self.create(&run_id, name, Some(above), Vec::new(), tags, time_ms);
        self.groups.insert(name.to_owned(), run_id.clone());
        run_id
    }

    fn create(
        &self,
        run_id: &RunId,
        name: &str,
        parent: Option<&RunId>,
        params: Vec<(String, String)>,
        mut run_tags: Vec<(String, String)>,
        time_ms: i64,
    ) {
        if let Some(parent) = parent {
            run_tags.push((tags::PARENT_RUN_ID.into(), parent.to_string()));
        }
        self.send(Record::CreateRun {
            run_id: run_id.clone(),
            experiment_id: self.experiment.experiment_id.clone(),
            name: name.into(),
            start_time_ms: time_ms,
            end_time_ms: None,
            status: RunStatus::Running,
            artifact_uri: self.workspace.artifact_directory(self.experiment_id(), run_id).display().to_string(),
            tags: run_tags,
            params,
        });
    }

    fn end(&self, run_id: &RunId, status: RunStatus, time_ms: i64) {
        self.send(Record::UpdateRun { run_id: run_id.clone(), status, end_time_ms: Some(time_ms) });
    }

    fn send(&self, record: Record) {
        self.writer.send(record);
    }
}

fn run_status(status: StepStatus) -> RunStatus {
    match status {
        StepStatus::Done | StepStatus::Cached => RunStatus::Finished,
        StepStatus::Killed => RunStatus::Killed,
        StepStatus::Failed | StepStatus::Skipped => RunStatus::Failed,
    }
}
