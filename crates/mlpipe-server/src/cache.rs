//! The cache's routes. Work is done on blocking threads: it is file access from end to end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::TryStreamExt;
use mlpipe_artifacts::{Digest, Tree, write_atomically};
use serde::Deserialize;
use tokio_util::io::{ReaderStream, StreamReader, SyncIoBridge};

use crate::Shared;
use crate::error::Refusal;

/// Largest record of finished work; its content lies in `cas` and is not counted.
const MAX_ACTION_BYTES: usize = 64 << 20;

type Answer<T> = Result<T, Refusal>;

/// The part of a record of finished work that the server checks.
#[derive(Debug, Deserialize)]
struct Action {
    format: String,
    tree: Tree,
}

pub(crate) fn routes() -> Router<Arc<Shared>> {
    let content = get(get_content).put(put_content).layer(DefaultBodyLimit::disable());
    let action = get(get_action).put(put_action).layer(DefaultBodyLimit::max(MAX_ACTION_BYTES));
    Router::new().route("/cache/cas/{key}", content).route("/cache/ac/{key}", action)
}

async fn get_content(State(shared): State<Arc<Shared>>, Path(key): Path<String>) -> Answer<impl IntoResponse> {
    file(shared.content.content_path(digest(&key)?)).await
}

async fn get_action(State(shared): State<Arc<Shared>>, Path(key): Path<String>) -> Answer<impl IntoResponse> {
    file(action_path(&shared, digest(&key)?)).await
}

/// Streams a file, or answers 404. For HEAD axum sends the headers alone.
async fn file(path: PathBuf) -> Answer<impl IntoResponse> {
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Refusal(StatusCode::NOT_FOUND, "not here".into()),
        _ => Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
    };
    let file = tokio::fs::File::open(&path).await.map_err(missing)?;
    let length = file.metadata().await.map_err(missing)?.len();
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok((headers, Body::from_stream(ReaderStream::new(file))))
}

async fn put_content(
    State(shared): State<Arc<Shared>>,
    Path(key): Path<String>,
    request: Request,
) -> Answer<StatusCode> {
    let digest = digest(&key)?;
    let stream = request.into_body().into_data_stream().map_err(std::io::Error::other);
    let body = SyncIoBridge::new(StreamReader::new(stream));
    blocking(move || Ok(shared.content.import(digest, body)?)).await?;
    Ok(StatusCode::CREATED)
}

/// Keeps finished work, if all of its content is here: whoever finds it can rely on that.
async fn put_action(State(shared): State<Arc<Shared>>, Path(key): Path<String>, body: Bytes) -> Answer<StatusCode> {
    let path = action_path(&shared, digest(&key)?);
    let action: Action = serde_json::from_slice(&body)
        .map_err(|error| Refusal(StatusCode::BAD_REQUEST, format!("not a record of finished work: {error}")))?;
    if !action.format.starts_with("mlpipe.action/") {
        return Err(Refusal(StatusCode::BAD_REQUEST, format!("unknown format `{}`", action.format)));
    }
    blocking(move || {
        if !shared.content.contains(&action.tree) {
            return Err(Refusal(StatusCode::CONFLICT, "some of its content is not here; put that first".into()));
        }
        let directory = path.parent().expect("an entry lies in a directory");
        fs::create_dir_all(directory).map_err(|error| Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
        Ok(write_atomically(&path, &body)?)
    })
    .await?;
    Ok(StatusCode::CREATED)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Answer<T> + Send + 'static) -> Answer<T> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?
}

fn digest(key: &str) -> Answer<Digest> {
    key.parse().map_err(|_| Refusal(StatusCode::BAD_REQUEST, format!("`{key}` is not 64 hexadecimal digits")))
}

/// Where the engine looks for the same entry.
fn action_path(shared: &Shared, fingerprint: Digest) -> PathBuf {
    let name = fingerprint.to_string();
    shared.actions.join(&name[..2]).join(format!("{}.json", &name[2..]))
}
