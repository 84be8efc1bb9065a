//! What runs read and write: datasets and logged models.

use super::runs;
use crate::conditions::DATA_CONTEXT;
use crate::database::{Connection, Value};
use crate::limits::is_longer;
use crate::{DatabaseError, Dataset, DatasetInput, DatasetSummary, Error, ModelOutput, Result, Store};

/// Summaries of datasets in an answer at most.
const MAX_SUMMARIES: usize = 1000;
/// The longest name of a dataset.
const MAX_NAME_CHARS: usize = 500;
/// The longest digest of a dataset.
const MAX_DIGEST_CHARS: usize = 36;
/// The longest source of a dataset.
const MAX_SOURCE_CHARS: usize = 65_535;
/// The longest schema of a dataset.
const MAX_SCHEMA_CHARS: usize = 1_048_575;
/// The longest profile of a dataset.
const MAX_PROFILE_CHARS: usize = 16_777_215;
/// The longest key of a tag of an input.
const MAX_TAG_KEY_CHARS: usize = 255;
/// The longest value of a tag of an input.
const MAX_TAG_VALUE_CHARS: usize = 500;
/// The directions in `run_models`.
const INPUT: i64 = 0;
/// See [`INPUT`].
const OUTPUT: i64 = 1;

impl Store {
    /// Adds datasets and logged models to the inputs of a run (`runs/log-inputs`). The same dataset again changes
    /// nothing, not even its tags.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_inputs(&self, run_id: &str, datasets: &[DatasetInput], model_ids: &[String]) -> Result<()> {
        datasets.iter().try_for_each(check_lengths)?;
        self.write(|transaction| {
            let connection = &mut *transaction.connection;
            let run = runs::active(connection, run_id)?;
            let experiment = connection.number("SELECT experiment_id FROM runs WHERE run_key = ?1", &[run.into()])?;
            for input in datasets {
                add_dataset(connection, run, experiment.unwrap_or_default(), input)?;
            }
            add_models(connection, run, INPUT, model_ids.iter().map(|model_id| (model_id.as_str(), 0)))
        })
    }

    /// Adds logged models to the outputs of a run (`runs/outputs`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_outputs(&self, run_id: &str, models: &[ModelOutput]) -> Result<()> {
        self.write(|transaction| {
            let run = runs::active(transaction.connection, run_id)?;
            let models = models.iter().map(|model| (model.model_id.as_str(), model.step));
            add_models(transaction.connection, run, OUTPUT, models)
        })
    }

    /// Returns the datasets of experiments, at most 1000 (`experiments/search-datasets`).
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn search_datasets(&self, experiment_ids: &[String]) -> Result<Vec<DatasetSummary>> {
        let experiments = experiment_ids.iter().filter_map(|id| id.parse().ok());
        self.read(|connection| {
            let dialect = connection.dialect();
            let sql = format!(
                "SELECT DISTINCT d.experiment_id, d.name, d.digest, t.value
                 FROM datasets d JOIN dataset_inputs i ON i.dataset_key = d.dataset_key
                 LEFT JOIN dataset_input_tags t
                     ON t.run_key = i.run_key AND t.dataset_key = i.dataset_key AND t.key = '{DATA_CONTEXT}'
                 WHERE {} ORDER BY 1, 2, 3, 4 LIMIT {MAX_SUMMARIES}",
                dialect.is_one_of("d.experiment_id", "?1")
            );
            let list = Value::Owned(dialect.numbers(experiments.clone()));
            connection.query(&sql, &[list], |row| {
                Ok(DatasetSummary {
                    experiment_id: row.integer(0)?.to_string(),
                    name: row.text(1)?,
                    digest: row.text(2)?,
                    context: row.optional_text(3)?,
                })
            })
        })
    }
}

fn check_dataset(dataset: &Dataset) -> Result<()> {
    let required = [
        ("name", &dataset.name),
        ("digest", &dataset.digest),
        ("source_type", &dataset.source_type),
        ("source", &dataset.source),
    ];
    if let Some((what, _)) = required.iter().find(|(_, text)| text.is_empty()) {
        return Err(Error::invalid(format!("Dataset {what} cannot be empty")));
    }
    check_length("name", &dataset.name, MAX_NAME_CHARS)?;
    check_length("digest", &dataset.digest, MAX_DIGEST_CHARS)
}

fn check_length(what: &str, text: &str, most: usize) -> Result<()> {
    if is_longer(text, most) {
        return Err(Error::invalid(format!("'{what}' exceeds the maximum length of {most} characters")));
    }
    Ok(())
}

/// MLflow's limits on what clients say of a dataset, beside those that every dataset meets.
fn check_lengths(input: &DatasetInput) -> Result<()> {
    let dataset = &input.dataset;
    check_length("source", &dataset.source, MAX_SOURCE_CHARS)?;
    check_length("schema", dataset.schema.as_deref().unwrap_or_default(), MAX_SCHEMA_CHARS)?;
    check_length("profile", dataset.profile.as_deref().unwrap_or_default(), MAX_PROFILE_CHARS)?;
    input.tags.iter().try_for_each(|(key, value)| {
        check_length("key", key, MAX_TAG_KEY_CHARS)?;
        check_length("value", value, MAX_TAG_VALUE_CHARS)
    })
}

/// Makes a dataset an input of a run. What is stored of a dataset, and its tags in a run, are what was said of them first.
pub(crate) fn add_dataset(connection: &mut Connection, run: i64, experiment: i64, input: &DatasetInput) -> Result<()> {
    let dataset = &input.dataset;
    check_dataset(dataset)?;
    let columns = ["experiment_id", "name", "digest", "source_type", "source", "schema", "profile"];
    let values = [
        experiment.into(),
        (&dataset.name).into(),
        (&dataset.digest).into(),
        (&dataset.source_type).into(),
        (&dataset.source).into(),
        dataset.schema.as_ref().into(),
        dataset.profile.as_ref().into(),
    ];
    connection.insert("datasets", &columns, "ON CONFLICT (experiment_id, name, digest) DO NOTHING", &values)?;
    let sql = "SELECT dataset_key FROM datasets WHERE experiment_id = ?1 AND name = ?2 AND digest = ?3";
    let none = DatabaseError::damaged("a dataset was not stored".to_owned());
    let key = connection.number(sql, &values[..3])?.ok_or_else(|| connection.error(none))?;
    let pair = [run.into(), key.into()];
    if connection.insert("dataset_inputs", &["run_key", "dataset_key"], "ON CONFLICT DO NOTHING", &pair)? == 0 {
        return Ok(());
    }
    for (tag, value) in &input.tags {
        let columns = ["run_key", "dataset_key", "key", "value"];
        let replace = "ON CONFLICT (run_key, dataset_key, key) DO UPDATE SET value = excluded.value";
        let values = [run.into(), key.into(), tag.into(), value.into()];
        connection.insert("dataset_input_tags", &columns, replace, &values)?;
    }
    Ok(())
}

fn add_models<'a>(
    connection: &mut Connection,
    run: i64,
    direction: i64,
    models: impl Iterator<Item = (&'a str, i64)>,
) -> Result<()> {
    for (model_id, step) in models {
        let columns = ["run_key", "direction", "model_id", "step"];
        let values = [run.into(), direction.into(), model_id.into(), step.into()];
        let conflict = "ON CONFLICT (run_key, direction, model_id) DO UPDATE SET step = excluded.step";
        connection.insert("run_models", &columns, conflict, &values)?;
    }
    Ok(())
}
