//! Logged models: what training runs write, before it is registered under a name.

use std::collections::HashMap;

use super::{experiments, runs};
use crate::conditions::{Conditions, attribute_order};
use crate::database::{Connection, Row, Value};
use crate::group::Transaction;
use crate::limits::{MAX_PARAM_VALUE_CHARS, MAX_TAG_VALUE_CHARS, check_tag};
use crate::names::made_up_name;
use crate::pages::{offset, page, page_size};
use crate::rows::metric_value;
use crate::search::{Clause, Grammar, Kind, parse_filter, parse_order};
use crate::store::now_ms;
use crate::{
    DatabaseError, Error, LoggedMetric, LoggedModel, LoggedModelOrder, LoggedModelSearch, LoggedModelStatus, Metric,
    ModelMetric, NewLoggedModel, Page, Pairs, Result, RunId, Store,
};

/// Models on a page, unless said otherwise.
const DEFAULT_PAGE: usize = 50;
/// Models on a page at most.
const MAX_PAGE: usize = 50_000;
/// The tables of keys and values.
const PARAMS: &str = "logged_model_params";
/// See [`PARAMS`].
const TAGS: &str = "logged_model_tags";

impl Store {
    /// Makes a logged model (`POST logged-models`). Its files lie in
    /// `<artifact location of the experiment>/models/<model_id>/artifacts`.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn create_logged_model(&self, new: &NewLoggedModel) -> Result<LoggedModel> {
        let name = match new.name.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => check_name(name).map(|()| name.to_owned())?,
            None => made_up_name(),
        };
        check_pairs(&new.params, &new.tags)?;
        let model_id = format!("m-{}", RunId::random());
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let experiment = experiments::active(connection, &new.experiment_id)?;
            let location = experiments::get(connection, &new.experiment_id)?.artifact_location;
            let uri = runs::below(&location, &format!("models/{model_id}/artifacts"));
            insert(connection, new, &model_id, experiment, &name, &uri)?;
            let model = find(connection, &model_id)?;
            set_pairs(connection, PARAMS, model, &new.params)?;
            set_pairs(connection, TAGS, model, &new.tags)?;
            get(connection, &model_id)
        })
    }

    /// Returns a logged model (`GET logged-models/{model_id}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it is deleted.
    pub fn logged_model(&self, model_id: &str) -> Result<LoggedModel> {
        self.read(|connection| get(connection, model_id))
    }

    /// Sets the status (`PATCH logged-models/{model_id}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn finalize_logged_model(&self, model_id: &str, status: LoggedModelStatus) -> Result<LoggedModel> {
        self.write(|transaction| {
            let model = find(transaction.connection, model_id)?;
            let sql = "UPDATE logged_models SET status = ?2, last_updated_timestamp = ?3 WHERE model_key = ?1";
            transaction.connection.execute(sql, &[model.into(), status.as_str().into(), now_ms().into()])?;
            get(transaction.connection, model_id)
        })
    }

    /// Returns logged models (`logged-models/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_logged_models(&self, search: &LoggedModelSearch) -> Result<Page<LoggedModel>> {
        let clauses = parse_filter(&search.filter, Grammar::LoggedModels)?;
        if search.datasets.iter().any(|(name, _)| name.is_empty()) {
            return Err(Error::invalid("`dataset_name` in the `datasets` clause must be specified."));
        }
        let size = page_size(search.max_results, DEFAULT_PAGE, MAX_PAGE)?;
        let skipped = offset(search.page_token.as_deref())?;
        let experiments: Vec<i64> = search.experiment_ids.iter().filter_map(|id| id.parse().ok()).collect();
        let found = self.read(|connection| {
            let dialect = connection.dialect();
            let mut conditions = Conditions::new(connection, Grammar::LoggedModels);
            let list = conditions.bind(Value::Owned(dialect.numbers(experiments.iter().copied())));
            conditions.add(dialect.is_one_of("r.experiment_id", &list));
            conditions.add("r.lifecycle_stage = 'active'");
            add_clauses(&mut conditions, &clauses, &search.datasets)?;
            let order = order(&mut conditions, &search.order_by)?;
            let (limit, start) = (conditions.bind(size as i64 + 1), conditions.bind(skipped as i64));
            let (conditions, values) = conditions.finish();
            let rest = format!("WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {start}");
            select(connection, &rest, &values)
        })?;
        Ok(page(found, skipped, size))
    }

    /// Sets tags (`PATCH logged-models/{model_id}/tags`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_logged_model_tags(&self, model_id: &str, tags: &[(String, String)]) -> Result<LoggedModel> {
        check_pairs(&[], tags)?;
        self.write(|transaction| {
            let model = find(transaction.connection, model_id)?;
            set_pairs(transaction.connection, TAGS, model, tags)?;
            get(transaction.connection, model_id)
        })
    }

    /// Removes a tag (`DELETE logged-models/{model_id}/tags/{tag_key}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist` (no model, no tag).
    pub fn delete_logged_model_tag(&self, model_id: &str, key: &str) -> Result<()> {
        self.write(|transaction| {
            let model = find(transaction.connection, model_id)?;
            let sql = "DELETE FROM logged_model_tags WHERE model_key = ?1 AND key = ?2";
            match transaction.connection.execute(sql, &[model.into(), key.into()])? {
                0 => Err(Error::missing(format!("No tag with key {key:?} found for logged model {model_id:?}."))),
                _ => Ok(()),
            }
        })
    }

    /// Adds params (`POST logged-models/{model_id}/params`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_logged_model_params(&self, model_id: &str, params: &[(String, String)]) -> Result<()> {
        check_pairs(params, &[])?;
        self.write(|transaction| {
            let model = find(transaction.connection, model_id)?;
            set_pairs(transaction.connection, PARAMS, model, params)
        })
    }

    /// Deletes a logged model (`DELETE logged-models/{model_id}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_logged_model(&self, model_id: &str) -> Result<()> {
        self.write(|transaction| {
            let model = find(transaction.connection, model_id)?;
            let sql =
                "UPDATE logged_models SET lifecycle_stage = 'deleted', deleted_time = ?2, last_updated_timestamp = ?2
                       WHERE model_key = ?1";
            transaction.connection.execute(sql, &[model.into(), now_ms().into()]).map(drop)
        })
    }
}

fn no_model(model_id: &str) -> Error {
    Error::missing(format!("Logged model with ID '{model_id}' not found."))
}

fn check_name(name: &str) -> Result<()> {
    match name.contains(['/', ':', '.', '%', '"', '\'']) {
        true => Err(Error::invalid(format!(
            "Invalid model name ({name}) provided. Model name must be a non-empty string and cannot contain the following \
             characters: ('/', ':', '.', '%', '\"', \"'\")"
        ))),
        false => Ok(()),
    }
}

fn check_pairs(params: &[(String, String)], tags: &[(String, String)]) -> Result<()> {
    params.iter().try_for_each(|(key, value)| check_tag(key, value, MAX_PARAM_VALUE_CHARS))?;
    tags.iter().try_for_each(|(key, value)| check_tag(key, value, MAX_TAG_VALUE_CHARS))
}

fn insert(
    connection: &mut Connection,
    new: &NewLoggedModel,
    model_id: &str,
    experiment: i64,
    name: &str,
    uri: &str,
) -> Result<()> {
    let columns = [
        "model_id",
        "experiment_id",
        "name",
        "artifact_uri",
        "creation_timestamp",
        "last_updated_timestamp",
        "status",
        "model_type",
        "source_run_id",
        "lifecycle_stage",
    ];
    let now = now_ms();
    let source = new.source_run_id.as_deref().filter(|run_id| !run_id.is_empty());
    let values = [
        model_id.into(),
        experiment.into(),
        name.into(),
        uri.into(),
        now.into(),
        now.into(),
        LoggedModelStatus::Pending.as_str().into(),
        (&new.model_type).into(),
        source.into(),
        "active".into(),
    ];
    connection.insert("logged_models", &columns, "", &values).map(drop)
}

/// Returns the number of a model that is in use.
fn find(connection: &mut Connection, model_id: &str) -> Result<i64> {
    let sql = "SELECT model_key FROM logged_models WHERE model_id = ?1 AND lifecycle_stage = 'active'";
    connection.number(sql, &[model_id.into()])?.ok_or_else(|| no_model(model_id))
}

/// Returns a model that is in use.
pub(super) fn get(connection: &mut Connection, model_id: &str) -> Result<LoggedModel> {
    let rest = "WHERE r.model_id = ?1 AND r.lifecycle_stage = 'active'";
    select(connection, rest, &[model_id.into()])?.pop().ok_or_else(|| no_model(model_id))
}

/// Sets a tag of a model that is in use.
pub(super) fn set_tag(connection: &mut Connection, model_id: &str, key: &str, value: &str) -> Result<()> {
    let model = find(connection, model_id)?;
    set_pairs(connection, TAGS, model, &[(key.to_owned(), value.to_owned())])
}

fn set_pairs(connection: &mut Connection, table: &str, model: i64, pairs: &[(String, String)]) -> Result<()> {
    for (key, value) in pairs {
        let replace = "ON CONFLICT (model_key, key) DO UPDATE SET value = excluded.value";
        let values = [model.into(), key.into(), value.into()];
        connection.insert(table, &["model_key", "key", "value"], replace, &values)?;
    }
    Ok(())
}

/// Adds the values that are of a model to its metrics.
pub(super) fn add_metrics(transaction: &mut Transaction<'_>, run_id: &str, metrics: &[LoggedMetric]) -> Result<()> {
    for logged in metrics {
        let Some(model_id) = logged.model_id.as_deref().filter(|model_id| !model_id.is_empty()) else { continue };
        let model = find(transaction.connection, model_id)?;
        let metric = &logged.metric;
        let is_nan = metric.value.is_nan();
        let value = if is_nan { 0.0 } else { metric.value };
        let columns =
            ["model_key", "key", "timestamp", "step", "run_id", "is_nan", "value", "dataset_name", "dataset_digest"];
        let values = [
            model.into(),
            (&metric.key).into(),
            metric.timestamp_ms.into(),
            metric.step.into(),
            run_id.into(),
            i64::from(is_nan).into(),
            value.into(),
            logged.dataset_name.as_deref().unwrap_or_default().into(),
            logged.dataset_digest.as_deref().unwrap_or_default().into(),
        ];
        let replace = "ON CONFLICT (model_key, key, timestamp, step, run_id) DO UPDATE SET is_nan = excluded.is_nan,
            value = excluded.value, dataset_name = excluded.dataset_name, dataset_digest = excluded.dataset_digest";
        transaction.connection.insert("logged_model_metrics", &columns, replace, &values)?;
    }
    Ok(())
}

/// Adds the conditions of a filter; metrics count only on the datasets given, if any are.
fn add_clauses(
    conditions: &mut Conditions<'_>,
    clauses: &[Clause],
    datasets: &[(String, Option<String>)],
) -> Result<()> {
    if datasets.is_empty() {
        return conditions.add_filter(clauses);
    }
    let mut on_these = Vec::new();
    for (name, digest) in datasets {
        let mut text = format!("v.dataset_name = {}", conditions.bind(Value::Owned(name.clone())));
        if let Some(digest) = digest {
            text += &format!(" AND v.dataset_digest = {}", conditions.bind(Value::Owned(digest.clone())));
        }
        on_these.push(format!("({text})"));
    }
    let on_these = format!("({})", on_these.join(" OR "));
    let (metrics, others): (Vec<_>, Vec<_>) =
        clauses.iter().cloned().partition(|clause| clause.column.kind == Kind::Metric);
    if metrics.is_empty() {
        conditions.add(format!(
            "EXISTS (SELECT 1 FROM logged_model_metrics v WHERE v.model_key = r.model_key AND {on_these})"
        ));
    }
    conditions.add_filter(&others)?;
    for clause in &metrics {
        conditions.add_filter_within(clause, &on_these)?;
    }
    Ok(())
}

fn order(conditions: &mut Conditions<'_>, orders: &[LoggedModelOrder]) -> Result<String> {
    let mut keys = Vec::new();
    for order in orders {
        let direction = if order.ascending { "ASC" } else { "DESC" };
        let Some((entity, key)) = order.field_name.split_once('.') else {
            let column = match order.field_name.as_str() {
                "experiment_id" => "experiment_id".to_owned(),
                name => {
                    let unknown = |_| Error::invalid(format!("Invalid order by field name: {name}"));
                    parse_order(name, Grammar::LoggedModels).map_err(unknown)?.column.key
                }
            };
            keys.push(attribute_order(&column, direction));
            continue;
        };
        if entity != "metrics" {
            let name = &order.field_name;
            return Err(Error::invalid(format!("Invalid order by field name: {name}. Only metrics are supported.")));
        }
        let mut latest = format!(
            "SELECT v.value FROM logged_model_metrics v WHERE v.model_key = r.model_key AND v.is_nan = 0 AND v.key = {}",
            conditions.bind(Value::Owned(key.to_owned()))
        );
        for (column, text) in [("dataset_name", &order.dataset_name), ("dataset_digest", &order.dataset_digest)] {
            if let Some(text) = text {
                latest += &format!(" AND v.{column} = {}", conditions.bind(Value::Owned(text.clone())));
            }
        }
        latest += " ORDER BY v.timestamp DESC, v.step DESC, v.run_id LIMIT 1";
        keys.push(format!("CASE WHEN ({latest}) IS NULL THEN 1 ELSE 0 END, ({latest}) {direction}"));
    }
    keys.push("r.creation_timestamp DESC, r.model_key DESC".to_owned());
    Ok(keys.join(", "))
}

/// Returns models, `rest` being what follows the table in the statement; its alias is `r`.
fn select(connection: &mut Connection, rest: &str, values: &[Value<'_>]) -> Result<Vec<LoggedModel>> {
    let sql = format!(
        "SELECT r.model_key, r.model_id, r.experiment_id, r.name, r.artifact_uri, r.creation_timestamp,
                r.last_updated_timestamp, r.status, r.status_message, r.model_type, r.source_run_id
         FROM logged_models r {rest}"
    );
    let mut models = connection.query(&sql, values, |row| Ok((row.integer(0)?, read(row)?)))?;
    let dialect = connection.dialect();
    let of_these = dialect.is_one_of("model_key", "?1");
    let list = [Value::Owned(dialect.numbers(models.iter().map(|(key, _)| *key)))];
    let mut tags = pairs(connection, TAGS, &of_these, &list)?;
    let mut params = pairs(connection, PARAMS, &of_these, &list)?;
    let mut metrics = metrics_of(connection, &of_these, &list)?;
    let mut registrations = registrations(connection, &of_these, &list)?;
    for (key, model) in &mut models {
        model.tags = tags.remove(key).unwrap_or_default();
        model.params = params.remove(key).unwrap_or_default();
        model.metrics = metrics.remove(key).unwrap_or_default();
        model.registrations = registrations.remove(key).unwrap_or_default();
    }
    Ok(models.into_iter().map(|(_, model)| model).collect())
}

fn read(row: &Row<'_>) -> Result<LoggedModel, DatabaseError> {
    let status = row.text(7)?;
    Ok(LoggedModel {
        model_id: row.text(1)?,
        experiment_id: row.integer(2)?.to_string(),
        name: row.text(3)?,
        artifact_uri: row.text(4)?,
        creation_timestamp_ms: row.integer(5)?,
        last_updated_timestamp_ms: row.integer(6)?,
        status: status.parse().map_err(|_| crate::rows::damaged("logged_models.status", &status))?,
        status_message: row.optional_text(8)?,
        model_type: row.text(9)?,
        source_run_id: row.optional_text(10)?,
        tags: Pairs::new(),
        params: Pairs::new(),
        metrics: Vec::new(),
        registrations: Vec::new(),
    })
}

fn pairs(connection: &mut Connection, table: &str, of_these: &str, list: &[Value<'_>]) -> Result<HashMap<i64, Pairs>> {
    let mut found: HashMap<i64, Pairs> = HashMap::new();
    connection.query(&format!("SELECT model_key, key, value FROM {table} WHERE {of_these}"), list, |row| {
        found.entry(row.integer(0)?).or_default().insert(row.text(1)?, row.text(2)?);
        Ok(())
    })?;
    Ok(found)
}

fn metrics_of(
    connection: &mut Connection,
    of_these: &str,
    list: &[Value<'_>],
) -> Result<HashMap<i64, Vec<ModelMetric>>> {
    let sql = format!(
        "SELECT model_key, key, value, is_nan, timestamp, step, run_id, dataset_name, dataset_digest
         FROM logged_model_metrics WHERE {of_these} ORDER BY model_key, key, timestamp, step"
    );
    let mut found: HashMap<i64, Vec<ModelMetric>> = HashMap::new();
    connection.query(&sql, list, |row| {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let metric = ModelMetric {
            run_id: row.text(6)?,
            metric: Metric {
                key: row.text(1)?,
                value: metric_value(row, 2, 3)?,
                timestamp_ms: row.integer(4)?,
                step: row.integer(5)?,
            },
            dataset_name: given(row.text(7)?),
            dataset_digest: given(row.text(8)?),
        };
        found.entry(row.integer(0)?).or_default().push(metric);
        Ok(())
    })?;
    Ok(found)
}

fn registrations(
    connection: &mut Connection,
    of_these: &str,
    list: &[Value<'_>],
) -> Result<HashMap<i64, Vec<(String, i64)>>> {
    let sql = format!(
        "SELECT l.model_key, m.name, v.version FROM logged_models l JOIN model_versions v ON v.model_id = l.model_id
         JOIN registered_models m ON m.registered_key = v.registered_key
         WHERE {} ORDER BY m.name, v.version",
        of_these.replace("model_key", "l.model_key")
    );
    let mut found: HashMap<i64, Vec<(String, i64)>> = HashMap::new();
    connection.query(&sql, list, |row| {
        found.entry(row.integer(0)?).or_default().push((row.text(1)?, row.integer(2)?));
        Ok(())
    })?;
    Ok(found)
}
