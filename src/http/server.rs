//! The listener: connections, TLS, timeouts on heads, and a drain that loses no request.

use super::busy_poll::BusyPoll;
use crate::config::Config;
use crate::{Error, Result};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

/// How often the certificate's files are checked.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(2);

/// Serves `router` until `stop`, then lets running requests finish within the drain timeout.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    config: Arc<Config>,
    tls: Option<Arc<Certificates>>,
    busy_poll: Arc<BusyPoll>,
    stop: CancellationToken,
) {
    let builder = Arc::new(builder(&config));
    let connections = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(config.max_connections));
    loop {
        // A permit first: other connections wait in the kernel's queue, which is bounded.
        let Ok(permit) = permits.clone().acquire_owned().await else { break };
        let (stream, address) = tokio::select! {
            accepted = accept(&listener) => accepted,
            () = stop.cancelled() => break,
        };
        let (router, builder, stop, tls) = (router.clone(), builder.clone(), stop.clone(), tls.clone());
        let busy_poll = busy_poll.clone();
        let patience = config.client_timeout();
        connections.spawn(async move {
            let _permit = permit;
            let _ = stream.set_nodelay(true);
            match tls {
                None => connection(stream, address, router, &builder, busy_poll, stop).await,
                Some(tls) => {
                    let acceptor = tokio_rustls::TlsAcceptor::from(tls.current.load_full());
                    // A handshake that does not end must not hold a connection for ever.
                    if let Ok(Ok(stream)) = tokio::time::timeout(patience, acceptor.accept(stream)).await {
                        connection(stream, address, router, &builder, busy_poll, stop).await;
                    }
                }
            }
        });
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(config.drain_timeout(), connections.wait()).await.is_err() {
        tracing::warn!(left = connections.len(), "connections were cut after the drain timeout");
    }
}

/// The next connection. Errors (a client that disconnected, no descriptors left) are temporary.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn builder(config: &Config) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.client_timeout()).max_buf_size(256 << 10);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(64 << 10)
        .keep_alive_interval(Some(config.client_timeout()))
        .keep_alive_timeout(config.client_timeout());
    builder
}

async fn connection<S>(
    stream: S,
    address: SocketAddr,
    router: Router,
    builder: &Builder<TokioExecutor>,
    busy_poll: Arc<BusyPoll>,
    stop: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let _connected = busy_poll.connected();
    let service = router
        .map_request(move |mut request: hyper::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(address));
            request.map(axum::body::Body::new)
        })
        .map_response(move |response: axum::response::Response| {
            busy_poll.answered();
            response
        });
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(served);
    let mut stopping = false;
    loop {
        tokio::select! {
            result = served.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%address, error, "a connection ended early");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

/// The certificate in use, read again when its files change.
#[derive(Debug)]
pub(crate) struct Certificates {
    current: ArcSwap<ServerConfig>,
    certificate: PathBuf,
    key: PathBuf,
}

impl Certificates {
    /// Reads both files.
    pub(crate) fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>> {
        let current = ArcSwap::from_pointee(read(certificate, key)?);
        Ok(Arc::new(Self { current, certificate: certificate.to_owned(), key: key.to_owned() }))
    }

    /// Checks the files for ever. A pair that does not match is ignored until it does.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut seen = self.changed_at();
        loop {
            tokio::time::sleep(CERTIFICATE_CHECK).await;
            let now = self.changed_at();
            if now == seen {
                continue;
            }
            match read(&self.certificate, &self.key) {
                Ok(config) => {
                    self.current.store(Arc::new(config));
                    seen = now;
                    tracing::info!("the certificate was read again");
                }
                Err(error) => tracing::warn!(%error, "the new certificate cannot be used; the old one stays"),
            }
        }
    }

    fn changed_at(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|p| std::fs::metadata(p).and_then(|m| m.modified()).ok())
    }
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let wrong = |what: &str, path: &Path, error: &dyn std::fmt::Display| {
        Error::malformed("bad_configuration", format!("{what} {} cannot be used: {error}", path.display()))
    };
    let chain =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect::<std::result::Result<Vec<_>, _>>);
    let chain = chain.map_err(|e| wrong("the certificate", certificate, &e))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|e| wrong("the key", key, &e))?;
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret);
    let mut config = config.map_err(|e| wrong("the certificate", certificate, &e))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
