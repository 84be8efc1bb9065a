//! `matrix:`: the combinations of values that a step runs for.

use indexmap::IndexMap;

use crate::diagnostics::listed;
use crate::evaluation::Expression;
use crate::expression::{Lookup, Piece};
use crate::fields::is_name;
use crate::params::ParamValue;
use crate::pipeline::{Matrix, MatrixItem};
use crate::yaml::{Key, Node, Scalar, ScalarKind};

use super::Checker;
use super::formulas::Kind;

/// Keys of a matrix that are not axes.
pub(crate) const MATRIX_SETTINGS: [&str; 3] = ["exclude", "max_parallel", "fail_fast"];

/// More combinations than this are a slip.
const MOST_COMBINATIONS: usize = 100_000;
/// A key is a file name, to which others are added.
const LONGEST_KEY: usize = 180;

type Axes = IndexMap<String, Vec<ParamValue>>;
type Values = IndexMap<String, ParamValue>;

impl Checker<'_> {
    /// Returns a matrix, after reporting what is wrong with it.
    pub(super) fn matrix(&mut self, node: &Node) -> Option<Matrix> {
        let before = self.reader.out.count();
        let entries = self.reader.entries(node, "`matrix`")?;
        let setting = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| *node);
        let max_parallel = setting("max_parallel")
            .and_then(|node| self.reader.integer(node, "`max_parallel`", 1..=1_000_000))
            .map(|most| most as usize);
        let fail_fast = setting("fail_fast").and_then(|node| self.reader.truth(node, "`fail_fast`")).unwrap_or(false);
        let exclude = setting("exclude");
        let axes = entries.iter().filter(|(key, _)| !MATRIX_SETTINGS.contains(&key.text.as_str()));
        let axes: Axes = axes.filter_map(|(key, node)| Some((key.text.clone(), self.axis(key, node)?))).collect();
        if axes.is_empty() && self.reader.out.count() == before {
            self.reader.report(node.span, "`matrix` has no axis").help("write matrix: {name: [value, value]}");
        }
        let excluded = exclude.map_or(Vec::new(), |node| self.exclusions(node, &axes));
        if self.reader.out.count() > before {
            return None;
        }
        let items = self.combinations(node, &axes, &excluded)?;
        Some(Matrix { items, max_parallel, fail_fast })
    }

    fn axis(&mut self, key: &Key, node: &Node) -> Option<Vec<ParamValue>> {
        let name = &key.text;
        if !self.reader.is_name(key, "an axis") {
            return None;
        }
        let items = self.reader.items(node, &format!("`{name}`"))?;
        let values: Vec<_> = items.iter().map(|item| self.axis_value(item, &format!("a value of `{name}`"))).collect();
        let values: Vec<ParamValue> = values.into_iter().collect::<Option<_>>()?;
        if values.is_empty() {
            self.reader.report(node.span, format!("`{name}` has no values"));
            return None;
        }
        if values.iter().any(|value| Kind::of(value) != Kind::of(&values[0])) {
            let message = format!("the values of `{name}` are not of one type");
            self.reader.report(node.span, message).help("quote texts that look like numbers or truth values");
            return None;
        }
        for (position, value) in values.iter().enumerate() {
            if values[..position].iter().any(|earlier| shown(earlier) == shown(value)) {
                self.reader.report(items[position].span, format!("`{}` is given twice", shown(value)));
                return None;
            }
        }
        Some(values)
    }

    /// Returns a value of the type that YAML gives it; a parameter keeps its own.
    fn axis_value(&mut self, node: &Node, what: &str) -> Option<ParamValue> {
        let scalar = self.reader.scalar(node, what)?;
        match self.pieces(node, scalar)?.as_slice() {
            [] | [Piece::Text(_)] => self.literal(node, scalar),
            [Piece::Lookup(Lookup::Param(name))] => self.param_value(name),
            _ => self.text(node, what).map(ParamValue::String),
        }
    }

    fn literal(&mut self, node: &Node, scalar: &Scalar) -> Option<ParamValue> {
        let value = match scalar.kind {
            ScalarKind::Bool(truth) => Some(ParamValue::Bool(truth)),
            ScalarKind::Int(number) => i64::try_from(number).ok().map(ParamValue::Int),
            ScalarKind::Float(number) => Some(number).filter(|number| number.is_finite()).map(ParamValue::Float),
            ScalarKind::Text | ScalarKind::Null => Some(ParamValue::String(scalar.text.clone())),
        };
        if value.is_none() {
            self.reader.report(node.span, format!("`{}` is not a number that fits in 64 bits", scalar.text));
        }
        value
    }

    /// Returns the combinations that are left out, each with as many axes as it names.
    fn exclusions(&mut self, node: &Node, axes: &Axes) -> Vec<Values> {
        let crate::yaml::Value::List(items) = &node.value else {
            self.reader.report(node.span, "`exclude` must be a list").help("write exclude: [{name: value}]");
            return Vec::new();
        };
        items.iter().filter_map(|item| self.exclusion(item, axes)).collect()
    }

    fn exclusion(&mut self, node: &Node, axes: &Axes) -> Option<Values> {
        let mut values = Values::new();
        for (key, node) in self.reader.entries(node, "an exclusion")? {
            let Some(known) = axes.get(&key.text) else {
                let message = format!("the matrix has no axis `{}`", key.text);
                let names = axes.keys().map(String::as_str);
                self.reader.out.unknown(&self.reader.source, key.span, message, &key.text, names);
                return None;
            };
            let value = self.axis_value(node, &format!("`{}`", key.text))?;
            let Some(known) = known.iter().find(|known| same(known, &value)) else {
                let texts: Vec<String> = known.iter().map(shown).collect();
                let message = format!("`{}` is not a value of `{}`", shown(&value), key.text);
                let help = format!("values: {}", listed(texts.iter().map(String::as_str)));
                self.reader.report(node.span, message).help(help);
                return None;
            };
            values.insert(key.text.clone(), known.clone());
        }
        if values.is_empty() {
            self.reader.report(node.span, "an exclusion names no axis: it would leave out everything");
            return None;
        }
        Some(values)
    }

    fn combinations(&mut self, node: &Node, axes: &Axes, excluded: &[Values]) -> Option<Vec<MatrixItem>> {
        let count = axes.values().try_fold(1_usize, |count, values| count.checked_mul(values.len()));
        if count.is_none_or(|count| count > MOST_COMBINATIONS) {
            self.reader.report(node.span, format!("the matrix has more than {MOST_COMBINATIONS} combinations"));
            return None;
        }
        let mut all = vec![Values::new()];
        for (name, values) in axes {
            let extend = |start: &Values| {
                let with = |value: &ParamValue| {
                    let mut longer = start.clone();
                    longer.insert(name.clone(), value.clone());
                    longer
                };
                values.iter().map(with).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(extend).collect();
        }
        let is_excluded =
            |item: &Values| excluded.iter().any(|out| out.iter().all(|(name, value)| same(&item[name], value)));
        all.retain(|item| !is_excluded(item));
        let items: Vec<MatrixItem> = all.into_iter().map(|values| MatrixItem { key: key(&values), values }).collect();
        if items.is_empty() {
            self.reader.report(node.span, "`exclude` leaves no combination of the matrix");
            return None;
        }
        if let Some(long) = items.iter().find(|item| item.key.len() > LONGEST_KEY) {
            let message = format!("the key of a combination would be too long: `{}`", long.key);
            self.reader
                .report(node.span, message)
                .help("sweep over short names, and let the step look up what they mean");
            return None;
        }
        Some(items)
    }
}

impl Matrix {
    /// Returns the values of an axis by key of the combination; `None` for an axis there is not.
    pub(super) fn axis(&self, name: &str) -> Option<Expression> {
        let values: Option<IndexMap<String, ParamValue>> =
            self.items.iter().map(|item| Some((item.key.clone(), item.values.get(name)?.clone()))).collect();
        Some(Expression::Matrix { variable: crate::pipeline::MATRIX_VARIABLE.to_owned(), values: values? })
    }
}

fn shown(value: &ParamValue) -> String {
    value.to_string()
}

/// Numbers are the same however they are written: 1 and 1.0.
fn same(a: &ParamValue, b: &ParamValue) -> bool {
    match (a, b) {
        (ParamValue::Int(whole), ParamValue::Float(number)) | (ParamValue::Float(number), ParamValue::Int(whole)) => {
            shown(&ParamValue::Float(*number)) == format!("{whole}.0")
        }
        _ => a == b,
    }
}

/// Returns `lr=0.1,depth=3`, with `%XX` for letters that are not safe in a file name.
fn key(values: &Values) -> String {
    debug_assert!(values.keys().all(|name| is_name(name)), "axes have names");
    values.iter().map(|(name, value)| format!("{name}={}", safe(&shown(value)))).collect::<Vec<_>>().join(",")
}

fn safe(text: &str) -> String {
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@".contains(&byte);
    text.bytes().map(|byte| if is_safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}
