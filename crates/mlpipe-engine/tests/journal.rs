//! The journal of a run, played again, comes to the same tasks in the same states.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mlpipe_artifacts::digest_tree;
use mlpipe_engine::{
    Capacity, InputItem, Inputs, Interrupter, ItemContent, Mailbox, Observer, RunDocument, RunOutcome, RunRequest,
    Scheduler, Scope, Silent, StepStatus, TaskState, Update, Workspace, replay, run,
};
use mlpipe_spec::{LoadOptions, Pipeline, load_pipeline};

/// One task per text makes words, one per word fails for `b`, one per text joins; `after` needs all of them.
const PIPELINE: &str = r#"
name: words
inputs: {texts: {collection: files, from: texts}}
defaults: {on_item_error: collect, retries: 1}
steps:
  split:
    project: split
    for_each: {text: inputs.texts}
    parameters: {source: "${{ item.text }}"}
  check:
    project: check
    for_each: {text: split, word: split.outputs.words}
    batch: 2
    parameters: {word: "${{ item.word }}"}
  join:
    project: join
    for_each: {text: split}
    parameters: {parts: "${{ gather(steps.check.outputs.word, over='word') }}"}
  after:
    project: join
    needs: [join]
    parameters: {parts: "."}
"#;

const SPLIT: &str = r#"
name: split
entry_points:
  main:
    parameters: {source: path}
    command: 'mkdir "$MLPIPE_OUTPUT_DIR/words" && for w in $(cat {source}); do echo "$w" > "$MLPIPE_OUTPUT_DIR/words/$w"; done'
    outputs: {words: {path: words, type: collection}}
"#;

const CHECK: &str = r#"
name: check
entry_points:
  main:
    parameters: {word: path}
    command: '! grep -q b {word} && cp {word} "$MLPIPE_OUTPUT_DIR/word"'
    batch_command: python3 batch.py {batch}
    outputs: {word: {path: word, type: file}}
"#;

const BATCH: &str = r#"import json,sys
batch = json.load(open(sys.argv[1]))
with open(batch["results"], "a") as results:
    for item in batch["items"]:
        word = open(item["parameters"]["word"]).read()
        error = "no b please" if word.startswith("b") else None
        if error is None:
            open(item["output_dir"] + "/word", "w").write(word)
        results.write(json.dumps({"key": item["key"], "error": error}) + "\n")
"#;

const JOIN: &str = r#"
name: join
entry_points:
  main:
    parameters: {parts: path}
    command: 'ls {parts} > "$MLPIPE_OUTPUT_DIR/all"'
    outputs: {all: {path: all, type: file}}
"#;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder") };
        for (name, text) in [
            ("pipeline.yaml", PIPELINE),
            ("split/MLproject", SPLIT),
            ("check/MLproject", CHECK),
            ("check/batch.py", BATCH),
            ("join/MLproject", JOIN),
            ("texts/one", "a b c"),
            ("texts/two", "d a"),
        ] {
            bench.write(name, text);
        }
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn workspace(&self) -> Workspace {
        Workspace::open(&self.path(".mlpipe")).expect("a state directory")
    }

    fn pipeline(&self) -> Pipeline {
        let options = LoadOptions { collections: &["files"], ..LoadOptions::default() };
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

    /// Runs what `scope` makes of the pipeline; returns the result and the journal played again.
    fn run(
        &self,
        scope: impl Fn(&Pipeline) -> Scope,
        mailbox: Mailbox,
        observer: &mut dyn Observer,
    ) -> (RunDocument, Scheduler) {
        let (pipeline, inputs, workspace) = (self.pipeline(), self.inputs(), self.workspace());
        let environment = BTreeMap::new();
        let request = RunRequest {
            pipeline: &pipeline,
            inputs: &inputs,
            environment: &environment,
            capacity: Capacity { cpu: 2, memory_bytes: 1 << 32, gpus: 0 },
            gpus: Vec::new(),
            program_directory: None,
            scope: scope(&pipeline),
            version: "test",
        };
        let document = run(&workspace, &request, mailbox, observer).expect("the run can be driven");
        let replayed = replay(&workspace.run_directory(&document.run_id)).expect("the journal can be played again");
        (document, replayed)
    }

    fn run_all(&self) -> (RunDocument, Scheduler) {
        self.run(|_| Scope::default(), Mailbox::default(), &mut Silent)
    }

    fn journal(&self, document: &RunDocument) -> PathBuf {
        self.workspace().run_directory(&document.run_id).join("journal.ndjson")
    }
}

/// Asserts that every task stands where it stood at the end of the run.
fn assert_same(document: &RunDocument, replayed: &Scheduler) {
    assert!(replayed.is_finished());
    assert_eq!(document.steps.len(), replayed.tasks().len());
    for (row, task) in document.steps.iter().zip(replayed.tasks()) {
        let key = task.key.iter().map(|part| part.as_ref()).collect::<Vec<&str>>().join("/");
        let name = format!("{}[{key}]", row.name);
        assert_eq!(row.key.as_deref().unwrap_or_default().trim_end_matches("/*"), key, "{name}");
        assert_eq!(row.attempts, task.attempts, "{name}");
        let same = match row.status {
            StepStatus::Done | StepStatus::Cached => task.state == TaskState::Done,
            StepStatus::Failed | StepStatus::Killed => task.state == TaskState::Failed,
            StepStatus::Skipped => matches!(task.state, TaskState::Skipped(_)),
        };
        assert!(same, "{name}: {:?} in the run, {:?} in the journal", row.status, task.state);
    }
}

#[test]
fn failures_retries_batches_and_dynamic_items_are_played_again() {
    let bench = Bench::new();
    let (document, replayed) = bench.run_all();
    let count = |status| document.steps.iter().filter(|row| row.status == status).count();
    // check[one/b] fails twice; join[one] and after are skipped.
    assert_eq!((count(StepStatus::Failed), count(StepStatus::Skipped)), (1, 2), "{:?}", document.steps);
    assert_same(&document, &replayed);
}

/// The steps of this one run for each text, in the place of a step.
const INNER: &str = r#"
name: inner
inputs: {words: {collection: files, from: .}}
steps:
  check:
    project: check
    for_each: {word: inputs.words}
    matrix: {round: [1, 2]}
    parameters: {word: "${{ item.word }}"}
  join:
    project: join
    for_each: {matrix: check}
    parameters: {parts: "${{ gather(steps.check.outputs.word, over='word') }}"}
outputs: {all: steps.join.outputs.all}
"#;

#[test]
fn pipeline_that_is_a_step_is_played_again() {
    let bench = Bench::new();
    let (before, _) = PIPELINE.split_once("  check:\n").expect("it is there");
    let inner = "  inner:
    pipeline: inner.yaml
    for_each: {text: split}
    matrix: {run: [a, b], max_parallel: 1, fail_fast: true}
    inputs: {words: split.outputs.words}
  after:
    project: join
    always: true
    needs: [inner]
    parameters: {parts: \".\"}
";
    bench.write("inner.yaml", INNER);
    bench.write("pipeline.yaml", &format!("{before}{inner}"));
    let (document, replayed) = bench.run_all();
    let statuses = |name: &str| {
        let rows = document.steps.iter().filter(|row| row.name == name).map(|row| row.status);
        rows.collect::<Vec<StepStatus>>()
    };
    // Three words of `one` and two of `two`, two runs, two rounds; `b` fails.
    assert_eq!(statuses("inner/check").len(), 20);
    assert_eq!(statuses("inner/join").len(), 8);
    assert!(statuses("inner/check").contains(&StepStatus::Failed));
    assert_eq!(statuses("after"), [StepStatus::Done]);
    assert_same(&document, &replayed);
}

#[test]
fn reused_and_left_out_steps_are_played_again() {
    let bench = Bench::new();
    bench.run_all();
    let (document, replayed) = bench.run_all();
    assert_same(&document, &replayed);
    let only_split = |pipeline: &Pipeline| Scope::default().only(pipeline, 0).force(0);
    let (document, replayed) = bench.run(only_split, Mailbox::default(), &mut Silent);
    assert_eq!(document.steps.len(), 2);
    assert_same(&document, &replayed);
}

/// Interrupts the run as soon as a task has started.
struct InterruptAtStart(Interrupter);

impl Observer for InterruptAtStart {
    fn update(&mut self, update: &Update<'_>) {
        if matches!(update, Update::TaskStarted { .. }) {
            self.0.interrupt();
        }
    }
}

#[test]
fn interrupted_run_is_played_again() {
    let bench = Bench::new();
    bench.write("split/MLproject", &SPLIT.replace("mkdir", "sleep 600; mkdir"));
    let mailbox = Mailbox::default();
    let mut observer = InterruptAtStart(mailbox.interrupter());
    let (document, replayed) = bench.run(|_| Scope::default(), mailbox, &mut observer);
    assert_eq!(document.status, RunOutcome::Killed);
    assert_same(&document, &replayed);
}

#[test]
fn journal_cut_off_anywhere_is_played_as_far_as_it_goes() {
    let bench = Bench::new();
    let (document, _) = bench.run_all();
    let journal = fs::read(bench.journal(&document)).expect("readable");
    let cut = bench.path("cut");
    fs::create_dir(&cut).expect("a folder");
    let breaks = journal.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(position, _)| position + 1);
    let ends: Vec<usize> = breaks.collect();
    let first_line = ends[0];
    let mut most = 0;
    for end in ends.iter().flat_map(|end| [end - 1, *end]).filter(|end| *end >= first_line) {
        fs::write(cut.join("journal.ndjson"), &journal[..end]).expect("written");
        let replayed = replay(&cut).expect("a line cut short is left out");
        let done = replayed.tasks().iter().filter(|task| task.state == TaskState::Done).count();
        assert!(done >= most, "what was done stays done");
        most = done;
    }
    assert!(most > 0);
}

#[test]
fn damaged_line_and_foreign_format_are_named() {
    let bench = Bench::new();
    let (document, _) = bench.run_all();
    let path = bench.journal(&document);
    let good = fs::read_to_string(&path).expect("readable");
    let message = |text: &str| {
        fs::write(&path, text).expect("written");
        replay(path.parent().expect("a folder") as &Path).expect_err("refused").to_string()
    };
    let damaged = good.replacen("\"record\":\"task\"", "\"record\":\"tusk\"", 1);
    assert!(message(&damaged).contains("journal.ndjson: line 2"), "{}", message(&damaged));
    let foreign = good.replace("mlpipe.journal/1", "mlpipe.journal/9");
    assert!(message(&foreign).contains("this program reads `mlpipe.journal/1`"), "{}", message(&foreign));
}
