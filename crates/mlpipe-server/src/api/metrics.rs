//! Metrics: logging values, and reading histories.

use mlpipe_tracking::{Batch, LoggedMetric, Metric, Page, StepInterval};

use super::error::ApiError;
use super::message::Message;
use super::wire::{self, done};
use super::{Answer, Call};

/// Most values of one answer of `get-history-bulk`.
const MAX_BULK: i64 = 25_000;
/// Most values per run of `get-history-bulk-interval`.
const MAX_PER_RUN: i64 = 2_500;
/// Most runs of either.
const MAX_RUNS: usize = 100;

fn logged(message: &Message) -> LoggedMetric {
    let owned = |name| message.nonempty(name).map(str::to_owned);
    LoggedMetric {
        metric: Metric {
            key: message.str("key").to_owned(),
            value: message.number("value").expect("the table requires it"),
            timestamp_ms: message.integer("timestamp").expect("the table requires it"),
            step: message.integer("step").unwrap_or_default(),
        },
        model_id: owned("model_id"),
        dataset_name: owned("dataset_name"),
        dataset_digest: owned("dataset_digest"),
    }
}

pub(super) fn log(call: &Call<'_>) -> Answer {
    call.store().log_metric(call.message.str("run_id"), &logged(&call.message))?;
    done()
}

pub(super) fn log_batch(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let batch = Batch {
        metrics: message.messages("metrics").iter().map(logged).collect(),
        params: message.pairs("params"),
        tags: message.pairs("tags"),
    };
    call.store().log_batch(message.str("run_id"), &batch)?;
    done()
}

pub(super) fn history(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let page = call.store().metric_history_page(
        message.str("run_id"),
        message.str("metric_key"),
        message.integer("max_results"),
        message.nonempty("page_token"),
    )?;
    wire::page("metrics", &page, wire::metric)
}

pub(super) fn history_bulk(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let run_ids = message.texts("run_id");
    if run_ids.is_empty() {
        return Err(ApiError::invalid("GetMetricHistoryBulk request must specify at least one run_id."));
    }
    if run_ids.len() > MAX_RUNS {
        let count = run_ids.len();
        return Err(ApiError::invalid(format!(
            "GetMetricHistoryBulk request cannot specify more than {MAX_RUNS} run_ids. Received {count} run_ids."
        )));
    }
    let Some(key) = message.text("metric_key") else {
        return Err(ApiError::invalid("GetMetricHistoryBulk request must specify a metric_key."));
    };
    let most = message.integer("max_results").unwrap_or(MAX_BULK).min(MAX_BULK);
    let metrics = call.store().metric_history_bulk(run_ids, key, most)?;
    wire::page("metrics", &Page { items: metrics, next_page_token: None }, wire::metric_of_run)
}

pub(super) fn history_interval(call: &Call<'_>) -> Answer {
    let message = &call.message;
    let run_ids = message.texts("run_ids");
    if run_ids.len() > MAX_RUNS {
        let count = run_ids.len();
        return Err(ApiError::invalid(format!(
            "GetMetricHistoryBulkInterval request must specify at most {MAX_RUNS} run_ids. Received {count} run_ids."
        )));
    }
    let max_results = message.integer("max_results").unwrap_or(MAX_PER_RUN);
    if !(1..=MAX_PER_RUN).contains(&max_results) {
        return Err(ApiError::invalid(format!("max_results must be between 1 and {MAX_PER_RUN}.")));
    }
    let interval =
        StepInterval { start_step: message.integer("start_step"), end_step: message.integer("end_step"), max_results };
    check_steps(&interval)?;
    let metrics = call.store().metric_history_interval(run_ids, message.str("metric_key"), &interval)?;
    wire::page("metrics", &Page { items: metrics, next_page_token: None }, wire::metric_of_run)
}

fn check_steps(interval: &StepInterval) -> Result<(), ApiError> {
    match (interval.start_step, interval.end_step) {
        (Some(start), Some(end)) if start > end => Err(ApiError::invalid(format!(
            "end_step must be greater than start_step. Found start_step={start} and end_step={end}."
        ))),
        (Some(_), None) | (None, Some(_)) => {
            Err(ApiError::invalid("If either start step or end step are specified, both must be specified."))
        }
        _ => Ok(()),
    }
}
