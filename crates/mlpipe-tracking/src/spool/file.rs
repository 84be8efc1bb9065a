//! Reading and writing the two files of a spool. Their lock is the kernel's: whoever delivers, or writes, holds it.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::entry::{Ack, Entry, RemoteHandle, SPOOL_FORMAT};
use crate::{Error, Result, RunId};

/// Bytes of a spool that are read at once.
const WINDOW_BYTES: u64 = 256 << 10;

/// A spool that is written to; its lock is held.
#[derive(Debug)]
pub(super) struct SpoolFile {
    path: PathBuf,
    file: File,
    /// Bytes that are there to be read.
    pub(super) length: u64,
    pub(super) lines: usize,
}

impl SpoolFile {
    /// Begins a spool. Nobody sees it before it is locked and has its first line.
    pub(super) fn create(directory: &Path, first: &Entry, run_id: &RunId) -> Result<Self> {
        let path = spool_path(directory, run_id);
        let staging = directory.join(format!(".{run_id}.new"));
        let make = || {
            fs::create_dir_all(directory)?;
            let file =
                File::options().create(true).truncate(true).append(false).write(true).read(true).open(&staging)?;
            file.try_lock().map_err(|error| match error {
                TryLockError::Error(error) => error,
                TryLockError::WouldBlock => std::io::ErrorKind::WouldBlock.into(),
            })?;
            Ok(file)
        };
        let file = make().map_err(|source| Error::LocalFile { path: staging.clone(), source })?;
        let mut spool = Self { path: staging.clone(), file, length: 0, lines: 0 };
        spool.append(first)?;
        fs::rename(&staging, &path).map_err(|source| Error::LocalFile { path: path.clone(), source })?;
        Ok(Self { path, ..spool })
    }

    /// Opens a spool of which nobody else has the lock; none when somebody has, or when it is gone. A last line that was cut
    /// short is removed.
    pub(super) fn take(path: &Path) -> Result<Option<Self>> {
        let failed = |source| Error::LocalFile { path: path.to_owned(), source };
        let mut file = match File::options().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whoever had it may have delivered and removed it while we opened it.
        if !path.exists() {
            return Ok(None);
        }
        let bytes = fs::read(path).map_err(failed)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
        file.set_len(whole as u64).map_err(failed)?;
        file.seek(SeekFrom::End(0)).map_err(failed)?;
        let lines = bytes[..whole].iter().filter(|byte| **byte == b'\n').count();
        Ok(Some(Self { path: path.to_owned(), file, length: whole as u64, lines }))
    }

    /// Appends a line. It survives the end of this program; a power cut may take it.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<()> {
        let mut line = serde_json::to_vec(entry).expect("an entry has string keys");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| Error::LocalFile { path: self.path.clone(), source })?;
        self.length += line.len() as u64;
        self.lines += 1;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the spool: everything is delivered.
    pub(super) fn remove(&self) {
        // The notes last: without them, a spool that is left would be delivered anew.
        let removed = fs::remove_file(&self.path).and_then(|()| fs::remove_file(ack_path(&self.path)));
        if let Err(error) = removed {
            tracing::warn!(spool = %self.path.display(), %error, "a delivered spool cannot be removed");
        }
    }
}

/// Lines of a spool with where each begins, and where the next one will.
#[derive(Debug, Default)]
pub(super) struct Window {
    pub(super) entries: Vec<(u64, Entry)>,
    pub(super) end: u64,
}

/// Reads the lines that lie between two positions, at most about [`WINDOW_BYTES`].
pub(super) fn read(path: &Path, from: u64, to: u64) -> Result<Window> {
    let failed = |source| Error::LocalFile { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(from)).map_err(failed)?;
    let mut reader = BufReader::new(file);
    let mut window = Window { entries: Vec::new(), end: from };
    let mut line = String::new();
    while window.end < to && window.end - from < WINDOW_BYTES {
        line.clear();
        let length = reader.read_line(&mut line).map_err(failed)? as u64;
        if !line.ends_with('\n') {
            break;
        }
        let entry = serde_json::from_str(&line).map_err(|error| Error::SpoolDamaged {
            path: path.to_owned(),
            line: window.entries.len() + 1,
            reason: format!("after byte {}: {error}", window.end),
        })?;
        window.entries.push((window.end, entry));
        window.end += length;
    }
    Ok(window)
}

/// Reads where the runs of a spool go: the run, the server and the experiment.
pub(super) fn read_head(path: &Path) -> Result<(RunId, String, String)> {
    let damaged = |reason: &str| Error::SpoolDamaged { path: path.to_owned(), line: 1, reason: reason.to_owned() };
    // One line is all of a window that ends before the second.
    match read(path, 0, 1)?.entries.into_iter().next() {
        Some((_, Entry::Began { format, run_id, uri, experiment })) if format == SPOOL_FORMAT => {
            Ok((run_id, uri, experiment))
        }
        Some((_, Entry::Began { .. })) => Err(damaged("another version of mlpipe wrote it")),
        _ => Err(damaged("it does not say where it goes")),
    }
}

/// What is noted about the delivery of a spool.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) delivered: u64,
    pub(super) lines: usize,
    pub(super) uploaded: HashSet<u64>,
    pub(super) runs: HashMap<RunId, RemoteHandle>,
    /// Runs that may have been made.
    pub(super) creating: HashSet<RunId>,
}

impl Notes {
    pub(super) fn read(spool: &Path) -> Result<Self> {
        let path = ack_path(spool);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(Error::LocalFile { path, source }),
        };
        let mut notes = Self::default();
        // A line cut short by a crash notes nothing: what it was about is done again.
        for ack in text.lines().filter_map(|line| serde_json::from_str::<Ack>(line).ok()) {
            notes.note(ack);
        }
        Ok(notes)
    }

    pub(super) fn note(&mut self, ack: Ack) {
        match ack {
            Ack::Creating { run_id } => drop(self.creating.insert(run_id)),
            Ack::Created { run_id, remote } => {
                self.creating.remove(&run_id);
                self.runs.insert(run_id, remote);
            }
            Ack::Delivered { bytes, lines } => (self.delivered, self.lines) = (bytes, lines),
            Ack::Uploaded { at } => drop(self.uploaded.insert(at)),
        }
    }
}

/// Appends to what is noted about a delivery.
#[derive(Debug)]
pub(super) struct NoteFile {
    path: PathBuf,
    file: File,
}

impl NoteFile {
    pub(super) fn open(spool: &Path) -> Result<Self> {
        let path = ack_path(spool);
        let open = || {
            let mut file = File::options().create(true).append(true).open(&path)?;
            // After a line that a crash has cut short; an empty line notes nothing.
            if file.metadata()?.len() > 0 {
                file.write_all(b"\n")?;
            }
            Ok(file)
        };
        match open() {
            Ok(file) => Ok(Self { path, file }),
            Err(source) => Err(Error::LocalFile { path, source }),
        }
    }

    pub(super) fn append(&mut self, ack: &Ack) -> Result<()> {
        let mut line = serde_json::to_vec(ack).expect("a note has string keys");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|source| Error::LocalFile { path: self.path.clone(), source })
    }
}

/// Returns the spools of a directory, in order of their names.
pub(super) fn spools(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::LocalFile { path: directory.to_owned(), source }),
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|ext| ext == "ndjson")).collect();
    paths.sort();
    Ok(paths)
}

fn spool_path(directory: &Path, run_id: &RunId) -> PathBuf {
    directory.join(format!("{run_id}.ndjson"))
}

fn ack_path(spool: &Path) -> PathBuf {
    spool.with_extension("ack")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_cut_short_is_removed_and_a_spool_has_one_holder() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let run_id = RunId::random();
        let began = Entry::Began {
            format: SPOOL_FORMAT.to_owned(),
            run_id: run_id.clone(),
            uri: "http://host".to_owned(),
            experiment: "e".to_owned(),
        };
        let mut spool = SpoolFile::create(directory.path(), &began, &run_id).expect("made");
        let path = spool.path().to_owned();
        assert!(SpoolFile::take(&path).expect("readable").is_none(), "its writer is alive");
        let artifacts = Entry::Artifacts { run_id: run_id.clone(), directory: "a".into(), paths: Vec::new() };
        spool.append(&artifacts).expect("written");
        let whole = spool.length;
        drop(spool);
        let append = |text: &[u8]| File::options().append(true).open(&path).and_then(|mut file| file.write_all(text));
        append(b"{\"entry\": \"rec").expect("written");
        let spool = SpoolFile::take(&path).expect("readable").expect("nobody has it");
        assert_eq!((spool.length, spool.lines), (whole, 2));
        assert_eq!(read(&path, 0, spool.length).expect("read").entries[1].1, artifacts);
        assert_eq!(read_head(&path).expect("read"), (run_id, "http://host".to_owned(), "e".to_owned()));
    }

    #[test]
    fn run_that_may_have_been_made_is_known_until_it_was() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (path, run_id) = (directory.path().join("r.ndjson"), RunId::random());
        let mut notes = NoteFile::open(&path).expect("opened");
        notes.append(&Ack::Creating { run_id: run_id.clone() }).expect("written");
        notes.append(&Ack::Delivered { bytes: 10, lines: 2 }).expect("written");
        let read = Notes::read(&path).expect("read");
        assert!(read.creating.contains(&run_id) && read.delivered == 10);
        let remote = RemoteHandle { remote: "x".to_owned(), artifact_uri: String::new(), holder: None };
        notes.append(&Ack::Created { run_id: run_id.clone(), remote: remote.clone() }).expect("written");
        let read = Notes::read(&path).expect("read");
        assert!(read.creating.is_empty());
        assert_eq!(read.runs[&run_id], remote);
    }
}
