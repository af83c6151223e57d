//! Events the server sends as text frames.

use serde::{Deserialize, Serialize};

use crate::{CloseCode, MarkerId, Role, Variant};

/// One event: its number in the session, and what happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerEvent {
    /// Counts up from 1 in the session, never reused.
    pub event: u64,
    /// What happened.
    #[serde(flatten)]
    pub message: ServerMessage,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The session is open.
    StreamStarted {
        /// Name of the session.
        session_id: String,
        /// Opens the session again after a lost connection.
        resume_token: String,
        /// Sequence number expected next, by channel.
        next_seq: Vec<u32>,
        /// Control messages received, `start_stream`, `audio_chunk` and `keep_alive` not counted: a client that comes back
        /// sends those after them again. Absent for 0.
        #[serde(default, skip_serializing_if = "is_zero")]
        next_control: u64,
        /// What the session must keep to.
        limits: Limits,
    },
    /// Somebody began to speak.
    SpeechStarted {
        /// Logical channel.
        channel: u8,
        /// Who speaks there.
        role: Role,
        /// On the session's audio clock.
        at_ms: u64,
        /// The turn that began.
        turn: u64,
    },
    /// The turn is decided to be over.
    SpeechEnded {
        /// Logical channel.
        channel: u8,
        /// Who spoke.
        role: Role,
        /// End of the speech, on the session's audio clock.
        at_ms: u64,
        /// The turn that ended.
        turn: u64,
    },
    /// Words of a turn.
    Transcription(Transcription),
    /// An answer begins.
    AnswerStarted {
        /// Name of the answer in the session.
        answer_id: u64,
        /// The turn it answers; the last one for a text of the client's own.
        turn: u64,
        /// Its tone.
        variant: Variant,
        /// What is answered.
        question: String,
    },
    /// The next text of an answer.
    AnswerDelta {
        /// Which answer.
        answer_id: u64,
        /// From 0, without gaps.
        index: u64,
        /// The text.
        text: String,
    },
    /// A whole answer.
    Answer(Box<Answer>),
    /// An answer will not be finished.
    AnswerCancelled {
        /// Which answer.
        answer_id: u64,
        /// Why.
        reason: CancelReason,
    },
    /// Everything before `next_seq` need not be sent again.
    Ack {
        /// Logical stream.
        channel: u8,
        /// Sequence number expected next.
        next_seq: u32,
        /// Audio received on the channel.
        audio_ms: u64,
    },
    /// Everything sent before the marker has been dealt with.
    Marker {
        /// As the client sent it.
        id: MarkerId,
    },
    /// Something was degraded or skipped.
    Warning {
        /// Stable, machine-readable.
        code: String,
        /// What happened and what it means for the user.
        message: String,
    },
    /// Something failed.
    Error {
        /// As the close code that follows a fatal one.
        code: CloseCode,
        /// What was wrong and what to do.
        message: String,
        /// Whether the session is closed after this.
        fatal: bool,
        /// When to try again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after_ms: Option<u64>,
    },
    /// The session is over and everything was sent.
    StreamEnded {
        /// Why.
        reason: EndReason,
        /// What there was.
        totals: Totals,
    },
}

/// What a session must keep to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Largest audio payload of a message.
    pub max_chunk_bytes: u64,
    /// Longest session, in audio time.
    pub max_session_ms: u64,
    /// Silence on the wire after which the session is closed.
    pub idle_timeout_ms: u64,
}

/// Words of a turn: interim ones may change, final ones do not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transcription {
    /// Which turn.
    pub turn: u64,
    /// Logical channel.
    pub channel: u8,
    /// Who spoke.
    pub role: Role,
    /// The words.
    pub text: String,
    /// Whether this text is the last word.
    pub is_final: bool,
    /// Start of the speech, on the session's audio clock.
    pub start_ms: u64,
    /// End of the speech so far.
    pub end_ms: u64,
    /// 0–1, from token probabilities.
    pub confidence: f32,
    /// ISO 639-1 code.
    pub language: String,
    /// On interims: so many characters at the start of `text` begin every later text of the turn too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_chars: Option<u64>,
    /// On finals: each word with its times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<WordTiming>>,
}

/// One word and when it was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordTiming {
    /// As written in the text.
    pub word: String,
    /// On the session's audio clock.
    pub start_ms: u64,
    /// On the session's audio clock.
    pub end_ms: u64,
    /// 0–1, from token probabilities.
    pub confidence: f32,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Which answer.
    pub answer_id: u64,
    /// The turn it answers.
    pub turn: u64,
    /// Its tone.
    pub variant: Variant,
    /// All of its deltas, joined.
    pub content: String,
    /// The points it makes, in its own words.
    pub key_points: Vec<String>,
    /// 0–1 from the provider's log-probabilities; `null` when it reports none.
    pub confidence: Option<f32>,
    /// As the provider reports it.
    pub finish_reason: String,
    /// The model that answered.
    pub model: String,
    /// Whether it came from the answer cache.
    pub cached: bool,
    /// The CV lines it refers to.
    pub sources: Vec<Source>,
    /// The latency receipt.
    pub timings: Timings,
}

/// A CV line that an answer refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// 1-based.
    pub cv_line: u32,
    /// The line.
    pub text: String,
}

/// Where the time of one question went, in milliseconds. The first four add up to `total_to_first_token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// End of speech → turn decided, on the audio clock.
    pub endpoint: u64,
    /// → final text.
    pub transcript: u64,
    /// → provider asked.
    pub request: u64,
    /// → first text of the answer.
    pub first_token: u64,
    /// → last text of the answer.
    pub last_token: u64,
    /// End of speech → first text of the answer.
    pub total_to_first_token: u64,
}

/// Why an answer was not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// `cancel_answer`.
    Client,
    /// Another answer took its place, perhaps that of a complete one.
    Superseded,
    /// The server is leaving.
    Shutdown,
    /// The provider failed; an `error` or a `warning` says how.
    ProviderError,
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// `end_stream`.
    Client,
    /// The server is leaving.
    Shutdown,
    /// A limit of the plan or of the session's length.
    Limit,
}

/// What there was in a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Audio heard, of the longest channel.
    pub audio_ms: u64,
    /// Turns ended.
    pub turns: u64,
    /// Answers finished.
    pub answers: u64,
    /// Audio received and not heard.
    pub audio_dropped_ms: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}
