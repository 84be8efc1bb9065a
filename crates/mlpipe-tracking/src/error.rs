//! What can go wrong between a run and its record.
//!
//! Messages name keys and identifiers. Values appear only in [`Error::ParamChanged`], where they are the point, and where
//! MLflow's own texts have them ([`Error::Refused`]).

use std::fmt;
use std::io;
use std::path::PathBuf;

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
    /// The database did not do what it was asked.
    #[error("tracking store {store}")]
    Database {
        /// The database file, or the URI without its password.
        store: String,
        /// What the database said.
        source: DatabaseError,
    },
    /// A request that MLflow refuses, with MLflow's text.
    #[error("{message}")]
    Refused {
        /// Why, in MLflow's terms.
        code: ErrorCode,
        /// What is wrong, as MLflow says it.
        message: String,
    },
    /// The file is an SQLite database of another program, such as MLflow's own.
    #[error("{store} is a database of another program, not an mlpipe tracking store")]
    NotAStore {
        /// The database file, or the URI without its password.
        store: String,
    },
    /// The store was written by a newer version of this program.
    #[error(
        "tracking store {store} has schema version {found}; this mlpipe knows versions up to {supported}, a newer one is \
         needed"
    )]
    SchemaTooNew {
        /// The database file, or the URI without its password.
        store: String,
        /// Its schema version.
        found: i64,
        /// The newest version that this program reads.
        supported: i64,
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
        run_id: String,
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
        run_id: String,
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
        run_id: String,
        /// The param.
        key: String,
        /// Its value.
        old: String,
        /// The value that was refused.
        new: String,
    },
    /// Text that is not the address of a tracking server.
    #[error("tracking server `{uri}`: {reason}")]
    InvalidTrackingUri {
        /// The address, without credentials.
        uri: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A tracking server could not be reached, or did not answer. It may have done what it was asked all the same.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// A tracking server said no.
    #[error("{url}: the server answered {status}{}{}: {message}", if .code.is_empty() { "" } else { " " }, .code)]
    RefusedByServer {
        /// What was asked for.
        url: String,
        /// The HTTP status.
        status: u16,
        /// MLflow's error code; empty when the server gave none.
        code: String,
        /// What the server said.
        message: String,
    },
    /// A tracking server answered something that cannot be understood.
    #[error("{url}: {reason}")]
    InvalidAnswer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        reason: String,
    },
    /// Artifacts that a tracking server does not hand on.
    #[error(
        "artifacts at `{uri}` cannot be reached through the tracking server, only those at `mlflow-artifacts:` can"
    )]
    NotProxied {
        /// Where they lie.
        uri: String,
    },
    /// A local file could not be read or written.
    #[error("{}", .path.display())]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line of a spool that cannot be understood.
    #[error("{}: line {line}: {reason}", .path.display())]
    SpoolDamaged {
        /// The spool.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The writer's thread could not be started, or it ended before its time.
    #[error("the thread that writes to the tracking store has ended; records were lost")]
    WriterStopped,
}

/// The errors of MLflow's REST API that a store gives rise to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// What was asked cannot be right: 400.
    InvalidParameterValue,
    /// There is already one of this name: 400.
    ResourceAlreadyExists,
    /// There is none of this name or id: 404.
    ResourceDoesNotExist,
    /// It is in a state that does not allow it: 409.
    ResourceConflict,
    /// The store can not do it now, such as when the disk is full: 503.
    TemporarilyUnavailable,
    /// A fault of this program or of the store: 500.
    InternalError,
}

impl ErrorCode {
    /// Returns MLflow's name of the error.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "INVALID_PARAMETER_VALUE",
            Self::ResourceAlreadyExists => "RESOURCE_ALREADY_EXISTS",
            Self::ResourceDoesNotExist => "RESOURCE_DOES_NOT_EXIST",
            Self::ResourceConflict => "RESOURCE_CONFLICT",
            Self::TemporarilyUnavailable => "TEMPORARILY_UNAVAILABLE",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }

    /// Returns the HTTP status that goes with it.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidParameterValue | Self::ResourceAlreadyExists => 400,
            Self::ResourceDoesNotExist => 404,
            Self::ResourceConflict => 409,
            Self::TemporarilyUnavailable => 503,
            Self::InternalError => 500,
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What kind of thing a database said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseErrorKind {
    /// Someone else holds a lock, or two transactions were in each other's way: trying again may help.
    Busy,
    /// No room is left where the database lies.
    Full,
    /// The database can not be reached, or may not be written to.
    Unavailable,
    /// Anything else.
    Other,
}

/// What a database said, whichever it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DatabaseError {
    /// What kind of thing it is.
    pub kind: DatabaseErrorKind,
    /// The database's words.
    pub message: String,
}

impl DatabaseError {
    /// Returns the error of a store that holds what it cannot hold.
    pub(crate) fn damaged(message: String) -> Self {
        Self { kind: DatabaseErrorKind::Other, message }
    }
}

impl Error {
    /// Returns the error of MLflow's REST API that this one is.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Refused { code, .. } => *code,
            Self::Database { source, .. } if source.kind != DatabaseErrorKind::Other => {
                ErrorCode::TemporarilyUnavailable
            }
            Self::InvalidRunId { .. }
            | Self::InvalidRunStatus { .. }
            | Self::InvalidExperimentName { .. }
            | Self::InvalidKey { .. }
            | Self::ExperimentDeleted { .. }
            | Self::RunAmbiguous { .. }
            | Self::RunDeleted { .. }
            | Self::ParamChanged { .. } => ErrorCode::InvalidParameterValue,
            Self::ExperimentNotFound { .. } | Self::RunNotFound { .. } => ErrorCode::ResourceDoesNotExist,
            Self::RunExists { .. } => ErrorCode::ResourceAlreadyExists,
            Self::WriterStopped => ErrorCode::TemporarilyUnavailable,
            Self::CreateDirectory { .. }
            | Self::Database { .. }
            | Self::NotAStore { .. }
            | Self::SchemaTooNew { .. }
            | Self::InvalidTrackingUri { .. }
            | Self::Unreachable { .. }
            | Self::RefusedByServer { .. }
            | Self::InvalidAnswer { .. }
            | Self::NotProxied { .. }
            | Self::LocalFile { .. }
            | Self::SpoolDamaged { .. } => ErrorCode::InternalError,
        }
    }

    /// Returns whether the store as a whole is unusable, rather than what was asked of it.
    pub fn is_store_unavailable(&self) -> bool {
        use Error::{CreateDirectory, Database, NotAStore, SchemaTooNew, WriterStopped};
        matches!(
            self,
            CreateDirectory { .. } | Database { .. } | NotAStore { .. } | SchemaTooNew { .. } | WriterStopped
        )
    }

    /// Returns whether a tracking server may do later what it did not do now: it is away, overloaded, or does not know us.
    pub fn is_server_unavailable(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            // What gives no error code is no tracking server, or a proxy before one that is away.
            Self::RefusedByServer { status, code, .. } => {
                matches!(status, 401 | 403)
                    || crate::rest::is_passing(*status)
                    || (code.is_empty() && !matches!(status, 413 | 414 | 431))
            }
            _ => false,
        }
    }

    /// Returns whether another process held the lock for longer than the database waited.
    pub(crate) fn is_busy(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.kind == DatabaseErrorKind::Busy)
    }

    /// Returns the refusal of a request that cannot be right.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::Refused { code: ErrorCode::InvalidParameterValue, message: message.into() }
    }

    /// Returns the refusal of a request about something that is not there.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::Refused { code: ErrorCode::ResourceDoesNotExist, message: message.into() }
    }

    /// Returns the refusal to make what is there already.
    pub(crate) fn exists(message: impl Into<String>) -> Self {
        Self::Refused { code: ErrorCode::ResourceAlreadyExists, message: message.into() }
    }
}

impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode as Sqlite;
        let kind = match error.sqlite_error_code() {
            Some(Sqlite::DatabaseBusy | Sqlite::DatabaseLocked) => DatabaseErrorKind::Busy,
            Some(Sqlite::DiskFull) => DatabaseErrorKind::Full,
            Some(Sqlite::SystemIoFailure | Sqlite::CannotOpen | Sqlite::ReadOnly) => DatabaseErrorKind::Unavailable,
            _ => DatabaseErrorKind::Other,
        };
        Self { kind, message: error.to_string() }
    }
}
