//! Chunks of audio that came before others with lower numbers: kept until those come, or are given up.
//!
//! Not here: what becomes of a gap (`listening`).

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

/// The chunks of one stream that came too early.
#[derive(Default)]
pub(super) struct Early {
    chunks: BTreeMap<u32, Chunk>,
    bytes: usize,
    due: Option<Instant>,
}

/// One of them.
pub(super) struct Chunk {
    /// The last of its stream.
    pub(super) last: bool,
    pub(super) audio: Bytes,
}

impl Early {
    /// Keeps a chunk; one that came before stays. False when there are too many to wait any longer.
    pub(super) fn keep(&mut self, seq: u32, last: bool, audio: &[u8]) -> bool {
        self.chunks.entry(seq).or_insert_with(|| {
            self.bytes += audio.len();
            Chunk { last, audio: Bytes::copy_from_slice(audio) }
        });
        self.due.get_or_insert_with(|| Instant::now() + PATIENCE);
        self.chunks.len() <= MAX_CHUNKS && self.bytes <= MAX_BYTES
    }

    /// Whether `seq` is kept.
    pub(super) fn has(&self, seq: u32) -> bool {
        self.chunks.contains_key(&seq)
    }

    /// The chunk `seq`, if its turn has come.
    pub(super) fn take(&mut self, seq: u32) -> Option<Chunk> {
        let chunk = self.chunks.remove(&seq)?;
        self.bytes -= chunk.audio.len();
        self.due = (!self.chunks.is_empty()).then(|| Instant::now() + PATIENCE);
        Some(chunk)
    }

    /// Number of the first one kept.
    pub(super) fn first(&self) -> Option<u32> {
        self.chunks.keys().next().copied()
    }

    /// When to wait for the missing ones no longer.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Waits from now on.
    pub(super) fn wait(&mut self) {
        self.due = self.first().map(|_| Instant::now() + PATIENCE);
    }
}

/// Longer than packets of one path overtake each other, and than one is sent again; shorter than a listener's patience.
const PATIENCE: Duration = Duration::from_millis(300);
/// More than a second in the usual packets of 20 ms.
const MAX_CHUNKS: usize = 64;
const MAX_BYTES: usize = 256 * 1024;
