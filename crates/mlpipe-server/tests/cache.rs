//! The cache over real HTTP on the loopback.

use std::net::SocketAddr;
use std::path::Path;

use mlpipe_artifacts::{ContentStore, Digest};
use mlpipe_server::{ServerOptions, serve};

/// Starts a server on a state directory; it ends with the test program.
fn started(state_directory: &Path) -> SocketAddr {
    let (sender, receiver) = std::sync::mpsc::channel();
    let options = ServerOptions::local(state_directory.to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)));
    std::thread::spawn(move || serve(&options, |address| sender.send(address).expect("the test listens")));
    receiver.recv().expect("the server starts")
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

fn put(url: &str, body: &[u8]) -> u16 {
    agent().put(url).send(body).expect("an answer").status().as_u16()
}

fn get(url: &str) -> (u16, Vec<u8>) {
    let mut answer = agent().get(url).call().expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_to_vec().expect("a body"))
}

#[test]
fn content_comes_back_and_another_content_under_its_digest_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("http://{}/cache/cas/{}", started(folder.path()), Digest::of(b"boxes"));
    assert_eq!(get(&url).0, 404);
    assert_eq!(put(&url, b"other"), 400);
    assert_eq!(get(&url).0, 404, "nothing was kept");
    assert_eq!(put(&url, b"boxes"), 201);
    assert_eq!(get(&url), (200, b"boxes".to_vec()));
    let head = agent().head(&url).call().expect("an answer");
    assert_eq!(head.headers()["content-length"], "5");
}

#[test]
fn finished_work_is_kept_only_when_its_content_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = started(folder.path());
    let digest = Digest::of(b"boxes");
    let action = format!(
        r#"{{"format": "mlpipe.action/1", "tree": {{"kind": "file", "entries": [{{"path": "", "digest": "{digest}", "size": 5, "executable": false}}]}}}}"#
    );
    let url = format!("http://{address}/cache/ac/{}", Digest::of(b"fingerprint"));
    assert_eq!(put(&url, action.as_bytes()), 409);
    assert_eq!(get(&url).0, 404);
    assert_eq!(put(&format!("http://{address}/cache/cas/{digest}"), b"boxes"), 201);
    assert_eq!(put(&url, action.as_bytes()), 201);
    assert_eq!(get(&url), (200, action.into_bytes()));
    assert!(ContentStore::open(folder.path()).expect("a store").content_path(digest).exists());
}

#[test]
fn keys_that_are_no_digests_and_other_formats_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = started(folder.path());
    for key in ["..%2f..%2fetc%2fpasswd", "abc", &"g".repeat(64)] {
        assert_eq!(get(&format!("http://{address}/cache/cas/{key}")).0, 400, "{key}");
    }
    let url = format!("http://{address}/cache/ac/{}", Digest::of(b"x"));
    assert_eq!(put(&url, b"no json"), 400);
    assert_eq!(put(&url, br#"{"format": "other/1", "tree": {"kind": "directory", "entries": []}}"#), 400);
}

#[test]
fn request_for_another_host_name_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = started(folder.path());
    let answer = agent().get(format!("http://{address}/health")).header("host", "evil.example").call();
    assert_eq!(answer.expect("an answer").status().as_u16(), 403);
    assert_eq!(get(&format!("http://{address}/health")), (200, b"OK".to_vec()));
}
