//! Bytes behind an artifact URI: resolve, digest, store, give back.
//!
//! [`ArtifactUri`] says where an artifact lies, [`digest_file`] and [`digest_tree`] say what it contains,
//! [`ContentStore`] keeps contents under their digest and gives them back as files. Names, times, owners and mode bits
//! are not content: equal bytes under equal relative paths are the same artifact.
//!
//! Which artifact belongs to which step, and when an old one may be deleted, is the engine's business.
//!
//! ```
//! use mlpipe_artifacts::{ContentStore, digest_tree, write_atomically};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//! let output = directory.path().join("boxes.json");
//! write_atomically(&output, b"[]")?;
//! let digest = digest_tree(&output, &[])?;
//!
//! let store = ContentStore::open(&directory.path().join(".mlpipe"))?;
//! let tree = store.commit(&output)?; // moves the file into the store
//! assert_eq!(tree.digest(), digest);
//! store.materialize(&tree, &output)?; // and this gives it back, read-only
//! assert_eq!(std::fs::read(&output)?, b"[]");
//! # Ok(())
//! # }
//! ```

mod atomic;
mod digest;
mod digest_cache;
mod error;
mod import;
mod store;
mod tree;
mod uri;
mod walk;

pub use atomic::{place_atomically_via, write_atomically, write_atomically_via};
pub use digest::{Digest, digest_file};
pub use digest_cache::DigestCache;
pub use error::{Error, Result};
pub use store::ContentStore;
pub use tree::{Tree, TreeEntry, TreeKind, digest_tree};
pub use uri::ArtifactUri;
