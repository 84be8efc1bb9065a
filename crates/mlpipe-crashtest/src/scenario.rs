//! The small pipeline, what it finds in each scenario, and what it makes when nobody disturbs it.
//!
//! Four steps in three projects: items, items of items, two gathers; nine tasks. Two of the steps are a pipeline of their own,
//! which runs for each item. A command that completes writes the id of its
//! run to a file outside of the state directory. Each part of a command is checked: any process may be killed, and what exits
//! with 0 counts as done.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::place::{Outputs, Place, Ran};
use crate::point::Scenario;
use crate::trace::{Call, strace};

/// Names the file in which completed commands leave the id of their run.
pub(crate) const COUNTER_VARIABLE: &str = "CRASHTEST_COUNTER";

const FILES: [(&str, &str); 7] = [
    (
        "split/MLproject",
        r#"name: split
entry_points:
  main:
    parameters: {source: path}
    command: 'mkdir "$MLPIPE_OUTPUT_DIR/words" || exit 1; words=$(cat {source}) || exit 1; for w in $words; do echo $w > "$MLPIPE_OUTPUT_DIR/words/$w" || exit 1; done; echo $MLFLOW_RUN_ID >> "$CRASHTEST_COUNTER"'
    outputs: {words: {path: words, type: collection}}
"#,
    ),
    (
        "shout/MLproject",
        r#"name: shout
entry_points:
  main:
    parameters: {word: path, suffix: string}
    command: 'w=$(tr a-z A-Z < {word}) && printf %030000d 0 > "$MLPIPE_OUTPUT_DIR/zeros" && tr 0 "$w" < "$MLPIPE_OUTPUT_DIR/zeros" > "$MLPIPE_OUTPUT_DIR/loud.txt" && echo {suffix} >> "$MLPIPE_OUTPUT_DIR/loud.txt" && echo "{{\"size\": 30000}}" > "$MLPIPE_OUTPUT_DIR/metrics.json" && echo $MLFLOW_RUN_ID >> "$CRASHTEST_COUNTER"'
    outputs: {loud: {path: loud.txt, type: file}}
"#,
    ),
    (
        "join/MLproject",
        r#"name: join
entry_points:
  main:
    parameters: {parts: path}
    command: 'cat {parts}/* > "$MLPIPE_OUTPUT_DIR/all.txt" && echo $MLFLOW_RUN_ID >> "$CRASHTEST_COUNTER"'
    outputs: {all: {path: all.txt, type: file}}
"#,
    ),
    (
        "pipeline.yaml",
        r#"name: crash
params: {suffix: {type: string, default: "!"}}
inputs:
  texts: {collection: files, from: texts}
steps:
  split:
    project: split
    for_each: {text: inputs.texts}
    parameters: {source: "${{ item.text }}"}
  loud:
    pipeline: loud.yaml
    for_each: {text: split}
    inputs: {words: split.outputs.words}
    parameters: {suffix: "${{ params.suffix }}"}
  total:
    project: join
    parameters: {parts: "${{ gather(steps.loud.outputs.all, over='text') }}"}
outputs: {words: "${{ steps.split.outputs.words }}", all: "${{ steps.loud.outputs.all }}", total: "${{ steps.total.outputs.all }}"}
"#,
    ),
    (
        "loud.yaml",
        r#"name: loud
params: {suffix: string}
inputs:
  words: {collection: files, from: .}
steps:
  shout:
    project: shout
    for_each: {word: inputs.words}
    parameters: {word: "${{ item.word }}", suffix: "${{ params.suffix }}"}
  join:
    project: join
    parameters: {parts: "${{ gather(steps.shout.outputs.loud, over='word') }}"}
outputs: {all: "${{ steps.join.outputs.all }}"}
"#,
    ),
    ("texts/one", "a b\n"),
    ("texts/two", "c d\n"),
];

/// What all points need.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) mlpipe: PathBuf,
    folder: PathBuf,
    scenarios: Vec<(Scenario, Undisturbed)>,
}

/// What a scenario comes to when nobody disturbs it.
#[derive(Debug)]
pub(crate) struct Undisturbed {
    pub(crate) outputs: Outputs,
    pub(crate) calls: Vec<Call>,
    pub(crate) span: Duration,
}

impl Bench {
    /// Sets up everything below `folder`; `is_traced` says whether strace can be used.
    pub(crate) fn new(mlpipe: PathBuf, folder: &Path, is_traced: bool) -> Result<Self, String> {
        let mut bench = Self { mlpipe, folder: folder.to_owned(), scenarios: Vec::new() };
        for (name, text) in FILES {
            write(&bench.start_of(Scenario::Fresh).join(name), text)?;
        }
        let place = bench.place(Scenario::Fresh)?;
        bench.run_through(&place, &[])?;
        place.save_to(&bench.start_of(Scenario::Changed))?;
        for scenario in Scenario::ALL {
            let undisturbed = bench.undisturbed(scenario, is_traced)?;
            bench.scenarios.push((scenario, undisturbed));
        }
        Ok(bench)
    }

    /// A new working directory in the state that the scenario begins with.
    pub(crate) fn place(&self, scenario: Scenario) -> Result<Place, String> {
        Place::copy_of(&self.start_of(scenario), &self.folder)
    }

    pub(crate) fn undisturbed(&self, scenario: Scenario, is_traced: bool) -> Result<Undisturbed, String> {
        let place = self.place(scenario)?;
        let from = Instant::now();
        let ran = self.run_through(&place, &arguments(scenario))?;
        let span = from.elapsed();
        let calls = if is_traced { self.calls(scenario)? } else { Vec::new() };
        Ok(Undisturbed { outputs: place.outputs(&ran.json()?)?, calls, span })
    }

    /// What the scenario came to without a disturbance.
    pub(crate) fn of(&self, scenario: Scenario) -> &Undisturbed {
        let found = self.scenarios.iter().find(|(known, _)| *known == scenario);
        &found.expect("every scenario was run when the bench was set up").1
    }

    fn start_of(&self, scenario: Scenario) -> PathBuf {
        self.folder.join(if scenario == Scenario::Fresh { "fresh" } else { "finished" })
    }

    fn run_through(&self, place: &Place, more: &[&str]) -> Result<Ran, String> {
        let mut command = place.mlpipe(&self.mlpipe, &["run", "pipeline.yaml", "--jobs", "2", "--json"]);
        command.args(more);
        let ran = place.wait_for(command, "undisturbed")?;
        if ran.code == Some(0) { Ok(ran) } else { Err(format!("the undisturbed run failed: {ran:?}")) }
    }

    fn calls(&self, scenario: Scenario) -> Result<Vec<Call>, String> {
        let place = self.place(scenario)?;
        let trace = place.file("trace");
        let command = place.below(strace(&trace), &self.mlpipe, &driver_arguments(scenario));
        let ran = place.wait_for(command, "traced")?;
        if ran.code != Some(0) {
            return Err(format!("the traced run failed: {ran:?}"));
        }
        let text = fs::read_to_string(&trace).map_err(|error| format!("{}: {error}", trace.display()))?;
        Ok(text.lines().filter_map(|line| Call::parse(line, &place.state_text())).collect())
    }
}

/// What `mlpipe run` is given beside the pipeline.
pub(crate) fn arguments(scenario: Scenario) -> Vec<&'static str> {
    if scenario == Scenario::Changed { vec!["-P", "suffix=?"] } else { Vec::new() }
}

/// All arguments of the run that is disturbed.
pub(crate) fn driver_arguments(scenario: Scenario) -> Vec<&'static str> {
    let mut all = vec!["run", "pipeline.yaml", "--jobs", "2", "--events", "jsonl"];
    all.extend(arguments(scenario));
    all
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    let parent = path.parent().expect("every file has a parent");
    fs::create_dir_all(parent)
        .and_then(|()| fs::write(path, text))
        .map_err(|error| format!("{}: {error}", path.display()))
}
