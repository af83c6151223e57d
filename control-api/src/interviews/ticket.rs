//! Stream tickets: what a browser, which cannot set headers on a WebSocket, shows at the handshake instead of a token.
//!
//! A ticket works once, for a minute, and opens one session of one interview. Only its hash is kept, in the cache. Not here:
//! the handshake (`engine`), who may do what in it (`bridge`).

use std::time::Duration;

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use super::own;
use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    cache::{Cache, CacheError},
    problem::internal,
};

/// What a ticket stood for. Whether the login is still in force is for the caller to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redeemed {
    /// Whose session it opens.
    pub user_id: String,
    /// By which login it was fetched.
    pub login_id: String,
    /// Of which interview.
    pub interview_id: String,
    /// The session's name: UUID v4, chosen here.
    pub session_id: String,
}

/// Uses up `ticket`: of many at once, one gets what it stands for. None for a text that is no ticket, or not any more.
///
/// Dropped before it ends, the ticket may be used up.
///
/// # Errors
/// [`CacheError::Unavailable`] when the cache does not answer; the ticket may be used up, so fetch another.
pub async fn redeem(cache: &dyn Cache, ticket: &str) -> Result<Option<Redeemed>, CacheError> {
    if ticket.len() != TICKET_CHARS {
        return Ok(None);
    }
    let kept = cache.take(&key(ticket)).await?;
    // Nothing else writes under this key, and an older program's ticket lives for a minute.
    Ok(kept.and_then(|kept| serde_json::from_slice(&kept).ok()))
}

/// A ticket.
#[derive(Serialize, ToSchema)]
pub(super) struct Ticket {
    /// Put it into the address of the WebSocket: `?ticket=`. Works once.
    ticket: String,
    /// For how many seconds it works.
    #[schema(example = 60)]
    expires_in: u64,
    /// The `session_id` of the session that it opens.
    session_id: String,
}

/// A ticket that opens one live session of this interview. Each call makes another one.
#[utoipa::path(
    post,
    path = "/api/v1/interviews/{id}/ticket",
    tag = "interviews",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The interview's id")),
    responses(
        (status = 201, description = "A ticket", body = Ticket),
    )
)]
pub(super) async fn issue(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
) -> Result<(StatusCode, Json<Ticket>), Problem> {
    let interview = own(&state, &current, &id).await?.record;
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| internal(&error))?;
    let ticket = URL_SAFE_NO_PAD.encode(random);
    let bound = Redeemed {
        user_id: interview.user_id,
        login_id: current.login.record.id,
        interview_id: interview.id,
        session_id: Uuid::new_v4().to_string(),
    };
    let kept = serde_json::to_vec(&bound).expect("it has text keys only");
    state.cache.set(&key(&ticket), kept.into(), LIFETIME).await?;
    let answer = Ticket { ticket, expires_in: LIFETIME.as_secs(), session_id: bound.session_id };
    Ok((StatusCode::CREATED, Json(answer)))
}

fn key(ticket: &str) -> String {
    format!("ticket:{}", URL_SAFE_NO_PAD.encode(Sha256::digest(ticket)))
}

/// From the answer to the handshake; a page that was asleep fetches another.
const LIFETIME: Duration = Duration::from_secs(60);
/// 256 bits in base64url.
const TICKET_CHARS: usize = 43;
