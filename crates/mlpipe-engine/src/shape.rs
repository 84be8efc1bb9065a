//! What the scheduler has to know of a pipeline: for every step its loop variables and what a task waits for, in numbers.
//!
//! A [`StepShape`] is derived from a checked [`Pipeline`] once. It holds no names, templates or paths, so the scheduler can
//! be tested with shapes made by hand.

use mlpipe_spec::{Condition, Dimension, DimensionSource, OnItemError, Pipeline, Retries, Step, StepId};
use serde::{Deserialize, Serialize};

use crate::graph::heights;

/// One step, as the scheduler sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepShape {
    /// Loop variables, outermost first.
    pub dimensions: Vec<DimensionShape>,
    /// What a task of this step waits for.
    pub requirements: Vec<Requirement>,
    /// Positions of this step's key over which some other step gathers.
    pub gathered_over: Vec<usize>,
    /// Cores that a task occupies.
    pub cpu: u32,
    /// Memory that a task is expected to need, bytes.
    pub memory_bytes: u64,
    /// GPUs that a task holds.
    #[serde(default)]
    pub gpu: u32,
    /// Largest number of tasks that may share one process.
    pub batch: usize,
    /// Whether and when a failed task is tried again.
    pub retries: Retries,
    /// Whether no task will ever run, since the step's `if` is false.
    pub never: bool,
    /// Whether tasks start even when a failure has stopped the run. How what they wait for must have ended stands in the
    /// requirements.
    pub always: bool,
    /// How many processes of the step may be under way at a time.
    pub max_parallel: Option<usize>,
    /// What a failed task keeps from starting, beside what needs it.
    #[serde(default)]
    pub stops: Vec<FailFast>,
    /// What a failed task means for the rest of the run.
    pub on_item_error: OnItemError,
    /// Steps on the longest path from here to an end of the pipeline: tasks with more ahead of them start first.
    pub height: usize,
}

/// A matrix of which nothing more starts once one of its combinations has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailFast {
    /// The key part that names the combination, in each of the steps.
    pub position: usize,
    /// The steps that run for each combination.
    pub steps: Vec<StepId>,
}

/// Where the items of a loop variable come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DimensionShape {
    /// Known before the run: the input collection with this number.
    Input(usize),
    /// Known before the run: these.
    Literal(Vec<String>),
    /// Known when a task of `step` has finished: the entries of its output `output`.
    Produced {
        /// The step that makes the collection.
        step: StepId,
        /// Name of the collection output.
        output: String,
        /// For each key part of that step, its position in this step's key.
        positions: Vec<usize>,
    },
}

/// What a task waits for, and how that must have ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub struct Requirement {
    /// The tasks.
    pub dependency: Dependency,
    /// How they must have ended.
    pub demand: Demand,
}

/// How that which a task waits for must have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Demand {
    /// Well. Of several tasks, those that an `if` excluded are left out.
    Success,
    /// Well, or not at all because of an `if`.
    SuccessOrExclusion,
    /// In any way.
    End,
}

/// Tasks that others wait for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dependency {
    /// The one task of `step` whose key is made of these positions of the waiting task's key.
    Task {
        /// Upstream step.
        step: StepId,
        /// For each key part of the upstream step, its position in the waiting task's key.
        positions: Vec<usize>,
    },
    /// All tasks of `step` that differ only in key part `over`.
    Group {
        /// Upstream step.
        step: StepId,
        /// The key part that is gathered.
        over: usize,
        /// For each other key part of the upstream step, its position in the waiting task's key.
        positions: Vec<usize>,
    },
    /// Every task of `step`.
    Whole(StepId),
}

impl Dependency {
    /// Returns the step whose tasks they are.
    pub fn step(&self) -> StepId {
        match self {
            Self::Task { step, .. } | Self::Group { step, .. } | Self::Whole(step) => *step,
        }
    }
}

/// Derives the shapes of all steps, in step order.
pub fn shapes(pipeline: &Pipeline) -> Vec<StepShape> {
    let mut shapes: Vec<StepShape> = pipeline.steps.iter().map(|step| shape(pipeline, step)).collect();
    mark_gathered(&mut shapes);
    for (shape, height) in shapes.iter_mut().zip(heights(pipeline)) {
        shape.height = height;
    }
    shapes
}

fn shape(pipeline: &Pipeline, step: &Step) -> StepShape {
    StepShape {
        dimensions: (0..step.dimensions.len()).map(|position| dimension(pipeline, step, position)).collect(),
        requirements: requirements(pipeline, step),
        gathered_over: Vec::new(),
        cpu: step.resources.cpu.max(1),
        memory_bytes: step.resources.memory_bytes,
        gpu: step.resources.gpu,
        batch: step.batch.unwrap_or(1).max(1),
        retries: step.retries.clone(),
        never: step.condition.as_ref().is_some_and(Condition::is_never),
        always: step.always_after.is_some(),
        max_parallel: step.matrices.iter().filter_map(|matrix| pipeline.matrices[*matrix].max_parallel).min(),
        stops: step.matrices.iter().filter_map(|matrix| fail_fast(pipeline, step, *matrix)).collect(),
        on_item_error: step.on_item_error,
        height: 0,
    }
}

/// What a failure stops, where the matrix says that it does.
fn fail_fast(pipeline: &Pipeline, step: &Step, matrix: usize) -> Option<FailFast> {
    if !pipeline.matrices[matrix].fail_fast {
        return None;
    }
    let is_it = |dimension: &Dimension| dimension.source == DimensionSource::Matrix(matrix);
    let position = step.dimensions.iter().position(is_it);
    let steps = (0..pipeline.steps.len()).filter(|other| pipeline.steps[*other].matrices.contains(&matrix));
    let position = position.expect("the pipeline was checked: a step with a matrix ranges over it");
    Some(FailFast { position, steps: steps.collect() })
}

/// Follows `SameAs` to the collection behind a loop variable.
fn dimension(pipeline: &Pipeline, step: &Step, position: usize) -> DimensionShape {
    match origin(pipeline, step, position) {
        DimensionSource::Input(name) => DimensionShape::Input(
            pipeline.inputs.get_index_of(name).expect("the pipeline was checked: its inputs are declared"),
        ),
        DimensionSource::Matrix(matrix) => {
            let items = &pipeline.matrices[*matrix].items;
            DimensionShape::Literal(items.iter().map(|item| item.key.clone()).collect())
        }
        DimensionSource::Output { step: producer, output } => DimensionShape::Produced {
            step: *producer,
            output: output.clone(),
            positions: positions(&pipeline.steps[*producer], step, None),
        },
        DimensionSource::SameAs(_) => unreachable!("origin() follows SameAs to its end"),
    }
}

/// The collection behind a loop variable: never [`DimensionSource::SameAs`].
pub(crate) fn origin<'a>(pipeline: &'a Pipeline, step: &'a Step, position: usize) -> &'a DimensionSource {
    let dimension = &step.dimensions[position];
    let DimensionSource::SameAs(other) = &dimension.source else { return &dimension.source };
    let other = &pipeline.steps[*other];
    let same = other.dimensions.iter().position(|candidate| candidate.origin == dimension.origin);
    origin(pipeline, other, same.expect("the pipeline was checked: the other step has this loop variable"))
}

/// For each key part of `upstream` (but `left_out`), the position of the same loop variable in `step`.
fn positions(upstream: &Step, step: &Step, left_out: Option<usize>) -> Vec<usize> {
    let parts = upstream.dimensions.iter().enumerate().filter(|(position, _)| Some(*position) != left_out);
    parts
        .map(|(_, part)| {
            step.dimensions
                .iter()
                .position(|own| own.origin == part.origin)
                .expect("the pipeline was checked: every loop variable of the upstream step is bound")
        })
        .collect()
}

fn requirements(pipeline: &Pipeline, step: &Step) -> Vec<Requirement> {
    let mut found: Vec<Requirement> = Vec::new();
    let mut add = |dependency: Dependency, optional| {
        let demand = match optional {
            _ if step.always_after.is_some_and(|start| dependency.step() < start) => Demand::End,
            true => Demand::SuccessOrExclusion,
            false => Demand::Success,
        };
        let requirement = Requirement { dependency, demand };
        if !found.contains(&requirement) {
            found.push(requirement);
        }
    };
    let same_items = |upstream: StepId| Dependency::Task {
        step: upstream,
        positions: positions(&pipeline.steps[upstream], step, None),
    };
    for dimension in &step.dimensions {
        if let DimensionSource::SameAs(upstream) = &dimension.source {
            add(items_of(pipeline, step, *upstream), false);
        }
    }
    for read in step.reads() {
        match read.over {
            None => add(same_items(read.step), read.optional),
            Some(over) => {
                let gathered = &pipeline.steps[read.step];
                let over = variable_position(gathered, over);
                let positions = positions(gathered, step, Some(over));
                add(Dependency::Group { step: read.step, over, positions }, read.optional);
            }
        }
    }
    for need in &step.needs {
        let other = &pipeline.steps[need.step];
        let bound = other.dimensions.iter().all(|part| step.dimensions.iter().any(|own| own.origin == part.origin));
        add(if bound { same_items(need.step) } else { Dependency::Whole(need.step) }, need.optional);
    }
    found
}

/// All tasks of `upstream` for the items of a task of `step`: one, where `step` has all its loop variables.
fn items_of(pipeline: &Pipeline, step: &Step, upstream: StepId) -> Dependency {
    let other = &pipeline.steps[upstream];
    let is_own = |part: &Dimension| step.dimensions.iter().any(|own| own.origin == part.origin);
    let missing: Vec<usize> =
        (0..other.dimensions.len()).filter(|position| !is_own(&other.dimensions[*position])).collect();
    match missing.as_slice() {
        [] => Dependency::Task { step: upstream, positions: positions(other, step, None) },
        [over] => Dependency::Group { step: upstream, over: *over, positions: positions(other, step, Some(*over)) },
        _ => Dependency::Whole(upstream),
    }
}

/// Position of a loop variable in a step's key.
pub(crate) fn variable_position(step: &Step, variable: &str) -> usize {
    step.dimensions
        .iter()
        .position(|dimension| dimension.variable == variable)
        .expect("the pipeline was checked: the loop variable exists")
}

/// Notes in each shape over which of its key parts some step gathers.
pub(crate) fn mark_gathered(shapes: &mut [StepShape]) {
    let gathers: Vec<(StepId, usize)> = shapes
        .iter()
        .flat_map(|shape| &shape.requirements)
        .filter_map(|requirement| match &requirement.dependency {
            Dependency::Group { step, over, .. } => Some((*step, *over)),
            _ => None,
        })
        .collect();
    for (step, over) in gathers {
        if !shapes[step].gathered_over.contains(&over) {
            shapes[step].gathered_over.push(over);
        }
    }
}
