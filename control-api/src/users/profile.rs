//! Who one is: read, and the names changed.
//!
//! Not here: the address and the password, which have to be proven (`auth`).

use axum::{Json, extract::State};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Plan, Role, User, patch::MergePatch};
use crate::{ApiState, Problem, auth::CurrentUser, time::rfc3339};

/// A user, as they and who runs the service see them.
#[derive(Serialize, ToSchema)]
pub(super) struct Profile {
    /// UUID v7.
    id: String,
    /// In lower case.
    email: String,
    /// Whether the address was proven to be theirs.
    email_verified: bool,
    /// What they are called.
    first_name: String,
    /// Family name; may be empty.
    last_name: String,
    /// What they pay for.
    plan: Plan,
    /// What they may do.
    role: Role,
    /// When the account was made, RFC 3339.
    #[schema(format = "date-time")]
    created_at: String,
}

impl From<&User> for Profile {
    fn from(user: &User) -> Self {
        Self {
            id: user.id.clone(),
            email: user.email.clone(),
            email_verified: user.email_verified,
            first_name: user.first_name.clone(),
            last_name: user.last_name.clone(),
            plan: user.plan,
            role: user.role(),
            created_at: rfc3339(user.created_at),
        }
    }
}

/// What of a profile its owner changes. What is left out stays.
#[derive(Serialize, Deserialize, ToSchema, Validate)]
#[serde(deny_unknown_fields)]
pub(super) struct Names {
    /// 1 to 100 characters.
    #[garde(length(chars, min = 1, max = 100), custom(printable))]
    #[schema(min_length = 1, max_length = 100, required = false)]
    first_name: String,
    /// At most 100 characters; null empties it.
    #[garde(length(chars, max = 100), custom(printable))]
    #[serde(default)]
    #[schema(max_length = 100)]
    last_name: String,
}

fn printable(name: &str, (): &()) -> garde::Result {
    if name.chars().any(char::is_control) || name.trim() != name {
        return Err(garde::Error::new("a name has no control characters, and no space at its ends"));
    }
    Ok(())
}

/// Who I am.
#[utoipa::path(
    get,
    path = "/api/v1/users/me",
    tag = "users",
    security(("bearer" = [])),
    responses((status = 200, description = "The profile", body = Profile))
)]
pub(super) async fn read(current: CurrentUser) -> Json<Profile> {
    Json(Profile::from(&*current.user))
}

/// Change my names: JSON merge patch (RFC 7396). Unknown and protected members are refused.
#[utoipa::path(
    patch,
    path = "/api/v1/users/me",
    tag = "users",
    security(("bearer" = [])),
    request_body = Names,
    responses(
        (status = 200, description = "The profile as it is now", body = Profile),
        (status = 409, description = "It was changed meanwhile, too often"),
    )
)]
pub(super) async fn change(
    State(state): State<ApiState>,
    current: CurrentUser,
    patch: MergePatch,
) -> Result<Json<Profile>, Problem> {
    let users = state.records::<User>();
    let changed = users.update(current.id(), |user| {
        let names = Names { first_name: user.first_name.clone(), last_name: user.last_name.clone() };
        let names = patch.onto(&names, PROTECTED)?;
        (user.first_name, user.last_name) = (names.first_name, names.last_name);
        Ok::<_, Problem>(())
    });
    Ok(Json(Profile::from(&*changed.await?)))
}

/// Everything else of a [`User`] and a [`Profile`].
const PROTECTED: &[&str] = &[
    "id",
    "email",
    "email_verified",
    "password",
    "password_hash",
    "google_sub",
    "plan",
    "role",
    "admin",
    "preferences",
    "terms_accepted_at",
    "created_at",
    "deleted_at",
];
