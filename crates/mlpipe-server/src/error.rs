//! What can keep the server from serving, and how a refused request is answered.

use std::net::SocketAddr;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Error of the server.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory cannot be used.
    #[error(transparent)]
    Artifacts(#[from] mlpipe_artifacts::Error),
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
