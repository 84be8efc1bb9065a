//! What mlpipe serves over HTTP.
//!
//! | route | what |
//! |---|---|
//! | `/api/2.0/mlflow/...`, `/ajax-api/2.0/mlflow/...` | MLflow's REST API: experiments, runs, metrics, models, registry, webhooks |
//! | `/api/2.0/mlflow-artifacts/...` | the artifact proxy |
//! | `GET HEAD PUT /cache/cas/{digest}` | a content under its BLAKE3 digest; a content that is another one is refused |
//! | `GET HEAD PUT /cache/ac/{fingerprint}` | finished work; refused while some of its content is not here |
//! | `GET /health`, `/version`, `/openapi.json` | whether it is up, whose API it speaks, and what is in it |
//!
//! The cache's files are those of a state directory (`cas/`, `ac/`), so a server shares what was done on its own machine; its
//! shape is Bazel's. Everything passes `guard`: host names, pages of other sites, users.

mod access;
mod api;
mod artifacts;
mod audit;
mod cache;
mod error;
mod guard;
mod hosts;
mod listen;
mod openapi;
mod random;
mod tls;
mod webhooks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use mlpipe_artifacts::ContentStore;
use mlpipe_tracking::{Durability, Store};
use tokio::net::TcpListener;

pub use access::{Accounts, NewToken, Permission, TokenInfo, User};
pub use error::{Error, Result};
pub use hosts::AllowedHosts;
pub use tls::TlsFiles;

use access::Access;
use api::error::{ApiError, Code};
use artifacts::{Artifacts, Shown};
use audit::Audit;
use webhooks::{Deliveries, Reach, SecretKey, Webhooks};

/// Where artifacts of experiments lie for clients of the proxy.
const PROXY_ROOT: &str = "mlflow-artifacts:";

/// What to serve, where, and to whom.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// State directory whose `cas/` and `ac/` are served.
    pub state_directory: PathBuf,
    /// The tracking store: a path, `sqlite:///...` or `postgresql://...`; none for `store.db` in the state directory.
    pub backend_store_uri: Option<String>,
    /// Where artifacts are kept: a folder, or a bucket as in `s3://bucket/prefix`; none for `artifacts/` in the state directory.
    pub artifacts_destination: Option<String>,
    /// Whether artifacts are served at all.
    pub serve_artifacts: bool,
    /// Where artifacts of new experiments lie, for clients that reach that place themselves; none for the proxy.
    pub default_artifact_root: Option<String>,
    /// Address to listen on; port 0 takes a free one.
    pub address: SocketAddr,
    /// Names by which requests may call this server, beside those of the loopback and `address` itself.
    pub allowed_hosts: Vec<String>,
    /// Whether requests need a user.
    pub auth: bool,
    /// What users may do where nothing was granted.
    pub default_permission: Permission,
    /// Certificate and key; none for plain HTTP.
    pub tls: Option<TlsFiles>,
    /// File that is told who did what.
    pub audit_log: Option<PathBuf>,
    /// Whether webhooks may go to private addresses.
    pub webhooks_allow_private: bool,
}

impl ServerOptions {
    /// The options of a server for this machine alone.
    pub fn local(state_directory: PathBuf, address: SocketAddr) -> Self {
        Self {
            state_directory,
            backend_store_uri: None,
            artifacts_destination: None,
            serve_artifacts: true,
            default_artifact_root: None,
            address,
            allowed_hosts: Vec::new(),
            auth: false,
            default_permission: Permission::Read,
            tls: None,
            audit_log: None,
            webhooks_allow_private: false,
        }
    }

    /// Opens the tracking store that these options name.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn open_store(&self) -> Result<Store> {
        let own = || self.state_directory.join("store.db").display().to_string();
        let uri = self.backend_store_uri.clone().unwrap_or_else(own);
        Ok(Store::open_uri(&uri, Durability::default())?)
    }
}

/// What the handlers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) content: ContentStore,
    pub(crate) actions: PathBuf,
    pub(crate) store: Arc<Store>,
    pub(crate) artifacts: Option<Artifacts>,
    pub(crate) artifact_root: String,
    pub(crate) shown: Shown,
    pub(crate) access: Access,
    pub(crate) webhooks: Webhooks,
    pub(crate) hosts: AllowedHosts,
    pub(crate) audit: Option<Audit>,
    pub(crate) is_tls: bool,
}

impl Shared {
    /// The served artifacts.
    pub(crate) fn artifacts(&self) -> std::result::Result<&Artifacts, ApiError> {
        self.artifacts.as_ref().ok_or_else(|| {
            let message = "Endpoint disabled: this server does not serve artifacts (--no-serve-artifacts)";
            ApiError::new(Code::EndpointNotFound, message)
        })
    }
}

/// Serves until the process is asked to end (SIGINT, SIGTERM); requests under way are finished. `ready` hears the address.
///
/// # Errors
/// When the state directory or the store cannot be used, the address cannot be listened on, or users are asked for and there
/// are none.
pub fn serve(options: &ServerOptions, ready: impl FnOnce(SocketAddr)) -> Result<()> {
    let acceptor = tls::Acceptor::new(options.tls.as_ref())?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).max_blocking_threads(64).enable_all().build();
    let runtime = runtime.map_err(Error::Runtime)?;
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(options.address)
            .await
            .map_err(|source| Error::Listen { address: options.address, source })?;
        let address = listener.local_addr().map_err(Error::Runtime)?;
        let shared = Arc::new(tokio::task::block_in_place(|| shared(options, address))?);
        ready(address);
        listen::serve(listener, acceptor, router(Arc::clone(&shared))).await;
        Ok(shared)
    });
    // PostgreSQL's client blocks when it connects and when it is dropped, which must not happen in an asynchronous task.
    drop(runtime);
    served.map(drop)
}

fn shared(options: &ServerOptions, address: SocketAddr) -> Result<Shared> {
    let content = ContentStore::open(&options.state_directory)?;
    let store = Arc::new(options.open_store()?);
    let artifact_root =
        options.default_artifact_root.as_deref().map_or(PROXY_ROOT.into(), artifacts::absolute).into_owned();
    store.ensure_default_experiment(&artifact_root)?;
    if options.auth && Accounts::new(&store).list_users().is_ok_and(|users| users.is_empty()) {
        return Err(Error::NoUsers);
    }
    let (artifacts, shown) = artifacts(options)?;
    let audit = options
        .audit_log
        .as_ref()
        .map(|path| Audit::open(path).map_err(|source| Error::File { what: "audit log", path: path.clone(), source }));
    let reach = if options.webhooks_allow_private { Reach::Private } else { Reach::Public };
    let key = SecretKey::of(&options.state_directory);
    let deliveries = Deliveries::new(reach, key, Arc::clone(&store), tokio::runtime::Handle::current());
    deliveries.resume();
    Ok(Shared {
        content,
        actions: options.state_directory.join("ac"),
        shown,
        store,
        artifacts,
        artifact_root,
        access: Access::new(options.auth, options.default_permission),
        webhooks: Webhooks::new(deliveries),
        hosts: AllowedHosts::new(address.ip(), &options.allowed_hosts),
        audit: audit.transpose()?,
        is_tls: options.tls.is_some(),
    })
}

/// The artifacts, unless they are not served, and how their URIs look.
fn artifacts(options: &ServerOptions) -> Result<(Option<Artifacts>, Shown)> {
    if !options.serve_artifacts {
        return Ok((None, Shown::default()));
    }
    let own = options.state_directory.join("artifacts");
    let folder = match &options.artifacts_destination {
        None => own,
        Some(destination) => match destination.split_once("://") {
            None => PathBuf::from(destination),
            Some(("file", path)) => PathBuf::from(path),
            Some(_) => return Ok((Some(Artifacts::open_bucket(destination, &own)?), Shown::bucket(destination))),
        },
    };
    let opened = Artifacts::open(&folder);
    let opened = opened.map_err(|source| Error::File { what: "artifact folder", path: folder.clone(), source })?;
    Ok((Some(opened), Shown::new(Some(&folder))))
}

fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .merge(cache::routes())
        .merge(artifacts::routes())
        .merge(api::router())
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&shared), guard::check))
        .with_state(shared)
}
