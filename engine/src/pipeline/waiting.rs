//! A session without a connection: it goes on with what it has heard, until its client comes back or it is too late.
//!
//! Not here: the loop of a session on a connection (`pipeline`).

use std::time::Duration;

use protocol::CloseCode;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{ACK_INTERVAL, REVOKED};
use crate::{Engine, resume::Live, session::Ending};

/// Goes on without a connection until another claims the session, or it is too late.
pub(super) async fn wait(engine: &Engine, mut live: Box<Live>, stop: &CancellationToken) {
    metrics::counter!("sessions_detached_total").increment(1);
    live.session.detach();
    let rest_at = Instant::now() + SLOT_KEPT;
    let (mut rested, mut rests) = (false, false);
    let until = Instant::now() + engine.limits.resume_within;
    let mut tick = interval(ACK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut drain_at = None;
    let (mut leaving, mut stopping, mut cut, mut revoked) = (false, false, false, false);
    loop {
        live.session.conclude();
        live.session.flush();
        if live.session.is_elsewhere() {
            return;
        }
        let over = live.session.goodbye().is_some();
        if over && (leaving || !engine.resumables.rest(&mut live.place)) {
            if stopping {
                live.session.leave_journal();
            }
            return;
        }
        if live.session.is_ending_early() && drain_at.is_none() {
            drain_at = Some(Instant::now() + engine.limits.drain);
        }
        if std::mem::take(&mut rests) {
            // Where there is none it keeps its slot.
            let _ = engine.resumables.rest(&mut live.place);
        }
        let Live { session, place, registration } = &mut *live;
        tokio::select! {
            claim = registration.claimed() => match claim.hand_over(live) {
                Ok(()) => return,
                Err(back) => live = back,
            },
            () = session.advance() => {}
            _ = tick.tick(), if !over => session.on_tick(),
            () = sleep_until(rest_at), if !rested => {
                rested = true;
                rests = !session.is_computing();
            }
            () = sleep_until(until), if !leaving => {
                leaving = true;
                metrics::counter!("sessions_expired_total").increment(1);
                session.end(Ending::Gone);
            }
            () = sleep_until(drain_at.unwrap_or(until)), if drain_at.is_some() && !cut => {
                cut = true;
                session.cut_drain();
            }
            () = place.slot.revoked(), if !revoked => {
                revoked = true;
                session.end(Ending::Fatal(CloseCode::Unauthenticated, REVOKED.to_owned()));
            }
            () = stop.cancelled(), if !leaving => {
                (leaving, stopping) = (true, true);
                session.end(Ending::Shutdown);
            }
        }
    }
}

/// A client that comes back at once finds its slot; after that others may have it.
const SLOT_KEPT: Duration = Duration::from_secs(10);
