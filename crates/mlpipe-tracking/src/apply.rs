//! Writing what happens to runs: each thing becomes rows, which are written together, within a transaction that the
//! caller ends.
//!
//! Rows are gathered first, so that a run which is made, tagged and ended in one go is one row of `runs`, and so that
//! PostgreSQL is not asked once per row; [`Applier::finish`] writes them.

use std::collections::HashMap;

use crate::api::inputs::add_dataset;
use crate::database::Value;
use crate::group::Transaction;
use crate::limits::{check_key, cut_param_value, cut_tag_value};
use crate::{DatasetInput, Error, Metric, Record, Result, RunStatus, tags};

/// How many run ids are looked up by one statement.
const LOOKUP: usize = 64;
/// How many run keys are taken at once at most.
const MAX_KEYS: usize = 4096;

/// What is known about a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) run_key: i64,
    pub(crate) experiment: i64,
    is_active: bool,
    /// Where its row is in [`Rows::runs`], for a run that is being made.
    row: Option<usize>,
}

/// A run that is being made.
#[derive(Debug)]
pub(crate) struct RunRow<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) experiment: i64,
    pub(crate) name: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) status: RunStatus,
    pub(crate) start_time_ms: i64,
    pub(crate) end_time_ms: Option<i64>,
    pub(crate) artifact_uri: &'a str,
    pub(crate) parent_run_id: Option<&'a str>,
}

/// Rows to be written.
#[derive(Default)]
struct Rows<'a> {
    runs: Vec<(i64, RunRow<'a>)>,
    /// `run_key, key_id, value`, one after the other; and where each begins.
    params: Vec<Value<'a>>,
    param_at: HashMap<(i64, i64), usize>,
    tags: Vec<Value<'a>>,
    tag_at: HashMap<(i64, i64), usize>,
    metrics: Vec<Value<'a>>,
    latest: HashMap<(i64, i64), Latest>,
    inputs: Vec<(Known, &'a DatasetInput)>,
}

/// The latest value of a metric, as far as these rows go.
#[derive(Clone, Copy, Debug)]
struct Latest {
    experiment: i64,
    step: i64,
    timestamp: i64,
    is_nan: bool,
    value: f64,
}

impl Latest {
    /// Whether `self` comes after `other`. NaN comes before every other value of the same step and timestamp, so that the
    /// latest does not depend on the order in which values arrive.
    fn is_after(&self, other: &Self) -> bool {
        let rank = |latest: &Self| (latest.step, latest.timestamp, !latest.is_nan);
        match rank(self).cmp(&rank(other)) {
            std::cmp::Ordering::Equal => self.value > other.value,
            order => order.is_gt(),
        }
    }
}

/// Gathers what happens to runs, and writes it.
pub(crate) struct Applier<'t, 'c, 'a> {
    transaction: &'t mut Transaction<'c>,
    runs: HashMap<&'a str, Known>,
    experiments: HashMap<&'a str, i64>,
    /// Run keys that nobody has yet, the next one last.
    free: Vec<i64>,
    /// How many runs are going to be made, as far as is known.
    expected_runs: usize,
    rows: Rows<'a>,
}

impl<'t, 'c, 'a> Applier<'t, 'c, 'a> {
    pub(crate) fn new(transaction: &'t mut Transaction<'c>) -> Self {
        Self {
            transaction,
            runs: HashMap::new(),
            experiments: HashMap::new(),
            free: Vec::new(),
            expected_runs: 0,
            rows: Rows::default(),
        }
    }

    /// Applies records, all of them or, when one is refused, none.
    pub(crate) fn apply_all(mut self, records: &'a [Record]) -> Result<()> {
        let ids: Vec<&str> = records.iter().map(|record| record.run_id().as_str()).collect();
        self.look_up(&ids)?;
        self.expected_runs = records.iter().filter(|record| matches!(record, Record::CreateRun { .. })).count();
        records.iter().try_for_each(|record| self.apply(record))?;
        self.finish()
    }

    fn apply(&mut self, record: &'a Record) -> Result<()> {
        let run_id = record.run_id();
        match record {
            Record::CreateRun { tags, params, .. } => {
                let run = self.create_recorded(record)?;
                self.set_tags(run_id.as_str(), run, tags)?;
                self.set_params(run_id.as_str(), run, params)
            }
            Record::UpdateRun { status, end_time_ms, .. } => {
                let run = self.active(run_id.as_str())?;
                self.update_run(run, *status, *end_time_ms)
            }
            Record::Params { params, .. } => {
                let run = self.active(run_id.as_str())?;
                self.set_params(run_id.as_str(), run, params)
            }
            Record::Metrics { metrics, .. } => {
                let run = self.active(run_id.as_str())?;
                metrics.iter().try_for_each(|metric| self.add_metric(run_id.as_str(), run, metric))
            }
            Record::Inputs { datasets, .. } => {
                let run = self.active(run_id.as_str())?;
                self.rows.inputs.extend(datasets.iter().map(|input| (run, input)));
                Ok(())
            }
            Record::Tags { tags, .. } => {
                let run = self.active(run_id.as_str())?;
                self.set_tags(run_id.as_str(), run, tags)
            }
        }
    }

    /// Looks runs up, so that [`Applier::active`] knows them.
    pub(crate) fn look_up(&mut self, ids: &[&'a str]) -> Result<()> {
        let mut unknown: Vec<&'a str> = ids.iter().copied().filter(|id| !self.runs.contains_key(id)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        for chunk in unknown.chunks(LOOKUP) {
            // The last id again and again: one statement for every number of ids, but for one of them alone.
            let length = if chunk.len() == 1 { 1 } else { LOOKUP };
            let values: Vec<_> = (0..length).map(|index| Value::Text(chunk[index.min(chunk.len() - 1)])).collect();
            let parameters = (1..=length).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ");
            let sql = format!(
                "SELECT run_id, run_key, experiment_id, CASE WHEN lifecycle_stage = 'active' THEN 1 ELSE 0 END FROM runs
                 WHERE run_id IN ({parameters})"
            );
            let found = self.transaction.connection.query(&sql, &values, |row| {
                let known = Known {
                    run_key: row.integer(1)?,
                    experiment: row.integer(2)?,
                    is_active: row.integer(3)? == 1,
                    row: None,
                };
                Ok((row.text(0)?, known))
            })?;
            for (run_id, known) in found {
                if let Ok(index) = chunk.binary_search(&run_id.as_str()) {
                    self.runs.insert(chunk[index], known);
                }
            }
        }
        Ok(())
    }

    /// Returns a run that may be written to.
    pub(crate) fn active(&self, run_id: &str) -> Result<Known> {
        match self.runs.get(run_id) {
            None => Err(Error::RunNotFound { run_id: run_id.to_owned() }),
            Some(known) if !known.is_active => Err(Error::RunDeleted { run_id: run_id.to_owned() }),
            Some(known) => Ok(*known),
        }
    }

    /// Makes the run of a [`Record::CreateRun`] unless it exists.
    fn create_recorded(&mut self, record: &'a Record) -> Result<Known> {
        let Record::CreateRun {
            run_id,
            experiment_id,
            name,
            start_time_ms,
            end_time_ms,
            status,
            artifact_uri,
            tags: run_tags,
            ..
        } = record
        else {
            unreachable!("the caller has matched the variant");
        };
        let experiment = self.experiment(experiment_id)?;
        if self.runs.contains_key(run_id.as_str()) {
            let known = self.active(run_id.as_str())?;
            return match known.experiment == experiment {
                true => Ok(known),
                false => Err(Error::RunExists { run_id: run_id.clone(), experiment_id: known.experiment.to_string() }),
            };
        }
        let user = run_tags.iter().find(|(key, _)| key == tags::USER).map_or("", |(_, user)| user);
        self.create(RunRow {
            run_id: run_id.as_str(),
            experiment,
            name,
            user_id: user,
            status: *status,
            start_time_ms: *start_time_ms,
            end_time_ms: *end_time_ms,
            artifact_uri,
            parent_run_id: None,
        })
    }

    /// Makes a run that does not exist; its name becomes a tag.
    pub(crate) fn create(&mut self, row: RunRow<'a>) -> Result<Known> {
        let run_key = self.free_key()?;
        let known = Known { run_key, experiment: row.experiment, is_active: true, row: Some(self.rows.runs.len()) };
        let (run_id, name) = (row.run_id, row.name);
        self.runs.insert(run_id, known);
        self.rows.runs.push((run_key, row));
        self.set_tag(run_id, known, tags::RUN_NAME, name)?;
        Ok(known)
    }

    fn free_key(&mut self) -> Result<i64> {
        if self.free.is_empty() {
            let connection = &mut *self.transaction.connection;
            let left = self.expected_runs.saturating_sub(self.rows.runs.len()).clamp(1, MAX_KEYS);
            let sql = connection.dialect().new_numbers("runs", "run_key");
            self.free = connection.query(&sql, &[Value::Integer(left as i64)], |row| row.integer(0))?;
            // Runs of this transaction may hold numbers that the table does not know yet.
            let taken = self.rows.runs.last().map_or(0, |(run_key, _)| *run_key);
            let shift = (taken + 1 - self.free.first().copied().unwrap_or(1)).max(0);
            self.free.iter_mut().for_each(|key| *key += shift);
            self.free.reverse();
        }
        let none = crate::DatabaseError::damaged("no run key was given out".to_owned());
        self.free.pop().ok_or_else(|| self.transaction.connection.error(none))
    }

    /// Returns the number of an experiment that is in use.
    pub(crate) fn experiment(&mut self, experiment_id: &'a str) -> Result<i64> {
        if let Some(number) = self.experiments.get(experiment_id) {
            return Ok(*number);
        }
        let not_found = || Error::ExperimentNotFound { experiment: experiment_id.to_owned() };
        let number: i64 = experiment_id.parse().map_err(|_| not_found())?;
        let active = "SELECT experiment_id FROM experiments WHERE experiment_id = ?1 AND lifecycle_stage = 'active'";
        let number = self.transaction.connection.number(active, &[number.into()])?.ok_or_else(not_found)?;
        self.experiments.insert(experiment_id, number);
        Ok(number)
    }

    fn update_run(&mut self, run: Known, status: RunStatus, end_time_ms: Option<i64>) -> Result<()> {
        if let Some(row) = run.row {
            let row = &mut self.rows.runs[row].1;
            row.status = status;
            row.end_time_ms = end_time_ms.or(row.end_time_ms.filter(|_| status.is_terminal()));
            return Ok(());
        }
        let sql = "UPDATE runs SET status = ?2, end_time = coalesce(?3, CASE WHEN ?4 = 1 THEN end_time END)
                   WHERE run_key = ?1";
        let is_over = i64::from(status.is_terminal());
        let values = [run.run_key.into(), status.as_str().into(), end_time_ms.into(), is_over.into()];
        self.transaction.connection.execute(sql, &values)?;
        Ok(())
    }

    pub(crate) fn set_params(&mut self, run_id: &str, run: Known, params: &'a [(String, String)]) -> Result<()> {
        for (key, value) in params {
            check_key(run_id, "param", key)?;
            let value = cut_param_value(run_id, key, value);
            let key_id = self.key_id(key)?;
            let at = (run.run_key, key_id);
            match self.rows.param_at.get(&at) {
                None => {
                    self.rows.param_at.insert(at, self.rows.params.len());
                    self.rows.params.extend([at.0.into(), at.1.into(), value.into()]);
                }
                Some(first) => refuse_change(run_id, key, self.rows.params[first + 2].as_text(), value)?,
            }
        }
        Ok(())
    }

    pub(crate) fn set_tags(&mut self, run_id: &str, run: Known, tags: &'a [(String, String)]) -> Result<()> {
        tags.iter().try_for_each(|(key, _)| check_key(run_id, "tag", key))?;
        self.put_tags(run_id, run, tags)
    }

    /// Sets tags whose keys are not checked.
    pub(crate) fn put_tags(&mut self, run_id: &str, run: Known, tags: &'a [(String, String)]) -> Result<()> {
        for (key, value) in tags {
            self.set_tag(run_id, run, key, value)?;
            // Two columns repeat a tag, for queries.
            match key.as_str() {
                tags::RUN_NAME => self.set_name(run, value)?,
                tags::PARENT_RUN_ID => self.set_parent(run, value)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn set_name(&mut self, run: Known, name: &'a str) -> Result<()> {
        match run.row {
            Some(row) => self.rows.runs[row].1.name = name,
            None => {
                let sql = "UPDATE runs SET name = ?2 WHERE run_key = ?1";
                self.transaction.connection.execute(sql, &[run.run_key.into(), name.into()])?;
            }
        }
        Ok(())
    }

    fn set_parent(&mut self, run: Known, parent: &'a str) -> Result<()> {
        match run.row {
            Some(row) => self.rows.runs[row].1.parent_run_id = Some(parent),
            None => {
                let sql = "UPDATE runs SET parent_run_id = ?2 WHERE run_key = ?1";
                self.transaction.connection.execute(sql, &[run.run_key.into(), parent.into()])?;
            }
        }
        Ok(())
    }

    fn set_tag(&mut self, run_id: &str, run: Known, key: &str, value: &'a str) -> Result<()> {
        let value = cut_tag_value(run_id, key, value);
        let at = (run.run_key, self.key_id(key)?);
        match self.rows.tag_at.get(&at) {
            Some(first) => self.rows.tags[first + 2] = value.into(),
            None => {
                self.rows.tag_at.insert(at, self.rows.tags.len());
                self.rows.tags.extend([at.0.into(), at.1.into(), value.into()]);
            }
        }
        Ok(())
    }

    /// Adds a value to a metric's history, and makes it the latest if it is.
    pub(crate) fn add_metric(&mut self, run_id: &str, run: Known, metric: &'a Metric) -> Result<()> {
        check_key(run_id, "metric", &metric.key)?;
        let is_nan = metric.value.is_nan();
        let value = if is_nan { 0.0 } else { metric.value };
        let latest = Latest {
            experiment: run.experiment,
            step: metric.step,
            timestamp: metric.timestamp_ms,
            is_nan,
            // Zero has no sign, or two zeros would be two values.
            value: if value == 0.0 { 0.0 } else { value },
        };
        let at = (run.run_key, self.key_id(&metric.key)?);
        self.rows.metrics.extend([
            at.0.into(),
            at.1.into(),
            latest.timestamp.into(),
            latest.step.into(),
            i64::from(is_nan).into(),
            latest.value.into(),
        ]);
        let slot = self.rows.latest.entry(at).or_insert(latest);
        if latest.is_after(slot) {
            *slot = latest;
        }
        Ok(())
    }

    fn key_id(&mut self, name: &str) -> Result<i64> {
        self.transaction.keys.number(self.transaction.connection, name)
    }

    /// Writes everything.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { transaction, runs, rows, .. } = self;
        insert_runs(transaction, &rows.runs)?;
        let triple = ["run_key", "key_id", "value"];
        let inserted = transaction.connection.insert("params", &triple, "ON CONFLICT DO NOTHING", &rows.params)?;
        if inserted < rows.param_at.len() as u64 {
            refuse_changes(transaction, &runs, &rows)?;
        }
        let replace = "ON CONFLICT (run_key, key_id) DO UPDATE SET value = excluded.value";
        transaction.connection.insert("tags", &triple, replace, &rows.tags)?;
        let columns = ["run_key", "key_id", "timestamp", "step", "is_nan", "value"];
        transaction.connection.insert("metrics", &columns, "ON CONFLICT DO NOTHING", &rows.metrics)?;
        insert_latest(transaction, &rows.latest)?;
        let connection = &mut *transaction.connection;
        rows.inputs.iter().try_for_each(|(run, input)| add_dataset(connection, run.run_key, run.experiment, input))
    }
}

fn insert_runs(transaction: &mut Transaction<'_>, runs: &[(i64, RunRow<'_>)]) -> Result<()> {
    let columns = [
        "run_key",
        "run_id",
        "experiment_id",
        "name",
        "user_id",
        "status",
        "start_time",
        "end_time",
        "artifact_uri",
        "lifecycle_stage",
        "parent_run_id",
    ];
    let mut values = Vec::with_capacity(runs.len() * columns.len());
    for (run_key, run) in runs {
        values.extend([
            (*run_key).into(),
            run.run_id.into(),
            run.experiment.into(),
            run.name.into(),
            run.user_id.into(),
            run.status.as_str().into(),
            run.start_time_ms.into(),
            run.end_time_ms.into(),
            run.artifact_uri.into(),
            "active".into(),
            run.parent_run_id.into(),
        ]);
    }
    transaction.connection.insert("runs", &columns, "", &values)?;
    Ok(())
}

fn insert_latest(transaction: &mut Transaction<'_>, latest: &HashMap<(i64, i64), Latest>) -> Result<()> {
    let columns = ["run_key", "key_id", "step", "timestamp", "is_nan", "value", "experiment_id"];
    let mut ordered: Vec<_> = latest.iter().collect();
    ordered.sort_unstable_by_key(|(at, _)| **at);
    let mut values = Vec::with_capacity(latest.len() * columns.len());
    for ((run_key, key_id), latest) in ordered {
        values.extend([
            Value::Integer(*run_key),
            Value::Integer(*key_id),
            latest.step.into(),
            latest.timestamp.into(),
            i64::from(latest.is_nan).into(),
            latest.value.into(),
            latest.experiment.into(),
        ]);
    }
    let conflict = "ON CONFLICT (run_key, key_id) DO UPDATE SET
            step = excluded.step, timestamp = excluded.timestamp, is_nan = excluded.is_nan, value = excluded.value
        WHERE (excluded.step, excluded.timestamp, -excluded.is_nan, excluded.value)
            > (latest_metrics.step, latest_metrics.timestamp, -latest_metrics.is_nan, latest_metrics.value)";
    transaction.connection.insert("latest_metrics", &columns, conflict, &values)?;
    Ok(())
}

/// Refuses params that have another value already.
fn refuse_changes(transaction: &mut Transaction<'_>, runs: &HashMap<&str, Known>, rows: &Rows<'_>) -> Result<()> {
    let dialect = transaction.connection.dialect();
    let touched: std::collections::BTreeSet<i64> = rows.param_at.keys().map(|(run_key, _)| *run_key).collect();
    let sql = format!(
        "SELECT run_key, key_id, value, name FROM params JOIN keys USING (key_id) WHERE {}",
        dialect.is_one_of("run_key", "?1")
    );
    let list = Value::Owned(dialect.numbers(touched));
    let stored = transaction
        .connection
        .query(&sql, &[list], |row| Ok((row.integer(0)?, row.integer(1)?, row.text(2)?, row.text(3)?)))?;
    for (run_key, key_id, old, key) in stored {
        let Some(first) = rows.param_at.get(&(run_key, key_id)) else { continue };
        let run_id = runs.iter().find(|(_, known)| known.run_key == run_key).map_or("", |(run_id, _)| run_id);
        if let Some(new) = rows.params[first + 2].as_text() {
            refuse_change(run_id, &key, Some(&old), new)?;
        }
    }
    Ok(())
}

fn refuse_change(run_id: &str, key: &str, old: Option<&str>, new: &str) -> Result<()> {
    match old {
        Some(old) if old != new => Err(Error::ParamChanged {
            run_id: run_id.to_owned(),
            key: key.to_owned(),
            old: old.to_owned(),
            new: new.to_owned(),
        }),
        _ => Ok(()),
    }
}
