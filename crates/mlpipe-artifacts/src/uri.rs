//! Where an artifact lies. Decides which texts are local paths; fetching from anywhere else is not done here.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Schemes that name artifacts, but that cannot be fetched from.
const KNOWN_SCHEMES: [&str; 13] = [
    "runs",
    "models",
    "s3",
    "gs",
    "az",
    "abfs",
    "abfss",
    "wasbs",
    "http",
    "https",
    "mlflow-artifacts",
    "dicomweb",
    "dbfs",
];

/// A parsed artifact URI: where the bytes lie.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ArtifactUri {
    /// A file or directory of this machine. It need not exist.
    Local(PathBuf),
}

impl ArtifactUri {
    /// Parses a path or a URI. A relative path is taken from `base`, the directory of the file that it stands in.
    ///
    /// `file:/path`, `file:///path` and `file://localhost/path` are local, with `%20` and the like decoded. A text with
    /// a colon that is no URI (`scan:1/series`) is a path.
    ///
    /// # Errors
    /// [`Error::SchemeNotSupported`] for a scheme that names artifacts elsewhere (`models:`, `s3:`, ...),
    /// [`Error::UnknownScheme`] for any other `scheme://`, [`Error::InvalidUri`] for an empty text or a `file:` URI
    /// with another host, a relative path, a query or a fragment.
    pub fn parse(text: &str, base: &Path) -> Result<Self> {
        let invalid = |reason| Error::InvalidUri { uri: text.to_owned(), reason };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        let Some((scheme, rest)) = split_scheme(text) else { return Ok(Self::Local(base.join(text))) };
        match scheme.as_str() {
            "file" => file_path(rest).map(Self::Local).map_err(invalid),
            known if KNOWN_SCHEMES.contains(&known) => Err(Error::SchemeNotSupported { scheme }),
            _ if rest.starts_with("//") => Err(Error::UnknownScheme { scheme }),
            _ => Ok(Self::Local(base.join(text))),
        }
    }

    /// Returns the local path.
    pub fn path(&self) -> &Path {
        match self {
            Self::Local(path) => path,
        }
    }
}

impl fmt::Display for ArtifactUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path().display().fmt(formatter)
    }
}

/// Splits `scheme:rest` as RFC 3986 section 3.1 has it; the scheme comes back in lower case.
fn split_scheme(text: &str) -> Option<(String, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut bytes = scheme.bytes();
    let starts_well = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let goes_on_well = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (starts_well && goes_on_well).then(|| (scheme.to_ascii_lowercase(), rest))
}

/// Returns the path of a `file:` URI, given what follows the colon (RFC 8089).
fn file_path(rest: &str) -> Result<PathBuf, &'static str> {
    let path = match rest.strip_prefix("//") {
        Some(with_host) => with_host.strip_prefix("localhost").unwrap_or(with_host),
        None => rest,
    };
    if !path.starts_with('/') {
        return Err("a file: URI needs an absolute path on this machine, as in file:///data/study");
    }
    if path.contains(['?', '#']) {
        return Err("a file: URI takes no query and no fragment; write ? as %3F and # as %23");
    }
    let bytes = percent_decoded(path).ok_or("% must be followed by two hexadecimal digits, and not by 00")?;
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        let value = if byte == b'%' { hex_value(bytes.next()?)? * 16 + hex_value(bytes.next()?)? } else { byte };
        decoded.push(value);
    }
    (!decoded.contains(&0)).then_some(decoded)
}

fn hex_value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> String {
        ArtifactUri::parse(text, Path::new("/base")).expect("parses").to_string()
    }

    fn refusal(text: &str) -> String {
        ArtifactUri::parse(text, Path::new("/base")).expect_err("refused").to_string()
    }

    #[test]
    fn paths_are_taken_from_the_base() {
        assert_eq!(local("model"), "/base/model");
        assert_eq!(local("../model"), "/base/../model");
        assert_eq!(local("/data/model"), "/data/model");
        assert_eq!(local("scan:1/series"), "/base/scan:1/series");
        assert_eq!(local("./s3:x"), "/base/./s3:x");
        assert_eq!(local("Größe 1"), "/base/Größe 1");
    }

    #[test]
    fn file_uris_are_absolute_and_decoded() {
        for text in ["file:///data/a%20b", "file:/data/a%20b", "file://localhost/data/a%20b", "FILE:///data/a b"] {
            assert_eq!(local(text), "/data/a b", "{text}");
        }
        assert_eq!(local("file:///gr%C3%B6%c3%9fe"), "/größe");
    }

    #[test]
    fn known_scheme_is_named_in_the_refusal() {
        for scheme in ["runs", "models", "s3", "gs", "az", "https", "mlflow-artifacts", "dicomweb"] {
            let error = ArtifactUri::parse(&format!("{scheme}:/x"), Path::new("/")).expect_err("refused");
            assert!(matches!(&error, Error::SchemeNotSupported { scheme: named } if named == scheme), "{error}");
        }
        assert!(!refusal("https://user:secret@host/x").contains("secret"));
    }

    #[test]
    fn unknown_scheme_and_unusable_file_uris_are_refused() {
        assert!(refusal("s4://bucket").contains("unknown scheme `s4:`"));
        for text in
            ["", "file:", "file:relative", "file://host/x", "file:///x?y", "file:///x%2", "file:///x%00", "file:///%zz"]
        {
            assert!(matches!(ArtifactUri::parse(text, Path::new("/")), Err(Error::InvalidUri { .. })), "{text}");
        }
    }
}
