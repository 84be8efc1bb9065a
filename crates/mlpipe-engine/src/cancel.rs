//! Stops a run from another terminal: asks its driver, which is known by the lock that it holds.
//!
//! The lock file names a process, but what counts is the lock: a process is asked only while the lock is held and only if
//! it has the lock file open itself. So neither a process id that was given out again nor one of another machine misleads.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use mlpipe_tracking::RunId;
use rustix::process::{Pid, PidfdFlags, Signal};

use crate::error::{Error, Result};
use crate::workspace::{RUN_LOCK_FILE, Workspace, is_locked};

/// What came of the wish to stop a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// Its driver was asked to stop; asked once more, it ends its steps at once.
    Asked,
    /// It is not under way.
    NotUnderWay,
    /// It is, but its driver is no process that can be seen from here: it runs on another machine or in another container.
    DriverElsewhere,
}

/// Asks the driver of a run to stop, as Ctrl-C in its terminal would.
///
/// # Errors
/// When the lock or the process cannot be used.
pub fn cancel(workspace: &Workspace, run: &RunId) -> Result<Cancelled> {
    let directory = workspace.run_directory(run);
    if !is_locked(&directory)? {
        return Ok(Cancelled::NotUnderWay);
    }
    let path = directory.join(RUN_LOCK_FILE);
    let ask = || -> std::io::Result<Cancelled> {
        let Some(process) = driver(&fs::read_to_string(&path)?) else { return Ok(Cancelled::DriverElsewhere) };
        // From here on the handle means this process, whatever happens to its number.
        let handle = match rustix::process::pidfd_open(process, PidfdFlags::empty()) {
            Ok(handle) => handle,
            Err(rustix::io::Errno::SRCH) => return Ok(Cancelled::DriverElsewhere),
            Err(errno) => return Err(errno.into()),
        };
        if !has_open(process, &fs::metadata(&path)?) {
            return Ok(Cancelled::DriverElsewhere);
        }
        rustix::process::pidfd_send_signal(&handle, Signal::TERM)?;
        Ok(Cancelled::Asked)
    };
    match ask().map_err(|source| Error::Workspace { path: path.clone(), source })? {
        // It may have ended while it was looked at.
        Cancelled::DriverElsewhere if !is_locked(&directory)? => Ok(Cancelled::NotUnderWay),
        other => Ok(other),
    }
}

/// A line that is complete; else the driver has only just begun, or somebody else has the lock.
fn driver(text: &str) -> Option<Pid> {
    Pid::from_raw(text.strip_suffix('\n')?.parse().ok()?)
}

fn has_open(process: Pid, file: &Metadata) -> bool {
    let directory = format!("/proc/{}/fd", process.as_raw_nonzero());
    let Ok(entries) = fs::read_dir(Path::new(&directory)) else { return false };
    let same = |open: Metadata| (open.dev(), open.ino()) == (file.dev(), file.ino());
    entries.flatten().any(|entry| fs::metadata(entry.path()).is_ok_and(same))
}
