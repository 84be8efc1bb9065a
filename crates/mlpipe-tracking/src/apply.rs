//! Writing records: each becomes rows, within a transaction that the caller ends.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::limits::{check_key, cut_param_value, cut_tag_value};
use crate::schema::sqlite;
use crate::{Error, Metric, Record, Result, RunId, RunStatus, tags};

/// Applies records within the transaction that `connection` is in.
pub(crate) struct Applier<'a> {
    connection: &'a Connection,
    /// The database file, for messages.
    path: &'a Path,
    /// The runs that have been looked up; none is deleted.
    run_keys: HashMap<RunId, i64>,
}

impl<'a> Applier<'a> {
    pub(crate) fn new(connection: &'a Connection, path: &'a Path) -> Self {
        Self { connection, path, run_keys: HashMap::new() }
    }

    pub(crate) fn apply(&mut self, record: &Record) -> Result<()> {
        match record {
            Record::CreateRun { run_id, tags, params, .. } => {
                let run_key = self.create_run(record)?;
                self.set_tags(run_id, run_key, tags)?;
                self.set_params(run_id, run_key, params)
            }
            Record::UpdateRun { run_id, status, end_time_ms } => {
                let run_key = self.run_key(run_id)?;
                self.update_run(run_key, *status, *end_time_ms)
            }
            Record::Params { run_id, params } => {
                let run_key = self.run_key(run_id)?;
                self.set_params(run_id, run_key, params)
            }
            Record::Metrics { run_id, metrics } => {
                let run_key = self.run_key(run_id)?;
                metrics.iter().try_for_each(|metric| self.add_metric(run_id, run_key, metric))
            }
            Record::Tags { run_id, tags } => {
                let run_key = self.run_key(run_id)?;
                self.set_tags(run_id, run_key, tags)
            }
        }
    }

    /// Makes the run of a [`Record::CreateRun`] unless it exists; returns its key.
    fn create_run(&mut self, record: &Record) -> Result<i64> {
        let Record::CreateRun { run_id, experiment_id, name, start_time_ms, status, artifact_uri, .. } = record else {
            unreachable!("the caller has matched the variant");
        };
        let experiment = self.experiment_key(experiment_id)?;
        let inserted = self.execute(
            "INSERT INTO runs (run_id, experiment_id, name, status, start_time, artifact_uri)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (run_id) DO NOTHING",
            params![run_id.as_str(), experiment, name, status.as_str(), start_time_ms, artifact_uri],
        )?;
        if inserted == 0 {
            return self.existing_run(run_id, experiment);
        }
        let run_key = self.connection.last_insert_rowid();
        self.run_keys.insert(run_id.clone(), run_key);
        self.set_tag(run_id, run_key, tags::RUN_NAME, name)?;
        Ok(run_key)
    }

    fn existing_run(&mut self, run_id: &RunId, experiment: i64) -> Result<i64> {
        let run_key = self.run_key(run_id)?;
        let found: Option<i64> = self.find("SELECT experiment_id FROM runs WHERE run_key = ?1", [run_key])?;
        match found {
            Some(found) if found != experiment => {
                Err(Error::RunExists { run_id: run_id.clone(), experiment_id: found.to_string() })
            }
            _ => Ok(run_key),
        }
    }

    fn experiment_key(&self, experiment_id: &str) -> Result<i64> {
        let number = experiment_id.parse::<i64>().ok();
        let active = "SELECT experiment_id FROM experiments WHERE experiment_id = ?1 AND lifecycle_stage = 'active'";
        self.find(active, [number])?.ok_or_else(|| Error::ExperimentNotFound { experiment: experiment_id.to_owned() })
    }

    /// Returns the key of a run that may be written to.
    fn run_key(&mut self, run_id: &RunId) -> Result<i64> {
        if let Some(run_key) = self.run_keys.get(run_id) {
            return Ok(*run_key);
        }
        let sql = "SELECT run_key, lifecycle_stage = 'active' FROM runs WHERE run_id = ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(sqlite(self.path))?;
        let found: Option<(i64, bool)> = statement
            .query_row([run_id.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
            .map_err(sqlite(self.path))?;
        match found {
            None => Err(Error::RunNotFound { run_id: run_id.to_string() }),
            Some((_, false)) => Err(Error::RunDeleted { run_id: run_id.clone() }),
            Some((run_key, true)) => {
                self.run_keys.insert(run_id.clone(), run_key);
                Ok(run_key)
            }
        }
    }

    fn update_run(&self, run_key: i64, status: RunStatus, end_time_ms: Option<i64>) -> Result<()> {
        let sql =
            "UPDATE runs SET status = ?2, end_time = coalesce(?3, CASE WHEN ?4 THEN end_time END) WHERE run_key = ?1";
        self.execute(sql, params![run_key, status.as_str(), end_time_ms, status.is_terminal()])?;
        Ok(())
    }

    fn set_params(&self, run_id: &RunId, run_key: i64, params: &[(String, String)]) -> Result<()> {
        for (key, value) in params {
            check_key(run_id, "param", key)?;
            let value = cut_param_value(run_id, key, value);
            let sql = "INSERT INTO params (run_key, key, value) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            if self.execute(sql, params![run_key, key, value])? == 0 {
                self.refuse_change(run_id, run_key, key, value)?;
            }
        }
        Ok(())
    }

    fn refuse_change(&self, run_id: &RunId, run_key: i64, key: &str, new: &str) -> Result<()> {
        let sql = "SELECT value FROM params WHERE run_key = ?1 AND key = ?2";
        match self.find::<String>(sql, params![run_key, key])? {
            Some(old) if old != new => {
                Err(Error::ParamChanged { run_id: run_id.clone(), key: key.to_owned(), old, new: new.to_owned() })
            }
            _ => Ok(()),
        }
    }

    fn set_tags(&self, run_id: &RunId, run_key: i64, tags: &[(String, String)]) -> Result<()> {
        for (key, value) in tags {
            check_key(run_id, "tag", key)?;
            self.set_tag(run_id, run_key, key, value)?;
            // Two columns repeat a tag, for queries.
            match key.as_str() {
                tags::RUN_NAME => {
                    self.execute("UPDATE runs SET name = ?2 WHERE run_key = ?1", params![run_key, value])?
                }
                tags::PARENT_RUN_ID => {
                    self.execute("UPDATE runs SET parent_run_id = ?2 WHERE run_key = ?1", params![run_key, value])?
                }
                _ => 0,
            };
        }
        Ok(())
    }

    fn set_tag(&self, run_id: &RunId, run_key: i64, key: &str, value: &str) -> Result<()> {
        let sql = "INSERT INTO tags (run_key, key, value) VALUES (?1, ?2, ?3)
                   ON CONFLICT DO UPDATE SET value = excluded.value";
        self.execute(sql, params![run_key, key, cut_tag_value(run_id, key, value)])?;
        Ok(())
    }

    /// Adds a value to a metric's history, and makes it the latest if it is. NaN comes before every other value of the
    /// same step and timestamp, so that the latest does not depend on the order in which values arrive.
    fn add_metric(&self, run_id: &RunId, run_key: i64, metric: &Metric) -> Result<()> {
        check_key(run_id, "metric", &metric.key)?;
        let is_nan = metric.value.is_nan();
        let value = if is_nan { 0.0 } else { metric.value };
        let row = params![run_key, metric.key, metric.step, metric.timestamp_ms, is_nan, value];
        let history = "INSERT INTO metrics (run_key, key, step, timestamp, is_nan, value)
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
        if self.execute(history, row)? == 0 {
            return Ok(());
        }
        let latest = "INSERT INTO latest_metrics (run_key, key, step, timestamp, is_nan, value)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                      ON CONFLICT DO UPDATE SET
                        step = excluded.step, timestamp = excluded.timestamp,
                        is_nan = excluded.is_nan, value = excluded.value
                      WHERE (excluded.step, excluded.timestamp, -excluded.is_nan, excluded.value)
                          > (step, timestamp, -is_nan, value)";
        self.execute(latest, row)?;
        Ok(())
    }

    fn execute(&self, sql: &str, params: impl Params) -> Result<usize> {
        let execute = || self.connection.prepare_cached(sql)?.execute(params);
        execute().map_err(sqlite(self.path))
    }

    fn find<T: rusqlite::types::FromSql>(&self, sql: &str, params: impl Params) -> Result<Option<T>> {
        let find = || self.connection.prepare_cached(sql)?.query_row(params, |row| row.get(0)).optional();
        find().map_err(sqlite(self.path))
    }
}
