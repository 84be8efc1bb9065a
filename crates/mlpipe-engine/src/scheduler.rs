//! Decides which task may start, which is skipped, and when the run is over.
//!
//! A pure state machine: [`Scheduler::on_event`] takes what happened and returns what to do. It has no clock and touches no
//! file, so the same events always give the same commands; the driver obeys and reports back. Loop variables over
//! a step's output expand here, as soon as the one task that makes the collection has ended.

mod cores;
mod expansion;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use mlpipe_spec::{FailureCause, OnItemError, StepId};

use self::expansion::Met;
use crate::shape::{Demand, FailFast, StepShape};
pub use crate::task::{Capacity, Command, Event, Key, SkipCause, Task, TaskIndex, TaskState};

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    shapes: Vec<StepShape>,
    inputs: Vec<Vec<Arc<str>>>,
    /// The steps that the run is about; none for all.
    only: Option<BTreeSet<StepId>>,
    tasks: Vec<Task>,
    by_key: HashMap<(StepId, Key), TaskIndex>,
    produced: HashMap<(TaskIndex, String), Vec<Arc<str>>>,
    /// Branches that expand when the task has ended.
    open: HashMap<TaskIndex, Vec<(StepId, Key)>>,
    /// How many branches of each step are open.
    open_count: Vec<usize>,
    /// Whether all branches of each step are known.
    expanded: Vec<bool>,
    /// Per step: its groups.
    groups: Vec<HashMap<GroupId, Group>>,
    preparing: usize,
    /// Tasks whose work somebody else is doing.
    elsewhere: usize,
    /// Tasks that wait for their next attempt.
    delayed: usize,
    /// Failed and skipped tasks whose downstream does not know yet.
    lost: Vec<TaskIndex>,
    /// Ready tasks of each step.
    queues: Vec<BTreeSet<TaskIndex>>,
    /// The first of each queue, most urgent first.
    heads: BTreeSet<(Reverse<usize>, TaskIndex)>,
    /// What each process occupies, by the number of its launch.
    running: HashMap<usize, Share>,
    launched_in: HashMap<TaskIndex, usize>,
    launches: usize,
    /// Processes of each step that are under way.
    processes: Vec<usize>,
    free: Capacity,
    /// Numbers of the GPUs that no process holds.
    free_gpus: BTreeSet<u32>,
    capacity: Capacity,
    /// Combinations of `fail_fast` matrices that have failed.
    halted: Vec<Halted>,
    stop: Option<Stop>,
    commands: Vec<Command>,
}

/// Why nothing new starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// A step failed: steps that always run still do.
    Failure,
    /// Somebody asked for it.
    Interruption,
}

/// What a process occupies, until the last of its tasks has ended.
#[derive(Debug, Clone)]
struct Share {
    step: StepId,
    cpu: u32,
    memory_bytes: u64,
    gpus: Vec<u32>,
    tasks_left: usize,
}

/// A matrix of which nothing more starts.
#[derive(Debug, Clone)]
struct Halted {
    steps: Vec<StepId>,
    /// The key of the failed task up to and with its combination: tasks that differ in the last part alone do not start.
    key: Key,
    failed: TaskIndex,
}

/// The tasks of one step that differ only in key part `over`; the whole step when `over` is none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct GroupId {
    over: Option<usize>,
    others: Key,
}

impl GroupId {
    fn whole() -> Self {
        Self { over: None, others: Key::from([]) }
    }
}

#[derive(Debug, Default)]
struct Group {
    members: Vec<TaskIndex>,
    done: usize,
    /// Members that were skipped because of an `if`.
    excluded: usize,
    /// Other members that failed or were skipped.
    lost: usize,
    first_lost: Option<TaskIndex>,
    /// Whether all members are known.
    closed: bool,
    /// Who waits, by [`Demand`]: most members change nothing for any of them.
    waiting: BTreeMap<Demand, Vec<TaskIndex>>,
}

impl Halted {
    fn covers(&self, step: StepId, key: &[Arc<str>]) -> bool {
        let position = self.key.len() - 1;
        let is_other = key.get(position).is_some_and(|part| *part != self.key[position]);
        is_other && key[..position] == self.key[..position] && self.steps.contains(&step)
    }
}

impl Group {
    fn has_ended(&self) -> bool {
        self.closed && self.done + self.excluded + self.lost == self.members.len()
    }
}

impl Scheduler {
    /// Sets up a run: `inputs` are the keys of each input collection. Nothing happens before [`Scheduler::start`].
    pub fn new(shapes: Vec<StepShape>, inputs: Vec<Vec<Arc<str>>>, capacity: Capacity) -> Self {
        let steps = shapes.len();
        Self {
            shapes,
            inputs,
            only: None,
            tasks: Vec::new(),
            by_key: HashMap::new(),
            produced: HashMap::new(),
            open: HashMap::new(),
            open_count: vec![0; steps],
            expanded: vec![false; steps],
            groups: (0..steps).map(|_| HashMap::new()).collect(),
            preparing: 0,
            elsewhere: 0,
            delayed: 0,
            lost: Vec::new(),
            queues: vec![BTreeSet::new(); steps],
            heads: BTreeSet::new(),
            running: HashMap::new(),
            launched_in: HashMap::new(),
            launches: 0,
            processes: vec![0; steps],
            free: capacity,
            free_gpus: (0..capacity.gpus).collect(),
            capacity,
            halted: Vec::new(),
            stop: None,
            commands: Vec::new(),
        }
    }

    /// Leaves out all steps but these; whatever one of them needs must be among them.
    #[must_use]
    pub fn only(mut self, steps: Option<&BTreeSet<StepId>>) -> Self {
        self.only = steps.cloned();
        self
    }

    /// Expands what is known from the start and returns the first commands.
    pub fn start(&mut self) -> Vec<Command> {
        let only = self.only.take();
        let takes_part = |step: &StepId| only.as_ref().is_none_or(|only| only.contains(step));
        for step in (0..self.shapes.len()).filter(takes_part) {
            self.expand(step, Key::from([]));
            self.close_if_fully_expanded(step);
        }
        self.spread_losses();
        std::mem::take(&mut self.commands)
    }

    /// Takes in what happened and returns what to do now.
    pub fn on_event(&mut self, event: &Event) -> Vec<Command> {
        match event {
            Event::Reused { task, collections } => {
                if self.prepared(*task) {
                    self.succeed(*task, collections);
                }
            }
            Event::MustRun { task } => {
                if self.prepared(*task) {
                    self.must_run(*task);
                }
            }
            Event::Excluded { task } => self.skip(*task, SkipCause::Condition),
            Event::Elsewhere { task } => self.given_up(*task),
            Event::Succeeded { task, collections } => {
                self.release(*task);
                self.succeed(*task, collections);
            }
            Event::Failed { task, cause } => self.attempt_failed(*task, *cause),
            Event::DelayOver { task } => {
                if self.task(*task).state == TaskState::Delayed {
                    self.stop_expecting(*task);
                    self.must_run(*task);
                }
            }
            Event::Interrupted => {
                self.stop(Stop::Interruption);
                self.commands.push(Command::StopAttempts);
            }
        }
        self.spread_losses();
        self.dispatch();
        std::mem::take(&mut self.commands)
    }

    /// Tells whether nothing is under way and nothing can start any more.
    pub fn is_finished(&self) -> bool {
        self.running.is_empty() && self.heads.is_empty() && self.preparing + self.elsewhere + self.delayed == 0
    }

    /// Tells whether another attempt follows when the one that is under way fails for this cause.
    pub fn will_retry(&self, index: TaskIndex, cause: FailureCause) -> bool {
        self.next_attempt(index, cause).is_some()
    }

    /// Returns all tasks in order of creation.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Returns one task.
    pub fn task(&self, index: TaskIndex) -> &Task {
        &self.tasks[index.0]
    }

    /// Returns the task of `step` with this key, when it exists by now.
    pub fn find(&self, step: StepId, key: &[Arc<str>]) -> Option<TaskIndex> {
        self.by_key.get(&(step, Key::from(key))).copied()
    }

    /// Returns the numbers of the GPUs that the process of a running task holds.
    pub fn gpus(&self, index: TaskIndex) -> &[u32] {
        let launch = self.launched_in.get(&index);
        launch.and_then(|launch| self.running.get(launch)).map_or(&[], |share| share.gpus.as_slice())
    }

    /// Returns the tasks of a gather: key part `over` of `step` runs, the other parts are `others`. In order of creation.
    pub fn group(&self, step: StepId, over: usize, others: Key) -> &[TaskIndex] {
        self.groups[step].get(&GroupId { over: Some(over), others }).map_or(&[], |group| &group.members)
    }

    /// Returns the branches whose items are not known yet: step and the key as far as it is known.
    pub fn open_branches(&self) -> Vec<(StepId, Key)> {
        let mut open: Vec<(StepId, Key)> = self.open.values().flatten().cloned().collect();
        open.sort();
        open
    }

    fn one_dependency_met(&mut self, index: TaskIndex) {
        self.tasks[index.0].waiting_for -= 1;
        self.prepare_if_met(index);
    }

    fn prepare_if_met(&mut self, index: TaskIndex) {
        let may_start = self.may_start(self.task(index).step);
        let task = &mut self.tasks[index.0];
        if task.state == TaskState::Waiting && task.waiting_for == 0 && may_start {
            task.state = TaskState::Preparing;
            self.preparing += 1;
            self.commands.push(Command::Prepare(index));
        }
    }

    /// Tells whether tasks of a step may still start.
    fn may_start(&self, step: StepId) -> bool {
        match self.stop {
            None => true,
            Some(Stop::Failure) => self.shapes[step].always,
            Some(Stop::Interruption) => false,
        }
    }

    /// Takes the answer to a [`Command::Prepare`], or what came of work that was done elsewhere; false when the task was
    /// skipped in the meantime.
    fn prepared(&mut self, index: TaskIndex) -> bool {
        self.stop_expecting(index);
        matches!(self.task(index).state, TaskState::Preparing | TaskState::Elsewhere)
    }

    fn stop_expecting(&mut self, index: TaskIndex) {
        let state = self.task(index).state;
        self.preparing -= usize::from(state == TaskState::Preparing);
        self.elsewhere -= usize::from(state == TaskState::Elsewhere);
        self.delayed -= usize::from(state == TaskState::Delayed);
    }

    /// Takes back a launch: no attempt was made.
    fn given_up(&mut self, index: TaskIndex) {
        self.release(index);
        let task = &mut self.tasks[index.0];
        task.attempts -= 1;
        task.state = TaskState::Elsewhere;
        self.elsewhere += 1;
        if !self.may_start(self.task(index).step) {
            self.skip(index, SkipCause::Stopped);
        }
    }

    fn must_run(&mut self, index: TaskIndex) {
        self.tasks[index.0].state = TaskState::Ready;
        self.change_queue(self.task(index).step, |queue| _ = queue.insert(index));
    }

    /// Changes the queue of a step, and with it the head that stands for it.
    fn change_queue(&mut self, step: StepId, change: impl FnOnce(&mut BTreeSet<TaskIndex>)) {
        let height = Reverse(self.shapes[step].height);
        let queue = &mut self.queues[step];
        let before = queue.first().copied();
        change(queue);
        let after = queue.first().copied();
        if before != after {
            before.map(|head| self.heads.remove(&(height, head)));
            self.heads.extend(after.map(|head| (height, head)));
        }
    }

    fn succeed(&mut self, index: TaskIndex, collections: &BTreeMap<String, Vec<String>>) {
        self.tasks[index.0].state = TaskState::Done;
        for (output, keys) in collections {
            let keys = keys.iter().map(|key| Arc::from(key.as_str())).collect();
            self.produced.insert((index, output.clone()), keys);
        }
        let (step, key) = (self.task(index).step, self.task(index).key.clone());
        for (open_step, prefix) in self.take_open(index) {
            self.open_count[open_step] -= 1;
            self.expand(open_step, prefix);
            self.close_if_fully_expanded(open_step);
        }
        for dependent in std::mem::take(&mut self.tasks[index.0].dependents) {
            self.one_dependency_met(dependent.task);
        }
        for id in self.groups_of(step, &key) {
            self.groups[step].get_mut(&id).expect("the task is a member").done += 1;
            self.settle_group(step, &id);
        }
    }

    /// The branches that wait for a task, upstream steps first: a task is created after those that it waits for.
    fn take_open(&mut self, index: TaskIndex) -> Vec<(StepId, Key)> {
        let mut open = self.open.remove(&index).unwrap_or_default();
        open.sort_by_key(|(step, _)| *step);
        open
    }

    /// How long to wait before the next attempt; none when there is none.
    fn next_attempt(&self, index: TaskIndex, cause: FailureCause) -> Option<Duration> {
        let task = self.task(index);
        let delay = self.shapes[task.step].retries.next(task.attempts, cause)?;
        self.may_start(task.step).then_some(delay)
    }

    fn attempt_failed(&mut self, index: TaskIndex, cause: FailureCause) {
        self.release(index);
        match self.next_attempt(index, cause) {
            Some(Duration::ZERO) => return self.must_run(index),
            Some(delay) => {
                self.tasks[index.0].state = TaskState::Delayed;
                self.delayed += 1;
                return self.commands.push(Command::Delay(index, delay));
            }
            None => {}
        }
        self.tasks[index.0].state = TaskState::Failed;
        self.lost.push(index);
        match self.shapes[self.task(index).step].on_item_error {
            OnItemError::Fail => self.stop(Stop::Failure),
            OnItemError::Collect => self.fail_fast(index),
        }
    }

    /// Skips what has not started of the other combinations of a failed task's matrices.
    fn fail_fast(&mut self, failed: TaskIndex) {
        let task = self.task(failed);
        let halted =
            |fast: &FailFast| Halted { steps: fast.steps.clone(), key: Key::from(&task.key[..=fast.position]), failed };
        for halted in self.shapes[task.step].stops.iter().map(halted).collect::<Vec<_>>() {
            for step in &halted.steps {
                let members =
                    self.groups[*step].get(&GroupId::whole()).map_or_else(Vec::new, |group| group.members.clone());
                for index in members {
                    if halted.covers(*step, &self.task(index).key) {
                        self.skip(index, SkipCause::FailFast(failed));
                    }
                }
            }
            self.halted.push(halted);
        }
    }

    fn skip(&mut self, index: TaskIndex, cause: SkipCause) {
        match self.task(index).state {
            TaskState::Waiting | TaskState::Preparing | TaskState::Elsewhere | TaskState::Delayed => {}
            TaskState::Ready => self.change_queue(self.task(index).step, |queue| _ = queue.remove(&index)),
            TaskState::Running | TaskState::Done | TaskState::Failed | TaskState::Skipped(_) => return,
        }
        self.stop_expecting(index);
        self.tasks[index.0].excluded = match cause {
            SkipCause::Condition => true,
            SkipCause::Upstream(upstream) => self.task(upstream).excluded,
            SkipCause::FailFast(_) | SkipCause::Stopped => false,
        };
        self.tasks[index.0].state = TaskState::Skipped(cause);
        self.commands.push(Command::Skip(index, cause));
        self.lost.push(index);
    }

    /// Tells everything downstream of lost tasks; a loop, since a chain may be tens of thousands of tasks long.
    fn spread_losses(&mut self) {
        while let Some(index) = self.lost.pop() {
            self.lose_downstream(index);
        }
    }

    /// Nothing that needs this task to have succeeded can run.
    fn lose_downstream(&mut self, index: TaskIndex) {
        let (step, key) = (self.task(index).step, self.task(index).key.clone());
        for (open_step, prefix) in self.take_open(index) {
            self.open_count[open_step] -= 1;
            self.block(open_step, prefix, index);
            self.close_if_fully_expanded(open_step);
        }
        for dependent in std::mem::take(&mut self.tasks[index.0].dependents) {
            match self.task_meets(index, dependent.demand) {
                Met::Yes => self.one_dependency_met(dependent.task),
                Met::NotYet | Met::Never(_) => self.skip(dependent.task, SkipCause::Upstream(index)),
            }
        }
        let excluded = self.task(index).excluded;
        for id in self.groups_of(step, &key) {
            let group = self.groups[step].entry(id.clone()).or_default();
            group.excluded += usize::from(excluded);
            group.lost += usize::from(!excluded);
            group.first_lost = group.first_lost.or((!excluded).then_some(index));
            self.settle_group(step, &id);
        }
    }

    /// Starts nothing new but what always runs, unless it was asked to stop; what is under way may end.
    fn stop(&mut self, stop: Stop) {
        self.stop = self.stop.filter(|earlier| *earlier == Stop::Interruption).or(Some(stop));
        for index in (0..self.tasks.len()).map(TaskIndex) {
            if !self.may_start(self.task(index).step) {
                self.skip(index, SkipCause::Stopped);
            }
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "scheduler_properties.rs"]
mod properties;
