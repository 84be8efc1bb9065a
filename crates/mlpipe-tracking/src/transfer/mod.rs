//! Copies experiments, runs with their histories and artifacts, and registered models between a store and a tracking server.
//!
//! A copy has a tag that names its origin, so that copying again copies what is new or has changed, and one that was cut off
//! goes on. What cannot be copied is told of and left out: it is counted in [`Copied::left_out`].

mod export;
mod import;

use std::collections::HashMap;

pub use export::export;
pub use import::import;

use crate::{Error, Experiment, LifecycleStage, Run, RunSearch, RunStatus, Store, ViewType};

/// Runs per page.
const PAGE: i64 = 1000;

/// How much was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Copied {
    /// Experiments looked at.
    pub experiments: usize,
    /// Runs that were copied, anew or because they had changed.
    pub runs: usize,
    /// Runs that were there.
    pub runs_there: usize,
    /// Files.
    pub files: usize,
    /// Versions of models that were copied.
    pub model_versions: usize,
    /// Runs and versions that could not be copied.
    pub left_out: usize,
}

/// Hears how a copy gets on; called after every run.
pub type Progress<'a> = &'a mut dyn FnMut(&Copied);

/// What the tag of a copied run says: it is copied again when that is not true any more.
fn state_of(status: RunStatus, end_time_ms: Option<i64>) -> String {
    format!("{status} {}", end_time_ms.unwrap_or(0))
}

/// Tells of something that is left out, unless the whole server or store is away.
fn leave_out(what: &str, error: Error, copied: &mut Copied) -> Result<(), Error> {
    if error.is_server_unavailable() || error.is_store_unavailable() {
        return Err(error);
    }
    tracing::warn!("{what} is left out: {error}");
    copied.left_out += 1;
    Ok(())
}

/// The experiments in use, or the one of this name.
fn experiments_of(store: &Store, name: Option<&str>) -> Result<Vec<Experiment>, Error> {
    let mut all = store.experiments()?;
    all.retain(|experiment| name.is_none_or(|name| name == experiment.name));
    match name {
        Some(name) if all.is_empty() => Err(Error::ExperimentNotFound { experiment: name.to_owned() }),
        _ => Ok(all),
    }
}

/// The runs of an experiment, parents before their parts.
fn runs_of(store: &Store, experiment_id: &str) -> Result<Vec<Run>, Error> {
    let mut search = RunSearch {
        experiment_ids: vec![experiment_id.to_owned()],
        view: ViewType::ActiveOnly,
        max_results: Some(PAGE),
        ..RunSearch::default()
    };
    let mut runs = Vec::new();
    loop {
        let page = store.search_runs(&search)?;
        runs.extend(page.items);
        search.page_token = page.next_page_token;
        if search.page_token.is_none() {
            break;
        }
    }
    runs.retain(|run| run.lifecycle_stage == LifecycleStage::Active);
    let parents: HashMap<String, String> = runs
        .iter()
        .filter_map(|run| Some((run.run_id.to_string(), run.tags.get(crate::tags::PARENT_RUN_ID)?.clone())))
        .collect();
    runs.sort_by_key(|run| (depth(run.run_id.as_str(), &parents), run.start_time_ms));
    Ok(runs)
}

/// How many runs are above a run; a circle ends.
fn depth(run_id: &str, parents: &HashMap<String, String>) -> usize {
    let mut depth = 0;
    let mut run = run_id;
    while let Some(parent) = parents.get(run) {
        depth += 1;
        run = parent;
        if depth > parents.len() {
            break;
        }
    }
    depth
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_before_their_parts_and_circles_end() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let parents = HashMap::from([pair("c", "b"), pair("b", "a"), pair("x", "y"), pair("y", "x")]);
        assert_eq!((depth("a", &parents), depth("b", &parents), depth("c", &parents)), (0, 1, 2));
        assert!(depth("x", &parents) > 2);
    }
}
