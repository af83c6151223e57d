//! Which links of a chain are asked: those that failed rest, and one request tries them again.
//!
//! Not here: what counts as a failure, and the asking (`fallback`).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The health of all links of a chain, for all its requests.
pub(super) struct Health {
    state: Mutex<State>,
}

struct State {
    links: Vec<Link>,
}

#[derive(Clone, Copy)]
struct Link {
    condition: Condition,
    /// Failures so far. What began before the last of them says nothing new.
    failures: u64,
}

#[derive(Clone, Copy)]
enum Condition {
    Well,
    /// Not asked until then.
    Resting(Instant),
    /// Rested; one request is trying it.
    Probed,
}

/// One request asking one link. Dropped without a verdict, a probe leaves that to the next request.
pub(super) struct Attempt {
    health: Arc<Health>,
    link: usize,
    failures: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Usual,
    /// The one that decides whether the link is well again.
    Probe,
    /// Of a link that rests, for want of another. Its success says little: it may have come from a cache.
    Forced,
}

impl Health {
    pub(super) fn new(links: usize) -> Arc<Self> {
        let links = vec![Link { condition: Condition::Well, failures: 0 }; links];
        Arc::new(Self { state: Mutex::new(State { links }) })
    }

    /// Whom a request asks that has `asked` these links, in this order: the first that is well or has rested; where all rest, the
    /// one whose rest ends first, but no more than one such.
    pub(super) fn next(self: &Arc<Self>, asked: &[usize], forced: bool) -> Option<Attempt> {
        let mut state = self.lock();
        let now = Instant::now();
        let open: Vec<usize> = (0..state.links.len()).filter(|link| !asked.contains(link)).collect();
        let (link, kind) = match open.iter().find(|&&link| state.links[link].is_open(now)) {
            Some(&link) => match state.links[link].condition {
                Condition::Well => (link, Kind::Usual),
                _ => (link, Kind::Probe),
            },
            None if forced => return None,
            None => (open.into_iter().min_by_key(|&link| state.links[link].rests_until(now))?, Kind::Forced),
        };
        if kind == Kind::Probe {
            state.links[link].condition = Condition::Probed;
        }
        let failures = state.links[link].failures;
        Some(Attempt { health: Arc::clone(self), link, failures, kind })
    }

    /// Whether another link than `asked` is well, or has rested.
    pub(super) fn has_other(&self, asked: &[usize]) -> bool {
        let state = self.lock();
        let now = Instant::now();
        let mut links = state.links.iter().enumerate();
        links.any(|(place, link)| !asked.contains(&place) && link.is_open(now))
    }

    /// Whom the next request will ask, as things are.
    pub(super) fn foremost(&self) -> usize {
        let state = self.lock();
        let now = Instant::now();
        let open = state.links.iter().position(|link| link.is_open(now));
        open.or((0..state.links.len()).min_by_key(|&link| state.links[link].rests_until(now))).unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn is_open(&self, now: Instant) -> bool {
        match self.condition {
            Condition::Well => true,
            Condition::Resting(until) => until <= now,
            Condition::Probed => false,
        }
    }

    fn rests_until(&self, now: Instant) -> Instant {
        match self.condition {
            Condition::Resting(until) => until,
            Condition::Well | Condition::Probed => now,
        }
    }
}

impl Attempt {
    /// Which link is asked.
    pub(super) fn link(&self) -> usize {
        self.link
    }

    /// Whether this decides if the link is well again.
    pub(super) fn is_probe(&self) -> bool {
        self.kind == Kind::Probe
    }

    /// Whether the link rests.
    pub(super) fn is_forced(&self) -> bool {
        self.kind == Kind::Forced
    }

    /// The link answers.
    pub(super) fn answers(&mut self) {
        let mut state = self.health.lock();
        let link = &mut state.links[self.link];
        if self.kind == Kind::Probe && link.failures == self.failures {
            link.condition = Condition::Well;
        }
        self.kind = Kind::Usual;
    }

    /// The link does not do its work, and rests. Not called, where the request is at fault.
    pub(super) fn failed(&mut self, rest: Duration) {
        let mut state = self.health.lock();
        let link = &mut state.links[self.link];
        // Others that were under way may fail after the first that did: it rests no longer for that.
        if link.failures == self.failures {
            link.failures += 1;
            link.condition = Condition::Resting(Instant::now() + rest);
        }
        self.kind = Kind::Usual;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = self.health.lock();
        let link = &mut state.links[self.link];
        if self.kind == Kind::Probe && link.failures == self.failures {
            link.condition = Condition::Resting(Instant::now());
        }
    }
}
