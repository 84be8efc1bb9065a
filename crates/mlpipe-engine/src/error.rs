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
        /// What is wrong with the path. Boxed: results of every other function would be as large.
        source: Box<mlpipe_artifacts::Error>,
    },
    /// A project directory cannot be read.
    #[error("step `{step}`: project: {source}")]
    Project {
        /// The step.
        step: String,
        /// What is wrong with it.
        source: mlpipe_artifacts::Error,
    },
    /// The journal of a run cannot be understood.
    #[error("{}: line {line}: {message}", path.display())]
    Journal {
        /// The journal.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// No pipeline run here has this id.
    #[error("there is no pipeline run `{text}` here")]
    RunNotFound {
        /// What was asked for.
        text: String,
    },
    /// Several pipeline runs have ids that begin like this.
    #[error("`{text}` is the beginning of {} runs: {}", candidates.len(), candidates.join(", "))]
    RunAmbiguous {
        /// What was asked for.
        text: String,
        /// The ids.
        candidates: Vec<String>,
    },
    /// A lock, the record of a run or an output of an earlier run cannot be used.
    #[error("`{}`: {message}", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Content or results cannot be stored or read.
    #[error(transparent)]
    Artifacts(#[from] mlpipe_artifacts::Error),
    /// Runs cannot be recorded.
    #[error("tracking store: {0}")]
    Tracking(#[from] mlpipe_tracking::Error),
}

/// Returns the message of an error followed by those of its causes, without what was said before.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let message = next.to_string();
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = next.source();
    }
    text
}

/// Result of the engine.
pub type Result<T> = std::result::Result<T, Error>;
