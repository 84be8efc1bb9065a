//! Disturbs a run in the way that a point says, and reports how the drivers ended.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::process::Command;
use std::thread::{self, sleep};
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::Signal;

use crate::place::{Place, Ran, SMALL_KIB};
use crate::point::{Point, Scenario};
use crate::processes;
use crate::random::Random;
use crate::scenario::{Bench, driver_arguments};
use crate::trace::{CALLS, Call, strace};

/// How long each call of the driver is held back, so that it can be killed before the call is made.
const HELD_BACK_US: u32 = 500;
/// Ends the reading of a trace.
const END_OF_TRACE: u8 = 0;

/// How a driver may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Whatever its end, it must have come; it may have been killed.
    Anything,
    /// With exit code 0.
    Success,
    /// With exit code 0, or 1 when a step was killed.
    StepMayFail,
    /// With exit code 0, 1 or 6, and a message.
    StoreMayFail,
    /// The same, or with exit code 2 or 4: calls are counted by thread, and threads differ from the recorded run, so that the call that
    /// failed was one on an input.
    InputMayFail,
    /// The same, but the message may be lost: nothing can be written.
    NothingCanBeWritten,
}

/// A driver that was disturbed, or ran beside one that was.
#[derive(Debug)]
pub(crate) struct Disturbed {
    pub(crate) ran: Ran,
    pub(crate) expected: Expected,
}

/// Does to a run what the point says. Returns what became of each driver, and whether the disturbance took place at all.
pub(crate) fn disturb(bench: &Bench, place: &mut Place, point: &Point) -> Result<(Vec<Disturbed>, bool), String> {
    match point {
        Point::Kill { scenario, call } => kill_at_call(bench, place, *scenario, *call),
        Point::Fail { scenario, name, call, failure, lasting } => {
            let when = format!("{call}{}", if *lasting { "+" } else { "" });
            let inject = format!("inject={name}:error={}:when={when}", failure.word());
            let is_mute = *lasting && name == "write";
            let expected = if is_mute { Expected::NothingCanBeWritten } else { Expected::StoreMayFail };
            fail_calls(bench, place, *scenario, (name, &inject), expected)
        }
        Point::Full { seed } => fill(bench, place, *seed),
        Point::Moment { seed } => at_some_moment(bench, place, *seed),
        Point::Pair { seed } => two_drivers(bench, place, *seed),
    }
}

/// The scenario of a point.
pub(crate) fn scenario_of(point: &Point) -> Scenario {
    match point {
        Point::Kill { scenario, .. } | Point::Fail { scenario, .. } => *scenario,
        Point::Full { .. } => Scenario::Fresh,
        Point::Moment { seed } | Point::Pair { seed } => Random::new(*seed).one_of(&Scenario::ALL),
    }
}

// ---- calls

fn kill_at_call(
    bench: &Bench,
    place: &Place,
    scenario: Scenario,
    call: usize,
) -> Result<(Vec<Disturbed>, bool), String> {
    let trace = place.file("trace");
    rustix::fs::mknodat(CWD, &trace, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).map_err(|error| error.to_string())?;
    // Open for both, so that neither side waits for the other to open it.
    let open = || File::options().read(true).write(true).open(&trace).map_err(|error| error.to_string());
    let (reading_end, mut writing_end) = (open()?, open()?);
    let reader = thread::spawn(move || kill_at(reading_end, call));
    let mut outer = strace(&trace);
    outer.arg(format!("--inject={CALLS}:delay_enter={HELD_BACK_US}"));
    let ran = place.wait_for(place.below(outer, &bench.mlpipe, &driver_arguments(scenario)), "disturbed");
    writing_end.write_all(&[b'\n', END_OF_TRACE]).map_err(|error| error.to_string())?;
    let was_killed = reader.join().map_err(|_| "the reader of the trace panicked")?;
    let expected = if was_killed { Expected::Anything } else { Expected::Success };
    Ok((vec![Disturbed { ran: ran?, expected }], was_killed))
}

/// Reads a trace while it is written and kills the driver when call number `at` is shown; strace shows a call when it begins.
fn kill_at(trace: File, at: usize) -> bool {
    let mut line = String::new();
    let mut seen = 0;
    let mut was_killed = false;
    let mut driver = None;
    for byte in std::io::BufReader::with_capacity(1 << 16, trace).bytes() {
        match byte {
            Ok(END_OF_TRACE) | Err(_) => break,
            Ok(b'\n') => line.clear(),
            Ok(byte) => line.push(char::from(byte)),
        }
        if !line.ends_with('(') || line.matches('(').count() > 1 {
            continue;
        }
        if let Some(call) = Call::parse(&line, "") {
            seen += 1;
            let driver = *driver.get_or_insert(call.thread);
            if seen == at {
                processes::signal(driver, Signal::KILL);
                was_killed = true;
            }
        }
    }
    was_killed
}

fn fail_calls(
    bench: &Bench,
    place: &Place,
    scenario: Scenario,
    (name, inject): (&str, &str),
    expected: Expected,
) -> Result<(Vec<Disturbed>, bool), String> {
    let trace = place.file("trace");
    let mut outer = Command::new("strace");
    outer.args(["-f", "-b", "execve", "-s", "8", "-o"]).arg(&trace).arg(format!("--trace={name}")).args(["-e", inject]);
    let ran = place.wait_for(place.below(outer, &bench.mlpipe, &driver_arguments(scenario)), "disturbed")?;
    let text = fs::read_to_string(&trace).unwrap_or_default();
    let failed: Vec<&str> = text.lines().filter(|line| line.contains("(INJECTED)")).collect();
    let state = place.state().display().to_string();
    let took_place = !failed.is_empty();
    let expected = match expected {
        _ if !took_place => Expected::Success,
        Expected::StoreMayFail if name == "openat" && failed.iter().any(|line| !line.contains(&state)) => {
            Expected::InputMayFail
        }
        expected => expected,
    };
    Ok((vec![Disturbed { ran, expected }], took_place))
}

// ---- a full disk

/// Leaves between nothing and a little more than a run needs.
fn fill(bench: &Bench, place: &mut Place, seed: u64) -> Result<(Vec<Disturbed>, bool), String> {
    const MOST_FREE_KIB: u64 = 1600;
    place.mount_small()?;
    let free_kib = Random::new(seed).below(MOST_FREE_KIB);
    let ballast = place.state().join("ballast");
    let bytes = vec![0; ((SMALL_KIB - free_kib) * 1024) as usize];
    // It does not fit when nothing is to be left.
    let _ = fs::write(&ballast, bytes);
    let command = place.mlpipe(&bench.mlpipe, &driver_arguments(Scenario::Fresh));
    let ran = place.wait_for(command, "disturbed");
    fs::remove_file(&ballast).map_err(|error| error.to_string())?;
    let ran = ran?;
    let took_place = ran.code != Some(0);
    Ok((vec![Disturbed { ran, expected: Expected::StoreMayFail }], took_place))
}

// ---- moments

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Kill,
    StopAndContinue,
    StopAndKill,
    KillStep,
    StopStep,
}

fn at_some_moment(bench: &Bench, place: &Place, seed: u64) -> Result<(Vec<Disturbed>, bool), String> {
    const LONGEST_STOP_MS: u64 = 200;
    let mut random = Random::new(seed);
    let scenario = random.one_of(&Scenario::ALL);
    let act =
        random.one_of(&[Act::Kill, Act::Kill, Act::StopAndContinue, Act::StopAndKill, Act::KillStep, Act::StopStep]);
    let started = place.start(place.mlpipe(&bench.mlpipe, &driver_arguments(scenario)), "disturbed")?;
    let driver = started.process();
    sleep(some_of(bench.of(scenario).span, &mut random));
    let victim = match act {
        Act::KillStep | Act::StopStep => {
            let steps: Vec<i32> = processes::of_place(&place.mark()).into_iter().filter(|id| *id != driver).collect();
            if steps.is_empty() { None } else { Some(random.one_of(&steps)) }
        }
        _ => Some(driver),
    };
    if let Some(victim) = victim {
        if !matches!(act, Act::Kill | Act::KillStep) {
            processes::signal(victim, Signal::STOP);
            sleep(Duration::from_millis(random.below(LONGEST_STOP_MS)));
        }
        let last = if matches!(act, Act::StopAndContinue | Act::StopStep) { Signal::CONT } else { Signal::KILL };
        processes::signal(victim, last);
    }
    let ran = place.wait(started)?;
    let took_place = victim.is_some() && (ran.code != Some(0) || !matches!(act, Act::Kill | Act::StopAndKill));
    let expected = match act {
        _ if victim.is_none() => Expected::Success,
        Act::Kill | Act::StopAndKill => Expected::Anything,
        Act::KillStep => Expected::StepMayFail,
        Act::StopAndContinue | Act::StopStep => Expected::Success,
    };
    Ok((vec![Disturbed { ran, expected }], took_place))
}

fn two_drivers(bench: &Bench, place: &Place, seed: u64) -> Result<(Vec<Disturbed>, bool), String> {
    let mut random = Random::new(seed);
    let scenario = random.one_of(&Scenario::ALL);
    let one_is_killed = random.below(2) == 0;
    let span = bench.of(scenario).span;
    let start = |label| place.start(place.mlpipe(&bench.mlpipe, &driver_arguments(scenario)), label);
    let first = start("disturbed")?;
    sleep(some_of(span / 2, &mut random));
    let second = start("disturbed-too")?;
    if one_is_killed {
        sleep(some_of(span, &mut random));
        processes::signal(first.process(), Signal::KILL);
    }
    let expected = if one_is_killed { Expected::Anything } else { Expected::Success };
    let first = Disturbed { ran: place.wait(first)?, expected };
    let second = Disturbed { ran: place.wait(second)?, expected: Expected::Success };
    Ok((vec![first, second], true))
}

/// Up to a little more than the whole.
fn some_of(span: Duration, random: &mut Random) -> Duration {
    let most = span.as_micros() as u64 * 11 / 10 + 1;
    Duration::from_micros(random.below(most))
}
