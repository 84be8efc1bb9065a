//! The record of one pipeline run: one JSON object per line, appended as things happen.
//!
//! It tells what the driver knew and when.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::scheduler::{Event, TaskIndex};

/// Name of the file in a run's directory.
pub(crate) const JOURNAL_FILE: &str = "journal.ndjson";

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// First line.
    RunStarted { format: String, pipeline: String, run_id: String, mlpipe: String },
    /// A task became known.
    Task { task: TaskIndex, step: String, key: Vec<String> },
    /// Something happened to a task.
    Scheduler { event: Event },
    /// A process was started for these tasks.
    AttemptStarted { tasks: Vec<TaskIndex>, process_id: u32 },
    /// Last line of a run that was not cut off.
    RunEnded { status: String },
}

#[derive(Debug, Serialize)]
struct Line {
    time_ms: i64,
    #[serde(flatten)]
    entry: Entry,
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    pub(crate) fn create(run_directory: &Path) -> Result<Self> {
        let path = run_directory.join(JOURNAL_FILE);
        let file = File::options().create_new(true).append(true).open(&path);
        Ok(Self { file: file.map_err(|source| Error::Workspace { path: path.clone(), source })?, path })
    }

    /// Appends one line in one write.
    pub(crate) fn append(&mut self, time_ms: i64, entry: Entry) -> Result<()> {
        let mut line = serde_json::to_vec(&Line { time_ms, entry }).expect("journal entries have string keys");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| Error::Workspace { path: self.path.clone(), source })
    }
}
