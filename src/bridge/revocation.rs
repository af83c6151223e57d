//! Ends the live sessions of logins that ended.
//!
//! Not here: ending a login (`control_api::auth`).

use std::{collections::BTreeSet, time::Duration};

use control_api::{
    ApiState,
    auth::{self, Revocation},
    cache::Heard,
};
use engine::{ports::Access, registry::Registry};
use tokio::time::{MissedTickBehavior, interval, sleep};

/// Ends sessions of `registry` as their logins end, until it is dropped. What is announced works at once; a look at every
/// login finds the rest.
pub(crate) async fn watch(state: ApiState, registry: Registry) {
    loop {
        match state.cache.subscribe(auth::REVOKED_TOPIC).await {
            Ok(mut announced) => {
                // What was announced before the subscription.
                let mut look = interval(LOOK);
                look.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        heard = announced.next() => match heard {
                            Some(Heard::Message(message)) => revoke(&registry, &message),
                            Some(Heard::Missed) => look.reset_immediately(),
                            None => break,
                        },
                        _ = look.tick() => look_at_all(&state, &registry).await,
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "ended logins are not heard of; looking for them instead");
                look_at_all(&state, &registry).await;
            }
        }
        sleep(PAUSE).await;
    }
}

fn revoke(registry: &Registry, message: &[u8]) {
    let Ok(Revocation { user_id, login_id }) = serde_json::from_slice(message) else {
        tracing::warn!("an announcement of an ended login cannot be read");
        return;
    };
    end(registry, |access| {
        access.principal.user == user_id
            && login_id.as_ref().is_none_or(|id| access.login.as_ref() == Some(id))
    });
}

/// Asks the store about the login of every live session. When it does not answer, they go on.
async fn look_at_all(state: &ApiState, registry: &Registry) {
    let logins: BTreeSet<String> =
        registry.accesses().into_iter().filter_map(|access| access.login).collect();
    for login in logins {
        match auth::login_is_live(state, &login).await {
            Ok(true) => {}
            Ok(false) => end(registry, |access| access.login.as_ref() == Some(&login)),
            Err(_) => return,
        }
    }
}

fn end(registry: &Registry, is_revoked: impl Fn(&Access) -> bool) {
    let ended = registry.revoke(is_revoked);
    if ended > 0 {
        metrics::counter!("sessions_revoked_total").increment(ended as u64);
        tracing::info!(ended, "sessions ended with their login");
    }
}

/// Announcements are heard in milliseconds; this is for those that got lost.
const LOOK: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_secs(1);
