//! `Idempotency-Key`: a creating request that is sent twice is done once.
//!
//! Not here: the requests.

use serde::{Deserialize, Serialize};

use crate::storage::{Index, Record};

/// A request that carried a key, and its answer, as kept for a day.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Hash of user, method, path and key.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// When it is forgotten, unix ms.
    pub expires_at: i64,
}

impl Record for Remembered {
    const COLLECTION: &'static str = "idempotency";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id"]), Index::expiry(&["expires_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}
