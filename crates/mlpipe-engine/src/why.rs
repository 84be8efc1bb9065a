//! Says everything about one task: what identifies its work, what changed since it was last finished, which run made its
//! result, and what became of it the last time.

use std::collections::BTreeMap;

use mlpipe_artifacts::Digest;
use mlpipe_spec::StepId;
use mlpipe_tracking::{RunId, Store, tags};
use serde::Serialize;

use crate::document::{PlannedAction, StepStatus};
use crate::driver::RunRequest;
use crate::error::Result;
use crate::fingerprint::{Change, PreImage};
use crate::past::RunHistory;
use crate::plan::{Looked, survey};
use crate::workspace::Workspace;

/// What `mlpipe why` says.
#[derive(Debug, Clone, Serialize)]
pub struct WhyDocument {
    /// Step.
    pub name: String,
    /// Item; null when the step runs once.
    pub key: Option<String>,
    /// What a run would do.
    pub action: PlannedAction,
    /// Why.
    pub reason: String,
    /// The digest of the facts; null while they are not known.
    pub fingerprint: Option<Digest>,
    /// Everything that can change the result, by name.
    pub facts: BTreeMap<String, String>,
    /// What differs from the last finished result.
    pub changes: Vec<Change>,
    /// Who made the result that would be reused.
    pub made_by: Option<MadeBy>,
    /// Who made the last finished result, when it is another one.
    pub compared_with: Option<MadeBy>,
    /// Tasks that have to run before more can be said.
    pub waits_for: Vec<String>,
    /// What became of the task in the last run of the pipeline.
    pub last_time: Option<LastTime>,
}

/// The run behind a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MadeBy {
    /// The tracked run of the task.
    pub run_id: RunId,
    /// The pipeline run that it was part of; null when the tracking store does not know it.
    pub pipeline_run_id: Option<RunId>,
    /// When it started, milliseconds since 1970.
    pub start_time_ms: Option<i64>,
}

/// What became of a task in the last run.
#[derive(Debug, Clone, Serialize)]
pub struct LastTime {
    /// The pipeline run.
    pub pipeline_run_id: RunId,
    /// How the task ended; null when it was cut off or is under way.
    pub status: Option<StepStatus>,
    /// Why it ran, was reused or was skipped.
    pub reason: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Output of its last attempt.
    pub log: Option<std::path::PathBuf>,
}

/// Answer to the question about one task.
#[derive(Debug, Clone)]
pub enum Answer {
    /// All that is known.
    Known(Box<WhyDocument>),
    /// The step has no such item; these are its items, as far as they are known.
    NoSuchItem {
        /// Keys of the known items.
        known: Vec<String>,
    },
    /// The step has several items and none was named.
    NoItemNamed {
        /// Keys of the known items.
        known: Vec<String>,
    },
}

/// Explains the task of `step` with this key; without a key, the only one. Reads the cache, the journals and the tracking
/// store, writes nothing. It is quick when the request's scope is only this step.
///
/// # Errors
/// When a project, a path given to a parameter, the tracking store or the journal of the last run cannot be read.
pub fn why(workspace: &Workspace, request: &RunRequest<'_>, step: StepId, key: Option<&str>) -> Result<Answer> {
    let mut looked: Option<(Option<String>, Facts)> = None;
    let survey = survey(workspace, request, &mut |task| {
        if task.step == step && (key.is_none() || task.key == key) {
            looked = Some((task.key.map(str::to_owned), Facts::of(&task)));
        }
    })?;
    let rows: Vec<_> = survey.tasks(request);
    let name = request.pipeline.steps[step].name.as_str();
    let own: Vec<_> = rows.iter().filter(|row| row.name == name).collect();
    let known = || own.iter().filter_map(|row| row.key.clone()).filter(|key| !key.ends_with('*')).collect();
    let row = match key {
        None if own.len() > 1 => return Ok(Answer::NoItemNamed { known: known() }),
        None => own.first(),
        Some(key) => own.iter().find(|row| row.key.as_deref().is_some_and(|own| covers(own, key))),
    };
    let Some(row) = row else { return Ok(Answer::NoSuchItem { known: known() }) };
    let store = workspace.store()?;
    let key = key.map(str::to_owned).or_else(|| row.key.clone());
    let mut document = WhyDocument {
        name: name.into(),
        action: row.action,
        reason: row.reason.clone(),
        fingerprint: None,
        facts: BTreeMap::new(),
        changes: Vec::new(),
        made_by: None,
        compared_with: None,
        waits_for: Vec::new(),
        last_time: last_time(workspace, &request.pipeline.name, name, key.as_deref())?,
        key,
    };
    if let Some((_, facts)) = looked.filter(|_| row.action != PlannedAction::Decide) {
        facts.tell(workspace, &store, &mut document)?;
    } else {
        let first = rows.iter().filter(|row| row.action == PlannedAction::Run);
        document.waits_for = first.map(|row| label(&row.name, row.key.as_deref())).collect();
    }
    Ok(Answer::Known(Box::new(document)))
}

/// What was seen of a task while planning.
struct Facts {
    image: PreImage,
    made_by: Option<RunId>,
    earlier: Option<Digest>,
}

impl Facts {
    fn of(task: &Looked<'_>) -> Self {
        Self {
            image: task.image.clone(),
            made_by: task.found.map(|action| action.run_id.clone()),
            earlier: task.earlier,
        }
    }

    fn tell(self, workspace: &Workspace, store: &Store, document: &mut WhyDocument) -> Result<()> {
        let fingerprint = self.image.fingerprint();
        document.fingerprint = Some(fingerprint);
        document.made_by = self.made_by.map(|run| made_by(store, run)).transpose()?;
        if let Some(earlier) = self.earlier.filter(|earlier| *earlier != fingerprint)
            && document.made_by.is_none()
            && let Some(earlier) = workspace.action(earlier)
        {
            document.changes = self.image.changes_since(&earlier.pre_image);
            document.compared_with = Some(made_by(store, earlier.run_id)?);
        }
        document.facts = self.image.into_facts();
        Ok(())
    }
}

/// A key that ends in `*` stands for all that begin like it.
fn covers(row: &str, key: &str) -> bool {
    row == key || row.strip_suffix('*').is_some_and(|start| key.starts_with(start))
}

fn label(name: &str, key: Option<&str>) -> String {
    key.map_or_else(|| name.to_owned(), |key| format!("{name}[{key}]"))
}

fn made_by(store: &Store, run_id: RunId) -> Result<MadeBy> {
    let mut found = MadeBy { run_id: run_id.clone(), pipeline_run_id: None, start_time_ms: None };
    let mut next = Some(run_id);
    while let Some(id) = next {
        let Some(run) = store.run(&id)? else { break };
        found.start_time_ms.get_or_insert(run.start_time_ms);
        next = run.tags.get(tags::PARENT_RUN_ID).and_then(|parent| parent.parse().ok());
        if next.is_none() {
            found.pipeline_run_id = Some(id);
        }
    }
    Ok(found)
}

fn last_time(workspace: &Workspace, pipeline: &str, step: &str, key: Option<&str>) -> Result<Option<LastTime>> {
    let Some(run) = workspace.newest_run(Some(pipeline))? else { return Ok(None) };
    let history = RunHistory::read(workspace, &run)?;
    let is_it = |own: Option<&str>| match (own, key) {
        (Some(own), Some(key)) => covers(own, key),
        (own, key) => own == key,
    };
    let task = history.tasks.iter().find(|task| task.name == step && is_it(task.key.as_deref()));
    Ok(task.map(|task| LastTime {
        pipeline_run_id: run.clone(),
        status: task.end.as_ref().map(|end| end.status),
        reason: task.end.as_ref().map(|end| end.reason.clone()),
        error: task.end.as_ref().and_then(|end| end.error.clone()),
        log: task.attempts.last().map(|attempt| attempt.log.clone()),
    }))
}
