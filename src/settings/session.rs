//! `[sessions]`, `[session]`, `[turns]`, and the door's bounds of `[audio]`: bounds of every session, and what one is like unless its client says otherwise.
//!
//! Not here: the checks of a session's configuration (`engine::config`).

use engine::config::{SessionConfig, SessionLimits};
use protocol::{AnswerLength, AnswerMode, AnswersUpdate, ConfigUpdate, TurnsUpdate, Variant};

use super::Reader;

/// A voice-activity detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Detector {
    /// The small neural detector of the crate `earshot`.
    Earshot,
    /// The Gaussian-mixture detector of WebRTC.
    Webrtc,
}

impl Reader {
    pub(super) fn limits(&mut self) -> SessionLimits {
        let default = SessionLimits::default();
        let limits = SessionLimits {
            max_sessions: self.get("sessions.max", default.max_sessions),
            max_per_user: self.get("sessions.max_per_user", default.max_per_user),
            handshakes_per_minute: self.get("audio.handshakes_per_minute", default.handshakes_per_minute),
            max_handshakes: self.get("audio.max_handshakes", default.max_handshakes),
            start_timeout: self.seconds("sessions.start_timeout_s", default.start_timeout),
            idle_timeout: self.seconds("sessions.idle_timeout_s", default.idle_timeout),
            ping_every: self.seconds("sessions.ping_every_s", default.ping_every),
            max_session: self.seconds("sessions.max_length_s", default.max_session),
            slow_client: self.seconds("sessions.slow_client_s", default.slow_client),
            resume_within: self.seconds("sessions.resume_within_s", default.resume_within),
            drain: self.seconds("sessions.drain_s", default.drain),
        };
        if !(1..=100_000).contains(&limits.max_sessions) {
            self.problem("sessions.max: use 1 to 100000");
        }
        if !(1..=100_000).contains(&limits.max_per_user) {
            self.problem("sessions.max_per_user: use 1 to 100000");
        }
        if !(1..=100_000).contains(&limits.max_handshakes) {
            self.problem("audio.max_handshakes: use 1 to 100000");
        }
        limits
    }

    /// The defaults of sessions, through the same checks as a client's wishes.
    pub(super) fn session(&mut self) -> Option<SessionConfig> {
        let update = ConfigUpdate {
            language: self.optional("session.language"),
            interim_results: self.optional("session.interim_results"),
            answers: Some(AnswersUpdate {
                mode: self.optional::<AnswerMode>("answers.mode"),
                variants: self.optional::<Vec<Variant>>("answers.variants"),
                length: self.optional::<AnswerLength>("answers.length"),
            }),
            turns: Some(TurnsUpdate {
                min_silence_ms: self.optional("turns.min_silence_ms"),
                max_silence_ms: self.optional("turns.max_silence_ms"),
                eager: self.optional("turns.eager"),
            }),
            vocabulary: self.optional("session.vocabulary"),
            save_history: self.optional("session.save_history"),
        };
        let default = SessionConfig::default();
        let max_guesses_per_minute = self.get("turns.max_guesses_per_minute", default.max_guesses_per_minute);
        if max_guesses_per_minute > MAX_GUESSES {
            self.problem(format!("turns.max_guesses_per_minute: use 0 to {MAX_GUESSES}"));
        }
        let (on_break, max_speculative_requests_per_minute, context_tokens) = self.answering_sessions();
        let config = SessionConfig {
            max_guesses_per_minute,
            max_speculative_requests_per_minute,
            on_break,
            context_tokens,
            ..default
        };
        config.updated(update).map_err(|error| self.problem(error.to_string())).ok()
    }
}

/// Ten a second: more than there are pauses in speech.
const MAX_GUESSES: u32 = 600;
