//! `mlpipe runs compare`: what differs between runs.

use std::collections::{BTreeMap, BTreeSet};

use mlpipe_tracking::Run;
use serde::Serialize;

use crate::commands::tracked::Tracked;
use crate::commands::tracking::TrackingArguments;
use crate::failure::{Exit, Failure, Outcome};
use crate::text;

/// Arguments of `mlpipe runs compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Ids of the runs, or their beginnings; the others are compared with the first
    #[arg(num_args = 2.., required = true)]
    runs: Vec<String>,

    #[command(flatten)]
    tracking: TrackingArguments,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Comparison {
    runs: Vec<Compared>,
    /// Params that are not the same in all runs.
    params: Vec<Param>,
    /// Every metric that one of them has.
    metrics: Vec<MetricRow>,
}

#[derive(Debug, Serialize)]
struct Compared {
    run_id: String,
    name: String,
    status: String,
}

#[derive(Debug, Serialize)]
struct Param {
    key: String,
    values: Vec<Option<String>>,
}

#[derive(Debug, Serialize)]
struct MetricRow {
    key: String,
    values: Vec<Option<f64>>,
    /// Less the value of the first run.
    deltas: Vec<Option<f64>>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let tracked = Tracked::open(&arguments.tracking)?;
    let runs = arguments.runs.iter().map(|run| tracked.find(run)).collect::<Result<Vec<_>, Failure>>()?;
    let comparison = compare(&runs);
    if arguments.json {
        text::json(&comparison);
    } else {
        print(&comparison);
    }
    Ok(Exit::Ok)
}

fn compare(runs: &[Run]) -> Comparison {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.params.keys()).collect();
    let param = |key: &String| Param {
        key: key.clone(),
        values: runs.iter().map(|run| run.params.get(key).cloned()).collect(),
    };
    let differs = |param: &Param| param.values.iter().any(|value| *value != param.values[0]);
    let metrics: Vec<BTreeMap<&str, f64>> =
        runs.iter().map(|run| run.metrics.iter().map(|metric| (metric.key.as_str(), metric.value)).collect()).collect();
    let names: BTreeSet<&str> = metrics.iter().flat_map(|metrics| metrics.keys().copied()).collect();
    let row = |key: &str| {
        let values: Vec<Option<f64>> = metrics.iter().map(|metrics| metrics.get(key).copied()).collect();
        let deltas = values.iter().map(|value| Some((*value)? - values[0]?)).collect();
        MetricRow { key: key.to_owned(), values, deltas }
    };
    let compared =
        |run: &Run| Compared { run_id: run.run_id.to_string(), name: run.name.clone(), status: run.status.to_string() };
    Comparison {
        runs: runs.iter().map(compared).collect(),
        params: keys.into_iter().map(param).filter(differs).collect(),
        metrics: names.into_iter().map(row).collect(),
    }
}

fn print(comparison: &Comparison) {
    let heading = |first: &str| -> Vec<String> {
        let ids = comparison.runs.iter().map(|run| text::short_run(&run.run_id).to_owned());
        [first.to_owned()].into_iter().chain(ids).collect()
    };
    let about = |first: &str, of: fn(&Compared) -> &String| -> Vec<String> {
        [first.to_owned()].into_iter().chain(comparison.runs.iter().map(|run| of(run).clone())).collect()
    };
    let mut rows = vec![heading("run"), about("name", |run| &run.name), about("status", |run| &run.status)];
    for param in &comparison.params {
        let values = param.values.iter().map(|value| value.clone().unwrap_or_else(|| "-".into()));
        rows.push([param.key.clone()].into_iter().chain(values).collect());
    }
    for metric in &comparison.metrics {
        let cells = metric.values.iter().zip(&metric.deltas).enumerate().map(|(position, cell)| match cell {
            (None, _) => "-".to_owned(),
            (Some(value), Some(delta)) if position > 0 && *delta != 0.0 => format!("{value} ({delta:+})"),
            (Some(value), _) => value.to_string(),
        });
        rows.push([metric.key.clone()].into_iter().chain(cells).collect());
    }
    text::line(&text::table(&rows));
    if comparison.params.is_empty() {
        text::error_line("all params are the same");
    }
}
