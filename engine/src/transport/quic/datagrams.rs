//! Datagrams on their way to the session: at most 200 ms of audio, the oldest go first, and each that goes is counted.
//!
//! A client is told of what is missing by the session, which looks at the numbers in the frames.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use web_transport_quinn::{Session, SessionError, WebTransportError};

/// The datagrams of one connection. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Datagrams(Arc<Waiting>);

impl Datagrams {
    /// Takes the datagrams out of `session`, whose own queue would drop them uncounted, until it is closed.
    pub(super) async fn take(&self, session: &Session) {
        loop {
            match session.read_datagram().await {
                Ok(datagram) => {
                    let dropped = self.0.queue().push(datagram);
                    if dropped > 0 {
                        metrics::counter!("audio_datagrams_dropped_total").increment(dropped);
                    }
                    self.0.waker.wake();
                }
                // Of a session that is not this one: no audio.
                Err(SessionError::WebTransportError(WebTransportError::UnknownSession)) => {}
                Err(_) => return,
            }
        }
    }

    /// The oldest datagram there is; pending for ever once there are no more.
    pub(super) fn poll_pop(&self, cx: &mut Context<'_>) -> Poll<Bytes> {
        if let Some(datagram) = self.0.queue().pop() {
            return Poll::Ready(datagram);
        }
        self.0.waker.register(cx.waker());
        // One that came in between.
        self.0.queue().pop().map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Debug, Default)]
struct Waiting {
    queue: Mutex<Queue>,
    waker: AtomicWaker,
}

impl Waiting {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    /// Says how many older ones had to go.
    fn push(&mut self, datagram: Bytes) -> u64 {
        self.bytes += datagram.len();
        self.datagrams.push_back(datagram);
        let mut dropped = 0;
        while self.datagrams.len() > MAX_DATAGRAMS || self.bytes > MAX_BYTES {
            self.pop();
            dropped += 1;
        }
        dropped
    }

    fn pop(&mut self) -> Option<Bytes> {
        let datagram = self.datagrams.pop_front()?;
        self.bytes -= datagram.len();
        Some(datagram)
    }
}

/// 200 ms of two channels of 16 bit at 48 kHz, the densest that conversations are sent as, and the headers of these frames.
pub(super) const MAX_BYTES: usize = 2 * 2 * 48_000 / 5 + 40 * protocol::FrameHeader::LEN;
/// 200 ms of eight channels, each in packets of 10 ms: where they are small, this is the bound.
const MAX_DATAGRAMS: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many_or_they_are_too_large() {
        let mut queue = Queue::default();
        let dropped: u64 = (0..200_u8).map(|n| queue.push(vec![n].into())).sum();
        assert_eq!((dropped, queue.datagrams.len(), queue.bytes), (40, 160, 160));
        assert_eq!(queue.pop().unwrap()[0], 40);
        let dropped: u64 = (0..100).map(|_| queue.push(vec![0; 1_000].into())).sum();
        assert!(queue.bytes <= MAX_BYTES && queue.datagrams.len() == 38, "{} bytes", queue.bytes);
        assert_eq!(dropped, 159 + 62);
        while queue.pop().is_some() {}
        assert_eq!(queue.bytes, 0);
    }
}
