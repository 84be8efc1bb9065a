//! What a step refers to: items, outputs, and outputs that are gathered. An output of a step that runs once for each item
//! can be used by steps that run for the same items.

use crate::evaluation::Expression;
use crate::expression::{Lookup, Name};
use crate::pipeline::{MATRIX_VARIABLE, OutputRef, Reference};

use super::resolve::Resolver;
use super::steps::Draft;

impl Resolver<'_, '_, '_> {
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
