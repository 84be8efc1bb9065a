//! `mlpipe lock`: pins down what a pipeline's results depend on, and the results. And `mlpipe run --locked`, which refuses
//! to run on anything else and holds the results against the lock.

use std::path::{Path, PathBuf};

use mlpipe_engine::{
    Drift, Lock, Locking, Originals, Pinned, Reproduction, RunDocument, RunRequest, Scope, Verdict, Workspace,
    compare_run, lock, originals_of_lock,
};
use tempfile::TempDir;

use crate::commands::request::{Limits, load, parse_override, run_request};
use crate::comparators::FILE_COMPARATORS;
use crate::failure::{Exit, Failure, Outcome};
use crate::{environment, sources, state, text};

/// Arguments of `mlpipe lock`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The pipeline file; the lock is written beside it, `schmorl.lock` for `schmorl.yaml`
    pipeline: PathBuf,

    /// Set a parameter of the pipeline; may be given several times
    #[arg(short = 'P', long = "param", value_name = "NAME=VALUE", value_parser = parse_override)]
    params: Vec<(String, String)>,
}

/// Lines of one list that are shown.
const SHOWN: usize = 20;

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let pipeline = load(&arguments.pipeline, &arguments.params)?;
    let workspace = state::open()?;
    let found = sources::find(&pipeline, workspace.content().known())?;
    let environment = environment::facts();
    let request = run_request(&pipeline, &found.inputs, &environment, Limits::default(), Scope::default())?;
    let lock = match lock(&workspace, &request)? {
        Locking::Locked(lock) => lock,
        Locking::Unfinished(tasks) => return Err(unfinished(&arguments.pipeline, &tasks)),
    };
    let path = Lock::path_of(&arguments.pipeline);
    lock.write(&path)?;
    text::error_line(&format!(
        "{} tasks, {} input items, {} project files locked",
        lock.tasks.len(),
        lock.pinned.inputs.len(),
        lock.pinned.projects.len()
    ));
    text::line(&path.display().to_string());
    Ok(Exit::Ok)
}

fn unfinished(pipeline: &Path, tasks: &[(String, String)]) -> Failure {
    let lines = tasks.iter().map(|(task, reason)| format!("{}: {reason}", short_task(task)));
    let message = format!("not locked: {} tasks are not finished{}", tasks.len(), listed(lines));
    let hint = format!("`mlpipe run {}` with the same parameters finishes them", pipeline.display());
    Failure::new(Exit::StepFailed, message).hint(hint)
}

/// Lines below a message, each indented; no more than fit on a screen.
pub(crate) fn listed(lines: impl ExactSizeIterator<Item = String>) -> String {
    let count = lines.len();
    let mut text: String = lines.take(SHOWN).map(|line| format!("\n  {line}")).collect();
    if count > SHOWN {
        text.push_str(&format!("\n  and {} more", count - SHOWN));
    }
    text
}

/// A task's name with a short key.
fn short_task(task: &str) -> String {
    match task.split_once('[') {
        Some((step, key)) => format!("{step}[{}]", text::short_key(key.trim_end_matches(']'))),
        None => task.to_owned(),
    }
}

/// Refuses to go on when something is not as it is pinned.
pub(crate) fn refuse(drift: &[Drift], pinned_by: &str) -> Result<(), Failure> {
    if drift.is_empty() {
        return Ok(());
    }
    let message =
        format!("{} is not as {pinned_by} has it{}", kinds(drift), listed(drift.iter().map(Drift::to_string)));
    Err(Failure::new(Exit::NotReproduced, message))
}

/// The kinds of facts that have drifted, for a sentence.
fn kinds(drift: &[Drift]) -> String {
    let mut kinds: Vec<&str> = drift.iter().map(|drift| drift.kind).collect();
    kinds.dedup();
    format!("what would run ({})", kinds.join(", "))
}

/// A lock that a run is held against.
pub(crate) struct Held {
    lock: Lock,
    path: PathBuf,
    /// Original outputs are placed here for the time of the run.
    scratch: TempDir,
    originals: Originals,
}

impl Held {
    /// Reads the lock beside a pipeline file.
    pub(crate) fn read(pipeline: &Path) -> Result<Self, Failure> {
        let path = Lock::path_of(pipeline);
        let hint = format!("`mlpipe lock {}` makes the lock of a pipeline that has run", pipeline.display());
        let lock = Lock::read(&path).map_err(|error| Failure::bad_input(error).hint(hint))?;
        Ok(Self { lock, path, scratch: tempfile::tempdir()?, originals: Originals::new() })
    }

    /// Parameters that the lock was made with.
    pub(crate) fn pinned(&self) -> &Pinned {
        &self.lock.pinned
    }

    /// Refuses a run that would not be the locked one, and finds what it is to be held against.
    pub(crate) fn begin(&mut self, workspace: &Workspace, request: &RunRequest<'_>) -> Result<(), Failure> {
        let drift = self.lock.pinned.drift(&Pinned::of(request)?);
        let name = self.path.display().to_string();
        refuse(&drift, &name)
            .map_err(|failure| failure.hint("put it back, or make a new lock with `mlpipe run` and `mlpipe lock`"))?;
        self.originals = originals_of_lock(workspace, &self.lock, request.pipeline, self.scratch.path())?;
        Ok(())
    }

    /// Holds a finished run against the lock.
    pub(crate) fn compare(
        &self,
        workspace: &Workspace,
        request: &RunRequest<'_>,
        run: &RunDocument,
    ) -> Result<Reproduction, Failure> {
        let compared = compare_run(workspace, run, request.pipeline, &self.originals, FILE_COMPARATORS)?;
        let name = self.path.display();
        report(&compared, &format!("the run is as {name} has it"), &format!("the run is not as {name} has it"));
        Ok(compared)
    }
}

/// Says how a comparison went: what differs, and a last line.
pub(crate) fn report(compared: &Reproduction, good: &str, bad: &str) {
    let differs = compared.outputs.iter().filter(|output| output.comparison.verdict > Verdict::Equivalent);
    let lines: Vec<String> = differs.map(difference).collect();
    let count = |verdict| compared.outputs.iter().filter(|output| output.comparison.verdict == verdict).count();
    let counts = [Verdict::Identical, Verdict::Equivalent, Verdict::Different, Verdict::Missing]
        .map(|verdict| (count(verdict), word(verdict)))
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect::<Vec<_>>()
        .join(", ");
    let sentence = if is_good(compared) { good } else { bad };
    let list = listed(lines.into_iter());
    text::error_line(&format!("{sentence}: {counts}{list}"));
}

/// Tells whether nothing differs by more than is allowed.
pub(crate) fn is_good(compared: &Reproduction) -> bool {
    compared.verdict <= Verdict::Equivalent
}

pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Identical => "identical",
        Verdict::Equivalent => "equivalent",
        Verdict::Different => "different",
        Verdict::Missing => "missing",
    }
}

/// `different detect[..1234].boxes (json): boxes[0].score: 0.5 -> 0.6 (3 differences, largest 0.1 or 20 %)`
fn difference(output: &mlpipe_engine::ReproducedOutput) -> String {
    let key = output.key.as_deref().map_or_else(String::new, |key| format!("[{}]", text::short_key(key)));
    let comparison = &output.comparison;
    let mut line =
        format!("{} {}{key}.{} ({})", word(comparison.verdict), output.step, output.output, output.comparator);
    if let Some(difference) = &comparison.difference {
        line.push_str(&format!(": {difference}"));
    }
    let mut more = Vec::new();
    if comparison.differences > 1 {
        more.push(format!("{} differences", comparison.differences));
    }
    if comparison.max_absolute > 0.0 {
        more.push(format!("largest {:.3e}, relative {:.3e}", comparison.max_absolute, comparison.max_relative));
    }
    if !more.is_empty() {
        line.push_str(&format!(" ({})", more.join(", ")));
    }
    line
}
