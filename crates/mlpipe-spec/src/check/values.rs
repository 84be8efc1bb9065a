//! Values with expressions in them.

use crate::evaluation::NoTask;
use crate::expression::{Lookup, Name, Piece, has_expression, pieces};
use crate::yaml::{Node, Scalar};

use super::parameters::Value;
use super::{Checker, formulas};

impl Checker<'_> {
    /// Returns the pieces of a value, after reporting what is malformed.
    pub(super) fn pieces(&mut self, node: &Node, scalar: &Scalar) -> Option<Vec<Piece>> {
        if !has_expression(scalar) {
            return Some(vec![Piece::Text(scalar.text.clone())]);
        }
        match pieces(node, scalar) {
            Ok(pieces) => Some(pieces),
            Err(mistakes) => {
                for mistake in mistakes {
                    self.reader.report(mistake.span, mistake.message).help_if(mistake.help);
                }
                None
            }
        }
    }

    /// Returns the text of a value in which only parameters can be used.
    pub(super) fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        let scalar = self.reader.scalar(node, what)?;
        let pieces = self.pieces(node, scalar)?;
        // Every piece is looked at, so that all mistakes are reported.
        let texts: Vec<Option<String>> = pieces.iter().map(|piece| self.param_piece(piece, what)).collect();
        texts.into_iter().collect()
    }

    fn param_piece(&mut self, piece: &Piece, what: &str) -> Option<String> {
        match piece {
            Piece::Text(text) => Some(text.clone()),
            Piece::Lookup(Lookup::Param(name)) => self.param_text(name),
            Piece::Lookup(lookup) => {
                self.only_params(lookup, what);
                None
            }
            Piece::Formula(formula) => {
                let before = self.reader.out.count();
                formula.for_each_lookup(&mut |lookup| self.only_params(lookup, what));
                if self.reader.out.count() > before {
                    return None;
                }
                formulas::typed(self, formula, false)?.0.value(&NoTask).map(|value| value.to_string())
            }
        }
    }

    /// Reports a lookup of anything but a parameter.
    fn only_params(&mut self, lookup: &Lookup, what: &str) {
        let span = match lookup {
            Lookup::Param(_) => return,
            Lookup::Input(name)
            | Lookup::Item(name)
            | Lookup::Matrix(name)
            | Lookup::Step(name)
            | Lookup::Output { step: name, .. }
            | Lookup::Gather { step: name, .. } => name.span,
        };
        self.reader.report(span, format!("only `params` can be used in {what}"));
    }

    /// Returns the value of a parameter, after reporting that there is none of that name.
    pub(super) fn param_value(&mut self, name: &Name) -> Option<crate::params::ParamValue> {
        match self.params.get(&name.text) {
            Some(Some(Value::Known(param))) => Some(param.value.clone()),
            Some(Some(Value::Late(_))) => {
                self.report_late(name);
                None
            }
            Some(Some(Value::Missing(kind))) => {
                let kind = *kind;
                self.report_missing(name, kind);
                None
            }
            Some(None) => None,
            None => {
                let message = format!("there is no parameter `{}`", name.text);
                let known = self.params.keys().map(String::as_str);
                self.reader.out.unknown(&self.reader.source, name.span, message, &name.text, known);
                None
            }
        }
    }

    /// Returns the value of a parameter as text.
    pub(super) fn param_text(&mut self, name: &Name) -> Option<String> {
        self.param_value(name).map(|value| value.to_string())
    }

    /// Returns the place of a step in declared order.
    pub(super) fn step_index(&mut self, name: &Name) -> Option<usize> {
        let found = self.step_names.get(&name.text).copied();
        if found.is_none() {
            let message = format!("there is no step `{}`", name.text);
            let known = self.step_names.keys().map(String::as_str);
            self.reader.out.unknown(&self.reader.source, name.span, message, &name.text, known);
        }
        found
    }
}
