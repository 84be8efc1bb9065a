//! What the commands about a pipeline have in common: the pipeline, its parameters and its inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlpipe_engine::{Inputs, Pinned, RunRequest, Scope};
use mlpipe_spec::{LoadOptions, Pipeline, StepId, load_pipeline, load_pipeline_text};

use crate::commands::references;
use crate::comparators::COMPARATORS;
use crate::environment;
use crate::failure::{Exit, Failure};
use crate::sources::COLLECTIONS;

/// A pipeline and its parameters on the command line.
#[derive(Debug, clap::Args)]
pub(crate) struct PipelineArguments {
    /// The pipeline file
    pipeline: PathBuf,

    /// Set a parameter of the pipeline; may be given several times
    #[arg(short = 'P', long = "param", value_name = "NAME=VALUE", value_parser = parse_override)]
    params: Vec<(String, String)>,

    /// Cores that steps may use together [default: all]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: Option<u32>,
}

impl PipelineArguments {
    /// Reads and checks the pipeline.
    pub(crate) fn load(&self) -> Result<Pipeline, Failure> {
        load(&self.pipeline, None, &self.params)
    }

    /// Reads and checks the pipeline with the parameters that a lock was made with, where no others are given.
    pub(crate) fn load_pinned(&self, pinned: &Pinned) -> Result<Pipeline, Failure> {
        let directory = std::path::absolute(&self.pipeline)?.parent().map(PathBuf::from).unwrap_or_default();
        let mut params = pinned.overrides(&directory);
        params.retain(|(name, _)| !self.params.iter().any(|(given, _)| given == name));
        params.extend(self.params.iter().cloned());
        load(&self.pipeline, None, &params)
    }

    /// Returns the path of the pipeline file.
    pub(crate) fn path(&self) -> &Path {
        &self.pipeline
    }
}

/// Which steps the command is about.
#[derive(Debug, clap::Args)]
pub(crate) struct ScopeArguments {
    /// Do this step again although a finished result exists; may be given several times
    #[arg(long, value_name = "STEP")]
    force: Vec<String>,

    /// Run this step and what it needs, nothing downstream; may be given several times
    #[arg(long, value_name = "STEP")]
    only: Vec<String>,

    /// Do this step and everything downstream again; may be given several times
    #[arg(long, value_name = "STEP")]
    from: Vec<String>,
}

impl ScopeArguments {
    /// Returns what `--force`, `--only` and `--from` ask for.
    pub(crate) fn scope(&self, pipeline: &Pipeline) -> Result<Scope, Failure> {
        let mut scope = Scope::default();
        for name in &self.force {
            scope = scope.force(step_named(pipeline, name)?);
        }
        for name in &self.only {
            scope = scope.only(pipeline, step_named(pipeline, name)?);
        }
        for name in &self.from {
            scope = scope.from(pipeline, step_named(pipeline, name)?);
        }
        Ok(scope)
    }
}

/// Returns the step of this name.
pub(crate) fn step_named(pipeline: &Pipeline, name: &str) -> Result<StepId, Failure> {
    let names = || pipeline.steps.iter().map(|step| step.name.as_str());
    names().position(|known| known == name).ok_or_else(|| {
        let failure = Failure::new(Exit::Usage, format!("there is no step `{name}` in {}", pipeline.path.display()));
        match nearest(name, names()) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure.hint(format!("its steps are {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

/// The known name that is most like what was written, when it is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Jaro-Winkler similarity, 1 for equal names; the same threshold as for names in a pipeline file.
    const ALIKE: f64 = 0.8;
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known)).filter(|(score, _)| *score >= ALIKE);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// Puts together what the engine is asked, on this machine, with `jobs` cores or all.
pub(crate) fn run_request<'a>(
    pipeline: &'a Pipeline,
    inputs: &'a Inputs,
    environment: &'a BTreeMap<String, String>,
    jobs: Option<u32>,
    scope: Scope,
) -> RunRequest<'a> {
    RunRequest {
        pipeline,
        inputs,
        environment,
        capacity: environment::capacity(jobs),
        program_directory: std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from)),
        scope,
        version: environment::VERSION,
    }
}

/// Reads and checks the pipeline in a file; `text` is its text when it is not that of now.
pub(crate) fn load(path: &Path, text: Option<String>, params: &[(String, String)]) -> Result<Pipeline, Failure> {
    let options = LoadOptions { overrides: params, collections: COLLECTIONS, comparators: COMPARATORS };
    let mut pipeline = match text {
        Some(text) => load_pipeline_text(path, text, &options)?,
        None => load_pipeline(path, &options)?,
    };
    references::look_up(&mut pipeline)?;
    Ok(pipeline)
}

pub(crate) fn parse_override(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}
