//! Which of the ready tasks start: what fits, most urgent first, in batches where a step takes them; and which GPUs they hold.

use std::cmp::Reverse;

use mlpipe_spec::StepId;

use super::{Capacity, Command, Scheduler, Share, TaskIndex, TaskState};

impl Scheduler {
    /// Starts what fits, most urgent first; not before every task that could be ready has been looked up, so that urgency
    /// and batches are judged on all of them.
    pub(super) fn dispatch(&mut self) {
        while self.preparing == 0 && self.free.cpu > 0 {
            let fits = |(_, first): &&(Reverse<usize>, TaskIndex)| self.fits(self.task(*first).step);
            let Some(&(_, first)) = self.heads.iter().find(fits) else { return };
            let batch = self.take_batch(first);
            let share = self.take_share(self.task(first).step);
            self.processes[share.step] += 1;
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

    /// A request for cores or memory beyond the machine is cut down to the machine: the task then runs alone. One for more
    /// GPUs than there are is refused before the run.
    fn need(&self, step: StepId) -> Capacity {
        let shape = &self.shapes[step];
        Capacity {
            cpu: shape.cpu.min(self.capacity.cpu),
            memory_bytes: shape.memory_bytes.min(self.capacity.memory_bytes),
            gpus: shape.gpu.min(self.capacity.gpus),
        }
    }

    pub(super) fn fits(&self, step: StepId) -> bool {
        let need = self.need(step);
        let has_room = self.shapes[step].max_parallel.is_none_or(|most| self.processes[step] < most);
        let has_gpus = need.gpus as usize <= self.free_gpus.len();
        has_room && has_gpus && need.cpu <= self.free.cpu && need.memory_bytes <= self.free.memory_bytes
    }

    /// Occupies what a process of the step needs: of the GPUs those with the lowest numbers.
    fn take_share(&mut self, step: StepId) -> Share {
        let need = self.need(step);
        self.free.cpu -= need.cpu;
        self.free.memory_bytes -= need.memory_bytes;
        let gpus: Vec<u32> = self.free_gpus.iter().copied().take(need.gpus as usize).collect();
        gpus.iter().for_each(|gpu| _ = self.free_gpus.remove(gpu));
        Share { step, cpu: need.cpu, memory_bytes: need.memory_bytes, gpus, tasks_left: 0 }
    }

    /// Takes `first` and further ready tasks of its step out of the queue. A task that failed before runs by itself, so that
    /// what makes it fail cannot take others down again.
    pub(super) fn take_batch(&mut self, first: TaskIndex) -> Vec<TaskIndex> {
        let step = self.task(first).step;
        let size = if self.task(first).attempts > 0 { 1 } else { self.shapes[step].batch };
        let fresh = |index: &TaskIndex| *index != first && self.task(*index).attempts == 0;
        let others = self.queues[step].iter().copied().filter(fresh);
        let batch: Vec<TaskIndex> = [first].into_iter().chain(others.take(size - 1)).collect();
        self.change_queue(step, |queue| batch.iter().for_each(|index| _ = queue.remove(index)));
        batch
    }

    pub(super) fn release(&mut self, index: TaskIndex) {
        let launch = self.launched_in.remove(&index).expect("only a running task can end");
        let share = self.running.get_mut(&launch).expect("its process is under way");
        share.tasks_left -= 1;
        if share.tasks_left == 0 {
            let share = self.running.remove(&launch).expect("it was just there");
            self.free.cpu += share.cpu;
            self.free.memory_bytes += share.memory_bytes;
            self.free_gpus.extend(share.gpus);
            self.processes[share.step] -= 1;
        }
    }
}
