//! `models:/NAME/VERSION`, `models:/NAME@ALIAS` and `runs:/RUN/path` as values of a pipeline's parameters: looked up once, in
//! the local store, before anything is planned.
//!
//! What they name is put in their place, so that the content counts from there on, as of any other path, and a lock or a
//! rerun means the same version although the alias may name another one by then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlpipe_engine::{RunRecord, Workspace};
use mlpipe_spec::{ParamValue, ParameterKind, Part, Pipeline};
use mlpipe_tracking::{ModelVersion, Search, Store};

use crate::commands::place::{ModelReference, Place, resolve, version_in};
use crate::commands::tracked::Tracked;
use crate::failure::Failure;
use crate::{state, text};

/// Puts paths in place of the references in a pipeline, and says what each names. Does nothing where there are none.
pub(crate) fn look_up(pipeline: &mut Pipeline) -> Result<(), Failure> {
    let mut wanted: BTreeMap<String, String> = BTreeMap::new();
    let located = |kind: ParameterKind| matches!(kind, ParameterKind::Path | ParameterKind::Uri);
    let texts = pipeline.steps.iter().flat_map(|step| &step.arguments).filter(|argument| located(argument.kind));
    let params = pipeline.params.values().filter(|param| located(param.kind)).map(|param| param.value.to_string());
    for found in texts.filter_map(|argument| argument.value.as_text().map(str::to_owned)).chain(params) {
        if is_reference(&found) {
            wanted.entry(found).or_default();
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let workspace = state::open()?;
    let store = workspace.store()?;
    let before = paths_before(&workspace, pipeline);
    let tracked = Tracked::Local(Box::new(workspace), Box::new(store));
    for (reference, path) in &mut wanted {
        *path = found(&tracked, reference, before.get(reference).map(PathBuf::as_path))?;
    }
    for argument in
        pipeline.steps.iter_mut().flat_map(|step| &mut step.arguments).filter(|argument| located(argument.kind))
    {
        if let Some(path) = argument.value.as_text().and_then(|text| wanted.get(text)) {
            argument.value.parts = vec![Part::Text(path.clone())];
        }
    }
    for param in pipeline.params.values_mut().filter(|param| located(param.kind)) {
        if let Some(path) = wanted.get(&param.value.to_string()) {
            param.value = ParamValue::String(path.clone());
        }
    }
    Ok(())
}

fn is_reference(text: &str) -> bool {
    text.starts_with("models:/") || text.starts_with("runs:/")
}

/// What the references that are values of parameters named in the newest run of this pipeline.
fn paths_before(workspace: &Workspace, pipeline: &Pipeline) -> BTreeMap<String, PathBuf> {
    let newest = workspace.newest_run(Some(&pipeline.name)).ok().flatten();
    let Some(record) = newest.and_then(|run| RunRecord::read(workspace, &run).ok()) else { return BTreeMap::new() };
    let directory = record.path.parent().unwrap_or(Path::new("/"));
    let path = |name: &String| record.pinned.paths.get(name).map(|path| directory.join(path));
    let params = pipeline.params.iter().filter_map(|(name, param)| Some((param.value.to_string(), path(name)?)));
    params.filter(|(value, _)| is_reference(value)).collect()
}

fn found(tracked: &Tracked, reference: &str, before: Option<&Path>) -> Result<String, Failure> {
    if let (Tracked::Local(_, store), true) = (tracked, reference.starts_with("models:/")) {
        let version = version_in(store, ModelReference::parse(reference)?)?;
        let other =
            before.and_then(|path| version_at(store, &version.name, path)).filter(|old| *old != version.version);
        let was = other.map_or(String::new(), |old| format!(", it was version {old} in the run before"));
        text::error_line(&format!("{reference} is version {} of {}{was}", version.version, version.name));
    }
    match resolve(tracked, reference)? {
        Place::Local(path) if path.exists() => Ok(path.display().to_string()),
        Place::Local(path) => {
            Err(Failure::bad_input(format!("`{reference}`: its files are not at {} any more", path.display())))
        }
        Place::Proxied(uri) => {
            Err(Failure::bad_input(format!("`{reference}` lies at {uri}, behind a tracking server"))
                .hint("`mlpipe models download` fetches it; give the folder then"))
        }
    }
}

/// The version of a model whose files lie there.
fn version_at(store: &Store, name: &str, path: &Path) -> Option<i64> {
    let path = path.canonicalize().ok()?;
    let lies_there = |version: &ModelVersion| {
        let place = version.storage_location.strip_prefix("file://").unwrap_or(&version.storage_location);
        Path::new(place).canonicalize().is_ok_and(|place| place == path)
    };
    let filter = format!("name = '{}'", name.replace('\'', "''"));
    let versions = store.search_model_versions(&Search { filter, ..Search::default() }).ok()?.items;
    versions.iter().find(|version| lies_there(version)).map(|version| version.version)
}
