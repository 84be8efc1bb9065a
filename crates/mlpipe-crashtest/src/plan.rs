//! Which points each mode runs.

use crate::point::{Failure, Point, Scenario};
use crate::random::Random;
use crate::scenario::Bench;
use crate::trace::{calls_to_fail, numbers_to_kill_at};

/// Seed of the smoke mode.
const SMOKE_SEED: u64 = 1;

/// How many points of each kind the smoke mode takes: about three minutes together.
const SMOKE: Counts = Counts { kill: 110, fail: 110, full: 20, moment: 60, pair: 40 };
/// The long mode kills at every call, and takes this many of the others.
const LONG: Counts = Counts { kill: usize::MAX, fail: 600, full: 100, moment: 200, pair: 120 };

struct Counts {
    kill: usize,
    fail: usize,
    full: u64,
    moment: u64,
    pair: u64,
}

/// What the machine allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Means {
    pub(crate) strace: bool,
    pub(crate) mounting: bool,
}

/// A sample of everything with a fixed seed.
pub(crate) fn smoke(bench: &Bench, means: Means) -> Vec<Point> {
    choose(bench, means, &SMOKE, SMOKE_SEED)
}

/// Every call, and many moments.
pub(crate) fn long(bench: &Bench, means: Means, seed: u64) -> Vec<Point> {
    choose(bench, means, &LONG, seed)
}

/// The points of one mode, at most `count`; of those at calls a sample.
pub(crate) fn of_mode(bench: &Bench, means: Means, mode: &str, count: usize, seed: u64) -> Vec<Point> {
    let mut counts = Counts { kill: 0, fail: 0, full: 0, moment: 0, pair: 0 };
    match mode {
        "kill" => counts.kill = count,
        "fail" => counts.fail = count,
        "full" => counts.full = count as u64,
        "moment" => counts.moment = count as u64,
        _ => counts.pair = count as u64,
    }
    choose(bench, means, &counts, seed)
}

fn choose(bench: &Bench, means: Means, counts: &Counts, seed: u64) -> Vec<Point> {
    let mut random = Random::new(seed);
    let mut points = Vec::new();
    if means.strace {
        points.extend(random.sample(every_kill(bench), counts.kill));
        points.extend(random.sample(every_failure(bench), counts.fail));
    }
    if means.mounting {
        points.extend((0..counts.full).map(|number| Point::Full { seed: seed * 1_000_000 + number }));
    }
    points.extend((0..counts.moment).map(|number| Point::Moment { seed: seed * 1_000_000 + number }));
    points.extend((0..counts.pair).map(|number| Point::Pair { seed: seed * 1_000_000 + number }));
    points
}

fn every_kill(bench: &Bench) -> Vec<Point> {
    let of = |scenario| {
        let calls = numbers_to_kill_at(&bench.of(scenario).calls);
        calls.into_iter().map(move |call| Point::Kill { scenario, call })
    };
    Scenario::ALL.into_iter().flat_map(of).collect()
}

/// A run that is partly reused and partly done makes every kind of call; a first one makes the state directory.
fn every_failure(bench: &Bench) -> Vec<Point> {
    let mut points = Vec::new();
    for scenario in [Scenario::Fresh, Scenario::Changed] {
        for (name, call) in calls_to_fail(&bench.of(scenario).calls) {
            for failure in Failure::ALL {
                for lasting in [false, true] {
                    points.push(Point::Fail { scenario, name: name.clone(), call, failure, lasting });
                }
            }
        }
    }
    points
}
