//! A user's logins: shown, and ended.
//!
//! Not here: live interviews, which other texts call sessions too.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CurrentUser, Login, revoke_all, revoke_login};
use crate::{
    ApiState, Problem,
    storage::{Filter, Query},
    time::{now_ms, rfc3339},
};

/// Logs out: this login ends, its access token is refused at once.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    tag = "auth",
    responses((status = 204, description = "Logged out"), ),
    security(("bearer" = []))
)]
pub(super) async fn logout(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<StatusCode, Problem> {
    revoke_login(&state, &current.login.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Logs out everywhere: every login of the user ends.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout-all",
    tag = "auth",
    responses((status = 204, description = "Logged out everywhere"), ),
    security(("bearer" = []))
)]
pub(super) async fn logout_all(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<StatusCode, Problem> {
    revoke_all(&state, current.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Where a user is logged in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoginList {
    /// The newest first; the latest hundred.
    sessions: Vec<LoginView>,
}

/// A login, as shown to its user.
#[derive(Debug, Serialize, ToSchema)]
struct LoginView {
    id: String,
    /// RFC 3339.
    created_at: String,
    /// When it last asked for tokens, RFC 3339.
    last_used_at: String,
    /// What the client called itself.
    user_agent: Option<String>,
    /// Whether it is the one that asks.
    current: bool,
}

/// Lists where the user is logged in.
#[utoipa::path(
    get,
    path = "/api/v1/auth/sessions",
    tag = "auth",
    responses((status = 200, description = "The logins in force", body = LoginList), ),
    security(("bearer" = []))
)]
pub(super) async fn sessions(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<Json<LoginList>, Problem> {
    let filter =
        Filter::all().eq("user_id", current.id()).without("revoked_at").within("expires_at", now_ms()..);
    let query = Query::new(filter).order("created_at").descending().limit(SHOWN);
    let logins = state.records::<Login>().find(&query).await?.records;
    let view = |login: Login| LoginView {
        created_at: rfc3339(login.created_at),
        last_used_at: rfc3339(login.renewed_at),
        current: login.id == current.login.id,
        user_agent: login.user_agent,
        id: login.id,
    };
    Ok(Json(LoginList { sessions: logins.into_iter().map(|login| view(login.record)).collect() }))
}

/// Ends one login of the user.
#[utoipa::path(
    delete,
    path = "/api/v1/auth/sessions/{id}",
    tag = "auth",
    params(("id" = String, Path, description = "From the list")),
    responses(
        (status = 204, description = "It has ended"),
        (status = 400, description = "The id is no text", body = crate::ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "The user has no such login", body = crate::ProblemBody, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn end_session(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let none = || Problem::not_found("login");
    let id = uuid::Uuid::try_parse(&id).map_err(|_| none())?.to_string();
    let login = state.records::<Login>().get(&id).await?;
    login.filter(|login| login.user_id == current.id() && login.is_live(now_ms())).ok_or_else(none)?;
    revoke_login(&state, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

const SHOWN: usize = 100;
