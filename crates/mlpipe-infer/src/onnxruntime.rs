//! Runs a model on ONNX Runtime. The library is loaded once per process; the first one that loads serves all models.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ndarray::{ArrayD, ArrayViewD, CowArray, IxDyn};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::{Outlet, TensorElementType, TensorRef};

use crate::library::{RuntimeLibrary, runtime_library};
use crate::signature::{TensorSignature, Tensors};

/// An ONNX Runtime session; messages of its errors are ONNX Runtime's.
pub(crate) struct OnnxRuntimeSession {
    session: Session,
    pub(crate) tensors: Tensors,
}

/// The loaded library. `ort` allows one environment per process and refuses to make a second.
static LOADED: Mutex<Option<(RuntimeLibrary, Environment)>> = Mutex::new(None);

/// A usable runtime.
pub(crate) struct Runtime {
    environment: Environment,
    /// `onnxruntime 1.32.0`.
    pub(crate) name: String,
}

/// Finds and loads the library, or says why that is not possible.
pub(crate) fn runtime() -> Result<Runtime, String> {
    let mut loaded = LOADED.lock().map_err(|_| "an earlier attempt to load it crashed".to_owned())?;
    if loaded.is_none() {
        let library = runtime_library()?;
        let builder = ort::init_from(&library.path).map_err(|error| error.to_string())?;
        let environment =
            builder.with_name("mlpipe").with_telemetry(false).build().map_err(|error| error.to_string())?;
        tracing::debug!(path = %library.path.display(), "ONNX Runtime loaded");
        *loaded = Some((library, environment));
    }
    let (library, environment) = loaded.as_ref().ok_or_else(|| "it was not loaded".to_owned())?;
    Ok(Runtime { environment: environment.clone(), name: runtime_name(library) })
}

fn runtime_name(library: &RuntimeLibrary) -> String {
    let version = library.version.clone().or_else(version_of_build);
    format!("onnxruntime {}", version.as_deref().unwrap_or("of unknown version"))
}

/// Release builds name their branch: `git-branch=rel-1.24.4`.
fn version_of_build() -> Option<String> {
    let branch = ort::info().split("git-branch=rel-").nth(1)?;
    let version = branch.split([',', ' ']).next()?;
    version.starts_with(|first: char| first.is_ascii_digit()).then(|| version.to_owned())
}

impl OnnxRuntimeSession {
    /// Loads an ONNX file for `threads` threads.
    pub(crate) fn open(runtime: &Runtime, path: &Path, threads: usize) -> Result<OnnxRuntimeSession, String> {
        let mut builder = configure(&runtime.environment, threads).map_err(|error| error.to_string())?;
        // `ort` panics on signatures that make no sense, such as an axis of size -2: they come from the file.
        let commit = AssertUnwindSafe(|| builder.commit_from_file(PathBuf::from(path)));
        let committed = catch_unwind(commit).map_err(|_| "its inputs and outputs cannot be read".to_owned())?;
        let session = committed.map_err(|error| error.message().to_owned())?;
        let list = |outlets: &[Outlet]| outlets.iter().map(signature).collect();
        let tensors = Tensors { inputs: list(session.inputs()), outputs: list(session.outputs()) };
        Ok(OnnxRuntimeSession { session, tensors })
    }

    /// Runs the model on checked inputs; returns its `f32` outputs.
    pub(crate) fn run(&mut self, inputs: &[(&str, ArrayViewD<'_, f32>)]) -> Result<Vec<(String, ArrayD<f32>)>, String> {
        let arrays: Vec<CowArray<'_, f32, IxDyn>> =
            inputs.iter().map(|(_, array)| array.as_standard_layout()).collect();
        let mut values = Vec::with_capacity(inputs.len());
        for ((name, _), array) in inputs.iter().zip(&arrays) {
            values.push((*name, TensorRef::from_array_view(array).map_err(|error| error.message().to_owned())?));
        }
        let outputs = self.session.run(values).map_err(|error| error.message().to_owned())?;
        let mut arrays = Vec::with_capacity(outputs.len());
        for (name, value) in outputs.iter() {
            if value.dtype().tensor_type() == Some(TensorElementType::Float32) {
                let array = value.try_extract_array::<f32>().map_err(|error| error.message().to_owned())?;
                arrays.push((name.to_owned(), array.to_owned()));
            }
        }
        Ok(arrays)
    }
}

/// Idle threads that spin would take the processor from the other steps of a pipeline.
fn configure(environment: &Environment, threads: usize) -> Result<SessionBuilder, ort::Error> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(threads)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_deterministic_compute(true)?;
    Ok(builder)
}

fn signature(outlet: &Outlet) -> TensorSignature {
    let axes = outlet.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default();
    TensorSignature {
        name: outlet.name().to_owned(),
        dtype: Some(outlet.dtype().tensor_type().map_or("not a tensor".to_owned(), |dtype| dtype.to_string())),
        shape: axes.iter().map(|size| usize::try_from(*size).ok()).collect(),
    }
}
