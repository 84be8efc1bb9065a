//! What mlpipe serves over HTTP. So far: finished work for other machines, in the shape of Bazel's HTTP cache.
//!
//! | route | what |
//! |---|---|
//! | `GET HEAD PUT /cache/cas/{digest}` | a content under its BLAKE3 digest; a content that is another one is refused |
//! | `GET HEAD PUT /cache/ac/{fingerprint}` | finished work; refused while some of its content is not here |
//! | `GET /health`, `GET /version` | whether it is up, and which version |
//!
//! The files are those of a state directory (`cas/`, `ac/`), so a server shares what was done on its own machine. Requests that
//! name another host than the allowed ones are refused, so that a page in a browser cannot reach it by a name of its own.

mod cache;
mod error;
mod hosts;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use mlpipe_artifacts::ContentStore;
use tokio::net::TcpListener;

pub use error::{Error, Result};
pub use hosts::AllowedHosts;

/// What to serve, and where.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// State directory whose `cas/` and `ac/` are served.
    pub state_directory: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names by which requests may call this server, beside those of the loopback and `address` itself.
    pub allowed_hosts: Vec<String>,
}

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) content: ContentStore,
    pub(crate) actions: PathBuf,
}

/// Serves until the process is asked to end (SIGINT, SIGTERM); requests under way are finished. `ready` hears the address.
///
/// # Errors
/// When the state directory cannot be used or the address cannot be listened on.
pub fn serve(options: &ServerOptions, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let content = ContentStore::open(&options.state_directory)?;
    let shared = Shared { content, actions: options.state_directory.join("ac") };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Error::Runtime)?.block_on(async {
        let listener = TcpListener::bind(options.address)
            .await
            .map_err(|source| Error::Listen { address: options.address, source })?;
        let address = listener.local_addr().map_err(Error::Runtime)?;
        ready(address);
        let app = router(shared, AllowedHosts::new(address.ip(), &options.allowed_hosts));
        axum::serve(listener, app).with_graceful_shutdown(asked_to_end()).await.map_err(Error::Runtime)
    })
}

fn router(shared: Shared, hosts: AllowedHosts) -> Router {
    Router::new()
        .route("/health", get(|| async { "OK" }))
        .route("/version", get(|| async { env!("CARGO_PKG_VERSION") }))
        .merge(cache::routes())
        .layer(axum::middleware::from_fn_with_state(Arc::new(hosts), hosts::check))
        .with_state(Arc::new(shared))
}

async fn asked_to_end() {
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(signal) => signal,
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be caught");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}
