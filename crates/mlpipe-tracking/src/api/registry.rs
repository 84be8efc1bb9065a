//! The model registry: registered models, their versions, aliases, stages and tags. Versions are given as text, as in
//! requests; text that is no number is `InvalidParameterValue`.

use super::registry_rows::{
    LATEST_OF_STAGE, VersionRow, by_alias, check_name, existing, existing_version, get_model, get_version,
    insert_version, number, select_models, select_versions, set_model_tag, set_version_tag, touch, version_number,
};
use super::{lineage, logged_models, runs};
use crate::conditions::{Conditions, NO_PROMPT, attribute_order, is_prompt};
use crate::database::{Connection, Value};
use crate::limits::{MAX_REGISTRY_TAG_CHARS, check_tag, is_longer};
use crate::pages::{offset, page, page_size};
use crate::search::{Grammar, Kind, parse_filter, parse_order};
use crate::source::{ModelUri, Origin, check_source, parse_model_uri};
use crate::store::now_ms;
use crate::{Error, ModelVersion, NewModelVersion, Page, RegisteredModel, Result, Search, Stage, Store};

/// Registered models on a page, unless said otherwise.
const DEFAULT_MODELS: usize = 100;
/// Registered models on a page at most.
const MAX_MODELS: usize = 1000;
/// Versions on a page, unless said otherwise.
const DEFAULT_VERSIONS: usize = 10_000;
/// Versions on a page at most.
const MAX_VERSIONS: usize = 200_000;
/// The longest alias.
const MAX_ALIAS_CHARS: usize = 255;

impl Store {
    /// Makes a registered model (`registered-models/create`).
    ///
    /// # Errors
    /// Codes `ResourceAlreadyExists`, `InvalidParameterValue`.
    pub fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: &[(String, String)],
    ) -> Result<RegisteredModel> {
        check_name(name)?;
        check_tags(tags)?;
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            if number(connection, name)?.is_some() {
                return Err(name_taken(name));
            }
            let columns = ["name", "creation_timestamp", "last_updated_timestamp", "description", "last_version"];
            let now = now_ms();
            let values = [name.into(), now.into(), now.into(), description.into(), 0.into()];
            connection.insert("registered_models", &columns, "", &values)?;
            let model = existing(connection, name)?;
            tags.iter().try_for_each(|(key, value)| set_model_tag(connection, model, key, value))?;
            get_model(connection, name)
        })
    }

    /// Returns a registered model (`registered-models/get`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn registered_model(&self, name: &str) -> Result<RegisteredModel> {
        check_name(name)?;
        self.read(|connection| get_model(connection, name))
    }

    /// Returns registered models, by name unless another order is given (`registered-models/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_registered_models(&self, search: &Search) -> Result<Page<RegisteredModel>> {
        let clauses = parse_filter(&search.filter, Grammar::RegisteredModels)?;
        let order = order(&search.order_by, Grammar::RegisteredModels, &[("name", "ASC")])?;
        let size = page_size(search.max_results, DEFAULT_MODELS, MAX_MODELS)?;
        let skipped = offset(search.page_token.as_deref())?;
        let found = self.read(|connection| {
            let mut conditions = Conditions::new(connection, Grammar::RegisteredModels);
            if !clauses.iter().any(is_prompt) {
                conditions.add(NO_PROMPT);
            }
            conditions.add_filter(&clauses)?;
            let (limit, start) = (conditions.bind(size as i64 + 1), conditions.bind(skipped as i64));
            let (conditions, values) = conditions.finish();
            select_models(
                connection,
                &format!("WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {start}"),
                &values,
            )
        })?;
        Ok(page(found, skipped, size))
    }

    /// Sets the description (`registered-models/update`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn update_registered_model(&self, name: &str, description: Option<&str>) -> Result<RegisteredModel> {
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let model = existing(connection, name)?;
            let sql = "UPDATE registered_models SET description = ?2, last_updated_timestamp = ?3
                       WHERE registered_key = ?1";
            connection.execute(sql, &[model.into(), description.into(), now_ms().into()])?;
            get_model(connection, name)
        })
    }

    /// Gives a registered model another name; its versions go along (`registered-models/rename`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `ResourceAlreadyExists`, `InvalidParameterValue`.
    pub fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<RegisteredModel> {
        check_name(new_name)?;
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let model = existing(connection, name)?;
            if number(connection, new_name)?.is_some_and(|other| other != model) {
                return Err(name_taken(new_name));
            }
            let now = now_ms();
            let sql = "UPDATE registered_models SET name = ?2, last_updated_timestamp = ?3 WHERE registered_key = ?1";
            connection.execute(sql, &[model.into(), new_name.into(), now.into()])?;
            let sql = "UPDATE model_versions SET last_updated_timestamp = ?2 WHERE registered_key = ?1";
            connection.execute(sql, &[model.into(), now.into()])?;
            get_model(connection, new_name)
        })
    }

    /// Removes a registered model with its versions (`registered-models/delete`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_registered_model(&self, name: &str) -> Result<()> {
        self.write(|transaction| {
            let model = existing(transaction.connection, name)?;
            let sql = "DELETE FROM registered_models WHERE registered_key = ?1";
            transaction.connection.execute(sql, &[model.into()]).map(drop)
        })
    }

    /// Returns the newest version of each stage given, or of every stage (`registered-models/get-latest-versions`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (a bad stage).
    pub fn latest_versions(&self, name: &str, stages: &[String]) -> Result<Vec<ModelVersion>> {
        let stages = stages.iter().map(|stage| stage.parse()).collect::<Result<Vec<Stage>>>()?;
        self.read(|connection| {
            existing(connection, name)?;
            let mut latest = select_versions(connection, LATEST_OF_STAGE, &[name.into()])?;
            latest.retain(|version| stages.is_empty() || stages.contains(&version.current_stage));
            Ok(latest)
        })
    }

    /// Sets a tag of a registered model (`registered-models/set-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_registered_model_tag(&self, name: &str, key: &str, value: &str) -> Result<()> {
        check_tag(key, value, MAX_REGISTRY_TAG_CHARS)?;
        self.write(|transaction| {
            let model = existing(transaction.connection, name)?;
            set_model_tag(transaction.connection, model, key, value)
        })
    }

    /// Removes a tag of a registered model, if it has it (`registered-models/delete-tag`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<()> {
        self.write(|transaction| {
            let model = existing(transaction.connection, name)?;
            let sql = "DELETE FROM registered_model_tags WHERE registered_key = ?1 AND key = ?2";
            transaction.connection.execute(sql, &[model.into(), key.into()]).map(drop)
        })
    }

    /// Points an alias to a version (`POST registered-models/alias`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (`latest`, `v1`, ...).
    pub fn set_registered_model_alias(&self, name: &str, alias: &str, version: &str) -> Result<()> {
        check_alias(alias)?;
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let (model, version) = existing_version(connection, name, version)?;
            let columns = ["registered_key", "alias", "version"];
            let replace = "ON CONFLICT (registered_key, alias) DO UPDATE SET version = excluded.version";
            let values = [model.into(), alias.into(), version.into()];
            connection.insert("model_aliases", &columns, replace, &values).map(drop)
        })
    }

    /// Removes an alias, if there is one (`DELETE registered-models/alias`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_registered_model_alias(&self, name: &str, alias: &str) -> Result<()> {
        check_alias(alias)?;
        self.write(|transaction| {
            let model = existing(transaction.connection, name)?;
            let sql = "DELETE FROM model_aliases WHERE registered_key = ?1 AND alias = ?2";
            transaction.connection.execute(sql, &[model.into(), alias.into()]).map(drop)
        })
    }

    /// Returns the version an alias points to (`GET registered-models/alias`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist` (no model), `InvalidParameterValue` (no such alias).
    pub fn model_version_by_alias(&self, name: &str, alias: &str) -> Result<ModelVersion> {
        self.read(|connection| by_alias(connection, name, alias))
    }

    /// Makes the next version of a registered model (`model-versions/create`). The source is checked as MLflow does: a
    /// local path or one served here must lie below the artifacts of its run or logged model.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn create_model_version(&self, new: &NewModelVersion) -> Result<ModelVersion> {
        check_name(&new.name)?;
        check_tags(&new.tags)?;
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (run_id, model_id) = (given(&new.run_id), given(&new.model_id));
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let model = existing(connection, &new.name)?;
            check_origin(connection, &new.source, run_id.as_deref(), model_id.as_deref())?;
            let (storage_location, run_of_model) = resolve(connection, &new.source, model_id.as_deref())?;
            let row = VersionRow {
                storage_location: &storage_location,
                run_id: run_id.as_deref().or(run_of_model.as_deref()).unwrap_or_default(),
                model_id: model_id.as_deref(),
            };
            let version = insert_version(connection, model, new, &row)?;
            new.tags.iter().try_for_each(|(key, value)| set_version_tag(connection, model, version, key, value))?;
            if let Some(model_id) = &model_id {
                lineage::note(connection, model_id, &new.name, version)?;
            }
            get_version(connection, &new.name, version)
        })
    }

    /// Returns a version (`model-versions/get`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn model_version(&self, name: &str, version: &str) -> Result<ModelVersion> {
        let version = version_number(version)?;
        self.read(|connection| get_version(connection, name, version))
    }

    /// Returns versions, by name and the newest first unless another order is given (`model-versions/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_model_versions(&self, search: &Search) -> Result<Page<ModelVersion>> {
        let clauses = parse_filter(&search.filter, Grammar::ModelVersions)?;
        let order = order(&search.order_by, Grammar::ModelVersions, &[("name", "ASC"), ("version", "DESC")])?;
        let size = page_size(search.max_results, DEFAULT_VERSIONS, MAX_VERSIONS)?;
        let skipped = offset(search.page_token.as_deref())?;
        let found = self.read(|connection| {
            let mut conditions = Conditions::new(connection, Grammar::ModelVersions);
            conditions.add_filter(&clauses)?;
            let (limit, start) = (conditions.bind(size as i64 + 1), conditions.bind(skipped as i64));
            let (conditions, values) = conditions.finish();
            select_versions(
                connection,
                &format!("WHERE {conditions} ORDER BY {order} LIMIT {limit} OFFSET {start}"),
                &values,
            )
        })?;
        Ok(page(found, skipped, size))
    }

    /// Sets the description of a version (`model-versions/update`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn update_model_version(&self, name: &str, version: &str, description: Option<&str>) -> Result<ModelVersion> {
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let (model, number) = existing_version(connection, name, version)?;
            let sql = "UPDATE model_versions SET description = ?3, last_updated_timestamp = ?4
                       WHERE registered_key = ?1 AND version = ?2";
            let description = description.unwrap_or_default();
            connection.execute(sql, &[model.into(), number.into(), description.into(), now_ms().into()])?;
            get_version(connection, name, number)
        })
    }

    /// Removes a version (`model-versions/delete`); its number is not given out again.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn delete_model_version(&self, name: &str, version: &str) -> Result<()> {
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let (model, version) = existing_version(connection, name, version)?;
            let sql = "DELETE FROM model_versions WHERE registered_key = ?1 AND version = ?2";
            connection.execute(sql, &[model.into(), version.into()])?;
            touch(connection, model)
        })
    }

    /// Moves a version to a stage (`model-versions/transition-stage`), and with `archive_existing_versions` the others
    /// that are there to `Archived`.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn transition_model_version_stage(
        &self,
        name: &str,
        version: &str,
        stage: Stage,
        archive_existing_versions: bool,
    ) -> Result<ModelVersion> {
        if archive_existing_versions && !matches!(stage, Stage::Staging | Stage::Production) {
            return Err(Error::invalid(format!(
                "Model version transition cannot archive existing model versions because '{}' is not an Active stage. \
                 Valid stages are ('Staging', 'Production')",
                stage.as_str()
            )));
        }
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let (model, number) = existing_version(connection, name, version)?;
            let (stage, now) = (Value::from(stage.as_str()), now_ms());
            if archive_existing_versions {
                let sql = "UPDATE model_versions SET current_stage = 'Archived', last_updated_timestamp = ?4
                           WHERE registered_key = ?1 AND version <> ?2 AND current_stage = ?3";
                connection.execute(sql, &[model.into(), number.into(), stage.clone(), now.into()])?;
            }
            let sql = "UPDATE model_versions SET current_stage = ?3, last_updated_timestamp = ?4
                       WHERE registered_key = ?1 AND version = ?2";
            connection.execute(sql, &[model.into(), number.into(), stage, now.into()])?;
            touch(connection, model)?;
            get_version(connection, name, number)
        })
    }

    /// Returns the URI from which the files of a version are read (`model-versions/get-download-uri`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn model_version_download_uri(&self, name: &str, version: &str) -> Result<String> {
        let version = version_number(version)?;
        self.read(|connection| Ok(get_version(connection, name, version)?.storage_location))
    }

    /// Sets a tag of a version (`model-versions/set-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_model_version_tag(&self, name: &str, version: &str, key: &str, value: &str) -> Result<()> {
        check_tag(key, value, MAX_REGISTRY_TAG_CHARS)?;
        self.write(|transaction| {
            let (model, version) = existing_version(transaction.connection, name, version)?;
            set_version_tag(transaction.connection, model, version, key, value)
        })
    }

    /// Removes a tag of a version, if it has it (`model-versions/delete-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn delete_model_version_tag(&self, name: &str, version: &str, key: &str) -> Result<()> {
        self.write(|transaction| {
            let (model, version) = existing_version(transaction.connection, name, version)?;
            let sql = "DELETE FROM model_version_tags WHERE registered_key = ?1 AND version = ?2 AND key = ?3";
            transaction.connection.execute(sql, &[model.into(), version.into(), key.into()]).map(drop)
        })
    }
}

fn name_taken(name: &str) -> Error {
    Error::exists(format!("Registered Model (name={name}) already exists."))
}

fn check_tags(tags: &[(String, String)]) -> Result<()> {
    tags.iter().try_for_each(|(key, value)| check_tag(key, value, MAX_REGISTRY_TAG_CHARS))
}

/// Refuses aliases that a reader would take for something else.
fn check_alias(alias: &str) -> Result<()> {
    let invalid = |why: &str| Err(Error::invalid(format!("Invalid alias name: '{alias}'. {why}")));
    let letters = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    if alias.is_empty() || is_longer(alias, MAX_ALIAS_CHARS) || !alias.chars().all(letters) {
        return invalid("Names may only contain alphanumerics, underscores (_), and dashes (-).");
    }
    if alias.eq_ignore_ascii_case("latest") {
        return invalid("'latest' alias name (case insensitive) is reserved.");
    }
    let is_version = |rest: &str| !rest.is_empty() && rest.chars().all(|digit| digit.is_ascii_digit());
    if alias.strip_prefix(['v', 'V']).is_some_and(is_version) {
        return invalid("Version aliases of the form 'v<number>' are reserved.");
    }
    Ok(())
}

fn order(clauses: &[String], grammar: Grammar, last: &[(&str, &str)]) -> Result<String> {
    let (mut keys, mut columns) = (Vec::new(), Vec::new());
    for clause in clauses {
        let order = parse_order(clause, grammar)?;
        if order.column.kind != Kind::Attribute {
            return Err(Error::invalid(format!("Invalid order_by entity: {clause}")));
        }
        keys.push(attribute_order(&order.column.key, if order.ascending { "ASC" } else { "DESC" }));
        columns.push(order.column.key);
    }
    let rest = last.iter().filter(|(column, _)| !columns.iter().any(|known| known == column));
    keys.extend(rest.map(|(column, direction)| attribute_order(column, direction)));
    Ok(keys.join(", "))
}

fn check_origin(connection: &mut Connection, source: &str, run_id: Option<&str>, model_id: Option<&str>) -> Result<()> {
    if let Some(model_id) = model_id {
        let uri = logged_models::get(connection, model_id).ok().map(|model| model.artifact_uri);
        return check_source(source, Origin::Model(uri.as_deref().map(|uri| (model_id, uri))));
    }
    let uri = match run_id {
        Some(run_id) => runs::get(connection, run_id).ok().map(|run| run.artifact_uri),
        None => None,
    };
    check_source(source, Origin::Run(run_id.map(|run_id| (run_id, uri.as_deref()))))
}

/// Returns from where the files of a source are read, and the run of the logged model that it is, if it is one.
fn resolve(connection: &mut Connection, source: &str, model_id: Option<&str>) -> Result<(String, Option<String>)> {
    let run_of = match model_id {
        Some(model_id) => logged_models::get(connection, model_id)?.source_run_id,
        None => None,
    };
    match parse_model_uri(source) {
        Some(ModelUri::Logged(id)) => {
            let model = logged_models::get(connection, id)?;
            Ok((model.artifact_uri, model.source_run_id))
        }
        Some(ModelUri::Version(name, version)) => {
            Ok((get_version(connection, name, version)?.storage_location, run_of))
        }
        Some(ModelUri::Alias(name, alias)) => Ok((by_alias(connection, name, alias)?.storage_location, run_of)),
        None => Ok((source.to_owned(), run_of)),
    }
}
