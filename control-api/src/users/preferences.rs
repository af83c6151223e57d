//! What one prefers: read, and changed in part.
//!
//! Not here: what a preference does.

use axum::{Json, extract::State};

use super::{Preferences, User, patch::MergePatch};
use crate::{ApiState, Problem, auth::CurrentUser};

/// What I prefer.
#[utoipa::path(
    get,
    path = "/api/v1/users/me/preferences",
    tag = "users",
    security(("bearer" = [])),
    responses((status = 200, description = "All preferences", body = Preferences))
)]
pub(super) async fn read(current: CurrentUser) -> Json<Preferences> {
    Json(current.user.record.preferences)
}

/// Change some of what I prefer: JSON merge patch (RFC 7396). Null brings the default back; unknown members are refused.
#[utoipa::path(
    patch,
    path = "/api/v1/users/me/preferences",
    tag = "users",
    security(("bearer" = [])),
    request_body = Preferences,
    responses(
        (status = 200, description = "All preferences as they are now", body = Preferences),
        (status = 409, description = "They were changed meanwhile, too often"),
    )
)]
pub(super) async fn change(
    State(state): State<ApiState>,
    current: CurrentUser,
    patch: MergePatch,
) -> Result<Json<Preferences>, Problem> {
    let users = state.records::<User>();
    let changed = users.update(current.id(), |user| {
        user.preferences = patch.onto(&user.preferences, &[])?;
        Ok::<_, Problem>(())
    });
    Ok(Json(changed.await?.record.preferences))
}
