//! Every example pipeline runs; the second time all is reused and every output is the same, byte for byte. Only what an
//! example says must not be reused, `cache: false`, is done again, and comes to the same bytes.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{Place, repository, text};
use serde_json::Value;

fn examples() -> Vec<PathBuf> {
    let folder = repository().join("pipelines/examples");
    let entries =
        fs::read_dir(folder).expect("the examples are committed").map(|entry| entry.expect("an entry").path());
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "yaml")).collect();
    found.sort();
    found
}

fn example(name: &str) -> String {
    text(&repository().join(format!("pipelines/examples/{name}.yaml")))
}

/// Bytes of each output, by its name and the item's key.
fn outputs(document: &Value) -> BTreeMap<String, Vec<u8>> {
    let mut bytes = BTreeMap::new();
    let mut add = |name: String, path: &Value| {
        let path = Path::new(path.as_str().expect("a path"));
        if path.is_dir() {
            // A collection.
            for entry in fs::read_dir(path).expect("readable") {
                let entry = entry.expect("an entry");
                let name = format!("{name}/{}", entry.file_name().to_string_lossy());
                bytes.insert(name, fs::read(entry.path()).expect("the output is there"));
            }
            return;
        }
        assert!(path.is_file(), "{}", path.display());
        bytes.insert(name, fs::read(path).expect("the output is there"));
    };
    for (name, paths) in document["outputs"].as_object().expect("outputs") {
        match paths {
            Value::Object(paths) => paths.iter().for_each(|(key, path)| add(format!("{name}[{key}]"), path)),
            path => add(name.clone(), path),
        }
    }
    bytes
}

/// `step[key] status`, sorted.
fn statuses(document: &Value) -> Vec<String> {
    let row = |step: &Value| {
        let word = |field: &str| step[field].as_str().unwrap_or_default().to_owned();
        format!("{}[{}] {}", word("name"), word("key"), word("status"))
    };
    let mut rows: Vec<String> = document["steps"].as_array().expect("steps").iter().map(row).collect();
    rows.sort();
    rows
}

#[test]
fn every_example_runs_and_the_second_time_all_is_reused_byte_for_byte() {
    let examples = examples();
    assert!(examples.len() >= 17, "{examples:?}");
    for path in examples {
        let place = Place::new();
        let run = || {
            let ran = place.mlpipe(&["run", &text(&path), "--json"]);
            assert_eq!(ran.code, 0, "{}\n{}", path.display(), ran.stderr);
            ran.json()
        };
        let (first, second) = (run(), run());
        let made = outputs(&first);
        assert!(!made.is_empty(), "{}", path.display());
        assert_eq!(outputs(&second), made, "{}", path.display());
        // `cache: false` is there to be done each time.
        let never_reused = if path.ends_with("cache.yaml") { "note" } else { "" };
        let excluded = |row: &String| row.ends_with(" skipped") || *row == format!("{never_reused}[] done");
        let again: Vec<String> = statuses(&second).into_iter().filter(|row| !excluded(row)).collect();
        assert!(again.iter().all(|row| row.ends_with(" cached")), "{}: {again:?}", path.display());
        let plan = place.mlpipe(&["plan", &text(&path), "--json"]).json();
        let tasks = plan["tasks"].as_array().expect("tasks").iter();
        // What follows a step that is done each time is decided when it has been done.
        let tasks = tasks.filter(|_| never_reused.is_empty());
        for action in tasks.map(|task| task["action"].as_str()) {
            assert!(matches!(action, Some("reuse" | "skip")), "{}: {action:?}", path.display());
        }
    }
}

#[test]
fn false_condition_skips_without_failing_and_default_stands_in() {
    let place = Place::new();
    let document = place.mlpipe(&["run", &example("if"), "--json"]).json();
    assert_eq!(document["status"], "done");
    let skipped: Vec<&Value> =
        document["steps"].as_array().expect("steps").iter().filter(|step| step["status"] == "skipped").collect();
    let reasons: Vec<&str> = skipped.iter().filter_map(|step| step["reason"].as_str()).collect();
    assert!(reasons.contains(&"its `if` is false: params.with_check"), "{reasons:?}");
    let made = outputs(&document);
    assert_eq!(made["notes[two.txt]"], b"1 words of 2 texts\nnothing\n");
    assert!(made.contains_key("capitals[one.txt/alpha]") && !made.contains_key("capitals[two.txt/gamma]"), "{made:?}");

    let checked = place.mlpipe(&["run", &example("if"), "-P", "with_check=true", "--json"]).json();
    assert_eq!(outputs(&checked)["notes[two.txt]"], b"1 words of 2 texts\n1 words, at least 0\n");
}

#[test]
fn sweep_runs_every_combination_that_is_not_excluded() {
    let place = Place::new();
    let document = place.mlpipe(&["run", &example("matrix"), "--json"]).json();
    let made = outputs(&document);
    let models: Vec<&String> = made.keys().filter(|name| name.starts_with("models")).collect();
    assert_eq!(models, ["models[lr=0.01,depth=3]", "models[lr=0.01,depth=5]", "models[lr=0.1,depth=3]"]);
    assert_eq!(made["models[lr=0.01,depth=5]"], b"lr 0.01 depth 5\n");
    assert_eq!(made["counts[lr=0.01,depth=5]"], b"4 words, at least 5\n");
    assert!(made["all"].starts_with(b"3 models\n"));
}

#[test]
fn failure_with_a_named_cause_is_tried_again_after_a_pause() {
    let place = Place::new();
    let document = place.mlpipe(&["run", &example("retries"), "--json"]).json();
    assert_eq!((&document["status"], &document["steps"][0]["attempts"]), (&"done".into(), &2.into()));
    let journal = fs::read_dir(place.path(".mlpipe/runs")).expect("runs").map(|entry| entry.expect("a run").path());
    let journals: String =
        journal.map(|run| fs::read_to_string(run.join("journal.ndjson")).expect("a journal")).collect();
    assert!(journals.contains("delay_over") && journals.contains(r#"{"exit":75}"#), "{journals}");
}

#[test]
fn step_that_always_runs_reports_what_is_there() {
    let place = Place::new();
    let pipeline = fs::read_to_string(example("always")).expect("committed");
    let folder = text(&repository().join("pipelines/examples"));
    let broken = pipeline.replace("projects/", &format!("{folder}/projects/")).replace("from: texts", "from: mixed");
    place.write("always.yaml", &broken);
    place.write("mixed/good.txt", "some words");
    // A folder has no words to count.
    place.write("mixed/bad/file", "");
    let ran = place.mlpipe(&["run", &text(&place.path("always.yaml")), "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let document = ran.json();
    assert_eq!(statuses(&document), ["check[bad] failed", "check[good.txt] done", "report[] done"]);
    assert!(outputs(&document)["report"].starts_with(b"1 of 2 texts\n2 words"));
}

#[test]
fn item_that_fails_keeps_only_what_needs_it_from_running_when_failures_are_collected() {
    let place = Place::new();
    let folder = text(&repository().join("pipelines/examples"));
    let pipeline = fs::read_to_string(example("collect")).expect("committed");
    let pipeline = pipeline.replace("projects/", &format!("{folder}/projects/")).replace("from: texts", "from: mixed");
    place.write("collect.yaml", &pipeline);
    place.write("mixed/good.txt", "some words");
    // A folder has no words.
    place.write("mixed/bad/file", "");
    let ran = place.mlpipe(&["run", &text(&place.path("collect.yaml")), "--jobs", "1", "--json"]);
    assert_eq!(ran.code, 1, "{}", ran.stderr);
    let rows = statuses(&ran.json());
    assert!(rows.contains(&"count[good.txt] done".into()) && rows.contains(&"words[good.txt] done".into()), "{rows:?}");
    assert!(rows.contains(&"count[bad] failed".into()), "{rows:?}");
}

#[test]
fn variable_of_a_step_counts_for_its_result() {
    let place = Place::new();
    let run = |greeting: &str| {
        let greeting = format!("greeting={greeting}");
        place.mlpipe(&["run", &example("env"), "-P", &greeting, "--json"]).json()
    };
    let (first, second) = (run("hello"), run("good morning"));
    assert_eq!(outputs(&first)["text"], b"hello, world\n");
    assert_eq!(outputs(&second)["text"], b"good morning, world\n");
    assert_eq!(statuses(&run("hello")), ["greet[] cached"]);
}

#[test]
fn attempt_that_takes_too_long_ends_with_all_its_processes() {
    let place = Place::new();
    place.write(
        "slow/MLproject",
        "entry_points:\n  main:\n    command: 'sleep 1234 & echo $! > \"$PIDS\"; sleep 1234'\n    outputs: {x: {path: x}}\n",
    );
    let pids = place.path("pids");
    let pipeline =
        format!("name: slow\nsteps:\n  slow: {{project: slow, timeout: 1s, env: {{PIDS: {}}}}}\n", text(&pids));
    place.write("slow.yaml", &pipeline);
    let ran = place.mlpipe(&["run", &text(&place.path("slow.yaml"))]);
    ran.expect(1, &["timed out after 1 s"]);
    let background = fs::read_to_string(&pids).expect("it was started");
    let state = fs::read_to_string(format!("/proc/{}/stat", background.trim())).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[test]
fn value_of_a_secret_reaches_its_step_and_is_recorded_nowhere() {
    let place = Place::new();
    let folder = text(&repository().join("pipelines/examples"));
    let pipeline = fs::read_to_string(example("secrets")).expect("committed");
    place.write(
        "secrets.yaml",
        &pipeline
            .replace("projects/publish", "publish")
            .replace("projects/", &format!("{folder}/projects/"))
            .replace("[HOME]", "[MY_TOKEN]"),
    );
    place.write(
        "publish/MLproject",
        "entry_points:\n  main:\n    parameters: {file: path}\n    command: 'test -n \"$MY_TOKEN\" && printf %s \"${{#MY_TOKEN}}\" > \"$MLPIPE_OUTPUT_DIR/receipt.txt\"'\n    outputs: {receipt: {path: receipt.txt}}\n",
    );
    let token = "tell-nobody-4711";
    let run = |arguments: &[&str]| {
        let output = place.command(arguments).env("MY_TOKEN", token).output().expect("the command starts");
        common::ran(output)
    };
    let pipeline = text(&place.path("secrets.yaml"));
    place.mlpipe(&["run", &pipeline]).expect(3, &["the secret `MY_TOKEN` is not set"]);
    let ran = run(&["run", &pipeline, "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(outputs(&ran.json())["receipt"], b"16");
    assert!(!holds(&place.path(".mlpipe"), token.as_bytes()), "the value is in the state directory");
    assert!(!ran.stdout.contains(token) && !ran.stderr.contains(token));
}

/// Whether any file below a folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).expect("readable").any(|entry| {
        let path = entry.expect("an entry").path();
        let within = |content: Vec<u8>| content.windows(bytes.len()).any(|window| window == bytes);
        if path.is_dir() { holds(&path, bytes) } else { fs::read(&path).is_ok_and(within) }
    })
}
