//! Runs, their params, metrics and tags, as MLflow's REST API has them.

use crate::{
    Batch, LoggedMetric, Metric, MetricOfRun, NewRun, Page, Result, Run, RunSearch, RunUpdate, StepInterval, Store,
};

impl Store {
    /// Makes a run with an id of its own (`runs/create`). Its artifacts lie in
    /// `<artifact location of the experiment>/<run_id>/artifacts`.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist` (no such experiment), `InvalidParameterValue` (a deleted experiment, a name that
    /// differs from the tag `mlflow.runName`, a bad key).
    pub fn create_run(&self, new: &NewRun) -> Result<Run> {
        todo!("{new:?}")
    }

    /// Returns a run with all that belongs to it, also when it is deleted (`runs/get`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn get_run(&self, run_id: &str) -> Result<Run> {
        todo!("{run_id}")
    }

    /// Changes status, end time or name (`runs/update`); returns the run.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (a deleted run).
    pub fn update_run(&self, run_id: &str, update: &RunUpdate) -> Result<Run> {
        todo!("{run_id} {update:?}")
    }

    /// Returns runs with all that belongs to them (`runs/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_runs(&self, search: &RunSearch) -> Result<Page<Run>> {
        todo!("{search:?}")
    }

    /// Deletes a run (`runs/delete`); it can be restored.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (deleted already).
    pub fn delete_run(&self, run_id: &str) -> Result<()> {
        todo!("{run_id}")
    }

    /// Restores a deleted run (`runs/restore`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (not deleted).
    pub fn restore_run(&self, run_id: &str) -> Result<()> {
        todo!("{run_id}")
    }

    /// Adds a value to a metric (`runs/log-metric`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_metric(&self, run_id: &str, metric: &LoggedMetric) -> Result<()> {
        todo!("{run_id} {metric:?}")
    }

    /// Sets a param (`runs/log-parameter`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (it has another value, a bad key).
    pub fn log_param(&self, run_id: &str, key: &str, value: &str) -> Result<()> {
        todo!("{run_id} {key} {value}")
    }

    /// Sets a tag (`runs/set-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_tag(&self, run_id: &str, key: &str, value: &str) -> Result<()> {
        todo!("{run_id} {key} {value}")
    }

    /// Removes a tag (`runs/delete-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist` (no run, no tag), `InvalidParameterValue`.
    pub fn delete_tag(&self, run_id: &str, key: &str) -> Result<()> {
        todo!("{run_id} {key}")
    }

    /// Logs metrics, params and tags, all of them or none (`runs/log-batch`). Checks MLflow's limits: 1000 metrics, 100
    /// params, 100 tags, 1000 of all.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_batch(&self, run_id: &str, batch: &Batch) -> Result<()> {
        todo!("{run_id} {batch:?}")
    }

    /// Adds the JSON of an MLmodel to the tag `mlflow.log-model.history` (`runs/log-model`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (no JSON object, fields missing).
    pub fn log_model(&self, run_id: &str, model_json: &str) -> Result<()> {
        todo!("{run_id} {model_json}")
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
        todo!("{run_id} {key} {max_results:?} {page_token:?}")
    }

    /// Returns values of a metric of several runs, at most `max_results` together (`metrics/get-history-bulk`; at most
    /// 100 runs).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn metric_history_bulk(&self, run_ids: &[String], key: &str, max_results: i64) -> Result<Vec<MetricOfRun>> {
        todo!("{run_ids:?} {key} {max_results}")
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
        todo!("{run_ids:?} {key} {interval:?}")
    }
}
