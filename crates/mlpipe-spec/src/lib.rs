//! What the user wrote: pipeline YAML, MLproject files, parameters and references; parsed, checked, explained.
//!
//! [`load_pipeline`] reads a pipeline file and the MLproject of every step and returns either a [`Pipeline`] that
//! cannot be wrong or [`Diagnostics`] with every mistake found, each with its place in the file. What is run, where,
//! and whether it has run before is for the engine to decide; this crate reads files and asks whether the environment
//! variables named as secrets are set, nothing else.

mod check;
mod command_line;
mod compare;
mod declaration;
mod diagnostics;
mod evaluation;
mod expression;
mod fields;
mod params;
mod paths;
mod pipeline;
mod project;
mod project_file;
mod quantity;
mod retries;
mod schema;
mod source;
mod syntax;
mod yaml;

pub use command_line::CommandLine;
pub use compare::{Comparator, ForeignComparator, Tolerance};
pub use diagnostics::{Diagnostic, Diagnostics};
pub use evaluation::{Comparison, Counted, Expression, Facts};
pub use params::{ParamKind, ParamValue, ParameterDeclaration, ParameterKind};
pub use pipeline::{
    Argument, Condition, Dimension, DimensionSource, Input, ItemForm, MATRIX_VARIABLE, Matrix, MatrixItem, Need,
    OnItemError, OutputRef, Param, Part, Pipeline, Read, Reference, Resources, Step, StepId, StepName, Template,
};
pub use project::{EntryPoint, OutputDeclaration, OutputKind, Project};
pub use retries::{FailureCause, Retries, RetryOn};
pub use schema::{pipeline_schema, project_schema};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a command says about a pipeline besides its path.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadOptions<'a> {
    /// Values of parameters given on the command line, `-P name=value`, in the order given.
    pub overrides: &'a [(String, String)],
    /// The kinds of input collection the command can list, such as `dicom-series` and `files`.
    pub collections: &'a [&'a str],
    /// The comparators of outputs that the command brings beside `bytes`, `json`, `array` and `text`.
    pub comparators: &'a [ForeignComparator],
    /// Texts of pipelines that steps name, by absolute path, where they are not those of now.
    pub included: Option<&'a BTreeMap<PathBuf, String>>,
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
    let text = std::fs::read(path).map_err(io_error(path))?;
    load_bytes(path, text, options)
}

/// Returns the pipeline with this text as if it stood in the file at `path`, as [`load_pipeline`] does.
pub fn load_pipeline_text(path: &Path, text: String, options: &LoadOptions) -> Result<Pipeline, LoadError> {
    load_bytes(path, text.into_bytes(), options)
}

fn load_bytes(path: &Path, text: Vec<u8>, options: &LoadOptions) -> Result<Pipeline, LoadError> {
    let here = std::env::current_dir().map_err(io_error(path))?;
    check::pipeline(path, text, &here, options).map_err(LoadError::Invalid)
}

fn io_error(path: &Path) -> impl FnOnce(std::io::Error) -> LoadError {
    let path = path.to_path_buf();
    move |source| LoadError::Io { path, source }
}
