//! What an expression may look up in a step: parameters, keys of its items, its matrix, and how many items there are.

use crate::evaluation::{Counted, Expression};
use crate::expression::Lookup;
use crate::pipeline::DimensionSource;
use crate::project::OutputKind;
use crate::source::Span;

use super::formulas::{Kind, Scope};
use super::resolve::Resolver;
use super::steps::Draft;

/// The inside of a step.
pub(super) struct InStep<'r, 'c, 'a, 'd, 'n> {
    pub(super) resolver: &'r mut Resolver<'c, 'a, 'd>,
    pub(super) draft: &'r Draft<'n>,
    pub(super) declared: usize,
}

impl Scope for InStep<'_, '_, '_, '_, '_> {
    fn report(&mut self, span: Span, message: String, help: Option<String>) {
        self.resolver.report(span, message, help);
    }

    fn value(&mut self, lookup: &Lookup, span: Span) -> Option<(Expression, Kind)> {
        match lookup {
            Lookup::Param(name) => match self.resolver.checker.late(name) {
                Some(late) => late.value().or_else(|| {
                    self.resolver.checker.report_late(name);
                    None
                }),
                None => self.resolver.checker.value(lookup, span),
            },
            Lookup::Item(variable) => {
                self.resolver.check_variable(self.draft, variable)?;
                Some((Expression::ItemKey { variable: variable.text.clone() }, Kind::Text))
            }
            Lookup::Matrix(axis) => {
                let expression = self.resolver.axis(self.declared, axis)?;
                let Expression::Matrix { values, .. } = &expression else { return None };
                let kind = values.values().next().map(Kind::of)?;
                Some((expression, kind))
            }
            Lookup::Input(_) | Lookup::Output { .. } | Lookup::Gather { .. } | Lookup::Step(_) => {
                let message = "files are no values of an expression".to_owned();
                self.report(span, message, Some("count(...) tells how many items a collection has".to_owned()));
                None
            }
        }
    }

    fn counted(&mut self, lookup: &Lookup, _: Span, optional: bool) -> Option<Counted> {
        match lookup {
            Lookup::Input(name) => match self.resolver.input_source(name)? {
                DimensionSource::Output { step, output } => Some(Counted::Output { step, output }),
                DimensionSource::Input(name) => Some(Counted::Input(name)),
                DimensionSource::Matrix(_) | DimensionSource::SameAs(_) => None,
            },
            Lookup::Output { step, output } => {
                let found = self.resolver.bound_output(self.declared, step, output)?;
                self.check_collection(step, output)?;
                if !optional {
                    self.resolver.check_never_missing(self.draft, step, output)?;
                }
                Some(Counted::Output { step: found.step, output: found.output })
            }
            Lookup::Gather { step, output, over } => {
                let (found, over) = self.resolver.gathered_output(self.declared, step, output, over)?;
                Some(Counted::Gather { step: found.step, output: found.output, over })
            }
            Lookup::Param(_) | Lookup::Item(_) | Lookup::Matrix(_) | Lookup::Step(_) => None,
        }
    }
}

impl InStep<'_, '_, '_, '_, '_> {
    fn check_collection(&mut self, step: &crate::expression::Name, output: &crate::expression::Name) -> Option<()> {
        let used = *self.resolver.checker.step_names.get(&step.text)?;
        let (_, kind) = self.resolver.output_of(used, output)?;
        if kind == OutputKind::Collection {
            return Some(());
        }
        let message = format!("output `{}` of step `{}` is not a collection", output.text, step.text);
        self.report(output.span, message, Some("only an output of `type: collection` has items".to_owned()));
        None
    }
}
