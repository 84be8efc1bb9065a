//! The record of one pipeline run: one JSON object per line, appended as things happen.
//!
//! It tells what the driver knew and when. The first line and the scheduler's events are enough to come to the same state of
//! every task again: [`replay`]. The other lines say what became of tasks and where their logs lie.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlpipe_artifacts::Digest;
use mlpipe_spec::StepId;
use mlpipe_tracking::RunId;
use serde::{Deserialize, Serialize};

use crate::document::StepStatus;
use crate::driver::RunRequest;
use crate::error::{Error, Result};
use crate::scheduler::{Capacity, Event, Scheduler, TaskIndex};
use crate::shape::{StepShape, shapes};

/// Name of the file in a run's directory.
pub(crate) const JOURNAL_FILE: &str = "journal.ndjson";
/// Value of `format` in the first line.
pub(crate) const JOURNAL_FORMAT: &str = "mlpipe.journal/1";

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub(crate) enum Entry {
    /// First line.
    RunStarted {
        format: String,
        pipeline: String,
        run_id: String,
        mlpipe: String,
        #[serde(flatten)]
        start: Box<Start>,
    },
    /// A task became known.
    Task { task: TaskIndex, step: String, key: Vec<String> },
    /// Something happened to a task.
    Scheduler { event: Event },
    /// A process was started for these tasks, whose attempts have these runs. `log` lies below the run's directory.
    AttemptStarted { tasks: Vec<TaskIndex>, run_ids: Vec<RunId>, process_id: u32, log: PathBuf },
    /// A task came to its end.
    TaskEnded {
        task: TaskIndex,
        status: StepStatus,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run_id: Option<RunId>,
        /// Of a result that was made or reused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fingerprint: Option<Digest>,
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reused_from: Option<RunId>,
    },
    /// Last line of a run that was not cut off.
    RunEnded { status: String },
}

/// What the scheduler was given at the start.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    /// Names of the steps.
    pub(crate) steps: Vec<String>,
    shapes: Vec<StepShape>,
    inputs: Vec<Vec<String>>,
    capacity: Capacity,
    only: Option<BTreeSet<StepId>>,
}

impl Start {
    pub(crate) fn of(request: &RunRequest<'_>) -> Self {
        let keys = request.inputs.values().map(|items| items.keys().cloned().collect());
        Self {
            steps: request.pipeline.steps.iter().map(|step| step.name.to_string()).collect(),
            shapes: shapes(request.pipeline),
            inputs: keys.collect(),
            capacity: request.capacity,
            only: request.scope.steps().cloned(),
        }
    }

    /// How many loop variables each step has.
    pub(crate) fn dimensions(&self) -> HashMap<String, usize> {
        let counts = self.shapes.iter().map(|shape| shape.dimensions.len());
        self.steps.iter().cloned().zip(counts).collect()
    }

    /// A scheduler that has not started yet.
    pub(crate) fn scheduler(&self) -> Scheduler {
        let keys = self.inputs.iter().map(|keys| keys.iter().map(|key| Arc::from(key.as_str())).collect()).collect();
        Scheduler::new(self.shapes.clone(), keys, self.capacity).only(self.only.as_ref())
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) time_ms: i64,
    #[serde(flatten)]
    pub(crate) entry: Entry,
}

/// An open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    pub(crate) fn create(run_directory: &Path) -> Result<Self> {
        let path = run_directory.join(JOURNAL_FILE);
        let file = File::options().create_new(true).append(true).open(&path);
        let file = file.map_err(|source| Error::Workspace { path: path.clone(), source })?;
        Ok(Self { file: BufWriter::new(file), path })
    }

    /// Appends one line; it is in the file once [`Journal::flush`] has returned.
    pub(crate) fn append(&mut self, time_ms: i64, entry: Entry) -> Result<()> {
        let mut line = serde_json::to_vec(&Line { time_ms, entry }).expect("journal entries have string keys");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| Error::Workspace { path: self.path.clone(), source })
    }

    /// Writes what was appended: before the driver waits, and before the end of work is announced.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|source| Error::Workspace { path: self.path.clone(), source })
    }
}

/// Reads a journal line by line, also while it is being written.
#[derive(Debug)]
pub(crate) struct JournalReader {
    path: PathBuf,
    reader: BufReader<File>,
    /// Lines read so far.
    number: usize,
}

impl JournalReader {
    pub(crate) fn open(run_directory: &Path) -> Result<Self> {
        let path = run_directory.join(JOURNAL_FILE);
        let file = File::open(&path).map_err(|source| Error::Workspace { path: path.clone(), source })?;
        Ok(Self { path, reader: BufReader::new(file), number: 0 })
    }

    /// Returns the next line; none when there is no complete one (yet): the last may have been cut short by a crash.
    pub(crate) fn next_line(&mut self) -> Result<Option<Line>> {
        let mut text = Vec::new();
        let read = self.reader.read_until(b'\n', &mut text).and_then(|length| {
            if !text.ends_with(b"\n") {
                self.reader.seek_relative(-i64::try_from(length).expect("a line is shorter"))?;
                text.clear();
            }
            Ok(())
        });
        read.map_err(|source| Error::Workspace { path: self.path.clone(), source })?;
        if text.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let line: Line = serde_json::from_slice(&text).map_err(|error| self.damaged(error.to_string()))?;
        match &line.entry {
            Entry::RunStarted { format, .. } if format != JOURNAL_FORMAT => {
                Err(self.damaged(format!("its format is `{format}`, this program reads `{JOURNAL_FORMAT}`")))
            }
            _ => Ok(Some(line)),
        }
    }

    /// Returns the first line's time and contents.
    pub(crate) fn start(&mut self) -> Result<Started> {
        match self.next_line()? {
            Some(Line { time_ms, entry: Entry::RunStarted { pipeline, start, .. } }) => {
                Ok(Started { time_ms, pipeline, start: *start })
            }
            _ => Err(self.damaged("it does not say how the run began".into())),
        }
    }

    fn damaged(&self, message: String) -> Error {
        Error::Journal { path: self.path.clone(), line: self.number.max(1), message }
    }
}

/// What the first line says.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) time_ms: i64,
    pub(crate) pipeline: String,
    pub(crate) start: Start,
}

/// Returns the scheduler of a run as it stood after the last line of its journal: every task is in the state that it had in
/// the run.
///
/// # Errors
/// [`Error::Workspace`] when the journal cannot be read, [`Error::Journal`] when it does not say how the run began or one
/// of its lines is damaged.
pub fn replay(run_directory: &Path) -> Result<Scheduler> {
    let mut journal = JournalReader::open(run_directory)?;
    let mut scheduler = journal.start()?.start.scheduler();
    scheduler.start();
    while let Some(line) = journal.next_line()? {
        if let Entry::Scheduler { event } = line.entry {
            scheduler.on_event(&event);
        }
    }
    Ok(scheduler)
}
