//! Says what a run would do, without doing it: the scheduler runs on what is known, and tasks that would have to run stay
//! open, so that everything behind them is decided later.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::cache::Latest;
use crate::document::{PlanDocument, PlannedAction, PlannedTask};
use crate::driver::{RunRequest, display_key};
use crate::error::Result;
use crate::outputs::Outputs;
use crate::prepare::{Preparer, View, look_up};
use crate::scheduler::{Command, Event, Scheduler, TaskIndex};
use crate::shape::{DimensionShape, StepShape, shapes};
use crate::workspace::Workspace;

/// Plans a run. Reads the cache and what parameters name, writes nothing.
///
/// # Errors
/// When a project or a path given to a parameter cannot be read.
pub fn plan(workspace: &Workspace, request: &RunRequest<'_>) -> Result<PlanDocument> {
    let mut preparer = Preparer::new(request.pipeline, request.inputs, request.environment);
    preparer.check_sources()?;
    let keys = request.inputs.values().map(|items| items.keys().map(|key| Arc::from(key.as_str())).collect()).collect();
    let shapes = shapes(request.pipeline);
    let mut scheduler = Scheduler::new(shapes.clone(), keys, request.capacity);
    let latest = Latest::read(workspace, &request.pipeline.name);
    let mut outputs: HashMap<TaskIndex, Outputs> = HashMap::new();
    let mut decided: HashMap<TaskIndex, (PlannedAction, String)> = HashMap::new();
    let mut commands: VecDeque<Command> = scheduler.start().into();
    while let Some(command) = commands.pop_front() {
        // Whatever would run stays as it is: nothing is launched, so nothing behind it moves.
        let Command::Prepare(index) = command else { continue };
        let view = View { scheduler: &scheduler, outputs: &outputs };
        let image = preparer.pre_image(&view, index)?;
        let step = &request.pipeline.steps[scheduler.task(index).step];
        let key = display_key(&scheduler.task(index).key, step.dimensions.len());
        let label = key.map_or_else(|| step.name.to_string(), |key| format!("{}[{key}]", step.name));
        let (action, reason) = look_up(workspace, &latest, &label, &image, step.cache);
        let found = action.and_then(|action| Outputs::find(&action.tree, &step.entry().outputs).ok());
        let planned = if found.is_some() { PlannedAction::Reuse } else { PlannedAction::Run };
        decided.insert(index, (planned, reason.to_string()));
        if let Some(found) = found {
            let collections = found.collections();
            outputs.insert(index, found);
            commands.extend(scheduler.on_event(&Event::Reused { task: index, collections }));
        }
    }
    Ok(PlanDocument { pipeline: request.pipeline.name.clone(), tasks: tasks(request, &scheduler, &shapes, decided) })
}

fn tasks(
    request: &RunRequest<'_>,
    scheduler: &Scheduler,
    shapes: &[StepShape],
    mut decided: HashMap<TaskIndex, (PlannedAction, String)>,
) -> Vec<PlannedTask> {
    let steps = &request.pipeline.steps;
    let after = |step: usize| steps[step].upstream().iter().map(|upstream| steps[*upstream].name.to_string()).collect();
    let mut rows: Vec<(usize, PlannedTask)> = Vec::new();
    for (number, task) in scheduler.tasks().iter().enumerate() {
        let (action, reason) = decided
            .remove(&TaskIndex(number))
            .unwrap_or((PlannedAction::Decide, "an upstream task has to run first".into()));
        let key = display_key(&task.key, steps[task.step].dimensions.len());
        let name = steps[task.step].name.to_string();
        rows.push((task.step, PlannedTask { name, key, action, reason, after: after(task.step) }));
    }
    for (step, prefix) in scheduler.open_branches() {
        let DimensionShape::Produced { step: producer, output, .. } = &shapes[step].dimensions[prefix.len()] else {
            continue;
        };
        let reason = format!("its items are known once `{}` has made `{output}`", steps[*producer].name);
        let key = display_key(&prefix, steps[step].dimensions.len());
        let name = steps[step].name.to_string();
        rows.push((step, PlannedTask { name, key, action: PlannedAction::Decide, reason, after: after(step) }));
    }
    rows.sort_by_key(|(step, _)| *step);
    rows.into_iter().map(|(_, row)| row).collect()
}
