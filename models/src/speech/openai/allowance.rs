//! So many in any minute, on tokio's clock. Not here: what is counted.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use tokio::time::Instant;

/// A bound on how often something happens.
pub(super) struct Allowance {
    per_minute: usize,
    /// Of the last minute, oldest first; never more than `per_minute`.
    taken: Mutex<VecDeque<Instant>>,
}

impl Allowance {
    pub(super) fn new(per_minute: usize) -> Self {
        Self { per_minute, taken: Mutex::default() }
    }

    /// Whether [`take`](Self::take) would succeed.
    pub(super) fn has_room(&self) -> bool {
        self.recent().len() < self.per_minute
    }

    /// Counts one; false, and not counted, when there were enough in the minute before.
    pub(super) fn take(&self) -> bool {
        let mut taken = self.recent();
        let room = taken.len() < self.per_minute;
        if room {
            taken.push_back(Instant::now());
        }
        room
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Instant>> {
        let mut taken = self.taken.lock().expect("nothing under this lock panics");
        while taken.front().is_some_and(|first| first.elapsed() >= MINUTE) {
            taken.pop_front();
        }
        taken
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn allows_so_many_in_any_minute() {
        let allowance = Allowance::new(2);
        assert!(allowance.take());
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(allowance.has_room() && allowance.take());
        assert!(!allowance.has_room() && !allowance.take());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(!allowance.take());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(allowance.take() && !allowance.take());
        assert!(!Allowance::new(0).take());
    }
}
