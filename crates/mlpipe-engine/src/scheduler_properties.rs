//! What holds for every pipeline and every order of events: random step shapes, driven by random but possible events.
//!
//! A failure prints its seed; `MLPIPE_TEST_SEED=N` runs that one alone.

use std::collections::BTreeMap;

use mlpipe_spec::Retries;

use super::expansion::project;
use super::*;
use crate::shape::{Demand, Dependency, DimensionShape, Requirement, mark_gathered};

const RUNS: u64 = 3_000;

/// SplitMix64 (Steele, Lea, Flood 2014): a few lines, and the same numbers everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }
}

/// Names the seed when a check fails.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "the seed is what a failure is found again with")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("MLPIPE_TEST_SEED={}", self.0);
        }
    }
}

fn for_many_seeds(check: impl Fn(&mut Random)) {
    let given = std::env::var("MLPIPE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = given.map_or(0..RUNS, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let _named = Seed(seed);
        check(&mut Random(seed));
    }
}

// ---- random pipelines

/// A loop variable of the random pipeline: two steps that have it range over the same items.
#[derive(Clone)]
struct Origin {
    source: DimensionShape,
    /// Origins that must be bound before it.
    outer: Vec<usize>,
    producer: Option<StepId>,
}

struct Pipelines<'r> {
    random: &'r mut Random,
    origins: Vec<Origin>,
    /// Origins of each step, outermost first.
    bound: Vec<Vec<usize>>,
    shapes: Vec<StepShape>,
}

impl Pipelines<'_> {
    fn step(&mut self) {
        let step = self.shapes.len();
        let own = self.dimensions();
        let always = self.random.percent(10);
        let requirements = self.requirements(&own, always);
        let swept = own.last().is_some_and(|last| matches!(self.origins[*last].source, DimensionShape::Literal(_)));
        let random = &mut self.random;
        let shape = StepShape {
            dimensions: Vec::new(),
            requirements,
            gathered_over: Vec::new(),
            cpu: 1 + random.below(3) as u32,
            memory_bytes: random.below(4) as u64,
            batch: 1 + random.below(3),
            retries: Retries {
                max: random.below(3) as u32,
                on: Vec::new(),
                backoff: Duration::from_secs(random.below(2) as u64),
            },
            never: random.percent(5),
            always,
            max_parallel: random.percent(20).then_some(1),
            gpu: random.below(4).saturating_sub(1) as u32,
            stops: Vec::new(),
            on_item_error: if random.percent(85) { OnItemError::Collect } else { OnItemError::Fail },
            height: random.below(4),
        };
        let dimensions = own.iter().map(|origin| self.dimension(*origin, &own)).collect();
        let stops = if swept { self.fail_fast(own.len() - 1, &own) } else { Vec::new() };
        self.shapes.push(StepShape { dimensions, stops, ..shape });
        // What the step makes can be a loop variable of later ones.
        let source = DimensionShape::Produced { step, output: "items".into(), positions: Vec::new() };
        self.origins.push(Origin { source, outer: own.clone(), producer: Some(step) });
        self.bound.push(own);
    }

    /// Sometimes a matrix stops when a combination fails: that of this step alone, or that of a pipeline which this step and
    /// the one before are both in, whose keys then begin alike.
    fn fail_fast(&mut self, position: usize, own: &[usize]) -> Vec<FailFast> {
        let step = self.shapes.len();
        let shared = step.checked_sub(1).filter(|before| self.bound[*before].starts_with(own));
        match (self.random.below(4), shared) {
            (0 | 1, _) => Vec::new(),
            (2, Some(before)) => {
                let stops = vec![FailFast { position, steps: vec![before, step] }];
                self.shapes[before].stops.clone_from(&stops);
                stops
            }
            _ => vec![FailFast { position, steps: vec![step] }],
        }
    }

    /// Some origins, each after those it needs; in an order that differs between steps.
    fn dimensions(&mut self) -> Vec<usize> {
        let mut own = Vec::new();
        for _ in 0..self.random.below(3) {
            let origin = self.random.below(self.origins.len());
            self.bind(origin, &mut own);
        }
        own.truncate(4);
        own
    }

    fn bind(&self, origin: usize, own: &mut Vec<usize>) {
        for outer in &self.origins[origin].outer {
            self.bind(*outer, own);
        }
        if !own.contains(&origin) {
            own.push(origin);
        }
    }

    fn dimension(&self, origin: usize, own: &[usize]) -> DimensionShape {
        match &self.origins[origin] {
            Origin { source: DimensionShape::Produced { output, .. }, producer: Some(producer), .. } => {
                let positions = self.positions(*producer, None, own);
                DimensionShape::Produced { step: *producer, output: output.clone(), positions }
            }
            known => known.source.clone(),
        }
    }

    fn positions(&self, upstream: StepId, left_out: Option<usize>, own: &[usize]) -> Vec<usize> {
        let parts = self.bound[upstream].iter().enumerate().filter(|(position, _)| Some(*position) != left_out);
        parts.map(|(_, origin)| own.iter().position(|one| one == origin).expect("it is bound")).collect()
    }

    fn requirements(&mut self, own: &[usize], always: bool) -> Vec<Requirement> {
        let mut found = Vec::new();
        for _ in 0..self.random.below(3).min(self.shapes.len()) {
            let step = self.random.below(self.shapes.len());
            let missing: Vec<usize> =
                (0..self.bound[step].len()).filter(|position| !own.contains(&self.bound[step][*position])).collect();
            let dependency = match missing.as_slice() {
                [] => Dependency::Task { step, positions: self.positions(step, None, own) },
                [over] => Dependency::Group { step, over: *over, positions: self.positions(step, Some(*over), own) },
                _ => Dependency::Whole(step),
            };
            // A step of a pipeline that always runs takes any end of steps outside of it, and wants success inside.
            let demand = match (always, self.random.below(4)) {
                (true, 0) => Demand::Success,
                (true, _) => Demand::End,
                (false, 0) => Demand::SuccessOrExclusion,
                (false, _) => Demand::Success,
            };
            found.push(Requirement { dependency, demand });
        }
        found
    }
}

fn random_shapes(random: &mut Random) -> Vec<StepShape> {
    let steps = 1 + random.below(7);
    let known = |source| Origin { source, outer: Vec::new(), producer: None };
    let literal = DimensionShape::Literal(vec!["x=1".into(), "x=2".into(), "x=3".into()]);
    let origins = vec![known(DimensionShape::Input(0)), known(DimensionShape::Input(1)), known(literal)];
    let mut pipelines = Pipelines { random, origins, bound: Vec::new(), shapes: Vec::new() };
    for _ in 0..steps {
        pipelines.step();
    }
    let mut shapes = pipelines.shapes;
    mark_gathered(&mut shapes);
    shapes
}

// ---- random events

const CAPACITY: Capacity = Capacity { cpu: 2, memory_bytes: 3, gpus: 2 };

fn new_scheduler(shapes: &[StepShape]) -> Scheduler {
    let items = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    Scheduler::new(shapes.to_vec(), vec![items(&["a", "b"]), items(&["c"])], CAPACITY)
}

/// Plays the driver's part at random and checks every command.
struct World<'r> {
    random: &'r mut Random,
    scheduler: Scheduler,
    shapes: Vec<StepShape>,
    /// Tasks that an answer is owed for.
    asked: Vec<TaskIndex>,
    elsewhere: Vec<TaskIndex>,
    delayed: Vec<TaskIndex>,
    processes: Vec<Vec<TaskIndex>>,
    ever_done: Vec<TaskIndex>,
    /// Members of a gather as its task saw them.
    gathered: Vec<(StepId, usize, Key, usize)>,
    interrupted: bool,
    events: Vec<Event>,
    commands: Vec<Vec<Command>>,
}

impl World<'_> {
    fn play(&mut self) {
        let commands = self.scheduler.start();
        self.obey(commands);
        while let Some(event) = self.possible_event() {
            let commands = self.scheduler.on_event(&event);
            self.events.push(event);
            self.obey(commands);
            assert!(self.events.len() < 100_000, "the run never ends");
        }
        self.check_end();
    }

    fn possible_event(&mut self) -> Option<Event> {
        if !self.interrupted && self.random.below(400) == 0 {
            self.interrupted = true;
            return Some(Event::Interrupted);
        }
        let scheduler = &self.scheduler;
        self.asked.retain(|task| scheduler.task(*task).state == TaskState::Preparing);
        self.elsewhere.retain(|task| scheduler.task(*task).state == TaskState::Elsewhere);
        let running: Vec<TaskIndex> = self.processes.iter().flatten().copied().collect();
        let choices = self.asked.len() + self.elsewhere.len() + self.delayed.len() + running.len();
        if choices == 0 {
            return None;
        }
        let choice = self.random.below(choices);
        let (asked, elsewhere, delayed) = (self.asked.len(), self.elsewhere.len(), self.delayed.len());
        Some(if choice < asked {
            let task = self.asked.swap_remove(choice);
            self.answer(task, 10)
        } else if choice < asked + elsewhere {
            let task = self.elsewhere.swap_remove(choice - asked);
            self.answer(task, 0)
        } else if choice < asked + elsewhere + delayed {
            Event::DelayOver { task: self.delayed.swap_remove(choice - asked - elsewhere) }
        } else {
            self.end_of_attempt(running[choice - asked - elsewhere - delayed])
        })
    }

    fn answer(&mut self, task: TaskIndex, excluded_percent: usize) -> Event {
        if self.random.percent(excluded_percent) {
            return Event::Excluded { task };
        }
        match self.random.percent(30) {
            true => Event::Reused { task, collections: self.collections(task) },
            false => Event::MustRun { task },
        }
    }

    fn end_of_attempt(&mut self, task: TaskIndex) -> Event {
        self.processes.iter_mut().for_each(|process| process.retain(|other| *other != task));
        self.processes.retain(|process| !process.is_empty());
        match self.random.below(20) {
            0 => {
                self.elsewhere.push(task);
                Event::Elsewhere { task }
            }
            1..4 => Event::Failed { task, cause: FailureCause::Exit(1) },
            _ => Event::Succeeded { task, collections: self.collections(task) },
        }
    }

    fn collections(&mut self, task: TaskIndex) -> BTreeMap<String, Vec<String>> {
        assert!(!self.ever_done.contains(&task), "a task is done once");
        self.ever_done.push(task);
        let items = (0..self.random.below(3)).map(|number| format!("v{number}")).collect();
        BTreeMap::from([("items".to_owned(), items)])
    }

    fn obey(&mut self, commands: Vec<Command>) {
        for command in &commands {
            match command {
                Command::Prepare(task) => {
                    // A later command of the same event may have skipped it.
                    if self.scheduler.task(*task).state == TaskState::Preparing {
                        self.check_met(*task);
                        self.asked.push(*task);
                    }
                }
                Command::Launch(tasks) => self.launch(tasks),
                Command::Skip(task, cause) => self.check_skip(*task, *cause),
                Command::Delay(task, delay) => {
                    assert!(*delay > Duration::ZERO);
                    self.delayed.push(*task);
                }
                Command::StopAttempts => assert!(self.interrupted),
            }
        }
        self.commands.push(commands);
    }

    fn launch(&mut self, tasks: &[TaskIndex]) {
        let step = self.scheduler.task(tasks[0]).step;
        assert!(!self.interrupted, "nothing starts after an interruption");
        assert!((1..=self.shapes[step].batch).contains(&tasks.len()));
        for task in tasks {
            assert_eq!(self.scheduler.task(*task).step, step);
            assert_eq!(self.scheduler.task(*task).state, TaskState::Running);
            assert!(!self.ever_done.contains(task), "finished work is not started again");
            assert!(self.processes.iter().flatten().all(|other| other != task), "it is under way already");
            self.check_met(*task);
        }
        self.processes.push(tasks.to_vec());
        let shape = |process: &Vec<TaskIndex>| &self.shapes[self.scheduler.task(process[0]).step];
        let cpu: u32 = self.processes.iter().map(|process| shape(process).cpu.min(CAPACITY.cpu)).sum();
        let memory: u64 =
            self.processes.iter().map(|process| shape(process).memory_bytes.min(CAPACITY.memory_bytes)).sum();
        assert!(cpu <= CAPACITY.cpu && memory <= CAPACITY.memory_bytes, "{cpu} cores, {memory} bytes");
        self.check_gpus();
        let same = self.processes.iter().filter(|process| self.scheduler.task(process[0]).step == step).count();
        assert!(self.shapes[step].max_parallel.is_none_or(|most| same <= most));
    }

    /// Whether tasks run whatever came of what they wait for. Steps of a pipeline that always runs need each other's success.
    fn takes_any_end(&self, shape: &StepShape) -> bool {
        shape.always && shape.requirements.iter().all(|requirement| requirement.demand == Demand::End)
    }

    /// Each process holds as many GPUs as it needs, the tasks of a batch the same, and no two processes share one.
    fn check_gpus(&self) {
        let mut held = Vec::new();
        for process in &self.processes {
            let gpus = self.scheduler.gpus(process[0]);
            let needed = self.shapes[self.scheduler.task(process[0]).step].gpu.min(CAPACITY.gpus);
            assert_eq!(gpus.len(), needed as usize);
            assert!(process.iter().all(|task| self.scheduler.gpus(*task) == gpus), "a batch is one process");
            held.extend_from_slice(gpus);
        }
        let count = held.len();
        held.sort_unstable();
        held.dedup();
        assert_eq!(held.len(), count, "a GPU belongs to one process");
        assert!(held.iter().all(|gpu| *gpu < CAPACITY.gpus));
    }

    /// Everything that a task waits for has ended as it must.
    fn check_met(&mut self, index: TaskIndex) {
        let task = self.scheduler.task(index).clone();
        for Requirement { dependency, demand } in self.shapes[task.step].requirements.clone() {
            let members: Vec<TaskIndex> = match &dependency {
                Dependency::Task { step, positions } => {
                    vec![self.scheduler.find(*step, &project(&task.key, positions)).expect("it exists")]
                }
                Dependency::Group { step, over, positions } => {
                    let others = project(&task.key, positions);
                    let members = self.scheduler.group(*step, *over, others.clone()).to_vec();
                    self.gathered.push((*step, *over, others, members.len()));
                    members
                }
                Dependency::Whole(step) => (0..self.scheduler.tasks().len())
                    .map(TaskIndex)
                    .filter(|index| self.scheduler.task(*index).step == *step)
                    .collect(),
            };
            let of_many = !matches!(dependency, Dependency::Task { .. });
            for member in members {
                let member = self.scheduler.task(member);
                let ended = matches!(member.state, TaskState::Done | TaskState::Failed | TaskState::Skipped(_));
                let met = match demand {
                    Demand::End => ended,
                    Demand::SuccessOrExclusion => member.state == TaskState::Done || member.excluded,
                    Demand::Success => member.state == TaskState::Done || (of_many && member.excluded),
                };
                assert!(met, "{dependency:?} {demand:?} is not met: {member:?}");
            }
        }
    }

    fn check_skip(&self, index: TaskIndex, cause: SkipCause) {
        let state = |index: TaskIndex| self.scheduler.task(index).state;
        assert_eq!(state(index), TaskState::Skipped(cause));
        let mut root = cause;
        while let SkipCause::Upstream(upstream) = root {
            match state(upstream) {
                TaskState::Skipped(cause) => root = cause,
                other => {
                    assert_eq!(other, TaskState::Failed, "a task is skipped for one that failed");
                    break;
                }
            }
        }
        if let SkipCause::FailFast(failed) = root {
            assert_eq!(state(failed), TaskState::Failed);
        }
        assert_eq!(self.scheduler.task(index).excluded, root == SkipCause::Condition);
    }

    fn check_end(&self) {
        assert!(self.scheduler.is_finished(), "nothing is owed, but the run is not over");
        assert_eq!(self.scheduler.open_branches(), []);
        for task in self.scheduler.tasks() {
            let shape = &self.shapes[task.step];
            match task.state {
                TaskState::Done | TaskState::Failed => {}
                TaskState::Skipped(SkipCause::Upstream(_) | SkipCause::Stopped)
                    if self.takes_any_end(shape) && task.key.len() == shape.dimensions.len() =>
                {
                    assert!(self.interrupted, "what always runs was not run: {task:?}");
                }
                TaskState::Skipped(_) => {}
                other => panic!("{other:?} at the end: {task:?}"),
            }
        }
        for (step, over, others, count) in &self.gathered {
            let members = self.scheduler.group(*step, *over, others.clone()).len();
            assert_eq!(members, *count, "a gather sees all its items");
        }
    }
}

#[test]
fn every_run_ends_keeps_to_order_and_capacity_and_can_be_replayed() {
    for_many_seeds(|random| {
        let shapes = random_shapes(random);
        let mut world = World {
            random,
            scheduler: new_scheduler(&shapes),
            shapes: shapes.clone(),
            asked: Vec::new(),
            elsewhere: Vec::new(),
            delayed: Vec::new(),
            processes: Vec::new(),
            ever_done: Vec::new(),
            gathered: Vec::new(),
            interrupted: false,
            events: Vec::new(),
            commands: Vec::new(),
        };
        world.play();
        let mut again = new_scheduler(&shapes);
        assert_eq!(again.start(), world.commands[0]);
        for (event, commands) in world.events.iter().zip(&world.commands[1..]) {
            assert_eq!(again.on_event(event), *commands, "the same events give the same commands");
        }
    });
}
