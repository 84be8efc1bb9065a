//! Runs, their params, metrics and tags, as MLflow's REST API has them.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::{experiments, histories, logged_models, runs_search};
use crate::apply::{Applier, Known, RunRow};
use crate::database::Connection;
use crate::group::Transaction;
use crate::limits::{MAX_KEY_CHARS, is_longer, key_message};
use crate::names::made_up_name;
use crate::store::{now_ms, run_of};
use crate::{
    Batch, Error, LoggedMetric, Metric, MetricOfRun, NewRun, Page, Result, Run, RunId, RunSearch, RunStatus, RunUpdate,
    StepInterval, Store, tags,
};

/// The tag that lists the models a run has logged, as JSON.
const MODEL_HISTORY: &str = "mlflow.log-model.history";
/// Metrics in a batch at most, and entities of all kinds.
const MAX_BATCH: usize = 1000;
/// Params in a batch at most, and tags.
const MAX_BATCH_PAIRS: usize = 100;

impl Store {
    /// Makes a run with an id of its own (`runs/create`). Its artifacts lie in
    /// `<artifact location of the experiment>/<run_id>/artifacts`.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist` (no such experiment), `InvalidParameterValue` (a deleted experiment, a name that
    /// differs from the tag `mlflow.runName`, a bad key).
    pub fn create_run(&self, new: &NewRun) -> Result<Run> {
        let tag_name = new.tags.iter().find(|(key, _)| key == tags::RUN_NAME).map(|(_, name)| name.as_str());
        let given = new.run_name.as_deref().filter(|name| !name.is_empty());
        let name = match (given, tag_name) {
            (Some(given), Some(tag)) if given != tag => {
                return Err(Error::invalid(format!(
                    "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values \
                     (run_name='{given}', mlflow.runName='{tag}')."
                )));
            }
            (Some(name), _) | (None, Some(name)) => name.to_owned(),
            (None, None) => made_up_name(),
        };
        // MLflow takes any key here, other than everywhere else.
        if let Some((key, _)) = new.tags.iter().find(|(key, _)| key.is_empty() || is_longer(key, MAX_KEY_CHARS)) {
            return Err(Error::invalid(format!(
                "Invalid tag name: '{key}': it is empty or has more than 250 characters"
            )));
        }
        let run_id = RunId::random();
        self.write(|transaction| {
            let number = experiments::active(transaction.connection, &new.experiment_id)?;
            let location = experiments::get(transaction.connection, &new.experiment_id)?.artifact_location;
            let artifact_uri = below(&location, &format!("{run_id}/artifacts"));
            let mut applier = Applier::new(transaction);
            let run = applier.create(RunRow {
                run_id: run_id.as_str(),
                experiment: number,
                name: &name,
                user_id: &new.user_id,
                status: RunStatus::Running,
                start_time_ms: new.start_time_ms.unwrap_or_else(now_ms),
                end_time_ms: None,
                artifact_uri: &artifact_uri,
                parent_run_id: None,
            })?;
            applier.put_tags(run_id.as_str(), run, &new.tags)?;
            applier.finish()?;
            get(transaction.connection, run_id.as_str())
        })
    }

    /// Returns a run with all that belongs to it, also when it is deleted (`runs/get`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn get_run(&self, run_id: &str) -> Result<Run> {
        self.read(|connection| get(connection, run_id))
    }

    /// Changes status, end time or name (`runs/update`); returns the run.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (a deleted run).
    pub fn update_run(&self, run_id: &str, update: &RunUpdate) -> Result<Run> {
        self.write(|transaction| {
            let run = active(transaction.connection, run_id)?;
            let sql =
                "UPDATE runs SET status = coalesce(?2, status), end_time = coalesce(?3, end_time) WHERE run_key = ?1";
            let status = update.status.map(RunStatus::as_str);
            transaction.connection.execute(sql, &[run.into(), status.into(), update.end_time_ms.into()])?;
            if let Some(name) = update.run_name.as_ref().filter(|name| !name.is_empty()) {
                let tags = [(tags::RUN_NAME.to_owned(), name.clone())];
                log(transaction, run_id, |applier, run| applier.set_tags(run_id, run, &tags))?;
            }
            get(transaction.connection, run_id)
        })
    }

    /// Returns runs with all that belongs to them (`runs/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_runs(&self, search: &RunSearch) -> Result<Page<Run>> {
        let query = runs_search::Query::parse(search)?;
        self.read(|connection| query.answer(connection))
    }

    /// Deletes a run (`runs/delete`); it can be restored.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (deleted already).
    pub fn delete_run(&self, run_id: &str) -> Result<()> {
        self.write(|transaction| {
            let run = active(transaction.connection, run_id)?;
            let sql = "UPDATE runs SET lifecycle_stage = 'deleted', deleted_time = ?2 WHERE run_key = ?1";
            transaction.connection.execute(sql, &[run.into(), now_ms().into()]).map(drop)
        })
    }

    /// Restores a deleted run (`runs/restore`); one that is not deleted stays as it is.
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn restore_run(&self, run_id: &str) -> Result<()> {
        self.write(|transaction| {
            let (run, _) = find(transaction.connection, run_id)?.ok_or_else(|| no_run(run_id))?;
            let sql = "UPDATE runs SET lifecycle_stage = 'active', deleted_time = NULL WHERE run_key = ?1";
            transaction.connection.execute(sql, &[run.into()]).map(drop)
        })
    }

    /// Adds a value to a metric (`runs/log-metric`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_metric(&self, run_id: &str, metric: &LoggedMetric) -> Result<()> {
        check_timestamp("timestamp", &metric.metric)?;
        self.write(|transaction| log_metrics(transaction, run_id, std::slice::from_ref(metric)))
    }

    /// Sets a param (`runs/log-parameter`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (it has another value, a bad key).
    pub fn log_param(&self, run_id: &str, key: &str, value: &str) -> Result<()> {
        let params = [(key.to_owned(), value.to_owned())];
        self.write(|transaction| log(transaction, run_id, |applier, run| applier.set_params(run_id, run, &params)))
    }

    /// Sets a tag (`runs/set-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_tag(&self, run_id: &str, key: &str, value: &str) -> Result<()> {
        let tags = [(key.to_owned(), value.to_owned())];
        self.write(|transaction| log(transaction, run_id, |applier, run| applier.set_tags(run_id, run, &tags)))
    }

    /// Removes a tag (`runs/delete-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist` (no run, no tag), `InvalidParameterValue`.
    pub fn delete_tag(&self, run_id: &str, key: &str) -> Result<()> {
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let run = active(connection, run_id)?;
            let sql = "DELETE FROM tags WHERE run_key = ?1 AND key_id = (SELECT key_id FROM keys WHERE name = ?2)";
            if connection.execute(sql, &[run.into(), key.into()])? == 0 {
                return Err(Error::missing(format!("No tag with name: {key} in run with id {run_id}")));
            }
            if key == tags::PARENT_RUN_ID {
                connection.execute("UPDATE runs SET parent_run_id = NULL WHERE run_key = ?1", &[run.into()])?;
            }
            Ok(())
        })
    }

    /// Logs metrics, params and tags, all of them or none (`runs/log-batch`). Checks MLflow's limits: 1000 metrics, 100
    /// params, 100 tags, 1000 of all.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_batch(&self, run_id: &str, batch: &Batch) -> Result<()> {
        check_batch(batch)?;
        for (index, logged) in batch.metrics.iter().enumerate() {
            check_timestamp(format_args!("metrics[{index}].timestamp"), &logged.metric)?;
        }
        self.write(|transaction| {
            log(transaction, run_id, |applier, run| {
                applier.set_params(run_id, run, &batch.params)?;
                applier.set_tags(run_id, run, &batch.tags)?;
                batch.metrics.iter().try_for_each(|logged| applier.add_metric(run_id, run, &logged.metric))
            })?;
            logged_models::add_metrics(transaction, run_id, &batch.metrics)
        })
    }

    /// Adds the JSON of an MLmodel to the tag `mlflow.log-model.history` (`runs/log-model`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (no JSON object, fields missing).
    pub fn log_model(&self, run_id: &str, model_json: &str) -> Result<()> {
        self.write(|transaction| {
            active(transaction.connection, run_id)?;
            let run = get(transaction.connection, run_id)?;
            let history = run.tags.get(MODEL_HISTORY).map_or("[]", String::as_str);
            let tags = [(MODEL_HISTORY.to_owned(), with_model(history, model_json)?)];
            log(transaction, run_id, |applier, run| applier.set_tags(run_id, run, &tags))
        })
    }

    /// Returns values of a metric by timestamp, then step, then value (`metrics/get-history`). An unknown run has none.
    /// Without `max_results` all of them.
    ///
    /// # Errors
    /// Code `InvalidParameterValue` (token, `max_results` below 1).
    pub fn metric_history_page(
        &self,
        run_id: &str,
        key: &str,
        max_results: Option<i64>,
        page_token: Option<&str>,
    ) -> Result<Page<Metric>> {
        histories::page(self, run_id, key, max_results, page_token)
    }

    /// Returns values of a metric of several runs, at most `max_results` together (`metrics/get-history-bulk`; at most
    /// 100 runs).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn metric_history_bulk(&self, run_ids: &[String], key: &str, max_results: i64) -> Result<Vec<MetricOfRun>> {
        histories::bulk(self, run_ids, key, max_results)
    }

    /// Returns samples of the histories of a metric, evenly over the steps of all runs, first and last steps included
    /// (`metrics/get-history-bulk-interval`; at most 100 runs, 2500 values a run).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn metric_history_interval(
        &self,
        run_ids: &[String],
        key: &str,
        interval: &StepInterval,
    ) -> Result<Vec<MetricOfRun>> {
        histories::interval(self, run_ids, key, interval)
    }
}

/// Returns the error for a run that is not there.
pub(crate) fn no_run(run_id: &str) -> Error {
    Error::missing(format!("Run with id={run_id} not found"))
}

/// Returns a run, also when it is deleted.
pub(crate) fn get(connection: &mut Connection, run_id: &str) -> Result<Run> {
    run_of(connection, run_id)?.ok_or_else(|| no_run(run_id))
}

/// Returns the key of a run and its lifecycle stage.
fn find(connection: &mut Connection, run_id: &str) -> Result<Option<(i64, String)>> {
    let sql = "SELECT run_key, lifecycle_stage FROM runs WHERE run_id = ?1";
    connection.first(sql, &[run_id.into()], |row| Ok((row.integer(0)?, row.text(1)?)))
}

/// Returns the key of a run that may be written to.
pub(crate) fn active(connection: &mut Connection, run_id: &str) -> Result<i64> {
    match find(connection, run_id)? {
        None => Err(no_run(run_id)),
        Some((run_key, stage)) if stage == "active" => Ok(run_key),
        Some(_) => Err(not_active(run_id)),
    }
}

fn not_active(run_id: &str) -> Error {
    Error::invalid(format!("The run {run_id} must be in the 'active' state. Current state is deleted."))
}

/// Logs to a run that may be written to.
fn log<'a>(
    transaction: &mut Transaction<'_>,
    run_id: &'a str,
    log: impl FnOnce(&mut Applier<'_, '_, 'a>, Known) -> Result<()>,
) -> Result<()> {
    let mut applier = Applier::new(transaction);
    let logged = |applier: &mut Applier<'_, '_, 'a>| {
        applier.look_up(&[run_id])?;
        let run = applier.active(run_id)?;
        log(applier, run)
    };
    logged(&mut applier).and_then(|()| applier.finish()).map_err(in_mlflow_words)
}

fn log_metrics(transaction: &mut Transaction<'_>, run_id: &str, metrics: &[LoggedMetric]) -> Result<()> {
    log(transaction, run_id, |applier, run| {
        metrics.iter().try_for_each(|logged| applier.add_metric(run_id, run, &logged.metric))
    })?;
    logged_models::add_metrics(transaction, run_id, metrics)
}

fn check_timestamp(parameter: impl std::fmt::Display, metric: &Metric) -> Result<()> {
    if metric.timestamp_ms >= 0 {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Invalid value {} for parameter '{parameter}' supplied: metric '{}' (value={:?}). Timestamp must be a nonnegative long \
         (64-bit integer) ",
        metric.timestamp_ms, metric.key, metric.value
    )))
}

/// Returns an error of this program in the words of MLflow.
fn in_mlflow_words(error: Error) -> Error {
    match error {
        Error::RunNotFound { run_id } => no_run(&run_id),
        Error::RunDeleted { run_id } => not_active(&run_id),
        Error::ParamChanged { run_id, key, old, new } => Error::invalid(format!(
            "Changing param values is not allowed. Param with key='{key}' was already logged with value='{old}' for run \
             ID='{run_id}'. Attempted logging new value '{new}'."
        )),
        Error::InvalidKey { kind, key, reason, .. } => Error::invalid(key_message(kind, &key, reason)),
        other => other,
    }
}

fn check_batch(batch: &Batch) -> Result<()> {
    let counts = [
        ("metrics", batch.metrics.len(), MAX_BATCH),
        ("params", batch.params.len(), MAX_BATCH_PAIRS),
        ("tags", batch.tags.len(), MAX_BATCH_PAIRS),
    ];
    for (what, count, most) in counts {
        if count > most {
            return Err(Error::invalid(format!(
                "A batch logging request can contain at most {most} {what}. Got {count} {what}. Please split up {what} \
                 across multiple requests and try again."
            )));
        }
    }
    let all: usize = counts.iter().map(|(_, count, _)| count).sum();
    if all > MAX_BATCH {
        return Err(Error::invalid(format!(
            "A batch logging request can contain at most {MAX_BATCH} metrics, params, and tags. Got {all}. Please split \
             up across multiple requests and try again."
        )));
    }
    let mut seen = HashSet::new();
    let twice: Vec<_> = batch.params.iter().map(|(key, _)| key).filter(|key| !seen.insert(*key)).collect();
    if !twice.is_empty() {
        return Err(Error::invalid(format!(
            "Duplicate parameter keys have been submitted: {twice:?}. Please ensure the request contains only one param \
             value per param key."
        )));
    }
    Ok(())
}

/// Returns a URI below another; a query and a fragment stay at the end. A path without a scheme has neither.
pub(crate) fn below(uri: &str, path: &str) -> String {
    let has_scheme = uri.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/'));
    let end = uri.find(['?', '#']).filter(|_| has_scheme).unwrap_or(uri.len());
    let (uri, rest) = uri.split_at(end);
    format!("{}/{path}{rest}", uri.trim_end_matches('/'))
}

/// Returns the JSON list `history` with one more model in it.
fn with_model(history: &str, model_json: &str) -> Result<String> {
    let model: Json = serde_json::from_str(model_json)
        .map_err(|_| Error::invalid(format!("Malformed model info. \n {model_json} \n is not a valid JSON.")))?;
    let required = ["artifact_path", "flavors", "utc_time_created", "run_id"];
    let missing: Vec<_> = required.iter().filter(|field| model.get(field).is_none()).collect();
    if !missing.is_empty() {
        return Err(Error::invalid(format!("Model json is missing mandatory fields: {missing:?}")));
    }
    let mut models = match serde_json::from_str(history) {
        Ok(Json::Array(models)) => models,
        _ => Vec::new(),
    };
    models.push(model);
    Ok(Json::Array(models).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_below_a_uri_comes_before_its_query() {
        for (uri, want) in [
            ("mlflow-artifacts:/1", "mlflow-artifacts:/1/r"),
            ("s3://bucket/a/", "s3://bucket/a/r"),
            ("dbfs://host/a?key=b/c#d", "dbfs://host/a/r?key=b/c#d"),
            ("/data/what?/a#b", "/data/what?/a#b/r"),
        ] {
            assert_eq!(below(uri, "r"), want);
        }
    }
}
