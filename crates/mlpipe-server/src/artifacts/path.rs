//! [`ArtifactPath`]: a path within the artifacts that cannot lead out of them, whatever a request said.

use std::fmt;

use percent_encoding::percent_decode_str;

use crate::api::error::ApiError;

/// The longest path and the longest name in it, in bytes (PATH_MAX and NAME_MAX of Linux).
const MAX_PATH_BYTES: usize = 4096;
const MAX_NAME_BYTES: usize = 255;

/// Folder of uploads that are under way; no artifact is called so.
pub(crate) const UPLOADS: &str = ".uploads";

/// Names joined by `/`; empty for the root. No name is empty, `.` or `..`, in any encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArtifactPath(String);

impl ArtifactPath {
    /// The root of all artifacts.
    pub(crate) fn root() -> Self {
        Self(String::new())
    }

    /// Checks a path from a request, percent-decoded once. Names that would be `..` after decoding them again are refused too:
    /// another program may decode them.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let refused = || ApiError::invalid("Invalid path");
        if text.len() > MAX_PATH_BYTES || text.starts_with('/') || !is_plain_in_every_encoding(text) {
            return Err(refused());
        }
        let names = text.split('/').filter(|name| !name.is_empty() && *name != ".");
        let path = names.collect::<Vec<_>>().join("/");
        if path.split('/').any(|name| name.len() > MAX_NAME_BYTES) || path.split('/').next() == Some(UPLOADS) {
            return Err(refused());
        }
        Ok(Self(path))
    }

    /// Returns the path below this one.
    pub(crate) fn join(&self, below: &Self) -> Self {
        match (self.0.as_str(), below.0.as_str()) {
            ("", _) => below.clone(),
            (_, "") => self.clone(),
            (above, below) => Self(format!("{above}/{below}")),
        }
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the names, outermost first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// Returns the folder and the last name; none of the root.
    pub(crate) fn split_last(&self) -> Option<(Self, &str)> {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => Some((Self(folder.to_owned()), name)),
            None if self.0.is_empty() => None,
            None => Some((Self::root(), &self.0)),
        }
    }
}

impl fmt::Display for ArtifactPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_plain_in_every_encoding(text: &str) -> bool {
    let mut text = text.to_owned();
    loop {
        let climbs = text.split(['/', '\\']).any(|name| name == "..");
        if climbs || text.contains(['\0', '\r', '\n']) || text.starts_with('/') || text.starts_with("\\\\") {
            return false;
        }
        let Ok(decoded) = percent_decode_str(&text).decode_utf8() else { return true };
        if decoded == text {
            return true;
        }
        text = decoded.into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_lead_out_are_refused_in_every_encoding() {
        for path in [
            "..",
            "../x",
            "a/../../x",
            "%2e%2e/x",
            "%252e%252e%252fx",
            "a/..%2f..%2fx",
            "/etc/passwd",
            "%2fetc",
            "a\0b",
            "a%00b",
            "a\\..\\b",
            "a\nb",
            ".uploads/x",
            "./.uploads",
            &"n".repeat(256),
        ] {
            assert!(ArtifactPath::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn odd_names_are_names() {
        for (text, path) in [
            ("0/run/artifacts/a.txt", "0/run/artifacts/a.txt"),
            ("with space & +%.txt", "with space & +%.txt"),
            ("ünï-脊椎.txt", "ünï-脊椎.txt"),
            ("a//b/./c/", "a/b/c"),
            ("..a/b..", "..a/b.."),
            ("100%25", "100%25"),
            ("", ""),
        ] {
            assert_eq!(ArtifactPath::parse(text).expect(text).to_string(), path);
        }
        let path = ArtifactPath::parse("a/b/c").expect("a path");
        assert_eq!(
            path.split_last().map(|(folder, name)| (folder.0.clone(), name.to_owned())),
            Some(("a/b".into(), "c".into()))
        );
    }
}
