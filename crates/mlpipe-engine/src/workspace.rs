//! The state directory `.mlpipe/`: where everything lies, and the locks on it.
//!
//! ```text
//! .mlpipe/store.db               tracked runs (mlpipe-tracking)
//! .mlpipe/cas/ab/cdef...         content, by digest (mlpipe-artifacts)
//! .mlpipe/digests/a              digests of files, by what the files look like (mlpipe-artifacts)
//! .mlpipe/ac/ab/cdef....json     finished results, by fingerprint
//! .mlpipe/artifacts/E/R/artifacts/   what run R of experiment E made (hard links into cas)
//! .mlpipe/runs/R/                a pipeline run: journal.ndjson, lock, inputs/, logs/
//! .mlpipe/locks/ab/cdef...       held while the work of this fingerprint is done
//! .mlpipe/latest/NAME.json       which fingerprint each task of pipeline NAME had last
//! .mlpipe/spool/R.ndjson         what a tracking server does not have yet of pipeline run R (mlpipe-tracking)
//! .mlpipe/in-use                 held by every driver, and alone while garbage is collected
//! .mlpipe/tmp/                   attempts that are under way, files and folders that are being written
//! ```

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use mlpipe_artifacts::{ContentStore, write_atomically_via};
use mlpipe_tracking::rest::Client;
use mlpipe_tracking::{Dataset, RunId, Store};
use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::remote::RemoteCache;

/// Name of the state directory.
pub const STATE_DIRECTORY: &str = ".mlpipe";

/// File in a run's directory: its lock.
pub(crate) const RUN_LOCK_FILE: &str = "lock";

/// What is recorded of input items, by collection and key.
pub type Datasets = HashMap<(String, String), Dataset>;

/// An open state directory.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
    content: ContentStore,
    remote: Option<RemoteCache>,
    tracking_server: Option<Client>,
    datasets: Datasets,
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
            write_atomically_via(&root.join("tmp"), &ignore, b"*\n")?;
        }
        Ok(Self {
            content: ContentStore::open(&root)?,
            root,
            remote: None,
            tracking_server: None,
            datasets: Datasets::new(),
        })
    }

    /// Looks for finished work in a remote cache too, and sends it there, as the user whose token it is.
    ///
    /// # Errors
    /// A message when the address or the token cannot be used.
    pub fn with_remote_cache(mut self, url: &str, token: Option<&str>) -> std::result::Result<Self, String> {
        self.remote = Some(RemoteCache::new(url, token, self.content.clone())?);
        Ok(self)
    }

    /// Sends the tracked runs of pipelines to a server too.
    pub fn with_tracking_server(mut self, client: Client) -> Self {
        self.tracking_server = Some(client);
        self
    }

    /// Records input items as datasets of the runs that use them.
    pub fn with_datasets(mut self, datasets: Datasets) -> Self {
        self.datasets = datasets;
        self
    }

    pub(crate) fn datasets(&self) -> &Datasets {
        &self.datasets
    }

    pub(crate) fn tracking_server(&self) -> Option<&Client> {
        self.tracking_server.as_ref()
    }

    /// Returns where what waits for a tracking server lies.
    pub(crate) fn spool_directory(&self) -> PathBuf {
        self.root.join("spool")
    }

    pub(crate) fn remote(&self) -> Option<&RemoteCache> {
        self.remote.as_ref()
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

    /// Keeps the digests that were taken, so that what has not changed need not be read again.
    pub(crate) fn save_digests(&self) {
        if let Err(error) = self.content.known().save(&self.attempts_directory()) {
            // It costs the next run some time.
            tracing::debug!(%error, "digests of files are not kept");
        }
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

    pub(crate) fn work_lock_path(&self, fingerprint: &str) -> PathBuf {
        self.root.join("locks").join(&fingerprint[..2]).join(&fingerprint[2..])
    }

    /// Keeps the state directory from being cleaned up while something runs in it; waits until nobody is cleaning up.
    ///
    /// # Errors
    /// When the lock cannot be used.
    pub(crate) fn use_it(&self) -> Result<UseLock> {
        UseLock::take(&self.root.join("in-use"), FlockOperation::LockShared)
            .map(|lock| lock.expect("a lock that is waited for is had"))
    }

    /// Takes the state directory for cleaning up; none while something runs in it.
    pub(crate) fn clean_it(&self) -> Result<Option<UseLock>> {
        UseLock::take(&self.root.join("in-use"), FlockOperation::NonBlockingLockExclusive)
    }

    pub(crate) fn latest_path(&self, pipeline: &str) -> PathBuf {
        let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
        let digest = blake3::hash(pipeline.as_bytes()).to_hex();
        let name: String = pipeline.chars().take(40).map(safe).collect();
        self.root.join("latest").join(format!("{name}-{}.json", &digest[..8]))
    }
}

/// Held, together with others, while something runs in the state directory; held alone while it is cleaned up.
#[derive(Debug)]
pub(crate) struct UseLock {
    _file: File,
}

impl UseLock {
    fn take(path: &Path, operation: FlockOperation) -> Result<Option<Self>> {
        let take = || {
            let file = File::options().create(true).truncate(false).write(true).open(path)?;
            Ok(try_lock(&file, operation)?.then_some(Self { _file: file }))
        };
        take().map_err(|source| Error::Workspace { path: path.into(), source })
    }
}

/// Tells whether somebody holds the lock of a run.
pub(crate) fn is_locked(run_directory: &Path) -> Result<bool> {
    let path = run_directory.join(RUN_LOCK_FILE);
    let look = || match File::open(&path) {
        // A shared lock is let go of when the file is closed, right here.
        Ok(file) => Ok(!try_lock(&file, FlockOperation::NonBlockingLockShared)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    };
    look().map_err(|source| Error::Workspace { path: path.clone(), source })
}

fn try_lock(file: &File, operation: FlockOperation) -> std::io::Result<bool> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Held by the process that drives a pipeline run; the kernel lets go of it when the process ends, however it ends.
/// The file holds the process id of the driver, and nothing while somebody else has the lock.
#[derive(Debug)]
pub(crate) struct RunLock {
    file: File,
}

impl RunLock {
    /// Takes the lock of a run, or returns none when its driver is alive.
    pub(crate) fn take(run_directory: &Path) -> Result<Option<Self>> {
        let path = run_directory.join(RUN_LOCK_FILE);
        let take = || {
            let file = File::options().create(true).truncate(false).write(true).open(&path)?;
            if !try_lock(&file, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(None);
            }
            file.set_len(0)?;
            Ok(Some(Self { file }))
        };
        take().map_err(|source| Error::Workspace { path: path.clone(), source })
    }

    /// Takes the lock of a new run and says who drives it.
    pub(crate) fn drive(run_directory: &Path) -> Result<Self> {
        let mut lock = Self::take(run_directory)?.expect("nobody else knows this run yet");
        let path = run_directory.join(RUN_LOCK_FILE);
        // One write, with a line break at its end: whoever reads half of it knows.
        lock.file
            .write_all(format!("{}\n", std::process::id()).as_bytes())
            .map_err(|source| Error::Workspace { path, source })?;
        Ok(lock)
    }
}
