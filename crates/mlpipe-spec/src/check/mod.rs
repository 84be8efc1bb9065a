//! Checking a pipeline as a whole.
//!
//! A part that has a mistake is reported and becomes `None`; whatever depends on it is then not checked further, so
//! one mistake is reported once. The pipeline is put together only when nothing was reported.

mod arguments;
mod dimensions;
mod embedded;
mod formulas;
pub(crate) mod inputs;
mod inside;
pub(crate) mod matrix;
mod order;
mod parameters;
mod references;
mod resolve;
mod scope;
pub(crate) mod settings;
pub(crate) mod steps;
mod values;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::diagnostics::{Collector, Diagnostics};
use crate::fields::{Fields, Keys, Reader};
use crate::paths::{shown, tidy};
use crate::pipeline::{Condition, Dimension, DimensionSource, Input, Matrix, Need, OutputRef, Pipeline, Step, StepId};
use crate::project_file::Projects;
use crate::source::{self, SourceFile, Span};
use crate::yaml::{Key, Node};
use crate::{LoadOptions, syntax};

use self::embedded::{FilePlace, PipelineFile};
use self::parameters::Value;
use self::resolve::Resolver;
use self::settings::Settings;
use self::steps::Draft;

pub(crate) const PIPELINE: Keys = Keys {
    of: "a pipeline",
    known: &["name", "description", "params", "inputs", "defaults", "steps", "outputs"],
    not_yet: &[],
};

/// A pipeline and those in it have at most this many steps together.
const MOST_STEPS: usize = 50_000;

/// Returns the pipeline with that text, or all mistakes in it, in the pipelines it uses and in their projects.
pub(crate) fn pipeline(
    path: &Path,
    text: Vec<u8>,
    here: &Path,
    options: &LoadOptions,
) -> Result<Pipeline, Diagnostics> {
    let path = tidy(&here.join(path));
    let (source, mistake) = source::decoded(shown(&path, here), text);
    let mut out = Collector::default();
    let mut shared = Shared::new(options);
    let tree = match mistake {
        Some(mistake) => {
            out.report(&source, mistake, source::NOT_UTF_8);
            None
        }
        None => syntax::tree(&source, &mut out),
    };
    let checked = tree.and_then(|tree| {
        let checker = Checker {
            directory: path.parent().unwrap_or(Path::new("/")).to_path_buf(),
            here: here.to_path_buf(),
            options: *options,
            params: IndexMap::new(),
            inputs: IndexMap::new(),
            step_names: IndexMap::new(),
            reader: Reader { source: Arc::clone(&source), out: &mut out },
            frame: Frame { files: vec![FilePlace::new(path.clone())], ..Frame::default() },
            shared: &mut shared,
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
    /// `None` for a parameter that is declared but has a mistake.
    params: IndexMap<String, Option<Value>>,
    /// Where the items of each input come from.
    inputs: IndexMap<String, DimensionSource>,
    /// The steps by name, as places in declared order.
    step_names: IndexMap<String, usize>,
    frame: Frame,
    shared: &'a mut Shared,
}

/// Where a pipeline stands: by itself, or inside a step of another one.
#[derive(Default)]
struct Frame {
    /// What the names of its steps begin with: empty, or `step/` of the step that it is.
    prefix: String,
    /// The file of the pipeline after those in which it is used.
    files: Vec<FilePlace>,
    /// What that step says about how its steps run.
    settings: Settings,
    /// The loop variables of that step, as its steps have them.
    dimensions: Vec<Dimension>,
    /// Its matrices, needs and condition are those of each of its steps.
    matrices: Vec<usize>,
    needs: Vec<Need>,
    condition: Option<Condition>,
    always_after: Option<StepId>,
    /// `None` for a pipeline by itself.
    user: Option<User>,
}

/// The step that a pipeline is, for mistakes in what it is given.
#[derive(Clone)]
struct User {
    step: String,
    source: Arc<SourceFile>,
    /// Where parameters are given.
    at: Span,
}

/// What a pipeline and those in it have in common.
struct Shared {
    projects: Projects,
    files: HashMap<PathBuf, Option<Arc<PipelineFile>>>,
    /// The steps put together so far; `None` for one with a mistake.
    steps: Vec<Option<Step>>,
    inputs: IndexMap<String, Option<Input>>,
    matrices: Vec<Matrix>,
    origins: Origins,
    /// How many steps were looked at.
    seen: usize,
}

/// The collections that dimensions range over, numbered.
#[derive(Default)]
struct Origins {
    numbers: HashMap<DimensionSource, usize>,
    sources: Vec<DimensionSource>,
    /// Of each collection, the origins of the dimensions that the step writing it has.
    outer: Vec<Vec<usize>>,
}

impl Origins {
    fn number(&mut self, source: &DimensionSource, outer: impl FnOnce() -> Vec<usize>) -> usize {
        if let Some(known) = self.numbers.get(source) {
            return *known;
        }
        self.numbers.insert(source.clone(), self.sources.len());
        self.sources.push(source.clone());
        self.outer.push(outer());
        self.sources.len() - 1
    }
}

impl Shared {
    fn new(options: &LoadOptions) -> Self {
        Shared {
            projects: Projects::new(options.comparators),
            files: HashMap::new(),
            steps: Vec::new(),
            inputs: IndexMap::new(),
            matrices: Vec::new(),
            origins: Origins::default(),
            seen: 0,
        }
    }

    fn included(&mut self) -> impl Iterator<Item = (PathBuf, String)> {
        let files = std::mem::take(&mut self.files).into_values().flatten();
        files.map(|file| (file.place.path.clone(), file.source.text().to_owned()))
    }
}

impl Checker<'_> {
    fn pipeline(mut self, path: PathBuf, tree: &Node) -> Option<Pipeline> {
        if tree.is_empty() {
            self.reader.report(Span::default(), "the file is empty").help("a pipeline has a `name` and `steps`");
            return None;
        }
        let fields = self.reader.fields(tree, "a pipeline", &PIPELINE)?;
        let name = self.name(&fields);
        self.read_params(&fields);
        let outputs = self.body(&fields, &IndexMap::new());
        let shared = self.shared;
        Some(Pipeline {
            name: name?,
            path,
            directory: self.directory,
            params: self
                .params
                .into_iter()
                .map(|(name, value)| Some((name, value?.known()?)))
                .collect::<Option<_>>()?,
            inputs: std::mem::take(&mut shared.inputs)
                .into_iter()
                .map(|(name, input)| Some((name, input?)))
                .collect::<Option<_>>()?,
            steps: std::mem::take(&mut shared.steps).into_iter().collect::<Option<_>>()?,
            matrices: std::mem::take(&mut shared.matrices),
            outputs,
            source: self.reader.source.text().to_owned(),
            included: shared.included().collect(),
        })
    }

    /// Puts the steps together and returns the outputs, once the parameters are known; `stand_ins` are the collections
    /// that stand for inputs.
    fn body(
        &mut self,
        fields: &Fields,
        stand_ins: &IndexMap<String, Option<DimensionSource>>,
    ) -> IndexMap<String, OutputRef> {
        self.read_inputs(fields, stand_ins);
        let defaults = self.defaults(fields);
        let entries = self.step_entries(fields);
        if !self.has_room(&entries) {
            return IndexMap::new();
        }
        let drafts: Vec<Draft> = entries.iter().map(|(key, node)| self.draft(key, node, &defaults)).collect();
        let order = order::in_order(&mut self.reader, &drafts);
        let mut resolver = Resolver::new(self, &drafts);
        for declared in order {
            resolver.add(declared);
        }
        resolver.outputs(fields)
    }

    /// Reports, once, that there are too many steps.
    fn has_room(&mut self, entries: &[(&Key, &Node)]) -> bool {
        let before = self.shared.seen;
        self.shared.seen += entries.len();
        if let (true, true, Some((key, _))) = (before <= MOST_STEPS, self.shared.seen > MOST_STEPS, entries.first()) {
            let message = format!("the pipeline has more than {MOST_STEPS} steps");
            self.reader.report(key.span, message).help("a step with `for_each` runs once for each item");
        }
        self.shared.seen <= MOST_STEPS
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
}
