//! A state directory that cannot be written any more while a run is under way.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use mlpipe_artifacts::digest_tree;
use mlpipe_engine::{
    Capacity, Error, InputItem, ItemContent, Mailbox, Observer, RunRequest, Scope, Update, Workspace, run,
};
use mlpipe_spec::{LoadOptions, load_pipeline};

const PROJECT: &str = r#"
name: copy
entry_points:
  main:
    parameters: {source: path}
    command: 'if grep -q long {source}; then sleep 600; fi; cp {source} "$MLPIPE_OUTPUT_DIR/copy"'
    outputs: {copy: {path: copy, type: file}}
"#;

const PIPELINE: &str = r#"
name: copies
inputs:
  texts: {collection: files, from: texts}
steps:
  copy:
    project: copy
    for_each: {text: inputs.texts}
    parameters: {source: "${{ item.text }}"}
"#;

/// Makes the directory of finished results unusable as soon as a task has started.
struct BreakAtStart(PathBuf);

impl Observer for BreakAtStart {
    fn update(&mut self, update: &Update<'_>) {
        if matches!(update, Update::TaskStarted { .. }) && self.0.is_dir() {
            fs::remove_dir_all(&self.0).expect("removed");
            fs::write(&self.0, "no directory").expect("written");
        }
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    fs::write(path, text).expect("a file");
}

#[test]
fn run_that_cannot_store_a_result_ends_its_other_processes_and_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    write(&path("copy/MLproject"), PROJECT);
    write(&path("copies.yaml"), PIPELINE);
    let names = ["long", "quick"];
    let item = |name: &str| {
        let text = path(&format!("texts/{name}"));
        write(&text, name);
        let digest = digest_tree(&text, &[]).expect("readable");
        (name.to_owned(), InputItem { digest, content: ItemContent::Path(text) })
    };
    let inputs = IndexMap::from([("texts".to_owned(), names.into_iter().map(item).collect())]);
    let options = LoadOptions { collections: &["files"], ..LoadOptions::default() };
    let pipeline = load_pipeline(&path("copies.yaml"), &options).expect("the pipeline is valid");
    let workspace = Workspace::open(&path(".mlpipe")).expect("a state directory");
    let environment = BTreeMap::new();
    let request = RunRequest {
        pipeline: &pipeline,
        inputs: &inputs,
        environment: &environment,
        capacity: Capacity { cpu: 2, memory_bytes: 1 << 32, gpus: 0 },
        gpus: Vec::new(),
        program_directory: None,
        scope: Scope::default(),
        version: "test",
    };
    let mut observer = BreakAtStart(path(".mlpipe/ac"));
    // It would take ten minutes if the other process were waited for.
    let error = run(&workspace, &request, Mailbox::default(), &mut observer).expect_err("nothing can be stored");
    assert!(matches!(&error, Error::Workspace { path, .. } if path.starts_with(&observer.0)), "{error}");
    let left = fs::read_dir(path(".mlpipe/tmp")).expect("readable").count();
    assert_eq!(left, 0, "attempts are cleaned up");
}
