//! Tasks, what happens to them and what is done with them: the words in which scheduler and driver talk.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mlpipe_spec::{FailureCause, StepId};
use serde::{Deserialize, Serialize};

use crate::shape::Demand;

/// A task's key: one item of each loop variable, outermost first. A skipped branch that was never expanded has a shorter one.
pub type Key = Arc<[Arc<str>]>;

/// Number of a task in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskIndex(pub usize);

/// One step for one item.
#[derive(Debug, Clone)]
pub struct Task {
    /// The step.
    pub step: StepId,
    /// The item.
    pub key: Key,
    /// How far it has come.
    pub state: TaskState,
    /// Attempts started so far.
    pub attempts: u32,
    /// Whether it was skipped because of an `if`, its own or that of something it needs: that is no failure.
    pub excluded: bool,
    pub(crate) waiting_for: usize,
    pub(crate) dependents: Vec<Waiting>,
}

/// A task that waits, and for what.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) task: TaskIndex,
    pub(crate) demand: Demand,
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Something upstream is not finished.
    Waiting,
    /// Its inputs are known; the driver looks whether a finished result exists.
    Preparing,
    /// Must run, waits for cores.
    Ready,
    /// An attempt is under way.
    Running,
    /// An attempt failed; the next one starts after a while.
    Delayed,
    /// Somebody else is doing the same work; its result is awaited.
    Elsewhere,
    /// Has outputs, made now or taken from an earlier run.
    Done,
    /// All attempts failed.
    Failed,
    /// Will not run.
    Skipped(SkipCause),
}

/// Why a task will not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipCause {
    /// This upstream task failed or was skipped itself.
    Upstream(TaskIndex),
    /// Its `if` is false.
    Condition,
    /// This task of another combination of its matrix failed, and the matrix says `fail_fast`.
    FailFast(TaskIndex),
    /// The run was stopped, by a failure elsewhere or from outside.
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A finished result was found for a task that was being prepared.
    Reused {
        /// The task.
        task: TaskIndex,
        /// Entries of each of its collection outputs.
        collections: BTreeMap<String, Vec<String>>,
    },
    /// No finished result was found: the task has to run.
    MustRun {
        /// The task.
        task: TaskIndex,
    },
    /// The `if` of a task that was being prepared is false.
    Excluded {
        /// The task.
        task: TaskIndex,
    },
    /// The work of a task that was to be launched is being done by somebody else. Once it is known what came of it,
    /// [`Event::Reused`] or [`Event::MustRun`] follows.
    Elsewhere {
        /// The task.
        task: TaskIndex,
    },
    /// An attempt ended well.
    Succeeded {
        /// The task.
        task: TaskIndex,
        /// Entries of each of its collection outputs.
        collections: BTreeMap<String, Vec<String>>,
    },
    /// An attempt failed.
    Failed {
        /// The task.
        task: TaskIndex,
        /// Why.
        #[serde(default)]
        cause: FailureCause,
    },
    /// The time that [`Command::Delay`] asked for has passed.
    DelayOver {
        /// The task.
        task: TaskIndex,
    },
    /// Somebody asked the run to stop.
    Interrupted,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Look at the task's `if` and for a finished result; answer with [`Event::Excluded`], [`Event::Reused`] or
    /// [`Event::MustRun`].
    Prepare(TaskIndex),
    /// Start one process for these tasks of one step; answer for each with [`Event::Succeeded`] or [`Event::Failed`], or
    /// with [`Event::Elsewhere`] when it need not be started.
    Launch(Vec<TaskIndex>),
    /// Note that a task will not run.
    Skip(TaskIndex, SkipCause),
    /// Answer with [`Event::DelayOver`] after this time.
    Delay(TaskIndex, Duration),
    /// Stop all processes that are under way.
    StopAttempts,
}

/// Cores, memory and GPUs that may be in use at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Cores.
    pub cpu: u32,
    /// Bytes.
    pub memory_bytes: u64,
    /// GPUs; each belongs to one process at a time.
    #[serde(default)]
    pub gpus: u32,
}
