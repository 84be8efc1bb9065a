//! [`Store`]: one connection to the database, and the questions that can be asked of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::types::{ToSql, Value};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use crate::apply::Applier;
use crate::limits::check_experiment_name;
use crate::run_id::is_lower_hex;
use crate::schema::{Durability, begin, connect, retrying, sqlite};
use crate::{Error, Experiment, LifecycleStage, Metric, Record, Result, Run, RunId, RunQuery};

const EXPERIMENT_COLUMNS: &str =
    "SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time FROM experiments";
const RUN_COLUMNS: &str = "SELECT run_key, run_id, experiment_id, name, status, start_time, end_time, artifact_uri, \
                           lifecycle_stage FROM runs";
/// The experiment that MLflow makes by itself, and its id.
const DEFAULT_EXPERIMENT: (&str, i64) = ("Default", 0);

/// An open tracking store. It can be shared between threads, which then take turns; threads that should not wait for
/// each other open a store each. Any number of processes may have the same store open.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens the store at `path`, a file, making it and its directory when they are missing.
    ///
    /// # Errors
    /// [`Error::SchemaTooNew`] for a store of a newer program, [`Error::NotAStore`] for another program's database,
    /// [`Error::CreateDirectory`], and [`Error::Database`] for a file that cannot be used.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, Durability::default())
    }

    /// Opens the store at `path` with another durability than [`Durability::ProgramCrash`].
    ///
    /// # Errors
    /// As for [`Store::open`].
    pub fn open_with(path: &Path, durability: Durability) -> Result<Self> {
        let connection = connect(path, durability)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection) })
    }

    /// Opens the store that a URI names: `sqlite:///relative/path.db`, `sqlite:////absolute/path.db`, the path of a file, or
    /// with the feature `postgres` `postgresql://user:password@host:port/database`.
    ///
    /// # Errors
    /// As for [`Store::open`]; code `InvalidParameterValue` for other URIs.
    pub fn open_uri(uri: &str, durability: Durability) -> Result<Self> {
        Self::open_with(Path::new(uri), durability)
    }

    /// Returns the path of the database file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the experiment called `name`, making it when there is none. Artifacts of a new one lie below
    /// `<artifact_root>/<experiment_id>`; an existing one stays as it is.
    ///
    /// # Errors
    /// [`Error::InvalidExperimentName`], [`Error::ExperimentDeleted`], [`Error::Database`].
    pub fn ensure_experiment(&self, name: &str, artifact_root: &str) -> Result<Experiment> {
        check_experiment_name(name)?;
        let find = |connection: &Connection| self.experiment_where(connection, "name = ?1", &name);
        let found = self.read(find)?;
        let experiment = match found {
            Some(found) => found,
            None => self.write(|connection| {
                self.insert_experiment(connection, name, artifact_root)?;
                find(connection)?.ok_or_else(|| Error::ExperimentNotFound { experiment: name.to_owned() })
            })?,
        };
        match experiment.lifecycle_stage {
            LifecycleStage::Active => Ok(experiment),
            LifecycleStage::Deleted => Err(Error::ExperimentDeleted { name: name.to_owned() }),
        }
    }

    /// Returns the experiments in use, by id.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Damaged`].
    pub fn experiments(&self) -> Result<Vec<Experiment>> {
        let sql = format!("{EXPERIMENT_COLUMNS} WHERE lifecycle_stage = 'active' ORDER BY experiment_id");
        self.read(|connection| {
            let experiments = self.rows(connection, &sql, [], |row| self.read_experiment(row))?;
            experiments.into_iter().map(|experiment| self.with_tags(connection, experiment?)).collect()
        })
    }

    /// Applies records in order, all of them or, when one is refused, none.
    ///
    /// # Errors
    /// [`Error::RunNotFound`], [`Error::RunDeleted`], [`Error::RunExists`], [`Error::ExperimentNotFound`],
    /// [`Error::ParamChanged`], [`Error::InvalidKey`], [`Error::Database`].
    pub fn apply(&self, records: &[Record]) -> Result<()> {
        if records.is_empty() {
            return Ok(());
        }
        self.write(|connection| {
            let mut applier = Applier::new(connection, &self.path);
            records.iter().try_for_each(|record| applier.apply(record))
        })
    }

    /// Returns a run with its params, tags and latest metrics, also when it is deleted.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Damaged`].
    pub fn run(&self, id: &RunId) -> Result<Option<Run>> {
        let sql = format!("{RUN_COLUMNS} WHERE run_id = ?1");
        Ok(self.read(|connection| self.runs_of(connection, &sql, [id.as_str()]))?.pop())
    }

    /// Returns the runs that meet every condition of `query`, newest first, of those of the same time the last created first.
    ///
    /// # Errors
    /// [`Error::ExperimentNotFound`], [`Error::Database`], [`Error::Damaged`].
    pub fn runs(&self, query: &RunQuery) -> Result<Vec<Run>> {
        self.read(|connection| {
            let (sql, values) = self.selection(connection, query)?;
            self.runs_of(connection, &sql, params_from_iter(values))
        })
    }

    /// Returns the one run whose id is `prefix` or begins with it; deleted runs count only by their full id.
    ///
    /// # Errors
    /// [`Error::RunNotFound`], also when `prefix` is empty or has other characters than lower-case hexadecimal digits;
    /// [`Error::RunAmbiguous`]; [`Error::Database`]; [`Error::Damaged`].
    pub fn find_run(&self, prefix: &str) -> Result<Run> {
        let not_found = || Error::RunNotFound { run_id: prefix.to_owned() };
        if prefix.is_empty() || !is_lower_hex(prefix) {
            return Err(not_found());
        }
        // 'g' comes after every hexadecimal digit.
        let sql = format!(
            "{RUN_COLUMNS} WHERE run_id >= ?1 AND run_id < ?1 || 'g'
             AND (lifecycle_stage = 'active' OR run_id = ?1) ORDER BY run_id LIMIT 2"
        );
        let mut found = self.read(|connection| self.runs_of(connection, &sql, [prefix]))?;
        if found.len() > 1 {
            let candidates = found.into_iter().map(|run| run.run_id).collect();
            return Err(Error::RunAmbiguous { prefix: prefix.to_owned(), candidates });
        }
        found.pop().ok_or_else(not_found)
    }

    /// Returns all values of a metric, by step, then timestamp; NaN comes before the other values of the same two.
    /// Empty for a run or a metric that does not exist.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub fn metric_history(&self, run_id: &RunId, key: &str) -> Result<Vec<Metric>> {
        let sql = "SELECT key, value, is_nan, timestamp, step FROM metrics
                   WHERE run_key = (SELECT run_key FROM runs WHERE run_id = ?1) AND key = ?2
                   ORDER BY step, timestamp, is_nan DESC, value";
        self.read(|connection| self.rows(connection, sql, params![run_id.as_str(), key], metric))
    }

    fn read<T>(&self, read: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        retrying(|| {
            // One transaction, so that all parts of an answer are of the same moment.
            let transaction = connection.transaction().map_err(sqlite(&self.path))?;
            read(&transaction)
        })
    }

    fn write<T>(&self, write: impl Fn(&Connection) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        retrying(|| {
            let transaction = begin(&mut connection, &self.path)?;
            let outcome = write(&transaction)?;
            transaction.commit().map_err(sqlite(&self.path))?;
            Ok(outcome)
        })
    }

    /// A thread that panicked has left no transaction open: they roll back when dropped.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert_experiment(&self, connection: &Connection, name: &str, artifact_root: &str) -> Result<()> {
        let next = "SELECT coalesce(max(experiment_id), 0) + 1 FROM experiments";
        let insert = || {
            let id: i64 = match DEFAULT_EXPERIMENT {
                (default, id) if default == name => id,
                _ => connection.query_row(next, [], |row| row.get(0))?,
            };
            let location = format!("{}/{id}", artifact_root.trim_end_matches('/'));
            connection.execute(
                "INSERT INTO experiments (experiment_id, name, artifact_location, creation_time, last_update_time)
                 VALUES (?1, ?2, ?3, ?4, ?4) ON CONFLICT (name) DO NOTHING",
                params![id, name, location, now_ms()],
            )
        };
        insert().map(drop).map_err(sqlite(&self.path))
    }

    fn experiment_where(
        &self,
        connection: &Connection,
        condition: &str,
        value: &dyn ToSql,
    ) -> Result<Option<Experiment>> {
        let sql = format!("{EXPERIMENT_COLUMNS} WHERE {condition}");
        let found = self.rows(connection, &sql, [value], |row| self.read_experiment(row))?.pop();
        found.map(|experiment| self.with_tags(connection, experiment?)).transpose()
    }

    fn with_tags(&self, connection: &Connection, mut experiment: Experiment) -> Result<Experiment> {
        let sql = "SELECT key, value FROM experiment_tags WHERE experiment_id = ?1";
        experiment.tags = self.pairs(connection, sql, &experiment.experiment_id)?;
        Ok(experiment)
    }

    fn read_experiment(&self, row: &Row<'_>) -> rusqlite::Result<Result<Experiment>> {
        let stage: String = row.get(3)?;
        let experiment = Experiment {
            experiment_id: row.get::<_, i64>(0)?.to_string(),
            name: row.get(1)?,
            artifact_location: row.get(2)?,
            lifecycle_stage: LifecycleStage::Active,
            creation_time_ms: row.get(4)?,
            last_update_time_ms: row.get(5)?,
            tags: BTreeMap::new(),
        };
        Ok(self
            .stage(&stage, "experiments.lifecycle_stage")
            .map(|lifecycle_stage| Experiment { lifecycle_stage, ..experiment }))
    }

    /// Returns the statement for a query, and its values.
    fn selection(&self, connection: &Connection, query: &RunQuery) -> Result<(String, Vec<Value>)> {
        let mut sql = format!("{RUN_COLUMNS} WHERE lifecycle_stage = 'active'");
        let mut values = Vec::new();
        if let Some(experiment) = &query.experiment {
            sql += " AND experiment_id = ?";
            values.push(self.experiment_key(connection, experiment)?.into());
        }
        if let Some(status) = query.status {
            sql += " AND status = ?";
            values.push(status.as_str().to_owned().into());
        }
        if let Some(parent) = &query.parent {
            sql += " AND parent_run_id = ?";
            values.push(parent.to_string().into());
        }
        if query.top_level_only {
            sql += " AND parent_run_id IS NULL";
        }
        sql += " ORDER BY start_time DESC, run_key DESC";
        if query.limit > 0 {
            sql += " LIMIT ?";
            values.push(i64::try_from(query.limit).unwrap_or(i64::MAX).into());
        }
        Ok((sql, values))
    }

    fn experiment_key(&self, connection: &Connection, experiment: &str) -> Result<i64> {
        let sql = "SELECT experiment_id FROM experiments WHERE name = ?1 OR experiment_id = ?2 ORDER BY name = ?1 DESC";
        let found = connection.query_row(sql, params![experiment, experiment.parse::<i64>().ok()], |row| row.get(0));
        let found = found.optional().map_err(sqlite(&self.path))?;
        found.ok_or_else(|| Error::ExperimentNotFound { experiment: experiment.to_owned() })
    }

    /// Returns the runs that a statement on [`RUN_COLUMNS`] selects, complete.
    fn runs_of(&self, connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Run>> {
        let rows = self.rows(connection, sql, params, |row| Ok((row.get(0)?, self.bare_run(row)?)))?;
        rows.into_iter().map(|(run_key, run)| self.complete(connection, run_key, run?)).collect()
    }

    fn complete(&self, connection: &Connection, run_key: i64, run: Run) -> Result<Run> {
        let metrics = "SELECT key, value, is_nan, timestamp, step FROM latest_metrics WHERE run_key = ?1 ORDER BY key";
        Ok(Run {
            params: self.pairs(connection, "SELECT key, value FROM params WHERE run_key = ?1", &run_key)?,
            tags: self.pairs(connection, "SELECT key, value FROM tags WHERE run_key = ?1", &run_key)?,
            metrics: self.rows(connection, metrics, [run_key], metric)?,
            ..run
        })
    }

    fn bare_run(&self, row: &Row<'_>) -> rusqlite::Result<Result<Run>> {
        let (run_id, status, stage): (String, String, String) = (row.get(1)?, row.get(4)?, row.get(8)?);
        let (experiment_id, name): (i64, String) = (row.get(2)?, row.get(3)?);
        let (start_time_ms, end_time_ms, artifact_uri) = (row.get(5)?, row.get(6)?, row.get(7)?);
        let parse = || {
            Ok(Run {
                run_id: run_id.parse().map_err(|_| self.damaged("runs.run_id", &run_id))?,
                name,
                experiment_id: experiment_id.to_string(),
                user_id: String::new(),
                status: status.parse().map_err(|_| self.damaged("runs.status", &status))?,
                start_time_ms,
                end_time_ms,
                artifact_uri,
                lifecycle_stage: self.stage(&stage, "runs.lifecycle_stage")?,
                params: BTreeMap::new(),
                tags: BTreeMap::new(),
                metrics: Vec::new(),
                inputs_outputs: crate::RunInputsOutputs::default(),
            })
        };
        Ok(parse())
    }

    fn stage(&self, text: &str, what: &'static str) -> Result<LifecycleStage> {
        match text {
            "active" => Ok(LifecycleStage::Active),
            "deleted" => Ok(LifecycleStage::Deleted),
            _ => Err(self.damaged(what, text)),
        }
    }

    fn damaged(&self, what: &'static str, value: &str) -> Error {
        Error::Damaged { path: self.path.clone(), what, value: value.to_owned() }
    }

    fn pairs(&self, connection: &Connection, sql: &str, owner: &dyn ToSql) -> Result<BTreeMap<String, String>> {
        Ok(self.rows(connection, sql, [owner], |row| Ok((row.get(0)?, row.get(1)?)))?.into_iter().collect())
    }

    fn rows<T>(
        &self,
        connection: &Connection,
        sql: &str,
        params: impl rusqlite::Params,
        read_row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>> {
        let read = || connection.prepare_cached(sql)?.query_map(params, read_row)?.collect::<rusqlite::Result<_>>();
        read().map_err(sqlite(&self.path))
    }
}

/// Reads `key, value, is_nan, timestamp, step`.
fn metric(row: &Row<'_>) -> rusqlite::Result<Metric> {
    let value = if row.get(2)? { f64::NAN } else { row.get(1)? };
    Ok(Metric { key: row.get(0)?, value, timestamp_ms: row.get(3)?, step: row.get(4)? })
}

/// Returns the time in milliseconds since 1970-01-01 UTC; 0 on a clock that is before that.
fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
