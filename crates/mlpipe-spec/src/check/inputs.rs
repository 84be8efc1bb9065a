//! The pipeline's `inputs:`: collections of items from outside.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json};

use crate::expression::{Lookup, Piece};
use crate::fields::{Fields, Keys};
use crate::params::ParamValue;
use crate::paths::local_path;
use crate::pipeline::{DimensionSource, Input, ItemForm};
use crate::yaml::{Key, Node, Value};

use super::Checker;

pub(crate) const INPUT: Keys =
    Keys { of: "an input", known: &["collection", "from", "select", "as", "description"], not_yet: &[] };

pub(crate) const FORMS: [(&str, ItemForm); 2] = [("manifest", ItemForm::Manifest), ("directory", ItemForm::Directory)];

impl Checker<'_> {
    /// Reads the inputs. Those for which another collection stands are not read: `declared_inputs` has looked at them.
    pub(super) fn read_inputs(&mut self, fields: &Fields, stand_ins: &IndexMap<String, Option<DimensionSource>>) {
        let Some(node) = fields.get("inputs") else { return };
        for (key, node) in self.reader.entries(node, "`inputs`").unwrap_or_default() {
            let name = format!("{}{}", self.frame.prefix, key.text);
            let own = DimensionSource::Input(name.clone());
            match stand_ins.get(&key.text) {
                Some(source) => drop(self.inputs.insert(key.text.clone(), source.clone().unwrap_or(own))),
                None => {
                    let fits = self.reader.is_name(key, "an input");
                    let input = self.input(key, node, name.clone()).filter(|_| fits);
                    self.inputs.insert(key.text.clone(), own);
                    self.shared.inputs.insert(name, input);
                }
            }
        }
    }

    /// Returns kind and form of each input that is declared.
    pub(super) fn declared_inputs(&mut self, fields: &Fields) -> IndexMap<String, Option<(String, ItemForm)>> {
        let entries = fields.get("inputs").and_then(|node| self.reader.entries(node, "`inputs`")).unwrap_or_default();
        let declared = entries.into_iter().map(|(key, node)| {
            let fields = self.reader.fields(node, &format!("input `{}`", key.text), &INPUT);
            let kind =
                fields.and_then(|fields| Some((self.collection(fields.get("collection")?)?, self.form(&fields)?)));
            (key.text.clone(), kind)
        });
        declared.collect()
    }

    fn form(&mut self, fields: &Fields) -> Option<ItemForm> {
        match fields.get("as") {
            Some(node) => self.reader.word(node, "`as`", &FORMS),
            None => Some(ItemForm::default()),
        }
    }

    fn input(&mut self, key: &Key, node: &Node, name: String) -> Option<Input> {
        let what = format!("input `{}`", key.text);
        let fields = self.reader.fields(node, &what, &INPUT)?;
        let collection = match fields.get("collection") {
            Some(node) => self.collection(node),
            None => self.missing(key, &what, "collection"),
        };
        let from = match fields.get("from") {
            Some(node) => self.location(node),
            None => self.missing(key, &what, "from"),
        };
        let select = fields.get("select").map_or(Some(Map::new()), |node| self.selection(node));
        let form = self.form(&fields);
        Some(Input { name, collection: collection?, from: from?, select: select?, form: form? })
    }

    fn missing<T>(&mut self, key: &Key, what: &str, name: &str) -> Option<T> {
        self.reader.report(key.span, format!("{what} has no `{name}`"));
        None
    }

    fn collection(&mut self, node: &Node) -> Option<String> {
        let scalar = self.reader.scalar(node, "`collection`")?;
        let kinds = self.options.collections;
        if !kinds.contains(&scalar.text.as_str()) {
            let message = format!("`{}` is not a kind of collection", scalar.text);
            let known = kinds.iter().copied();
            self.reader.out.unknown(&self.reader.source, node.span, message, &scalar.text, known);
            return None;
        }
        Some(scalar.text.clone())
    }

    fn location(&mut self, node: &Node) -> Option<String> {
        let text = self.text(node, "`from`")?;
        if text.is_empty() {
            self.reader.report(node.span, "`from` is empty");
            return None;
        }
        local_path(&text, &self.directory)
            .map_err(|mismatch| self.reader.report(node.span, mismatch.message).help_if(mismatch.help))
            .ok()
    }

    fn selection(&mut self, node: &Node) -> Option<Map<String, Json>> {
        let entries = self.reader.entries(node, "`select`")?;
        let values: Vec<_> =
            entries.into_iter().map(|(key, value)| Some((key.text.clone(), self.rule(value)?))).collect();
        values.into_iter().collect()
    }

    /// Returns a value with parameters in it; one that is a parameter as a whole has its type.
    fn rule(&mut self, node: &Node) -> Option<Json> {
        match &node.value {
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(|item| self.rule(item)).collect();
                items.into_iter().collect::<Option<_>>().map(Json::Array)
            }
            Value::Map(_) => self.selection(node).map(Json::Object),
            Value::Scalar(scalar) => match self.pieces(node, scalar)?.as_slice() {
                [Piece::Text(_)] => self.reader.json(node),
                [Piece::Lookup(Lookup::Param(name))] if self.params.contains_key(&name.text) => {
                    self.param_value(name).map(|value| json(&value))
                }
                _ => self.text(node, "`select`").map(Json::String),
            },
        }
    }
}

fn json(value: &ParamValue) -> Json {
    match value {
        ParamValue::String(text) => Json::from(text.as_str()),
        ParamValue::Int(number) => Json::from(*number),
        ParamValue::Float(number) => Json::from(*number),
        ParamValue::Bool(truth) => Json::from(*truth),
    }
}
