//! What `mlpipe run --json` and `mlpipe plan --json` print, and what observers of a run hear.

use std::path::PathBuf;

use indexmap::IndexMap;
use mlpipe_tracking::RunId;
use serde::{Deserialize, Serialize};

use crate::forwarding::TrackingDocument;

/// Result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct RunDocument {
    /// The tracked run of the pipeline.
    pub run_id: RunId,
    /// How it ended.
    pub status: RunOutcome,
    /// Wall time.
    pub duration_s: f64,
    /// Every task, in the order in which it became known.
    pub steps: Vec<StepRow>,
    /// The pipeline's outputs that were made.
    pub outputs: IndexMap<String, OutputPaths>,
    /// What the tracking server has not got; none without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<TrackingDocument>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunOutcome {
    /// Every task is done, cached, or was skipped because of an `if`.
    Done,
    /// A task failed.
    Failed,
    /// Stopped from outside.
    Killed,
}

/// One task of a run.
#[derive(Debug, Clone, Serialize)]
pub struct StepRow {
    /// Step.
    pub name: String,
    /// Item, its parts joined by `/`; null when the step runs once.
    pub key: Option<String>,
    /// How far it came.
    pub status: StepStatus,
    /// Its tracked run; null when it never started.
    pub run_id: Option<RunId>,
    /// Why it ran, was reused or was skipped.
    pub reason: String,
    /// Processes started for it.
    pub attempts: u32,
    /// Wall time of the last attempt; of the original work when reused.
    pub duration_s: f64,
    /// Why it failed.
    pub error: Option<String>,
    /// The tracked run that did the work, for one that was reused.
    pub reused_from: Option<RunId>,
    /// Output of its last attempt.
    pub log: Option<PathBuf>,
}

/// How far a task came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepStatus {
    /// Work was done now.
    Done,
    /// Taken from an earlier run.
    Cached,
    /// All attempts failed.
    Failed,
    /// Not run.
    Skipped,
    /// Stopped while it ran.
    Killed,
}

/// Where a pipeline output lies.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum OutputPaths {
    /// Of a step that runs once.
    One(PathBuf),
    /// By item.
    ByKey(IndexMap<String, PathBuf>),
}

/// What `mlpipe plan` says.
#[derive(Debug, Clone, Serialize)]
pub struct PlanDocument {
    /// The pipeline's name.
    pub pipeline: String,
    /// Every task that is known without running anything.
    pub tasks: Vec<PlannedTask>,
}

/// One task of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTask {
    /// Step.
    pub name: String,
    /// Item; ends in `*` where the items are known only once an upstream task has run.
    pub key: Option<String>,
    /// What a run would do.
    pub action: PlannedAction,
    /// Why.
    pub reason: String,
    /// Steps whose result it uses.
    pub after: Vec<String>,
}

/// What a run would do with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PlannedAction {
    /// Do the work.
    Run,
    /// Reuse a finished result.
    Reuse,
    /// Decide when its inputs are known.
    Decide,
    /// Nothing: its `if` is false, or that of something it needs.
    Skip,
}

/// What observers of a run hear.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Update<'a> {
    /// The run has its id.
    RunStarted {
        /// The tracked run of the pipeline.
        run_id: &'a RunId,
        /// The pipeline.
        pipeline: &'a str,
    },
    /// A process was started for a task.
    TaskStarted {
        /// Step.
        name: &'a str,
        /// Item.
        key: Option<&'a str>,
        /// From 1.
        attempt: u32,
        /// Why it runs.
        reason: &'a str,
    },
    /// Somebody else is doing the same work; its result is waited for.
    TaskWaiting {
        /// Step.
        name: &'a str,
        /// Item.
        key: Option<&'a str>,
        /// The pipeline run that does it, when that is known.
        run: Option<&'a str>,
    },
    /// An attempt failed and another one follows.
    TaskRetried {
        /// Step.
        name: &'a str,
        /// Item.
        key: Option<&'a str>,
        /// What went wrong.
        error: &'a str,
    },
    /// A task came to its end.
    TaskEnded {
        /// What became of it.
        task: &'a StepRow,
        /// Tasks that have come to an end.
        ended: usize,
        /// Tasks that are known so far.
        known: usize,
    },
    /// All is over.
    RunEnded {
        /// The result.
        run: &'a RunDocument,
    },
}

/// Hears what happens during a run.
pub trait Observer {
    /// Called on the driver's thread; must be quick.
    fn update(&mut self, update: &Update<'_>);
}

/// Hears nothing.
#[derive(Debug)]
pub struct Silent;

impl Observer for Silent {
    fn update(&mut self, _: &Update<'_>) {}
}
