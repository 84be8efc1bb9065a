//! ONNX models: an MLflow model directory becomes a [`Model`] that takes and returns `f32` arrays by name.
//!
//! A model runs on ONNX Runtime where a library is found on the machine ([`find_runtime_library`]), otherwise on the
//! embedded pure-Rust `rten`; the caller sees one type. What the numbers mean (images, boxes, scores) is left to others.

mod error;
mod library;
mod metadata;
mod model;
mod onnxruntime;
mod rten;
mod signature;

pub use error::{Error, Result};
pub use library::{MINIMUM_MINOR_VERSION, RuntimeLibrary, find_runtime_library};
pub use metadata::Metadata;
pub use model::{BackendChoice, Model, Outputs};
pub use rten::NAME as EMBEDDED_BACKEND;
pub use signature::{TensorSignature, Tensors};
