//! One conversation, fast: audio in over a socket, words out as they are said, an answer the moment a question ends.
//!
//! | module | is |
//! |---|---|
//! | [`pipeline`] | the loop of one session: start reading here |
//! | `session` | its state: what each message, turn, text and token does |
//! | [`listener`], [`endpointer`] | the ear: bytes to turns, synchronous, samples as the clock |
//! | [`turn_end`] | whether a turn's words sound finished |
//! | [`echo`] | whether the candidate's microphone hears the candidate or the interviewer's loudspeaker |
//! | `question`, [`answerer`], [`history`], [`memory`] | from a question to a prompt to an answer |
//! | [`transport`], [`server`] | WebSocket, QUIC, WebTransport and in-memory connections; the doors |
//! | [`ports`] | what is asked of the outside: identity, context, history, limits |
//! | [`resume`] | sessions that change their connection |
//! | `outbox`, `recorder`, [`registry`] | bounded queues to client and storage, admission |
//!
//! Knows nothing of HTTP routes, MongoDB or Redis.

pub mod answerer;
pub mod config;
pub mod echo;
pub mod endpointer;
pub mod history;
pub mod listener;
pub mod memory;
pub mod metric;
mod outbox;
pub mod pipeline;
pub mod ports;
mod question;
mod recorder;
pub mod registry;
pub mod resume;
pub mod server;
mod session;
pub mod transport;
pub mod turn_end;
mod vocabulary;

use std::sync::Arc;

use models::{chat::ChatModel, speech::Transcriber, vad::VoiceActivityDetector};

pub use question::{goes_on, is_behavioural, is_question};

/// Makes a detector for one channel.
pub type VadFactory = Arc<dyn Fn() -> Box<dyn VoiceActivityDetector> + Send + Sync>;

/// What all sessions share.
pub struct Engine {
    /// Bounds of every session.
    pub limits: config::SessionLimits,
    /// What a session is like unless the client says otherwise.
    pub defaults: config::SessionConfig,
    /// Makes voice-activity detectors.
    pub vad: VadFactory,
    /// Writes speech down.
    pub transcriber: Arc<dyn Transcriber>,
    /// Writes answers.
    pub chat: Arc<dyn ChatModel>,
    /// Lets clients in.
    pub authorizer: Arc<dyn ports::Authorizer>,
    /// Tells who the candidate is.
    pub context: Arc<dyn ports::ContextProvider>,
    /// Keeps history.
    pub recorder: Arc<dyn ports::SessionRecorder>,
    /// Counts what is used up.
    pub meter: Arc<dyn ports::UsageMeter>,
    /// Conversations whose connection was lost.
    pub memories: memory::Memories,
    /// Sessions whose clients may come back.
    pub resumables: resume::Resumables,
    /// Where sessions are kept so that they survive the process; none: they do not.
    pub journals: Option<Arc<dyn ports::Journals>>,
    /// Session slots.
    pub registry: registry::Registry,
    /// Writes history behind the sessions; waited for at the end.
    pub writers: tokio_util::task::TaskTracker,
}
