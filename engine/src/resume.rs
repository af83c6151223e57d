//! Sessions that change their connection: a token finds the one that serves them, wherever it is in its life.
//!
//! A session belongs to the task of one connection at a time. Another that knows its token claims it there, and is handed
//! the whole of it. Not here: what a session is told again (`session::events`), how long it waits (`pipeline`).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::{
    ports::{Access, Principal},
    registry::Slot,
    session::Session,
};

/// Every session that can be claimed. Clones know the same.
#[derive(Clone)]
pub struct Resumables {
    sessions: Arc<Mutex<HashMap<String, Entry>>>,
    resting: Arc<Semaphore>,
}

struct Entry {
    principal: Principal,
    /// None while it is made again from its journal.
    session_id: Option<String>,
    claims: mpsc::Sender<Claim>,
}

/// A session, and what goes with it from one connection to the next.
pub(crate) struct Live {
    pub(crate) session: Session,
    pub(crate) place: Place,
    pub(crate) registration: Registration,
}

/// What a session takes up: a place among those that are served, or, when it computes nothing and waits for its client, some
/// memory.
pub(crate) struct Place {
    pub(crate) slot: Slot,
    resting: Option<OwnedSemaphorePermit>,
}

impl Place {
    pub(crate) fn among_the_served(slot: Slot) -> Self {
        Self { slot, resting: None }
    }

    pub(crate) fn is_resting(&self) -> bool {
        self.resting.is_some()
    }
}

/// Why a session was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ClaimError {
    /// There is none for this user, which may mean that it is another's.
    #[error("this resume token opens no session, or none any more; open a new session without `resume`")]
    Unknown,
    /// Too many ask for it at once.
    #[error("the session is being taken over by other connections; ask again")]
    Busy,
}

/// Somebody asks for a session.
pub(crate) struct Claim(oneshot::Sender<Box<Live>>);

impl Claim {
    /// Hands the session over, or back when whoever asked has gone.
    pub(crate) fn hand_over(self, live: Box<Live>) -> Result<(), Box<Live>> {
        self.0.send(live)
    }
}

/// Makes a session known by its token, until dropped.
pub(crate) struct Registration {
    principal: Principal,
    token: String,
    sessions: Arc<Mutex<HashMap<String, Entry>>>,
    claims: mpsc::Receiver<Claim>,
}

impl Registration {
    /// What the client shows to come back.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Under which its journal lies: says nothing of the token, and is another one for another user.
    pub(crate) fn key(&self) -> String {
        journal_key(&self.principal, &self.token)
    }

    /// The next claim. Cancel-safe; never ready when there is none.
    pub(crate) async fn claimed(&mut self) -> Claim {
        match self.claims.recv().await {
            Some(claim) => claim,
            // Nobody can ask.
            None => std::future::pending().await,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        lock(&self.sessions).remove(&self.token);
    }
}

impl Default for Resumables {
    fn default() -> Self {
        Self { sessions: Arc::default(), resting: Arc::new(Semaphore::new(MAX_RESTING)) }
    }
}

impl Resumables {
    /// Makes the session `session_id` of `principal` known under a new token, if it can be resumed.
    pub(crate) fn register(&self, principal: &Principal, session_id: &str, resumable: bool) -> Registration {
        // 122 bits of the system's randomness.
        let token = uuid::Uuid::new_v4().to_string();
        let (claim, claims) = mpsc::channel(CLAIMS);
        if resumable {
            let entry = Entry {
                principal: principal.clone(),
                session_id: Some(session_id.to_owned()),
                claims: claim,
            };
            lock(&self.sessions).insert(token.clone(), entry);
        }
        Registration { principal: principal.clone(), token, sessions: Arc::clone(&self.sessions), claims }
    }

    /// Makes a session known that an earlier process knew by `token`, before it is made again: nobody else does that
    /// meanwhile. None when it is known.
    pub(crate) fn register_again(&self, principal: &Principal, token: &str) -> Option<Registration> {
        let mut sessions = lock(&self.sessions);
        if sessions.contains_key(token) {
            return None;
        }
        let (claim, claims) = mpsc::channel(CLAIMS);
        let entry = Entry { principal: principal.clone(), session_id: None, claims: claim };
        sessions.insert(token.to_owned(), entry);
        Some(Registration {
            principal: principal.clone(),
            token: token.to_owned(),
            sessions: Arc::clone(&self.sessions),
            claims,
        })
    }

    /// The session that `token` names, if `access` is its user's, taken from the connection that serves it.
    pub(crate) async fn claim(&self, access: &Access, token: &str) -> Result<Box<Live>, ClaimError> {
        let claims = {
            let sessions = lock(&self.sessions);
            let entry = sessions.get(token).filter(|entry| {
                let its = |id: &String| access.session_id.as_ref().is_none_or(|only| only == id);
                entry.principal == access.principal && entry.session_id.as_ref().is_none_or(its)
            });
            entry.map(|entry| entry.claims.clone()).ok_or(ClaimError::Unknown)?
        };
        let (hand, handed) = oneshot::channel();
        claims.try_send(Claim(hand)).map_err(|_| ClaimError::Busy)?;
        match timeout(HAND_OVER, handed).await {
            Ok(Ok(live)) => Ok(live),
            // It ended in the meantime.
            Ok(Err(_)) => Err(ClaimError::Unknown),
            Err(_) => Err(ClaimError::Busy),
        }
    }

    /// Gives others the slot of a session that computes nothing and waits for its client; false when there are too many of those.
    pub(crate) fn rest(&self, place: &mut Place) -> bool {
        if !place.is_resting() {
            let Ok(resting) = Arc::clone(&self.resting).try_acquire_owned() else { return false };
            place.resting = Some(resting);
            place.slot.give_back();
        }
        true
    }
}

/// Under which the journal of the session of `principal` with `token` lies.
fn journal_key(principal: &Principal, token: &str) -> String {
    // Tokens of clients may be anything; users hold no zero byte.
    let digest = Sha256::new().chain_update(&principal.user).chain_update([0]).chain_update(token).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn lock(sessions: &Mutex<HashMap<String, Entry>>) -> MutexGuard<'_, HashMap<String, Entry>> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Claims that wait while one is served; whoever finds no room is refused, and tries again.
const CLAIMS: usize = 4;
/// Longest wait for the connection that has the session: its loop never awaits anything but events.
const HAND_OVER: Duration = Duration::from_secs(2);
/// Sessions that wait for their client without a slot: of each the events that were sent, at most a megabyte, and what its
/// listeners keep.
const MAX_RESTING: usize = 256;
