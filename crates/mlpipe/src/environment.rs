//! Facts about this machine: what can change a step's result, and how much of the machine steps may use.

use std::collections::BTreeMap;

use mlpipe_engine::Capacity;
use mlpipe_infer::BackendChoice;

/// Version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Facts that belong to every task's fingerprint: this program, its built-in steps, and what runs ONNX models.
pub(crate) fn facts() -> BTreeMap<String, String> {
    BTreeMap::from([
        ("mlpipe".to_owned(), VERSION.to_owned()),
        ("built-in steps".to_owned(), mlpipe_steps::SOURCE_DIGEST.to_owned()),
        ("onnx".to_owned(), onnx_backend()),
    ])
}

/// The backend that a step would use, by name and version; the library is found but not loaded.
fn onnx_backend() -> String {
    let embedded = || mlpipe_infer::EMBEDDED_BACKEND.to_owned();
    match mlpipe_steps::Runtime::from_environment().map(|runtime| runtime.backend) {
        Ok(BackendChoice::Rten) => embedded(),
        _ => match mlpipe_infer::find_runtime_library() {
            Some(library) => {
                let version = library.version.unwrap_or_else(|| library.path.display().to_string());
                format!("onnxruntime {version}")
            }
            None => embedded(),
        },
    }
}

/// Returns what steps may use together: `jobs` cores, or all, and all memory.
pub(crate) fn capacity(jobs: Option<u32>) -> Capacity {
    let cores =
        || std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    Capacity { cpu: jobs.unwrap_or_else(cores), memory_bytes: memory_bytes().unwrap_or(u64::MAX) }
}

/// Memory of the machine, from `/proc/meminfo`.
pub(crate) fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}
