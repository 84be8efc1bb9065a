//! How two results of an output are compared when a run is reproduced: the key `compare` of an output.
//!
//! Read and checked here; comparing is the engine's business. Comparators of special file formats are not known here: the
//! command says which there are ([`ForeignComparator`]).

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::fields::{Fields, Keys, Reader};
use crate::params::finite;
use crate::project::OutputKind;
use crate::yaml::{Key, Node, Value};

const JSON: Keys = Keys { of: "the comparator `json`", known: &["rtol", "atol", "ignore"], not_yet: &[] };
const ARRAY: Keys = Keys { of: "the comparator `array`", known: &["rtol", "atol"], not_yet: &[] };
const TEXT: Keys = Keys { of: "the comparator `text`", known: &["ignore_lines"], not_yet: &[] };
/// The comparators of every pipeline.
const OWN: [&str; 4] = ["bytes", "json", "array", "text"];

/// One way of comparing the files of an output. Files that no comparator of an output takes are compared byte by byte.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparator {
    /// Parsed JSON: order of keys and layout do not count.
    Json {
        /// How far numbers may differ.
        tolerance: Tolerance,
        /// Paths of values that do not count, as in `findings.*.probability`: `*` is any key or index.
        ignore: Vec<String>,
    },
    /// NumPy arrays (`.npy`) of the same shape and type.
    Array(Tolerance),
    /// Lines of text.
    Text {
        /// A line that holds one of these texts does not count.
        ignore_lines: Vec<String>,
    },
    /// A comparator that the command brings.
    Foreign {
        /// Its name.
        name: String,
        /// Its settings, which [`ForeignComparator::check`] has accepted.
        settings: Map<String, Json>,
    },
}

/// How far a number may be from the original: `|a - b| <= atol + rtol * |a|`, `a` being the original, as in
/// `numpy.allclose`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Tolerance {
    /// Relative to the original.
    pub rtol: f64,
    /// Absolute.
    pub atol: f64,
}

/// A comparator that the command brings.
#[derive(Debug, Clone, Copy)]
pub struct ForeignComparator {
    /// The key under `compare:`.
    pub name: &'static str,
    /// Says what is wrong with the settings.
    pub check: fn(&Map<String, Json>) -> Result<(), String>,
}

impl Comparator {
    /// Returns the comparator's name in MLproject files.
    pub fn name(&self) -> &str {
        match self {
            Self::Json { .. } => "json",
            Self::Array(_) => "array",
            Self::Text { .. } => "text",
            Self::Foreign { name, .. } => name,
        }
    }
}

/// Returns the comparators of an output, empty for `bytes`. A file has one; a directory may have one per kind of file.
pub(crate) fn read(
    reader: &mut Reader,
    node: &Node,
    kind: OutputKind,
    foreign: &[ForeignComparator],
) -> Option<Vec<Comparator>> {
    match &node.value {
        Value::Scalar(scalar) if scalar.text == "bytes" => return Some(Vec::new()),
        Value::Map(_) => {}
        _ => {
            let help = "write compare: bytes, or a mapping as in compare: {json: {rtol: 1e-5}}";
            reader.report(node.span, "`compare` must be `bytes` or a mapping").help(help);
            return None;
        }
    }
    let entries = reader.entries(node, "`compare`")?;
    if let Some((key, _)) = entries.iter().find(|(key, _)| JSON.known.contains(&key.text.as_str())) {
        return short_form(reader, key, node, kind);
    }
    let mut comparators = Vec::with_capacity(entries.len());
    for (key, node) in &entries {
        comparators.extend(one(reader, key, node, foreign)?);
    }
    if let [_, (second, _), ..] = entries.as_slice()
        && matches!(kind, OutputKind::File | OutputKind::Json)
    {
        reader.report(second.span, "a file is compared in one way").help("several comparators are for directories");
        return None;
    }
    Some(comparators)
}

/// `{rtol, atol, ignore}` without a comparator's name means `json` for an output of that type.
fn short_form(reader: &mut Reader, key: &Key, node: &Node, kind: OutputKind) -> Option<Vec<Comparator>> {
    if kind == OutputKind::Json {
        return json(reader, node).map(|comparator| vec![comparator]);
    }
    let message = format!("`{}` needs the name of a comparator around it", key.text);
    reader.report(key.span, message).help(format!("write compare: {{array: {{{}: ...}}}}", key.text));
    None
}

fn one(reader: &mut Reader, key: &Key, node: &Node, foreign: &[ForeignComparator]) -> Option<Option<Comparator>> {
    match key.text.as_str() {
        "bytes" => Some(None),
        "json" => json(reader, node).map(Some),
        "array" => {
            let fields = reader.fields(node, "`array`", &ARRAY)?;
            Some(Some(Comparator::Array(tolerance(reader, &fields)?)))
        }
        "text" => text(reader, key, node).map(Some),
        name => {
            let Some(found) = foreign.iter().find(|candidate| candidate.name == name) else {
                let known = OWN.into_iter().chain(foreign.iter().map(|foreign| foreign.name));
                reader.out.unknown(&reader.source, key.span, format!("there is no comparator `{name}`"), name, known);
                return None;
            };
            let Json::Object(settings) = reader.json(node)? else {
                reader.report(node.span, format!("the settings of `{name}` must be a mapping"));
                return None;
            };
            if let Err(message) = (found.check)(&settings) {
                reader.report(node.span, format!("comparator `{name}`: {message}"));
                return None;
            }
            Some(Some(Comparator::Foreign { name: name.to_owned(), settings }))
        }
    }
}

fn json(reader: &mut Reader, node: &Node) -> Option<Comparator> {
    let fields = reader.fields(node, "`json`", &JSON)?;
    let tolerance = tolerance(reader, &fields)?;
    let ignore = match fields.get("ignore") {
        Some(node) => texts(reader, node, "`ignore`")?,
        None => Vec::new(),
    };
    Some(Comparator::Json { tolerance, ignore })
}

fn text(reader: &mut Reader, key: &Key, node: &Node) -> Option<Comparator> {
    let fields = reader.fields(node, "`text`", &TEXT)?;
    let Some(node) = fields.get("ignore_lines") else {
        let help = "write text: {ignore_lines: [\"made at\"]}; without it use bytes";
        reader.report(key.span, "the comparator `text` needs `ignore_lines`").help(help);
        return None;
    };
    let ignore_lines = texts(reader, node, "`ignore_lines`")?;
    Some(Comparator::Text { ignore_lines })
}

fn tolerance(reader: &mut Reader, fields: &Fields) -> Option<Tolerance> {
    let mut number = |name: &str| {
        let Some(node) = fields.get(name) else { return Some(0.0) };
        let scalar = reader.scalar(node, &format!("`{name}`"))?;
        let number = finite(&scalar.text).filter(|number| *number >= 0.0);
        if number.is_none() {
            reader.report(node.span, format!("`{name}` must be a number from 0, not `{}`", scalar.text));
        }
        number
    };
    let (rtol, atol) = (number("rtol"), number("atol"));
    Some(Tolerance { rtol: rtol?, atol: atol? })
}

/// A list of texts that are not empty, or one of them.
fn texts(reader: &mut Reader, node: &Node, what: &str) -> Option<Vec<String>> {
    let items = reader.items(node, what)?;
    let mut texts = Vec::with_capacity(items.len());
    for item in items {
        let scalar = reader.scalar(item, &format!("an entry of {what}"))?;
        if scalar.text.is_empty() {
            reader.report(item.span, format!("an entry of {what} is empty"));
            return None;
        }
        texts.push(scalar.text.clone());
    }
    Some(texts)
}
