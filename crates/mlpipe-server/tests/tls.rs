//! TLS: MLflow's client with a CA made for the test, and settings that cannot work. Needs the Python that `MLPIPE_TEST_MLFLOW`
//! names, with mlflow, and the feature `tls`.

#![cfg(feature = "tls")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use common::Server;
use mlpipe_server::{ServerOptions, TlsFiles, serve};
use tempfile::TempDir;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls_client.py");

fn python(python: &OsString, folder: &Path, arguments: &[&str]) {
    let mut command = Command::new(python);
    let ended = command.arg(SCRIPT).args(arguments).current_dir(folder).output().expect("Python starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{stdout}\n{stderr}");
}

/// A folder with `ca.pem`, `cert.pem`, `key.pem` and `other-key.pem`.
fn certificates() -> Option<(OsString, TempDir)> {
    let Some(name) = std::env::var_os("MLPIPE_TEST_MLFLOW") else {
        eprintln!("skipped: MLPIPE_TEST_MLFLOW does not name a Python with mlflow");
        return None;
    };
    let folder = tempfile::tempdir().expect("a folder");
    python(&name, folder.path(), &["make", "."]);
    Some((name, folder))
}

fn files(folder: &Path, certificate: &str, key: &str) -> TlsFiles {
    TlsFiles { certificate: folder.join(certificate), key: folder.join(key) }
}

#[test]
fn mlflows_client_speaks_tls_with_the_right_ca_only() {
    let Some((name, folder)) = certificates() else { return };
    let server = Server::with(|options| options.tls = Some(files(folder.path(), "cert.pem", "key.pem")));
    python(&name, folder.path(), &["use", &format!("https://{}", server.address), "."]);
    let mut plain = TcpStream::connect(server.address).expect("connected");
    plain.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    // A reset is as good as an end.
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "plain HTTP is not answered");
}

#[test]
fn settings_that_cannot_work_are_refused_and_name_the_file() {
    let Some((_, folder)) = certificates() else { return };
    std::fs::write(folder.path().join("empty.pem"), "").expect("written");
    std::fs::write(folder.path().join("text.pem"), "no certificate").expect("written");
    for (certificate, key, named) in [
        ("missing.pem", "key.pem", "missing.pem"),
        ("cert.pem", "missing.pem", "missing.pem"),
        ("empty.pem", "key.pem", "empty.pem"),
        ("text.pem", "key.pem", "text.pem"),
        ("cert.pem", "text.pem", "text.pem"),
        ("cert.pem", "cert.pem", "cert.pem"),
        ("cert.pem", "other-key.pem", "cert.pem"),
    ] {
        let mut options = ServerOptions::local(folder.path().join("state"), SocketAddr::from(([127, 0, 0, 1], 0)));
        options.tls = Some(files(folder.path(), certificate, key));
        let refused = serve(&options, |_| panic!("{certificate} and {key} were accepted")).expect_err("refused");
        let message = refused.to_string();
        assert!(message.starts_with("TLS: ") && message.contains(named), "{certificate}, {key}: {message}");
    }
}
