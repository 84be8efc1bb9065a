//! `mlpipe reproduce`: does a run again from nothing, with the same parameters on the same inputs, and holds every output
//! against the original.

use std::path::{Path, PathBuf};

use mlpipe_artifacts::DigestCache;
use mlpipe_engine::{
    Drift, Lock, Mailbox, Observer, Originals, Pinned, Reproduction, RunOutcome, RunRecord, RunRequest,
    STATE_DIRECTORY, Scope, Update, Verdict, Workspace, compare_run, originals_of_lock, originals_of_run,
};
use mlpipe_spec::Pipeline;
use mlpipe_tracking::{Run, RunId, RunStatus, tags};
use serde::Serialize;
use tempfile::TempDir;

use crate::commands::lock::{is_good, listed, refuse, report, word};
use crate::commands::request::{Limits, check_gpus, load, load_recorded, run_request};
use crate::commands::run::{catch_signals, exit_of};
use crate::comparators::FILE_COMPARATORS;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;
use crate::{environment, sources, state, text};

/// Arguments of `mlpipe reproduce`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of a run of a pipeline, or its beginning; or a lock file
    #[arg(value_name = "RUN|LOCK")]
    target: String,

    /// Keep the state directory of the rerun in this folder, which must be new or empty
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Cores that steps may use together [default: all]
    #[arg(short, long, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

const FORMAT: &str = "mlpipe.reproduction/1";

#[derive(Debug, Serialize)]
struct Document<'a> {
    format: &'static str,
    original: &'a str,
    run_id: &'a RunId,
    /// Where the rerun lies; null when it was not kept.
    state_directory: Option<&'a Path>,
    environment_drift: &'a [Drift],
    #[serde(flatten)]
    compared: &'a Reproduction,
}

/// Shows how the rerun goes.
struct Shown<'a>(&'a mut Progress);

impl Observer for Shown<'_> {
    fn update(&mut self, update: &Update<'_>) {
        self.0.update(update);
    }
}

/// What is done again.
struct Target {
    /// For messages.
    name: String,
    pipeline: Pipeline,
    pinned: Pinned,
    original: Source,
}

/// Where the outputs of the original are known from.
enum Source {
    Run(RunId),
    Lock(Box<Lock>),
}

/// Where the rerun works: away from all earlier results.
struct Place {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let target = Target::find(&arguments.target)?;
    // Everything is read anew: that is the point.
    let found = sources::find(&target.pipeline, &DigestCache::default())?;
    let environment = environment::facts();
    let limits = Limits { jobs: arguments.jobs, gpus: None };
    let request = run_request(&target.pipeline, &found.inputs, &environment, limits, Scope::default())?;
    check_gpus(&request)?;
    let environment_drift = check(&target, &request)?;
    let place = Place::new(arguments.keep.as_deref())?;
    let workspace = Workspace::open(&place.path.join(STATE_DIRECTORY))?;
    let scratch = tempfile::tempdir()?;
    let originals = target.originals(scratch.path())?;

    let mailbox = Mailbox::default();
    let caught = catch_signals(&mailbox)?;
    let mut progress = Progress::new();
    let rerun = mlpipe_engine::run(&workspace, &request, mailbox, &mut Shown(&mut progress))?;
    if rerun.status != RunOutcome::Done {
        progress.summary(&rerun);
    }
    if rerun.status == RunOutcome::Killed {
        return Ok(exit_of(&rerun, &caught));
    }
    let compared = compare_run(&workspace, &rerun, &target.pipeline, &originals, FILE_COMPARATORS)?;
    if arguments.json {
        text::json(&Document {
            format: FORMAT,
            original: &target.name,
            run_id: &rerun.run_id,
            state_directory: arguments.keep.as_ref().map(|_| workspace.root()),
            environment_drift: &environment_drift,
            compared: &compared,
        });
    } else {
        text::line(&table(&compared));
    }
    let name = &target.name;
    report(&compared, &format!("{name} is reproduced"), &format!("{name} is not reproduced"));
    Ok(if is_good(&compared) { Exit::Ok } else { Exit::NotReproduced })
}

/// Refuses to compare with something else: all but the machine's tools must be as it was. Returns how those differ.
fn check(target: &Target, request: &RunRequest<'_>) -> Result<Vec<Drift>, Failure> {
    let drift = target.pinned.drift(&Pinned::of(request)?);
    let (environment, other): (Vec<Drift>, Vec<Drift>) =
        drift.into_iter().partition(|drift| drift.kind == "environment");
    refuse(&other, &target.name).map_err(|failure| {
        failure.hint("a run can be reproduced on the same inputs, projects and models; put them back")
    })?;
    if !environment.is_empty() {
        let list = listed(environment.iter().map(Drift::to_string));
        text::error_line(&format!("warning: the environment is not as {} had it{list}", target.name));
    }
    Ok(environment)
}

impl Target {
    fn find(text: &str) -> Result<Self, Failure> {
        if Path::new(text).is_file() { Self::lock(Path::new(text)) } else { Self::run(text) }
    }

    fn lock(path: &Path) -> Result<Self, Failure> {
        let lock = Lock::read(path)?;
        let file = path.with_file_name(&lock.file);
        let directory = std::path::absolute(&file)?.parent().map(PathBuf::from).unwrap_or_default();
        let pipeline = load(&file, &lock.pinned.overrides(&directory))?;
        let pinned = lock.pinned.clone();
        Ok(Self { name: path.display().to_string(), pipeline, pinned, original: Source::Lock(Box::new(lock)) })
    }

    fn run(id: &str) -> Result<Self, Failure> {
        let hint = "`mlpipe runs list` shows the runs of pipelines";
        let missing = || Failure::bad_input(format!("there is no run and no lock file `{id}`")).hint(hint);
        if !state::directory()?.exists() {
            return Err(missing());
        }
        let workspace = state::open()?;
        let run = workspace.store()?.find_run(id).map_err(|error| match error {
            mlpipe_tracking::Error::RunNotFound { .. } => missing(),
            mlpipe_tracking::Error::RunAmbiguous { .. } => Failure::bad_input(error).hint(hint),
            error => error.into(),
        })?;
        check_finished(&run)?;
        let record = RunRecord::read(&workspace, &run.run_id)?;
        let pipeline = load_recorded(&record)?;
        let name = format!("run {}", text::short_run(run.run_id.as_str()));
        Ok(Self { name, pipeline, pinned: record.pinned, original: Source::Run(run.run_id) })
    }

    fn originals(&self, scratch: &Path) -> Result<Originals, Failure> {
        match &self.original {
            Source::Run(run) => Ok(originals_of_run(&state::open()?, run, &self.pipeline)?),
            Source::Lock(lock) => {
                // Where nothing has run yet there are digests only.
                let home = state::directory()?;
                let workspace = if home.exists() { state::open()? } else { Workspace::open(&scratch.join("empty"))? };
                Ok(originals_of_lock(&workspace, lock, &self.pipeline, &scratch.join("originals"))?)
            }
        }
    }
}

fn check_finished(run: &Run) -> Result<(), Failure> {
    let id = text::short_run(run.run_id.as_str());
    if let Some(parent) = run.tags.get(tags::PARENT_RUN_ID) {
        let message = format!("run {id} is part of another run");
        return Err(Failure::bad_input(message).hint(format!("reproduce that one: {}", text::short_run(parent))));
    }
    if run.status != RunStatus::Finished {
        let message = format!("run {id} is {}: only a finished run can be reproduced", run.status);
        return Err(Failure::bad_input(message).hint("`mlpipe runs list --status finished` shows those"));
    }
    Ok(())
}

impl Place {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = keep else {
            let temporary = tempfile::Builder::new().prefix("mlpipe-reproduce-").tempdir()?;
            return Ok(Self { path: temporary.path().to_owned(), _temporary: Some(temporary) });
        };
        let holds_something = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
        if holds_something || path.is_file() {
            let message = format!("--keep {}: it must be new or empty", path.display());
            return Err(Failure::new(Exit::Usage, message));
        }
        Ok(Self { path: path.to_owned(), _temporary: None })
    }
}

/// One row per step, output and result.
fn table(compared: &Reproduction) -> String {
    let mut rows: Vec<(Vec<String>, usize)> = Vec::new();
    for output in &compared.outputs {
        let verdict: Verdict = output.comparison.verdict;
        let row = vec![output.step.clone(), output.output.clone(), word(verdict).to_owned(), output.comparator.clone()];
        match rows.iter_mut().find(|(known, _)| *known == row) {
            Some((_, count)) => *count += 1,
            None => rows.push((row, 1)),
        }
    }
    let header = ["step", "output", "result", "compared as", "items"].map(str::to_owned).to_vec();
    let rows = rows.into_iter().map(|(mut row, count)| {
        row.push(count.to_string());
        row
    });
    text::table(&[header].into_iter().chain(rows).collect::<Vec<_>>())
}
