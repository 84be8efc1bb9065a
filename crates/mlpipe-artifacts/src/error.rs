//! What can go wrong between an artifact and its bytes.

use std::io;
use std::path::{Path, PathBuf};

use crate::Digest;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an artifact could not be resolved, digested, stored or given back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A content that was received is not the one that was asked for or announced.
    #[error("content announced as {expected} is {found}; it was damaged on its way or is another one")]
    ImportMismatch {
        /// Its announced digest.
        expected: crate::Digest,
        /// Its real digest.
        found: crate::Digest,
    },
    /// The file system refused.
    #[error("{action} {}", .path.display())]
    Io {
        /// What was being done: "read", "create", "link".
        action: &'static str,
        /// The file or directory it was done to.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A scheme that names artifacts, but that this build cannot fetch. The rest of the URI is left out: it may hold
    /// credentials.
    #[error("artifact URIs with the scheme `{scheme}:` are not supported; give a local path or a file:// URI")]
    SchemeNotSupported {
        /// The scheme, lower case, without the colon.
        scheme: String,
    },
    /// A scheme that names no artifacts.
    #[error("unknown scheme `{scheme}:` in an artifact URI; for a file of that name write ./{scheme}:...")]
    UnknownScheme {
        /// The scheme, lower case, without the colon.
        scheme: String,
    },
    /// Text that is neither a path nor a URI.
    #[error("artifact URI `{uri}`: {reason}")]
    InvalidUri {
        /// The text as given.
        uri: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Text that is not 64 lower-case hexadecimal digits.
    #[error("`{text}` is not a digest: 64 lower-case hexadecimal digits are needed")]
    InvalidDigest {
        /// The text as given.
        text: String,
    },
    /// A symbolic link leads out of the directory being read, so its content does not belong to the artifact.
    #[error("symbolic link {} leads out of the artifact, to {}", .path.display(), .target.display())]
    SymlinkEscapes {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A symbolic link leads nowhere.
    #[error("symbolic link {} is broken", .path.display())]
    SymlinkBroken {
        /// The link.
        path: PathBuf,
    },
    /// A symbolic link leads to a directory that contains it.
    #[error("symbolic link {} leads to a directory around itself", .path.display())]
    SymlinkLoop {
        /// The link.
        path: PathBuf,
    },
    /// The path given to [`crate::ContentStore::commit`] is itself a symbolic link: its target is not ours to move.
    #[error("{} is a symbolic link; an output must be a file or a directory", .path.display())]
    SymlinkCommitted {
        /// The link.
        path: PathBuf,
    },
    /// A socket, pipe or device.
    #[error("{} is neither a file nor a directory", .path.display())]
    NotRegular {
        /// The thing.
        path: PathBuf,
    },
    /// A name that cannot be recorded because it is not UTF-8.
    #[error("{}: the name is not UTF-8", .path.display())]
    NotUtf8 {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file changed while it was being read.
    #[error("{} changed while it was being read", .path.display())]
    ChangedWhileRead {
        /// The file.
        path: PathBuf,
    },
    /// The store does not hold the content any more.
    #[error("the content {digest} of `{path}` is not in the store")]
    BlobMissing {
        /// Digest of the content.
        digest: Digest,
        /// Path of the entry within its tree.
        path: String,
    },
    /// The store holds something else under that digest: a disk fault, or somebody wrote to a stored file.
    #[error("the stored content {} is damaged: its digest is {found}", .path.display())]
    BlobDamaged {
        /// Digest of what it should hold.
        digest: Digest,
        /// The stored file.
        path: PathBuf,
        /// Digest of what it holds now.
        found: Digest,
    },
    /// A tree that no commit can have produced, such as one with `..` in a path.
    #[error("unusable artifact tree: {reason}: `{path}`")]
    InvalidTree {
        /// What is wrong with it.
        reason: &'static str,
        /// The entry it is about; empty when it is about the whole.
        path: String,
    },
    /// Something is already where an artifact was to be put.
    #[error("{} already exists", .path.display())]
    DestinationExists {
        /// The destination.
        path: PathBuf,
    },
}

impl Error {
    /// Returns a closure for `map_err` that says what was being done to which path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::Io { action, path: path.to_owned(), source }
    }
}
