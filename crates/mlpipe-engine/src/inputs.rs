//! Input collections as the engine sees them: keyed items with a digest, which a step can be given as a local path.
//!
//! What an item is (a DICOM series, a file) is known only to the source kind that found it.

use std::path::{Path, PathBuf};
use std::{fs, io};

use indexmap::IndexMap;
use mlpipe_artifacts::{Digest, write_atomically};

use crate::error::{Error, Result};

/// Items of all input collections by key, in the order in which the pipeline declares the collections. Keys are safe as
/// file names.
pub type Inputs = IndexMap<String, IndexMap<String, InputItem>>;

/// One item of an input collection.
#[derive(Debug, Clone)]
pub struct InputItem {
    /// Digest of the content: not of names, paths or times.
    pub digest: Digest,
    /// What a step is given.
    pub content: ItemContent,
}

/// What a step is given for an input item.
#[derive(Debug, Clone)]
pub enum ItemContent {
    /// The path itself.
    Path(PathBuf),
    /// A file with this text, which says where the instances lie.
    Manifest(String),
    /// A directory with links of these names to these paths.
    Links(Vec<(String, PathBuf)>),
}

impl InputItem {
    /// Makes the path that a step is given, below `directory` when something has to be written.
    pub(crate) fn write(&self, key: &str, directory: &Path) -> Result<PathBuf> {
        match &self.content {
            ItemContent::Path(path) => Ok(path.clone()),
            ItemContent::Manifest(text) => {
                let path = directory.join(format!("{key}.json"));
                make_directory(directory)?;
                write_atomically(&path, text.as_bytes())?;
                Ok(path)
            }
            ItemContent::Links(links) => {
                let path = directory.join(key);
                link_all(&path, links)?;
                Ok(path)
            }
        }
    }
}

/// Makes `directory` with a symbolic link for each `(name, target)`.
pub(crate) fn link_all(directory: &Path, links: &[(String, PathBuf)]) -> Result<()> {
    make_directory(directory)?;
    for (name, target) in links {
        let link = directory.join(name);
        match std::os::unix::fs::symlink(target, &link) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.map_err(|source| Error::Workspace { path: link, source })?,
        }
    }
    Ok(())
}

pub(crate) fn make_directory(path: &Path) -> Result<()> {
    fs::create_dir_all(path).map_err(|source| Error::Workspace { path: path.into(), source })
}
