//! A step that is a pipeline, put together: the steps of that pipeline take its place.
//!
//! They are called `<step>/<inner step>`, and their loop variables begin with those of the step, which they know as
//! `<step>/<variable>`: no name can be written that way, so the two pipelines cannot see each other's variables. What runs
//! the pipeline never hears of any of this: it sees steps.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::LoadOptions;
use crate::declaration::{self, Declared};
use crate::evaluation::Expression;
use crate::expression::Lookup;
use crate::fields::{Fields, Reader};
use crate::params::{ParamValue, ParameterDeclaration, ParameterKind};
use crate::pipeline::{
    Condition, Dimension, DimensionSource, ItemForm, Need, OutputRef, Param, Part, Reference, SEPARATOR, StepId,
    Template,
};
use crate::yaml::Key;

use super::embedded::{Embedded, PipelineFile};
use super::parameters::{Late, Value};
use super::resolve::Resolver;
use super::steps::Draft;
use super::{Checker, Frame, PIPELINE, User};

/// The kind of collection whose items are paths, as the entries of a step's output are.
const OF_PATHS: &str = "files";

/// What a pipeline that is a step is to the other steps.
pub(super) struct Inside {
    pub(super) outputs: IndexMap<String, OutputRef>,
    /// Its steps, for those that need all of it.
    pub(super) needs: Vec<Need>,
}

/// What a pipeline wants to be given.
struct Wanted<'t> {
    params: IndexMap<String, Option<(&'t Key, Declared<'t>)>>,
    inputs: IndexMap<String, Option<(String, ItemForm)>>,
}

/// Returns the dimensions of a step of a pipeline as they are called outside, where those of the step that the pipeline is
/// are `own`: these come first. What follows belongs to that pipeline, or to one in it, and is called as it is there.
pub(super) fn seen_from_outside(own: &[Dimension], dimensions: &[Dimension]) -> Vec<Dimension> {
    let inside = |variable: &str| variable.rsplit(SEPARATOR).next().unwrap_or(variable).to_owned();
    let named = |(position, one): (usize, &Dimension)| {
        let variable = own.get(position).map_or_else(|| inside(&one.variable), |own| own.variable.clone());
        Dimension { variable, ..one.clone() }
    };
    dimensions.iter().enumerate().map(named).collect()
}

impl Resolver<'_, '_, '_> {
    /// Puts the steps of a pipeline in the place of a step, after reporting what is wrong with them.
    pub(super) fn inside(&mut self, draft: &Draft, embedded: &Embedded, declared: usize) -> Option<Inside> {
        let first = self.ids[declared];
        let frame = self.frame(draft, embedded, declared);
        let file = Arc::clone(embedded.file.as_ref()?);
        let wanted = self.enter(draft, embedded, &file, Frame::default(), |checker, fields| checker.wanted(fields))?;
        let given = self.given(draft, declared, &file, &wanted);
        let stand_ins = self.stand_ins(embedded, declared, &wanted);
        let condition = frame.condition.clone();
        let outputs = self.enter(draft, embedded, &file, frame, |checker, fields| {
            checker.name(fields);
            checker.take(wanted.params, given);
            checker.body(fields, &stand_ins)
        })?;
        // Over what its steps run is not known then: whoever uses them is not checked.
        let all_known = stand_ins.values().all(Option::is_some);
        all_known.then(|| Inside { outputs, needs: self.needs_of(first, condition.as_ref()) })
    }

    /// Returns what all steps of the pipeline get from the step that it is.
    fn frame(&mut self, draft: &Draft, embedded: &Embedded, declared: usize) -> Frame {
        let matrices = self.resolve_dimensions(draft, declared);
        // One with a mistake leaves the others to be checked all the same.
        let own = self.condition(draft, declared).flatten();
        let needs = self.needs(draft, declared);
        let outer = &self.checker.frame;
        let rename = |variable: &str| within(draft.name(), variable);
        let dimensions = self.dimensions[declared].as_ref().unwrap_or(&outer.dimensions);
        let renamed = |one: &Dimension| Dimension { variable: rename(&one.variable), ..one.clone() };
        let condition = Condition::both(outer.condition.clone(), own).map(|mut condition| {
            condition.expression.rename(&rename);
            condition
        });
        Frame {
            prefix: format!("{}{}{SEPARATOR}", outer.prefix, draft.name()),
            files: outer.files.iter().cloned().chain(embedded.file.iter().map(|file| file.place.clone())).collect(),
            settings: draft.settings.clone().over(&outer.settings),
            dimensions: dimensions.iter().map(renamed).collect(),
            matrices,
            needs,
            condition,
            always_after: if draft.always { Some(self.ids[declared]) } else { outer.always_after },
            user: Some(User {
                step: draft.name().to_owned(),
                source: Arc::clone(&self.checker.reader.source),
                at: draft.parameters_at,
            }),
        }
    }

    /// Reads something in the file of a pipeline.
    fn enter<'t, T>(
        &mut self,
        draft: &Draft,
        embedded: &Embedded,
        file: &'t PipelineFile,
        frame: Frame,
        read: impl FnOnce(&mut Checker<'_>, &Fields<'t>) -> T,
    ) -> Option<T> {
        let through = self.checker.through(draft.name(), embedded.at);
        let outer = &mut *self.checker;
        let before = outer.reader.out.reach_through(Some(through));
        let mut checker = Checker {
            reader: Reader { source: Arc::clone(&file.source), out: &mut *outer.reader.out },
            directory: file.directory(),
            here: outer.here.clone(),
            options: LoadOptions { overrides: &[], ..outer.options },
            params: IndexMap::new(),
            inputs: IndexMap::new(),
            step_names: IndexMap::new(),
            frame,
            shared: &mut *outer.shared,
        };
        let fields = checker.reader.fields(&file.tree, "a pipeline", &PIPELINE);
        let found = fields.map(|fields| read(&mut checker, &fields));
        self.checker.reader.out.reach_through(before);
        found
    }

    /// Returns the values of the parameters that the step gives; `None` for one with a mistake.
    fn given(
        &mut self,
        draft: &Draft,
        declared: usize,
        file: &PipelineFile,
        wanted: &Wanted,
    ) -> IndexMap<String, Option<Value>> {
        let mut given = IndexMap::new();
        for (key, node, pieces) in &draft.parameters {
            let name = &key.text;
            let Some(param) = wanted.params.get(name) else {
                let message = format!("pipeline `{}` has no parameter `{name}`", file.source.name().display());
                let is_given = |name: &str| draft.parameters.iter().any(|(key, _, _)| key.text == name);
                let known = wanted.params.keys().map(String::as_str).filter(|name| !is_given(name));
                self.checker.reader.out.unknown(&self.checker.reader.source, key.span, message, name, known);
                continue;
            };
            let mut value = || {
                let declaration = &param.as_ref()?.1.declaration;
                let template = self.template(draft, declared, pieces.as_ref()?)?;
                let template = self.checked_value(name, node, pieces.as_ref()?, template, declaration)?;
                Some(value_of(template, declaration, draft.name()))
            };
            given.insert(name.clone(), value());
        }
        given
    }

    /// Returns the collections that stand for inputs of the pipeline; `None` for one with a mistake.
    fn stand_ins(
        &mut self,
        embedded: &Embedded,
        declared: usize,
        wanted: &Wanted,
    ) -> IndexMap<String, Option<DimensionSource>> {
        let mut found = IndexMap::new();
        for (key, lookup) in &embedded.inputs {
            let Some(input) = wanted.inputs.get(&key.text) else {
                let message = format!("the pipeline has no input `{}`", key.text);
                let known = wanted.inputs.keys().map(String::as_str);
                self.checker.reader.out.unknown(&self.checker.reader.source, key.span, message, &key.text, known);
                continue;
            };
            let source = lookup.as_ref().and_then(|lookup| self.stand_in(key, lookup, declared, input.as_ref()));
            found.insert(key.text.clone(), source);
        }
        found
    }

    fn stand_in(
        &mut self,
        key: &Key,
        lookup: &Lookup,
        declared: usize,
        wanted: Option<&(String, ItemForm)>,
    ) -> Option<DimensionSource> {
        let (source, origin, name) = match lookup {
            Lookup::Input(name) => {
                let source = self.input_source(name)?;
                (source.clone(), self.checker.shared.origins.number(&source, Vec::new), name)
            }
            Lookup::Output { step, output } => {
                let used = self.checker.step_index(step)?;
                self.bound_output(declared, step, output)?;
                let source = self.output_source(used, output)?;
                (source.clone(), self.origin_of_output(&source)?, output)
            }
            _ => return None,
        };
        let (kind, form) = self.kind_of(&source)?;
        let wanted = wanted?;
        if *wanted != (kind.clone(), form) {
            let message = format!(
                "`{}` is a collection of {}, not of {}",
                name.text,
                told(&kind, form),
                told(&wanted.0, wanted.1)
            );
            self.report(name.span, message, None);
            return None;
        }
        if self.dimensions[declared].iter().flatten().any(|dimension| dimension.origin == origin) {
            let message = format!("this step runs once for each item of `{}` already", name.text);
            let help = format!("remove it from for_each, or `{}` from inputs", key.text);
            self.report(name.span, message, Some(help));
            return None;
        }
        Some(source)
    }

    /// Returns the kind of a collection and how its items reach a step; `None` where an input has a mistake.
    fn kind_of(&self, source: &DimensionSource) -> Option<(String, ItemForm)> {
        match source {
            DimensionSource::Input(name) => {
                let input = self.checker.shared.inputs.get(name)?.as_ref()?;
                Some((input.collection.clone(), input.form))
            }
            _ => Some((OF_PATHS.to_owned(), ItemForm::default())),
        }
    }

    /// Returns the steps from `first` on. One that an `if` of its own pipeline may exclude does not exclude what needs all of
    /// them; the condition of the step that the pipeline is does.
    fn needs_of(&self, first: StepId, condition: Option<&Condition>) -> Vec<Need> {
        let steps = &self.checker.shared.steps[first..];
        let mut optional: Vec<bool> = Vec::with_capacity(steps.len());
        for step in steps {
            let is_optional = step.as_ref().is_some_and(|step| {
                let before = step.upstream().into_iter().filter_map(|upstream| upstream.checked_sub(first));
                step.condition.as_ref() != condition || before.into_iter().any(|upstream| optional[upstream])
            });
            optional.push(is_optional);
        }
        optional.into_iter().enumerate().map(|(place, optional)| Need { step: first + place, optional }).collect()
    }
}

impl Checker<'_> {
    fn wanted<'t>(&mut self, fields: &Fields<'t>) -> Wanted<'t> {
        let entries = fields.get("params").and_then(|node| self.reader.entries(node, "`params`")).unwrap_or_default();
        let params = entries.into_iter().map(|(key, node)| {
            let fits = self.reader.is_name(key, "a parameter");
            let declared = declaration::read(&mut self.reader, key, node, true).filter(|_| fits);
            (key.text.clone(), declared.map(|declared| (key, declared)))
        });
        let params = params.collect();
        Wanted { params, inputs: self.declared_inputs(fields) }
    }

    /// Sets the parameters: what is given, else the defaults.
    fn take(&mut self, wanted: IndexMap<String, Option<(&Key, Declared)>>, mut given: IndexMap<String, Option<Value>>) {
        for (name, declared) in wanted {
            let value = match (given.swap_remove(&name), declared) {
                (Some(given), _) => given,
                (None, None) => None,
                (None, Some((_, Declared { declaration, default: None }))) => Some(Value::Missing(declaration.kind)),
                (None, Some((key, declared))) => self.param(key, &declared, None).map(Value::Known),
            };
            self.params.insert(name, value);
        }
    }
}

/// A checked value as the pipeline in `step` has it.
fn value_of(template: Template, declaration: &ParameterDeclaration, step: &str) -> Value {
    let known = template.as_text().and_then(|text| declaration.value_of(text, "/".as_ref()).ok());
    if let Some(value) = known {
        return Value::Known(Param { value, kind: declaration.kind, overridden: true });
    }
    let template = template.renamed(&|variable| within(step, variable));
    let expression = expression_of(&template, declaration);
    Value::Late(Late { template, expression, kind: declaration.kind })
}

/// The value of a parameter in expressions, where it does not depend on files.
fn expression_of(template: &Template, declaration: &ParameterDeclaration) -> Option<Expression> {
    match template.parts.as_slice() {
        [Part::Reference(Reference::Matrix { variable, values })] => {
            let value =
                |(key, text): (&String, &String)| Some((key.clone(), declaration.value_of(text, "/".as_ref()).ok()?));
            let values: Option<IndexMap<String, ParamValue>> = values.iter().map(value).collect();
            Some(Expression::Matrix { variable: variable.clone(), values: values? })
        }
        [Part::Reference(Reference::Computed(expression))] => match declaration.kind {
            ParameterKind::Int | ParameterKind::Float | ParameterKind::Bool => Some(expression.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn within(step: &str, variable: &str) -> String {
    format!("{step}{SEPARATOR}{variable}")
}

fn told(collection: &str, form: ItemForm) -> String {
    match form {
        ItemForm::Manifest => format!("`{collection}`"),
        ItemForm::Directory => format!("`{collection}` as directories"),
    }
}

impl Condition {
    /// Returns the condition that holds where both do; `None` for none.
    pub(super) fn both(first: Option<Condition>, second: Option<Condition>) -> Option<Condition> {
        match (first, second) {
            (Some(first), Some(second)) if !first.is_never() => Some(Condition {
                text: format!("({}) && ({})", first.text, second.text),
                expression: match second.is_never() {
                    true => second.expression,
                    false => Expression::And(Box::new(first.expression), Box::new(second.expression)),
                },
            }),
            (first, second) => first.or(second),
        }
    }
}
