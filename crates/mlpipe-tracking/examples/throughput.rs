//! Prints how fast runs are recorded and read: `throughput [STORE] [RUNS]`.
//!
//! Each run has 5 params, 5 metrics and a parent; 1,000 records make a transaction. Several of these programs may be
//! pointed at one store at once. Without STORE a temporary one is used.
#![expect(clippy::print_stdout, reason = "printing is what it is for")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use mlpipe_tracking::{Durability, Metric, Record, RunId, RunQuery, RunStatus, Store, Writer, tags};

const PER_RUN: usize = 5;
const BATCH: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let temporary = tempfile::tempdir()?;
    let path = arguments.next().map_or_else(|| temporary.path().join("store.db"), PathBuf::from);
    let runs: usize = arguments.next().map_or(Ok(10_000), |text| text.parse())?;
    let store = Store::open(&path)?;
    let experiment_id = store.ensure_experiment("throughput", "artifacts")?.experiment_id;

    let parent = RunId::random();
    let mut records = vec![create(&parent, &experiment_id, None)];
    records.extend((0..runs).flat_map(|_| run(&experiment_id, &parent)));
    let began = Instant::now();
    records.chunks(BATCH).try_for_each(|batch| store.apply(batch))?;
    report("apply", runs, records.len(), began);

    let began = Instant::now();
    records.chunks(BATCH).try_for_each(|batch| store.apply(batch))?;
    report("apply again", runs, records.len(), began);

    for durability in [Durability::ProgramCrash, Durability::PowerLoss] {
        let store = Store::open_with(&path, durability)?;
        let commits = 200;
        let records: Vec<_> = (0..commits).map(|_| create(&RunId::random(), &experiment_id, Some(&parent))).collect();
        let began = Instant::now();
        records.chunks(1).try_for_each(|record| store.apply(record))?;
        println!("{durability:?}: {:.3} ms a commit", began.elapsed().as_secs_f64() * 1e3 / f64::from(commits));
    }

    let records: Vec<_> = (0..runs).flat_map(|_| run(&experiment_id, &parent)).collect();
    let count = records.len();
    let began = Instant::now();
    let writer = Writer::start(Store::open(&path)?);
    records.into_iter().for_each(|record| writer.send(record));
    println!("send: {:.3} s", began.elapsed().as_secs_f64());
    writer.finish()?;
    report("writer", runs, count, began);

    let queries = [
        ("page of 100", RunQuery { limit: 100, ..RunQuery::default() }),
        ("page of 1,000", RunQuery { limit: 1000, ..RunQuery::default() }),
        ("top level, 10", RunQuery { top_level_only: true, limit: 10, ..RunQuery::default() }),
        ("children", RunQuery { parent: Some(parent), ..RunQuery::default() }),
    ];
    for (name, query) in queries {
        let began = Instant::now();
        let found = store.runs(&query)?.len();
        println!("{name}: {found} runs in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}

/// The four records of a run: creation with params and a tag, metrics, a status, another tag.
fn run(experiment_id: &str, parent: &RunId) -> [Record; 4] {
    let run_id = RunId::random();
    let metric = |index| Metric { key: format!("metric_{index}"), value: index as f64, timestamp_ms: 2, step: 0 };
    [
        create(&run_id, experiment_id, Some(parent)),
        Record::Metrics { run_id: run_id.clone(), metrics: (0..PER_RUN).map(metric).collect() },
        Record::Tags { run_id: run_id.clone(), tags: vec![(tags::REASON.to_owned(), "first run".to_owned())] },
        Record::UpdateRun { run_id, status: RunStatus::Finished, end_time_ms: Some(3) },
    ]
}

fn create(run_id: &RunId, experiment_id: &str, parent: Option<&RunId>) -> Record {
    Record::CreateRun {
        run_id: run_id.clone(),
        experiment_id: experiment_id.to_owned(),
        name: "step".to_owned(),
        start_time_ms: 1,
        end_time_ms: None,
        status: RunStatus::Running,
        artifact_uri: format!("artifacts/{experiment_id}/{run_id}/artifacts"),
        tags: parent.map(|parent| (tags::PARENT_RUN_ID.to_owned(), parent.to_string())).into_iter().collect(),
        params: (0..PER_RUN).map(|index| (format!("param_{index}"), index.to_string())).collect(),
    }
}

fn report(what: &str, runs: usize, records: usize, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    let rate = |count: usize| count as f64 / seconds;
    println!("{what}: {seconds:.3} s, {:.0} runs/s, {:.0} records/s", rate(runs), rate(records));
}
