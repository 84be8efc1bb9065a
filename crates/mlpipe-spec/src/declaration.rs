//! Reading what a pipeline's `params:` and an MLproject's `parameters:` say about a parameter.

use crate::diagnostics::listed;
use crate::expression::has_expression;
use crate::fields::{Fields, Keys, Reader};
use crate::params::{ParameterDeclaration, ParameterKind, finite};
use crate::source::Span;
use crate::yaml::{Key, Node, Scalar, Value};

pub(crate) const KEYS: Keys =
    Keys { of: "a parameter", known: &["type", "default", "choices", "min", "max", "description"], not_yet: &[] };

/// A declaration as it was read; its default is text that has not been checked.
pub(crate) struct Declared<'n> {
    /// Without a default.
    pub(crate) declaration: ParameterDeclaration,
    pub(crate) default: Option<(&'n Scalar, Span)>,
}

/// Returns what is declared: `name: type` or `name: {type, default, choices, min, max, description}`.
pub(crate) fn read<'n>(reader: &mut Reader, key: &Key, node: &'n Node, kind_required: bool) -> Option<Declared<'n>> {
    let what = format!("`{}`", key.text);
    if !matches!(node.value, Value::Map(_)) {
        let kind = short_form(reader, key, node)?;
        return Some(Declared { declaration: bare(kind), default: None });
    }
    let before = reader.out.count();
    let fields = reader.fields(node, &what, &KEYS)?;
    let kind = match fields.get("type") {
        Some(node) => reader.word(node, "`type`", &ParameterKind::NAMES)?,
        None if kind_required => {
            let kinds = listed(ParameterKind::NAMES.iter().map(|(name, _)| *name));
            reader.report(key.span, format!("parameter {what} has no `type`")).help(format!("types: {kinds}"));
            return None;
        }
        None => ParameterKind::String,
    };
    let choices = choices(reader, &fields, key, kind);
    let (min, max) = (bound(reader, &fields, "min", kind), bound(reader, &fields, "max", kind));
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        reader.report(key.span, format!("parameter {what} has a minimum of {min} above its maximum of {max}"));
    }
    let default = fields.get("default").and_then(|node| default_text(reader, node));
    let declaration = ParameterDeclaration { choices, min, max, ..bare(kind) };
    (reader.out.count() == before).then_some(Declared { declaration, default })
}

fn bare(kind: ParameterKind) -> ParameterDeclaration {
    ParameterDeclaration { kind, default: None, min: None, max: None, choices: Vec::new() }
}

fn short_form(reader: &mut Reader, key: &Key, node: &Node) -> Option<ParameterKind> {
    let what = format!("the type of `{}`", key.text);
    let scalar = reader.scalar(node, &what)?;
    let kind = ParameterKind::named(&scalar.text);
    if kind == Some(ParameterKind::Choice) {
        let help = format!("write {}: {{type: choice, choices: [...]}}", key.text);
        reader.report(node.span, format!("parameter `{}` has no `choices`", key.text)).help(help);
        return None;
    }
    if kind.is_none() {
        let names = ParameterKind::NAMES.iter().map(|(name, _)| *name);
        let nearest = reader.out.did_you_mean(&scalar.text, names.clone()).filter(|help| help.starts_with("did"));
        let with_default = format!("for a default write {}: {{type: ..., default: {}}}", key.text, scalar.text);
        let message = format!("`{}` is not a type; types are {}", scalar.text, listed(names));
        reader.report(node.span, message).help(nearest.unwrap_or(with_default));
    }
    kind
}

fn choices(reader: &mut Reader, fields: &Fields, key: &Key, kind: ParameterKind) -> Vec<String> {
    let name = &key.text;
    let Some((at, node)) = fields.entry("choices") else {
        if kind == ParameterKind::Choice {
            reader.report(key.span, format!("parameter `{name}` has no `choices`")).help("add choices: [a, b]");
        }
        return Vec::new();
    };
    if kind != ParameterKind::Choice {
        reader.report(at.span, format!("`choices` is for type choice; `{name}` is of type {kind}"));
    }
    let items = reader.items(node, "`choices`").unwrap_or_default();
    if items.is_empty() && matches!(node.value, Value::List(_)) {
        reader.report(node.span, "`choices` is empty");
    }
    items.iter().filter_map(|item| reader.scalar(item, "a choice")).map(|scalar| scalar.text.clone()).collect()
}

fn bound(reader: &mut Reader, fields: &Fields, which: &str, kind: ParameterKind) -> Option<f64> {
    let (at, node) = fields.entry(which)?;
    if !kind.is_number() {
        reader.report(at.span, format!("`{which}` is for types int and float, not {kind}"));
        return None;
    }
    let scalar = reader.scalar(node, &format!("`{which}`"))?;
    let number = finite(&scalar.text);
    if number.is_none() {
        reader.report(node.span, format!("`{which}` must be a number, not `{}`", scalar.text));
    }
    number
}

fn default_text<'n>(reader: &mut Reader, node: &'n Node) -> Option<(&'n Scalar, Span)> {
    let scalar = reader.scalar(node, "`default`")?;
    if has_expression(scalar) {
        reader.report(node.span, "expressions cannot be used in a default");
        return None;
    }
    Some((scalar, node.span))
}
