//! The rows of the model registry.

use std::collections::{BTreeMap, HashMap};

use crate::database::{Connection, Row, Value};
use crate::rows::damaged;
use crate::store::now_ms;
use crate::{DatabaseError, Error, ModelVersion, NewModelVersion, Pairs, RegisteredModel, Result};

/// What follows the table in a statement that selects the newest version of each stage of the model `?1`.
pub(super) const LATEST_OF_STAGE: &str = "WHERE m.name = ?1 AND r.version = (
        SELECT max(o.version) FROM model_versions o
        WHERE o.registered_key = r.registered_key AND o.current_stage = r.current_stage)
    ORDER BY r.version";

/// What is worked out for a version that is being made.
pub(super) struct VersionRow<'a> {
    pub(super) storage_location: &'a str,
    pub(super) run_id: &'a str,
    pub(super) model_id: Option<&'a str>,
}

/// Returns the number of a registered model.
pub(super) fn number(connection: &mut Connection, name: &str) -> Result<Option<i64>> {
    connection.number("SELECT registered_key FROM registered_models WHERE name = ?1", &[name.into()])
}

/// Refuses names that no registered model can have.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid("Registered model name cannot be empty."));
    }
    if name.contains(['/', ':']) {
        return Err(Error::invalid(format!("Invalid model name '{name}'. Names cannot contain '/' or ':'.")));
    }
    Ok(())
}

/// Returns the number of a registered model that must exist.
pub(super) fn existing(connection: &mut Connection, name: &str) -> Result<i64> {
    check_name(name)?;
    let missing = || Error::missing(format!("Registered Model with name={name} not found"));
    number(connection, name)?.ok_or_else(missing)
}

/// Parses the number of a version.
pub(super) fn version_number(version: &str) -> Result<i64> {
    version.parse().map_err(|_| {
        Error::invalid(format!(
            "Parameter 'version' must be an integer, got '{version}'. Model version must be an integer."
        ))
    })
}

fn no_version(name: &str, version: i64) -> Error {
    Error::missing(format!("Model Version (name={name}, version={version}) not found"))
}

/// Returns the numbers of a registered model and of its version, which must exist.
pub(super) fn existing_version(connection: &mut Connection, name: &str, version: &str) -> Result<(i64, i64)> {
    check_name(name)?;
    let version = version_number(version)?;
    let sql = "SELECT registered_key FROM model_versions JOIN registered_models USING (registered_key)
               WHERE name = ?1 AND version = ?2";
    let found = connection.number(sql, &[name.into(), version.into()])?;
    Ok((found.ok_or_else(|| no_version(name, version))?, version))
}

/// Returns a registered model that must exist.
pub(super) fn get_model(connection: &mut Connection, name: &str) -> Result<RegisteredModel> {
    check_name(name)?;
    let missing = || Error::missing(format!("Registered Model with name={name} not found"));
    select_models(connection, "WHERE r.name = ?1", &[name.into()])?.pop().ok_or_else(missing)
}

/// Returns a version that must exist.
pub(super) fn get_version(connection: &mut Connection, name: &str, version: i64) -> Result<ModelVersion> {
    check_name(name)?;
    let rest = "WHERE m.name = ?1 AND r.version = ?2";
    let found = select_versions(connection, rest, &[name.into(), version.into()])?.pop();
    found.ok_or_else(|| no_version(name, version))
}

/// Returns the version that an alias points to.
pub(super) fn by_alias(connection: &mut Connection, name: &str, alias: &str) -> Result<ModelVersion> {
    let model = existing(connection, name)?;
    let sql = "SELECT version FROM model_aliases WHERE registered_key = ?1 AND alias = ?2";
    let version = connection.number(sql, &[model.into(), alias.into()])?;
    let version = version.ok_or_else(|| Error::invalid(format!("Registered model alias {alias} not found.")))?;
    get_version(connection, name, version)
}

/// Notes that a registered model has changed.
pub(super) fn touch(connection: &mut Connection, model: i64) -> Result<()> {
    let sql = "UPDATE registered_models SET last_updated_timestamp = ?2 WHERE registered_key = ?1";
    connection.execute(sql, &[model.into(), now_ms().into()]).map(drop)
}

/// Inserts the next version of a registered model; returns its number.
pub(super) fn insert_version(
    connection: &mut Connection,
    model: i64,
    new: &NewModelVersion,
    row: &VersionRow<'_>,
) -> Result<i64> {
    let now = now_ms();
    let sql = "UPDATE registered_models SET last_version = last_version + 1, last_updated_timestamp = ?2
               WHERE registered_key = ?1 RETURNING last_version";
    let none = DatabaseError::damaged("no version was given out".to_owned());
    let version = connection.number(sql, &[model.into(), now.into()])?.ok_or_else(|| connection.error(none))?;
    let columns = [
        "registered_key",
        "version",
        "creation_timestamp",
        "last_updated_timestamp",
        "current_stage",
        "description",
        "source",
        "storage_location",
        "run_id",
        "run_link",
        "model_id",
    ];
    let values = [
        model.into(),
        version.into(),
        now.into(),
        now.into(),
        "None".into(),
        new.description.as_deref().unwrap_or_default().into(),
        (&new.source).into(),
        row.storage_location.into(),
        row.run_id.into(),
        new.run_link.as_deref().unwrap_or_default().into(),
        row.model_id.into(),
    ];
    connection.insert("model_versions", &columns, "", &values)?;
    Ok(version)
}

/// Sets a tag of a registered model.
pub(super) fn set_model_tag(connection: &mut Connection, model: i64, key: &str, value: &str) -> Result<()> {
    let columns = ["registered_key", "key", "value"];
    let replace = "ON CONFLICT (registered_key, key) DO UPDATE SET value = excluded.value";
    connection.insert("registered_model_tags", &columns, replace, &[model.into(), key.into(), value.into()])?;
    touch(connection, model)
}

/// Sets a tag of a version.
pub(super) fn set_version_tag(
    connection: &mut Connection,
    model: i64,
    version: i64,
    key: &str,
    value: &str,
) -> Result<()> {
    let columns = ["registered_key", "version", "key", "value"];
    let replace = "ON CONFLICT (registered_key, version, key) DO UPDATE SET value = excluded.value";
    let values = [model.into(), version.into(), key.into(), value.into()];
    connection.insert("model_version_tags", &columns, replace, &values).map(drop)
}

/// Returns registered models, `rest` being what follows the table in the statement; its alias is `r`.
pub(super) fn select_models(
    connection: &mut Connection,
    rest: &str,
    values: &[Value<'_>],
) -> Result<Vec<RegisteredModel>> {
    let sql = format!(
        "SELECT r.registered_key, r.name, r.creation_timestamp, r.last_updated_timestamp, r.description
         FROM registered_models r {rest}"
    );
    let mut models = connection.query(&sql, values, |row| {
        let model = RegisteredModel {
            name: row.text(1)?,
            creation_timestamp_ms: row.integer(2)?,
            last_updated_timestamp_ms: row.integer(3)?,
            description: row.optional_text(4)?,
            latest_versions: Vec::new(),
            tags: Pairs::new(),
            aliases: BTreeMap::new(),
        };
        Ok((row.integer(0)?, model))
    })?;
    let dialect = connection.dialect();
    let list = [Value::Owned(dialect.numbers(models.iter().map(|(key, _)| *key)))];
    let of_these = dialect.is_one_of("registered_key", "?1");
    let position: HashMap<i64, usize> = models.iter().enumerate().map(|(at, (key, _))| (*key, at)).collect();
    let sql = format!("SELECT registered_key, key, value FROM registered_model_tags WHERE {of_these}");
    connection.query(&sql, &list, |row| {
        models[position[&row.integer(0)?]].1.tags.insert(row.text(1)?, row.text(2)?);
        Ok(())
    })?;
    let sql = format!("SELECT registered_key, alias, version FROM model_aliases WHERE {of_these}");
    connection.query(&sql, &list, |row| {
        models[position[&row.integer(0)?]].1.aliases.insert(row.text(1)?, row.integer(2)?);
        Ok(())
    })?;
    let rest = LATEST_OF_STAGE.replace("m.name = ?1", &dialect.is_one_of("r.registered_key", "?1"));
    let mut latest: HashMap<String, Vec<ModelVersion>> = HashMap::new();
    for version in select_versions(connection, &rest, &list)? {
        latest.entry(version.name.clone()).or_default().push(version);
    }
    for (_, model) in &mut models {
        model.latest_versions = latest.remove(&model.name).unwrap_or_default();
    }
    Ok(models.into_iter().map(|(_, model)| model).collect())
}

/// Returns versions, `rest` being what follows the tables in the statement; their aliases are `r` and `m`, and `r` has the
/// name of its model.
pub(super) fn select_versions(
    connection: &mut Connection,
    rest: &str,
    values: &[Value<'_>],
) -> Result<Vec<ModelVersion>> {
    // The name belongs to the model; filters and orders look for it in `r`.
    let rest = rest.replace("r.name", "m.name");
    let sql = format!(
        "SELECT r.registered_key, m.name, r.version, r.creation_timestamp, r.last_updated_timestamp, r.current_stage,
                r.description, r.source, r.storage_location, r.run_id, r.run_link, r.model_id
         FROM model_versions r JOIN registered_models m ON m.registered_key = r.registered_key {rest}"
    );
    let mut versions = connection.query(&sql, values, |row| Ok((row.integer(0)?, read(row)?)))?;
    let dialect = connection.dialect();
    let models: std::collections::BTreeSet<i64> = versions.iter().map(|(key, _)| *key).collect();
    let list = [Value::Owned(dialect.numbers(models))];
    let of_these = dialect.is_one_of("registered_key", "?1");
    let sql = format!("SELECT registered_key, version, key, value FROM model_version_tags WHERE {of_these}");
    let mut tags: HashMap<(i64, i64), Pairs> = HashMap::new();
    connection.query(&sql, &list, |row| {
        tags.entry((row.integer(0)?, row.integer(1)?)).or_default().insert(row.text(2)?, row.text(3)?);
        Ok(())
    })?;
    let sql = format!("SELECT registered_key, version, alias FROM model_aliases WHERE {of_these} ORDER BY alias");
    let mut aliases: HashMap<(i64, i64), Vec<String>> = HashMap::new();
    connection.query(&sql, &list, |row| {
        aliases.entry((row.integer(0)?, row.integer(1)?)).or_default().push(row.text(2)?);
        Ok(())
    })?;
    for (model, version) in &mut versions {
        let at = (*model, version.version);
        version.tags = tags.remove(&at).unwrap_or_default();
        version.aliases = aliases.remove(&at).unwrap_or_default();
    }
    Ok(versions.into_iter().map(|(_, version)| version).collect())
}

fn read(row: &Row<'_>) -> Result<ModelVersion, DatabaseError> {
    let stage = row.text(5)?;
    Ok(ModelVersion {
        name: row.text(1)?,
        version: row.integer(2)?,
        creation_timestamp_ms: row.integer(3)?,
        last_updated_timestamp_ms: row.integer(4)?,
        current_stage: stage.parse().map_err(|_| damaged("model_versions.current_stage", &stage))?,
        description: row.text(6)?,
        source: row.text(7)?,
        storage_location: row.text(8)?,
        run_id: row.text(9)?,
        run_link: row.text(10)?,
        model_id: row.optional_text(11)?,
        tags: Pairs::new(),
        aliases: Vec::new(),
    })
}
