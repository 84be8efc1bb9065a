//! What a stretch of a spool asks of the server: runs to be made first, then everything else, with as few calls as possible.
//!
//! Runs do not depend on each other, but for a parent that must exist before its parts. What is logged for one run is put
//! together until that run gets a status.

use std::collections::HashMap;
use std::path::PathBuf;

use super::entry::Entry;
use crate::rest::DatasetInput;
use crate::{Metric, Record, RunId, RunStatus};

/// A run to be made.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Creation {
    pub(super) run_id: RunId,
    pub(super) name: String,
    pub(super) start_time_ms: i64,
    pub(super) tags: Vec<(String, String)>,
}

/// One call, or several of one kind.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    Log {
        run_id: RunId,
        metrics: Vec<Metric>,
        params: Vec<(String, String)>,
        tags: Vec<(String, String)>,
    },
    Inputs {
        run_id: RunId,
        inputs: Vec<DatasetInput>,
    },
    Update {
        run_id: RunId,
        status: RunStatus,
        end_time_ms: Option<i64>,
    },
    /// Files to be sent; `at` is where the line begins.
    Upload {
        at: u64,
        run_id: RunId,
        directory: PathBuf,
        paths: Vec<String>,
    },
}

/// What is to be done, in order: all of the creations, then the actions.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Actions {
    pub(super) creations: Vec<Creation>,
    pub(super) actions: Vec<Action>,
    /// Where the open `Log` of a run stands.
    open: HashMap<RunId, usize>,
}

impl Actions {
    pub(super) fn of(entries: Vec<(u64, Entry)>) -> Self {
        let mut all = Self::default();
        for (at, entry) in entries {
            match entry {
                Entry::Began { .. } => {}
                Entry::Record { record } => all.record(record),
                Entry::Artifacts { run_id, directory, paths } => {
                    all.actions.push(Action::Upload { at, run_id, directory, paths });
                }
            }
        }
        all
    }

    fn record(&mut self, record: Record) {
        match record {
            Record::CreateRun { run_id, name, start_time_ms, end_time_ms, status, tags, params, .. } => {
                self.creations.push(Creation { run_id: run_id.clone(), name, start_time_ms, tags });
                self.log(&run_id, Vec::new(), params, Vec::new());
                // A new run is RUNNING on every server.
                if status != RunStatus::Running {
                    self.update(run_id, status, end_time_ms);
                }
            }
            Record::UpdateRun { run_id, status, end_time_ms } => self.update(run_id, status, end_time_ms),
            Record::Params { run_id, params } => self.log(&run_id, Vec::new(), params, Vec::new()),
            Record::Metrics { run_id, metrics } => self.log(&run_id, metrics, Vec::new(), Vec::new()),
            Record::Inputs { run_id, datasets } => {
                let inputs = datasets.iter().map(DatasetInput::from).collect();
                self.actions.push(Action::Inputs { run_id, inputs });
            }
            Record::Tags { run_id, tags } => self.log(&run_id, Vec::new(), Vec::new(), tags),
        }
    }

    fn update(&mut self, run_id: RunId, status: RunStatus, end_time_ms: Option<i64>) {
        self.open.remove(&run_id);
        self.actions.push(Action::Update { run_id, status, end_time_ms });
    }

    fn log(
        &mut self,
        run_id: &RunId,
        new_metrics: Vec<Metric>,
        new_params: Vec<(String, String)>,
        new_tags: Vec<(String, String)>,
    ) {
        if new_metrics.is_empty() && new_params.is_empty() && new_tags.is_empty() {
            return;
        }
        let position = *self.open.entry(run_id.clone()).or_insert_with(|| {
            let run_id = run_id.clone();
            self.actions.push(Action::Log { run_id, metrics: Vec::new(), params: Vec::new(), tags: Vec::new() });
            self.actions.len() - 1
        });
        let Action::Log { metrics, params, tags, .. } = &mut self.actions[position] else {
            unreachable!("`open` has positions of logs only");
        };
        metrics.extend(new_metrics);
        new_params.into_iter().for_each(|pair| put(params, pair));
        new_tags.into_iter().for_each(|pair| put(tags, pair));
    }
}

/// Keys are unique in a batch; the last value counts.
fn put(pairs: &mut Vec<(String, String)>, (key, value): (String, String)) {
    match pairs.iter_mut().find(|(known, _)| *known == key) {
        Some(pair) => pair.1 = value,
        None => pairs.push((key, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(run_id: &RunId) -> Record {
        Record::CreateRun {
            run_id: run_id.clone(),
            experiment_id: "1".into(),
            name: "n".into(),
            start_time_ms: 1,
            end_time_ms: None,
            status: RunStatus::Running,
            artifact_uri: String::new(),
            tags: Vec::new(),
            params: vec![("p".into(), "1".into())],
        }
    }

    fn tags(run_id: &RunId, value: &str) -> Record {
        Record::Tags { run_id: run_id.clone(), tags: vec![("t".into(), value.into())] }
    }

    #[test]
    fn what_is_logged_for_a_run_is_one_call_until_it_gets_a_status() {
        let (a, b) = (RunId::random(), RunId::random());
        let end = Record::UpdateRun { run_id: a.clone(), status: RunStatus::Finished, end_time_ms: Some(2) };
        let records = [create(&a), create(&b), tags(&a, "1"), tags(&a, "2"), end, tags(&a, "3")];
        let entries = (0..).zip(records.into_iter().map(|record| Entry::Record { record })).collect();
        let actions = Actions::of(entries);
        assert_eq!(actions.creations.iter().map(|creation| &creation.run_id).collect::<Vec<_>>(), [&a, &b]);
        let pair = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
        let log =
            |run_id: &RunId, params, tags| Action::Log { run_id: run_id.clone(), metrics: Vec::new(), params, tags };
        assert_eq!(
            actions.actions,
            [
                log(&a, pair("p", "1"), pair("t", "2")),
                log(&b, pair("p", "1"), Vec::new()),
                Action::Update { run_id: a.clone(), status: RunStatus::Finished, end_time_ms: Some(2) },
                log(&a, Vec::new(), pair("t", "3")),
            ]
        );
    }
}
