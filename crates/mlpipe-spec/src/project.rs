//! Projects: directories with an MLproject file that stock `mlflow run` accepts too.

use std::path::PathBuf;

use indexmap::IndexMap;
use serde::Serialize;

use crate::compare::Comparator;
use crate::params::ParameterDeclaration;

/// A project: a directory with an MLproject file.
#[derive(Debug, Clone, PartialEq)]
pub struct Project {
    /// Absolute path of the directory; commands run here.
    pub directory: PathBuf,
    /// The project's name; that of the directory when the file gives none.
    pub name: String,
    /// The entry points in declared order.
    pub entry_points: IndexMap<String, EntryPoint>,
    /// Absolute path of the `python_env` or `conda_env` file, if the project names one.
    pub environment: Option<String>,
}

/// One way of running a project.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntryPoint {
    /// The parameters in declared order.
    pub parameters: IndexMap<String, ParameterDeclaration>,
    /// The command, with `{name}` where the value of a parameter goes.
    pub command: String,
    /// The command that runs several items in one process, with `{batch}` where the path of the list of items goes.
    pub batch_command: Option<String>,
    /// The files the command writes, in declared order.
    pub outputs: IndexMap<String, OutputDeclaration>,
}

/// A file or directory that an entry point writes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputDeclaration {
    /// Path relative to the output directory of the step; never leaves it.
    pub path: String,
    /// What lies there.
    pub kind: OutputKind,
    /// How two results are compared when a run is reproduced; byte by byte when empty.
    pub compare: Vec<Comparator>,
}

/// What an output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OutputKind {
    /// A file.
    #[default]
    File,
    /// A file with one JSON document.
    Json,
    /// A directory.
    Directory,
    /// A directory whose entries are keyed items: the key is the entry's name.
    Collection,
}
