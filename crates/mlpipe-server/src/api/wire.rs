//! What is answered, in MLflow's messages: names in snake_case, unset fields and empty lists left out, 64-bit integers as numbers,
//! doubles that JSON lacks as texts. Everything is borrowed and written straight to bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use mlpipe_tracking::{
    DatasetInput, DatasetSummary, Experiment, LifecycleStage, LoggedModel, Metric, MetricOfRun, ModelMetric,
    ModelOutput, ModelVersion, Page, Pairs, RegisteredModel, Run,
};
use serde::{Serialize, Serializer};

use super::Answer;

/// Writes a message.
pub(crate) fn answer(message: &impl Serialize) -> Answer {
    Ok(serde_json::to_vec(message).expect("messages have text keys"))
}

/// MLflow's empty success.
pub(crate) fn done() -> Answer {
    Ok(b"{}".to_vec())
}

/// A message with one field.
pub(crate) fn one(name: &'static str, value: impl Serialize) -> Answer {
    answer(&BTreeMap::from([(name, value)]))
}

/// A message with a list and, where more follows, the token of the next page.
pub(crate) fn page<'a, T, M: Serialize>(name: &'static str, page: &'a Page<T>, message: impl Fn(&'a T) -> M) -> Answer {
    let mut json = Vec::with_capacity(128 + 256 * page.items.len());
    serde_json::to_writer(&mut json, &PageMessage { name, page, message }).expect("messages have text keys");
    Ok(json)
}

struct PageMessage<'a, T, F> {
    name: &'static str,
    page: &'a Page<T>,
    message: F,
}

impl<'a, T, M: Serialize, F: Fn(&'a T) -> M> Serialize for PageMessage<'a, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        if !self.page.items.is_empty() {
            map.serialize_entry(self.name, &List(&self.page.items, &self.message))?;
        }
        if let Some(token) = &self.page.next_page_token {
            map.serialize_entry("next_page_token", token)?;
        }
        map.end()
    }
}

/// A list that is turned into messages while it is written.
struct List<'a, 'f, T, F>(&'a [T], &'f F);

impl<'a, T, M: Serialize, F: Fn(&'a T) -> M> Serialize for List<'a, '_, T, F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(self.1))
    }
}

fn double<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match *value {
        value if value.is_nan() => serializer.serialize_str("NaN"),
        f64::INFINITY => serializer.serialize_str("Infinity"),
        f64::NEG_INFINITY => serializer.serialize_str("-Infinity"),
        value => serializer.serialize_f64(value),
    }
}

#[derive(Serialize)]
struct Pair<'a> {
    key: &'a str,
    value: &'a str,
}

fn pairs<S: Serializer>(pairs: &&Pairs, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pairs.iter().map(|(key, value)| Pair { key, value }))
}

fn pair_list<S: Serializer>(pairs: &&[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pairs.iter().map(|(key, value)| Pair { key, value }))
}

fn is_empty_map(pairs: &&Pairs) -> bool {
    pairs.is_empty()
}

fn is_empty_list<T>(list: &&[T]) -> bool {
    list.is_empty()
}

fn lifecycle(stage: LifecycleStage) -> &'static str {
    match stage {
        LifecycleStage::Active => "active",
        LifecycleStage::Deleted => "deleted",
    }
}

/// How artifact URIs are shown: see [`crate::artifacts::Shown`].
pub(crate) type Shown<'s> = &'s crate::artifacts::Shown;

#[derive(Serialize)]
pub(crate) struct ExperimentMessage<'a> {
    experiment_id: &'a str,
    name: &'a str,
    artifact_location: Cow<'a, str>,
    lifecycle_stage: &'static str,
    last_update_time: i64,
    creation_time: i64,
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    tags: &'a Pairs,
    workspace: &'static str,
}

pub(crate) fn experiment<'a>(experiment: &'a Experiment, shown: Shown<'_>) -> ExperimentMessage<'a> {
    ExperimentMessage {
        experiment_id: &experiment.experiment_id,
        name: &experiment.name,
        artifact_location: shown.location(&experiment.artifact_location, &experiment.experiment_id),
        lifecycle_stage: lifecycle(experiment.lifecycle_stage),
        last_update_time: experiment.last_update_time_ms,
        creation_time: experiment.creation_time_ms,
        tags: &experiment.tags,
        workspace: "default",
    }
}

#[derive(Serialize)]
pub(crate) struct MetricMessage<'a> {
    key: &'a str,
    #[serde(serialize_with = "double")]
    value: f64,
    timestamp: i64,
    step: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dataset_digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
}

pub(crate) fn metric(metric: &Metric) -> MetricMessage<'_> {
    MetricMessage {
        key: &metric.key,
        value: metric.value,
        timestamp: metric.timestamp_ms,
        step: metric.step,
        dataset_name: None,
        dataset_digest: None,
        model_id: None,
        run_id: None,
    }
}

pub(crate) fn metric_of_run(of_run: &MetricOfRun) -> MetricMessage<'_> {
    MetricMessage { run_id: Some(of_run.run_id.as_str()), ..metric(&of_run.metric) }
}

fn model_metric<'a>(of_model: &'a ModelMetric, model_id: &'a str) -> MetricMessage<'a> {
    MetricMessage {
        run_id: Some(&of_model.run_id),
        model_id: Some(model_id),
        dataset_name: of_model.dataset_name.as_deref(),
        dataset_digest: of_model.dataset_digest.as_deref(),
        ..metric(&of_model.metric)
    }
}

fn metrics<S: Serializer>(metrics: &&[Metric], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(metrics.iter().map(metric))
}

#[derive(Serialize)]
pub(crate) struct RunInfo<'a> {
    run_uuid: &'a str,
    experiment_id: &'a str,
    run_name: &'a str,
    user_id: &'a str,
    status: &'static str,
    start_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<i64>,
    artifact_uri: Cow<'a, str>,
    lifecycle_stage: &'static str,
    run_id: &'a str,
}

pub(crate) fn run_info<'a>(run: &'a Run, shown: Shown<'_>) -> RunInfo<'a> {
    RunInfo {
        run_uuid: run.run_id.as_str(),
        experiment_id: &run.experiment_id,
        run_name: &run.name,
        user_id: &run.user_id,
        status: run.status.as_str(),
        start_time: run.start_time_ms,
        end_time: run.end_time_ms,
        artifact_uri: shown.uri(&run.artifact_uri),
        lifecycle_stage: lifecycle(run.lifecycle_stage),
        run_id: run.run_id.as_str(),
    }
}

#[derive(Serialize)]
struct RunData<'a> {
    #[serde(serialize_with = "metrics", skip_serializing_if = "is_empty_list")]
    metrics: &'a [Metric],
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    params: &'a Pairs,
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    tags: &'a Pairs,
}

#[derive(Serialize)]
struct DatasetMessage<'a> {
    name: &'a str,
    digest: &'a str,
    source_type: &'a str,
    source: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
}

#[derive(Serialize)]
struct DatasetInputMessage<'a> {
    #[serde(serialize_with = "pair_list", skip_serializing_if = "is_empty_list")]
    tags: &'a [(String, String)],
    dataset: DatasetMessage<'a>,
}

fn dataset_input(input: &DatasetInput) -> DatasetInputMessage<'_> {
    let dataset = &input.dataset;
    DatasetInputMessage {
        tags: &input.tags,
        dataset: DatasetMessage {
            name: &dataset.name,
            digest: &dataset.digest,
            source_type: &dataset.source_type,
            source: &dataset.source,
            schema: dataset.schema.as_deref(),
            profile: dataset.profile.as_deref(),
        },
    }
}

fn dataset_inputs<S: Serializer>(inputs: &&[DatasetInput], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(inputs.iter().map(dataset_input))
}

#[derive(Serialize)]
struct ModelInputMessage<'a> {
    model_id: &'a str,
}

fn model_inputs<S: Serializer>(inputs: &&[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(inputs.iter().map(|model_id| ModelInputMessage { model_id }))
}

#[derive(Serialize)]
struct RunInputs<'a> {
    #[serde(serialize_with = "dataset_inputs", skip_serializing_if = "is_empty_list")]
    dataset_inputs: &'a [DatasetInput],
    #[serde(serialize_with = "model_inputs", skip_serializing_if = "is_empty_list")]
    model_inputs: &'a [String],
}

#[derive(Serialize)]
struct RunOutputs<'a> {
    #[serde(skip_serializing_if = "is_empty_list")]
    model_outputs: &'a [ModelOutput],
}

#[derive(Serialize)]
pub(crate) struct RunMessage<'a> {
    info: RunInfo<'a>,
    data: RunData<'a>,
    inputs: RunInputs<'a>,
    outputs: RunOutputs<'a>,
}

pub(crate) fn run<'a>(run: &'a Run, shown: Shown<'_>) -> RunMessage<'a> {
    let more = &run.inputs_outputs;
    RunMessage {
        info: run_info(run, shown),
        data: RunData { metrics: &run.metrics, params: &run.params, tags: &run.tags },
        inputs: RunInputs { dataset_inputs: &more.datasets, model_inputs: &more.model_inputs },
        outputs: RunOutputs { model_outputs: &more.model_outputs },
    }
}

#[derive(Serialize)]
pub(crate) struct DatasetSummaryMessage<'a> {
    experiment_id: &'a str,
    name: &'a str,
    digest: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<&'a str>,
}

pub(crate) fn dataset_summary(summary: &DatasetSummary) -> DatasetSummaryMessage<'_> {
    DatasetSummaryMessage {
        experiment_id: &summary.experiment_id,
        name: &summary.name,
        digest: &summary.digest,
        context: summary.context.as_deref(),
    }
}

#[derive(Serialize)]
struct Registration<'a> {
    name: &'a str,
    version: String,
}

#[derive(Serialize)]
struct LoggedModelInfo<'a> {
    model_id: &'a str,
    experiment_id: &'a str,
    name: &'a str,
    creation_timestamp_ms: i64,
    last_updated_timestamp_ms: i64,
    artifact_uri: Cow<'a, str>,
    status: &'static str,
    model_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_run_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_message: Option<&'a str>,
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    tags: &'a Pairs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    registrations: Vec<Registration<'a>>,
}

#[derive(Serialize)]
struct LoggedModelData<'a> {
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    params: &'a Pairs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    metrics: Vec<MetricMessage<'a>>,
}

#[derive(Serialize)]
pub(crate) struct LoggedModelMessage<'a> {
    info: LoggedModelInfo<'a>,
    data: LoggedModelData<'a>,
}

pub(crate) fn logged_model<'a>(model: &'a LoggedModel, shown: Shown<'_>) -> LoggedModelMessage<'a> {
    let registration = |(name, version): &'a (String, i64)| Registration { name, version: version.to_string() };
    LoggedModelMessage {
        info: LoggedModelInfo {
            model_id: &model.model_id,
            experiment_id: &model.experiment_id,
            name: &model.name,
            creation_timestamp_ms: model.creation_timestamp_ms,
            last_updated_timestamp_ms: model.last_updated_timestamp_ms,
            artifact_uri: shown.uri(&model.artifact_uri),
            status: model.status.as_str(),
            model_type: &model.model_type,
            source_run_id: model.source_run_id.as_deref(),
            status_message: model.status_message.as_deref(),
            tags: &model.tags,
            registrations: model.registrations.iter().map(registration).collect(),
        },
        data: LoggedModelData {
            params: &model.params,
            metrics: model.metrics.iter().map(|metric| model_metric(metric, &model.model_id)).collect(),
        },
    }
}

#[derive(Serialize)]
pub(crate) struct ModelVersionMessage<'a> {
    name: &'a str,
    version: String,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    current_stage: &'static str,
    description: &'a str,
    source: Cow<'a, str>,
    run_id: &'a str,
    status: &'static str,
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    tags: &'a Pairs,
    run_link: &'a str,
    #[serde(skip_serializing_if = "is_empty_list")]
    aliases: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    model_id: Option<&'a str>,
}

pub(crate) fn model_version<'a>(version: &'a ModelVersion, shown: Shown<'_>) -> ModelVersionMessage<'a> {
    ModelVersionMessage {
        name: &version.name,
        version: version.version.to_string(),
        creation_timestamp: version.creation_timestamp_ms,
        last_updated_timestamp: version.last_updated_timestamp_ms,
        current_stage: version.current_stage.as_str(),
        description: &version.description,
        source: shown.uri(&version.source),
        run_id: &version.run_id,
        status: "READY",
        tags: &version.tags,
        run_link: &version.run_link,
        aliases: &version.aliases,
        model_id: version.model_id.as_deref(),
    }
}

#[derive(Serialize)]
struct Alias<'a> {
    alias: &'a str,
    version: String,
}

#[derive(Serialize)]
pub(crate) struct RegisteredModelMessage<'a> {
    name: &'a str,
    creation_timestamp: i64,
    last_updated_timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    latest_versions: Vec<ModelVersionMessage<'a>>,
    #[serde(serialize_with = "pairs", skip_serializing_if = "is_empty_map")]
    tags: &'a Pairs,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aliases: Vec<Alias<'a>>,
}

pub(crate) fn registered_model<'a>(model: &'a RegisteredModel, shown: Shown<'_>) -> RegisteredModelMessage<'a> {
    let alias = |(alias, version): (&'a String, &i64)| Alias { alias, version: version.to_string() };
    RegisteredModelMessage {
        name: &model.name,
        creation_timestamp: model.creation_timestamp_ms,
        last_updated_timestamp: model.last_updated_timestamp_ms,
        description: model.description.as_deref().filter(|text| !text.is_empty()),
        latest_versions: model.latest_versions.iter().map(|version| model_version(version, shown)).collect(),
        tags: &model.tags,
        aliases: model.aliases.iter().map(alias).collect(),
    }
}

/// A file or folder among artifacts.
#[derive(Serialize)]
pub(crate) struct FileInfo<'a> {
    pub(crate) path: Cow<'a, str>,
    pub(crate) is_dir: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file_size: Option<u64>,
}
