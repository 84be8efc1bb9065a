//! A model directory, opened on one of the two backends.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use ndarray::{ArrayD, ArrayViewD};
use sha2::{Digest, Sha256};

use crate::metadata::{MlModel, read_ml_model};
use crate::onnxruntime::{OnnxRuntimeSession, Runtime, runtime};
use crate::rten::RtenSession;
use crate::signature::F32;
use crate::{Error, Metadata, Result, TensorSignature, Tensors};

/// Which runtime to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BackendChoice {
    /// ONNX Runtime where it is found and loads, else rten.
    #[default]
    Auto,
    /// ONNX Runtime or an error.
    OnnxRuntime,
    /// The embedded rten.
    Rten,
}

impl FromStr for BackendChoice {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<BackendChoice, String> {
        match text {
            "auto" => Ok(BackendChoice::Auto),
            "onnxruntime" => Ok(BackendChoice::OnnxRuntime),
            "rten" => Ok(BackendChoice::Rten),
            _ => Err(format!("`{text}` is not an ONNX backend; use auto, onnxruntime or rten")),
        }
    }
}

impl fmt::Display for BackendChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BackendChoice::Auto => "auto",
            BackendChoice::OnnxRuntime => "onnxruntime",
            BackendChoice::Rten => "rten",
        })
    }
}

/// An opened model. The same inputs give the same outputs, run after run, on the same backend.
pub struct Model {
    onnx_file: PathBuf,
    metadata: Metadata,
    name: String,
    sha256: String,
    backend: String,
    note: Option<String>,
    session: AnySession,
    time_running: Duration,
}

enum AnySession {
    OnnxRuntime(Box<OnnxRuntimeSession>),
    Rten(Box<RtenSession>),
}

impl Model {
    /// Opens an MLflow model directory (`MLmodel` and the ONNX file that it names).
    ///
    /// `threads` is the number of threads within one operation; 0 takes all processors.
    pub fn open(path: &Path, backend: BackendChoice, threads: usize) -> Result<Model> {
        let MlModel { onnx_file, metadata } = read_ml_model(path)?;
        let sha256 = sha256_of(&onnx_file)?;
        let threads = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
        let (session, backend, note) = open_session(&onnx_file, backend, threads)?;
        let name = metadata.text("name").or_else(|_| metadata.text("task")).map(str::to_owned);
        let name = name.unwrap_or_else(|_| file_name_of(path));
        if let Some(note) = &note {
            tracing::info!(model = name, "{note}");
        }
        Ok(Model { onnx_file, metadata, name, sha256, backend, note, session, time_running: Duration::ZERO })
    }

    /// Runs the model. Every input must be given once, by name, with the declared shape.
    pub fn run(&mut self, inputs: &[(&str, ArrayViewD<'_, f32>)]) -> Result<Outputs> {
        self.tensors().check_inputs(&self.onnx_file, inputs)?;
        let start = Instant::now();
        let outcome = match &mut self.session {
            AnySession::OnnxRuntime(session) => session.run(inputs),
            AnySession::Rten(session) => session.run(inputs),
        };
        self.time_running += start.elapsed();
        let run_error = |message| Error::Run { path: self.onnx_file.clone(), backend: self.backend.clone(), message };
        let arrays = outcome.map_err(run_error)?;
        Ok(Outputs { path: self.onnx_file.clone(), signatures: self.tensors().outputs.clone(), arrays })
    }

    /// Returns the inputs and outputs that the graph declares.
    pub fn tensors(&self) -> &Tensors {
        match &self.session {
            AnySession::OnnxRuntime(session) => &session.tensors,
            AnySession::Rten(session) => &session.tensors,
        }
    }

    /// Returns the `metadata:` block of `MLmodel`.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Returns the metadata's `name`, else its `task`, else the name of the directory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the metadata's `version`, written as text.
    pub fn version(&self) -> Result<String> {
        match self.metadata.get("version") {
            Some(serde_json::Value::String(text)) => Ok(text.clone()),
            Some(serde_json::Value::Number(number)) => Ok(number.to_string()),
            _ => Err(self.metadata.refuse("version", "is missing; a text or number is needed")),
        }
    }

    /// Returns the SHA-256 of the ONNX file, lower-case hex; weights in a file beside it are not covered.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Returns the runtime and its version: `onnxruntime 1.32.0` or `rten 0.27.0`.
    pub fn backend(&self) -> &str {
        &self.backend
    }

    /// Returns the time that all runs so far took inside the runtime.
    pub fn time_running(&self) -> Duration {
        self.time_running
    }

    /// Returns one line that says why the slower backend is used, where [`BackendChoice::Auto`] had to fall back.
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("onnx_file", &self.onnx_file)
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// What one run of a model returned.
#[derive(Debug)]
pub struct Outputs {
    path: PathBuf,
    signatures: Vec<TensorSignature>,
    arrays: Vec<(String, ArrayD<f32>)>,
}

impl Outputs {
    /// Returns an output by name, in the shape the model gave it.
    pub fn get(&self, name: &str) -> Result<ArrayViewD<'_, f32>> {
        if let Some((_, array)) = self.arrays.iter().find(|(known, _)| known == name) {
            return Ok(array.view());
        }
        match self.signatures.iter().find(|output| output.name == name) {
            Some(output) => Err(self.unexpected(name, "f32", output.dtype.as_deref().unwrap_or("of another type"))),
            None => Err(Error::NoOutput {
                path: self.path.clone(),
                name: name.to_owned(),
                found: crate::signature::list(&self.signatures),
            }),
        }
    }

    /// Returns an output that must have exactly this shape and finite values only.
    pub fn get_shaped(&self, name: &str, shape: &[usize]) -> Result<ArrayViewD<'_, f32>> {
        let array = self.get(name)?;
        if array.shape() == shape {
            let finite = array.iter().all(|value| value.is_finite());
            return if finite {
                Ok(array)
            } else {
                Err(Error::NotFinite { path: self.path.clone(), name: name.to_owned() })
            };
        }
        Err(self.unexpected(name, &format!("{F32}{shape:?}"), &format!("{F32}{:?}", array.shape())))
    }

    fn unexpected(&self, name: &str, expected: &str, found: &str) -> Error {
        Error::OutputShape {
            path: self.path.clone(),
            name: name.to_owned(),
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }
}

fn open_session(path: &Path, choice: BackendChoice, threads: usize) -> Result<(AnySession, String, Option<String>)> {
    let reason = match choice {
        BackendChoice::Rten => None,
        BackendChoice::OnnxRuntime | BackendChoice::Auto => match runtime() {
            Ok(runtime) => return open_onnx_runtime(&runtime, path, threads),
            Err(reason) if choice == BackendChoice::OnnxRuntime => return Err(Error::NoRuntime { reason }),
            Err(reason) => Some(reason),
        },
    };
    let session = RtenSession::open(path, threads).map_err(|message| Error::BadModel {
        path: path.to_owned(),
        backend: crate::rten::NAME.to_owned(),
        message,
    })?;
    let note =
        reason.map(|reason| format!("{} is used instead of the faster ONNX Runtime: {reason}", crate::rten::NAME));
    Ok((AnySession::Rten(Box::new(session)), crate::rten::NAME.to_owned(), note))
}

fn open_onnx_runtime(runtime: &Runtime, path: &Path, threads: usize) -> Result<(AnySession, String, Option<String>)> {
    let session = OnnxRuntimeSession::open(runtime, path, threads).map_err(|message| Error::BadModel {
        path: path.to_owned(),
        backend: runtime.name.clone(),
        message,
    })?;
    Ok((AnySession::OnnxRuntime(Box::new(session)), runtime.name.clone(), None))
}

fn sha256_of(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    Ok(Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect())
}

fn file_name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
