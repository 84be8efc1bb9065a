//! `mlpipe logs`: what a step's process printed, also while it runs.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Duration;

use mlpipe_engine::{RunHistory, StepStatus, TaskHistory, Workspace};
use mlpipe_tracking::{RunId, tags};

use crate::commands::request::nearest;
use crate::commands::task::TaskName;
use crate::failure::{Exit, Failure, Outcome};
use crate::text::short_run;
use crate::{state, text};

/// How often a log that is followed is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Arguments of `mlpipe logs`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Id of the pipeline run, the beginning of it, or `latest`
    run: String,

    /// The task: `STEP`, or `STEP[KEY]` for one item
    #[arg(value_name = "STEP[KEY]")]
    task: TaskName,

    /// Print what is added until the task has ended
    #[arg(short, long)]
    follow: bool,

    /// Which attempt, from 1 [default: the last one; with --follow this one and those after it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    attempt: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let workspace = state::open()?;
    let run_id = workspace.find_pipeline_run(&arguments.run)?;
    let mut history = RunHistory::read(&workspace, &run_id)?;
    let task = choose(&arguments.task, &history)?;
    if let Some(origin) = history.tasks[task].end.as_ref().and_then(|end| end.reused_from.clone()) {
        return print_original(&workspace, &arguments.task, &origin);
    }
    let wanted = arguments.attempt.map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    if arguments.follow {
        return follow(&mut history, task, wanted);
    }
    let attempts = &history.tasks[task].attempts;
    let number = wanted.unwrap_or(attempts.len());
    match number.checked_sub(1).and_then(|index| attempts.get(index)) {
        Some(attempt) => print_file(&attempt.log),
        None => Err(no_attempt(&arguments.task, &history.tasks[task], wanted)),
    }
}

fn choose(name: &TaskName, history: &RunHistory) -> Result<usize, Failure> {
    let of_step: Vec<(usize, &TaskHistory)> =
        history.tasks.iter().enumerate().filter(|(_, task)| task.name == name.step).collect();
    if of_step.is_empty() {
        return Err(unknown_step(name, history));
    }
    let keys: Vec<Option<&str>> = of_step.iter().map(|(_, task)| task.key.as_deref()).collect();
    let key = name.choose(&keys)?;
    let found = of_step.iter().find(|(_, task)| task.key.as_deref() == key);
    Ok(found.expect("the key is one of theirs").0)
}

fn unknown_step(name: &TaskName, history: &RunHistory) -> Failure {
    let run = short_run(history.run_id.as_str());
    let failure = Failure::new(Exit::Usage, format!("run {run} of {} has no step `{}`", history.pipeline, name.step));
    let mut steps: Vec<&str> = history.tasks.iter().map(|task| task.name.as_str()).collect();
    steps.dedup();
    match nearest(&name.step, steps.iter().copied()) {
        Some(near) => failure.hint(format!("did you mean `{near}`?")),
        None => failure.hint(format!("its steps so far are {}", steps.join(", "))),
    }
}

fn no_attempt(name: &TaskName, task: &TaskHistory, wanted: Option<usize>) -> Failure {
    let message = match (&task.end, wanted) {
        (_, Some(wanted)) if !task.attempts.is_empty() => {
            return Failure::bad_input(format!("`{name}` has no attempt {wanted}"))
                .hint(format!("it has {}", task.attempts.len()));
        }
        (Some(end), _) if end.status == StepStatus::Skipped => format!("`{name}` was skipped: {}", end.reason),
        (Some(end), _) => {
            format!("no process was started for `{name}`: {}", end.error.as_deref().unwrap_or(&end.reason))
        }
        (None, _) => format!("`{name}` has not started"),
    };
    Failure::bad_input(message)
        .hint("`mlpipe why` says what became of a task; `--follow` waits for one that will start")
}

/// Prints the log of the attempt that made a reused result.
fn print_original(workspace: &Workspace, name: &TaskName, origin: &RunId) -> Outcome {
    let gone = || {
        Failure::bad_input(format!("`{name}` was reused from run {}, whose log is not here any more", origin))
            .hint("`mlpipe run --force` does the work again")
    };
    let pipeline_run = pipeline_run_of(workspace, origin)?.ok_or_else(gone)?;
    let history = RunHistory::read(workspace, &pipeline_run).map_err(|_| gone())?;
    let mut attempts = history.tasks.iter().flat_map(|task| &task.attempts);
    let attempt = attempts.find(|attempt| attempt.run_id == *origin).ok_or_else(gone)?;
    text::error_line(&format!("`{name}` was reused; this is from run {}", short_run(pipeline_run.as_str())));
    print_file(&attempt.log)
}

/// The run at the top of the tree in which a run is.
fn pipeline_run_of(workspace: &Workspace, run: &RunId) -> Result<Option<RunId>, Failure> {
    let store = workspace.store()?;
    let mut id = run.clone();
    while let Some(found) = store.run(&id)? {
        match found.tags.get(tags::PARENT_RUN_ID).and_then(|parent| parent.parse().ok()) {
            Some(parent) => id = parent,
            None => return Ok(Some(id)),
        }
    }
    Ok(None)
}

fn print_file(path: &Path) -> Outcome {
    let mut printed = Printed { path, position: 0 };
    printed.go_on()?;
    Ok(Exit::Ok)
}

/// Prints attempt after attempt until the task has ended or nobody works on the run any more.
fn follow(history: &mut RunHistory, task: usize, first: Option<usize>) -> Outcome {
    let mut next = first.unwrap_or(history.tasks[task].attempts.len()).max(1) - 1;
    let mut position = 0;
    loop {
        // What is asked first decides: whatever was written before it is printed below.
        let is_over = !history.is_under_way()?;
        history.read_on()?;
        let task = &history.tasks[task];
        let is_over = is_over || task.end.is_some();
        while let Some(attempt) = task.attempts.get(next) {
            let mut printed = Printed { path: &attempt.log, position };
            printed.go_on()?;
            position = printed.position;
            if next + 1 == task.attempts.len() {
                break;
            }
            (next, position) = (next + 1, 0);
        }
        if is_over {
            return Ok(Exit::Ok);
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// How much of a log has been printed.
struct Printed<'a> {
    path: &'a Path,
    position: u64,
}

impl Printed<'_> {
    fn go_on(&mut self) -> Result<(), Failure> {
        let unreadable = |error| Failure::bad_input(format!("`{}`: {error}", self.path.display()));
        let mut file = File::open(self.path).map_err(unreadable)?;
        file.seek(SeekFrom::Start(self.position)).map_err(unreadable)?;
        let mut bytes = Vec::new();
        self.position += file.read_to_end(&mut bytes).map_err(unreadable)? as u64;
        // A reader that has gone away (`| head`) is no error.
        let _ = std::io::stdout().lock().write_all(&bytes).and_then(|()| std::io::stdout().lock().flush());
        Ok(())
    }
}
