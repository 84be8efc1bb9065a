//! What can go wrong in a step; each message names the file and the cure.

use std::path::{Path, PathBuf};

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a step gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The images cannot be used.
    #[error(transparent)]
    Dicom(#[from] mlpipe_dicom::Error),
    /// The model cannot be used.
    #[error(transparent)]
    Model(#[from] mlpipe_infer::Error),
    /// The documents do not fit each other or the volume.
    #[error(transparent)]
    Report(#[from] mlpipe_report::Error),
    /// A file or folder cannot be read.
    #[error("read `{}`: {source}", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file or folder cannot be written.
    #[error("write `{}`: {source}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A document is not of the expected format.
    #[error("`{}` is not a valid {format} document: {message}", path.display())]
    Document {
        /// The document.
        path: PathBuf,
        /// Format that was expected, as in `mlpipe.vertebrae/1`.
        format: &'static str,
        /// What is wrong.
        message: String,
    },
    /// An input is well formed but cannot be used for this step.
    #[error("`{}`: {message}", path.display())]
    Unsuitable {
        /// The file or folder.
        path: PathBuf,
        /// Why, and the cure.
        message: String,
    },
    /// A parameter has a value that it cannot have.
    #[error("parameter `{name}` is {value}: {message}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        message: &'static str,
    },
}

impl Error {
    /// Returns whether the cause lies in what the step was given (exit code 4), not in where it runs.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Error::Write { .. } | Error::Dicom(mlpipe_dicom::Error::Write { .. }) => false,
            Error::Model(error) => {
                !matches!(error, mlpipe_infer::Error::NoRuntime { .. } | mlpipe_infer::Error::Run { .. })
            }
            _ => true,
        }
    }

    pub(crate) fn unsuitable(path: &Path, message: impl Into<String>) -> Error {
        Error::Unsuitable { path: path.to_owned(), message: message.into() }
    }
}
