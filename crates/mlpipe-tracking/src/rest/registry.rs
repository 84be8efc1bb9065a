//! The model registry of a server.

use serde::Deserialize;
use serde_json::json;

use super::client::{Client, Method, Repeat};
use super::experiments::absent;
use super::wire::{ModelVersion, Pair, RegisteredModel};
use crate::{Error, Result};

/// Models, or versions, per page.
const PAGE: &str = "1000";

#[derive(Deserialize)]
struct Model {
    registered_model: RegisteredModel,
}

#[derive(Deserialize)]
struct Version {
    model_version: ModelVersion,
}

#[derive(Deserialize)]
struct Place {
    artifact_uri: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Page {
    registered_models: Vec<RegisteredModel>,
    model_versions: Vec<ModelVersion>,
    next_page_token: String,
}

impl Client {
    /// Returns the models that a filter selects; an empty one selects all.
    ///
    /// # Errors
    /// As for every call.
    pub fn registered_models(&self, filter: &str) -> Result<Vec<RegisteredModel>> {
        self.pages("/registered-models/search", filter, |page| page.registered_models)
    }

    /// Returns a model; none when there is none.
    ///
    /// # Errors
    /// As for every call.
    pub fn registered_model(&self, name: &str) -> Result<Option<RegisteredModel>> {
        absent(self.get::<Model>("/registered-models/get", &[("name", name)]).map(|found| found.registered_model))
    }

    /// Makes a model unless there is one.
    ///
    /// # Errors
    /// As for every call.
    pub fn ensure_registered_model(&self, name: &str, description: &str, tags: &[Pair]) -> Result<()> {
        let body = json!({ "name": name, "description": description, "tags": tags });
        match self.send::<Model>(Method::Post, "/registered-models/create", &body, Repeat::Harmless) {
            Ok(_) => Ok(()),
            Err(Error::RefusedByServer { code, .. }) if code == "RESOURCE_ALREADY_EXISTS" => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Returns the versions of a model, by number.
    ///
    /// # Errors
    /// As for every call.
    pub fn model_versions(&self, name: &str) -> Result<Vec<ModelVersion>> {
        let filter = format!("name = '{}'", name.replace('\'', "''"));
        let mut versions = self.pages("/model-versions/search", &filter, |page| page.model_versions)?;
        versions.sort_by_key(|version| version.number().unwrap_or(u64::MAX));
        Ok(versions)
    }

    /// Returns a version of a model.
    ///
    /// # Errors
    /// As for every call.
    pub fn model_version(&self, name: &str, version: &str) -> Result<Option<ModelVersion>> {
        let query = [("name", name), ("version", version)];
        absent(self.get::<Version>("/model-versions/get", &query).map(|found| found.model_version))
    }

    /// Returns the version that an alias names.
    ///
    /// # Errors
    /// As for every call.
    pub fn model_version_by_alias(&self, name: &str, alias: &str) -> Result<Option<ModelVersion>> {
        let query = [("name", name), ("alias", alias)];
        match self.get::<Version>("/registered-models/alias", &query) {
            Ok(found) => Ok(Some(found.model_version)),
            // MLflow answers 400 for an alias that there is not.
            Err(Error::RefusedByServer { status: 400 | 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Registers a version, which gets the next number. Not sent again once the server may have made it.
    ///
    /// # Errors
    /// As for every call.
    pub fn create_model_version(
        &self,
        name: &str,
        source: &str,
        run_id: Option<&str>,
        description: &str,
        tags: &[Pair],
    ) -> Result<ModelVersion> {
        let mut body = json!({ "name": name, "source": source, "description": description, "tags": tags });
        if let Some(run_id) = run_id {
            body["run_id"] = run_id.into();
        }
        let made: Version = self.send(Method::Post, "/model-versions/create", &body, Repeat::Doubles)?;
        Ok(made.model_version)
    }

    /// Makes an alias name a version.
    ///
    /// # Errors
    /// As for every call.
    pub fn set_alias(&self, name: &str, alias: &str, version: &str) -> Result<()> {
        let body = json!({ "name": name, "alias": alias, "version": version });
        self.done(Method::Post, "/registered-models/alias", &body)
    }

    /// Removes an alias.
    ///
    /// # Errors
    /// As for every call.
    pub fn delete_alias(&self, name: &str, alias: &str) -> Result<()> {
        self.done(Method::Delete, "/registered-models/alias", &json!({ "name": name, "alias": alias }))
    }

    /// Gives a version a stage.
    ///
    /// # Errors
    /// As for every call.
    pub fn set_stage(&self, name: &str, version: &str, stage: &str) -> Result<ModelVersion> {
        let body = json!({ "name": name, "version": version, "stage": stage, "archive_existing_versions": false });
        let moved: Version = self.send(Method::Post, "/model-versions/transition-stage", &body, Repeat::Harmless)?;
        Ok(moved.model_version)
    }

    /// Returns where the files of a version lie.
    ///
    /// # Errors
    /// As for every call.
    pub fn download_uri(&self, name: &str, version: &str) -> Result<String> {
        let query = [("name", name), ("version", version)];
        Ok(self.get::<Place>("/model-versions/get-download-uri", &query)?.artifact_uri)
    }

    fn pages<T>(&self, path: &str, filter: &str, take: impl Fn(Page) -> Vec<T>) -> Result<Vec<T>> {
        let mut all = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = vec![("max_results", PAGE)];
            query.extend((!filter.is_empty()).then_some(("filter", filter)));
            query.extend((!token.is_empty()).then_some(("page_token", token.as_str())));
            let page: Page = self.get::<Page>(path, &query)?;
            let next = page.next_page_token.clone();
            all.extend(take(page));
            token = next;
            if token.is_empty() {
                return Ok(all);
            }
        }
    }
}
