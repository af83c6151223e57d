//! Embedded ports for one machine without accounts: nothing outlives the process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use chrono::{Datelike as _, Utc};
use futures_util::future::{BoxFuture, FutureExt as _, ready};
use protocol::ServerEvent;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    Access, AuthError, Authorizer, CandidateContext, ContextError, ContextProvider, Credentials,
    LimitReached, PortError, Principal, Reservation, SessionRecorder, SessionWriter, UsageMeter,
};

/// Lets everybody in as one local user. Only for listeners on loopback addresses; the root crate refuses others.
#[derive(Debug, Default)]
pub struct NoAuth;

impl Authorizer for NoAuth {
    fn authorize(&self, credentials: Credentials) -> BoxFuture<'_, Result<Access, AuthError>> {
        ready(if credentials.ticket.is_some() { Err(NO_TICKETS) } else { Ok(Principal::local().into()) })
            .boxed()
    }
}

/// Lets in who shows the one configured token.
#[derive(Debug)]
pub struct SharedToken(SecretString);

impl SharedToken {
    /// An authorizer for `token`.
    pub fn new(token: SecretString) -> Self {
        Self(token)
    }
}

impl Authorizer for SharedToken {
    fn authorize(&self, credentials: Credentials) -> BoxFuture<'_, Result<Access, AuthError>> {
        ready(match (credentials.token, credentials.ticket) {
            (Some(token), _) if same(token.expose_secret(), self.0.expose_secret()) => {
                Ok(Principal::local().into())
            }
            (Some(_), _) => Err(AuthError::Unauthenticated("the access token is not valid")),
            (None, Some(_)) => Err(NO_TICKETS),
            (None, None) => Err(AuthError::Unauthenticated(
                "credentials are missing: send `Authorization: Bearer <token>`",
            )),
        })
        .boxed()
    }
}

/// Compares without telling by its time where the difference is.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

/// One candidate for every session.
#[derive(Debug, Default)]
pub struct OneCandidate(pub CandidateContext);

impl ContextProvider for OneCandidate {
    fn context(&self, _: &Access) -> BoxFuture<'_, Result<CandidateContext, ContextError>> {
        ready(Ok(self.0.clone())).boxed()
    }
}

/// Keeps the last sessions in memory, bounded in sessions and events; the oldest go first. Clones keep the same.
#[derive(Clone, Debug, Default)]
pub struct RecentSessions(Arc<Mutex<VecDeque<Kept>>>);

/// A session's id and its events.
type Kept = (String, Vec<ServerEvent>);

impl RecentSessions {
    /// The events kept of a session.
    pub fn events(&self, session_id: &str) -> Vec<ServerEvent> {
        let sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sessions.iter().find(|(id, _)| id == session_id);
        found.map(|(_, events)| events.clone()).unwrap_or_default()
    }

    fn keep(&self, session_id: &str, event: &ServerEvent) -> Result<(), PortError> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !sessions.iter().any(|(id, _)| id == session_id) {
            if sessions.len() == KEPT_SESSIONS {
                sessions.pop_front();
            }
            sessions.push_back((session_id.to_owned(), Vec::new()));
        }
        let events = sessions.iter_mut().find(|(id, _)| id == session_id).map(|(_, events)| events);
        match events {
            Some(events) if events.len() < KEPT_EVENTS => events.push(event.clone()),
            _ => return Err(PortError(format!("history in memory keeps {KEPT_EVENTS} events of a session"))),
        }
        Ok(())
    }
}

impl SessionRecorder for RecentSessions {
    fn open(&self, _: &Access, session_id: &str, _: &str) -> Box<dyn SessionWriter> {
        Box::new(RecentSession { sessions: self.clone(), id: session_id.to_owned() })
    }
}

struct RecentSession {
    sessions: RecentSessions,
    id: String,
}

impl SessionWriter for RecentSession {
    fn write<'a>(&'a mut self, event: &'a ServerEvent) -> BoxFuture<'a, Result<(), PortError>> {
        ready(self.sessions.keep(&self.id, event)).boxed()
    }

    fn close(&mut self) -> BoxFuture<'_, Result<(), PortError>> {
        ready(Ok(())).boxed()
    }
}

/// What each user may use in a calendar month (UTC). `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MonthlyLimits {
    /// Requests to models: one for each variant of an answer, those begun on a guess and dropped included.
    pub requests: Option<u64>,
    /// Tokens of prompts and answers.
    pub tokens: Option<u64>,
}

/// Counts by user and month, in memory: a restart forgets.
pub struct MonthlyMeter {
    limits: MonthlyLimits,
    month: fn() -> u32,
    counts: Mutex<Counts>,
}

/// Of the current month; one entry for each user that asked something in it.
#[derive(Default)]
struct Counts {
    month: u32,
    used: HashMap<Principal, Used>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    requests: u64,
    tokens: u64,
}

impl MonthlyMeter {
    /// A meter that holds every user to `limits`.
    pub fn new(limits: MonthlyLimits) -> Self {
        Self::with_calendar(limits, this_month)
    }

    /// A meter that asks `month` for the number of the month.
    fn with_calendar(limits: MonthlyLimits, month: fn() -> u32) -> Self {
        Self { limits, month, counts: Mutex::default() }
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let month = (self.month)();
        if counts.month != month {
            *counts = Counts { month, used: HashMap::new() };
        }
        counts
    }

    fn take(&self, principal: &Principal, tokens: u64) -> Result<Reservation, LimitReached> {
        let mut counts = self.counts();
        let period = counts.month;
        let used = counts.used.entry(principal.clone()).or_default();
        let after = Used { requests: used.requests + 1, tokens: used.tokens.saturating_add(tokens) };
        let reached = |what: &str, limit: u64| {
            LimitReached(format!(
                "this month's {limit} {what} are used up; answers come again on the first of the next month (UTC)"
            ))
        };
        if let Some(limit) = self.limits.requests.filter(|limit| after.requests > *limit) {
            return Err(reached("requests to language models", limit));
        }
        if let Some(limit) = self.limits.tokens.filter(|limit| after.tokens > *limit) {
            return Err(reached("tokens of answers", limit));
        }
        *used = after;
        Ok(Reservation { period, tokens })
    }

    fn give_back(&self, principal: &Principal, reservation: Reservation, used: u64) {
        let mut counts = self.counts();
        // The counts of a month that is over are of no interest any more.
        if counts.month == reservation.period
            && let Some(count) = counts.used.get_mut(principal)
        {
            count.tokens = count.tokens.saturating_sub(reservation.tokens).saturating_add(used);
            if used == 0 {
                count.requests = count.requests.saturating_sub(1);
            }
        }
    }
}

impl UsageMeter for MonthlyMeter {
    fn reserve(
        &self,
        principal: &Principal,
        tokens: u64,
    ) -> BoxFuture<'_, Result<Reservation, LimitReached>> {
        ready(self.take(principal, tokens)).boxed()
    }

    fn settle(&self, principal: &Principal, reservation: Reservation, used: u64) -> BoxFuture<'_, ()> {
        self.give_back(principal, reservation, used);
        ready(()).boxed()
    }
}

/// Years and months since year 0.
fn this_month() -> u32 {
    let today = Utc::now().date_naive();
    today.year().unsigned_abs() * 12 + today.month0()
}

const NO_TICKETS: AuthError =
    AuthError::Unauthenticated("tickets are not issued by this server; send a bearer token");
const KEPT_SESSIONS: usize = 16;
const KEPT_EVENTS: usize = 4_096;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn meter(requests: Option<u64>, tokens: Option<u64>) -> MonthlyMeter {
        MonthlyMeter::with_calendar(MonthlyLimits { requests, tokens }, || 7)
    }

    #[test]
    fn both_or_neither_are_taken() {
        let meter = meter(Some(3), Some(100));
        let user = Principal::local();
        let taken = meter.take(&user, 60).unwrap();
        let why = meter.take(&user, 60).unwrap_err().0;
        assert!(why.contains("100 tokens"), "{why}");
        meter.give_back(&user, taken, 10);
        assert!(meter.take(&user, 60).is_ok(), "a refusal takes neither tokens nor a request");
        assert!(meter.take(&user, 30).is_ok());
        let why = meter.take(&user, 0).unwrap_err().0;
        assert!(why.contains("3 requests"), "{why}");
        let other = Principal { user: "other".to_owned() };
        assert!(meter.take(&other, 100).is_ok(), "each user has their own");
    }

    #[test]
    fn what_used_nothing_was_no_request() {
        let meter = meter(Some(1), Some(100));
        let user = Principal::local();
        for _ in 0..3 {
            let taken = meter.take(&user, 60).unwrap();
            meter.give_back(&user, taken, 0);
        }
        let taken = meter.take(&user, 60).unwrap();
        meter.give_back(&user, taken, 1);
        let why = meter.take(&user, 1).unwrap_err().0;
        assert!(why.contains("1 requests"), "{why}");
    }

    #[test]
    fn no_limit_is_no_number() {
        let meter = meter(None, None);
        assert!((0..1_000).all(|_| meter.take(&Principal::local(), u64::MAX).is_ok()));
    }

    #[test]
    fn a_new_month_starts_from_nothing() {
        static MONTH: AtomicU32 = AtomicU32::new(1);
        let limits = MonthlyLimits { requests: Some(1), tokens: None };
        let meter = MonthlyMeter::with_calendar(limits, || MONTH.load(Ordering::Relaxed));
        let old = meter.take(&Principal::local(), 50).unwrap();
        assert!(meter.take(&Principal::local(), 0).is_err());
        MONTH.store(2, Ordering::Relaxed);
        assert_eq!(meter.take(&Principal::local(), 5).unwrap().period, 2);
        meter.give_back(&Principal::local(), old, 1_000);
        assert_eq!(
            meter.counts().used[&Principal::local()].tokens,
            5,
            "the old month's rest is not the new one's"
        );
    }

    #[test]
    fn parallel_requests_are_never_let_through_beyond_the_limit() {
        let meter = Arc::new(meter(Some(5), None));
        let threads: Vec<_> = (0..50)
            .map(|_| {
                let meter = Arc::clone(&meter);
                std::thread::spawn(move || meter.take(&Principal::local(), 1).is_ok())
            })
            .collect();
        let allowed = threads.into_iter().map(|thread| thread.join().unwrap());
        assert_eq!(allowed.filter(|allowed| *allowed).count(), 5);
    }
}
