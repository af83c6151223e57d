//! Links in mails: tokens that work once, for one purpose, for a while.
//!
//! Not here: what they allow, the mails.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use super::secret;
use crate::{
    ApiState, Problem,
    storage::{Index, Record, StoreError},
    time::now_ms,
};

/// A token that somebody was mailed, as kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OneTimeToken {
    /// SHA-256 of the token, in base64url.
    pub id: String,
    /// What it is good for.
    pub purpose: Purpose,
    /// Whose account.
    pub user_id: String,
    /// What must still be so when it is used, such as the password that it resets; as a hash.
    pub stamp: String,
    /// Until when it works, in unix ms; the record vanishes then.
    pub expires_at: i64,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Proves that an address is read by who registered with it. 24 h.
    VerifyEmail,
    /// Sets a new password. 1 h.
    ResetPassword,
}

impl Purpose {
    /// For how long a token works, in ms.
    pub(super) fn lifetime_ms(self) -> i64 {
        match self {
            Self::VerifyEmail => 24 * 60 * 60 * 1_000,
            Self::ResetPassword => 60 * 60 * 1_000,
        }
    }
}

impl Record for OneTimeToken {
    const COLLECTION: &'static str = "one_time_tokens";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id"]), Index::expiry(&["expires_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for OneTimeToken {
    /// Without its hashes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OneTimeToken").field("purpose", &self.purpose).finish_non_exhaustive()
    }
}

/// A new token, to be mailed.
pub(super) async fn issue(
    state: &ApiState,
    purpose: Purpose,
    user_id: &str,
    stamp: String,
) -> Result<String, StoreError> {
    let token = secret::fresh();
    let kept = OneTimeToken {
        id: secret::hash(&token),
        purpose,
        user_id: user_id.to_owned(),
        stamp,
        expires_at: now_ms() + purpose.lifetime_ms(),
    };
    state.records().insert(&kept).await?;
    Ok(token)
}

/// Uses `token` up. Of many at once, one gets it; the others, and whoever shows anything else, are told the same.
pub(super) async fn redeem(state: &ApiState, purpose: Purpose, token: &str) -> Result<OneTimeToken, Problem> {
    if token.len() != secret::CHARS {
        return Err(spent());
    }
    let tokens = state.records::<OneTimeToken>();
    let kept = tokens.get(&secret::hash(token)).await?;
    let kept = kept.filter(|kept| kept.purpose == purpose && now_ms() < kept.expires_at).ok_or_else(spent)?;
    if tokens.delete_unchanged(&kept).await? { Ok(kept.record) } else { Err(spent()) }
}

pub(super) fn spent() -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "this link does not work, or not any more: it works once and for a while; ask for a new mail",
    )
}
