//! Logging in with address and password.
//!
//! Unknown address, wrong password and deleted account are one answer that takes one time. Not here: what follows (`refresh`).

use std::time::Duration;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
};
use garde::Validate;
use secrecy::SecretString;
use serde::Deserialize;
use utoipa::ToSchema;

use super::{
    form,
    password::Checked,
    refresh::{self, TokenPair},
    register::{registration_of, user_of},
    secret,
};
use crate::{ApiState, Problem, ProblemBody, body::Valid, cache::Limit, storage::Stored, users::User};

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct LoginRequest {
    /// The account's address.
    #[garde(email, length(bytes, max = form::MAX_ADDRESS))]
    #[serde(deserialize_with = "form::address")]
    #[schema(format = "email", max_length = 254, example = "ann@example.org")]
    email: String,
    /// The account's password.
    #[garde(custom(form::known_password))]
    #[schema(value_type = String, format = "password", min_length = 1, max_length = 128)]
    password: SecretString,
}

/// Logs in.
///
/// 401 does not say whether the address has an account. 403: password and address belong together, but the address is not
/// confirmed yet. 429 counts tries for an address, whoever makes them.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    request_body = LoginRequest,
    responses(
        (status = 200, description = "Logged in", body = TokenPair),
        (status = 401, description = "Address or password is wrong", body = ProblemBody, content_type = "application/problem+json"),
        (status = 403, description = "The address is not confirmed yet", body = ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn login(
    State(state): State<ApiState>,
    headers: HeaderMap,
    Valid(request): Valid<LoginRequest>,
) -> Result<TokenPair, Problem> {
    count_try(&state, &secret::hash(&request.email)).await?;
    // Both are asked for, and one password is checked, whoever is there.
    let user = user_of(&state, &request.email).await?;
    let registration = registration_of(&state, &request.email).await?;
    let hash = match (&user, registration) {
        (Some(user), _) => user.password_hash.clone(),
        (None, Some(registration)) => Some(registration.record.password_hash),
        (None, None) => None,
    };
    let found = state.passwords.check(request.password.clone(), hash).await?;
    let user = match (found, user) {
        (Checked::Wrong, _) => {
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "address or password is wrong"));
        }
        (Checked::Right, Some(user)) if user.email_verified => user,
        (Checked::RightButOld, Some(user)) if user.email_verified => {
            upgrade(&state, user, request.password).await?
        }
        (Checked::Right | Checked::RightButOld, _) => {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "the address is not confirmed yet: open the link in the mail, or ask for another one",
            ));
        }
    };
    refresh::begin(&state, &user, &headers).await
}

/// Counts a try to guess a password, before anything is looked up.
///
/// # Errors
/// 429; 503 when nobody counts, as guessing would be free then.
pub(super) async fn count_try(state: &ApiState, whose: &str) -> Result<(), Problem> {
    let limit = Limit::new(TRIES, WINDOW).expect("it is within the bounds");
    let counted = state.cache.limit(&format!("auth:tries:{whose}"), limit).await?;
    if counted.allowed {
        return Ok(());
    }
    let detail = "too many tries for this account; wait, or set a new password";
    Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(counted.retry_after))
}

/// Hashes a password anew that has just been proven to be right.
async fn upgrade(
    state: &ApiState,
    mut user: Stored<User>,
    password: SecretString,
) -> Result<Stored<User>, Problem> {
    let old = user.password_hash.clone();
    let hash = state.passwords.hash(password).await?;
    let keep = |user: &mut User| {
        // Unless it was changed meanwhile.
        if user.password_hash == old {
            user.password_hash = Some(hash.clone());
        }
        Ok::<_, Problem>(())
    };
    let now = state.records::<User>().update(&user.id, keep).await?;
    if now.password_hash == Some(hash) {
        user = now;
    }
    Ok(user)
}

/// Tries for one account in a while, right or wrong.
const TRIES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(15 * 60);
