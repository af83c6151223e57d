//! The two halves of a WebSocket that is already open, within tight memory bounds.
//!
//! Not here: the handshake (`server`), what frames mean (`session`).

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
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use super::{Frame, Gone, Receive, ReceiveError, Transmit};

/// Takes over `io`, on which the handshake is done.
pub async fn open<S>(io: S) -> (WebSocketReceiver<S>, WebSocketSender<S>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (sink, stream) = socket.split();
    (WebSocketReceiver(stream), WebSocketSender(sink))
}

/// The receiving half.
#[derive(Debug)]
pub struct WebSocketReceiver<S>(SplitStream<WebSocketStream<S>>);

impl<S> Receive for WebSocketReceiver<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn recv(&mut self) -> Option<Result<Frame, ReceiveError>> {
        // A message is given out whole or stays inside the socket: dropping this future loses nothing.
        loop {
            return Some(match self.0.next().await? {
                Ok(Message::Binary(bytes)) => Ok(Frame::Audio(bytes)),
                Ok(Message::Text(text)) => Ok(Frame::Control(Bytes::from(text))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return None,
                // The peer's process or network is gone: nothing was malformed.
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => return None,
                Err(Error::Capacity(_)) => Err(ReceiveError::TooBig { max: MAX_MESSAGE }),
                Err(Error::Io(_)) => return None,
                Err(error) => Err(ReceiveError::Broken(error.to_string())),
            });
        }
    }
}

/// The sending half.
#[derive(Debug)]
pub struct WebSocketSender<S>(SplitSink<WebSocketStream<S>, Message>);

impl<S> Transmit for WebSocketSender<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn send(&mut self, json: String) -> Result<(), Gone> {
        self.0.send(Message::text(json)).await.map_err(|_| Gone)
    }

    async fn close(&mut self, code: CloseCode, reason: &'static str) {
        let frame = CloseFrame { code: u16::from(code).into(), reason: reason.into() };
        // A peer that is gone needs no goodbye.
        let _ = self.0.send(Message::Close(Some(frame))).await;
        let _ = self.0.close().await;
    }
}

/// The largest audio message with its header.
const MAX_MESSAGE: usize = protocol::MAX_AUDIO_BYTES + protocol::FrameHeader::LEN;
/// A usual message; larger ones are given room as they come. tungstenite's default of 128 KiB a connection would be most of an
/// idle session's memory.
const READ_BUFFER: usize = 4 * 1024;
/// One event at a time is written: the longest answers are far below this.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;
