//! A login: one device that entered an account, and the family of its refresh tokens.
//!
//! Not here: the routes that make, renew and end it.

use serde::{Deserialize, Serialize};

use crate::storage::{Index, Record};

/// A login, as kept. Times are unix ms. Tokens are kept as hashes: SHA-256 in base64url, as they are 256 random bits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Login {
    /// UUID v7: the `sid` of access tokens.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Hash of the refresh token that works.
    pub token_hash: String,
    /// Hash of the one before it, for an answer that was lost on the way.
    pub previous_hash: Option<String>,
    /// What the working token was made of, together with the one before it: who lost the answer is given the same one again.
    pub seed: Option<String>,
    /// When the token was last renewed.
    pub renewed_at: i64,
    /// What the client calls itself: the head of its `User-Agent`.
    pub user_agent: Option<String>,
    /// When somebody logged in.
    pub created_at: i64,
    /// Until when the refresh token works; the record vanishes then.
    pub expires_at: i64,
    /// When it was ended before its time.
    pub revoked_at: Option<i64>,
}

impl Login {
    /// Whether it is in force.
    pub fn is_live(&self, now_ms: i64) -> bool {
        self.revoked_at.is_none() && now_ms < self.expires_at
    }
}

impl Record for Login {
    const COLLECTION: &'static str = "logins";
    const INDEXES: &'static [Index] =
        &[Index::on("of_user", &["user_id", "created_at"]), Index::expiry(&["expires_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Login {
    /// Without its hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("id", &self.id).finish_non_exhaustive()
    }
}
