//! Says what a run would do, without doing it: the scheduler runs on what is known, and tasks that would have to run stay
//! open, so that everything behind them is decided later.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use mlpipe_artifacts::Digest;
use mlpipe_spec::StepId;

use crate::cache::{Latest, Reusable};
use crate::document::{PlanDocument, PlannedAction, PlannedTask};
use crate::driver::{RunRequest, display_key};
use crate::error::Result;
use crate::fingerprint::PreImage;
use crate::outputs::Outputs;
use crate::prepare::{Preparer, Reason, Sought, TOGETHER, View, look_up_all};
use crate::scheduler::{Command, Event, Scheduler, SkipCause, Task, TaskIndex, TaskState};
use crate::shape::{DimensionShape, StepShape, shapes};
use crate::workspace::Workspace;

/// Plans a run. Reads the cache and what parameters name; writes nothing but the digests that it took.
///
/// # Errors
/// When a project or a path given to a parameter cannot be read.
pub fn plan(workspace: &Workspace, request: &RunRequest<'_>) -> Result<PlanDocument> {
    let survey = survey(workspace, request, &mut |_| {})?;
    workspace.save_digests();
    Ok(PlanDocument { pipeline: request.pipeline.name.clone(), tasks: survey.tasks(request) })
}

/// What is known of a run without running anything.
pub(crate) struct Survey {
    pub(crate) scheduler: Scheduler,
    shapes: Vec<StepShape>,
    /// What would be done with each task whose inputs are known, and why.
    pub(crate) decided: HashMap<TaskIndex, (PlannedAction, Reason)>,
}

/// A task whose inputs are known.
pub(crate) struct Looked<'a> {
    pub(crate) step: StepId,
    pub(crate) key: Option<&'a str>,
    pub(crate) image: &'a PreImage,
    pub(crate) fingerprint: Digest,
    pub(crate) found: Option<&'a Reusable>,
    /// Fingerprint of the task's last finished result.
    pub(crate) earlier: Option<Digest>,
}

/// Looks at every task whose inputs are known; shows each to `hear`.
pub(crate) fn survey(
    workspace: &Workspace,
    request: &RunRequest<'_>,
    hear: &mut dyn FnMut(Looked<'_>),
) -> Result<Survey> {
    let mut preparer = Preparer::new(request, workspace.content().known());
    preparer.check_sources()?;
    let keys = request.inputs.values().map(|items| items.keys().map(|key| Arc::from(key.as_str())).collect()).collect();
    let shapes = shapes(request.pipeline);
    let mut scheduler = Scheduler::new(shapes.clone(), keys, request.capacity).only(request.scope.steps());
    let latest = Latest::read(workspace, &request.pipeline.name);
    let mut outputs: HashMap<TaskIndex, Outputs> = HashMap::new();
    let mut decided: HashMap<TaskIndex, (PlannedAction, Reason)> = HashMap::new();
    let mut commands: VecDeque<Command> = scheduler.start().into();
    while !commands.is_empty() {
        let mut sought = Vec::new();
        for command in commands.drain(..commands.len().min(TOGETHER)).collect::<Vec<_>>() {
            // Whatever would run stays as it is: nothing is launched, so nothing behind it moves.
            let Command::Prepare(index) = command else { continue };
            let view = View { scheduler: &scheduler, outputs: &outputs };
            if preparer.excludes(&view, index) {
                commands.extend(scheduler.on_event(&Event::Excluded { task: index }));
                continue;
            }
            sought.push(preparer.sought(&view, index, request.scope.repeats(scheduler.task(index).step))?);
        }
        let answers = look_up_all(workspace, &latest, &sought);
        for (Sought { index, label, image, fingerprint, .. }, (action, reason)) in sought.into_iter().zip(answers) {
            let task = scheduler.task(index);
            let step = &request.pipeline.steps[task.step];
            let key = display_key(&task.key, step.dimensions.len());
            let (key, found, earlier) = (key.as_deref(), action.as_deref(), latest.get(&label));
            hear(Looked { step: task.step, key, image: &image, fingerprint, found, earlier });
            let found = found.and_then(|action| Outputs::find(&action.tree, &step.entry().outputs).ok());
            let planned = if found.is_some() { PlannedAction::Reuse } else { PlannedAction::Run };
            decided.insert(index, (planned, reason));
            if let Some(found) = found {
                let collections = found.collections();
                outputs.insert(index, found);
                commands.extend(scheduler.on_event(&Event::Reused { task: index, collections }));
            }
        }
    }
    Ok(Survey { scheduler, shapes, decided })
}

impl Survey {
    /// Every task that is known, and the branches whose items are not, by step.
    pub(crate) fn tasks(&self, request: &RunRequest<'_>) -> Vec<PlannedTask> {
        let steps = &request.pipeline.steps;
        let names = |step: usize| steps[step].upstream().iter().map(|other| steps[*other].name.to_string()).collect();
        let after: Vec<Vec<String>> = (0..steps.len()).map(names).collect();
        let mut rows: Vec<(usize, PlannedTask)> = Vec::new();
        for (number, task) in self.scheduler.tasks().iter().enumerate() {
            let (action, reason) = match self.decided.get(&TaskIndex(number)) {
                Some((action, reason)) => (*action, reason.to_string()),
                None if task.excluded => (PlannedAction::Skip, skip_reason(request, &self.scheduler, task)),
                None => (PlannedAction::Decide, "an upstream task has to run first".into()),
            };
            let key = display_key(&task.key, steps[task.step].dimensions.len());
            let name = steps[task.step].name.to_string();
            rows.push((task.step, PlannedTask { name, key, action, reason, after: after[task.step].clone() }));
        }
        for (step, prefix) in self.scheduler.open_branches() {
            let DimensionShape::Produced { step: producer, output, .. } = &self.shapes[step].dimensions[prefix.len()]
            else {
                continue;
            };
            let reason = format!("its items are known once `{}` has made `{output}`", steps[*producer].name);
            let key = display_key(&prefix, steps[step].dimensions.len());
            let name = steps[step].name.to_string();
            rows.push((
                step,
                PlannedTask { name, key, action: PlannedAction::Decide, reason, after: after[step].clone() },
            ));
        }
        rows.sort_by_key(|(step, _)| *step);
        rows.into_iter().map(|(_, row)| row).collect()
    }
}

/// Why a task will not run, though nothing fails.
fn skip_reason(request: &RunRequest<'_>, scheduler: &Scheduler, task: &Task) -> String {
    let step = &request.pipeline.steps[task.step];
    match (task.state, &step.condition) {
        (TaskState::Skipped(SkipCause::Upstream(upstream)), _) => {
            let mut root = scheduler.task(upstream);
            while let TaskState::Skipped(SkipCause::Upstream(next)) = root.state {
                root = scheduler.task(next);
            }
            format!("`{}` is skipped: its `if` is false", request.pipeline.steps[root.step].name)
        }
        (_, Some(condition)) => format!("its `if` is false: {}", condition.text),
        (_, None) => String::new(),
    }
}
