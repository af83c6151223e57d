//! The receiving half: events, and how the connection ended.

use std::time::Duration;

use futures_util::StreamExt as _;
use protocol::{CloseCode, ServerEvent};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::{ClientError, quic::QuicStream, websocket};

/// Reads the events of an open connection, in order.
#[derive(Debug)]
pub struct Events {
    stream: Stream,
    closed: Option<Closed>,
    over: bool,
}

#[derive(Debug)]
enum Stream {
    WebSocket(websocket::Stream),
    Quic(Box<QuicStream>),
}

/// How the server closed the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Close code; 1005 when the server gave none.
    pub code: u16,
    /// What the server said; may be empty.
    pub reason: String,
}

impl Closed {
    /// The code's meaning in this protocol, if it has one.
    pub fn meaning(&self) -> Option<CloseCode> {
        CloseCode::try_from(self.code).ok()
    }
}

impl Events {
    pub(crate) fn over_websocket(stream: websocket::Stream) -> Self {
        Self { stream: Stream::WebSocket(stream), closed: None, over: false }
    }

    pub(crate) fn over_quic(stream: QuicStream) -> Self {
        Self { stream: Stream::Quic(Box::new(stream)), closed: None, over: false }
    }

    /// The next event; `None` once the server has closed the connection, and ever after.
    ///
    /// Cancel-safe: when the future is dropped, no event is lost.
    ///
    /// # Errors
    /// [`ClientError::Event`]: one event was not understood, go on reading.
    /// [`ClientError::Lost`]: the connection broke off; `None` follows.
    pub async fn next(&mut self) -> Option<Result<ServerEvent, ClientError>> {
        let stream = match &mut self.stream {
            Stream::Quic(_) if self.over => return None,
            Stream::Quic(stream) => {
                return match stream.next().await {
                    Ok(json) => Some(parse(&json)),
                    Err(ended) => {
                        self.over = true;
                        match ended {
                            Ok(closed) => {
                                self.closed = Some(closed);
                                None
                            }
                            Err(error) => Some(Err(error)),
                        }
                    }
                };
            }
            Stream::WebSocket(stream) => stream,
        };
        while !self.over {
            // A message is taken out of the socket whole or stays there, and nothing else is awaited before it is returned.
            let message = if self.closed.is_none() {
                stream.next().await
            } else {
                // Our half of the close goes out while this waits for the server to hang up, within a limit.
                tokio::time::timeout(HANG_UP, stream.next()).await.unwrap_or(None)
            };
            match message {
                Some(Ok(Message::Text(text))) => return Some(parse(text.as_bytes())),
                Some(Ok(Message::Binary(_))) => {
                    return Some(Err(ClientError::Event("a binary message".to_owned())));
                }
                Some(Ok(Message::Close(frame))) => {
                    self.closed = Some(frame.map_or_else(
                        || Closed { code: NO_CODE, reason: String::new() },
                        |frame| Closed { code: frame.code.into(), reason: frame.reason.as_str().to_owned() },
                    ));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(error)) => {
                    self.over = true;
                    // After the close the server may hang up as it likes.
                    return self.closed.is_none().then(|| Err(ClientError::Lost(lost(&error))));
                }
                None => self.over = true,
            }
        }
        None
    }

    /// Code and reason of the close, once [`next`](Self::next) has given `None`. `None` when the connection broke off.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }
}

fn parse(json: &[u8]) -> Result<ServerEvent, ClientError> {
    serde_json::from_slice(json).map_err(|error| {
        // serde quotes the value it stumbled over, which may be a word of the session: say where, not what.
        let kind = if error.is_data() { "an unknown type or field value" } else { "malformed JSON" };
        ClientError::Event(format!("{kind} at column {}", error.column()))
    })
}

fn lost(error: &Error) -> String {
    match error {
        // tungstenite quotes the payload.
        Error::Protocol(_) => {
            "the server broke the WebSocket protocol, or went away without a close".to_owned()
        }
        other => other.to_string(),
    }
}

/// RFC 6455, 7.1.5: no status code was present.
const NO_CODE: u16 = 1005;
/// How long to wait, after the close, for the server to end the connection.
const HANG_UP: Duration = Duration::from_secs(2);
