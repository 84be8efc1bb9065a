//! Paths and artifact URIs in values.

use std::path::{Component, Path, PathBuf};

use crate::params::Mismatch;

/// Returns the absolute local path for a value of kind path or uri; relative ones start at `base`. The empty text
/// stays empty.
pub(crate) fn local_path(text: &str, base: &Path) -> Result<String, Mismatch> {
    if text.is_empty() {
        return Ok(String::new());
    }
    let local = match scheme(text) {
        None => text.to_owned(),
        Some("file") => file_uri_path(text)?,
        // What they name is known to whoever has the runs and models.
        Some("models" | "runs") => return Ok(text.to_owned()),
        Some(scheme) => {
            return Err(Mismatch::new(format!("`{text}`: `{scheme}:` URIs are not supported yet"))
                .help("use a local path or a file:// URI"));
        }
    };
    Ok(tidy(&base.join(local)).to_string_lossy().into_owned())
}

/// Returns the scheme of a URI: `runs` of `runs:/id/model`; `None` for a path.
fn scheme(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(':')?;
    let letters_fit = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    (scheme.len() > 1 && letters_fit && scheme.as_bytes()[0].is_ascii_alphabetic() && rest.starts_with('/'))
        .then_some(scheme)
}

fn file_uri_path(text: &str) -> Result<String, Mismatch> {
    let rest = &text["file:".len()..];
    let path = rest.strip_prefix("//localhost").or_else(|| rest.strip_prefix("//")).unwrap_or(rest);
    if !path.starts_with('/') {
        return Err(
            Mismatch::new(format!("`{text}` names a file of another machine")).help("write file:///absolute/path")
        );
    }
    percent_decoded(path).ok_or_else(|| Mismatch::new(format!("`{text}` is not a valid file URI")))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        decoded.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    String::from_utf8(decoded).ok().filter(|path| !path.contains('\0'))
}

/// Returns the path without `.` and, where that names the same place, without `..`: the parent of a symbolic link's
/// target is not the directory the link lies in, so `link/..` stays.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for component in path.components() {
        let goes_back = component == Component::ParentDir;
        let after_a_name = matches!(tidied.components().next_back(), Some(Component::Normal(_)));
        if goes_back && after_a_name && !tidied.is_symlink() {
            tidied.pop();
        } else if component != Component::CurDir {
            tidied.push(component);
        }
    }
    tidied
}

/// Returns the path as people are shown it: relative to `here` when it lies below.
pub(crate) fn shown(path: &Path, here: &Path) -> PathBuf {
    path.strip_prefix(here).unwrap_or(path).to_path_buf()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(text: &str) -> Result<String, String> {
        local_path(text, Path::new("/base/dir")).map_err(|mismatch| mismatch.message)
    }

    #[test]
    fn relative_paths_start_at_the_base() {
        assert_eq!(local("../data/./x").as_deref(), Ok("/base/data/x"));
        assert_eq!(local("/absolute").as_deref(), Ok("/absolute"));
        assert_eq!(local("").as_deref(), Ok(""));
        assert_eq!(local("a:b").as_deref(), Ok("/base/dir/a:b"));
    }

    #[test]
    fn file_uris_become_paths_and_other_schemes_are_refused() {
        assert_eq!(local("file:///a%20b/c").as_deref(), Ok("/a b/c"));
        assert_eq!(local("file:/a").as_deref(), Ok("/a"));
        assert!(local("file://host/a").is_err());
        for uri in ["models:/m@champion", "runs:/1/model"] {
            assert_eq!(local(uri).as_deref(), Ok(uri), "known to whoever has runs and models");
        }
        for uri in ["s3://bucket/key", "https://host/x"] {
            assert!(local(uri).expect_err(uri).contains("not supported yet"), "{uri}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_parent_of_a_symbolic_link_is_left_to_the_file_system() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/usr/share", &link).expect("a symbolic link");
        assert_eq!(tidy(&link.join("../x")), link.join("../x"));
        assert_eq!(tidy(&directory.path().join("plain/../x")), directory.path().join("x"));
    }
}
