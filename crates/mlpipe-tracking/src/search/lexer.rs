//! Words of a filter.

use crate::{Error, Result};

/// A word, with its text as it stands in the filter where an error would quote it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// A name, with dots and quoted parts, as it stands: `metrics."f1 score"`.
    Name(String),
    /// Text in single or double quotes, without them.
    Text {
        /// What is between the quotes.
        value: String,
        /// Whether the quotes are double ones, which SQL has for names.
        is_double: bool,
    },
    /// A number, as it stands.
    Number(String),
    /// `=`, `!=`, `>`, ...; or a sign that means nothing here.
    Operator(String),
    /// `(`, `)` or `,`.
    Mark(char),
}

impl Token {
    /// Returns the token as it stands in the filter.
    pub(super) fn source(&self) -> String {
        match self {
            Self::Name(text) | Self::Number(text) | Self::Operator(text) => text.clone(),
            Self::Text { value, is_double: false } => format!("'{value}'"),
            Self::Text { value, is_double: true } => format!("\"{value}\""),
            Self::Mark(mark) => mark.to_string(),
        }
    }

    /// Returns whether it is the keyword `word`, in any case.
    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Name(text) if text.eq_ignore_ascii_case(word))
    }
}

/// Splits a filter into words.
pub(super) fn tokens(filter: &str) -> Result<Vec<Token>> {
    let mut rest = filter.trim_start();
    let mut tokens = Vec::new();
    while let Some(first) = rest.chars().next() {
        let (token, length) = match first {
            '\'' | '"' => quoted(rest, first, filter)?,
            '(' | ')' | ',' => (Token::Mark(first), 1),
            '=' | '!' | '<' | '>' => {
                let length = prefix(rest, |letter| matches!(letter, '=' | '!' | '<' | '>'));
                (Token::Operator(rest[..length].to_owned()), length)
            }
            '0'..='9' => number(rest, 0),
            '-' | '+' if rest[1..].starts_with(|next: char| next.is_ascii_digit() || next == '.') => number(rest, 1),
            '.' if rest[1..].starts_with(|next: char| next.is_ascii_digit()) => number(rest, 0),
            _ if is_name(first) || first == '`' => name(rest, filter)?,
            other => (Token::Operator(other.to_string()), other.len_utf8()),
        };
        tokens.push(token);
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn prefix(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|letter| !is_part(letter)).unwrap_or(text.len())
}

fn unclosed(filter: &str) -> Error {
    Error::invalid(format!("Invalid clause(s) in filter string: '{filter}': a quote is not closed"))
}

/// Reads text in quotes: up to the next quote that is neither doubled nor behind a backslash.
fn quoted(text: &str, quote: char, filter: &str) -> Result<(Token, usize)> {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        let next_is_quote = letters.peek().is_some_and(|(_, next)| *next == quote);
        match letter {
            '\\' if next_is_quote && text[at + 2..].contains(quote) => drop(letters.next()),
            _ if letter == quote && next_is_quote => drop(letters.next()),
            _ if letter == quote => {
                let token = Token::Text { value: text[1..at].to_owned(), is_double: quote == '"' };
                return Ok((token, at + 1));
            }
            _ => {}
        }
    }
    Err(unclosed(filter))
}

/// Reads a number that begins after `sign` bytes.
fn number(text: &str, sign: usize) -> (Token, usize) {
    let digits = |from: usize| from + prefix(&text[from..], |letter| letter.is_ascii_digit());
    let mut end = digits(sign);
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let signed = end + 1 + usize::from(text[end + 1..].starts_with(['-', '+']));
        if digits(signed) > signed {
            end = digits(signed);
        }
    }
    (Token::Number(text[..end].to_owned()), end)
}

/// Reads a name: parts of letters, digits and underscores, or in backticks or double quotes, with dots between them.
fn name(text: &str, filter: &str) -> Result<(Token, usize)> {
    let mut end = 0;
    loop {
        let rest = &text[end..];
        end += match rest.chars().next() {
            Some(quote @ ('`' | '"')) => rest[1..].find(quote).map(|at| at + 2).ok_or_else(|| unclosed(filter))?,
            _ => prefix(rest, is_name),
        };
        if !text[end..].starts_with('.') {
            return Ok((Token::Name(text[..end].to_owned()), end));
        }
        end += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_told_apart() {
        let found: Vec<_> = tokens("metrics.`a b` >= -1.5e3 AND run_id IN ('x','it''s')")
            .expect("read")
            .iter()
            .map(Token::source)
            .collect();
        assert_eq!(found, ["metrics.`a b`", ">=", "-1.5e3", "AND", "run_id", "IN", "(", "'x'", ",", "'it''s'", ")"]);
    }

    #[test]
    fn quote_that_is_not_closed_is_refused() {
        for filter in ["params.a = 'x", "params.`a = 'x'", "'", "\"", "`", "a.`"] {
            assert!(tokens(filter).is_err(), "{filter}");
        }
    }
}
