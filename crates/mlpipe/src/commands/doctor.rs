//! `mlpipe doctor`: what mlpipe finds on this machine, and what to do about what it does not find.

use mlpipe_infer::find_runtime_library;
use serde::Serialize;

use crate::failure::{Exit, Outcome};
use crate::{environment, state, text};

/// Arguments of `mlpipe doctor`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    found: String,
    advice: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Note,
    Error,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let checks = [program(), machine(), onnx(), state_directory()];
    if arguments.json {
        text::json(&serde_json::json!({ "checks": checks }));
    } else {
        let row = |check: &Check| vec![word(check.status).to_owned(), check.name.to_owned(), check.found.clone()];
        text::line(&text::table(&checks.iter().map(row).collect::<Vec<_>>()));
        for advice in checks.iter().filter_map(|check| check.advice) {
            text::line(&format!("hint: {advice}"));
        }
    }
    let broken = checks.iter().any(|check| check.status == Status::Error);
    Ok(if broken { Exit::StoreUnavailable } else { Exit::Ok })
}

fn program() -> Check {
    let found = format!("{}, built-in steps {}", environment::VERSION, &mlpipe_steps::SOURCE_DIGEST[..12]);
    Check { name: "mlpipe", status: Status::Ok, found, advice: None }
}

fn machine() -> Check {
    let capacity = environment::capacity(None);
    let gibibytes = capacity.memory_bytes as f64 / f64::from(1 << 30);
    let found = format!("{} cores, {gibibytes:.1} GiB of memory", capacity.cpu);
    Check { name: "machine", status: Status::Ok, found, advice: None }
}

fn onnx() -> Check {
    match find_runtime_library() {
        Some(library) => {
            let version = library.version.as_deref().unwrap_or("of unknown version");
            let found = format!("ONNX Runtime {version}: {}", library.path.display());
            Check { name: "ONNX", status: Status::Ok, found, advice: None }
        }
        None => Check {
            name: "ONNX",
            status: Status::Note,
            found: format!("{} (embedded)", mlpipe_infer::EMBEDDED_BACKEND),
            advice: Some(
                "models run about three times faster on ONNX Runtime: `pip install onnxruntime`, or set ORT_DYLIB_PATH",
            ),
        },
    }
}

fn state_directory() -> Check {
    let path = state::directory().map(|path| path.display().to_string()).unwrap_or_default();
    match state::open().and_then(|workspace| Ok(workspace.store()?)) {
        Ok(_) => Check { name: "state", status: Status::Ok, found: path, advice: None },
        Err(_) => Check {
            name: "state",
            status: Status::Error,
            found: format!("{path} cannot be used"),
            advice: Some(
                "run mlpipe where it may write, or put an empty mlpipe.toml into such a folder above this one",
            ),
        },
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Note => "note",
        Status::Error => "error",
    }
}
