//! Checking a pipeline as a whole.
//!
//! A part that has a mistake is reported and becomes `None`; whatever depends on it is then not checked further, so
//! one mistake is reported once. The pipeline is put together only when nothing was reported.

mod arguments;
mod formulas;
pub(crate) mod inputs;
pub(crate) mod matrix;
mod order;
mod parameters;
mod resolve;
mod scope;
pub(crate) mod settings;
pub(crate) mod steps;
mod values;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostics::{Collector, Diagnostics};
use crate::expression::{Lookup, bare};
use crate::fields::{Fields, Keys, Reader};
use crate::paths::{shown, tidy};
use crate::pipeline::{Input, OutputRef, Param, Pipeline, Step, StepId};
use crate::project_file::Projects;
use crate::source::{SourceFile, Span};
use crate::yaml::{Key, Node};
use crate::{LoadOptions, syntax};

use self::resolve::Resolver;
use self::steps::Draft;

pub(crate) const PIPELINE: Keys = Keys {
    of: "a pipeline",
    known: &["name", "description", "params", "inputs", "defaults", "steps", "outputs"],
    not_yet: &[],
};

/// Returns the pipeline with that text, or all mistakes in it and its projects.
pub(crate) fn pipeline(path: &Path, text: String, here: &Path, options: &LoadOptions) -> Result<Pipeline, Diagnostics> {
    let path = tidy(&here.join(path));
    let source = Arc::new(SourceFile::new(shown(&path, here), text));
    let mut out = Collector::default();
    let checked = syntax::tree(&source, &mut out).and_then(|tree| {
        let checker = Checker {
            directory: path.parent().unwrap_or(Path::new("/")).to_path_buf(),
            here: here.to_path_buf(),
            options: *options,
            params: IndexMap::new(),
            inputs: IndexMap::new(),
            projects: Projects::new(options.comparators),
            step_names: IndexMap::new(),
            reader: Reader { source: Arc::clone(&source), out: &mut out },
        };
        checker.pipeline(path, &tree)
    });
    match checked {
        Some(pipeline) if out.is_empty() => Ok(pipeline),
        _ => {
            if out.is_empty() {
                out.report(&source, Span::default(), "the pipeline could not be read; this is a fault of mlpipe");
            }
            Err(out.finish(source.name()))
        }
    }
}

/// What is known of a pipeline while it is read.
struct Checker<'a> {
    reader: Reader<'a>,
    directory: PathBuf,
    /// The working directory: overrides start here, and places are shown relative to it.
    here: PathBuf,
    options: LoadOptions<'a>,
    /// `None` for a parameter that is declared but has a mistake; so too for `inputs`.
    params: IndexMap<String, Option<Param>>,
    inputs: IndexMap<String, Option<Input>>,
    projects: Projects,
    /// The steps by name, as places in declared order.
    step_names: IndexMap<String, usize>,
}

impl Checker<'_> {
    fn pipeline(mut self, path: PathBuf, tree: &Node) -> Option<Pipeline> {
        let fields = self.reader.fields(tree, "a pipeline", &PIPELINE)?;
        let name = self.name(&fields);
        self.read_params(&fields);
        self.read_inputs(&fields);
        let defaults = self.defaults(&fields);
        let entries = self.step_entries(&fields);
        let drafts: Vec<Draft> = entries.iter().map(|(key, node)| self.draft(key, node, &defaults)).collect();
        let order = order::in_order(&mut self.reader, &drafts);
        let mut resolver = Resolver::new(&mut self, &drafts, &order);
        let steps: Vec<Option<Step>> = order.iter().map(|declared| resolver.step(*declared)).collect();
        let outputs = self.outputs(&fields, &drafts, &order);
        Some(Pipeline {
            name: name?,
            path,
            directory: self.directory,
            params: self.params.into_iter().map(|(name, param)| Some((name, param?))).collect::<Option<_>>()?,
            inputs: self.inputs.into_iter().map(|(name, input)| Some((name, input?))).collect::<Option<_>>()?,
            steps: steps.into_iter().collect::<Option<_>>()?,
            outputs,
            source: self.reader.source.text().to_owned(),
        })
    }

    fn name(&mut self, fields: &Fields) -> Option<String> {
        let Some(node) = fields.get("name") else {
            self.reader.report(Span::default(), "the pipeline has no `name`").help("add name: at the top");
            return None;
        };
        let scalar = self.reader.scalar(node, "`name`")?;
        let fits = |c: char| c.is_alphanumeric() || " ._-".contains(c);
        if !scalar.text.starts_with(char::is_alphanumeric) || !scalar.text.chars().all(fits) {
            let message = format!("`{}` cannot be the name of a pipeline", scalar.text);
            self.reader.report(node.span, message).help("names are letters, digits, spaces, `.`, `_` and `-`");
            return None;
        }
        Some(scalar.text.clone())
    }

    /// Returns the steps that have a name, and remembers the names.
    fn step_entries<'n>(&mut self, fields: &Fields<'n>) -> Vec<(&'n Key, &'n Node)> {
        let Some((key, node)) = fields.entry("steps") else {
            self.reader.report(Span::default(), "the pipeline has no `steps`");
            return Vec::new();
        };
        let Some(entries) = self.reader.entries(node, "`steps`") else { return Vec::new() };
        if entries.is_empty() {
            self.reader.report(key.span, "`steps` is empty");
        }
        self.step_names = entries.iter().enumerate().map(|(index, (key, _))| (key.text.clone(), index)).collect();
        entries
    }

    fn outputs(&mut self, fields: &Fields, drafts: &[Draft], order: &[usize]) -> IndexMap<String, OutputRef> {
        let Some(node) = fields.get("outputs") else { return IndexMap::new() };
        let entries = self.reader.entries(node, "`outputs`").unwrap_or_default();
        let ids = order::positions(order);
        let named = entries.into_iter().filter(|(key, _)| self.reader.is_name(key, "an output")).collect::<Vec<_>>();
        named
            .into_iter()
            .filter_map(|(key, node)| Some((key.text.clone(), self.output(&key.text, node, drafts, &ids)?)))
            .collect()
    }

    fn output(&mut self, name: &str, node: &Node, drafts: &[Draft], ids: &[StepId]) -> Option<OutputRef> {
        let scalar = self.reader.scalar(node, &format!("`{name}`"))?;
        match bare(node, scalar) {
            Ok(Lookup::Output { step, output }) => {
                let declared = self.step_index(&step)?;
                drafts[declared].output_kind(self, &output)?;
                Some(OutputRef { step: ids[declared], output: output.text })
            }
            Ok(_) => {
                let message = format!("`{}` is not an output of a step", scalar.text);
                self.reader.report(node.span, message).help("write steps.<step>.outputs.<output>");
                None
            }
            Err(mistake) => {
                self.reader.report(mistake.span, mistake.message).help_if(mistake.help);
                None
            }
        }
    }
}
