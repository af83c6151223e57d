//! A session over QUIC, raw or as WebTransport: control on one stream, audio on a stream a channel or as datagrams.
//!
//! Not here: sequence numbers (`sender`), what an event means.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use protocol::{Authenticate, FrameHeader, MAX_AUDIO_BYTES};
use quinn::{Connection, Endpoint, IdleTimeout, TransportConfig, VarInt, crypto::rustls::QuicClientConfig};
use secrecy::ExposeSecret as _;
use tokio::{
    net::lookup_host,
    sync::Mutex,
    time::{sleep, timeout},
};
use url::Url;
use web_transport_quinn::{
    ClientError as ConnectError, ReadError, RecvStream, SendStream, Session, SessionError, WebTransportError,
    WriteError,
    http::{HeaderValue, StatusCode, header},
    proto::{self, ConnectRequest},
};

use crate::{
    ClientConfig, ClientError, Closed,
    connect::{EXAMPLE, shown},
    tls,
    websocket::MAX_EVENT_BYTES,
};

/// Connects, authenticates, and opens the control stream.
pub(crate) async fn connect(config: &ClientConfig) -> Result<(QuicSink, QuicStream), ClientError> {
    let address = shown(&config.url);
    let wrong = |reason: String| ClientError::Config { address: address.clone(), reason };
    let url = Url::parse(&config.url).map_err(|error| wrong(format!("{error}; it looks like {EXAMPLE}")))?;
    let raw = url.scheme() == "quic";
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or(DEFAULT_PORT);
    let alpn = if raw { protocol::QUIC_ALPN } else { web_transport_quinn::ALPN };
    let tls = tls::config(config.certificate, config.roots.as_deref(), alpn).map_err(wrong)?;
    let tls = QuicClientConfig::try_from(tls).map_err(|error| wrong(error.to_string()))?;
    let mut quic = quinn::ClientConfig::new(Arc::new(tls));
    quic.transport_config(Arc::new(transport()));

    let unreachable = |source| ClientError::Unreachable { address: address.clone(), source };
    let found = lookup_host((host.as_str(), port)).await.map_err(unreachable)?;
    // A name has addresses of which not all answer, as `localhost` has ::1, and UDP does not say so: the first that does is taken.
    let mut attempts: FuturesUnordered<_> =
        found.take(MAX_ADDRESSES).map(|server| dial(server, quic.clone(), &host, &address)).collect();
    let mut failure = None;
    let (connection, endpoint) = loop {
        match attempts.next().await {
            Some(Ok(connected)) => break connected,
            Some(Err(error)) => failure = Some(error),
            None => {
                return Err(failure.unwrap_or_else(|| unreachable(io::ErrorKind::AddrNotAvailable.into())));
            }
        }
    };
    // From here on a dropped future closes the connection, too.
    let hold = |session: Session| Arc::new(Hold { session, _endpoint: endpoint });

    let held = if raw {
        hold(Session::raw(connection))
    } else {
        let session = Session::connect(connection, request(config, url.clone())?).await;
        hold(session.map_err(|error| rejected(error, address.clone()))?)
    };
    let lost = |error: SessionError| ClientError::Lost(error.to_string());
    let (send, receive) = held.session.open_bi().await.map_err(lost)?;
    let mut control = Outbound::new(send);
    if raw {
        let ticket =
            url.query_pairs().find(|(name, _)| name == "ticket").map(|(_, ticket)| ticket.into_owned());
        let token = config.token.as_ref().map(|token| token.expose_secret().to_owned());
        let greeting = serde_json::to_vec(&Authenticate::Authenticate { token, ticket });
        let greeting = greeting.expect("texts under fixed names");
        control.send(message(&[&greeting])).await.map_err(|error| lost_writing(&error))?;
    }
    let control = Arc::new(Mutex::new(control));
    let sink = QuicSink {
        held: Arc::clone(&held),
        control: Arc::clone(&control),
        audio: BTreeMap::new(),
        datagrams: config.datagrams,
    };
    Ok((sink, QuicStream { held, control, events: receive, had: BytesMut::new(), ended: false }))
}

async fn dial(
    server: SocketAddr,
    config: quinn::ClientConfig,
    host: &str,
    address: &str,
) -> Result<(Connection, Endpoint), ClientError> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let address = address.to_owned();
    let endpoint = match Endpoint::client(any) {
        Ok(endpoint) => endpoint,
        Err(source) => return Err(ClientError::Unreachable { address, source }),
    };
    match endpoint.connect_with(config, server, host) {
        Ok(connecting) => match connecting.await {
            Ok(connection) => Ok((connection, endpoint)),
            Err(error) => Err(explained(&error, address)),
        },
        Err(error) => Err(ClientError::Config { address, reason: error.to_string() }),
    }
}

fn request(config: &ClientConfig, url: Url) -> Result<ConnectRequest, ClientError> {
    let mut request = ConnectRequest::new(url);
    if let Some(token) = &config.token {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()));
        let mut value = value.map_err(|_| ClientError::Config {
            address: shown(&config.url),
            reason: "the token holds characters that no HTTP header may have".to_owned(),
        })?;
        value.set_sensitive(true);
        request = request.with_header(header::AUTHORIZATION, value);
    }
    Ok(request)
}

/// Closes the connection when both halves are gone: HTTP/3 keeps one alive that nobody uses.
#[derive(Debug)]
struct Hold {
    session: Session,
    _endpoint: Endpoint,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Of a connection that is closed already, nothing changes.
        quinn::Connection::close(&self.session, VarInt::from_u32(0), b"");
    }
}

/// The sending half.
#[derive(Debug)]
pub(crate) struct QuicSink {
    held: Arc<Hold>,
    control: Arc<Mutex<Outbound>>,
    /// By channel.
    audio: BTreeMap<u8, Outbound>,
    datagrams: bool,
}

impl QuicSink {
    /// Sends a control message. One that is `about_audio` waits until the server has all audio that was sent before:
    /// QUIC keeps no order between streams.
    pub(crate) async fn control(&mut self, json: &[u8], about_audio: bool) -> Result<(), ClientError> {
        if about_audio {
            self.settle().await?;
        }
        self.control.lock().await.send(message(&[json])).await.map_err(|error| lost_writing(&error))
    }

    /// Bytes of audio that fit into one frame: each datagram has one.
    pub(crate) fn chunk_bytes(&self) -> usize {
        let room = self.held.session.max_datagram_size().saturating_sub(FrameHeader::LEN);
        // Whole samples of every layout, so that a lost datagram shifts none.
        let room = room / WHOLE_SAMPLES * WHOLE_SAMPLES;
        if self.datagrams && room > 0 { room } else { MAX_AUDIO_BYTES }
    }

    /// Sends a numbered frame of `channel`.
    pub(crate) async fn frame(&mut self, header: &FrameHeader, audio: &[u8]) -> Result<(), ClientError> {
        let size = FrameHeader::LEN + audio.len();
        if self.datagrams && size <= self.held.session.max_datagram_size() {
            let datagram = [&header.to_bytes()[..], audio].concat().into();
            return self.held.session.send_datagram_wait(datagram).await.map_err(|error| lost(&error));
        }
        let channel = header.channel;
        if self.audio.get(&channel).is_some_and(|stream| stream.finished) {
            // A message about audio was given up half-way.
            self.settle_channel(channel).await?;
        }
        if !self.audio.contains_key(&channel) {
            let stream = self.held.session.open_uni().await.map_err(|error| lost(&error))?;
            self.audio.insert(channel, Outbound::new(stream));
        }
        let Some(stream) = self.audio.get_mut(&channel) else { return Err(ClientError::Closed) };
        stream.send(message(&[&header.to_bytes(), audio])).await.map_err(|error| lost_writing(&error))
    }

    /// Closes with `code`, once everything that was sent has arrived, within a limit.
    pub(crate) async fn close(&mut self, code: u16) -> Result<(), ClientError> {
        let arriving = async {
            let _ = self.settle().await;
            let mut control = self.control.lock().await;
            let _ = control.arrive().await;
        };
        let _ = timeout(ARRIVAL, arriving).await;
        self.held.session.close(code.into(), b"");
        let _ = timeout(ARRIVAL, self.held.session.closed()).await;
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), ClientError> {
        while let Some(channel) = self.audio.keys().next().copied() {
            self.settle_channel(channel).await?;
        }
        if self.datagrams {
            // Nobody confirms datagrams. Most are there after a round trip.
            sleep(self.held.session.rtt()).await;
        }
        Ok(())
    }

    async fn settle_channel(&mut self, channel: u8) -> Result<(), ClientError> {
        if let Some(stream) = self.audio.get_mut(&channel) {
            stream.arrive().await.map_err(|error| lost_writing(&error))?;
            self.audio.remove(&channel);
        }
        Ok(())
    }
}

/// A stream to the server. A message whose sending is given up half-way goes out before the next one.
#[derive(Debug)]
struct Outbound {
    stream: SendStream,
    pending: Bytes,
    finished: bool,
}

impl Outbound {
    fn new(stream: SendStream) -> Self {
        Self { stream, pending: Bytes::new(), finished: false }
    }

    async fn send(&mut self, message: Bytes) -> Result<(), WriteError> {
        self.flush().await?;
        self.pending = message;
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        while !self.pending.is_empty() {
            // Cancel-safe: it has written what it says, or nothing.
            let written = self.stream.write(&self.pending).await?;
            self.pending.advance(written);
        }
        Ok(())
    }

    /// Ends the stream, and waits until the server has all of it.
    async fn arrive(&mut self) -> Result<(), WriteError> {
        self.flush().await?;
        self.finish();
        self.stream.stopped().await?;
        Ok(())
    }

    fn finish(&mut self) {
        self.finished = true;
        // Once more does nothing.
        let _ = self.stream.finish();
    }
}

/// The receiving half.
#[derive(Debug)]
pub(crate) struct QuicStream {
    held: Arc<Hold>,
    control: Arc<Mutex<Outbound>>,
    events: RecvStream,
    /// Of the message under way, and beyond.
    had: BytesMut,
    ended: bool,
}

impl QuicStream {
    /// The next event as JSON, or how the connection ended. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Result<Closed, ClientError>> {
        while !self.ended {
            if let Some((length, _)) = self.had.split_first_chunk::<LENGTH>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > MAX_EVENT_BYTES {
                    let error = format!("an event of {length} bytes");
                    return Err(Err(ClientError::Event(error)));
                }
                if self.had.len() >= LENGTH + length {
                    self.had.advance(LENGTH);
                    return Ok(self.had.split_to(length).freeze());
                }
            }
            // Cancel-safe: a chunk is given out whole.
            match self.events.read_chunk(MAX_EVENT_BYTES, true).await {
                Ok(Some(chunk)) => self.had.extend_from_slice(&chunk.bytes),
                Ok(None) => {
                    self.ended = true;
                    // The server closes when we have read everything; it would wait half a second for this.
                    if let Ok(mut control) = self.control.try_lock() {
                        control.finish();
                    }
                }
                Err(ReadError::SessionError(error)) => return Err(ended(&error)),
                Err(error) => return Err(Err(ClientError::Lost(error.to_string()))),
            }
        }
        match timeout(HANG_UP, self.held.session.closed()).await {
            Ok(error) => Err(ended(&error)),
            Err(_) => Err(Err(ClientError::Lost("the server ended its events and did not close".to_owned()))),
        }
    }
}

fn ended(error: &SessionError) -> Result<Closed, ClientError> {
    match error {
        SessionError::WebTransportError(WebTransportError::Closed(code, reason)) => {
            match u16::try_from(*code) {
                Ok(code) if code != 0 => Ok(Closed { code, reason: reason.clone() }),
                _ => Err(ClientError::Lost("the server went away without a close".to_owned())),
            }
        }
        // By our own `close`.
        SessionError::ConnectionError(quinn::ConnectionError::LocallyClosed) => {
            Ok(Closed { code: protocol::CloseCode::Done.into(), reason: String::new() })
        }
        SessionError::ConnectionError(quinn::ConnectionError::TimedOut) => {
            Err(ClientError::Lost("there was no sign of the server for too long".to_owned()))
        }
        other => Err(ClientError::Lost(other.to_string())),
    }
}

fn lost(error: &SessionError) -> ClientError {
    match ended(error) {
        Ok(_) => ClientError::Closed,
        Err(error) => error,
    }
}

fn lost_writing(error: &WriteError) -> ClientError {
    match error {
        WriteError::SessionError(error) => lost(error),
        WriteError::ClosedStream | WriteError::Stopped(_) => ClientError::Closed,
        other => ClientError::Lost(other.to_string()),
    }
}

/// Why there is no QUIC connection.
fn explained(error: &quinn::ConnectionError, address: String) -> ClientError {
    match error {
        quinn::ConnectionError::TransportError(error) if error.reason.contains("certificate") => {
            ClientError::Certificate { address, reason: error.reason.clone() }
        }
        quinn::ConnectionError::ConnectionClosed(close) if close.error_code == REFUSED => {
            let status = StatusCode::SERVICE_UNAVAILABLE.as_u16();
            ClientError::Rejected { address, status, message: String::new() }
        }
        other => ClientError::NotThisProtocol { address, reason: other.to_string() },
    }
}

/// Why a WebTransport was not opened.
fn rejected(error: ConnectError, address: String) -> ClientError {
    use web_transport_quinn::ConnectError as Http;
    match error {
        ConnectError::HttpError(Http::ProtoError(proto::ConnectError::WrongStatus(Some(status))))
        | ConnectError::HttpError(Http::ErrorStatus(status)) => {
            ClientError::Rejected { address, status: status.as_u16(), message: String::new() }
        }
        other => ClientError::NotThisProtocol { address, reason: other.to_string() },
    }
}

fn message(parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut message = BytesMut::with_capacity(LENGTH + length);
    message.put_u32(u32::try_from(length).expect("messages are bounded far below"));
    parts.iter().for_each(|part| message.extend_from_slice(part));
    message.freeze()
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .receive_window(VarInt::from_u32(2 * MAX_EVENT_BYTES as u32))
        .send_window(SEND_WINDOW)
        .datagram_send_buffer_size(DATAGRAM_BYTES);
    transport
}

/// As the server's.
const DEFAULT_PORT: u16 = 8443;
/// Of one name, tried at once.
const MAX_ADDRESSES: usize = 4;
/// Bytes before each message, which say how long it is.
const LENGTH: usize = 4;
/// A multiple of the bytes of one, two and four channels of 8, 16, 24 and 32 bit.
const WHOLE_SAMPLES: usize = 48;
/// RFC 9000, 20.1: `CONNECTION_REFUSED`.
const REFUSED: quinn::TransportErrorCode = quinn::TransportErrorCode::CONNECTION_REFUSED;
/// Below the server's patience, so that a NAT does not forget the way.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const IDLE_MS: u32 = 15_000;
/// Audio on its way that is not acknowledged: beyond it `send` waits.
const SEND_WINDOW: u64 = 512 * 1024;
/// As long as there is no room for 200 ms of audio, older audio should wait no longer: `send` waits instead.
const DATAGRAM_BYTES: usize = 64 * 1024;
/// How long to wait, after the end of the events, for the server to close.
const HANG_UP: Duration = Duration::from_secs(2);
/// For what was sent to arrive before a close.
const ARRIVAL: Duration = Duration::from_secs(2);
