//! `mlpipe run`: runs a pipeline and says what became of it.

use std::path::PathBuf;

use indexmap::IndexMap;
use mlpipe_dicom::Selection;
use mlpipe_engine::{Mailbox, Observer, OutputPaths, RunDocument, RunOutcome, RunRequest, Update};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::commands::request::PipelineArguments;
use crate::failure::{Exit, Outcome};
use crate::progress::Progress;
use crate::{environment, sources, state, text};

/// Arguments of `mlpipe run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pipeline: PipelineArguments,

    /// Print one JSON document on stdout when the run has ended
    #[arg(long, conflicts_with = "events")]
    json: bool,

    /// Print what happens as JSON lines on stdout while it happens
    #[arg(long, value_name = "FORMAT")]
    events: Option<EventFormat>,
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
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let pipeline = arguments.pipeline.load()?;
    let found = sources::find(&pipeline)?;
    sources::explain(&found.selections);
    let workspace = state::open()?;
    let environment = environment::facts();
    let request = RunRequest {
        pipeline: &pipeline,
        inputs: &found.inputs,
        environment: &environment,
        capacity: environment::capacity(arguments.pipeline.jobs),
        program_directory: std::env::current_exe().ok().and_then(|path| path.parent().map(PathBuf::from)),
        version: environment::VERSION,
    };
    let mailbox = Mailbox::default();
    let caught = catch_signals(&mailbox)?;
    let mut progress = Progress::new();
    let mut observer = Both { progress: &mut progress, events: arguments.events.is_some() };
    let document = mlpipe_engine::run(&workspace, &request, mailbox, &mut observer)?;
    progress.summary(&document);
    if arguments.json {
        text::json(&Document { run: &document, inputs: &found.selections });
    } else if arguments.events.is_none() {
        print_outputs(&document);
    }
    Ok(match document.status {
        RunOutcome::Done => Exit::Ok,
        RunOutcome::Failed => Exit::StepFailed,
        RunOutcome::Killed if caught.load(std::sync::atomic::Ordering::SeqCst) == SIGTERM as usize => Exit::Terminated,
        RunOutcome::Killed => Exit::Interrupted,
    })
}

/// Interrupts the run on Ctrl-C and SIGTERM; the returned number is the signal that came last.
fn catch_signals(mailbox: &Mailbox) -> std::io::Result<std::sync::Arc<std::sync::atomic::AtomicUsize>> {
    let caught = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let interrupter = mailbox.interrupter();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let last = caught.clone();
    std::thread::spawn(move || {
        for signal in signals.forever() {
            last.store(signal as usize, std::sync::atomic::Ordering::SeqCst);
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
