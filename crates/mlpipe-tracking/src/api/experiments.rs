//! Experiments, as MLflow's REST API has them.

use crate::{Experiment, NewExperiment, Page, Result, Search, Store, ViewType};

impl Store {
    /// Makes an experiment (`experiments/create`). Without an artifact location its artifacts lie below
    /// `<artifact_root>/<experiment_id>`.
    ///
    /// # Errors
    /// Codes `ResourceAlreadyExists` (deleted experiments keep their names), `InvalidParameterValue`.
    pub fn create_experiment(&self, new: &NewExperiment, artifact_root: &str) -> Result<Experiment> {
        todo!("{new:?} {artifact_root}")
    }

    /// Makes the experiment `Default` with the id `0` when it is missing, as MLflow's server does when it starts.
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn ensure_default_experiment(&self, artifact_root: &str) -> Result<()> {
        todo!("{artifact_root}")
    }

    /// Returns an experiment, also when it is deleted (`experiments/get`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn experiment(&self, experiment_id: &str) -> Result<Experiment> {
        todo!("{experiment_id}")
    }

    /// Returns the experiment of a name, also when it is deleted (`experiments/get-by-name`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`.
    pub fn experiment_by_name(&self, name: &str) -> Result<Experiment> {
        todo!("{name}")
    }

    /// Returns experiments, the newest first unless another order is given (`experiments/search`).
    ///
    /// # Errors
    /// Code `InvalidParameterValue`.
    pub fn search_experiments(&self, search: &Search, view: ViewType) -> Result<Page<Experiment>> {
        todo!("{search:?} {view:?}")
    }

    /// Gives an experiment another name (`experiments/update`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `ResourceAlreadyExists`; `InvalidParameterValue` when it is deleted.
    pub fn rename_experiment(&self, experiment_id: &str, new_name: &str) -> Result<()> {
        todo!("{experiment_id} {new_name}")
    }

    /// Deletes an experiment with its runs (`experiments/delete`); both can be restored.
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it is deleted already.
    pub fn delete_experiment(&self, experiment_id: &str) -> Result<()> {
        todo!("{experiment_id}")
    }

    /// Restores a deleted experiment with its runs (`experiments/restore`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it is not deleted.
    pub fn restore_experiment(&self, experiment_id: &str) -> Result<()> {
        todo!("{experiment_id}")
    }

    /// Sets a tag of an experiment (`experiments/set-experiment-tag`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn set_experiment_tag(&self, experiment_id: &str, key: &str, value: &str) -> Result<()> {
        todo!("{experiment_id} {key} {value}")
    }

    /// Removes a tag of an experiment (`experiments/delete-experiment-tag`).
    ///
    /// # Errors
    /// Code `ResourceDoesNotExist`, also when it has no such tag.
    pub fn delete_experiment_tag(&self, experiment_id: &str, key: &str) -> Result<()> {
        todo!("{experiment_id} {key}")
    }
}
