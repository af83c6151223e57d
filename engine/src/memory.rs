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
    /// The connection that goes on with it: what an earlier one still has to say is out of date.
    connection: u64,
    history: History,
    until: Instant,
}

impl Memories {
    /// Keeps what `connection` knows of the conversation for [`KEPT`], unless another has taken it over. The oldest of more than
    /// 256 is forgotten.
    pub(crate) fn keep(&self, principal: &Principal, session_id: &str, connection: u64, history: &History) {
        let mut memories = self.lock();
        let until = Instant::now() + KEPT;
        if let Some(memory) = memories.iter_mut().find(|memory| memory.is(principal, session_id)) {
            if memory.connection == connection {
                (memory.history, memory.until) = (history.clone(), until);
            }
            return;
        }
        if memories.len() == MOST {
            memories.pop_front();
        }
        let (principal, session_id) = (principal.clone(), session_id.to_owned());
        memories.push_back(Memory { principal, session_id, connection, history: history.clone(), until });
    }

    /// What was said in `session_id` of `principal`, if it is remembered; from now on `connection` keeps it.
    pub(crate) fn take_over(
        &self,
        principal: &Principal,
        session_id: &str,
        connection: u64,
    ) -> Option<History> {
        let mut memories = self.lock();
        let memory = memories.iter_mut().find(|memory| memory.is(principal, session_id))?;
        memory.connection = connection;
        Some(memory.history.clone())
    }

    /// The conversation of `connection` is over.
    pub(crate) fn forget(&self, principal: &Principal, session_id: &str, connection: u64) {
        self.lock().retain(|memory| !memory.is(principal, session_id) || memory.connection != connection);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Memory>> {
        let mut memories = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        memories.retain(|memory| memory.until > now);
        memories
    }
}

impl Memory {
    fn is(&self, principal: &Principal, session_id: &str) -> bool {
        self.principal == *principal && self.session_id == session_id
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

    fn text(history: Option<History>) -> Option<String> {
        history.map(|history| history.excerpt(100))
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_user_goes_on_with_a_session_while_the_old_connection_is_still_dying() {
        let memories = Memories::default();
        memories.keep(&user("ada"), "s", 1, &history("old"));
        memories.keep(&user("ada"), "s", 1, &history("new"));
        assert!(memories.take_over(&user("eve"), "s", 2).is_none());
        assert!(memories.take_over(&user("ada"), "t", 2).is_none());
        assert_eq!(text(memories.take_over(&user("ada"), "s", 2)).as_deref(), Some("Interviewer: new\n"));
        memories.keep(&user("ada"), "s", 2, &history("newer"));
        memories.keep(&user("ada"), "s", 1, &history("late"));
        memories.forget(&user("ada"), "s", 1);
        assert_eq!(text(memories.take_over(&user("ada"), "s", 3)).as_deref(), Some("Interviewer: newer\n"));
        memories.forget(&user("ada"), "s", 3);
        assert!(memories.take_over(&user("ada"), "s", 4).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded_in_time_and_number() {
        let memories = Memories::default();
        for n in 0..MOST + 10 {
            memories.keep(&user("ada"), &n.to_string(), 1, &history("x"));
        }
        assert!(memories.take_over(&user("ada"), "9", 2).is_none());
        assert!(memories.take_over(&user("ada"), "10", 2).is_some());
        tokio::time::advance(KEPT).await;
        assert!(memories.take_over(&user("ada"), "11", 2).is_none());
    }
}
