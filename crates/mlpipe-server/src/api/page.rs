//! What is there for people and for health checks: `/`, `/health`, `/version`, `/openapi.json`, and the 404.

use std::sync::Arc;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use crate::{Shared, openapi};

/// The version of MLflow whose API this is; clients compare it with their own.
const MLFLOW_VERSION: &str = "3.17.2";

const HOME: &str = "<!doctype html>\n<html lang=en>\n<meta charset=utf-8>\n<title>mlpipe</title>\n<h1>mlpipe server</h1>\n\
    <p>Speaks MLflow's REST API: set MLFLOW_TRACKING_URI to this address.\n\
    <p><a href=\"openapi.json\">openapi.json</a>\n";

const NOT_FOUND: &str = "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n\
    <p>The requested URL was not found on the server.</p>\n";

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(|| async { Html(HOME) }))
        .route("/health", get(|| async { "OK" }))
        .route("/version", get(|| async { Html(MLFLOW_VERSION) }))
        .route("/openapi.json", get(|| async { ([(header::CONTENT_TYPE, "application/json")], openapi::document()) }))
        .fallback(not_found)
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Html(NOT_FOUND)).into_response()
}
