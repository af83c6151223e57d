//! The events of a session: numbered, serialised once, and kept for a client that comes back.
//!
//! Not here: the way to the client (`outbox`), history (`recorder`).

use std::{collections::VecDeque, sync::Arc};

use protocol::{ServerEvent, ServerMessage};

/// Every event of a session that may still have to be sent, in order.
pub(super) struct EventLog {
    /// Sent before everything else: what opens the session on a connection.
    greeting: Option<Kept>,
    kept: VecDeque<Kept>,
    /// Number of the first one kept.
    first: u64,
    /// Number of the next one to send.
    unsent: u64,
    kept_bytes: usize,
    /// Bytes of sent ones that are kept.
    max_bytes: usize,
}

struct Kept {
    json: Arc<str>,
    /// Not to be sent before the journal is written up to here.
    after: u64,
}

/// A client claims an event that it was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NeverSent;

impl EventLog {
    /// Of a session that can be resumed, or cannot: then what is sent is forgotten.
    pub(super) fn new(resumable: bool) -> Self {
        let max_bytes = if resumable { MAX_KEPT_BYTES } else { 0 };
        Self { greeting: None, kept: VecDeque::new(), first: 1, unsent: 1, kept_bytes: 0, max_bytes }
    }

    /// Appends `message` under the next number; the event, and its JSON.
    pub(super) fn push(&mut self, message: ServerMessage) -> (ServerEvent, Arc<str>) {
        let event = ServerEvent { event: self.last() + 1, message };
        let json = json(&event);
        self.keep(Arc::clone(&json));
        (event, json)
    }

    /// Holds the last event back until the journal is written up to `position`.
    pub(super) fn hold_last(&mut self, position: u64) {
        if let Some(last) = self.kept.back_mut() {
            last.after = position;
        }
    }

    /// Nothing waits for a journal any more.
    pub(super) fn release(&mut self) {
        self.kept.iter_mut().chain(&mut self.greeting).for_each(|kept| kept.after = 0);
    }

    /// Takes over an event of an earlier process, which may have sent it; false when it is not the next.
    pub(super) fn take_over(&mut self, event: &ServerEvent, json: &str) -> bool {
        let next = event.event == self.last() + 1;
        if next {
            self.keep(json.into());
            self.unsent += 1;
            self.forget();
        }
        next
    }

    fn keep(&mut self, json: Arc<str>) {
        self.kept_bytes += json.len();
        self.kept.push_back(Kept { json, after: 0 });
    }

    /// Opens the session on another connection: `message` is its first event again, as it is now, and every event after
    /// `last_event` follows, once the journal is written up to `after`. The range of those that are not kept any more, if there
    /// are any.
    pub(super) fn rewind(
        &mut self,
        message: ServerMessage,
        last_event: u64,
        after: u64,
    ) -> Result<Option<(u64, u64)>, NeverSent> {
        if last_event >= self.unsent {
            return Err(NeverSent);
        }
        self.greeting = Some(Kept { json: json(&ServerEvent { event: 1, message }), after });
        // It has been greeted.
        let wanted = last_event.max(1) + 1;
        self.unsent = wanted.max(self.first);
        Ok((wanted < self.first).then(|| (wanted, self.first - 1)))
    }

    pub(super) fn last(&self) -> u64 {
        self.first + self.kept.len() as u64 - 1
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.greeting.is_some() || self.unsent <= self.last()
    }

    /// Whether the next event may be sent, now that the journal is written up to `written`.
    pub(super) fn has_sendable(&self, written: u64) -> bool {
        self.greeting.as_ref().or_else(|| self.next()).is_some_and(|next| next.after <= written)
    }

    /// The next event, as JSON; it counts as sent.
    pub(super) fn take_next(&mut self) -> Option<Arc<str>> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting.json);
        }
        let json = Arc::clone(&self.next()?.json);
        self.unsent += 1;
        self.forget();
        Some(json)
    }

    fn next(&self) -> Option<&Kept> {
        self.kept.get(usize::try_from(self.unsent - self.first).ok()?)
    }

    /// Forgets the oldest of those sent, as far as there are too many.
    fn forget(&mut self) {
        while self.kept_bytes > self.max_bytes && self.first < self.unsent {
            self.first += 1;
            self.kept_bytes -= self.kept.pop_front().map_or(0, |kept| kept.json.len());
        }
    }
}

fn json(event: &ServerEvent) -> Arc<str> {
    serde_json::to_string(event).expect("events are plain data").into()
}

/// Thousands of events. A client that misses more is told so.
const MAX_KEPT_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use protocol::MarkerId;

    use super::*;

    fn marker(id: u64) -> ServerMessage {
        ServerMessage::Marker { id: MarkerId::Number(id) }
    }

    fn numbers(log: &mut EventLog) -> Vec<u64> {
        let taken = std::iter::from_fn(|| log.take_next());
        taken.map(|json| serde_json::from_str::<ServerEvent>(&json).unwrap().event).collect()
    }

    #[test]
    fn a_client_that_comes_back_gets_what_it_has_not_and_only_that() {
        let mut log = EventLog::new(true);
        (1..=5).for_each(|n| drop(log.push(marker(n))));
        assert_eq!(numbers(&mut log), [1, 2, 3, 4, 5]);
        log.push(marker(6));
        let check = |log: &mut EventLog, last_event, expected: &[u64]| {
            assert_eq!(log.rewind(marker(1), last_event, 0), Ok(None));
            assert_eq!(numbers(log), expected, "after {last_event}");
        };
        check(&mut log, 3, &[1, 4, 5, 6]);
        check(&mut log, 6, &[1]);
        check(&mut log, 0, &[1, 2, 3, 4, 5, 6]);
        log.push(marker(7));
        assert_eq!(log.rewind(marker(1), 7, 0), Err(NeverSent), "nobody was sent it yet");
        assert_eq!(numbers(&mut log), [7], "and nothing has changed");
    }

    #[test]
    fn memory_is_bounded_and_what_is_missing_is_told() {
        let mut log = EventLog::new(true);
        let long = || ServerMessage::Marker { id: MarkerId::Text("x".repeat(MAX_KEPT_BYTES / 8)) };
        (0..20).for_each(|_| drop(log.push(long())));
        assert_eq!(numbers(&mut log).len(), 20, "what is not sent yet is never forgotten");
        assert!(log.kept_bytes <= MAX_KEPT_BYTES);
        let Ok(Some((2, missing))) = log.rewind(marker(1), 1, 0) else { panic!("{}", log.first) };
        assert_eq!(numbers(&mut log), [&[1], &(missing + 1..=20).collect::<Vec<_>>()[..]].concat());
        let mut raw = EventLog::new(false);
        raw.push(marker(1));
        numbers(&mut raw);
        assert_eq!((raw.kept.len(), raw.last()), (0, 1));
    }
}
