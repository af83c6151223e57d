//! A connection that is open before it is needed: DNS, TCP and TLS cost the first answer 100 ms and more.
//!
//! Not here: which request opens it, and when (a session knows when a question may come).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use reqwest::RequestBuilder;
use tokio::time::{Instant, timeout};

/// When a server's connection was last seen open.
#[derive(Debug, Default)]
pub(crate) struct Warmth {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: Option<Instant>,
    under_way: bool,
}

impl Warmth {
    /// A request has ended well, and left its connection open.
    pub(crate) fn used(&self) {
        self.lock().used = Some(Instant::now());
    }

    /// Sends `request` and throws the answer away, at most a megabyte of it, within 3 s; does nothing when a connection was
    /// used in the last 30 s, or another request of this kind is under way. Cancel-safe.
    pub(crate) async fn warm(&self, request: RequestBuilder) {
        let Some(_turn) = self.turn() else { return };
        let answered = async {
            let mut chunks = request.send().await.ok()?.bytes_stream();
            let mut bytes = 0;
            // Only a connection whose answer was read to its end is used again.
            while let Some(chunk) = chunks.next().await {
                bytes += chunk.ok()?.len();
                if bytes > ANSWER_BYTES {
                    return None;
                }
            }
            Some(())
        };
        if let Ok(Some(())) = timeout(PATIENCE, answered).await {
            self.used();
        }
    }

    fn turn(&self) -> Option<Turn<'_>> {
        let mut state = self.lock();
        let warm = state.used.is_some_and(|used| used.elapsed() < WARM);
        if warm || state.under_way {
            return None;
        }
        state.under_way = true;
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Dropped, it lets the next one try.
struct Turn<'a>(&'a Warmth);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().under_way = false;
    }
}

/// A list of models takes 100 bytes to 400 KB.
const ANSWER_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(3);
/// Servers and what stands before them keep an idle connection for a minute and more, as a rule.
const WARM: Duration = Duration::from_secs(30);
