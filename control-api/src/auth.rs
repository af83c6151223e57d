//! Proving who one is: accounts are made, proven, entered, left and deleted here.
//!
//! A login is a [`Login`] record: the family of its refresh tokens. Access tokens name it, and every request looks it up, so what
//! is revoked is refused at once. Not here: profile and preferences (`users`), tickets of live sessions (`interviews`).

mod current;
mod google;
mod jwks;
mod keys;
mod login;
mod password;
mod token;

pub use current::{Admin, CurrentUser};
pub use keys::{KeyError, KeyFolder, SigningKey, SigningKeys};
pub use login::Login;
pub use password::Passwords;
pub use token::{AccessClaims, AccessTokens, TokenError};

use utoipa_axum::router::OpenApiRouter;

use crate::{ApiState, jobs::Handlers};

/// Sign-in with an OpenID Connect provider.
#[derive(Clone, Debug)]
pub struct GoogleSettings {
    /// Its issuer, such as `https://accounts.google.com`.
    pub issuer: String,
    /// Ours there.
    pub client_id: String,
    /// Ours there.
    pub client_secret: secrecy::SecretString,
}

pub(crate) fn routes() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new().merge(jwks::routes()).merge(google::routes())
}

/// These, and those that run the jobs queued here.
pub(crate) fn job_handlers(handlers: Handlers, _state: &ApiState) -> Handlers {
    handlers
}
