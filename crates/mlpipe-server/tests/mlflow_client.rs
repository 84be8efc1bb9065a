//! MLflow's own Python client against the server. Needs the Python that `MLPIPE_TEST_MLFLOW` names, with mlflow, onnx and
//! scikit-learn.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

mod common;

use std::process::Command;

use common::Server;

#[test]
fn mlflows_client_logs_searches_registers_and_loads() {
    let Some(python) = std::env::var_os("MLPIPE_TEST_MLFLOW") else {
        eprintln!("skipped: MLPIPE_TEST_MLFLOW does not name a Python with mlflow, onnx and scikit-learn");
        return;
    };
    for server in Server::on_every_place() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mlflow_client.py");
        let mut command = Command::new(&python);
        // The client writes `mlruns` and downloads where it stands.
        let ended = command.arg(script).arg(server.url("")).current_dir(server.path()).output().expect("Python starts");
        let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success(), "{stdout}\n{stderr}");
    }
}
