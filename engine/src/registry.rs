//! Who is being served: admission by slot, and a count for readiness.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Hands out session slots.
#[derive(Clone, Debug)]
pub struct Registry {
    slots: Arc<Semaphore>,
    max: usize,
}

/// A session's place; dropping it frees the place.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Registry {
    /// A registry with `max` places.
    pub fn new(max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max)), max }
    }

    /// A place, or `None` at once when all are taken.
    pub fn admit(&self) -> Option<Slot> {
        Arc::clone(&self.slots).try_acquire_owned().ok().map(Slot)
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
