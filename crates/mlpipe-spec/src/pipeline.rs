//! The checked pipeline: what the engine plans from.
//!
//! Every name is resolved (steps to [`StepId`], parameters into text), every value has its type, and the steps are in
//! an order in which each comes after the steps it needs. Only this crate makes these values, after all checks passed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::evaluation::{Counted, Expression};
use crate::params::{ParamKind, ParamValue, ParameterKind};
use crate::project::{EntryPoint, Project};
use crate::retries::Retries;

/// The place of a step in [`Pipeline::steps`].
pub type StepId = usize;

/// A pipeline without mistakes.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The pipeline's name.
    pub name: String,
    /// Absolute path of the pipeline file.
    pub path: PathBuf,
    /// Absolute path of the directory the file lies in; relative paths in the file start here.
    pub directory: PathBuf,
    /// The parameters with the values of this run, in declared order.
    pub params: IndexMap<String, Param>,
    /// The collections that steps iterate over, in declared order.
    pub inputs: IndexMap<String, Input>,
    /// The steps: each after all it depends on, otherwise in declared order. Where a step is a pipeline itself, its steps
    /// stand in its place, called `<step>/<inner step>`.
    pub steps: Vec<Step>,
    /// The combinations of values that steps run for; [`DimensionSource::Matrix`] counts them.
    pub matrices: Vec<Matrix>,
    /// What the pipeline hands back, in declared order.
    pub outputs: IndexMap<String, OutputRef>,
    /// The text of the pipeline file as it was read.
    pub source: String,
    /// Absolute path and text of the pipeline files that steps of this one name.
    pub included: BTreeMap<PathBuf, String>,
}

/// A parameter of the pipeline with its value.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Param {
    /// The value: the override if one was given, else the default.
    pub value: ParamValue,
    /// The declared type.
    pub kind: ParamKind,
    /// Whether the value was given on the command line.
    pub overridden: bool,
}

/// A collection of keyed items that comes from outside the pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Input {
    /// The name under `inputs:`; `<step>/<name>` for one of a pipeline that is a step.
    pub name: String,
    /// The kind of source, one of [`crate::LoadOptions::collections`].
    pub collection: String,
    /// Absolute local path of the source.
    pub from: String,
    /// The selection rules, for the source kind to interpret; empty without `select:`.
    pub select: serde_json::Map<String, serde_json::Value>,
    /// How an item reaches a step.
    pub form: ItemForm,
}

/// How an item of an input reaches a step; the key `as:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ItemForm {
    /// The path of a manifest that lists the files.
    #[default]
    Manifest,
    /// The path of a directory of links.
    Directory,
}

/// An output of a step that is an output of the pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputRef {
    /// The step.
    pub step: StepId,
    /// The name of the output in the step's entry point.
    pub output: String,
}

/// The name of a step: `[a-z][a-z0-9_-]*`, so it can be part of a file name, a run name and an expression. The steps of a
/// pipeline that is a step itself are called `<step>/<inner step>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct StepName(String);

impl StepName {
    /// Returns the name, or `None` when the text does not match `[a-z][a-z0-9_-]*`.
    pub fn new(text: &str) -> Option<StepName> {
        let mut letters = text.bytes();
        let starts_well = letters.next().is_some_and(|first| first.is_ascii_lowercase());
        let goes_on_well = letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        (starts_well && goes_on_well).then(|| StepName(text.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the names of the pipeline steps that this step is part of, outermost first: `a` and `a/b` for `a/b/c`.
    pub fn enclosing(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices(SEPARATOR).map(|(at, _)| &self.0[..at])
    }

    /// Returns whether this is the step of that name, or part of it.
    pub fn is_or_belongs_to(&self, name: &str) -> bool {
        self.0.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(SEPARATOR))
    }

    /// Returns the name that the step has where `prefix` leads to its pipeline: empty, or ending in the separator.
    pub(crate) fn below(&self, prefix: &str) -> StepName {
        StepName(format!("{prefix}{}", self.0))
    }
}

/// Stands between the name of a step and those of the steps of its pipeline; no name has it.
pub(crate) const SEPARATOR: char = '/';

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for StepName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// One step: an entry point of a project, run once for each combination of its dimensions' items.
#[derive(Debug, Clone)]
pub struct Step {
    /// The name under `steps:`.
    pub name: StepName,
    /// The project, shared by all steps that use it.
    pub project: Arc<Project>,
    /// The name of the entry point, which `project` has.
    pub entry_point: String,
    /// The loop variables, outermost first; empty for a step that runs once. Those of the pipeline steps that this step is
    /// part of come first.
    pub dimensions: Vec<Dimension>,
    /// The steps named under `needs:`.
    pub needs: Vec<Need>,
    /// A value for every parameter of the entry point, in its declared order.
    pub arguments: Vec<Argument>,
    /// How many items at most share one process; the entry point then has a batch command.
    pub batch: Option<usize>,
    /// The matrices of the step and of the pipeline steps that it is part of, as places in [`Pipeline::matrices`].
    pub matrices: Vec<usize>,
    /// Whether a task runs, from `if:`; `None` without one, or where it is true whatever happens.
    pub condition: Option<Condition>,
    /// A task runs however those of the steps before this one, that it waits for, have ended. The step's own place for
    /// `always: true`; for a step of a pipeline that always runs, the place of the first step of that pipeline.
    pub always_after: Option<StepId>,
    /// Whether, and how often, a failed attempt is repeated.
    pub retries: Retries,
    /// How long an attempt may take.
    pub timeout: Option<Duration>,
    /// What an attempt needs of the machine.
    pub resources: Resources,
    /// What a failed item means for the others.
    pub on_item_error: OnItemError,
    /// Whether results may be reused.
    pub cache: bool,
    /// Environment variables set for the step's process.
    pub env: BTreeMap<String, String>,
    /// Names of environment variables whose values are taken from the environment of mlpipe and recorded nowhere.
    pub secrets: Vec<String>,
}

/// The condition of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Condition {
    /// The expression as it was written.
    pub text: String,
    /// The expression; its value is a truth value, and never missing for a task whose upstream tasks have ended well.
    pub expression: Expression,
}

impl Condition {
    /// Returns whether no task will ever run.
    pub fn is_never(&self) -> bool {
        self.expression == Expression::Value(ParamValue::Bool(false))
    }
}

/// A step that must have ended before another one starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Need {
    /// The step.
    pub step: StepId,
    /// Whether an `if` may exclude all of it without excluding what needs it.
    pub optional: bool,
}

/// The combinations of values that a step runs for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matrix {
    /// The combinations: the last axis changes fastest.
    pub items: Vec<MatrixItem>,
    /// How many processes of the step may run at a time.
    pub max_parallel: Option<usize>,
    /// Whether a failure keeps combinations that have not started from starting.
    pub fail_fast: bool,
}

/// One combination of a matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MatrixItem {
    /// Its key, such as `lr=0.1,depth=3`; safe as a file name.
    pub key: String,
    /// The value of each axis.
    pub values: IndexMap<String, ParamValue>,
}

/// The variable of the dimension that ranges over the combinations of a matrix.
pub const MATRIX_VARIABLE: &str = "matrix";

/// A result of another step that a step reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read<'s> {
    /// The other step.
    pub step: StepId,
    /// The variable of the dimension of `step` over which results are gathered.
    pub over: Option<&'s str>,
    /// Whether the result may be missing, since `default()` says what then.
    pub optional: bool,
}

impl Step {
    /// Returns the entry point that runs.
    pub fn entry(&self) -> &EntryPoint {
        &self.project.entry_points[&self.entry_point]
    }

    /// Returns what the arguments and the condition read of other steps.
    pub fn reads(&self) -> Vec<Read<'_>> {
        let values = self.arguments.iter().flat_map(|argument| argument.value.references());
        let mut reads: Vec<Read> = values.flat_map(Reference::reads).collect();
        let counted = self.condition.iter().flat_map(|condition| condition.expression.counted());
        reads.extend(counted.filter_map(|(collection, optional)| collection.read(optional)));
        reads
    }

    /// Returns the steps that must end before this one starts, ascending and each once: those whose outputs it reads,
    /// those it takes its items from, and those under `needs:`.
    pub fn upstream(&self) -> Vec<StepId> {
        let from_items = self.dimensions.iter().filter_map(|dimension| match dimension.source {
            DimensionSource::Input(_) | DimensionSource::Matrix(_) => None,
            DimensionSource::SameAs(step) | DimensionSource::Output { step, .. } => Some(step),
        });
        let reads = self.reads().into_iter().map(|read| read.step);
        let needs = self.needs.iter().map(|need| need.step);
        let mut upstream: Vec<StepId> = needs.chain(from_items).chain(reads).collect();
        upstream.sort_unstable();
        upstream.dedup();
        upstream
    }
}

impl Counted {
    fn read(&self, optional: bool) -> Option<Read<'_>> {
        match self {
            Counted::Input(_) => None,
            Counted::Output { step, .. } => Some(Read { step: *step, over: None, optional }),
            Counted::Gather { step, over, .. } => Some(Read { step: *step, over: Some(over), optional }),
        }
    }
}

/// A loop variable of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dimension {
    /// The variable's name, as in `${{ item.<variable> }}`.
    pub variable: String,
    /// Where the items come from.
    pub source: DimensionSource,
    /// Identity of the items: dimensions of the same pipeline with equal `origin` range over the same items.
    pub origin: usize,
}

/// Where the items of a dimension come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DimensionSource {
    /// The input of that name.
    Input(String),
    /// The matrix with that place in [`Pipeline::matrices`].
    Matrix(usize),
    /// The dimension of the same variable name of another step.
    SameAs(StepId),
    /// A collection that a step writes; known when that step has ended. The dimensions of that step come before this
    /// one in the list.
    Output {
        /// The step.
        step: StepId,
        /// The name of the output, of kind collection.
        output: String,
    },
}

/// The value of a parameter of the entry point.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Argument {
    /// The parameter's name.
    pub name: String,
    /// The parameter's declared type. Text without references has been checked against it.
    pub kind: ParameterKind,
    /// The value.
    pub value: Template,
    /// Whether the pipeline gives no value and this is the project's default.
    pub from_project_default: bool,
}

/// Text with references in it that are known only when the step runs. No two neighbours are both text.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(transparent)]
pub struct Template {
    /// The pieces in order; empty for the empty text.
    pub parts: Vec<Part>,
}

impl Template {
    /// Returns the text when there is no reference in it.
    pub fn as_text(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Adds text at the end.
    pub(crate) fn push_text(&mut self, text: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(last)) => last.push_str(text),
            _ if text.is_empty() => {}
            _ => self.parts.push(Part::Text(text.to_owned())),
        }
    }

    /// Adds another template at the end.
    pub(crate) fn push_all(&mut self, other: Template) {
        for part in other.parts {
            match part {
                Part::Text(text) => self.push_text(&text),
                reference @ Part::Reference(_) => self.parts.push(reference),
            }
        }
    }

    /// Returns the template with its variables renamed.
    pub(crate) fn renamed(mut self, rename: &dyn Fn(&str) -> String) -> Template {
        for part in &mut self.parts {
            match part {
                Part::Reference(Reference::Item { variable } | Reference::Matrix { variable, .. }) => {
                    *variable = rename(variable);
                }
                Part::Reference(Reference::Computed(expression)) => expression.rename(rename),
                Part::Text(_) | Part::Reference(_) => {}
            }
        }
        self
    }

    /// Returns the references in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Text(_) => None,
        })
    }
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Literal text; the pipeline's parameters are already in it.
    Text(String),
    /// Something to look up.
    Reference(Reference),
}

/// Something a step can use that is known only when it runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The current item of a dimension of this step: `${{ item.<variable> }}`.
    Item {
        /// The dimension's variable.
        variable: String,
    },
    /// An output of a step for the current items: `${{ steps.<step>.outputs.<output> }}`. All dimensions of that step
    /// are dimensions of this one.
    Output {
        /// The step.
        step: StepId,
        /// The name of the output.
        output: String,
    },
    /// The outputs of a step for all items of one of its dimensions: `${{ gather(steps.<step>.outputs.<output>,
    /// over='<variable>') }}`. All its other dimensions are dimensions of this step.
    Gather {
        /// The step.
        step: StepId,
        /// The name of the output.
        output: String,
        /// The variable of the dimension of `step` that is gathered.
        over: String,
    },
    /// An output of a step, or a text where that step made none: `${{ default(steps.<step>.outputs.<output>, 'text') }}`.
    OutputOr {
        /// The step.
        step: StepId,
        /// The name of the output.
        output: String,
        /// The text; for a parameter that names a location an absolute path or empty.
        otherwise: String,
    },
    /// A text for each combination of the matrix: `${{ matrix.<axis> }}`.
    Matrix {
        /// The variable of the dimension.
        variable: String,
        /// By key of the combination. Where this is the whole of an argument, checked against the parameter's type.
        values: IndexMap<String, String>,
    },
    /// A number, text or truth value that depends on the task.
    Computed(Expression),
}

impl Reference {
    fn reads(&self) -> Vec<Read<'_>> {
        match self {
            Reference::Item { .. } | Reference::Matrix { .. } => Vec::new(),
            Reference::Output { step, .. } => vec![Read { step: *step, over: None, optional: false }],
            Reference::OutputOr { step, .. } => vec![Read { step: *step, over: None, optional: true }],
            Reference::Gather { step, over, .. } => vec![Read { step: *step, over: Some(over), optional: false }],
            Reference::Computed(expression) => expression
                .counted()
                .into_iter()
                .filter_map(|(collection, optional)| collection.read(optional))
                .collect(),
        }
    }
}

/// What an attempt needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct Resources {
    /// Processor cores, at least 1.
    pub cpu: u32,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Graphics processors that nobody else uses meanwhile.
    pub gpu: u32,
}

impl Default for Resources {
    /// One core, 1 GiB, no GPU.
    fn default() -> Self {
        Resources { cpu: 1, memory_bytes: 1 << 30, gpu: 0 }
    }
}

/// What a failed item means for the other items of its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnItemError {
    /// The step fails; items that have not started are skipped.
    #[default]
    Fail,
    /// The other items run on; the failures are reported together at the end.
    Collect,
}
