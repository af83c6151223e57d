//! The sending half: control messages and audio.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use protocol::{
    ClientMessage, CloseCode, Codec, FrameHeader, Framing, MAX_AUDIO_BYTES, MAX_JSON_BYTES, StartStream,
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::CloseFrame};

use crate::{ClientError, quic::QuicSink, websocket};

/// Sends on an open connection. Every method waits while the server does not read: nothing is queued here.
///
/// Keep reading [`Events`](crate::Events) at the same time: a client that only sends is at last closed by the server,
/// and the two sides wait for each other until then.
///
/// Cancel safety, of every method: when its future is dropped, the message is sent whole, later, or not at all; audio that
/// is split into several messages may be sent in part. Order is kept.
#[derive(Debug)]
pub struct Sender {
    sink: Sink,
    /// Audio of `framing: raw` is cut anywhere; not so Opus packets.
    packets: bool,
    next_seq: BTreeMap<u8, u32>,
}

#[derive(Debug)]
enum Sink {
    WebSocket(websocket::Sink),
    Quic(QuicSink),
}

impl Sender {
    pub(crate) fn over_websocket(sink: websocket::Sink) -> Self {
        Self { sink: Sink::WebSocket(sink), packets: false, next_seq: BTreeMap::new() }
    }

    pub(crate) fn over_quic(sink: QuicSink) -> Self {
        Self { sink: Sink::Quic(sink), packets: false, next_seq: BTreeMap::new() }
    }

    /// Opens the session; must be the first message.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn start(&mut self, start: StartStream) -> Result<(), ClientError> {
        self.send(&ClientMessage::StartStream(Box::new(start))).await
    }

    /// Sends the next audio bytes with `framing: raw`, in messages of at most [`MAX_AUDIO_BYTES`]. Nothing, for no bytes.
    /// (Over QUIC, where every frame has a number, the session is opened with `framing: numbered`, and these are the bytes of
    /// channel 0.)
    ///
    /// # Errors
    /// [`ClientError::Closed`] or [`ClientError::Lost`].
    pub async fn audio(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        if let Sink::Quic(_) = self.sink {
            return self.numbered_audio(0, false, bytes).await;
        }
        for chunk in bytes.chunks(MAX_AUDIO_BYTES) {
            self.message(Message::Binary(Bytes::copy_from_slice(chunk))).await?;
        }
        Ok(())
    }

    /// Sends the next audio bytes of `channel` with `framing: numbered`, in messages of at most [`MAX_AUDIO_BYTES`], each
    /// with the next sequence number of the channel. `last` ends the channel, with or without bytes.
    ///
    /// # Errors
    /// [`ClientError::Closed`] or [`ClientError::Lost`].
    pub async fn numbered_audio(&mut self, channel: u8, last: bool, bytes: &[u8]) -> Result<(), ClientError> {
        let most = match &self.sink {
            Sink::Quic(sink) if !self.packets => sink.chunk_bytes(),
            _ => MAX_AUDIO_BYTES,
        };
        let mut chunks = bytes.chunks(most).peekable();
        if chunks.peek().is_none() && last {
            return self.numbered_frame(channel, true, &[]).await;
        }
        while let Some(chunk) = chunks.next() {
            self.numbered_frame(channel, last && chunks.peek().is_none(), chunk).await?;
        }
        Ok(())
    }

    /// Sends one control message. Over QUIC, one that is about the audio before it waits until the server has that.
    ///
    /// # Errors
    /// [`ClientError::TooBig`] before anything is sent; [`ClientError::Closed`] or [`ClientError::Lost`].
    pub async fn send(&mut self, message: &ClientMessage) -> Result<(), ClientError> {
        let mut numbered = None;
        if let ClientMessage::StartStream(start) = message {
            self.packets = start.audio.codec == Codec::Opus;
            if matches!(self.sink, Sink::Quic(_)) && start.audio.framing == Framing::Raw {
                let mut start = start.clone();
                start.audio.framing = Framing::Numbered;
                numbered = Some(ClientMessage::StartStream(start));
            }
        }
        let message = numbered.as_ref().unwrap_or(message);
        let json = serde_json::to_string(message).expect("wire types have text keys and finite numbers only");
        if json.len() > MAX_JSON_BYTES {
            return Err(ClientError::TooBig { bytes: json.len() });
        }
        if let Sink::Quic(sink) = &mut self.sink {
            let about_audio = matches!(
                message,
                ClientMessage::Finalize { .. } | ClientMessage::Marker { .. } | ClientMessage::EndStream {}
            );
            return sink.control(json.as_bytes(), about_audio).await;
        }
        self.message(Message::text(json)).await
    }

    /// Closes the connection with code 1000. Send [`ClientMessage::EndStream`] first and read to `stream_ended`, or what is
    /// being said is lost. Keep reading events until there is none. No error when it is closed already.
    ///
    /// # Errors
    /// [`ClientError::Lost`].
    pub async fn close(&mut self) -> Result<(), ClientError> {
        if let Sink::Quic(sink) = &mut self.sink {
            return sink.close(CloseCode::Done.into()).await;
        }
        let frame = CloseFrame { code: u16::from(CloseCode::Done).into(), reason: "".into() };
        match self.message(Message::Close(Some(frame))).await {
            Err(ClientError::Closed) => Ok(()),
            sent => sent,
        }
    }

    async fn numbered_frame(&mut self, channel: u8, last: bool, audio: &[u8]) -> Result<(), ClientError> {
        let next = self.next_seq.entry(channel).or_default();
        let header = FrameHeader { channel, seq: *next, last };
        // Counted before it is sent: a dropped future leaves a gap, which the server reports, never a number used twice.
        *next = next.wrapping_add(1);
        self.frame(header, audio).await
    }

    /// Sends one numbered frame as it is.
    pub(crate) async fn frame(&mut self, header: FrameHeader, audio: &[u8]) -> Result<(), ClientError> {
        if let Sink::Quic(sink) = &mut self.sink {
            return sink.frame(&header, audio).await;
        }
        let mut message = BytesMut::with_capacity(FrameHeader::LEN + audio.len());
        message.extend_from_slice(&header.to_bytes());
        message.extend_from_slice(audio);
        self.message(Message::Binary(message.freeze())).await
    }

    async fn message(&mut self, message: Message) -> Result<(), ClientError> {
        let Sink::WebSocket(sink) = &mut self.sink else { return Err(ClientError::Closed) };
        sink.send(message).await.map_err(|error| match error {
            Error::ConnectionClosed | Error::AlreadyClosed | Error::Protocol(_) => ClientError::Closed,
            other => ClientError::Lost(other.to_string()),
        })
    }
}
