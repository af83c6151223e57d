//! Ending logins before their time, and telling everybody.
//!
//! The record is changed first: from then on no request and no refresh works. Then it is announced, for live sessions, which were
//! let in earlier. Not here: closing them (`bridge` in the root crate hears [`REVOKED_TOPIC`]).

use serde::{Deserialize, Serialize};

use super::Login;
use crate::{
    ApiState,
    storage::{Filter, MAX_PAGE, Query, StoreError},
    time::now_ms,
};

/// What is announced on [`REVOKED_TOPIC`], as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose logins ended.
    pub user_id: String,
    /// Which; none for all of them.
    pub login_id: Option<String>,
}

/// Whether this login is in force: for who was let in by one a while ago.
///
/// # Errors
/// Those of the store.
pub async fn login_is_live(state: &ApiState, login_id: &str) -> Result<bool, StoreError> {
    let login = state.records::<Login>().get(login_id).await?;
    Ok(login.is_some_and(|login| login.is_live(now_ms())))
}

/// Ends a login, if it is in force. That it could not be announced is logged: who hears the topic is told that something may
/// have been missed, and asks [`login_is_live`].
///
/// # Errors
/// Those of the store; then it may be in force: do it again.
pub async fn revoke_login(state: &ApiState, login_id: &str) -> Result<(), StoreError> {
    if let Some(user_id) = end(state, login_id).await? {
        announce(state, Revocation { user_id, login_id: Some(login_id.to_owned()) }).await;
    }
    Ok(())
}

/// Ends every login of a user; otherwise as [`revoke_login`].
///
/// # Errors
/// Those of the store; then some may be in force: do it again.
pub async fn revoke_all(state: &ApiState, user_id: &str) -> Result<(), StoreError> {
    for login in logins_in_force(state, user_id).await? {
        end(state, &login).await?;
    }
    announce(state, Revocation { user_id: user_id.to_owned(), login_id: None }).await;
    Ok(())
}

/// Ends every login of a user but one.
pub(super) async fn revoke_others(state: &ApiState, user_id: &str, kept: &str) -> Result<(), StoreError> {
    for login in logins_in_force(state, user_id).await? {
        if login != kept {
            revoke_login(state, &login).await?;
        }
    }
    Ok(())
}

/// Whose it was, if it was in force.
async fn end(state: &ApiState, login_id: &str) -> Result<Option<String>, StoreError> {
    let now = now_ms();
    let mut ended = false;
    let close = |login: &mut Login| {
        ended = login.is_live(now);
        login.revoked_at.get_or_insert(now);
        Ok::<_, StoreError>(())
    };
    match state.records::<Login>().update(login_id, close).await {
        Ok(login) => Ok(ended.then_some(login.record.user_id)),
        // It ran out.
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn logins_in_force(state: &ApiState, user_id: &str) -> Result<Vec<String>, StoreError> {
    let filter = Filter::all().eq("user_id", user_id).without("revoked_at");
    let query = Query::new(filter).order("created_at").limit(MAX_PAGE);
    let mut ids = Vec::new();
    let mut cursor = None;
    loop {
        let page = state.records::<Login>().find(&query.clone().after(cursor)).await?;
        ids.extend(page.records.into_iter().map(|login| login.record.id));
        cursor = page.next;
        if cursor.is_none() {
            return Ok(ids);
        }
    }
}

async fn announce(state: &ApiState, revocation: Revocation) {
    let message = serde_json::to_vec(&revocation).expect("two texts are JSON");
    if let Err(error) = state.cache.publish(REVOKED_TOPIC, message.into()).await {
        tracing::warn!(%error, "an ended login could not be announced");
    }
}

/// Where the cache announces each [`Revocation`].
pub const REVOKED_TOPIC: &str = "revoked";
