//! Where the files of a model version may lie: a place that is read by whoever may read the model must not lead out of
//! what the run or the logged model has written. Decides from texts alone.

use std::path::{Component, Path, PathBuf};

use crate::{Error, Result};

/// What a model version is said to come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// A run, with the URI of its artifacts when it exists; MLflow takes versions of runs that another server has.
    Run(Option<(&'a str, Option<&'a str>)>),
    /// A logged model, with the URI of its artifacts when it exists.
    Model(Option<(&'a str, &'a str)>),
}

impl<'a> Origin<'a> {
    fn parameter(self) -> &'static str {
        match self {
            Self::Run(_) => "run_id",
            Self::Model(_) => "model_id",
        }
    }

    /// The URI of the artifacts, of what exists.
    fn artifacts(self) -> Option<&'a str> {
        match self {
            Self::Run(given) => given.and_then(|(_, uri)| uri),
            Self::Model(found) => found.map(|(_, uri)| uri),
        }
    }
}

/// What a source of the scheme `models:` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModelUri<'a> {
    /// A logged model.
    Logged(&'a str),
    /// A version of a registered model.
    Version(&'a str, i64),
    /// The version that an alias of a registered model points to.
    Alias(&'a str, &'a str),
}

/// Refuses a source that does not lie where its origin has written, as far as its scheme lets that be known.
pub(crate) fn check_source(source: &str, origin: Origin<'_>) -> Result<()> {
    let parameter = origin.parameter();
    if let Some(path) = local_path(source) {
        let root = origin.artifacts().and_then(local_path);
        return match root {
            Some(root) if path.starts_with(&root) => Ok(()),
            _ => Err(Error::invalid(format!(
                "Invalid model version source: '{source}'. To use a local path as a model version source, the \
                 {parameter} request parameter has to be specified and the local path has to be contained within the \
                 artifact directory of the run specified by the {parameter}."
            ))),
        };
    }
    refuse_relative(source)?;
    let refused = || {
        Error::invalid(format!(
            "Invalid model version source: '{source}'. The {parameter} request parameter has to be specified and the \
             source has to be contained within the artifacts of what it names."
        ))
    };
    let is_allowed = match (scheme(source).as_str(), origin) {
        ("runs", Origin::Run(given)) => {
            let run_id = source["runs:".len()..].trim_start_matches('/').split('/').next();
            !source.starts_with("runs://") && given.is_some_and(|(id, _)| run_id == Some(id))
        }
        ("runs", Origin::Model(_)) => false,
        ("models", origin) => match (parse_model_uri(source).ok_or_else(refused)?, origin) {
            (ModelUri::Logged(id), Origin::Model(Some((model_id, _)))) => id == model_id,
            (ModelUri::Logged(_), _) => false,
            _ => true,
        },
        _ if is_served_here(source) => origin.artifacts().is_some_and(|root| is_within(source, root)),
        _ => true,
    };
    if is_allowed { Ok(()) } else { Err(refused()) }
}

/// Parses `models:/<name>/<version>`, `models:/<name>@<alias>`, `models:/<model id>`.
pub(crate) fn parse_model_uri(source: &str) -> Option<ModelUri<'_>> {
    let rest = source.strip_prefix("models:/")?;
    if rest.starts_with('/') || rest.is_empty() {
        return None;
    }
    if let Some((name, alias)) = rest.split_once('@') {
        return Some(ModelUri::Alias(name, alias));
    }
    match rest.split_once('/') {
        Some((name, version)) => Some(ModelUri::Version(name, version.parse().ok()?)),
        None => Some(ModelUri::Logged(rest)),
    }
}

fn scheme(uri: &str) -> String {
    uri.split_once(':').map_or_else(String::new, |(scheme, _)| scheme.to_ascii_lowercase())
}

/// Returns the path of a source that is a file of this machine, without `.` and `..`.
fn local_path(uri: &str) -> Option<PathBuf> {
    let path = match scheme(uri).as_str() {
        "" => uri,
        "file" => uri["file:".len()..].strip_prefix("//localhost").unwrap_or(&uri["file:".len()..]),
        // A drive of Windows, or a name with a colon in it.
        short if short.len() == 1 || uri.starts_with('/') || uri.starts_with('.') => uri,
        _ => return None,
    };
    let path = unescaped(path.strip_prefix("//").unwrap_or(path));
    let mut plain = PathBuf::new();
    for component in Path::new(&path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    Some(plain)
}

/// Refuses `..` in a source, however often it is escaped.
fn refuse_relative(source: &str) -> Result<()> {
    let plain = unescaped(source);
    let path = plain.split_once(':').map_or(plain.as_str(), |(_, path)| path);
    let is_plain = !plain.contains('\0') && !path.split(['/', '\\']).any(|part| part == ".." || part == ".");
    if is_plain {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Invalid model version source: '{source}'. If supplying a source as an http, https, local file path, ftp, \
         objectstore, or mlflow-artifacts uri, an absolute path must be provided without relative path references present. \
         Please provide an absolute path."
    )))
}

/// Returns whether a URI is one of the artifact proxy.
fn is_served_here(source: &str) -> bool {
    match scheme(source).as_str() {
        "mlflow-artifacts" => true,
        "http" | "https" => unescaped(source).contains("/api/2.0/mlflow-artifacts/artifacts"),
        _ => false,
    }
}

/// Returns whether a URI is `root` or lies below it.
fn is_within(source: &str, root: &str) -> bool {
    let parts = |uri: &str| -> (String, Vec<String>) {
        let (scheme, path) = uri.split_once(':').unwrap_or(("", uri));
        let path = unescaped(path);
        // Two slashes are followed by a host, which must be the same.
        let host = if path.starts_with("//") { "//" } else { "" };
        (
            format!("{}{host}", scheme.to_ascii_lowercase()),
            path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
        )
    };
    let ((scheme, source), (root_scheme, root)) = (parts(source), parts(root));
    scheme == root_scheme && !root.is_empty() && source.starts_with(&root)
}

/// Replaces percent escapes until there are none.
fn unescaped(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let once = unescaped_once(&text);
        if once == text {
            return text;
        }
        text = once;
    }
}

fn unescaped_once(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        match (bytes[at], hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "mlflow-artifacts:/1/abc/artifacts";

    #[test]
    fn sources_below_the_artifacts_of_their_run_are_taken() {
        let run = Origin::Run(Some(("abc", Some(ROOT))));
        for source in [&format!("{ROOT}/model"), ROOT, "runs:/abc/model", "s3://bucket/model", "models:/name/1"] {
            check_source(source, run).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
        let local = Origin::Run(Some(("abc", Some("/data/1/abc/artifacts"))));
        for source in ["/data/1/abc/artifacts/m", "file:///data/1/abc/artifacts/m"] {
            check_source(source, local).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
        check_source("models:/m-1", Origin::Model(Some(("m-1", "x")))).expect("its own model");
        let of_another_server = Origin::Run(Some(("abc", None)));
        for source in ["runs:/abc/model", "s3://bucket/model"] {
            check_source(source, of_another_server).unwrap_or_else(|error| panic!("{source}: {error}"));
        }
        for source in ["runs:/other/model", ROOT, "/data/x"] {
            assert!(check_source(source, of_another_server).is_err(), "{source}");
        }
    }

    #[test]
    fn sources_elsewhere_are_refused() {
        let run = Origin::Run(Some(("abc", Some(ROOT))));
        for source in [
            "/etc/passwd",
            "file:///etc/passwd",
            "./x",
            "mlflow-artifacts:/1/abc/other",
            "mlflow-artifacts:/1/abc/artifacts2/x",
            "mlflow-artifacts:/1/abc/artifacts/../../x",
            "mlflow-artifacts:/1/abc/artifacts/%2e%2e/x",
            "mlflow-artifacts:/1/abc/artifacts/%252e%252e/x",
            "mlflow-artifacts://host/1/abc/artifacts/x",
            "http://h/api/2.0/mlflow-artifacts/artifacts/1/x",
            "s3://bucket/../x",
            "runs:/other/model",
            "runs://abc/model",
            "models:/m-1",
            "models:/",
        ] {
            assert!(check_source(source, run).is_err(), "{source}");
            assert!(check_source(source, Origin::Model(Some(("m-2", "y")))).is_err(), "{source}");
        }
        let local = Origin::Run(Some(("abc", Some("/data/1/abc/artifacts"))));
        assert!(check_source("/data/1/abc/artifacts/../../x", local).is_err());
        for source in [ROOT, "runs:/abc/model", "/data/x"] {
            assert!(check_source(source, Origin::Run(None)).is_err(), "{source}");
        }
    }
}
