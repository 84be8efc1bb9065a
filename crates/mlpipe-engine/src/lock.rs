//! Lock files: what a pipeline's results depend on, and what the results were.
//!
//! A lock is made from finished work and never from a guess: it lists every task with the digests of its outputs, or it is
//! not made. `tasks` that are `cache: false` keep no results; they are listed without outputs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mlpipe_artifacts::{Digest, write_atomically};
use mlpipe_spec::{Comparator, Step};
use serde::{Deserialize, Serialize};

use crate::cache::Reusable;
use crate::compare::comparable_digest;
use crate::document::PlannedAction;
use crate::driver::RunRequest;
use crate::error::{Error, Result};
use crate::outputs::Outputs;
use crate::pinned::{Pinned, check_format, read_record};
use crate::plan::{Looked, survey};
use crate::reproduce::label;
use crate::workspace::Workspace;

const LOCK_FORMAT: &str = "mlpipe.lock/1";

/// A lock file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    format: String,
    /// Name of the pipeline file, which lies beside the lock.
    pub file: String,
    /// What the results depend on.
    #[serde(flatten)]
    pub pinned: Pinned,
    /// The results, by task as in `detect[1.2.3]`.
    pub tasks: BTreeMap<String, LockedTask>,
}

/// Results of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedTask {
    /// The fingerprint of its work.
    pub fingerprint: Digest,
    /// Its outputs; empty for a step that is `cache: false`.
    pub outputs: BTreeMap<String, LockedOutput>,
}

/// An output of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockedOutput {
    /// Digest of all of it.
    pub digest: Digest,
    /// Digest of what counts, where the project says that some of it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparable: Option<Digest>,
}

/// A lock, or why there is none.
#[derive(Debug, Clone)]
pub enum Locking {
    /// Every task is finished.
    Locked(Box<Lock>),
    /// These tasks are not, and why.
    Unfinished(Vec<(String, String)>),
}

impl Lock {
    /// Returns where the lock of a pipeline file lies: beside it, `schmorl.lock` for `schmorl.yaml`.
    pub fn path_of(pipeline: &Path) -> PathBuf {
        pipeline.with_extension("lock")
    }

    /// Reads a lock file.
    ///
    /// # Errors
    /// [`Error::Record`] when it cannot be read or is of another format.
    pub fn read(path: &Path) -> Result<Self> {
        let lock: Self = read_record(path)?;
        check_format(path, &lock.format, LOCK_FORMAT)?;
        if Path::new(&lock.file).file_name().is_none_or(|name| name != lock.file.as_str()) {
            let message = format!("`file` must be the name of a file beside it, not `{}`", lock.file);
            return Err(Error::Record { path: path.to_owned(), message });
        }
        Ok(lock)
    }

    /// Writes the lock as indented JSON, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a lock has string keys");
        bytes.push(b'\n');
        write_atomically(path, &bytes).map_err(|error| Error::Record { path: path.into(), message: error.to_string() })
    }
}

/// Makes a lock of a pipeline from finished work; starts nothing.
///
/// # Errors
/// When a project, a path given to a parameter or a stored result cannot be read.
pub fn lock(workspace: &Workspace, request: &RunRequest<'_>) -> Result<Locking> {
    let _use = workspace.use_it()?;
    let mut tasks = BTreeMap::new();
    let mut keeps_none = BTreeSet::new();
    let mut problem = None;
    let steps = &request.pipeline.steps;
    let survey = survey(workspace, request, &mut |looked: Looked<'_>| {
        let step = &steps[looked.step];
        let label = label(step.name.as_str(), looked.key);
        let outputs = match looked.found {
            Some(action) => locked_outputs(workspace, action, step),
            None if !step.cache => {
                keeps_none.insert(label.clone());
                Ok(BTreeMap::new())
            }
            None => return,
        };
        match outputs {
            Ok(outputs) => {
                drop(tasks.insert(label, LockedTask { fingerprint: looked.fingerprint, outputs }));
            }
            Err(error) => drop(problem.get_or_insert(error)),
        }
    })?;
    if let Some(error) = problem {
        return Err(error);
    }
    let planned = survey.tasks(request);
    let open = planned.iter().filter(|task| matches!(task.action, PlannedAction::Run | PlannedAction::Decide));
    let unfinished: Vec<(String, String)> = open
        .map(|task| (label(&task.name, task.key.as_deref()), task.reason.clone()))
        .filter(|(label, _)| !keeps_none.contains(label))
        .collect();
    if !unfinished.is_empty() {
        return Ok(Locking::Unfinished(unfinished));
    }
    let file = request.pipeline.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Locking::Locked(Box::new(Lock { format: LOCK_FORMAT.into(), file, pinned: Pinned::of(request)?, tasks })))
}

fn locked_outputs(workspace: &Workspace, action: &Reusable, step: &Step) -> Result<BTreeMap<String, LockedOutput>> {
    let declared = &step.entry().outputs;
    let unusable = |message| Error::Record { path: workspace.root().to_owned(), message };
    let found = Outputs::find(&action.tree, declared).map_err(unusable)?;
    let leaves_out = |comparator: &Comparator| matches!(comparator, Comparator::Text { .. } | Comparator::Json { .. });
    // Only what leaves something out has to be read: digests of the rest are known.
    let files = match declared.values().any(|output| output.compare.iter().any(leaves_out)) {
        true => Some(Placed::new(workspace, action)?),
        false => None,
    };
    let mut outputs = BTreeMap::new();
    for (name, output) in found.by_name {
        let comparable = match &files {
            Some(files) => comparable_digest(&files.path.join(&output.path), &declared[&name].compare)?,
            None => None,
        };
        outputs.insert(name, LockedOutput { digest: output.digest, comparable });
    }
    Ok(outputs)
}

/// Everything that a task wrote, placed below the state directory for a moment.
struct Placed {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Placed {
    fn new(workspace: &Workspace, action: &Reusable) -> Result<Self> {
        let parent = workspace.attempts_directory();
        let folder = tempfile::Builder::new()
            .prefix("lock-")
            .tempdir_in(&parent)
            .map_err(|source| Error::Workspace { path: parent, source })?;
        let path = folder.path().join("outputs");
        workspace.content().materialize(&action.tree, &path)?;
        Ok(Self { _folder: folder, path })
    }
}
