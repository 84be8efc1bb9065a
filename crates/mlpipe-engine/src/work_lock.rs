//! Who is doing a piece of work: a kernel lock per fingerprint, so that drivers on one state directory wait for each other
//! instead of doing the same work twice.
//!
//! The lock is on a file `locks/ab/cdef...`; the kernel lets go of it when its holder ends, however that ends. A file is
//! never removed by who holds it, it is emptied; [`crate::collect_garbage`] removes free ones while no run is under way.

use std::fs::File;
use std::io::{Read, Seek, Write};

use mlpipe_artifacts::Digest;
use mlpipe_tracking::RunId;
use rustix::fs::FlockOperation;

use crate::error::{Error, Result};
use crate::workspace::Workspace;

/// Digits of a run's id.
const RUN_ID_LENGTH: usize = 32;

/// Held while the work is done.
#[derive(Debug)]
pub(crate) struct WorkLock {
    file: File,
}

/// Answer to the wish to do a piece of work.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nobody else is doing it.
    Free(WorkLock),
    /// A run is: this one, as far as it has said so yet.
    Held { by: Option<String> },
}

impl WorkLock {
    /// Takes the lock in the name of a pipeline run, if it is free.
    pub(crate) fn take(workspace: &Workspace, fingerprint: Digest, run_id: &RunId) -> Result<Claim> {
        let path = workspace.work_lock_path(&fingerprint.to_string());
        let take = || {
            std::fs::create_dir_all(path.parent().expect("a lock lies in a directory"))?;
            let mut file = File::options().create(true).truncate(false).read(true).write(true).open(&path)?;
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    file.set_len(0)?;
                    file.write_all(run_id.as_str().as_bytes())?;
                    Ok(Claim::Free(Self { file }))
                }
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(Claim::Held { by: holder(&mut file)? }),
                Err(errno) => Err(std::io::Error::from(errno)),
            }
        };
        take().map_err(|source| Error::Workspace { path: path.clone(), source })
    }
}

impl Drop for WorkLock {
    fn drop(&mut self) {
        // An old name in a free lock misleads nobody.
        let _ = self.file.set_len(0);
    }
}

/// Returns how many locks a driver may hold: half of the files that it may have open.
pub(crate) fn most_locks() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX) / 2)
}

fn holder(file: &mut File) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    // A name that is being written is no name yet.
    Ok(Some(text).filter(|text| text.len() == RUN_ID_LENGTH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_taker_hears_who_holds_the_lock_until_it_is_let_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::open(folder.path()).expect("a state directory");
        let (work, first, second) = (Digest::of(b"work"), RunId::random(), RunId::random());
        let held = WorkLock::take(&workspace, work, &first).expect("usable");
        assert!(matches!(held, Claim::Free(_)));
        let Claim::Held { by } = WorkLock::take(&workspace, work, &second).expect("usable") else { panic!("held") };
        assert_eq!(by.as_deref(), Some(first.as_str()));
        drop(held);
        assert!(matches!(WorkLock::take(&workspace, work, &second), Ok(Claim::Free(_))));
    }
}
