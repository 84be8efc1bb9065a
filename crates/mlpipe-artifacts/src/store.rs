//! The content store: every distinct file content once, under its digest, read-only.
//!
//! `cas/ab/cdef...` holds the content whose digest is `abcdef...`; `tmp/` holds files on their way in. A content gets
//! its name by a hard link or a rename when it is complete, so any number of processes may commit and read at once
//! without a lock. What is stored is never written to again, and nothing here deletes it.
//!
//! Moving a file in does not wait for the disk: a program that dies loses nothing. After a power cut the common file
//! systems (ext4 in its default mode, XFS, Btrfs) show a file whose data had not been written as too short, which
//! [`ContentStore::contains`] sees. A content that is copied in from another file system is flushed first.
//!
//! Files given back share their storage with the store. Mode 0444 keeps a program from changing them by accident; whoever
//! changes the mode or runs as root can. [`ContentStore::verify`] finds such damage: what no longer looks as it did when it was
//! stored or last verified ([`DigestCache`]) is read and compared with its digest.

use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::atomic::parent_of;
use crate::digest::digest_open_file;
use crate::digest_cache::Stamp;
use crate::walk::{ListedFile, list};
use crate::{Digest, DigestCache, Error, Result, Tree, TreeEntry, TreeKind};

const READ_ONLY: u32 = 0o444;
const READ_ONLY_EXECUTABLE: u32 = 0o555;
/// The owner's bit, as git has it.
pub(crate) const EXECUTABLE: u32 = 0o100;
const COPY_BUFFER_BYTES: usize = 1 << 18;

/// A directory of contents, named by their digests.
#[derive(Clone, Debug)]
pub struct ContentStore {
    contents: PathBuf,
    incoming: PathBuf,
    known: Arc<DigestCache>,
}

/// A file that was committed.
struct Committed {
    entry: TreeEntry,
    /// What it looked like when its digest was taken, if it is now the stored one.
    moved: Option<Stamp>,
}

impl ContentStore {
    /// Opens the store below `root` (`cas/` and `tmp/`), making the directories that are missing. What is known of files lies in
    /// `digests/`, once it has been saved.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be made.
    pub fn open(root: &Path) -> Result<Self> {
        let known = Arc::new(DigestCache::new(&root.join("digests")));
        let store = Self { contents: root.join("cas"), incoming: root.join("tmp"), known };
        for directory in [&store.contents, &store.incoming] {
            fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        }
        Ok(store)
    }

    /// Moves a file or a directory that nobody writes any more into the store, and returns its content.
    ///
    /// A file of this file system is moved without copying; one from elsewhere, or one with further hard links, is
    /// copied. `path` is gone afterwards; what cannot be removed is left, with a warning. A symbolic link counts as its
    /// target if that lies inside `path`. Committing a content that is there already is fine, at the same time too.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::NotUtf8`] for a name that cannot be recorded; [`Error::SymlinkCommitted`] when `path` is
    /// a symbolic link; and those of [`crate::digest_tree`]. `path` then still has its content, though parts of it may
    /// have become read-only.
    pub fn commit(&self, path: &Path) -> Result<Tree> {
        if fs::symlink_metadata(path).map_err(Error::io("read", path))?.is_symlink() {
            return Err(Error::SymlinkCommitted { path: path.to_owned() });
        }
        let listing = list(path, &[])?;
        let named: Vec<_> =
            listing.files.iter().map(|file| Ok((utf8(&file.relative, path)?, file))).collect::<Result<_>>()?;
        let empty_directories =
            listing.empty_directories.iter().map(|relative| utf8(relative, path)).collect::<Result<_>>()?;
        let committed: Vec<Committed> =
            named.into_par_iter().map(|(relative, file)| self.commit_file(relative, file)).collect::<Result<_>>()?;
        remove(path, listing.kind);
        committed.iter().for_each(|file| self.remember(file));
        let entries = committed.into_iter().map(|file| file.entry).collect();
        Ok(Tree { kind: listing.kind, entries, empty_directories })
    }

    /// Returns whether every content of `tree` is here, with the right size. Contents are not read.
    pub fn contains(&self, tree: &Tree) -> bool {
        tree.entries.iter().all(|entry| self.has(entry.digest, entry.size))
    }

    /// Compares every content of `tree` with its digest. What looks as it did when it was stored or last compared is not read.
    ///
    /// # Errors
    /// [`Error::BlobMissing`] and [`Error::BlobDamaged`] for the first content that is not as it was.
    pub fn verify(&self, tree: &Tree) -> Result<()> {
        match tree.entries.as_slice() {
            // Handing one file to other threads costs more than looking at it.
            [] => Ok(()),
            [entry] => self.verify_entry(entry),
            entries => entries.par_iter().try_for_each(|entry| self.verify_entry(entry)),
        }
    }

    /// Takes a content that is damaged out of the store; whoever has a file with it keeps that.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn discard(&self, digest: Digest) -> Result<()> {
        let path = self.content_path(digest);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Returns the digests of files that are known, those of the store among them.
    pub fn known(&self) -> &DigestCache {
        &self.known
    }

    /// Puts `tree` at `destination`, read-only, making its parent directories. It appears there as a whole.
    ///
    /// Files are hard links into the store; an executable file, or one on another file system, is a copy.
    ///
    /// # Errors
    /// [`Error::DestinationExists`] when something other than an empty directory is there already;
    /// [`Error::BlobMissing`]; [`Error::BlobDamaged`] for a content that had to be copied; [`Error::InvalidTree`] for
    /// paths that lead out of the destination; [`Error::Io`]. Nothing is left behind then.
    pub fn materialize(&self, tree: &Tree, destination: &Path) -> Result<()> {
        tree.check()?;
        let parent = parent_of(destination);
        fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        match tree.kind {
            TreeKind::File => self.place(&tree.entries[0], destination),
            TreeKind::Directory => self.place_directory(tree, self.staging(parent), destination),
        }
    }

    /// Returns the path of the file that holds a content, whether it is there or not. It must not be written to.
    pub fn content_path(&self, digest: Digest) -> PathBuf {
        let name = digest.to_string();
        self.contents.join(&name[..2]).join(&name[2..])
    }

    /// Where contents are written before they are whole.
    pub(crate) fn incoming(&self) -> &Path {
        &self.incoming
    }

    fn has(&self, digest: Digest, size: u64) -> bool {
        fs::symlink_metadata(self.content_path(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    fn verify_entry(&self, entry: &TreeEntry) -> Result<()> {
        let path = self.content_path(entry.digest);
        let found = self.known.digest_file(&path).map_err(|error| missing_or(error, entry))?;
        if found == entry.digest { Ok(()) } else { Err(Error::BlobDamaged { digest: entry.digest, path, found }) }
    }

    /// Returns whether a content is here, as it was stored.
    fn holds(&self, digest: Digest, size: u64) -> bool {
        self.has(digest, size) && self.known.digest_file(&self.content_path(digest)).is_ok_and(|found| found == digest)
    }

    fn commit_file(&self, relative: String, listed: &ListedFile) -> Result<Committed> {
        let path = &listed.path;
        let file = File::open(path).map_err(Error::io("open", path))?;
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        let (digest, size) = digest_open_file(&file, path)?;
        let mut moved = None;
        if !self.holds(digest, size) {
            if self.link_in(path, &metadata, digest) {
                moved = Some(Stamp::of(&metadata));
            } else if !self.holds(digest, size) {
                self.copy_in(path, digest)?;
            }
        }
        let executable = metadata.permissions().mode() & EXECUTABLE != 0;
        Ok(Committed { entry: TreeEntry { path: relative, digest, size, executable }, moved })
    }

    /// Notes what a content looks like that was moved in, once its other name is gone: a change of names is seen too.
    fn remember(&self, committed: &Committed) {
        let path = self.content_path(committed.entry.digest);
        if let (Some(earlier), Ok(metadata)) = (committed.moved, fs::symlink_metadata(&path)) {
            self.keep_known(&path, earlier, &metadata, committed.entry.digest);
        }
    }

    /// Notes what a content looks like now if nothing but its names has changed since it looked like `earlier`.
    fn keep_known(&self, path: &Path, earlier: Stamp, now: &Metadata, digest: Digest) {
        let now = Stamp::of(now);
        if now.has_content_of(&earlier) {
            self.known.vouch(path, now, digest);
        }
    }

    /// Gives a content another name. That changes what the file looks like, which is no reason to read it again.
    fn link_out(&self, digest: Digest, path: &Path) -> io::Result<()> {
        let stored = self.content_path(digest);
        let before = Stamp::of(&fs::symlink_metadata(&stored)?);
        fs::hard_link(&stored, path)?;
        if self.known.known(&stored, before) == Some(digest) {
            self.keep_known(&stored, before, &fs::symlink_metadata(&stored)?, digest);
        }
        Ok(())
    }

    /// Gives a file its second name, in the store; returns whether that worked. A file with further names is left
    /// alone: somebody else may write to it through them.
    fn link_in(&self, path: &Path, metadata: &Metadata, digest: Digest) -> bool {
        let target = self.content_path(digest);
        metadata.nlink() == 1
            && fs::create_dir_all(parent_of(&target)).is_ok()
            && fs::set_permissions(path, Permissions::from_mode(READ_ONLY)).is_ok()
            && fs::hard_link(path, &target).is_ok()
    }

    /// Copies a file into the store, replacing a damaged content that may be there.
    fn copy_in(&self, path: &Path, digest: Digest) -> Result<()> {
        let target = self.content_path(digest);
        let directory = parent_of(&target);
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let source = File::open(path).map_err(Error::io("open", path))?;
        let mut copy =
            tempfile::NamedTempFile::new_in(&self.incoming).map_err(Error::io("write to", &self.incoming))?;
        if copy_digested(&source, copy.as_file_mut()).map_err(Error::io("copy", path))? != digest {
            return Err(Error::ChangedWhileRead { path: path.to_owned() });
        }
        let file = copy.as_file();
        file.set_permissions(Permissions::from_mode(READ_ONLY))
            .and_then(|()| file.sync_all())
            .map_err(Error::io("write", &target))?;
        copy.persist(&target).map_err(|error| Error::io("replace", &target)(error.error))?;
        Ok(())
    }

    /// Where something is built that is to lie in `parent`: with what else a killed program leaves behind, if that is near.
    fn staging<'a>(&'a self, parent: &'a Path) -> &'a Path {
        if parent.starts_with(parent_of(&self.incoming)) { &self.incoming } else { parent }
    }

    fn place_directory(&self, tree: &Tree, staging: &Path, destination: &Path) -> Result<()> {
        let building = tempfile::Builder::new()
            .prefix(".mlpipe-")
            .permissions(Permissions::from_mode(0o777))
            .tempdir_in(staging)
            .map_err(Error::io("create a directory in", staging))?;
        for directory in &tree.empty_directories {
            let path = building.path().join(directory);
            fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
        }
        let mut made = building.path().to_owned();
        for entry in &tree.entries {
            let path = building.path().join(&entry.path);
            let directory = parent_of(&path);
            if directory != made {
                fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
                made = directory.to_owned();
            }
            self.place(entry, &path)?;
        }
        fs::rename(building.path(), destination).map_err(|error| exists_or("rename to", destination, error))?;
        let _now_the_destination = building.keep();
        Ok(())
    }

    /// Makes a file that is not there yet.
    fn place(&self, entry: &TreeEntry, path: &Path) -> Result<()> {
        if entry.executable {
            return self.copy_out(entry, path);
        }
        match self.link_out(entry.digest, path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(exists_or("link", path, error)),
            // Another file system, too many links, links not allowed, or no such content: the copy finds out.
            Err(_) => self.copy_out(entry, path),
        }
    }

    fn copy_out(&self, entry: &TreeEntry, path: &Path) -> Result<()> {
        let stored = self.content_path(entry.digest);
        let source = File::open(&stored).map_err(|error| missing_or(Error::io("open", &stored)(error), entry))?;
        let directory = parent_of(path);
        let mut copy = tempfile::Builder::new()
            .prefix(".mlpipe-")
            .tempfile_in(directory)
            .map_err(Error::io("create a file in", directory))?;
        let found = copy_digested(&source, copy.as_file_mut()).map_err(Error::io("write", path))?;
        if found != entry.digest {
            return Err(Error::BlobDamaged { digest: entry.digest, path: stored, found });
        }
        let mode = if entry.executable { READ_ONLY_EXECUTABLE } else { READ_ONLY };
        copy.as_file().set_permissions(Permissions::from_mode(mode)).map_err(Error::io("write", path))?;
        copy.persist_noclobber(path).map_err(|error| exists_or("create", path, error.error))?;
        Ok(())
    }
}

/// Copies all of `source` and returns the digest of what was written.
fn copy_digested(mut source: &File, target: &mut File) -> io::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; COPY_BUFFER_BYTES];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hasher.finalize().into()),
            count => {
                hasher.update(&buffer[..count]);
                target.write_all(&buffer[..count])?;
            }
        }
    }
}

pub(crate) fn utf8(relative: &[u8], root: &Path) -> Result<String> {
    String::from_utf8(relative.to_owned())
        .map_err(|error| Error::NotUtf8 { path: root.join(String::from_utf8_lossy(error.as_bytes()).as_ref()) })
}

fn missing_or(error: Error, entry: &TreeEntry) -> Error {
    match error {
        Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            Error::BlobMissing { digest: entry.digest, path: entry.path.clone() }
        }
        other => other,
    }
}

fn exists_or(action: &'static str, path: &Path, source: io::Error) -> Error {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    match source.kind() {
        AlreadyExists | DirectoryNotEmpty | NotADirectory => Error::DestinationExists { path: path.to_owned() },
        _ => Error::Io { action, path: path.to_owned(), source },
    }
}

/// Removes what has been committed. It is safe in the store, so a failure is worth a warning only.
fn remove(path: &Path, kind: TreeKind) {
    let removed = match kind {
        TreeKind::File => fs::remove_file(path),
        TreeKind::Directory => fs::remove_dir_all(path),
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "an artifact is stored, but its source could not be removed");
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
