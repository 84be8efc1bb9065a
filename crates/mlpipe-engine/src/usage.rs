//! What an attempt's process used, with what it started and waited for: recorded as MLflow's `system/` metrics.
//!
//! The kernel counts anyway: CPU time and peak memory are those of `wait4(2)`, bytes those of `/proc/PID/io`, read when the
//! process has ended and before it is waited for. Peak memory is that of the largest of the processes. Bytes are those that
//! went to and came from storage: what the page cache held does not count.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use wait4::Wait4;

use crate::gpu::GpuUsage;

/// What a process used.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Usage {
    cpu_user: Duration,
    cpu_system: Duration,
    memory_peak_bytes: u64,
    /// None where the kernel does not tell.
    storage: Option<Storage>,
    wall: Duration,
    /// Of each GPU that the process held.
    pub(crate) gpus: Vec<GpuUsage>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Storage {
    read_bytes: u64,
    written_bytes: u64,
}

impl Usage {
    /// Waits for a process that was started at `started`; returns how it ended and what it used.
    pub(crate) fn of(child: &mut Child, started: Instant) -> io::Result<(ExitStatus, Self)> {
        let pid = Pid::from_child(child);
        // It stays a zombie, whose counters can be read; an error shows below, too.
        let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let wall = started.elapsed();
        let storage = fs::read_to_string(format!("/proc/{}/io", child.id())).ok().and_then(|text| storage(&text));
        let ended = child.wait4()?;
        let used = ended.rusage;
        let (cpu_user, cpu_system) = (used.utime, used.stime);
        let usage = Self { cpu_user, cpu_system, memory_peak_bytes: used.maxrss, storage, wall, gpus: Vec::new() };
        Ok((ended.status, usage))
    }

    /// Returns the metrics, by MLflow's names where it has one.
    pub(crate) fn metrics(&self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::from([
            ("system/cpu_user_s".to_owned(), self.cpu_user.as_secs_f64()),
            ("system/cpu_system_s".to_owned(), self.cpu_system.as_secs_f64()),
            ("system/memory_peak_bytes".to_owned(), self.memory_peak_bytes as f64),
            ("system/wall_s".to_owned(), self.wall.as_secs_f64()),
        ]);
        if let Some(storage) = self.storage {
            metrics.insert("system/storage_read_bytes".to_owned(), storage.read_bytes as f64);
            metrics.insert("system/storage_written_bytes".to_owned(), storage.written_bytes as f64);
        }
        for (index, gpu) in self.gpus.iter().enumerate() {
            if let Some([utilization, memory]) = gpu.mean_utilization_and_peak_memory() {
                metrics.insert(format!("system/gpu_{index}_utilization_percentage"), utilization);
                metrics.insert(format!("system/gpu_{index}_memory_peak_bytes"), memory);
            }
        }
        metrics
    }
}

/// Reads `/proc/PID/io` (proc_pid_io(5)).
fn storage(text: &str) -> Option<Storage> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some(Storage { read_bytes: field("read_bytes:")?, written_bytes: field("write_bytes:")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_has_used_cpu_and_memory_and_what_it_wrote() {
        let started = Instant::now();
        let busy = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exit 3";
        let mut child = std::process::Command::new("/bin/sh").args(["-c", busy]).spawn().expect("a shell");
        let (status, usage) = Usage::of(&mut child, started).expect("waited for");
        assert_eq!(status.code(), Some(3));
        let metrics = usage.metrics();
        assert!(metrics["system/cpu_user_s"] > 0.0 && metrics["system/cpu_user_s"] <= metrics["system/wall_s"] + 0.02);
        assert!(metrics["system/memory_peak_bytes"] > 100_000.0, "{metrics:?}");
    }

    #[test]
    fn counters_of_storage_are_read_by_name() {
        let text =
            "rchar: 9\nwchar: 8\nsyscr: 7\nsyscw: 6\nread_bytes: 4096\nwrite_bytes: 512\ncancelled_write_bytes: 0\n";
        assert_eq!(storage(text), Some(Storage { read_bytes: 4096, written_bytes: 512 }));
        assert_eq!(storage(""), None);
    }
}
