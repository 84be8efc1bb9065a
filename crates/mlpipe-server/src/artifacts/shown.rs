//! [`Shown`]: how artifact URIs look from outside. Runs that the engine recorded on this machine have local paths; a client that
//! is elsewhere cannot read those, so paths below the served folder are shown as the proxy's.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use super::path::ArtifactPath;
use crate::api::error::ApiError;

const SCHEME: &str = "mlflow-artifacts:";
/// Where the proxy is, in URIs of the scheme `http` or `https`.
const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

/// Translates between local paths and the proxy's URIs.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// The served folder, without a slash at the end; none when it is not local.
    root: Option<String>,
    /// The served bucket, without a slash at the end. Clients that have its URI reach it themselves, so it is shown as it is.
    bucket: Option<String>,
}

impl Shown {
    /// Shows what lies below `root` as the proxy's.
    pub(crate) fn new(root: Option<&Path>) -> Self {
        let text = |root: &Path| root.canonicalize().unwrap_or_else(|_| root.to_owned()).to_str().map(str::to_owned);
        Self { root: root.and_then(text), bucket: None }
    }

    /// Shows everything as it is, and knows what lies in this bucket.
    pub(crate) fn bucket(uri: &str) -> Self {
        Self { root: None, bucket: Some(uri.trim_end_matches('/').to_owned()) }
    }

    fn below_root<'a>(&self, uri: &'a str) -> Option<&'a str> {
        let path = uri.strip_prefix("file://").unwrap_or(uri);
        path.strip_prefix(self.root.as_deref()?)?.strip_prefix('/')
    }

    /// Returns a URI as clients see it.
    pub(crate) fn uri<'a>(&self, uri: &'a str) -> Cow<'a, str> {
        match self.below_root(uri) {
            Some(path) => Cow::Owned(format!("{SCHEME}/{path}")),
            None => Cow::Borrowed(uri),
        }
    }

    /// Returns the location of an experiment as clients see it; the served folder itself stands for `/<experiment_id>`.
    pub(crate) fn location<'a>(&self, uri: &'a str, experiment_id: &str) -> Cow<'a, str> {
        match &self.root {
            Some(root) if uri.trim_end_matches('/') == root => Cow::Owned(format!("{SCHEME}/{experiment_id}")),
            _ => self.uri(uri),
        }
    }

    /// Returns the URI that is stored for one that a client sent: that of a run or model whose own URI is `own`.
    pub(crate) fn stored<'a>(&self, sent: &'a str, own: &str) -> Cow<'a, str> {
        match (self.uri(own), self.below_root(own)) {
            (shown, Some(_)) => match sent.strip_prefix(shown.as_ref()) {
                Some(rest) if rest.is_empty() || rest.starts_with('/') => Cow::Owned(format!("{own}{rest}")),
                _ => Cow::Borrowed(sent),
            },
            _ => Cow::Borrowed(sent),
        }
    }

    /// Returns where a URI leads among the served artifacts.
    pub(crate) fn path(&self, uri: &str) -> Result<ArtifactPath, ApiError> {
        let shown = self.uri(uri);
        let in_bucket = self.bucket.as_deref().and_then(|bucket| uri.strip_prefix(bucket)?.strip_prefix('/'));
        if let Some(path) = in_bucket {
            return ArtifactPath::parse(path);
        }
        if let Some(path) = below_proxy(uri) {
            return ArtifactPath::parse(path);
        }
        let Some(rest) = shown.strip_prefix(SCHEME) else {
            let message = format!("The artifacts lie at '{shown}', which this server does not serve; ask there");
            return Err(ApiError::invalid(message));
        };
        // `mlflow-artifacts://host/path` names the server, `mlflow-artifacts:/path` does not.
        let path = match rest.strip_prefix("//") {
            Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
            None => rest,
        };
        ArtifactPath::parse(path.trim_start_matches('/'))
    }
}

/// Returns the path of an address of a proxy. As with MLflow, and with the host of `mlflow-artifacts://host/path`, it is taken for
/// this one: a server is reached under many names.
fn below_proxy(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("http://").or_else(|| uri.strip_prefix("https://"))?;
    let path = rest[rest.find('/')?..].strip_prefix(PROXY)?;
    if path.is_empty() { Some(path) } else { path.strip_prefix('/') }
}

/// Returns a place for artifacts as it is kept: a relative path is one from where this server was started, as with MLflow.
pub(crate) fn absolute(place: &str) -> Cow<'_, str> {
    let (scheme, path) = match place.strip_prefix("file:") {
        Some(path) => ("file://", path),
        None if place.contains(':') => return Cow::Borrowed(place),
        None => ("", place),
    };
    let here = if path.starts_with('/') { None } else { std::env::current_dir().ok() };
    let joined = here.map(|here| here.join(path).components().collect::<PathBuf>());
    match joined.as_deref().and_then(Path::to_str) {
        Some(path) => Cow::Owned(format!("{scheme}{path}")),
        None => Cow::Borrowed(place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_paths_below_the_served_folder_are_shown_as_the_proxys() {
        let shown = Shown { root: Some("/state/artifacts".to_owned()), bucket: None };
        assert_eq!(shown.uri("/state/artifacts/1/run/artifacts"), "mlflow-artifacts:/1/run/artifacts");
        assert_eq!(shown.uri("/state/artifacts-2/1"), "/state/artifacts-2/1");
        assert_eq!(shown.uri("s3://bucket/x"), "s3://bucket/x");
        assert_eq!(shown.location("/state/artifacts", "1"), "mlflow-artifacts:/1");
        let own = "/state/artifacts/1/run/artifacts";
        assert_eq!(
            shown.stored("mlflow-artifacts:/1/run/artifacts/model", own),
            "/state/artifacts/1/run/artifacts/model"
        );
        assert_eq!(shown.stored("mlflow-artifacts:/1/run/artifacts2", own), "mlflow-artifacts:/1/run/artifacts2");
        for uri in ["mlflow-artifacts:/1/run", "mlflow-artifacts://host:5000/1/run", "file:///state/artifacts/1/run"] {
            assert_eq!(shown.path(uri).expect(uri).to_string(), "1/run");
        }
        let proxy = "https://host:5000/api/2.0/mlflow-artifacts/artifacts";
        assert_eq!(shown.path(&format!("{proxy}/1/run")).expect("the proxy's").to_string(), "1/run");
        assert!(shown.path(proxy).expect("the root").is_root());
        for elsewhere in
            ["/etc", "mlflow-artifacts:/../x", &format!("{proxy}/../x"), &format!("{proxy}2/1"), "http://host"]
        {
            assert!(shown.path(elsewhere).is_err(), "{elsewhere}");
        }
    }

    #[test]
    fn relative_places_are_below_the_working_directory() {
        let here = std::env::current_dir().expect("a directory");
        let here = here.to_str().expect("UTF-8");
        assert_eq!(absolute("./a/b"), format!("{here}/a/b"));
        assert_eq!(absolute("file:a"), format!("file://{here}/a"));
        for place in ["/a/b", "file:///a", "s3://bucket/a", "mlflow-artifacts:/a", "mlflow-artifacts:a"] {
            assert_eq!(absolute(place), place);
        }
    }

    #[test]
    fn what_lies_in_the_served_bucket_is_found_and_shown_as_it_is() {
        let shown = Shown::bucket("s3://bucket/prefix/");
        let uri = "s3://bucket/prefix/1/run/artifacts";
        assert_eq!(shown.path(uri).expect(uri).to_string(), "1/run/artifacts");
        assert_eq!(shown.path("mlflow-artifacts:/1/run").expect("the proxy's").to_string(), "1/run");
        assert_eq!(shown.uri(uri), uri);
        for elsewhere in ["s3://bucket/prefix2/1", "s3://other/prefix/1", "s3://bucket/prefix/../1", "/state/1"] {
            assert!(shown.path(elsewhere).is_err(), "{elsewhere}");
        }
    }
}
