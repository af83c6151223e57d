//! What is left of a plan: quotas of accounts, the settings' limit for who has none.
//!
//! A store that is away or slow stops nobody: what was used meanwhile is counted afterwards, if the store is back by then.
//! Not here: what a plan allows (`control_api::quotas`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use control_api::{
    ApiState,
    quotas::{self, QuotaError, Resource},
    storage::StoreError,
    users::User,
};
use engine::ports::{LimitReached, Principal, Reservation, UsageMeter};
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use super::has_account;

/// Quotas of accounts, and beside them the limit of the settings.
pub(crate) struct Meters {
    state: ApiState,
    /// For who sits at this machine.
    local: Arc<dyn UsageMeter>,
    /// Until then no answer waits for the store, as it was away.
    rests_until: Mutex<Option<Instant>>,
}

impl Meters {
    pub(crate) fn new(state: ApiState, local: Arc<dyn UsageMeter>) -> Self {
        Self { state, local, rests_until: Mutex::default() }
    }

    /// Takes it from the plan; none when the store does not say in time.
    async fn taken(&self, user_id: &str, tokens: u64) -> Option<Result<Reservation, LimitReached>> {
        let rests_until = *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        if rests_until.is_some_and(|until| Instant::now() < until) {
            return None;
        }
        let (tell, told) = oneshot::channel();
        let (state, user_id) = (self.state.clone(), user_id.to_owned());
        // On its own: what was taken when nobody waits any longer is given back. The store bounds its time.
        tokio::spawn(async move {
            let taken = take(&state, &user_id, tokens).await;
            if let Err(Ok(Ok(late))) = tell.send(taken)
                && let Err(error) = quotas::release(&state, late).await
            {
                unsettled(&error);
            }
        });
        if let Ok(Ok(Ok(taken))) = timeout(PATIENCE, told).await {
            return Some(taken.map(|taken| Reservation { period: taken.month(), tokens }));
        }
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + REST);
        None
    }
}

async fn take(
    state: &ApiState,
    user_id: &str,
    tokens: u64,
) -> Result<Result<quotas::Reservation, LimitReached>, StoreError> {
    let Some(user) = state.records::<User>().get(user_id).await? else {
        return Ok(Err(LimitReached(NO_ACCOUNT.to_owned())));
    };
    let amounts = [(Resource::AnswerRequests, 1), (Resource::AnswerTokens, whole(tokens))];
    match quotas::reserve(state, &user, &amounts).await {
        Ok(reservation) => Ok(Ok(reservation)),
        Err(QuotaError::Store(error)) => Err(error),
        Err(reached) => Ok(Err(LimitReached(reached.to_string()))),
    }
}

fn unsettled(error: &StoreError) {
    metrics::counter!("usage_unsettled_total").increment(1);
    tracing::warn!(%error, "what an answer used, or did not use, is not counted");
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
            match self.taken(&user_id, tokens).await {
                Some(taken) => taken,
                None => {
                    metrics::counter!("answers_uncounted_total").increment(1);
                    let uncounted = quotas::Reservation::nothing(&user_id);
                    Ok(Reservation { period: uncounted.month(), tokens: 0 })
                }
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
            // Without tokens it was let through, and nothing was taken.
            let reserved = [
                (Resource::AnswerRequests, u32::from(reservation.tokens > 0)),
                (Resource::AnswerTokens, whole(reservation.tokens)),
            ];
            let reservation = quotas::Reservation::again(&user_id, reservation.period, &reserved);
            if let Err(error) = quotas::settle(&self.state, reservation, &used).await {
                unsettled(&error);
            }
        }
        .boxed()
    }
}

fn whole(tokens: u64) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

const NO_ACCOUNT: &str = "the account does not exist any more";
/// What an answer waits for its plan, at most: it is part of what a candidate waits for.
const PATIENCE: Duration = Duration::from_millis(500);
const REST: Duration = Duration::from_secs(5);
