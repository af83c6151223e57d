//! The transport seam: frames in, events out, whatever carries them.
//!
//! Not here: what frames mean. Every implementation passes `engine/tests/transport_conformance.rs`.

pub mod memory;
pub mod quic;
pub mod websocket;

use std::future::{Future, ready};

use bytes::Bytes;
use protocol::CloseCode;

/// One message of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// JSON, not yet parsed; UTF-8 is not yet checked either on every transport.
    Control(Bytes),
    /// Audio, with its header when the framing is numbered.
    Audio(Bytes),
}

/// Why no further frame can be received.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiveError {
    /// A message over the transport's bound; the connection still writes.
    #[error("a message of more than {max} bytes was refused; send audio in chunks of at most 65,536 bytes")]
    TooBig {
        /// Bytes accepted.
        max: usize,
    },
    /// The peer broke the transport's rules.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The connection was lost: the peer did not say that it leaves, and may come back.
    #[error("the connection was lost")]
    Lost,
}

/// The receiving half.
pub trait Receive: Send {
    /// The next frame; `None` once the peer has closed for good. A peer that goes away otherwise is [`ReceiveError::Lost`].
    ///
    /// Cancel-safe: a call dropped before it is ready loses nothing.
    fn recv(&mut self) -> impl Future<Output = Option<Result<Frame, ReceiveError>>> + Send;

    /// Whether frames of audio may come in another order or not at all, so that each has to have its number.
    fn needs_numbers(&self) -> bool {
        false
    }
}

/// The peer can no longer be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer is gone")]
pub struct Gone;

/// The sending half.
pub trait Transmit: Send {
    /// Sends one event as JSON; waits while the peer does not read. Not cancel-safe.
    fn send(&mut self, json: String) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Asks whether the peer is still there, unless it was heard since the last call; it fails when the peer left the last question
    /// unanswered while it was listened to. Called when nothing was sent for a while. Not cancel-safe.
    ///
    /// A transport that notices a lost peer by itself has nothing to ask.
    fn ping(&mut self) -> impl Future<Output = Result<(), Gone>> + Send {
        ready(Ok(()))
    }

    /// Says why, and closes.
    fn close(&mut self, code: CloseCode, reason: &'static str) -> impl Future<Output = ()> + Send;
}
