//! Opening the connection, over whichever transport the address names.

use std::time::Duration;

use secrecy::SecretString;

use crate::{CertificateHash, ClientError, Events, Sender, quic, websocket};

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `ws://HOST:PORT/audio`, the same with `wss://`, `quic://HOST:PORT`, or `https://HOST:PORT/audio`, which is WebTransport.
    /// A ticket may stand behind it, as `?ticket=`.
    pub url: String,
    /// Access token. Default: none, for a server with `auth = off`, or with a ticket.
    pub token: Option<SecretString>,
    /// Whether to ask for the subprotocol [`SUBPROTOCOL`](protocol::SUBPROTOCOL) over a WebSocket; a server without it is then
    /// refused. Default: yes.
    pub subprotocol: bool,
    /// Longest wait for the whole handshake. Default: 10 s.
    pub connect_timeout: Duration,
    /// The only certificate that is believed to be the server's. Default: none; who the machine's authorities vouch for is.
    pub certificate: Option<CertificateHash>,
    /// Further authorities, in PEM: the root of a development's own certificates. Default: none.
    pub roots: Option<Vec<u8>>,
    /// Whether audio goes as datagrams over QUIC and WebTransport: what is lost on the way is lost, and nothing waits for it.
    /// Default: no, audio goes on streams, whole.
    pub datagrams: bool,
}

impl ClientConfig {
    /// The defaults, for the server at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            subprotocol: true,
            connect_timeout: Duration::from_secs(10),
            certificate: None,
            roots: None,
            datagrams: false,
        }
    }
}

/// Connects and completes the handshake. No message of the session is sent yet: call [`Sender::start`] next.
///
/// Over `quic://` the server has not judged the credentials yet when this returns: when it refuses them, it closes the
/// connection with 4401, which [`Events`] tells.
///
/// Cancel-safe: dropping the future closes the connection.
///
/// # Errors
/// Every variant of [`ClientError`] up to [`NotThisProtocol`](ClientError::NotThisProtocol); each says what to do.
pub async fn connect(config: &ClientConfig) -> Result<(Sender, Events), ClientError> {
    let connecting = async {
        match config.url.split_once("://") {
            Some(("quic" | "https", _)) => {
                let (sink, stream) = quic::connect(config).await?;
                Ok((Sender::over_quic(sink), Events::over_quic(stream)))
            }
            _ => {
                let (sink, stream) = websocket::connect(config).await?;
                Ok((Sender::over_websocket(sink), Events::over_websocket(stream)))
            }
        }
    };
    let after = config.connect_timeout;
    let timed_out = |_| ClientError::TimedOut { address: shown(&config.url), after };
    tokio::time::timeout(after, connecting).await.map_err(timed_out)?
}

/// The address without user, password and query: a ticket stands there.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => "the given address".to_owned(),
    }
}

pub(crate) const EXAMPLE: &str = "ws://127.0.0.1:8081/audio";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_no_secret_part_of_an_address() {
        let check = |url: &str, expected: &str| assert_eq!(shown(url), expected);
        check("quic://127.0.0.1:8443?ticket=s3cret", "quic://127.0.0.1:8443");
        check("https://me:s3cret@host:8443/audio?ticket=s3cret#x", "https://host:8443/audio");
        check("s3cret", "the given address");
    }
}
