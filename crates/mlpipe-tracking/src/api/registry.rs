//! The model registry: registered models, their versions, aliases, stages and tags. Versions are given as text, as in
//! requests; text that is no number is `InvalidParameterValue`.

use crate::{ModelVersion, NewModelVersion, Page, RegisteredModel, Result, Search, Stage, Store};

impl Store {
    /// Makes a registered model (`registered-models/create`).
    ///
    /// # Errors
    /// Codes `ResourceAlreadyExists`, `InvalidParameterValue`.
    pub fn create_registered_model(
        &self,
        name: &str,
        description: Option<&str>,
        tags: &[(String, String)],
    ) -> Result<RegisteredModel> {
        todo!("{name} {description:?} {tags:?}")
    }

    /// Returns a registered model (`registered-models/get`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn registered_model(&self, name: &str) -> Result<RegisteredModel> {
        todo!("{name}")
    }

    /// Returns registered models, by name unless another order is given (`registered-models/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_registered_models(&self, search: &Search) -> Result<Page<RegisteredModel>> {
        todo!("{search:?}")
    }

    /// Sets the description (`registered-models/update`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn update_registered_model(&self, name: &str, description: Option<&str>) -> Result<RegisteredModel> {
        todo!("{name} {description:?}")
    }

    /// Gives a registered model another name; its versions go along (`registered-models/rename`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `ResourceAlreadyExists`, `InvalidParameterValue`.
    pub fn rename_registered_model(&self, name: &str, new_name: &str) -> Result<RegisteredModel> {
        todo!("{name} {new_name}")
    }

    /// Removes a registered model with its versions (`registered-models/delete`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_registered_model(&self, name: &str) -> Result<()> {
        todo!("{name}")
    }

    /// Returns the newest version of each stage given, or of every stage (`registered-models/get-latest-versions`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (a bad stage).
    pub fn latest_versions(&self, name: &str, stages: &[String]) -> Result<Vec<ModelVersion>> {
        todo!("{name} {stages:?}")
    }

    /// Sets a tag of a registered model (`registered-models/set-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_registered_model_tag(&self, name: &str, key: &str, value: &str) -> Result<()> {
        todo!("{name} {key} {value}")
    }

    /// Removes a tag of a registered model, if it has it (`registered-models/delete-tag`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_registered_model_tag(&self, name: &str, key: &str) -> Result<()> {
        todo!("{name} {key}")
    }

    /// Points an alias to a version (`POST registered-models/alias`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue` (`latest`, `v1`, ...).
    pub fn set_registered_model_alias(&self, name: &str, alias: &str, version: &str) -> Result<()> {
        todo!("{name} {alias} {version}")
    }

    /// Removes an alias, if there is one (`DELETE registered-models/alias`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_registered_model_alias(&self, name: &str, alias: &str) -> Result<()> {
        todo!("{name} {alias}")
    }

    /// Returns the version an alias points to (`GET registered-models/alias`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist` (no model), `InvalidParameterValue` (no such alias).
    pub fn model_version_by_alias(&self, name: &str, alias: &str) -> Result<ModelVersion> {
        todo!("{name} {alias}")
    }

    /// Makes the next version of a registered model (`model-versions/create`). The source is checked as MLflow does: a
    /// local path or one served here must lie below the artifacts of its run or logged model.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn create_model_version(&self, new: &NewModelVersion) -> Result<ModelVersion> {
        todo!("{new:?}")
    }

    /// Returns a version (`model-versions/get`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn model_version(&self, name: &str, version: &str) -> Result<ModelVersion> {
        todo!("{name} {version}")
    }

    /// Returns versions, the last changed first unless another order is given (`model-versions/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_model_versions(&self, search: &Search) -> Result<Page<ModelVersion>> {
        todo!("{search:?}")
    }

    /// Sets the description of a version (`model-versions/update`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn update_model_version(&self, name: &str, version: &str, description: Option<&str>) -> Result<ModelVersion> {
        todo!("{name} {version} {description:?}")
    }

    /// Removes a version (`model-versions/delete`); its number is not given out again.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn delete_model_version(&self, name: &str, version: &str) -> Result<()> {
        todo!("{name} {version}")
    }

    /// Moves a version to a stage (`model-versions/transition-stage`), and with `archive_existing_versions` the others
    /// that are there to `Archived`.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn transition_model_version_stage(
        &self,
        name: &str,
        version: &str,
        stage: Stage,
        archive_existing_versions: bool,
    ) -> Result<ModelVersion> {
        todo!("{name} {version} {stage:?} {archive_existing_versions}")
    }

    /// Returns the URI from which the files of a version are read (`model-versions/get-download-uri`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn model_version_download_uri(&self, name: &str, version: &str) -> Result<String> {
        todo!("{name} {version}")
    }

    /// Sets a tag of a version (`model-versions/set-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_model_version_tag(&self, name: &str, version: &str, key: &str, value: &str) -> Result<()> {
        todo!("{name} {version} {key} {value}")
    }

    /// Removes a tag of a version, if it has it (`model-versions/delete-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn delete_model_version_tag(&self, name: &str, version: &str, key: &str) -> Result<()> {
        todo!("{name} {version} {key}")
    }
}
