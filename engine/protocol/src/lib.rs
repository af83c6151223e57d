//! Wire types of the live session, version 1: what `docs/protocol.md` says, as serde types and one binary header.
//!
//! Shared by the engine and every Rust client. Not here: sockets, sessions, any behaviour.

mod audio;
mod authenticate;
mod client;
mod close;
mod config;
mod frame;
mod server;

pub use audio::{AudioFormat, AudioFormatError, Codec, Framing, Layout, Role};
pub use authenticate::Authenticate;
pub use client::{ClientMessage, MarkerId, Resume, StartStream};
pub use close::CloseCode;
pub use config::{AnswerLength, AnswerMode, AnswersUpdate, ConfigUpdate, TurnsUpdate, Variant};
pub use frame::{FrameError, FrameHeader};
pub use server::{
    Answer, CancelReason, EndReason, Limits, ServerEvent, ServerMessage, Source, Timings, Totals,
    Transcription, WordTiming,
};

/// WebSocket subprotocol of this version; optional for the client.
pub const SUBPROTOCOL: &str = "interviewai.v1";

/// ALPN of raw QUIC, this version.
pub const QUIC_ALPN: &str = "interviewai/1";

/// Path of a session over WebSocket and WebTransport.
pub const AUDIO_PATH: &str = "/audio";

/// Largest audio payload of one message, in bytes.
pub const MAX_AUDIO_BYTES: usize = 64 * 1024;

/// Largest JSON message, in bytes.
pub const MAX_JSON_BYTES: usize = 16 * 1024;
