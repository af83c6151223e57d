//! A web server for one test page on a free loopback port: gives out files, takes in what the page reports.
//!
//! Only what a page under test needs. Not here: the page, and any idea of what it reports.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::CONTENT_TYPE,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, runtime::Runtime, sync::mpsc};

/// Path, media type and content of a file that is served.
pub(crate) type File = (&'static str, &'static str, &'static str);

/// Serves until it is dropped.
pub(crate) struct PageServer {
    runtime: Runtime,
    address: SocketAddr,
    reports: mpsc::Receiver<Value>,
}

impl PageServer {
    /// Serves `files` to GET, and takes JSON that is POSTed to `/report`.
    pub(crate) fn start(files: &'static [File]) -> Self {
        let runtime = Runtime::new().expect("a runtime starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let (sender, reports) = mpsc::channel(REPORTS);
        runtime.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let sender = sender.clone();
                let answer = service_fn(move |request| {
                    let sender = sender.clone();
                    async move { Ok::<_, Infallible>(answer(files, &sender, request).await) }
                });
                // A browser that goes away is no fault.
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), answer));
            }
        });
        Self { runtime, address, reports }
    }

    /// The port of 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// The next report; `None` when none comes within `limit`.
    pub(crate) fn report(&mut self, limit: Duration) -> Option<Value> {
        let next = async { tokio::time::timeout(limit, self.reports.recv()).await };
        self.runtime.block_on(next).ok().flatten()
    }
}

async fn answer(
    files: &'static [File],
    reports: &mpsc::Sender<Value>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let file = files.iter().find(|(path, ..)| *path == request.uri().path());
    *response.status_mut() = match (request.method(), file) {
        (&Method::GET, Some((_, media_type, content))) => {
            *response.body_mut() = Full::from(*content);
            let media_type = media_type.parse().expect("a media type is a header value");
            response.headers_mut().insert(CONTENT_TYPE, media_type);
            StatusCode::OK
        }
        (&Method::POST, None) if request.uri().path() == "/report" => {
            let body = Limited::new(request.into_body(), MAX_REPORT_BYTES).collect().await;
            match body.map(|body| serde_json::from_slice(&body.to_bytes())) {
                Ok(Ok(report)) => {
                    // A test that is over reads no reports.
                    let _ = reports.send(report).await;
                    StatusCode::NO_CONTENT
                }
                _ => StatusCode::BAD_REQUEST,
            }
        }
        _ => StatusCode::NOT_FOUND,
    };
    response
}

/// When full, the page waits for its answer.
const REPORTS: usize = 4;
/// A page reports some hundred events of a few hundred bytes.
const MAX_REPORT_BYTES: usize = 4 << 20;
