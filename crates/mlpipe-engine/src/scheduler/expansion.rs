//! Which tasks there are: loop variables expand as soon as their items are known; what a new task waits for is settled here.

use std::sync::Arc;

use mlpipe_spec::StepId;

use super::{Group, GroupId, Key, Scheduler, SkipCause, Task, TaskIndex, TaskState};
use crate::shape::{Demand, Dependency, DimensionShape, Requirement};
use crate::task::Waiting;

impl Scheduler {
    pub(super) fn expand(&mut self, step: StepId, prefix: Key) {
        let position = prefix.len();
        let Some(dimension) = self.shapes[step].dimensions.get(position).cloned() else {
            self.create_task(step, prefix);
            return;
        };
        let items = match dimension {
            DimensionShape::Input(input) => self.inputs[input].clone(),
            DimensionShape::Literal(items) => items.iter().map(|item| Arc::from(item.as_str())).collect(),
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
    pub(super) fn block(&mut self, step: StepId, prefix: Key, cause: TaskIndex) {
        let last = self.shapes[step].dimensions.len() - 1;
        let index = self.push_task(step, prefix.clone());
        self.skip(index, SkipCause::Upstream(cause));
        if prefix.len() == last && self.shapes[step].gathered_over.contains(&last) {
            self.close_group(step, GroupId { over: Some(last), others: prefix });
        }
    }

    pub(super) fn push_task(&mut self, step: StepId, key: Key) -> TaskIndex {
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
            excluded: false,
            waiting_for: 0,
            dependents: Vec::new(),
        });
        index
    }

    pub(super) fn create_task(&mut self, step: StepId, key: Key) {
        let index = self.push_task(step, key.clone());
        if self.shapes[step].never {
            return self.skip(index, SkipCause::Condition);
        }
        let mut lost = None;
        for requirement in self.shapes[step].requirements.clone() {
            match self.require(index, &key, requirement) {
                Met::Yes => {}
                Met::NotYet => self.tasks[index.0].waiting_for += 1,
                Met::Never(cause) => lost = lost.or(Some(cause)),
            }
        }
        let halted = self.halted.iter().find(|halted| halted.covers(step, &key)).map(|halted| halted.failed);
        match lost {
            Some(cause) => self.skip(index, SkipCause::Upstream(cause)),
            None if halted.is_some() => halted.into_iter().for_each(|by| self.skip(index, SkipCause::FailFast(by))),
            None if !self.may_start(step) => self.skip(index, SkipCause::Stopped),
            None => self.prepare_if_met(index),
        }
    }

    /// Registers one requirement of a new task and tells how it stands.
    pub(super) fn require(
        &mut self,
        task: TaskIndex,
        key: &Key,
        Requirement { dependency, demand }: Requirement,
    ) -> Met {
        let (step, id) = match dependency {
            Dependency::Task { step, positions } => {
                let upstream = self.by_key[&(step, project(key, &positions))];
                let met = self.task_meets(upstream, demand);
                if met == Met::NotYet {
                    self.tasks[upstream.0].dependents.push(Waiting { task, demand });
                }
                return met;
            }
            Dependency::Group { step, over, positions } => {
                (step, GroupId { over: Some(over), others: project(key, &positions) })
            }
            Dependency::Whole(step) => (step, GroupId::whole()),
        };
        let closed = self.expanded[step];
        self.groups[step].entry(id.clone()).or_insert_with(|| Group { closed, ..Group::default() });
        let met = self.group_meets(step, &id, demand);
        if met == Met::NotYet {
            let group = self.groups[step].get_mut(&id).expect("it was just there");
            group.waiting.entry(demand).or_default().push(task);
        }
        met
    }

    pub(super) fn task_meets(&self, upstream: TaskIndex, demand: Demand) -> Met {
        let task = self.task(upstream);
        match (task.state, demand) {
            (TaskState::Done, _) | (TaskState::Failed | TaskState::Skipped(_), Demand::End) => Met::Yes,
            (TaskState::Skipped(_), Demand::SuccessOrExclusion) if task.excluded => Met::Yes,
            (TaskState::Failed | TaskState::Skipped(_), _) => Met::Never(upstream),
            _ => Met::NotYet,
        }
    }

    /// Members that an `if` excluded are absent; a step of which nothing else is left is itself excluded.
    pub(super) fn group_meets(&self, step: StepId, id: &GroupId, demand: Demand) -> Met {
        let group = &self.groups[step][id];
        let lost = group.first_lost.or_else(|| self.lost_branch(step, id).filter(|_| group.closed));
        match (demand, lost) {
            (Demand::End, _) if group.has_ended() => Met::Yes,
            (Demand::End, _) => Met::NotYet,
            (_, Some(cause)) => Met::Never(cause),
            (_, None) if !group.has_ended() => Met::NotYet,
            (Demand::Success, None) if id.over.is_none() && group.excluded > 0 && group.done == 0 => {
                Met::Never(group.members[0])
            }
            (_, None) => Met::Yes,
        }
    }

    /// Returns the entry that stands for a branch to which some of a gather's tasks would have belonged, when it was lost.
    pub(super) fn lost_branch(&self, step: StepId, id: &GroupId) -> Option<TaskIndex> {
        let over = id.over?;
        let entry = |length: usize| self.by_key.get(&(step, Key::from(&id.others[..length]))).copied();
        // A key that is too short for the step is the key of such an entry.
        (0..=over).filter_map(entry).find(|index| !self.task(*index).excluded)
    }

    pub(super) fn groups_of(&self, step: StepId, key: &Key) -> Vec<GroupId> {
        let gathered = self.shapes[step].gathered_over.iter().filter(|over| **over < key.len());
        let gathers = gathered.map(|over| GroupId { over: Some(*over), others: without(key, *over) });
        gathers.chain([GroupId::whole()]).collect()
    }

    pub(super) fn close_group(&mut self, step: StepId, id: GroupId) {
        self.groups[step].entry(id.clone()).or_default().closed = true;
        self.settle_group(step, &id);
    }

    pub(super) fn close_if_fully_expanded(&mut self, step: StepId) {
        if self.open_count[step] > 0 {
            return;
        }
        self.expanded[step] = true;
        let unclosed = self.groups[step].iter().filter(|(_, group)| !group.closed).map(|(id, _)| id.clone());
        let mut ids: Vec<GroupId> = unclosed.chain([GroupId::whole()]).collect();
        // The map has no order of its own, and the same events must give the same commands.
        ids.sort();
        for id in ids {
            self.close_group(step, id);
        }
    }

    /// Lets go of those who wait for a group, once its fate is known.
    pub(super) fn settle_group(&mut self, step: StepId, id: &GroupId) {
        let demands: Vec<Demand> = self.groups[step][id].waiting.keys().copied().collect();
        for demand in demands {
            let met = self.group_meets(step, id, demand);
            if met == Met::NotYet {
                continue;
            }
            let group = self.groups[step].get_mut(id).expect("the group was just touched");
            for task in group.waiting.remove(&demand).unwrap_or_default() {
                match met {
                    Met::Never(cause) => self.skip(task, SkipCause::Upstream(cause)),
                    _ => self.one_dependency_met(task),
                }
            }
        }
    }
}

/// How a requirement stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Yes,
    NotYet,
    Never(TaskIndex),
}

pub(super) fn project(key: &[Arc<str>], positions: &[usize]) -> Key {
    positions.iter().map(|position| key[*position].clone()).collect()
}

/// A key without one of its parts.
pub(super) fn without(key: &[Arc<str>], left_out: usize) -> Key {
    key.iter().enumerate().filter(|(position, _)| *position != left_out).map(|(_, part)| part.clone()).collect()
}
