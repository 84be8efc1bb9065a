//! Expressions: `${{ ... }}` in values, and the bare references of `for_each:` and `outputs:`.
//!
//! Only the form is checked here; whether a name exists, and whether it may be used where it stands, is for the checks
//! of steps.

use crate::diagnostics::listed;
use crate::source::Span;
use crate::yaml::{Node, Scalar};

/// A piece of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(String),
    Lookup(Lookup),
}

/// What an expression looks up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// `params.<name>`
    Param(Name),
    /// `inputs.<name>`
    Input(Name),
    /// `item.<variable>`
    Item(Name),
    /// `steps.<step>` or, where a bare step name is allowed, `<step>`
    Step(Name),
    /// `steps.<step>.outputs.<output>`
    Output { step: Name, output: Name },
    /// `gather(steps.<step>.outputs.<output>, over='<variable>')`
    Gather { step: Name, output: Name, over: Name },
}

/// A name in an expression with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) text: String,
    pub(crate) span: Span,
}

/// A mistake in the form of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) span: Span,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

const OPEN: &str = "${{";
const CLOSE: &str = "}}";

/// Functions of the expression language that are understood but refused.
const FUNCTIONS_NOT_YET: [&str; 3] = ["len", "count", "default"];

/// Returns whether a value has an expression in it.
pub(crate) fn has_expression(scalar: &Scalar) -> bool {
    scalar.text.contains(OPEN)
}

/// Returns the pieces of a value in order, or every mistake in the form of its expressions.
pub(crate) fn pieces(node: &Node, scalar: &Scalar) -> Result<Vec<Piece>, Vec<Malformed>> {
    let places = Places { whole: node.span, verbatim_at: scalar.verbatim_at };
    let mut pieces = Vec::new();
    let mut mistakes = Vec::new();
    let mut at = 0;
    while let Some(found) = scalar.text[at..].find(OPEN) {
        let open = at + found;
        if open > at {
            pieces.push(Piece::Text(scalar.text[at..open].to_owned()));
        }
        let inside = open + OPEN.len();
        let Some(length) = scalar.text[inside..].find(CLOSE) else {
            mistakes.push(Malformed {
                span: places.of(open, inside),
                message: "`${{` without `}}`".to_owned(),
                help: None,
            });
            return Err(mistakes);
        };
        let text = &scalar.text[inside..inside + length];
        match Parser::new(text, inside, places).expression() {
            Ok(lookup) => pieces.push(Piece::Lookup(lookup)),
            Err(mistake) => mistakes.push(mistake),
        }
        at = inside + length + CLOSE.len();
    }
    if at < scalar.text.len() {
        pieces.push(Piece::Text(scalar.text[at..].to_owned()));
    }
    if mistakes.is_empty() { Ok(pieces) } else { Err(mistakes) }
}

/// Returns the lookup of a value that is a reference as a whole, with or without `${{ }}`; a step is named with or
/// without `steps.`.
pub(crate) fn bare(node: &Node, scalar: &Scalar) -> Result<Lookup, Malformed> {
    let trimmed = scalar.text.trim();
    let inside = trimmed.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)).unwrap_or(trimmed);
    let offset = scalar.text.find(inside).unwrap_or(0);
    let places = Places { whole: node.span, verbatim_at: scalar.verbatim_at };
    Parser::new(inside, offset, places).bare_reference()
}

/// Turns places in the text of a scalar into places in the file.
#[derive(Debug, Clone, Copy)]
struct Places {
    whole: Span,
    verbatim_at: Option<usize>,
}

impl Places {
    fn of(&self, start: usize, end: usize) -> Span {
        self.verbatim_at.map_or(self.whole, |at| Span { start: at + start, end: at + end })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'t> {
    Name(&'t str),
    Quoted(&'t str),
    Mark(&'t str),
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    offset: usize,
    places: Places,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, offset: usize, places: Places) -> Parser<'t> {
        Parser { text, at: 0, offset, places }
    }

    fn expression(&mut self) -> Result<Lookup, Malformed> {
        let first = self.name("a reference such as `params.name`")?;
        let lookup = if self.next_is("(") { self.call(&first)? } else { self.path(first, false)? };
        self.end()?;
        Ok(lookup)
    }

    fn bare_reference(&mut self) -> Result<Lookup, Malformed> {
        let first = self.name("a reference")?;
        let lookup = self.path(first, true)?;
        self.end()?;
        Ok(lookup)
    }

    fn call(&mut self, function: &Name) -> Result<Lookup, Malformed> {
        if function.text != "gather" {
            let known = FUNCTIONS_NOT_YET.contains(&function.text.as_str());
            let problem = if known { "is not supported yet" } else { "is not a function" };
            return Err(malformed(function.span, format!("`{}()` {problem}", function.text))
                .or_help("the function there is: gather(steps.<step>.outputs.<output>, over='<variable>')"));
        }
        let form = "write gather(steps.<step>.outputs.<output>, over='<variable>')";
        self.mark("(", form)?;
        let first = self.name("`steps.<step>.outputs.<output>`")?;
        let Lookup::Output { step, output } = self.path(first.clone(), false)? else {
            return Err(malformed(first.span, "gather() takes an output of a step").or_help(form));
        };
        self.mark(",", form)?;
        let keyword = self.name("`over='<variable>'`")?;
        if keyword.text != "over" {
            return Err(malformed(keyword.span, format!("gather() has no argument `{}`", keyword.text)).or_help(form));
        }
        self.mark("=", form)?;
        let start = self.skip_space();
        let Some(Token::Quoted(variable)) = self.next()? else {
            return Err(malformed(self.here(start), "the variable after `over=` must be in quotes").or_help(form));
        };
        let over = Name { text: variable.to_owned(), span: self.here(start) };
        self.mark(")", form)?;
        Ok(Lookup::Gather { step, output, over })
    }

    /// Reads `.name` as often as it is there, after the first name.
    fn path(&mut self, first: Name, bare_steps: bool) -> Result<Lookup, Malformed> {
        let mut names = vec![first];
        while self.next_is(".") {
            self.at = self.skip_space() + 1;
            names.push(self.name("a name after `.`")?);
        }
        let whole = Span { start: names[0].span.start, end: names[names.len() - 1].span.end };
        lookup(&names, bare_steps).map_err(|(message, help)| Malformed { span: whole, message, help })
    }

    fn end(&mut self) -> Result<(), Malformed> {
        let start = self.skip_space();
        match self.next()? {
            None => Ok(()),
            Some(Token::Mark(mark)) if !matches!(mark, "(" | ")" | "," | "=" | ".") => {
                Err(malformed(self.here(start), format!("the operator `{mark}` is not supported yet"))
                    .or_help("an expression is one lookup or gather(...)"))
            }
            Some(_) => Err(malformed(self.here(start), "the expression should have ended here")),
        }
    }

    fn name(&mut self, wanted: &str) -> Result<Name, Malformed> {
        let start = self.skip_space();
        match self.next()? {
            Some(Token::Name(name)) => Ok(Name { text: name.to_owned(), span: self.here(start) }),
            Some(Token::Mark(mark @ ("!" | "-"))) => {
                Err(malformed(self.here(start), format!("the operator `{mark}` is not supported yet")))
            }
            _ => Err(malformed(self.here(start), format!("expected {wanted}"))),
        }
    }

    fn mark(&mut self, wanted: &str, help: &str) -> Result<(), Malformed> {
        let start = self.skip_space();
        match self.next()? {
            Some(Token::Mark(mark)) if mark == wanted => Ok(()),
            _ => Err(malformed(self.here(start), format!("expected `{wanted}`")).or_help(help)),
        }
    }

    fn next_is(&mut self, mark: &str) -> bool {
        let start = self.skip_space();
        self.text[start..].starts_with(mark)
    }

    fn skip_space(&mut self) -> usize {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.at
    }

    fn here(&self, start: usize) -> Span {
        self.places.of(self.offset + start, self.offset + self.at.max(start))
    }

    fn next(&mut self) -> Result<Option<Token<'t>>, Malformed> {
        let start = self.skip_space();
        let rest = &self.text[start..];
        let Some(first) = rest.chars().next() else { return Ok(None) };
        let token = if first.is_ascii_alphabetic() || first == '_' {
            let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-');
            Token::Name(&rest[..rest.find(ends).unwrap_or(rest.len())])
        } else if first == '\'' || first == '"' {
            let Some(length) = rest[1..].find(first) else {
                self.at = self.text.len();
                return Err(malformed(self.here(start), "the quoted text has no end"));
            };
            self.at = start + length + 2;
            return Ok(Some(Token::Quoted(&rest[1..=length])));
        } else {
            let pairs = ["==", "!=", "<=", ">=", "&&", "||"];
            let pair = pairs.into_iter().find(|pair| rest.starts_with(pair));
            Token::Mark(&rest[..pair.map_or(first.len_utf8(), str::len)])
        };
        let (Token::Name(text) | Token::Quoted(text) | Token::Mark(text)) = token;
        self.at = start + text.len();
        Ok(Some(token))
    }
}

/// Returns what a dotted path looks up, or a message and help.
fn lookup(names: &[Name], bare_steps: bool) -> Result<Lookup, (String, Option<String>)> {
    let texts: Vec<&str> = names.iter().map(|name| name.text.as_str()).collect();
    let written = texts.join(".");
    let output = |step: &Name, output: &Name| Lookup::Output { step: step.clone(), output: output.clone() };
    match (texts.as_slice(), names) {
        (["params", _], [_, name]) => Ok(Lookup::Param(name.clone())),
        (["inputs", _], [_, name]) => Ok(Lookup::Input(name.clone())),
        (["item", _], [_, name]) => Ok(Lookup::Item(name.clone())),
        (["steps", _, "outputs", _], [_, step, _, name]) => Ok(output(step, name)),
        (["steps", _], [_, step]) if bare_steps => Ok(Lookup::Step(step.clone())),
        ([_], [step]) if bare_steps => Ok(Lookup::Step(step.clone())),
        ([_, "outputs", _], [step, _, name]) if bare_steps => Ok(output(step, name)),
        (["item", _, ..], _) => Err((format!("`{written}`: attributes of an item are not supported yet"), None)),
        (["secrets" | "matrix", ..], _) => Err((format!("`{}` is not supported yet", texts[0]), None)),
        (["steps", step, rest @ ..], _) => {
            let name = rest.iter().find(|name| **name != "outputs").copied().unwrap_or("<output>");
            Err((format!("`{written}` is not a reference"), Some(format!("write steps.{step}.outputs.{name}"))))
        }
        _ => {
            let forms = ["params.<name>", "item.<variable>", "steps.<step>.outputs.<output>"];
            let help = match texts[0] {
                "param" => "did you mean `params`?".to_owned(),
                "items" => "did you mean `item`?".to_owned(),
                "step" => "did you mean `steps`?".to_owned(),
                _ => format!("references are {}", listed(forms.into_iter())),
            };
            Err((format!("`{written}` is not a reference"), Some(help)))
        }
    }
}

fn malformed(span: Span, message: impl Into<String>) -> Malformed {
    Malformed { span, message: message.into(), help: None }
}

impl Malformed {
    fn or_help(self, help: &str) -> Malformed {
        Malformed { help: Some(help.to_owned()), ..self }
    }
}
