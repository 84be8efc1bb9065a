//! `mlpipe run`: runs a pipeline and says what became of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use indexmap::IndexMap;
use mlpipe_dicom::Selection;
use mlpipe_engine::{Mailbox, Observer, OutputPaths, Reproduction, RunDocument, RunOutcome, Update};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::commands::lock::{Held, is_good};
use crate::commands::request::{PipelineArguments, ScopeArguments, check_gpus, run_request};
use crate::commands::tracking::TrackingArguments;
use crate::failure::{Exit, Failure, Outcome};
use crate::progress::Progress;
use crate::{environment, junit, sources, state, text};

/// Arguments of `mlpipe run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,

    #[command(flatten)]
    scope: ScopeArguments,

    /// Print one JSON document on stdout when the run has ended
    #[arg(long, conflicts_with = "events")]
    json: bool,

    /// Print what happens as JSON lines on stdout while it happens
    #[arg(long, value_name = "FORMAT")]
    events: Option<EventFormat>,

    /// Look for finished work in this remote cache too and send it there, as in http://cache:5000/cache
    #[arg(long, value_name = "URL", env = "MLPIPE_REMOTE_CACHE")]
    remote_cache: Option<String>,

    /// File with a token for the remote cache; MLPIPE_REMOTE_CACHE_TOKEN may hold the token itself
    #[arg(long, value_name = "FILE", env = "MLPIPE_REMOTE_CACHE_TOKEN_FILE", requires = "remote_cache")]
    remote_cache_token_file: Option<PathBuf>,

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Write a JUnit report here when the run has ended: a test case per task
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Run only what the lock beside the pipeline pins down, and hold the results against it; see `mlpipe lock`
    #[arg(long, conflicts_with = "only")]
    locked: bool,
}

/// The token for the remote cache: not from the command line, which every user of the machine can read.
fn remote_cache_token(file: Option<&Path>) -> Result<Option<String>, Failure> {
    let Some(path) = file else {
        return Ok(std::env::var("MLPIPE_REMOTE_CACHE_TOKEN").ok().filter(|token| !token.is_empty()));
    };
    let token = std::fs::read_to_string(path)
        .map_err(|error| Failure::bad_input(format!("the remote cache's token, `{}`: {error}", path.display())))?;
    Ok(Some(token.trim().to_owned()))
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum EventFormat {
    Jsonl,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    run: &'a RunDocument,
    inputs: &'a IndexMap<String, Selection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locked: Option<&'a Reproduction>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut held = arguments.locked.then(|| Held::read(arguments.pipeline.path())).transpose()?;
    let pipeline = match &held {
        Some(held) => arguments.pipeline.load_pinned(held.pinned())?,
        None => arguments.pipeline.load()?,
    };
    let scope = arguments.scope.scope(&pipeline)?;
    let mut workspace = state::open()?;
    let found = sources::find(&pipeline, workspace.content().known())?;
    sources::explain(&found.selections);
    workspace = workspace.with_datasets(found.datasets);
    if let Some(url) = &arguments.remote_cache {
        let token = remote_cache_token(arguments.remote_cache_token_file.as_deref())?;
        let remote = workspace.with_remote_cache(url, token.as_deref());
        workspace = remote.map_err(|message| Failure::new(Exit::Usage, message))?;
    }
    if let Some(client) = arguments.tracking.client()? {
        workspace = workspace.with_tracking_server(client);
    }
    let environment = environment::facts();
    let request = run_request(&pipeline, &found.inputs, &environment, arguments.pipeline.limits(), scope)?;
    check_gpus(&request)?;
    if let Some(held) = &mut held {
        held.begin(&workspace, &request)?;
    }
    let mailbox = Mailbox::default();
    let caught = catch_signals(&mailbox)?;
    let mut progress = Progress::new();
    let mut observer = Both { progress: &mut progress, events: arguments.events.is_some() };
    let document = mlpipe_engine::run(&workspace, &request, mailbox, &mut observer)?;
    progress.summary(&document);
    tell_waiting(&document);
    if let Some(path) = &arguments.junit {
        junit::write(path, &pipeline.name, &document)?;
    }
    let finished = held.as_ref().filter(|_| document.status == RunOutcome::Done);
    let locked = finished.map(|held| held.compare(&workspace, &request, &document)).transpose()?;
    if arguments.json {
        text::json(&Document { run: &document, inputs: &found.selections, locked: locked.as_ref() });
    } else if arguments.events.is_none() {
        print_outputs(&document);
    }
    if locked.is_some_and(|compared| !is_good(&compared)) {
        return Ok(Exit::NotReproduced);
    }
    Ok(exit_of(&document, &caught))
}

/// Returns the exit code of a run; `caught` is the signal that came last.
pub(crate) fn exit_of(document: &RunDocument, caught: &AtomicUsize) -> Exit {
    match document.status {
        RunOutcome::Done => Exit::Ok,
        RunOutcome::Failed => Exit::StepFailed,
        RunOutcome::Killed if caught.load(Ordering::SeqCst) == SIGTERM as usize => Exit::Terminated,
        RunOutcome::Killed => Exit::Interrupted,
    }
}

/// Interrupts the run on Ctrl-C and SIGTERM; the returned number is the signal that came last.
pub(crate) fn catch_signals(mailbox: &Mailbox) -> std::io::Result<Arc<AtomicUsize>> {
    let caught = Arc::new(AtomicUsize::new(0));
    let interrupter = mailbox.interrupter();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let last = caught.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            last.store(signal as usize, Ordering::SeqCst);
            interrupter.interrupt();
        }
    });
    Ok(caught)
}

/// Shows progress, and prints events when asked to.
struct Both<'a> {
    progress: &'a mut Progress,
    events: bool,
}

impl Observer for Both<'_> {
    fn update(&mut self, update: &Update<'_>) {
        self.progress.update(update);
        if self.events {
            text::line(&serde_json::to_string(update).expect("updates have string keys"));
        }
    }
}

/// Says what a tracking server has not got.
fn tell_waiting(document: &RunDocument) {
    let Some(tracking) = document.tracking.as_ref().filter(|tracking| tracking.waiting > 0) else { return };
    let reason = tracking.reason.as_ref().map_or_else(String::new, |reason| format!(" ({reason})"));
    text::error_line(&format!(
        "{} records wait for {}{reason}; the next run, or `mlpipe tracking sync`, delivers them",
        tracking.waiting, tracking.uri
    ));
}

/// Paths of one output that are printed; `--json` gives all.
const SHOWN_PATHS: usize = 10;

fn print_outputs(document: &RunDocument) {
    for (name, output) in &document.outputs {
        match output {
            OutputPaths::One(path) => text::line(&format!("{name}: {}", path.display())),
            OutputPaths::ByKey(paths) => {
                for (key, path) in paths.iter().take(SHOWN_PATHS) {
                    text::line(&format!("{name}[{}]: {}", text::short_key(key), path.display()));
                }
                if paths.len() > SHOWN_PATHS {
                    text::error_line(&format!("and {} more {name}; --json lists all", paths.len() - SHOWN_PATHS));
                }
            }
        }
    }
}
