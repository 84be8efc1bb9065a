//! Content from elsewhere: taken into the store only if it is what its digest says.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;

use crate::{ContentStore, Digest, Error, Result};

const READ_ONLY: u32 = 0o444;
const BUFFER_BYTES: usize = 1 << 16;

impl ContentStore {
    /// Reads a content to its end, checks it against its digest, and keeps it. Returns its size in bytes.
    ///
    /// # Errors
    /// [`Error::ImportMismatch`] when the content is another one, and [`Error::Io`]; nothing is kept then.
    pub fn import(&self, digest: Digest, mut content: impl Read) -> Result<u64> {
        let target = self.content_path(digest);
        let directory = target.parent().expect("a content lies in a directory");
        fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let incoming = self.incoming();
        let mut file = tempfile::NamedTempFile::new_in(incoming).map_err(Error::io("write to", incoming))?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut size = 0;
        loop {
            let count = content.read(&mut buffer).map_err(Error::io("receive", &target))?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
            file.write_all(&buffer[..count]).map_err(Error::io("write", &target))?;
            size += count as u64;
        }
        let found = Digest::from(hasher.finalize());
        if found != digest {
            return Err(Error::ImportMismatch { expected: digest, found });
        }
        let permissions = Permissions::from_mode(READ_ONLY);
        file.as_file().set_permissions(permissions).map_err(Error::io("write", &target))?;
        file.persist(&target).map_err(|error| Error::io("replace", &target)(error.error))?;
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_kept_only_under_its_own_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = ContentStore::open(folder.path()).expect("a store");
        let digest = Digest::of(b"boxes");
        assert!(matches!(store.import(digest, b"other".as_slice()), Err(Error::ImportMismatch { .. })));
        assert!(!store.content_path(digest).exists(), "nothing is kept");
        assert_eq!(store.import(digest, b"boxes".as_slice()).expect("the content fits"), 5);
        assert_eq!(fs::read(store.content_path(digest)).expect("kept"), b"boxes");
    }
}
