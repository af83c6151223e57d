//! The speech-recognition seam: a stretch of audio in, its words out.
//!
//! Implementations: [`InferencePool`] computes here, [`OpenAiTranscriber`] asks an OpenAI-compatible server,
//! [`Fallback`] is two of them, [`Cached`] remembers; [`ScriptedTranscriber`] is for tests. Not here: what an utterance
//! is or when it ends; the caller brings audio already cut.

mod cached;
mod engine;
mod fallback;
mod guard;
mod languages;
mod openai;
mod pieces;
mod pool;
mod queue;
mod scripted;
mod started;
pub mod wer;
mod whisper;
mod word_times;
mod words;

pub use self::{
    cached::{Cached, TranscriptCache},
    fallback::{Fallback, FallbackConfig},
    languages::language_name,
    openai::{OpenAiSpeechConfig, OpenAiTranscriber, UploadFormat},
    pool::{InferencePool, LoadError, PoolConfig, Precision},
    scripted::ScriptedTranscriber,
};
pub use crate::provider::ProviderConfigError;

use std::sync::Arc;

use futures_util::stream::BoxStream;

/// Which work goes first when workers are scarce: `Final` > `Speculative` > `Interim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Text to show while speech goes on; only the newest request of one `stream` is worth running.
    Interim,
    /// A guess that the turn has ended.
    Speculative,
    /// The turn has ended; somebody waits.
    Final,
}

/// One stretch of speech to be written down.
#[derive(Clone, Debug)]
pub struct TranscribeRequest {
    /// Mono f32 in [-1, 1] at 16 kHz.
    pub audio: Arc<[f32]>,
    /// ISO 639-1 code, or `None` to let the model tell.
    pub language: Option<String>,
    /// Names and terms likely to be said.
    pub vocabulary: Arc<[String]>,
    /// Words already settled at the start of `audio`, times relative to it: the text begins with them, word for word;
    /// back-ends that can decode only what follows.
    pub settled: Arc<[Word]>,
    /// What was said just before `audio` in the same turn; for continuity, not part of the text. May be empty.
    pub before: Arc<str>,
    /// Scheduling class.
    pub priority: Priority,
    /// Identifies the source of the audio, for fairness and latest-wins among interim requests. Any stable number.
    pub stream: u64,
    /// Whether the text may be kept for, and taken from, a request with the same audio; see [`Cached`].
    pub cache: bool,
}

/// What a [`Transcriber`] reports.
#[derive(Clone, Debug, PartialEq)]
pub enum TranscriptEvent {
    /// Something was degraded (retry at full context, fall-back to another model) with what it means for the user.
    Warning {
        /// Stable, machine-readable.
        code: &'static str,
        /// For a person; holds no transcript text.
        message: String,
    },
    /// The whole text; always the last event of a successful stream.
    Final(Transcript),
}

/// The words of one request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Transcript {
    /// Trimmed text; empty when there was no speech to write down.
    pub text: String,
    /// ISO 639-1 code of the language the text is in.
    pub language: String,
    /// 0–1: geometric mean of the words' confidence; 0 for an empty text.
    pub confidence: f32,
    /// The words of `text`, in order.
    pub words: Vec<Word>,
}

/// One word and where it was said, relative to the start of the request's audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    /// As written in the text, punctuation included, without surrounding space.
    pub text: String,
    /// Milliseconds from the first sample of the request; see the back-end for how exact.
    pub start_ms: u32,
    /// Milliseconds from the first sample of the request; never before `start_ms`.
    pub end_ms: u32,
    /// 0–1, from the probabilities of its tokens.
    pub confidence: f32,
}

/// Why a request gave no transcript.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscribeError {
    /// All slots are taken. Try again after other work is done, or refuse new sessions.
    #[error("speech recognition is overloaded: {waiting} requests wait for {workers} workers")]
    Overloaded {
        /// Requests waiting.
        waiting: usize,
        /// Workers there are.
        workers: usize,
    },
    /// A newer or more urgent request took the place of this interim one. Nothing to do.
    #[error("superseded by a newer or more urgent request")]
    Superseded,
    /// This transcriber does not take such requests, or no more of them for now; says why. Ask
    /// [`Transcriber::serves`] first.
    #[error("not served: {0}")]
    NotServed(&'static str),
    /// The back-end failed. The audio is unharmed: the request may be sent again.
    #[error("speech recognition failed: {0}")]
    Failed(String),
}

/// Writes speech down.
pub trait Transcriber: Send + Sync {
    /// Whether a request of this class would be taken now. What is not is best left unasked: it ends with
    /// [`TranscribeError::NotServed`]. Finals always are. The answer may change with time; cheap.
    fn serves(&self, _priority: Priority) -> bool {
        true
    }

    /// Starts on `request` and reports as it goes; the stream ends after [`TranscriptEvent::Final`] or an error.
    ///
    /// The work is queued by the call itself, not by the first poll. Dropping the stream cancels it, queued or running.
    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>>;

    /// How many sessions this serves in time, half of each being speech; `None` where this process cannot tell.
    fn capacity(&self) -> Option<usize> {
        None
    }

    /// The guess was right: the speculative request of `stream`, queued or running, is served as a final one from now on.
    fn confirm(&self, _stream: u64) {}
}

impl<T: Transcriber + ?Sized> Transcriber for Arc<T> {
    fn serves(&self, priority: Priority) -> bool {
        (**self).serves(priority)
    }

    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        (**self).transcribe(request)
    }

    fn capacity(&self) -> Option<usize> {
        (**self).capacity()
    }

    fn confirm(&self, stream: u64) {
        (**self).confirm(stream);
    }
}
