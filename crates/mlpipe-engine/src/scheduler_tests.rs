//! The scheduler alone: shapes made by hand, events by a player that plays the driver's part.

use std::collections::BTreeMap;

use mlpipe_spec::{Retries, RetryOn};

use super::*;
use crate::shape::{Demand, Dependency, DimensionShape, Requirement};

fn shape(dimensions: Vec<DimensionShape>, requirements: Vec<Requirement>) -> StepShape {
    StepShape {
        dimensions,
        requirements,
        gathered_over: Vec::new(),
        cpu: 1,
        memory_bytes: 0,
        batch: 1,
        retries: Retries::default(),
        never: false,
        always: false,
        max_parallel: None,
        gpu: 0,
        stops: Vec::new(),
        on_item_error: OnItemError::Collect,
        height: 0,
    }
}

fn success(dependency: Dependency) -> Requirement {
    Requirement { dependency, demand: Demand::Success }
}

fn after(step: StepId, positions: &[usize]) -> Requirement {
    success(Dependency::Task { step, positions: positions.to_vec() })
}

fn produced(step: StepId, positions: &[usize]) -> DimensionShape {
    DimensionShape::Produced { step, output: "items".into(), positions: positions.to_vec() }
}

/// Detect per study, classify per study and vertebra, report per study with all classifications.
fn radiology() -> Vec<StepShape> {
    let study = DimensionShape::Input(0);
    let detect = shape(vec![study.clone()], vec![]);
    let mut classify = shape(vec![study.clone(), produced(0, &[0])], vec![after(0, &[0])]);
    classify.gathered_over = vec![1];
    let gather = success(Dependency::Group { step: 1, over: 1, positions: vec![0] });
    vec![detect, classify, shape(vec![study], vec![gather, after(0, &[0])])]
}

/// Plays the driver: everything must run, tasks end in the order in which they start.
struct Player {
    scheduler: Scheduler,
    log: Vec<String>,
    failing: Vec<&'static str>,
    excluded: Vec<&'static str>,
    found: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Player {
    fn new(shapes: Vec<StepShape>, items: &[&str], cores: u32) -> Self {
        let items = items.iter().map(|item| Arc::from(*item)).collect();
        let scheduler = Scheduler::new(shapes, vec![items], Capacity { cpu: cores, memory_bytes: 0, gpus: 0 });
        Self { scheduler, log: Vec::new(), failing: Vec::new(), excluded: Vec::new(), found: BTreeMap::new() }
    }

    fn failing(mut self, tasks: &[&'static str]) -> Self {
        self.failing = tasks.to_vec();
        self
    }

    fn excluding(mut self, tasks: &[&'static str]) -> Self {
        self.excluded = tasks.to_vec();
        self
    }

    fn finding(mut self, task: &'static str, items: &[&'static str]) -> Self {
        self.found.insert(task, items.to_vec());
        self
    }

    fn name(&self, index: TaskIndex) -> String {
        let task = self.scheduler.task(index);
        format!("{}{:?}", task.step, task.key.iter().map(|part| part.as_ref()).collect::<Vec<&str>>()).replace('"', "")
    }

    fn play(mut self) -> Vec<String> {
        let mut queue: std::collections::VecDeque<Command> = self.scheduler.start().into();
        while let Some(command) = queue.pop_front() {
            match command {
                Command::Prepare(task) => {
                    let excluded = self.excluded.contains(&self.name(task).as_str());
                    let event = if excluded { Event::Excluded { task } } else { Event::MustRun { task } };
                    queue.extend(self.scheduler.on_event(&event));
                }
                Command::Launch(tasks) => {
                    let names: Vec<String> = tasks.iter().map(|task| self.name(*task)).collect();
                    self.log.push(names.join("+"));
                    for task in tasks {
                        let event = self.end(task);
                        queue.extend(self.scheduler.on_event(&event));
                    }
                }
                Command::Skip(task, _) => self.log.push(format!("skip {}", self.name(task))),
                Command::Delay(task, delay) => {
                    self.log.push(format!("wait {} s", delay.as_secs()));
                    queue.extend(self.scheduler.on_event(&Event::DelayOver { task }));
                }
                Command::StopAttempts => self.log.push("stop".into()),
            }
        }
        assert!(self.scheduler.is_finished(), "nothing is left open: {:?}", self.log);
        assert!(self.scheduler.open_branches().is_empty());
        self.log
    }

    fn end(&mut self, task: TaskIndex) -> Event {
        let name = self.name(task);
        if let Some(position) = self.failing.iter().position(|failing| *failing == name) {
            self.failing.remove(position);
            return Event::Failed { task, cause: FailureCause::Exit(1) };
        }
        let items = self.found.get(name.as_str()).cloned().unwrap_or_default();
        let items = items.into_iter().map(str::to_owned).collect();
        Event::Succeeded { task, collections: BTreeMap::from([("items".to_owned(), items)]) }
    }
}

fn failed(task: usize) -> Event {
    Event::Failed { task: TaskIndex(task), cause: FailureCause::Exit(1) }
}

/// Starts the run and answers that everything prepared must run.
fn all_must_run(scheduler: &mut Scheduler) -> Vec<Command> {
    let mut last = Vec::new();
    for command in scheduler.start() {
        let Command::Prepare(task) = command else { panic!("nothing else can happen yet") };
        last = scheduler.on_event(&Event::MustRun { task });
    }
    last
}

#[test]
fn items_of_one_study_start_without_waiting_for_other_studies() {
    let mut shapes = radiology();
    (shapes[0].height, shapes[1].height, shapes[2].height) = (0, 1, 2);
    let log = Player::new(shapes, &["a", "b"], 1).finding("0[a]", &["v1"]).finding("0[b]", &["v1"]).play();
    assert_eq!(log, ["0[a]", "1[a, v1]", "2[a]", "0[b]", "1[b, v1]", "2[b]"]);
}

#[test]
fn gather_waits_for_all_items_and_runs_when_there_are_none() {
    let log = Player::new(radiology(), &["a"], 2).finding("0[a]", &["v1", "v2", "v3"]).play();
    assert_eq!(log, ["0[a]", "1[a, v1]", "1[a, v2]", "1[a, v3]", "2[a]"]);
    assert_eq!(Player::new(radiology(), &["a"], 2).play(), ["0[a]", "2[a]"]);
}

#[test]
fn failed_item_skips_only_what_needs_it() {
    let player = Player::new(radiology(), &["a", "b"], 1).finding("0[a]", &["v1"]).finding("0[b]", &["v1"]);
    let log = player.failing(&["1[a, v1]"]).play();
    assert_eq!(log, ["0[a]", "0[b]", "1[a, v1]", "skip 2[a]", "1[b, v1]", "2[b]"]);
}

#[test]
fn failed_producer_leaves_one_skipped_branch_and_skips_the_gather() {
    let log = Player::new(radiology(), &["a", "b"], 1).failing(&["0[a]"]).play();
    assert_eq!(log, ["0[a]", "skip 1[a]", "skip 2[a]", "0[b]", "2[b]"]);
}

#[test]
fn failure_in_a_step_that_stops_the_run_skips_everything_left() {
    let mut shapes = radiology();
    shapes[0].on_item_error = OnItemError::Fail;
    let log = Player::new(shapes, &["a", "b"], 1).failing(&["0[a]"]).play();
    assert_eq!(log[0], "0[a]");
    assert!(log[1..].iter().all(|line| line.starts_with("skip")), "{log:?}");
}

#[test]
fn retries_are_counted_per_task() {
    let mut shapes = vec![shape(vec![DimensionShape::Input(0)], vec![])];
    shapes[0].retries.max = 2;
    let log = Player::new(shapes.clone(), &["a", "b"], 1).failing(&["0[a]", "0[a]"]).play();
    assert_eq!(log, ["0[a]", "0[a]", "0[a]", "0[b]"]);
    let log = Player::new(shapes, &["a"], 1).failing(&["0[a]", "0[a]", "0[a]"]).play();
    assert_eq!(log, ["0[a]", "0[a]", "0[a]"]);
}

#[test]
fn batch_takes_ready_items_of_one_step_and_retries_run_alone() {
    let mut shapes = vec![shape(vec![DimensionShape::Input(0)], vec![])];
    (shapes[0].batch, shapes[0].retries.max) = (3, 1);
    let mut scheduler = Player::new(shapes, &["a", "b", "c", "d"], 1).scheduler;
    let first = all_must_run(&mut scheduler);
    assert_eq!(first, [Command::Launch(vec![TaskIndex(0), TaskIndex(1), TaskIndex(2)])]);
    assert_eq!(scheduler.on_event(&failed(0)), [], "the process is still under way");
    scheduler.on_event(&Event::Succeeded { task: TaskIndex(1), collections: BTreeMap::new() });
    let next = scheduler.on_event(&Event::Succeeded { task: TaskIndex(2), collections: BTreeMap::new() });
    assert_eq!(next, [Command::Launch(vec![TaskIndex(0)])], "a task that failed runs by itself");
}

#[test]
fn retry_of_a_batch_member_may_start_while_the_batch_is_still_ending() {
    let mut shapes = vec![shape(vec![DimensionShape::Input(0)], vec![])];
    (shapes[0].batch, shapes[0].retries.max) = (2, 1);
    let mut scheduler = Player::new(shapes, &["a", "b"], 2).scheduler;
    assert_eq!(all_must_run(&mut scheduler), [Command::Launch(vec![TaskIndex(0), TaskIndex(1)])]);
    let retry = scheduler.on_event(&failed(0));
    assert_eq!(retry, [Command::Launch(vec![TaskIndex(0)])]);
    let retry = scheduler.on_event(&failed(1));
    assert_eq!(retry, [Command::Launch(vec![TaskIndex(1)])]);
    for task in [TaskIndex(0), TaskIndex(1)] {
        scheduler.on_event(&Event::Succeeded { task, collections: BTreeMap::new() });
    }
    assert!(scheduler.is_finished());
}

#[test]
fn no_more_tasks_run_at_a_time_than_cores_allow() {
    let mut shapes = vec![shape(vec![DimensionShape::Input(0)], vec![])];
    shapes[0].cpu = 2;
    let mut scheduler = Player::new(shapes, &["a", "b", "c"], 3).scheduler;
    assert_eq!(all_must_run(&mut scheduler), [Command::Launch(vec![TaskIndex(0)])]);
    let next = scheduler.on_event(&Event::Succeeded { task: TaskIndex(0), collections: BTreeMap::new() });
    assert_eq!(next, [Command::Launch(vec![TaskIndex(1)])]);
}

#[test]
fn interruption_stops_attempts_and_starts_nothing_new() {
    let mut scheduler = Player::new(radiology(), &["a", "b"], 1).scheduler;
    all_must_run(&mut scheduler);
    let commands = scheduler.on_event(&Event::Interrupted);
    assert!(commands.contains(&Command::StopAttempts));
    let rest = scheduler.on_event(&failed(0));
    assert!(rest.iter().all(|command| matches!(command, Command::Skip(..))), "{rest:?}");
    assert!(scheduler.is_finished());
}

#[test]
fn needs_waits_for_every_task_of_a_step() {
    let shapes =
        vec![shape(vec![DimensionShape::Input(0)], vec![]), shape(vec![], vec![success(Dependency::Whole(0))])];
    assert_eq!(Player::new(shapes, &["a", "b"], 1).play(), ["0[a]", "0[b]", "1[]"]);
}

#[test]
fn failure_at_the_head_of_a_long_chain_does_not_exhaust_the_stack() {
    let link = |step: usize| shape(vec![], if step == 0 { vec![] } else { vec![after(step - 1, &[])] });
    let log = Player::new((0..50_000).map(link).collect(), &[], 1).failing(&["0[]"]).play();
    assert_eq!(log.len(), 50_000);
}

#[test]
fn excluded_task_takes_along_what_needs_it_and_gather_leaves_it_out() {
    let player = Player::new(radiology(), &["a"], 1).finding("0[a]", &["v1", "v2"]);
    let log = player.excluding(&["1[a, v1]"]).play();
    assert_eq!(log, ["0[a]", "skip 1[a, v1]", "1[a, v2]", "2[a]"]);
    let log = Player::new(radiology(), &["a"], 1).excluding(&["0[a]"]).play();
    assert_eq!(log, ["skip 0[a]", "skip 1[a]", "skip 2[a]"]);
}

#[test]
fn exclusion_is_no_failure_and_a_failure_behind_it_is() {
    let mut scheduler = Player::new(radiology(), &["a"], 1).scheduler;
    scheduler.start();
    scheduler.on_event(&Event::Excluded { task: TaskIndex(0) });
    assert!(scheduler.tasks().iter().all(|task| task.excluded), "{:?}", scheduler.tasks());

    let mut scheduler = Player::new(radiology(), &["a"], 1).scheduler;
    all_must_run(&mut scheduler);
    scheduler.on_event(&failed(0));
    assert!(scheduler.tasks().iter().all(|task| !task.excluded));
}

#[test]
fn step_whose_condition_is_never_true_prepares_nothing() {
    let mut shapes = radiology();
    shapes[0].never = true;
    let mut scheduler = Player::new(shapes, &["a"], 1).scheduler;
    let commands = scheduler.start();
    assert!(commands.iter().all(|command| matches!(command, Command::Skip(..))), "{commands:?}");
    assert!(scheduler.is_finished());
}

#[test]
fn default_value_stands_in_for_an_excluded_task_but_not_for_a_failed_one() {
    let optional = Requirement { demand: Demand::SuccessOrExclusion, ..after(0, &[]) };
    let shapes = vec![shape(vec![], vec![]), shape(vec![], vec![optional])];
    assert_eq!(Player::new(shapes.clone(), &[], 1).excluding(&["0[]"]).play(), ["skip 0[]", "1[]"]);
    assert_eq!(Player::new(shapes, &[], 1).failing(&["0[]"]).play(), ["0[]", "skip 1[]"]);
}

#[test]
fn needs_is_excluded_only_when_all_of_a_step_is() {
    let shapes =
        vec![shape(vec![DimensionShape::Input(0)], vec![]), shape(vec![], vec![success(Dependency::Whole(0))])];
    let log = Player::new(shapes.clone(), &["a", "b"], 1).excluding(&["0[a]"]).play();
    assert_eq!(log, ["skip 0[a]", "0[b]", "1[]"]);
    let log = Player::new(shapes, &["a", "b"], 1).excluding(&["0[a]", "0[b]"]).play();
    assert_eq!(log, ["skip 0[a]", "skip 0[b]", "skip 1[]"]);
}

/// Two steps, and a third that always runs after them.
fn with_clean_up(on_item_error: OnItemError) -> Vec<StepShape> {
    let end = |step| Requirement { dependency: Dependency::Whole(step), demand: Demand::End };
    let work = StepShape { on_item_error, ..shape(vec![DimensionShape::Input(0)], vec![]) };
    let more = shape(vec![DimensionShape::Input(0)], vec![after(0, &[0])]);
    vec![work, more, StepShape { always: true, ..shape(vec![], vec![end(0), end(1)]) }]
}

#[test]
fn step_that_always_runs_waits_for_the_end_and_runs_after_failures() {
    for on_item_error in [OnItemError::Collect, OnItemError::Fail] {
        let log = Player::new(with_clean_up(on_item_error), &["a", "b"], 1).failing(&["0[a]"]).play();
        assert_eq!(log.last().map(String::as_str), Some("2[]"), "{log:?}");
    }
}

#[test]
fn interruption_keeps_even_what_always_runs_from_starting() {
    let mut scheduler = Player::new(with_clean_up(OnItemError::Fail), &["a"], 1).scheduler;
    all_must_run(&mut scheduler);
    scheduler.on_event(&Event::Interrupted);
    let rest = scheduler.on_event(&failed(0));
    assert!(rest.iter().all(|command| matches!(command, Command::Skip(..))), "{rest:?}");
    assert!(scheduler.is_finished());
}

/// A step over the combinations of a matrix.
fn sweep(combinations: &[&str]) -> StepShape {
    let literal = DimensionShape::Literal(combinations.iter().map(|item| (*item).to_owned()).collect());
    shape(vec![literal], vec![])
}

#[test]
fn sweep_keeps_to_its_own_limit_and_leaves_cores_to_others() {
    let limited = StepShape { max_parallel: Some(1), height: 1, ..sweep(&["x=1", "x=2"]) };
    let mut scheduler = Player::new(vec![limited, shape(vec![], vec![])], &[], 4).scheduler;
    let commands = all_must_run(&mut scheduler);
    assert_eq!(commands, [Command::Launch(vec![TaskIndex(0)]), Command::Launch(vec![TaskIndex(2)])]);
    let next = scheduler.on_event(&Event::Succeeded { task: TaskIndex(0), collections: BTreeMap::new() });
    assert_eq!(next, [Command::Launch(vec![TaskIndex(1)])]);
}

#[test]
fn failed_combination_keeps_the_others_of_a_fail_fast_sweep_from_starting() {
    let fast = StepShape { stops: vec![FailFast { position: 0, steps: vec![0] }], ..sweep(&["x=1", "x=2", "x=3"]) };
    let log = Player::new(vec![fast, shape(vec![], vec![])], &[], 1).failing(&["0[x=1]"]).play();
    assert_eq!(log, ["0[x=1]", "skip 0[x=2]", "skip 0[x=3]", "1[]"]);
}

#[test]
fn retries_wait_longer_each_time_and_only_for_the_failures_named() {
    let backoff = Duration::from_secs(2);
    let mut shapes = vec![shape(vec![], vec![])];
    shapes[0].retries = Retries { max: 2, on: Vec::new(), backoff };
    let log = Player::new(shapes.clone(), &[], 1).failing(&["0[]", "0[]"]).play();
    assert_eq!(log, ["0[]", "wait 2 s", "0[]", "wait 4 s", "0[]"]);
    shapes[0].retries.on = vec![RetryOn::Timeout];
    assert_eq!(Player::new(shapes, &[], 1).failing(&["0[]"]).play(), ["0[]"]);
}

#[test]
fn stop_ends_the_wait_for_another_attempt() {
    let mut shapes = vec![shape(vec![], vec![])];
    shapes[0].retries = Retries { max: 1, on: Vec::new(), backoff: Duration::from_secs(1) };
    let mut scheduler = Player::new(shapes, &[], 1).scheduler;
    all_must_run(&mut scheduler);
    scheduler.on_event(&failed(0));
    assert!(!scheduler.is_finished());
    let commands = scheduler.on_event(&Event::Interrupted);
    assert_eq!(commands, [Command::Skip(TaskIndex(0), SkipCause::Stopped), Command::StopAttempts]);
    assert!(scheduler.is_finished());
    assert_eq!(scheduler.on_event(&Event::DelayOver { task: TaskIndex(0) }), []);
}

#[test]
fn work_done_elsewhere_blocks_nothing_else_and_its_result_is_taken() {
    let study = DimensionShape::Input(0);
    let shapes = vec![shape(vec![study.clone()], vec![]), shape(vec![study], vec![after(0, &[0])])];
    let items = vec![vec![Arc::from("a"), Arc::from("b")]];
    let mut scheduler = Scheduler::new(shapes, items, Capacity { cpu: 1, memory_bytes: 0, gpus: 0 });
    let task = |number| TaskIndex(number);
    scheduler.start();
    scheduler.on_event(&Event::MustRun { task: task(0) });
    assert_eq!(scheduler.on_event(&Event::MustRun { task: task(1) }), [Command::Launch(vec![task(0)])]);
    let next = scheduler.on_event(&Event::Elsewhere { task: task(0) });
    assert_eq!(next, [Command::Launch(vec![task(1)])], "its core is free for others");
    assert_eq!((scheduler.task(task(0)).state, scheduler.task(task(0)).attempts), (TaskState::Elsewhere, 0));
    let ended = Event::Succeeded { task: task(1), collections: BTreeMap::new() };
    assert_eq!(scheduler.on_event(&ended), [Command::Prepare(task(3))]);
    scheduler.on_event(&Event::Reused { task: task(3), collections: BTreeMap::new() });
    assert!(!scheduler.is_finished(), "the result is still awaited");
    let next = scheduler.on_event(&Event::Reused { task: task(0), collections: BTreeMap::new() });
    assert_eq!(next, [Command::Prepare(task(2))]);
}

#[test]
fn work_that_came_to_nothing_elsewhere_is_done_here_and_may_be_skipped_while_it_is_awaited() {
    let one = || vec![shape(vec![], vec![])];
    for stopped in [false, true] {
        let mut scheduler = Scheduler::new(one(), vec![], Capacity { cpu: 1, memory_bytes: 0, gpus: 0 });
        let task = TaskIndex(0);
        scheduler.start();
        scheduler.on_event(&Event::MustRun { task });
        scheduler.on_event(&Event::Elsewhere { task });
        if stopped {
            let next = scheduler.on_event(&Event::Interrupted);
            assert!(next.contains(&Command::Skip(task, SkipCause::Stopped)), "{next:?}");
            assert!(
                scheduler.on_event(&Event::MustRun { task }).is_empty(),
                "an answer that comes late changes nothing"
            );
        } else {
            assert_eq!(scheduler.on_event(&Event::MustRun { task }), [Command::Launch(vec![task])]);
        }
        assert_eq!(scheduler.is_finished(), stopped);
    }
}
