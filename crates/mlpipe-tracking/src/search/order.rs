//! Orders.

use super::grammar::{Column, Grammar};
use crate::{Error, Result};

/// One key of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) column: Column,
    pub(crate) ascending: bool,
}

/// Parses one clause of an order: a name, then `ASC`, `DESC` or nothing.
pub(crate) fn parse_order(clause: &str, grammar: Grammar) -> Result<Order> {
    let unparsed = || Error::invalid(format!("Invalid order_by clause '{clause}'. Could not be parsed."));
    let words = words(clause).ok_or_else(unparsed)?;
    let (name, ascending) = match words.as_slice() {
        [name] => (name, true),
        [name, direction] if direction.eq_ignore_ascii_case("asc") => (name, true),
        [name, direction] if direction.eq_ignore_ascii_case("desc") => (name, false),
        [_, _] => return Err(Error::invalid(format!("Invalid ordering key in order_by clause '{clause}'."))),
        _ => return Err(unparsed()),
    };
    Ok(Order { column: grammar.ordered(name)?, ascending })
}

/// Splits at spaces that are not within quotes; none when a quote is not closed.
fn words(clause: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in clause.chars() {
        match quote {
            None if letter.is_whitespace() => {
                words.push(String::new());
                continue;
            }
            None if matches!(letter, '`' | '"') => quote = Some(letter),
            Some(open) if open == letter => quote = None,
            _ => {}
        }
        words.last_mut()?.push(letter);
    }
    words.retain(|word| !word.is_empty());
    quote.is_none().then_some(words)
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;

    #[test]
    fn direction_may_be_left_out() {
        for (clause, key, ascending) in
            [("metrics.dice DESC", "dice", false), ("metric.`a b`", "a b", true), ("metrics.\"a b\"  asc", "a b", true)]
        {
            let order = parse_order(clause, Grammar::Runs).expect(clause);
            assert_eq!((order.column.kind, order.column.key.as_str(), order.ascending), (Kind::Metric, key, ascending));
        }
    }

    #[test]
    fn other_clauses_are_refused() {
        for clause in ["", "nonsense", "metrics.dice SIDEWAYS", "foo.bar", "attributes.x ASC", "a b c", "metrics.`a"] {
            assert!(parse_order(clause, Grammar::Runs).is_err(), "{clause}");
        }
    }
}
