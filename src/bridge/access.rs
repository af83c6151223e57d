//! Who may open a live session: who shows a ticket or an access token of an account, and whoever the settings let in without.
//!
//! Not here: making tickets and tokens (`control_api`).

use std::sync::Arc;

use control_api::{ApiState, auth::CurrentUser, interviews};
use engine::ports::{Access, AuthError, Authorizer, Credentials, Principal};
use futures_util::future::{BoxFuture, FutureExt as _};
use secrecy::{ExposeSecret as _, SecretString};

/// Lets in users with accounts, and beside them whom `others` lets in.
pub(crate) struct Doors {
    pub(crate) state: ApiState,
    /// For clients without an account; none where an account is needed.
    pub(crate) others: Option<Arc<dyn Authorizer>>,
}

impl Authorizer for Doors {
    fn authorize(&self, credentials: Credentials) -> BoxFuture<'_, Result<Access, AuthError>> {
        async move {
            if let Some(ticket) = &credentials.ticket {
                return self.with_ticket(ticket).await;
            }
            match (&credentials.token, &self.others) {
                // The one token of the settings is none that is signed here.
                (Some(token), _) if self.is_access_token(token) => self.with_token(token).await,
                (_, Some(others)) => others.authorize(credentials).await,
                (Some(token), None) => self.with_token(token).await,
                (None, None) => Err(AuthError::Unauthenticated(
                    "credentials are missing: log in, and send `Authorization: Bearer <access token>` or `?ticket=`",
                )),
            }
        }
        .boxed()
    }
}

impl Doors {
    fn is_access_token(&self, token: &SecretString) -> bool {
        self.state.tokens.verify(token.expose_secret()).is_ok()
    }

    async fn with_token(&self, token: &SecretString) -> Result<Access, AuthError> {
        match CurrentUser::of_token(&self.state, token.expose_secret()).await {
            Ok(current) => Ok(Access {
                principal: Principal { user: current.id().to_owned() },
                login: Some(current.login.id.clone()),
                session_id: None,
                interview: None,
            }),
            Err(problem) if problem.status().is_server_error() => Err(UNAVAILABLE),
            Err(_) => Err(AuthError::Unauthenticated(
                "the access token is not valid, or not any more; log in or refresh it",
            )),
        }
    }

    async fn with_ticket(&self, ticket: &SecretString) -> Result<Access, AuthError> {
        match interviews::redeem(&*self.state.cache, ticket.expose_secret()).await {
            Ok(Some(redeemed)) => Ok(Access {
                principal: Principal { user: redeemed.user_id },
                login: Some(redeemed.login_id),
                session_id: Some(redeemed.session_id),
                interview: Some(redeemed.interview_id),
            }),
            Ok(None) => Err(AuthError::Unauthenticated(
                "the ticket is not valid, used, or older than a minute; get another one",
            )),
            Err(_) => Err(UNAVAILABLE),
        }
    }
}

const UNAVAILABLE: AuthError =
    AuthError::Unavailable("accounts cannot be checked for now; try again in a moment");
