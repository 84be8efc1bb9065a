//! The values of an entry point's parameters: from the step, else from the project, checked against their types.

use indexmap::IndexMap;

use crate::evaluation::{Combination, Expression};
use crate::expression::{Formula, FormulaKind, Lookup, Piece};
use crate::params::{Mismatch, ParameterDeclaration, ParameterKind};
use crate::paths::local_path;
use crate::pipeline::{Argument, OutputRef, Part, Reference, Template};
use crate::source::Span;
use crate::yaml::Node;

use super::formulas::{self, Kind};
use super::resolve::Resolver;
use super::scope::InStep;
use super::steps::Draft;

impl Resolver<'_, '_, '_> {
    pub(super) fn arguments(&mut self, draft: &Draft, declared: usize) -> Option<Vec<Argument>> {
        let entry = draft.entry()?;
        for (key, _, _) in &draft.parameters {
            if !entry.parameters.contains_key(&key.text) {
                let entry_point = draft.entry_point.as_deref().unwrap_or_default();
                let message = format!("entry point `{entry_point}` has no parameter `{}`", key.text);
                let given = |name: &str| draft.parameters.iter().any(|(key, _, _)| key.text == name);
                let known = entry.parameters.keys().map(String::as_str).filter(|name| !given(name));
                self.checker.reader.out.unknown(&self.checker.reader.source, key.span, message, &key.text, known);
            }
        }
        let mut arguments = Vec::with_capacity(entry.parameters.len());
        let mut all_known = true;
        for (name, declaration) in &entry.parameters {
            match self.argument(draft, declared, name, declaration) {
                Some((value, from_project_default)) => {
                    arguments.push(Argument {
                        name: name.clone(),
                        kind: declaration.kind,
                        value,
                        from_project_default,
                    });
                }
                None => all_known = false,
            }
        }
        all_known.then_some(arguments)
    }

    /// Returns the value of a parameter, and whether it is the project's default.
    fn argument(
        &mut self,
        draft: &Draft,
        declared: usize,
        name: &str,
        declaration: &ParameterDeclaration,
    ) -> Option<(Template, bool)> {
        if let Some((_, node, pieces)) = draft.parameters.iter().find(|(key, _, _)| key.text == *name) {
            let pieces = pieces.as_ref()?;
            let template = self.template(draft, declared, pieces)?;
            return Some((self.checked_value(name, node, pieces, template, declaration)?, false));
        }
        let Some(default) = &declaration.default else {
            let message = format!("step `{}`: parameter `{name}` has no value", draft.name());
            let help = format!("add {name}: under parameters; it is of type {}", declaration.kind);
            self.report(draft.parameters_at, message, Some(help));
            return None;
        };
        let mut template = Template::default();
        template.push_text(default);
        Some((template, true))
    }

    pub(super) fn checked_value(
        &mut self,
        name: &str,
        node: &Node,
        pieces: &[Piece],
        mut template: Template,
        declaration: &ParameterDeclaration,
    ) -> Option<Template> {
        if let Some(text) = template.as_text() {
            let text = text.to_owned();
            return self.checked_text(name, node.span, pieces, &text, declaration).map(of_text);
        }
        if let Some(swept) = swept(&template) {
            return self.checked_sweep(name, node.span, pieces, swept, declaration);
        }
        if let [Part::Reference(Reference::Computed(expression))] = template.parts.as_slice()
            && declaration.kind != ParameterKind::String
        {
            let fits = computed_fits(expression, declaration);
            if !fits {
                let message = format!("parameter `{name}`: this value is known only when the step runs");
                let help =
                    "it can be given to a parameter of type string, or of its own type without bounds or choices";
                self.report(node.span, message, Some(help.to_owned()));
            }
            return fits.then_some(template);
        }
        if !declaration.kind.is_location() && declaration.kind != ParameterKind::String {
            let message =
                format!("parameter `{name}` is of type {}, and items and outputs are paths", declaration.kind);
            self.report(node.span, message, None);
            return None;
        }
        if declaration.kind.is_location() {
            self.make_absolute(name, node.span, &mut template)?;
        }
        Some(template)
    }

    fn checked_text(
        &mut self,
        name: &str,
        span: Span,
        pieces: &[Piece],
        text: &str,
        declaration: &ParameterDeclaration,
    ) -> Option<String> {
        match declaration.value_of(text, &self.checker.directory) {
            Ok(value) => Some(value.to_string()),
            Err(Mismatch { message, help }) => {
                self.report(span, format!("parameter `{name}`: {message}"), help.or_else(|| param_of(pieces)));
                None
            }
        }
    }

    /// Checks the value of every combination; the first that does not fit is reported.
    fn checked_sweep(
        &mut self,
        name: &str,
        span: Span,
        pieces: &[Piece],
        (variable, texts): (String, IndexMap<String, String>),
        declaration: &ParameterDeclaration,
    ) -> Option<Template> {
        let mut values = IndexMap::with_capacity(texts.len());
        for (key, text) in texts {
            let value = self.checked_text(name, span, pieces, &text, declaration)?;
            values.insert(key, value);
        }
        Some(Template { parts: vec![Part::Reference(Reference::Matrix { variable, values })] })
    }

    /// Lets a location start at the pipeline's directory, and what stands in for a missing one too.
    fn make_absolute(&mut self, name: &str, span: Span, template: &mut Template) -> Option<()> {
        let directory = self.checker.directory.clone();
        let absolute = match template.parts.first_mut() {
            Some(Part::Text(first)) => local_path(first, &directory).map(|_| {
                if !first.starts_with('/') {
                    *first = format!("{}/{first}", directory.display());
                }
            }),
            Some(Part::Reference(Reference::OutputOr { otherwise, .. })) => {
                local_path(otherwise, &directory).map(|path| *otherwise = path)
            }
            _ => Ok(()),
        };
        absolute
            .map_err(|mismatch| {
                self.report(span, format!("parameter `{name}`: {}", mismatch.message), mismatch.help);
            })
            .ok()
    }

    pub(super) fn template(&mut self, draft: &Draft, declared: usize, pieces: &[Piece]) -> Option<Template> {
        let mut template = Template::default();
        let mut all_known = true;
        for piece in pieces {
            match piece {
                Piece::Text(text) => template.push_text(text),
                Piece::Lookup(Lookup::Param(name)) => match self.checker.late(name) {
                    Some(late) => template.push_all(late.template),
                    None => match self.checker.param_text(name) {
                        Some(text) => template.push_text(&text),
                        None => all_known = false,
                    },
                },
                Piece::Lookup(lookup) => match self.reference(draft, declared, lookup) {
                    Some(reference) => template.parts.push(Part::Reference(reference)),
                    None => all_known = false,
                },
                Piece::Formula(formula) => match self.computed(draft, declared, formula) {
                    Some(Expression::Value(value)) => template.push_text(&value.to_string()),
                    Some(expression) => template.parts.push(Part::Reference(Reference::Computed(expression))),
                    None => match self.output_or(draft, declared, formula) {
                        Some(reference) => template.parts.push(Part::Reference(reference)),
                        None => all_known = false,
                    },
                },
            }
        }
        all_known.then_some(template)
    }

    /// Returns the value of an expression; `None`, unreported, for `default()` of an output.
    fn computed(&mut self, draft: &Draft, declared: usize, formula: &Formula) -> Option<Expression> {
        if defaulted(formula).is_some() {
            return None;
        }
        let scope = &mut InStep { resolver: self, draft, declared };
        formulas::typed(scope, formula, false).map(|(expression, _)| expression)
    }

    /// Returns `default(steps.<step>.outputs.<output>, 'text')`, after reporting what is wrong with it.
    fn output_or(&mut self, draft: &Draft, declared: usize, formula: &Formula) -> Option<Reference> {
        let (lookup, otherwise) = defaulted(formula)?;
        let Lookup::Output { step, output } = lookup else {
            let help = "outputs that are missing are left out of it".to_owned();
            self.report(formula.span, "gather() is never missing: it needs no default()".to_owned(), Some(help));
            return None;
        };
        let found = self.bound_output(declared, step, output);
        let scope = &mut InStep { resolver: self, draft, declared };
        let (text, kind) = formulas::typed(scope, otherwise, false)?;
        let (Expression::Value(text), Kind::Text) = (text, kind) else {
            let message = "what stands for a missing output must be a text that is known before the run".to_owned();
            self.report(otherwise.span, message, Some("write '' for none".to_owned()));
            return None;
        };
        let OutputRef { step, output } = found?;
        Some(Reference::OutputOr { step, output, otherwise: text.to_string() })
    }
}

/// Returns the output or gather that has a default, and the default.
fn defaulted(formula: &Formula) -> Option<(&Lookup, &Formula)> {
    let FormulaKind::Default(value, otherwise) = &formula.kind else { return None };
    match &value.kind {
        FormulaKind::Lookup(lookup @ (Lookup::Output { .. } | Lookup::Gather { .. })) => Some((lookup, otherwise)),
        _ => None,
    }
}

/// Returns variable and text by combination of a value that depends on the matrix alone.
fn swept(template: &Template) -> Option<(String, IndexMap<String, String>)> {
    let (variable, keys) = template.references().find_map(|reference| match reference {
        Reference::Matrix { variable, values } => Some((variable, values.keys().cloned().collect::<Vec<_>>())),
        Reference::Computed(expression) => expression.matrix_keys(),
        _ => None,
    })?;
    let texts: Option<IndexMap<String, String>> =
        keys.into_iter().map(|key| Some((key.clone(), text_for(template, &key)?))).collect();
    Some((variable.clone(), texts?))
}

fn text_for(template: &Template, key: &str) -> Option<String> {
    let text = |part: &Part| match part {
        Part::Text(text) => Some(text.clone()),
        Part::Reference(Reference::Matrix { values, .. }) => values.get(key).cloned(),
        Part::Reference(Reference::Computed(expression)) if expression.is_swept() => {
            expression.value(&Combination(key)).map(|value| value.to_string())
        }
        Part::Reference(_) => None,
    };
    template.parts.iter().map(text).collect()
}

/// Returns whether a value that is not known yet can only be a value of the parameter.
fn computed_fits(expression: &Expression, declaration: &ParameterDeclaration) -> bool {
    let is_free = declaration.min.is_none() && declaration.max.is_none();
    match declaration.kind {
        ParameterKind::Int | ParameterKind::Float => is_free && expression.is_whole_number(),
        ParameterKind::Bool => expression.is_truth(),
        _ => false,
    }
}

fn of_text(text: String) -> Template {
    let mut template = Template::default();
    template.push_text(&text);
    template
}

fn param_of(pieces: &[Piece]) -> Option<String> {
    pieces.iter().find_map(|piece| match piece {
        Piece::Lookup(Lookup::Param(name)) => Some(format!("the value comes from params.{}", name.text)),
        _ => None,
    })
}
