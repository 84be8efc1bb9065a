//! Files of a step: every one is written beside its place and renamed, so that a reader never sees half of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mlpipe_infer::Model;
use ndarray::Array3;
use ndarray_npy::WriteNpyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::detect::rounded;
use crate::{Error, Result};

/// What a step wrote and counted, for the command to show.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Summary {
    /// Files and folders, in the order in which they were written.
    pub outputs: Vec<PathBuf>,
    /// The numbers in `metrics.json`.
    pub metrics: BTreeMap<String, f64>,
    /// Lines a reader should see, such as why nothing was found.
    pub notes: Vec<String>,
}

impl Summary {
    pub(crate) fn metric(&mut self, name: &str, value: f64) {
        self.metrics.insert(name.to_owned(), value);
    }

    /// Adds the milliseconds since `start`, when the model was open, and those of them that its runtime took.
    pub(crate) fn add_times(&mut self, start: Instant, model: &Model) {
        for (name, time) in [("elapsed_ms", start.elapsed()), ("inference_ms", model.time_running())] {
            *self.metrics.entry(name.to_owned()).or_default() += rounded(time.as_secs_f64() * 1e3, 1e3);
        }
    }

    /// Writes `metrics.json` in `directory`: `{name: number}`.
    pub(crate) fn write_metrics(&mut self, directory: &Path) -> Result<()> {
        let path = directory.join("metrics.json");
        write_json(&path, &self.metrics)?;
        self.outputs.push(path);
        Ok(())
    }
}

pub(crate) fn write_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::Write { path, source }
}

pub(crate) fn create_directory(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(write_error(path))
}

/// Writes a whole file: into `.NAME.tmp-PID` beside it, then renamed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_beside(path);
    let outcome = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    outcome.map_err(|source| {
        // The write has failed already; what is left of it is of no use to anyone.
        let _ = std::fs::remove_file(&temporary);
        Error::Write { path: path.to_owned(), source }
    })
}

/// Name of a file or folder beside `path` that no other process uses.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp-{}", std::process::id()))
}

/// Writes a JSON document, indented by two, ending with a line feed.
pub(crate) fn write_json(path: &Path, document: &impl Serialize) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(std::io::Error::from).map_err(write_error(path))?;
    bytes.push(b'\n');
    write_file(path, &bytes)
}

/// Writes an array in NumPy's format.
pub(crate) fn write_npy(path: &Path, array: &Array3<f32>) -> Result<()> {
    let mut bytes = Vec::with_capacity(array.len() * 4 + 128);
    array.write_npy(&mut bytes).map_err(|error| write_error(path)(std::io::Error::other(error)))?;
    write_file(path, &bytes)
}

/// Reads a JSON document whose `format` must be `format`.
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path, format: &'static str) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let invalid = |message: String| Error::Document { path: path.to_owned(), format, message };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| invalid(error.to_string()))?;
    match value.get("format").and_then(serde_json::Value::as_str) {
        Some(found) if found == format => serde_json::from_value(value).map_err(|error| invalid(error.to_string())),
        Some(found) => Err(invalid(format!("its `format` is `{found}`"))),
        None => Err(invalid("it has no `format`".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_written_leaves_nothing_behind() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let target = directory.path().join("taken");
        std::fs::create_dir_all(target.join("inside")).expect("the folder can be made");
        write_file(&target, b"x").expect_err("a folder is in the way");
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is readable").count(), 1);
    }

    #[test]
    fn documents_of_another_format_are_refused_by_name() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let path = directory.path().join("a.json");
        std::fs::write(&path, br#"{"format": "mlpipe.findings/1"}"#).expect("the file can be written");
        let error = read_document::<serde_json::Value>(&path, "mlpipe.vertebrae/1").expect_err("another format");
        assert!(
            error.to_string().ends_with("a valid mlpipe.vertebrae/1 document: its `format` is `mlpipe.findings/1`")
        );
    }
}
