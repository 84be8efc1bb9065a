//! Kills mlpipe in every way and checks that nothing is lost.
//!
//! Each point is one disturbance of a run of a small pipeline; `docs/crash-tests.md` says what must hold afterwards, and which
//! modes there are. The harness knows mlpipe by its command line alone.

mod check;
mod disturb;
mod place;
mod plan;
mod point;
mod processes;
mod random;
mod scenario;
mod trace;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;

use check::{Observed, violations};
use disturb::{disturb, scenario_of};
use plan::Means;
use point::Point;
use scenario::{Bench, arguments};

/// Points that are run at the same time.
const AT_ONCE: usize = 2;

/// Kills mlpipe in every way and checks that nothing is lost.
#[derive(Debug, Parser)]
#[command(name = "mlpipe-crashtest")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,

    /// The mlpipe to test [default: the one beside this program]
    #[arg(long, global = true)]
    mlpipe: Option<PathBuf>,

    /// Seed of what is chosen by chance
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, clap::Subcommand)]
enum Mode {
    /// A sample of everything, always the same: about three minutes
    Smoke,
    /// Every call, and many moments
    Long,
    /// One kind of point: kill, fail, full, moment, pair
    Only {
        /// The kind
        #[arg(value_parser = ["kill", "fail", "full", "moment", "pair"])]
        kind: String,
        /// How many points at most
        #[arg(long, default_value_t = usize::MAX)]
        count: usize,
    },
    /// These points alone, as they were printed
    Replay {
        /// The points
        #[arg(required = true)]
        points: Vec<Point>,
    },
}

/// What became of a point.
#[derive(Debug)]
struct Outcome {
    took_place: bool,
    violations: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            say(&format!("error: {message}"));
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, String> {
    let started = Instant::now();
    let means = means();
    let folder = tempfile::Builder::new().prefix("mlpipe-crashtest-").tempdir().map_err(|error| error.to_string())?;
    let folder_path = folder.path().canonicalize().map_err(|error| error.to_string())?;
    let mlpipe = copy_of_program(arguments.mlpipe.as_deref(), &folder_path)?;
    let bench = Bench::new(mlpipe, &folder_path, means.strace)?;
    let points = match &arguments.mode {
        Mode::Smoke => plan::smoke(&bench, means),
        Mode::Long => plan::long(&bench, means, arguments.seed),
        Mode::Only { kind, count } => {
            let count = if matches!(kind.as_str(), "kill" | "fail") { *count } else { (*count).min(1000) };
            plan::of_mode(&bench, means, kind, count, arguments.seed)
        }
        Mode::Replay { points } => points.clone(),
    };
    say(&format!("{} points, {AT_ONCE} at a time", points.len()));
    let outcomes = run_all(&bench, &points);
    Ok(summarise(&points, &outcomes, started))
}

/// The program under test may be rebuilt while points run.
fn copy_of_program(given: Option<&Path>, folder: &Path) -> Result<PathBuf, String> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("mlpipe")));
    let program = given.map(Path::to_owned).or(beside).ok_or("give the program under test with --mlpipe")?;
    let copy = folder.join("mlpipe");
    std::fs::copy(&program, &copy).map_err(|error| format!("{}: {error}; build mlpipe first", program.display()))?;
    Ok(copy)
}

fn means() -> Means {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !strace {
        say("skipped: points at calls (kill, fail): strace is not installed");
    }
    let mounting = rustix::process::geteuid().is_root();
    if !mounting {
        say("skipped: points on a full disk (full): mounting a file system of 4 MB needs root");
    }
    Means { strace, mounting }
}

fn run_all(bench: &Bench, points: &[Point]) -> Vec<Outcome> {
    let next = Mutex::new(0..points.len());
    let outcomes = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let Some(number) = next.lock().expect("no worker panics while it holds this").next() else { return };
            let outcome = run_one(bench, &points[number]);
            for violation in &outcome.violations {
                say(&format!("VIOLATION at {}: {violation}", points[number]));
            }
            let mut outcomes = outcomes.lock().expect("no worker panics while it holds this");
            outcomes.insert(number, outcome);
            if outcomes.len().is_multiple_of(100) {
                say(&format!("{} of {} points", outcomes.len(), points.len()));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(work);
        }
    });
    outcomes.into_inner().expect("no worker panicked").into_values().collect()
}

fn run_one(bench: &Bench, point: &Point) -> Outcome {
    observe(bench, point).unwrap_or_else(|error| Outcome {
        took_place: false,
        violations: vec![format!("the harness could not do it: {error}")],
    })
}

/// Disturbs a run, runs again undisturbed, and looks at what there is.
fn observe(bench: &Bench, point: &Point) -> Result<Outcome, String> {
    let scenario = scenario_of(point);
    let mut place = bench.place(scenario)?;
    let (disturbed, took_place) = disturb(bench, &mut place, point)?;
    let mlpipe = |arguments: &[&str], label| place.wait_for(place.mlpipe(&bench.mlpipe, arguments), label);
    let list = mlpipe(&["runs", "list"], "list")?;
    let mut again = vec!["run", "pipeline.yaml", "--jobs", "2", "--json"];
    again.extend(arguments(scenario));
    let rerun = mlpipe(&again, "rerun")?;
    let processes = processes::of_place(&place.mark());
    let runs = mlpipe(&["runs", "list", "--all", "--json", "--limit", "100000"], "runs")?;
    let outputs = rerun.json().and_then(|document| place.outputs(&document));
    let violations = violations(&Observed {
        disturbed: &disturbed,
        list: &list,
        rerun: &rerun,
        completed: place.completed(),
        outputs,
        reference: &bench.of(scenario).outputs,
        runs: &runs,
        processes,
        leftovers: place.leftovers(),
    });
    Ok(Outcome { took_place, violations })
}

fn summarise(points: &[Point], outcomes: &[Outcome], started: Instant) -> bool {
    let mut by_mode: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for (point, outcome) in points.iter().zip(outcomes) {
        let counts = by_mode.entry(point.mode()).or_default();
        counts[0] += 1;
        counts[1] += usize::from(outcome.took_place);
        counts[2] += usize::from(!outcome.violations.is_empty());
    }
    say("kind     points  took place  violations");
    for (mode, [run, took_place, violated]) in &by_mode {
        say(&format!("{mode:<7} {run:>7} {took_place:>11} {violated:>11}"));
    }
    let violated: Vec<&Point> = points
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| !outcome.violations.is_empty())
        .map(|(point, _)| point)
        .collect();
    say(&format!("{} points, {} violations, {} s", points.len(), violated.len(), started.elapsed().as_secs()));
    if !violated.is_empty() {
        let shown: Vec<String> = violated.iter().take(20).map(ToString::to_string).collect();
        say(&format!("to replay: mlpipe-crashtest replay {}", shown.join(" ")));
    }
    violated.is_empty()
}

fn say(line: &str) {
    // A reader that has gone away is no error.
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}
