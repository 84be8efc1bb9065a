//! Accepting connections: plain or TLS, each on a task of its own, until the process is asked to end. Requests under way are then
//! finished; connections that do nothing are closed.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use crate::guard::Peer;
use crate::tls::Acceptor;

/// A client that does not send its headers within this is cut off.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Requests under way get this long when the server ends.
const GRACE: Duration = Duration::from_secs(30);
/// Buffer of a connection. Bodies are read in pieces up to this: larger ones cost fewer system calls.
const BUFFER_BYTES: usize = 512 << 10;

/// Serves until the process is asked to end.
pub(crate) async fn serve(listener: TcpListener, acceptor: Acceptor, app: Router) {
    let graceful = GracefulShutdown::new();
    let mut ending = std::pin::pin!(asked_to_end());
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Too many open files, most likely: others have to end first.
                    tracing::warn!(%error, "a connection was not accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
            () = &mut ending => break,
        };
        let (app, acceptor, watcher) = (app.clone(), acceptor.clone(), graceful.watcher());
        tokio::spawn(async move { accept(stream, peer, &acceptor, app, watcher).await });
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(GRACE) => tracing::warn!("some requests were not finished"),
    }
}

type Watcher = hyper_util::server::graceful::Watcher;

async fn accept(stream: TcpStream, peer: SocketAddr, acceptor: &Acceptor, app: Router, watcher: Watcher) {
    // Answers are small and complete: waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    match acceptor {
        Acceptor::Plain => connection(stream, peer, app, watcher).await,
        #[cfg(feature = "tls")]
        Acceptor::Tls(acceptor) => match tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => connection(stream, peer, app, watcher).await,
            Ok(Err(error)) => tracing::debug!(%error, "TLS handshake"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        },
    }
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    app: Router,
    watcher: Watcher,
) {
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        app.clone().call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection broke off");
    }
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
