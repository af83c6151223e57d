//! What was said: sessions, their turns and answers; listed, searched, exported, deleted.
//!
//! Not here: the live session (`engine`), who writes this (`bridge` in the root crate).

use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    ApiState,
    storage::{Index, Record},
};

/// A session, as kept. Times are unix ms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// The protocol's `session_id`.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Of which interview, when it was opened with a ticket.
    pub interview_id: Option<String>,
    /// When its first event was kept.
    pub started_at: i64,
    /// When it ended; none while it lasts, or when its end was lost.
    pub ended_at: Option<i64>,
    /// How much audio there was, in ms.
    pub audio_ms: i64,
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
    /// In which session.
    pub session_id: String,
    /// Whose session.
    pub user_id: String,
    /// Its number in the session.
    pub turn: i64,
    /// Who spoke: `interviewer`, `candidate`, `mixed`.
    pub role: String,
    /// What was said.
    pub text: String,
    /// When it began, on the session's audio clock.
    pub start_ms: i64,
    /// When it ended.
    pub end_ms: i64,
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
    /// In which session.
    pub session_id: String,
    /// Whose session.
    pub user_id: String,
    /// To which turn.
    pub turn: i64,
    /// The protocol's `answer`, as it was sent.
    pub answer: serde_json::Value,
}

impl Record for AnswerRecord {
    const COLLECTION: &'static str = "answers";
    const INDEXES: &'static [Index] =
        &[Index::on("of_session", &["session_id", "turn"]), Index::on("of_user", &["user_id", "session_id"])];

    fn id(&self) -> &str {
        &self.id
    }
}

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
}
