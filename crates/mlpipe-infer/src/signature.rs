//! Names, element types and shapes of a model's inputs and outputs, and the check of inputs against them.

use std::fmt;
use std::path::Path;

use ndarray::ArrayViewD;

use crate::{Error, Result};

/// Element type that every input and output of this crate has.
pub(crate) const F32: &str = "f32";

/// One declared input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSignature {
    /// Name in the graph.
    pub name: String,
    /// Element type as Rust writes it (`f32`, `i64`); `None` when the model does not declare it.
    pub dtype: Option<String>,
    /// Size of every axis, `None` where it is free; an empty list also stands for an undeclared shape.
    pub shape: Vec<Option<usize>>,
}

impl fmt::Display for TensorSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.name, self.type_text())
    }
}

impl TensorSignature {
    fn type_text(&self) -> String {
        let axis = |size: &Option<usize>| size.map_or("?".to_owned(), |n| n.to_string());
        let axes: Vec<String> = self.shape.iter().map(axis).collect();
        format!("{}[{}]", self.dtype.as_deref().unwrap_or("?"), axes.join(", "))
    }

    fn accepts(&self, shape: &[usize]) -> bool {
        self.shape.is_empty()
            || (self.shape.len() == shape.len()
                && self.shape.iter().zip(shape).all(|(want, got)| want.is_none_or(|n| n == *got)))
    }
}

/// What a model takes and returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensors {
    /// Inputs in the order of the graph.
    pub inputs: Vec<TensorSignature>,
    /// Outputs in the order of the graph.
    pub outputs: Vec<TensorSignature>,
}

impl Tensors {
    /// Checks names, element types and shapes, so that no backend ever sees an input it cannot take.
    pub(crate) fn check_inputs(&self, path: &Path, inputs: &[(&str, ArrayViewD<'_, f32>)]) -> Result<()> {
        let wrong_names =
            |problem: String| Error::InputNames { path: path.to_owned(), problem, expected: list(&self.inputs) };
        for (position, (name, _)) in inputs.iter().enumerate() {
            if inputs[..position].iter().any(|(earlier, _)| earlier == name) {
                return Err(wrong_names(format!("input `{name}` is given twice")));
            }
        }
        if let Some(missing) = self.inputs.iter().find(|want| !inputs.iter().any(|(name, _)| *name == want.name)) {
            return Err(wrong_names(format!("input `{}` is not given", missing.name)));
        }
        for (name, array) in inputs {
            let want = self.inputs.iter().find(|want| want.name == *name);
            check_input(path, want.ok_or_else(|| wrong_names(format!("there is no input `{name}`")))?, array.shape())?;
        }
        Ok(())
    }
}

fn check_input(path: &Path, want: &TensorSignature, shape: &[usize]) -> Result<()> {
    match &want.dtype {
        Some(dtype) if dtype != F32 => {
            Err(Error::InputType { path: path.to_owned(), name: want.name.clone(), dtype: dtype.clone() })
        }
        _ if !want.accepts(shape) => Err(Error::InputShape {
            path: path.to_owned(),
            name: want.name.clone(),
            expected: want.type_text(),
            found: shape.to_vec(),
        }),
        _ => Ok(()),
    }
}

/// Lists signatures for a message.
pub(crate) fn list(signatures: &[TensorSignature]) -> String {
    let texts: Vec<String> = signatures.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use ndarray::ArrayD;

    use super::*;

    fn check(name: &str, shape: &[usize]) -> String {
        let input = |name: &str, dtype: &str, shape: &[Option<usize>]| TensorSignature {
            name: name.to_owned(),
            dtype: Some(dtype.to_owned()),
            shape: shape.to_vec(),
        };
        let inputs = if name == "tokens" {
            vec![input("tokens", "i64", &[None])]
        } else {
            vec![input("image", "f32", &[None, Some(1), Some(4)])]
        };
        let array = ArrayD::<f32>::zeros(shape);
        let outcome =
            Tensors { inputs, outputs: Vec::new() }.check_inputs(Path::new("m/model.onnx"), &[(name, array.view())]);
        outcome.err().map_or("ok".to_owned(), |error| error.to_string())
    }

    #[test]
    fn free_axes_take_any_size() {
        assert_eq!(check("image", &[7, 1, 4]), "ok");
    }

    #[test]
    fn wrong_shapes_are_told_with_both_shapes() {
        let expected = "`m/model.onnx`: input `image` takes f32[?, 1, 4], got [1, 1, 5]";
        assert_eq!(check("image", &[1, 1, 5]), expected);
        assert!(check("image", &[1, 4]).ends_with("got [1, 4]"));
    }

    #[test]
    fn unknown_names_are_told_with_the_known_ones() {
        let message = check("picture", &[1, 1, 4]);
        assert_eq!(message, "`m/model.onnx`: input `image` is not given; the model's inputs are `image` f32[?, 1, 4]");
    }

    #[test]
    fn inputs_of_another_type_are_refused() {
        assert!(check("tokens", &[3]).contains("takes i64, only f32 can be given"));
    }
}
