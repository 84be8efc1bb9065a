//! What MLflow's REST API speaks of beyond runs: datasets, logged models, registered models, and pages of answers.
//!
//! Names are MLflow's. Times are milliseconds since 1970-01-01 UTC.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Metric, RunId, RunStatus};

/// Keys and values, each key once, in the order of the keys.
pub type Pairs = BTreeMap<String, String>;

/// Part of an answer, and how to get the next part.
#[derive(Clone, Debug, PartialEq)]
pub struct Page<T> {
    /// The entities, in the order that was asked for.
    pub items: Vec<T>,
    /// What to hand in to get the entities that follow; none when these are the last.
    pub next_page_token: Option<String>,
}

/// Whether what is deleted is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ViewType {
    /// What is in use.
    #[default]
    ActiveOnly,
    /// What is deleted.
    DeletedOnly,
    /// Both.
    All,
}

/// An experiment to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewExperiment {
    /// Its name.
    pub name: String,
    /// The URI below which the artifacts of its runs lie; none for `<artifact root>/<experiment_id>`.
    pub artifact_location: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// A question for experiments, registered models or model versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// MLflow's filter; empty for all.
    pub filter: String,
    /// MLflow's order clauses, such as `name DESC`.
    pub order_by: Vec<String>,
    /// How many at most; none for MLflow's default of the entity.
    pub max_results: Option<i64>,
    /// The token of the page before.
    pub page_token: Option<String>,
}

/// A run to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRun {
    /// The experiment, which must be in use.
    pub experiment_id: String,
    /// Who runs it.
    pub user_id: String,
    /// Its name; none for the tag `mlflow.runName`, or without that a made-up one.
    pub run_name: Option<String>,
    /// When it began; none for now.
    pub start_time_ms: Option<i64>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// What is to change about a run; what is none stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunUpdate {
    /// Its status.
    pub status: Option<RunStatus>,
    /// When it ended.
    pub end_time_ms: Option<i64>,
    /// Its name.
    pub run_name: Option<String>,
}

/// A question for runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunSearch {
    /// The experiments; unknown ones have no runs.
    pub experiment_ids: Vec<String>,
    /// MLflow's filter; empty for all.
    pub filter: String,
    /// Whether deleted runs are wanted.
    pub view: ViewType,
    /// MLflow's order clauses; without any the newest come first.
    pub order_by: Vec<String>,
    /// How many at most; none for 1000.
    pub max_results: Option<i64>,
    /// The token of the page before.
    pub page_token: Option<String>,
}

/// A value of a metric as it is logged: of a run, and where that is said of a model and on a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoggedMetric {
    /// Key, value, time and step.
    pub metric: Metric,
    /// The logged model that was measured.
    pub model_id: Option<String>,
    /// The name of the dataset it was measured on.
    pub dataset_name: Option<String>,
    /// The digest of that dataset.
    pub dataset_digest: Option<String>,
}

impl From<Metric> for LoggedMetric {
    fn from(metric: Metric) -> Self {
        Self { metric, model_id: None, dataset_name: None, dataset_digest: None }
    }
}

/// What is logged to a run at once: all of it is stored, or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Values of metrics.
    pub metrics: Vec<LoggedMetric>,
    /// Params.
    pub params: Vec<(String, String)>,
    /// Tags.
    pub tags: Vec<(String, String)>,
}

/// Data that a run read. Name and digest identify it within an experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataset {
    /// Its name.
    pub name: String,
    /// A digest of its content.
    pub digest: String,
    /// What kind of place it came from.
    pub source_type: String,
    /// Where it came from, usually JSON.
    pub source: String,
    /// Its columns or tensors, usually JSON.
    pub schema: Option<String>,
    /// Its counts, usually JSON.
    pub profile: Option<String>,
}

/// A dataset as an input of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatasetInput {
    /// The dataset.
    pub dataset: Dataset,
    /// What is known about its use, such as `mlflow.data.context`.
    pub tags: Vec<(String, String)>,
}

/// A model that a run wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// The logged model.
    pub model_id: String,
    /// The step of the training at which it was written.
    pub step: i64,
}

/// What a run read and wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInputsOutputs {
    /// The datasets it read.
    #[serde(default)]
    pub datasets: Vec<DatasetInput>,
    /// The ids of the logged models it read.
    #[serde(default)]
    pub model_inputs: Vec<String>,
    /// The logged models it wrote.
    #[serde(default)]
    pub model_outputs: Vec<ModelOutput>,
}

/// A dataset that some run of an experiment read, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatasetSummary {
    /// The experiment.
    pub experiment_id: String,
    /// The name of the dataset.
    pub name: String,
    /// Its digest.
    pub digest: String,
    /// The tag `mlflow.data.context` of the input.
    pub context: Option<String>,
}

/// A value of a metric, and the run it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricOfRun {
    /// The run.
    pub run_id: RunId,
    /// The value.
    pub metric: Metric,
}

/// Which steps of a history to sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepInterval {
    /// The first step; none for the first there is.
    pub start_step: Option<i64>,
    /// The last step; none for the last there is.
    pub end_step: Option<i64>,
    /// How many values per run at most.
    pub max_results: i64,
}

/// Whether the files of a logged model are there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoggedModelStatus {
    /// Nothing is known.
    #[serde(rename = "LOGGED_MODEL_STATUS_UNSPECIFIED")]
    Unspecified,
    /// They are being uploaded.
    #[default]
    #[serde(rename = "LOGGED_MODEL_PENDING")]
    Pending,
    /// They are there.
    #[serde(rename = "LOGGED_MODEL_READY")]
    Ready,
    /// They are not there, and will not be.
    #[serde(rename = "LOGGED_MODEL_UPLOAD_FAILED")]
    UploadFailed,
}

impl LoggedModelStatus {
    const ALL: [Self; 4] = [Self::Unspecified, Self::Pending, Self::Ready, Self::UploadFailed];

    /// Returns MLflow's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "LOGGED_MODEL_STATUS_UNSPECIFIED",
            Self::Pending => "LOGGED_MODEL_PENDING",
            Self::Ready => "LOGGED_MODEL_READY",
            Self::UploadFailed => "LOGGED_MODEL_UPLOAD_FAILED",
        }
    }
}

impl fmt::Display for LoggedModelStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for LoggedModelStatus {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| Error::invalid(format!("Invalid logged model status: '{text}'.")))
    }
}

/// A logged model to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewLoggedModel {
    /// The experiment, which must be in use.
    pub experiment_id: String,
    /// Its name; none for a made-up one.
    pub name: Option<String>,
    /// What kind of model it is.
    pub model_type: String,
    /// The run that trains it.
    pub source_run_id: Option<String>,
    /// Its params.
    pub params: Vec<(String, String)>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// A value of a metric of a logged model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelMetric {
    /// The run that measured it.
    pub run_id: String,
    /// The value.
    pub metric: Metric,
    /// The name of the dataset it was measured on.
    pub dataset_name: Option<String>,
    /// The digest of that dataset.
    pub dataset_digest: Option<String>,
}

/// A model that a run wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct LoggedModel {
    /// `m-` and 32 hexadecimal digits.
    pub model_id: String,
    /// The experiment it belongs to.
    pub experiment_id: String,
    /// Its name.
    pub name: String,
    /// The URI of the directory of its files.
    pub artifact_uri: String,
    /// When it was made.
    pub creation_timestamp_ms: i64,
    /// When it was last changed.
    pub last_updated_timestamp_ms: i64,
    /// Whether its files are there.
    pub status: LoggedModelStatus,
    /// More about the status.
    pub status_message: Option<String>,
    /// What kind of model it is; may be empty.
    pub model_type: String,
    /// The run that trained it.
    pub source_run_id: Option<String>,
    /// Its tags.
    pub tags: Pairs,
    /// Its params.
    pub params: Pairs,
    /// The latest value of each metric, run and dataset.
    pub metrics: Vec<ModelMetric>,
    /// Names and versions under which it is registered.
    pub registrations: Vec<(String, i64)>,
}

/// A question for logged models.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoggedModelSearch {
    /// The experiments.
    pub experiment_ids: Vec<String>,
    /// MLflow's filter; empty for all.
    pub filter: String,
    /// Only metrics on these datasets count in the filter; a digest may be left out.
    pub datasets: Vec<(String, Option<String>)>,
    /// The order; without any the newest come first.
    pub order_by: Vec<LoggedModelOrder>,
    /// How many at most; none for 50.
    pub max_results: Option<i64>,
    /// The token of the page before.
    pub page_token: Option<String>,
}

/// One key of an order of logged models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedModelOrder {
    /// `name`, `creation_timestamp`, `metrics.<key>`, ...
    pub field_name: String,
    /// Whether small values come first.
    pub ascending: bool,
    /// For a metric: only values on this dataset.
    pub dataset_name: Option<String>,
    /// For a metric: only values on the dataset of this digest.
    pub dataset_digest: Option<String>,
}

/// A name under which versions of a model are published.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredModel {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub creation_timestamp_ms: i64,
    /// When it was last changed.
    pub last_updated_timestamp_ms: i64,
    /// What it is for.
    pub description: Option<String>,
    /// The newest version of each stage.
    pub latest_versions: Vec<ModelVersion>,
    /// Its tags.
    pub tags: Pairs,
    /// Versions by alias.
    pub aliases: BTreeMap<String, i64>,
}

/// Where a model version stands; MLflow's fixed stages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Nowhere yet.
    #[default]
    None,
    /// On trial.
    Staging,
    /// In use.
    Production,
    /// No longer in use.
    Archived,
}

impl Stage {
    /// All stages, in MLflow's order.
    pub const ALL: [Self; 4] = [Self::None, Self::Staging, Self::Production, Self::Archived];

    /// Returns MLflow's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Staging => "Staging",
            Self::Production => "Production",
            Self::Archived => "Archived",
        }
    }
}

impl FromStr for Stage {
    type Err = Error;

    /// Parses a stage in any case, as MLflow does.
    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|stage| stage.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| {
            Error::invalid(format!(
                "Invalid Model Version stage: {text}. Value must be one of None, Staging, Production, Archived."
            ))
        })
    }
}

/// A model version to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewModelVersion {
    /// The registered model, which must exist.
    pub name: String,
    /// The URI of its files.
    pub source: String,
    /// The run that wrote them.
    pub run_id: Option<String>,
    /// A link to that run.
    pub run_link: Option<String>,
    /// What is special about it.
    pub description: Option<String>,
    /// The logged model it is.
    pub model_id: Option<String>,
    /// Its tags.
    pub tags: Vec<(String, String)>,
}

/// One version of a registered model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelVersion {
    /// The registered model.
    pub name: String,
    /// Its number, from 1 on; never used twice.
    pub version: i64,
    /// When it was made.
    pub creation_timestamp_ms: i64,
    /// When it was last changed.
    pub last_updated_timestamp_ms: i64,
    /// Where it stands.
    pub current_stage: Stage,
    /// What is special about it.
    pub description: String,
    /// The URI of its files, as given when it was made.
    pub source: String,
    /// The URI from which its files are read: `source` resolved (`runs:/`, `models:/`).
    pub storage_location: String,
    /// The run that wrote them; may be empty.
    pub run_id: String,
    /// A link to that run; may be empty.
    pub run_link: String,
    /// The logged model it is.
    pub model_id: Option<String>,
    /// Its tags.
    pub tags: Pairs,
    /// Its aliases.
    pub aliases: Vec<String>,
}

/// How much was removed for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Experiments.
    pub experiments: u64,
    /// Runs, those of the experiments included.
    pub runs: u64,
    /// Logged models, those of the experiments included.
    pub logged_models: u64,
}
