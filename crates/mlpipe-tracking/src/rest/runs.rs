//! Runs on a server: made, described, ended, found.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Method, Repeat};
use super::experiments::absent;
use super::wire::{DatasetInput, MetricValue, Pair, RemoteRun};
use crate::{Metric, Result, RunStatus, tags};

/// Metrics that a batch may have (`mlflow/utils/validation.py`).
pub const MAX_BATCH_METRICS: usize = 1000;
/// Params, and tags, that a batch may have.
pub const MAX_BATCH_PAIRS: usize = 100;
/// Runs per page of a search.
const RUNS_PAGE: usize = 1000;
/// Values per page of a metric's history; MLflow gives at most 25,000.
const HISTORY_PAGE: &str = "25000";

/// A run that is to be made.
#[derive(Clone, Debug, Default)]
pub struct NewRun {
    /// Its experiment.
    pub experiment_id: String,
    /// Its name.
    pub name: String,
    /// The account that started it.
    pub user: String,
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub start_time_ms: i64,
    /// Its first tags.
    pub tags: Vec<Pair>,
}

#[derive(Deserialize)]
struct Found {
    run: RemoteRun,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Runs {
    runs: Vec<RemoteRun>,
    next_page_token: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct History {
    metrics: Vec<MetricValue>,
    next_page_token: String,
}

impl Client {
    /// Makes a run, which is `RUNNING` then. Not sent again once the server may have made it: ask [`Client::runs_with_tag`]
    /// before trying again.
    ///
    /// # Errors
    /// As for every call.
    pub fn create_run(&self, run: &NewRun) -> Result<RemoteRun> {
        let body = json!({
            "experiment_id": run.experiment_id, "run_name": run.name, "user_id": run.user,
            "start_time": run.start_time_ms, "tags": run.tags,
        });
        Ok(self.send::<Found>(Method::Post, "/runs/create", &body, Repeat::Doubles)?.run)
    }

    /// Returns a run; none when there is none.
    ///
    /// # Errors
    /// As for every call.
    pub fn run(&self, run_id: &str) -> Result<Option<RemoteRun>> {
        absent(self.get::<Found>("/runs/get", &[("run_id", run_id)]).map(|found| found.run))
    }

    /// Gives a run a status.
    ///
    /// # Errors
    /// As for every call.
    pub fn update_run(&self, run_id: &str, status: RunStatus, end_time_ms: Option<i64>) -> Result<()> {
        let mut body = json!({ "run_id": run_id, "status": status.as_str() });
        if let Some(end_time_ms) = end_time_ms {
            body["end_time"] = end_time_ms.into();
        }
        self.done(Method::Post, "/runs/update", &body)
    }

    /// Logs metrics, params and tags, in as many batches as the server's limits ask for. Logging the same again changes
    /// nothing.
    ///
    /// # Errors
    /// As for every call; what came before the batch that was refused is logged.
    pub fn log(&self, run_id: &str, metrics: &[Metric], params: &[Pair], run_tags: &[Pair]) -> Result<()> {
        let metrics: Vec<MetricValue> = metrics.iter().map(MetricValue::from).collect();
        let mut metrics = metrics.chunks(MAX_BATCH_METRICS);
        let mut params = params.chunks(MAX_BATCH_PAIRS);
        let mut run_tags = run_tags.chunks(MAX_BATCH_PAIRS);
        loop {
            let mut metrics = metrics.next();
            let params = params.next().unwrap_or_default();
            let run_tags = run_tags.next().unwrap_or_default();
            let pairs = params.len() + run_tags.len();
            if metrics.is_none() && pairs == 0 {
                return Ok(());
            }
            // A batch has at most 1000 entities in all.
            let (with, rest) = match metrics.take() {
                Some(all) => all.split_at(all.len().min(MAX_BATCH_METRICS - pairs)),
                None => Default::default(),
            };
            let body = json!({ "run_id": run_id, "metrics": with, "params": params, "tags": run_tags });
            self.done(Method::Post, "/runs/log-batch", &body)?;
            if !rest.is_empty() {
                self.done(Method::Post, "/runs/log-batch", &json!({ "run_id": run_id, "metrics": rest }))?;
            }
        }
    }

    /// Sets one tag.
    ///
    /// # Errors
    /// As for every call.
    pub fn set_tag(&self, run_id: &str, key: &str, value: &str) -> Result<()> {
        self.done(Method::Post, "/runs/set-tag", &json!({ "run_id": run_id, "key": key, "value": value }))
    }

    /// Records the data that went into a run.
    ///
    /// # Errors
    /// As for every call.
    pub fn log_inputs(&self, run_id: &str, datasets: &[DatasetInput]) -> Result<()> {
        for datasets in datasets.chunks(MAX_BATCH_PAIRS) {
            self.done(Method::Post, "/runs/log-inputs", &json!({ "run_id": run_id, "datasets": datasets }))?;
        }
        Ok(())
    }

    /// Returns the runs that a filter of MLflow's grammar selects, also deleted ones with `all`; at most `limit`, 0 for all.
    ///
    /// # Errors
    /// As for every call.
    pub fn search_runs(
        &self,
        experiment_ids: &[String],
        filter: &str,
        order_by: &[String],
        all: bool,
        limit: usize,
    ) -> Result<Vec<RemoteRun>> {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let wanted = if limit == 0 { RUNS_PAGE } else { RUNS_PAGE.min(limit - found.len()) };
            let mut body = json!({
                "experiment_ids": experiment_ids, "filter": filter, "order_by": order_by, "max_results": wanted,
                "run_view_type": if all { "ALL" } else { "ACTIVE_ONLY" },
            });
            if !token.is_empty() {
                body["page_token"] = Value::from(token);
            }
            let page: Runs = self.send(Method::Post, "/runs/search", &body, Repeat::Harmless)?;
            found.extend(page.runs);
            token = page.next_page_token;
            if token.is_empty() || (limit > 0 && found.len() >= limit) {
                return Ok(found);
            }
        }
    }

    /// Returns the runs of an experiment, deleted ones too, that have a tag of this value, the oldest first.
    ///
    /// # Errors
    /// As for every call.
    pub fn runs_with_tag(&self, experiment_id: &str, key: &str, value: &str) -> Result<Vec<RemoteRun>> {
        let filter = format!("tags.`{key}` = '{value}'");
        let order = ["attributes.start_time ASC".to_owned()];
        self.search_runs(&[experiment_id.to_owned()], &filter, &order, true, 0)
    }

    /// Returns all values of a metric.
    ///
    /// # Errors
    /// As for every call.
    pub fn metric_history(&self, run_id: &str, key: &str) -> Result<Vec<MetricValue>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = vec![("run_id", run_id), ("metric_key", key), ("max_results", HISTORY_PAGE)];
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let page: History = self.get("/metrics/get-history", &query)?;
            all.extend(page.metrics);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Deletes a run; it can be restored.
    ///
    /// # Errors
    /// As for every call.
    pub fn delete_run(&self, run_id: &str) -> Result<()> {
        self.done(Method::Post, "/runs/delete", &json!({ "run_id": run_id }))
    }

    /// Restores a deleted run.
    ///
    /// # Errors
    /// As for every call.
    pub fn restore_run(&self, run_id: &str) -> Result<()> {
        self.done(Method::Post, "/runs/restore", &json!({ "run_id": run_id }))
    }

    /// Returns the runs directly below a run.
    ///
    /// # Errors
    /// As for every call.
    pub fn children(&self, run: &RemoteRun) -> Result<Vec<RemoteRun>> {
        let filter = format!("tags.`{}` = '{}'", tags::PARENT_RUN_ID, run.info.run_id);
        let order = ["attributes.start_time ASC".to_owned()];
        self.search_runs(std::slice::from_ref(&run.info.experiment_id), &filter, &order, false, 0)
    }

    /// A call whose answer says nothing, and which may be made twice.
    pub(super) fn done(&self, method: Method, path: &str, body: &Value) -> Result<()> {
        self.send::<Value>(method, path, body, Repeat::Harmless).map(drop)
    }
}
