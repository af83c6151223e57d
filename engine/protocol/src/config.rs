//! The `config` object: every field optional, so that one type serves `start_stream` and `update_config`.

use serde::{Deserialize, Serialize};

/// Wishes of the client; what is absent keeps its value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigUpdate {
    /// ISO 639-1 code, or `auto`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Whether interim transcriptions are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interim_results: Option<bool>,
    /// When and how to answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<AnswersUpdate>,
    /// When a turn ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turns: Option<TurnsUpdate>,
    /// Names and terms likely to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vocabulary: Option<Vec<String>>,
    /// Whether the session is kept in the user's history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub save_history: Option<bool>,
}

/// When and how to answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswersUpdate {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<AnswerMode>,
    /// Which variants, the preferred one first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variants: Option<Vec<Variant>>,
    /// How long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<AnswerLength>,
}

/// When a turn ends.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TurnsUpdate {
    /// No turn ends after less silence than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_silence_ms: Option<u32>,
    /// Every turn ends after this much silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_silence_ms: Option<u32>,
    /// Whether to transcribe on a guess that the turn has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eager: Option<bool>,
}

/// When the server answers by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerMode {
    /// When the interviewer has asked something.
    #[default]
    Auto,
    /// On `answer_now` only.
    Manual,
    /// Never by itself, as `manual`; clients hide their answer panel.
    Off,
}

/// Tone of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Variant {
    /// Formal and precise.
    Professional,
    /// In between.
    #[default]
    Balanced,
    /// Plain words, short sentences.
    Simple,
}

/// Spoken length of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerLength {
    /// 30–60 seconds.
    Short,
    /// 1–2 minutes.
    #[default]
    Medium,
    /// 3–5 minutes.
    Long,
}
