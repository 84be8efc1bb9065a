//! Many items of `find-nodes` in one process: the model is opened once, a volume once per distinct path.
//!
//! `{"format": "mlpipe.batch/1", "items": [{"key", "parameters": {volume, vertebra, model, threshold}, "output_dir"}],
//! "results": "path"}`. After each item one line is appended to `results`: `{"key", "status": "ok" | "failed",
//! "error": null | text}`. An item that fails does not stop the others.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mlpipe_dicom::Volume;
use serde::{Deserialize, Serialize};

use crate::files::{read_document, write_error};
use crate::image::{Image, Preparation};
use crate::nodes::{Classifier, examine};
use crate::{Error, Result, Runtime, Summary};

/// Value of `format` in a batch file.
pub const BATCH_FORMAT: &str = "mlpipe.batch/1";

#[derive(Debug, Deserialize)]
struct Batch {
    items: Vec<Item>,
    results: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Item {
    key: String,
    parameters: serde_json::Value,
    output_dir: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    volume: PathBuf,
    vertebra: PathBuf,
    model: PathBuf,
    threshold: Number,
}

/// A number, or a text that holds one.
#[derive(Debug, Deserialize)]
#[serde(try_from = "serde_json::Value")]
struct Number(f64);

impl TryFrom<serde_json::Value> for Number {
    type Error = String;

    fn try_from(value: serde_json::Value) -> std::result::Result<Number, String> {
        let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
        number.map(Number).ok_or_else(|| format!("`{value}` is not a number"))
    }
}

#[derive(Debug, Serialize)]
struct Line<'a> {
    key: &'a str,
    status: &'static str,
    error: Option<String>,
}

/// Runs all items of a batch file; the summary counts those that went well and those that failed.
///
/// # Errors
/// When the batch file cannot be read or `results` cannot be written. What goes wrong with an item is in `results`.
pub fn run(batch_file: &Path, runtime: Runtime) -> Result<Summary> {
    let batch: Batch = read_document(batch_file, BATCH_FORMAT)?;
    let mut results = Results::open(&batch.results)?;
    let mut by_model: Vec<(PathBuf, Vec<(&Item, Parameters)>)> = Vec::new();
    for item in &batch.items {
        match serde_json::from_value::<Parameters>(item.parameters.clone()) {
            Err(error) => results.append(&item.key, Err(format!("parameters: {error}")))?,
            Ok(parameters) => match by_model.iter_mut().find(|(model, _)| *model == parameters.model) {
                Some((_, members)) => members.push((item, parameters)),
                None => by_model.push((parameters.model.clone(), vec![(item, parameters)])),
            },
        }
    }
    let mut summary = Summary { outputs: vec![batch.results.clone()], ..Summary::default() };
    for (model, items) in by_model {
        run_items(&model, runtime, &items, &mut results, &mut summary)?;
    }
    summary.metric("items", batch.items.len() as f64);
    summary.metric("failed_items", results.failed as f64);
    Ok(summary)
}

/// Runs the items of one model; tells the summary what a reader should know about it, and the times.
fn run_items(
    path: &Path,
    runtime: Runtime,
    items: &[(&Item, Parameters)],
    results: &mut Results,
    summary: &mut Summary,
) -> Result<()> {
    let mut model = match runtime.open(path) {
        Ok(model) => model,
        Err(error) => return fail_all(items, &error, results),
    };
    summary.notes.extend(model.note().map(str::to_owned));
    let start = Instant::now();
    let mut classifier = match Classifier::new(&mut model) {
        Ok(classifier) => classifier,
        Err(error) => return fail_all(items, &error, results),
    };
    let mut images = Images::new(classifier.preparation());
    for (item, parameters) in items {
        results.append(&item.key, run_item(&mut classifier, &mut images, item, parameters))?;
    }
    summary.add_times(start, &model);
    Ok(())
}

fn fail_all(items: &[(&Item, Parameters)], error: &Error, results: &mut Results) -> Result<()> {
    items.iter().try_for_each(|(item, _)| results.append(&item.key, Err(error.to_string())))
}

fn run_item(
    classifier: &mut Classifier<'_>,
    images: &mut Images,
    item: &Item,
    parameters: &Parameters,
) -> std::result::Result<(), String> {
    let image = images.get(&parameters.volume)?;
    examine(classifier, image, &parameters.vertebra, parameters.threshold.0, &item.output_dir)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// Prepared volumes by path; a volume that cannot be read is not tried again.
struct Images {
    preparation: Preparation,
    loaded: BTreeMap<PathBuf, std::result::Result<Image, String>>,
}

impl Images {
    fn new(preparation: Preparation) -> Images {
        Images { preparation, loaded: BTreeMap::new() }
    }

    fn get(&mut self, path: &Path) -> std::result::Result<&Image, String> {
        let preparation = self.preparation;
        let load = || -> Result<Image> { Image::prepared(Volume::load(path)?, preparation, path) };
        let loaded = self.loaded.entry(path.to_owned()).or_insert_with(|| load().map_err(|error| error.to_string()));
        loaded.as_ref().map_err(Clone::clone)
    }
}

/// The file that receives one line per item.
struct Results {
    path: PathBuf,
    file: File,
    failed: usize,
}

impl Results {
    fn open(path: &Path) -> Result<Results> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(write_error(path))?;
        Ok(Results { path: path.to_owned(), file, failed: 0 })
    }

    /// One write per line, so that a reader never sees part of one.
    fn append(&mut self, key: &str, outcome: std::result::Result<(), String>) -> Result<()> {
        self.failed += usize::from(outcome.is_err());
        let status = if outcome.is_ok() { "ok" } else { "failed" };
        let mut bytes = serde_json::to_vec(&Line { key, status, error: outcome.err() })
            .map_err(std::io::Error::from)
            .map_err(write_error(&self.path))?;
        bytes.push(b'\n');
        self.file.write_all(&bytes).map_err(write_error(&self.path))
    }
}
