//! What can keep the server from serving, and how a request to the cache is refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Error of the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be used.
    #[error(transparent)]
    Artifacts(#[from] mlpipe_artifacts::Error),
    /// The tracking store cannot be used.
    #[error(transparent)]
    Tracking(#[from] mlpipe_tracking::Error),
    /// A file or folder of the server cannot be used.
    #[error("{what} {}: {source}", .path.display())]
    File {
        /// What it is for.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("TLS: {}: {message}", .path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Users are asked for and there are none.
    #[error("there are no users yet, so nobody could sign in")]
    NoUsers,
    /// The place for artifacts is of a kind that this build does not know.
    #[error("artifacts cannot be kept at {destination}: {message}")]
    Destination {
        /// The place.
        destination: String,
        /// What is wrong with it.
        message: String,
    },
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The asynchronous runtime failed.
    #[error("server: {0}")]
    Runtime(std::io::Error),
}

/// Result of the server.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a request is refused: a status and one line.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, format!("{}\n", self.1)).into_response()
    }
}

impl From<mlpipe_artifacts::Error> for Refusal {
    fn from(error: mlpipe_artifacts::Error) -> Self {
        let status = match &error {
            mlpipe_artifacts::Error::ImportMismatch { .. } => StatusCode::BAD_REQUEST,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.to_string())
    }
}
