//! Turns what happens in a run into tracked runs: one for the pipeline, below it one per step, below that one per item.
//!
//! A step that runs once is one run; reused work is a run too, tagged with the run that did it. A step that is a pipeline is
//! a run as well, above those of its steps.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use mlpipe_spec::{Pipeline, StepId};
use mlpipe_tracking::{DatasetInput, Experiment, Metric, Record, RunId, RunStatus, Store, Writer, tags};

use crate::document::{RunOutcome, StepStatus};
use crate::error::{Error, Result};
use crate::forwarding::{Forwarding, RemoteRun, TrackingDocument};
use crate::outputs::Outputs;
use crate::workspace::Workspace;

/// MLflow's tag of a dataset that says what it was used for; here the name of the pipeline's input.
const DATA_CONTEXT: &str = "mlflow.data.context";

/// Writes the tracked runs of one pipeline run.
pub(crate) struct Recorder<'a> {
    workspace: &'a Workspace,
    pipeline: &'a Pipeline,
    writer: Writer,
    /// To a tracking server, when there is one; it gets every record before the local store does.
    forwarding: Option<Forwarding>,
    /// The first record that could not be put into the spool.
    spool_error: RefCell<Option<Error>>,
    user: Option<String>,
    experiment: Experiment,
    run_id: RunId,
    steps: HashMap<StepId, RunId>,
    /// Of steps that are pipelines, by name.
    groups: HashMap<String, RunId>,
    failed_steps: std::collections::HashSet<StepId>,
}

/// A task as it is recorded when its work begins, or is found to be done.
pub(crate) struct TaskRecord<'t> {
    pub(crate) step: StepId,
    pub(crate) label: &'t str,
    pub(crate) key: Option<&'t str>,
    pub(crate) run_id: &'t RunId,
    pub(crate) params: Vec<(String, String)>,
    /// The input items that it is given, as collection and key.
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) fingerprint: String,
    pub(crate) work: Work<'t>,
    pub(crate) time_ms: i64,
}

/// A run that is about to be made.
struct NewRun<'n> {
    run_id: &'n RunId,
    name: &'n str,
    parent: Option<&'n RunId>,
    params: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    time_ms: i64,
    is_finished: bool,
}

/// Who does the work of a task.
pub(crate) enum Work<'t> {
    /// This run, for this reason.
    Begins(&'t str),
    /// An earlier run did it, and reported these numbers.
    Done { by: &'t RunId, metrics: &'t BTreeMap<String, f64> },
}

impl<'a> Recorder<'a> {
    pub(crate) fn start(
        workspace: &'a Workspace,
        store: Store,
        pipeline: &'a Pipeline,
        run_id: RunId,
        time_ms: i64,
    ) -> Result<Self> {
        let experiment =
            store.ensure_experiment(&pipeline.name, &workspace.root().join("artifacts").display().to_string())?;
        let server = workspace.tracking_server();
        let recorder = Self {
            workspace,
            pipeline,
            writer: Writer::start(store),
            forwarding: server
                .map(|server| Forwarding::start(workspace, &run_id, &pipeline.name, server))
                .transpose()?,
            spool_error: RefCell::new(None),
            user: user(),
            experiment,
            run_id,
            steps: HashMap::new(),
            groups: HashMap::new(),
            failed_steps: Default::default(),
        };
        let params = pipeline.params.iter().map(|(name, param)| (name.clone(), param.value.to_string())).collect();
        let mut tags = vec![
            (tags::SOURCE_NAME.to_owned(), pipeline.path.display().to_string()),
            (tags::SOURCE_TYPE.into(), "PROJECT".into()),
            (tags::PIPELINE.into(), pipeline.name.clone()),
        ];
        tags.extend(recorder.made_by());
        let name = &pipeline.name;
        recorder.create(NewRun {
            run_id: &recorder.run_id,
            name,
            parent: None,
            params,
            tags,
            time_ms,
            is_finished: false,
        });
        let mut items: Vec<_> = workspace.datasets().keys().cloned().collect();
        items.sort();
        recorder.used_data(&recorder.run_id, &items);
        // The next driver finds what this one leaves behind, should it be killed, by this record.
        recorder.flush()?;
        Ok(recorder)
    }

    /// Waits until everything recorded so far survives the end of this process.
    pub(crate) fn flush(&self) -> Result<()> {
        if let Some(error) = self.spool_error.take() {
            return Err(error);
        }
        Ok(self.writer.flush()?)
    }

    /// Returns how a step's process learns of its run on the tracking server; none without one.
    pub(crate) fn remote_run(&self, run_id: &RunId) -> Option<RemoteRun> {
        Some(self.forwarding.as_ref()?.remote_run(run_id))
    }

    /// Sends the declared outputs of a run to the tracking server.
    pub(crate) fn artifacts(&self, run_id: &RunId, outputs: &Outputs) -> Result<()> {
        let (Some(forwarding), Some(directory)) = (&self.forwarding, &outputs.directory) else { return Ok(()) };
        let below = directory.strip_prefix(self.workspace.root()).unwrap_or(directory).to_owned();
        forwarding.artifacts(run_id, below, outputs.by_name.values().map(|output| output.path.clone()).collect())
    }

    pub(crate) fn experiment_id(&self) -> &str {
        &self.experiment.experiment_id
    }

    /// Records a task. One whose work was done before is over with this; another one ends by [`Recorder::task_ended`].
    pub(crate) fn task(&mut self, task: TaskRecord<'_>) {
        let TaskRecord { run_id, time_ms, .. } = task;
        let parent = self.parent(task.step, time_ms);
        let step = &self.pipeline.steps[task.step];
        let mut tags =
            vec![(tags::FINGERPRINT.to_owned(), task.fingerprint), (tags::STEP.into(), step.name.to_string())];
        tags.extend(task.key.map(|key| (tags::ITEM.to_owned(), key.to_owned())));
        match task.work {
            Work::Begins(reason) => {
                tags.push((tags::REASON.into(), reason.to_owned()));
                tags.push((tags::PROJECT_ENTRY_POINT.into(), step.entry_point.clone()));
                tags.push((tags::SOURCE_NAME.into(), step.project.directory.display().to_string()));
                tags.push((tags::SOURCE_TYPE.into(), "PROJECT".into()));
                tags.push((tags::PIPELINE.into(), self.pipeline.name.clone()));
                tags.extend(self.made_by());
            }
            // The run that did the work says what its source was, and there may be a hundred thousand that reuse some.
            Work::Done { by, .. } => tags.push((tags::CACHED_FROM.into(), by.to_string())),
        }
        let is_finished = matches!(task.work, Work::Done { .. });
        let (name, parent, params) = (task.label, Some(&parent), task.params);
        self.create(NewRun { run_id, name, parent, params, tags, time_ms, is_finished });
        if let Work::Done { metrics, .. } = task.work {
            self.metrics(run_id, metrics, time_ms);
        }
        self.used_data(run_id, &task.inputs);
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
        self.metrics(run_id, metrics, time_ms);
        self.end(run_id, run_status(status), time_ms);
    }

    /// Records the numbers that a task reported.
    fn metrics(&self, run_id: &RunId, metrics: &BTreeMap<String, f64>, time_ms: i64) {
        if metrics.is_empty() {
            return;
        }
        let metric =
            |(key, value): (&String, &f64)| Metric { key: key.clone(), value: *value, timestamp_ms: time_ms, step: 0 };
        self.send(Record::Metrics { run_id: run_id.clone(), metrics: metrics.iter().map(metric).collect() });
    }

    /// Records what the process of a run used.
    pub(crate) fn used(&self, run_id: &RunId, metrics: BTreeMap<String, f64>, step: i64, time_ms: i64) {
        let metric = |(key, value)| Metric { key, value, timestamp_ms: time_ms, step };
        let metrics = metrics.into_iter().map(metric).collect();
        self.send(Record::Metrics { run_id: run_id.clone(), metrics });
    }

    /// Records what the process of a batch used, as one value of the step's history.
    pub(crate) fn used_by_step(&self, step: StepId, metrics: BTreeMap<String, f64>, position: i64, time_ms: i64) {
        if let Some(run_id) = self.steps.get(&step) {
            self.used(run_id, metrics, position, time_ms);
        }
    }

    /// Ends the run of an attempt that is followed by another one, which gets a run of its own.
    pub(crate) fn attempt_failed(&mut self, run_id: &RunId, time_ms: i64) {
        self.end(run_id, RunStatus::Failed, time_ms);
    }

    /// Ends the runs of the steps and of the pipeline, and waits until everything is stored; says what the tracking server has
    /// not got, when there is one.
    pub(crate) fn finish(self, outcome: RunOutcome, time_ms: i64) -> Result<Option<TrackingDocument>> {
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
        if let Some(error) = self.spool_error.take() {
            return Err(error);
        }
        self.writer.finish()?;
        Ok(self.forwarding.map(|forwarding| forwarding.finish(outcome)))
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
            let run_id = self.create_above(spec.name.as_str(), &above, time_ms);
            self.steps.insert(step, run_id);
        }
        self.steps[&step].clone()
    }

    /// The run of a step that is a pipeline.
    fn group(&mut self, name: &str, above: &RunId, time_ms: i64) -> RunId {
        if let Some(known) = self.groups.get(name) {
            return known.clone();
        }
        let run_id = self.create_above(name, above, time_ms);
        self.groups.insert(name.to_owned(), run_id.clone());
        run_id
    }

    /// Makes the run of a step that stands above those of its items or of its own steps.
    fn create_above(&self, name: &str, above: &RunId, time_ms: i64) -> RunId {
        let run_id = RunId::random();
        let tags = vec![(tags::STEP.to_owned(), name.to_owned()), (tags::PIPELINE.into(), self.pipeline.name.clone())];
        let parent = Some(above);
        self.create(NewRun { run_id: &run_id, name, parent, params: Vec::new(), tags, time_ms, is_finished: false });
        run_id
    }

    /// Who runs this, and where.
    fn made_by(&self) -> impl Iterator<Item = (String, String)> {
        let user = self.user.clone().map(|user| (tags::USER.to_owned(), user));
        user.into_iter().chain([(tags::PROJECT_BACKEND.to_owned(), "local".to_owned())])
    }

    fn create(&self, run: NewRun<'_>) {
        let mut tags = run.tags;
        if let Some(parent) = run.parent {
            tags.push((tags::PARENT_RUN_ID.into(), parent.to_string()));
        }
        self.send(Record::CreateRun {
            run_id: run.run_id.clone(),
            experiment_id: self.experiment.experiment_id.clone(),
            name: run.name.into(),
            start_time_ms: run.time_ms,
            end_time_ms: run.is_finished.then_some(run.time_ms),
            status: if run.is_finished { RunStatus::Finished } else { RunStatus::Running },
            artifact_uri: self.workspace.artifact_directory(self.experiment_id(), run.run_id).display().to_string(),
            tags,
            params: run.params,
        });
    }

    /// Records input items as datasets, those of which something is known.
    fn used_data(&self, run_id: &RunId, items: &[(String, String)]) {
        let input = |item: &(String, String)| {
            let dataset = self.workspace.datasets().get(item)?.clone();
            Some(DatasetInput { dataset, tags: vec![(DATA_CONTEXT.into(), item.0.clone())] })
        };
        let datasets: Vec<DatasetInput> = items.iter().filter_map(input).collect();
        if !datasets.is_empty() {
            self.send(Record::Inputs { run_id: run_id.clone(), datasets });
        }
    }

    fn end(&self, run_id: &RunId, status: RunStatus, time_ms: i64) {
        self.send(Record::UpdateRun { run_id: run_id.clone(), status, end_time_ms: Some(time_ms) });
    }

    fn send(&self, record: Record) {
        if let Some(Err(error)) = self.forwarding.as_ref().map(|forwarding| forwarding.record(&record)) {
            self.spool_error.borrow_mut().get_or_insert(error);
        }
        self.writer.send(record);
    }
}

/// The account that runs this, as MLflow names it.
fn user() -> Option<String> {
    let variable = |name: &&str| std::env::var(name).ok().filter(|user| !user.is_empty());
    ["LOGNAME", "USER"].iter().find_map(variable).or_else(|| {
        let accounts = std::fs::read_to_string("/etc/passwd").ok()?;
        let id = rustix::process::getuid().as_raw().to_string();
        let mut fields = accounts.lines().map(|line| line.split(':'));
        let mut account = fields.find(|account| account.clone().nth(2) == Some(&id))?;
        account.next().map(str::to_owned)
    })
}

fn run_status(status: StepStatus) -> RunStatus {
    match status {
        StepStatus::Done | StepStatus::Cached => RunStatus::Finished,
        StepStatus::Killed => RunStatus::Killed,
        StepStatus::Failed | StepStatus::Skipped => RunStatus::Failed,
    }
}
