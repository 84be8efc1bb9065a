//! Which files make up an artifact. Lists them in canonical order; opens none.
//!
//! A symbolic link counts as what it leads to when that lies inside the artifact, and is refused otherwise: following
//! it would make content from elsewhere part of the artifact, skipping it would lose content.

use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result, TreeKind};

/// The files of an artifact, by relative path: bytes, `/` between components, sorted.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) kind: TreeKind,
    pub(crate) files: Vec<ListedFile>,
    /// Directories that hold nothing at all. The root is never among them.
    pub(crate) empty_directories: Vec<Vec<u8>>,
}

/// A file of an artifact.
#[derive(Debug)]
pub(crate) struct ListedFile {
    /// Empty for an artifact that is one file.
    pub(crate) relative: Vec<u8>,
    /// Where to open it: the target, when a symbolic link stands there.
    pub(crate) path: PathBuf,
}

/// Lists the file or directory `root` without the entries named in `ignore`, at any depth. `root` itself may be a
/// symbolic link and may have an ignored name.
///
/// A directory with nothing but ignored entries counts as absent: a left-over `__pycache__` does not change a project.
pub(crate) fn list(root: &Path, ignore: &[&str]) -> Result<Listing> {
    let file_type = fs::metadata(root).map_err(Error::io("read", root))?.file_type();
    if file_type.is_file() {
        let files = vec![ListedFile { relative: Vec::new(), path: root.to_owned() }];
        return Ok(Listing { kind: TreeKind::File, files, empty_directories: Vec::new() });
    }
    let root = fs::canonicalize(root).map_err(Error::io("read", root))?;
    if !file_type.is_dir() {
        return Err(Error::NotRegular { path: root });
    }
    let listing = Listing { kind: TreeKind::Directory, files: Vec::new(), empty_directories: Vec::new() };
    let mut walker = Walker { root: &root, ignore, open: Vec::new(), listing };
    walker.visit_directory(root.clone(), &[])?;
    let mut listing = walker.listing;
    listing.files.sort_unstable_by(|left, right| left.relative.cmp(&right.relative));
    listing.empty_directories.sort_unstable();
    Ok(listing)
}

struct Walker<'a> {
    root: &'a Path,
    ignore: &'a [&'a str],
    /// The real paths of the directories being visited, outermost first.
    open: Vec<PathBuf>,
    listing: Listing,
}

impl Walker<'_> {
    /// Lists the directory at the real path `directory`; returns whether anything of it counts.
    fn visit_directory(&mut self, directory: PathBuf, relative: &[u8]) -> Result<bool> {
        let (mut counts, mut hides) = (false, false);
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let entry = entry.map_err(Error::io("list", &directory))?;
            if self.is_ignored(&entry.file_name()) {
                hides = true;
                continue;
            }
            let file_type = entry.file_type().map_err(Error::io("read", &entry.path()))?;
            self.open.push(directory.clone());
            let entry_counts = self.visit(entry.path(), file_type, &joined(relative, &entry.file_name()))?;
            self.open.pop();
            counts |= entry_counts;
            hides |= !entry_counts;
        }
        if !counts && !hides && !relative.is_empty() {
            self.listing.empty_directories.push(relative.to_owned());
            counts = true;
        }
        Ok(counts)
    }

    fn visit(&mut self, path: PathBuf, file_type: FileType, relative: &[u8]) -> Result<bool> {
        if file_type.is_symlink() {
            let target = self.resolved(&path)?;
            let file_type = fs::metadata(&target).map_err(Error::io("read", &target))?.file_type();
            self.visit(target, file_type, relative)
        } else if file_type.is_dir() {
            self.visit_directory(path, relative)
        } else if file_type.is_file() {
            self.listing.files.push(ListedFile { relative: relative.to_owned(), path });
            Ok(true)
        } else {
            Err(Error::NotRegular { path })
        }
    }

    /// Returns the real path behind a symbolic link, if that may be followed.
    fn resolved(&self, link: &Path) -> Result<PathBuf> {
        let path = link.to_owned();
        match fs::canonicalize(link) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::SymlinkBroken { path }),
            Err(source) => Err(Error::Io { action: "follow", path, source }),
            Ok(target) if !target.starts_with(self.root) => Err(Error::SymlinkEscapes { path, target }),
            Ok(target) if self.open.contains(&target) => Err(Error::SymlinkLoop { path }),
            Ok(target) => Ok(target),
        }
    }

    fn is_ignored(&self, name: &OsStr) -> bool {
        self.ignore.iter().any(|ignored| OsStr::new(ignored) == name)
    }
}

fn joined(relative: &[u8], name: &OsStr) -> Vec<u8> {
    if relative.is_empty() {
        return name.as_bytes().to_owned();
    }
    [relative, b"/", name.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// Makes files (`a/b`), empty directories (`a/`) and symbolic links (`a -> b`).
    fn made(entries: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("temporary directory");
        for entry in entries {
            let (name, target) = entry.split_once(" -> ").map_or((*entry, None), |(name, target)| (name, Some(target)));
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().expect("has a parent")).expect("made");
            match target {
                Some(target) => symlink(target, &path).expect("linked"),
                None if name.ends_with('/') => fs::create_dir_all(&path).expect("made"),
                None => fs::write(&path, name).expect("written"),
            }
        }
        directory
    }

    fn listed(entries: &[&str], ignore: &[&str]) -> Result<String> {
        let directory = made(entries);
        let listing = list(directory.path(), ignore)?;
        let files = listing.files.into_iter().map(|file| file.relative);
        let empty = listing.empty_directories.into_iter().map(|path| [&path[..], b"/"].concat());
        let names: Vec<_> =
            files.chain(empty).map(|name| String::from_utf8(name).expect("the names above are UTF-8")).collect();
        Ok(names.join(" "))
    }

    #[test]
    fn order_is_that_of_the_relative_bytes() {
        assert_eq!(listed(&["b", "a/z", "a.txt", "a/y/x", "é", "Z"], &[]).expect("listed"), "Z a.txt a/y/x a/z b é");
    }

    #[test]
    fn ignored_names_are_left_out_at_any_depth() {
        let entries = ["main.py", "pkg/mod.py", "pkg/__pycache__/mod.pyc", ".git/HEAD", "pkg/.git"];
        assert_eq!(listed(&entries, &["__pycache__", ".git"]).expect("listed"), "main.py pkg/mod.py");
    }

    #[test]
    fn empty_directory_counts_but_one_with_only_ignored_entries_does_not() {
        assert_eq!(listed(&["a/b/", "c/__pycache__/x"], &["__pycache__"]).expect("listed"), "a/b/");
        assert_eq!(listed(&[], &[]).expect("listed"), "");
    }

    #[test]
    fn link_inside_counts_as_its_target() {
        assert_eq!(listed(&["a/x", "b -> a", "c -> a/x"], &[]).expect("listed"), "a/x b/x c");
    }

    #[test]
    fn links_out_to_nowhere_and_around_are_refused() {
        assert!(matches!(listed(&["a -> /dev/null"], &[]), Err(Error::SymlinkEscapes { .. })));
        assert!(matches!(listed(&["a/up -> ../.."], &[]), Err(Error::SymlinkEscapes { .. })));
        assert!(matches!(listed(&["a -> missing"], &[]), Err(Error::SymlinkBroken { .. })));
        assert!(matches!(listed(&["a/b/up -> ../../a"], &[]), Err(Error::SymlinkLoop { .. })));
        assert!(matches!(listed(&["a/b -> ../c", "c/a -> ../a"], &[]), Err(Error::SymlinkLoop { .. })));
        assert!(matches!(listed(&["root -> ."], &[]), Err(Error::SymlinkLoop { .. })));
        assert!(matches!(listed(&["a -> a"], &[]), Err(Error::Io { action: "follow", .. })));
    }

    #[test]
    fn sibling_with_the_same_prefix_is_outside() {
        let directory = made(&["tree/x", "tree-2/y", "tree/link -> ../tree-2/y"]);
        assert!(matches!(list(&directory.path().join("tree"), &[]), Err(Error::SymlinkEscapes { .. })));
    }

    #[test]
    fn socket_is_refused() {
        let directory = made(&["x"]);
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("socket")).expect("bound");
        assert!(matches!(list(directory.path(), &[]), Err(Error::NotRegular { .. })));
    }
}
