//! What is known of pipeline runs from their directories: which there are, whether one is under way, what became of its
//! tasks and where their logs lie.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use mlpipe_tracking::RunId;
use serde::Deserialize;

use crate::document::StepStatus;
use crate::driver::display_key;
use crate::error::{Error, Result};
use crate::journal::{Entry, JOURNAL_FILE, JournalReader, Line};
use crate::workspace::{Workspace, is_locked};

/// What stands for the newest run where an id is expected.
pub const LATEST: &str = "latest";

/// A pipeline run as its journal tells it.
#[derive(Debug)]
pub struct RunHistory {
    /// Its id.
    pub run_id: RunId,
    /// The pipeline's name.
    pub pipeline: String,
    /// When it started, milliseconds since 1970.
    pub start_time_ms: i64,
    /// Time of the last line so far.
    pub last_time_ms: i64,
    /// How it ended; none when it is under way or was cut off.
    pub status: Option<String>,
    /// Every task that became known.
    pub tasks: Vec<TaskHistory>,
    /// How many loop variables each step has.
    dimensions: HashMap<String, usize>,
    directory: PathBuf,
    journal: JournalReader,
}

/// A task of a run.
#[derive(Debug)]
pub struct TaskHistory {
    /// Step.
    pub name: String,
    /// Item, as in [`crate::StepRow`].
    pub key: Option<String>,
    /// Processes that were started for it.
    pub attempts: Vec<AttemptHistory>,
    /// What became of it, once it has ended.
    pub end: Option<TaskEnd>,
}

/// A process that was started for a task.
#[derive(Debug)]
pub struct AttemptHistory {
    /// Its tracked run.
    pub run_id: RunId,
    /// Its output; shared by the tasks of a batch.
    pub log: PathBuf,
}

/// What became of a task.
#[derive(Debug, Clone)]
pub struct TaskEnd {
    /// How far it came.
    pub status: StepStatus,
    /// Its tracked run.
    pub run_id: Option<RunId>,
    /// The fingerprint of its result.
    pub fingerprint: Option<mlpipe_artifacts::Digest>,
    /// Why it ran, was reused or was skipped.
    pub reason: String,
    /// Why it failed.
    pub error: Option<String>,
    /// The tracked run that did the work, for one that was reused.
    pub reused_from: Option<RunId>,
}

impl TaskHistory {
    /// Returns `step` or `step[key]`.
    pub fn label(&self) -> String {
        self.key.as_ref().map_or_else(|| self.name.clone(), |key| format!("{}[{key}]", self.name))
    }
}

impl RunHistory {
    /// Reads what the journal of a run says so far.
    ///
    /// # Errors
    /// When the journal cannot be read or understood.
    pub fn read(workspace: &Workspace, run_id: &RunId) -> Result<Self> {
        let directory = workspace.run_directory(run_id);
        let mut journal = JournalReader::open(&directory)?;
        let started = journal.start()?;
        let mut history = Self {
            run_id: run_id.clone(),
            pipeline: started.pipeline,
            start_time_ms: started.time_ms,
            last_time_ms: started.time_ms,
            status: None,
            tasks: Vec::new(),
            dimensions: started.start.dimensions(),
            directory,
            journal,
        };
        history.read_on()?;
        Ok(history)
    }

    /// Takes in what was written since.
    ///
    /// # Errors
    /// As for [`RunHistory::read`].
    pub fn read_on(&mut self) -> Result<()> {
        while let Some(line) = self.journal.next_line()? {
            self.take(line);
        }
        Ok(())
    }

    /// Tells whether a driver works on it.
    ///
    /// # Errors
    /// When its lock cannot be used.
    pub fn is_under_way(&self) -> Result<bool> {
        is_locked(&self.directory)
    }

    fn take(&mut self, line: Line) {
        self.last_time_ms = line.time_ms;
        match line.entry {
            Entry::Task { step, key, .. } => {
                let key = display_key(&key, self.dimensions.get(&step).copied().unwrap_or(0));
                self.tasks.push(TaskHistory { name: step, key, attempts: Vec::new(), end: None });
            }
            Entry::AttemptStarted { tasks, run_ids, log, .. } => {
                let log = self.directory.join(log);
                for (task, run_id) in tasks.into_iter().zip(run_ids) {
                    if let Some(task) = self.tasks.get_mut(task.0) {
                        task.attempts.push(AttemptHistory { run_id, log: log.clone() });
                    }
                }
            }
            Entry::TaskEnded { task, status, run_id, fingerprint, reason, error, reused_from } => {
                if let Some(task) = self.tasks.get_mut(task.0) {
                    task.end = Some(TaskEnd { status, run_id, fingerprint, reason, error, reused_from });
                }
            }
            Entry::RunEnded { status } => self.status = Some(status),
            Entry::RunStarted { .. } | Entry::Scheduler { .. } => {}
        }
    }
}

/// The part of a journal's first line that tells runs apart.
#[derive(Debug, Deserialize)]
struct FirstLine {
    time_ms: i64,
    pipeline: String,
}

impl Workspace {
    /// Returns the ids of the pipeline runs whose directories are here, in no order.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn pipeline_runs(&self) -> Result<Vec<RunId>> {
        let path = self.root().join("runs");
        let entries = fs::read_dir(&path).map_err(|source| Error::Workspace { path, source })?;
        Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
    }

    /// Returns the pipeline run whose id is, or begins with, `text`; the newest for [`LATEST`].
    ///
    /// # Errors
    /// [`Error::RunNotFound`], [`Error::RunAmbiguous`].
    pub fn find_pipeline_run(&self, text: &str) -> Result<RunId> {
        let not_found = || Error::RunNotFound { text: text.into() };
        if text == LATEST {
            return self.newest_run(None)?.ok_or_else(not_found);
        }
        let runs = self.pipeline_runs()?.into_iter();
        let mut found: Vec<RunId> = runs.filter(|run| !text.is_empty() && run.as_str().starts_with(text)).collect();
        match found.len() {
            0 => Err(not_found()),
            1 => Ok(found.swap_remove(0)),
            _ => {
                Err(Error::RunAmbiguous { text: text.into(), candidates: found.iter().map(RunId::to_string).collect() })
            }
        }
    }

    /// Returns the run that started last, of this pipeline or of any.
    ///
    /// # Errors
    /// When the runs cannot be listed.
    pub fn newest_run(&self, pipeline: Option<&str>) -> Result<Option<RunId>> {
        let known = self.pipeline_runs()?.into_iter().filter_map(|run| Some((self.first_line(&run)?, run)));
        let wanted = known.filter(|(first, _)| pipeline.is_none_or(|name| name == first.pipeline));
        Ok(wanted.max_by_key(|(first, run)| (first.time_ms, run.to_string())).map(|(_, run)| run))
    }

    /// None for a run that has only just begun.
    fn first_line(&self, run: &RunId) -> Option<FirstLine> {
        let file = File::open(self.run_directory(run).join(JOURNAL_FILE)).ok()?;
        let mut text = Vec::new();
        BufReader::new(file).read_until(b'\n', &mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}
