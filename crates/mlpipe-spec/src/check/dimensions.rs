//! The loop variables of steps: what they range over, and which of them range over the same items.
//!
//! A step that is a pipeline has those of its own and, for other steps, also those of the steps that make its outputs.

use crate::evaluation::Expression;
use crate::expression::Name;
use crate::pipeline::{Dimension, DimensionSource, MATRIX_VARIABLE, Matrix, OutputRef};
use crate::project::OutputKind;
use crate::source::Span;

use super::inside::seen_from_outside;
use super::resolve::Resolver;
use super::steps::{Draft, Loop, LoopSource};

impl Resolver<'_, '_, '_> {
    /// Returns the dimensions of the step that makes an output, with the variables named as they are here.
    pub(super) fn dimensions_of(&self, declared: usize, output: &OutputRef) -> Option<Vec<Dimension>> {
        if self.drafts[declared].embedded.is_none() {
            return self.dimensions[declared].clone();
        }
        let step = self.checker.shared.steps[output.step].as_ref()?;
        Some(seen_from_outside(self.dimensions[declared].as_ref()?, &step.dimensions))
    }

    /// Notes the dimensions of a step, where they have no mistake, and returns its matrices.
    pub(super) fn resolve_dimensions(&mut self, draft: &Draft, declared: usize) -> Vec<usize> {
        let mut matrices = self.checker.frame.matrices.clone();
        self.dimensions[declared] = self.resolved_loops(draft, &mut matrices);
        matrices
    }

    fn resolved_loops(&mut self, draft: &Draft, matrices: &mut Vec<usize>) -> Option<Vec<Dimension>> {
        let mut bound = self.checker.frame.dimensions.clone();
        let mut all_known = true;
        for one in draft.loops.as_ref()? {
            match self.dimension(one, &bound, all_known) {
                Some(dimension) => bound.push(dimension),
                None => all_known = false,
            }
        }
        if let Some(matrix) = &draft.matrix {
            let number = self.checker.shared.matrices.len();
            self.checker.shared.matrices.push(matrix.clone()?);
            matrices.push(number);
            let source = DimensionSource::Matrix(number);
            let origin = self.checker.shared.origins.number(&source, Vec::new);
            bound.push(Dimension { variable: MATRIX_VARIABLE.to_owned(), source, origin });
        }
        all_known.then_some(bound)
    }

    /// Returns the matrix whose combinations a step runs for, its own or that of another step.
    pub(super) fn matrix_of(&self, declared: usize) -> Option<&Matrix> {
        let dimensions = self.dimensions[declared].as_ref()?;
        let origin = dimensions.iter().find(|dimension| dimension.variable == MATRIX_VARIABLE)?.origin;
        let DimensionSource::Matrix(number) = self.checker.shared.origins.sources[origin] else { return None };
        self.checker.shared.matrices.get(number)
    }

    /// Returns the matrix dimension's values of an axis, after reporting that there is no such axis.
    pub(super) fn axis(&mut self, declared: usize, axis: &Name) -> Option<Expression> {
        self.dimensions[declared].as_ref()?;
        let Some(matrix) = self.matrix_of(declared) else {
            let help = "add matrix:, or for_each: {matrix: <step with a matrix>}".to_owned();
            self.report(axis.span, "this step has no matrix".to_owned(), Some(help));
            return None;
        };
        let values = matrix.axis(&axis.text);
        if values.is_none() {
            let message = format!("the matrix has no axis `{}`", axis.text);
            let axes: Vec<String> = matrix.items[0].values.keys().cloned().collect();
            let known = axes.iter().map(String::as_str);
            self.checker.reader.out.unknown(&self.checker.reader.source, axis.span, message, &axis.text, known);
        }
        values
    }

    /// Returns the dimension of a variable that comes after those in `bound`, which are all when `all_known`.
    fn dimension(&mut self, one: &Loop, bound: &[Dimension], all_known: bool) -> Option<Dimension> {
        let variable = one.variable.text.clone();
        let (source, origin, span) = match &one.source {
            LoopSource::Input(name) => {
                let source = self.input_source(name)?;
                let origin = self.checker.shared.origins.number(&source, Vec::new);
                (source, origin, name.span)
            }
            LoopSource::Output { step, output } => {
                let source = self.output_source(*step, output)?;
                (source.clone(), self.origin_of_output(&source)?, output.span)
            }
            LoopSource::Step { step, name } => {
                let origin = self.origin_in(*step, name, &variable)?;
                let source = match self.drafts[*step].embedded {
                    None => DimensionSource::SameAs(self.ids[*step]),
                    // No one of its steps stands for all of it: see `needs()`.
                    Some(_) => self.checker.shared.origins.sources[origin].clone(),
                };
                (source, origin, name.span)
            }
        };
        if let Some(same) = bound.iter().find(|dimension| dimension.origin == origin) {
            let message = format!("`{variable}` and `{}` range over the same items", same.variable);
            self.report(one.variable.span, message, Some("pairs of items are not supported yet".to_owned()));
            return None;
        }
        if all_known {
            self.check_outer(one, span, origin, bound)?;
        }
        Some(Dimension { variable, source, origin })
    }

    /// Reports when the collection exists once per item of a dimension that is not bound before it.
    fn check_outer(&mut self, one: &Loop, span: Span, origin: usize, bound: &[Dimension]) -> Option<()> {
        let is_bound = |outer: &usize| bound.iter().any(|dimension| dimension.origin == *outer);
        let missing = self.checker.shared.origins.outer[origin].iter().copied().find(|outer| !is_bound(outer));
        let Some(missing) = missing else { return Some(()) };
        let (LoopSource::Step { step, .. } | LoopSource::Output { step, .. }) = &one.source else { return Some(()) };
        let name = self.drafts[*step].name();
        let outer = self.all_dimensions(*step).into_iter().find(|dimension| dimension.origin == missing)?.variable;
        let variable = &one.variable.text;
        let message = format!("`{variable}` needs `{outer}` bound before it: its items differ for each `{outer}`");
        let help = format!("put `{outer}: {name}` before `{variable}` in for_each");
        self.report(span, message, Some(help));
        None
    }

    /// Returns the origin of the items of an output.
    pub(super) fn origin_of_output(&mut self, source: &DimensionSource) -> Option<usize> {
        let DimensionSource::Output { step, .. } = source else { return None };
        let shared = &mut *self.checker.shared;
        let dimensions = &shared.steps[*step].as_ref()?.dimensions;
        let outer = || dimensions.iter().map(|dimension| dimension.origin).collect();
        Some(shared.origins.number(source, outer))
    }

    pub(super) fn input_source(&mut self, name: &Name) -> Option<DimensionSource> {
        if let Some(source) = self.checker.inputs.get(&name.text) {
            return Some(source.clone());
        }
        let message = format!("there is no input `{}`", name.text);
        let known = self.checker.inputs.keys().map(String::as_str);
        self.checker.reader.out.unknown(&self.checker.reader.source, name.span, message, &name.text, known);
        None
    }

    pub(super) fn output_source(&mut self, step: usize, output: &Name) -> Option<DimensionSource> {
        let (found, kind) = self.output_of(step, output)?;
        if kind != OutputKind::Collection {
            let message =
                format!("output `{}` of step `{}` is not a collection", output.text, self.drafts[step].name());
            let help = "only an output of `type: collection` can be iterated over".to_owned();
            self.report(output.span, message, Some(help));
            return None;
        }
        Some(DimensionSource::Output { step: found.step, output: found.output })
    }

    /// Returns the dimensions of a step; for one that is a pipeline, also those of the steps that make its outputs, named
    /// as they are here.
    fn all_dimensions(&self, step: usize) -> Vec<Dimension> {
        let mut dimensions = self.dimensions[step].clone().unwrap_or_default();
        let outputs = self.insides[step].iter().flat_map(|inside| inside.outputs.values());
        for dimension in outputs.filter_map(|output| self.dimensions_of(step, output)).flatten() {
            let is_known = |known: &Dimension| known.variable == dimension.variable && known.origin == dimension.origin;
            if !dimensions.iter().any(is_known) {
                dimensions.push(dimension);
            }
        }
        dimensions
    }

    fn origin_in(&mut self, step: usize, name: &Name, variable: &str) -> Option<usize> {
        self.dimensions[step].as_ref()?;
        let dimensions = self.all_dimensions(step);
        let mut found = dimensions.iter().filter(|dimension| dimension.variable == variable);
        match (found.next(), found.next()) {
            (Some(dimension), None) => return Some(dimension.origin),
            (Some(_), Some(_)) => {
                self.report_two_variables(name.span, &name.text, variable);
                return None;
            }
            (None, _) => {}
        }
        let variables: Vec<String> = dimensions.iter().map(|dimension| format!("`{}`", dimension.variable)).collect();
        let entry = self.drafts[step].entry();
        let collection = entry.and_then(|entry| entry.outputs.iter().find(|(_, o)| o.kind == OutputKind::Collection));
        let help = match (variables.is_empty(), collection) {
            (_, Some((output, _))) => Some(format!("its collection is `{}.outputs.{output}`", name.text)),
            (true, None) => Some(format!("`{}` runs once; a variable needs a step with `for_each`", name.text)),
            (false, None) => Some(format!("its variables: {}", variables.join(", "))),
        };
        self.report(name.span, format!("step `{}` has no variable `{variable}`", name.text), help);
        None
    }

    pub(super) fn report_two_variables(&mut self, span: Span, step: &str, variable: &str) {
        let message = format!("step `{step}` has two variables `{variable}`: its own, and one of its pipeline");
        self.report(span, message, Some("give one of them another name".to_owned()));
    }
}
