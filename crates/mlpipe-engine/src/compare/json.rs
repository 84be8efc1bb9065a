//! Compares JSON documents: numbers within a tolerance, everything else exactly; order of keys and layout do not count.

use std::collections::BTreeSet;

use mlpipe_spec::Tolerance;
use serde_json::Value;

use super::tally::{Compared, Difference, Number};

/// Compares two documents; values at the paths in `ignore` do not count.
///
/// # Errors
/// A message when one of them is not JSON.
pub(super) fn compare(
    original: &[u8],
    rerun: &[u8],
    tolerance: Tolerance,
    ignore: &[String],
) -> Result<Compared, String> {
    let parse = |bytes: &[u8], which: &str| {
        serde_json::from_slice::<Value>(bytes).map_err(|error| format!("the {which} is not JSON: {error}"))
    };
    let (original, rerun) = (parse(original, "original")?, parse(rerun, "rerun")?);
    let patterns: Vec<Pattern> = ignore.iter().map(|text| pattern(text)).collect();
    let mut comparison = Comparison { tolerance, ignore: &patterns, place: Vec::new(), compared: Compared::default() };
    comparison.values(&original, &rerun);
    Ok(comparison.compared)
}

/// Returns a document without what does not count, written in one way; none when it is not JSON.
pub(super) fn what_counts(bytes: &[u8], ignore: &[String]) -> Option<Vec<u8>> {
    let document: Value = serde_json::from_slice(bytes).ok()?;
    let patterns: Vec<Pattern> = ignore.iter().map(|text| pattern(text)).collect();
    let kept = canonical(document, &patterns, &mut Vec::new());
    serde_json::to_vec(&kept).ok()
}

/// A path with `*` for any key or index: `a.*.b`, `a[3].b`.
type Pattern = Vec<String>;

fn pattern(text: &str) -> Pattern {
    let dotted = text.replace('[', ".").replace(']', "");
    dotted.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn is_ignored(place: &[Step], patterns: &[Pattern]) -> bool {
    let fits = |step: &Step, part: &String| part == "*" || step.text() == *part;
    patterns
        .iter()
        .any(|pattern| pattern.len() == place.len() && place.iter().zip(pattern).all(|(step, part)| fits(step, part)))
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn text(&self) -> String {
        match self {
            Self::Key(key) => key.clone(),
            Self::Index(index) => index.to_string(),
        }
    }
}

/// `findings[3].probability`; `$` for the document itself.
fn written(place: &[Step]) -> String {
    let mut text = String::new();
    for step in place {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    if text.is_empty() { "$".into() } else { text }
}

struct Comparison<'a> {
    tolerance: Tolerance,
    ignore: &'a [Pattern],
    place: Vec<Step>,
    compared: Compared,
}

impl Comparison<'_> {
    fn values(&mut self, original: &Value, rerun: &Value) {
        match (original, rerun) {
            (Value::Object(a), Value::Object(b)) => {
                let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
                for key in keys {
                    self.entry(Step::Key(key.clone()), a.get(key), b.get(key));
                }
            }
            (Value::Array(a), Value::Array(b)) => {
                for index in 0..a.len().max(b.len()) {
                    self.entry(Step::Index(index), a.get(index), b.get(index));
                }
            }
            (Value::Number(a), Value::Number(b)) => {
                let place = &self.place;
                self.compared.numbers(self.tolerance, number(a), number(b), || written(place));
            }
            (a, b) if a == b => {}
            (a, b) => self.compared.differ(Difference::values(written(&self.place), a, b)),
        }
    }

    fn entry(&mut self, step: Step, original: Option<&Value>, rerun: Option<&Value>) {
        self.place.push(step);
        if !is_ignored(&self.place, self.ignore) {
            match (original, rerun) {
                (Some(original), Some(rerun)) => self.values(original, rerun),
                (original, rerun) => {
                    let value = |value: Option<&Value>| value.map(|value| Difference::values("", value, "").original);
                    self.compared.differ(Difference {
                        original: value(original).flatten(),
                        rerun: value(rerun).flatten(),
                        ..Difference::at(written(&self.place))
                    });
                }
            }
        }
        self.place.pop();
    }
}

fn number(number: &serde_json::Number) -> Number {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    whole.map_or_else(|| Number::Real(number.as_f64().unwrap_or(f64::NAN)), Number::Whole)
}

/// Sorts keys, writes whole numbers without a point and leaves out what is ignored.
fn canonical(value: Value, ignore: &[Pattern], place: &mut Vec<Step>) -> Value {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<(String, Value)> = entries.into_iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            let kept = entries.into_iter().filter_map(|(key, value)| {
                canonical_entry(Step::Key(key.clone()), value, ignore, place).map(|value| (key, value))
            });
            Value::Object(kept.collect())
        }
        Value::Array(items) => {
            let items = items.into_iter().enumerate();
            // A placeholder keeps the number of items.
            let kept = items
                .map(|(index, value)| canonical_entry(Step::Index(index), value, ignore, place).unwrap_or(Value::Null));
            Value::Array(kept.collect())
        }
        Value::Number(written) => match number(&written) {
            #[expect(clippy::cast_possible_truncation, reason = "the number was just found to be whole and small")]
            Number::Real(real) if real.fract() == 0.0 && real.abs() < 9e15 => Value::from(real as i64),
            _ => Value::Number(written),
        },
        other => other,
    }
}

fn canonical_entry(step: Step, value: Value, ignore: &[Pattern], place: &mut Vec<Step>) -> Option<Value> {
    place.push(step);
    let kept = (!is_ignored(place, ignore)).then(|| canonical(value, ignore, place));
    place.pop();
    kept
}
