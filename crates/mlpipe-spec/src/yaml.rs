//! YAML as a tree of values that know their place in the file.
//!
//! Deserialising straight into structs stops at the first mistake; a tree is read whole, so every mistake in it can be
//! reported. What the keys mean is decided by those who walk the tree. Duplicate keys are kept for them to report.

use std::fmt;

use serde::Deserialize;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::source::{SourceFile, Span};

/// A file may hold this many YAML events and nodes: 20,000 steps of 20 keys are 800,000 scalars.
const LARGEST_DOCUMENT: usize = 20_000_000;
/// Nothing that a pipeline or a project says is nested deeper; each level takes some stack.
const DEEPEST: usize = 32;
/// Aliases may stand for this many values together; a few lines of aliases of aliases would stand for more than fit in memory.
const MOST_ALIASED: usize = 100_000;

/// A value with its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) span: Span,
}

impl Node {
    /// Returns whether nothing is written.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self.value, Value::Scalar(Scalar { kind: ScalarKind::Null, .. }))
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A scalar: its text as written and the type YAML gives it.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    /// The text without quotes; a number keeps its spelling (`1.0` stays `1.0`).
    pub(crate) text: String,
    pub(crate) kind: ScalarKind,
    /// Where `text` stands letter by letter in the file; `None` when it was escaped or folded.
    pub(crate) verbatim_at: Option<usize>,
}

/// The type YAML gives a scalar.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ScalarKind {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text,
}

/// Why a file is not YAML.
#[derive(Debug)]
pub(crate) struct SyntaxError {
    pub(crate) offset: usize,
    pub(crate) message: String,
}

/// Returns the tree of a YAML document; a null scalar for an empty one.
pub(crate) fn parse(source: &SourceFile) -> Result<Node, SyntaxError> {
    let text = source.text();
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        emit_comments: false,
        with_snippet: false,
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: serde_saphyr::options::NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_events: LARGEST_DOCUMENT,
            max_nodes: LARGEST_DOCUMENT,
            max_documents: 1,
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
            max_aliases: LARGEST_DOCUMENT,
            max_merge_keys: MOST_ALIASED,
            max_recorded_anchor_events: MOST_ALIASED,
            // One anchor for the settings of all steps is good style. What aliases expand to stays limited.
            enforce_alias_anchor_ratio: false,
        },
    };
    let tree: Spanned<Raw> =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| syntax_error(&error, source))?;
    Ok(placed(tree, text))
}

fn syntax_error(error: &serde_saphyr::Error, source: &SourceFile) -> SyntaxError {
    let offset = match error.location() {
        Some(location) => source.offset_of(to_usize(location.line()), to_usize(location.column())),
        None => 0,
    };
    let formatter = serde_saphyr::UserMessageFormatter;
    let message = serde_saphyr::MessageFormatter::format_message(&formatter, error.without_snippet()).into_owned();
    let message = beyond(&message).map_or(message, str::to_owned);
    SyntaxError { offset, message }
}

/// Says in our words which limit a file goes beyond. The error that says so may lie inside of others.
fn beyond(message: &str) -> Option<&'static str> {
    let (_, breach) = message.split_once("limits breached: ")?;
    let limit = breach.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    Some(match limit {
        "Documents" => "a file holds one document, and here a second one begins",
        "Depth" => "values are nested too deep",
        "Anchors" | "Aliases" | "MergeKeys" | "RecordedAnchorEvents" | "RecordedAnchorBytes" => {
            "aliases and merges stand for too many values"
        }
        _ => "the file is too large",
    })
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What serde sees of a value; places are added by `Spanned` around it.
enum Raw {
    Scalar(ScalarKind),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Null))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Bool(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Int(number.into())))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Int(number.into())))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Int(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Raw, E> {
        Ok(Raw::Scalar(ScalarKind::Float(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Raw, E> {
        Ok(Raw::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Raw, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Raw::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Raw, A::Error> {
        let mut map = Vec::new();
        while let Some(key) = entries.next_key()? {
            map.push((key, entries.next_value()?));
        }
        Ok(Raw::Map(map))
    }
}

/// Returns the value with its places; for an alias, those of what it stands for.
fn placed(raw: Spanned<Raw>, text: &str) -> Node {
    let span = span_of(&raw, text);
    let value = match raw.value {
        Raw::List(items) => Value::List(items.into_iter().map(|item| placed(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Key { span: span_of(&key, text), text: key.value }, placed(value, text)))
                .collect(),
        ),
        Raw::Scalar(kind) => {
            let written = text.get(span.start..span.end).unwrap_or_default().trim_end();
            Value::Scalar(Scalar { text: written.to_owned(), kind, verbatim_at: Some(span.start) })
        }
        Raw::Text(content) => {
            let written = text.get(span.start..span.end).unwrap_or_default();
            let verbatim_at = written.find(&content).map(|at| span.start + at);
            Value::Scalar(Scalar { text: content, kind: ScalarKind::Text, verbatim_at })
        }
    };
    Node { value, span }
}

fn span_of<T>(value: &Spanned<T>, text: &str) -> Span {
    let span = value.defined.span();
    let start = span.byte_offset().map_or(0, to_usize).min(text.len());
    let end = span.byte_len().map_or(start, |length| start.saturating_add(to_usize(length))).min(text.len());
    Span { start, end }
}
