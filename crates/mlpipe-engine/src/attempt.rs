//! One process for one task, or for a batch of tasks of one step: started, waited for, its outputs checked and stored.
//!
//! Runs on a thread of its own; nothing it does is visible to others before its content lies in the content store. A failed
//! attempt leaves its log behind and nothing else.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use indexmap::IndexMap;
use mlpipe_artifacts::{ContentStore, Tree};
use mlpipe_spec::{CommandLine, FailureCause, OutputDeclaration, OutputKind};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::error::with_causes;
use crate::forwarding::{RemoteRun, TRACKING_VARIABLES};
use crate::gpu::GpuWatch;
use crate::outputs::Outputs;
use crate::scheduler::TaskIndex;
use crate::usage::Usage;

/// File in an output directory with numbers that are recorded as metrics: `{"name": number}`.
pub(crate) const METRICS_FILE: &str = "metrics.json";
/// Value of `format` in the file that tells a batch command its items.
const BATCH_FORMAT: &str = "mlpipe.batch/1";

/// Everything a process needs.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) command: CommandLine,
    pub(crate) working_directory: PathBuf,
    pub(crate) environment: Vec<(String, String)>,
    /// The GPUs that the process holds, by their names in `CUDA_VISIBLE_DEVICES`.
    pub(crate) gpus: Option<String>,
    /// Variables of our own environment that the process does not get.
    pub(crate) withheld: Vec<String>,
    /// The run of the first item on a tracking server, when there is one: its ids are told to the process, or none are.
    pub(crate) remote_run: Option<RemoteRun>,
    pub(crate) log: PathBuf,
    pub(crate) items: Vec<AttemptItem>,
    pub(crate) declared: IndexMap<String, OutputDeclaration>,
    /// Where a batch command reports the end of each item.
    pub(crate) batch_results: Option<PathBuf>,
    pub(crate) control: Control,
}

/// One task of an attempt.
#[derive(Debug)]
pub(crate) struct AttemptItem {
    pub(crate) task: TaskIndex,
    pub(crate) key: String,
    pub(crate) output_directory: PathBuf,
}

/// What an item's work came to.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) tree: Tree,
    pub(crate) outputs: Outputs,
    pub(crate) metrics: BTreeMap<String, f64>,
}

/// Why an item's work came to nothing.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) cause: FailureCause,
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self { message, cause: FailureCause::Other }
    }
}

/// What became of each task of an attempt.
pub(crate) type Outcomes = Vec<(TaskIndex, Result<Finished, Failure>)>;

/// Stops a process from another thread: its whole process group, first politely.
#[derive(Debug, Clone, Default)]
pub(crate) struct Control {
    group: Arc<Mutex<Option<Pid>>>,
    stopped: Arc<AtomicBool>,
}

impl Control {
    /// Asks the process group to end, or makes it; nothing happens when it has not started or has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        self.stopped.store(true, Ordering::SeqCst);
        if let Some(group) = *self.group.lock().expect("no thread panics while it holds this") {
            // An error means that the group is gone already.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn set(&self, group: Option<Pid>) {
        *self.group.lock().expect("no thread panics while it holds this") = group;
    }
}

impl Attempt {
    /// Runs the process to its end and returns what became of each task, and what the process used. `started` hears the
    /// process id.
    pub(crate) fn run(self, content: &ContentStore, started: impl FnOnce(u32)) -> (Outcomes, Option<Usage>) {
        let mut usage = None;
        let ended = self.execute(started, &mut usage);
        let results = self.batch_results.as_deref().map(read_results);
        let outcome = |item: &AttemptItem| match (&ended, &results) {
            (Err(failure), None) => Err(failure.clone()),
            (Ok(()), None) => self.finish(item, content).map_err(Failure::from),
            (_, Some(results)) => match (results.get(&item.key), &ended) {
                (Some(None), _) => self.finish(item, content).map_err(Failure::from),
                (Some(Some(message)), _) => Err(message.clone().into()),
                (None, Err(failure)) => Err(failure.clone()),
                (None, Ok(())) => Err("the batch command ended without a result for this item".to_owned().into()),
            },
        };
        (self.items.iter().map(|item| (item.task, outcome(item))).collect(), usage)
    }

    fn execute(&self, started: impl FnOnce(u32), usage: &mut Option<Usage>) -> Result<(), Failure> {
        let start = Instant::now();
        let mut child = self.spawn().map_err(|error| format!("cannot start `{}`: {error}", self.program()))?;
        started(child.id());
        let watch = self.gpus.as_deref().and_then(GpuWatch::start);
        let ended = self.wait(&mut child, start);
        let gpus = watch.map(GpuWatch::end).unwrap_or_default();
        let (status, mut used) = ended.map_err(|error| format!("cannot wait for the process: {error}"))?;
        used.gpus = gpus;
        *usage = Some(used);
        if status.success() {
            return Ok(());
        }
        let by_shell = matches!(self.command, CommandLine::Shell(_));
        Err(Failure {
            message: format!("{}{}", describe(status), last_words(&self.log)),
            cause: cause(status, by_shell),
        })
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = match &self.command {
            CommandLine::Direct(arguments) => {
                let (program, arguments) = arguments
                    .split_first()
                    .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "the command is empty"))?;
                let mut command = Command::new(program);
                command.args(arguments);
                command
            }
            CommandLine::Shell(line) => {
                let mut command = Command::new("/bin/sh");
                command.args(["-c", line]);
                command
            }
        };
        for name in &self.withheld {
            command.env_remove(name);
        }
        if let Some(run) = &self.remote_run {
            for name in TRACKING_VARIABLES {
                command.env_remove(name);
            }
            command.envs(run.variables().into_iter().flatten());
        }
        command
            .current_dir(&self.working_directory)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
    }

    fn wait(&self, child: &mut Child, start: Instant) -> std::io::Result<(ExitStatus, Usage)> {
        let group = Pid::from_child(child);
        self.control.set(Some(group));
        if self.control.stopped.load(Ordering::SeqCst) {
            self.control.signal(Signal::TERM);
        }
        let ended = Usage::of(child, start);
        self.control.set(None);
        ended
    }

    fn program(&self) -> &str {
        match &self.command {
            CommandLine::Direct(arguments) => arguments.first().map_or("", String::as_str),
            CommandLine::Shell(line) => line,
        }
    }

    /// Checks the declared outputs and moves everything written into the content store.
    fn finish(&self, item: &AttemptItem, content: &ContentStore) -> Result<Finished, String> {
        self.check_json(item)?;
        let metrics = read_metrics(&item.output_directory.join(METRICS_FILE))?;
        let tree = content
            .commit(&item.output_directory)
            .map_err(|error| format!("cannot store the outputs: {}", with_causes(&error)))?;
        let outputs = Outputs::find(&tree, &self.declared)?;
        Ok(Finished { tree, outputs, metrics })
    }

    fn check_json(&self, item: &AttemptItem) -> Result<(), String> {
        for (name, declaration) in &self.declared {
            let path = item.output_directory.join(&declaration.path);
            if declaration.kind == OutputKind::Json && path.is_file() {
                let text = fs::read(&path).map_err(|error| format!("output `{name}`: {error}"))?;
                serde_json::from_slice::<serde::de::IgnoredAny>(&text)
                    .map_err(|error| format!("output `{name}`: `{}` is not JSON: {error}", declaration.path))?;
            }
        }
        Ok(())
    }
}

fn cause(status: ExitStatus, by_shell: bool) -> FailureCause {
    match (status.code(), status.signal()) {
        (Some(code), _) => FailureCause::of_exit_code(code, by_shell),
        (None, Some(signal)) => FailureCause::Signal(signal),
        (None, None) => FailureCause::Other,
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended abnormally".into(),
    }
}

/// The last lines of a log, which mostly say what went wrong.
fn last_words(log: &Path) -> String {
    const LINES: usize = 4;
    const BYTES: usize = 1200;
    let Ok(bytes) = fs::read(log) else { return String::new() };
    let tail = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(BYTES)..]).into_owned();
    let lines: Vec<&str> = tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    if last.is_empty() { last } else { format!(": {last}") }
}

fn read_metrics(path: &Path) -> Result<BTreeMap<String, f64>, String> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map_err(|error| format!("`{METRICS_FILE}` must hold an object of numbers: {error}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(format!("`{METRICS_FILE}`: {error}")),
    }
}

// ---- batches

#[derive(Debug, Serialize)]
struct BatchFile<'a> {
    format: &'static str,
    items: Vec<BatchItem<'a>>,
    results: &'a Path,
}

#[derive(Debug, Serialize)]
struct BatchItem<'a> {
    key: &'a str,
    parameters: IndexMap<&'a str, &'a str>,
    output_dir: &'a Path,
}

#[derive(Debug, Deserialize)]
struct BatchResult {
    key: String,
    error: Option<String>,
}

/// Text of the file that tells a batch command its items and where to report.
pub(crate) fn batch_file(items: &[(AttemptItem, Vec<(String, String)>)], results: &Path) -> Vec<u8> {
    let items = items.iter().map(|(item, values)| BatchItem {
        key: &item.key,
        parameters: values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        output_dir: &item.output_directory,
    });
    let file = BatchFile { format: BATCH_FORMAT, items: items.collect(), results };
    serde_json::to_vec(&file).expect("our own paths are UTF-8")
}

/// Reads what a batch command reported: none for an item that ended well, else its error. A line cut short by a crash is
/// no report.
fn read_results(path: &Path) -> HashMap<String, Option<String>> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let reports = text.lines().filter_map(|line| serde_json::from_str::<BatchResult>(line).ok());
    reports.map(|report| (report.key, report.error)).collect()
}
