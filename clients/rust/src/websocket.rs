//! A session over a WebSocket, with or without TLS: the handshake, the credentials, the limits.

use std::{fmt, io, sync::Arc};

use futures_util::{StreamExt as _, stream::SplitStream};
use protocol::{FrameHeader, MAX_AUDIO_BYTES, SUBPROTOCOL};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        Error,
        client::IntoClientRequest as _,
        handshake::client::Request,
        http::{HeaderValue, Uri, header},
        protocol::WebSocketConfig,
    },
};

use crate::{ClientConfig, ClientError, connect::EXAMPLE, tls};

/// The socket under both halves.
pub(crate) type Socket = WebSocketStream<Box<dyn Io>>;
pub(crate) type Sink = futures_util::stream::SplitSink<Socket, tokio_tungstenite::tungstenite::Message>;
pub(crate) type Stream = SplitStream<Socket>;

/// TCP, or TLS over it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug> Io for T {}

pub(crate) async fn connect(config: &ClientConfig) -> Result<(Sink, Stream), ClientError> {
    let request = request(config)?;
    let address = address(request.uri());
    let io = open(request.uri(), config, &address).await?;
    let handshake = client_async_with_config(request, io, Some(limits()));
    let (socket, _response) = handshake.await.map_err(|error| explained(error, address))?;
    Ok(socket.split())
}

async fn open(uri: &Uri, config: &ClientConfig, address: &str) -> Result<Box<dyn Io>, ClientError> {
    let secure = uri.scheme_str() == Some("wss");
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let unreachable = |error| explained(Error::Io(error), address.to_owned());
    let socket = TcpStream::connect((host, port)).await.map_err(unreachable)?;
    // Small messages at their own time: Nagle's algorithm would hold audio back for an acknowledgement.
    socket.set_nodelay(true).map_err(unreachable)?;
    if !secure {
        return Ok(Box::new(socket));
    }
    let wrong = |reason: String| ClientError::Config { address: address.to_owned(), reason };
    let tls = tls::config(config.certificate, config.roots.as_deref(), "http/1.1").map_err(wrong)?;
    let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(error.to_string()))?;
    let connecting = TlsConnector::from(Arc::new(tls)).connect(name, socket);
    let socket = connecting.await.map_err(|error| match certificate_error(&error) {
        Some(reason) => ClientError::Certificate { address: address.to_owned(), reason },
        None => ClientError::NotThisProtocol { address: address.to_owned(), reason: error.to_string() },
    })?;
    Ok(Box::new(socket))
}

fn certificate_error(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        error @ rustls::Error::InvalidCertificate(_) => Some(error.to_string()),
        _ => None,
    }
}

fn request(config: &ClientConfig) -> Result<Request, ClientError> {
    let mut request =
        config.url.as_str().into_client_request().map_err(|error| match config.url.parse() {
            Ok(uri) => explained(error, address(&uri)),
            // Unreadable, so nobody knows which part of it is secret.
            Err(_) => ClientError::Config {
                address: "the given address".to_owned(),
                reason: format!("{error}; it looks like {EXAMPLE}"),
            },
        })?;
    if let Some(token) = &config.token {
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| {
            ClientError::Config {
                address: address(request.uri()),
                reason: "the token holds characters that no HTTP header may have".to_owned(),
            }
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(header::AUTHORIZATION, value);
    }
    if config.subprotocol {
        let value = HeaderValue::from_static(SUBPROTOCOL);
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    Ok(request)
}

/// The address without user, password and query: a ticket stands there.
fn address(uri: &Uri) -> String {
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let host = host.rsplit('@').next().unwrap_or(host);
    format!("{}://{host}{}", uri.scheme_str().unwrap_or("ws"), uri.path())
}

fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        // Every message leaves at once; what the network does not take waits in `send`.
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_EVENT_BYTES))
        .max_frame_size(Some(MAX_EVENT_BYTES))
}

fn explained(error: Error, address: String) -> ClientError {
    match error {
        Error::Io(source) if source.kind() == io::ErrorKind::ConnectionRefused => {
            ClientError::Refused { address }
        }
        Error::Io(source) => ClientError::Unreachable { address, source },
        Error::Http(response) => {
            let message = response.body().as_deref().map(body_message).unwrap_or_default();
            ClientError::Rejected { address, status: response.status().as_u16(), message }
        }
        Error::Url(error) => {
            ClientError::Config { address, reason: format!("{error}; it looks like {EXAMPLE}") }
        }
        other => ClientError::NotThisProtocol { address, reason: other.to_string() },
    }
}

/// What the body of an HTTP error says: `detail`, `message` or `title` of problem JSON, or the plain text; one line, cut.
fn body_message(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<serde_json::Value>(body) {
        Ok(json) => ["detail", "message", "title"]
            .iter()
            .find_map(|field| json.get(field)?.as_str())
            .unwrap_or_default()
            .to_owned(),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    // It is shown on a terminal: no escape sequences of somebody else's.
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean.trim().chars().take(MAX_BODY_MESSAGE).collect()
}

/// tungstenite's default of 128 KiB would be most of an idle client's memory; the load generator opens thousands.
const READ_BUFFER: usize = 8 * 1024;
/// Largest event. Four times the largest message of a client: the final text of a turn of minutes carries its words.
pub(crate) const MAX_EVENT_BYTES: usize = 4 * MAX_AUDIO_BYTES;
/// One message with its header, and one more that was queued before its `send` was dropped.
const MAX_WRITE_BUFFER: usize = 2 * (MAX_AUDIO_BYTES + FrameHeader::LEN) + 1024;
const MAX_BODY_MESSAGE: usize = 300;

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    #[test]
    fn says_what_the_body_says() {
        let check = |body: &str, expected: &str| assert_eq!(body_message(body.as_bytes()), expected);
        check("", "");
        check("no more slots\r\n", "no more slots");
        check(r#"{"title":"Unauthorized","detail":"the token has expired"}"#, "the token has expired");
        check(r#"{"message":"m","title":"t"}"#, "m");
        check(r#"{"title":"Not Found","status":404}"#, "Not Found");
        check(r#"{"detail":7}"#, "");
        check("\u{1b}[31mred", "[31mred");
        check(&"x".repeat(1_000), &"x".repeat(MAX_BODY_MESSAGE));
        assert_eq!(body_message(b"\xff\xfe"), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn shows_no_secret_part_of_an_address() {
        let check = |uri: &str, expected: &str| assert_eq!(address(&uri.parse().unwrap()), expected);
        check("ws://127.0.0.1:8081/audio", "ws://127.0.0.1:8081/audio");
        check("ws://[::1]:8081/audio?ticket=s3cret", "ws://[::1]:8081/audio");
        check("wss://me:s3cret@host", "wss://host/");
    }

    #[test]
    fn refuses_what_cannot_be_an_address() {
        let check = |url: &str, expected: &str| {
            let error = request(&ClientConfig::new(url)).expect_err(url).to_string();
            assert!(error.contains(expected), "{url}: {error}");
            assert!(!error.contains("s3cret"), "{error}");
        };
        check("", "it looks like ws://");
        check("not an address?ticket=s3cret", "it looks like ws://");
        check("ws://", "it looks like ws://");
        check("/audio", "it looks like ws://");
    }

    #[test]
    fn keeps_the_token_out_of_every_text() {
        let config = ClientConfig {
            token: Some(SecretString::from("s3cret")),
            ..ClientConfig::new("ws://127.0.0.1:1/audio")
        };
        let request = request(&config).unwrap();
        assert_eq!(request.headers()[header::AUTHORIZATION], "Bearer s3cret");
        assert!(!format!("{config:?} {request:?}").contains("s3cret"));
        let config = ClientConfig { token: Some(SecretString::from("s3cret\n")), ..config };
        let error = super::request(&config).unwrap_err().to_string();
        assert!(error.contains("token") && !error.contains("s3cret"), "{error}");
    }
}
