//! Runs sent to a real MLflow server: what its own client sees there, also after the server or mlpipe was killed.
//!
//! `MLPIPE_TEST_MLFLOW` names a Python that has MLflow; without it these tests say that they are skipped.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use common::{Place, pipeline, text};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// How long anything may take that a test waits for; a loaded machine starts MLflow's server in minutes.
const PATIENCE: Duration = Duration::from_secs(300);

/// The Python with MLflow; says so when there is none.
fn python() -> Option<String> {
    let python = std::env::var("MLPIPE_TEST_MLFLOW").ok();
    if python.is_none() {
        #[expect(clippy::print_stderr, reason = "a skipped test says so")]
        {
            eprintln!("skipped: MLPIPE_TEST_MLFLOW does not name a Python that has MLflow");
        }
    }
    python
}

/// Looks again and again until there is something.
fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let given_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < given_up, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// MLflow's server on a database and a folder in a place of its own; ended when dropped.
struct MlflowServer {
    python: String,
    place: Place,
    port: u16,
    process: Option<Child>,
}

impl MlflowServer {
    fn start(python: String) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut server = Self { python, place: Place::new(), port, process: None };
        server.restart();
        server
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn restart(&mut self) {
        let log = fs::File::options().create(true).append(true).open(self.place.path("log")).expect("a log");
        let process = Command::new(&self.python)
            .args(["-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1", "--port", &self.port.to_string()])
            .args(["--backend-store-uri", &format!("sqlite:///{}", text(&self.place.path("mlflow.db")))])
            .args(["--artifacts-destination", &text(&self.place.path("artifacts"))])
            .current_dir(self.place.path("."))
            .env_remove("MLFLOW_TRACKING_URI")
            // Its runner of background jobs is three more processes that nothing here needs.
            .env("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .expect("the server starts");
        self.process = Some(process);
        let uri = mlpipe_tracking::rest::TrackingUri::parse(&self.url()).expect("an address");
        let client = mlpipe_tracking::rest::Client::new(
            uri,
            mlpipe_tracking::rest::Credentials::None,
            mlpipe_tracking::rest::Retries::NONE,
        );
        wait_for("MLflow's server", || client.experiments().ok());
    }

    /// kill -9, of its workers too.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = rustix::process::kill_process_group(Pid::from_child(&process), Signal::KILL);
            let _ = process.wait();
        }
    }

    /// Everything that MLflow's own client sees of an experiment, by the run's id here; two runs of one id are an error.
    fn runs(&self, experiment: &str) -> BTreeMap<String, Value> {
        let script = r#"
import json, sys, mlflow
client = mlflow.MlflowClient(sys.argv[1])
def files(run_id, path=None):
    for entry in client.list_artifacts(run_id, path):
        yield from files(run_id, entry.path) if entry.is_dir else [entry.path]
experiment = client.get_experiment_by_name(sys.argv[2])
runs = client.search_runs([experiment.experiment_id], max_results=5000) if experiment else []
print(json.dumps([{"id": r.info.run_id, "name": r.info.run_name, "status": r.info.status, "end": r.info.end_time,
    "start": r.info.start_time, "params": r.data.params, "tags": r.data.tags,
    "metrics": {k: [[m.value, m.timestamp, m.step] for m in client.get_metric_history(r.info.run_id, k)]
                for k in r.data.metrics},
    "datasets": [[d.dataset.name, d.dataset.digest, d.dataset.source_type] for d in r.inputs.dataset_inputs],
    "files": list(files(r.info.run_id))} for r in runs]))"#;
        let output =
            Command::new(&self.python).args(["-c", script, &self.url(), experiment]).output().expect("Python starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let runs: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON");
        let count = runs.len();
        let by_id: BTreeMap<String, Value> = runs
            .into_iter()
            .map(|run| (run["tags"]["mlpipe.run_id"].as_str().expect("the id here").to_owned(), run))
            .collect();
        assert_eq!(by_id.len(), count, "a run is there twice");
        by_id
    }
}

impl Drop for MlflowServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The runs of the local store, by id.
fn local_runs(place: &Place) -> BTreeMap<String, Value> {
    let listed = place.mlpipe(&["runs", "list", "--all", "--limit", "5000", "--json"]).json();
    let runs = listed["runs"].as_array().expect("runs").iter();
    runs.map(|run| (run["run_id"].as_str().expect("an id").to_owned(), run.clone())).collect()
}

/// Asserts that the server has every run of the local store, once, with the same status, times, params and metrics, and with
/// parents that are the server's.
fn assert_same(local: &BTreeMap<String, Value>, remote: &BTreeMap<String, Value>) {
    assert_eq!(local.keys().collect::<Vec<_>>(), remote.keys().collect::<Vec<_>>());
    for (id, run) in local {
        let sent = &remote[id];
        let name = run["name"].as_str().expect("a name");
        assert_eq!((&sent["status"], &sent["name"]), (&run["status"], &run["name"]), "{name}");
        assert_eq!((&sent["start"], &sent["end"]), (&run["start_time_ms"], &run["end_time_ms"]), "{name}");
        for (key, value) in run["params"].as_object().expect("params") {
            let is_reference = value.as_str().is_some_and(|value| value.starts_with("runs:/"));
            assert!(is_reference || sent["params"][key] == *value, "{name}: {key}");
        }
        for metric in run["metrics"].as_array().expect("metrics") {
            let history = sent["metrics"][metric["key"].as_str().expect("a key")].as_array().expect("a history");
            assert_eq!(history.len(), 1, "{name}: {metric}");
            assert_eq!(history[0][0], metric["value"], "{name}");
        }
        let parent = run["tags"]["mlflow.parentRunId"].as_str().map(|parent| remote[parent]["id"].clone());
        assert_eq!(sent["tags"]["mlflow.parentRunId"], parent.unwrap_or_default(), "{name}");
    }
}

fn spools(place: &Place) -> usize {
    fs::read_dir(place.path(".mlpipe/spool")).map_or(0, Iterator::count)
}

/// Three steps of three items each; between them gates that open when a file appears.
fn gated(place: &Place) {
    place.write(
        "work/work.sh",
        "cat \"$1\" > \"$MLPIPE_OUTPUT_DIR/text\"\necho '{\"size\": 3}' > \"$MLPIPE_OUTPUT_DIR/metrics.json\"\n",
    );
    place.write(
        "work/MLproject",
        "name: work\nentry_points:\n  main:\n    parameters: {item: path}\n    command: 'sh work.sh {item}'\n    \
         outputs: {text: {path: text, type: file}}\n",
    );
    place.write(
        "gate/MLproject",
        "name: gate\nentry_points:\n  main:\n    parameters: {file: string}\n    \
         command: 'touch {file}.reached; while [ ! -e {file} ]; do sleep 0.05; done; echo open > \"$MLPIPE_OUTPUT_DIR/open\"'\n    \
         outputs: {open: {path: open, type: file}}\n",
    );
    for item in ["a", "b", "c"] {
        place.write(&format!("items/{item}"), item);
    }
    let work = |needs: &str| {
        format!(
            "{{project: work, for_each: {{item: inputs.items}}, parameters: {{item: '${{{{ item.item }}}}'}}{needs}}}"
        )
    };
    let gate = |file: &str, needs: &str| {
        format!("{{project: gate, parameters: {{file: '{}'}}, needs: [{needs}]}}", text(&place.path(file)))
    };
    place.write(
        "gated.yaml",
        &format!(
            "name: gated\ninputs:\n  items: {{collection: files, from: items}}\nsteps:\n  one: {}\n  first: {}\n  two: {}\n  \
             second: {}\n  three: {}\n",
            work(""),
            gate("go-1", "one"),
            work(", needs: [first], env: {ROUND: '2'}"),
            gate("go-2", "two"),
            work(", needs: [second], env: {ROUND: '3'}"),
        ),
    );
}

fn start(place: &Place, url: &str) -> Child {
    let mut command = place.command(&["run", "gated.yaml", "--tracking-uri", url, "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts")
}

fn reached(place: &Place, gate: &str) {
    let path = place.path(&format!("{gate}.reached"));
    wait_for(gate, || path.exists().then_some(()));
}

#[test]
fn main_job_is_there_with_parents_params_metrics_and_artifacts_and_once_more_when_it_is_reused() {
    let Some(python) = python() else { return };
    let server = MlflowServer::start(python);
    let place = Place::new();
    let ran = place.mlpipe(&["run", &pipeline(), "--tracking-uri", &server.url(), "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.json()["tracking"]["waiting"], 0, "{}", ran.stderr);
    let remote = server.runs("schmorl");
    assert_same(&local_runs(&place), &remote);
    assert_eq!(spools(&place), 0);

    let top = &remote[ran.json()["run_id"].as_str().expect("an id")];
    assert_eq!((&top["params"]["threshold"], &top["name"]), (&"0.5".into(), &"schmorl".into()));
    let named = |name: &str| remote.values().find(|run| run["name"].as_str().is_some_and(|n| n.starts_with(name)));
    let vertebrae = named("vertebrae[").expect("a run per item");
    assert!(vertebrae["metrics"]["vertebrae"][0][0].as_f64().is_some_and(|count| count > 3.0), "{vertebrae}");
    assert!(vertebrae["files"].as_array().expect("files").contains(&"vertebrae.json".into()), "{vertebrae}");
    let volume = named("slices[").expect("a run per item");
    assert!(volume["files"].as_array().expect("files").contains(&"volume/volume.npy".into()), "{volume}");
    let reference = vertebrae["params"]["volume"].as_str().expect("a reference");
    assert_eq!(reference, format!("runs:/{}/volume", volume["id"].as_str().expect("an id")));

    let again = place.mlpipe(&["run", &pipeline(), "--tracking-uri", &server.url(), "--json"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let both = server.runs("schmorl");
    assert_same(&local_runs(&place), &both);
    let reused = both.values().find(|run| run["tags"]["mlpipe.cached_from"] == volume["id"]).expect("tagged");
    assert_eq!(reused["files"].as_array().map(Vec::len), Some(0), "its files lie with the run that made them");
}

#[test]
fn server_killed_and_restarted_in_the_middle_has_everything_exactly_once() {
    let Some(python) = python() else { return };
    let mut server = MlflowServer::start(python);
    let place = Place::new();
    gated(&place);
    let run = start(&place, &server.url());
    reached(&place, "go-1");
    server.kill();
    place.write("go-1", "");
    reached(&place, "go-2");
    server.restart();
    place.write("go-2", "");
    let ran = common::ran(run.wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert_eq!(ran.json()["tracking"]["waiting"], 0, "{}", ran.stderr);
    assert!(ran.stderr.contains("waits in the spool"), "{}", ran.stderr);
    assert_same(&local_runs(&place), &server.runs("gated"));
    assert_eq!(spools(&place), 0);
}

#[test]
fn run_that_ends_without_the_server_is_delivered_by_sync() {
    let Some(python) = python() else { return };
    let mut server = MlflowServer::start(python);
    let place = Place::new();
    gated(&place);
    let run = start(&place, &server.url());
    reached(&place, "go-1");
    server.kill();
    place.write("go-1", "");
    place.write("go-2", "");
    let ran = common::ran(run.wait_with_output().expect("it ends"));
    ran.expect(0, &["records wait for", "mlpipe tracking sync"]);
    let status = place.mlpipe(&["tracking", "status", "--json"]).json();
    assert_eq!(status["spools"][0]["status"], "waiting");
    assert_eq!(place.mlpipe(&["tracking", "sync"]).code, 6, "the server is still away");
    server.restart();
    let synced = place.mlpipe(&["tracking", "sync", "--json"]);
    assert_eq!((synced.code, &synced.json()["spools"][0]["status"]), (0, &"delivered".into()), "{}", synced.stderr);
    assert_same(&local_runs(&place), &server.runs("gated"));
    assert_eq!(spools(&place), 0);
}

#[test]
fn mlpipe_killed_in_the_middle_loses_and_doubles_nothing() {
    let Some(python) = python() else { return };
    let server = MlflowServer::start(python);
    let place = Place::new();
    gated(&place);
    for gate in ["go-1", "go-2"] {
        let mut run = start(&place, &server.url());
        reached(&place, gate);
        run.kill().expect("killed");
        run.wait().expect("gone");
        place.write(gate, "");
    }
    let ran = common::ran(start(&place, &server.url()).wait_with_output().expect("it ends"));
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let local = local_runs(&place);
    assert_same(&local, &server.runs("gated"));
    assert_eq!(spools(&place), 0);
    let statuses: Vec<&Value> = local.values().map(|run| &run["status"]).collect();
    assert!(statuses.contains(&&"KILLED".into()) && !statuses.contains(&&"RUNNING".into()));
}

#[test]
fn mlflow_inside_a_step_logs_to_the_run_of_the_step() {
    let Some(python) = python() else { return };
    let server = MlflowServer::start(python.clone());
    let place = Place::new();
    place.write(
        "py/log.py",
        "import mlflow\nwith mlflow.start_run() as run:\n    mlflow.log_metric('inner', 7)\nprint(run.info.run_id)\n",
    );
    place.write("py/MLproject", &format!("name: py\nentry_points:\n  main:\n    command: '{python} log.py'\n"));
    place.write(
        "py.yaml",
        "name: py\nsteps:\n  first: {project: py}\n  second: {project: py, needs: [first], env: {ROUND: '2'}}\n",
    );
    let ran = place.mlpipe(&["run", "py.yaml", "--tracking-uri", &server.url()]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let remote = server.runs("py");
    assert_same(&local_runs(&place), &remote);
    let second = remote.values().find(|run| run["name"] == "second").expect("there");
    assert_eq!(second["metrics"]["inner"][0][0], 7.0, "{second}");
}

#[test]
fn runs_and_models_go_to_a_server_and_back_and_nothing_goes_twice() {
    let Some(python) = python() else { return };
    let server = MlflowServer::start(python);
    let (place, other) = (Place::new(), Place::new());
    gated(&place);
    place.write("go-1", "");
    place.write("go-2", "");
    assert_eq!(place.mlpipe(&["run", "gated.yaml"]).code, 0);
    let run = local_runs(&place).into_iter().find(|(_, run)| run["name"] == "one[a]").expect("a run").0;
    let registered = place.mlpipe(&["models", "register", "words", &format!("runs:/{run}/text"), "--alias", "best"]);
    assert_eq!(registered.code, 0, "{}", registered.stderr);

    let export = |place: &Place| place.mlpipe(&["runs", "export", "--to", &server.url(), "--json"]);
    let first = export(&place);
    let runs = local_runs(&place);
    assert_eq!((first.code, &first.json()["runs"]), (0, &runs.len().into()), "{}{}", first.stdout, first.stderr);
    assert_eq!((&first.json()["model_versions"], &first.json()["left_out"]), (&1.into(), &0.into()));
    assert_same(&runs, &server.runs("gated"));
    let again = export(&place).json();
    assert_eq!((&again["runs"], &again["files"], &again["model_versions"]), (&0.into(), &0.into(), &0.into()));

    let import = || other.mlpipe(&["runs", "import", "--from", &server.url(), "--json"]);
    let imported = import();
    assert_eq!(
        (imported.code, &imported.json()["runs"]),
        (0, &runs.len().into()),
        "{}{}",
        imported.stdout,
        imported.stderr
    );
    assert_eq!(import().json()["runs"], 0);
    let back = local_runs(&other);
    for (id, run) in &runs {
        for field in ["name", "status", "start_time_ms", "end_time_ms", "params", "metrics"] {
            assert_eq!(back[id][field], run[field], "{field}");
        }
    }
    let got = other.mlpipe(&["models", "download", "words@best", "-o", "words"]);
    assert_eq!(got.code, 0, "{}", got.stderr);
    assert_eq!(fs::read_to_string(other.path("words")).expect("downloaded"), "a");
    let listed = place.mlpipe(&["models", "list", "--tracking-uri", &server.url(), "--json"]).json();
    assert_eq!(listed["models"][0]["aliases"][0][0], "best");
    let filter = ["runs", "list", "--filter", "metrics.size = 3", "--json", "--tracking-uri"];
    let found = place.mlpipe(&[&filter[..], &[&server.url()]].concat()).json();
    assert_eq!(found["runs"].as_array().map(Vec::len), Some(9));
}

#[test]
fn server_that_is_away_costs_a_line_and_nothing_else() {
    let place = Place::new();
    place.write("py/MLproject", "name: py\nentry_points:\n  main:\n    command: 'env > \"$MLPIPE_OUTPUT_DIR/env\"'\n    outputs: {env: {path: env, type: file}}\n");
    place.write("py.yaml", "name: py\nsteps:\n  first: {project: py}\noutputs: {env: steps.first.outputs.env}\n");
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let mut command = place.command(&["run", "py.yaml", "--json"]);
    let output = command.env("MLFLOW_TRACKING_URI", format!("http://{free}")).output().expect("it runs");
    let ran = common::ran(output);
    ran.expect(0, &["records wait for", "mlpipe tracking sync"]);
    let environment =
        fs::read_to_string(Path::new(ran.json()["outputs"]["env"].as_str().expect("a path"))).expect("read");
    assert!(!environment.contains("MLFLOW_"), "nothing that leads nowhere: {environment}");
    assert_eq!(place.mlpipe(&["tracking", "status", "--json"]).json()["spools"].as_array().map(Vec::len), Some(1));
    let local = place.command(&["run", "py.yaml", "--json", "--tracking-uri", "local"]);
    let ran = {
        let mut local = local;
        common::ran(local.env("MLFLOW_TRACKING_URI", format!("http://{free}")).output().expect("it runs"))
    };
    assert_eq!((ran.code, &ran.json()["tracking"]), (0, &Value::Null));
}
