//! What a step makes of the GPUs that it holds: asked of NVIDIA's own `nvidia-smi` once a second while the step runs. Where that
//! program is missing or knows none of them, nothing is recorded. It counts GPUs in the order of the PCI bus, as CUDA does where all are
//! alike or `CUDA_DEVICE_ORDER=PCI_BUS_ID` is set.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};

const PROGRAM: &str = "nvidia-smi";
const QUERY: &str = "--query-gpu=index,uuid,utilization.gpu,memory.used";
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

    fn add(&mut self, utilization: f64, memory_mib: f64) {
        self.samples += 1;
        self.utilization_sum += utilization;
        self.memory_peak_bytes = self.memory_peak_bytes.max(memory_mib * MIB);
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
        Self::start_with(Command::new(PROGRAM), gpus)
    }

    fn start_with(mut program: Command, gpus: &str) -> Option<Self> {
        let mut sampler = program
            .args([QUERY, FORMAT, INTERVAL, "-i", gpus])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let lines = BufReader::new(sampler.stdout.take()?).lines();
        let names: Vec<String> = gpus.split(',').map(|name| name.trim().to_owned()).collect();
        let reader = thread::spawn(move || {
            let mut usages = vec![GpuUsage::default(); names.len()];
            for line in lines.map_while(Result::ok) {
                if let Some((gpu, utilization, memory_mib)) = sample(&line, &names) {
                    usages[gpu].add(utilization, memory_mib);
                }
            }
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

/// Returns which of the GPUs a line is about, with its numbers; a name is a number, or a UUID or its beginning.
fn sample(line: &str, names: &[String]) -> Option<(usize, f64, f64)> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [index, uuid, utilization, memory_mib] = fields[..] else { return None };
    let gpu =
        names.iter().position(|name| name == index || name.starts_with("GPU-") && uuid.starts_with(name.as_str()))?;
    Some((gpu, utilization.parse().ok()?, memory_mib.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_two_gpus_are_told_apart_and_summed_up() {
        let lines = "0, GPU-ab, 50, 1\\n2, GPU-c, 10, 1024\\n0, GPU-ab, 70, 2\\n2, GPU-c, [N/A], 3\\n0, GPU-ab, 0, 4\\n2, GPU-c, 30, 512\\n";
        let mut program = Command::new("/bin/sh");
        // The arguments of the program follow, counted from 0.
        program.args(["-c", &format!("[ \"$4\" = 2,GPU-a ] && printf '{lines}'")]);
        let mut watch = GpuWatch::start_with(program, "2,GPU-a").expect("started");
        watch.sampler.wait().expect("it ends by itself");
        let found: Vec<_> = watch.end().iter().map(GpuUsage::mean_utilization_and_peak_memory).collect();
        assert_eq!(found, [Some([20.0, 1024.0 * MIB]), Some([40.0, 4.0 * MIB])]);
    }

    #[test]
    fn without_the_program_or_a_sample_nothing_is_told() {
        assert!(GpuWatch::start_with(Command::new("no-such-program"), "0").is_none());
        let watch = GpuWatch::start_with(Command::new("/bin/false"), "0").expect("started");
        assert_eq!(watch.end()[0].mean_utilization_and_peak_memory(), None);
    }
}
