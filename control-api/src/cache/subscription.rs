//! Hearing what is published, through a bounded queue that says when it overflowed.
//!
//! Not here: how messages get there.

use std::{collections::HashMap, sync::Mutex};

use bytes::Bytes;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{CacheError, check_key};

/// Hears one topic. Dropped, it is no subscriber any more.
#[derive(Debug)]
pub struct Subscription {
    messages: broadcast::Receiver<Heard>,
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Somebody published this.
    Message(Bytes),
    /// Something may have been missed: this subscriber was more than 256 messages behind, or the server was away. Whoever
    /// hears of revocations asks the store about everybody now.
    Missed,
}

impl Subscription {
    /// The next message, in the order of publishing; `None` when the cache is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.messages.recv().await {
            Ok(heard) => Some(heard),
            Err(RecvError::Lagged(_)) => Some(Heard::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

/// The topics of one process.
#[derive(Debug, Default)]
pub(super) struct Topics {
    senders: Mutex<HashMap<String, broadcast::Sender<Heard>>>,
}

impl Topics {
    pub(super) fn subscribe(&self, topic: &str) -> Result<Subscription, CacheError> {
        check_key(topic)?;
        let mut senders = self.senders.lock().expect("nothing panics while it is locked");
        if !senders.contains_key(topic) {
            senders.retain(|_, sender| sender.receiver_count() > 0);
            if senders.len() >= MAX_TOPICS {
                return Err(CacheError::Invalid("256 topics are heard already"));
            }
        }
        let sender = senders.entry(topic.to_owned()).or_insert_with(|| broadcast::channel(MAX_BEHIND).0);
        Ok(Subscription { messages: sender.subscribe() })
    }

    /// Never waits: a subscriber that is too far behind loses the oldest, and is told.
    pub(super) fn tell(&self, topic: &str, heard: Heard) {
        let senders = self.senders.lock().expect("nothing panics while it is locked");
        if let Some(sender) = senders.get(topic) {
            // Nobody there any more.
            let _ = sender.send(heard);
        }
    }

    /// Tells every subscriber of every topic that something may have been missed.
    pub(super) fn tell_all_missed(&self) {
        let senders = self.senders.lock().expect("nothing panics while it is locked");
        for sender in senders.values() {
            let _ = sender.send(Heard::Missed);
        }
    }
}

/// Messages that wait for a slow subscriber; the oldest is dropped, and [`Heard::Missed`] says so.
const MAX_BEHIND: usize = 256;
const MAX_TOPICS: usize = 256;
