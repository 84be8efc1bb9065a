//! What the scheduler has to know of a pipeline: for every step its loop variables and what a task waits for, in numbers.
//!
//! A [`StepShape`] is derived from a checked [`Pipeline`] once. It holds no names, templates or paths, so the scheduler can
//! be tested with shapes made by hand.

use mlpipe_spec::{DimensionSource, OnItemError, Pipeline, Reference, Step, StepId};

use crate::graph::heights;

/// One step, as the scheduler sees it.
#[derive(Debug, Clone)]
pub struct StepShape {
    /// Loop variables, outermost first.
    pub dimensions: Vec<DimensionShape>,
    /// What a task of this step waits for.
    pub dependencies: Vec<Dependency>,
    /// Positions of this step's key over which some other step gathers.
    pub gathered_over: Vec<usize>,
    /// Cores that a task occupies.
    pub cpu: u32,
    /// Memory that a task is expected to need, bytes.
    pub memory_bytes: u64,
    /// Largest number of tasks that may share one process.
    pub batch: usize,
    /// How often a failed task is tried again.
    pub retries: u32,
    /// What a failed task means for the rest of the run.
    pub on_item_error: OnItemError,
    /// Steps on the longest path from here to an end of the pipeline: tasks with more ahead of them start first.
    pub height: usize,
}

/// Where the items of a loop variable come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DimensionShape {
    /// Known before the run: the input collection with this number.
    Input(usize),
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

/// Something that must have succeeded before a task may start.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
        dependencies: dependencies(pipeline, step),
        gathered_over: Vec::new(),
        cpu: step.resources.cpu.max(1),
        memory_bytes: step.resources.memory_bytes,
        batch: step.batch.unwrap_or(1).max(1),
        retries: step.retries,
        on_item_error: step.on_item_error,
        height: 0,
    }
}

/// Follows `SameAs` to the collection behind a loop variable.
fn dimension(pipeline: &Pipeline, step: &Step, position: usize) -> DimensionShape {
    match origin(pipeline, step, position) {
        DimensionSource::Input(name) => DimensionShape::Input(
            pipeline.inputs.get_index_of(name).expect("the pipeline was checked: its inputs are declared"),
        ),
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

fn dependencies(pipeline: &Pipeline, step: &Step) -> Vec<Dependency> {
    let mut found = Vec::new();
    let mut add = |dependency| {
        if !found.contains(&dependency) {
            found.push(dependency);
        }
    };
    for dimension in &step.dimensions {
        if let DimensionSource::SameAs(upstream) = &dimension.source {
            add(Dependency::Task { step: *upstream, positions: positions(&pipeline.steps[*upstream], step, None) });
        }
    }
    for reference in step.arguments.iter().flat_map(|argument| argument.value.references()) {
        match reference {
            Reference::Item { .. } => {}
            Reference::Output { step: upstream, .. } => {
                add(Dependency::Task { step: *upstream, positions: positions(&pipeline.steps[*upstream], step, None) });
            }
            Reference::Gather { step: upstream, over, .. } => {
                let gathered = &pipeline.steps[*upstream];
                let over = variable_position(gathered, over);
                add(Dependency::Group { step: *upstream, over, positions: positions(gathered, step, Some(over)) });
            }
        }
    }
    for upstream in &step.needs {
        let other = &pipeline.steps[*upstream];
        let bound = other.dimensions.iter().all(|part| step.dimensions.iter().any(|own| own.origin == part.origin));
        add(match bound {
            true => Dependency::Task { step: *upstream, positions: positions(other, step, None) },
            false => Dependency::Whole(*upstream),
        });
    }
    found
}

/// Position of a loop variable in a step's key.
pub(crate) fn variable_position(step: &Step, variable: &str) -> usize {
    step.dimensions
        .iter()
        .position(|dimension| dimension.variable == variable)
        .expect("the pipeline was checked: the loop variable exists")
}

fn mark_gathered(shapes: &mut [StepShape]) {
    let gathers: Vec<(StepId, usize)> = shapes
        .iter()
        .flat_map(|shape| &shape.dependencies)
        .filter_map(|dependency| match dependency {
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
