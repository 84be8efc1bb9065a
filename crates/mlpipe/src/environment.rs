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
    Capacity { cpu: jobs.unwrap_or_else(cores), memory_bytes: memory_bytes().unwrap_or(u64::MAX), gpus: 0 }
}

/// Returns the GPUs that steps may use, as `CUDA_VISIBLE_DEVICES` names them: `wanted` of them, or all that are found.
/// Those that this variable hides are never used.
pub(crate) fn gpus(wanted: Option<u32>) -> Result<Vec<String>, String> {
    chosen_gpus(wanted, std::env::var(GPUS_VARIABLE).ok().as_deref(), nvidia_devices)
}

/// Which GPUs this process, and what it starts, may see; a list of numbers or identifiers.
const GPUS_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

fn chosen_gpus(wanted: Option<u32>, visible: Option<&str>, devices: impl Fn() -> u32) -> Result<Vec<String>, String> {
    let Some(visible) = visible else {
        return Ok((0..wanted.unwrap_or_else(devices)).map(|number| number.to_string()).collect());
    };
    // CUDA ignores what follows an entry that is no device, such as the customary -1.
    let entries = visible.split(',').map(str::trim).take_while(|entry| !entry.is_empty() && *entry != "-1");
    let mut gpus: Vec<String> = entries.map(str::to_owned).collect();
    if let Some(wanted) = wanted.map(|wanted| wanted as usize) {
        if wanted > gpus.len() {
            return Err(format!("--gpus {wanted}: {GPUS_VARIABLE} names {} only", gpus.len()));
        }
        gpus.truncate(wanted);
    }
    Ok(gpus)
}

/// How many devices of the NVIDIA driver there are: `/dev/nvidia0` and so on.
fn nvidia_devices() -> u32 {
    let is_device = |name: &str| {
        let number = name.strip_prefix("nvidia");
        number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let count = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_device)).count();
    u32::try_from(count).unwrap_or(0)
}

/// Memory of the machine, from `/proc/meminfo`.
pub(crate) fn memory_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_those_that_may_be_seen_and_no_more() {
        let two = || 2;
        assert_eq!(chosen_gpus(None, None, two), Ok(vec!["0".into(), "1".into()]));
        assert_eq!(chosen_gpus(Some(1), None, two), Ok(vec!["0".into()]));
        assert_eq!(chosen_gpus(None, Some("3, GPU-8932f937"), two), Ok(vec!["3".into(), "GPU-8932f937".into()]));
        assert_eq!(chosen_gpus(None, Some("1,-1,2"), two), Ok(vec!["1".into()]));
        assert_eq!(chosen_gpus(None, Some(""), two), Ok(Vec::new()));
        assert!(chosen_gpus(Some(2), Some("3"), two).is_err());
    }
}
