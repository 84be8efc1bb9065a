//! Experiments, as MLflow's REST API has them.

use std::collections::{BTreeMap, HashMap};

use crate::conditions::{Conditions, attribute_order};
use crate::database::{Connection, Row, Value};
use crate::group::Transaction;
use crate::limits::{MAX_EXPERIMENT_NAME_CHARS, MAX_EXPERIMENT_TAG_CHARS, check_tag, is_longer};
use crate::pages::{offset, page, page_size};
use crate::rows::stage;
use crate::search::{Grammar, Kind, parse_filter, parse_order};
use crate::store::now_ms;
use crate::{DatabaseError, Error, Experiment, LifecycleStage, NewExperiment, Page, Result, Search, Store, ViewType};

/// The experiment that MLflow makes by itself, and its id.
const DEFAULT_EXPERIMENT: (&str, i64) = ("Default", 0);
/// Experiments on a page, unless said otherwise.
const DEFAULT_PAGE: usize = 1000;
/// Experiments on a page at most.
const MAX_PAGE: usize = 50_000;

impl Store {
    /// Makes an experiment (`experiments/create`). Without an artifact location its artifacts lie below
    /// `<artifact_root>/<experiment_id>`.
    ///
    /// # Errors
    /// Codes `ResourceAlreadyExists` (deleted experiments keep their names), `InvalidParameterValue`.
    pub fn create_experiment(&self, new: &NewExperiment, artifact_root: &str) -> Result<Experiment> {
        check_name(&new.name)?;
        let location = new.artifact_location.as_deref().filter(|location| !location.is_empty());
        self.write(|transaction| {
            if find(transaction.connection, "name = ?1", &[(&new.name).into()])?.is_some() {
                return Err(Error::exists(format!("Experiment(name={}) already exists.", new.name)));
            }
            let id = insert(transaction, &new.name, location, artifact_root)?;
            for (key, value) in &new.tags {
                set_tag(transaction.connection, id, key, value)?;
            }
            by_number(transaction.connection, id)?.ok_or_else(|| no_experiment(&id.to_string()))
        })
    }

    /// Makes the experiment `Default` with the id `0` when it is missing, as MLflow's server does when it starts.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn ensure_default_experiment(&self, artifact_root: &str) -> Result<()> {
        let exists = |connection: &mut Connection| Ok(by_number(connection, DEFAULT_EXPERIMENT.1)?.is_some());
        if self.read(exists)? {
            return Ok(());
        }
        self.write(|transaction| {
            let name = DEFAULT_EXPERIMENT.0;
            if exists(transaction.connection)? || find(transaction.connection, "name = ?1", &[name.into()])?.is_some() {
                return Ok(());
            }
            insert(transaction, name, None, artifact_root).map(drop)
        })
    }

    /// Returns an experiment, also when it is deleted (`experiments/get`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn experiment(&self, experiment_id: &str) -> Result<Experiment> {
        self.read(|connection| get(connection, experiment_id))
    }

    /// Returns the experiment of a name, also when it is deleted (`experiments/get-by-name`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn experiment_by_name(&self, name: &str) -> Result<Experiment> {
        let found = self.read(|connection| find(connection, "name = ?1", &[name.into()]))?;
        found.ok_or_else(|| Error::missing(format!("Could not find experiment with name '{name}'")))
    }

    /// Returns experiments, the newest first unless another order is given (`experiments/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_experiments(&self, search: &Search, view: ViewType) -> Result<Page<Experiment>> {
        let clauses = parse_filter(&search.filter, Grammar::Experiments)?;
        let order = order(&search.order_by)?;
        let size = page_size(search.max_results, DEFAULT_PAGE, MAX_PAGE)?;
        let skipped = offset(search.page_token.as_deref())?;
        let found = self.read(|connection| {
            let mut conditions = Conditions::new(connection, Grammar::Experiments);
            conditions.add_filter(&clauses)?;
            match view {
                ViewType::ActiveOnly => conditions.add("r.lifecycle_stage = 'active'"),
                ViewType::DeletedOnly => conditions.add("r.lifecycle_stage = 'deleted'"),
                ViewType::All => {}
            }
            let (limit, start) = (conditions.bind(size as i64 + 1), conditions.bind(skipped as i64));
            let (conditions, values) = conditions.finish();
            let rest = format!("WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {start}");
            select(connection, &rest, &values)
        })?;
        Ok(page(found, skipped, size))
    }

    /// Gives an experiment another name (`experiments/update`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `ResourceAlreadyExists`; `InvalidParameterValue` when it is deleted.
    pub fn rename_experiment(&self, experiment_id: &str, new_name: &str) -> Result<()> {
        check_name(new_name)?;
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let experiment = get(connection, experiment_id)?;
            if experiment.lifecycle_stage == LifecycleStage::Deleted {
                return Err(Error::invalid(format!(
                    "Cannot rename a non-active experiment: the experiment {experiment_id} is deleted."
                )));
            }
            match find(connection, "name = ?1", &[new_name.into()])? {
                Some(other) if other.experiment_id != experiment.experiment_id => {
                    return Err(Error::exists(format!("Experiment(name={new_name}) already exists.")));
                }
                _ => {}
            }
            let sql = "UPDATE experiments SET name = ?2, last_update_time = ?3 WHERE experiment_id = ?1";
            let id = number(&experiment.experiment_id)?;
            connection.execute(sql, &[id.into(), new_name.into(), now_ms().into()]).map(drop)
        })
    }

    /// Deletes an experiment with its runs (`experiments/delete`); both can be restored.
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it is deleted already.
    pub fn delete_experiment(&self, experiment_id: &str) -> Result<()> {
        self.move_to(experiment_id, LifecycleStage::Active, "deleted")
    }

    /// Restores a deleted experiment with its runs (`experiments/restore`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it is not deleted.
    pub fn restore_experiment(&self, experiment_id: &str) -> Result<()> {
        self.move_to(experiment_id, LifecycleStage::Deleted, "active")
    }

    fn move_to(&self, experiment_id: &str, from: LifecycleStage, to: &'static str) -> Result<()> {
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let experiment = get(connection, experiment_id)?;
            if experiment.lifecycle_stage != from {
                return Err(no_experiment(experiment_id));
            }
            let (id, now) = (number(&experiment.experiment_id)?, now_ms());
            let deleted_time = (to == "deleted").then_some(now);
            let values = [id.into(), to.into(), now.into()];
            let sql = "UPDATE experiments SET lifecycle_stage = ?2, last_update_time = ?3 WHERE experiment_id = ?1";
            connection.execute(sql, &values)?;
            let sql = "UPDATE runs SET lifecycle_stage = ?2, deleted_time = ?3
                       WHERE experiment_id = ?1 AND lifecycle_stage <> ?2";
            connection.execute(sql, &[id.into(), to.into(), deleted_time.into()]).map(drop)
        })
    }

    /// Sets a tag of an experiment (`experiments/set-experiment-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_experiment_tag(&self, experiment_id: &str, key: &str, value: &str) -> Result<()> {
        self.write(|transaction| {
            let id = active(transaction.connection, experiment_id)?;
            set_tag(transaction.connection, id, key, value)
        })
    }

    /// Removes a tag of an experiment (`experiments/delete-experiment-tag`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it has no such tag.
    pub fn delete_experiment_tag(&self, experiment_id: &str, key: &str) -> Result<()> {
        self.write(|transaction| {
            let id = active(transaction.connection, experiment_id)?;
            let sql = "DELETE FROM experiment_tags WHERE experiment_id = ?1 AND key = ?2";
            match transaction.connection.execute(sql, &[id.into(), key.into()])? {
                0 => Err(Error::missing(format!("No tag with name: {key} in experiment with id {experiment_id}"))),
                _ => Ok(()),
            }
        })
    }
}

fn check_name(name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid(format!("Invalid experiment name: '{name}'. Experiment names cannot be empty.")));
    }
    if is_longer(name, MAX_EXPERIMENT_NAME_CHARS) {
        let length = name.chars().count();
        return Err(Error::invalid(format!(
            "'name' exceeds the maximum length of {MAX_EXPERIMENT_NAME_CHARS} characters: an experiment name of {length} was given"
        )));
    }
    Ok(())
}

fn order(clauses: &[String]) -> Result<String> {
    let (mut keys, mut is_total) = (Vec::new(), false);
    for clause in clauses {
        let order = parse_order(clause, Grammar::Experiments)?;
        if order.column.kind != Kind::Attribute {
            return Err(Error::invalid(format!("Invalid order_by entity: {clause}")));
        }
        is_total |= order.column.key == "experiment_id";
        keys.push(attribute_order(&order.column.key, if order.ascending { "ASC" } else { "DESC" }));
    }
    if keys.is_empty() {
        keys.push("r.creation_time DESC".to_owned());
    }
    if !is_total {
        keys.push("r.experiment_id DESC".to_owned());
    }
    Ok(keys.join(", "))
}

/// Returns the error for an experiment that is not there.
pub(crate) fn no_experiment(experiment_id: &str) -> Error {
    Error::missing(format!("No Experiment with id={experiment_id} exists"))
}

/// Parses the number of an experiment; one that is too large is that of none.
fn number(experiment_id: &str) -> Result<i64> {
    let digits = experiment_id.strip_prefix('-').unwrap_or(experiment_id);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("Invalid experiment ID '{experiment_id}'. Experiment ID must be a valid integer.");
        return Err(Error::invalid(message));
    }
    experiment_id.parse().map_err(|_| no_experiment(experiment_id))
}

fn by_number(connection: &mut Connection, id: i64) -> Result<Option<Experiment>> {
    find(connection, "experiment_id = ?1", &[id.into()])
}

/// Returns an experiment, also when it is deleted.
pub(crate) fn get(connection: &mut Connection, experiment_id: &str) -> Result<Experiment> {
    by_number(connection, number(experiment_id)?)?.ok_or_else(|| no_experiment(experiment_id))
}

/// Returns the number of an experiment that may be written to.
pub(crate) fn active(connection: &mut Connection, experiment_id: &str) -> Result<i64> {
    let experiment = get(connection, experiment_id)?;
    match experiment.lifecycle_stage {
        LifecycleStage::Active => number(experiment_id),
        LifecycleStage::Deleted => Err(Error::invalid(format!(
            "The experiment {experiment_id} must be in the 'active' state. Current state is deleted."
        ))),
    }
}

/// Returns the experiment that meets a condition.
pub(crate) fn find(connection: &mut Connection, condition: &str, values: &[Value<'_>]) -> Result<Option<Experiment>> {
    Ok(select(connection, &format!("WHERE {condition}"), values)?.pop())
}

/// Returns experiments, `rest` being what follows the table in the statement; its alias is `r`.
pub(crate) fn select(connection: &mut Connection, rest: &str, values: &[Value<'_>]) -> Result<Vec<Experiment>> {
    let sql = format!(
        "SELECT experiment_id, name, artifact_location, lifecycle_stage, creation_time, last_update_time
         FROM experiments r {rest}"
    );
    let mut experiments = connection.query(&sql, values, read)?;
    let dialect = connection.dialect();
    let ids = experiments.iter().filter_map(|experiment| experiment.experiment_id.parse().ok());
    let list = Value::Owned(dialect.numbers(ids));
    let sql = format!(
        "SELECT experiment_id, key, value FROM experiment_tags WHERE {}",
        dialect.is_one_of("experiment_id", "?1")
    );
    let mut tags: HashMap<String, BTreeMap<String, String>> = HashMap::new();
    connection.query(&sql, &[list], |row| {
        tags.entry(row.integer(0)?.to_string()).or_default().insert(row.text(1)?, row.text(2)?);
        Ok(())
    })?;
    for experiment in &mut experiments {
        experiment.tags = tags.remove(&experiment.experiment_id).unwrap_or_default();
    }
    Ok(experiments)
}

fn read(row: &Row<'_>) -> Result<Experiment, DatabaseError> {
    Ok(Experiment {
        experiment_id: row.integer(0)?.to_string(),
        name: row.text(1)?,
        artifact_location: row.text(2)?,
        lifecycle_stage: stage(&row.text(3)?)?,
        creation_time_ms: row.integer(4)?,
        last_update_time_ms: row.integer(5)?,
        tags: BTreeMap::new(),
    })
}

/// Inserts an experiment whose name is free; returns its number.
pub(crate) fn insert(
    transaction: &mut Transaction<'_>,
    name: &str,
    location: Option<&str>,
    artifact_root: &str,
) -> Result<i64> {
    let connection = &mut *transaction.connection;
    let id = match DEFAULT_EXPERIMENT {
        (default, id) if default == name && by_number(connection, id)?.is_none() => id,
        _ => {
            let sql = connection.dialect().new_numbers("experiments", "experiment_id");
            let none = DatabaseError::damaged("no experiment id was given out".to_owned());
            connection.number(&sql, &[1.into()])?.ok_or_else(|| connection.error(none))?
        }
    };
    // mlflow-artifacts: takes one slash: `mlflow-artifacts:/7`.
    let location = location.map_or_else(|| format!("{}/{id}", artifact_root.trim_end_matches('/')), str::to_owned);
    let now = now_ms();
    let columns = ["experiment_id", "name", "artifact_location", "creation_time", "last_update_time"];
    connection.insert(
        "experiments",
        &columns,
        "",
        &[id.into(), name.into(), location.as_str().into(), now.into(), now.into()],
    )?;
    Ok(id)
}

fn set_tag(connection: &mut Connection, id: i64, key: &str, value: &str) -> Result<()> {
    check_tag(key, value, MAX_EXPERIMENT_TAG_CHARS)?;
    let columns = ["experiment_id", "key", "value"];
    let replace = "ON CONFLICT (experiment_id, key) DO UPDATE SET value = excluded.value";
    connection.insert("experiment_tags", &columns, replace, &[id.into(), key.into(), value.into()])?;
    Ok(())
}
