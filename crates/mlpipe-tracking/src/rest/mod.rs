//! A client of a tracking server that speaks MLflow's REST API 2.0: MLflow's own, or `mlpipe server`.
//!
//! [`Client`] makes one typed call per method and decides when a request is sent again ([`Retries`]). What is logged, and
//! when, is decided by whoever calls it: [`crate::spool`] for the runs of a pipeline. Calls block; a client can be cloned and
//! used from several threads, which then share its idle connections.
//!
//! `https:` needs the feature `tls`.

mod address;
mod artifacts;
mod client;
mod experiments;
mod registry;
mod runs;
mod wire;

pub use address::{Credentials, TrackingUri};
pub(crate) use client::is_passing;
pub use client::{Client, Retries};
pub use runs::{MAX_BATCH_METRICS, MAX_BATCH_PAIRS, NewRun};
pub use wire::{
    Alias, DatasetInput, FileInfo, MetricValue, ModelVersion, NamedDataset, Pair, RegisteredModel, RemoteExperiment,
    RemoteRun, RunData, RunInfo, RunInputs,
};
