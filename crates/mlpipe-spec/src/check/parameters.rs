//! The pipeline's `params:` and their values: defaults, then what the command line gives, or the step that the pipeline is.
//!
//! A step may give what is known only when something runs, such as the output of another step. That can be passed on to
//! parameters of projects and of further pipelines, and used in expressions where its type is known.

use std::collections::HashMap;

use crate::declaration::{self, Declared};
use crate::evaluation::Expression;
use crate::expression::Name;
use crate::fields::Fields;
use crate::params::ParameterKind;
use crate::pipeline::{Param, Template};
use crate::source::Span;
use crate::yaml::{Key, Node};

use super::Checker;
use super::formulas::Kind;

/// The value of a parameter, as far as it is known.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Known(Param),
    Late(Late),
    /// There is none, which is a mistake only where it is used.
    Missing(ParameterKind),
}

/// A value that is known only when a step runs.
#[derive(Debug, Clone)]
pub(super) struct Late {
    pub(super) template: Template,
    /// The value in expressions, where it can be computed.
    pub(super) expression: Option<Expression>,
    pub(super) kind: ParameterKind,
}

impl Value {
    pub(super) fn known(self) -> Option<Param> {
        match self {
            Value::Known(param) => Some(param),
            Value::Late(_) | Value::Missing(_) => None,
        }
    }
}

impl Late {
    /// Returns the value in an expression.
    pub(super) fn value(self) -> Option<(Expression, Kind)> {
        let kind = match self.kind {
            ParameterKind::Int | ParameterKind::Float => Kind::Number,
            ParameterKind::Bool => Kind::Truth,
            ParameterKind::String | ParameterKind::Choice | ParameterKind::Path | ParameterKind::Uri => Kind::Text,
        };
        Some((self.expression?, kind))
    }
}

impl<'a> Checker<'a> {
    pub(super) fn read_params(&mut self, fields: &Fields) {
        let section = fields.entry("params");
        let entries = section.and_then(|(_, node)| self.reader.entries(node, "`params`")).unwrap_or_default();
        let overrides = self.overrides(&entries, section.map_or(Span::default(), |(key, _)| key.span));
        for (key, node) in entries {
            let fits = self.reader.is_name(key, "a parameter");
            let declared = declaration::read(&mut self.reader, key, node, true);
            let given = overrides.get(key.text.as_str()).copied();
            let param = declared.filter(|_| fits).and_then(|declared| self.param(key, &declared, given));
            self.params.insert(key.text.clone(), param.map(Value::Known));
        }
    }

    /// Returns the value that a parameter was given and that is not known yet.
    pub(super) fn late(&self, name: &Name) -> Option<Late> {
        match self.params.get(&name.text) {
            Some(Some(Value::Late(late))) => Some(late.clone()),
            _ => None,
        }
    }

    /// Reports that a value must be known before anything runs.
    pub(super) fn report_late(&mut self, name: &Name) {
        let step = self.frame.user.as_ref().map_or("", |user| user.step.as_str());
        let help = format!("step `{step}` gives it an item or an output: that can be used in `parameters` only");
        let message = format!("`{}` is known only when a step runs, and needed here before", name.text);
        self.reader.report(name.span, message).help(help);
    }

    /// Reports, where the pipeline is used, that it is not given a parameter that it needs.
    pub(super) fn report_missing(&mut self, name: &Name, kind: ParameterKind) {
        let Some(user) = self.frame.user.clone() else { return };
        let before = self.reader.out.reach_through(None);
        let message = format!("step `{}`: parameter `{}` has no value", user.step, name.text);
        let help = format!("add {}: under parameters; it is of type {kind}", name.text);
        self.reader.out.report(&user.source, user.at, message).help(help);
        self.reader.out.reach_through(before);
    }

    /// Returns the overrides by name, after reporting those of parameters there are not.
    fn overrides(&mut self, declared: &[(&Key, &Node)], section: Span) -> HashMap<&'a str, &'a str> {
        let mut overrides = HashMap::new();
        let given: &'a [(String, String)] = self.options.overrides;
        for (name, value) in given {
            if !declared.iter().any(|(key, _)| key.text == *name) {
                let message = format!("-P {name}: the pipeline has no parameter `{name}`");
                let known = declared.iter().map(|(key, _)| key.text.as_str());
                self.reader.out.unknown(&self.reader.source, section, message, name, known);
            } else if overrides.insert(name.as_str(), value.as_str()).is_some() {
                self.reader.report(section, format!("-P {name} is given twice"));
            }
        }
        overrides
    }

    /// Returns a parameter with its value. The default is checked even when an override hides it.
    pub(super) fn param(&mut self, key: &Key, declared: &Declared, given: Option<&str>) -> Option<Param> {
        let name = &key.text;
        let declaration = &declared.declaration;
        let default = declared.default.map(|(scalar, span)| {
            declaration
                .value_of(&scalar.text, &self.directory)
                .map_err(|mismatch| {
                    let message = format!("default of `{name}`: {}", mismatch.message);
                    self.reader.report(span, message).help_if(mismatch.help);
                })
                .ok()
        });
        let value = match (given, default) {
            (Some(text), _) => declaration
                .value_of(text, &self.here)
                .map_err(|mismatch| {
                    let message = format!("-P {name}={text}: {}", mismatch.message);
                    self.reader.report(key.span, message).help_if(mismatch.help);
                })
                .ok()?,
            (None, Some(default)) => default?,
            (None, None) => {
                self.reader
                    .report(key.span, format!("parameter `{name}` has no value"))
                    .help(format!("give one with -P {name}=... or add a default"));
                return None;
            }
        };
        Some(Param { value, kind: declaration.kind, overridden: given.is_some() })
    }
}
