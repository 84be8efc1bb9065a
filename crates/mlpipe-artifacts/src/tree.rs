//! The content of an artifact, a file or a directory, as one value with one digest.
//!
//! The digest is BLAKE3 in its key derivation mode under the context [`CONTEXT`], over: the kind (1 byte: 0 file,
//! 1 directory); the number of files; for each, in the order of the path's bytes, the path and the 32-byte digest of
//! its content; the number of empty directories; for each, in order, its path. Numbers are u64, little endian; a path
//! is preceded by its length. So the name of the root, times, owners, mode bits and the order of listing do not count.
//!
//! The executable bit is kept in a [`Tree`], to be given back, but does not count either: file systems that are mounted
//! from a network or another operating system report it for every file, and the same data would differ by where it lies.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::store::{EXECUTABLE, utf8};
use crate::walk::{ListedFile, list};
use crate::{Digest, Error, Result, digest_file};

/// Names what is digested and how; a change of the encoding gets another number.
const CONTEXT: &str = "mlpipe artifact tree 1";

/// Whether an artifact is one file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TreeKind {
    /// One file, whatever its name.
    File,
    /// A directory with any number of files.
    Directory,
}

/// The content of an artifact: what [`crate::ContentStore::commit`] stored and can give back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tree {
    /// Whether it is one file or a directory.
    pub kind: TreeKind,
    /// The files, in the order of their paths' bytes.
    pub entries: Vec<TreeEntry>,
    /// Paths of the directories that hold nothing, in order. They are content: an entry of a collection may be empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub empty_directories: Vec<String>,
}

/// A file of an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Relative path, `/` between its components; empty for an artifact that is one file.
    pub path: String,
    /// Digest of the file's bytes.
    pub digest: Digest,
    /// Size in bytes.
    pub size: u64,
    /// Whether the owner may execute the file.
    pub executable: bool,
}

impl Tree {
    /// Reads the content of a file or a directory, leaving out the entries named in `ignore`, at any depth. Nothing is
    /// stored; files are read in parallel.
    ///
    /// # Errors
    /// Those of [`digest_tree`], and [`Error::NotUtf8`] for a name that cannot be recorded.
    pub fn read(path: &Path, ignore: &[&str]) -> Result<Self> {
        Self::read_with(path, ignore, digest_file)
    }

    pub(crate) fn read_with(
        path: &Path,
        ignore: &[&str],
        digest: impl Fn(&Path) -> Result<Digest> + Sync,
    ) -> Result<Self> {
        let listing = list(path, ignore)?;
        let entry = |file: &ListedFile| {
            let metadata = std::fs::metadata(&file.path).map_err(Error::io("read", &file.path))?;
            Ok(TreeEntry {
                path: utf8(&file.relative, path)?,
                digest: digest(&file.path)?,
                size: metadata.len(),
                executable: metadata.permissions().mode() & EXECUTABLE != 0,
            })
        };
        let empty_directories = listing.empty_directories.iter().map(|relative| utf8(relative, path));
        Ok(Self {
            kind: listing.kind,
            entries: listing.files.par_iter().map(entry).collect::<Result<_>>()?,
            empty_directories: empty_directories.collect::<Result<_>>()?,
        })
    }

    /// Returns the digest of the artifact, the same that [`digest_tree`] gives for this content on disk.
    pub fn digest(&self) -> Digest {
        let mut files: Vec<_> = self.entries.iter().map(|entry| (entry.path.as_bytes(), entry.digest)).collect();
        files.sort_unstable();
        let mut empty_directories: Vec<_> = self.empty_directories.iter().map(String::as_bytes).collect();
        empty_directories.sort_unstable();
        canonical_digest(self.kind, files.into_iter(), empty_directories.into_iter())
    }

    /// Returns the size of all files together, in bytes.
    pub fn total_size(&self) -> u64 {
        self.entries.iter().map(|entry| entry.size).sum()
    }

    /// Refuses a tree that would be written outside of its destination, or that cannot be a file or a directory.
    pub(crate) fn check(&self) -> Result<()> {
        let invalid = |reason, path: &str| Err(Error::InvalidTree { reason, path: path.to_owned() });
        if self.kind == TreeKind::File {
            let one = self.entries.len() == 1 && self.entries[0].path.is_empty() && self.empty_directories.is_empty();
            return if one { Ok(()) } else { invalid("a file has exactly one entry, without a path", "") };
        }
        let paths = self.entries.iter().map(|entry| &entry.path).chain(&self.empty_directories);
        for path in paths {
            let plain = |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\0');
            if !path.split('/').all(plain) {
                return invalid("not a plain relative path", path);
            }
        }
        Ok(())
    }
}

/// Returns the digest of a file or a directory, without the entries named in `ignore`, at any depth (`.git`,
/// `__pycache__`, `.mlpipe`).
///
/// A directory with nothing but ignored entries counts as absent, an empty one counts as content. `path` may be a
/// symbolic link. Files are read in parallel.
///
/// # Errors
/// [`Error::Io`], and the refusals of symbolic links ([`Error::SymlinkEscapes`], [`Error::SymlinkBroken`],
/// [`Error::SymlinkLoop`]) and of things that are no files ([`Error::NotRegular`]).
pub fn digest_tree(path: &Path, ignore: &[&str]) -> Result<Digest> {
    digest_tree_with(path, ignore, digest_file)
}

pub(crate) fn digest_tree_with(
    path: &Path,
    ignore: &[&str],
    digest: impl Fn(&Path) -> Result<Digest> + Sync,
) -> Result<Digest> {
    let listing = list(path, ignore)?;
    // Handing one file to other threads costs more than reading it.
    let digests = match listing.files.as_slice() {
        [file] => vec![digest(&file.path)?],
        files => files.par_iter().map(|file| digest(&file.path)).collect::<Result<Vec<_>>>()?,
    };
    let files = listing.files.iter().map(|file| file.relative.as_slice()).zip(digests);
    Ok(canonical_digest(listing.kind, files, listing.empty_directories.iter().map(Vec::as_slice)))
}

/// Returns the digest of an artifact that is one file with this content.
pub(crate) fn digest_of_one_file(content: Digest) -> Digest {
    canonical_digest(TreeKind::File, [(b"".as_slice(), content)].into_iter(), [].into_iter())
}

/// Digests paths that are in order.
fn canonical_digest<'a>(
    kind: TreeKind,
    files: impl ExactSizeIterator<Item = (&'a [u8], Digest)>,
    empty_directories: impl ExactSizeIterator<Item = &'a [u8]>,
) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(&[match kind {
        TreeKind::File => 0,
        TreeKind::Directory => 1,
    }]);
    update_with_length(&mut hasher, files.len());
    for (path, digest) in files {
        update_with_length(&mut hasher, path.len());
        hasher.update(path).update(digest.as_bytes());
    }
    update_with_length(&mut hasher, empty_directories.len());
    for path in empty_directories {
        update_with_length(&mut hasher, path.len());
        hasher.update(path);
    }
    hasher.finalize().into()
}

fn update_with_length(hasher: &mut blake3::Hasher, length: usize) {
    hasher.update(&(length as u64).to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Writes `(path, content)` pairs below a new directory called `name`; a path that ends in `/` is a directory.
    fn written(name: &str, files: &[(&str, &str)]) -> (tempfile::TempDir, std::path::PathBuf) {
        let parent = tempfile::tempdir().expect("temporary directory");
        let root = parent.path().join(name);
        fs::create_dir(&root).expect("made");
        for (path, content) in files {
            let path_on_disk = root.join(path);
            if path.ends_with('/') {
                fs::create_dir_all(&path_on_disk).expect("made");
                continue;
            }
            fs::create_dir_all(path_on_disk.parent().expect("has a parent")).expect("made");
            fs::write(&path_on_disk, content).expect("written");
        }
        (parent, root)
    }

    fn digest_of(files: &[(&str, &str)]) -> Digest {
        let (_parent, root) = written("root", files);
        digest_tree(&root, &[]).expect("digested")
    }

    #[test]
    fn name_of_the_root_order_of_writing_and_times_do_not_count() {
        let (_first_parent, first) = written("first", &[("a", "1"), ("b/c", "2"), ("größe", "3")]);
        let (_second_parent, second) = written("second", &[("größe", "3"), ("b/c", "2"), ("a", "1")]);
        let long_ago = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        fs::File::open(second.join("a")).and_then(|file| file.set_times(long_ago)).expect("times set");
        assert_eq!(digest_tree(&first, &[]).expect("digested"), digest_tree(&second, &[]).expect("digested"));
    }

    #[test]
    fn executable_bit_does_not_count() {
        let (_parent, root) = written("root", &[("run.sh", "exit 0")]);
        let before = digest_tree(&root, &[]).expect("digested");
        fs::set_permissions(root.join("run.sh"), fs::Permissions::from_mode(0o755)).expect("mode set");
        assert_eq!(digest_tree(&root, &[]).expect("digested"), before);
    }

    #[test]
    fn every_difference_in_content_counts() {
        let variants: [&[(&str, &str)]; 8] = [
            &[],
            &[("a", "content")],
            &[("a", "contenu")],
            &[("b", "content")],
            &[("b/a", "content")],
            &[("a", "content"), ("e/", "")],
            &[("a", "content"), ("e", "")],
            &[("a", ""), ("content", "")],
        ];
        let digests: std::collections::BTreeSet<_> = variants.iter().map(|files| digest_of(files)).collect();
        assert_eq!(digests.len(), variants.len());
    }

    #[test]
    fn file_and_directory_with_one_file_differ() {
        let (_parent, root) = written("root", &[("a", "x")]);
        assert_ne!(digest_tree(&root.join("a"), &[]).expect("digested"), digest_tree(&root, &[]).expect("digested"),);
    }

    #[test]
    fn link_inside_has_the_digest_of_a_copy() {
        let (_parent, root) = written("root", &[("a", "x")]);
        std::os::unix::fs::symlink("a", root.join("b")).expect("linked");
        assert_eq!(digest_tree(&root, &[]).expect("digested"), digest_of(&[("a", "x"), ("b", "x")]));
    }

    #[test]
    fn encoding_is_the_documented_one() {
        let mut bytes = vec![1];
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(3_u64.to_le_bytes());
        bytes.extend(b"d/f");
        bytes.extend(Digest::of(b"x").as_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(1_u64.to_le_bytes());
        bytes.extend(b"e");
        let expected = blake3::derive_key("mlpipe artifact tree 1", &bytes);
        assert_eq!(digest_of(&[("d/f", "x"), ("e/", "")]).as_bytes(), &expected);
    }

    #[test]
    fn tree_read_from_disk_has_the_digest_of_the_disk() {
        let files = [("a", "x"), ("größe/b", "yz"), ("vacant/", ""), (".git/HEAD", "ref")];
        let (_parent, root) = written("root", &files);
        let tree = Tree::read(&root, &[".git"]).expect("read");
        assert_eq!(tree.digest(), digest_tree(&root, &[".git"]).expect("digested"));
        assert_eq!((tree.entries.len(), tree.total_size(), tree.empty_directories.len()), (2, 3, 1));
        let file = Tree::read(&root.join("a"), &[]).expect("read");
        assert_eq!((file.kind, file.entries[0].path.as_str()), (TreeKind::File, ""));
    }

    #[test]
    fn tree_survives_json_and_order_of_entries_does_not_count() {
        let entry = |path: &str| TreeEntry {
            path: path.to_owned(),
            digest: Digest::of(path.as_bytes()),
            size: path.len() as u64,
            executable: false,
        };
        let tree = Tree {
            kind: TreeKind::Directory,
            entries: vec![entry("b"), entry("a")],
            empty_directories: vec!["c".to_owned()],
        };
        let json = serde_json::to_string(&tree).expect("serialises");
        assert_eq!(serde_json::from_str::<Tree>(&json).expect("parses"), tree);
        assert_eq!(tree.digest(), digest_of(&[("a", "a"), ("b", "b"), ("c/", "")]));
        assert_eq!(tree.total_size(), 2);
    }
}
