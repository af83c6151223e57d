//! Where clients come in: handshake, credentials, then a session a connection. The WebSocket is here, QUIC in [`quic`].
//!
//! HTTP is spoken up to the `101 Switching Protocols` and no further; the control API is another listener.

mod entrance;
pub mod quic;
pub mod tls;

use std::{convert::Infallible, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::SecretString;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    entrance::{Entrance, Place},
    quic::QuicListener,
    tls::Tls,
};
use crate::{
    Engine, pipeline,
    ports::{Access, AuthError, Credentials},
    transport::websocket,
};

/// Where clients come in. One port for the WebSocket, and one for QUIC if that is wanted.
#[derive(Debug)]
pub struct Listeners {
    /// The WebSocket's port.
    pub websocket: TcpListener,
    /// With it the WebSocket is `wss://`.
    pub tls: Option<Tls>,
    /// Raw QUIC and WebTransport.
    pub quic: Option<QuicListener>,
}

impl From<TcpListener> for Listeners {
    /// A WebSocket without TLS, and nothing else.
    fn from(websocket: TcpListener) -> Self {
        Self { websocket, tls: None, quic: None }
    }
}

/// Accepts connections on `listeners` until `stop`, then waits until every session has finished and its history is written.
///
/// Sessions are asked to finish by the same `stop` and take at most the drain time of the engine's limits.
/// `allowed_origins` are compared with the `Origin` that browsers send; pages of this machine are always let in.
pub fn serve(
    engine: Arc<Engine>,
    listeners: impl Into<Listeners>,
    allowed_origins: Arc<[String]>,
    stop: CancellationToken,
) -> BoxFuture<'static, ()> {
    boxed(engine, listeners.into(), allowed_origins, stop)
}

/// Compiled once, here and as fast as all of this crate, and not in everyone who serves.
fn boxed(
    engine: Arc<Engine>,
    listeners: Listeners,
    allowed_origins: Arc<[String]>,
    stop: CancellationToken,
) -> BoxFuture<'static, ()> {
    serve_until(engine, listeners, allowed_origins, stop).boxed()
}

async fn serve_until(
    engine: Arc<Engine>,
    Listeners { websocket, tls, quic }: Listeners,
    allowed_origins: Arc<[String]>,
    stop: CancellationToken,
) {
    let tasks = TaskTracker::new();
    let door = Door {
        retry_after: None,
        entrance: Arc::new(Entrance::new(&engine.limits)),
        engine: Arc::clone(&engine),
        allowed_origins,
        sessions: tasks.clone(),
        stop,
    };
    let acceptor = tls.as_ref().map(Tls::acceptor);
    let quic_endpoint = async {
        match quic {
            Some(listener) => Some(quic::accept(listener, &door).await),
            None => None,
        }
    };
    let ((), quic_endpoint) = tokio::join!(accept(websocket, acceptor, &door), quic_endpoint);
    tasks.close();
    tasks.wait().await;
    if let Some(endpoint) = quic_endpoint {
        // The last closes are still on their way.
        let _ = tokio::time::timeout(CLOSES_PATIENCE, endpoint.wait_idle()).await;
    }
    engine.writers.close();
    if timeout(WRITERS_PATIENCE, engine.writers.wait()).await.is_err() {
        let unfinished = engine.writers.len();
        metrics::counter!("history_unfinished_total").increment(unfinished as u64);
        tracing::warn!(unfinished, "the history of these sessions is not complete: its store did not answer");
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, door: &Door) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = door.stop.cancelled() => return,
        };
        let Ok((socket, peer)) = accepted else {
            // Out of descriptors: let some sessions end before trying again.
            metrics::counter!("accept_failures_total").increment(1);
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Some(place) = door.entrance.place(peer.ip()) else {
            // An answer would be work, too.
            metrics::counter!("handshakes_dropped_total").increment(1);
            continue;
        };
        // Small events must not wait for each other.
        let _ = socket.set_nodelay(true);
        let (door, stop) = (Door { retry_after: place.retry_after, ..door.clone() }, door.stop.clone());
        match acceptor.clone() {
            None => door.sessions.clone().spawn(shake_hands(socket, place, door, stop)),
            Some(acceptor) => door.sessions.clone().spawn(async move {
                let greeting = timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket));
                let greeted = tokio::select! {
                    greeted = greeting => greeted,
                    () = stop.cancelled() => return,
                };
                match greeted {
                    Ok(Ok(socket)) => shake_hands(socket, place, door, stop).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                }
            }),
        };
    }
}

async fn shake_hands<S>(socket: S, _place: Place, door: Door, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(door.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT)
        .max_buf_size(MAX_HANDSHAKE_BYTES)
        .serve_connection(TokioIo::new(socket), service)
        .with_upgrades();
    tokio::select! {
        shaken = timeout(LONGEST_HANDSHAKE, connection) => match shaken {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "handshake failed"),
            Err(_) => tracing::debug!("handshake took too long"),
        },
        () = stop.cancelled() => {}
    }
}

/// What a handshake needs to be answered.
#[derive(Clone)]
struct Door {
    entrance: Arc<Entrance>,
    /// The address knocks too often.
    retry_after: Option<Duration>,
    engine: Arc<Engine>,
    allowed_origins: Arc<[String]>,
    sessions: TaskTracker,
    stop: CancellationToken,
}

/// A handshake that is turned away: its status and what to do about it.
type Refusal = (StatusCode, String);

impl Door {
    async fn answer(&self, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        match self.admit(&request).await {
            Ok((access, accept)) => {
                let upgrade = hyper::upgrade::on(&mut request);
                self.sessions.spawn(converse(Arc::clone(&self.engine), access, upgrade, self.stop.clone()));
                switching(&accept, request.headers())
            }
            Err((status, why)) => {
                count_refusal(status);
                let mut response = Response::new(Full::from(format!("{why}\n")));
                *response.status_mut() = status;
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                if let Some(wait) = self.retry_after {
                    let seconds = wait.as_secs().saturating_add(1);
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                if status == StatusCode::UPGRADE_REQUIRED {
                    response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                }
                response
            }
        }
    }

    /// Checks how often the address comes, path, form, origin and credentials, in this order.
    async fn admit(&self, request: &Request<Incoming>) -> Result<(Access, String), Refusal> {
        if self.retry_after.is_some() {
            let why = "too many connections from this address; come back later, or raise [audio] handshakes_per_minute";
            return Err((StatusCode::TOO_MANY_REQUESTS, why.to_owned()));
        }
        check_path(request.uri().path())?;
        let accept = websocket_accept(request)?;
        let access = self.admit_origin(request.headers(), request.uri().query()).await?;
        Ok((access, accept))
    }

    /// Checks origin and credentials of a handshake to the right path.
    async fn admit_origin(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Access, Refusal> {
        self.check_origin(headers)?;
        let credentials = credentials(headers, query)?;
        self.engine.authorizer.authorize(credentials).await.map_err(|error| match error {
            AuthError::Unauthenticated(why) => (StatusCode::UNAUTHORIZED, why.to_owned()),
            AuthError::Unavailable(why) => (StatusCode::SERVICE_UNAVAILABLE, why.to_owned()),
        })
    }

    fn check_origin(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        if is_local(origin) || self.allowed_origins.iter().any(|allowed| allowed == origin) {
            return Ok(());
        }
        Err((
            StatusCode::FORBIDDEN,
            "this origin is not allowed; add it to [audio] allowed_origins".to_owned(),
        ))
    }
}

fn check_path(path: &str) -> Result<(), Refusal> {
    if path == protocol::AUDIO_PATH {
        return Ok(());
    }
    Err((StatusCode::NOT_FOUND, format!("only {} is served here", protocol::AUDIO_PATH)))
}

fn count_refusal(status: StatusCode) {
    metrics::counter!("handshakes_refused_total", "status" => status.as_u16().to_string()).increment(1);
}

async fn converse(engine: Arc<Engine>, access: Access, upgrade: OnUpgrade, stop: CancellationToken) {
    match upgrade.await {
        Ok(upgraded) => {
            let (receive, transmit) = websocket::open(TokioIo::new(upgraded)).await;
            pipeline::serve(engine, access, receive, transmit, stop).await;
        }
        Err(error) => tracing::debug!(%error, "upgrade failed"),
    }
}

/// The `Sec-WebSocket-Accept` that answers a well-formed handshake of RFC 6455, section 4.2.1.
fn websocket_accept(request: &Request<Incoming>) -> Result<String, Refusal> {
    let headers = request.headers();
    let has = |name, token: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
    };
    if request.method() != Method::GET
        || !has(header::CONNECTION, "upgrade")
        || !has(header::UPGRADE, "websocket")
    {
        return Err((StatusCode::UPGRADE_REQUIRED, "connect with a WebSocket client".to_owned()));
    }
    if !has(header::SEC_WEBSOCKET_VERSION, "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "only WebSocket version 13 is spoken here".to_owned()));
    }
    match headers.get(header::SEC_WEBSOCKET_KEY) {
        Some(key) if key.len() == 24 => Ok(derive_accept_key(key.as_bytes())),
        _ => Err((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or malformed".to_owned())),
    }
}

fn switching(accept: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let answer = response.headers_mut();
    answer.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    answer.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    answer.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_str(accept).expect("base64 is a header value"),
    );
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if offered.flat_map(|value| value.split(',')).any(|name| name.trim() == protocol::SUBPROTOCOL) {
        answer.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol::SUBPROTOCOL));
    }
    response
}

fn credentials(headers: &HeaderMap, query: Option<&str>) -> Result<Credentials, Refusal> {
    let token = match headers.get(header::AUTHORIZATION) {
        None => None,
        Some(value) => match value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) => Some(SecretString::from(token.trim())),
            None => {
                return Err((StatusCode::UNAUTHORIZED, "Authorization must be `Bearer <token>`".to_owned()));
            }
        },
    };
    let ticket = query
        .unwrap_or_default()
        .split('&')
        .find_map(|pair| pair.strip_prefix("ticket="))
        .map(SecretString::from);
    Ok(Credentials { token, ticket })
}

/// Whether a page of this machine asks: `http://localhost:3000` and the like.
fn is_local(origin: &str) -> bool {
    let Some(host) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// From the first byte to the whole request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Of which the rest is for asking who it is, and for the answer.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(15);
/// The least that hyper accepts; a handshake with a token has about 1 KiB.
const MAX_HANDSHAKE_BYTES: usize = 8 * 1024;
/// For the closes of the last QUIC connections to be received.
const CLOSES_PATIENCE: Duration = Duration::from_secs(1);
/// Longest wait for history at the end.
const WRITERS_PATIENCE: Duration = Duration::from_secs(5);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_origins() {
        let check = |origin, expected| assert_eq!(is_local(origin), expected, "{origin}");
        check("http://localhost:3000", true);
        check("https://127.0.0.1", true);
        check("http://[::1]:8080", true);
        check("http://localhost.evil.example", false);
        check("http://evil.example", false);
        check("http://localhost:3000.evil.example", false);
        check("chrome-extension://abc", false);
        check("null", false);
    }
}
