//! Tests of the store.

use super::*;
use crate::{RunStatus, tags};

struct Fixture {
    directory: tempfile::TempDir,
    store: Store,
    experiment: Experiment,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let store = Store::open(&directory.path().join("store.db")).expect("opened");
        let experiment = store.ensure_experiment("test", "artifacts/").expect("made");
        Self { directory, store, experiment }
    }

    fn create(&self, run_id: &RunId) -> Record {
        self.create_with(run_id, 1_000, &[], &[])
    }

    fn create_with(
        &self,
        run_id: &RunId,
        start_time_ms: i64,
        tags: &[(&str, &str)],
        params: &[(&str, &str)],
    ) -> Record {
        Record::CreateRun {
            run_id: run_id.clone(),
            experiment_id: self.experiment.experiment_id.clone(),
            name: "run".to_owned(),
            start_time_ms,
            end_time_ms: None,
            status: RunStatus::Running,
            artifact_uri: format!("artifacts/1/{run_id}/artifacts"),
            tags: owned(tags),
            params: owned(params),
        }
    }

    fn new_run(&self) -> RunId {
        let run_id = RunId::random();
        self.store.apply(&[self.create(&run_id)]).expect("applied");
        run_id
    }

    fn run(&self, run_id: &RunId) -> Run {
        self.store.run(run_id).expect("read").expect("there")
    }

    fn found(&self, query: &RunQuery) -> Vec<RunId> {
        self.store.runs(query).expect("read").into_iter().map(|run| run.run_id).collect()
    }
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn id(first_digits: &str) -> RunId {
    format!("{first_digits:0<32}").parse().expect("hexadecimal digits")
}

fn params_record(run_id: &RunId, pairs: &[(&str, &str)]) -> Record {
    Record::Params { run_id: run_id.clone(), params: owned(pairs) }
}

fn tags_record(run_id: &RunId, pairs: &[(&str, &str)]) -> Record {
    Record::Tags { run_id: run_id.clone(), tags: owned(pairs) }
}

fn metric_record(run_id: &RunId, values: &[(f64, i64, i64)]) -> Record {
    let metrics =
        values.iter().map(|&(value, timestamp_ms, step)| Metric { key: "loss".to_owned(), value, timestamp_ms, step });
    Record::Metrics { run_id: run_id.clone(), metrics: metrics.collect() }
}

#[test]
fn run_comes_back_as_it_was_recorded() {
    let fixture = Fixture::new();
    let (run_id, parent) = (RunId::random(), RunId::random());
    let records = [
        fixture.create_with(&run_id, 5, &[(tags::PARENT_RUN_ID, parent.as_str())], &[("threshold", "0.5")]),
        metric_record(&run_id, &[(0.25, 7, 0)]),
        Record::UpdateRun { run_id: run_id.clone(), status: RunStatus::Finished, end_time_ms: Some(9) },
    ];
    fixture.store.apply(&records).expect("applied");
    let expected = Run {
        run_id: run_id.clone(),
        name: "run".to_owned(),
        experiment_id: "1".to_owned(),
        status: RunStatus::Finished,
        start_time_ms: 5,
        end_time_ms: Some(9),
        artifact_uri: format!("artifacts/1/{run_id}/artifacts"),
        lifecycle_stage: LifecycleStage::Active,
        params: owned(&[("threshold", "0.5")]).into_iter().collect(),
        tags: owned(&[(tags::PARENT_RUN_ID, parent.as_str()), (tags::RUN_NAME, "run")]).into_iter().collect(),
        user_id: String::new(),
        inputs_outputs: crate::RunInputsOutputs::default(),
        metrics: vec![Metric { key: "loss".to_owned(), value: 0.25, timestamp_ms: 7, step: 0 }],
    };
    let run = fixture.run(&run_id);
    assert_eq!(run, expected);
    assert_eq!((run.parent_run_id(), run.metric("loss"), run.metric("x")), (Some(parent), Some(0.25), None));
    assert_eq!(fixture.store.run(&RunId::random()).expect("read"), None);
}

#[test]
fn replay_changes_nothing() {
    let fixture = Fixture::new();
    let run_id = RunId::random();
    let records = [
        fixture.create_with(&run_id, 5, &[("tag", "a")], &[("p", "1")]),
        tags_record(&run_id, &[("tag", "b"), (tags::RUN_NAME, "renamed")]),
        metric_record(&run_id, &[(1.0, 1, 1), (2.0, 2, 2)]),
        Record::UpdateRun { run_id: run_id.clone(), status: RunStatus::Failed, end_time_ms: Some(9) },
    ];
    fixture.store.apply(&records).expect("applied");
    let before = fixture.run(&run_id);
    fixture.store.apply(&records).expect("applied again");
    assert_eq!(fixture.run(&run_id), before);
    assert_eq!(fixture.store.metric_history(&run_id, "loss").expect("read").len(), 2);
    fixture.store.apply(&records[..1]).expect("applied again");
    assert_eq!(fixture.run(&run_id).status, RunStatus::Failed);
}

#[test]
fn param_cannot_change_but_may_be_set_to_the_same_value_again() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    fixture.store.apply(&[params_record(&run_id, &[("lr", "0.1"), ("lr", "0.1")])]).expect("applied");
    let error = fixture.store.apply(&[params_record(&run_id, &[("lr", "0.2")])]).expect_err("refused");
    assert_eq!(error.to_string(), format!("run {run_id}: param `lr` is `0.1` and cannot become `0.2`"));
}

#[test]
fn refused_record_takes_the_whole_batch_along() {
    let fixture = Fixture::new();
    let (first, second) = (fixture.new_run(), RunId::random());
    let records =
        [fixture.create(&second), params_record(&first, &[("a", "1")]), params_record(&RunId::random(), &[("a", "1")])];
    assert!(matches!(fixture.store.apply(&records), Err(Error::RunNotFound { .. })));
    assert!(fixture.store.run(&second).expect("read").is_none());
    assert!(fixture.run(&first).params.is_empty());
    fixture.store.apply(&records[..2]).expect("nothing of it is left behind");
}

#[test]
fn latest_metric_has_the_greatest_step_then_timestamp_then_value_whatever_the_order() {
    let history = [(9.0, 1, 1), (1.0, 5, 2), (2.0, 4, 2), (0.5, 5, 2), (f64::NAN, 5, 2)];
    for rotation in 0..history.len() {
        let fixture = Fixture::new();
        let run_id = fixture.new_run();
        let mut values = history;
        values.rotate_left(rotation);
        fixture.store.apply(&[metric_record(&run_id, &values)]).expect("applied");
        assert_eq!(fixture.run(&run_id).metric("loss"), Some(1.0), "rotated by {rotation}");
        assert_eq!(fixture.store.metric_history(&run_id, "loss").expect("read").len(), history.len());
    }
}

#[test]
fn every_double_is_stored_faithfully() {
    let fixture = Fixture::new();
    let values =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, 5e-324, 0.1 + 0.2, -1e300, 3.0];
    for value in values {
        let run_id = fixture.new_run();
        fixture.store.apply(&[metric_record(&run_id, &[(value, 1, i64::MIN)])]).expect("applied");
        let latest = fixture.run(&run_id).metric("loss").expect("there");
        let history = fixture.store.metric_history(&run_id, "loss").expect("read");
        assert!([latest, history[0].value].iter().all(|found| found.to_bits() == value.to_bits()), "{value}: {latest}");
        assert_eq!(history[0].step, i64::MIN);
    }
}

#[test]
fn run_that_is_not_over_has_no_end() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    let update = |status, end_time_ms| {
        let record = Record::UpdateRun { run_id: run_id.clone(), status, end_time_ms };
        fixture.store.apply(&[record]).expect("applied");
        fixture.run(&run_id).end_time_ms
    };
    assert_eq!(update(RunStatus::Failed, Some(9)), Some(9));
    assert_eq!(update(RunStatus::Killed, None), Some(9));
    assert_eq!(update(RunStatus::Running, None), None);
}

#[test]
fn run_name_and_its_tag_stay_equal() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    assert_eq!(fixture.run(&run_id).tags[tags::RUN_NAME], "run");
    fixture.store.apply(&[tags_record(&run_id, &[(tags::RUN_NAME, "other")])]).expect("applied");
    let run = fixture.run(&run_id);
    assert_eq!((run.name.as_str(), run.tags[tags::RUN_NAME].as_str()), ("other", "other"));
}

#[test]
fn keys_are_checked_and_long_values_cut() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    let long_key = "k".repeat(crate::MAX_KEY_CHARS + 1);
    let bad = [
        params_record(&run_id, &[(&long_key, "1")]),
        tags_record(&run_id, &[("a\nb", "1")]),
        Record::Metrics {
            run_id: run_id.clone(),
            metrics: vec![Metric { key: String::new(), value: 0.0, timestamp_ms: 0, step: 0 }],
        },
    ];
    for record in bad {
        assert!(matches!(fixture.store.apply(&[record]), Err(Error::InvalidKey { .. })));
    }
    let long = "v".repeat(9_000);
    let records = [params_record(&run_id, &[("p", &long)]), tags_record(&run_id, &[("t", &long)])];
    fixture.store.apply(&records).expect("applied");
    fixture.store.apply(&records).expect("the same value again, also when it was cut");
    let run = fixture.run(&run_id);
    assert_eq!((run.params["p"].len(), run.tags["t"].len()), (6_000, 8_000));
}

#[test]
fn runs_are_newest_first_and_meet_every_condition() {
    let fixture = Fixture::new();
    let (parent, old, new, other) = (id("aa"), id("ab"), id("ac"), id("ad"));
    let child_of_parent = [(tags::PARENT_RUN_ID, parent.as_str())];
    let records = [
        fixture.create_with(&parent, 10, &[], &[]),
        fixture.create_with(&old, 20, &child_of_parent, &[]),
        fixture.create_with(&new, 30, &child_of_parent, &[]),
        fixture.create_with(&other, 30, &[], &[]),
        Record::UpdateRun { run_id: old.clone(), status: RunStatus::Finished, end_time_ms: Some(40) },
    ];
    fixture.store.apply(&records).expect("applied");
    let all = RunQuery::default();
    assert_eq!(fixture.found(&all), [other.clone(), new.clone(), old.clone(), parent.clone()]);
    assert_eq!(fixture.found(&RunQuery { limit: 2, ..all.clone() }), [other.clone(), new.clone()]);
    assert_eq!(fixture.found(&RunQuery { parent: Some(parent.clone()), ..all.clone() }), [new, old.clone()]);
    assert_eq!(fixture.found(&RunQuery { top_level_only: true, ..all.clone() }), [other, parent.clone()]);
    let finished = RunQuery { status: Some(RunStatus::Finished), ..all.clone() };
    assert_eq!(fixture.found(&finished), [old]);
    assert_eq!(fixture.found(&RunQuery { parent: Some(parent), top_level_only: true, ..finished }), []);
}

#[test]
fn run_becomes_a_part_by_a_later_tag() {
    let fixture = Fixture::new();
    let (parent, run_id) = (fixture.new_run(), fixture.new_run());
    fixture.store.apply(&[tags_record(&run_id, &[(tags::PARENT_RUN_ID, parent.as_str())])]).expect("applied");
    assert_eq!(fixture.found(&RunQuery { parent: Some(parent.clone()), ..RunQuery::default() }), [run_id]);
    assert_eq!(fixture.found(&RunQuery { top_level_only: true, ..RunQuery::default() }), [parent]);
}

#[test]
fn experiment_is_named_or_numbered_and_a_name_goes_first() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    let in_experiment = |experiment: &str| {
        fixture
            .store
            .runs(&RunQuery { experiment: Some(experiment.to_owned()), ..RunQuery::default() })
            .map(|runs| runs.len())
    };
    assert_eq!(in_experiment("test").expect("read"), 1);
    assert_eq!(in_experiment("1").expect("read"), 1);
    fixture.store.ensure_experiment("1", "artifacts").expect("made");
    assert_eq!(in_experiment("1").expect("read"), 0);
    assert!(matches!(in_experiment("tset"), Err(Error::ExperimentNotFound { .. })));

    let Record::CreateRun { name, start_time_ms, status, artifact_uri, tags, params, .. } = fixture.create(&run_id)
    else {
        unreachable!("made by create");
    };
    let elsewhere = |experiment_id: &str| Record::CreateRun {
        run_id: run_id.clone(),
        experiment_id: experiment_id.to_owned(),
        name: name.clone(),
        start_time_ms,
        end_time_ms: None,
        status,
        artifact_uri: artifact_uri.clone(),
        tags: tags.clone(),
        params: params.clone(),
    };
    assert!(matches!(fixture.store.apply(&[elsewhere("2")]), Err(Error::RunExists { .. })));
    for missing in ["3", "test", ""] {
        assert!(matches!(fixture.store.apply(&[elsewhere(missing)]), Err(Error::ExperimentNotFound { .. })));
    }
}

#[test]
fn experiment_is_made_once_and_default_has_number_zero() {
    let fixture = Fixture::new();
    let again = fixture.store.ensure_experiment("test", "elsewhere").expect("found");
    assert_eq!(again, fixture.experiment);
    assert_eq!((again.experiment_id.as_str(), again.artifact_location.as_str()), ("1", "artifacts/1"));
    assert_eq!(fixture.store.ensure_experiment("Default", "a").expect("made").experiment_id, "0");
    assert_eq!(fixture.store.ensure_experiment("other", "a").expect("made").experiment_id, "2");
    let names: Vec<_> =
        fixture.store.experiments().expect("read").into_iter().map(|experiment| experiment.name).collect();
    assert_eq!(names, ["Default", "test", "other"]);
}

#[test]
fn run_is_found_by_the_first_digits_of_its_id() {
    let fixture = Fixture::new();
    for digits in ["abc1", "abc2", "f"] {
        fixture.store.apply(&[fixture.create(&id(digits))]).expect("applied");
    }
    assert_eq!(fixture.store.find_run("abc1").expect("found").run_id, id("abc1"));
    assert_eq!(fixture.store.find_run("f").expect("found").run_id, id("f"));
    assert_eq!(fixture.store.find_run(id("abc2").as_str()).expect("found").run_id, id("abc2"));
    let ambiguous = fixture.store.find_run("abc").expect_err("refused");
    assert!(matches!(&ambiguous, Error::RunAmbiguous { candidates, .. } if candidates.len() == 2), "{ambiguous}");
    for prefix in ["", "abcd", "ABC1", "%", &format!("{}0", id("f"))] {
        assert!(matches!(fixture.store.find_run(prefix), Err(Error::RunNotFound { .. })), "{prefix}");
    }
}

#[test]
fn deleted_run_is_hidden_and_not_written_to() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    fixture.store.delete_run(run_id.as_str()).expect("deleted");
    assert!(fixture.found(&RunQuery::default()).is_empty());
    assert_eq!(fixture.run(&run_id).lifecycle_stage, LifecycleStage::Deleted);
    assert!(matches!(fixture.store.apply(&[tags_record(&run_id, &[("a", "b")])]), Err(Error::RunDeleted { .. })));
    fixture.store.delete_experiment("1").expect("deleted");
    assert!(matches!(fixture.store.ensure_experiment("test", "a"), Err(Error::ExperimentDeleted { .. })));
}

#[test]
fn several_stores_on_one_file_wait_for_each_other() {
    let fixture = Fixture::new();
    let path = fixture.directory.path().join("store.db");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..25 {
                    // Opened and closed each time: the last one to close removes the log under the others' eyes.
                    let store = Store::open(&path).expect("opened");
                    store.ensure_experiment("shared", "artifacts").expect("made or found");
                    let run_id = RunId::random();
                    store.apply(&[fixture.create(&run_id)]).expect("applied");
                    store.apply(&[metric_record(&run_id, &[(1.0, 1, 1)])]).expect("applied");
                    assert_eq!(store.run(&run_id).expect("read").expect("there").metrics.len(), 1);
                }
            });
        }
    });
    assert_eq!(fixture.found(&RunQuery::default()).len(), 100);
    assert_eq!(fixture.store.experiments().expect("read").len(), 2);
}

#[test]
fn store_can_be_read_while_a_transaction_is_open() {
    let fixture = Fixture::new();
    let run_id = fixture.new_run();
    let other = Store::open(fixture.store.path()).expect("opened");
    let mut connection = other.connect(Purpose::Write).expect("connected");
    connection.run("BEGIN IMMEDIATE; UPDATE runs SET name = 'changed'").expect("changed");
    assert_eq!(fixture.run(&run_id).name, "run");
    connection.run("COMMIT").expect("committed");
    assert_eq!(fixture.run(&run_id).name, "changed");
}
