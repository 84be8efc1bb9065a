//! What a step makes of the GPUs that it holds: asked of NVIDIA's own `nvidia-smi` once a second while the step runs. Where that
//! program is missing or knows none of them, nothing is recorded.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

const PROGRAM: &str = "nvidia-smi";
const QUERY: &str = "--query-gpu=utilization.gpu,memory.used";
const FORMAT: &str = "--format=csv,noheader,nounits";
const INTERVAL: &str = "--loop-ms=1000";
/// The unit of `memory.used` (`nvidia-smi --help-query-gpu`).
const MIB: f64 = 1_048_576.0;

/// The use of one GPU, over all samples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct GpuUsage {
    samples: u32,
    utilization_sum: f64,
    memory_peak_bytes: f64,
}

impl GpuUsage {
    /// Share of the time in which the GPU computed, in percent, on average; and the most memory in use at one time, by all processes.
    pub(crate) fn mean_utilization_and_peak_memory(&self) -> Option<[f64; 2]> {
        (self.samples > 0).then(|| [self.utilization_sum / f64::from(self.samples), self.memory_peak_bytes])
    }

    fn add(&mut self, line: &str) {
        let numbers: Vec<f64> = line.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        if let [utilization, memory_mib] = numbers[..] {
            self.samples += 1;
            self.utilization_sum += utilization;
            self.memory_peak_bytes = self.memory_peak_bytes.max(memory_mib * MIB);
        }
    }
}

/// Samples GPUs until it is ended.
#[derive(Debug)]
pub(crate) struct GpuWatch {
    sampler: Child,
    reader: JoinHandle<Vec<GpuUsage>>,
}

impl GpuWatch {
    /// Begins to watch GPUs by the names that `CUDA_VISIBLE_DEVICES` has.
    pub(crate) fn start(gpus: &str) -> Option<Self> {
        Self::start_with(PROGRAM, gpus)
    }

    fn start_with(program: &str, gpus: &str) -> Option<Self> {
        let mut sampler = Command::new(program)
            .args([QUERY, FORMAT, INTERVAL, "-i", gpus])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(sampler.stdout.take()?).lines();
        let count = gpus.split(',').count();
        let reader = thread::spawn(move || {
            let mut usages = vec![GpuUsage::default(); count];
            // One line for each GPU, again and again.
            lines.map_while(Result::ok).enumerate().for_each(|(index, line)| usages[index % count].add(&line));
            usages
        });
        Some(Self { sampler, reader })
    }

    /// Returns the use of each GPU, in the order of their names.
    pub(crate) fn end(mut self) -> Vec<GpuUsage> {
        // It may have ended by itself.
        let _ = self.sampler.kill();
        let _ = self.sampler.wait();
        self.reader.join().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn samples_of_two_gpus_are_told_apart_and_summed_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("sampler");
        let lines = "10, 1024\\n50, 1\\n[N/A], 3\\n70, 2\\n30, 512\\n0, 4\\n";
        fs::write(&program, format!("#!/bin/sh\n[ \"$5\" = 2,GPU-a ] && printf '{lines}'\n")).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made executable");
        let mut watch = GpuWatch::start_with(program.to_str().expect("UTF-8"), "2,GPU-a").expect("started");
        watch.sampler.wait().expect("it ends by itself");
        let found: Vec<_> = watch.end().iter().map(GpuUsage::mean_utilization_and_peak_memory).collect();
        assert_eq!(found, [Some([20.0, 1024.0 * MIB]), Some([40.0, 4.0 * MIB])]);
    }

    #[test]
    fn without_the_program_or_a_sample_nothing_is_told() {
        assert!(GpuWatch::start_with("no-such-program", "0").is_none());
        let watch = GpuWatch::start_with("/bin/false", "0").expect("started");
        assert_eq!(watch.end()[0].mean_utilization_and_peak_memory(), None);
    }
}
