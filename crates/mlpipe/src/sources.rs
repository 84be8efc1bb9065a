//! Input collections: turns what a pipeline's `inputs:` name into keyed items with digests.
//!
//! Two kinds are known: `dicom-series` (series of DICOM instances, chosen by rules) and `files` (the entries of a folder).

use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mlpipe_artifacts::{Digest, DigestCache};
use mlpipe_dicom::{Limits, Scan, Selection, SelectionRules, SeriesManifest, VolumePlan, scan_within, select};
use mlpipe_engine::{Datasets, InputItem, Inputs, ItemContent};
use mlpipe_spec::{Input, ItemForm, Pipeline};
use mlpipe_tracking::Dataset;
use rayon::prelude::*;

use crate::failure::Failure;
use crate::text::{error_line, short_uid};

/// Kinds of collections that a pipeline may name.
pub(crate) const COLLECTIONS: &[&str] = &["dicom-series", "files"];

/// A series: its key, what steps are given, what is recorded of it.
type Series = (String, InputItem, Dataset);

/// What was found for the inputs of a pipeline.
pub(crate) struct Found {
    /// The items, for the engine.
    pub(crate) inputs: Inputs,
    /// For collections of DICOM series: what was chosen and left out, and why.
    pub(crate) selections: IndexMap<String, Selection>,
    /// What is recorded of the series.
    pub(crate) datasets: Datasets,
}

/// Refuses inputs that are not there, before anything is read or written.
pub(crate) fn check_places(pipeline: &Pipeline) -> Result<(), Failure> {
    pipeline.inputs.iter().try_for_each(|(name, input)| existing(name, input).map(drop))
}

/// Lists the items of all inputs. Files whose digests are `known` are not read for them.
///
/// # Errors
/// When a folder is missing or nothing in it can be used.
pub(crate) fn find(pipeline: &Pipeline, known: &DigestCache) -> Result<Found, Failure> {
    let mut found = Found { inputs: Inputs::new(), selections: IndexMap::new(), datasets: Datasets::new() };
    for (name, input) in &pipeline.inputs {
        let items = match input.collection.as_str() {
            "dicom-series" => {
                let (series, selection) = dicom_series(name, input, largest_volume(pipeline), known)?;
                let mut items = IndexMap::new();
                for (key, item, dataset) in series {
                    found.datasets.insert((name.clone(), key.clone()), dataset);
                    items.insert(key, item);
                }
                found.selections.insert(name.clone(), selection);
                items
            }
            _ => files(name, input, known)?,
        };
        found.inputs.insert(name.clone(), items);
    }
    Ok(found)
}

/// Says on stderr what was chosen, left out and refused.
pub(crate) fn explain(selections: &IndexMap<String, Selection>) {
    for (name, selection) in selections {
        error_line(&format!(
            "inputs.{name}: {} series chosen, {} left out",
            selection.chosen.len(),
            selection.left_out.len()
        ));
        for left_out in &selection.left_out {
            error_line(&format!("  left out {}: {}", short_uid(&left_out.series_instance_uid), left_out.reason));
        }
        for file in &selection.rejected_files {
            error_line(&format!("  refused {}: {}", file.path.display(), file.message));
        }
    }
}

/// A volume may take what the step with the most memory may take (`resources: {memory: 4GiB}`).
fn largest_volume(pipeline: &Pipeline) -> Limits {
    let memory = pipeline.steps.iter().map(|step| step.resources.memory_bytes).max();
    memory.map_or_else(Limits::default, |memory| Limits { memory })
}

fn dicom_series(
    name: &str,
    input: &Input,
    limits: Limits,
    known: &DigestCache,
) -> Result<(Vec<Series>, Selection), Failure> {
    let folder = existing(name, input)?;
    let rules = SelectionRules::from_json(&input.select)
        .map_err(|error| Failure::new(crate::failure::Exit::PipelineInvalid, format!("inputs.{name}: {error}")))?;
    let scan = scan_within(&[folder], limits)?;
    let selection = select(&scan, &rules);
    if selection.chosen.is_empty() {
        return Err(nothing_usable(name, input, &scan, &selection));
    }
    let items = selection.chosen.par_iter().map(|chosen| {
        let plan = chosen.plan(&scan).expect("the selection was made from this scan");
        let manifest = SeriesManifest::with_digests(plan, |path| known_digest(known, path))?;
        let item = series_item(&manifest, input.form);
        let dataset = dataset(name, &chosen.key, plan, &manifest, &item);
        Ok((chosen.key.clone(), item, dataset))
    });
    let items: Vec<Series> = items.collect::<Result<_, mlpipe_dicom::Error>>()?;
    Ok((items, selection))
}

/// What is recorded of a series that a run used: counts and ids, nothing about the patient and no path.
fn dataset(collection: &str, key: &str, plan: &VolumePlan, manifest: &SeriesManifest, item: &InputItem) -> Dataset {
    /// MLflow takes no longer one.
    const DIGEST_DIGITS: usize = 36;
    let [slices, rows, columns] = plan.shape;
    let source = serde_json::json!({
        "series_instance_uid": manifest.series_instance_uid, "study_instance_uid": manifest.study_instance_uid,
    });
    let schema = serde_json::json!({ "modality": plan.modality, "rows": rows, "columns": columns });
    let profile = serde_json::json!({ "instances": manifest.instances.len(), "slices": slices });
    Dataset {
        name: format!("{collection}/{}", short_uid(key)),
        digest: item.digest.to_string()[..DIGEST_DIGITS].to_owned(),
        source_type: "dicom-series".to_owned(),
        source: source.to_string(),
        schema: Some(schema.to_string()),
        profile: Some(profile.to_string()),
    }
}

fn known_digest(known: &DigestCache, path: &Path) -> std::io::Result<[u8; 32]> {
    match known.digest_file(path) {
        Ok(digest) => Ok(*digest.as_bytes()),
        Err(mlpipe_artifacts::Error::Io { source, .. }) => Err(source),
        Err(other) => Err(std::io::Error::other(other)),
    }
}

fn series_item(manifest: &SeriesManifest, form: ItemForm) -> InputItem {
    let content = match form {
        ItemForm::Manifest => {
            ItemContent::Manifest(serde_json::to_string_pretty(manifest).expect("a manifest has string keys"))
        }
        ItemForm::Directory => {
            let link = |instance: &mlpipe_dicom::ManifestInstance| {
                (format!("{}.dcm", instance.sop_instance_uid), instance.path.clone())
            };
            ItemContent::Links(manifest.instances.iter().map(link).collect())
        }
    };
    InputItem { digest: Digest::from_bytes(manifest.digest()), content }
}

fn nothing_usable(name: &str, input: &Input, scan: &Scan, selection: &Selection) -> Failure {
    let mut message = format!("inputs.{name}: no usable series in `{}`", input.from);
    if scan.series.is_empty() && selection.rejected_files.is_empty() {
        message.push_str(&format!(": it holds no DICOM files ({} other files)", scan.other_files));
    }
    const SHOWN: usize = 12;
    let left_out =
        selection.left_out.iter().map(|out| format!("{}: {}", short_uid(&out.series_instance_uid), out.reason));
    let refused = selection.rejected_files.iter().map(|file| format!("{}: {}", file.path.display(), file.message));
    let reasons: Vec<String> = left_out.chain(refused).collect();
    for reason in reasons.iter().take(SHOWN) {
        message.push_str(&format!("\n  {reason}"));
    }
    if reasons.len() > SHOWN {
        message.push_str(&format!("\n  and {} more", reasons.len() - SHOWN));
    }
    Failure::bad_input(message).hint(format!(
        "`mlpipe dicom inspect {}` shows every series; change `select` or give another folder",
        input.from
    ))
}

/// Every entry of the folder is an item, its name the key; a single file is one item.
fn files(name: &str, input: &Input, known: &DigestCache) -> Result<IndexMap<String, InputItem>, Failure> {
    if let Some(rule) = input.select.keys().next() {
        let message = format!("inputs.{name}: `select.{rule}`: a collection of files takes no rules");
        return Err(Failure::new(crate::failure::Exit::PipelineInvalid, message));
    }
    let path = existing(name, input)?;
    let mut paths = if path.is_dir() { entries(&path)? } else { vec![path.clone()] };
    paths.sort();
    let item = |path: PathBuf| {
        let key =
            path.file_name().unwrap_or_default().to_str().map(str::to_owned).ok_or_else(|| {
                Failure::bad_input(format!("inputs.{name}: `{}`: the name is not UTF-8", path.display()))
            })?;
        let digest =
            known.digest_tree(&path, &[]).map_err(|error| Failure::bad_input(format!("inputs.{name}: {error}")))?;
        Ok((key, InputItem { digest, content: ItemContent::Path(path) }))
    };
    let items = paths.into_par_iter().map(item).collect::<Result<Vec<_>, Failure>>()?;
    if items.is_empty() {
        return Err(Failure::bad_input(format!("inputs.{name}: `{}` is empty", input.from)));
    }
    Ok(items.into_iter().collect())
}

/// Hidden files are not items.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let unreadable = |error: std::io::Error| Failure::bad_input(format!("`{}`: {error}", folder.display()));
    let paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .map_err(unreadable)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(unreadable)?;
    let hidden = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    Ok(paths.into_iter().filter(|path| !hidden(path)).collect())
}

fn existing(name: &str, input: &Input) -> Result<PathBuf, Failure> {
    let path = PathBuf::from(&input.from);
    match path.metadata() {
        Ok(_) => Ok(path),
        Err(error) => Err(Failure::bad_input(format!("inputs.{name}: `{}`: {error}", input.from))
            .hint("give the folder with -P, as in `-P studies=PATH`; relative paths count from here")),
    }
}
