//! What the commands about a pipeline have in common: the pipeline, its parameters and its inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlpipe_engine::{Capacity, Inputs, Pinned, RunRecord, RunRequest, Scope};
use mlpipe_spec::{LoadOptions, Pipeline, StepId, load_pipeline, load_pipeline_text};

use crate::commands::references;
use crate::comparators::COMPARATORS;
use crate::environment;
use crate::failure::{Exit, Failure};
use crate::sources::{self, COLLECTIONS};

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

    /// GPUs that steps may use together [default: those of CUDA_VISIBLE_DEVICES, else all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=1024))]
    pub(crate) gpus: Option<u32>,
}

impl PipelineArguments {
    /// Reads and checks the pipeline.
    pub(crate) fn load(&self) -> Result<Pipeline, Failure> {
        load(&self.pipeline, &self.params)
    }

    /// Returns how much of the machine the steps may use.
    pub(crate) fn limits(&self) -> Limits {
        Limits { jobs: self.jobs, gpus: self.gpus }
    }

    /// Reads and checks the pipeline with the parameters that a lock was made with, where no others are given.
    pub(crate) fn load_pinned(&self, pinned: &Pinned) -> Result<Pipeline, Failure> {
        let directory = std::path::absolute(&self.pipeline)?.parent().map(PathBuf::from).unwrap_or_default();
        let mut params = pinned.overrides(&directory);
        params.retain(|(name, _)| !self.params.iter().any(|(given, _)| given == name));
        params.extend(self.params.iter().cloned());
        load(&self.pipeline, &params)
    }

    /// Returns the path of the pipeline file.
    pub(crate) fn path(&self) -> &Path {
        &self.pipeline
    }
}

/// How much of the machine steps may use; all of it where nothing is said.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    pub(crate) jobs: Option<u32>,
    pub(crate) gpus: Option<u32>,
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
        for step in steps_named(pipeline, &self.force)? {
            scope = scope.force(step);
        }
        for step in steps_named(pipeline, &self.only)? {
            scope = scope.only(pipeline, step);
        }
        for step in steps_named(pipeline, &self.from)? {
            scope = scope.from(pipeline, step);
        }
        Ok(scope)
    }
}

/// Returns the steps of these names; the name of a step that is a pipeline stands for all of it.
fn steps_named(pipeline: &Pipeline, names: &[String]) -> Result<Vec<StepId>, Failure> {
    let mut found = Vec::new();
    for name in names {
        let before = found.len();
        found.extend((0..pipeline.steps.len()).filter(|step| pipeline.steps[*step].name.is_or_belongs_to(name)));
        if found.len() == before {
            return Err(no_step(pipeline, name));
        }
    }
    Ok(found)
}

/// Returns the step of this name.
pub(crate) fn step_named(pipeline: &Pipeline, name: &str) -> Result<StepId, Failure> {
    let inside: Vec<&str> = pipeline
        .steps
        .iter()
        .map(|step| &step.name)
        .filter(|step| step.is_or_belongs_to(name))
        .map(|step| step.as_str())
        .collect();
    match pipeline.steps.iter().position(|step| step.name.as_str() == name) {
        Some(step) => Ok(step),
        None if inside.is_empty() => Err(no_step(pipeline, name)),
        None => Err(Failure::new(Exit::Usage, format!("step `{name}` is a pipeline"))
            .hint(format!("its steps are {}", inside.join(", ")))),
    }
}

fn no_step(pipeline: &Pipeline, name: &str) -> Failure {
    let groups = pipeline.steps.iter().flat_map(|step| step.name.enclosing());
    let names = pipeline.steps.iter().map(|step| step.name.as_str()).chain(groups);
    let failure = Failure::new(Exit::Usage, format!("there is no step `{name}` in {}", pipeline.path.display()));
    match nearest(name, names) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => {
            let all: Vec<&str> = pipeline.steps.iter().map(|step| step.name.as_str()).collect();
            failure.hint(format!("its steps are {}", all.join(", ")))
        }
    }
}

/// The known name that is most like what was written, when it is like it at all.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    /// Jaro-Winkler similarity, 1 for equal names; the same threshold as for names in a pipeline file.
    const ALIKE: f64 = 0.8;
    let scored = known.map(|known| (strsim::jaro_winkler(name, known), known)).filter(|(score, _)| *score >= ALIKE);
    scored.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// Puts together what the engine is asked, on this machine within these limits.
pub(crate) fn run_request<'a>(
    pipeline: &'a Pipeline,
    inputs: &'a Inputs,
    environment: &'a BTreeMap<String, String>,
    limits: Limits,
    scope: Scope,
) -> Result<RunRequest<'a>, Failure> {
    let needs_gpus = pipeline.steps.iter().any(|step| step.resources.gpu > 0);
    let gpus = match needs_gpus {
        true => environment::gpus(limits.gpus).map_err(|message| Failure::new(Exit::Usage, message))?,
        false => Vec::new(),
    };
    Ok(RunRequest {
        pipeline,
        inputs,
        environment,
        capacity: Capacity {
            gpus: u32::try_from(gpus.len()).unwrap_or(u32::MAX),
            ..environment::capacity(limits.jobs)
        },
        gpus,
        program_directory: std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from)),
        scope,
        version: environment::VERSION,
    })
}

/// Refuses a run with a step that needs more GPUs than there are, before anything is done.
pub(crate) fn check_gpus(request: &RunRequest<'_>) -> Result<(), Failure> {
    let takes_part = |step: &StepId| request.scope.steps().is_none_or(|steps| steps.contains(step));
    let steps = &request.pipeline.steps;
    let lacking = (0..steps.len()).filter(takes_part).find(|step| steps[*step].resources.gpu > request.capacity.gpus);
    let Some(step) = lacking.map(|step| &steps[step]) else { return Ok(()) };
    let (needed, there) = (step.resources.gpu, request.capacity.gpus);
    let count = |gpus: u32| if gpus == 1 { "1 GPU".to_owned() } else { format!("{gpus} GPUs") };
    let message = format!(
        "step `{}` needs {}, and there {}",
        step.name,
        count(needed),
        match there {
            0 => "is none".to_owned(),
            1 => "is 1".to_owned(),
            more => format!("are {more}"),
        }
    );
    Err(Failure::new(Exit::Usage, message)
        .hint("GPUs are found by CUDA_VISIBLE_DEVICES or in /dev; --gpus N says how many there are"))
}

/// Reads and checks the pipeline in a file, and that its inputs are there.
pub(crate) fn load(path: &Path, params: &[(String, String)]) -> Result<Pipeline, Failure> {
    let mut pipeline = load_pipeline(path, &options(params))?;
    sources::check_places(&pipeline)?;
    references::look_up(&mut pipeline)?;
    Ok(pipeline)
}

/// Checks the pipeline that a run was made with, whatever its files say now.
pub(crate) fn load_recorded(record: &RunRecord) -> Result<Pipeline, Failure> {
    let directory = record.path.parent().unwrap_or(Path::new("/"));
    let params = record.pinned.overrides(directory);
    let options = LoadOptions { included: Some(&record.included), ..options(&params) };
    let mut pipeline = load_pipeline_text(&record.path, record.source.clone(), &options)?;
    references::look_up(&mut pipeline)?;
    Ok(pipeline)
}

fn options(params: &[(String, String)]) -> LoadOptions<'_> {
    LoadOptions { overrides: params, collections: COLLECTIONS, comparators: COMPARATORS, included: None }
}

pub(crate) fn parse_override(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.trim().to_owned(), value.to_owned()))
}
