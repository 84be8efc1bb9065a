//! What the user wrote: pipeline YAML, MLproject files, parameters and references; parsed, checked, explained.
//!
//! [`load_pipeline`] reads a pipeline file and the MLproject of every step and returns either a [`Pipeline`] that
//! cannot be wrong or [`Diagnostics`] with every mistake found, each with its place in the file. What is run, where,
//! and whether it has run before is for the engine to decide; this crate reads files and nothing else.

mod check;
mod command_line;
mod declaration;
mod diagnostics;
mod expression;
mod fields;
mod params;
mod paths;
mod pipeline;
mod project;
mod project_file;
mod quantity;
mod source;
mod syntax;
mod yaml;

pub use command_line::CommandLine;
pub use diagnostics::{Diagnostic, Diagnostics};
pub use params::{ParamKind, ParamValue, ParameterDeclaration, ParameterKind};
pub use pipeline::{
    Argument, Dimension, DimensionSource, Input, ItemForm, OnItemError, OutputRef, Param, Part, Pipeline, Reference,
    Resources, Step, StepId, StepName, Template,
};
pub use project::{EntryPoint, OutputDeclaration, OutputKind, Project};

use std::path::{Path, PathBuf};

/// What a command says about a pipeline besides its path.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// Values of parameters given on the command line, `-P name=value`, in the order given.
    pub overrides: &'a [(String, String)],
    /// The kinds of input collection the command can list, such as `dicom-series` and `files`.
    pub collections: &'a [&'a str],
}

/// Why a pipeline could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The pipeline file itself could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file as it was named.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The pipeline or a project of it has mistakes; all of them are inside.
    #[error("{0}")]
    Invalid(Diagnostics),
}

/// Returns the pipeline in the file at `path` with the projects of its steps, checked as a whole.
///
/// Relative paths in the file are relative to its directory; relative paths in `options.overrides` to the current
/// working directory.
pub fn load_pipeline(path: &Path, options: &LoadOptions) -> Result<Pipeline, LoadError> {
    let io_error = |source| LoadError::Io { path: path.to_path_buf(), source };
    let here = std::env::current_dir().map_err(io_error)?;
    let text = std::fs::read_to_string(path).map_err(io_error)?;
    check::pipeline(path, text, &here, options).map_err(LoadError::Invalid)
}
