//! The QUIC listener: raw QUIC and WebTransport on one UDP port, told apart by what the client wants to speak (ALPN).
//!
//! An address is asked to prove itself (Retry) before anything is kept for it, and a connection has five seconds to say who
//! it is. Not here: certificates ([`tls`](super::tls)), the path, origin and credentials of a WebTransport ([`server`](super)).

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::StatusCode;
use protocol::{Authenticate, CloseCode};
use quinn::{
    Connection, Endpoint, IdleTimeout, Incoming, ServerConfig, TransportConfig, VarInt,
    crypto::rustls::{HandshakeData, QuicServerConfig},
};
use secrecy::SecretString;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use web_transport_quinn::{Request, Session, proto::ConnectResponse};

use super::{Door, HANDSHAKE_TIMEOUT, check_path, count_refusal, tls::Tls};
use crate::{
    pipeline,
    ports::{Access, AuthError, Credentials},
    transport::{
        Frame, Transmit as _,
        quic::{self, HTTP3_STREAMS, QuicReceiver, QuicSender},
    },
};

/// A UDP port on which QUIC is spoken.
#[derive(Debug)]
pub struct QuicListener(Endpoint);

impl QuicListener {
    /// Binds `address`. In a tokio runtime.
    ///
    /// # Errors
    /// As those of binding a socket.
    pub fn bind(address: SocketAddr, tls: &Tls) -> io::Result<Self> {
        let tls = tls.quic(&[protocol::QUIC_ALPN, web_transport_quinn::ALPN]);
        let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(Arc::new(transport()));
        config.migration(true);
        config.max_incoming(MAX_HANDSHAKES);
        config.incoming_buffer_size(INCOMING_BYTES).incoming_buffer_size_total(INCOMING_BYTES_TOTAL);
        Ok(Self(Endpoint::server(config, address)?))
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The socket cannot be asked.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Accepts connections until the door's `stop`; the endpoint goes on for those there are.
pub(super) async fn accept(QuicListener(endpoint): QuicListener, door: &Door) -> Endpoint {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            () = door.stop.cancelled() => break,
        };
        let Some(incoming) = incoming else { break };
        if !incoming.remote_address_validated() {
            // Costs a round trip and keeps nothing: who lies about their address does not see the answer.
            let _ = incoming.retry();
            continue;
        }
        // Its place is the permit: QUIC bounds its handshakes by itself.
        let knock = door.entrance.place(incoming.remote_address().ip());
        if knock.is_none_or(|place| place.retry_after.is_some()) {
            count_refusal(StatusCode::TOO_MANY_REQUESTS);
            incoming.refuse();
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            count_refusal(StatusCode::SERVICE_UNAVAILABLE);
            incoming.refuse();
            continue;
        };
        door.sessions.spawn(greet(incoming, door.clone(), permit));
    }
    endpoint.set_server_config(None);
    endpoint
}

/// From the first packet to the end of the session.
async fn greet(incoming: Incoming, door: Door, permit: OwnedSemaphorePermit) {
    let stop = door.stop.clone();
    let welcomed = tokio::select! {
        welcomed = welcome(incoming, &door) => welcomed,
        // Dropped, a connection is closed.
        () = stop.cancelled() => return,
    };
    drop(permit);
    let Some((_held, (access, mut receive, transmit))) = welcomed else { return };
    receive.welcome();
    pipeline::serve(door.engine, access, receive, transmit, door.stop).await;
}

type Welcomed = (Access, QuicReceiver, QuicSender);

/// Ends the connection with its session, whatever becomes of that: the task that reads HTTP/3's capsules keeps one for itself, and
/// would keep it alive for ever.
struct Held(Connection);

impl Drop for Held {
    fn drop(&mut self) {
        // Of one that is closed already, nothing changes.
        self.0.close(VarInt::from_u32(0), b"");
    }
}

async fn welcome(incoming: Incoming, door: &Door) -> Option<(Held, Welcomed)> {
    let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
    let connection = match timeout_at(deadline, incoming.into_future()).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%error, "QUIC handshake failed");
            return None;
        }
        Err(_) => return None,
    };
    let held = Held(connection.clone());
    let welcomed = if alpn(&connection).as_deref() == Some(protocol::QUIC_ALPN.as_bytes()) {
        let Ok(welcomed) = timeout_at(deadline, authenticated(connection.clone(), door)).await else {
            refuse(&connection, "no authenticate message came in time");
            return None;
        };
        welcomed
    } else {
        timeout_at(deadline, web_transport(connection, door)).await.ok().flatten()
    };
    Some((held, welcomed?))
}

/// Reads the first control message of a raw connection, and nothing else.
async fn authenticated(connection: Connection, door: &Door) -> Option<Welcomed> {
    let (mut receive, mut transmit) = quic::open(Session::raw(connection.clone())).await?;
    let json = match receive.greeting().await? {
        Ok(Frame::Control(json)) => json,
        Ok(Frame::Audio(_)) => return None,
        Err(error) => {
            let (code, reason) = match error {
                crate::transport::ReceiveError::TooBig { .. } => (CloseCode::TooBig, "too big"),
                crate::transport::ReceiveError::Broken(_) => (CloseCode::Malformed, "malformed"),
                crate::transport::ReceiveError::Lost => return None,
            };
            close_at_door(&mut transmit, code, reason).await;
            return None;
        }
    };
    let Ok(Authenticate::Authenticate { token, ticket }) = serde_json::from_slice(&json) else {
        close_at_door(&mut transmit, CloseCode::Unauthenticated, "the first message must be authenticate")
            .await;
        return None;
    };
    let secret = |text: Option<String>| text.map(SecretString::from);
    let credentials = Credentials { token: secret(token), ticket: secret(ticket) };
    match door.engine.authorizer.authorize(credentials).await {
        Ok(access) => Some((access, receive, transmit)),
        Err(error) => {
            let (code, why) = match error {
                AuthError::Unauthenticated(why) => (CloseCode::Unauthenticated, why),
                AuthError::Unavailable(why) => (CloseCode::Overloaded, why),
            };
            close_at_door(&mut transmit, code, why).await;
            None
        }
    }
}

async fn close_at_door(transmit: &mut QuicSender, code: CloseCode, reason: &'static str) {
    let status = match code {
        CloseCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        CloseCode::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    };
    count_refusal(status);
    transmit.close(code, reason).await;
}

fn refuse(connection: &Connection, reason: &str) {
    count_refusal(StatusCode::UNAUTHORIZED);
    connection.close(VarInt::from(u16::from(CloseCode::Unauthenticated)), reason.as_bytes());
}

/// Answers the CONNECT request of a WebTransport as the WebSocket's handshake is answered, and waits for its control stream.
async fn web_transport(connection: Connection, door: &Door) -> Option<Welcomed> {
    let request = match Request::accept(connection.clone()).await {
        Ok(request) => request,
        Err(error) => {
            tracing::debug!(%error, "WebTransport handshake failed");
            return None;
        }
    };
    let admitted = match check_path(request.url.path()) {
        Ok(()) => door.admit_origin(&request.headers, request.url.query()).await,
        Err(refusal) => Err(refusal),
    };
    let access = match admitted {
        Ok(access) => access,
        Err((status, _)) => {
            count_refusal(status);
            let _ = request.reject(status).await;
            // The answer is lost with the connection, so the client has a moment to hang up.
            let _ = timeout(READ_REFUSAL, connection.closed()).await;
            return None;
        }
    };
    let mut response = ConnectResponse::OK;
    if request.protocols.iter().any(|name| name == protocol::SUBPROTOCOL) {
        response = response.with_protocol(protocol::SUBPROTOCOL);
    }
    let session = request.respond(response).await.ok()?;
    let (receive, transmit) = quic::open(session).await?;
    Some((access, receive, transmit))
}

fn alpn(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// What a connection may use up before its client is known.
fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        // A WebTransport has its CONNECT request besides.
        .max_concurrent_bidi_streams(VarInt::from_u32(2))
        .max_concurrent_uni_streams(VarInt::from_u32(HTTP3_STREAMS))
        .receive_window(VarInt::from_u32(FIRST_WINDOW))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .send_window(SEND_WINDOW)
        .crypto_buffer_size(CRYPTO_BYTES)
        .datagram_receive_buffer_size(Some(DATAGRAM_BYTES))
        // Events go by the stream.
        .datagram_send_buffer_size(0);
    transport
}

/// Connections that have not said yet who they are. A handshake takes a millisecond of one core; more at once is an attack.
const MAX_HANDSHAKES: usize = 256;
/// A client that is gone without a word is noticed after this, and the pause before a question of ours, at the latest: before its
/// session has been silent for so long that it ends (30 s), so that it waits for the client instead.
const IDLE_MS: u32 = 15_000;
/// Before a NAT of the mobile kind forgets its way, which takes 30 s and more.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The largest control message of a client that is not known yet, and HTTP/3's greeting.
const FIRST_WINDOW: u32 = 32 * 1024;
/// One stream may be a message of audio ahead while one is read.
const STREAM_WINDOW: u32 = 2 * 64 * 1024 + 1024;
/// Events that are not acknowledged yet; a client that does not read is noticed when this is full.
const SEND_WINDOW: u64 = 256 * 1024;
/// A ClientHello of a browser has up to 2 KiB.
const CRYPTO_BYTES: usize = 16 * 1024;
/// Bursts between two looks of the task that takes datagrams out.
const DATAGRAM_BYTES: usize = 128 * 1024;
const INCOMING_BYTES: u64 = 16 * 1024;
const INCOMING_BYTES_TOTAL: u64 = 1024 * 1024;
const READ_REFUSAL: Duration = Duration::from_secs(1);
