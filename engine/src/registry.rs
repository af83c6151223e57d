//! Who is being served: admission by slot and by user, a count for readiness, and the end of sessions whose login ended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::ports::{Access, Principal};

/// Hands out session slots. Clones hand out the same.
#[derive(Clone, Debug)]
pub struct Registry {
    slots: Arc<Semaphore>,
    max: usize,
    max_per_user: usize,
    live: Arc<Live>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// All places of the server are taken; there are so many.
    Server(usize),
    /// The user has as many sessions as one may have at once.
    User(usize),
}

/// A session's place; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    /// None once others may have the place.
    permit: Option<OwnedSemaphorePermit>,
    revoked: CancellationToken,
    number: u64,
    live: Arc<Live>,
}

/// As many as there are slots, and those that were given back early.
#[derive(Debug, Default)]
struct Live {
    last: AtomicU64,
    sessions: Mutex<Sessions>,
}

#[derive(Debug, Default)]
struct Sessions {
    by_number: HashMap<u64, (Access, CancellationToken)>,
    /// How many each user with an account has: nobody with none.
    per_user: HashMap<Principal, usize>,
}

impl Registry {
    /// A registry with `max` places, all of which one user may take.
    pub fn new(max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max)), max, max_per_user: max, live: Arc::default() }
    }

    /// Gives each user with an account at most `max_per_user` places at once. Who was let in without one may be
    /// anybody: all of them together are bounded by the server's places only.
    pub fn per_user(self, max_per_user: usize) -> Self {
        Self { max_per_user, ..self }
    }

    /// A place, at once.
    ///
    /// # Errors
    /// All are taken, or all that the user may have.
    pub fn admit(&self, access: &Access) -> Result<Slot, Full> {
        let slots = Arc::clone(&self.slots);
        let permit = slots.try_acquire_owned().map_err(|_| Full::Server(self.max))?;
        let (revoked, live) = (CancellationToken::new(), Arc::clone(&self.live));
        let mut sessions = live.sessions();
        if access.principal != Principal::local() {
            let taken = sessions.per_user.entry(access.principal.clone()).or_default();
            if *taken >= self.max_per_user {
                return Err(Full::User(self.max_per_user));
            }
            *taken += 1;
        }
        let number = live.last.fetch_add(1, Ordering::Relaxed);
        sessions.by_number.insert(number, (access.clone(), revoked.clone()));
        drop(sessions);
        Ok(Slot { permit: Some(permit), revoked, number, live })
    }

    /// Ends the sessions whose access has been taken away; says how many. Their clients are told.
    pub fn revoke(&self, is_revoked: impl Fn(&Access) -> bool) -> usize {
        let sessions = self.live.sessions();
        let revoked = sessions.by_number.values().filter(|(access, _)| is_revoked(access));
        revoked.map(|(_, session)| session.cancel()).count()
    }

    /// What each of the sessions was let in for.
    pub fn accesses(&self) -> Vec<Access> {
        self.live.sessions().by_number.values().map(|(access, _)| access.clone()).collect()
    }

    /// Sessions being served.
    pub fn active(&self) -> usize {
        self.max - self.slots.available_permits()
    }

    /// Places there are.
    pub fn max(&self) -> usize {
        self.max
    }
}

impl Slot {
    /// The session goes on with another connection, which was let in with `access`.
    pub(crate) fn set_access(&mut self, access: &Access) {
        if let Some((known, _)) = self.live.sessions().by_number.get_mut(&self.number) {
            known.clone_from(access);
        }
    }

    /// Gives the place to others. The session is still known, for as long as this lives: it may be revoked.
    pub(crate) fn give_back(&mut self) {
        let mut sessions = self.live.sessions();
        if self.permit.take().is_some()
            && let Some((access, _)) = sessions.by_number.get(&self.number)
        {
            let principal = access.principal.clone();
            sessions.give_back(&principal);
        }
    }

    /// Completes when the session's access is taken away. Cancel-safe.
    pub(crate) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut sessions = self.live.sessions();
        let Some((access, _)) = sessions.by_number.remove(&self.number) else { return };
        if self.permit.is_some() {
            sessions.give_back(&access.principal);
        }
    }
}

impl Sessions {
    /// One of the user's places.
    fn give_back(&mut self, principal: &Principal) {
        if let Some(taken) = self.per_user.get_mut(principal) {
            *taken -= 1;
            if *taken == 0 {
                self.per_user.remove(principal);
            }
        }
    }
}

impl Live {
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::ports::Principal;

    #[test]
    fn only_what_is_revoked_is_told_and_only_while_it_lives() {
        let registry = Registry::new(3);
        let access = |login: &str| Access { login: Some(login.to_owned()), ..Principal::local().into() };
        let (phone, desk) =
            (registry.admit(&access("phone")).unwrap(), registry.admit(&access("desk")).unwrap());
        let gone = registry.admit(&access("phone")).unwrap();
        assert_eq!(registry.admit(&access("late")).unwrap_err(), Full::Server(3));
        drop(gone);
        assert_eq!((registry.active(), registry.accesses().len()), (2, 2));
        assert_eq!(registry.revoke(|access| access.login.as_deref() == Some("phone")), 1);
        assert!(phone.revoked().now_or_never().is_some());
        assert!(desk.revoked().now_or_never().is_none());
    }
    #[test]
    fn a_user_has_so_many_places_and_gets_them_back() {
        let registry = Registry::new(10).per_user(2);
        let ada: Access = Principal { user: "ada".to_owned() }.into();
        let (first, _second) = (registry.admit(&ada).unwrap(), registry.admit(&ada).unwrap());
        assert_eq!(registry.admit(&ada).unwrap_err(), Full::User(2));
        registry.admit(&Principal { user: "bob".to_owned() }.into()).unwrap();
        let local: Access = Principal::local().into();
        let all: Vec<_> = (0..8).map(|_| registry.admit(&local).unwrap()).collect();
        assert_eq!((all.len(), registry.active()), (8, 10), "who has no account is not one user");
        drop((all, first));
        let mut rests = registry.admit(&ada).unwrap();
        rests.give_back();
        rests.give_back();
        assert_eq!((registry.active(), registry.revoke(|access| *access == ada)), (1, 2));
        drop(rests);
        registry.admit(&ada).unwrap();
        assert_eq!(registry.live.sessions().per_user.len(), 1, "nothing is kept of who has left");
    }
}
