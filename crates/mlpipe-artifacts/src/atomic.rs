//! Writing a file so that it is there in full or not at all, also after a power cut.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Error, Result};

/// Writes `bytes` to `path`, replacing what was there: a reader sees the old content or the new one, never a part.
///
/// The bytes reach the disk before the name does, and the name before this returns. The mode is 0666 less the umask.
/// Missing parent directories are not made.
///
/// # Errors
/// [`Error::Io`]; `path` is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically_via(parent_of(path), path, bytes)
}

/// As [`write_atomically`], but what a program that is killed leaves behind lies in `staging`, a directory of the same file
/// system.
///
/// # Errors
/// [`Error::Io`]; `path` is then as it was.
pub fn write_atomically_via(staging: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let directory = parent_of(path);
    let file = written(staging, path, bytes)?;
    file.as_file().sync_all().map_err(Error::io("write", path))?;
    file.persist(path).map_err(|error| Error::io("replace", path)(error.error))?;
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(Error::io("synchronise", directory))
}

/// As [`write_atomically_via`], but without waiting for the disk: a program that is killed loses nothing, a power cut may
/// lose what was written last. For what can be made again, and of which there is much.
///
/// # Errors
/// [`Error::Io`]; `path` is then as it was.
pub fn place_atomically_via(staging: &Path, path: &Path, bytes: &[u8]) -> Result<()> {
    let file = written(staging, path, bytes)?;
    file.persist(path).map_err(|error| Error::io("replace", path)(error.error))?;
    Ok(())
}

fn written(staging: &Path, path: &Path, bytes: &[u8]) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(".tmp-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(staging)
        .map_err(Error::io("create a file in", staging))?;
    file.write_all(bytes).map_err(Error::io("write", path))?;
    Ok(file)
}

/// Returns the directory that holds `path`: `.` for a bare file name.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn content_is_replaced_and_nothing_else_is_left_behind() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("result.json");
        for content in ["old", "a newer and longer one", ""] {
            write_atomically(&path, content.as_bytes()).expect("written");
            assert_eq!(fs::read_to_string(&path).expect("read"), content);
        }
        assert_eq!(fs::read_dir(directory.path()).expect("listed").count(), 1);
    }

    #[test]
    fn file_appears_beside_an_empty_staging_directory() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (staging, path) = (directory.path().join("tmp"), directory.path().join("result.json"));
        fs::create_dir(&staging).expect("made");
        write_atomically_via(&staging, &path, b"content").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("read"), "content");
        assert_eq!(fs::read_dir(&staging).expect("listed").count(), 0);
    }

    #[test]
    fn missing_directory_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let missing = directory.path().join("missing");
        let error = write_atomically(&missing.join("file"), b"x").expect_err("refused");
        assert!(error.to_string().contains("missing"), "{error}");
    }

    #[test]
    fn new_file_is_readable_as_the_umask_allows() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let (ours, plain) = (directory.path().join("ours"), directory.path().join("plain"));
        write_atomically(&ours, b"x").expect("written");
        fs::write(&plain, b"x").expect("written");
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode();
        assert_eq!(mode(&ours), mode(&plain));
    }

    #[test]
    fn bare_file_name_lies_in_the_current_directory() {
        assert_eq!(parent_of(Path::new("file")), Path::new("."));
        assert_eq!(parent_of(Path::new("/file")), Path::new("/"));
    }
}
