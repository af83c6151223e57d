//! Who is being served: admission by slot, a count for readiness, and the end of sessions whose login ended.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::ports::Access;

/// Hands out session slots. Clones hand out the same.
#[derive(Clone, Debug)]
pub struct Registry {
    slots: Arc<Semaphore>,
    max: usize,
    live: Arc<Live>,
}

/// A session's place; dropping it frees the place.
#[derive(Debug)]
pub struct Slot {
    _permit: OwnedSemaphorePermit,
    revoked: CancellationToken,
    number: u64,
    live: Arc<Live>,
}

/// As many as there are slots taken.
#[derive(Debug, Default)]
struct Live {
    last: AtomicU64,
    sessions: Mutex<HashMap<u64, (Access, CancellationToken)>>,
}

impl Registry {
    /// A registry with `max` places.
    pub fn new(max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max)), max, live: Arc::default() }
    }

    /// A place, or `None` at once when all are taken.
    pub fn admit(&self, access: &Access) -> Option<Slot> {
        let permit = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        let (revoked, live) = (CancellationToken::new(), Arc::clone(&self.live));
        let number = live.last.fetch_add(1, Ordering::Relaxed);
        live.sessions().insert(number, (access.clone(), revoked.clone()));
        Some(Slot { _permit: permit, revoked, number, live })
    }

    /// Ends the sessions whose access has been taken away; says how many. Their clients are told.
    pub fn revoke(&self, is_revoked: impl Fn(&Access) -> bool) -> usize {
        let sessions = self.live.sessions();
        let revoked = sessions.values().filter(|(access, _)| is_revoked(access));
        revoked.map(|(_, session)| session.cancel()).count()
    }

    /// What each of the sessions being served was let in for.
    pub fn accesses(&self) -> Vec<Access> {
        self.live.sessions().values().map(|(access, _)| access.clone()).collect()
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
        if let Some((known, _)) = self.live.sessions().get_mut(&self.number) {
            known.clone_from(access);
        }
    }

    /// Completes when the session's access is taken away. Cancel-safe.
    pub(crate) async fn revoked(&self) {
        self.revoked.cancelled().await;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.live.sessions().remove(&self.number);
    }
}

impl Live {
    fn sessions(&self) -> MutexGuard<'_, HashMap<u64, (Access, CancellationToken)>> {
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
        assert!(registry.admit(&access("late")).is_none(), "all places are taken");
        drop(gone);
        assert_eq!((registry.active(), registry.accesses().len()), (2, 2));
        assert_eq!(registry.revoke(|access| access.login.as_deref() == Some("phone")), 1);
        assert!(phone.revoked().now_or_never().is_some());
        assert!(desk.revoked().now_or_never().is_none());
    }
}
