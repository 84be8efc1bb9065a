//! Putting steps together: dimensions (`dimensions.rs`), references (`references.rs`) and arguments (`arguments.rs`).
//!
//! Steps come in an order in which those a step uses are already done. A step with a mistake in its `for_each:` has no
//! known dimensions; what depends on them is then not checked.

use std::collections::HashSet;

use indexmap::IndexMap;

use crate::evaluation::Expression;
use crate::expression::{Lookup, Name, bare};
use crate::fields::Fields;
use crate::params::ParamValue;
use crate::pipeline::{Condition, Dimension, Need, OutputRef, Step, StepId};
use crate::project::OutputKind;
use crate::source::Span;
use crate::yaml::Node;

use super::inside::Inside;
use super::scope::InStep;
use super::steps::{Draft, LoopSource};
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
}
