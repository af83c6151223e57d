//! The latency receipt of one answer. Not here: who stamps it (`answering`).

use protocol::Timings;
use tokio::time::Instant;

/// When what happened on the way from a question to its answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    endpoint_ms: u64,
    decided: Instant,
    text: Instant,
    /// The request had left.
    pub(super) asked: Option<Instant>,
    /// The first text went to the client.
    pub(super) first: Option<Instant>,
    /// The last text went to the client.
    pub(super) last: Option<Instant>,
}

impl Clock {
    /// The final text is there now.
    pub(super) fn new(endpoint_ms: u64, decided: Instant) -> Self {
        Self { endpoint_ms, decided, text: Instant::now(), asked: None, first: None, last: None }
    }

    /// Text goes to the client now.
    pub(super) fn stamp_text(&mut self) {
        let now = Instant::now();
        self.first.get_or_insert(now);
        self.last = Some(now);
    }

    /// Each stage is the difference of rounded instants, so that the stages add up exactly.
    ///
    /// What was asked on a guess had left before the final text was there: its stages are 0 until the text went out.
    pub(super) fn receipt(&self) -> Timings {
        let at = |instant: Instant| {
            self.endpoint_ms + (instant.duration_since(self.decided).as_secs_f64() * 1e3).round() as u64
        };
        let text = at(self.text);
        let asked = at(self.asked.unwrap_or(self.text)).max(text);
        let first = at(self.first.unwrap_or_else(Instant::now)).max(asked);
        let last = self.last.map_or(first, at).max(first);
        Timings {
            endpoint: self.endpoint_ms,
            transcript: text - self.endpoint_ms,
            request: asked - text,
            first_token: first - asked,
            last_token: last - first,
            total_to_first_token: first,
        }
    }
}
