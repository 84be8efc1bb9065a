//! What every store must do, whichever database it is in. Each test runs on SQLite, and with the feature `postgres` on the
//! server that `MLPIPE_TEST_POSTGRES` names; without that variable it says that it leaves PostgreSQL out.

#![cfg_attr(feature = "postgres", expect(clippy::print_stderr, reason = "a skipped test must be visible"))]

use std::collections::BTreeSet;

use mlpipe_tracking::{
    Batch, Dataset, DatasetInput, Durability, ErrorCode, LifecycleStage, LoggedMetric, LoggedModelOrder,
    LoggedModelSearch, LoggedModelStatus, Metric, MetricOfRun, ModelOutput, NewExperiment, NewLoggedModel,
    NewModelVersion, NewRun, Result, Run, RunSearch, RunStatus, RunUpdate, Search, Stage, StepInterval, Store,
    ViewType,
};

/// A store of its own for one test.
struct Place {
    store: Store,
    _directory: tempfile::TempDir,
}

/// Runs a test on each database there is.
fn everywhere(test: impl Fn(&Store)) {
    for place in places() {
        test(&place.store);
        assert_eq!(place.store.check().expect("checked"), Vec::<String>::new());
    }
}

fn places() -> Vec<Place> {
    let directory = tempfile::tempdir().expect("temporary directory");
    let uri = format!("sqlite:///{}", directory.path().join("store.db").display());
    let store = Store::open_uri(&uri, Durability::default()).expect("opened");
    let file = Some(Place { store, _directory: directory });
    let places: Vec<_> = [file, postgres_place()].into_iter().flatten().collect();
    for place in &places {
        place.store.ensure_default_experiment("mlflow-artifacts:").expect("made");
    }
    places
}

#[cfg(not(feature = "postgres"))]
fn postgres_place() -> Option<Place> {
    None
}

/// A schema of its own on the server, so that tests do not meet.
#[cfg(feature = "postgres")]
fn postgres_place() -> Option<Place> {
    let Ok(server) = std::env::var("MLPIPE_TEST_POSTGRES") else {
        eprintln!("skipped: PostgreSQL is left out: MLPIPE_TEST_POSTGRES names no server");
        return None;
    };
    let schema = format!("test_{}", mlpipe_tracking::RunId::random());
    let mut client = postgres::Client::connect(&server, postgres::NoTls).expect("the server answers");
    client.batch_execute(&format!("CREATE SCHEMA {schema}")).expect("made");
    let mark = if server.contains('?') { '&' } else { '?' };
    let uri = format!("{server}{mark}options=-csearch_path%3D{schema}");
    let store = Store::open_uri(&uri, Durability::default()).expect("opened");
    Some(Place { store, _directory: tempfile::tempdir().expect("temporary directory") })
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn experiment(store: &Store, name: &str, tags: &[(&str, &str)]) -> String {
    let new = NewExperiment { name: name.to_owned(), artifact_location: None, tags: owned(tags) };
    store.create_experiment(&new, "mlflow-artifacts:").expect("made").experiment_id
}

fn run(store: &Store, experiment: &str) -> String {
    let new = NewRun { experiment_id: experiment.to_owned(), ..NewRun::default() };
    store.create_run(&new).expect("made").run_id.to_string()
}

fn metric(key: &str, value: f64, timestamp_ms: i64, step: i64) -> LoggedMetric {
    Metric { key: key.to_owned(), value, timestamp_ms, step }.into()
}

fn code<T: std::fmt::Debug>(outcome: Result<T>) -> ErrorCode {
    outcome.expect_err("refused").code()
}

fn search(experiment: &str, filter: &str, order: &[&str]) -> RunSearch {
    RunSearch {
        experiment_ids: vec![experiment.to_owned()],
        filter: filter.to_owned(),
        order_by: order.iter().map(|clause| (*clause).to_owned()).collect(),
        ..RunSearch::default()
    }
}

#[test]
fn experiments_are_made_renamed_deleted_and_restored() {
    everywhere(|store| {
        assert_eq!(store.experiment("0").expect("there").name, "Default");
        let id = experiment(store, "spine", &[("organ", "spine")]);
        let found = store.experiment(&id).expect("there");
        assert_eq!(found.artifact_location, format!("mlflow-artifacts:/{id}"));
        assert_eq!(found.tags["organ"], "spine");
        let again = NewExperiment { name: "spine".to_owned(), ..NewExperiment::default() };
        assert_eq!(code(store.create_experiment(&again, "x")), ErrorCode::ResourceAlreadyExists);
        let empty = NewExperiment::default();
        assert_eq!(code(store.create_experiment(&empty, "x")), ErrorCode::InvalidParameterValue);
        assert_eq!(code(store.experiment("99999999")), ErrorCode::ResourceDoesNotExist);
        assert_eq!(code(store.experiment("abc")), ErrorCode::InvalidParameterValue);

        store.rename_experiment(&id, "thorax").expect("renamed");
        assert_eq!(store.experiment_by_name("thorax").expect("there").experiment_id, id);
        let other = experiment(store, "spine", &[]);
        assert_eq!(code(store.rename_experiment(&other, "thorax")), ErrorCode::ResourceAlreadyExists);
        store.set_experiment_tag(&id, "organ", "lung").expect("set");
        assert_eq!(store.experiment(&id).expect("there").tags["organ"], "lung");
        store.delete_experiment_tag(&id, "organ").expect("removed");
        assert_eq!(code(store.delete_experiment_tag(&id, "organ")), ErrorCode::ResourceDoesNotExist);

        let run_id = run(store, &id);
        store.delete_experiment(&id).expect("deleted");
        assert_eq!(store.get_run(&run_id).expect("there").lifecycle_stage, LifecycleStage::Deleted);
        assert_eq!(code(store.delete_experiment(&id)), ErrorCode::ResourceDoesNotExist);
        assert_eq!(code(store.rename_experiment(&id, "y")), ErrorCode::InvalidParameterValue);
        let new = NewRun { experiment_id: id.clone(), ..NewRun::default() };
        assert_eq!(code(store.create_run(&new)), ErrorCode::InvalidParameterValue);
        store.restore_experiment(&id).expect("restored");
        assert_eq!(store.get_run(&run_id).expect("there").lifecycle_stage, LifecycleStage::Active);
        assert_eq!(code(store.restore_experiment(&id)), ErrorCode::ResourceDoesNotExist);
    });
}

#[test]
fn experiments_are_found_by_filter_in_order_and_in_pages() {
    everywhere(|store| {
        let ids: Vec<_> = ["a", "b", "c", "D"]
            .iter()
            .map(|key| experiment(store, &format!("se-{key}"), &[("key", key), ("two words", &format!("v {key}"))]))
            .collect();
        store.delete_experiment(&ids[2]).expect("deleted");
        let found = |filter: &str, order: &[&str], view| {
            let search = Search {
                filter: filter.to_owned(),
                order_by: order.iter().map(|clause| (*clause).to_owned()).collect(),
                ..Search::default()
            };
            let page = store.search_experiments(&search, view).unwrap_or_else(|error| panic!("{filter}: {error}"));
            page.items.into_iter().map(|experiment| experiment.name["se-".len()..].to_owned()).collect::<String>()
        };
        let active = ViewType::ActiveOnly;
        for (filter, order, view, want) in [
            ("name LIKE 'se-%'", &["name ASC"][..], active, "Dab"),
            ("name LIKE 'se-%'", &[], ViewType::DeletedOnly, "c"),
            ("name LIKE 'se-%'", &[], ViewType::All, "Dcba"),
            ("name LIKE 'se-d'", &[], active, ""),
            ("name ILIKE 'se-d'", &[], active, "D"),
            ("tags.key = 'b'", &[], active, "b"),
            ("tags.`two words` LIKE 'v %' AND tags.key != 'b'", &["name DESC"], active, "aD"),
            ("attribute.name = 'se-a' AND creation_time > 5", &[], active, "a"),
            ("tags.key IS NOT NULL", &["experiment_id ASC"], active, "abD"),
        ] {
            assert_eq!(found(filter, order, view), want, "{filter}");
        }
        let mut seen = String::new();
        let mut search = Search { filter: "name LIKE 'se-%'".to_owned(), max_results: Some(1), ..Search::default() };
        loop {
            let page = store.search_experiments(&search, active).expect("found");
            seen += &page.items[0].name["se-".len()..];
            match page.next_page_token {
                Some(token) => search.page_token = Some(token),
                None => break,
            }
        }
        assert_eq!(seen, "Dba");
        for (filter, order, max) in
            [("nonsense = 'x'", "", 1), ("name > 'x'", "", 1), ("", "nonsense", 1), ("", "", 0), ("", "", 1_000_000)]
        {
            let order_by = Some(order.to_owned()).filter(|order| !order.is_empty()).into_iter().collect();
            let search = Search { filter: filter.to_owned(), order_by, max_results: Some(max), page_token: None };
            assert_eq!(code(store.search_experiments(&search, active)), ErrorCode::InvalidParameterValue);
        }
    });
}

#[test]
fn runs_are_made_updated_deleted_and_restored() {
    everywhere(|store| {
        let id = experiment(store, "runs", &[]);
        let new = NewRun {
            experiment_id: id.clone(),
            user_id: "u1".to_owned(),
            run_name: Some("sagittal".to_owned()),
            start_time_ms: Some(1234),
            tags: owned(&[("k", "v")]),
        };
        let made = store.create_run(&new).expect("made");
        let run_id = made.run_id.to_string();
        assert_eq!((made.name.as_str(), made.user_id.as_str(), made.start_time_ms), ("sagittal", "u1", 1234));
        assert_eq!(made.artifact_uri, format!("mlflow-artifacts:/{id}/{run_id}/artifacts"));
        assert_eq!(made.tags["mlflow.runName"], "sagittal");
        assert_eq!(store.get_run(&run_id).expect("there"), made);
        let named = store.get_run(&run(store, &id)).expect("there");
        assert!(!named.name.is_empty() && named.tags["mlflow.runName"] == named.name);
        let torn = NewRun { run_name: Some("a".to_owned()), tags: owned(&[("mlflow.runName", "b")]), ..new.clone() };
        assert_eq!(code(store.create_run(&torn)), ErrorCode::InvalidParameterValue);
        let nowhere = NewRun { experiment_id: "99999999".to_owned(), ..NewRun::default() };
        assert_eq!(code(store.create_run(&nowhere)), ErrorCode::ResourceDoesNotExist);

        let update = RunUpdate { status: Some(RunStatus::Finished), end_time_ms: Some(5678), run_name: None };
        let updated = store.update_run(&run_id, &update).expect("updated");
        assert_eq!((updated.status, updated.end_time_ms), (RunStatus::Finished, Some(5678)));
        let rename = RunUpdate { run_name: Some("axial".to_owned()), ..RunUpdate::default() };
        let renamed = store.update_run(&run_id, &rename).expect("updated");
        assert_eq!((renamed.name.as_str(), renamed.tags["mlflow.runName"].as_str()), ("axial", "axial"));
        assert_eq!(renamed.status, RunStatus::Finished);
        store.set_tag(&run_id, "mlflow.runName", "coronal").expect("set");
        assert_eq!(store.get_run(&run_id).expect("there").name, "coronal");

        store.delete_run(&run_id).expect("deleted");
        assert_eq!(code(store.log_param(&run_id, "x", "1")), ErrorCode::InvalidParameterValue);
        assert_eq!(code(store.log_metric(&run_id, &metric("x", 1.0, 1, 0))), ErrorCode::InvalidParameterValue);
        assert_eq!(store.search_runs(&search(&id, "", &[])).expect("found").items.len(), 1);
        let deleted = RunSearch { view: ViewType::DeletedOnly, ..search(&id, "", &[]) };
        assert_eq!(store.search_runs(&deleted).expect("found").items[0].run_id.as_str(), run_id);
        store.restore_run(&run_id).expect("restored");
        store.restore_run(&run_id).expect("quiet");
        let unknown = "0".repeat(32);
        assert_eq!(code(store.get_run(&unknown)), ErrorCode::ResourceDoesNotExist);
        assert_eq!(code(store.delete_run(&unknown)), ErrorCode::ResourceDoesNotExist);
        assert_eq!(code(store.delete_tag(&run_id, "nothing")), ErrorCode::ResourceDoesNotExist);
    });
}

#[test]
fn params_stay_tags_change_and_batches_are_atomic() {
    everywhere(|store| {
        let run_id = run(store, "0");
        store.log_param(&run_id, "window", "400").expect("set");
        store.log_param(&run_id, "window", "400").expect("the same again");
        let error = store.log_param(&run_id, "window", "401").expect_err("refused");
        assert_eq!(
            error.to_string(),
            format!(
                "Changing param values is not allowed. Param with key='window' was already logged with value='400' for \
                 run ID='{run_id}'. Attempted logging new value '401'."
            )
        );
        for key in ["../x", "/abs", "a//b", ".", "a*b", "", &"k".repeat(251)] {
            assert_eq!(code(store.log_param(&run_id, key, "v")), ErrorCode::InvalidParameterValue, "{key}");
        }
        store.log_param(&run_id, "long", &"x".repeat(6001)).expect("cut");
        assert_eq!(store.get_run(&run_id).expect("there").params["long"].len(), 6000);

        let batch = Batch {
            metrics: vec![metric("a", 3.0, 1, 3), metric("a", 9.0, 1, 1)],
            params: owned(&[("z", "1"), ("window", "7")]),
            tags: owned(&[("t", "1")]),
        };
        assert_eq!(code(store.log_batch(&run_id, &batch)), ErrorCode::InvalidParameterValue);
        let twice = Batch { params: owned(&[("z", "1"), ("z", "2")]), ..Batch::default() };
        let refused = store.log_batch(&run_id, &twice).expect_err("a param twice").to_string();
        assert!(refused.starts_with("Duplicate parameter keys have been submitted: [\"z\"]."), "{refused}");
        let untouched = store.get_run(&run_id).expect("there");
        assert!(!untouched.params.contains_key("z") && !untouched.tags.contains_key("t"));
        assert!(untouched.metrics.is_empty());
        let batch = Batch { params: owned(&[("z", "1"), ("window", "400")]), ..batch };
        store.log_batch(&run_id, &batch).expect("logged");
        assert_eq!(store.get_run(&run_id).expect("there").metric("a"), Some(3.0));
        let many = Batch { params: (0..101).map(|n| (format!("q{n}"), String::new())).collect(), ..Batch::default() };
        assert_eq!(code(store.log_batch(&run_id, &many)), ErrorCode::InvalidParameterValue);
        let many = Batch { metrics: (0..1001).map(|n| metric("m", 1.0, 1, n)).collect(), ..Batch::default() };
        assert_eq!(code(store.log_batch(&run_id, &many)), ErrorCode::InvalidParameterValue);
    });
}

#[test]
fn latest_value_has_the_greatest_step_then_time_then_value() {
    everywhere(|store| {
        let run_id = run(store, "0");
        let latest = |key: &str| store.get_run(&run_id).expect("there").metric(key).expect("a value");
        for (value, timestamp, step, want) in
            [(0.1, 1000, 0, 0.1), (0.5, 1002, 2, 0.5), (7.0, 5000, 1, 0.5), (8.0, 5000, 2, 8.0), (4.0, 5000, 2, 8.0)]
        {
            store.log_metric(&run_id, &metric("dice", value, timestamp, step)).expect("logged");
            assert_eq!(latest("dice"), want);
        }
        for (key, value) in [("nan", f64::NAN), ("inf", f64::INFINITY), ("ninf", f64::NEG_INFINITY), ("tiny", 5e-324)] {
            store.log_metric(&run_id, &metric(key, value, 1, 0)).expect("logged");
        }
        assert!(latest("nan").is_nan());
        assert_eq!((latest("inf"), latest("ninf"), latest("tiny")), (f64::INFINITY, f64::NEG_INFINITY, 5e-324));
        store.log_metric(&run_id, &metric("dup", 1.0, 1, 0)).expect("logged");
        store.log_metric(&run_id, &metric("dup", 1.0, 1, 0)).expect("logged again");
        assert_eq!(store.metric_history_page(&run_id, "dup", None, None).expect("read").items.len(), 1);
    });
}

#[test]
fn histories_come_in_pages_and_samples() {
    everywhere(|store| {
        let run_id = run(store, "0");
        let point = |n: i64| metric("loss", n as f64 * 0.5, 10_000 + n, n);
        for chunk in [0..1000, 1000..2000, 2000..2500] {
            let batch = Batch { metrics: chunk.map(point).collect(), ..Batch::default() };
            store.log_batch(&run_id, &batch).expect("logged");
        }
        let all = store.metric_history_page(&run_id, "loss", None, None).expect("read");
        assert_eq!(all.items.iter().map(|metric| metric.step).collect::<Vec<_>>(), (0..2500).collect::<Vec<_>>());
        assert_eq!(all.next_page_token, None);
        let first = store.metric_history_page(&run_id, "loss", Some(1000), None).expect("read");
        let token = first.next_page_token.expect("more");
        let second = store.metric_history_page(&run_id, "loss", Some(1500), Some(&token)).expect("read");
        assert_eq!((second.items[0].step, second.items.len(), second.next_page_token), (1000, 1500, None));
        assert!(store.metric_history_page(&run_id, "nothing", None, None).expect("read").items.is_empty());
        assert!(store.metric_history_page(&"0".repeat(32), "loss", None, None).expect("read").items.is_empty());
        assert_eq!(code(store.metric_history_page(&run_id, "loss", None, Some("%"))), ErrorCode::InvalidParameterValue);

        let other = run(store, "0");
        store.log_metric(&other, &metric("loss", 3.0, 1, 0)).expect("logged");
        let runs = [run_id.clone(), other];
        let bulk = store.metric_history_bulk(&runs, "loss", 3000).expect("read");
        assert_eq!(bulk.iter().map(|found| &found.run_id).collect::<BTreeSet<_>>().len(), 2);
        let interval = StepInterval { max_results: 10, ..StepInterval::default() };
        let samples = store.metric_history_interval(&runs[..1], "loss", &interval).expect("read");
        let steps = |samples: &[MetricOfRun]| samples.iter().map(|sample| sample.metric.step).collect::<Vec<_>>();
        assert_eq!(steps(&samples), [0, 250, 500, 750, 1000, 1250, 1500, 1750, 2000, 2499]);
        let ends = StepInterval { start_step: Some(7), end_step: Some(9), max_results: 10 };
        let both = store.metric_history_interval(&runs, "loss", &ends).expect("read");
        assert_eq!(steps(&both), [7, 8, 9], "the other run has nothing there");
        let first_values =
            Batch { metrics: (0..3).map(|n| metric("loss", n as f64, n, 7)).collect(), ..Batch::default() };
        store.log_batch(&run_id, &first_values).expect("logged");
        let ends = StepInterval { max_results: 3, ..ends };
        let rows = store.metric_history_interval(&runs[..1], "loss", &ends).expect("read");
        let rows: Vec<_> = rows.iter().map(|row| (row.metric.step, row.metric.timestamp_ms)).collect();
        assert_eq!(rows, [(7, 0), (7, 2), (9, 10_009)], "values count, not steps");
    });
}

/// Name, metrics, params, tags and status of a run.
type Spec<'a> = (&'a str, &'a [(&'a str, f64)], &'a [(&'a str, &'a str)], &'a [(&'a str, &'a str)], &'a str);

/// Runs `a` to `d` as in a paper's table: some have a metric, a param, a tag, some do not.
fn four_runs(store: &Store, experiment: &str) -> Vec<String> {
    let spec: [Spec; 4] = [
        (
            "a",
            &[("dice", 0.91), ("loss", 0.3)],
            &[("model", "unet"), ("lr", "0.1"), ("view", "sagittal")],
            &[("team", "spine")],
            "FINISHED",
        ),
        (
            "b",
            &[("dice", 0.80)],
            &[("model", "resnet"), ("lr", "0.01"), ("view", "coronal")],
            &[("team", "Spine")],
            "FINISHED",
        ),
        (
            "c",
            &[("dice", 0.95), ("loss", 0.1)],
            &[("model", "UNet++"), ("lr", "0.1")],
            &[("team", "chest"), ("odd key!", "x")],
            "FAILED",
        ),
        ("d", &[("loss", f64::NAN)], &[], &[], "RUNNING"),
    ];
    let made = spec.iter().enumerate().map(|(index, (name, metrics, params, tags, status))| {
        let start = 1000 + index as i64;
        let new = NewRun {
            experiment_id: experiment.to_owned(),
            run_name: Some(format!("run-{name}")),
            start_time_ms: Some(start),
            tags: owned(tags),
            ..NewRun::default()
        };
        let run_id = store.create_run(&new).expect("made").run_id.to_string();
        let batch = Batch {
            metrics: metrics.iter().map(|(key, value)| metric(key, *value, 1, 0)).collect(),
            params: owned(params),
            tags: Vec::new(),
        };
        store.log_batch(&run_id, &batch).expect("logged");
        let status: RunStatus = status.parse().expect("a status");
        let end_time_ms = status.is_terminal().then_some(start + 1000);
        store.update_run(&run_id, &RunUpdate { status: Some(status), end_time_ms, run_name: None }).expect("updated");
        run_id
    });
    made.collect()
}

fn names(runs: &[Run]) -> String {
    runs.iter().map(|run| &run.name["run-".len()..]).collect()
}

#[test]
fn filters_select_runs_as_in_mlflow() {
    everywhere(|store| {
        let id = experiment(store, "filters", &[]);
        let runs = four_runs(store, &id);
        let run_id = |index: usize| runs[index].as_str();
        let in_list = format!("run_id IN ('{}', '{}')", run_id(0), run_id(2));
        let not_in = format!("attributes.run_id NOT IN ('{}', '{}')", run_id(0), run_id(2));
        let is = format!("attributes.run_id = '{}'", run_id(1));
        for (filter, want) in [
            ("", "abcd"),
            ("metrics.dice > 0.9", "ac"),
            ("metrics.dice <= 0.91", "ab"),
            ("metrics.dice != 0.95", "ab"),
            ("metrics.loss > -5", "ac"),
            ("metrics.dice > 0.9 AND metrics.loss < 0.2", "c"),
            ("metric.`dice` > 0.9 and params.lr = '0.1'", "ac"),
            ("metrics.nothing > 0", ""),
            ("params.model LIKE '%net'", "ab"),
            ("params.model ILIKE 'unet%'", "ac"),
            ("params.model LIKE 'unet%'", "a"),
            ("params.model = \"unet\"", "a"),
            ("params.view LIKE 's_gittal'", "a"),
            ("params.view IS NULL", "cd"),
            ("params.view IS NOT NULL", "ab"),
            ("params.nothing IS NULL", "abcd"),
            ("tags.team ILIKE 'spine'", "ab"),
            ("tags.`odd key!` = 'x'", "c"),
            ("tags.team IS NULL", "d"),
            ("tags.mlflow.runName = 'run-b'", "b"),
            ("status != 'FINISHED'", "cd"),
            ("attribute.status ILIKE 'fin%'", "ab"),
            ("attributes.`Run Name` = 'run-a'", "a"),
            ("attributes.start_time > 1001", "cd"),
            ("attributes.end_time >= 2001", "bc"),
            ("created > 1001", "cd"),
            (in_list.as_str(), "ac"),
            (not_in.as_str(), "bd"),
            (is.as_str(), "b"),
            ("metrics.dice > 0.5 AND tags.team ILIKE 'spine' AND status = 'FINISHED' AND params.view LIKE 'cor%'", "b"),
        ] {
            let found = store.search_runs(&search(&id, filter, &["start_time ASC"]));
            let found = found.unwrap_or_else(|error| panic!("{filter}: {error}"));
            assert_eq!(names(&found.items), want, "{filter}");
            let newest = store.search_runs(&search(&id, filter, &[])).expect("found");
            assert_eq!(names(&newest.items), want.chars().rev().collect::<String>(), "{filter}");
            let best = store.search_runs(&search(&id, filter, &["metrics.dice"])).expect("found");
            assert_eq!(best.items.len(), want.len(), "{filter}");
        }
        store.set_tag(run_id(0), "inj", "x'; DROP TABLE runs; --").expect("set");
        let found = store.search_runs(&search(&id, "tags.inj = \"x'; DROP TABLE runs; --\"", &[])).expect("found");
        assert_eq!(names(&found.items), "a");
    });
}

#[test]
fn orders_put_missing_values_last_and_nan_before_them() {
    everywhere(|store| {
        let id = experiment(store, "orders", &[]);
        four_runs(store, &id);
        let other = experiment(store, "elsewhere", &[]);
        for (order, want) in [
            (&["metrics.dice DESC"][..], "cabd"),
            (&["metrics.dice ASC"], "bacd"),
            (&["metric.`dice`"], "bacd"),
            (&["params.model ASC"], "cbad"),
            (&["params.model DESC"], "abcd"),
            (&["start_time DESC"], "dcba"),
            (&["attributes.end_time DESC"], "cbad"),
            (&["tags.mlflow.runName DESC"], "dcba"),
            (&["attributes.run_name ASC"], "abcd"),
            (&["params.lr DESC", "metrics.dice ASC"], "acbd"),
            (&["metrics.loss ASC"], "cadb"),
            (&["metrics.loss DESC"], "acdb"),
            (&["metrics.nothing DESC"], "dcba"),
        ] {
            let found = store.search_runs(&search(&id, "", order)).unwrap_or_else(|error| panic!("{order:?}: {error}"));
            assert_eq!(names(&found.items), want, "{order:?}");
            // Over two experiments the order is made another way.
            let both = RunSearch { experiment_ids: vec![id.clone(), other.clone()], ..search(&id, "", order) };
            assert_eq!(names(&store.search_runs(&both).expect("found").items), want, "{order:?}");
            for size in 1..=5 {
                let mut page = RunSearch { max_results: Some(size), ..search(&id, "", order) };
                let mut seen = String::new();
                loop {
                    let found = store.search_runs(&page).expect("found");
                    seen += &names(&found.items);
                    page.page_token = found.next_page_token;
                    if page.page_token.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, want, "{order:?} by {size}");
            }
        }
        for order in ["nonsense", "metrics.dice SIDEWAYS", "foo.bar", "attributes.nonsense ASC"] {
            assert_eq!(code(store.search_runs(&search(&id, "", &[order]))), ErrorCode::InvalidParameterValue);
        }
        for (max_results, token) in [(50_001, None), (-1, None), (5, Some("not a token"))] {
            let page_token = token.map(str::to_owned);
            let search = RunSearch { max_results: Some(max_results), page_token, ..search(&id, "", &[]) };
            assert_eq!(code(store.search_runs(&search)), ErrorCode::InvalidParameterValue);
        }
        assert!(store.search_runs(&search("99999999", "", &[])).expect("found").items.is_empty());
    });
}

#[test]
fn metric_filter_finds_the_same_runs_whether_few_or_many_meet_it() {
    const RUNS: i64 = 1_200;
    everywhere(|store| {
        let (id, other) = (experiment(store, "many", &[]), experiment(store, "other", &[]));
        for number in 0..RUNS {
            let new = NewRun { experiment_id: id.clone(), start_time_ms: Some(number), ..NewRun::default() };
            let run_id = store.create_run(&new).expect("made").run_id.to_string();
            let metrics = vec![metric("up", number as f64, 1, 0), metric("down", (RUNS - number) as f64, 1, 0)];
            store.log_batch(&run_id, &Batch { metrics, ..Batch::default() }).expect("logged");
        }
        store.log_metric(&run(store, &other), &metric("up", 5.0, 1, 0)).expect("logged");
        let found = |filter: &str, order: &[&str]| -> Vec<i64> {
            let search = RunSearch { max_results: Some(RUNS), ..search(&id, filter, order) };
            store.search_runs(&search).expect("found").items.iter().map(|run| run.start_time_ms).collect()
        };
        let last = |count: i64| (RUNS - count..RUNS).rev().collect::<Vec<_>>();
        assert_eq!(found("metrics.up >= 0", &[]), last(RUNS));
        assert_eq!(found("metrics.up >= 200", &[]), last(1_000));
        assert_eq!(found("metrics.up > 198", &[]), last(1_001));
        assert_eq!(found("metrics.up >= 1195", &[]), last(5));
        assert_eq!(found("metrics.up < 1198 AND metrics.down <= 4", &[]), [1197, 1196]);
        assert_eq!(found("metrics.up = 7 AND metrics.down > 0", &["metrics.down ASC"]), [7]);
        assert_eq!(found("metrics.up > 5000", &["start_time ASC"]), Vec::<i64>::new());
        assert_eq!(found("metrics.up != 3 AND metrics.up < 5", &["metrics.up DESC"]), [4, 2, 1, 0]);
    });
}

#[test]
fn newest_runs_are_paged_through_while_new_ones_begin() {
    everywhere(|store| {
        let id = experiment(store, "pages", &[]);
        let begin = |start: i64| {
            let new = NewRun { experiment_id: id.clone(), start_time_ms: Some(start), ..NewRun::default() };
            store.create_run(&new).expect("made").run_id
        };
        let mut made: Vec<_> = (0..20).map(|n| begin(n / 4)).collect();
        let mut page = RunSearch { max_results: Some(3), ..search(&id, "", &[]) };
        let mut seen = Vec::new();
        loop {
            let found = store.search_runs(&page).expect("found");
            seen.extend(found.items.into_iter().map(|run| run.run_id));
            begin(100);
            page.page_token = found.next_page_token;
            if page.page_token.is_none() {
                break;
            }
        }
        seen.sort();
        made.sort();
        assert_eq!(seen, made);
    });
}

#[test]
fn inputs_and_outputs_are_read_back_and_found() {
    everywhere(|store| {
        let id = experiment(store, "inputs", &[]);
        let run_id = run(store, &id);
        let input = |name: &str, digest: &str, context: Option<&str>| DatasetInput {
            dataset: Dataset {
                name: name.to_owned(),
                digest: digest.to_owned(),
                source_type: "local".to_owned(),
                source: "{}".to_owned(),
                schema: Some("{\"n\": 3}".to_owned()),
                profile: None,
            },
            tags: context.map(|context| ("mlflow.data.context".to_owned(), context.to_owned())).into_iter().collect(),
        };
        let lumbar = input("lumbar", "abc", Some("train"));
        store.log_inputs(&run_id, std::slice::from_ref(&lumbar), &["m-1".to_owned()]).expect("logged");
        for context in [None, Some("eval")] {
            store.log_inputs(&run_id, &[input("lumbar", "abc", context)], &[]).expect("logged again");
        }
        for (name, digest) in [("n".repeat(501), "d".to_owned()), ("n".to_owned(), "d".repeat(37))] {
            let refused = store.log_inputs(&run_id, &[input(&name, &digest, None)], &[]);
            assert_eq!(code(refused), ErrorCode::InvalidParameterValue);
        }
        let refused = store.log_inputs(&run_id, &[input("n", "d", Some(&"c".repeat(501)))], &[]);
        let refused = refused.expect_err("too long").to_string();
        assert_eq!(refused, "'value' exceeds the maximum length of 500 characters");
        store.log_outputs(&run_id, &[ModelOutput { model_id: "m-1".to_owned(), step: 1 }]).expect("logged");
        let other = run(store, &id);
        store.log_inputs(&other, &[input("thorax", "d2", Some("eval"))], &[]).expect("logged");
        let found = store.get_run(&run_id).expect("there").inputs_outputs;
        assert_eq!(found.datasets, [lumbar]);
        assert_eq!(found.model_inputs, ["m-1"]);
        assert_eq!(found.model_outputs, [ModelOutput { model_id: "m-1".to_owned(), step: 1 }]);
        for (filter, want) in [
            ("datasets.name = 'lumbar'", &run_id),
            ("dataset.digest = 'd2'", &other),
            ("datasets.context = 'train'", &run_id),
            ("datasets.name LIKE 'tho%'", &other),
            ("datasets.name IN ('thorax', 'x')", &other),
        ] {
            let found = store.search_runs(&search(&id, filter, &[])).expect("found");
            assert_eq!(found.items.iter().map(|run| run.run_id.as_str()).collect::<Vec<_>>(), [want], "{filter}");
        }
        let summaries = store.search_datasets(&[id]).expect("found");
        let summaries: Vec<_> = summaries.iter().map(|one| (one.name.as_str(), one.context.as_deref())).collect();
        assert_eq!(summaries, [("lumbar", Some("train")), ("thorax", Some("eval"))]);
        assert_eq!(code(store.log_inputs(&"0".repeat(32), &[], &[])), ErrorCode::ResourceDoesNotExist);
    });
}

#[test]
fn logged_models_are_made_measured_and_found() {
    everywhere(|store| {
        let id = experiment(store, "models", &[]);
        let run_id = run(store, &id);
        let new = NewLoggedModel {
            experiment_id: id.clone(),
            name: Some("detector".to_owned()),
            model_type: "onnx".to_owned(),
            source_run_id: Some(run_id.clone()),
            params: owned(&[("lr", "0.1")]),
            tags: owned(&[("a", "1")]),
        };
        let model = store.create_logged_model(&new).expect("made");
        assert_eq!(model.status, LoggedModelStatus::Pending);
        assert_eq!(model.artifact_uri, format!("mlflow-artifacts:/{id}/models/{}/artifacts", model.model_id));
        let ready = store.finalize_logged_model(&model.model_id, LoggedModelStatus::Ready).expect("set");
        assert_eq!(ready.status, LoggedModelStatus::Ready);
        store.set_logged_model_tags(&model.model_id, &owned(&[("b", "2"), ("a", "9")])).expect("set");
        store.delete_logged_model_tag(&model.model_id, "b").expect("removed");
        assert_eq!(code(store.delete_logged_model_tag(&model.model_id, "b")), ErrorCode::ResourceDoesNotExist);
        let on_model = LoggedMetric { model_id: Some(model.model_id.clone()), ..metric("map", 0.5, 7, 1) };
        store.log_metric(&run_id, &on_model).expect("logged");
        let found = store.logged_model(&model.model_id).expect("there");
        assert_eq!((found.metrics.len(), found.metrics[0].run_id.as_str()), (1, run_id.as_str()));
        assert_eq!(found.tags["a"], "9");

        let other = NewLoggedModel { name: Some("other".to_owned()), experiment_id: id.clone(), ..Default::default() };
        let other = store.create_logged_model(&other).expect("made");
        let found = |search: LoggedModelSearch| {
            let page = store.search_logged_models(&search).expect("found");
            page.items.into_iter().map(|model| model.name).collect::<Vec<_>>()
        };
        let all = LoggedModelSearch { experiment_ids: vec![id.clone()], ..LoggedModelSearch::default() };
        assert_eq!(found(all.clone()), ["other", "detector"]);
        for filter in ["name = 'detector'", "metrics.map > 0.4", "params.lr = '0.1'", "tags.a = '9'"] {
            let search = LoggedModelSearch { filter: filter.to_owned(), ..all.clone() };
            assert_eq!(found(search), ["detector"], "{filter}");
        }
        let order = |field: &str, ascending| LoggedModelOrder {
            field_name: field.to_owned(),
            ascending,
            dataset_name: None,
            dataset_digest: None,
        };
        for field in ["name", "metrics.map", "creation_timestamp"] {
            let search = LoggedModelSearch { order_by: vec![order(field, true)], ..all.clone() };
            assert_eq!(found(search)[0], "detector", "{field}");
        }
        let on_dataset = LoggedModelSearch { datasets: vec![("lumbar".to_owned(), None)], ..all.clone() };
        assert_eq!(found(on_dataset.clone()), Vec::<String>::new());
        let measured = LoggedMetric { dataset_name: Some("lumbar".to_owned()), ..on_model };
        store
            .log_metric(&run_id, &LoggedMetric { metric: Metric { step: 2, ..measured.metric.clone() }, ..measured })
            .expect("logged");
        assert_eq!(found(LoggedModelSearch { filter: "metrics.map > 0.4".to_owned(), ..on_dataset }), ["detector"]);
        let bad = LoggedModelSearch { filter: "nonsense".to_owned(), ..all.clone() };
        assert_eq!(code(store.search_logged_models(&bad)), ErrorCode::InvalidParameterValue);
        store.delete_logged_model(&other.model_id).expect("deleted");
        assert_eq!(found(all), ["detector"]);
        assert_eq!(code(store.logged_model(&other.model_id)), ErrorCode::ResourceDoesNotExist);
    });
}

#[test]
fn registry_keeps_versions_aliases_stages_and_tags() {
    everywhere(|store| {
        let run_id = run(store, "0");
        let source = format!("{}/model", store.get_run(&run_id).expect("there").artifact_uri);
        store.create_registered_model("spine", Some("first"), &owned(&[("organ", "spine")])).expect("made");
        assert_eq!(code(store.create_registered_model("spine", None, &[])), ErrorCode::ResourceAlreadyExists);
        assert_eq!(code(store.create_registered_model("a/b", None, &[])), ErrorCode::InvalidParameterValue);
        assert_eq!(code(store.registered_model("nope")), ErrorCode::ResourceDoesNotExist);
        let new = NewModelVersion {
            name: "spine".to_owned(),
            source: source.clone(),
            run_id: Some(run_id.clone()),
            tags: owned(&[("acc", "0.9")]),
            ..NewModelVersion::default()
        };
        for version in 1..=3 {
            assert_eq!(store.create_model_version(&new).expect("made").version, version);
        }
        for (source, run_id) in
            [(source.as_str(), None), ("/etc/passwd", None), ("mlflow-artifacts:/a/../../etc", None)]
        {
            let new = NewModelVersion { source: source.to_owned(), run_id, ..new.clone() };
            assert_eq!(code(store.create_model_version(&new)), ErrorCode::InvalidParameterValue, "{source}");
        }
        let of_another_server =
            NewModelVersion { name: "elsewhere".to_owned(), source: "runs:/abc/model".to_owned(), ..new.clone() };
        let of_another_server = NewModelVersion { run_id: Some("abc".to_owned()), ..of_another_server };
        store.create_registered_model("elsewhere", None, &[]).expect("made");
        assert_eq!(store.create_model_version(&of_another_server).expect("made").run_id, "abc");
        store.delete_registered_model("elsewhere").expect("deleted");
        assert_eq!(code(store.model_version("spine", "99")), ErrorCode::ResourceDoesNotExist);
        assert_eq!(code(store.model_version("spine", "abc")), ErrorCode::InvalidParameterValue);
        assert_eq!(store.model_version_download_uri("spine", "1").expect("there"), source);
        store.update_model_version("spine", "1", Some("changed")).expect("updated");
        store.set_model_version_tag("spine", "1", "reader", "A").expect("set");
        let first = store.model_version("spine", "1").expect("there");
        assert_eq!((first.description.as_str(), first.tags["reader"].as_str()), ("changed", "A"));
        store.delete_model_version_tag("spine", "1", "reader").expect("removed");
        store.delete_model_version_tag("spine", "1", "reader").expect("quiet");

        store.set_registered_model_alias("spine", "champion", "1").expect("set");
        store.set_registered_model_alias("spine", "champion", "2").expect("moved");
        assert_eq!(store.model_version_by_alias("spine", "champion").expect("there").aliases, ["champion"]);
        assert_eq!(store.registered_model("spine").expect("there").aliases["champion"], 2);
        for alias in ["latest", "v1", "", "a b"] {
            let outcome = store.set_registered_model_alias("spine", alias, "1");
            assert_eq!(code(outcome), ErrorCode::InvalidParameterValue, "{alias}");
        }
        assert_eq!(code(store.set_registered_model_alias("spine", "x", "99")), ErrorCode::ResourceDoesNotExist);

        let moved = |version: &str, stage: Stage, archive: bool| {
            store.transition_model_version_stage("spine", version, stage, archive).expect("moved").current_stage
        };
        assert_eq!(moved("1", Stage::Production, false), Stage::Production);
        assert_eq!(moved("2", Stage::Production, true), Stage::Production);
        assert_eq!(store.model_version("spine", "1").expect("there").current_stage, Stage::Archived);
        let latest = store.latest_versions("spine", &[]).expect("there");
        let latest: Vec<_> = latest.iter().map(|one| (one.current_stage, one.version)).collect();
        assert_eq!(latest, [(Stage::Archived, 1), (Stage::Production, 2), (Stage::None, 3)]);
        assert_eq!(store.latest_versions("spine", &["production".to_owned()]).expect("there").len(), 1);
        assert_eq!(code(store.latest_versions("spine", &["x".to_owned()])), ErrorCode::InvalidParameterValue);

        let copy = NewModelVersion { source: "models:/spine/1".to_owned(), run_id: None, ..new.clone() };
        assert_eq!(store.create_model_version(&copy).expect("copied").storage_location, source);
        store.delete_model_version("spine", "4").expect("deleted");
        assert_eq!(store.create_model_version(&new).expect("made").version, 5);
        let found = |filter: &str, order: &str| {
            let order_by = Some(order.to_owned()).filter(|order| !order.is_empty()).into_iter().collect();
            let search = Search { filter: filter.to_owned(), order_by, ..Search::default() };
            let page = store.search_model_versions(&search).unwrap_or_else(|error| panic!("{filter}: {error}"));
            page.items.iter().map(|one| one.version.to_string()).collect::<String>()
        };
        assert_eq!(found("name = 'spine'", "version_number ASC"), "1235");
        assert_eq!(found("name = 'spine'", ""), "5321");
        assert_eq!(found("name = 'spine' and version_number > 2", ""), "53");
        assert_eq!(found(&format!("source_path = '{source}' AND run_id = '{run_id}'"), ""), "5321");
        assert_eq!(found("name ILIKE 'SP%' AND tags.acc = '0.9'", "name DESC"), "5321");
        let bad = Search { filter: "nonsense = 'x'".to_owned(), ..Search::default() };
        assert_eq!(code(store.search_model_versions(&bad)), ErrorCode::InvalidParameterValue);

        store.create_registered_model("thorax", None, &[]).expect("made");
        store.set_registered_model_tag("thorax", "grp", "g").expect("set");
        store.set_registered_model_tag("spine", "grp", "g").expect("set");
        let models = |filter: &str, order: &[&str]| {
            let order_by = order.iter().map(|clause| (*clause).to_owned()).collect();
            let search = Search { filter: filter.to_owned(), order_by, ..Search::default() };
            let page = store.search_registered_models(&search).expect("found");
            page.items.into_iter().map(|model| model.name).collect::<Vec<_>>()
        };
        assert_eq!(models("tags.grp = 'g'", &[]), ["spine", "thorax"]);
        assert_eq!(models("tags.grp = 'g' AND tags.organ = 'spine'", &[]), ["spine"]);
        assert_eq!(models("name LIKE '%'", &["name DESC"]), ["thorax", "spine"]);
        assert_eq!(models("", &["last_updated_timestamp DESC"]).len(), 2);
        store.create_registered_model("prompt", None, &owned(&[("mlflow.prompt.is_prompt", "true")])).expect("made");
        assert_eq!(models("", &[]), ["spine", "thorax"]);
        assert_eq!(models("tag.`mlflow.prompt.is_prompt` != 'true'", &[]), ["spine", "thorax"]);
        assert_eq!(models("tag.`mlflow.prompt.is_prompt` = 'true'", &[]), ["prompt"]);
        assert_eq!(found("name = 'spine' AND tag.`mlflow.prompt.is_prompt` = 'false'", ""), "5321");
        store.rename_registered_model("spine", "lumbar").expect("renamed");
        assert_eq!(found("name = 'lumbar'", "version_number ASC"), "1235");
        assert_eq!(code(store.rename_registered_model("lumbar", "thorax")), ErrorCode::ResourceAlreadyExists);
        store.delete_registered_model("lumbar").expect("deleted");
        assert_eq!(found("name = 'lumbar'", ""), "");
        assert_eq!(code(store.delete_registered_model("lumbar")), ErrorCode::ResourceDoesNotExist);
    });
}

#[test]
fn writes_of_many_threads_are_all_there_and_refused_ones_take_no_other_along() {
    everywhere(|store| {
        let id = experiment(store, "threads", &[]);
        let run_id = run(store, &id);
        store.log_param(&run_id, "taken", "1").expect("set");
        store.create_registered_model("race", None, &[]).expect("made");
        let uri = store.get_run(&run_id).expect("there").artifact_uri;
        std::thread::scope(|scope| {
            for thread in 0..8_i64 {
                let (run_id, id, uri) = (&run_id, &id, &uri);
                scope.spawn(move || {
                    for n in 0..12 {
                        let at = thread * 12 + n;
                        store.log_metric(run_id, &metric("m", at as f64, at, at)).expect("logged");
                        assert_eq!(code(store.log_param(run_id, "taken", "2")), ErrorCode::InvalidParameterValue);
                        store.log_param(run_id, &format!("p{at}"), "x").expect("logged");
                        run(store, id);
                    }
                    let version = NewModelVersion {
                        name: "race".to_owned(),
                        source: uri.clone(),
                        run_id: Some(run_id.clone()),
                        ..NewModelVersion::default()
                    };
                    store.create_model_version(&version).expect("made");
                });
            }
        });
        let found = store.get_run(&run_id).expect("there");
        assert_eq!((found.params.len(), found.metric("m")), (97, Some(95.0)));
        assert_eq!(store.metric_history_page(&run_id, "m", None, None).expect("read").items.len(), 96);
        assert_eq!(store.search_runs(&search(&id, "", &[])).expect("found").items.len(), 97);
        let versions = store.search_model_versions(&Search::default()).expect("found").items;
        assert_eq!(versions.iter().map(|one| one.version).collect::<BTreeSet<_>>(), (1..=8).collect());
    });
}

#[test]
fn what_was_deleted_long_ago_is_purged_with_all_that_belongs_to_it() {
    everywhere(|store| {
        let (kept, gone) = (experiment(store, "kept", &[]), experiment(store, "gone", &[("a", "b")]));
        let (alive, dead, within) = (run(store, &kept), run(store, &kept), run(store, &gone));
        for run_id in [&alive, &dead, &within] {
            let batch = Batch {
                metrics: vec![metric("m", 1.0, 1, 1)],
                params: owned(&[("p", "1")]),
                tags: owned(&[("t", "1")]),
            };
            store.log_batch(run_id, &batch).expect("logged");
        }
        store.delete_run(&dead).expect("deleted");
        store.delete_experiment(&gone).expect("deleted");
        let hour = std::time::Duration::from_secs(3600);
        assert_eq!(store.purge_deleted(hour).expect("purged"), mlpipe_tracking::Purged::default());
        let purged = store.purge_deleted(std::time::Duration::ZERO).expect("purged");
        assert_eq!((purged.experiments, purged.runs), (1, 2));
        assert_eq!(code(store.get_run(&dead)), ErrorCode::ResourceDoesNotExist);
        assert_eq!(code(store.experiment(&gone)), ErrorCode::ResourceDoesNotExist);
        assert_eq!(store.get_run(&alive).expect("there").params["p"], "1");
    });
}

#[test]
fn documents_are_kept_by_kind_and_key() {
    everywhere(|store| {
        assert!(store.add_document("user", "b", "1").expect("added"));
        assert!(!store.add_document("user", "b", "2").expect("there already"));
        store.put_document("user", "a", "3").expect("put");
        store.put_document("webhook", "a", "4").expect("put");
        let users = store.documents("user").expect("read");
        assert_eq!(users, owned(&[("a", "3"), ("b", "1")]));
        assert!(store.delete_document("user", "a").expect("removed"));
        assert!(!store.delete_document("user", "a").expect("gone"));
        assert_eq!(store.document("webhook", "a").expect("read").as_deref(), Some("4"));
    });
}
