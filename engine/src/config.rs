//! What a session may be told, checked and bounded: `config` of the protocol, resolved against defaults.
//!
//! Not here: reading files or the environment; the root crate does that.

use std::{sync::Arc, time::Duration};

use protocol::{AnswerLength, AnswerMode, ConfigUpdate, Variant};

use crate::endpointer::EndpointerConfig;

/// Bounds of every session, the server's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions at once; further ones are refused with 4503. Default 32.
    pub max_sessions: usize,
    /// Sessions at once of one user with an account; further ones are refused with 4429. Default 8.
    pub max_per_user: usize,
    /// Handshakes a minute from one address, as many at once; further ones are answered 429. 0 is no limit. Default 600.
    pub handshakes_per_minute: u32,
    /// Connections that have not finished their handshake; further ones are dropped unanswered. Default 1,024.
    pub max_handshakes: usize,
    /// Time from the open connection to `start_stream`. Default 10 s.
    pub start_timeout: Duration,
    /// Time without audio, marker or keep_alive after which the session is closed with 4408. Default 30 s.
    pub idle_timeout: Duration,
    /// Time without anything sent or heard after which the peer is asked whether it is there; as long again without an answer, and
    /// the connection is lost. Default 10 s.
    pub ping_every: Duration,
    /// Longest session, in audio time. Default 4 h.
    pub max_session: Duration,
    /// How long a client may leave its events unread before it is closed. Default 5 s.
    pub slow_client: Duration,
    /// How long a session whose connection was lost waits for its client to come back. Default 120 s.
    pub resume_within: Duration,
    /// How long open turns and answers may take to finish when the session ends early. Default 5 s.
    pub drain: Duration,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            max_sessions: 32,
            max_per_user: 8,
            handshakes_per_minute: 600,
            max_handshakes: 1_024,
            start_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            ping_every: Duration::from_secs(10),
            max_session: Duration::from_secs(4 * 3600),
            slow_client: Duration::from_secs(5),
            resume_within: Duration::from_secs(120),
            drain: Duration::from_secs(5),
        }
    }
}

/// What becomes of an answer whose provider breaks off in the middle. The text so far stands in either case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBreak {
    /// The client is told, and may ask again.
    Keep,
    /// A new answer is asked for, once; of several providers the next one's.
    #[default]
    AskNext,
}

/// Configuration of one session, every field resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionConfig {
    /// ISO 639-1 code; `None` is `auto`.
    pub language: Option<String>,
    /// Whether interim transcriptions are sent.
    pub interim_results: bool,
    /// When the server answers by itself.
    pub answer_mode: AnswerMode,
    /// Which variants, the preferred one first; 1 to 3, each once.
    pub variants: Vec<Variant>,
    /// Spoken length of an answer.
    pub length: AnswerLength,
    /// When turns begin and end.
    pub turns: EndpointerConfig,
    /// Whether to transcribe on a guess that the turn has ended.
    pub eager: bool,
    /// So many such guesses a minute of audio at most; 0 is none. Default 60.
    pub max_guesses_per_minute: u32,
    /// So many answers begun on such a guess a minute of audio at most, held back until the turn has ended; 0 is none.
    /// Default 20.
    pub max_speculative_requests_per_minute: u32,
    /// What becomes of an answer whose provider breaks off.
    pub on_break: OnBreak,
    /// What the model can read and write in one request, in tokens: a prompt takes what an answer leaves of it. Default 8,192.
    pub context_tokens: u32,
    /// Names and terms likely to be said.
    pub vocabulary: Arc<[String]>,
    /// Whether the session is kept in the user's history.
    pub save_history: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            language: Some("en".to_owned()),
            interim_results: true,
            answer_mode: AnswerMode::Auto,
            variants: vec![Variant::Balanced],
            length: AnswerLength::Medium,
            turns: EndpointerConfig::default(),
            eager: true,
            max_guesses_per_minute: 60,
            max_speculative_requests_per_minute: 20,
            on_break: OnBreak::AskNext,
            context_tokens: 8_192,
            vocabulary: Arc::from([]),
            save_history: true,
        }
    }
}

/// A field of `config` that cannot be accepted; nothing of the update is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not a language.
    #[error("config.language is {0:?}; send a two- or three-letter code such as \"en\", or \"auto\"")]
    Language(String),
    /// Silence out of range.
    #[error("config.turns.{field} is {value} ms; send {min} to {max}")]
    Silence {
        /// `min_silence_ms` or `max_silence_ms`.
        field: &'static str,
        /// What was sent.
        value: u32,
        /// Least accepted.
        min: u32,
        /// Most accepted.
        max: u32,
    },
    /// No variant, too many, or one twice.
    #[error("config.answers.variants must name one to three variants, each once")]
    Variants,
    /// Too many words.
    #[error("config.vocabulary has {0} entries; at most {MAX_VOCABULARY} are used")]
    VocabularySize(usize),
    /// A word too long.
    #[error("an entry of config.vocabulary has {0} bytes; at most {MAX_TERM_BYTES} are accepted")]
    VocabularyTerm(usize),
}

impl SessionConfig {
    /// When turns begin and end: with guesses, each pause comes to have words that can be asked.
    pub(crate) fn listening(&self) -> EndpointerConfig {
        EndpointerConfig { hints: self.eager, ..self.turns }
    }

    /// This configuration with `update` applied.
    ///
    /// # Errors
    /// Names the first field that cannot be accepted.
    pub fn updated(&self, update: ConfigUpdate) -> Result<Self, ConfigError> {
        let mut config = self.clone();
        if let Some(language) = update.language {
            config.language = parse_language(language)?;
        }
        config.interim_results = update.interim_results.unwrap_or(config.interim_results);
        config.save_history = update.save_history.unwrap_or(config.save_history);
        if let Some(answers) = update.answers {
            config.answer_mode = answers.mode.unwrap_or(config.answer_mode);
            config.length = answers.length.unwrap_or(config.length);
            if let Some(variants) = answers.variants {
                config.variants = check_variants(variants)?;
            }
        }
        if let Some(turns) = update.turns {
            config.eager = turns.eager.unwrap_or(config.eager);
            let min = turns.min_silence_ms.unwrap_or(config.turns.min_silence_ms);
            check_silence("min_silence_ms", min, MIN_SILENCE_MS, MAX_SILENCE_MS)?;
            // Raising the minimum alone raises the maximum with it.
            let max = turns.max_silence_ms.unwrap_or(config.turns.max_silence_ms.max(min));
            check_silence("max_silence_ms", max, min, MAX_SILENCE_MS)?;
            config.turns.min_silence_ms = min;
            config.turns.max_silence_ms = max;
            config.turns.pause_ms = EndpointerConfig::default().pause_ms.min(min / 2);
        }
        if let Some(vocabulary) = update.vocabulary {
            config.vocabulary = check_vocabulary(vocabulary)?;
        }
        Ok(config)
    }
}

fn parse_language(language: String) -> Result<Option<String>, ConfigError> {
    if language == "auto" {
        return Ok(None);
    }
    let is_code = matches!(language.len(), 2 | 3) && language.bytes().all(|b| b.is_ascii_lowercase());
    if is_code { Ok(Some(language)) } else { Err(ConfigError::Language(truncated(language))) }
}

fn check_variants(variants: Vec<Variant>) -> Result<Vec<Variant>, ConfigError> {
    let repeated = variants.iter().enumerate().any(|(i, v)| variants[..i].contains(v));
    if variants.is_empty() || repeated { Err(ConfigError::Variants) } else { Ok(variants) }
}

fn check_silence(field: &'static str, value: u32, min: u32, max: u32) -> Result<(), ConfigError> {
    if (min..=max).contains(&value) { Ok(()) } else { Err(ConfigError::Silence { field, value, min, max }) }
}

fn check_vocabulary(vocabulary: Vec<String>) -> Result<Arc<[String]>, ConfigError> {
    if vocabulary.len() > MAX_VOCABULARY {
        return Err(ConfigError::VocabularySize(vocabulary.len()));
    }
    match vocabulary.iter().find(|term| term.len() > MAX_TERM_BYTES) {
        Some(term) => Err(ConfigError::VocabularyTerm(term.len())),
        None => Ok(vocabulary.into()),
    }
}

fn truncated(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(16));
    text
}

const MIN_SILENCE_MS: u32 = 100;
const MAX_SILENCE_MS: u32 = 10_000;
const MAX_VOCABULARY: usize = 200;
const MAX_TERM_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates() {
        let check = |json: &str, expected: Result<fn(&mut SessionConfig), ConfigError>| {
            let update = serde_json::from_str(json).unwrap();
            let expected = expected.map(|change| {
                let mut config = SessionConfig::default();
                change(&mut config);
                config
            });
            assert_eq!(SessionConfig::default().updated(update), expected, "{json}");
        };
        check("{}", Ok(|_| {}));
        check(r#"{"language":"auto"}"#, Ok(|c| c.language = None));
        check(r#"{"language":"English"}"#, Err(ConfigError::Language("English".into())));
        check(r#"{"answers":{"mode":"manual"}}"#, Ok(|c| c.answer_mode = AnswerMode::Manual));
        check(r#"{"answers":{"variants":[]}}"#, Err(ConfigError::Variants));
        check(r#"{"answers":{"variants":["simple","simple"]}}"#, Err(ConfigError::Variants));
        check(
            r#"{"turns":{"min_silence_ms":2000}}"#,
            Ok(|c| (c.turns.min_silence_ms, c.turns.max_silence_ms) = (2_000, 2_000)),
        );
        check(
            r#"{"turns":{"max_silence_ms":200}}"#,
            Err(ConfigError::Silence { field: "max_silence_ms", value: 200, min: 250, max: 10_000 }),
        );
        check(&format!(r#"{{"vocabulary":["{}"]}}"#, "x".repeat(65)), Err(ConfigError::VocabularyTerm(65)));
    }
}
