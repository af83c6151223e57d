//! What was said: sessions, their turns and answers; kept, listed, searched, exported, deleted.
//!
//! A session of another user answers as one that never was. What is deleted is marked first, then taken away piece by piece, so
//! a stop in between shows nothing of it, and who deletes again goes on. Not here: the live session (`engine`), who calls
//! [`SessionHistory`] (`bridge` in the root crate).

mod export;
mod folding;
mod reading;
mod search;
mod writing;

pub use writing::{Begin, HistoryError, KeptSession, SessionHistory, TurnText};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    ApiState, Problem,
    storage::{Filter, Index, Record, StoreError, Stored},
};

/// A session, as kept. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// UUID v7, chosen here: the protocol's `session_id` comes from clients, and two may choose the same.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// The protocol's `session_id`.
    pub session_id: String,
    /// Of which interview, when it was opened with a ticket.
    pub interview_id: Option<String>,
    /// What the interview was called then.
    pub interview_title: Option<String>,
    /// What was spoken: ISO 639-1, or `auto`.
    pub language: String,
    /// When its first event was kept.
    pub started_at: i64,
    /// When it ended; none while it lasts, or when its end was lost.
    pub ended_at: Option<i64>,
    /// Why it ended, as the protocol says it.
    pub end_reason: Option<String>,
    /// How much audio there was, in ms; 0 until it ended.
    pub audio_ms: i64,
    /// Bytes of text written so far: what was written twice counts twice.
    pub bytes: i64,
    /// It is being deleted, and shown to nobody.
    pub deleted: bool,
}

impl Record for SessionRecord {
    const COLLECTION: &'static str = "sessions";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id", "started_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

/// A turn, as kept: what somebody said until they were done.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// `{session}/{turn}`, in the order of turns.
    pub id: String,
    /// In which session: a [`SessionRecord::id`].
    pub session_id: String,
    /// Whose session.
    pub user_id: String,
    /// Its number in the session.
    pub turn: i64,
    /// Who spoke: `interviewer`, `candidate`, `mixed`.
    pub role: String,
    /// What was said.
    pub text: String,
    /// When it began, in ms on the session's audio clock.
    pub start_ms: i64,
    /// When it ended.
    pub end_ms: i64,
    /// 0 to 1, from token probabilities.
    pub confidence: f64,
    /// ISO 639-1.
    pub language: String,
}

impl Record for TurnRecord {
    const COLLECTION: &'static str = "turns";
    const INDEXES: &'static [Index] =
        &[Index::on("of_session", &["session_id", "turn"]), Index::on("of_user", &["user_id", "session_id"])];

    fn id(&self) -> &str {
        &self.id
    }
}

/// An answer, as kept.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// `{session}/{answer}`.
    pub id: String,
    /// In which session: a [`SessionRecord::id`].
    pub session_id: String,
    /// Whose session.
    pub user_id: String,
    /// To which turn.
    pub turn: i64,
    /// The answer.
    pub answer: KeptAnswer,
}

impl Record for AnswerRecord {
    const COLLECTION: &'static str = "answers";
    const INDEXES: &'static [Index] =
        &[Index::on("of_session", &["session_id", "turn"]), Index::on("of_user", &["user_id", "session_id"])];

    fn id(&self) -> &str {
        &self.id
    }
}

/// An answer: the protocol's `answer`, and what was asked.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct KeptAnswer {
    /// Which answer of the session.
    pub answer_id: u64,
    /// The turn that it answers; for a text of the client's own, the last one.
    pub turn: u64,
    /// What was asked; may be empty.
    pub question: String,
    /// Its tone: `professional`, `balanced`, `simple`.
    pub variant: String,
    /// All of it.
    pub content: String,
    /// The points it makes, in its own words.
    pub key_points: Vec<String>,
    /// 0 to 1, from the provider's log-probabilities; null when it reports none.
    pub confidence: Option<f64>,
    /// As the provider reports it.
    pub finish_reason: String,
    /// The model that answered.
    pub model: String,
    /// Whether it was remembered.
    pub cached: bool,
    /// The CV lines that it refers to.
    pub sources: Vec<KeptSource>,
    /// Where the time went.
    pub timings: KeptTimings,
}

/// A CV line that an answer refers to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptSource {
    /// From 1.
    pub cv_line: u32,
    /// The line.
    pub text: String,
}

/// The latency receipt, in ms: the first four add up to `total_to_first_token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptTimings {
    /// End of speech → turn decided.
    pub endpoint: u32,
    /// → final text.
    pub transcript: u32,
    /// → provider asked.
    pub request: u32,
    /// → first text of the answer.
    pub first_token: u32,
    /// → last text of the answer.
    pub last_token: u32,
    /// End of speech → first text of the answer.
    pub total_to_first_token: u32,
}

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(reading::list, reading::delete_all))
        .routes(routes!(search::search))
        .routes(routes!(reading::read, reading::delete))
        .routes(routes!(export::export))
}

/// The user's session with this id, also when it is being deleted.
async fn own(state: &ApiState, user_id: &str, id: &str) -> Result<Stored<SessionRecord>, Problem> {
    // Only what can be an id is asked of the store, which refuses other texts as a mistake of ours.
    if Uuid::try_parse(id).is_err() {
        return Err(missing());
    }
    let session = state.records::<SessionRecord>().get(id).await?;
    session.filter(|session| session.user_id == user_id).ok_or_else(missing)
}

fn missing() -> Problem {
    Problem::not_found("session in your history")
}

/// Takes away what the filter finds: the sessions are marked already.
async fn delete_texts(state: &ApiState, filter: &Filter) -> Result<(), StoreError> {
    state.records::<TurnRecord>().delete_many(filter).await?;
    state.records::<AnswerRecord>().delete_many(filter).await?;
    Ok(())
}

impl std::fmt::Debug for SessionRecord {
    /// Without what it is about.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TurnRecord {
    /// Without what was said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnRecord").field("id", &self.id).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for KeptAnswer {
    /// Without what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptAnswer").field("answer_id", &self.answer_id).finish_non_exhaustive()
    }
}
