//! Problems found in files and volumes: a stable code, what is wrong (file and attribute named), and the cure.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Whether a volume can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Nothing was found wrong.
    Ok,
    /// Usable, but something should be looked at.
    Warn,
    /// Not usable.
    Reject,
}

impl Status {
    /// Returns the word used in documents: `ok`, `warn` or `reject`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Reject => "reject",
        }
    }
}

/// Something wrong with a volume, or worth a look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Stable `snake_case` code.
    pub code: String,
    /// What is wrong, naming the attribute and the values.
    pub message: String,
    /// The file it was seen in, where one file is to blame.
    pub file: Option<PathBuf>,
    /// What the user can do about it.
    pub cure: String,
}

impl Problem {
    pub(crate) fn new(code: &str, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Problem { code: code.into(), message: message.into(), file: None, cure: cure.into() }
    }

    /// Returns the problem as an entry of the rejected files.
    pub(crate) fn into_rejected_file(self, path: &Path) -> RejectedFile {
        RejectedFile { path: path.to_path_buf(), message: format!("{}; {}", self.message, self.cure), code: self.code }
    }

    pub(crate) fn in_file(mut self, path: &Path) -> Self {
        self.file = Some(path.to_path_buf());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(out, "`{}`: ", file.display())?;
        }
        write!(out, "{}; {} [{}]", self.message, self.cure, self.code)
    }
}

/// A file that is DICOM but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedFile {
    /// The file.
    pub path: PathBuf,
    /// Stable `snake_case` code.
    pub code: String,
    /// What is wrong and the cure.
    pub message: String,
}
