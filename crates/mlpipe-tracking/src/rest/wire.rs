//! What MLflow's REST API sends and takes (`service.proto` and `model_registry.proto` of version 3.17.2), as far as it is used.
//!
//! Fields that a server leaves out have their default: proto-JSON omits what is empty. 64-bit numbers come as numbers or as
//! texts. Run ids are texts here: other servers give other ids than ours.

use serde::{Deserialize, Serialize};

use crate::record::any_f64;
use crate::{Error, Metric, Result, Run, RunStatus};

/// A key and its value: a tag or a param.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pair {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// An experiment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteExperiment {
    /// Its id on that server.
    pub experiment_id: String,
    /// Its name.
    pub name: String,
    /// The URI below which the artifacts of its runs lie.
    pub artifact_location: String,
    /// `active` or `deleted`.
    pub lifecycle_stage: String,
    /// Its tags.
    pub tags: Vec<Pair>,
}

/// A run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RemoteRun {
    /// What it is.
    pub info: RunInfo,
    /// Its params, tags and latest metrics.
    pub data: RunData,
    /// The data that went in.
    pub inputs: RunInputs,
}

/// What a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInfo {
    /// Its id on that server.
    pub run_id: String,
    /// Its name.
    pub run_name: String,
    /// Its experiment.
    pub experiment_id: String,
    /// `RUNNING`, `FINISHED` and so on.
    pub status: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    #[serde(deserialize_with = "any_i64")]
    pub start_time: i64,
    /// When it ended; 0 while it has not.
    #[serde(deserialize_with = "any_i64")]
    pub end_time: i64,
    /// The URI of the directory of its artifacts.
    pub artifact_uri: String,
    /// `active` or `deleted`.
    pub lifecycle_stage: String,
}

/// Params, tags and latest metrics of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunData {
    /// The latest value of each metric.
    pub metrics: Vec<MetricValue>,
    /// Its params.
    pub params: Vec<Pair>,
    /// Its tags.
    pub tags: Vec<Pair>,
}

/// One value of a metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MetricValue {
    /// The name of the metric.
    pub key: String,
    /// The value.
    #[serde(with = "any_f64")]
    pub value: f64,
    /// When it was measured, in milliseconds since 1970-01-01 UTC.
    #[serde(deserialize_with = "any_i64")]
    pub timestamp: i64,
    /// The position in a sequence of measurements.
    #[serde(deserialize_with = "any_i64")]
    pub step: i64,
}

/// The data that went into a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunInputs {
    /// One per dataset.
    pub dataset_inputs: Vec<DatasetInput>,
}

/// A dataset, and how a run used it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DatasetInput {
    /// `mlflow.data.context` among them.
    pub tags: Vec<Pair>,
    /// The dataset.
    pub dataset: NamedDataset,
}

/// A dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NamedDataset {
    /// Its name.
    pub name: String,
    /// What tells it from others of that name; at most 36 characters.
    pub digest: String,
    /// The kind of source.
    pub source_type: String,
    /// Where it comes from, as JSON.
    pub source: String,
    /// What its entries look like, as JSON.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub schema: String,
    /// Counts and the like, as JSON.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub profile: String,
}

/// A file or folder among artifacts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileInfo {
    /// Its path, from the root that was asked about.
    pub path: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Its size in bytes; 0 for a folder.
    #[serde(deserialize_with = "any_i64")]
    pub file_size: i64,
}

/// A registered model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RegisteredModel {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// When it was registered.
    #[serde(deserialize_with = "any_i64")]
    pub creation_timestamp: i64,
    /// When it was last changed.
    #[serde(deserialize_with = "any_i64")]
    pub last_updated_timestamp: i64,
    /// Its tags.
    pub tags: Vec<Pair>,
    /// Names for some of its versions.
    pub aliases: Vec<Alias>,
}

/// A name for a version of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Alias {
    /// The name.
    pub alias: String,
    /// The version.
    pub version: String,
}

/// A version of a registered model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelVersion {
    /// The model.
    pub name: String,
    /// The number, from 1.
    pub version: String,
    /// When it was registered.
    #[serde(deserialize_with = "any_i64")]
    pub creation_timestamp: i64,
    /// `None`, `Staging`, `Production` or `Archived`.
    pub current_stage: String,
    /// What it is.
    pub description: String,
    /// Where its files lie.
    pub source: String,
    /// The run that made it.
    pub run_id: String,
    /// `READY` once it can be used.
    pub status: String,
    /// Its tags.
    pub tags: Vec<Pair>,
    /// Its names.
    pub aliases: Vec<String>,
}

impl RemoteRun {
    /// Returns the value of a tag.
    pub fn tag(&self, key: &str) -> Option<&str> {
        self.data.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.as_str())
    }

    /// Returns the run in the form in which our own store has runs.
    ///
    /// # Errors
    /// [`Error::InvalidRunId`], [`Error::InvalidRunStatus`] for what our store cannot hold.
    pub fn into_run(self) -> Result<Run> {
        let pairs = |pairs: Vec<Pair>| pairs.into_iter().map(|pair| (pair.key, pair.value)).collect();
        let status: RunStatus = self.info.status.parse()?;
        let lifecycle_stage = match self.info.lifecycle_stage.as_str() {
            "deleted" => crate::LifecycleStage::Deleted,
            _ => crate::LifecycleStage::Active,
        };
        let datasets = self.inputs.dataset_inputs.into_iter().map(crate::DatasetInput::from).collect();
        Ok(Run {
            user_id: String::new(),
            inputs_outputs: crate::RunInputsOutputs { datasets, ..Default::default() },
            run_id: self.info.run_id.parse()?,
            name: self.info.run_name,
            experiment_id: self.info.experiment_id,
            status,
            start_time_ms: self.info.start_time,
            end_time_ms: (self.info.end_time != 0).then_some(self.info.end_time),
            artifact_uri: self.info.artifact_uri,
            lifecycle_stage,
            params: pairs(self.data.params),
            tags: pairs(self.data.tags),
            metrics: self.data.metrics.into_iter().map(Metric::from).collect(),
        })
    }
}

impl From<MetricValue> for Metric {
    fn from(metric: MetricValue) -> Self {
        Self { key: metric.key, value: metric.value, timestamp_ms: metric.timestamp, step: metric.step }
    }
}

impl From<&Metric> for MetricValue {
    fn from(metric: &Metric) -> Self {
        Self { key: metric.key.clone(), value: metric.value, timestamp: metric.timestamp_ms, step: metric.step }
    }
}

impl From<(String, String)> for Pair {
    fn from((key, value): (String, String)) -> Self {
        Self { key, value }
    }
}

impl From<DatasetInput> for crate::DatasetInput {
    fn from(input: DatasetInput) -> Self {
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        Self {
            dataset: crate::Dataset {
                name: input.dataset.name,
                digest: input.dataset.digest,
                source_type: input.dataset.source_type,
                source: input.dataset.source,
                schema: some(input.dataset.schema),
                profile: some(input.dataset.profile),
            },
            tags: input.tags.into_iter().map(|pair| (pair.key, pair.value)).collect(),
        }
    }
}

impl From<&crate::DatasetInput> for DatasetInput {
    fn from(input: &crate::DatasetInput) -> Self {
        Self {
            tags: input.tags.iter().cloned().map(Pair::from).collect(),
            dataset: NamedDataset {
                name: input.dataset.name.clone(),
                digest: input.dataset.digest.clone(),
                source_type: input.dataset.source_type.clone(),
                source: input.dataset.source.clone(),
                schema: input.dataset.schema.clone().unwrap_or_default(),
                profile: input.dataset.profile.clone().unwrap_or_default(),
            },
        }
    }
}

impl ModelVersion {
    /// Returns the number of the version.
    ///
    /// # Errors
    /// [`Error::InvalidAnswer`] when it is none.
    pub fn number(&self) -> Result<u64> {
        self.version.parse().map_err(|_| Error::InvalidAnswer {
            url: self.name.clone(),
            reason: format!("`{}` is not the number of a version", self.version),
        })
    }
}

fn any_i64<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    number.ok_or_else(|| serde::de::Error::custom(format!("expected a whole number, found {value}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_be_texts_and_what_is_left_out_has_its_default() {
        let json = r#"{"info": {"run_id": "0123456789abcdef0123456789abcdef", "status": "FINISHED", "start_time": "17",
            "unknown": 1}, "data": {"metrics": [{"key": "m", "value": "NaN", "timestamp": 1, "step": "3"}]}}"#;
        let run: RemoteRun = serde_json::from_str(json).expect("parses");
        assert_eq!((run.info.start_time, run.info.end_time, run.data.metrics[0].step), (17, 0, 3));
        let run = run.into_run().expect("one of ours");
        assert!(run.end_time_ms.is_none() && run.metric("m").is_some_and(f64::is_nan));
    }
}
