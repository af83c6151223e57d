//! Leaving: the account is closed at once, and a job erases all that is kept of the user.
//!
//! What is a user's is found without knowing the features: every collection with an index that begins with `user_id`, blobs
//! under `users/{id}`, cache keys that begin with `user:{id}:`. The user record goes last, so that a job that was stopped begins anew.
//! Not here: deleting single things.

use std::time::Duration;

use axum::{extract::State, http::StatusCode};
use garde::Validate;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CurrentUser, form, recover, register::Registration, revoke_all};
use crate::{
    ApiState, Problem, ProblemBody, SCHEMAS,
    blobs::BlobPrefix,
    body::Valid,
    jobs::{Handlers, Job, JobFailure, JobsError, NewJob},
    storage::{Filter, Query, Record as _, Schema},
    time::now_ms,
    users::{Cv, User},
};

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteRequest {
    /// The account's password. An account without one is deleted within 10 minutes after a login.
    #[garde(inner(custom(form::known_password)))]
    #[schema(value_type = Option<String>, format = "password", min_length = 1, max_length = 128)]
    password: Option<SecretString>,
}

/// Deletes the account: at once for everybody, and within minutes everything that is kept of the user.
#[utoipa::path(
    delete,
    path = "/api/v1/users/me",
    tag = "auth",
    request_body = DeleteRequest,
    responses(
        (status = 204, description = "The account is closed, and is being erased"),
        (status = 403, description = "The password is wrong or missing, or the login is not recent", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn delete_account(
    State(state): State<ApiState>,
    current: CurrentUser,
    Valid(request): Valid<DeleteRequest>,
) -> Result<StatusCode, Problem> {
    let forbidden = |detail| Err(Problem::new(StatusCode::FORBIDDEN, detail));
    match (request.password, &current.user.password_hash) {
        (Some(password), Some(_)) => recover::prove(&state, &current.user, password).await?,
        (None, Some(_)) => return forbidden("send the account's password"),
        (_, None) if now_ms() - current.login.created_at < RECENT_MS => {}
        (_, None) => return forbidden("log in again, and delete the account within 10 minutes"),
    }
    // Queued first: a stop after the next line must not leave everything where it is.
    queue(&state, current.id(), FIRST).await?;
    queue(&state, current.id(), SECOND).await?;
    let close = |user: &mut User| {
        user.deleted_at.get_or_insert(now_ms());
        Ok::<_, Problem>(())
    };
    state.records::<User>().update(current.id(), close).await?;
    revoke_all(&state, current.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Queues the erasing of every account that was closed and is still there, for the start of the program: a queue may be lost.
///
/// # Errors
/// 503: do it again.
pub async fn resume_erasures(state: &ApiState) -> Result<(), Problem> {
    let closed = Query::new(Filter::all().within("deleted_at", ..=now_ms())).order("deleted_at");
    let mut cursor = None;
    loop {
        let page = state.records::<User>().find(&closed.clone().after(cursor)).await?;
        for user in page.records {
            queue(state, &user.id, FIRST).await?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Order {
    user_id: String,
}

async fn queue(state: &ApiState, user_id: &str, after: Duration) -> Result<(), JobsError> {
    let order = Order { user_id: user_id.to_owned() };
    // Each is done: a first one may have come too early.
    let key = Uuid::now_v7().to_string();
    state.jobs.enqueue(NewJob::new(KIND, key, order)?.after(after)).await?;
    Ok(())
}

/// These, and the one that erases.
pub(super) fn job_handlers(handlers: Handlers, state: &ApiState) -> Handlers {
    let state = state.clone();
    handlers.on(KIND, move |job: Job| {
        let state = state.clone();
        async move {
            let order: Order = serde_json::from_value(job.payload)
                .map_err(|_| JobFailure::Fatal("it was queued by another version".to_owned()))?;
            erase(&state, &order.user_id).await
        }
    })
}

/// Erases a closed account, as often as one likes.
async fn erase(state: &ApiState, user_id: &str) -> Result<(), JobFailure> {
    let user = state.records::<User>().get(user_id).await.map_err(later)?;
    if user.is_some_and(|user| user.deleted_at.is_none()) {
        return Err(JobFailure::Retry("the account is not closed (yet)".to_owned()));
    }
    for schema in SCHEMAS.iter().copied().filter(|schema| is_of_users(schema)) {
        state.store.delete_many(schema, &Filter::all().eq("user_id", user_id)).await.map_err(later)?;
    }
    state.records::<Cv>().delete(user_id).await.map_err(later)?;
    let blobs = BlobPrefix::new(format!("users/{user_id}")).map_err(later)?;
    state.blobs.delete_prefix(&blobs).await.map_err(later)?;
    state.cache.delete_prefix(&format!("user:{user_id}:")).await.map_err(later)?;
    state.records::<Registration>().delete(user_id).await.map_err(later)?;
    state.records::<User>().delete(user_id).await.map_err(later)?;
    // What was deleted leaves the files of SQLite too.
    state.store.sweep(now_ms()).await.map_err(later)?;
    Ok(())
}

/// Whether what it keeps is found by whose it is.
fn is_of_users(schema: &Schema) -> bool {
    schema.collection != User::COLLECTION && schema.indexes.iter().any(|index| index.fields[0] == "user_id")
}

#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
fn later(error: impl std::error::Error) -> JobFailure {
    JobFailure::Retry(error.to_string())
}

const KIND: &str = "erase_account";
/// When the account is closed for sure, if all goes well; the job comes again if not.
const FIRST: Duration = Duration::from_secs(1);
/// When whatever was under way has ended, and has been written: live sessions are closed within 5 s, then their writes.
const SECOND: Duration = Duration::from_secs(15 * 60);
/// How long a login proves that it is the user, where there is no password.
const RECENT_MS: i64 = 10 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collection_is_erased_or_is_known_to_hold_nothing_of_a_user() {
        // The user, a registration and a CV, by their id. Jobs hold ids only, and forget them when they are done.
        let apart = ["users", "registrations", "cvs", "jobs"];
        for schema in SCHEMAS {
            let name = schema.collection;
            assert!(
                is_of_users(schema) != apart.contains(&name),
                "`{name}` keeps what is a user's: index it by user_id"
            );
        }
    }
}
