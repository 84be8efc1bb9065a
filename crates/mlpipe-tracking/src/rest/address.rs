//! Where a tracking server is, and who we are there.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::{Error, Result};

/// The address of a tracking server, without credentials: `http://host:port/prefix`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackingUri {
    base: String,
    credentials: Option<(String, String)>,
}

impl TrackingUri {
    /// Returns whether a text is the address of a server, rather than a folder or a database that MLflow opens itself.
    pub fn is_server(text: &str) -> bool {
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        matches!(scheme.as_deref(), Some("http" | "https"))
    }

    /// Parses `http://host`, with port, path and `user:password@` where there are some; `https` with the feature `tls`.
    ///
    /// # Errors
    /// [`Error::InvalidTrackingUri`].
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |reason| Error::InvalidTrackingUri { uri: without_credentials(text), reason };
        let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("an address begins with http://"))?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.as_str() {
            "http" => {}
            "https" if cfg!(feature = "tls") => {}
            "https" => return Err(invalid("this mlpipe was built without the feature `tls`, which https needs")),
            _ => return Err(invalid("an address begins with http:// or https://")),
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err(invalid("it names no host"));
        }
        if path.contains(['?', '#']) {
            return Err(invalid("it has a query or a fragment"));
        }
        let credentials = user_info.map(|text| text.split_once(':').unwrap_or((text, "")));
        Ok(Self {
            base: format!("{scheme}://{host}{}", path.trim_end_matches('/')),
            credentials: credentials.map(|(user, password)| (user.to_owned(), password.to_owned())),
        })
    }

    /// Returns the address, which can be shown and stored: credentials are not in it.
    pub fn as_str(&self) -> &str {
        &self.base
    }

    /// Returns the address as it was given, for programs that are to be us on that server.
    pub fn with_credentials(&self) -> String {
        match (&self.credentials, self.base.split_once("://")) {
            (Some((user, password)), Some((scheme, rest))) => format!("{scheme}://{user}:{password}@{rest}"),
            _ => self.base.clone(),
        }
    }

    /// Returns the credentials that stand in the address.
    pub(crate) fn credentials(&self) -> Option<Credentials> {
        let (user, password) = self.credentials.clone()?;
        Some(Credentials::Basic { user, password })
    }
}

impl fmt::Display for TrackingUri {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.base)
    }
}

/// Who we are on a server.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// Nobody in particular.
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// Their password.
        password: String,
    },
    /// A bearer token.
    Token(String),
}

impl Credentials {
    /// Reads `MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, or `MLFLOW_TRACKING_TOKEN`, as MLflow's client does.
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        match (variable("MLFLOW_TRACKING_USERNAME"), variable("MLFLOW_TRACKING_PASSWORD")) {
            (Some(user), Some(password)) => Self::Basic { user, password },
            _ => variable("MLFLOW_TRACKING_TOKEN").map_or(Self::None, Self::Token),
        }
    }

    /// Returns the value of the header `Authorization`.
    pub(crate) fn header(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Basic { user, password } => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
            }
            Self::Token(token) => Some(format!("Bearer {token}")),
        }
    }
}

impl fmt::Debug for Credentials {
    /// Says of what kind they are, and nothing more.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Token(_) => "Token",
        })
    }
}

fn without_credentials(text: &str) -> String {
    match (text.split_once("://"), text.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_loses_its_slash_and_its_credentials() {
        let uri = TrackingUri::parse("HTTP://user:secret@host:5000/mlflow/").expect("parses");
        assert_eq!(uri.as_str(), "http://host:5000/mlflow");
        let credentials = uri.credentials().expect("given");
        assert_eq!(credentials.header().as_deref(), Some("Basic dXNlcjpzZWNyZXQ="));
        assert_eq!(format!("{credentials:?}"), "Basic");
    }

    #[test]
    fn what_is_no_server_is_refused_without_naming_a_password() {
        for text in ["mlruns", "sqlite:///mlflow.db", "http://", "http://:5000", "http://a/?b", "ftp://u:secret@h"] {
            let error = TrackingUri::parse(text).expect_err("refused").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(!TrackingUri::is_server("sqlite:///mlflow.db") && TrackingUri::is_server("http://host"));
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn https_without_the_feature_says_which_one_it_needs() {
        let error = TrackingUri::parse("https://host").expect_err("refused").to_string();
        assert!(error.contains("feature `tls`"), "{error}");
    }
}
