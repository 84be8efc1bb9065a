//! `mlpipe runs`: what the tracking store knows of runs.

use std::collections::BTreeMap;

use mlpipe_tracking::{Error, Run, RunId, RunQuery, RunStatus, Store, tags};
use serde::Serialize;

use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Subcommands of `mlpipe runs`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the runs of pipelines, newest first
    List(ListArguments),
    /// Show a run with its params, metrics, tags and the runs below it
    Show(ShowArguments),
}

/// Arguments of `mlpipe runs list`.
#[derive(Debug, clap::Args)]
pub(crate) struct ListArguments {
    /// Only runs of this experiment (the pipeline's name)
    #[arg(long)]
    experiment: Option<String>,

    /// Only runs with this status: RUNNING, FINISHED, FAILED or KILLED
    #[arg(long, ignore_case = true, value_parser = |text: &str| text.to_uppercase().parse::<RunStatus>())]
    status: Option<RunStatus>,

    /// Also the runs of steps and items
    #[arg(long)]
    all: bool,

    /// At most this many
    #[arg(long, default_value_t = 50)]
    limit: usize,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe runs show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArguments {
    /// Id of the run, or the beginning of it
    run: String,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct ShownRun {
    #[serde(flatten)]
    run: Run,
    children: Vec<ShownRun>,
}

pub(crate) fn run(command: &Command) -> Outcome {
    let store = state::open()?.store()?;
    match command {
        Command::List(arguments) => list(&store, arguments),
        Command::Show(arguments) => show(&store, arguments),
    }
}

fn list(store: &Store, arguments: &ListArguments) -> Outcome {
    let runs = store.runs(&RunQuery {
        experiment: arguments.experiment.clone(),
        status: arguments.status,
        top_level_only: !arguments.all,
        limit: arguments.limit,
        parent: None,
    })?;
    if arguments.json {
        text::json(&serde_json::json!({ "runs": runs }));
        return Ok(Exit::Ok);
    }
    if runs.is_empty() {
        text::error_line("no runs; `mlpipe run PIPELINE` makes some");
        return Ok(Exit::Ok);
    }
    let header = ["run", "status", "name", "started", "took"].map(str::to_owned).to_vec();
    let rows: Vec<Vec<String>> = [header].into_iter().chain(runs.iter().map(row)).collect();
    text::line(&text::table(&rows));
    Ok(Exit::Ok)
}

fn row(run: &Run) -> Vec<String> {
    vec![
        short_id(&run.run_id),
        run.status.to_string(),
        run.name.clone(),
        text::local_time(run.start_time_ms),
        took(run).unwrap_or_default(),
    ]
}

fn show(store: &Store, arguments: &ShowArguments) -> Outcome {
    let run = store.find_run(&arguments.run).map_err(|error| match error {
        Error::RunNotFound { .. } | Error::RunAmbiguous { .. } => {
            Failure::bad_input(error).hint("`mlpipe runs list --all` shows the ids")
        }
        error => error.into(),
    })?;
    let shown = with_children(store, run)?;
    if arguments.json {
        text::json(&shown);
        return Ok(Exit::Ok);
    }
    let run = &shown.run;
    text::line(&format!("run        {}", run.run_id));
    text::line(&format!("name       {}", run.name));
    text::line(&format!("status     {}", run.status));
    text::line(&format!("started    {}", text::local_time(run.start_time_ms)));
    if let Some(took) = took(run) {
        text::line(&format!("took       {took}"));
    }
    text::line(&format!("artifacts  {}", run.artifact_uri));
    section("params", &run.params);
    let metrics = run.metrics.iter().map(|metric| (metric.key.clone(), metric.value.to_string())).collect();
    section("metrics", &metrics);
    section("tags", &run.tags);
    if !shown.children.is_empty() {
        text::line("\nruns below");
        let mut rows = Vec::new();
        tree(&shown.children, 1, &mut rows);
        text::line(&text::table(&rows));
    }
    Ok(Exit::Ok)
}

fn with_children(store: &Store, run: Run) -> Result<ShownRun, Failure> {
    let query = RunQuery { parent: Some(run.run_id.clone()), ..RunQuery::default() };
    // The store gives the newest first; people read a run from its beginning.
    let children =
        store.runs(&query)?.into_iter().rev().map(|child| with_children(store, child)).collect::<Result<_, _>>()?;
    Ok(ShownRun { run, children })
}

fn tree(runs: &[ShownRun], depth: usize, rows: &mut Vec<Vec<String>>) {
    for child in runs {
        let run = &child.run;
        let how = match run.tags.get(tags::CACHED_FROM) {
            Some(origin) => format!("reused from {}", &origin[..origin.len().min(8)]),
            None => took(run).unwrap_or_default(),
        };
        let shown = match (run.tags.get(tags::STEP), run.tags.get(tags::ITEM)) {
            (Some(step), Some(item)) => format!("{step}[{}]", text::short_key(item)),
            _ => run.name.clone(),
        };
        let name = format!("{}{shown}", "  ".repeat(depth));
        rows.push(vec![name, run.status.to_string(), short_id(&run.run_id), how]);
        tree(&child.children, depth + 1, rows);
    }
}

fn section(title: &str, entries: &BTreeMap<String, String>) {
    if entries.is_empty() {
        return;
    }
    text::line(&format!("\n{title}"));
    let rows: Vec<Vec<String>> = entries.iter().map(|(key, value)| vec![format!("  {key}"), value.clone()]).collect();
    text::line(&text::table(&rows));
}

fn short_id(run_id: &RunId) -> String {
    run_id.as_str()[..8].to_owned()
}

fn took(run: &Run) -> Option<String> {
    let milliseconds = run.end_time_ms? - run.start_time_ms;
    Some(text::duration(milliseconds as f64 / 1000.0))
}
