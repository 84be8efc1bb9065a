//! What people see while a pipeline runs: live rows on a terminal, else one line per change of state.

use std::collections::HashMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use mlpipe_engine::{RunDocument, RunOutcome, StepRow, StepStatus, Update};

use crate::text::{duration, error_line, short_key};

/// Rows of running tasks that are shown at a time.
const LIVE_ROWS: usize = 8;

/// Shows a run on stderr.
pub(crate) struct Progress {
    live: Option<Live>,
}

struct Live {
    rows: MultiProgress,
    total: ProgressBar,
    running: HashMap<String, ProgressBar>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let live = std::io::stderr().is_terminal() && std::env::var_os("CI").is_none();
        Self { live: live.then(Live::new) }
    }

    pub(crate) fn update(&mut self, update: &Update<'_>) {
        match update {
            Update::RunStarted { run_id, pipeline } => self.say(&format!("run {run_id} of {pipeline}")),
            Update::TaskStarted { name, key, attempt, reason } => {
                let label = label(name, *key);
                let again = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
                match &mut self.live {
                    Some(live) => live.start(&label),
                    None => error_line(&format!("  start   {label}{again}: {reason}")),
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
                    live.total.finish_and_clear();
                    let _ = live.rows.clear();
                }
            }
        }
    }

    /// The lines that stay when all is over.
    pub(crate) fn summary(&self, run: &RunDocument) {
        for row in run.steps.iter().filter(|row| row.status == StepStatus::Failed) {
            error_line(&format!("\nfailed: {}", label(&row.name, row.key.as_deref())));
            for line in row.error.as_deref().unwrap_or_default().lines() {
                error_line(&format!("  {line}"));
            }
            if let Some(log) = &row.log {
                error_line(&format!("  log: {}", log.display()));
            }
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
        self.say(&format!("  {:<7} {label}{more}", word(task.status)));
    }

    fn end_row(&mut self, label: &str) {
        if let Some(live) = &mut self.live
            && let Some(row) = live.running.remove(label)
        {
            row.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.live {
            Some(live) => drop(live.rows.println(line)),
            None => error_line(line),
        }
    }
}

impl Live {
    fn new() -> Self {
        let rows = MultiProgress::new();
        let total = rows.add(ProgressBar::new(0));
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} tasks, {elapsed}");
        total.set_style(style.expect("the template is valid"));
        Self { rows, total, running: HashMap::new() }
    }

    fn start(&mut self, label: &str) {
        if self.running.len() >= LIVE_ROWS {
            return;
        }
        let row = self.rows.insert_before(&self.total, ProgressBar::new_spinner());
        row.set_style(ProgressStyle::with_template("  {spinner} {msg} {elapsed}").expect("the template is valid"));
        row.set_message(label.to_owned());
        row.enable_steady_tick(std::time::Duration::from_millis(120));
        self.running.insert(label.to_owned(), row);
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

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
