//! New passwords: forgotten ones by a link in a mail, known ones by showing them.
//!
//! Not here: which passwords are allowed (`form`).

use axum::{Json, extract::State, http::StatusCode};
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    CurrentUser, entering,
    form::{self, Message},
    mails::{self, Letter},
    one_time::{self, Purpose},
    password::Checked,
    register::{AddressRequest, nobody, user_of},
    revocation,
};
use crate::{ApiState, Problem, ProblemBody, body::Valid, storage::StoreError, users::User};

/// Sends a link to set a new password.
///
/// The answer is the same for every address.
#[utoipa::path(
    post,
    path = "/api/v1/auth/forgot-password",
    tag = "auth",
    request_body = AddressRequest,
    responses((status = 202, description = "If it has an account, a mail is on its way", body = Message), )
)]
pub(super) async fn forgot_password(
    State(state): State<ApiState>,
    Valid(request): Valid<AddressRequest>,
) -> Result<(StatusCode, Json<Message>), Problem> {
    if mails::allowed(&state, &request.email).await? {
        let user = user_of(&state, &request.email).await?;
        let id = user.map_or_else(nobody, |user| user.record.id);
        mails::queue(&state, Letter::Reset, &id).await?;
    }
    let message = "if this address has an account, a mail is on its way; if none comes, try again in an hour";
    Ok((StatusCode::ACCEPTED, Json(Message { message })))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetRequest {
    /// From the link in the mail.
    #[garde(skip)]
    #[schema(value_type = String, min_length = 43, max_length = 43)]
    token: SecretString,
    /// The new one: as at registration.
    #[garde(custom(form::new_password))]
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128)]
    password: SecretString,
}

/// Sets a new password with a link; every login of the user ends.
#[utoipa::path(
    post,
    path = "/api/v1/auth/reset-password",
    tag = "auth",
    request_body = ResetRequest,
    responses((status = 200, description = "It is set; log in", body = Message), )
)]
pub(super) async fn reset_password(
    State(state): State<ApiState>,
    Valid(request): Valid<ResetRequest>,
) -> Result<Json<Message>, Problem> {
    // Before the token is used up: there may be no room for it.
    let hash = state.passwords.hash(request.password).await?;
    let token = one_time::redeem(&state, Purpose::ResetPassword, request.token.expose_secret()).await?;
    let set = |user: &mut User| {
        if user.deleted_at.is_some() || mails::stamp(user) != token.stamp {
            return Err(one_time::spent());
        }
        user.password_hash = Some(hash.clone());
        // Who opened the link reads what is sent there.
        user.email_verified = true;
        Ok(())
    };
    state.records::<User>().update(&token.user_id, set).await.map_err(|problem| {
        if problem.status() == StatusCode::NOT_FOUND { one_time::spent() } else { problem }
    })?;
    revocation::revoke_all(&state, &token.user_id).await?;
    Ok(Json(Message { message: "the password is set, and every login has ended; log in" }))
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeRequest {
    /// The one so far.
    #[garde(custom(form::known_password))]
    #[schema(value_type = String, format = "password", min_length = 1, max_length = 128)]
    current_password: SecretString,
    /// The new one: as at registration.
    #[garde(custom(form::new_password))]
    #[schema(value_type = String, format = "password", min_length = 8, max_length = 128)]
    new_password: SecretString,
}

/// Changes the password; every other login of the user ends.
#[utoipa::path(
    post,
    path = "/api/v1/auth/change-password",
    tag = "auth",
    request_body = ChangeRequest,
    responses(
        (status = 204, description = "Changed"),
        (status = 403, description = "The current password is wrong", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "It was changed meanwhile, or the account has no password", body = ProblemBody, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub(super) async fn change_password(
    State(state): State<ApiState>,
    current: CurrentUser,
    Valid(request): Valid<ChangeRequest>,
) -> Result<StatusCode, Problem> {
    prove(&state, &current.user, request.current_password).await?;
    let hash = state.passwords.hash(request.new_password).await?;
    let proven = &current.user.password_hash;
    let set = |user: &mut User| {
        // What was shown is not the password any more.
        if user.password_hash != *proven || user.deleted_at.is_some() {
            return Err(Problem::from(StoreError::Conflict));
        }
        user.password_hash = Some(hash.clone());
        Ok(())
    };
    state.records::<User>().update(current.id(), set).await?;
    revocation::revoke_others(&state, current.id(), &current.login.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whether a user who is logged in knows the password: 403 if not, 409 if there is none. Tries are counted as at the door.
pub(super) async fn prove(state: &ApiState, user: &User, password: SecretString) -> Result<(), Problem> {
    let Some(hash) = user.password_hash.clone() else {
        let detail = "the account has no password; set one by `forgot-password`";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    };
    entering::count_try(state, &user.id).await?;
    match state.passwords.check(password, Some(hash)).await? {
        Checked::Wrong => Err(Problem::new(StatusCode::FORBIDDEN, "the current password is wrong")),
        Checked::Right | Checked::RightButOld => Ok(()),
    }
}
