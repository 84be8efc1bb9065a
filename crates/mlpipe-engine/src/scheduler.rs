//! Decides which task may start, which is skipped, and when the run is over.
//!
//! A pure state machine: [`Scheduler::on_event`] takes what happened and returns what to do. It has no clock and touches no
//! file, so the same events always give the same commands; the driver obeys and reports back. Loop variables over
//! a step's output expand here, as soon as the one task that makes the collection has ended.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mlpipe_spec::{OnItemError, StepId};
use serde::{Deserialize, Serialize};

use crate::shape::{Dependency, DimensionShape, StepShape};

/// A task's key: one item of each loop variable, outermost first. A skipped branch that was never expanded has a shorter one.
pub type Key = Arc<[Arc<str>]>;

/// Number of a task in the order of creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskIndex(pub usize);

/// One step for one item.
#[derive(Debug, Clone)]
pub struct Task {
    /// The step.
    pub step: StepId,
    /// The item.
    pub key: Key,
    /// How far it has come.
    pub state: TaskState,
    /// Attempts started so far.
    pub attempts: u32,
    waiting_for: usize,
    dependents: Vec<TaskIndex>,
}

/// How far a task has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Something upstream is not finished.
    Waiting,
    /// Its inputs are known; the driver looks whether a finished result exists.
    Preparing,
    /// Must run, waits for cores.
    Ready,
    /// An attempt is under way.
    Running,
    /// Has outputs, made now or taken from an earlier run.
    Done,
    /// All attempts failed.
    Failed,
    /// Will not run.
    Skipped(SkipCause),
}

/// Why a task will not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipCause {
    /// This upstream task failed or was skipped itself.
    Upstream(TaskIndex),
    /// The run was stopped, by a failure elsewhere or from outside.
    Stopped,
}

/// What happened.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A finished result was found for a task that was being prepared.
    Reused {
        /// The task.
        task: TaskIndex,
        /// Entries of each of its collection outputs.
        collections: BTreeMap<String, Vec<String>>,
    },
    /// No finished result was found: the task has to run.
    MustRun {
        /// The task.
        task: TaskIndex,
    },
    /// An attempt ended well.
    Succeeded {
        /// The task.
        task: TaskIndex,
        /// Entries of each of its collection outputs.
        collections: BTreeMap<String, Vec<String>>,
    },
    /// An attempt failed.
    Failed {
        /// The task.
        task: TaskIndex,
    },
    /// Somebody asked the run to stop.
    Interrupted,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Look for a finished result; answer with [`Event::Reused`] or [`Event::MustRun`].
    Prepare(TaskIndex),
    /// Start one process for these tasks of one step; answer for each with [`Event::Succeeded`] or [`Event::Failed`].
    Launch(Vec<TaskIndex>),
    /// Note that a task will not run.
    Skip(TaskIndex, SkipCause),
    /// Stop all processes that are under way.
    StopAttempts,
}

/// Cores and memory that may be in use at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Cores.
    pub cpu: u32,
    /// Bytes.
    pub memory_bytes: u64,
}

/// The state machine.
#[derive(Debug)]
pub struct Scheduler {
    shapes: Vec<StepShape>,
    inputs: Vec<Vec<Arc<str>>>,
    tasks: Vec<Task>,
    by_key: HashMap<(StepId, Key), TaskIndex>,
    produced: HashMap<(TaskIndex, String), Vec<Arc<str>>>,
    /// Branches that expand when the task has ended.
    open: HashMap<TaskIndex, Vec<(StepId, Key)>>,
    /// How many branches of each step are open.
    open_count: Vec<usize>,
    /// Per step: its groups.
    groups: Vec<HashMap<GroupId, Group>>,
    preparing: usize,
    /// Failed and skipped tasks whose downstream does not know yet.
    lost: Vec<TaskIndex>,
    ready: BTreeSet<(Reverse<usize>, TaskIndex)>,
    /// What each process occupies, by the number of its launch.
    running: HashMap<usize, Share>,
    launched_in: HashMap<TaskIndex, usize>,
    launches: usize,
    free: Capacity,
    capacity: Capacity,
    stopping: bool,
    commands: Vec<Command>,
}

/// What a process occupies, until the last of its tasks has ended.
#[derive(Debug, Clone, Copy)]
struct Share {
    cpu: u32,
    memory_bytes: u64,
    tasks_left: usize,
}

/// The tasks of one step that differ only in key part `over`; the whole step when `over` is none.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    lost: Option<TaskIndex>,
    closed: bool,
    waiting: Vec<TaskIndex>,
}

impl Scheduler {
    /// Sets up a run: `inputs` are the keys of each input collection. Nothing happens before [`Scheduler::start`].
    pub fn new(shapes: Vec<StepShape>, inputs: Vec<Vec<Arc<str>>>, capacity: Capacity) -> Self {
        let steps = shapes.len();
        Self {
            shapes,
            inputs,
            tasks: Vec::new(),
            by_key: HashMap::new(),
            produced: HashMap::new(),
            open: HashMap::new(),
            open_count: vec![0; steps],
            groups: (0..steps).map(|_| HashMap::new()).collect(),
            preparing: 0,
            lost: Vec::new(),
            ready: BTreeSet::new(),
            running: HashMap::new(),
            launched_in: HashMap::new(),
            launches: 0,
            free: capacity,
            capacity,
            stopping: false,
            commands: Vec::new(),
        }
    }

    /// Expands what is known from the start and returns the first commands.
    pub fn start(&mut self) -> Vec<Command> {
        for step in 0..self.shapes.len() {
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
            Event::Succeeded { task, collections } => {
                self.release(*task);
                self.succeed(*task, collections);
            }
            Event::Failed { task } => self.attempt_failed(*task),
            Event::Interrupted => {
                self.stop();
                self.commands.push(Command::StopAttempts);
            }
        }
        self.spread_losses();
        self.dispatch();
        std::mem::take(&mut self.commands)
    }

    /// Tells whether nothing is under way and nothing can start any more.
    pub fn is_finished(&self) -> bool {
        self.running.is_empty() && self.ready.is_empty() && self.preparing == 0
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

    // ---- expansion

    fn expand(&mut self, step: StepId, prefix: Key) {
        let position = prefix.len();
        let Some(dimension) = self.shapes[step].dimensions.get(position).cloned() else {
            self.create_task(step, prefix);
            return;
        };
        let items = match dimension {
            DimensionShape::Input(input) => self.inputs[input].clone(),
            DimensionShape::Produced { step: producer, output, positions } => {
                let producer = self.by_key[&(producer, project(&prefix, &positions))];
                match self.task(producer).state {
                    TaskState::Done => self
                        .produced
                        .get(&(producer, output))
                        .cloned()
                        .expect("a finished task reports all its collections"),
                    TaskState::Failed | TaskState::Skipped(_) => return self.block(step, prefix, producer),
                    _ => {
                        self.open.entry(producer).or_default().push((step, prefix));
                        self.open_count[step] += 1;
                        return;
                    }
                }
            }
        };
        for item in items {
            self.expand(step, prefix.iter().cloned().chain([item]).collect());
        }
        if position + 1 == self.shapes[step].dimensions.len() && self.shapes[step].gathered_over.contains(&position) {
            self.close_group(step, GroupId { over: Some(position), others: prefix });
        }
    }

    /// A branch whose items will never be known: one skipped entry stands for it.
    fn block(&mut self, step: StepId, prefix: Key, cause: TaskIndex) {
        let last = self.shapes[step].dimensions.len() - 1;
        let index = self.push_task(step, prefix.clone());
        if prefix.len() == last && self.shapes[step].gathered_over.contains(&last) {
            let id = GroupId { over: Some(last), others: prefix };
            self.groups[step].entry(id.clone()).or_default().lost = Some(index);
            self.close_group(step, id);
        }
        self.skip(index, SkipCause::Upstream(cause));
    }

    fn push_task(&mut self, step: StepId, key: Key) -> TaskIndex {
        let index = TaskIndex(self.tasks.len());
        self.by_key.insert((step, key.clone()), index);
        for id in self.groups_of(step, &key) {
            self.groups[step].entry(id).or_default().members.push(index);
        }
        self.tasks.push(Task {
            step,
            key,
            state: TaskState::Waiting,
            attempts: 0,
            waiting_for: 0,
            dependents: Vec::new(),
        });
        index
    }

    fn create_task(&mut self, step: StepId, key: Key) {
        let index = self.push_task(step, key.clone());
        let mut lost = None;
        for dependency in self.shapes[step].dependencies.clone() {
            match self.depend(index, &key, dependency) {
                Met::Yes => {}
                Met::NotYet => self.tasks[index.0].waiting_for += 1,
                Met::Never(cause) => lost = lost.or(Some(cause)),
            }
        }
        match lost {
            Some(cause) => self.skip(index, SkipCause::Upstream(cause)),
            None if self.stopping => self.skip(index, SkipCause::Stopped),
            None => self.prepare_if_met(index),
        }
    }

    /// Registers one dependency of a new task and tells how it stands.
    fn depend(&mut self, task: TaskIndex, key: &Key, dependency: Dependency) -> Met {
        let (step, id) = match dependency {
            Dependency::Task { step, positions } => {
                let upstream = self.by_key[&(step, project(key, &positions))];
                return match self.task(upstream).state {
                    TaskState::Done => Met::Yes,
                    TaskState::Failed | TaskState::Skipped(_) => Met::Never(upstream),
                    _ => {
                        self.tasks[upstream.0].dependents.push(task);
                        Met::NotYet
                    }
                };
            }
            Dependency::Group { step, over, positions } => {
                (step, GroupId { over: Some(over), others: project(key, &positions) })
            }
            Dependency::Whole(step) => (step, GroupId::whole()),
        };
        let group = self.groups[step].entry(id).or_default();
        match group.lost {
            Some(cause) => Met::Never(cause),
            None if group.closed && group.done == group.members.len() => Met::Yes,
            None => {
                group.waiting.push(task);
                Met::NotYet
            }
        }
    }

    fn groups_of(&self, step: StepId, key: &Key) -> Vec<GroupId> {
        let gathered = self.shapes[step].gathered_over.iter().filter(|over| **over < key.len());
        let gathers = gathered.map(|over| GroupId { over: Some(*over), others: without(key, *over) });
        gathers.chain([GroupId::whole()]).collect()
    }

    fn close_group(&mut self, step: StepId, id: GroupId) {
        self.groups[step].entry(id.clone()).or_default().closed = true;
        self.settle_group(step, &id);
    }

    fn close_if_fully_expanded(&mut self, step: StepId) {
        if self.open_count[step] > 0 {
            return;
        }
        let unclosed = self.groups[step].iter().filter(|(_, group)| !group.closed).map(|(id, _)| id.clone());
        for id in unclosed.chain([GroupId::whole()]).collect::<Vec<_>>() {
            self.close_group(step, id);
        }
    }

    /// Lets go of those who wait for a group, once its fate is known.
    fn settle_group(&mut self, step: StepId, id: &GroupId) {
        let group = self.groups[step].get_mut(id).expect("the group was just touched");
        match group.lost {
            Some(cause) => {
                for task in std::mem::take(&mut group.waiting) {
                    self.skip(task, SkipCause::Upstream(cause));
                }
            }
            None if group.closed && group.done == group.members.len() => {
                for task in std::mem::take(&mut group.waiting) {
                    self.one_dependency_met(task);
                }
            }
            None => {}
        }
    }

    // ---- progress of a task

    fn one_dependency_met(&mut self, index: TaskIndex) {
        self.tasks[index.0].waiting_for -= 1;
        self.prepare_if_met(index);
    }

    fn prepare_if_met(&mut self, index: TaskIndex) {
        let task = &mut self.tasks[index.0];
        if task.state == TaskState::Waiting && task.waiting_for == 0 && !self.stopping {
            task.state = TaskState::Preparing;
            self.preparing += 1;
            self.commands.push(Command::Prepare(index));
        }
    }

    /// Takes the answer to a [`Command::Prepare`]; false when the task was skipped in the meantime.
    fn prepared(&mut self, index: TaskIndex) -> bool {
        let expected = self.task(index).state == TaskState::Preparing;
        self.preparing -= usize::from(expected);
        expected
    }

    fn must_run(&mut self, index: TaskIndex) {
        let height = self.shapes[self.task(index).step].height;
        self.tasks[index.0].state = TaskState::Ready;
        self.ready.insert((Reverse(height), index));
    }

    fn succeed(&mut self, index: TaskIndex, collections: &BTreeMap<String, Vec<String>>) {
        self.tasks[index.0].state = TaskState::Done;
        for (output, keys) in collections {
            let keys = keys.iter().map(|key| Arc::from(key.as_str())).collect();
            self.produced.insert((index, output.clone()), keys);
        }
        let (step, key) = (self.task(index).step, self.task(index).key.clone());
        for (open_step, prefix) in self.open.remove(&index).unwrap_or_default() {
            self.open_count[open_step] -= 1;
            self.expand(open_step, prefix);
            self.close_if_fully_expanded(open_step);
        }
        for dependent in std::mem::take(&mut self.tasks[index.0].dependents) {
            self.one_dependency_met(dependent);
        }
        for id in self.groups_of(step, &key) {
            self.groups[step].get_mut(&id).expect("the task is a member").done += 1;
            self.settle_group(step, &id);
        }
    }

    fn attempt_failed(&mut self, index: TaskIndex) {
        self.release(index);
        let step = self.task(index).step;
        if !self.stopping && self.task(index).attempts <= self.shapes[step].retries {
            return self.must_run(index);
        }
        self.tasks[index.0].state = TaskState::Failed;
        self.lost.push(index);
        if self.shapes[step].on_item_error == OnItemError::Fail {
            self.stop();
        }
    }

    fn skip(&mut self, index: TaskIndex, cause: SkipCause) {
        let state = self.task(index).state;
        if !matches!(state, TaskState::Waiting | TaskState::Preparing | TaskState::Ready) {
            return;
        }
        self.preparing -= usize::from(state == TaskState::Preparing);
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

    /// Nothing that needs this task can run.
    fn lose_downstream(&mut self, index: TaskIndex) {
        let (step, key) = (self.task(index).step, self.task(index).key.clone());
        for (open_step, prefix) in self.open.remove(&index).unwrap_or_default() {
            self.open_count[open_step] -= 1;
            self.block(open_step, prefix, index);
            self.close_if_fully_expanded(open_step);
        }
        for dependent in std::mem::take(&mut self.tasks[index.0].dependents) {
            self.skip(dependent, SkipCause::Upstream(index));
        }
        for id in self.groups_of(step, &key) {
            self.groups[step].entry(id.clone()).or_default().lost.get_or_insert(index);
            self.settle_group(step, &id);
        }
    }

    /// Starts nothing new; what is under way may end.
    fn stop(&mut self) {
        self.stopping = true;
        self.ready.clear();
        for index in (0..self.tasks.len()).map(TaskIndex) {
            self.skip(index, SkipCause::Stopped);
        }
    }

    // ---- cores

    /// Starts what fits, most urgent first; not before every task that could be ready has been looked up, so that urgency
    /// and batches are judged on all of them.
    fn dispatch(&mut self) {
        while !self.stopping && self.preparing == 0 && self.free.cpu > 0 {
            let Some(&(_, first)) = self.ready.iter().find(|(_, index)| self.fits(*index)) else { return };
            let batch = self.take_batch(first);
            let share = self.need(self.task(first).step);
            self.free.cpu -= share.cpu;
            self.free.memory_bytes -= share.memory_bytes;
            self.launches += 1;
            self.running.insert(self.launches, Share { tasks_left: batch.len(), ..share });
            for index in &batch {
                self.launched_in.insert(*index, self.launches);
                self.tasks[index.0].state = TaskState::Running;
                self.tasks[index.0].attempts += 1;
            }
            self.commands.push(Command::Launch(batch));
        }
    }

    /// A request beyond the machine is cut down to the machine: the task then runs alone.
    fn need(&self, step: StepId) -> Share {
        let shape = &self.shapes[step];
        Share {
            cpu: shape.cpu.min(self.capacity.cpu),
            memory_bytes: shape.memory_bytes.min(self.capacity.memory_bytes),
            tasks_left: 0,
        }
    }

    fn fits(&self, index: TaskIndex) -> bool {
        let need = self.need(self.task(index).step);
        need.cpu <= self.free.cpu && need.memory_bytes <= self.free.memory_bytes
    }

    /// Takes `first` and further ready tasks of its step out of the queue. A task that failed before runs by itself, so that
    /// what makes it fail cannot take others down again.
    fn take_batch(&mut self, first: TaskIndex) -> Vec<TaskIndex> {
        let step = self.task(first).step;
        let size = if self.task(first).attempts > 0 { 1 } else { self.shapes[step].batch };
        let same = |index: &TaskIndex| self.task(*index).step == step && self.task(*index).attempts == 0;
        let others = self.ready.iter().map(|(_, index)| *index).filter(|index| *index != first && same(index));
        let batch: Vec<TaskIndex> = [first].into_iter().chain(others.take(size - 1)).collect();
        let height = Reverse(self.shapes[step].height);
        for index in &batch {
            self.ready.remove(&(height, *index));
        }
        batch
    }

    fn release(&mut self, index: TaskIndex) {
        let launch = self.launched_in.remove(&index).expect("only a running task can end");
        let share = self.running.get_mut(&launch).expect("its process is under way");
        share.tasks_left -= 1;
        if share.tasks_left == 0 {
            let share = self.running.remove(&launch).expect("it was just there");
            self.free.cpu += share.cpu;
            self.free.memory_bytes += share.memory_bytes;
        }
    }
}

enum Met {
    Yes,
    NotYet,
    Never(TaskIndex),
}

fn project(key: &[Arc<str>], positions: &[usize]) -> Key {
    positions.iter().map(|position| key[*position].clone()).collect()
}

/// A key without one of its parts.
pub(crate) fn without(key: &[Arc<str>], left_out: usize) -> Key {
    key.iter().enumerate().filter(|(position, _)| *position != left_out).map(|(_, part)| part.clone()).collect()
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
