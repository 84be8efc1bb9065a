//! Reading runs: from rows of `runs` to runs with all that belongs to them, in a fixed number of statements for any
//! number of runs.

use std::collections::{BTreeMap, HashMap};

use crate::database::{Connection, Row, Value};
use crate::{DatabaseError, Dataset, DatasetInput, LifecycleStage, Metric, ModelOutput, Result, Run, RunInputsOutputs};

/// What [`bare_run`] reads, of the table `runs` or of an alias `r` of it.
pub(crate) const RUN_COLUMNS: &str = "r.run_key, r.run_id, r.experiment_id, r.name, r.user_id, r.status, r.start_time, \
                                      r.end_time, r.artifact_uri, r.lifecycle_stage";

/// Reads a run without what lies in other tables, and its key.
pub(crate) fn bare_run(row: &Row<'_>) -> Result<(i64, Run), DatabaseError> {
    let parsed = |column: usize, what: &str| -> Result<String, DatabaseError> {
        row.text(column).map_err(|error| DatabaseError::damaged(format!("{what}: {error}")))
    };
    let run_id = parsed(1, "runs.run_id")?;
    let status = parsed(5, "runs.status")?;
    let run = Run {
        run_id: run_id.parse().map_err(|_| damaged("runs.run_id", &run_id))?,
        name: row.text(3)?,
        experiment_id: row.integer(2)?.to_string(),
        user_id: row.text(4)?,
        status: status.parse().map_err(|_| damaged("runs.status", &status))?,
        start_time_ms: row.integer(6)?,
        end_time_ms: row.optional_integer(7)?,
        artifact_uri: row.text(8)?,
        lifecycle_stage: stage(&row.text(9)?)?,
        params: BTreeMap::new(),
        tags: BTreeMap::new(),
        metrics: Vec::new(),
        inputs_outputs: RunInputsOutputs::default(),
    };
    Ok((row.integer(0)?, run))
}

/// Reads whether something is in use.
pub(crate) fn stage(text: &str) -> Result<LifecycleStage, DatabaseError> {
    match text {
        "active" => Ok(LifecycleStage::Active),
        "deleted" => Ok(LifecycleStage::Deleted),
        _ => Err(damaged("lifecycle_stage", text)),
    }
}

/// Returns the error for a stored value that cannot be one of ours.
pub(crate) fn damaged(what: &str, value: &str) -> DatabaseError {
    DatabaseError::damaged(format!("{what} holds `{value}`"))
}

/// Returns the value of a metric that the columns `value` and `is_nan` hold.
pub(crate) fn metric_value(row: &Row<'_>, value: usize, is_nan: usize) -> Result<f64, DatabaseError> {
    if row.integer(is_nan)? == 1 { Ok(f64::NAN) } else { row.real(value) }
}

/// Gives runs what belongs to them: params, tags, latest metrics, inputs and outputs.
pub(crate) fn complete(connection: &mut Connection, bare: Vec<(i64, Run)>) -> Result<Vec<Run>> {
    if bare.is_empty() {
        return Ok(Vec::new());
    }
    let dialect = connection.dialect();
    let list = [Value::Owned(dialect.numbers(bare.iter().map(|(run_key, _)| *run_key)))];
    let position: HashMap<i64, usize> =
        bare.iter().enumerate().map(|(position, (run_key, _))| (*run_key, position)).collect();
    let mut runs: Vec<Run> = bare.into_iter().map(|(_, run)| run).collect();
    let of_these = dialect.is_one_of("run_key", "?1");
    let at = |run_key: i64| {
        position.get(&run_key).copied().ok_or_else(|| DatabaseError::damaged(format!("no run has the key {run_key}")))
    };

    let sql = format!("SELECT run_key, name, value FROM params JOIN keys USING (key_id) WHERE {of_these}");
    connection.query(&sql, &list, |row| {
        runs[at(row.integer(0)?)?].params.insert(row.text(1)?, row.text(2)?);
        Ok(())
    })?;
    let sql = format!("SELECT run_key, name, value FROM tags JOIN keys USING (key_id) WHERE {of_these}");
    connection.query(&sql, &list, |row| {
        runs[at(row.integer(0)?)?].tags.insert(row.text(1)?, row.text(2)?);
        Ok(())
    })?;
    let sql = format!(
        "SELECT run_key, name, value, is_nan, timestamp, step FROM latest_metrics JOIN keys USING (key_id) WHERE {of_these}"
    );
    connection.query(&sql, &list, |row| {
        let metric = Metric {
            key: row.text(1)?,
            value: metric_value(row, 2, 3)?,
            timestamp_ms: row.integer(4)?,
            step: row.integer(5)?,
        };
        runs[at(row.integer(0)?)?].metrics.push(metric);
        Ok(())
    })?;
    runs.iter_mut().for_each(|run| run.metrics.sort_unstable_by(|one, other| one.key.cmp(&other.key)));
    add_datasets(connection, &of_these, &list, &position, &mut runs)?;
    add_models(connection, &of_these, &list, &position, &mut runs)?;
    Ok(runs)
}

fn add_datasets(
    connection: &mut Connection,
    of_these: &str,
    list: &[Value<'_>],
    position: &HashMap<i64, usize>,
    runs: &mut [Run],
) -> Result<()> {
    let sql = format!(
        "SELECT run_key, dataset_key, name, digest, source_type, source, schema, profile
         FROM dataset_inputs JOIN datasets USING (dataset_key) WHERE {of_these} ORDER BY run_key, dataset_key"
    );
    let inputs = connection.query(&sql, list, |row| {
        let dataset = Dataset {
            name: row.text(2)?,
            digest: row.text(3)?,
            source_type: row.text(4)?,
            source: row.text(5)?,
            schema: row.optional_text(6)?,
            profile: row.optional_text(7)?,
        };
        Ok((row.integer(0)?, row.integer(1)?, DatasetInput { dataset, tags: Vec::new() }))
    })?;
    if inputs.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT run_key, dataset_key, key, value FROM dataset_input_tags WHERE {of_these} ORDER BY run_key, dataset_key, key"
    );
    let mut tags: HashMap<(i64, i64), Vec<(String, String)>> = HashMap::new();
    connection.query(&sql, list, |row| {
        tags.entry((row.integer(0)?, row.integer(1)?)).or_default().push((row.text(2)?, row.text(3)?));
        Ok(())
    })?;
    for (run_key, dataset_key, mut input) in inputs {
        input.tags = tags.remove(&(run_key, dataset_key)).unwrap_or_default();
        if let Some(position) = position.get(&run_key) {
            runs[*position].inputs_outputs.datasets.push(input);
        }
    }
    Ok(())
}

fn add_models(
    connection: &mut Connection,
    of_these: &str,
    list: &[Value<'_>],
    position: &HashMap<i64, usize>,
    runs: &mut [Run],
) -> Result<()> {
    let sql =
        format!("SELECT run_key, direction, model_id, step FROM run_models WHERE {of_these} ORDER BY run_key, step");
    connection.query(&sql, list, |row| {
        let Some(position) = position.get(&row.integer(0)?) else { return Ok(()) };
        let model_id = row.text(2)?;
        let models = &mut runs[*position].inputs_outputs;
        match row.integer(1)? {
            0 => models.model_inputs.push(model_id),
            _ => models.model_outputs.push(ModelOutput { model_id, step: row.integer(3)? }),
        }
        Ok(())
    })?;
    Ok(())
}
