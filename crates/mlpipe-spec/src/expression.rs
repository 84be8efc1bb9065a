//! Expressions: `${{ ... }}` in values, the condition of `if:`, and the bare references of `for_each:` and `outputs:`.
//!
//! Only the form is checked here; whether a name exists, and whether it may be used where it stands, is for the checks
//! of steps.

use crate::diagnostics::listed;
use crate::evaluation::Comparison;
use crate::params::ParamValue;
use crate::source::Span;
use crate::yaml::{Node, Scalar};

/// A piece of a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    Lookup(Lookup),
    /// Anything but a single lookup.
    Formula(Formula),
}

/// An expression as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Formula {
    pub(crate) kind: FormulaKind,
    pub(crate) span: Span,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FormulaKind {
    Literal(ParamValue),
    Lookup(Lookup),
    Not(Box<Formula>),
    And(Box<Formula>, Box<Formula>),
    Or(Box<Formula>, Box<Formula>),
    Compare(Comparison, Box<Formula>, Box<Formula>),
    /// `len(...)`: letters of a text or items of a collection.
    Len(Box<Formula>),
    /// `count(...)`: items of a collection.
    Count(Box<Formula>),
    /// `default(value, otherwise)`
    Default(Box<Formula>, Box<Formula>),
}

impl Formula {
    /// Calls `see` with every lookup in the expression.
    pub(crate) fn for_each_lookup<'f>(&'f self, see: &mut impl FnMut(&'f Lookup)) {
        match &self.kind {
            FormulaKind::Literal(_) => {}
            FormulaKind::Lookup(lookup) => see(lookup),
            FormulaKind::Not(only) | FormulaKind::Len(only) | FormulaKind::Count(only) => only.for_each_lookup(see),
            FormulaKind::And(left, right)
            | FormulaKind::Or(left, right)
            | FormulaKind::Compare(_, left, right)
            | FormulaKind::Default(left, right) => {
                left.for_each_lookup(see);
                right.for_each_lookup(see);
            }
        }
    }
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
    /// `matrix.<axis>`
    Matrix(Name),
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

/// The functions there are.
const FUNCTIONS: [&str; 4] = ["count", "default", "gather", "len"];

/// Operators that compare, the longer of two that start alike first.
const COMPARISONS: [(&str, Comparison); 6] = [
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// Deeper nesting than this is no condition that a person wrote.
const DEEPEST: usize = 64;

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
            Ok(Formula { kind: FormulaKind::Lookup(lookup), .. }) => pieces.push(Piece::Lookup(lookup)),
            Ok(formula) => pieces.push(Piece::Formula(formula)),
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

/// Returns the expression of a value that is one as a whole, with or without `${{ }}`, and its text.
pub(crate) fn condition<'s>(node: &Node, scalar: &'s Scalar) -> Result<(Formula, &'s str), Malformed> {
    let trimmed = scalar.text.trim();
    let inside = trimmed.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)).unwrap_or(trimmed);
    let offset = scalar.text.find(inside).unwrap_or(0);
    let places = Places { whole: node.span, verbatim_at: scalar.verbatim_at };
    Ok((Parser::new(inside, offset, places).expression()?, inside.trim()))
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
    Number(&'t str),
    Mark(&'t str),
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    offset: usize,
    places: Places,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, offset: usize, places: Places) -> Parser<'t> {
        Parser { text, at: 0, offset, places, depth: 0 }
    }

    fn expression(&mut self) -> Result<Formula, Malformed> {
        let formula = self.either()?;
        self.end()?;
        Ok(formula)
    }

    fn either(&mut self) -> Result<Formula, Malformed> {
        let mut left = self.both()?;
        while self.skip("||") {
            let right = self.both()?;
            left = joined(left, right, FormulaKind::Or);
        }
        Ok(left)
    }

    fn both(&mut self) -> Result<Formula, Malformed> {
        let mut left = self.negation()?;
        while self.skip("&&") {
            let right = self.negation()?;
            left = joined(left, right, FormulaKind::And);
        }
        Ok(left)
    }

    fn negation(&mut self) -> Result<Formula, Malformed> {
        let start = self.skip_space();
        if self.next_is("!=") || !self.skip("!") {
            return self.comparison();
        }
        self.depth += 1;
        self.check_depth(start)?;
        let of = self.negation()?;
        self.depth -= 1;
        let span = Span { start: self.places.of(self.offset + start, self.offset + start).start, end: of.span.end };
        Ok(Formula { kind: FormulaKind::Not(Box::new(of)), span })
    }

    fn comparison(&mut self) -> Result<Formula, Malformed> {
        let left = self.primary()?;
        let Some((_, comparison)) = COMPARISONS.into_iter().find(|(mark, _)| self.skip(mark)) else {
            return Ok(left);
        };
        let right = self.primary()?;
        Ok(joined(left, right, |left, right| FormulaKind::Compare(comparison, left, right)))
    }

    fn primary(&mut self) -> Result<Formula, Malformed> {
        let start = self.skip_space();
        if self.skip("(") {
            self.depth += 1;
            self.check_depth(start)?;
            let inner = self.either()?;
            self.depth -= 1;
            self.mark(")", "every `(` needs its `)`")?;
            return Ok(Formula { span: self.here(start), ..inner });
        }
        let kind = match self.next()? {
            Some(Token::Quoted(text)) => FormulaKind::Literal(ParamValue::String(text.to_owned())),
            Some(Token::Number(text)) => FormulaKind::Literal(self.number(text, start)?),
            Some(Token::Name(word @ ("true" | "false"))) => FormulaKind::Literal(ParamValue::Bool(word == "true")),
            Some(Token::Name(name)) => {
                let first = Name { text: name.to_owned(), span: self.here(start) };
                match self.next_is("(") {
                    true => self.call(&first)?,
                    false => FormulaKind::Lookup(self.path(first, false)?),
                }
            }
            _ => return Err(malformed(self.here(start), "expected a reference such as `params.name`")),
        };
        Ok(Formula { kind, span: self.here(start) })
    }

    fn number(&self, text: &str, start: usize) -> Result<ParamValue, Malformed> {
        let whole = text.parse().map(ParamValue::Int).ok();
        whole
            .or_else(|| crate::params::finite(text).map(ParamValue::Float))
            .ok_or_else(|| malformed(self.here(start), format!("`{text}` is not a number")))
    }

    fn check_depth(&self, start: usize) -> Result<(), Malformed> {
        match self.depth > DEEPEST {
            true => Err(malformed(self.here(start), format!("an expression is nested more than {DEEPEST} deep"))),
            false => Ok(()),
        }
    }

    fn bare_reference(&mut self) -> Result<Lookup, Malformed> {
        let first = self.name("a reference")?;
        let lookup = self.path(first, true)?;
        self.end()?;
        Ok(lookup)
    }

    fn call(&mut self, function: &Name) -> Result<FormulaKind, Malformed> {
        match function.text.as_str() {
            "gather" => self.gather().map(FormulaKind::Lookup),
            "len" => Ok(FormulaKind::Len(self.only_argument("write len(...), of a text or a collection")?)),
            "count" => Ok(FormulaKind::Count(self.only_argument("write count(...), of a collection")?)),
            "default" => {
                let form = "write default(<value>, <otherwise>)";
                self.mark("(", form)?;
                let value = self.argument()?;
                self.mark(",", form)?;
                let otherwise = self.argument()?;
                self.mark(")", form)?;
                Ok(FormulaKind::Default(value, otherwise))
            }
            unknown => {
                let help = format!("functions: {}", listed(FUNCTIONS.into_iter()));
                Err(malformed(function.span, format!("`{unknown}()` is not a function")).or_help(&help))
            }
        }
    }

    fn only_argument(&mut self, form: &str) -> Result<Box<Formula>, Malformed> {
        self.mark("(", form)?;
        let argument = self.argument()?;
        self.mark(")", form)?;
        Ok(argument)
    }

    fn argument(&mut self) -> Result<Box<Formula>, Malformed> {
        let start = self.at;
        self.depth += 1;
        self.check_depth(start)?;
        let argument = self.either()?;
        self.depth -= 1;
        Ok(Box::new(argument))
    }

    fn gather(&mut self) -> Result<Lookup, Malformed> {
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
            Some(Token::Mark("=")) => Err(malformed(self.here(start), "`=` does not compare").or_help("write `==`")),
            Some(Token::Mark(mark @ ("+" | "-" | "*" | "/" | "%"))) => {
                Err(malformed(self.here(start), format!("`{mark}`: there is no arithmetic in expressions"))
                    .or_help("compute it in the step"))
            }
            Some(_) => Err(malformed(self.here(start), "the expression should have ended here")),
        }
    }

    fn name(&mut self, wanted: &str) -> Result<Name, Malformed> {
        let start = self.skip_space();
        match self.next()? {
            Some(Token::Name(name)) => Ok(Name { text: name.to_owned(), span: self.here(start) }),
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

    /// Goes past a mark when it is there.
    fn skip(&mut self, mark: &str) -> bool {
        let is_there = self.next_is(mark);
        self.at += if is_there { mark.len() } else { 0 };
        is_there
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
        } else if first.is_ascii_digit() || (first == '-' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let ends = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
            Token::Number(&rest[..rest[1..].find(ends).map_or(rest.len(), |at| at + 1)])
        } else {
            let pairs = ["==", "!=", "<=", ">=", "&&", "||"];
            let pair = pairs.into_iter().find(|pair| rest.starts_with(pair));
            Token::Mark(&rest[..pair.map_or(first.len_utf8(), str::len)])
        };
        let (Token::Name(text) | Token::Quoted(text) | Token::Number(text) | Token::Mark(text)) = token;
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
        (["matrix", _], [_, axis]) => Ok(Lookup::Matrix(axis.clone())),
        (["steps", _, "outputs", _], [_, step, _, name]) => Ok(output(step, name)),
        (["steps", _], [_, step]) if bare_steps => Ok(Lookup::Step(step.clone())),
        ([_], [step]) if bare_steps => Ok(Lookup::Step(step.clone())),
        ([_, "outputs", _], [step, _, name]) if bare_steps => Ok(output(step, name)),
        (["item", _, ..], _) => Err((format!("`{written}`: attributes of an item are not supported yet"), None)),
        (["secrets", name, ..], _) => Err((
            "a secret is not a value: it reaches the step in its environment".to_owned(),
            Some(format!("write secrets: [{name}] and read ${name} in the step")),
        )),
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
                word if texts.len() == 1 => {
                    format!("a text stands in quotes: '{word}'; references are {}", listed(forms.into_iter()))
                }
                _ => format!("references are {}", listed(forms.into_iter())),
            };
            Err((format!("`{written}` is not a reference"), Some(help)))
        }
    }
}

fn joined(left: Formula, right: Formula, kind: impl FnOnce(Box<Formula>, Box<Formula>) -> FormulaKind) -> Formula {
    let span = Span { start: left.span.start, end: right.span.end };
    Formula { kind: kind(Box::new(left), Box::new(right)), span }
}

fn malformed(span: Span, message: impl Into<String>) -> Malformed {
    Malformed { span, message: message.into(), help: None }
}

impl Malformed {
    fn or_help(self, help: &str) -> Malformed {
        Malformed { help: Some(help.to_owned()), ..self }
    }
}
