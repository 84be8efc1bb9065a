//! The artifact proxy: files of runs and models, below `mlflow-artifacts/artifacts/`, so that clients need no access to the place
//! where they lie: a folder, or with the features `s3`, `gcs` and `azure` a bucket. Which path belongs to which run is decided by
//! whoever made the run's artifact URI; here it is a path.

#[cfg(feature = "object-store")]
mod bucket;
#[cfg(feature = "object-store")]
mod cloud;
mod destination;
mod download;
mod folder;
mod mime;
mod multipart;
mod path;
mod shown;
mod upload;

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, RawQuery, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use axum::{Extension, Router};
use serde::Serialize;

use crate::Shared;
use crate::access::{Caller, Permission};
use crate::api::error::{ApiError, Code};
use crate::api::message::Message;
use crate::api::wire::FileInfo;
use crate::error::Error;

use folder::Folder;

pub(crate) use folder::Entry;
pub(crate) use path::ArtifactPath;
pub(crate) use shown::{Shown, absolute};
use upload::{Busy, Part, blocking, empty_object};

type Answer = Result<Response, ApiError>;

/// How long an upload that nobody goes on with is kept.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Largest body of a request that is a message, not a file.
const MAX_MESSAGE_BYTES: usize = 16 << 20;
const SERVICE: &str = "/mlflow-artifacts/";

/// The served artifacts.
#[derive(Debug, Clone)]
pub(crate) struct Artifacts {
    place: Place,
    /// Holds uploads that come in parts until all is here; when artifacts lie in a folder, that folder.
    uploads: Arc<Folder>,
    busy: Arc<Busy>,
}

/// Where artifacts lie.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Folder(Arc<Folder>),
    #[cfg(feature = "object-store")]
    Bucket(Arc<bucket::Bucket>),
}

impl Artifacts {
    /// Opens a local folder, making it where it is missing.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        let folder = uploads(path)?;
        Ok(Self { place: Place::Folder(Arc::clone(&folder)), uploads: folder, busy: Arc::default() })
    }

    /// Opens a bucket; uploads in parts wait in a local folder.
    ///
    /// # Errors
    /// When this build does not know that kind of bucket, or the bucket does not answer.
    pub(crate) fn open_bucket(uri: &str, waiting: &Path) -> Result<Self, Error> {
        let refused = |message: String| Error::Destination { destination: uri.to_owned(), message };
        let place = destination::open(uri).map_err(refused)?;
        let file = |source| Error::File { what: "artifact folder", path: waiting.to_owned(), source };
        Ok(Self { place, uploads: uploads(waiting).map_err(file)?, busy: Arc::default() })
    }

    /// Lists a folder; blocks.
    pub(crate) fn list(&self, path: &ArtifactPath) -> Result<Vec<Entry>, ApiError> {
        match &self.place {
            Place::Folder(folder) => folder.list(path),
            #[cfg(feature = "object-store")]
            Place::Bucket(bucket) => bucket.list(path),
        }
    }

    /// Answers a request for a file; blocks.
    pub(crate) fn send(&self, path: &ArtifactPath, request: &HeaderMap) -> Answer {
        let name = path.split_last().map_or("", |(_, name)| name);
        let artifact = match &self.place {
            Place::Folder(folder) => folder.read(path)?,
            #[cfg(feature = "object-store")]
            Place::Bucket(bucket) => bucket.read(path)?,
        };
        download::send(artifact, name, request)
    }

    /// Removes a file, or a folder with all that is in it; blocks.
    fn remove(&self, path: &ArtifactPath) -> Result<(), ApiError> {
        if path.is_root() {
            return Err(ApiError::invalid("Invalid path: the root of all artifacts cannot be deleted"));
        }
        match &self.place {
            Place::Folder(folder) => folder.remove(path),
            #[cfg(feature = "object-store")]
            Place::Bucket(bucket) => bucket.remove(path),
        }
    }

    /// Receives a file.
    pub(crate) async fn receive(&self, path: ArtifactPath, headers: &HeaderMap, body: Body) -> Answer {
        upload::whole(self, path, headers, body).await
    }
}

/// Opens the folder of uploads under way, without those that were given up.
fn uploads(path: &Path) -> std::io::Result<Arc<Folder>> {
    let folder = Folder::open(path)?;
    if let Err(error) = folder.discard_uploads_older_than(ABANDONED) {
        tracing::warn!(error = error.message, "abandoned uploads stay");
    }
    Ok(Arc::new(folder))
}

/// The proxy's routes, below `/api/2.0` and `/ajax-api/2.0`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    let mut router = Router::new();
    for prefix in ["/api/2.0", "/ajax-api/2.0"] {
        let at = |path: &str| format!("{prefix}{SERVICE}{path}");
        router = router
            .route(&at("artifacts"), get(list))
            .route(&at("artifacts/"), get(list))
            .route(&at("artifacts/{*path}"), any(file))
            .route(&at("mpu/{action}/{*path}"), post(multipart_action))
            .route(&at("mpu/{action}"), post(multipart_action))
            .route(&at("parts/{upload_id}/{number}"), put(part));
    }
    router.layer(axum::extract::DefaultBodyLimit::disable())
}

#[derive(Serialize)]
struct Listing<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    files: Vec<FileInfo<'a>>,
}

async fn list(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    let path = ArtifactPath::parse(query.get("path").map(String::as_str).unwrap_or_default())?;
    blocking(move || {
        shared.access.check_artifact(&shared.store, &caller, &path, Permission::Read)?;
        let entries = shared.artifacts()?.list(&path)?;
        let file = |entry: &Entry| FileInfo {
            path: Cow::Owned(entry.name.clone()),
            is_dir: entry.size.is_none(),
            file_size: entry.size,
        };
        let listing = Listing { files: entries.iter().map(file).collect() };
        Ok(axum::Json(listing).into_response())
    })
    .await
}

/// The path of a request after `artifacts/` or the like, percent-decoded once.
fn path_after(request: &Request, marker: &str) -> Result<ArtifactPath, ApiError> {
    let raw = request.uri().path();
    let rest = raw.split_once(marker).map_or("", |(_, rest)| rest);
    let decoded = percent_encoding::percent_decode_str(rest).decode_utf8();
    ArtifactPath::parse(&decoded.map_err(|_| ApiError::invalid("Invalid path: it is not UTF-8"))?)
}

async fn file(State(shared): State<Arc<Shared>>, Extension(caller): Extension<Caller>, request: Request) -> Answer {
    let path = path_after(&request, "/mlflow-artifacts/artifacts/")?;
    let needed = match *request.method() {
        Method::GET | Method::HEAD => Permission::Read,
        Method::PUT => Permission::Edit,
        Method::DELETE => Permission::Manage,
        _ => return Ok(axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response()),
    };
    let artifacts = shared.artifacts()?.clone();
    let permitted = {
        let (shared, path) = (Arc::clone(&shared), path.clone());
        move || shared.access.check_artifact(&shared.store, &caller, &path, needed)
    };
    let (parts, body) = request.into_parts();
    match needed {
        Permission::Read => blocking(move || permitted().and_then(|()| artifacts.send(&path, &parts.headers))).await,
        Permission::Manage => {
            blocking(move || permitted().and_then(|()| artifacts.remove(&path))).await?;
            Ok(empty_object())
        }
        _ => {
            if shared.access.is_on() {
                blocking(permitted).await?;
            }
            match Part::of(&parts.headers)? {
                Some(part) => upload::resumed(&artifacts, path, part, body).await,
                None => artifacts.receive(path, &parts.headers, body).await,
            }
        }
    }
}

async fn part(
    State(shared): State<Arc<Shared>>,
    axum::extract::Path((upload_id, number)): axum::extract::Path<(String, u32)>,
    request: Request,
) -> Answer {
    let artifacts = shared.artifacts()?;
    multipart::put_part(&artifacts.uploads, upload_id, number, request.into_body()).await
}

async fn multipart_action(
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    RawQuery(_): RawQuery,
    request: Request,
) -> Answer {
    let action =
        request.uri().path().split_once("/mpu/").map(|(_, rest)| rest.split('/').next().unwrap_or_default().to_owned());
    let action = action.unwrap_or_default();
    let folder = path_after(&request, &format!("/mpu/{action}"))
        .or_else(|_| path_after(&request, &format!("/mpu/{action}/")))?;
    let base = part_base(&shared, request.headers());
    let body = axum::body::to_bytes(request.into_body(), MAX_MESSAGE_BYTES).await;
    let body = body.map_err(|_| ApiError::new(Code::RequestTooLarge, "the body is too large"))?;
    blocking(move || {
        let fields = match action.as_str() {
            "create" => multipart::CREATE,
            "complete" => multipart::COMPLETE,
            "abort" => multipart::ABORT,
            _ => return Err(ApiError::new(Code::EndpointNotFound, "there is no such endpoint")),
        };
        let message = Message::parse(fields, &body)?.complete()?;
        let last = message.str("path").rsplit('/').next().unwrap_or_default();
        let path = folder.join(&ArtifactPath::parse(last)?);
        shared.access.check_artifact(&shared.store, &caller, &path, Permission::Edit)?;
        let artifacts = shared.artifacts()?;
        match action.as_str() {
            "create" => {
                return Ok(axum::Json(multipart::create(&artifacts.uploads, &base, &message)?).into_response());
            }
            "complete" => multipart::complete(artifacts, &path, &message)?,
            _ => multipart::abort(&artifacts.uploads, message.str("upload_id"))?,
        }
        Ok(empty_object())
    })
    .await
}

/// Where parts are put, as the client reaches this server.
fn part_base(shared: &Shared, headers: &HeaderMap) -> String {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_https = shared.is_tls || text("x-forwarded-proto") == Some("https");
    let host = text(header::HOST.as_str()).unwrap_or("localhost");
    format!("{}://{host}/api/2.0{SERVICE}parts", if is_https { "https" } else { "http" })
}
