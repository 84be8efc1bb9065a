//! What can go wrong between a run and its record.
//!
//! Messages name keys and identifiers. Values appear only in [`Error::ParamChanged`], where they are the point.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;

use crate::RunId;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the store could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory of the store could not be made.
    #[error("create {}", .path.display())]
    CreateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// SQLite refused.
    #[error("tracking store {}", .path.display())]
    Sqlite {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The file is an SQLite database of another program, such as MLflow's own.
    #[error("{} is a database of another program, not an mlpipe tracking store", .path.display())]
    NotAStore {
        /// The database file.
        path: PathBuf,
    },
    /// The store was written by a newer version of this program.
    #[error(
        "tracking store {} has schema version {found}; this mlpipe knows versions up to {supported}, a newer one is needed",
        .path.display()
    )]
    SchemaTooNew {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest version that this program reads.
        supported: i64,
    },
    /// A stored value that cannot be one of ours.
    #[error("tracking store {}: {what} holds `{value}`", .path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// Table and column.
        what: &'static str,
        /// The value.
        value: String,
    },
    /// Text that is not 32 lower-case hexadecimal digits.
    #[error("`{text}` is not a run id: 32 lower-case hexadecimal digits are needed")]
    InvalidRunId {
        /// The text as given.
        text: String,
    },
    /// Text that is no run status.
    #[error("`{text}` is not a run status; use RUNNING, SCHEDULED, FINISHED, FAILED or KILLED")]
    InvalidRunStatus {
        /// The text as given.
        text: String,
    },
    /// A name for an experiment that MLflow does not allow.
    #[error("experiment name `{name}`: {reason}")]
    InvalidExperimentName {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key that MLflow does not allow.
    #[error("run {run_id}: {kind} key `{key}`: {reason}")]
    InvalidKey {
        /// The run.
        run_id: RunId,
        /// "param", "metric" or "tag".
        kind: &'static str,
        /// The key as given.
        key: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// No experiment has this name or id.
    #[error("there is no experiment `{experiment}`")]
    ExperimentNotFound {
        /// The name or id.
        experiment: String,
    },
    /// The experiment was deleted; its name stays taken.
    #[error("experiment `{name}` is deleted; restore it or use another name")]
    ExperimentDeleted {
        /// The name.
        name: String,
    },
    /// No run has this id, or none begins with it.
    #[error("there is no run `{run_id}`")]
    RunNotFound {
        /// The id, or its first digits.
        run_id: String,
    },
    /// Several runs have ids that begin so.
    #[error("run id `{prefix}` is ambiguous: {}, ...", .candidates.iter().map(RunId::to_string).collect::<Vec<_>>().join(", "))]
    RunAmbiguous {
        /// The first digits as given.
        prefix: String,
        /// Two of the runs.
        candidates: Vec<RunId>,
    },
    /// The run was deleted, so it cannot be written to.
    #[error("run {run_id} is deleted")]
    RunDeleted {
        /// The run.
        run_id: RunId,
    },
    /// A run of this id exists in another experiment.
    #[error("run {run_id} exists already, in experiment {experiment_id}")]
    RunExists {
        /// The run.
        run_id: RunId,
        /// The experiment it is in.
        experiment_id: String,
    },
    /// A param was to get another value.
    #[error("run {run_id}: param `{key}` is `{old}` and cannot become `{new}`")]
    ParamChanged {
        /// The run.
        run_id: RunId,
        /// The param.
        key: String,
        /// Its value.
        old: String,
        /// The value that was refused.
        new: String,
    },
    /// The writer's thread could not be started, or it ended before its time.
    #[error("the thread that writes to the tracking store has ended; records were lost")]
    WriterStopped,
}

impl Error {
    /// Returns whether the store as a whole is unusable, rather than what was asked of it.
    pub fn is_store_unavailable(&self) -> bool {
        use Error::{CreateDirectory, Damaged, NotAStore, SchemaTooNew, Sqlite, WriterStopped};
        matches!(
            self,
            CreateDirectory { .. }
                | Sqlite { .. }
                | NotAStore { .. }
                | SchemaTooNew { .. }
                | Damaged { .. }
                | WriterStopped
        )
    }

    /// Returns whether another process held the lock for longer than SQLite waited.
    pub(crate) fn is_busy(&self) -> bool {
        let Self::Sqlite { source, .. } = self else { return false };
        matches!(source.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
    }
}
