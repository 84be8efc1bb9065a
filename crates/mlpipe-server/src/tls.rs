//! TLS with rustls, where the feature `tls` is built in.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// Certificate and key of this server, PEM files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate, followed by those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// How connections begin.
#[derive(Clone)]
pub(crate) enum Acceptor {
    Plain,
    #[cfg(feature = "tls")]
    Tls(tokio_rustls::TlsAcceptor),
}

impl Acceptor {
    #[cfg(not(feature = "tls"))]
    pub(crate) fn new(files: Option<&TlsFiles>) -> Result<Self> {
        match files {
            None => Ok(Self::Plain),
            Some(files) => Err(Error::Tls {
                path: files.certificate.clone(),
                message: "this mlpipe was built without TLS; build it with `--features tls`".to_owned(),
            }),
        }
    }

    #[cfg(feature = "tls")]
    pub(crate) fn new(files: Option<&TlsFiles>) -> Result<Self> {
        use rustls_pki_types::pem::PemObject;
        use rustls_pki_types::{CertificateDer, PrivateKeyDer};
        use std::sync::Arc;
        use tokio_rustls::rustls::ServerConfig;
        use tokio_rustls::rustls::crypto::ring;

        let Some(files) = files else { return Ok(Self::Plain) };
        let fault = |path: &PathBuf, message: String| Error::Tls { path: path.clone(), message };
        let in_certificate = |error: rustls_pki_types::pem::Error| fault(&files.certificate, error.to_string());
        let chain = CertificateDer::pem_file_iter(&files.certificate).map_err(in_certificate)?;
        let chain = chain.collect::<std::result::Result<Vec<_>, _>>().map_err(in_certificate)?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| fault(&files.key, error.to_string()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| fault(&files.certificate, error.to_string()))?;
        Ok(Self::Tls(tokio_rustls::TlsAcceptor::from(Arc::new(config))))
    }
}
