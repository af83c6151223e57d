//! Interviews that a user plans or holds, and the tickets that open their live sessions.
//!
//! Not here: the live session itself (`engine`), what was said in it (`history`).

use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;

use crate::{
    ApiState,
    storage::{Index, Record},
};

/// An interview, as kept. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interview {
    /// UUID v7.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// What the user calls it.
    pub title: String,
    /// With whom; may be empty.
    pub company: String,
    /// For what; may be empty.
    pub position: String,
    /// The job description as plain text; may be empty.
    pub job_description: String,
    /// When it was made.
    pub created_at: i64,
}

impl Record for Interview {
    const COLLECTION: &'static str = "interviews";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id", "created_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Interview {
    /// Without what it is about.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interview").field("id", &self.id).finish_non_exhaustive()
    }
}

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
}
