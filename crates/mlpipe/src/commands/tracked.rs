//! Where tracked runs are asked for: the store of the state directory, or a tracking server.

use mlpipe_engine::Workspace;
use mlpipe_tracking::rest::{Client, RemoteRun};
use mlpipe_tracking::{Error, LifecycleStage, Run, RunQuery, RunSearch, RunStatus, Store, ViewType, tags};

use crate::commands::tracking::TrackingArguments;
use crate::failure::Failure;
use crate::state;

/// Runs of the local store per page.
const PAGE: i64 = 1000;

/// The local store or a server.
pub(crate) enum Tracked {
    /// The store of the state directory.
    Local(Box<Workspace>, Box<Store>),
    /// A server.
    Server(Box<Client>),
}

/// Which runs are wanted.
#[derive(Debug, Default)]
pub(crate) struct Question {
    /// Of this experiment, by name or id.
    pub(crate) experiment: Option<String>,
    pub(crate) status: Option<RunStatus>,
    pub(crate) top_level_only: bool,
    /// In MLflow's grammar.
    pub(crate) filter: String,
    pub(crate) order_by: Vec<String>,
    /// 0 for all.
    pub(crate) limit: usize,
}

impl Tracked {
    /// Opens what the command line names.
    pub(crate) fn open(arguments: &TrackingArguments) -> Result<Self, Failure> {
        Ok(match arguments.client()? {
            Some(client) => Self::Server(Box::new(client)),
            None => {
                let workspace = state::open()?;
                let store = workspace.store()?;
                Self::Local(Box::new(workspace), Box::new(store))
            }
        })
    }

    /// Returns the runs that are asked for, the newest first where no other order is.
    pub(crate) fn search(&self, question: &Question) -> Result<Vec<Run>, Failure> {
        match self {
            Self::Local(_, store) if question.filter.is_empty() && question.order_by.is_empty() => {
                Ok(store.runs(&RunQuery {
                    experiment: question.experiment.clone(),
                    status: question.status,
                    top_level_only: question.top_level_only,
                    limit: question.limit,
                    parent: None,
                })?)
            }
            Self::Local(_, store) => search_store(store, question),
            Self::Server(client) => {
                let all =
                    client.experiments()?.into_iter().map(|experiment| (experiment.experiment_id, experiment.name));
                let experiments = chosen(all, question.experiment.as_deref())?;
                let found =
                    client.search_runs(&experiments, &filter(question), &question.order_by, false, question.limit)?;
                runs(found)
            }
        }
    }

    /// Returns the run whose id is `text` or begins with it; on a server also by the id that it has in mlpipe's own store.
    /// Deleted runs only by their full id.
    pub(crate) fn find(&self, text: &str) -> Result<Run, Failure> {
        match self {
            Self::Local(_, store) => Ok(store.find_run(text)?),
            Self::Server(client) => find_on(client, text),
        }
    }

    /// Returns the runs directly below a run, from the first.
    pub(crate) fn children(&self, run: &Run) -> Result<Vec<Run>, Failure> {
        match self {
            Self::Local(_, store) => {
                let query = RunQuery { parent: Some(run.run_id.clone()), ..RunQuery::default() };
                // The store gives the newest first; people read a run from its beginning.
                Ok(store.runs(&query)?.into_iter().rev().collect())
            }
            Self::Server(client) => {
                let filter = format!("tags.`{}` = '{}'", tags::PARENT_RUN_ID, run.run_id);
                let order = ["attributes.start_time ASC".to_owned()];
                runs(client.search_runs(std::slice::from_ref(&run.experiment_id), &filter, &order, false, 0)?)
            }
        }
    }

    /// Deletes a run; it can be restored until it is removed for good.
    pub(crate) fn delete(&self, run: &Run) -> Result<(), Failure> {
        match self {
            Self::Local(_, store) => store.delete_run(run.run_id.as_str())?,
            Self::Server(client) => client.delete_run(run.run_id.as_str())?,
        }
        Ok(())
    }

    /// Restores a deleted run.
    pub(crate) fn restore(&self, run: &Run) -> Result<(), Failure> {
        match self {
            Self::Local(_, store) => store.restore_run(run.run_id.as_str())?,
            Self::Server(client) => client.restore_run(run.run_id.as_str())?,
        }
        Ok(())
    }

    /// Returns the deleted runs directly below a run.
    pub(crate) fn deleted_children(&self, run: &Run) -> Result<Vec<Run>, Failure> {
        let filter = format!("tags.`{}` = '{}'", tags::PARENT_RUN_ID, run.run_id);
        let experiments = vec![run.experiment_id.clone()];
        match self {
            Self::Local(_, store) => pages(
                store,
                RunSearch { experiment_ids: experiments, filter, view: ViewType::DeletedOnly, ..RunSearch::default() },
                0,
            ),
            Self::Server(client) => {
                let mut all = runs(client.search_runs(&experiments, &filter, &[], true, 0)?)?;
                all.retain(|run| run.lifecycle_stage == LifecycleStage::Deleted);
                Ok(all)
            }
        }
    }
}

fn search_store(store: &Store, question: &Question) -> Result<Vec<Run>, Failure> {
    let all = store.experiments()?.into_iter().map(|experiment| (experiment.experiment_id, experiment.name));
    let search = RunSearch {
        experiment_ids: chosen(all, question.experiment.as_deref())?,
        filter: filter(question),
        order_by: question.order_by.clone(),
        ..RunSearch::default()
    };
    pages(store, search, question.limit)
}

/// All pages of an answer, at most `limit` runs; 0 for all.
pub(crate) fn pages(store: &Store, mut search: RunSearch, limit: usize) -> Result<Vec<Run>, Failure> {
    let mut found = Vec::new();
    loop {
        let left = i64::try_from(limit.saturating_sub(found.len())).unwrap_or(PAGE);
        search.max_results = Some(if limit == 0 { PAGE } else { PAGE.min(left) });
        let page = store.search_runs(&search)?;
        found.extend(page.items);
        search.page_token = page.next_page_token;
        if search.page_token.is_none() || (limit > 0 && found.len() >= limit) {
            return Ok(found);
        }
    }
}

/// The ids of all experiments, or of the one that is called so or has this id.
fn chosen(all: impl Iterator<Item = (String, String)>, wanted: Option<&str>) -> Result<Vec<String>, Failure> {
    let found: Vec<String> =
        all.filter(|(id, name)| wanted.is_none_or(|wanted| wanted == name || wanted == id)).map(|(id, _)| id).collect();
    match wanted {
        Some(wanted) if found.is_empty() => Err(Error::ExperimentNotFound { experiment: wanted.to_owned() }.into()),
        _ => Ok(found),
    }
}

/// The whole question in MLflow's grammar.
fn filter(question: &Question) -> String {
    let status = question.status.map(|status| format!("attributes.status = '{status}'"));
    let top = question.top_level_only.then(|| format!("tags.`{}` IS NULL", tags::PARENT_RUN_ID));
    let given = Some(question.filter.clone()).filter(|filter| !filter.trim().is_empty());
    given.into_iter().chain(status).chain(top).collect::<Vec<_>>().join(" AND ")
}

fn find_on(client: &Client, text: &str) -> Result<Run, Failure> {
    let not_found = || Error::RunNotFound { run_id: text.to_owned() };
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(not_found().into());
    }
    if let Some(run) = client.run(text)? {
        return Ok(run.into_run()?);
    }
    let experiments: Vec<String> =
        client.experiments()?.into_iter().map(|experiment| experiment.experiment_id).collect();
    let by_id = format!("attributes.run_id LIKE '{text}%'");
    let by_local_id = format!("tags.`{}` LIKE '{text}%'", tags::LOCAL_RUN_ID);
    for filter in [by_id, by_local_id] {
        let mut found = runs(client.search_runs(&experiments, &filter, &[], false, 2)?)?;
        if found.len() > 1 {
            let candidates = found.into_iter().map(|run| run.run_id).collect();
            return Err(Error::RunAmbiguous { prefix: text.to_owned(), candidates }.into());
        }
        if let Some(run) = found.pop() {
            return Ok(run);
        }
    }
    Err(not_found().into())
}

fn runs(found: Vec<RemoteRun>) -> Result<Vec<Run>, Failure> {
    Ok(found.into_iter().map(RemoteRun::into_run).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_joined_to_the_filter() {
        let question = Question {
            filter: "metrics.auc > 0.9".into(),
            status: Some(RunStatus::Finished),
            top_level_only: true,
            ..Question::default()
        };
        assert_eq!(
            filter(&question),
            "metrics.auc > 0.9 AND attributes.status = 'FINISHED' AND tags.`mlflow.parentRunId` IS NULL"
        );
        assert_eq!(filter(&Question::default()), "");
    }
}
