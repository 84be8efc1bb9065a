//! One condition on an attribute's value, as written in a rule: a value, `/expression/`, a range, a relation, `!` before
//! any of them.

use std::fmt;

use regex::{Regex, RegexBuilder};
use serde_json::Value;

/// Bytes that a compiled expression may take: an expression of a few characters can ask for gigabytes.
const MOST_EXPRESSION_BYTES: usize = 1 << 20;

/// What a value must be.
#[derive(Debug, Clone)]
pub(crate) enum Condition {
    /// The whole value, or one of its parts between backslashes; numbers compare as numbers.
    Is(String),
    /// Found somewhere in the value.
    Matches(String, Regex),
    /// A number within bounds, the bounds included unless strict.
    Within { text: String, min: Bound, max: Bound },
    /// None of the values may be this.
    Not(Box<Condition>),
}

/// An end of a range: the number, and whether it is excluded.
pub(crate) type Bound = Option<(f64, bool)>;

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

impl Eq for Condition {}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Is(text) | Condition::Matches(text, _) | Condition::Within { text, .. } => out.write_str(text),
            Condition::Not(condition) => write!(out, "!{condition}"),
        }
    }
}

impl Condition {
    /// Reads the value of a rule: one condition or a list of them.
    pub(crate) fn read_all(value: &Value) -> Result<Vec<Condition>, String> {
        match value {
            Value::Array(values) if !values.is_empty() => values.iter().map(Condition::read).collect(),
            value => Ok(vec![Condition::read(value)?]),
        }
    }

    fn read(value: &Value) -> Result<Condition, String> {
        match value {
            Value::String(text) => Condition::of_text(text),
            Value::Number(number) => Ok(Condition::Is(number.to_string())),
            Value::Object(bounds) => {
                let known = |key: &String| matches!(key.as_str(), "min" | "max");
                if bounds.is_empty() || !bounds.keys().all(known) || !bounds.values().all(Value::is_number) {
                    return Err(format!("{value} is not a range such as {{min: 1, max: 4}}"));
                }
                let bound = |key: &str| bounds.get(key).and_then(Value::as_f64).map(|number| (number, false));
                let written = |key: &str| bounds.get(key).map(Value::to_string).unwrap_or_default();
                let text = format!("{}..{}", written("min"), written("max"));
                range(text, bound("min"), bound("max"))
            }
            other => Err(format!("{other} is not a text, a number, a range or a list of them")),
        }
    }

    fn of_text(text: &str) -> Result<Condition, String> {
        if let Some(rest) = text.strip_prefix('!').filter(|rest| !rest.is_empty() && !rest.starts_with('!')) {
            return Ok(Condition::Not(Box::new(Condition::of_text(rest.trim_start_matches('=').trim())?)));
        }
        for (sign, strict) in [(">=", false), ("<=", false), (">", true), ("<", true)] {
            if let Some(number) = text.strip_prefix(sign) {
                let number = number.trim();
                let bound = number.parse().map_err(|_| format!("`{number}` after `{sign}` is not a number"))?;
                let bound = Some((bound, strict));
                let (min, max) = if sign.starts_with('>') { (bound, None) } else { (None, bound) };
                return range(text.to_owned(), min, max);
            }
        }
        let expression = text.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
        match expression {
            Some((expression, flags @ ("" | "i"))) => {
                let built = RegexBuilder::new(expression)
                    .case_insensitive(flags == "i")
                    .size_limit(MOST_EXPRESSION_BYTES)
                    .build();
                let built = built.map_err(|error| format!("`{text}` is not an expression: {error}"))?;
                Ok(Condition::Matches(text.to_owned(), built))
            }
            _ => Ok(Condition::Is(text.to_owned())),
        }
    }

    pub(crate) fn is_exclusion(&self) -> bool {
        matches!(self, Condition::Not(_))
    }

    /// Returns whether a value is what the condition names; for an exclusion, what must not be.
    pub(crate) fn names(&self, found: &str) -> bool {
        match self {
            Condition::Is(wanted) => same(found, wanted) || found.split('\\').any(|part| same(part, wanted)),
            Condition::Matches(_, expression) => expression.is_match(found),
            Condition::Within { min, max, .. } => {
                let inside = |number: f64| {
                    min.is_none_or(|(min, strict)| number > min || !strict && number == min)
                        && max.is_none_or(|(max, strict)| number < max || !strict && number == max)
                };
                found.split('\\').all(|part| part.parse().is_ok_and(inside))
            }
            Condition::Not(condition) => condition.names(found),
        }
    }
}

fn range(text: String, min: Bound, max: Bound) -> Result<Condition, String> {
    match (min, max) {
        (Some((low, _)), Some((high, _))) if low > high => Err(format!("nothing lies in the range {text}")),
        _ if [min, max].iter().flatten().any(|(number, _)| !number.is_finite()) => Err(format!("{text} is not finite")),
        _ => Ok(Condition::Within { text, min, max }),
    }
}

fn same(found: &str, wanted: &str) -> bool {
    found == wanted || matches!((found.parse::<f64>(), wanted.parse::<f64>()), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(condition: Value, found: &str) -> bool {
        Condition::read(&condition).expect("a condition").names(found)
    }

    #[test]
    fn values_match_whole_in_part_or_as_numbers() {
        assert!(names(json!("PRIMARY"), "ORIGINAL\\PRIMARY"));
        assert!(names(json!(98), "98.0"));
        assert!(!names(json!("MR"), "MRX"));
    }

    #[test]
    fn expressions_are_found_anywhere_and_may_ignore_case() {
        assert!(names(json!("/t2/i"), "Sag T2 TSE"));
        assert!(!names(json!("/t2/"), "Sag T2 TSE"));
        assert!(names(json!("/^Sag/"), "Sag T2 TSE"));
    }

    #[test]
    fn ranges_include_their_ends_and_relations_say_so() {
        assert!(names(json!({"min": 3, "max": 5}), "5.0") && names(json!({"min": 3}), "3"));
        assert!(!names(json!({"max": 5}), "5.01") && !names(json!({"max": 5}), "thin"));
        assert!(names(json!(">= 3"), "3") && !names(json!("> 3"), "3") && names(json!("<4"), "3.9"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in
            [json!("/(/"), json!(">= much"), json!({"min": 5, "max": 3}), json!({"from": 1}), json!(null), json!({})]
        {
            assert!(Condition::read(&wrong).is_err(), "{wrong}");
        }
        assert!(Condition::read(&json!("/(a{1000}){1000}/")).is_err(), "too large");
    }
}
