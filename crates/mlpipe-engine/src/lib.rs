//! The engine: plans a pipeline, reuses finished work, runs the rest in parallel, and records every step.
//!
//! [`Scheduler`] decides and [`run`] obeys; [`plan`] asks the same questions and starts nothing. What the user wrote comes
//! from `mlpipe-spec`, content lies in `mlpipe-artifacts`, runs are recorded by `mlpipe-tracking`. The engine knows items by
//! key and digest only; what they are is the business of whoever lists the inputs.

mod attempt;
mod cache;
mod cancel;
mod collect;
mod compare;
mod document;
mod driver;
mod error;
mod fingerprint;
mod forwarding;
mod gpu;
mod graph;
mod inputs;
mod journal;
mod lock;
mod outputs;
mod past;
mod pinned;
mod plan;
mod prepare;
mod recorder;
mod recover;
mod remote;
mod reproduce;
mod scheduler;
mod scope;
mod shape;
mod task;
mod usage;
mod why;
mod work_lock;
mod workspace;

pub use cancel::{Cancelled, cancel};
pub use collect::{GarbageDocument, GarbageRequest, Share, collect_garbage};
pub use compare::{CompareFiles, Compared, Comparison, Difference, FileComparator, Verdict, compare_outputs};
pub use document::{
    Observer, OutputPaths, PlanDocument, PlannedAction, PlannedTask, RunDocument, RunOutcome, Silent, StepRow,
    StepStatus, Update,
};
pub use driver::{Interrupter, Mailbox, RunRequest, run};
pub use error::{Error, Result, with_causes};
pub use fingerprint::{Change, PreImage};
pub use forwarding::{SpoolRow, TrackingDocument, sync_spools, waiting_spools};
pub use graph::{dot, mermaid, step_graph};
pub use inputs::{InputItem, Inputs, ItemContent};
pub use journal::replay;
pub use lock::{Lock, LockedOutput, LockedTask, Locking, lock};
pub use past::{AttemptHistory, LATEST, RunHistory, TaskEnd, TaskHistory};
pub use pinned::{Drift, Facts, Pinned, RunRecord};
pub use plan::plan;
pub use reproduce::{
    Original, Originals, ReproducedOutput, Reproduction, compare_run, originals_of_lock, originals_of_run,
};
pub use scheduler::{Capacity, Command, Event, Key, Scheduler, SkipCause, Task, TaskIndex, TaskState};
pub use scope::Scope;
pub use shape::{Demand, Dependency, DimensionShape, FailFast, Requirement, StepShape, shapes};
pub use why::{Answer, LastTime, MadeBy, WhyDocument, why};
pub use workspace::{Datasets, STATE_DIRECTORY, Workspace};
