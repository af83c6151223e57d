//! What is left of a plan: quotas of accounts, the settings' limit for who has none.
//!
//! Not here: what a plan allows (`control_api::quotas`).

use std::sync::Arc;

use control_api::{
    ApiState,
    quotas::{self, QuotaError, Resource},
    storage::StoreError,
    users::User,
};
use engine::ports::{LimitReached, Principal, Reservation, UsageMeter};
use futures_util::future::{BoxFuture, FutureExt as _};

use super::has_account;

/// Quotas of accounts, and beside them the limit of the settings.
pub(crate) struct Meters {
    pub(crate) state: ApiState,
    /// For who sits at this machine.
    pub(crate) local: Arc<dyn UsageMeter>,
}

impl UsageMeter for Meters {
    fn minute(&self, principal: &Principal) -> BoxFuture<'static, Result<(), LimitReached>> {
        if !has_account(principal) {
            return self.local.minute(principal);
        }
        let (state, user_id) = (self.state.clone(), principal.user.clone());
        async move {
            let uncounted = |error: StoreError| {
                metrics::counter!("minutes_uncounted_total").increment(1);
                tracing::warn!(%error, "a minute is not counted");
                Ok(())
            };
            let user = match state.records::<User>().get(&user_id).await {
                Ok(Some(user)) => user,
                Ok(None) => return Err(LimitReached(NO_ACCOUNT.to_owned())),
                Err(error) => return uncounted(error),
            };
            match quotas::reserve(&state, &user, &[(Resource::LiveMinutes, 1)]).await {
                Ok(_) => Ok(()),
                Err(QuotaError::Store(error)) => uncounted(error),
                Err(reached) => Err(LimitReached(reached.to_string())),
            }
        }
        .boxed()
    }

    fn reserve(
        &self,
        principal: &Principal,
        tokens: u64,
    ) -> BoxFuture<'_, Result<Reservation, LimitReached>> {
        if !has_account(principal) {
            return self.local.reserve(principal, tokens);
        }
        let user_id = principal.user.clone();
        async move {
            let unavailable = |_| {
                LimitReached(
                    "what is left of the plan cannot be read for now; no answer was asked for".to_owned(),
                )
            };
            let user = self.state.records::<User>().get(&user_id).await.map_err(unavailable)?;
            let user = user.ok_or_else(|| LimitReached(NO_ACCOUNT.to_owned()))?;
            let amounts = [(Resource::AnswerRequests, 1), (Resource::AnswerTokens, whole(tokens))];
            match quotas::reserve(&self.state, &user, &amounts).await {
                Ok(reservation) => Ok(Reservation { period: reservation.month(), tokens }),
                Err(QuotaError::Store(error)) => Err(unavailable(error)),
                Err(reached) => Err(LimitReached(reached.to_string())),
            }
        }
        .boxed()
    }

    fn settle(&self, principal: &Principal, reservation: Reservation, used: u64) -> BoxFuture<'_, ()> {
        if !has_account(principal) {
            return self.local.settle(principal, reservation, used);
        }
        let user_id = principal.user.clone();
        async move {
            // What used nothing was no request.
            let requests = u32::from(used > 0);
            let used = [(Resource::AnswerRequests, requests), (Resource::AnswerTokens, whole(used))];
            let reserved =
                [(Resource::AnswerRequests, 1), (Resource::AnswerTokens, whole(reservation.tokens))];
            let reservation = quotas::Reservation::again(&user_id, reservation.period, &reserved);
            if let Err(error) = quotas::settle(&self.state, reservation, &used).await {
                metrics::counter!("usage_unsettled_total").increment(1);
                tracing::warn!(%error, "what an answer did not use is not given back");
            }
        }
        .boxed()
    }
}

fn whole(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

const NO_ACCOUNT: &str = "the account does not exist any more";
