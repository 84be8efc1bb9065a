//! What can go wrong between a model directory and its outputs; each message names the file and the cure.

use std::path::PathBuf;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a model could not be opened or run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory has no `MLmodel` file.
    #[error("`{}` is not a model directory: it has no `MLmodel` file; give the folder that `mlflow.onnx.save_model` wrote", path.display())]
    NoMlModel {
        /// Directory that was given.
        path: PathBuf,
    },
    /// A file of the model cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `MLmodel` is not what MLflow writes.
    #[error("`{}` is not a usable MLmodel file: {message}", path.display())]
    BadMlModel {
        /// The `MLmodel` file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The model has no `onnx` flavor.
    #[error("`{}` has no `onnx` flavor (it has: {found}); save the model with `mlflow.onnx.save_model`", path.display())]
    NoOnnxFlavor {
        /// The `MLmodel` file.
        path: PathBuf,
        /// The flavors it has.
        found: String,
    },
    /// A metadata key is missing or of another type.
    #[error("`{}`: metadata `{key}` {problem}", path.display())]
    Metadata {
        /// The `MLmodel` file.
        path: PathBuf,
        /// Key under `metadata:`.
        key: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The file is not an ONNX model, is damaged, or needs what the backend lacks.
    #[error("`{}` cannot be used as an ONNX model by {backend}: {message}; export or copy the model again", path.display())]
    BadModel {
        /// The ONNX file.
        path: PathBuf,
        /// Backend that refused it.
        backend: String,
        /// What it said.
        message: String,
    },
    /// ONNX Runtime was asked for by name and cannot be had.
    #[error(
        "ONNX Runtime cannot be used: {reason}; set ORT_DYLIB_PATH to libonnxruntime 1.{} or newer (`pip install onnxruntime` brings one) or choose the backend `rten`",
        crate::MINIMUM_MINOR_VERSION
    )]
    NoRuntime {
        /// Why.
        reason: String,
    },
    /// The model has no such input, or an input was left out.
    #[error("`{}`: {problem}; the model's inputs are {expected}", path.display())]
    InputNames {
        /// The ONNX file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// The inputs that the model declares.
        expected: String,
    },
    /// An input's element type is not `f32`.
    #[error("`{}`: input `{name}` takes {dtype}, only f32 can be given; export the model with float32 inputs", path.display())]
    InputType {
        /// The ONNX file.
        path: PathBuf,
        /// The input.
        name: String,
        /// Its declared element type.
        dtype: String,
    },
    /// An input array does not fit the declared shape.
    #[error("`{}`: input `{name}` takes {expected}, got {found:?}", path.display())]
    InputShape {
        /// The ONNX file.
        path: PathBuf,
        /// The input.
        name: String,
        /// Declared shape, as in `f32[?, 1, 384, 384]`.
        expected: String,
        /// Shape that was given.
        found: Vec<usize>,
    },
    /// The backend failed while running the model.
    #[error("`{}` failed on {backend}: {message}", path.display())]
    Run {
        /// The ONNX file.
        path: PathBuf,
        /// Backend that failed.
        backend: String,
        /// What it said.
        message: String,
    },
    /// The model has no such output.
    #[error("`{}` has no output `{name}`; it has: {found}", path.display())]
    NoOutput {
        /// The ONNX file.
        path: PathBuf,
        /// The output that was asked for.
        name: String,
        /// The outputs it has.
        found: String,
    },
    /// An output is not `f32`, or not of the shape that the caller relies on.
    #[error("`{}`: output `{name}` is {found}, expected {expected}", path.display())]
    OutputShape {
        /// The ONNX file.
        path: PathBuf,
        /// The output.
        name: String,
        /// What was expected.
        expected: String,
        /// What came.
        found: String,
    },
    /// An output holds infinities or values that are no numbers.
    #[error("`{}`: output `{name}` holds values that are not finite; the model or its input is unusable", path.display())]
    NotFinite {
        /// The ONNX file.
        path: PathBuf,
        /// The output.
        name: String,
    },
}
