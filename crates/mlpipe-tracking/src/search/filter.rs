//! Filters.

use super::grammar::{Column, Grammar, Kind, is_number};
use super::lexer::{Token, tokens};
use crate::{Error, Result};

/// How two values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comparator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Like,
    Ilike,
}

impl Comparator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "=" | "==" => Self::Equal,
            "!=" => Self::NotEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterOrEqual,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            "LIKE" => Self::Like,
            "ILIKE" => Self::Ilike,
            _ => return None,
        })
    }

    /// Returns SQL's word for it.
    pub(crate) fn sql(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "<>",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Like => "LIKE",
            Self::Ilike => "ILIKE",
        }
    }

    fn is_for_numbers(self) -> bool {
        !matches!(self, Self::Like | Self::Ilike)
    }

    fn is_for_text(self) -> bool {
        matches!(self, Self::Equal | Self::NotEqual | Self::Like | Self::Ilike)
    }
}

/// What must be true of a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Test {
    /// It compares so with a number.
    Number(Comparator, f64),
    /// It compares so with a whole number.
    Integer(Comparator, i64),
    /// It compares so with text.
    Text(Comparator, String),
    /// It is one of these.
    In(Vec<String>),
    /// It is none of these.
    NotIn(Vec<String>),
    /// The entity does not have it.
    IsNull,
    /// The entity has it.
    IsNotNull,
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) column: Column,
    pub(crate) test: Test,
}

/// Parses a filter; an empty one has no conditions.
pub(crate) fn parse_filter(filter: &str, grammar: Grammar) -> Result<Vec<Clause>> {
    let tokens = tokens(filter)?;
    if tokens.iter().any(|token| matches!(token, Token::Operator(sign) if sign == ";")) {
        return Err(Error::invalid(format!(
            "Search filter contained multiple expression '{filter}'. Provide AND-ed expression list."
        )));
    }
    let mut clauses = Vec::new();
    let mut rest = tokens.as_slice();
    while !rest.is_empty() {
        let (clause, length) = clause(rest, grammar)?;
        clauses.push(clause);
        rest = &rest[length..];
        rest = match rest {
            [] => rest,
            [and, _, ..] if and.is_word("AND") => &rest[1..],
            _ => return Err(invalid_clauses(rest)),
        };
    }
    Ok(clauses)
}

fn invalid_clauses(tokens: &[Token]) -> Error {
    let tokens = tokens.iter().map(|token| format!("'{}'", token.source())).collect::<Vec<_>>().join(", ");
    Error::invalid(format!("Invalid clause(s) in filter string: {tokens}"))
}

/// Parses the clause that tokens begin with; returns how many tokens it has.
fn clause(tokens: &[Token], grammar: Grammar) -> Result<(Clause, usize)> {
    let Some(Token::Name(name)) = tokens.first() else {
        let found = tokens.first().map(Token::source).unwrap_or_default();
        return Err(Error::invalid(format!("Invalid comparison clause. Expected 'Identifier' found '{found}'")));
    };
    let rest = &tokens[1..];
    let (test, length) = match rest {
        [is, not, null, ..] if is.is_word("IS") && not.is_word("NOT") && null.is_word("NULL") => {
            (null_test(grammar, name, Test::IsNotNull)?, 3)
        }
        [is, null, ..] if is.is_word("IS") && null.is_word("NULL") => (null_test(grammar, name, Test::IsNull)?, 2),
        [not, word, mark, ..] if not.is_word("NOT") && word.is_word("IN") && *mark == Token::Mark('(') => {
            let (values, length) = list(grammar, name, &rest[2..])?;
            (Test::NotIn(values), 2 + length)
        }
        [word, mark, ..] if word.is_word("IN") && *mark == Token::Mark('(') => {
            let (values, length) = list(grammar, name, &rest[1..])?;
            (Test::In(values), 1 + length)
        }
        [Token::Operator(comparator) | Token::Name(comparator), value, ..] => {
            (comparison(grammar, name, comparator, value)?, 2)
        }
        _ => return Err(invalid_clauses(tokens)),
    };
    Ok((Clause { column: grammar.filtered(name)?, test }, length + 1))
}

fn null_test(grammar: Grammar, name: &str, test: Test) -> Result<Test> {
    let column = grammar.filtered(name)?;
    if grammar.has_null_tests(column.kind) {
        return Ok(test);
    }
    let supported = match grammar {
        Grammar::Runs => "tags and params",
        _ => "tags",
    };
    Err(Error::invalid(format!(
        "IS NULL / IS NOT NULL is only supported for {supported}, not for '{}' '{}'",
        column.kind.word(),
        column.key
    )))
}

/// Parses a list in parentheses; returns how many tokens it has.
fn list(grammar: Grammar, name: &str, tokens: &[Token]) -> Result<(Vec<String>, usize)> {
    let column = grammar.filtered(name)?;
    let listable = grammar.listable();
    let is_listable = match column.kind {
        Kind::Attribute => listable.contains(&grammar.attribute_name(&column)),
        Kind::Dataset => true,
        _ => {
            return Err(Error::invalid(format!(
                "Expected a quoted string value for {} (e.g. 'my-value'). Got value a list",
                column.kind.word()
            )));
        }
    };
    if !is_listable {
        return Err(Error::invalid(format!(
            "Only {} attributes support comparison with a list of quoted string values.",
            format!("{listable:?}").replace('"', "'")
        )));
    }
    let end = tokens.iter().position(|token| *token == Token::Mark(')')).ok_or_else(|| invalid_clauses(tokens))?;
    let mut values = Vec::new();
    for (index, token) in tokens[1..end].iter().enumerate() {
        match (token, index % 2) {
            (Token::Text { value, .. }, 0) => values.push(value.clone()),
            (Token::Mark(','), 1) => {}
            _ => {
                return Err(Error::invalid(format!(
                    "While parsing a list in the query, expected string value, punctuation, or whitespace, but got \
                     different type in list: {}",
                    token.source()
                )));
            }
        }
    }
    if values.is_empty() {
        return Err(Error::invalid(
            "While parsing a list in the query, expected a non-empty list of string values, but got empty list",
        ));
    }
    Ok((values, end + 1))
}

fn comparison(grammar: Grammar, name: &str, comparator: &str, value: &Token) -> Result<Test> {
    let column = grammar.filtered(name)?;
    let is_number = is_number(grammar, &column);
    let parsed = Comparator::parse(comparator);
    let fits = |parsed: &Comparator| if is_number { parsed.is_for_numbers() } else { parsed.is_for_text() };
    let Some(parsed) = parsed.filter(fits) else {
        let valid = if is_number { "'>', '>=', '!=', '=', '<', '<='" } else { "'!=', '=', 'LIKE', 'ILIKE'" };
        return Err(Error::invalid(format!("Invalid comparator '{comparator}' not one of '{{{valid}}}'")));
    };
    match (is_number, value) {
        (true, Token::Number(text)) => number(&column, parsed, text),
        (false, Token::Text { value, .. }) => Ok(Test::Text(parsed, value.clone())),
        (true, other) => Err(expected_number(&column, other)),
        (false, other) => Err(expected_text(&column, other)),
    }
}

fn number(column: &Column, comparator: Comparator, text: &str) -> Result<Test> {
    if let (Kind::Attribute, Ok(number)) = (column.kind, text.parse()) {
        return Ok(Test::Integer(comparator, number));
    }
    match text.parse::<f64>() {
        Ok(number) => Ok(Test::Number(comparator, number)),
        Err(_) => Err(expected_number(column, &Token::Number(text.to_owned()))),
    }
}

fn expected_number(column: &Column, found: &Token) -> Error {
    Error::invalid(match column.kind {
        Kind::Attribute => {
            format!("Expected numeric value type for numeric attribute: {}. Found {}", column.key, found.source())
        }
        _ => format!("Expected numeric value type for metric. Found {}", found.source()),
    })
}

fn expected_text(column: &Column, found: &Token) -> Error {
    let found = found.source();
    Error::invalid(match column.kind {
        Kind::Attribute => format!("Expected a quoted string value for attributes. Got value {found}"),
        Kind::Dataset => format!("Expected a quoted string value for dataset attributes. Got value {found}"),
        kind => format!("Expected a quoted string value for {} (e.g. 'my-value'). Got value {found}", kind.word()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(filter: &str, grammar: Grammar) -> Clause {
        let mut clauses = parse_filter(filter, grammar).unwrap_or_else(|error| panic!("{filter}: {error}"));
        assert_eq!(clauses.len(), 1, "{filter}");
        clauses.remove(0)
    }

    #[test]
    fn names_lead_to_columns() {
        for (name, kind, key) in [
            ("metrics.dice", Kind::Metric, "dice"),
            ("metric.`a b`", Kind::Metric, "a b"),
            ("metrics.\"a.b\"", Kind::Metric, "a.b"),
            ("metrics.train.loss", Kind::Metric, "train.loss"),
        ] {
            let column = Column { kind, key: key.to_owned() };
            assert_eq!(one(&format!("{name} > 1"), Grammar::Runs).column, column, "{name}");
        }
        for (name, kind, key) in [
            ("parameters.lr", Kind::Param, "lr"),
            ("tags.mlflow.runName", Kind::Tag, "mlflow.runName"),
            ("tag.`odd key!`", Kind::Tag, "odd key!"),
            ("attributes.`Run Name`", Kind::Attribute, "name"),
            ("status", Kind::Attribute, "status"),
            ("attr.run_id", Kind::Attribute, "run_id"),
            ("dataset.digest", Kind::Dataset, "digest"),
        ] {
            let column = Column { kind, key: key.to_owned() };
            assert_eq!(one(&format!("{name} = 'x'"), Grammar::Runs).column, column, "{name}");
        }
    }

    #[test]
    fn values_keep_their_type() {
        let test = |filter| one(filter, Grammar::Runs).test;
        assert_eq!(test("metrics.a > -1e3"), Test::Number(Comparator::Greater, -1000.0));
        assert_eq!(test("start_time <= 5"), Test::Integer(Comparator::LessOrEqual, 5));
        assert_eq!(test("params.a ilike \"x%\""), Test::Text(Comparator::Ilike, "x%".to_owned()));
        assert_eq!(test("run_id NOT IN ('a', 'b')"), Test::NotIn(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(test("tags.a is not null"), Test::IsNotNull);
    }

    #[test]
    fn what_mlflow_refuses_is_refused() {
        for filter in [
            "dice > 0.9",
            "metrics.dice",
            "metrics.dice > 'a'",
            "metrics.dice > \"1\"",
            "params.model > 'a'",
            "params.model = unet",
            "metrics.dice > 0.9 OR metrics.dice < 0.1",
            "(metrics.dice > 0.9)",
            "metrics.dice LIKE '%'",
            "foo.bar = 'x'",
            "attributes.nonsense = 'x'",
            "params.model = 'a",
            "status > 'FINISHED'",
            "start_time = 'abc'",
            "tags.team IN ('a')",
            "status IN ('FINISHED')",
            "params.'acc = LR'",
            "1 = 1",
            "attributes.lifecycle_stage = 'active'",
            "run_id IN ()",
            "run_id IN ('a' 'b')",
            "run_id IN ('a'",
            "metrics.dice > 0.9 AND",
            "AND metrics.dice > 0.9",
            "metrics.dice > 0.9; metrics.dice > 0.9",
            "metrics.a IS NULL",
            "params.a <> 'x'",
        ] {
            let error = parse_filter(filter, Grammar::Runs).expect_err(filter);
            assert_eq!(error.code(), crate::ErrorCode::InvalidParameterValue, "{filter}");
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic() {
        // Every string of up to six of these pieces, walked by a counter: what breaks parsers is how pieces meet.
        let pieces = [
            "a", "metrics.", "`", "\"", "'", " ", "=", ">", "1", ".", "-", "e", "IN", "(", ")", ",", "é", "\\", ";",
            "NOT",
        ];
        let mut state = 1_u64;
        for _ in 0..60_000 {
            let mut text = String::new();
            for _ in 0..6 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text += pieces[(state >> 33) as usize % pieces.len()];
            }
            for grammar in [Grammar::Runs, Grammar::LoggedModels, Grammar::ModelVersions] {
                let _ = parse_filter(&text, grammar);
                let _ = super::super::parse_order(&text, grammar);
            }
        }
    }
}
