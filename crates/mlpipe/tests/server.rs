//! What must hold of `mlpipe server` when it is killed, when the disk is full, and when there are two of it on one store.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::Place;
use serde_json::{Value, json};

/// A server on a free port, killed when dropped; without a process, the way to a server that somebody else has.
struct Server {
    process: Option<Child>,
    url: String,
}

impl Server {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut url).expect("it says where");
        Self { process: Some(process), url: url.trim().to_owned() }
    }

    fn of(place: &Place) -> Self {
        Self::start(place.command(&["server", "--port", "0"]))
    }

    fn with_webhooks(place: &Place) -> Self {
        Self::start(place.command(&["server", "--port", "0", "--webhooks-allow-private"]))
    }

    /// SIGKILL.
    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn post(&self, path: &str, body: &Value) -> Option<(u16, Value)> {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request =
            agent.post(format!("{}/api/2.0/mlflow{path}", self.url)).header("content-type", "application/json");
        let mut answer = request.send(body.to_string()).ok()?;
        let json = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
        Some((answer.status().as_u16(), json))
    }

    fn get(&self, path: &str) -> Option<Value> {
        let mut answer = ureq::get(format!("{}/api/2.0/mlflow{path}", self.url)).call().ok()?;
        serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()
    }

    fn run(&self) -> String {
        let (_, run) = self.post("/runs/create", &json!({"experiment_id": "0"})).expect("an answer");
        run["run"]["info"]["run_id"].as_str().expect("an id").to_owned()
    }

    fn log(&self, run: &str, step: usize) -> Option<u16> {
        let body = json!({"run_id": run, "key": "m", "value": step, "timestamp": 1, "step": step});
        Some(self.post("/runs/log-metric", &body)?.0)
    }

    fn steps(&self, run: &str) -> Vec<u64> {
        let history = self.get(&format!("/metrics/get-history?run_id={run}&metric_key=m")).expect("a history");
        let points = history["metrics"].as_array().cloned().unwrap_or_default();
        points.iter().map(|point| point["step"].as_u64().expect("a step")).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn killed_server_has_kept_every_write_that_it_acknowledged() {
    const ENOUGH: usize = 200;
    let place = Place::new();
    let server = Mutex::new(Server::of(&place));
    let run = server.lock().expect("no panic").run();
    let url = server.lock().expect("no panic").url.clone();
    let (count, acknowledged) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let client = Server { process: None, url: url.clone() };
                loop {
                    let step = count.fetch_add(1, Ordering::Relaxed);
                    match client.log(&run, step) {
                        Some(200) => acknowledged.lock().expect("no panic").push(step as u64),
                        _ => return,
                    }
                }
            });
        }
        while acknowledged.lock().expect("no panic").len() < ENOUGH {
            std::thread::yield_now();
        }
        server.lock().expect("no panic").kill();
    });
    let again = Server::of(&place);
    let kept = again.steps(&run);
    let acknowledged = acknowledged.into_inner().expect("no panic");
    assert!(acknowledged.len() >= ENOUGH);
    for step in acknowledged {
        assert!(kept.contains(&step), "step {step} was acknowledged and is gone");
    }
}

#[test]
fn two_servers_on_one_store_lose_nothing() {
    let place = Place::new();
    let (one, two) = (Server::of(&place), Server::of(&place));
    let run = one.run();
    std::thread::scope(|scope| {
        for (server, from) in [(&one, 0), (&two, 100)] {
            let run = &run;
            scope.spawn(move || (from..from + 50).for_each(|step| assert_eq!(server.log(run, step), Some(200))));
        }
    });
    assert_eq!(one.steps(&run).len(), 100);
    assert_eq!(one.steps(&run), two.steps(&run));
}

/// A small file system; unmounted when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(at: &'a Path) -> Option<Self> {
        std::fs::create_dir_all(at).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(at).stderr(Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn full_disk_is_said_so_reads_go_on_and_writes_too_when_there_is_space() {
    let place = Place::new();
    let disk = place.path("disk");
    let Some(_disk) = SmallDisk::mount(&disk) else {
        eprintln!("skipped: a small file system cannot be mounted here (root is needed)");
        return;
    };
    let mut command = place.command(&["server", "--port", "0"]);
    command.current_dir(&disk);
    let server = Server::start(command);
    let run = server.run();
    let mut filler = std::fs::File::create(disk.join("filler")).expect("a file");
    let filled = std::io::copy(&mut std::io::repeat(7), &mut filler);
    assert!(filled.is_err(), "the disk is full");
    let long = "x".repeat(5000);
    let refused = (0..1000).find_map(|count| {
        let tags: Vec<_> = (0..50).map(|key| json!({"key": format!("k{count}-{key}"), "value": long})).collect();
        server.post("/runs/log-batch", &json!({"run_id": run, "tags": tags})).filter(|(status, _)| *status != 200)
    });
    let (status, error) = refused.expect("some write is refused");
    assert_eq!((status, &error["error_code"]), (503, &json!("TEMPORARILY_UNAVAILABLE")), "{error}");
    assert!(server.get(&format!("/runs/get?run_id={run}")).is_some(), "reads go on");
    let artifact = format!("{}/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/a", server.url);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let put = || agent.put(&artifact).send(vec![1_u8; 100_000]).expect("an answer").status().as_u16();
    assert_eq!(put(), 503);
    drop(filler);
    std::fs::remove_file(disk.join("filler")).expect("removed");
    assert_eq!((server.log(&run, 1), put()), (Some(200), 200), "no restart is needed");
}

/// Receives a request and does not answer it; returns its delivery id and the connection.
fn delivery(listener: &TcpListener) -> (String, TcpStream) {
    let (stream, _) = listener.accept().expect("a connection");
    let mut id = None;
    for line in BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()) {
        let line = line.to_ascii_lowercase();
        id = id.or_else(|| line.strip_prefix("x-mlflow-delivery-id: ").map(str::to_owned));
    }
    (id.expect("a delivery has an id"), stream)
}

#[test]
fn webhook_that_was_not_delivered_when_the_server_was_killed_is_delivered_by_the_next_one() {
    let place = Place::new();
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let mut server = Server::with_webhooks(&place);
    let events = json!([{"entity": "REGISTERED_MODEL", "action": "CREATED"}]);
    let hook = json!({"name": "ci", "url": url, "events": events, "secret": "hush"});
    assert_eq!(server.post("/webhooks", &hook).expect("an answer").0, 200);
    assert_eq!(server.post("/registered-models/create", &json!({"name": "detector"})).expect("an answer").0, 200);
    let (first, unanswered) = delivery(&listener);
    server.kill();
    drop(unanswered);
    let server = Server::with_webhooks(&place);
    let (again, mut stream) = delivery(&listener);
    assert_eq!(first, again);
    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("answered");
    drop((stream, server));
}

#[cfg(feature = "s3")]
#[test]
fn artifacts_in_a_bucket_are_listed_fetched_and_stored_by_the_command() {
    let Ok(bucket) = std::env::var("MLPIPE_TEST_S3") else {
        eprintln!("skipped: MLPIPE_TEST_S3 names no bucket");
        return;
    };
    let place = Place::new();
    let destination = format!("{bucket}/command-{}", std::process::id());
    let server = Server::start(place.command(&["server", "--port", "0", "--artifacts-destination", &destination]));
    let run = server.run();
    place.write("results/boxes.json", "{}");
    place.write("results/deep/mask 1.npy", "12345");
    let mlpipe = |arguments: &[&str]| {
        let ran = place.mlpipe(&[arguments, &["--tracking-uri", &server.url]].concat());
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        ran
    };
    mlpipe(&["artifacts", "put", "results", &format!("runs:/{run}/out")]);
    let listed = mlpipe(&["artifacts", "list", &format!("runs:/{run}/out/results"), "--json"]).json();
    let file = |path: &str, is_dir: bool, size: i64| json!({"path": path, "is_dir": is_dir, "file_size": size});
    assert_eq!(listed["files"], json!([file("boxes.json", false, 2), file("deep", true, 0)]));
    mlpipe(&["artifacts", "get", &format!("runs:/{run}/out"), "-o", "back"]);
    let fetched = std::fs::read_to_string(place.path("back/results/deep/mask 1.npy")).expect("fetched");
    assert_eq!(fetched, "12345");
    assert!(!place.path(".mlpipe/artifacts/0").exists(), "nothing lies in the folder");
}
