//! The engine: plans a pipeline, reuses finished work, runs the rest in parallel, and records every step.
//!
//! [`Scheduler`] decides and [`run`] obeys; [`plan`] asks the same questions and starts nothing. What the user wrote comes
//! from `mlpipe-spec`, content lies in `mlpipe-artifacts`, runs are recorded by `mlpipe-tracking`. The engine knows items by
//! key and digest only; what they are is the business of whoever lists the inputs.

mod attempt;
mod cache;
mod document;
mod driver;
mod error;
mod fingerprint;
mod graph;
mod inputs;
mod journal;
mod outputs;
mod plan;
mod prepare;
mod recorder;
mod recover;
mod scheduler;
mod shape;
mod workspace;

pub use document::{
    Observer, OutputPaths, PlanDocument, PlannedAction, PlannedTask, RunDocument, RunOutcome, Silent, StepRow,
    StepStatus, Update,
};
pub use driver::{Interrupter, Mailbox, RunRequest, run};
pub use error::{Error, Result};
pub use fingerprint::{Change, PreImage};
pub use graph::{dot, step_graph};
pub use inputs::{InputItem, Inputs, ItemContent};
pub use plan::plan;
pub use scheduler::{Capacity, Command, Event, Key, Scheduler, SkipCause, Task, TaskIndex, TaskState};
pub use shape::{Dependency, DimensionShape, StepShape, shapes};
pub use workspace::{STATE_DIRECTORY, Workspace};
