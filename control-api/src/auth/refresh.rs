//! Tokens of a login: the pair that begins it, and each pair that follows.
//!
//! A refresh token is `{login}.{secret}` and works once: it is exchanged for the next, whose secret is made of a random seed and
//! the old secret. So whoever repeats the exchange, as an answer was lost or several tabs refresh at once, is given the *same* next
//! token for 10 s, and the family never forks. Any other token of the family was used before by somebody: nobody can tell who
//! is the thief, so the login ends. Not here: who may begin a login.

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
};
use garde::Validate;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Login, revoke_login, secret};
use crate::{
    ApiState, Problem, body::Valid, problem::internal, storage::StoreError, time::now_ms, users::User,
};

/// What a client is given to be somebody.
#[derive(Clone, Serialize, ToSchema)]
pub struct TokenPair {
    /// Sent with each request as `Authorization: Bearer …`.
    access_token: String,
    /// `Bearer`.
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// For how many seconds the access token works.
    #[schema(example = 900)]
    expires_in: i64,
    /// Exchanged for the next pair, once.
    refresh_token: String,
    /// For how many seconds the refresh token works.
    #[schema(example = 604_800)]
    refresh_expires_in: i64,
}

impl IntoResponse for TokenPair {
    fn into_response(self) -> axum::response::Response {
        ([(header::CACHE_CONTROL, "no-store")], Json(self)).into_response()
    }
}

impl std::fmt::Debug for TokenPair {
    /// Without the tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenPair").finish_non_exhaustive()
    }
}

/// Begins a login of `user`, who has proven to be them.
///
/// Who changes what the proof was made with (the password, the account) ends the user's logins *afterwards*; so the user is
/// read again here, and a login that slipped in between does not stay.
///
/// # Errors
/// 401 when the account was changed just now, 503.
pub(super) async fn begin(state: &ApiState, user: &User, headers: &HeaderMap) -> Result<TokenPair, Problem> {
    let now = now_ms();
    let secret = secret::fresh();
    let login = Login {
        id: Uuid::now_v7().to_string(),
        user_id: user.id.clone(),
        token_hash: secret::hash(&secret),
        previous_hash: None,
        seed: None,
        renewed_at: now,
        user_agent: user_agent(headers),
        created_at: now,
        expires_at: now + LIFETIME_MS,
        revoked_at: None,
    };
    let logins = state.records::<Login>();
    logins.insert(&login).await?;
    let same = |now: &User| now.deleted_at.is_none() && now.password_hash == user.password_hash;
    if !state.records::<User>().get(&user.id).await?.is_some_and(|now| same(&now)) {
        logins.delete(&login.id).await?;
        return Err(Problem::new(StatusCode::UNAUTHORIZED, "the account was changed just now; log in again"));
    }
    pair(state, &login, &secret)
}

#[derive(Deserialize, Validate, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefreshRequest {
    /// The one of the latest pair.
    #[garde(skip)]
    #[schema(value_type = String, max_length = 200)]
    refresh_token: SecretString,
}

/// Exchanges a refresh token for the next pair.
///
/// A token works once. For 10 s it may be shown again and gives the same next token, as an answer may be lost. Shown later, it ends
/// the login: it was stolen from one of the two who had it.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    tag = "auth",
    request_body = RefreshRequest,
    responses(
        (status = 200, description = "The next pair", body = TokenPair),
        (status = 401, description = "The token does not work, or not any more: log in", body = crate::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub(super) async fn refresh(
    State(state): State<ApiState>,
    Valid(request): Valid<RefreshRequest>,
) -> Result<TokenPair, Problem> {
    let (login_id, shown) = parts(request.refresh_token.expose_secret()).ok_or_else(refused)?;
    let logins = state.records::<Login>();
    for _ in 0..MAX_TRIES {
        let mut login = logins.get(login_id).await?.ok_or_else(refused)?;
        match login.record.meet(shown, now_ms()) {
            Meeting::Over => return Err(refused()),
            Meeting::Reused => {
                revoke_login(&state, login_id).await?;
                return Err(refused());
            }
            Meeting::Again(next) => return pair(&state, &login, &next),
            Meeting::Next(next) => {
                let user = state.records::<User>().get(&login.user_id).await?;
                if user.is_none_or(|user| user.deleted_at.is_some()) {
                    return Err(refused());
                }
                match logins.replace(&mut login).await {
                    Ok(()) => return pair(&state, &login, &next),
                    // Somebody was faster with the same token, or ended the login.
                    Err(StoreError::Conflict) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Err(StoreError::Conflict.into())
}

/// What becomes of a secret that is shown.
enum Meeting {
    /// The login is not in force.
    Over,
    /// The secret was used, and not just now.
    Reused,
    /// It was exchanged just now: for this one.
    Again(String),
    /// It is exchanged for this one; the login has been changed, and must be kept.
    Next(String),
}

impl Login {
    fn meet(&mut self, shown: &str, now: i64) -> Meeting {
        let hash = secret::hash(shown);
        let is = |other: &str| bool::from(hash.as_bytes().ct_eq(other.as_bytes()));
        if !self.is_live(now) {
            return Meeting::Over;
        }
        if is(&self.token_hash) {
            let seed = secret::fresh();
            let next = secret::next(&seed, shown);
            self.previous_hash = Some(std::mem::replace(&mut self.token_hash, secret::hash(&next)));
            self.seed = Some(seed);
            self.renewed_at = now;
            self.expires_at = now + LIFETIME_MS;
            return Meeting::Next(next);
        }
        match (&self.previous_hash, &self.seed) {
            (Some(previous), Some(seed)) if is(previous) && now < self.renewed_at + GRACE_MS => {
                Meeting::Again(secret::next(seed, shown))
            }
            _ => Meeting::Reused,
        }
    }
}

fn pair(state: &ApiState, login: &Login, secret: &str) -> Result<TokenPair, Problem> {
    let issued = state.tokens.issue(&login.user_id, &login.id);
    let (access_token, expires_in) = issued.map_err(|error| internal(&error))?;
    Ok(TokenPair {
        access_token,
        token_type: "Bearer",
        expires_in,
        refresh_token: format!("{}.{secret}", login.id),
        refresh_expires_in: (login.expires_at - now_ms()) / 1_000,
    })
}

/// Login and secret of what may be a refresh token; an access token is none.
fn parts(token: &str) -> Option<(&str, &str)> {
    let (login, secret) = token.split_once('.')?;
    (login.len() == UUID_CHARS && Uuid::try_parse(login).is_ok() && secret.len() == secret::CHARS)
        .then_some((login, secret))
}

fn user_agent(headers: &HeaderMap) -> Option<String> {
    let said = headers.get(header::USER_AGENT)?.to_str().ok()?;
    Some(said.chars().take(MAX_USER_AGENT).collect())
}

fn refused() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "the refresh token does not work, or not any more; log in again")
}

/// From the last exchange on.
const LIFETIME_MS: i64 = 7 * 24 * 60 * 60 * 1_000;
/// For how long an exchange may be repeated.
const GRACE_MS: i64 = 10_000;
/// Each failed one means that another exchange or an ending succeeded, and a second look decides.
const MAX_TRIES: usize = 4;
const UUID_CHARS: usize = 36;
const MAX_USER_AGENT: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn login(secret: &str) -> Login {
        Login {
            id: "phone".into(),
            user_id: "ann".into(),
            token_hash: secret::hash(secret),
            previous_hash: None,
            seed: None,
            renewed_at: 0,
            user_agent: None,
            created_at: 0,
            expires_at: LIFETIME_MS,
            revoked_at: None,
        }
    }

    fn next(login: &mut Login, shown: &str, now: i64) -> String {
        match login.meet(shown, now) {
            Meeting::Next(next) => next,
            _ => panic!("it is the current one"),
        }
    }

    #[test]
    fn a_repeated_exchange_gives_the_same_token_for_ten_seconds() {
        let first = secret::fresh();
        let mut login = login(&first);
        let second = next(&mut login, &first, 1_000);
        assert_eq!((login.renewed_at, login.expires_at), (1_000, 1_000 + LIFETIME_MS));
        let kept = login.clone();
        for _ in 0..3 {
            assert!(
                matches!(login.meet(&first, 1_000 + GRACE_MS - 1), Meeting::Again(again) if again == second)
            );
        }
        assert!(login == kept, "a repetition changes nothing");
        assert!(matches!(login.meet(&first, 1_000 + GRACE_MS), Meeting::Reused));
        let third = next(&mut login, &second, 2_000);
        assert!(third != second && matches!(login.meet(&first, 2_000), Meeting::Reused), "two before");
    }

    #[test]
    fn what_is_over_is_over_for_every_token() {
        let first = secret::fresh();
        let mut ended = Login { revoked_at: Some(5), ..login(&first) };
        assert!(matches!(ended.meet(&first, 6), Meeting::Over));
        assert!(matches!(ended.meet("other", 6), Meeting::Over));
        assert!(matches!(login(&first).meet(&first, LIFETIME_MS), Meeting::Over));
        assert!(matches!(login(&first).meet("other", 6), Meeting::Reused));
    }

    #[test]
    fn only_a_login_and_a_secret_are_a_refresh_token() {
        let (login, secret) = (Uuid::now_v7().to_string(), secret::fresh());
        assert_eq!(parts(&format!("{login}.{secret}")), Some((&*login, &*secret)));
        let braced = format!("{{{login}}}.{secret}");
        for token in
            ["", ".", "a.b.c", &login, &secret, &format!("{login}.x"), &format!("x.{secret}"), &braced]
        {
            assert_eq!(parts(token), None, "{token}");
        }
    }
}
