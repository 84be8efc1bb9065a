//! Reads the `MLmodel` file of a model directory: where the ONNX file lies and what the model says about itself.

use std::path::{Component, Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};

/// The `metadata:` block of an `MLmodel` file.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata {
    path: PathBuf,
    values: Map<String, Value>,
}

impl Metadata {
    /// Returns a value, `None` when the key is absent or null.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key).filter(|value| !value.is_null())
    }

    /// Returns a text.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.typed(key, "a text", Value::as_str)
    }

    /// Returns a finite number.
    pub fn number(&self, key: &str) -> Result<f64> {
        self.typed(key, "a number", |value| value.as_f64().filter(|number| number.is_finite()))
    }

    /// Returns a whole number of at least 1.
    pub fn count(&self, key: &str) -> Result<usize> {
        let count = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        self.typed(key, "a whole number of at least 1", count)
    }

    /// Returns a list of finite numbers.
    pub fn numbers(&self, key: &str) -> Result<Vec<f64>> {
        let list = |value: &Value| value.as_array()?.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>();
        self.typed(key, "a list of numbers", list)
    }

    /// Returns the error that refuses a key's value.
    pub fn refuse(&self, key: &str, problem: impl Into<String>) -> Error {
        Error::Metadata { path: self.path.clone(), key: key.to_owned(), problem: problem.into() }
    }

    fn typed<'a, T>(&'a self, key: &str, wanted: &str, convert: impl FnOnce(&'a Value) -> Option<T>) -> Result<T> {
        let value = self.get(key).ok_or_else(|| self.refuse(key, format!("is missing; {wanted} is needed")))?;
        convert(value).ok_or_else(|| self.refuse(key, format!("is `{value}`; {wanted} is needed")))
    }
}

/// What `MLmodel` says.
#[derive(Debug)]
pub(crate) struct MlModel {
    /// The ONNX file.
    pub(crate) onnx_file: PathBuf,
    /// The `metadata:` block.
    pub(crate) metadata: Metadata,
}

/// Reads `MLmodel` in `directory`.
pub(crate) fn read_ml_model(directory: &Path) -> Result<MlModel> {
    let path = directory.join("MLmodel");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Err(Error::NoMlModel { path: directory.to_owned() });
        }
        Err(source) => return Err(Error::Read { path, source }),
    };
    let bad = |message: String| Error::BadMlModel { path: path.clone(), message };
    let document: Value = serde_saphyr::from_str(&text).map_err(|error| bad(error.to_string()))?;
    let onnx_file = directory.join(onnx_file_name(&document, &path)?);
    let values = match document.get("metadata") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(values)) => values.clone(),
        Some(_) => return Err(bad("`metadata` is not a mapping".to_owned())),
    };
    Ok(MlModel { onnx_file, metadata: Metadata { path, values } })
}

fn onnx_file_name(document: &Value, path: &Path) -> Result<PathBuf> {
    let bad = |message: &str| Error::BadMlModel { path: path.to_owned(), message: message.to_owned() };
    let flavors = document.get("flavors").and_then(Value::as_object).ok_or_else(|| bad("it has no `flavors`"))?;
    let Some(flavor) = flavors.get("onnx") else {
        let names: Vec<&str> = flavors.keys().map(String::as_str).collect();
        return Err(Error::NoOnnxFlavor { path: path.to_owned(), found: names.join(", ") });
    };
    let name = flavor.get("data").map_or(Some("model.onnx"), Value::as_str);
    let file = PathBuf::from(name.ok_or_else(|| bad("`flavors.onnx.data` is not a file name"))?);
    // A model directory is one artifact: a file outside it would escape its digest.
    let inside = file.components().all(|part| matches!(part, Component::Normal(_)));
    if inside { Ok(file) } else { Err(bad("`flavors.onnx.data` must lie inside the model directory")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<MlModel> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        std::fs::write(directory.path().join("MLmodel"), text).expect("the file can be written");
        read_ml_model(directory.path())
    }

    fn message(text: &str) -> String {
        read(text).expect_err("the file is refused").to_string()
    }

    #[test]
    fn metadata_comes_with_its_types() {
        let text = "flavors: {onnx: {data: net.onnx}}\nmetadata: {task: detect, canvas: 384, range: [1, 99]}\n";
        let model = read(text).expect("the file is good");
        assert!(model.onnx_file.ends_with("net.onnx"));
        assert_eq!(model.metadata.text("task").expect("a text"), "detect");
        assert_eq!(model.metadata.count("canvas").expect("a count"), 384);
        assert_eq!(model.metadata.numbers("range").expect("numbers"), [1.0, 99.0]);
    }

    #[test]
    fn missing_and_mistyped_keys_are_named() {
        let model = read("flavors: {onnx: {}}\nmetadata: {stride: four}\n").expect("the file is good");
        let missing = model.metadata.number("canvas").expect_err("it is absent").to_string();
        assert!(missing.contains("metadata `canvas` is missing"), "{missing}");
        let mistyped = model.metadata.count("stride").expect_err("it is a text").to_string();
        assert!(mistyped.contains("`stride` is `\"four\"`; a whole number"), "{mistyped}");
    }

    #[test]
    fn other_flavors_are_refused_by_name() {
        assert!(
            message("flavors: {sklearn: {}, python_function: {}}\n").contains("(it has: sklearn, python_function)")
        );
    }

    #[test]
    fn files_outside_the_directory_are_refused() {
        assert!(message("flavors: {onnx: {data: ../model.onnx}}\n").contains("must lie inside"));
    }

    #[test]
    fn a_folder_without_mlmodel_is_refused_with_a_cure() {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let message = read_ml_model(directory.path()).expect_err("there is no file").to_string();
        assert!(message.contains("no `MLmodel` file") && message.contains("mlflow.onnx.save_model"), "{message}");
    }

    #[test]
    fn text_that_is_not_yaml_is_refused() {
        assert!(message("{flavors: [").contains("not a usable MLmodel file"));
    }
}
