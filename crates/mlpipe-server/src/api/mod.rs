//! MLflow's REST API. [`routes::ROUTES`] is all of it; each entity's handlers are in a file of their own and see a request that has
//! been read, checked against its table and authorized. Handlers block; they run on threads for that.

pub(crate) mod error;
mod experiments;
mod files;
mod inputs;
mod logged_models;
pub(crate) mod message;
mod metrics;
mod model_versions;
mod page;
mod registered_models;
mod routes;
mod runs;
mod server_info;
mod users;
mod webhooks;
pub(crate) mod wire;

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, RawPathParams, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use axum::{Extension, RequestExt, Router};

use crate::Shared;
use crate::access::{Caller, Needs};
use error::{ApiError, Code};
use message::{Field, Message};

pub(crate) use routes::ROUTES;

/// Largest body of a request. MLflow's own limits are far below.
pub(crate) const MAX_BODY_BYTES: usize = 32 << 20;

/// The JSON of a message, or why not.
pub(crate) type Answer = Result<Vec<u8>, ApiError>;

/// One operation of the API.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) method: Method,
    /// Below `/api/<version>` and `/ajax-api/<version>`.
    pub(crate) path: &'static str,
    /// Version of the protocol in the path.
    pub(crate) since: &'static str,
    /// MLflow's name of the operation.
    pub(crate) name: &'static str,
    pub(crate) fields: &'static [Field],
    pub(crate) needs: Needs,
    pub(crate) run: fn(&Call<'_>) -> Answer,
}

/// A request that may be answered.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) caller: &'a Caller,
    pub(crate) message: Message,
}

impl Call<'_> {
    pub(crate) fn store(&self) -> &mlpipe_tracking::Store {
        &self.shared.store
    }

    pub(crate) fn shown(&self) -> &crate::artifacts::Shown {
        &self.shared.shown
    }
}

impl From<mlpipe_tracking::Error> for ApiError {
    fn from(error: mlpipe_tracking::Error) -> Self {
        use mlpipe_tracking::ErrorCode;
        let code = match error.code() {
            ErrorCode::InvalidParameterValue => Code::InvalidParameterValue,
            ErrorCode::ResourceAlreadyExists => Code::ResourceAlreadyExists,
            ErrorCode::ResourceDoesNotExist => Code::ResourceDoesNotExist,
            ErrorCode::ResourceConflict => Code::ResourceConflict,
            ErrorCode::TemporarilyUnavailable => Code::TemporarilyUnavailable,
            ErrorCode::InternalError => Code::InternalError,
        };
        if matches!(code, Code::TemporarilyUnavailable | Code::InternalError) {
            tracing::error!(error = with_causes(&error), "the tracking store failed");
            return Self::new(code, with_causes(&error));
        }
        Self::new(code, error.to_string())
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// All operations, and the paths that are no messages.
pub(crate) fn router() -> Router<Arc<Shared>> {
    let mut router = Router::new();
    for route in ROUTES {
        for prefix in ["/api/", "/ajax-api/"] {
            let path = format!("{prefix}{}{}", route.since, route.path);
            let filter = MethodFilter::try_from(route.method.clone()).expect("the table has methods that axum knows");
            router =
                router.route(&path, on(filter, move |shared, caller, request| handle(route, shared, caller, request)));
        }
    }
    router.layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).merge(files::router()).merge(page::router())
}

async fn handle(
    route: &'static Route,
    State(shared): State<Arc<Shared>>,
    Extension(caller): Extension<Caller>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let in_path = path_params(&mut request).await;
    let mut message = if request.method() == Method::GET {
        let query = request.uri().query().unwrap_or_default();
        let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Message::from_query(route.fields, &pairs)?
    } else {
        let is_json = has_json_type(request.headers());
        let is_patch_or_delete = matches!(*request.method(), Method::PATCH | Method::DELETE);
        let bytes = request.extract::<axum::body::Bytes, _>().await.map_err(|_| too_large())?;
        if !is_patch_or_delete && !bytes.is_empty() {
            is_json?;
        }
        Message::parse(route.fields, &bytes)?
    };
    for (name, value) in in_path {
        message.set_text(&name, value);
    }
    let message = message.complete()?;
    let work = move || {
        shared.access.check(&route.needs, &message, &shared.store, &caller)?;
        (route.run)(&Call { shared: &shared, caller: &caller, message })
    };
    let json = tokio::task::spawn_blocking(work).await.map_err(|error| ApiError::bug(&error))??;
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

async fn path_params(request: &mut Request) -> Vec<(String, String)> {
    let params = request.extract_parts::<RawPathParams>().await;
    params.map(|all| all.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()).unwrap_or_default()
}

fn too_large() -> ApiError {
    ApiError::new(Code::RequestTooLarge, format!("the body is larger than {MAX_BODY_BYTES} bytes, or it broke off"))
}

/// Other types are what a form in a page of another site can send.
fn has_json_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        return Err(ApiError::invalid("Bad Request. Content-Type header is missing."));
    };
    let text = content_type.to_str().unwrap_or_default();
    if text.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json")) {
        return Ok(());
    }
    Err(ApiError::invalid("Bad Request. Content-Type must be one of ['application/json']."))
}
