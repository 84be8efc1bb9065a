//! The artifact proxy over HTTP: whole files, parts of files, uploads that break off, and paths that would lead out.

mod common;

use std::io::Write;
use std::net::SocketAddr;

use base64::Engine;
use common::Server;
use mlpipe_server::{ServerOptions, serve};
use serde_json::json;
use sha2::Digest;

const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

fn at(path: &str) -> String {
    format!("{PROXY}/{path}")
}

/// Uploads under way must leave nothing behind.
fn leftovers(server: &Server) -> usize {
    std::fs::read_dir(server.path().join("artifacts/.uploads")).map_or(0, Iterator::count)
}

/// A value of `Content-Digest`.
fn content_digest(content: &[u8]) -> String {
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(content));
    format!("sha-256=:{digest}:")
}

#[test]
fn file_comes_back_whole_in_part_or_not_at_all_when_it_is_known() {
    for server in Server::on_every_place() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
        let path = at("0/run/artifacts/model.onnx");
        let put = server.send("PUT", &path, &[], &content);
        assert_eq!((put.status, put.body.as_slice()), (200, b"{}".as_slice()));
        let got = server.get(&path);
        assert!(got.body == content);
        assert_eq!(got.header("content-disposition"), "attachment; filename=model.onnx");
        assert_eq!((got.header("x-content-type-options"), got.header("accept-ranges")), ("nosniff", "bytes"));
        let part = server.send("GET", &path, &[("range", "bytes=1000000-2999998")], b"");
        assert_eq!((part.status, part.header("content-range")), (206, "bytes 1000000-2999998/3000000"));
        assert!(part.body == content[1_000_000..2_999_999]);
        assert_eq!(server.send("GET", &path, &[("range", "bytes=3000000-")], b"").status, 416);
        let etag = got.header("etag").to_owned();
        let known = server.send("GET", &path, &[("if-none-match", &etag)], b"");
        assert_eq!((known.status, known.body.len()), (304, 0));
        server.send("PUT", &path, &[], b"new");
        assert_eq!(server.send("GET", &path, &[("if-none-match", &etag)], b"").body, b"new");
        let head = server.send("HEAD", &path, &[], b"");
        assert_eq!((head.status, head.header("content-length")), (200, "3"));
        assert_eq!(leftovers(&server), 0);
    }
}

#[test]
fn folders_are_listed_and_files_deleted() {
    for server in Server::on_every_place() {
        for name in ["b.txt", "a.txt", "sub/c.txt"] {
            server.send("PUT", &at(&format!("1/r/artifacts/{name}")), &[], b"hi");
        }
        let listed = server.get(&format!("{PROXY}?path=1/r/artifacts")).json();
        let file = |name: &str| json!({"path": name, "is_dir": false, "file_size": 2});
        assert_eq!(listed["files"], json!([file("a.txt"), file("b.txt"), {"path": "sub", "is_dir": true}]));
        assert_eq!(server.get(&format!("{PROXY}?path=no/such")).json(), json!({}));
        let deleted = server.send("DELETE", &at("1/r/artifacts/sub"), &[], b"");
        assert_eq!((deleted.status, deleted.body.as_slice()), (200, b"{}".as_slice()));
        assert_eq!(server.get(&at("1/r/artifacts/sub/c.txt")).code(), (404, "RESOURCE_DOES_NOT_EXIST".to_owned()));
        assert_eq!(server.send("DELETE", &at("1/r/artifacts/sub"), &[], b"").status, 404);
    }
}

#[test]
fn artifacts_below_the_address_of_the_proxy_are_served() {
    let server = Server::with(|options| options.default_artifact_root = Some(format!("http://host:5000{PROXY}")));
    let (experiment, run) = server.run();
    server.send("PUT", &at(&format!("{experiment}/{run}/artifacts/a.txt")), &[], b"hi");
    assert_eq!(server.get(&format!("/get-artifact?run_id={run}&path=a.txt")).body, b"hi");
    let listed = server.get(&format!("/api/2.0/mlflow/artifacts/list?run_id={run}")).json();
    assert_eq!(listed["root_uri"], format!("http://host:5000{PROXY}/{experiment}/{run}/artifacts"));
    assert_eq!(listed["files"][0]["path"], "a.txt");
}

#[test]
fn paths_that_lead_out_are_refused() {
    let server = Server::start();
    std::fs::write(server.path().join("secret"), "root:").expect("written");
    std::os::unix::fs::symlink(server.path(), server.path().join("artifacts/link")).expect("linked");
    for path in [
        "..%2fsecret",
        "%2e%2e/secret",
        "a/..%2f..%2f..%2fsecret",
        "%252e%252e%252fsecret",
        "%2fetc%2fpasswd",
        "a%00b",
        "a%5c..%5c..%5csecret",
        "link/secret",
        ".uploads/x",
    ] {
        for (method, body) in [("GET", b"".as_slice()), ("PUT", b"x"), ("DELETE", b"")] {
            let answer = server.send(method, &at(path), &[], body);
            assert!((400..500).contains(&answer.status), "{method} {path}: {}", answer.status);
            assert!(!answer.body.starts_with(b"root:"), "{method} {path}");
        }
    }
    assert_eq!(server.get(&format!("{PROXY}?path=../..")).status, 400);
    assert_eq!(std::fs::read_to_string(server.path().join("secret")).expect("still there"), "root:");
    let (_, run) = server.run();
    assert_eq!(server.get(&format!("/get-artifact?run_id={run}&path=../../../secret")).status, 400);
    assert_eq!(server.get(&format!("/api/2.0/mlflow/artifacts/list?run_id={run}&path=../..")).status, 400);
}

#[test]
fn content_with_another_digest_is_not_kept() {
    for server in Server::on_every_place() {
        let path = at("0/r/artifacts/a");
        assert_eq!(server.send("PUT", &path, &[("content-digest", &content_digest(b"other"))], b"hi").status, 400);
        assert_eq!(server.get(&path).status, 404);
        assert_eq!(server.send("PUT", &path, &[("content-digest", &content_digest(b"hi"))], b"hi").status, 200);
        let kept = server.send("PUT", &path, &[("if-none-match", "*")], b"new");
        assert_eq!(kept.code(), (409, "RESOURCE_CONFLICT".to_owned()));
        assert_eq!(server.get(&path).body, b"hi");
        assert_eq!(server.send("PUT", &at("0/r/artifacts/b"), &[("if-none-match", "*")], b"new").status, 200);
        assert_eq!(server.get(&at("0/r/artifacts/b")).body, b"new");
        assert_eq!(leftovers(&server), 0);
    }
}

#[test]
fn upload_goes_on_where_it_broke_off() {
    for server in Server::on_every_place() {
        let path = at("0/r/artifacts/big");
        let part = |range: &str, body: &[u8]| {
            let answer = server.send("PUT", &path, &[("content-range", range)], body);
            (answer.status, answer.header("range").to_owned())
        };
        assert_eq!(part("bytes */10", b""), (308, String::new()));
        assert_eq!(part("bytes 0-3/10", b"0123"), (308, "bytes=0-3".to_owned()));
        assert_eq!(part("bytes 6-9/10", b"6789"), (308, "bytes=0-3".to_owned()), "a gap is not taken");
        assert_eq!(server.get(&path).status, 404);
        assert_eq!(part("bytes 4-9/10", b"456789"), (200, String::new()));
        assert_eq!(server.get(&path).body, b"0123456789");
        assert_eq!(part("bytes 9-0/10", b"x").0, 400);
        assert_eq!(leftovers(&server), 0);
    }
}

#[test]
fn parts_are_joined_in_their_order() {
    for server in Server::on_every_place() {
        let service = "/api/2.0/mlflow-artifacts/mpu";
        let message = |action: &str, body: serde_json::Value| {
            let path = format!("{service}/{action}/0/r/artifacts");
            server.send("POST", &path, &[("content-type", "application/json")], body.to_string().as_bytes())
        };
        let created = message("create", json!({"path": "/home/x/model.bin", "num_parts": 2})).json();
        let upload_id = created["upload_id"].as_str().expect("an id").to_owned();
        let put = |number: usize, body: &[u8]| {
            let url = created["credentials"][number]["url"].as_str().expect("an address");
            let path = url.split_once(&server.address.to_string()).expect("this server").1;
            let etag = server.send("PUT", path, &[], body).header("etag").to_owned();
            json!({"part_number": number + 1, "etag": etag, "url": url})
        };
        let (second, first) = (put(1, b"world"), put(0, b"hello "));
        let complete =
            |parts| message("complete", json!({"path": "model.bin", "upload_id": upload_id, "parts": parts}));
        assert_eq!(complete(json!([{"part_number": 1, "etag": "other"}])).status, 400);
        assert_eq!(complete(json!([second, first])).status, 200);
        assert_eq!(server.get(&at("0/r/artifacts/model.bin")).body, b"hello world");
        assert_eq!(leftovers(&server), 0);
        let id = "0".repeat(32);
        assert_eq!(server.send("PUT", &format!("/api/2.0/mlflow-artifacts/parts/{id}/1"), &[], b"x").status, 404);
    }
}

#[test]
fn file_of_many_parts_is_there_when_all_of_it_is() {
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    for server in Server::on_every_place() {
        let path = at("0/r/artifacts/large");
        let mut half = std::net::TcpStream::connect(server.address).expect("connected");
        let head = format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", content.len());
        half.write_all(head.as_bytes()).and_then(|()| half.write_all(&content[..12_000_000])).expect("sent");
        drop(half);
        assert_eq!(server.send("PUT", &path, &[("content-digest", &content_digest(b"other"))], &content).status, 400);
        assert_eq!(server.get(&path).status, 404);
        assert_eq!(server.send("PUT", &path, &[("content-digest", &content_digest(&content))], &content).status, 200);
        assert!(server.get(&path).body == content);
        let part = server.send("GET", &path, &[("range", "bytes=8388600-16777300")], b"");
        assert!(part.status == 206 && part.body == content[8_388_600..16_777_301]);
        let kept = server.send("PUT", &path, &[("if-none-match", "*")], &content);
        assert_eq!(kept.code(), (409, "RESOURCE_CONFLICT".to_owned()));
        assert_eq!(server.send("DELETE", &path, &[], b"").status, 200);
        assert_eq!(server.get(&path).status, 404);
    }
}

#[test]
fn place_that_cannot_be_used_is_refused_at_the_start() {
    let mut refused = vec![
        ("ftp://host/folder", "knows no `ftp://`"),
        ("s3://", if cfg!(feature = "s3") { "names no bucket" } else { "--features s3" }),
    ];
    if cfg!(not(feature = "gcs")) {
        refused.push(("gs://bucket", "--features gcs"));
    }
    for (destination, expected) in refused {
        let folder = tempfile::tempdir().expect("a folder");
        let mut options = ServerOptions::local(folder.path().to_owned(), SocketAddr::from(([127, 0, 0, 1], 0)));
        options.artifacts_destination = Some(destination.to_owned());
        let message = serve(&options, |_| {}).expect_err("refused").to_string();
        assert!(message.contains(destination) && message.contains(expected), "{message}");
    }
}
