//! Logged models: what training runs write, before it is registered under a name.

use crate::{LoggedModel, LoggedModelSearch, LoggedModelStatus, NewLoggedModel, Page, Result, Store};

impl Store {
    /// Makes a logged model (`POST logged-models`). Its files lie in
    /// `<artifact location of the experiment>/models/<model_id>/artifacts`.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn create_logged_model(&self, new: &NewLoggedModel) -> Result<LoggedModel> {
        todo!("{new:?}")
    }

    /// Returns a logged model (`GET logged-models/{model_id}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it is deleted.
    pub fn logged_model(&self, model_id: &str) -> Result<LoggedModel> {
        todo!("{model_id}")
    }

    /// Sets the status (`PATCH logged-models/{model_id}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn finalize_logged_model(&self, model_id: &str, status: LoggedModelStatus) -> Result<LoggedModel> {
        todo!("{model_id} {status}")
    }

    /// Returns logged models (`logged-models/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_logged_models(&self, search: &LoggedModelSearch) -> Result<Page<LoggedModel>> {
        todo!("{search:?}")
    }

    /// Sets tags (`PATCH logged-models/{model_id}/tags`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_logged_model_tags(&self, model_id: &str, tags: &[(String, String)]) -> Result<LoggedModel> {
        todo!("{model_id} {tags:?}")
    }

    /// Removes a tag (`DELETE logged-models/{model_id}/tags/{tag_key}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist` (no model, no tag).
    pub fn delete_logged_model_tag(&self, model_id: &str, key: &str) -> Result<()> {
        todo!("{model_id} {key}")
    }

    /// Adds params (`POST logged-models/{model_id}/params`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_logged_model_params(&self, model_id: &str, params: &[(String, String)]) -> Result<()> {
        todo!("{model_id} {params:?}")
    }

    /// Deletes a logged model (`DELETE logged-models/{model_id}`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn delete_logged_model(&self, model_id: &str) -> Result<()> {
        todo!("{model_id}")
    }
}
