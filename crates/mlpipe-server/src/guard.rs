//! What every request passes: the name by which it calls this server, whether a page of another site sent it, who sent it, and the
//! audit log. There is no CORS: no header allows a page of another site to read anything, preflights are refused.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::Shared;
use crate::access::Caller;
use crate::api::error::{ApiError, Code};
use crate::error::Refusal;

/// Where a request came from; set when its connection was accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// Paths that need no user. The address of a part of an upload is a secret of its own.
const OPEN: &[&str] = &["/health", "/version"];
const OPEN_PREFIXES: &[&str] = &["/api/2.0/mlflow-artifacts/parts/", "/ajax-api/2.0/mlflow-artifacts/parts/"];

pub(crate) async fn check(State(shared): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let address = request.extensions().get::<Peer>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |peer| peer.0.ip());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let admitted = match refused(&shared, &request) {
        Some(refusal) => Err(refusal),
        None => signed_in(&shared, &path, request.headers(), address).await,
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(refusal) => {
            audit(&shared, address, None, &method, &path, refusal.status());
            return hardened(refusal);
        }
    };
    request.extensions_mut().insert(caller.clone());
    let response = next.run(request).await;
    let is_refused = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if is_refused || !matches!(method, Method::GET | Method::HEAD) {
        audit(&shared, address, caller.name(), &method, &path, response.status());
    }
    hardened(response)
}

/// Refuses other names of this server, and pages of other sites.
fn refused(shared: &Shared, request: &Request) -> Option<Response> {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !shared.hosts.allows(host) {
        let message =
            format!("this server is not called `{}`; allow the name with --allowed-hosts", host.escape_default());
        return Some(Refusal(StatusCode::FORBIDDEN, message).into_response());
    }
    is_cross_site(request.method(), headers, host)
        .then(|| ApiError::new(Code::PermissionDenied, "requests of pages of other sites are refused").into_response())
}

async fn signed_in(shared: &Arc<Shared>, path: &str, headers: &HeaderMap, address: IpAddr) -> Result<Caller, Response> {
    if !shared.access.is_on() || OPEN.contains(&path) || OPEN_PREFIXES.iter().any(|prefix| path.starts_with(prefix)) {
        return Ok(Caller::Anybody);
    }
    let (shared, headers) = (Arc::clone(shared), headers.clone());
    let found = tokio::task::spawn_blocking(move || shared.access.login.caller(&shared.store, &headers, address)).await;
    found.map_err(|error| ApiError::bug(&error)).and_then(|caller| caller).map_err(IntoResponse::into_response)
}

/// Browsers say in `Sec-Fetch-Site` and `Origin` which page sent a request; other clients send neither.
fn is_cross_site(method: &Method, headers: &HeaderMap, host: &str) -> bool {
    if matches!(*method, Method::GET | Method::HEAD) {
        return false;
    }
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let is_foreign =
        |origin: &str| origin.split_once("://").is_none_or(|(_, authority)| !authority.eq_ignore_ascii_case(host));
    let is_elsewhere = |site: &str| !matches!(site, "same-origin" | "none");
    text("sec-fetch-site").is_some_and(is_elsewhere) || text("origin").is_some_and(is_foreign)
}

/// MLflow's headers against sniffing and framing.
fn hardened(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("SAMEORIGIN"));
    response
}

fn audit(shared: &Shared, address: IpAddr, user: Option<&str>, method: &Method, path: &str, status: StatusCode) {
    if let Some(audit) = &shared.audit {
        audit.write(address, user, method.as_str(), path, status.as_u16());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crosses(method: &Method, header: (&'static str, &'static str)) -> bool {
        let name = header::HeaderName::from_static(header.0);
        is_cross_site(method, &HeaderMap::from_iter([(name, HeaderValue::from_static(header.1))]), "localhost:5000")
    }

    #[test]
    fn pages_of_other_sites_cannot_change_anything() {
        for header in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("origin", "http://localhost:5001"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(crosses(&Method::POST, header) && crosses(&Method::OPTIONS, header), "{header:?}");
        }
        for header in [("origin", "http://localhost:5000"), ("sec-fetch-site", "same-origin"), ("user-agent", "python")]
        {
            assert!(!crosses(&Method::POST, header), "{header:?}");
        }
        assert!(!crosses(&Method::GET, ("sec-fetch-site", "cross-site")), "a link to a page is no harm");
    }
}
