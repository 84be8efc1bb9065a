//! What can go wrong while a pipeline is planned or run. A failing step is no error: it is part of the result.

use std::path::PathBuf;

/// Error of the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be used.
    #[error("state directory {}: {source}", path.display())]
    Workspace {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file or directory that a parameter names cannot be read.
    #[error("step `{step}`: parameter `{parameter}`: {source}")]
    Parameter {
        /// The step.
        step: String,
        /// Its parameter.
        parameter: String,
        /// What is wrong with the path.
        source: mlpipe_artifacts::Error,
    },
    /// A project directory cannot be read.
    #[error("step `{step}`: project: {source}")]
    Project {
        /// The step.
        step: String,
        /// What is wrong with it.
        source: mlpipe_artifacts::Error,
    },
    /// Content or results cannot be stored or read.
    #[error(transparent)]
    Artifacts(#[from] mlpipe_artifacts::Error),
    /// Runs cannot be recorded.
    #[error("tracking store: {0}")]
    Tracking(#[from] mlpipe_tracking::Error),
}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
