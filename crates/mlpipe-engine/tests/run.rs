//! Whole runs of small pipelines whose steps are real processes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mlpipe_artifacts::digest_tree;
use mlpipe_engine::{
    Capacity, InputItem, Inputs, ItemContent, Mailbox, Observer, OutputPaths, PlannedAction, RunDocument, RunOutcome,
    RunRequest, Scope, Silent, StepStatus, Update, Workspace, plan, run,
};
use mlpipe_spec::{LoadOptions, Pipeline, load_pipeline};
use mlpipe_tracking::{RunQuery, RunStatus, tags};

/// A folder with projects, a pipeline and items.
struct Bench {
    folder: tempfile::TempDir,
    environment: BTreeMap<String, String>,
}

const SPLIT: &str = r#"
name: split
entry_points:
  main:
    parameters: {source: path, suffix: {type: string, default: x}}
    command: 'mkdir "$MLPIPE_OUTPUT_DIR/words" && for w in $(cat {source}); do echo "$w{suffix}" > "$MLPIPE_OUTPUT_DIR/words/$w"; done'
    outputs: {words: {path: words, type: collection}}
"#;

const SHOUT: &str = r#"
name: shout
entry_points:
  main:
    parameters: {word: path}
    command: 'tr a-z A-Z < {word} > "$MLPIPE_OUTPUT_DIR/loud.txt" && echo "{{\"size\": 3}}" > "$MLPIPE_OUTPUT_DIR/metrics.json"'
    outputs: {loud: {path: loud.txt, type: file}}
"#;

const JOIN: &str = r#"
name: join
entry_points:
  main:
    parameters: {parts: path}
    command: 'cat {parts}/* > "$MLPIPE_OUTPUT_DIR/all.txt" 2>/dev/null || : > "$MLPIPE_OUTPUT_DIR/all.txt"'
    outputs: {all: {path: all.txt, type: file}}
"#;

const PIPELINE: &str = r#"
name: words
params: {suffix: {type: string, default: "!"}}
inputs:
  texts: {collection: files, from: texts}
steps:
  split:
    project: split
    for_each: {text: inputs.texts}
    parameters: {source: "${{ item.text }}", suffix: "${{ params.suffix }}"}
  shout:
    project: shout
    for_each: {text: split, word: split.outputs.words}
    parameters: {word: "${{ item.word }}"}
  join:
    project: join
    for_each: {text: split}
    parameters: {parts: "${{ gather(steps.shout.outputs.loud, over='word') }}"}
outputs: {all: "${{ steps.join.outputs.all }}"}
"#;

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().expect("a folder"), environment: BTreeMap::new() };
        bench.write("split/MLproject", SPLIT);
        bench.write("shout/MLproject", SHOUT);
        bench.write("join/MLproject", JOIN);
        bench.write("pipeline.yaml", PIPELINE);
        bench.write("texts/one", "a b");
        bench.write("texts/two", "c");
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

    fn pipeline(&self, overrides: &[(&str, &str)]) -> Pipeline {
        let overrides: Vec<(String, String)> = overrides.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let options = LoadOptions { overrides: &overrides, collections: &["files"], ..LoadOptions::default() };
        load_pipeline(&self.path("pipeline.yaml"), &options).expect("the pipeline is valid")
    }

    fn inputs(&self) -> Inputs {
        let item = |path: &Path| InputItem {
            digest: digest_tree(path, &[]).expect("readable"),
            content: ItemContent::Path(path.to_owned()),
        };
        let mut paths: Vec<PathBuf> =
            fs::read_dir(self.path("texts")).expect("texts").map(|e| e.expect("entry").path()).collect();
        paths.sort();
        let items =
            paths.iter().map(|path| (path.file_name().expect("a name").to_string_lossy().into_owned(), item(path)));
        IndexMap::from([("texts".to_owned(), items.collect())])
    }

    fn workspace(&self) -> Workspace {
        Workspace::open(&self.path(".mlpipe")).expect("a state directory")
    }

    fn run(&self) -> RunDocument {
        self.run_with(&[], Mailbox::default(), &mut Silent)
    }

    fn run_with(&self, overrides: &[(&str, &str)], mailbox: Mailbox, observer: &mut dyn Observer) -> RunDocument {
        let (pipeline, inputs) = (self.pipeline(overrides), self.inputs());
        run(&self.workspace(), &self.request(&pipeline, &inputs), mailbox, observer).expect("the run can be driven")
    }

    /// `step[key] action` of every planned task.
    fn plan(&self, overrides: &[(&str, &str)]) -> Vec<String> {
        let (pipeline, inputs) = (self.pipeline(overrides), self.inputs());
        let plan = plan(&self.workspace(), &self.request(&pipeline, &inputs)).expect("the plan can be made");
        let tasks = plan.tasks.iter().filter(|task| task.action != PlannedAction::Reuse);
        tasks.map(|task| format!("{}[{}]: {}", task.name, task.key.as_deref().unwrap_or(""), task.reason)).collect()
    }

    fn request<'a>(&'a self, pipeline: &'a Pipeline, inputs: &'a Inputs) -> RunRequest<'a> {
        RunRequest {
            pipeline,
            inputs,
            environment: &self.environment,
            capacity: Capacity { cpu: 2, memory_bytes: 1 << 32, gpus: 0 },
            gpus: Vec::new(),
            program_directory: None,
            scope: Scope::default(),
            version: "test",
        }
    }
}

/// `step[key]` of the tasks with this status, sorted.
fn with_status(document: &RunDocument, status: StepStatus) -> Vec<String> {
    let rows = document.steps.iter().filter(|row| row.status == status);
    let mut names: Vec<String> =
        rows.map(|row| format!("{}[{}]", row.name, row.key.as_deref().unwrap_or(""))).collect();
    names.sort();
    names
}

fn texts(document: &RunDocument) -> BTreeMap<String, String> {
    let OutputPaths::ByKey(paths) = &document.outputs["all"] else { panic!("one output per text") };
    paths.iter().map(|(key, path)| (key.clone(), fs::read_to_string(path).expect("the output is there"))).collect()
}

#[test]
fn nested_dynamic_items_are_expanded_gathered_and_reused() {
    let bench = Bench::new();
    let first = bench.run();
    assert_eq!(first.status, RunOutcome::Done);
    assert_eq!(with_status(&first, StepStatus::Done).len(), 7, "2 split, 3 shout, 2 join");
    let expected = BTreeMap::from([("one".to_owned(), "A!\nB!\n".to_owned()), ("two".to_owned(), "C!\n".to_owned())]);
    assert_eq!(texts(&first), expected);
    let second = bench.run();
    assert_eq!(with_status(&second, StepStatus::Cached).len(), 7);
    assert_eq!(texts(&second), expected);
}

#[test]
fn exactly_the_tasks_behind_a_change_run_again_and_the_plan_names_it() {
    let bench = Bench::new();
    bench.run();
    assert_eq!(bench.plan(&[]), Vec::<String>::new());

    let planned = bench.plan(&[("suffix", "?")]);
    assert!(planned.contains(&"split[one]: changed: parameter suffix: string ! -> string ?".to_owned()), "{planned:?}");
    assert!(
        planned.contains(&"shout[one/*]: its items are known once `split` has made `words`".to_owned()),
        "{planned:?}"
    );

    bench.write("texts/one", "a d");
    let changed = bench.run();
    assert_eq!(with_status(&changed, StepStatus::Done), ["join[one]", "shout[one/d]", "split[one]"]);

    bench.write("shout/notes.txt", "a new file of the project");
    let planned = bench.plan(&[]);
    assert!(
        planned.iter().any(|line| line.starts_with("shout[one/a]: changed: project file notes.txt: new")),
        "{planned:?}"
    );
    let changed = bench.run();
    // The work was done again, its results are the same: nothing behind it moves.
    assert_eq!(with_status(&changed, StepStatus::Done), ["shout[one/a]", "shout[one/d]", "shout[two/c]"]);
}

#[test]
fn names_places_times_and_resources_do_not_count() {
    let bench = Bench::new();
    bench.run();
    let renamed = PIPELINE
        .replace("  shout:\n", "  louder:\n    resources: {cpu: 2, memory: 2GiB}\n    retries: 3\n    timeout: 1m\n")
        .replace("steps.shout", "steps.louder");
    bench.write("pipeline.yaml", &renamed);
    fs::rename(bench.path("texts"), bench.path("moved")).expect("renamed");
    bench.write("pipeline.yaml", &renamed.replace("from: texts", "from: moved"));
    fs::create_dir(bench.path("texts")).expect("a folder");
    for name in ["one", "two"] {
        fs::copy(bench.path("moved").join(name), bench.path("texts").join(name)).expect("copied");
    }
    let again = bench.run();
    assert_eq!(with_status(&again, StepStatus::Cached).len(), 7, "{:?}", with_status(&again, StepStatus::Done));
}

#[test]
fn content_behind_a_path_parameter_counts_and_its_place_does_not() {
    let bench = Bench::new();
    let split = SPLIT.replace("suffix: {type: string, default: x}", "suffix: {type: path}");
    bench.write("split/MLproject", &split.replace("$w{suffix}", "$w$(cat {suffix})"));
    bench.write("model/weights", "!");
    let pipeline = PIPELINE.replace("\"${{ params.suffix }}\"", "model/weights");
    bench.write("pipeline.yaml", &pipeline);
    bench.run();

    fs::rename(bench.path("model"), bench.path("moved")).expect("renamed");
    bench.write("pipeline.yaml", &pipeline.replace("model/weights", "moved/weights"));
    assert_eq!(bench.plan(&[]), Vec::<String>::new(), "another place, the same content");

    bench.write("moved/weights", "?");
    let planned = bench.plan(&[]);
    assert!(planned[0].starts_with("split[one]: changed: parameter suffix: content "), "{planned:?}");
    let changed = bench.run();
    assert_eq!(with_status(&changed, StepStatus::Done).len(), 7, "everything behind it");
}

#[test]
fn touched_files_and_a_moved_pipeline_folder_do_not_count() {
    let bench = Bench::new();
    bench.run();
    for name in ["texts/one", "texts/two", "split/MLproject", "pipeline.yaml"] {
        let file = fs::File::options().append(true).open(bench.path(name)).expect("there");
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).expect("touched");
    }
    assert_eq!(bench.plan(&[]), Vec::<String>::new());
    let moved = Bench::new();
    fs::remove_dir_all(moved.path(".mlpipe")).unwrap_or_default();
    fs::rename(bench.path(".mlpipe"), moved.path(".mlpipe")).expect("moved");
    assert_eq!(moved.plan(&[]), Vec::<String>::new(), "the same files in another folder");
}

#[test]
fn tool_version_counts() {
    let mut bench = Bench::new();
    bench.environment.insert("mlpipe".into(), "1".into());
    bench.run();
    bench.environment.insert("mlpipe".into(), "2".into());
    assert!(bench.plan(&[])[0].ends_with("changed: environment mlpipe: 1 -> 2"), "{:?}", bench.plan(&[]));
}

#[test]
fn failing_item_is_told_with_its_last_words_and_others_go_on() {
    let bench = Bench::new();
    bench.write(
        "shout/MLproject",
        &SHOUT.replace("tr a-z A-Z", "if grep -q b {word}; then echo no b please >&2; exit 7; fi; tr a-z A-Z"),
    );
    bench.write("pipeline.yaml", &format!("{PIPELINE}\ndefaults: {{on_item_error: collect}}\n"));
    let document = bench.run();
    assert_eq!(document.status, RunOutcome::Failed);
    assert_eq!(with_status(&document, StepStatus::Failed), ["shout[one/b]"]);
    assert_eq!(with_status(&document, StepStatus::Skipped), ["join[one]"]);
    let failed = document.steps.iter().find(|row| row.status == StepStatus::Failed).expect("one failed");
    assert_eq!(failed.error.as_deref(), Some("exit code 7: no b please"));
    assert!(fs::read_dir(bench.path(".mlpipe/tmp")).expect("tmp").next().is_none(), "nothing half-written is left");

    bench.write("shout/MLproject", SHOUT);
    assert_eq!(bench.run().status, RunOutcome::Done, "a failure is not remembered");
}

#[test]
fn missing_output_fails_the_task_and_is_named() {
    let bench = Bench::new();
    bench.write("split/MLproject", &SPLIT.replace("mkdir", "exit 0; mkdir"));
    let document = bench.run();
    let failed = document.steps.iter().find(|row| row.status == StepStatus::Failed).expect("one failed");
    assert_eq!(failed.error.as_deref(), Some("output `words`: `words` was not written"));
}

#[test]
fn timeout_ends_the_whole_process_group() {
    let bench = Bench::new();
    bench.write("split/MLproject", &SPLIT.replace("mkdir", "sleep 600 & sleep 600; mkdir"));
    bench.write("pipeline.yaml", &format!("{PIPELINE}\ndefaults: {{timeout: 1s}}\n"));
    let document = bench.run();
    let failed = document.steps.iter().find(|row| row.status == StepStatus::Failed).expect("one failed");
    assert_eq!(failed.error.as_deref(), Some("timed out after 1 s"));
}

#[test]
fn every_task_is_a_tracked_run_below_its_step_and_pipeline() {
    let bench = Bench::new();
    let first = bench.run();
    let second = bench.run();
    let store = bench.workspace().store().expect("the store opens");
    let pipeline = store.run(&second.run_id).expect("readable").expect("recorded");
    assert_eq!((pipeline.status, pipeline.params["suffix"].as_str()), (RunStatus::Finished, "!"));
    let steps = store.runs(&RunQuery { parent: Some(second.run_id.clone()), ..RunQuery::default() }).expect("readable");
    assert_eq!(steps.len(), 3);
    let shout = steps.iter().find(|run| run.name == "shout").expect("the step has a run");
    let items = store.runs(&RunQuery { parent: Some(shout.run_id.clone()), ..RunQuery::default() }).expect("readable");
    assert_eq!(items.len(), 3);
    for item in &items {
        let original = first
            .steps
            .iter()
            .find(|row| row.key.as_deref() == item.tags.get(tags::ITEM).map(String::as_str) && row.name == "shout");
        let original = original.and_then(|row| row.run_id.as_ref()).expect("the first run did it").to_string();
        assert_eq!(item.tags[tags::CACHED_FROM], original);
        assert_eq!(item.metric("size"), Some(3.0));
        assert_eq!(item.status, RunStatus::Finished);
    }
}

#[test]
fn missing_path_of_a_parameter_is_told_before_anything_runs() {
    let bench = Bench::new();
    bench.write("split/MLproject", &SPLIT.replace("suffix: {type: string, default: x}", "suffix: {type: path}"));
    bench.write("pipeline.yaml", &PIPELINE.replace("\"${{ params.suffix }}\"", "nowhere.txt"));
    let (pipeline, inputs) = (bench.pipeline(&[]), bench.inputs());
    let error = run(&bench.workspace(), &bench.request(&pipeline, &inputs), Mailbox::default(), &mut Silent);
    let message = error.expect_err("the file does not exist").to_string();
    assert!(message.starts_with("step `split`: parameter `suffix`:") && message.contains("nowhere.txt"), "{message}");
    assert!(bench.workspace().store().expect("opens").runs(&RunQuery::default()).expect("readable").is_empty());
}

/// Interrupts the run as soon as a task has started.
struct InterruptAtStart(mlpipe_engine::Interrupter);

impl Observer for InterruptAtStart {
    fn update(&mut self, update: &Update<'_>) {
        if matches!(update, Update::TaskStarted { .. }) {
            self.0.interrupt();
        }
    }
}

#[test]
fn interrupted_run_ends_its_processes_and_is_recorded_as_killed() {
    let bench = Bench::new();
    bench.write("split/MLproject", &SPLIT.replace("mkdir", "sleep 600; mkdir"));
    let mailbox = Mailbox::default();
    let mut observer = InterruptAtStart(mailbox.interrupter());
    let document = bench.run_with(&[], mailbox, &mut observer);
    assert_eq!(document.status, RunOutcome::Killed);
    let store = bench.workspace().store().expect("the store opens");
    let open = store.runs(&RunQuery { status: Some(RunStatus::Running), ..RunQuery::default() }).expect("readable");
    assert!(open.is_empty());
    assert_eq!(store.run(&document.run_id).expect("readable").expect("recorded").status, RunStatus::Killed);
}

#[test]
fn lost_content_is_made_again() {
    let bench = Bench::new();
    let first = bench.run();
    let cas = bench.path(".mlpipe/cas");
    fs::remove_dir_all(&cas).expect("removed");
    assert!(bench.plan(&[])[0].contains("its stored result is incomplete"), "{:?}", bench.plan(&[]));
    let second = bench.run();
    // `C!` is what both shout[two/c] and join[two] make: once it is back, the latter's result is whole again.
    assert_eq!(with_status(&second, StepStatus::Cached), ["join[two]"]);
    assert_eq!(second.status, RunOutcome::Done);
    assert_eq!(texts(&first), texts(&second));
}

#[test]
fn batch_shares_one_process_and_keeps_results_apart() {
    let bench = Bench::new();
    let script = r#"import json,sys
batch = json.load(open(sys.argv[1]))
with open(batch["results"], "a") as results:
    for item in batch["items"]:
        word = open(item["parameters"]["word"]).read()
        error = "no b please" if word.startswith("b") else None
        if error is None:
            open(item["output_dir"] + "/loud.txt", "w").write(word.upper())
        results.write(json.dumps({"key": item["key"], "status": "ok", "error": error}) + "\n")
"#;
    bench.write("shout/batch.py", script);
    bench.write("shout/MLproject", &format!("{SHOUT}    batch_command: python3 batch.py {{batch}}\n"));
    let batched = PIPELINE.replace("  shout:\n", "  shout:\n    batch: 8\n    on_item_error: collect\n");
    bench.write("pipeline.yaml", &batched);
    let document = bench.run();
    assert_eq!(with_status(&document, StepStatus::Failed), ["shout[one/b]"]);
    assert_eq!(texts(&document), BTreeMap::from([("two".to_owned(), "C!\n".to_owned())]));
    let logs: std::collections::BTreeSet<_> =
        document.steps.iter().filter(|row| row.name == "shout").map(|row| row.log.clone()).collect();
    assert!(logs.len() < 3, "the items shared a process: {logs:?}");
    let again = bench.run();
    assert_eq!(
        with_status(&again, StepStatus::Cached),
        ["join[two]", "shout[one/a]", "shout[two/c]", "split[one]", "split[two]"]
    );
}
