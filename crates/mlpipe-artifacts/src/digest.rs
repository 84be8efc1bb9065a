//! [`Digest`], the name of a content: BLAKE3 of its bytes, and of nothing else.
//!
//! The digest of a file is what `b3sum` prints for it. How the digests of many files become one is in `tree.rs`.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, Result};

const BYTES: usize = 32;

/// A BLAKE3 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; BYTES]);

impl Digest {
    /// Returns the digest that has these bytes.
    pub const fn from_bytes(bytes: [u8; BYTES]) -> Self {
        Self(bytes)
    }

    /// Returns the bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; BYTES] {
        &self.0
    }

    /// Returns the digest of `content`.
    pub fn of(content: &[u8]) -> Self {
        blake3::hash(content).into()
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash.into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || Error::InvalidDigest { text: text.to_owned() };
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(invalid());
        }
        blake3::Hash::from_hex(text).map(Self::from).map_err(|_| invalid())
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// Returns the digest of a file's bytes. Its name, times and mode, the executable bit among them, do not count.
///
/// A symbolic link is followed. Memory use does not depend on the size of the file.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read, [`Error::ChangedWhileRead`] when its length changed meanwhile.
pub fn digest_file(path: &Path) -> Result<Digest> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    Ok(digest_open_file(&file, path)?.0)
}

/// Returns the digest and the size in bytes of an open file; `path` is for messages.
pub(crate) fn digest_open_file(file: &File, path: &Path) -> Result<(Digest, u64)> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file).map_err(Error::io("read", path))?;
    let size = file.metadata().map_err(Error::io("read", path))?.len();
    if hasher.count() != size {
        return Err(Error::ChangedWhileRead { path: path.to_owned() });
    }
    Ok((hasher.finalize().into(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First 32 bytes of BLAKE3 of the empty input, from the test vectors of its specification.
    const EMPTY: &str = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262";

    #[test]
    fn digest_of_nothing_is_the_published_one() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
    }

    #[test]
    fn digest_survives_text_and_json() {
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>().expect("own text parses"), digest);
        let json = serde_json::to_string(&digest).expect("serialises");
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).expect("own JSON parses"), digest);
    }

    #[test]
    fn upper_case_short_and_foreign_digits_are_refused() {
        for text in [EMPTY.to_uppercase(), EMPTY[1..].to_owned(), format!("{EMPTY}0"), EMPTY.replace('a', "g")] {
            assert!(matches!(text.parse::<Digest>(), Err(Error::InvalidDigest { .. })), "{text}");
        }
    }

    #[test]
    fn digest_of_a_large_file_is_the_digest_of_its_bytes() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let path = directory.path().join("large");
        let bytes: Vec<u8> = (0..3_000_001_u32).map(|index| (index % 251) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        assert_eq!(digest_file(&path).expect("digested"), Digest::of(&bytes));
    }

    #[test]
    fn missing_file_is_named() {
        let error = digest_file(Path::new("no/such/file")).expect_err("refused");
        assert_eq!(error.to_string(), "open no/such/file");
    }
}
