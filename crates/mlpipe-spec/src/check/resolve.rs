//! Putting steps together: dimensions, references and arguments.
//!
//! Steps come in an order in which those a step uses are already done. A step with a mistake in its `for_each:` has no
//! known dimensions; what depends on them is then not checked.

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::evaluation::Expression;
use crate::expression::{Lookup, Name, bare};
use crate::fields::Fields;
use crate::params::ParamValue;
use crate::pipeline::{
    Condition, Dimension, DimensionSource, MATRIX_VARIABLE, Matrix, Need, OutputRef, Reference, Step, StepId,
};
use crate::project::OutputKind;
use crate::source::Span;
use crate::yaml::Node;

use super::inside::{Inside, seen_from_outside};
use super::scope::InStep;
use super::steps::{Draft, Loop, LoopSource};
use super::{Checker, formulas};

/// What is known while steps are put together.
pub(super) struct Resolver<'c, 'a, 'd> {
    pub(super) checker: &'c mut Checker<'a>,
    pub(super) drafts: &'d [Draft<'d>],
    /// By place in declared order; of a step that is a pipeline, its first step.
    pub(super) ids: Vec<StepId>,
    /// By place in declared order; `None` when not known.
    pub(super) dimensions: Vec<Option<Vec<Dimension>>>,
    /// By place in declared order, for steps that are pipelines; `None` when not known.
    pub(super) insides: Vec<Option<Inside>>,
}

impl<'c, 'a, 'd> Resolver<'c, 'a, 'd> {
    pub(super) fn new(checker: &'c mut Checker<'a>, drafts: &'d [Draft<'d>]) -> Self {
        Resolver {
            checker,
            drafts,
            ids: vec![0; drafts.len()],
            dimensions: vec![None; drafts.len()],
            insides: drafts.iter().map(|_| None).collect(),
        }
    }

    /// Puts a step together, or those of the pipeline that it is, after reporting what is wrong with it.
    pub(super) fn add(&mut self, declared: usize) {
        self.ids[declared] = self.checker.shared.steps.len();
        let draft = &self.drafts[declared];
        match &draft.embedded {
            Some(embedded) => self.insides[declared] = self.inside(draft, embedded, declared),
            None => {
                let step = self.step(declared);
                self.checker.shared.steps.push(step);
            }
        }
    }

    fn step(&mut self, declared: usize) -> Option<Step> {
        let draft = &self.drafts[declared];
        let matrices = self.resolve_dimensions(draft, declared);
        self.check_batch(draft);
        let arguments = self.arguments(draft, declared);
        let condition = self.condition(draft, declared);
        let needs = self.needs(draft, declared);
        let settings = draft.settings.clone().settled();
        let frame = &self.checker.frame;
        Some(Step {
            name: draft.step_name.as_ref()?.below(&frame.prefix),
            project: draft.project.clone()?,
            entry_point: draft.entry_point.clone()?,
            dimensions: self.dimensions[declared].clone()?,
            needs,
            arguments: arguments?,
            batch: draft.batch.map(|(batch, _)| batch as usize),
            matrices,
            condition: Condition::both(frame.condition.clone(), condition?),
            always_after: if draft.always { Some(self.ids[declared]) } else { frame.always_after },
            retries: settings.retries,
            timeout: settings.timeout,
            resources: settings.resources,
            on_item_error: settings.on_item_error,
            cache: settings.cache,
            env: settings.env,
            secrets: settings.secrets,
        })
    }

    /// Returns what must have ended before: what `needs:` names, and the pipelines over whose items the step runs.
    pub(super) fn needs(&self, draft: &Draft, declared: usize) -> Vec<Need> {
        let mut needs = self.checker.frame.needs.clone();
        let own = self.dimensions[declared].as_deref().unwrap_or_default();
        let looped = draft.loops.iter().flatten().filter_map(|one| match one.source {
            LoopSource::Step { step, .. } => self.insides[step].as_ref(),
            LoopSource::Input(_) | LoopSource::Output { .. } => None,
        });
        for need in looped.flat_map(|inside| &inside.needs) {
            let theirs = self.checker.shared.steps[need.step].as_ref().map(|step| step.dimensions.as_slice());
            let is_own = |part: &Dimension| own.iter().any(|dimension| dimension.origin == part.origin);
            if theirs.is_some_and(|theirs| theirs.iter().all(is_own)) {
                needs.push(*need);
            }
        }
        for needed in &draft.needs {
            match &self.insides[*needed] {
                Some(inside) => needs.extend(inside.needs.iter().copied()),
                None => needs.push(Need { step: self.ids[*needed], optional: false }),
            }
        }
        let mut seen = HashSet::new();
        needs.retain(|need| seen.insert(need.step));
        needs
    }

    /// Returns the outputs of the pipeline, after reporting what is wrong with them.
    pub(super) fn outputs(&mut self, fields: &Fields) -> IndexMap<String, OutputRef> {
        let Some(node) = fields.get("outputs") else { return IndexMap::new() };
        let entries = self.checker.reader.entries(node, "`outputs`").unwrap_or_default();
        let named: Vec<_> =
            entries.into_iter().filter(|(key, _)| self.checker.reader.is_name(key, "an output")).collect();
        named
            .into_iter()
            .filter_map(|(key, node)| Some((key.text.clone(), self.pipeline_output(&key.text, node)?)))
            .collect()
    }

    fn pipeline_output(&mut self, name: &str, node: &Node) -> Option<OutputRef> {
        let scalar = self.checker.reader.scalar(node, &format!("`{name}`"))?;
        match bare(node, scalar) {
            Ok(Lookup::Output { step, output }) => {
                let declared = self.checker.step_index(&step)?;
                self.output_of(declared, &output).map(|(output, _)| output)
            }
            Ok(_) => {
                let message = format!("`{}` is not an output of a step", scalar.text);
                self.report(node.span, message, Some("write steps.<step>.outputs.<output>".to_owned()));
                None
            }
            Err(mistake) => {
                self.report(mistake.span, mistake.message, mistake.help);
                None
            }
        }
    }

    /// Returns an output of a step and its kind, after reporting that there is no such output. An output of a step that is
    /// a pipeline is one of the pipeline's own.
    pub(super) fn output_of(&mut self, declared: usize, output: &Name) -> Option<(OutputRef, OutputKind)> {
        let draft = &self.drafts[declared];
        let known: Vec<&str> = match (&draft.embedded, draft.entry(), &self.insides[declared]) {
            (Some(_), _, Some(inside)) => {
                if let Some(found) = inside.outputs.get(&output.text) {
                    let step = self.checker.shared.steps[found.step].as_ref()?;
                    return Some((found.clone(), step.entry().outputs[&found.output].kind));
                }
                inside.outputs.keys().map(String::as_str).collect()
            }
            (None, Some(entry), _) => {
                if let Some(found) = entry.outputs.get(&output.text) {
                    return Some((OutputRef { step: self.ids[declared], output: output.text.clone() }, found.kind));
                }
                entry.outputs.keys().map(String::as_str).collect()
            }
            _ => return None,
        };
        let message = format!("step `{}` has no output `{}`", draft.name(), output.text);
        let (out, source) = (&mut self.checker.reader.out, &self.checker.reader.source);
        out.unknown(source, output.span, message, &output.text, known.into_iter());
        None
    }

    /// Returns the dimensions of the step that makes an output, with the variables named as they are here.
    fn dimensions_of(&self, declared: usize, output: &OutputRef) -> Option<Vec<Dimension>> {
        if self.drafts[declared].embedded.is_none() {
            return self.dimensions[declared].clone();
        }
        let step = self.checker.shared.steps[output.step].as_ref()?;
        Some(seen_from_outside(self.drafts[declared].name(), &step.dimensions))
    }

    /// Returns the condition of a step; the outer `None` after reporting a mistake in it.
    pub(super) fn condition(&mut self, draft: &Draft, declared: usize) -> Option<Option<Condition>> {
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

    fn report_two_variables(&mut self, span: Span, step: &str, variable: &str) {
        let message = format!("step `{step}` has two variables `{variable}`: its own, and one of its pipeline");
        self.report(span, message, Some("give one of them another name".to_owned()));
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
                let found = self.bound_output(declared, step, output)?;
                self.check_never_missing(draft, step, output)?;
                Some(Reference::Output { step: found.step, output: found.output })
            }
            Lookup::Gather { step, output, over } => {
                let (found, over) = self.gathered_output(declared, step, output, over)?;
                Some(Reference::Gather { step: found.step, output: found.output, over })
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

    /// Returns an output that exists once for each task of this step.
    pub(super) fn bound_output(&mut self, declared: usize, step: &Name, output: &Name) -> Option<OutputRef> {
        let used = *self.checker.step_names.get(&step.text)?;
        let (found, _) = self.output_of(used, output)?;
        self.check_bound(used, declared, step, &found, output)?;
        Some(found)
    }

    /// Returns outputs that are gathered over one of the variables of their step, and its name there.
    pub(super) fn gathered_output(
        &mut self,
        declared: usize,
        step: &Name,
        output: &Name,
        over: &Name,
    ) -> Option<(OutputRef, String)> {
        let used = *self.checker.step_names.get(&step.text)?;
        let (found, _) = self.output_of(used, output)?;
        let over = self.check_gathered(used, declared, step, &found, over)?;
        Some((found, over))
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
    fn check_bound(
        &mut self,
        used: usize,
        declared: usize,
        step: &Name,
        found: &OutputRef,
        output: &Name,
    ) -> Option<()> {
        let missing = self.unbound(used, declared, found)?;
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

    /// Returns the name that the gathered variable has in the step that makes the output, after reporting that it has none.
    fn check_gathered(
        &mut self,
        used: usize,
        declared: usize,
        step: &Name,
        found: &OutputRef,
        over: &Name,
    ) -> Option<String> {
        let missing = self.unbound(used, declared, found)?;
        let dimensions = self.dimensions_of(used, found)?;
        let variables: Vec<&str> = dimensions.iter().map(|dimension| dimension.variable.as_str()).collect();
        let (name, over_text) = (&step.text, &over.text);
        let mut positions = (0..variables.len()).filter(|position| variables[*position] == over_text);
        let position = positions.next();
        if positions.next().is_some() {
            self.report_two_variables(over.span, name, over_text);
            return None;
        }
        let Some(position) = position else {
            let message = format!("step `{name}` has no variable `{over_text}`");
            let help = match variables.is_empty() {
                true => Some(format!("`{name}` runs once: nothing is to be gathered")),
                false => self.checker.reader.out.did_you_mean(over_text, variables.iter().copied()),
            };
            self.report(over.span, message, help);
            return None;
        };
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
        let step = self.checker.shared.steps[found.step].as_ref()?;
        Some(step.dimensions[position].variable.clone())
    }

    /// Returns the variables of the step that makes an output whose items this step does not iterate over.
    fn unbound(&self, used: usize, declared: usize, output: &OutputRef) -> Option<Vec<String>> {
        let own = self.dimensions[declared].as_ref()?;
        let theirs = self.dimensions_of(used, output)?;
        let is_own = |origin: usize| own.iter().any(|dimension| dimension.origin == origin);
        let missing = theirs.into_iter().filter(|dimension| !is_own(dimension.origin));
        Some(missing.map(|dimension| dimension.variable).collect())
    }
}

fn in_for_each(variables: &[String], step: &str) -> String {
    variables.iter().map(|variable| format!("`{variable}: {step}`")).collect::<Vec<_>>().join(", ")
}
