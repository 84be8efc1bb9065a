//! Finished results by fingerprint (`ac/`), and which fingerprint each task had last (`latest/`).
//!
//! A result is stored only after all its content is in the content store, and counts only while all of it is still there.
//! Failures are never stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use mlpipe_artifacts::{Digest, Tree, place_atomically_via, write_atomically_via};
use mlpipe_tracking::RunId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fingerprint::PreImage;
use crate::workspace::Workspace;

const ACTION_FORMAT: &str = "mlpipe.action/1";

/// What a task's work came to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Action {
    format: String,
    /// The facts that the fingerprint stands for.
    pub pre_image: PreImage,
    /// Everything that the task wrote to its output directory.
    pub tree: Tree,
    /// Numbers that it reported.
    pub metrics: BTreeMap<String, f64>,
    /// The tracked run that did the work.
    pub run_id: RunId,
    /// How long it took.
    pub duration_s: f64,
}

impl Action {
    /// Puts together the record of finished work.
    pub fn new(
        pre_image: PreImage,
        tree: Tree,
        metrics: BTreeMap<String, f64>,
        run_id: RunId,
        duration_s: f64,
    ) -> Self {
        Self { format: ACTION_FORMAT.into(), pre_image, tree, metrics, run_id, duration_s }
    }

    /// Tells whether this is a record that this version reads, of the work with this fingerprint.
    pub(crate) fn is_of(&self, fingerprint: Digest) -> bool {
        self.format == ACTION_FORMAT && self.pre_image.fingerprint() == fingerprint
    }
}

/// Answer to the question whether some work is done already.
#[derive(Debug)]
pub enum Lookup {
    /// It is, and all its content is there.
    Hit(Box<Action>),
    /// It was, but some of its content is gone.
    ContentMissing,
    /// It is not.
    Miss,
}

impl Workspace {
    /// Looks up finished work, here and then in the remote cache if one is used; what is found there is kept here.
    pub fn find_or_fetch_action(&self, fingerprint: Digest) -> Lookup {
        let here = self.find_action(fingerprint);
        let (Some(remote), Lookup::Miss | Lookup::ContentMissing) = (self.remote(), &here) else { return here };
        let Some(action) = remote.fetch(fingerprint) else { return here };
        if let Err(error) = self.keep_action(fingerprint, &action) {
            tracing::warn!(%error, "what the remote cache gave cannot be kept here");
            return here;
        }
        Lookup::Hit(Box::new(action))
    }

    /// Looks up finished work. An entry of another format, or one that cannot be read, is a miss: the work is done again.
    pub fn find_action(&self, fingerprint: Digest) -> Lookup {
        match self.read_action(fingerprint) {
            Some(action) if self.content().contains(&action.tree) => Lookup::Hit(Box::new(action)),
            Some(_) => Lookup::ContentMissing,
            None => Lookup::Miss,
        }
    }

    /// Returns the facts behind a fingerprint, when its work was once finished here.
    pub fn pre_image(&self, fingerprint: Digest) -> Option<PreImage> {
        self.read_action(fingerprint).map(|action| action.pre_image)
    }

    /// Returns finished work, whether all its content is still there or not.
    pub(crate) fn action(&self, fingerprint: Digest) -> Option<Action> {
        self.read_action(fingerprint)
    }

    fn read_action(&self, fingerprint: Digest) -> Option<Action> {
        let path = self.action_path(&fingerprint.to_string());
        let bytes = fs::read(&path).ok()?;
        match serde_json::from_slice::<Action>(&bytes) {
            Ok(action) if action.format == ACTION_FORMAT => Some(action),
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "unreadable cache entry: the work will be done again");
                None
            }
        }
    }

    /// Stores finished work under its fingerprint, and sends it to the remote cache if one is used.
    ///
    /// # Errors
    /// When the entry cannot be written.
    pub fn store_action(&self, fingerprint: Digest, action: &Action) -> Result<()> {
        self.keep_action(fingerprint, action)?;
        if let Some(remote) = self.remote() {
            remote.send(fingerprint, action);
        }
        Ok(())
    }

    fn keep_action(&self, fingerprint: Digest, action: &Action) -> Result<()> {
        let path = self.action_path(&fingerprint.to_string());
        crate::inputs::make_directory(path.parent().expect("an entry lies in a directory"))?;
        let bytes = serde_json::to_vec(action).expect("an action has only string keys");
        Ok(place_atomically_via(&self.attempts_directory(), &path, &bytes)?)
    }
}

/// Under which fingerprint each task of a pipeline was last finished; the reason for a rerun is told against it.
#[derive(Debug, Default)]
pub(crate) struct Latest {
    path: PathBuf,
    staging: PathBuf,
    fingerprints: BTreeMap<String, Digest>,
}

impl Latest {
    pub(crate) fn read(workspace: &Workspace, pipeline: &str) -> Self {
        let path = workspace.latest_path(pipeline);
        let fingerprints = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, staging: workspace.attempts_directory(), fingerprints: fingerprints.unwrap_or_default() }
    }

    pub(crate) fn get(&self, task: &str) -> Option<Digest> {
        self.fingerprints.get(task).copied()
    }

    pub(crate) fn set(&mut self, task: &str, fingerprint: Digest) {
        self.fingerprints.insert(task.into(), fingerprint);
    }

    pub(crate) fn write(&self) -> Result<()> {
        let bytes = serde_json::to_vec(&self.fingerprints).expect("a map of strings");
        write_atomically_via(&self.staging, &self.path, &bytes).map_err(Error::from)
    }
}
