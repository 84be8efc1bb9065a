//! Expressions with operators and functions: their types, and what they look up.
//!
//! Both sides of an operator are checked, so all mistakes of an expression are reported. What does not depend on a task is
//! computed here.

use std::fmt;

use crate::evaluation::{Counted, Expression, NoTask};
use crate::expression::{Formula, FormulaKind, Lookup};
use crate::params::ParamValue;
use crate::source::Span;

use super::Checker;

/// The type of an expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Truth,
}

impl Kind {
    pub(super) fn of(value: &ParamValue) -> Kind {
        match value {
            ParamValue::String(_) => Kind::Text,
            ParamValue::Int(_) | ParamValue::Float(_) => Kind::Number,
            ParamValue::Bool(_) => Kind::Truth,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Text => "a text",
            Kind::Number => "a number",
            Kind::Truth => "true or false",
        })
    }
}

/// What an expression may look up where it stands.
pub(super) trait Scope {
    /// Reports a mistake.
    fn report(&mut self, span: Span, message: String, help: Option<String>);

    /// Returns a value with its type, after reporting why there is none.
    fn value(&mut self, lookup: &Lookup, span: Span) -> Option<(Expression, Kind)>;

    /// Returns the collection that is counted, after reporting why there is none; it may be missing when `optional`.
    fn counted(&mut self, lookup: &Lookup, span: Span, optional: bool) -> Option<Counted>;
}

/// Returns a checked expression and its type, after reporting what is wrong with it. Inside the first argument of
/// `default()`, results may be missing: `optional`.
pub(super) fn typed(scope: &mut dyn Scope, formula: &Formula, optional: bool) -> Option<(Expression, Kind)> {
    let (expression, kind) = match &formula.kind {
        FormulaKind::Literal(value) => (Expression::Value(value.clone()), Kind::of(value)),
        FormulaKind::Lookup(lookup) => scope.value(lookup, formula.span)?,
        FormulaKind::Not(of) => {
            let of = wanted(scope, of, Kind::Truth, "`!`", optional)?;
            (Expression::Not(Box::new(of)), Kind::Truth)
        }
        FormulaKind::And(left, right) => {
            let (left, right) = truths(scope, left, right, "`&&`", optional)?;
            (Expression::And(left, right), Kind::Truth)
        }
        FormulaKind::Or(left, right) => {
            let (left, right) = truths(scope, left, right, "`||`", optional)?;
            (Expression::Or(left, right), Kind::Truth)
        }
        FormulaKind::Compare(comparison, left, right) => {
            let (left, right, kind) = alike(scope, left, right, (optional, optional))?;
            if kind != Kind::Number && comparison.is_order() {
                let message = format!("only numbers can be ordered, and this is {kind}");
                scope.report(formula.span, message, Some("compare with `==` or `!=`".to_owned()));
                return None;
            }
            (Expression::Compare(*comparison, left, right), Kind::Truth)
        }
        FormulaKind::Len(of) => (length(scope, of, optional)?, Kind::Number),
        FormulaKind::Count(of) => (count(scope, of, optional)?, Kind::Number),
        FormulaKind::Default(value, otherwise) => {
            let (value, otherwise, kind) = alike(scope, value, otherwise, (true, optional))?;
            (Expression::Default(value, otherwise), kind)
        }
    };
    let computed = expression.is_constant().then(|| expression.value(&NoTask)).flatten();
    Some((computed.map_or(expression, Expression::Value), kind))
}

/// Returns a condition: an expression that is true or false.
pub(super) fn truth(scope: &mut dyn Scope, formula: &Formula) -> Option<Expression> {
    wanted(scope, formula, Kind::Truth, "`if`", false)
}

fn wanted(scope: &mut dyn Scope, formula: &Formula, kind: Kind, of: &str, optional: bool) -> Option<Expression> {
    let (expression, found) = typed(scope, formula, optional)?;
    if found != kind {
        let help = (kind == Kind::Truth).then(|| "compare it with something: `==`, `!=`, `<` and the like".to_owned());
        scope.report(formula.span, format!("{of} takes {kind}, and this is {found}"), help);
        return None;
    }
    Some(expression)
}

type Sides = (Box<Expression>, Box<Expression>);

fn truths(scope: &mut dyn Scope, left: &Formula, right: &Formula, of: &str, optional: bool) -> Option<Sides> {
    let left = wanted(scope, left, Kind::Truth, of, optional);
    let right = wanted(scope, right, Kind::Truth, of, optional);
    Some((Box::new(left?), Box::new(right?)))
}

/// Returns two expressions of one type.
fn alike(
    scope: &mut dyn Scope,
    left: &Formula,
    right: &Formula,
    optional: (bool, bool),
) -> Option<(Box<Expression>, Box<Expression>, Kind)> {
    let (first, second) = (typed(scope, left, optional.0), typed(scope, right, optional.1));
    let ((left_value, left_kind), (right_value, right_kind)) = (first?, second?);
    if left_kind != right_kind {
        let span = Span { start: left.span.start, end: right.span.end };
        let help = (left_kind == Kind::Text || right_kind == Kind::Text)
            .then(|| "a text stands in quotes: 'axial'; a number or true and false do not".to_owned());
        scope.report(span, format!("one side is {left_kind}, the other {right_kind}"), help);
        return None;
    }
    Some((Box::new(left_value), Box::new(right_value), left_kind))
}

fn length(scope: &mut dyn Scope, of: &Formula, optional: bool) -> Option<Expression> {
    match &of.kind {
        FormulaKind::Lookup(Lookup::Input(_) | Lookup::Output { .. } | Lookup::Gather { .. }) => {
            count(scope, of, optional)
        }
        _ => Some(Expression::Length(Box::new(wanted(scope, of, Kind::Text, "`len()`", optional)?))),
    }
}

fn count(scope: &mut dyn Scope, of: &Formula, optional: bool) -> Option<Expression> {
    let FormulaKind::Lookup(lookup @ (Lookup::Input(_) | Lookup::Output { .. } | Lookup::Gather { .. })) = &of.kind
    else {
        let help = "collections are inputs.<input>, steps.<step>.outputs.<output> and gather(...)".to_owned();
        scope.report(of.span, "`count()` takes a collection".to_owned(), Some(help));
        return None;
    };
    scope.counted(lookup, of.span, optional).map(Expression::Count)
}

/// Where only parameters can be used: nothing else is looked up there.
impl Scope for Checker<'_> {
    fn report(&mut self, span: Span, message: String, help: Option<String>) {
        self.reader.report(span, message).help_if(help);
    }

    fn value(&mut self, lookup: &Lookup, _: Span) -> Option<(Expression, Kind)> {
        let Lookup::Param(name) = lookup else { return None };
        let value = self.param_value(name)?;
        let kind = Kind::of(&value);
        Some((Expression::Value(value), kind))
    }

    fn counted(&mut self, _: &Lookup, _: Span, _: bool) -> Option<Counted> {
        None
    }
}
