//! Reading mappings and scalars out of a tree, with every mistake reported and none fatal to its neighbours.
//!
//! A getter returns `None` after it has reported why; callers go on with the next key.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::diagnostics::{Collector, listed};
use crate::source::{SourceFile, Span};
use crate::yaml::{Key, Node, Scalar, ScalarKind, Value};

/// A file being read and the place for what is wrong in it.
pub(crate) struct Reader<'a> {
    pub(crate) source: Arc<SourceFile>,
    pub(crate) out: &'a mut Collector,
}

/// The keys of one kind of mapping.
pub(crate) struct Keys {
    /// What the mapping is called in messages: "a step".
    pub(crate) of: &'static str,
    /// The keys it may have.
    pub(crate) known: &'static [&'static str],
    /// Keys that are understood but refused.
    pub(crate) not_yet: &'static [&'static str],
}

/// The entries of a mapping with fixed keys.
pub(crate) struct Fields<'n> {
    entries: Vec<(&'n Key, &'n Node)>,
}

impl<'n> Fields<'n> {
    /// Returns the value of a key.
    pub(crate) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// Returns a key and its value.
    pub(crate) fn entry(&self, name: &str) -> Option<(&'n Key, &'n Node)> {
        self.entries.iter().find(|(key, _)| key.text == name).copied()
    }
}

impl Reader<'_> {
    /// Reports a mistake at a place of this file.
    pub(crate) fn report(&mut self, span: Span, message: impl AsRef<str>) -> crate::diagnostics::Help<'_> {
        self.out.report(&self.source, span, message)
    }

    /// Returns the entries of a mapping, the first of each key; an empty value is an empty mapping.
    pub(crate) fn entries<'n>(&mut self, node: &'n Node, what: &str) -> Option<Vec<(&'n Key, &'n Node)>> {
        let entries = match &node.value {
            Value::Map(entries) => entries,
            Value::Scalar(Scalar { kind: ScalarKind::Null, .. }) => return Some(Vec::new()),
            _ => {
                self.report(node.span, format!("{what} must be a mapping of `key: value`, not {}", shape(node)));
                return None;
            }
        };
        let mut first: HashMap<&str, Span> = HashMap::with_capacity(entries.len());
        let mut unique = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if let Some(earlier) = first.get(key.text.as_str()) {
                let (line, _) = self.source.position(earlier.start);
                self.report(key.span, format!("`{}` is given twice; first on line {line}", key.text));
                continue;
            }
            first.insert(&key.text, key.span);
            unique.push((key, value));
        }
        Some(unique)
    }

    /// Returns the entries of a mapping with fixed keys, without those it does not have.
    pub(crate) fn fields<'n>(&mut self, node: &'n Node, what: &str, keys: &Keys) -> Option<Fields<'n>> {
        let mut entries = self.entries(node, what)?;
        entries.retain(|(key, _)| {
            let name = key.text.as_str();
            if keys.known.contains(&name) {
                return true;
            }
            if keys.not_yet.contains(&name) {
                self.report(key.span, format!("`{name}` is not supported yet"));
            } else {
                let message = format!("{} has no key `{name}`", keys.of);
                self.out.unknown(&self.source, key.span, message, name, keys.known.iter().copied());
            }
            false
        });
        Some(Fields { entries })
    }

    /// Returns the items of a list, or a scalar as the only item.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) => Some(items),
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => Some(std::slice::from_ref(node)),
            _ => {
                self.report(node.span, format!("{what} must be a list, not {}", shape(node)));
                None
            }
        }
    }

    /// Returns a scalar that is not null.
    pub(crate) fn scalar<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n Scalar> {
        match &node.value {
            Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => Some(scalar),
            Value::Scalar(_) => {
                self.report(node.span, format!("{what} has no value")).help("write \"\" for an empty text");
                None
            }
            _ => {
                self.report(node.span, format!("{what} must be a single value, not {}", shape(node)));
                None
            }
        }
    }

    /// Returns a whole number in a range.
    pub(crate) fn integer(&mut self, node: &Node, what: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let scalar = self.scalar(node, what)?;
        let number = match scalar.kind {
            ScalarKind::Int(number) => u32::try_from(number).ok().filter(|number| range.contains(number)),
            _ => None,
        };
        if number.is_none() {
            let (from, to) = (range.start(), range.end());
            self.report(node.span, format!("{what} must be a whole number from {from} to {to}, not `{}`", scalar.text));
        }
        number
    }

    /// Returns true or false.
    pub(crate) fn truth(&mut self, node: &Node, what: &str) -> Option<bool> {
        let scalar = self.scalar(node, what)?;
        let ScalarKind::Bool(truth) = scalar.kind else {
            self.report(node.span, format!("{what} must be true or false, not `{}`", scalar.text));
            return None;
        };
        Some(truth)
    }

    /// Returns the value that a word stands for.
    pub(crate) fn word<T: Copy>(&mut self, node: &Node, what: &str, words: &[(&str, T)]) -> Option<T> {
        let scalar = self.scalar(node, what)?;
        let found = words.iter().find(|(word, _)| *word == scalar.text).map(|(_, value)| *value);
        if found.is_none() {
            let known = words.iter().map(|(word, _)| *word);
            let message = format!("{what} must be one of {}, not `{}`", listed(known.clone()), scalar.text);
            let help = self.out.did_you_mean(&scalar.text, known).filter(|help| help.starts_with("did"));
            self.report(node.span, message).help_if(help);
        }
        found
    }

    /// Returns whether a name can stand in an expression, after reporting that it cannot.
    pub(crate) fn is_name(&mut self, key: &Key, what: &str) -> bool {
        let fits = is_name(&key.text);
        if !fits {
            self.report(key.span, format!("`{}` cannot be the name of {what}", key.text))
                .help("names are letters, digits, `_` and `-`, starting with a letter or `_`");
        }
        fits
    }

    /// Returns a value as JSON; numbers stay numbers.
    pub(crate) fn json(&mut self, node: &Node) -> Option<serde_json::Value> {
        use serde_json::Value as Json;
        match &node.value {
            Value::List(items) => items.iter().map(|item| self.json(item)).collect::<Option<_>>().map(Json::Array),
            Value::Map(_) => {
                let entries = self.entries(node, "this value")?;
                entries.into_iter().map(|(key, value)| Some((key.text.clone(), self.json(value)?))).collect()
            }
            Value::Scalar(scalar) => {
                let number = match scalar.kind {
                    ScalarKind::Null => return Some(Json::Null),
                    ScalarKind::Bool(truth) => return Some(Json::Bool(truth)),
                    ScalarKind::Text => return Some(Json::String(scalar.text.clone())),
                    ScalarKind::Int(number) => serde_json::Number::from_i128(number),
                    ScalarKind::Float(number) => serde_json::Number::from_f64(number),
                };
                if number.is_none() {
                    self.report(node.span, format!("`{}` does not fit in a 64-bit number", scalar.text));
                }
                number.map(Json::Number)
            }
        }
    }
}

/// Returns whether a text can be a name in an expression: `[A-Za-z_][A-Za-z0-9_-]*`.
pub(crate) fn is_name(text: &str) -> bool {
    let mut letters = text.bytes();
    letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

fn shape(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a mapping".to_owned(),
        Value::Scalar(Scalar { kind: ScalarKind::Null, .. }) => "empty".to_owned(),
        Value::Scalar(scalar) => format!("`{}`", scalar.text),
    }
}
