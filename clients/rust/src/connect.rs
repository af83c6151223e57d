//! Opening the connection: the address, the credentials, the limits, and errors that help.

use std::{io, time::Duration};

use futures_util::StreamExt as _;
use protocol::{FrameHeader, MAX_AUDIO_BYTES, SUBPROTOCOL};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{
        Error,
        client::IntoClientRequest as _,
        error::UrlError,
        handshake::client::{Request, Response},
        http::{HeaderValue, Uri, header},
        protocol::WebSocketConfig,
    },
};

use crate::{ClientError, Events, Sender, Socket};

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `ws://HOST:PORT/audio`. This build has no TLS.
    pub url: String,
    /// Access token, sent as `Authorization: Bearer`. Default: none, for a server with `auth = off`.
    pub token: Option<SecretString>,
    /// Whether to ask for the subprotocol [`SUBPROTOCOL`]; a server without it is then refused. Default: yes.
    pub subprotocol: bool,
    /// Longest wait for the whole handshake. Default: 10 s.
    pub connect_timeout: Duration,
}

impl ClientConfig {
    /// The defaults, for the server at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into(), token: None, subprotocol: true, connect_timeout: Duration::from_secs(10) }
    }
}

/// Connects and completes the handshake. No message is sent yet: call [`Sender::start`] next.
///
/// Cancel-safe: dropping the future closes the connection.
///
/// # Errors
/// Every variant of [`ClientError`] up to [`NotThisProtocol`](ClientError::NotThisProtocol); each says what to do.
pub async fn connect(config: &ClientConfig) -> Result<(Sender, Events), ClientError> {
    let request = request(config)?;
    let address = address(request.uri());
    // Small messages at their own time: Nagle's algorithm would hold audio back for an acknowledgement.
    let handshake = connect_async_with_config(request, Some(limits()), true);
    let (socket, _response): (Socket, Response) = tokio::time::timeout(config.connect_timeout, handshake)
        .await
        .map_err(|_| ClientError::TimedOut { address: address.clone(), after: config.connect_timeout })?
        .map_err(|error| explained(error, address))?;
    let (sink, stream) = socket.split();
    Ok((Sender::new(sink), Events::new(stream)))
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
        Error::Url(UrlError::TlsFeatureNotEnabled) => ClientError::Config {
            address,
            reason: "this build has no TLS; use ws://, or a TLS proxy on this machine".to_owned(),
        },
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

const EXAMPLE: &str = "ws://127.0.0.1:8081/audio";
/// tungstenite's default of 128 KiB would be most of an idle client's memory; the load generator opens thousands.
const READ_BUFFER: usize = 8 * 1024;
/// Largest event. Four times the largest message of a client: the final text of a turn of minutes carries its words.
const MAX_EVENT_BYTES: usize = 4 * MAX_AUDIO_BYTES;
/// One message with its header, and one more that was queued before its `send` was dropped.
const MAX_WRITE_BUFFER: usize = 2 * (MAX_AUDIO_BYTES + FrameHeader::LEN) + 1024;
const MAX_BODY_MESSAGE: usize = 300;

#[cfg(test)]
mod tests {
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
