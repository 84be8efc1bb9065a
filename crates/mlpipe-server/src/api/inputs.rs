//! What runs read and write: datasets and logged models.

use mlpipe_tracking::{Dataset, DatasetInput, ModelOutput, Page};

use super::error::ApiError;
use super::message::Message;
use super::wire::{self, done};
use super::{Answer, Call};

/// Most experiments of one question for datasets.
const MAX_EXPERIMENTS: usize = 20;

fn dataset_input(message: &Message) -> Result<DatasetInput, ApiError> {
    let Some(dataset) = message.message("dataset") else {
        return Err(ApiError::invalid("Missing value for required parameter 'dataset'. An input needs a dataset."));
    };
    let owned = |name| dataset.text(name).map(str::to_owned);
    Ok(DatasetInput {
        dataset: Dataset {
            name: dataset.str("name").to_owned(),
            digest: dataset.str("digest").to_owned(),
            source_type: dataset.str("source_type").to_owned(),
            source: dataset.str("source").to_owned(),
            schema: owned("schema"),
            profile: owned("profile"),
        },
        tags: message.pairs("tags"),
    })
}

pub(super) fn log_inputs(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let datasets = message.messages("datasets").iter().map(dataset_input).collect::<Result<Vec<_>, _>>()?;
    let models: Vec<_> = message.messages("models").iter().map(|model| model.str("model_id").to_owned()).collect();
    call.store().log_inputs(message.str("run_id"), &datasets, &models)?;
    done()
}

pub(super) fn log_outputs(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let output = |model: &Message| ModelOutput {
        model_id: model.str("model_id").to_owned(),
        step: model.integer("step").unwrap_or_default(),
    };
    let models: Vec<_> = message.messages("models").iter().map(output).collect();
    call.store().log_outputs(message.str("run_id"), &models)?;
    done()
}

pub(super) fn search_datasets(call: &Call<'_>) -> Answer {
    let experiment_ids = call.message.texts("experiment_ids");
    if experiment_ids.is_empty() {
        return Err(ApiError::invalid("SearchDatasets request must specify at least one experiment_id."));
    }
    if experiment_ids.len() > MAX_EXPERIMENTS {
        let count = experiment_ids.len();
        return Err(ApiError::invalid(format!(
            "SearchDatasets request cannot specify more than {MAX_EXPERIMENTS} experiment_ids. Received {count} experiment_ids."
        )));
    }
    let summaries = call.store().search_datasets(experiment_ids)?;
    wire::page("dataset_summaries", &Page { items: summaries, next_page_token: None }, wire::dataset_summary)
}
