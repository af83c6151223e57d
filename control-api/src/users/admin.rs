//! What who runs the service does with users: finds them, changes their plan and role.
//!
//! Not here: anything of what they said or wrote.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use garde::Validate;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{CHANGED_TOPIC, Plan, User, profile::Profile};
use crate::{
    ApiState, Problem,
    auth::Admin,
    body::{Valid, ValidQuery},
    storage::Filter,
};

/// Whom to find.
#[derive(Deserialize, IntoParams, Validate)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// The whole address; capitals do not matter.
    #[garde(length(min = 3, max = 254), custom(printable))]
    #[param(min_length = 3, max_length = 254)]
    email: String,
}

/// The store is not asked for what no address can be.
fn printable(email: &str, (): &()) -> garde::Result {
    if email.chars().any(char::is_control) {
        return Err(garde::Error::new("an address has no control characters"));
    }
    Ok(())
}

/// Whom was found.
#[derive(Serialize, ToSchema)]
pub(super) struct FoundUsers {
    /// One or none.
    users: Vec<Profile>,
}

/// What to change. What is left out stays.
#[derive(Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct UserChange {
    /// What they pay for.
    #[garde(skip)]
    plan: Option<Plan>,
    /// Whether they run the service. Not to be taken from oneself.
    #[garde(skip)]
    admin: Option<bool>,
}

/// Find a user by their address.
#[utoipa::path(
    get,
    path = "/api/v1/admin/users",
    tag = "admin",
    security(("bearer" = [])),
    params(Wanted),
    responses((status = 200, description = "One or none", body = FoundUsers))
)]
pub(super) async fn find(
    State(state): State<ApiState>,
    _: Admin,
    ValidQuery(wanted): ValidQuery<Wanted>,
) -> Result<Json<FoundUsers>, Problem> {
    let filter = Filter::all().eq("email", wanted.email.trim().to_lowercase()).without("deleted_at");
    let found = state.records::<User>().find_one(filter).await?;
    Ok(Json(FoundUsers { users: found.iter().map(|user| Profile::from(&**user)).collect() }))
}

/// Change a user's plan or role. Their live sessions hear of it.
#[utoipa::path(
    patch,
    path = "/api/v1/admin/users/{id}",
    tag = "admin",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "The user's id")),
    request_body = UserChange,
    responses(
        (status = 200, description = "The user as they are now", body = Profile),
        (status = 409, description = "It is your own role, or the user was changed meanwhile"),
    )
)]
pub(super) async fn change(
    State(state): State<ApiState>,
    Admin(current): Admin,
    Path(id): Path<String>,
    Valid(change): Valid<UserChange>,
) -> Result<Json<Profile>, Problem> {
    let id = Uuid::parse_str(&id).map_err(|_| Problem::not_found("user"))?.to_string();
    if change.admin == Some(false) && id == current.id() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "you cannot take the role of an admin from yourself; another admin can",
        ));
    }
    let user = state.records::<User>().get(&id).await?.filter(|user| user.deleted_at.is_none());
    user.ok_or_else(|| Problem::not_found("user"))?;
    let users = state.records::<User>();
    let changed = users.update(&id, |user| {
        user.plan = change.plan.unwrap_or(user.plan);
        user.admin = change.admin.unwrap_or(user.admin);
        Ok::<_, Problem>(())
    });
    let user = changed.await?;
    let message = json!({"user_id": user.id}).to_string();
    // It is changed, whether others hear of it now or when they next ask the store.
    if let Err(error) = state.cache.publish(CHANGED_TOPIC, message.into()).await {
        tracing::warn!(%error, "live sessions do not hear of a user's change");
    }
    Ok(Json(Profile::from(&*user)))
}
