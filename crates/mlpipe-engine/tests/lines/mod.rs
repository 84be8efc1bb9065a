//! A small pipeline in a folder of its own: two texts are cleaned and scored with a model, a report joins the scores.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mlpipe_artifacts::digest_tree;
use mlpipe_engine::{
    Capacity, InputItem, Inputs, ItemContent, Mailbox, PlannedAction, RunDocument, RunRequest, Scope, Silent,
    StepStatus, Workspace, plan, run,
};
use mlpipe_spec::{LoadOptions, Pipeline, load_pipeline};

const PIPELINE: &str = r#"name: lines
params: {least: {type: int, default: 2}, model: {type: uri, default: model}}
inputs: {texts: {collection: files, from: texts}}
steps:
  clean:
    project: clean
    for_each: {text: inputs.texts}
    parameters: {text: "${{ item.text }}"}
  score:
    project: score
    for_each: {text: clean}
    parameters: {text: "${{ steps.clean.outputs.text }}", model: "${{ params.model }}", least: "${{ params.least }}"}
  report:
    project: report
    parameters: {scores: "${{ gather(steps.score.outputs.score, over='text') }}"}
outputs: {report: "${{ steps.report.outputs.report }}", scores: "${{ steps.score.outputs.score }}"}
"#;

const CLEAN: &str = "name: clean
entry_points:
  main:
    parameters: {text: path}
    command: sh clean.sh {text}
    outputs: {text: {path: text, type: file}}
";

const SCORE: &str = "name: score
entry_points:
  main:
    parameters: {text: path, model: path, least: int}
    command: sh score.sh {text} {model} {least}
    outputs: {score: {path: score, type: file}}
";

const REPORT: &str = "name: report
entry_points:
  main:
    parameters: {scores: path}
    command: sh report.sh {scores}
    outputs: {report: {path: report, type: file}}
";

pub(crate) struct Bench {
    _parent: tempfile::TempDir,
    folder: PathBuf,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) cpu: u32,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("work");
        let environment = BTreeMap::from([("mlpipe".to_owned(), "1".to_owned())]);
        let bench = Self { _parent: parent, folder, environment, cpu: 2 };
        for (name, text) in [
            ("pipeline.yaml", PIPELINE),
            ("clean/MLproject", CLEAN),
            ("clean/clean.sh", "tr A-Z a-z < \"$1\" > \"$MLPIPE_OUTPUT_DIR/text\"\n"),
            ("score/MLproject", SCORE),
            (
                "score/score.sh",
                "cat \"$1\" \"$2/weights\" > \"$MLPIPE_OUTPUT_DIR/score\"\necho \"$3\" >> \"$MLPIPE_OUTPUT_DIR/score\"\n",
            ),
            ("report/MLproject", REPORT),
            ("report/report.sh", "cat \"$1\"/* > \"$MLPIPE_OUTPUT_DIR/report\"\n"),
            ("model/weights", "w1\n"),
            ("texts/one", "Aa\n"),
            ("texts/two", "Bb\n"),
        ] {
            bench.write(name, text);
        }
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    /// Replaces a text in a file, which must hold it.
    pub(crate) fn replace(&self, name: &str, old: &str, new: &str) {
        let text = fs::read_to_string(self.path(name)).expect("a file");
        assert!(text.contains(old), "`{old}` in {name}");
        self.write(name, &text.replace(old, new));
    }

    /// Moves everything, the state directory too.
    pub(crate) fn move_folder(&mut self) {
        let moved = self.folder.with_file_name("moved");
        fs::rename(&self.folder, &moved).expect("moved");
        self.folder = moved;
    }

    fn pipeline(&self, given: &[(&str, &str)]) -> Pipeline {
        let overrides: Vec<(String, String)> = given.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let options = LoadOptions { overrides: &overrides, collections: &["files"], ..LoadOptions::default() };
        load_pipeline(&self.path("pipeline.yaml"), &options).expect("the pipeline is valid")
    }

    fn inputs(&self) -> Inputs {
        let item = |name: &str| {
            let path = self.path("texts").join(name);
            let digest = digest_tree(&path, &[]).expect("readable");
            (name.to_owned(), InputItem { digest, content: ItemContent::Path(path) })
        };
        IndexMap::from([("texts".to_owned(), ["one", "two"].map(item).into_iter().collect())])
    }

    fn ask<T>(&self, given: &[(&str, &str)], ask: impl FnOnce(&Workspace, &RunRequest<'_>) -> T) -> T {
        let (pipeline, inputs) = (self.pipeline(given), self.inputs());
        let request = RunRequest {
            pipeline: &pipeline,
            inputs: &inputs,
            environment: &self.environment,
            capacity: Capacity { cpu: self.cpu, memory_bytes: 1 << 32, gpus: 0 },
            gpus: Vec::new(),
            program_directory: None,
            scope: Scope::default(),
            version: "test",
        };
        ask(&Workspace::open(&self.path(".mlpipe")).expect("a state directory"), &request)
    }

    /// Runs the pipeline with these parameters.
    pub(crate) fn run(&self, given: &[(&str, &str)]) -> RunDocument {
        self.ask(given, |workspace, request| run(workspace, request, Mailbox::default(), &mut Silent))
            .expect("the run can be driven")
    }

    /// `step[key]: reason` of every task that would not be reused, in order of the steps.
    pub(crate) fn plan(&self, given: &[(&str, &str)]) -> Vec<String> {
        let plan = self.ask(given, plan).expect("the plan can be made");
        let tasks = plan.tasks.iter().filter(|task| task.action != PlannedAction::Reuse);
        tasks.map(|task| format!("{}: {}", label(&task.name, task.key.as_deref()), task.reason)).collect()
    }
}

/// `step[key]` of the tasks that did work, in order of their names.
pub(crate) fn done(document: &RunDocument) -> Vec<String> {
    let rows = document.steps.iter().filter(|row| row.status == StepStatus::Done);
    let mut names: Vec<String> = rows.map(|row| label(&row.name, row.key.as_deref())).collect();
    names.sort();
    names
}

fn label(name: &str, key: Option<&str>) -> String {
    key.map_or_else(|| name.to_owned(), |key| format!("{name}[{key}]"))
}

/// The parts of a text that are digests, as `#`: what they are is of no interest, that there are two is.
pub(crate) fn without_digests(text: &str) -> String {
    let is_digest = |word: &str| word.len() >= 12 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let word = |word: &str| {
        let bare = word.trim_matches(['(', ')']);
        let name = bare.rsplit_once('/').map_or(bare, |(_, name)| name);
        if is_digest(name) { word.replace(bare, "#") } else { word.to_owned() }
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Every file below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("listed").map(|entry| entry.expect("listed").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
