//! Local files of artifacts.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Returns the files at or below a path, each with its name below `name`, sorted; none where nothing lies.
pub(crate) fn files_below(path: &Path, name: &str) -> Result<Vec<(String, PathBuf)>> {
    let failed = |source| Error::LocalFile { path: path.to_owned(), source };
    let metadata = match path.metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.is_dir() {
        return Ok(vec![(name.to_owned(), path.to_owned())]);
    }
    let entries = path.read_dir().map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut entries: Vec<PathBuf> = entries.collect::<std::io::Result<_>>().map_err(failed)?;
    entries.sort();
    let mut files = Vec::new();
    for entry in entries {
        // A server's artifacts have names that are texts.
        let Some(child) = entry.file_name().and_then(|name| name.to_str()) else { continue };
        let name = if name.is_empty() { child.to_owned() } else { format!("{name}/{child}") };
        files.extend(files_below(&entry, &name)?);
    }
    Ok(files)
}
