//! The HTTP listener: bounded connections, bounded patience, and a drain that ends.
//!
//! `axum::serve` sets no time limit on a request's header and none on the drain, hence hyper itself. HTTP/1 only: what
//! speaks HTTP/2 to the world is a proxy. Not here: TLS, live sessions.

use std::{pin::pin, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, sync::Semaphore, time};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::{ApiState, router};

/// Serves the API on `listener` until `shutdown` completes; then takes no more connections, lets the requests under way end,
/// and returns after 5 s at the latest.
///
/// Dropping the future stops accepting; open connections end by themselves.
pub async fn serve(listener: TcpListener, state: ApiState, shutdown: impl Future<Output = ()>) {
    serve_router(listener, router(state), shutdown).await;
}

pub(crate) async fn serve_router(listener: TcpListener, router: Router, shutdown: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEADER_BYTES);

    let mut shutdown = pin!(shutdown);
    loop {
        // While every slot is taken, who comes waits in the kernel's backlog.
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "a connection was not accepted");
                // Out of file descriptors, most likely: trying again at once would spin.
                time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let from_peer = move |mut request: axum::http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        };
        let service = TowerToHyperService::new(router.clone().map_request(from_peer));
        let connection = connections.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "a connection ended badly");
            }
            drop(slot);
        });
    }
    drop(listener);
    if time::timeout(DRAIN, connections.shutdown()).await.is_err() {
        warn!("requests were still under way after the drain");
    }
}

/// Connections served at once.
const MAX_CONNECTIONS: usize = 512;
/// Longest wait for a whole request header, and for the next request on a connection kept open.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest request header, with its path.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Longest wait for the requests under way, at the end.
const DRAIN: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
