//! Experiments on a server.

use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, Method, Repeat};
use super::wire::{Pair, RemoteExperiment};
use crate::{Error, Result};

/// Experiments per page.
const PAGE: u64 = 1000;

#[derive(Deserialize)]
struct Found {
    experiment: RemoteExperiment,
}

#[derive(Deserialize)]
struct Created {
    experiment_id: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Page {
    experiments: Vec<RemoteExperiment>,
    next_page_token: String,
}

impl Client {
    /// Returns the experiment of a name, also a deleted one; none when there is none.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::RefusedByServer`], [`Error::InvalidAnswer`], as for every call.
    pub fn experiment_by_name(&self, name: &str) -> Result<Option<RemoteExperiment>> {
        let found = self.get::<Found>("/experiments/get-by-name", &[("experiment_name", name)]);
        absent(found.map(|found| found.experiment))
    }

    /// Returns an experiment.
    ///
    /// # Errors
    /// As for every call.
    pub fn experiment(&self, experiment_id: &str) -> Result<RemoteExperiment> {
        Ok(self.get::<Found>("/experiments/get", &[("experiment_id", experiment_id)])?.experiment)
    }

    /// Returns the experiment of a name, making it, with the server's place for artifacts, when there is none.
    ///
    /// # Errors
    /// [`Error::ExperimentDeleted`], and as for every call.
    pub fn ensure_experiment(&self, name: &str, tags: &[Pair]) -> Result<RemoteExperiment> {
        if self.experiment_by_name(name)?.is_none() {
            let body = json!({ "name": name, "tags": tags });
            // A second one of the same name is refused, so nothing is doubled.
            match self.send::<Created>(Method::Post, "/experiments/create", &body, Repeat::Harmless) {
                Ok(Created { experiment_id }) => tracing::debug!(experiment_id, name, "experiment created"),
                Err(Error::RefusedByServer { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => {}
                Err(error) => return Err(error),
            }
        }
        let experiment = self.experiment_by_name(name)?;
        let experiment = experiment.ok_or_else(|| Error::ExperimentNotFound { experiment: name.to_owned() })?;
        if experiment.lifecycle_stage == "deleted" {
            return Err(Error::ExperimentDeleted { name: name.to_owned() });
        }
        Ok(experiment)
    }

    /// Returns the experiments that are not deleted.
    ///
    /// # Errors
    /// As for every call.
    pub fn experiments(&self) -> Result<Vec<RemoteExperiment>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut body = json!({ "max_results": PAGE, "view_type": "ACTIVE_ONLY" });
            if !token.is_empty() {
                body["page_token"] = Value::from(token);
            }
            let page: Page = self.send(Method::Post, "/experiments/search", &body, Repeat::Harmless)?;
            all.extend(page.experiments);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }
}

/// Turns "there is no such thing" into none.
pub(super) fn absent<T>(found: Result<T>) -> Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(Error::RefusedByServer { status: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
