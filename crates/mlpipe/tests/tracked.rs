//! Runs and models of the local store on the command line.

mod common;

use common::Place;
use serde_json::Value;

/// A pipeline with a parameter and a metric that follows it.
fn scored(place: &Place) {
    place.write(
        "score/score.sh",
        "echo \"{\\\"score\\\": $1}\" > \"$MLPIPE_OUTPUT_DIR/metrics.json\"\necho \"$1\" > \"$MLPIPE_OUTPUT_DIR/out\"\n",
    );
    place.write(
        "score/MLproject",
        "name: score\nentry_points:\n  main:\n    parameters: {value: float}\n    command: 'sh score.sh {value}'\n    \
         outputs: {out: {path: out, type: file}}\n",
    );
    place.write(
        "scored.yaml",
        "name: scored\nparams: {value: {type: float, default: 0.5}}\nsteps:\n  score: {project: score, parameters: {value: \"${{ params.value }}\"}}\n",
    );
}

fn run(place: &Place, value: &str) -> Value {
    let ran = place.mlpipe(&["run", "scored.yaml", "-P", &format!("value={value}"), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    ran.json()
}

fn step_run(document: &Value) -> String {
    document["steps"][0]["run_id"].as_str().expect("an id").to_owned()
}

#[test]
fn runs_are_filtered_ordered_and_compared() {
    let place = Place::new();
    scored(&place);
    let (low, high) = (step_run(&run(&place, "0.25")), step_run(&run(&place, "0.75")));
    let found = place.mlpipe(&["runs", "list", "--filter", "metrics.score > 0.5", "--json"]).json();
    let ids: Vec<&Value> = found["runs"].as_array().expect("runs").iter().map(|run| &run["run_id"]).collect();
    assert_eq!(ids, [&Value::from(high.clone())]);
    let ordered = place
        .mlpipe(&[
            "runs",
            "list",
            "--filter",
            "tags.mlpipe.step = 'score'",
            "--order-by",
            "metrics.score ASC",
            "--json",
        ])
        .json();
    assert_eq!(ordered["runs"][0]["run_id"], low.as_str());
    let compared = place.mlpipe(&["runs", "compare", &low[..10], &high[..10], "--json"]).json();
    assert_eq!(compared["params"][0]["values"], serde_json::json!(["0.25", "0.75"]));
    let score =
        compared["metrics"].as_array().expect("metrics").iter().find(|row| row["key"] == "score").expect("a row");
    assert_eq!(score["deltas"], serde_json::json!([0.0, 0.5]));
    assert_eq!(place.mlpipe(&["runs", "list", "--filter", "metrics.score >"]).code, 4);
}

#[test]
fn what_a_step_used_is_recorded_with_its_run() {
    let place = Place::new();
    scored(&place);
    let id = step_run(&run(&place, "0.5"));
    let shown = place.mlpipe(&["runs", "show", &id, "--json"]).json();
    let keys: Vec<&str> =
        shown["metrics"].as_array().expect("metrics").iter().filter_map(|metric| metric["key"].as_str()).collect();
    for key in ["score", "system/cpu_user_s", "system/memory_peak_bytes", "system/wall_s"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
}

#[test]
fn deleted_runs_come_back_until_they_are_collected() {
    let place = Place::new();
    scored(&place);
    let document = run(&place, "0.5");
    let top = document["run_id"].as_str().expect("an id");
    let count = || place.mlpipe(&["runs", "list", "--all", "--json"]).json()["runs"].as_array().map_or(0, Vec::len);
    assert_eq!(count(), 2);
    assert_eq!(place.mlpipe(&["runs", "delete", &top[..12]]).code, 0);
    assert_eq!(count(), 0);
    assert_eq!(place.mlpipe(&["runs", "restore", top]).code, 0);
    assert_eq!(count(), 2);
    assert_eq!(place.mlpipe(&["runs", "delete", top]).code, 0);
    let collected = place.mlpipe(&["gc", "--deleted", "--json"]);
    assert_eq!(collected.json()["deleted_runs"], 2, "{}", collected.stderr);
    assert_eq!(place.mlpipe(&["runs", "restore", top]).code, 4, "it is gone for good");
}

#[test]
fn alias_in_a_pipeline_is_looked_up_once_and_setting_it_anew_reruns_what_uses_it() {
    let place = Place::new();
    place.write(
        "use/MLproject",
        "name: use\nentry_points:\n  main:\n    parameters: {model: uri}\n    command: 'cat {model}/weights > \"$MLPIPE_OUTPUT_DIR/out\"'\n    \
         outputs: {out: {path: out, type: file}}\n  other:\n    command: 'echo x > \"$MLPIPE_OUTPUT_DIR/out\"'\n    outputs: {out: {path: out, type: file}}\n",
    );
    place.write(
        "use.yaml",
        "name: use\nparams: {model: {type: uri, default: 'models:/detector@champion'}}\nsteps:\n  use: {project: use, parameters: {model: \"${{ params.model }}\"}}\n  other: {project: use, entry_point: other}\noutputs: {out: steps.use.outputs.out}\n",
    );
    assert_eq!(place.mlpipe(&["run", "use.yaml"]).code, 4, "there is no such model");
    for weights in ["one", "two"] {
        place.write("model/weights", weights);
        let made = place.mlpipe(&["models", "register", "detector", "model"]);
        assert_eq!(made.code, 0, "{}", made.stderr);
    }
    let run_with = |version: &str| {
        assert_eq!(place.mlpipe(&["models", "alias", "detector", "champion", version]).code, 0);
        let ran = place.mlpipe(&["run", "use.yaml", "--json"]);
        assert!(ran.stderr.contains(&format!("is version {version} of detector")), "{}", ran.stderr);
        let document = ran.json();
        let statuses: Vec<&Value> =
            document["steps"].as_array().expect("steps").iter().map(|step| &step["status"]).collect();
        let out = std::fs::read_to_string(document["outputs"]["out"].as_str().expect("a path")).expect("there");
        (serde_json::json!(statuses), out)
    };
    assert_eq!(run_with("1"), (serde_json::json!(["done", "done"]), "one".to_owned()));
    assert_eq!(run_with("1"), (serde_json::json!(["cached", "cached"]), "one".to_owned()));
    assert_eq!(place.mlpipe(&["models", "alias", "detector", "champion", "2"]).code, 0);
    for asked in [&["plan", "use.yaml"][..], &["why", "use.yaml", "use"]] {
        let stderr = place.mlpipe(asked).stderr;
        assert!(stderr.contains("is version 2 of detector, it was version 1 in the run before"), "{stderr}");
    }
    assert_eq!(run_with("2"), (serde_json::json!(["done", "cached"]), "two".to_owned()));
    assert!(!place.mlpipe(&["plan", "use.yaml"]).stderr.contains("it was"));
}

#[test]
fn models_are_registered_named_and_downloaded() {
    let place = Place::new();
    scored(&place);
    place.write("model/weights", "1");
    let made = place.mlpipe(&["models", "register", "detector", "model", "--alias", "champion", "--json"]);
    assert_eq!((made.code, &made.json()["version"]), (0, &"1".into()), "{}", made.stderr);
    let id = step_run(&run(&place, "0.5"));
    let second = place.mlpipe(&["models", "register", "detector", &format!("runs:/{id}/out"), "--json"]);
    assert_eq!((second.code, &second.json()["version"]), (0, &"2".into()), "{}", second.stderr);
    assert_eq!(place.mlpipe(&["models", "alias", "detector", "candidate", "2"]).code, 0);
    assert_eq!(place.mlpipe(&["models", "stage", "detector", "2", "staging"]).code, 0);
    let shown = place.mlpipe(&["models", "show", "detector", "--json"]).json();
    assert_eq!(
        (&shown["versions"][1]["stage"], &shown["versions"][0]["aliases"][0]),
        (&"Staging".into(), &"champion".into())
    );
    for (model, file) in [("models:/detector@champion", "a/weights"), ("detector/1", "b/weights")] {
        let folder = file.split('/').next().expect("a folder");
        let got = place.mlpipe(&["models", "download", model, "-o", folder]);
        assert_eq!(got.code, 0, "{}", got.stderr);
        assert_eq!(std::fs::read_to_string(place.path(file)).expect("downloaded"), "1");
    }
    let listed = place.mlpipe(&["artifacts", "list", &format!("runs:/{id}"), "--json"]).json();
    assert!(listed["files"].as_array().expect("files").iter().any(|file| file["path"] == "out"), "{listed}");
    place.write("note.txt", "seen");
    assert_eq!(place.mlpipe(&["artifacts", "put", "note.txt", &format!("runs:/{id}/notes")]).code, 0);
    let got = place.mlpipe(&["artifacts", "get", &format!("runs:/{id}/notes/note.txt"), "-o", "back.txt"]);
    assert_eq!((got.code, std::fs::read_to_string(place.path("back.txt")).expect("there")), (0, "seen".to_owned()));
}
