//! Types of parameters, and values of those types.
//!
//! One set of types serves the pipeline's `params:` and the parameters of an MLproject entry point.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use crate::diagnostics::listed;
use crate::paths::local_path;

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ParameterKind {
    /// Any text.
    String,
    /// A whole number that fits in 64 bits.
    Int,
    /// A finite number.
    Float,
    /// `true` or `false`.
    Bool,
    /// One of a declared list of texts.
    Choice,
    /// A local path.
    Path,
    /// A local path or an artifact URI.
    Uri,
}

/// The type of a parameter of the pipeline: the same set.
pub type ParamKind = ParameterKind;

/// The value of a parameter of the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ParamValue {
    /// Text: the kinds string, choice, path (absolute) and uri (absolute path when local).
    String(String),
    /// A whole number.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// A truth value.
    Bool(bool),
}

impl fmt::Display for ParamValue {
    /// Writes the value as a command line gets it; a float always with a point or an exponent, as Python does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParamValue::String(text) => f.write_str(text),
            ParamValue::Int(number) => write!(f, "{number}"),
            ParamValue::Float(number) => write!(f, "{number:?}"),
            ParamValue::Bool(truth) => write!(f, "{truth}"),
        }
    }
}

/// What an entry point says about a parameter.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ParameterDeclaration {
    /// The type.
    pub kind: ParameterKind,
    /// The value when the pipeline gives none, as a command line gets it; `None` when one is required.
    pub default: Option<String>,
    /// The smallest allowed number.
    pub min: Option<f64>,
    /// The largest allowed number.
    pub max: Option<f64>,
    /// The allowed texts of the kind choice; empty for other kinds.
    pub choices: Vec<String>,
}

/// Why a text is not a value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Mismatch {
    pub(crate) fn new(message: impl Into<String>) -> Mismatch {
        Mismatch { message: message.into(), help: None }
    }

    pub(crate) fn help(self, help: impl Into<String>) -> Mismatch {
        Mismatch { help: Some(help.into()), ..self }
    }
}

impl ParameterKind {
    /// The kinds with the names they have in files.
    pub(crate) const NAMES: [(&'static str, ParameterKind); 7] = [
        ("string", ParameterKind::String),
        ("int", ParameterKind::Int),
        ("float", ParameterKind::Float),
        ("bool", ParameterKind::Bool),
        ("choice", ParameterKind::Choice),
        ("path", ParameterKind::Path),
        ("uri", ParameterKind::Uri),
    ];

    /// Returns the kind of that name.
    pub(crate) fn named(name: &str) -> Option<ParameterKind> {
        ParameterKind::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }

    /// Returns whether values are numbers, which can have bounds.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, ParameterKind::Int | ParameterKind::Float)
    }

    /// Returns whether values name files, whose relative paths start somewhere.
    pub(crate) fn is_location(self) -> bool {
        matches!(self, ParameterKind::Path | ParameterKind::Uri)
    }
}

impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ParameterKind::NAMES.iter().find(|(_, kind)| kind == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl ParameterDeclaration {
    /// Returns the value that a text stands for; relative paths start at `base`.
    pub(crate) fn value_of(&self, text: &str, base: &Path) -> Result<ParamValue, Mismatch> {
        match self.kind {
            ParameterKind::String => Ok(ParamValue::String(text.to_owned())),
            ParameterKind::Path | ParameterKind::Uri => local_path(text, base).map(ParamValue::String),
            ParameterKind::Bool => truth(text),
            ParameterKind::Choice => self.chosen(text),
            ParameterKind::Int => {
                let number = text.parse().map_err(|_| Mismatch::new(format!("`{text}` is not a whole number")))?;
                #[expect(clippy::cast_precision_loss, reason = "bounds are written as decimal numbers")]
                self.within_bounds(number as f64, text)?;
                Ok(ParamValue::Int(number))
            }
            ParameterKind::Float => {
                let number = finite(text).ok_or_else(|| Mismatch::new(format!("`{text}` is not a number")))?;
                self.within_bounds(number, text)?;
                Ok(ParamValue::Float(number))
            }
        }
    }

    fn chosen(&self, text: &str) -> Result<ParamValue, Mismatch> {
        if self.choices.iter().any(|choice| choice == text) {
            return Ok(ParamValue::String(text.to_owned()));
        }
        let choices = listed(self.choices.iter().map(String::as_str));
        Err(Mismatch::new(format!("`{text}` is not one of the choices")).help(format!("choices: {choices}")))
    }

    fn within_bounds(&self, number: f64, text: &str) -> Result<(), Mismatch> {
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(Mismatch::new(format!("{text} is below the minimum {min}"))),
            (_, Some(max)) if number > max => Err(Mismatch::new(format!("{text} is above the maximum {max}"))),
            _ => Ok(()),
        }
    }
}

/// Returns the number a text stands for, unless it is not finite.
pub(crate) fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn truth(text: &str) -> Result<ParamValue, Mismatch> {
    match text {
        "true" | "True" | "TRUE" => Ok(ParamValue::Bool(true)),
        "false" | "False" | "FALSE" => Ok(ParamValue::Bool(false)),
        _ => Err(Mismatch::new(format!("`{text}` is neither true nor false"))),
    }
}
