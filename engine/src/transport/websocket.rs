//! The two halves of a WebSocket that is already open, within tight memory bounds.
//!
//! Not here: the handshake (`server`), what frames mean (`session`).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU16, Ordering},
};

use bytes::Bytes;
use futures_util::{
    SinkExt as _, StreamExt as _,
    stream::{SplitSink, SplitStream},
};
use protocol::CloseCode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        error::ProtocolError,
        protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode as CloseFrameCode},
    },
};

use super::{Frame, Gone, Receive, ReceiveError, Transmit};

/// Takes over `io`, on which the handshake is done.
pub async fn open<S>(io: S) -> (WebSocketReceiver<S>, WebSocketSender<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    open_up_to(io, MAX_MESSAGE).await
}

/// As [`open`], for messages of up to `max_message` bytes: conformance suites send larger ones than any session.
pub async fn open_up_to<S>(io: S, max_message: usize) -> (WebSocketReceiver<S>, WebSocketSender<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER.max(2 * max_message))
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    let peer = Arc::new(Peer::default());
    let receiver = WebSocketReceiver { stream, max_message, peer: Arc::clone(&peer) };
    (receiver, WebSocketSender { sink, peer, asked: false })
}

/// The receiving half.
#[derive(Debug)]
pub struct WebSocketReceiver<S> {
    stream: SplitStream<WebSocketStream<S>>,
    max_message: usize,
    peer: Arc<Peer>,
}

/// What the receiving half tells the sending half.
#[derive(Debug, Default)]
struct Peer {
    /// The code of RFC 6455 for the rule that it broke; 0 while it broke none.
    broke: AtomicU16,
    /// Something came.
    heard: AtomicBool,
    /// Somebody waited for something to come: a session that has enough to do does not read, and hears no answer.
    awaited: AtomicBool,
}

impl<S> Receive for WebSocketReceiver<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn recv(&mut self) -> Option<Result<Frame, ReceiveError>> {
        // A message is given out whole or stays inside the socket: dropping this future loses nothing.
        self.peer.awaited.store(true, Ordering::Relaxed);
        loop {
            let message = self.stream.next().await?;
            self.peer.heard.store(true, Ordering::Relaxed);
            return Some(match message {
                Ok(Message::Binary(bytes)) => Ok(Frame::Audio(bytes)),
                Ok(Message::Text(text)) => Ok(Frame::Control(Bytes::from(text))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                // A page that is left or loaded again says 1001, and may come back.
                Ok(Message::Close(Some(frame))) if frame.code == CloseFrameCode::Away => {
                    Err(ReceiveError::Lost)
                }
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return None,
                // The peer's process or network is gone: nothing was malformed.
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) | Error::Io(_)) => {
                    Err(ReceiveError::Lost)
                }
                Err(Error::Capacity(_)) => Err(ReceiveError::TooBig { max: self.max_message }),
                Err(error) => {
                    let code = if matches!(error, Error::Utf8(_)) { NOT_UTF8 } else { PROTOCOL_ERROR };
                    self.peer.broke.store(code, Ordering::Relaxed);
                    Err(ReceiveError::Broken(error.to_string()))
                }
            });
        }
    }
}

/// The sending half.
#[derive(Debug)]
pub struct WebSocketSender<S> {
    sink: SplitSink<WebSocketStream<S>, Message>,
    peer: Arc<Peer>,
    /// A question is open.
    asked: bool,
}

impl<S> WebSocketSender<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    /// Sends a binary message. The protocol has none in this direction; conformance suites want back what they sent.
    ///
    /// # Errors
    /// The peer is gone.
    pub async fn send_bytes(&mut self, bytes: Bytes) -> Result<(), Gone> {
        self.sink.send(Message::Binary(bytes)).await.map_err(|_| Gone)
    }
}

impl<S> Transmit for WebSocketSender<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn send(&mut self, json: String) -> Result<(), Gone> {
        self.sink.send(Message::text(json)).await.map_err(|_| Gone)
    }

    async fn ping(&mut self) -> Result<(), Gone> {
        let heard = self.peer.heard.swap(false, Ordering::Relaxed);
        let awaited = self.peer.awaited.swap(false, Ordering::Relaxed);
        if heard || !awaited {
            self.asked = false;
            return Ok(());
        }
        if std::mem::replace(&mut self.asked, true) {
            metrics::counter!("peers_silent_total").increment(1);
            return Err(Gone);
        }
        self.sink.send(Message::Ping(Bytes::new())).await.map_err(|_| Gone)
    }

    async fn close(&mut self, code: CloseCode, reason: &'static str) {
        let code = match self.peer.broke.load(Ordering::Relaxed) {
            0 => u16::from(code),
            // Who breaks the rules of WebSocket is told by its own codes.
            broken => broken,
        };
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        // A peer that is gone needs no goodbye.
        let _ = self.sink.send(Message::Close(Some(frame))).await;
        let _ = self.sink.close().await;
    }
}

/// RFC 6455, 7.4.1.
const PROTOCOL_ERROR: u16 = 1002;
/// RFC 6455, 7.4.1: a text that is not UTF-8.
const NOT_UTF8: u16 = 1007;
/// The largest audio message with its header.
const MAX_MESSAGE: usize = protocol::MAX_AUDIO_BYTES + protocol::FrameHeader::LEN;
/// A usual message; larger ones are given room as they come. tungstenite's default of 128 KiB a connection would be most of an
/// idle session's memory.
const READ_BUFFER: usize = 4 * 1024;
/// One event at a time is written: the longest answers are far below this.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;
