//! Artifacts by run, model or version: listing, and the addresses of MLflow's web page that send and receive a file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{DefaultBodyLimit, Query, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Extension, Router};
use serde::Serialize;

use super::error::ApiError;
use super::wire::{FileInfo, answer};
use super::{Answer, Call};
use crate::Shared;
use crate::access::{Caller, Permission};
use crate::artifacts::{ArtifactPath, Entry};

#[derive(Serialize)]
struct Listing<'a> {
    root_uri: Cow<'a, str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileInfo<'a>>,
}

/// Lists what lies below a path of a run's or model's artifacts; paths are shown from its root.
pub(super) fn listing(call: &Call<'_>, root_uri: &str, below: &str) -> Answer {
    let below = ArtifactPath::parse(below)?;
    let root = call.shown().path(root_uri)?;
    let entries = call.shared.artifacts()?.list(&root.join(&below))?;
    let file = |entry: &Entry| FileInfo {
        path: Cow::Owned(if below.is_root() { entry.name.clone() } else { format!("{below}/{}", entry.name) }),
        is_dir: entry.size.is_none(),
        file_size: entry.size,
    };
    answer(&Listing { root_uri: call.shown().uri(root_uri), files: entries.iter().map(file).collect() })
}

pub(super) fn list(call: &Call<'_>) -> Answer {
    let run = call.store().get_run(call.message.str("run_id"))?;
    listing(call, &run.artifact_uri, call.message.str("path"))
}

pub(super) fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/get-artifact", get(of_run))
        .route("/model-versions/get-artifact", get(of_version))
        .route("/ajax-api/2.0/mlflow/upload-artifact", post(upload))
        .route("/ajax-api/2.0/mlflow/logged-models/{model_id}/artifacts/files", get(of_model))
        .layer(DefaultBodyLimit::disable())
}

type Parameters = HashMap<String, String>;

fn parameter<'a>(parameters: &'a Parameters, name: &str) -> Result<&'a str, ApiError> {
    let value = parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
    value.ok_or_else(|| {
        ApiError::invalid(format!(
            "Missing value for required parameter '{name}'. See the API docs for more information about request parameters."
        ))
    })
}

fn run_parameter(parameters: &Parameters) -> Result<&str, ApiError> {
    parameter(parameters, "run_id").or_else(|error| parameter(parameters, "run_uuid").map_err(|_| error))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::bug(&error))?
}

/// Sends a file below the artifacts of an entity.
fn send(shared: &Shared, root_uri: &str, path: &ArtifactPath, headers: &HeaderMap) -> Result<Response, ApiError> {
    shared.artifacts()?.send(&shared.shown.path(root_uri)?.join(path), headers)
}

async fn of_run(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    blocking(move || {
        let path = ArtifactPath::parse(parameter(&parameters, "path")?)?;
        let run = shared.store.get_run(run_parameter(&parameters)?)?;
        shared.access.check_experiment(&shared.store, &caller, &run.experiment_id, Permission::Read)?;
        send(&shared, &run.artifact_uri, &path, &headers)
    })
    .await
}

async fn of_version(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    blocking(move || {
        let (name, version) = (parameter(&parameters, "name")?, parameter(&parameters, "version")?);
        let path = ArtifactPath::parse(parameter(&parameters, "path")?)?;
        shared.access.check_model(&shared.store, &caller, name, Permission::Read)?;
        send(&shared, &shared.store.model_version_download_uri(name, version)?, &path, &headers)
    })
    .await
}

async fn of_model(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    axum::extract::Path(model_id): axum::extract::Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    blocking(move || {
        let path = ArtifactPath::parse(parameter(&parameters, "artifact_file_path")?)?;
        let model = shared.store.logged_model(&model_id)?;
        shared.access.check_experiment(&shared.store, &caller, &model.experiment_id, Permission::Read)?;
        send(&shared, &model.artifact_uri, &path, &headers)
    })
    .await
}

async fn upload(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Query(parameters): Query<Parameters>,
    request: Request,
) -> Result<Response, ApiError> {
    let is_empty = request.body().is_end_stream();
    let at = {
        let shared = Arc::clone(&shared);
        blocking(move || {
            let given = |value: Result<_, _>, name| {
                value.map_err(|_: ApiError| ApiError::invalid(format!("Request must specify {name}.")))
            };
            let run_id = given(run_parameter(&parameters), "run_uuid")?;
            let path = ArtifactPath::parse(given(parameter(&parameters, "path"), "path")?)?;
            if is_empty {
                return Err(ApiError::invalid("Request must specify data."));
            }
            let run = shared.store.get_run(run_id)?;
            shared.access.check_experiment(&shared.store, &caller, &run.experiment_id, Permission::Edit)?;
            Ok(shared.shown.path(&run.artifact_uri)?.join(&path))
        })
        .await?
    };
    let (parts, body) = request.into_parts();
    shared.artifacts()?.receive(at, &parts.headers, body).await
}
