//! Where artifacts lie that a URI names: a local path, or a place behind a tracking server.
//!
//! `runs:/RUN/path` and `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `models:/NAME/STAGE` are looked up where the command looks
//! for runs; `mlflow-artifacts:/path` needs a server; everything else is a local path.

use std::path::{Path, PathBuf};

use mlpipe_tracking::rest::Client;
use mlpipe_tracking::{Error, Stage, Store};

use crate::commands::tracked::Tracked;
use crate::failure::{Exit, Failure};

/// Where artifacts lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// On this machine.
    Local(PathBuf),
    /// At an `mlflow-artifacts:` URI of the server.
    Proxied(String),
}

/// A version of a model as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ModelReference<'a> {
    Version(&'a str, &'a str),
    Alias(&'a str, &'a str),
    Stage(&'a str, Stage),
}

impl<'a> ModelReference<'a> {
    /// Parses `NAME/3`, `NAME@champion`, `NAME/Production`, with or without `models:/` before it.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Failure> {
        let name = text.strip_prefix("models:").unwrap_or(text).trim_start_matches('/');
        let wrong = || {
            Failure::new(Exit::Usage, format!("`{text}` does not name a version of a model"))
                .hint("write models:/NAME/3, models:/NAME@alias or models:/NAME/Production")
        };
        if let Some((name, alias)) = name.rsplit_once('@') {
            return if name.is_empty() || alias.is_empty() { Err(wrong()) } else { Ok(Self::Alias(name, alias)) };
        }
        let (name, version) = name.rsplit_once('/').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        match version.parse::<u64>() {
            Ok(_) => Ok(Self::Version(name, version)),
            Err(_) => version.parse::<Stage>().map(|stage| Self::Stage(name, stage)).map_err(|_| wrong()),
        }
    }

    /// Returns the name of the model.
    pub(crate) fn name(self) -> &'a str {
        match self {
            Self::Version(name, _) | Self::Alias(name, _) | Self::Stage(name, _) => name,
        }
    }
}

/// Finds where the artifacts lie that `uri` names.
pub(crate) fn resolve(tracked: &Tracked, uri: &str) -> Result<Place, Failure> {
    if let Some(rest) = uri.strip_prefix("runs:/") {
        let (run, path) = rest.trim_start_matches('/').split_once('/').unwrap_or((rest.trim_start_matches('/'), ""));
        let root = tracked.find(run)?.artifact_uri;
        return below(tracked, &root, path);
    }
    if uri.starts_with("models:/") {
        let reference = ModelReference::parse(uri)?;
        let location = match tracked {
            Tracked::Local(_, store) => version_in(store, reference)?.storage_location,
            Tracked::Server(client) => {
                let version = version_on(client, reference)?;
                client.download_uri(&version.name, &version.version)?
            }
        };
        return below(tracked, &location, "");
    }
    below(tracked, uri, "")
}

/// Returns the version that is asked for, of the local store.
pub(crate) fn version_in(
    store: &Store,
    reference: ModelReference<'_>,
) -> Result<mlpipe_tracking::ModelVersion, Failure> {
    Ok(match reference {
        ModelReference::Version(name, version) => store.model_version(name, version)?,
        ModelReference::Alias(name, alias) => store.model_version_by_alias(name, alias)?,
        ModelReference::Stage(name, stage) => {
            let latest = store.latest_versions(name, &[stage.as_str().to_owned()])?;
            latest.into_iter().next().ok_or_else(|| no_version(name))?
        }
    })
}

/// Returns the version that is asked for, of a server.
pub(crate) fn version_on(
    client: &Client,
    reference: ModelReference<'_>,
) -> Result<mlpipe_tracking::rest::ModelVersion, Failure> {
    let found = match reference {
        ModelReference::Version(name, version) => client.model_version(name, version)?,
        ModelReference::Alias(name, alias) => client.model_version_by_alias(name, alias)?,
        ModelReference::Stage(name, stage) => {
            let versions = client.model_versions(name)?;
            versions.into_iter().rfind(|version| version.current_stage == stage.as_str())
        }
    };
    found.ok_or_else(|| no_version(reference.name()))
}

fn no_version(name: &str) -> Failure {
    Failure::bad_input(format!("model `{name}` has no such version")).hint("`mlpipe models show NAME` lists them")
}

fn below(tracked: &Tracked, root: &str, path: &str) -> Result<Place, Failure> {
    if path.split('/').any(|part| part == "..") {
        return Err(Failure::bad_input(format!("`{path}` leads out of the artifacts")));
    }
    if root.starts_with("mlflow-artifacts:") {
        return match tracked {
            Tracked::Server(_) => Ok(Place::Proxied(joined(root, path))),
            Tracked::Local(..) => Err(Failure::new(Exit::Usage, format!("`{root}` lies behind a tracking server"))
                .hint("name it with --tracking-uri or MLFLOW_TRACKING_URI")),
        };
    }
    let local = root.strip_prefix("file://").unwrap_or(root);
    if local.contains("://") {
        return Err(Error::NotProxied { uri: root.to_owned() }.into());
    }
    Ok(Place::Local(if path.is_empty() { PathBuf::from(local) } else { Path::new(local).join(path) }))
}

fn joined(root: &str, path: &str) -> String {
    if path.is_empty() { root.to_owned() } else { format!("{}/{path}", root.trim_end_matches('/')) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_named_by_number_alias_or_stage() {
        let parse = |text: &'static str| ModelReference::parse(text).expect("names a version");
        assert_eq!(parse("models:/a/b/3"), ModelReference::Version("a/b", "3"));
        assert_eq!(parse("models:/detector@champion"), ModelReference::Alias("detector", "champion"));
        assert_eq!(parse("detector/production"), ModelReference::Stage("detector", Stage::Production));
        for text in ["models:/detector", "models:/@x", "models:/detector@", "models:/detector/best"] {
            assert!(ModelReference::parse(text).is_err(), "{text}");
        }
    }
}
