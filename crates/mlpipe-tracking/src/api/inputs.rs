//! What runs read and write: datasets and logged models.

use crate::{DatasetInput, DatasetSummary, ModelOutput, Result, Store};

impl Store {
    /// Adds datasets and logged models to the inputs of a run (`runs/log-inputs`). The same dataset again changes
    /// nothing but its tags.
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_inputs(&self, run_id: &str, datasets: &[DatasetInput], model_ids: &[String]) -> Result<()> {
        todo!("{run_id} {datasets:?} {model_ids:?}")
    }

    /// Adds logged models to the outputs of a run (`runs/outputs`).
    ///
    /// # Errors
    /// Codes `ResourceDoesNotExist`, `InvalidParameterValue`.
    pub fn log_outputs(&self, run_id: &str, models: &[ModelOutput]) -> Result<()> {
        todo!("{run_id} {models:?}")
    }

    /// Returns the datasets of experiments, at most 1000 (`experiments/search-datasets`).
    ///
    /// # Errors
    /// [`Error::Database`](crate::Error::Database).
    pub fn search_datasets(&self, experiment_ids: &[String]) -> Result<Vec<DatasetSummary>> {
        todo!("{experiment_ids:?}")
    }
}
