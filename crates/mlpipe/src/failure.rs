//! Exit codes, and the one place where an error becomes a message for people.

use std::fmt::Display;
use std::process::ExitCode;

use mlpipe_engine::with_causes;
use mlpipe_spec::LoadError;

use crate::text;

/// How the command ended; the numbers are documented in `docs/formats.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    StepFailed = 1,
    Usage = 2,
    PipelineInvalid = 3,
    BadInput = 4,
    NotReproduced = 5,
    StoreUnavailable = 6,
    Interrupted = 130,
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error on its way to the user.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    hint: Option<String>,
    /// The message is a finished page (diagnostics with source excerpts) and is printed as it is.
    is_page: bool,
}

/// Result of a subcommand.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self { exit, message: message.to_string(), hint: None, is_page: false }
    }

    pub(crate) fn bad_input(message: impl Display) -> Self {
        Self::new(Exit::BadInput, message)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Prints the message on stderr and returns the exit code.
    pub(crate) fn report(self) -> Exit {
        if self.is_page {
            text::error_line(&self.message);
        } else {
            text::error_line(&format!("error: {}", self.message));
        }
        if let Some(hint) = self.hint {
            text::error_line(&format!("hint: {hint}"));
        }
        self.exit
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Invalid(diagnostics) => Self {
                exit: Exit::PipelineInvalid,
                message: diagnostics.render(text::colours_on_stderr(), text::width()),
                hint: None,
                is_page: true,
            },
            error => Self::new(Exit::Usage, error),
        }
    }
}

impl From<mlpipe_engine::Error> for Failure {
    fn from(error: mlpipe_engine::Error) -> Self {
        use mlpipe_engine::Error;
        let message = with_causes(&error);
        match &error {
            Error::Parameter { .. } => {
                Self::bad_input(message).hint("give another path with -P, or make this one readable")
            }
            Error::Project { .. } | Error::Record { .. } => Self::bad_input(message),
            Error::RunNotFound { .. } | Error::RunAmbiguous { .. } => {
                Self::bad_input(message).hint("`mlpipe runs list` shows the runs; the first digits of an id are enough")
            }
            Error::Journal { .. } => Self::new(Exit::StoreUnavailable, message)
                .hint("the journal was written by another version of mlpipe or is damaged; nothing else depends on it"),
            Error::Workspace { .. } | Error::Artifacts(_) | Error::Tracking(_) => {
                Self::new(Exit::StoreUnavailable, message)
                    .hint("look at the disk and the rights of the state directory")
            }
        }
    }
}

impl From<mlpipe_tracking::Error> for Failure {
    fn from(error: mlpipe_tracking::Error) -> Self {
        use mlpipe_tracking::Error;
        let message = with_causes(&error);
        match &error {
            Error::RunNotFound { .. } | Error::RunAmbiguous { .. } => {
                Self::bad_input(message).hint("`mlpipe runs list --all` shows the ids")
            }
            error if error.is_store_unavailable() || error.is_server_unavailable() => {
                Self::new(Exit::StoreUnavailable, message)
            }
            _ => Self::bad_input(message),
        }
    }
}

impl From<mlpipe_dicom::Error> for Failure {
    fn from(error: mlpipe_dicom::Error) -> Self {
        Self::bad_input(error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(Exit::StoreUnavailable, error)
    }
}
