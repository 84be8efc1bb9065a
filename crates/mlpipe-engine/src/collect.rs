//! Collects garbage in the state directory: says what takes space and what holds it, and removes what nothing refers to.
//!
//! Runs hold their journals, logs and artifacts, and the finished results with their fingerprints; artifacts and results
//! hold content. Runs and results go only when the wish names an age or a number; the tracked runs themselves, with params
//! and metrics, always stay. While anything runs in the state directory only leftovers of dead drivers are removed; a run
//! that is to start waits until the collection is over.

use std::collections::{HashMap, HashSet};
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mlpipe_artifacts::Digest;
use mlpipe_tracking::RunId;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::past::RunHistory;
use crate::workspace::{Workspace, is_locked};

/// What to remove.
#[derive(Debug, Clone, Copy, Default)]
pub struct GarbageRequest {
    /// Also runs, and results that no kept run used, that ended or were made longer ago than this.
    pub older_than: Option<Duration>,
    /// Also runs except for this many of the newest, and results that no kept run used. With an age, both must hold.
    pub keep_runs: Option<usize>,
    /// Only say what would be removed.
    pub dry_run: bool,
}

/// What `mlpipe gc` says. Sizes are of files that would be gone: content that others hold counts for them.
#[derive(Debug, Clone, Default, Serialize)]
pub struct GarbageDocument {
    /// Whether nothing was removed because nothing was to be.
    pub dry_run: bool,
    /// Runs that are under way; when there are some, only leftovers are removed.
    pub under_way: Vec<RunId>,
    /// Whether something runs here: finished results and content were left alone.
    pub in_use: bool,
    /// Journals, logs and artifacts of pipeline runs.
    pub runs: Share,
    /// Finished results, by fingerprint.
    pub results: Share,
    /// Content of artifacts and results.
    pub content: Share,
    /// Attempts, half-written files and lock files that nobody uses.
    pub leftovers: Share,
}

/// How much is kept and how much goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Things that stay.
    pub kept: u64,
    /// Their size.
    pub kept_bytes: u64,
    /// Things that were, or would be, removed.
    pub removed: u64,
    /// Their size.
    pub removed_bytes: u64,
}

impl Share {
    fn count(&mut self, bytes: u64, goes: bool) {
        let (number, sum) = match goes {
            true => (&mut self.removed, &mut self.removed_bytes),
            false => (&mut self.kept, &mut self.kept_bytes),
        };
        *number += 1;
        *sum += bytes;
    }
}

impl GarbageDocument {
    /// Bytes that were, or would be, given back.
    pub fn removed_bytes(&self) -> u64 {
        [self.runs, self.results, self.content, self.leftovers].iter().map(|share| share.removed_bytes).sum()
    }
}

/// Removes what nothing refers to, and what the request names.
///
/// # Errors
/// When something cannot be read or removed, or when the journal of a run that stays cannot be understood: it is not known
/// then what that run uses.
pub fn collect_garbage(workspace: &Workspace, request: &GarbageRequest) -> Result<GarbageDocument> {
    let alone = workspace.clean_it()?;
    let mut collection = Collection {
        workspace,
        request,
        alone: alone.is_some(),
        now: SystemTime::now(),
        document: GarbageDocument { dry_run: request.dry_run, in_use: alone.is_none(), ..Default::default() },
        used: HashSet::new(),
        held: HashSet::new(),
        freed_links: HashMap::new(),
    };
    let runs = collection.runs()?;
    collection.leftovers()?;
    collection.look_at_runs(runs)?;
    collection.results()?;
    collection.content()?;
    Ok(collection.document)
}

struct Collection<'a> {
    workspace: &'a Workspace,
    request: &'a GarbageRequest,
    /// Nothing runs here, and nothing can start.
    alone: bool,
    now: SystemTime,
    document: GarbageDocument,
    /// Fingerprints that runs use which stay.
    used: HashSet<Digest>,
    /// Content of results that stay.
    held: HashSet<Digest>,
    /// How many names each file loses, by device and inode, when artifacts go.
    freed_links: HashMap<(u64, u64), u64>,
}

impl Collection<'_> {
    /// Every run with what its journal says, newest first.
    fn runs(&mut self) -> Result<Vec<RunHistory>> {
        let mut runs = Vec::new();
        for run_id in self.workspace.pipeline_runs()? {
            if is_locked(&self.workspace.run_directory(&run_id))? {
                self.document.under_way.push(run_id);
            } else {
                match self.history(&run_id)? {
                    Some(run) => runs.push(run),
                    None if self.alone => self.leave_over(&self.workspace.run_directory(&run_id))?,
                    None => {}
                }
            }
        }
        runs.sort_by_key(|run| std::cmp::Reverse(run.start_time_ms));
        Ok(runs)
    }

    /// None for a run that was cut off before its journal began.
    fn history(&self, run_id: &RunId) -> Result<Option<RunHistory>> {
        match RunHistory::read(self.workspace, run_id) {
            Ok(history) => Ok(Some(history)),
            Err(Error::Workspace { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn look_at_runs(&mut self, runs: Vec<RunHistory>) -> Result<()> {
        for (rank, run) in runs.into_iter().enumerate() {
            let goes = self.alone && self.run_goes(rank, &run);
            let directories = self.directories(&run)?;
            let mut bytes = 0;
            for directory in &directories {
                bytes += self.weigh(directory, goes)?;
            }
            self.document.runs.count(bytes, goes);
            if goes {
                directories.iter().try_for_each(|directory| self.remove(directory))?;
            } else {
                self.used.extend(run.tasks.iter().filter_map(|task| task.end.as_ref()?.fingerprint));
            }
        }
        Ok(())
    }

    fn run_goes(&self, rank: usize, run: &RunHistory) -> bool {
        let ended = SystemTime::UNIX_EPOCH + Duration::from_millis(u64::try_from(run.last_time_ms).unwrap_or(0));
        let in_excess = self.request.keep_runs.is_none_or(|kept| rank >= kept);
        // Its artifacts are still to be sent to a tracking server.
        let is_awaited = self.workspace.spool_directory().join(format!("{}.ndjson", run.run_id)).exists();
        self.names_results() && self.is_old(ended) && in_excess && !is_awaited
    }

    /// Whether the request says which runs and results may go.
    fn names_results(&self) -> bool {
        self.request.older_than.is_some() || self.request.keep_runs.is_some()
    }

    fn is_old(&self, time: SystemTime) -> bool {
        let age = self.now.duration_since(time).unwrap_or_default();
        self.request.older_than.is_none_or(|limit| age >= limit)
    }

    /// The run's own directory and the artifact directories of its tasks.
    fn directories(&self, run: &RunHistory) -> Result<Vec<PathBuf>> {
        let mut found = vec![self.workspace.run_directory(&run.run_id)];
        let experiments = list(&self.workspace.root().join("artifacts"))?;
        for run_id in run.tasks.iter().filter_map(|task| task.end.as_ref()?.run_id.as_ref()) {
            let places = experiments.iter().map(|(path, _)| path.join(run_id.as_str()));
            found.extend(places.filter(|path| path.exists()));
        }
        Ok(found)
    }

    /// Size of the files below a directory that are nobody else's; notes the names that content loses.
    fn weigh(&mut self, directory: &Path, goes: bool) -> Result<u64> {
        let mut bytes = 0;
        for (path, metadata) in list(directory)? {
            if metadata.is_dir() {
                bytes += self.weigh(&path, goes)?;
            } else if metadata.nlink() > 1 {
                *self.freed_links.entry((metadata.dev(), metadata.ino())).or_default() += u64::from(goes);
            } else {
                bytes += metadata.len();
            }
        }
        Ok(bytes)
    }

    fn results(&mut self) -> Result<()> {
        for (directory, _) in list(&self.workspace.root().join("ac"))? {
            for (path, metadata) in list(&directory)? {
                let Some(fingerprint) = fingerprint(&directory, &path) else { continue };
                let made = metadata.modified().unwrap_or(self.now);
                let unused = !self.used.contains(&fingerprint) && self.names_results() && self.is_old(made);
                let goes = self.alone && unused;
                self.document.results.count(metadata.len(), goes);
                if goes {
                    self.remove(&path)?;
                } else if let Some(action) = self.workspace.action(fingerprint) {
                    self.held.extend(action.tree.entries.iter().map(|entry| entry.digest));
                }
            }
        }
        Ok(())
    }

    fn content(&mut self) -> Result<()> {
        for (directory, _) in list(&self.workspace.root().join("cas"))? {
            for (path, metadata) in list(&directory)? {
                let freed = self.freed_links.get(&(metadata.dev(), metadata.ino())).copied().unwrap_or(0);
                // The name in the store is one link; whatever else remains is an artifact of a run.
                let linked = metadata.nlink() > if self.request.dry_run { 1 + freed } else { 1 };
                let held = fingerprint(&directory, &path).is_some_and(|digest| self.held.contains(&digest));
                let goes = self.alone && !linked && !held;
                self.document.content.count(metadata.len(), goes);
                if goes {
                    self.remove(&path)?;
                }
            }
        }
        Ok(())
    }

    fn leftovers(&mut self) -> Result<()> {
        for (path, _) in list(&self.workspace.attempts_directory())? {
            if self.alone || self.is_of_a_dead_run(&path)? {
                self.leave_over(&path)?;
            }
        }
        if self.alone {
            self.half_written()?;
            self.remove_inside(&self.workspace.root().join("locks"))?;
        }
        Ok(())
    }

    /// An attempt is named for its pipeline run; what has another name may belong to anybody.
    fn is_of_a_dead_run(&self, attempt: &Path) -> Result<bool> {
        let name = attempt.file_name().unwrap_or_default().to_string_lossy();
        let run = name.split_once('-').and_then(|(run, _)| run.parse::<RunId>().ok());
        match run.map(|run| self.workspace.run_directory(&run)) {
            Some(directory) if directory.exists() => Ok(!is_locked(&directory)?),
            _ => Ok(false),
        }
    }

    /// Files that a crash kept from getting their name.
    fn half_written(&mut self) -> Result<()> {
        let results = list(&self.workspace.root().join("ac"))?.into_iter().map(|(path, _)| path);
        let experiments = list(&self.workspace.root().join("artifacts"))?.into_iter().map(|(path, _)| path);
        for directory in results.chain(experiments).chain([self.workspace.root().join("latest")]) {
            for (path, _) in list(&directory)? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with(".tmp-") || name.starts_with(".mlpipe-") {
                    self.leave_over(&path)?;
                }
            }
        }
        Ok(())
    }

    /// Removes something that nobody uses.
    fn leave_over(&mut self, path: &Path) -> Result<()> {
        let bytes = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.weigh(path, true)?,
            Ok(metadata) => metadata.len(),
            Err(_) => return Ok(()),
        };
        self.document.leftovers.count(bytes, true);
        self.remove(path)
    }

    fn remove_inside(&mut self, directory: &Path) -> Result<()> {
        for (path, metadata) in list(directory)? {
            match metadata.is_dir() {
                true => self.remove_inside(&path)?,
                false => self.leave_over(&path)?,
            }
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        if self.request.dry_run {
            return Ok(());
        }
        let removed = match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
            Ok(_) => fs::remove_file(path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Workspace { path: path.into(), source: error })
            }
            _ => Ok(()),
        }
    }
}

/// `ab` and `cdef...`, with or without an extension, as a digest.
fn fingerprint(directory: &Path, path: &Path) -> Option<Digest> {
    let (start, rest) = (directory.file_name()?.to_str()?, path.file_stem()?.to_str()?);
    format!("{start}{rest}").parse().ok()
}

/// Entries of a directory with what they are, links not followed; nothing when there is no such directory.
fn list(directory: &Path) -> Result<Vec<(PathBuf, Metadata)>> {
    let unreadable = |source| Error::Workspace { path: directory.into(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        // What is gone by now is none of our business.
        if let Ok(metadata) = entry.metadata() {
            found.push((entry.path(), metadata));
        }
    }
    Ok(found)
}
