//! `mlpipe runs`: what the tracking store, or a tracking server, knows of runs.

mod compare;
mod copy;

use std::collections::BTreeMap;

use mlpipe_tracking::{Run, RunId, RunStatus, tags};
use serde::Serialize;

use crate::commands::tracked::{Question, Tracked};
use crate::commands::tracking::TrackingArguments;
use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Subcommands of `mlpipe runs`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the runs of pipelines, newest first
    List(ListArguments),
    /// Show a run with its params, metrics, tags and the runs below it
    Show(ShowArguments),
    /// Show the params that differ between runs, and their metrics with the differences
    Compare(compare::Arguments),
    /// Delete runs with the runs below them; `restore` brings them back until `mlpipe gc --deleted`
    Delete(ChangeArguments),
    /// Restore deleted runs with the runs below them
    Restore(ChangeArguments),
    /// Copy runs and models to a tracking server; done again it copies what is new
    Export(copy::ExportArguments),
    /// Copy runs and models from a tracking server; done again it copies what is new
    Import(copy::ImportArguments),
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

    /// Also the runs of steps and items; --filter and --order-by look at all of them
    #[arg(long)]
    all: bool,

    /// Only runs that meet these conditions, in MLflow's grammar, as in "metrics.auc > 0.9 AND params.lr = '0.1'"
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    filter: String,

    /// Order, in MLflow's grammar, as in "metrics.auc DESC"; may be given several times
    #[arg(long, value_name = "CLAUSE")]
    order_by: Vec<String>,

    #[command(flatten)]
    tracking: TrackingArguments,

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

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

/// Arguments of `mlpipe runs delete` and `restore`.
#[derive(Debug, clap::Args)]
pub(crate) struct ChangeArguments {
    /// Ids of the runs, or their beginnings; of deleted runs the whole id
    #[arg(required = true)]
    runs: Vec<String>,

    #[command(flatten)]
    tracking: TrackingArguments,
}

#[derive(Debug, Serialize)]
struct ShownRun {
    #[serde(flatten)]
    run: Run,
    children: Vec<ShownRun>,
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::List(arguments) => list(arguments),
        Command::Show(arguments) => show(arguments),
        Command::Compare(arguments) => compare::run(arguments),
        Command::Delete(arguments) => delete(arguments),
        Command::Restore(arguments) => restore(arguments),
        Command::Export(arguments) => copy::export(arguments),
        Command::Import(arguments) => copy::import(arguments),
    }
}

fn list(arguments: &ListArguments) -> Outcome {
    let runs = Tracked::open(&arguments.tracking)?.search(&Question {
        experiment: arguments.experiment.clone(),
        status: arguments.status,
        top_level_only: !arguments.all && arguments.filter.is_empty() && arguments.order_by.is_empty(),
        filter: arguments.filter.clone(),
        order_by: arguments.order_by.clone(),
        limit: arguments.limit,
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

fn show(arguments: &ShowArguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    let shown = with_children(&tracked, tracked.find(&arguments.run)?)?;
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

fn with_children(tracked: &Tracked, run: Run) -> Result<ShownRun, Failure> {
    let children =
        tracked.children(&run)?.into_iter().map(|child| with_children(tracked, child)).collect::<Result<_, _>>()?;
    Ok(ShownRun { run, children })
}

fn delete(arguments: &ChangeArguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    for id in &arguments.runs {
        let mut runs = vec![tracked.find(id)?];
        let mut deleted = 0;
        while let Some(run) = runs.pop() {
            runs.extend(tracked.children(&run)?);
            tracked.delete(&run)?;
            deleted += 1;
        }
        text::error_line(&format!("{id}: {deleted} runs deleted; `mlpipe runs restore` brings them back"));
    }
    Ok(Exit::Ok)
}

fn restore(arguments: &ChangeArguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    for id in &arguments.runs {
        let mut runs = vec![tracked.find(id)?];
        let mut restored = 0;
        while let Some(run) = runs.pop() {
            runs.extend(tracked.deleted_children(&run)?);
            tracked.restore(&run)?;
            restored += 1;
        }
        text::error_line(&format!("{id}: {restored} runs restored"));
    }
    Ok(Exit::Ok)
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
