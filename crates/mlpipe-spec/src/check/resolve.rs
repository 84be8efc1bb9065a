//! Putting steps together: dimensions, references and arguments.
//!
//! Steps come in an order in which those a step uses are already done. A step with a mistake in its `for_each:` has no
//! known dimensions; what depends on them is then not checked.

use std::collections::HashMap;

use crate::evaluation::Expression;
use crate::expression::{Lookup, Name};
use crate::params::ParamValue;
use crate::pipeline::{Condition, Dimension, DimensionSource, MATRIX_VARIABLE, Matrix, Reference, Step, StepId};
use crate::project::OutputKind;
use crate::source::Span;

use super::scope::InStep;
use super::steps::{Draft, Loop, LoopSource};
use super::{Checker, formulas, order};

/// What is known while steps are put together.
pub(super) struct Resolver<'c, 'a, 'd> {
    pub(super) checker: &'c mut Checker<'a>,
    pub(super) drafts: &'d [Draft<'d>],
    /// By place in declared order.
    pub(super) ids: Vec<StepId>,
    /// By place in declared order; `None` when not known.
    dimensions: Vec<Option<Vec<Dimension>>>,
    origins: HashMap<DimensionSource, usize>,
    /// By origin: the origins of the dimensions that the step writing the collection has.
    outer: Vec<Vec<usize>>,
}

impl<'c, 'a, 'd> Resolver<'c, 'a, 'd> {
    pub(super) fn new(checker: &'c mut Checker<'a>, drafts: &'d [Draft<'d>], order: &[usize]) -> Self {
        Resolver {
            checker,
            drafts,
            ids: order::positions(order),
            dimensions: vec![None; drafts.len()],
            origins: HashMap::new(),
            outer: Vec::new(),
        }
    }

    /// Returns a step, after reporting what is wrong with it.
    pub(super) fn step(&mut self, declared: usize) -> Option<Step> {
        let draft = &self.drafts[declared];
        self.dimensions[declared] = self.resolved_loops(draft, declared);
        self.check_batch(draft);
        let arguments = self.arguments(draft, declared);
        let condition = self.condition(draft, declared);
        let settings = draft.settings.clone();
        Some(Step {
            name: draft.step_name.clone()?,
            project: draft.project.clone()?,
            entry_point: draft.entry_point.clone()?,
            dimensions: self.dimensions[declared].clone()?,
            needs: draft.needs.iter().map(|needed| self.ids[*needed]).collect(),
            arguments: arguments?,
            batch: draft.batch.map(|(batch, _)| batch as usize),
            matrix: draft.matrix.clone().flatten(),
            condition: condition?,
            always: draft.always,
            retries: settings.retries,
            timeout: settings.timeout,
            resources: settings.resources,
            on_item_error: settings.on_item_error,
            cache: settings.cache,
            env: settings.env,
            secrets: settings.secrets,
        })
    }

    /// Returns the condition of a step; the outer `None` after reporting a mistake in it.
    fn condition(&mut self, draft: &Draft, declared: usize) -> Option<Option<Condition>> {
        let Some(condition) = &draft.condition else { return Some(None) };
        let (formula, text) = condition.as_ref()?;
        let expression = formulas::truth(&mut InStep { resolver: self, draft, declared }, formula)?;
        let is_always = expression == Expression::Value(ParamValue::Bool(true));
        Some((!is_always).then(|| Condition { text: text.clone(), expression }))
    }

    pub(super) fn report(&mut self, span: Span, message: String, help: Option<String>) {
        self.checker.reader.report(span, message).help_if(help);
    }

    fn check_batch(&mut self, draft: &Draft) {
        let Some((_, span)) = draft.batch else { return };
        if draft.loops.as_ref().is_some_and(Vec::is_empty) && draft.matrix.is_none() {
            let message = "`batch` is for steps with `for_each` or `matrix`: this one runs once".to_owned();
            self.report(span, message, None);
        }
        if let Some(entry) = draft.entry()
            && entry.batch_command.is_none()
        {
            let name = draft.entry_point.as_deref().unwrap_or_default();
            let message = format!("`batch` needs a `batch_command`, and entry point `{name}` has none");
            let help = "add batch_command: \"... {batch}\" to the entry point in its MLproject".to_owned();
            self.report(span, message, Some(help));
        }
    }

    fn resolved_loops(&mut self, draft: &Draft, declared: usize) -> Option<Vec<Dimension>> {
        let mut bound: Vec<Dimension> = Vec::new();
        let mut all_known = true;
        for one in draft.loops.as_ref()? {
            match self.dimension(one, &bound, all_known) {
                Some(dimension) => bound.push(dimension),
                None => all_known = false,
            }
        }
        if let Some(matrix) = &draft.matrix {
            matrix.as_ref()?;
            let source = DimensionSource::Matrix(self.ids[declared]);
            let origin = self.origin(source.clone(), Vec::new());
            bound.push(Dimension { variable: MATRIX_VARIABLE.to_owned(), source, origin });
        }
        all_known.then_some(bound)
    }

    /// Returns the matrix whose combinations a step runs for, its own or that of another step.
    pub(super) fn matrix_of(&self, declared: usize) -> Option<&'d Matrix> {
        let dimensions = self.dimensions[declared].as_ref()?;
        let origin = dimensions.iter().find(|dimension| dimension.variable == MATRIX_VARIABLE)?.origin;
        let (source, _) = self.origins.iter().find(|(_, number)| **number == origin)?;
        let DimensionSource::Matrix(step) = source else { return None };
        let owner = self.ids.iter().position(|id| id == step)?;
        self.drafts[owner].matrix.as_ref()?.as_ref()
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
            let known = matrix.items[0].values.keys().map(String::as_str);
            self.checker.reader.out.unknown(&self.checker.reader.source, axis.span, message, &axis.text, known);
        }
        values
    }

    /// Returns the dimension of a variable that comes after those in `bound`, which are all when `all_known`.
    fn dimension(&mut self, one: &Loop, bound: &[Dimension], all_known: bool) -> Option<Dimension> {
        let variable = one.variable.text.clone();
        let (source, origin, span) = match &one.source {
            LoopSource::Input(name) => (self.input_source(name)?, None, name.span),
            LoopSource::Output { step, output } => (self.output_source(*step, output)?, None, output.span),
            LoopSource::Step { step, name } => {
                let origin = self.origin_in(*step, name, &variable)?;
                (DimensionSource::SameAs(self.ids[*step]), Some(origin), name.span)
            }
        };
        let origin = match (origin, &one.source) {
            (Some(origin), _) => origin,
            (None, LoopSource::Output { step, .. }) => {
                let outer = self.dimensions[*step].as_ref()?.iter().map(|dimension| dimension.origin).collect();
                self.origin(source.clone(), outer)
            }
            (None, _) => self.origin(source.clone(), Vec::new()),
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
        let missing = self.outer[origin].iter().copied().find(|outer| !is_bound(outer));
        let Some(missing) = missing else { return Some(()) };
        let (LoopSource::Step { step, .. } | LoopSource::Output { step, .. }) = &one.source else { return Some(()) };
        let name = self.drafts[*step].name();
        let inner = self.dimensions[*step].as_ref()?.iter().find(|dimension| dimension.origin == missing)?;
        let outer = inner.variable.clone();
        let variable = &one.variable.text;
        let message = format!("`{variable}` needs `{outer}` bound before it: its items differ for each `{outer}`");
        let help = format!("put `{outer}: {name}` before `{variable}` in for_each");
        self.report(span, message, Some(help));
        None
    }

    fn origin(&mut self, source: DimensionSource, outer: Vec<usize>) -> usize {
        let next = self.origins.len();
        let origin = *self.origins.entry(source).or_insert(next);
        if origin == next {
            self.outer.push(outer);
        }
        origin
    }

    pub(super) fn input_source(&mut self, name: &Name) -> Option<DimensionSource> {
        if self.checker.inputs.contains_key(&name.text) {
            return Some(DimensionSource::Input(name.text.clone()));
        }
        let message = format!("there is no input `{}`", name.text);
        let known = self.checker.inputs.keys().map(String::as_str);
        self.checker.reader.out.unknown(&self.checker.reader.source, name.span, message, &name.text, known);
        None
    }

    fn output_source(&mut self, step: usize, output: &Name) -> Option<DimensionSource> {
        let draft = &self.drafts[step];
        let kind = draft.output_kind(self.checker, output)?;
        if kind != OutputKind::Collection {
            let message = format!("output `{}` of step `{}` is not a collection", output.text, draft.name());
            let help = "only an output of `type: collection` can be iterated over".to_owned();
            self.report(output.span, message, Some(help));
            return None;
        }
        Some(DimensionSource::Output { step: self.ids[step], output: output.text.clone() })
    }

    fn origin_in(&mut self, step: usize, name: &Name, variable: &str) -> Option<usize> {
        let dimensions = self.dimensions[step].as_ref()?;
        if let Some(dimension) = dimensions.iter().find(|dimension| dimension.variable == variable) {
            return Some(dimension.origin);
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

    pub(super) fn reference(&mut self, draft: &Draft, declared: usize, lookup: &Lookup) -> Option<Reference> {
        match lookup {
            Lookup::Item(variable) => self.item(draft, variable),
            Lookup::Matrix(axis) => {
                let Expression::Matrix { variable, values } = self.axis(declared, axis)? else { return None };
                let values = values.into_iter().map(|(key, value)| (key, value.to_string())).collect();
                Some(Reference::Matrix { variable, values })
            }
            Lookup::Output { step, output } => {
                let id = self.bound_output(declared, step, output)?;
                self.check_never_missing(draft, step, output)?;
                Some(Reference::Output { step: id, output: output.text.clone() })
            }
            Lookup::Gather { step, output, over } => {
                let id = self.gathered_output(declared, step, output, over)?;
                Some(Reference::Gather { step: id, output: output.text.clone(), over: over.text.clone() })
            }
            Lookup::Input(name) => {
                let message = "an input is used by iterating over it".to_owned();
                let help = format!("write for_each: {{item: inputs.{0}}} and ${{{{ item.item }}}}", name.text);
                self.report(name.span, message, Some(help));
                None
            }
            Lookup::Param(_) | Lookup::Step(_) => None,
        }
    }

    /// Returns the step of an output that exists once for each task of this step.
    pub(super) fn bound_output(&mut self, declared: usize, step: &Name, output: &Name) -> Option<StepId> {
        let used = *self.checker.step_names.get(&step.text)?;
        self.drafts[used].output_kind(self.checker, output)?;
        self.check_bound(used, declared, step, output)?;
        Some(self.ids[used])
    }

    /// Returns the step of outputs that are gathered over one of its variables.
    pub(super) fn gathered_output(
        &mut self,
        declared: usize,
        step: &Name,
        output: &Name,
        over: &Name,
    ) -> Option<StepId> {
        let used = *self.checker.step_names.get(&step.text)?;
        self.drafts[used].output_kind(self.checker, output)?;
        self.check_gathered(used, declared, step, over)?;
        Some(self.ids[used])
    }

    /// Reports an output that is not there when the step that makes it has failed, in a step that runs all the same.
    pub(super) fn check_never_missing(&mut self, draft: &Draft, step: &Name, output: &Name) -> Option<()> {
        if !draft.always {
            return Some(());
        }
        let (step_name, output) = (&step.text, &output.text);
        let message = format!("this step runs even when `{step_name}` has failed and `{output}` is missing");
        let help = format!("write default(steps.{step_name}.outputs.{output}, ''), or remove `always`");
        self.report(step.span, message, Some(help));
        None
    }

    fn item(&mut self, draft: &Draft, variable: &Name) -> Option<Reference> {
        self.check_variable(draft, variable)?;
        Some(Reference::Item { variable: variable.text.clone() })
    }

    /// Reports when a step has no variable of that name whose items are files.
    pub(super) fn check_variable(&mut self, draft: &Draft, variable: &Name) -> Option<()> {
        let loops = draft.loops.as_ref()?;
        if variable.text == MATRIX_VARIABLE {
            let message = "a combination of a matrix is no file".to_owned();
            self.report(variable.span, message, Some("write matrix.<axis> for its values".to_owned()));
            return None;
        }
        if loops.iter().any(|one| one.variable.text == variable.text) {
            return Some(());
        }
        let message = format!("`{}` is not a variable of this step", variable.text);
        if loops.is_empty() {
            let help = format!("add for_each: {{{}: ...}}", variable.text);
            self.report(variable.span, message, Some(help));
        } else {
            let known = loops.iter().map(|one| one.variable.text.as_str());
            self.checker.reader.out.unknown(&self.checker.reader.source, variable.span, message, &variable.text, known);
        }
        None
    }

    /// Reports when the used step runs once per item of a dimension that this step does not have.
    fn check_bound(&mut self, used: usize, declared: usize, step: &Name, output: &Name) -> Option<()> {
        let missing = self.unbound(used, declared)?;
        let Some(first) = missing.first() else { return Some(()) };
        let (step_name, output) = (&step.text, &output.text);
        let each = missing.iter().map(|variable| format!("`{variable}`")).collect::<Vec<_>>().join(" and ");
        let gather = format!("gather(steps.{step_name}.outputs.{output}, over='{first}')");
        let help = match missing.len() {
            1 => format!("use {gather}, or add `{first}: {step_name}` to for_each"),
            _ => format!("add for_each with {}", in_for_each(&missing, step_name)),
        };
        self.report(step.span, format!("step `{step_name}` runs once for each {each}, this step does not"), Some(help));
        None
    }

    fn check_gathered(&mut self, used: usize, declared: usize, step: &Name, over: &Name) -> Option<()> {
        let missing = self.unbound(used, declared)?;
        let dimensions = self.dimensions[used].as_ref()?;
        let variables: Vec<&str> = dimensions.iter().map(|dimension| dimension.variable.as_str()).collect();
        let (name, over_text) = (&step.text, &over.text);
        if !variables.contains(&over_text.as_str()) {
            let message = format!("step `{name}` has no variable `{over_text}`");
            let help = match variables.is_empty() {
                true => Some(format!("`{name}` runs once: nothing is to be gathered")),
                false => self.checker.reader.out.did_you_mean(over_text, variables.iter().copied()),
            };
            self.report(over.span, message, help);
            return None;
        }
        if !missing.contains(over_text) {
            let message = format!("this step runs once for each `{over_text}`: nothing is to be gathered over it");
            self.report(over.span, message, Some("remove it from for_each, or the gather()".to_owned()));
            return None;
        }
        let others: Vec<String> = missing.into_iter().filter(|variable| variable != over_text).collect();
        if !others.is_empty() {
            let each = others.iter().map(|variable| format!("`{variable}`")).collect::<Vec<_>>().join(" and ");
            let message = format!("step `{name}` runs once for each {each} too, this step does not");
            let help = format!("add {} to for_each", in_for_each(&others, name));
            self.report(step.span, message, Some(help));
            return None;
        }
        Some(())
    }

    /// Returns the variables of the used step whose items this step does not iterate over.
    fn unbound(&self, used: usize, declared: usize) -> Option<Vec<String>> {
        let own = self.dimensions[declared].as_ref()?;
        let theirs = self.dimensions[used].as_ref()?;
        let is_own = |origin: usize| own.iter().any(|dimension| dimension.origin == origin);
        let missing = theirs.iter().filter(|dimension| !is_own(dimension.origin));
        Some(missing.map(|dimension| dimension.variable.clone()).collect())
    }
}

fn in_for_each(variables: &[String], step: &str) -> String {
    variables.iter().map(|variable| format!("`{variable}: {step}`")).collect::<Vec<_>>().join(", ")
}
