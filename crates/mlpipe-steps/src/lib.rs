//! Built-in radiology steps: files in, files out.
//!
//! Every step has a module with `Args` and `run(&Args) -> Result<Summary>`: it reads files, writes files into an output
//! folder (each complete or not at all) and `metrics.json` beside them. Whether a step must run and who records it is
//! left to others. Grey values and geometry come from mlpipe-dicom, networks from mlpipe-infer, documents from
//! mlpipe-report.

pub mod batch;
mod boxes;
mod column;
mod decode;
pub mod deidentify;
pub mod detect;
mod detector;
mod endplate;
mod error;
pub mod extract;
mod files;
mod image;
mod intensity;
mod level;
pub mod nodes;
pub mod phantom;
pub mod report;
pub mod results;
mod runtime;
#[cfg(test)]
mod testing;

pub use error::{Error, Result};
pub use files::Summary;
pub use mlpipe_report::Code;
pub use runtime::{BACKEND_VARIABLE, Runtime};

/// Digest of the sources of the built-in steps, 64 hexadecimal digits: changes with the code, not with the machine.
pub const SOURCE_DIGEST: &str = env!("MLPIPE_STEPS_SOURCE_DIGEST");
