//! The access rules, as extractors in a handler's signature.
//!
//! Not here: what a handler does for whom.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, StatusCode, header, request::Parts},
};

use super::Login;
use crate::{
    ApiState, Problem,
    storage::Stored,
    time::now_ms,
    users::{Role, User},
};

/// Who calls: a user whose login is in force. Whether it is, is asked of the store for each request, so that what was revoked
/// is refused at once.
#[derive(Clone, Debug)]
pub struct CurrentUser {
    /// As they are now.
    pub user: Stored<User>,
    /// With which login.
    pub login: Stored<Login>,
}

impl CurrentUser {
    /// Their id.
    pub fn id(&self) -> &str {
        &self.user.id
    }

    /// Who shows `token`.
    ///
    /// # Errors
    /// 401 for a token or login that is not in force, 503 when the store does not answer.
    pub async fn of_token(state: &ApiState, token: &str) -> Result<Self, Problem> {
        let claims = state.tokens.verify(token).map_err(|error| unauthenticated(error.to_string()))?;
        let login = state.records::<Login>().get(&claims.sid).await?;
        let login = login.filter(|login| login.user_id == claims.sub && login.is_live(now_ms()));
        let login = login.ok_or_else(|| unauthenticated("the login has ended; log in again"))?;
        let user = state.records::<User>().get(&claims.sub).await?;
        let user = user.filter(|user| user.deleted_at.is_none());
        let user = user.ok_or_else(|| unauthenticated("the account does not exist any more"))?;
        Ok(Self { user, login })
    }
}

impl FromRequestParts<ApiState> for CurrentUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)
            .ok_or_else(|| unauthenticated("log in, and send `Authorization: Bearer <access token>`"))?;
        Self::of_token(state, token).await
    }
}

/// Who calls, if they run the service.
#[derive(Clone, Debug)]
pub struct Admin(pub CurrentUser);

impl FromRequestParts<ApiState> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Problem> {
        let current = CurrentUser::from_request_parts(parts, state).await?;
        if current.user.role() == Role::Admin {
            Ok(Self(current))
        } else {
            Err(Problem::new(StatusCode::FORBIDDEN, "this is for who runs the service"))
        }
    }
}

pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unauthenticated(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, detail)
}
