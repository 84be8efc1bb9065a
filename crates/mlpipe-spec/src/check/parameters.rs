//! The pipeline's `params:` and their values: defaults, then overrides.

use std::collections::HashMap;

use crate::declaration::{self, Declared};
use crate::fields::Fields;
use crate::pipeline::Param;
use crate::source::Span;
use crate::yaml::{Key, Node};

use super::Checker;

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
            self.params.insert(key.text.clone(), param);
        }
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
    fn param(&mut self, key: &Key, declared: &Declared, given: Option<&str>) -> Option<Param> {
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
