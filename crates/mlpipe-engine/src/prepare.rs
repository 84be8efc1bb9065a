//! Puts together the facts that decide whether a task's work is done already, and the values its command is given.
//!
//! Used by `plan`, which starts nothing, and by a run. Digests of projects and of files that parameters name are taken once
//! per run.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlpipe_artifacts::{ArtifactUri, Digest, DigestCache, Tree};
use mlpipe_spec::{
    Argument, Condition, Counted, DimensionSource, Facts, ParamValue, ParameterKind, Part, Pipeline, Reference, Step,
    StepId,
};
use rayon::prelude::*;

use crate::cache::{Latest, Lookup, Reusable};
use crate::driver::{RunRequest, display_key};
use crate::error::{Error, Result};
use crate::fingerprint::{Change, PreImage};
use crate::inputs::{InputItem, Inputs, link_all};
use crate::outputs::Outputs;
use crate::scheduler::{Key, Scheduler, Task, TaskIndex};
use crate::shape::{origin, variable_position};
use crate::workspace::Workspace;

/// Names that never belong to a project's sources: what tools leave behind when they run.
const NOT_SOURCE: &[&str] =
    &["__pycache__", ".git", ".mlpipe", ".DS_Store", ".ipynb_checkpoints", "mlruns", "mlflow.db"];

/// Why a task must run, or that it need not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reason {
    /// A finished result with the same fingerprint exists.
    Cached,
    /// It was never finished here.
    New,
    /// These facts differ from the last time.
    Changed(Vec<Change>),
    /// It was finished, but some of its content is gone.
    ContentMissing,
    /// It was finished, but what is stored under this digest is something else by now.
    ContentDamaged(Digest),
    /// The pipeline says `cache: false`.
    NotCached,
    /// It was finished, but the result is not kept any more.
    Removed,
    /// The user asked for it.
    Forced,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cached => f.write_str("same inputs, code and parameters"),
            Self::New => f.write_str("no finished result yet"),
            Self::Changed(changes) => {
                let shown: Vec<String> = changes.iter().take(3).map(Change::to_string).collect();
                write!(f, "changed: {}", shown.join("; "))?;
                if changes.len() > 3 { write!(f, "; and {} more", changes.len() - 3) } else { Ok(()) }
            }
            Self::ContentMissing => f.write_str("its stored result is incomplete"),
            Self::ContentDamaged(digest) => {
                let name = digest.to_string();
                write!(f, "its stored result is damaged: cas/{}/{}", &name[..2], &name[2..])
            }
            Self::NotCached => f.write_str("`cache: false`"),
            Self::Removed => f.write_str("its earlier result was removed"),
            Self::Forced => f.write_str("asked for on the command line"),
        }
    }
}

/// Prepares tasks of one pipeline.
pub(crate) struct Preparer<'a> {
    pipeline: &'a Pipeline,
    inputs: &'a Inputs,
    environment: &'a BTreeMap<String, String>,
    known: &'a DigestCache,
    projects: HashMap<PathBuf, Tree>,
    contents: HashMap<PathBuf, Digest>,
    /// Per step: the facts that its tasks have in common.
    shared: HashMap<StepId, Arc<BTreeMap<String, String>>>,
}

impl<'a> Preparer<'a> {
    /// `known` are digests of files that need not be read again.
    pub(crate) fn new(request: &RunRequest<'a>, known: &'a DigestCache) -> Self {
        let RunRequest { pipeline, inputs, environment, .. } = *request;
        Self {
            pipeline,
            inputs,
            environment,
            known,
            projects: HashMap::new(),
            contents: HashMap::new(),
            shared: HashMap::new(),
        }
    }

    /// Reads every project and every path that a parameter names, so that a missing one is told before anything runs.
    pub(crate) fn check_sources(&mut self) -> Result<()> {
        let pipeline = self.pipeline;
        for step in &pipeline.steps {
            self.project_tree(step)?;
            for argument in &step.arguments {
                for text in literal_texts(argument) {
                    if let Some(path) = location(pipeline, step, argument, text)? {
                        self.content_digest(step, argument, path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns all facts about a task; everything upstream of it must be finished.
    pub(crate) fn pre_image(&mut self, view: &View<'_>, index: TaskIndex) -> Result<PreImage> {
        let task = view.scheduler.task(index);
        let step = &self.pipeline.steps[task.step];
        let mut image = PreImage::beginning_with(self.shared_facts(task.step)?);
        for argument in &step.arguments {
            let value = self.argument_fact(view, task, step, argument)?;
            image.add(format!("parameter {}", argument.name), value);
        }
        Ok(image)
    }

    /// The facts that all tasks of a step have in common.
    fn shared_facts(&mut self, id: StepId) -> Result<Arc<BTreeMap<String, String>>> {
        if let Some(shared) = self.shared.get(&id) {
            return Ok(shared.clone());
        }
        let step = &self.pipeline.steps[id];
        let mut image = PreImage::default();
        for entry in &self.project_tree(step)?.entries {
            image.add(format!("project file {}", entry.path), entry.digest.to_string());
        }
        image.add("command", &step.entry().command);
        for (name, output) in &step.entry().outputs {
            image.add(format!("output {name}"), format!("{:?} {}", output.kind, output.path));
        }
        for (name, value) in &step.env {
            image.add(format!("env {name}"), value);
        }
        for (name, value) in self.environment {
            image.add(format!("environment {name}"), value);
        }
        let shared = Arc::new(image.into_facts());
        self.shared.insert(id, shared.clone());
        Ok(shared)
    }

    fn argument_fact(&mut self, view: &View<'_>, task: &Task, step: &Step, argument: &Argument) -> Result<String> {
        if let Some(path) = self.path_of(view, task, step, argument)? {
            return Ok(format!("content {}", self.content_digest(step, argument, path)?));
        }
        let text = render(argument, |reference| Ok(self.reference_fact(view, task, step, reference)))?;
        Ok(format!("{} {text}", kind_word(argument.kind)))
    }

    fn reference_fact(&self, view: &View<'_>, task: &Task, step: &Step, reference: &Reference) -> String {
        match reference {
            Reference::Item { variable } => match self.item(view, task, step, variable) {
                Item::Input { item, .. } => item.digest.to_string(),
                Item::Entry { producer, output, key } => view.entry_digest(producer, output, &key).to_string(),
            },
            Reference::Output { step: upstream, output } => {
                view.outputs(self.upstream(view, task, step, *upstream)).by_name[output].digest.to_string()
            }
            Reference::OutputOr { step: upstream, output, otherwise } => {
                match view.made(self.upstream(view, task, step, *upstream)) {
                    Some(outputs) => outputs.by_name[output].digest.to_string(),
                    None => format!("missing {otherwise}"),
                }
            }
            Reference::Matrix { .. } | Reference::Computed(_) => self.text_of(view, task, step, reference),
            Reference::Gather { step: upstream, output, over } => {
                let members = self.gathered(view, task, step, *upstream, over);
                let parts =
                    members.iter().map(|(key, index)| format!("{key}={}", view.outputs(*index).by_name[output].digest));
                format!("gather({})", parts.collect::<Vec<_>>().join(" "))
            }
        }
    }

    /// Returns the values for the command line; writes manifests and links below `inputs` and `run_inputs`.
    pub(crate) fn values(&self, view: &View<'_>, index: TaskIndex, places: &Places) -> Result<Vec<(String, String)>> {
        let task = view.scheduler.task(index);
        let step = &self.pipeline.steps[task.step];
        let value = |argument: &Argument| -> Result<(String, String)> {
            if let Some(path) = self.path_of(view, task, step, argument)? {
                return Ok((argument.name.clone(), path.display().to_string()));
            }
            let text = render(argument, |reference| match reference {
                Reference::Matrix { .. } | Reference::Computed(_) => Ok(self.text_of(view, task, step, reference)),
                _ => {
                    let path = self.reference_path(view, task, step, reference, places, &argument.name)?;
                    Ok(path.display().to_string())
                }
            })?;
            Ok((argument.name.clone(), text))
        };
        step.arguments.iter().map(value).collect()
    }

    /// Returns a task's parameters as they are recorded: literal values as written, references as artifact URIs.
    pub(crate) fn recorded(
        &self,
        view: &View<'_>,
        index: TaskIndex,
        run_id: impl Fn(TaskIndex) -> String,
    ) -> Vec<(String, String)> {
        let task = view.scheduler.task(index);
        let step = &self.pipeline.steps[task.step];
        let uri = |index: TaskIndex, output: &str, rest: &str| {
            format!("runs:/{}/{}{rest}", run_id(index), view.outputs(index).by_name[output].path)
        };
        let text = |reference: &Reference| match reference {
            Reference::Item { variable } => match self.item(view, task, step, variable) {
                Item::Input { key, .. } => key,
                Item::Entry { producer, output, key } => uri(producer, output, &format!("/{key}")),
            },
            Reference::Output { step: upstream, output } => uri(self.upstream(view, task, step, *upstream), output, ""),
            Reference::OutputOr { step: upstream, output, otherwise } => {
                let upstream = self.upstream(view, task, step, *upstream);
                view.made(upstream).map_or_else(|| otherwise.clone(), |_| uri(upstream, output, ""))
            }
            Reference::Matrix { .. } | Reference::Computed(_) => self.text_of(view, task, step, reference),
            Reference::Gather { step: upstream, over, .. } => {
                format!("{} items", self.gathered(view, task, step, *upstream, over).len())
            }
        };
        let value = |argument: &Argument| render(argument, |reference| Ok(text(reference))).unwrap_or_default();
        step.arguments.iter().map(|argument| (argument.name.clone(), value(argument))).collect()
    }

    /// Returns the input items that a task's parameters name, as collection and key.
    pub(crate) fn input_items(&self, view: &View<'_>, index: TaskIndex) -> Vec<(String, String)> {
        let task = view.scheduler.task(index);
        let step = &self.pipeline.steps[task.step];
        let parts = step.arguments.iter().flat_map(|argument| &argument.value.parts);
        let item = |part: &Part| match part {
            Part::Reference(Reference::Item { variable }) => match self.item(view, task, step, variable) {
                Item::Input { collection, key, .. } => Some((collection.to_owned(), key)),
                Item::Entry { .. } => None,
            },
            _ => None,
        };
        parts.filter_map(item).collect()
    }

    fn reference_path(
        &self,
        view: &View<'_>,
        task: &Task,
        step: &Step,
        reference: &Reference,
        places: &Places,
        argument: &str,
    ) -> Result<PathBuf> {
        match reference {
            Reference::Item { variable } => match self.item(view, task, step, variable) {
                Item::Input { collection, key, item } => item.write(&key, &places.run_inputs.join(collection)),
                Item::Entry { producer, output, key } => Ok(view.outputs(producer).path(output).join(key)),
            },
            Reference::Output { step: upstream, output } => {
                Ok(view.outputs(self.upstream(view, task, step, *upstream)).path(output))
            }
            Reference::OutputOr { step: upstream, output, otherwise } => {
                let made = view.made(self.upstream(view, task, step, *upstream));
                Ok(made.map_or_else(|| PathBuf::from(otherwise), |outputs| outputs.path(output)))
            }
            Reference::Matrix { .. } | Reference::Computed(_) => {
                unreachable!("these are texts: values() asks text_of()")
            }
            Reference::Gather { step: upstream, output, over } => {
                let members = self.gathered(view, task, step, *upstream, over);
                let link = |(key, index): &(String, TaskIndex)| (key.clone(), view.outputs(*index).path(output));
                let directory = places.inputs.join(argument);
                link_all(&directory, &members.iter().map(link).collect::<Vec<_>>())?;
                Ok(directory)
            }
        }
    }

    /// The item that a loop variable stands for.
    fn item<'s>(&'s self, view: &View<'_>, task: &Task, step: &'s Step, variable: &str) -> Item<'s> {
        let position = variable_position(step, variable);
        let key: &str = &task.key[position];
        match origin(self.pipeline, step, position) {
            DimensionSource::Input(name) => {
                Item::Input { collection: name, key: key.to_owned(), item: &self.inputs[name][key] }
            }
            DimensionSource::Output { step: producer, output } => {
                Item::Entry { producer: self.upstream(view, task, step, *producer), output, key: key.to_owned() }
            }
            DimensionSource::Matrix(_) => unreachable!("the pipeline was checked: a combination is no file"),
            DimensionSource::SameAs(_) => unreachable!("origin() follows SameAs to its end"),
        }
    }

    /// Returns whether the step's `if` keeps a task from running; what it waits for must have ended.
    pub(crate) fn excludes(&self, view: &View<'_>, index: TaskIndex) -> bool {
        let task = view.scheduler.task(index);
        let step = &self.pipeline.steps[task.step];
        let holds = |condition: &Condition| {
            let value = condition.expression.value(&TaskFacts { preparer: self, view, task, step });
            value == Some(ParamValue::Bool(true))
        };
        step.condition.as_ref().is_some_and(|condition| !holds(condition))
    }

    /// The text of a reference that is none to a file.
    fn text_of(&self, view: &View<'_>, task: &Task, step: &Step, reference: &Reference) -> String {
        match reference {
            Reference::Matrix { variable, values } => values[&*task.key[variable_position(step, variable)]].clone(),
            Reference::Computed(expression) => {
                let value = expression.value(&TaskFacts { preparer: self, view, task, step });
                value.expect("the pipeline was checked: what may be missing has a default").to_string()
            }
            _ => unreachable!("all others are files"),
        }
    }

    /// The path behind an argument that the pipeline or the project wrote out, for this task.
    fn path_of(&self, view: &View<'_>, task: &Task, step: &Step, argument: &Argument) -> Result<Option<PathBuf>> {
        let text = match argument.value.parts.as_slice() {
            [Part::Reference(reference @ Reference::Matrix { .. })] => self.text_of(view, task, step, reference),
            [Part::Reference(Reference::OutputOr { step: upstream, otherwise, .. })]
                if !otherwise.is_empty() && view.made(self.upstream(view, task, step, *upstream)).is_none() =>
            {
                otherwise.clone()
            }
            _ => match argument.value.as_text() {
                Some(text) => text.to_owned(),
                None => return Ok(None),
            },
        };
        location(self.pipeline, step, argument, &text)
    }

    /// The upstream task whose key is part of this task's key.
    fn upstream(&self, view: &View<'_>, task: &Task, step: &Step, upstream: usize) -> TaskIndex {
        let key = self.shared_key(task, step, upstream, None);
        view.scheduler.find(upstream, &key).expect("an upstream task exists before those that wait for it")
    }

    fn shared_key(&self, task: &Task, step: &Step, upstream: usize, left_out: Option<usize>) -> Key {
        let parts = self.pipeline.steps[upstream].dimensions.iter().enumerate();
        let own = |origin: usize| step.dimensions.iter().position(|dimension| dimension.origin == origin);
        parts
            .filter(|(position, _)| Some(*position) != left_out)
            .map(|(_, part)| task.key[own(part.origin).expect("the pipeline was checked")].clone())
            .collect()
    }

    /// Key of the gathered loop variable and task, in order of the keys' creation.
    fn gathered(
        &self,
        view: &View<'_>,
        task: &Task,
        step: &Step,
        upstream: usize,
        over: &str,
    ) -> Vec<(String, TaskIndex)> {
        let position = variable_position(&self.pipeline.steps[upstream], over);
        let others = self.shared_key(task, step, upstream, Some(position));
        let members = view.scheduler.group(upstream, position, others);
        // Those that an `if` excluded, or that failed where that does not matter, are left out.
        let made = members.iter().filter(|index| view.made(**index).is_some());
        made.map(|index| (view.scheduler.task(*index).key[position].to_string(), *index)).collect()
    }

    pub(crate) fn project_tree(&mut self, step: &Step) -> Result<&Tree> {
        let directory = &step.project.directory;
        if !self.projects.contains_key(directory) {
            let tree = self
                .known
                .read_tree(directory, NOT_SOURCE)
                .map_err(|source| Error::Project { step: step.name.to_string(), source })?;
            self.projects.insert(directory.clone(), tree);
        }
        Ok(&self.projects[directory])
    }

    pub(crate) fn content_digest(&mut self, step: &Step, argument: &Argument, path: PathBuf) -> Result<Digest> {
        if let Some(digest) = self.contents.get(&path) {
            return Ok(*digest);
        }
        let tree = self.known.read_tree(&path, NOT_SOURCE).map_err(|source| Error::Parameter {
            step: step.name.to_string(),
            parameter: argument.name.clone(),
            source: Box::new(source),
        })?;
        let digest = tree.digest();
        self.contents.insert(path, digest);
        Ok(digest)
    }
}

/// What is known of a run so far.
pub(crate) struct View<'a> {
    pub(crate) scheduler: &'a Scheduler,
    pub(crate) outputs: &'a HashMap<TaskIndex, Outputs>,
}

impl View<'_> {
    /// What a task has made; none when it failed or was skipped.
    fn made(&self, index: TaskIndex) -> Option<&Outputs> {
        self.outputs.get(&index)
    }

    fn outputs(&self, index: TaskIndex) -> &Outputs {
        &self.outputs[&index]
    }

    fn entry_digest(&self, producer: TaskIndex, output: &str, key: &str) -> Digest {
        let entries = self.outputs(producer).by_name[output].entries.as_ref();
        entries.expect("the pipeline was checked: the output is a collection")[key]
    }
}

/// What expressions can ask about a task.
struct TaskFacts<'a> {
    preparer: &'a Preparer<'a>,
    view: &'a View<'a>,
    task: &'a Task,
    step: &'a Step,
}

impl Facts for TaskFacts<'_> {
    fn item_key(&self, variable: &str) -> String {
        self.task.key[variable_position(self.step, variable)].to_string()
    }

    fn count(&self, collection: &Counted) -> Option<usize> {
        let Self { preparer, view, task, step } = self;
        match collection {
            Counted::Input(name) => Some(preparer.inputs[name].len()),
            Counted::Output { step: upstream, output } => {
                let made = view.made(preparer.upstream(view, task, step, *upstream))?;
                made.by_name[output].entries.as_ref().map(|entries| entries.len())
            }
            Counted::Gather { step: upstream, over, .. } => {
                Some(preparer.gathered(view, task, step, *upstream, over).len())
            }
        }
    }
}

/// What a loop variable stands for in one task.
enum Item<'a> {
    Input { collection: &'a str, key: String, item: &'a InputItem },
    Entry { producer: TaskIndex, output: &'a str, key: String },
}

/// Directories into which input paths may be written.
#[derive(Debug)]
pub(crate) struct Places {
    /// For this attempt alone.
    pub(crate) inputs: PathBuf,
    /// For the whole run.
    pub(crate) run_inputs: PathBuf,
}

/// The texts that an argument may have without anything having run.
fn literal_texts(argument: &Argument) -> Vec<&str> {
    match argument.value.parts.as_slice() {
        [Part::Reference(Reference::Matrix { values, .. })] => values.values().map(String::as_str).collect(),
        [Part::Reference(Reference::OutputOr { otherwise, .. })] if !otherwise.is_empty() => vec![otherwise],
        _ => argument.value.as_text().into_iter().collect(),
    }
}

/// The paths that the pipeline or the project wrote out for a `path` or `uri` parameter: one, or one per value of a sweep.
pub(crate) fn literal_paths(pipeline: &Pipeline, step: &Step, argument: &Argument) -> Result<Vec<PathBuf>> {
    let located = literal_texts(argument).into_iter().map(|text| location(pipeline, step, argument, text));
    located.filter_map(Result::transpose).collect()
}

/// The path that a text stands for, when the parameter is a `path` or `uri`.
fn location(pipeline: &Pipeline, step: &Step, argument: &Argument, text: &str) -> Result<Option<PathBuf>> {
    let (ParameterKind::Path | ParameterKind::Uri) = argument.kind else { return Ok(None) };
    if text.is_empty() {
        // The way to say that there is none.
        return Ok(None);
    }
    let base: &Path = if argument.from_project_default { &step.project.directory } else { &pipeline.directory };
    match ArtifactUri::parse(text, base) {
        Ok(uri) => Ok(Some(uri.path().to_owned())),
        Err(source) => Err(Error::Parameter {
            step: step.name.to_string(),
            parameter: argument.name.clone(),
            source: Box::new(source),
        }),
    }
}

fn render(argument: &Argument, mut resolve: impl FnMut(&Reference) -> Result<String>) -> Result<String> {
    let mut text = String::new();
    for part in &argument.value.parts {
        match part {
            Part::Text(part) => text.push_str(part),
            Part::Reference(reference) => text.push_str(&resolve(reference)?),
        }
    }
    Ok(text)
}

fn kind_word(kind: ParameterKind) -> &'static str {
    match kind {
        ParameterKind::String => "string",
        ParameterKind::Int => "int",
        ParameterKind::Float => "float",
        ParameterKind::Bool => "bool",
        ParameterKind::Choice => "choice",
        ParameterKind::Path => "path",
        ParameterKind::Uri => "uri",
    }
}

/// Fewer tasks than this are looked up one after the other: handing them to other threads would cost more.
pub(crate) const FEW: usize = 16;
/// How many tasks are looked up at the same time.
pub(crate) const TOGETHER: usize = 256;

/// A task whose facts are known: its work is to be looked for.
#[derive(Debug)]
pub(crate) struct Sought {
    pub(crate) index: TaskIndex,
    /// `step` or `step[key]`.
    pub(crate) label: String,
    pub(crate) image: PreImage,
    pub(crate) fingerprint: Digest,
    /// Why a finished result must not be taken, if it must not.
    pub(crate) refused: Option<Reason>,
}

/// Finished work, and why it may be reused; or none, and why the work must be done.
pub(crate) type Answer = (Option<Box<Reusable>>, Reason);

impl Preparer<'_> {
    /// Puts together what is needed to look for a task's work; everything upstream of it must be finished.
    pub(crate) fn sought(&mut self, view: &View<'_>, index: TaskIndex, repeats: bool) -> Result<Sought> {
        let image = self.pre_image(view, index)?;
        let task = view.scheduler.task(index);
        let step = &self.pipeline.steps[task.step];
        let label = match display_key(&task.key, step.dimensions.len()) {
            Some(key) => format!("{}[{key}]", step.name),
            None => step.name.to_string(),
        };
        let refused = match (repeats, step.cache) {
            (true, _) => Some(Reason::Forced),
            (false, false) => Some(Reason::NotCached),
            (false, true) => None,
        };
        Ok(Sought { index, label, fingerprint: image.fingerprint(), image, refused })
    }
}

/// Looks for the work of each task, of many at the same time.
pub(crate) fn look_up_all(workspace: &Workspace, latest: &Latest, sought: &[Sought]) -> Vec<Answer> {
    let one = |sought: &Sought| sought.answer(workspace, latest, None);
    if sought.len() < FEW { sought.iter().map(one).collect() } else { sought.par_iter().map(one).collect() }
}

impl Sought {
    /// Returns finished work, and why the work must be done if there is none. It is looked for now, unless it was `found`
    /// before.
    pub(crate) fn answer(&self, workspace: &Workspace, latest: &Latest, found: Option<Lookup>) -> Answer {
        if let Some(reason) = &self.refused {
            return (None, reason.clone());
        }
        match found.unwrap_or_else(|| workspace.find_or_fetch_action(self.fingerprint)) {
            Lookup::Hit(action) => (Some(action), Reason::Cached),
            Lookup::ContentMissing => (None, Reason::ContentMissing),
            Lookup::ContentDamaged(digest) => (None, Reason::ContentDamaged(digest)),
            Lookup::Miss => match latest.get(&self.label) {
                None => (None, Reason::New),
                Some(earlier) if earlier == self.fingerprint => (None, Reason::Removed),
                Some(earlier) => match workspace.pre_image(earlier) {
                    Some(earlier) => (None, Reason::Changed(self.image.changes_since(&earlier))),
                    None => (None, Reason::Removed),
                },
            },
        }
    }
}
