//! Experiments, runs, metrics, datasets and models in a store with MLflow's data model and names: an SQLite file, or with
//! the feature `postgres` a PostgreSQL database.
//!
//! [`Store`] has a method for each operation of MLflow's REST API.
//! What happens to runs is a sequence of [`Record`]s. [`Store::apply`] writes some in one transaction; [`Writer`] takes
//! them one at a time and groups them into transactions on a thread of its own. Applying a record again changes
//! nothing, so a journal can be replayed into the store. Which run stands for what is the engine's business.
//!
//! ```
//! use mlpipe_tracking::{Record, RunId, RunQuery, RunStatus, Store, Writer};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let path = directory.path().join("store.db");
//! let store = Store::open(&path)?;
//! let experiment = store.ensure_experiment("schmorl", "artifacts")?;
//!
//! let run_id = RunId::random();
//! let writer = Writer::start(Store::open(&path)?);
//! writer.send(Record::CreateRun {
//!     run_id: run_id.clone(),
//!     experiment_id: experiment.experiment_id,
//!     name: "detect".to_owned(),
//!     start_time_ms: 1_000,
//!     end_time_ms: None,
//!     status: RunStatus::Running,
//!     artifact_uri: format!("artifacts/{run_id}"),
//!     tags: vec![],
//!     params: vec![("threshold".to_owned(), "0.5".to_owned())],
//! });
//! writer.send(Record::UpdateRun { run_id, status: RunStatus::Finished, end_time_ms: Some(2_000) });
//! writer.finish()?;
//!
//! let runs = store.runs(&RunQuery { experiment: Some("schmorl".to_owned()), ..RunQuery::default() })?;
//! assert_eq!((runs[0].status, runs[0].params["threshold"].as_str()), (RunStatus::Finished, "0.5"));
//! # Ok(())
//! # }
//! ```

mod api;
mod apply;
mod conditions;
mod database;
mod entities;
mod error;
mod files;
mod group;
mod keys;
mod limits;
mod model;
mod names;
mod pages;
mod record;
pub mod rest;
mod rows;
mod run_id;
mod schema;
mod search;
mod source;
pub mod spool;
mod store;
pub mod tags;
pub mod transfer;
mod writer;

pub use entities::{
    Batch, Dataset, DatasetInput, DatasetSummary, LoggedMetric, LoggedModel, LoggedModelOrder, LoggedModelSearch,
    LoggedModelStatus, MetricOfRun, ModelMetric, ModelOutput, ModelVersion, NewExperiment, NewLoggedModel,
    NewModelVersion, NewRun, Page, Pairs, Purged, RegisteredModel, RunInputsOutputs, RunSearch, RunUpdate, Search,
    Stage, StepInterval, ViewType,
};
pub use error::{DatabaseError, DatabaseErrorKind, Error, ErrorCode, Result};
pub use limits::{MAX_EXPERIMENT_NAME_CHARS, MAX_KEY_CHARS, MAX_PARAM_VALUE_CHARS, MAX_TAG_VALUE_CHARS};
pub use model::{Experiment, LifecycleStage, Metric, Run, RunQuery, RunStatus};
pub use record::Record;
pub use run_id::RunId;
pub use schema::{Durability, SchemaVersion};
pub use store::Store;
pub use writer::Writer;
