//! Finished results by fingerprint (`ac/`), and which fingerprint each task had last (`latest/`).
//!
//! A result is stored only after all its content is in the content store, and counts only while all of it is still there and
//! intact. Failures are never stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use mlpipe_artifacts::{Digest, Tree, place_atomically_via};
use mlpipe_tracking::RunId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::fingerprint::PreImage;
use crate::workspace::Workspace;

const ACTION_FORMAT: &str = "mlpipe.action/1";

/// The part of finished work that matters to whoever reuses it.
#[derive(Debug, Clone, Deserialize)]
pub struct Reusable {
    format: String,
    /// Everything that the task wrote to its output directory.
    pub tree: Tree,
    /// Numbers that it reported.
    pub metrics: BTreeMap<String, f64>,
    /// The tracked run that did the work.
    pub run_id: RunId,
    /// How long it took.
    pub duration_s: f64,
}

impl From<Action> for Reusable {
    fn from(Action { format, tree, metrics, run_id, duration_s, .. }: Action) -> Self {
        Self { format, tree, metrics, run_id, duration_s }
    }
}

/// A stored record that names its format.
trait Stored: DeserializeOwned {
    fn format(&self) -> &str;
}

impl Stored for Action {
    fn format(&self) -> &str {
        &self.format
    }
}

impl Stored for Reusable {
    fn format(&self) -> &str {
        &self.format
    }
}

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
    Hit(Box<Reusable>),
    /// It was, but some of its content is gone.
    ContentMissing,
    /// It was, but what is stored under this digest is something else by now.
    ContentDamaged(Digest),
    /// It is not.
    Miss,
}

impl Workspace {
    /// Looks up finished work, here and then in the remote cache if one is used; what is found there is kept here.
    pub fn find_or_fetch_action(&self, fingerprint: Digest) -> Lookup {
        let here = self.find_action(fingerprint);
        let Some(remote) = self.remote().filter(|_| !matches!(here, Lookup::Hit(_))) else { return here };
        if let Lookup::ContentDamaged(digest) = here {
            // What cannot be removed is not fetched either.
            let _ = self.content().discard(digest);
        }
        let Some(action) = remote.fetch(fingerprint) else { return here };
        if let Err(error) = self.keep_action(fingerprint, &action) {
            tracing::warn!(%error, "what the remote cache gave cannot be kept here");
            return here;
        }
        Lookup::Hit(Box::new(action.into()))
    }

    /// Looks up finished work. An entry of another format, or one that cannot be read, is a miss: the work is done again.
    pub fn find_action(&self, fingerprint: Digest) -> Lookup {
        match self.read_stored::<Reusable>(fingerprint) {
            Some(action) => match self.content().verify(&action.tree) {
                Ok(()) => Lookup::Hit(Box::new(action)),
                Err(mlpipe_artifacts::Error::BlobDamaged { digest, .. }) => Lookup::ContentDamaged(digest),
                Err(_) => Lookup::ContentMissing,
            },
            None => Lookup::Miss,
        }
    }

    /// Returns the facts behind a fingerprint, when its work was once finished here.
    pub fn pre_image(&self, fingerprint: Digest) -> Option<PreImage> {
        self.action(fingerprint).map(|action| action.pre_image)
    }

    /// Returns finished work, whether all its content is still there or not.
    pub(crate) fn action(&self, fingerprint: Digest) -> Option<Action> {
        self.read_stored(fingerprint)
    }

    fn read_stored<T: Stored>(&self, fingerprint: Digest) -> Option<T> {
        let path = self.action_path(&fingerprint.to_string());
        let bytes = fs::read(&path).ok()?;
        match serde_json::from_slice::<T>(&bytes) {
            Ok(stored) if stored.format() == ACTION_FORMAT => Some(stored),
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
    is_changed: bool,
}

impl Latest {
    pub(crate) fn read(workspace: &Workspace, pipeline: &str) -> Self {
        let path = workspace.latest_path(pipeline);
        let fingerprints = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let fingerprints = fingerprints.unwrap_or_default();
        Self { path, staging: workspace.attempts_directory(), fingerprints, is_changed: false }
    }

    pub(crate) fn get(&self, task: &str) -> Option<Digest> {
        self.fingerprints.get(task).copied()
    }

    pub(crate) fn set(&mut self, task: &str, fingerprint: Digest) {
        if self.get(task) != Some(fingerprint) {
            self.fingerprints.insert(task.into(), fingerprint);
            self.is_changed = true;
        }
    }

    pub(crate) fn write(&self) -> Result<()> {
        if !self.is_changed {
            return Ok(());
        }
        let bytes = serde_json::to_vec(&self.fingerprints).expect("a map of strings");
        place_atomically_via(&self.staging, &self.path, &bytes).map_err(Error::from)
    }
}
