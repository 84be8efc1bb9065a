//! How the steps run their models.

use std::path::Path;

use mlpipe_infer::{BackendChoice, Model};

use crate::{Error, Result};

/// Variable that names the backend: `auto`, `onnxruntime` or `rten`.
pub const BACKEND_VARIABLE: &str = "MLPIPE_ONNX_BACKEND";

/// Backend and threads of every model that a step opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Runtime {
    /// Which runtime.
    pub backend: BackendChoice,
    /// Threads within one operation; 0 takes all processors.
    pub threads: usize,
}

impl Runtime {
    /// Returns the runtime that the environment asks for: [`BACKEND_VARIABLE`], all processors.
    ///
    /// # Errors
    /// When the variable names no backend.
    pub fn from_environment() -> Result<Runtime> {
        let name = std::env::var(BACKEND_VARIABLE).unwrap_or_default();
        let backend = if name.is_empty() { Ok(BackendChoice::Auto) } else { name.parse() };
        let message = "it must be auto, onnxruntime or rten";
        let backend = backend.map_err(|_| Error::Parameter { name: BACKEND_VARIABLE, value: name, message })?;
        Ok(Runtime { backend, threads: 0 })
    }

    pub(crate) fn open(&self, model: &Path) -> Result<Model> {
        Ok(Model::open(model, self.backend, self.threads)?)
    }
}
