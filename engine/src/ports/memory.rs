//! Embedded ports for one machine without accounts: nothing outlives the process.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use futures_util::future::{BoxFuture, FutureExt as _, ready};
use protocol::ServerEvent;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    AuthError, Authorizer, CandidateContext, ContextProvider, Credentials, LimitReached, PortError,
    Principal, SessionRecorder, UsageMeter,
};

/// Lets everybody in as one local user. Only for listeners on loopback addresses; the root crate refuses others.
#[derive(Debug, Default)]
pub struct NoAuth;

impl Authorizer for NoAuth {
    fn authorize(&self, credentials: Credentials) -> BoxFuture<'_, Result<Principal, AuthError>> {
        ready(if credentials.ticket.is_some() { Err(NO_TICKETS) } else { Ok(local_user()) }).boxed()
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
    fn authorize(&self, credentials: Credentials) -> BoxFuture<'_, Result<Principal, AuthError>> {
        ready(match (credentials.token, credentials.ticket) {
            (Some(token), _) if same(token.expose_secret(), self.0.expose_secret()) => Ok(local_user()),
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
    fn context(&self, _: &Principal) -> BoxFuture<'_, Result<CandidateContext, PortError>> {
        ready(Ok(self.0.clone())).boxed()
    }
}

/// Keeps the last sessions in memory, bounded in sessions and events; the oldest go first.
#[derive(Debug, Default)]
pub struct RecentSessions(Mutex<VecDeque<(String, Vec<ServerEvent>)>>);

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
    fn record(&self, _: &Principal, id: &str, event: &ServerEvent) -> BoxFuture<'_, Result<(), PortError>> {
        ready(self.keep(id, event)).boxed()
    }
}

/// Counts and never refuses.
#[derive(Debug, Default)]
pub struct Unmetered(Mutex<HashMap<Principal, u64>>);

impl UsageMeter for Unmetered {
    fn take_answer(&self, principal: &Principal) -> BoxFuture<'_, Result<(), LimitReached>> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(principal.clone()).or_default() += 1;
        ready(Ok(())).boxed()
    }
}

fn local_user() -> Principal {
    Principal { user: "local".to_owned() }
}

const NO_TICKETS: AuthError =
    AuthError::Unauthenticated("tickets are not issued by this server; send a bearer token");
const KEPT_SESSIONS: usize = 16;
const KEPT_EVENTS: usize = 4_096;
