//! Holds a rerun against the original: every declared output of every task, by the comparator that its project declares.
//!
//! The original is an earlier run, whose outputs lie in its artifacts, or a lock file, which has digests only; the content
//! behind them is used where the state directory still has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mlpipe_artifacts::{Digest, digest_tree};
use mlpipe_spec::{Comparator, OutputDeclaration, Pipeline};
use mlpipe_tracking::{RunId, RunQuery, RunStatus, tags};
use serde::Serialize;

use crate::cache::Lookup;
use crate::compare::{Comparison, Difference, FileComparator, Verdict, comparable_digest, compare_outputs};
use crate::document::{RunDocument, StepStatus};
use crate::error::{Error, Result};
use crate::lock::{Lock, LockedOutput};
use crate::workspace::Workspace;

/// The outputs to hold a rerun against, by task (`detect[1.2.3]`) and output.
pub type Originals = BTreeMap<String, BTreeMap<String, Original>>;

/// An output of the original.
#[derive(Debug, Clone)]
pub struct Original {
    /// Where it lies; none when only its digest is known.
    pub path: Option<PathBuf>,
    /// Its digest; none when it lies somewhere.
    pub digest: Option<Digest>,
    /// Digest of what counts of it, where the project says that some of it does not.
    pub comparable: Option<Digest>,
}

/// How a rerun compares with the original.
#[derive(Debug, Clone, Serialize)]
pub struct Reproduction {
    /// The worst of all outputs.
    pub verdict: Verdict,
    /// Every declared output of every task, in the order of the steps.
    pub outputs: Vec<ReproducedOutput>,
}

/// How one output compares with the original.
#[derive(Debug, Clone, Serialize)]
pub struct ReproducedOutput {
    /// Step.
    pub step: String,
    /// Item; null when the step runs once.
    pub key: Option<String>,
    /// Name of the output.
    pub output: String,
    /// The comparators that its project declares, or `bytes`.
    pub comparator: String,
    /// The answer.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// Finds the outputs of an earlier run in its artifacts. Tasks that did not finish have none.
///
/// # Errors
/// When the tracking store cannot be read.
pub fn originals_of_run(workspace: &Workspace, run: &RunId, pipeline: &Pipeline) -> Result<Originals> {
    let store = workspace.store()?;
    let mut originals = Originals::new();
    let mut parents = vec![run.clone()];
    while let Some(parent) = parents.pop() {
        for child in store.runs(&RunQuery { parent: Some(parent), ..RunQuery::default() })? {
            parents.push(child.run_id.clone());
            let is_task = child.tags.contains_key(tags::FINGERPRINT) && child.status == RunStatus::Finished;
            let Some(step) = child.tags.get(tags::STEP).filter(|_| is_task) else { continue };
            let Some(declared) = declared(pipeline, step) else { continue };
            let artifacts = Path::new(&child.artifact_uri);
            let outputs = declared.iter().map(|(name, output)| {
                let path = Some(artifacts.join(output.path.trim_end_matches('/')));
                (name.clone(), Original { path, digest: None, comparable: None })
            });
            originals.insert(label(step, child.tags.get(tags::ITEM).map(String::as_str)), outputs.collect());
        }
    }
    Ok(originals)
}

/// Returns the outputs that a lock lists. Those whose content the state directory still has are placed below `scratch`.
///
/// # Errors
/// When stored content cannot be placed.
pub fn originals_of_lock(workspace: &Workspace, lock: &Lock, pipeline: &Pipeline, scratch: &Path) -> Result<Originals> {
    let mut originals = Originals::new();
    for (number, (task, locked)) in lock.tasks.iter().enumerate() {
        let artifacts = match workspace.find_action(locked.fingerprint) {
            Lookup::Hit(action) if !locked.outputs.is_empty() => {
                let place = scratch.join(number.to_string());
                workspace.content().materialize(&action.tree, &place)?;
                Some(place)
            }
            _ => None,
        };
        let declared = declared(pipeline, split(task).0);
        let mut outputs = BTreeMap::new();
        for (name, output) in &locked.outputs {
            let place = declared.and_then(|declared| Some((artifacts.as_ref()?, declared.get(name)?)));
            let path = place.map(|(artifacts, output)| artifacts.join(output.path.trim_end_matches('/')));
            let path = path.filter(|path| is_locked(path, output, &declared.expect("it has a path")[name].compare));
            let original = Original { path, digest: Some(output.digest), comparable: output.comparable };
            outputs.insert(name.clone(), original);
        }
        originals.insert(task.clone(), outputs);
    }
    Ok(originals)
}

/// Tells whether content is what was locked, or the same in all that counts: it may have been made again since.
fn is_locked(path: &Path, locked: &LockedOutput, compare: &[Comparator]) -> bool {
    digest_tree(path, &[]).is_ok_and(|digest| digest == locked.digest)
        || locked.comparable.is_some() && comparable_digest(path, compare).is_ok_and(|found| found == locked.comparable)
}

/// Holds a rerun in `workspace` against the original.
///
/// # Errors
/// When an output cannot be read.
pub fn compare_run(
    workspace: &Workspace,
    rerun: &RunDocument,
    pipeline: &Pipeline,
    originals: &Originals,
    known: &[FileComparator],
) -> Result<Reproduction> {
    let made = made_by(workspace, rerun)?;
    let tasks: BTreeSet<&String> = originals.keys().chain(made.keys()).collect();
    let mut outputs = Vec::new();
    for step in &pipeline.steps {
        for task in tasks.iter().filter(|task| split(task).0 == step.name.as_str()) {
            let (original, artifacts) = (originals.get(*task), made.get(*task));
            for (name, declaration) in &step.entry().outputs {
                let original = original.and_then(|outputs| outputs.get(name));
                if original.is_none() && originals.contains_key(*task) {
                    // Of a step whose results are not kept: there is nothing to compare with.
                    continue;
                }
                let rerun = artifacts.map(|artifacts| artifacts.join(declaration.path.trim_end_matches('/')));
                outputs.push(ReproducedOutput {
                    step: step.name.to_string(),
                    key: split(task).1.map(str::to_owned),
                    output: name.clone(),
                    comparator: comparator_names(&declaration.compare),
                    comparison: compare(original, rerun.as_deref(), declaration, known)?,
                });
            }
        }
    }
    let verdict = outputs.iter().map(|output| output.comparison.verdict).max().unwrap_or(Verdict::Identical);
    Ok(Reproduction { verdict, outputs })
}

/// Where the artifacts of every finished task of a run lie.
fn made_by(workspace: &Workspace, run: &RunDocument) -> Result<BTreeMap<String, PathBuf>> {
    let gone = || mlpipe_tracking::Error::RunNotFound { run_id: run.run_id.to_string() };
    let experiment = workspace.store()?.run(&run.run_id)?.ok_or_else(gone)?.experiment_id;
    let finished = run.steps.iter().filter(|row| matches!(row.status, StepStatus::Done | StepStatus::Cached));
    let place = finished.filter_map(|row| {
        let artifacts = workspace.artifact_directory(&experiment, row.run_id.as_ref()?);
        Some((label(&row.name, row.key.as_deref()), artifacts))
    });
    Ok(place.collect())
}

fn compare(
    original: Option<&Original>,
    rerun: Option<&Path>,
    declaration: &OutputDeclaration,
    known: &[FileComparator],
) -> Result<Comparison> {
    let made = |at: &str| Comparison::one(Verdict::Missing, Difference::at(at));
    let (original, rerun) = match (original, rerun) {
        (Some(original), Some(rerun)) => (original, rerun),
        (Some(_), None) => return Ok(made("the rerun did not make it")),
        (None, _) => return Ok(made("the original did not make it")),
    };
    if let Some(path) = &original.path {
        if !path.exists() {
            return Err(Error::Record { path: path.clone(), message: "the original output is gone".into() });
        }
        return Ok(compare_outputs(path, rerun, &declaration.compare, known)?);
    }
    let digest = digest_tree(rerun, &[])?;
    if original.digest == Some(digest) {
        return Ok(Comparison::identical());
    }
    if original.comparable.is_some() && original.comparable == comparable_digest(rerun, &declaration.compare)? {
        return Ok(Comparison { verdict: Verdict::Equivalent, ..Comparison::identical() });
    }
    let at = match declaration.compare.is_empty() {
        true => "digest".to_owned(),
        false => format!(
            "digest (the original is not in this state directory, so `{}` cannot be applied)",
            comparator_names(&declaration.compare)
        ),
    };
    let short = |digest: Digest| digest.to_string()[..12].to_owned();
    let old = original.digest.map(short).unwrap_or_default();
    Ok(Comparison::one(Verdict::Different, Difference::values(at, old, short(digest))))
}

fn declared<'p>(pipeline: &'p Pipeline, step: &str) -> Option<&'p indexmap::IndexMap<String, OutputDeclaration>> {
    pipeline.steps.iter().find(|candidate| candidate.name.as_str() == step).map(|step| &step.entry().outputs)
}

fn comparator_names(declared: &[Comparator]) -> String {
    match declared {
        [] => "bytes".into(),
        some => some.iter().map(Comparator::name).collect::<Vec<_>>().join(", "),
    }
}

/// `step` or `step[key]`.
pub(crate) fn label(step: &str, key: Option<&str>) -> String {
    key.map_or_else(|| step.to_owned(), |key| format!("{step}[{key}]"))
}

/// The step and the key in a label; names of steps hold no brackets.
fn split(label: &str) -> (&str, Option<&str>) {
    match label.split_once('[') {
        Some((step, key)) => (step, Some(key.strip_suffix(']').unwrap_or(key))),
        None => (label, None),
    }
}
