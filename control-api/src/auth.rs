//! Proving who one is: accounts are made, proven, entered, left and deleted here.
//!
//! A login is a [`Login`] record: the family of its refresh tokens. Access tokens name it, and every request looks it up, so what
//! is revoked is refused at once. Not here: profile and preferences (`users`), tickets of live sessions (`interviews`).

mod current;
mod entering;
mod erasure;
mod form;
mod google;
mod jwks;
mod keys;
mod login;
mod mails;
mod one_time;
mod password;
mod recover;
mod refresh;
mod register;
mod revocation;
mod secret;
mod sessions;
mod token;

pub(crate) use current::bearer;
pub use current::{Admin, CurrentUser};
pub use erasure::resume_erasures;
pub use keys::{KeyError, KeyFolder, SigningKey, SigningKeys};
pub use login::Login;
pub use one_time::{OneTimeToken, Purpose};
pub use password::{Busy, Checked, Passwords};
pub use refresh::TokenPair;
pub use register::Registration;
pub use revocation::{REVOKED_TOPIC, Revocation, login_is_live, revoke_all, revoke_login};
pub use token::{AccessClaims, AccessTokens, TokenError};

use utoipa::{
    OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};
use utoipa_axum::{router::OpenApiRouter, routes};

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
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(register::register))
        .routes(routes!(register::verify_email))
        .routes(routes!(register::resend))
        .routes(routes!(entering::login))
        .routes(routes!(refresh::refresh))
        .routes(routes!(sessions::logout))
        .routes(routes!(sessions::logout_all))
        .routes(routes!(sessions::sessions))
        .routes(routes!(sessions::end_session))
        .routes(routes!(recover::forgot_password))
        .routes(routes!(recover::reset_password))
        .routes(routes!(recover::change_password))
        .routes(routes!(erasure::delete_account))
        .merge(jwks::routes())
        .merge(google::routes())
}

/// These, and those that run the jobs queued here.
pub(crate) fn job_handlers(handlers: Handlers, state: &ApiState) -> Handlers {
    erasure::job_handlers(mails::job_handlers(handlers, state), state)
}

/// Says what `bearer` is, which routes with an access rule name.
#[derive(OpenApi)]
#[openapi(modifiers(&Bearer))]
struct Description;

struct Bearer;

impl utoipa::Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT").build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}
