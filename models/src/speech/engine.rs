//! What a worker of the pool runs: a recogniser that blocks its thread.
//!
//! Small on purpose, so that scheduling is tested without weights. Not public: other back-ends implement `Transcriber`.

use std::{sync::atomic::AtomicBool, time::Duration};

use super::{TranscribeRequest, Transcript, TranscriptEvent};

/// A blocking recogniser, used by one thread.
pub(super) trait Engine: Send {
    /// Does what the first request should not wait for. Called once, on the thread that will use the engine. Returns what
    /// five seconds of speech cost it, when that can be told.
    fn warm_up(&mut self) -> Option<Duration> {
        None
    }

    /// Writes `request` down. Returns [`EngineError::Aborted`] soon after `abort` becomes true.
    fn recognise(
        &mut self,
        request: &TranscribeRequest,
        abort: &AtomicBool,
    ) -> Result<Recognition, EngineError>;
}

/// A finished request.
#[derive(Debug, Default)]
pub(super) struct Recognition {
    /// [`TranscriptEvent::Warning`]s, to be reported before the transcript.
    pub(super) warnings: Vec<TranscriptEvent>,
    /// What was said.
    pub(super) transcript: Transcript,
}

/// Why a request was not finished.
#[derive(Debug)]
pub(super) enum EngineError {
    /// The flag was seen.
    Aborted,
    /// The back-end failed; the text holds nothing that was said.
    Failed(String),
}
