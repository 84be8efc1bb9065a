//! The state directory `.mlpipe/`: where everything lies, and the locks on it.
//!
//! ```text
//! .mlpipe/store.db               tracked runs (mlpipe-tracking)
//! .mlpipe/cas/ab/cdef...         content, by digest (mlpipe-artifacts)
//! .mlpipe/ac/ab/cdef....json     finished results, by fingerprint
//! .mlpipe/artifacts/E/R/artifacts/   what run R of experiment E made (hard links into cas)
//! .mlpipe/runs/R/                a pipeline run: journal.ndjson, lock, inputs/, logs/
//! .mlpipe/latest/NAME.json       which fingerprint each task of pipeline NAME had last
//! .mlpipe/tmp/                   attempts that are under way
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mlpipe_artifacts::{ContentStore, write_atomically};
use mlpipe_tracking::{RunId, Store};
use rustix::fs::FlockOperation;

use crate::error::{Error, Result};

/// Name of the state directory.
pub const STATE_DIRECTORY: &str = ".mlpipe";

/// An open state directory.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    content: ContentStore,
}

impl Workspace {
    /// Opens the state directory at `root`, making it when there is none.
    ///
    /// # Errors
    /// [`Error::Workspace`] when it cannot be made or written.
    pub fn open(root: &Path) -> Result<Self> {
        for directory in ["runs", "artifacts", "ac", "latest", "tmp"] {
            let path = root.join(directory);
            fs::create_dir_all(&path).map_err(|source| Error::Workspace { path, source })?;
        }
        let root = root.canonicalize().map_err(|source| Error::Workspace { path: root.into(), source })?;
        let ignore = root.join(".gitignore");
        if !ignore.exists() {
            write_atomically(&ignore, b"*\n")?;
        }
        Ok(Self { content: ContentStore::open(&root)?, root })
    }

    /// Returns the tracking store.
    ///
    /// # Errors
    /// [`Error::Tracking`] when the database cannot be opened.
    pub fn store(&self) -> Result<Store> {
        Ok(Store::open(&self.root.join("store.db"))?)
    }

    /// Returns the content store.
    pub fn content(&self) -> &ContentStore {
        &self.content
    }

    /// Returns the absolute path of the state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the directory of a pipeline run.
    pub fn run_directory(&self, run: &RunId) -> PathBuf {
        self.root.join("runs").join(run.to_string())
    }

    /// Returns where the artifacts of a run of an experiment lie.
    pub fn artifact_directory(&self, experiment_id: &str, run: &RunId) -> PathBuf {
        self.root.join("artifacts").join(experiment_id).join(run.to_string()).join("artifacts")
    }

    /// Returns the directory below which attempts work.
    pub fn attempts_directory(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub(crate) fn action_path(&self, fingerprint: &str) -> PathBuf {
        self.root.join("ac").join(&fingerprint[..2]).join(format!("{}.json", &fingerprint[2..]))
    }

    pub(crate) fn latest_path(&self, pipeline: &str) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
        let digest = blake3::hash(pipeline.as_bytes()).to_hex();
        let name: String = pipeline.chars().take(40).map(safe).collect();
        self.root.join("latest").join(format!("{name}-{}.json", &digest[..8]))
    }
}

/// Held by the process that drives a pipeline run; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct RunLock {
    _file: File,
}

impl RunLock {
    /// Takes the lock of a run, or returns none when its driver is alive.
    pub(crate) fn take(run_directory: &Path) -> Result<Option<Self>> {
        let path = run_directory.join("lock");
        let open = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(Some(Self { _file: file })),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
                Err(errno) => Err(std::io::Error::from(errno)),
            }
        };
        open().map_err(|source| Error::Workspace { path: path.clone(), source })
    }
}
