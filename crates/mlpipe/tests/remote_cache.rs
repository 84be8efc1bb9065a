//! Finished work shared between two machines: two working directories that have only a server in common.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

use common::Place;

/// A server on a free port; ended when dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(place: &Place) -> Self {
        Self::with(place, &[])
    }

    fn with(place: &Place, options: &[&str]) -> Self {
        let arguments = [&["server", "--port", "0"], options].concat();
        let mut process = place.command(&arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut url = String::new();
        let stdout = process.stdout.take().expect("piped");
        BufReader::new(stdout).read_line(&mut url).expect("it says where");
        Self { process, url: format!("{}/cache", url.trim()) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A step that counts how often it runs in a file that all places share.
fn machine(shared: &Place) -> Place {
    let place = Place::new();
    let count = common::text(&shared.path("count"));
    place.write(
        "greet/MLproject",
        "name: greet\nentry_points:\n  main:\n    parameters: {name: string, count: string}\n    \
         command: 'echo ran >> {count}; echo hello {name} > \"$MLPIPE_OUTPUT_DIR/greeting\"'\n    \
         outputs: {greeting: {path: greeting, type: file}}\n",
    );
    place.write(
        "greet.yaml",
        &format!(
            "name: greet\nsteps:\n  greet: {{project: greet, parameters: {{name: you, count: {count}}}}}\n\
             outputs: {{greeting: steps.greet.outputs.greeting}}\n"
        ),
    );
    place
}

fn greeting(place: &Place, url: &str) -> (String, String, String) {
    greeting_with(place, url, &[])
}

fn greeting_with(place: &Place, url: &str, options: &[&str]) -> (String, String, String) {
    let arguments = [&["run", "greet.yaml", "--json", "--remote-cache", url], options].concat();
    let ran = place.mlpipe(&arguments);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let document = ran.json();
    let path = document["outputs"]["greeting"].as_str().expect("a path").to_owned();
    let status = document["steps"][0]["status"].as_str().expect("a status").to_owned();
    (status, fs::read_to_string(path).expect("the output is there"), ran.stderr)
}

#[test]
fn work_done_on_one_machine_is_not_done_again_on_another() {
    let shared = Place::new();
    let server = Server::start(&shared);
    let (one, two) = (machine(&shared), machine(&shared));
    assert_eq!(greeting(&one, &server.url).0, "done");
    let (status, text, _) = greeting(&two, &server.url);
    assert_eq!((status.as_str(), text.as_str()), ("cached", "hello you\n"));
    assert_eq!(fs::read_to_string(shared.path("count")).expect("counted"), "ran\n");
    drop(server);
    let again = two.mlpipe(&["run", "greet.yaml", "--json"]).json();
    assert_eq!(again["steps"][0]["status"], "cached", "what was fetched is kept");
}

#[test]
fn remote_cache_that_is_away_is_told_of_once_and_harms_nothing() {
    let shared = Place::new();
    let url = Server::start(&shared).url.clone();
    let (status, text, stderr) = greeting(&machine(&shared), &url);
    assert_eq!((status.as_str(), text.as_str()), ("done", "hello you\n"));
    assert_eq!(stderr.matches("remote cache:").count(), 1, "{stderr}");
}

#[test]
fn damaged_content_from_a_remote_cache_is_refused_and_the_work_done_here() {
    let shared = Place::new();
    let server = Server::start(&shared);
    let (one, two) = (machine(&shared), machine(&shared));
    greeting(&one, &server.url);
    for entry in walk(&shared.path(".mlpipe/cas")) {
        fs::remove_file(&entry).expect("removed");
        fs::write(&entry, "hello evil").expect("written");
    }
    let (status, text, stderr) = greeting(&two, &server.url);
    assert_eq!((status.as_str(), text.as_str()), ("done", "hello you\n"));
    assert!(stderr.contains("remote cache: download failed"), "{stderr}");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn server_with_users_takes_finished_work_from_whoever_has_a_token() {
    let shared = Place::new();
    let mut adding =
        shared.command(&["users", "add", "builder", "--admin"]).stdin(Stdio::piped()).spawn().expect("it starts");
    adding.stdin.take().expect("piped").write_all(b"a long password\n").expect("written");
    assert!(adding.wait().expect("it ends").success());
    let made = shared.mlpipe(&["tokens", "create", "builder"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    shared.write("token", &made.stdout);
    let token = common::text(&shared.path("token"));
    let server = Server::with(&shared, &["--auth"]);

    let stranger = machine(&shared);
    let (status, _, stderr) = greeting(&stranger, &server.url);
    assert!(status == "done" && stderr.contains("MLPIPE_REMOTE_CACHE_TOKEN"), "{stderr}");
    shared.write("wrong", "mlp_not_a_token");
    let wrong = common::text(&shared.path("wrong"));
    let (status, _, stderr) = greeting_with(&machine(&shared), &server.url, &["--remote-cache-token-file", &wrong]);
    assert!(status == "done" && stderr.contains("asks who this is"), "{stderr}");
    assert!(!stderr.contains("mlp_not_a_token"), "{stderr}");

    let known = ["--remote-cache-token-file", &token];
    assert_eq!(greeting_with(&machine(&shared), &server.url, &known).0, "done", "nobody has sent it yet");
    assert_eq!(greeting_with(&machine(&shared), &server.url, &known).0, "cached");
    let place = machine(&shared);
    let mut by_variable = place.command(&["run", "greet.yaml", "--json", "--remote-cache", &server.url]);
    let ran = by_variable.env("MLPIPE_REMOTE_CACHE_TOKEN", made.stdout.trim()).output().expect("it starts");
    assert!(String::from_utf8_lossy(&ran.stdout).contains("\"status\": \"cached\""), "{ran:?}");
}
