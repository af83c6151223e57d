//! What was said in sessions whose connection was lost, for when their client comes back.
//!
//! In memory only, and bounded. Not here: what the history of a user keeps (`recorder`), and resuming exactly.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{history::History, ports::Principal};

/// Conversations to go on with.
#[derive(Debug, Default)]
pub struct Memories(Mutex<VecDeque<Memory>>);

#[derive(Debug)]
struct Memory {
    principal: Principal,
    session_id: String,
    history: History,
    until: Instant,
}

impl Memories {
    /// Keeps `history` for [`KEPT`], in place of what there was of the session. The oldest of more than 256 is forgotten.
    pub(crate) fn keep(&self, principal: Principal, session_id: String, history: History) {
        let mut memories = self.lock();
        memories.retain(|memory| memory.principal != principal || memory.session_id != session_id);
        if memories.len() == MOST {
            memories.pop_front();
        }
        memories.push_back(Memory { principal, session_id, history, until: Instant::now() + KEPT });
    }

    /// What `principal` heard in `session_id`, if it is remembered; it is forgotten here.
    pub(crate) fn take(&self, principal: &Principal, session_id: &str) -> Option<History> {
        let mut memories = self.lock();
        let index = memories
            .iter()
            .position(|memory| memory.principal == *principal && memory.session_id == session_id)?;
        memories.remove(index).map(|memory| memory.history)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Memory>> {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        memories.retain(|memory| memory.until > now);
        memories
    }
}

/// Longer than a router takes to start again.
const KEPT: Duration = Duration::from_secs(600);
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use protocol::Role;

    use super::*;

    fn user(name: &str) -> Principal {
        Principal { user: name.to_owned() }
    }

    fn history(text: &str) -> History {
        let mut history = History::default();
        history.said(1, Role::Interviewer, text);
        history
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_same_user_goes_on_with_a_session_and_once() {
        let memories = Memories::default();
        memories.keep(user("ada"), "s".to_owned(), history("old"));
        memories.keep(user("ada"), "s".to_owned(), history("new"));
        assert!(memories.take(&user("eve"), "s").is_none());
        assert!(memories.take(&user("ada"), "t").is_none());
        let text = memories.take(&user("ada"), "s").map(|history| history.excerpt(100));
        assert_eq!(text.as_deref(), Some("Interviewer: new\n"));
        assert!(memories.take(&user("ada"), "s").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_in_time_and_number() {
        let memories = Memories::default();
        for n in 0..MOST + 10 {
            memories.keep(user("ada"), n.to_string(), history("x"));
        }
        assert!(memories.take(&user("ada"), "9").is_none());
        assert!(memories.take(&user("ada"), "10").is_some());
        tokio::time::advance(KEPT).await;
        assert!(memories.take(&user("ada"), "11").is_none());
    }
}
