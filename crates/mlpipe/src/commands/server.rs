//! `mlpipe server`: serves the tracking store, artifacts and finished work over HTTP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use mlpipe_server::{Error, Permission, ServerOptions, TlsFiles, serve};

use crate::failure::{Exit, Failure, Outcome};
use crate::{state, text};

/// Arguments of `mlpipe server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Address to listen on; other machines reach only an address that is not the loopback's
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,

    /// Port; 0 takes a free one
    #[arg(long, short, default_value_t = 5000)]
    port: u16,

    /// Tracking store: a file, sqlite:///FILE or postgresql://...; else store.db in the state directory
    #[arg(long, value_name = "URI", env = "MLFLOW_BACKEND_STORE_URI")]
    backend_store_uri: Option<String>,

    /// Where artifacts are kept: a folder; else artifacts/ in the state directory
    #[arg(long, value_name = "PLACE", env = "MLFLOW_ARTIFACTS_DESTINATION")]
    artifacts_destination: Option<String>,

    /// Serve artifacts (the default)
    #[arg(long, overrides_with = "no_serve_artifacts")]
    serve_artifacts: bool,

    /// Do not serve artifacts: clients reach their place themselves
    #[arg(long)]
    no_serve_artifacts: bool,

    /// Where artifacts of new experiments lie, when not behind this server
    #[arg(long, value_name = "URI")]
    default_artifact_root: Option<String>,

    /// Names by which requests may call this server, beside localhost and the address
    #[arg(long, value_delimiter = ',')]
    allowed_hosts: Vec<String>,

    /// Ask for a user's password or token: see `mlpipe users` and `mlpipe tokens`
    #[arg(long)]
    auth: bool,

    /// What users may do with experiments and models where nothing was granted: NO_PERMISSIONS, READ, EDIT or MANAGE
    #[arg(long, default_value = "READ")]
    default_permission: Permission,

    /// Certificate of this server, a PEM file, for https
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Append who did what and when to this file
    #[arg(long, value_name = "FILE")]
    audit_log: Option<PathBuf>,

    /// Let webhooks go to private, loopback and link-local addresses
    #[arg(long)]
    webhooks_allow_private: bool,
}

fn options(arguments: &Arguments) -> Result<ServerOptions, Failure> {
    let tls = arguments.tls_cert.clone().zip(arguments.tls_key.clone());
    Ok(ServerOptions {
        state_directory: state::open()?.root().to_owned(),
        backend_store_uri: arguments.backend_store_uri.clone(),
        artifacts_destination: arguments.artifacts_destination.clone(),
        serve_artifacts: !arguments.no_serve_artifacts,
        default_artifact_root: arguments.default_artifact_root.clone(),
        address: SocketAddr::new(arguments.host, arguments.port),
        allowed_hosts: arguments.allowed_hosts.clone(),
        auth: arguments.auth,
        default_permission: arguments.default_permission,
        tls: tls.map(|(certificate, key)| TlsFiles { certificate, key }),
        audit_log: arguments.audit_log.clone(),
        webhooks_allow_private: arguments.webhooks_allow_private,
    })
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let options = options(arguments)?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    let ready = |address: SocketAddr| {
        text::line(&format!("{scheme}://{address}"));
        if !address.ip().is_loopback() && !arguments.auth {
            text::error_line(
                "warning: anybody who reaches this address can read and change everything; --auth asks who they are",
            );
        }
        if !address.ip().is_loopback() && arguments.auth && scheme == "http" {
            text::error_line(
                "warning: passwords cross the network readable; use --tls-cert and --tls-key, or a proxy that does TLS",
            );
        }
    };
    serve(&options, ready).map_err(failure)?;
    Ok(Exit::Ok)
}

fn failure(error: Error) -> Failure {
    let failure = Failure::new(Exit::StoreUnavailable, &error);
    match error {
        Error::NoUsers => failure.hint("`mlpipe users add NAME --admin` makes the first one"),
        _ => failure,
    }
}
