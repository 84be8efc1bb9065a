//! How a request is refused: MLflow's error JSON and its codes. Where MLflow answers 500 for a user's mistake, 400 is answered.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// MLflow's name for what went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidParameterValue,
    BadRequest,
    ResourceAlreadyExists,
    Unauthenticated,
    PermissionDenied,
    ResourceDoesNotExist,
    EndpointNotFound,
    ResourceConflict,
    RequestLimitExceeded,
    RequestTooLarge,
    TemporarilyUnavailable,
    InternalError,
}

impl Code {
    /// The name on the wire, and the HTTP status.
    pub(crate) const fn wire(self) -> (&'static str, StatusCode) {
        match self {
            Self::InvalidParameterValue => ("INVALID_PARAMETER_VALUE", StatusCode::BAD_REQUEST),
            Self::BadRequest => ("BAD_REQUEST", StatusCode::BAD_REQUEST),
            Self::ResourceAlreadyExists => ("RESOURCE_ALREADY_EXISTS", StatusCode::BAD_REQUEST),
            Self::Unauthenticated => ("UNAUTHENTICATED", StatusCode::UNAUTHORIZED),
            Self::PermissionDenied => ("PERMISSION_DENIED", StatusCode::FORBIDDEN),
            Self::ResourceDoesNotExist => ("RESOURCE_DOES_NOT_EXIST", StatusCode::NOT_FOUND),
            Self::EndpointNotFound => ("ENDPOINT_NOT_FOUND", StatusCode::NOT_FOUND),
            Self::ResourceConflict => ("RESOURCE_CONFLICT", StatusCode::CONFLICT),
            Self::RequestLimitExceeded => ("REQUEST_LIMIT_EXCEEDED", StatusCode::TOO_MANY_REQUESTS),
            Self::RequestTooLarge => ("BAD_REQUEST", StatusCode::PAYLOAD_TOO_LARGE),
            Self::TemporarilyUnavailable => ("TEMPORARILY_UNAVAILABLE", StatusCode::SERVICE_UNAVAILABLE),
            Self::InternalError => ("INTERNAL_ERROR", StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A mistake in a parameter.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameterValue, message)
    }

    /// Something that was asked for is not there.
    pub(crate) fn missing(message: impl Into<String>) -> Self {
        Self::new(Code::ResourceDoesNotExist, message)
    }

    /// The caller may not do this.
    pub(crate) fn denied() -> Self {
        Self::new(Code::PermissionDenied, "Permission denied")
    }

    /// A blocking thread died: a bug in this program.
    pub(crate) fn bug(error: &tokio::task::JoinError) -> Self {
        tracing::error!(%error, "a request was not answered");
        Self::new(Code::InternalError, "the request was not answered because of a fault in the server; see its log")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error_code: &'a str,
    message: &'a str,
    sqlstate: &'static str,
    error_class: &'a str,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (name, status) = self.code.wire();
        let class = if self.code == Code::ResourceDoesNotExist { "RESOURCE_NOT_FOUND" } else { name };
        let body = Body { error_code: name, message: &self.message, sqlstate: "KAM00", error_class: class };
        let json = serde_json::to_vec(&body).expect("texts are JSON");
        let mut response = (status, [(header::CONTENT_TYPE, "application/json")], json).into_response();
        if self.code == Code::Unauthenticated {
            let challenge = header::HeaderValue::from_static("Basic realm=\"mlflow\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
