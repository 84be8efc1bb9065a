//! Prints how long common operations take as a store grows: `growth [--reused] [RUNS...]`, default 1,000 10,000 100,000.
//!
//! Each run has 10 params and 10 metrics, as in MLflow's comparison. With `--reused` the runs are written as the engine
//! writes reused tasks instead: one record each, with 7 tags and 3 params. Times are medians in milliseconds.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::time::Instant;

use mlpipe_tracking::{Batch, LoggedMetric, Metric, NewRun, Record, RunId, RunSearch, RunStatus, Store, Writer, tags};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let reused = arguments.iter().any(|argument| argument == "--reused");
    let mut sizes: Vec<usize> = arguments.iter().filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 100_000];
    }
    for size in sizes {
        if reused { record_reused(size)? } else { measure(size)? }
    }
    Ok(())
}

/// Writes reused tasks through the writer, and says what it cost.
fn record_reused(runs: usize) -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("store.db");
    let experiment_id = Store::open(&path)?.ensure_experiment("reused", "artifacts")?.experiment_id;
    let parent = RunId::random();
    let make = |n: usize| reused_task(&experiment_id, &parent, n);
    let records: Vec<Record> = (0..runs).map(make).collect();
    let (cpu, began) = (cpu_seconds(), Instant::now());
    let writer = Writer::start(Store::open(&path)?);
    records.into_iter().for_each(|record| writer.send(record));
    writer.finish()?;
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let each = cpu * 1e6 / runs as f64;
    println!("{runs} reused tasks: {wall:.2} s wall, {cpu:.2} s CPU, {each:.1} us a task, {} MB", megabytes(&path)?);
    Ok(())
}

fn reused_task(experiment_id: &str, parent: &RunId, n: usize) -> Record {
    let run_id = RunId::random();
    let pair = |key: &str, value: String| (key.to_owned(), value);
    Record::CreateRun {
        artifact_uri: format!("/data/project/.mlpipe/artifacts/{experiment_id}/{run_id}/artifacts"),
        run_id,
        experiment_id: experiment_id.to_owned(),
        name: format!("detect[{n}]"),
        start_time_ms: 1_000 + n as i64 / 10,
        end_time_ms: Some(1_001 + n as i64 / 10),
        status: RunStatus::Finished,
        tags: vec![
            pair(tags::PARENT_RUN_ID, parent.to_string()),
            pair(tags::FINGERPRINT, format!("{n:064x}")),
            pair(tags::REASON, "unchanged".to_owned()),
            pair(tags::CACHED_FROM, parent.to_string()),
            pair(tags::STEP, "detect".to_owned()),
            pair(tags::ITEM, format!("1.2.840.113619.{n}")),
        ],
        params: vec![
            pair("threshold", "0.5".to_owned()),
            pair("window", "400".to_owned()),
            pair("model", "unet".to_owned()),
        ],
    }
}

fn measure(runs: usize) -> Outcome {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("store.db");
    let store = Store::open(&path)?;
    let experiment = store.ensure_experiment("growth", "artifacts")?.experiment_id;
    let (cpu, began) = (cpu_seconds(), Instant::now());
    let mut records = Vec::new();
    for n in 0..runs {
        records.extend(run(&experiment, n));
        if records.len() >= 2_000 || n + 1 == runs {
            store.apply(&records)?;
            records.clear();
        }
    }
    let (wall, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    println!(
        "{runs} runs: filled in {wall:.1} s ({cpu:.1} s CPU), {} MB, {:.0} metrics/s",
        megabytes(&path)?,
        10.0 * runs as f64 / wall
    );

    let new = NewRun { experiment_id: experiment.clone(), start_time_ms: Some(5), ..NewRun::default() };
    let mut run_id = String::new();
    timed("create_run", 200, || {
        run_id = store.create_run(&new)?.run_id.to_string();
        Ok(1)
    })?;
    let mut step = 0;
    let mut next = |key: &str| {
        step += 1;
        LoggedMetric::from(Metric { key: key.to_owned(), value: 0.5, timestamp_ms: step, step })
    };
    timed("log_metric", 200, || store.log_metric(&run_id, &next("m")).map(|()| 1).map_err(Into::into))?;
    timed("log_batch of 1,000", 20, || {
        let metrics = (0..1000).map(|n| next(&format!("m{}", n % 10))).collect();
        store.log_batch(&run_id, &Batch { metrics, ..Batch::default() })?;
        Ok(1000)
    })?;
    let questions: [(&str, &str, &str, i64); 10] = [
        ("page of 100", "", "", 100),
        ("page of 1,000", "", "", 1000),
        ("best by metric", "", "metrics.m0 DESC", 1),
        ("metric filter, other order", "metrics.m0 > 0.5", "metrics.m1 DESC", 100),
        ("metric and param", "metrics.m0 > 0.9 AND params.p1 = '3'", "", 100),
        ("param LIKE, oldest first", "params.p2 LIKE '%7'", "start_time ASC", 100),
        ("three metrics", "metrics.m0 > 0.5 AND metrics.m1 < 0.5 AND metrics.m2 > 0.5", "", 100),
        ("tag", "tags.view = 'sagittal'", "", 100),
        ("no match", "metrics.m0 > 5", "", 100),
        ("by param", "", "params.p1 DESC", 100),
    ];
    for (name, filter, order, size) in questions {
        let search = RunSearch {
            experiment_ids: vec![experiment.clone()],
            filter: filter.to_owned(),
            order_by: Some(order.to_owned()).filter(|order| !order.is_empty()).into_iter().collect(),
            max_results: Some(size),
            ..RunSearch::default()
        };
        timed(name, 5, || Ok(store.search_runs(&search)?.items.len()))?;
    }
    Ok(())
}

fn run(experiment: &str, n: usize) -> [Record; 2] {
    let run_id = RunId::random();
    let random = |salt: usize| ((n * 7919 + salt * 104_729) * 2_654_435_761 % (1 << 32)) as f64 / f64::from(u32::MAX);
    let view = ["sagittal", "coronal", "axial"][n % 3];
    let create = Record::CreateRun {
        run_id: run_id.clone(),
        experiment_id: experiment.to_owned(),
        name: format!("r{n}"),
        start_time_ms: 1000 + n as i64,
        end_time_ms: Some(2000 + n as i64),
        status: RunStatus::Finished,
        artifact_uri: format!("mlflow-artifacts:/{experiment}/{run_id}/artifacts"),
        tags: vec![("view".to_owned(), view.to_owned())],
        params: (0..10).map(|k| (format!("p{k}"), format!("{:.0}", 100.0 * random(k)))).collect(),
    };
    let metric = |k: usize| Metric { key: format!("m{k}"), value: random(k + 50), timestamp_ms: 1, step: 0 };
    [create, Record::Metrics { run_id, metrics: (0..10).map(metric).collect() }]
}

fn timed(name: &str, times: usize, mut operation: impl FnMut() -> Outcome<usize>) -> Outcome {
    let mut found = operation()?;
    let mut milliseconds = Vec::with_capacity(times);
    for _ in 0..times {
        let began = Instant::now();
        found = operation()?;
        milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
    }
    milliseconds.sort_by(f64::total_cmp);
    println!("  {name:28} {:9.3} ms  ({found})", milliseconds[times / 2]);
    Ok(())
}

/// User and system time of this process so far; 0 where there is no `/proc`.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn megabytes(path: &std::path::Path) -> Outcome<u64> {
    let log = std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len());
    Ok((std::fs::metadata(path)?.len() + log) >> 20)
}
