//! What people see while a pipeline runs: live rows on a terminal, else one line per change of state.

use std::io::{IsTerminal, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mlpipe_engine::{RunDocument, RunOutcome, StepRow, StepStatus, Update};

use crate::text::{duration, error_line, error_text, short_key, short_run};

/// Rows of running tasks that are shown at a time.
const LIVE_ROWS: usize = 8;
/// How often live rows count on.
const TICK: Duration = Duration::from_millis(250);
/// Failed tasks that the summary shows with the end of their log.
const FAILURES_WITH_LOG: usize = 2;
/// Failed tasks that the summary names.
const FAILURES_NAMED: usize = 8;
/// Lines of a failed task's log in the summary.
const LOG_LINES: usize = 10;

const RUNNING: &str = "running";
const WAITING: &str = "waiting";

/// Shows a run on stderr.
pub(crate) struct Progress {
    live: Option<Live>,
    /// Lines of reused tasks that have not been printed yet: a hundred thousand of them come within seconds.
    reused: String,
}

/// Bytes of lines of reused tasks that are printed at once.
const REUSED_BYTES: usize = 8 * 1024;

struct Live {
    rows: MultiProgress,
    total: ProgressBar,
    /// What is under way, oldest first; the first ones have a row.
    tasks: IndexMap<String, LiveTask>,
}

struct LiveTask {
    state: &'static str,
    /// Said behind the task's name.
    remark: String,
    since: Instant,
    row: Option<ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self { live: live.then(Live::new), reused: String::new() }
    }

    pub(crate) fn update(&mut self, update: &Update<'_>) {
        // Reuse takes no time: whenever something does, what was reused before it is on the screen.
        let is_reuse = matches!(update, Update::TaskEnded { task, .. } if task.status == StepStatus::Cached);
        if !is_reuse || self.reused.len() > REUSED_BYTES {
            self.print_reused();
        }
        match update {
            Update::RunStarted { run_id, pipeline } => self.say(&format!("run {run_id} of {pipeline}")),
            Update::TaskStarted { name, key, attempt, reason } => {
                let label = label(name, *key);
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                match &mut self.live {
                    Some(live) => live.set(&label, RUNNING, &again),
                    None => error_line(&format!("  start   {label}{again}: {reason}")),
                }
            }
            Update::TaskWaiting { name, key, run } => {
                let who = run.map_or_else(|| "another run".to_owned(), |run| format!("run {}", short_run(run)));
                match &mut self.live {
                    Some(live) => live.set(&label(name, *key), WAITING, ""),
                    None => error_line(&format!(
                        "  waiting {}: waiting for {who}, which does the same work",
                        label(name, *key)
                    )),
                }
            }
            Update::TaskRetried { name, key, error } => {
                let label = label(name, *key);
                self.end_row(&label);
                self.say(&format!("  retry   {label}: {}", first_line(error)));
            }
            Update::TaskEnded { task, ended, known } => self.task_ended(task, *ended, *known),
            Update::RunEnded { .. } => {
                if let Some(live) = self.live.take() {
                    live.clear();
                }
            }
        }
    }

    /// The lines that stay when all is over.
    pub(crate) fn summary(&self, run: &RunDocument) {
        let failed: Vec<&StepRow> = run.steps.iter().filter(|row| row.status == StepStatus::Failed).collect();
        for (rank, row) in failed.iter().take(FAILURES_NAMED).enumerate() {
            match rank < FAILURES_WITH_LOG {
                true => failure_with_log(row),
                false => {
                    let error = first_line(row.error.as_deref().unwrap_or_default());
                    error_line(&format!("failed: {}: {error}", label(&row.name, row.key.as_deref())));
                }
            }
        }
        if failed.len() > FAILURES_NAMED {
            error_line(&format!("and {} more failed", failed.len() - FAILURES_NAMED));
        }
        let count = |status: StepStatus| run.steps.iter().filter(|row| row.status == status).count();
        let parts = [
            (StepStatus::Done, "done"),
            (StepStatus::Cached, "reused"),
            (StepStatus::Failed, "failed"),
            (StepStatus::Killed, "killed"),
            (StepStatus::Skipped, "skipped"),
        ];
        let counts: Vec<String> = parts
            .iter()
            .map(|(status, word)| (count(*status), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let outcome = match run.status {
            RunOutcome::Done => "finished",
            RunOutcome::Failed => "failed",
            RunOutcome::Killed => "interrupted",
        };
        error_line(&format!("{outcome} in {}: {}", duration(run.duration_s), counts.join(", ")));
        error_line(&format!(
            "run {}: `mlpipe runs show {}` shows every step",
            run.run_id,
            &run.run_id.to_string()[..8]
        ));
    }

    fn task_ended(&mut self, task: &StepRow, ended: usize, known: usize) {
        let label = label(&task.name, task.key.as_deref());
        self.end_row(&label);
        if let Some(live) = &self.live {
            live.total.set_length(known as u64);
            live.total.set_position(ended as u64);
            // On a terminal what went well scrolls nothing away.
            if matches!(task.status, StepStatus::Done | StepStatus::Cached) {
                return;
            }
        }
        let more = match task.status {
            StepStatus::Done => format!(" {}", duration(task.duration_s)),
            StepStatus::Cached => String::new(),
            StepStatus::Skipped => format!(": {}", task.reason),
            StepStatus::Failed | StepStatus::Killed => {
                format!(": {}", first_line(task.error.as_deref().unwrap_or_default()))
            }
        };
        let line = format!("  {:<7} {label}{more}", word(task.status));
        if task.status == StepStatus::Cached {
            self.reused.push_str(&line);
            self.reused.push('\n');
        } else {
            self.say(&line);
        }
    }

    fn end_row(&mut self, label: &str) {
        if let Some(live) = &mut self.live {
            live.end(label);
        }
    }

    fn print_reused(&mut self) {
        if !self.reused.is_empty() {
            error_text(&self.reused);
            self.reused.clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.live {
            Some(live) => drop(live.rows.println(line)),
            None => error_line(line),
        }
    }
}

impl Drop for Progress {
    /// A run that cannot go on ends without an update.
    fn drop(&mut self) {
        self.print_reused();
    }
}

impl Live {
    fn new() -> Self {
        let rows = MultiProgress::new();
        let total = rows.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len} tasks ended, {msg}, {elapsed}");
        total.set_style(style.expect("the template is valid"));
        total.enable_steady_tick(TICK);
        Self { rows, total, tasks: IndexMap::new() }
    }

    /// Shows a task in this state, a word.
    fn set(&mut self, label: &str, state: &'static str, remark: &str) {
        self.end(label);
        let task = LiveTask { state, remark: remark.to_owned(), since: Instant::now(), row: None };
        self.tasks.insert(label.to_owned(), task);
        self.fill_rows();
    }

    fn end(&mut self, label: &str) {
        if let Some(row) = self.tasks.shift_remove(label).and_then(|task| task.row) {
            row.finish_and_clear();
            self.rows.remove(&row);
        }
        self.fill_rows();
    }

    /// Gives rows to the tasks that have been under way for longest.
    fn fill_rows(&mut self) {
        for (label, task) in self.tasks.iter_mut().take(LIVE_ROWS) {
            if task.row.is_none() {
                let new = self.rows.insert_before(&self.total, ProgressBar::new_spinner());
                new.set_style(ProgressStyle::with_template("  {msg}  {elapsed}").expect("the template is valid"));
                new.set_message(format!("{:<7} {label}{}", task.state, task.remark));
                new.set_elapsed(task.since.elapsed());
                new.enable_steady_tick(TICK);
                task.row = Some(new);
            }
        }
        let count = |state: &str| self.tasks.values().filter(|task| task.state == state).count();
        let waiting = match count(WAITING) {
            0 => String::new(),
            waiting => format!(", {waiting} waiting for another run"),
        };
        // What is under way is known, even before the first task has ended and told how many there are.
        let known = self.total.position() + self.tasks.len() as u64;
        self.total.set_length(self.total.length().unwrap_or(0).max(known));
        self.total.set_message(format!("{} running{waiting}", count(RUNNING)));
    }

    fn clear(self) {
        for row in self.tasks.into_values().filter_map(|task| task.row) {
            row.finish_and_clear();
        }
        self.total.finish_and_clear();
        // The lines are gone already; what cannot be erased stays.
        let _ = self.rows.clear();
    }
}

fn label(name: &str, key: Option<&str>) -> String {
    key.map_or_else(|| name.to_owned(), |key| format!("{name}[{}]", short_key(key)))
}

fn word(status: StepStatus) -> &'static str {
    match status {
        StepStatus::Done => "done",
        StepStatus::Cached => "reused",
        StepStatus::Failed => "failed",
        StepStatus::Skipped => "skipped",
        StepStatus::Killed => "killed",
    }
}

/// What went wrong, with the last lines that the process printed.
fn failure_with_log(row: &StepRow) {
    error_line(&format!("\nfailed: {}", label(&row.name, row.key.as_deref())));
    let error = row.error.as_deref().unwrap_or_default();
    let tail = row.log.as_deref().map(|log| log_tail(log, LOG_LINES)).unwrap_or_default();
    // The error ends with the log's last words: they need not be said twice.
    let error = match error.split_once(": ") {
        Some((head, words)) if tail.join("\n").ends_with(words) => head,
        _ => error,
    };
    for line in error.lines() {
        error_line(&format!("  {line}"));
    }
    for line in &tail {
        error_line(&format!("  | {line}"));
    }
    if let Some(log) = &row.log {
        error_line(&format!("  log: {}", log.display()));
    }
}

/// The last lines of a log that hold anything.
fn log_tail(log: &Path, lines: usize) -> Vec<String> {
    const BYTES: u64 = 16 * 1024;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let start = file.metadata()?.len().saturating_sub(BYTES);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    // A log that cannot be read is no reason to fail: its path is printed.
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
