//! Artifacts through the proxy of a server: `mlflow-artifacts:` URIs, listed, fetched and stored as streams.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::client::Client;
use super::wire::FileInfo;
use crate::{Error, Result};

/// Below this path of the server the artifacts lie.
const PROXY: &str = "/api/2.0/mlflow-artifacts/artifacts";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Listing {
    files: Vec<FileInfo>,
    next_page_token: String,
}

impl Client {
    /// Lists the artifacts of a run, directly below `path` (empty for the root); paths are from the run's root.
    ///
    /// # Errors
    /// As for every call.
    pub fn list_artifacts(&self, run_id: &str, path: &str) -> Result<Vec<FileInfo>> {
        let mut files = Vec::new();
        let mut token = String::new();
        loop {
            let mut query = vec![("run_id", run_id)];
            query.extend((!path.is_empty()).then_some(("path", path)));
            query.extend((!token.is_empty()).then_some(("page_token", token.as_str())));
            let page: Listing = self.get("/artifacts/list", &query)?;
            files.extend(page.files);
            token = page.next_page_token;
            if token.is_empty() {
                return Ok(files);
            }
        }
    }

    /// Lists what lies directly below an `mlflow-artifacts:` URI; paths are names inside it.
    ///
    /// # Errors
    /// [`Error::NotProxied`], and as for every call.
    pub fn list_folder(&self, uri: &str) -> Result<Vec<FileInfo>> {
        let path = proxied_path(uri)?;
        let url = format!("{}{PROXY}", self.uri());
        let mut answer = self.open(&url, &[("path", path)])?;
        let text = answer
            .body_mut()
            .read_to_vec()
            .map_err(|error| Error::Unreachable { url: url.clone(), reason: error.to_string() })?;
        let listing: Listing =
            serde_json::from_slice(&text).map_err(|error| Error::InvalidAnswer { url, reason: error.to_string() })?;
        Ok(listing.files)
    }

    /// Stores a local file below an `mlflow-artifacts:` URI, replacing what is there.
    ///
    /// # Errors
    /// [`Error::NotProxied`], [`Error::LocalFile`], and as for every call.
    pub fn upload(&self, root_uri: &str, path: &str, file: &Path) -> Result<()> {
        // Asked first, so that a file that cannot be read is not taken for a server that is away.
        File::open(file).map_err(|source| Error::LocalFile { path: file.to_owned(), source })?;
        self.put(&self.artifact_url(root_uri, path)?, || File::open(file))
    }

    /// Fetches the file at `path` below an `mlflow-artifacts:` URI into a local file, whose folder must exist.
    ///
    /// # Errors
    /// [`Error::NotProxied`], [`Error::LocalFile`], and as for every call.
    pub fn download(&self, root_uri: &str, path: &str, file: &Path) -> Result<()> {
        let url = self.artifact_url(root_uri, path)?;
        let mut answer = self.open(&url, &[])?;
        let local = |source| Error::LocalFile { path: file.to_owned(), source };
        let mut into = File::create(file).map_err(local)?;
        let mut body = answer.body_mut().with_config().limit(u64::MAX).reader();
        io::copy(&mut body, &mut into).map_err(|error| Error::Unreachable { url, reason: error.to_string() })?;
        Ok(())
    }

    /// Fetches everything below an `mlflow-artifacts:` URI into a local folder, which is made; returns how many files.
    ///
    /// # Errors
    /// As [`Client::download`]; [`Error::InvalidAnswer`] for names that would lie elsewhere.
    pub fn download_folder(&self, root_uri: &str, folder: &Path) -> Result<usize> {
        fs::create_dir_all(folder).map_err(|source| Error::LocalFile { path: folder.to_owned(), source })?;
        let mut count = 0;
        for file in self.list_folder(root_uri)? {
            let name = plain_name(root_uri, &file.path)?;
            if file.is_dir {
                count +=
                    self.download_folder(&format!("{}/{name}", root_uri.trim_end_matches('/')), &folder.join(name))?;
            } else {
                self.download(root_uri, name, &folder.join(name))?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn artifact_url(&self, root_uri: &str, path: &str) -> Result<String> {
        let root = proxied_path(root_uri)?;
        let joined = if path.is_empty() { root.to_owned() } else { format!("{root}/{path}") };
        let segments: Vec<String> = joined.split('/').map(percent_encoded).collect();
        Ok(format!("{}{PROXY}/{}", self.uri(), segments.join("/")))
    }
}

/// Returns what an `mlflow-artifacts:` URI names below the proxy: `mlflow-artifacts:/1/x` and `mlflow-artifacts://host/1/x`
/// are `1/x`.
fn proxied_path(uri: &str) -> Result<&str> {
    let rest = uri.strip_prefix("mlflow-artifacts:").ok_or_else(|| Error::NotProxied { uri: uri.to_owned() })?;
    let path = match rest.strip_prefix("//") {
        Some(with_host) => with_host.split_once('/').map_or("", |(_, path)| path),
        None => rest,
    };
    Ok(path.trim_matches('/'))
}

/// Refuses a name with which a server would make us write somewhere else.
fn plain_name<'a>(uri: &str, name: &'a str) -> Result<&'a str> {
    let is_plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    if is_plain {
        return Ok(name);
    }
    Err(Error::InvalidAnswer { url: uri.to_owned(), reason: format!("`{name}` is not the name of a file in a folder") })
}

/// A path segment as RFC 3986 section 3.3 wants it.
fn percent_encoded(segment: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if plain(byte) { encoded.push(char::from(byte)) } else { encoded.push_str(&format!("%{byte:02X}")) }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxied_uris_name_a_path_with_and_without_a_host() {
        for uri in ["mlflow-artifacts:/1/r/artifacts", "mlflow-artifacts://host:5000/1/r/artifacts/"] {
            assert_eq!(proxied_path(uri).expect("proxied"), "1/r/artifacts");
        }
        assert!(matches!(proxied_path("s3://bucket/x"), Err(Error::NotProxied { .. })));
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["..", "a/b", "/etc", "", "a\\b"] {
            assert!(plain_name("mlflow-artifacts:/1", name).is_err(), "{name}");
        }
        assert_eq!(plain_name("u", "..a").expect("plain"), "..a");
    }

    #[test]
    fn segments_are_encoded_byte_by_byte() {
        assert_eq!(percent_encoded("lr=0.1 ä%"), "lr%3D0.1%20%C3%A4%25");
    }
}
