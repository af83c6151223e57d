//! Texts of audio that was written down before: the same recording sent again costs nothing.
//!
//! In memory only, bounded in bytes; the least recently used goes first. Not here: texts kept for a user (history).

use std::{mem::size_of, sync::Arc};

use futures_util::{StreamExt, stream::BoxStream};
use moka::{policy::EvictionPolicy, sync::Cache};
use sha2::{Digest, Sha256};

use super::{
    Priority, TranscribeError, TranscribeRequest, Transcriber, Transcript, TranscriptEvent, Word,
    started::{Event, at_once},
};

/// Transcripts by what they were made from. Clones are the same cache, which several [`Cached`] may share.
#[derive(Clone)]
pub struct TranscriptCache {
    texts: Cache<Key, Arc<Transcript>>,
}

impl TranscriptCache {
    /// A cache of `bytes` bytes, its own bookkeeping counted in; a minute of speech takes about 10 KB. Shortly, some
    /// texts more may be held, until they are weighed.
    pub fn new(bytes: u64) -> Self {
        let texts = Cache::builder()
            .max_capacity(bytes)
            .weigher(|_, transcript: &Arc<Transcript>| weight(transcript))
            // What came last was said last. moka's own policy would rather keep what was asked for often.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { texts }
    }

    /// Bytes held, and texts. Weighs what came in since the last time.
    pub fn size(&self) -> (u64, u64) {
        self.texts.run_pending_tasks();
        (self.texts.weighted_size(), self.texts.entry_count())
    }
}

/// A transcriber that answers from a cache what it can.
///
/// Only requests that allow it ([`TranscribeRequest::cache`]) are served from there or kept. Interim requests are not,
/// as their audio grows and never comes again; nor are texts that came with a warning. Finding the place of a request
/// takes a hash of its audio, 3 ms for a minute of it (SHA-256 in hardware), on the caller's thread.
pub struct Cached<T> {
    inner: T,
    model: String,
    cache: TranscriptCache,
}

impl<T: Transcriber> Cached<T> {
    /// Keeps what `inner` writes in `cache`. `model` must name all that decides what `inner` makes of a request: other
    /// weights and other servers have other names.
    pub fn new(inner: T, model: impl Into<String>, cache: TranscriptCache) -> Self {
        metrics::describe_counter!("speech_cache_hits_total", "Requests answered by texts kept in memory");
        metrics::describe_counter!(
            "speech_cache_misses_total",
            "Requests that could have been, but were not"
        );
        Self { inner, model: model.into(), cache }
    }

    /// Everything that decides the text. Fields of changing length say how long they are, so that none runs into the next.
    fn key(&self, request: &TranscribeRequest) -> Key {
        let TranscribeRequest {
            audio,
            language,
            vocabulary,
            settled,
            before,
            priority: _,
            stream: _,
            cache: _,
        } = request;
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(self.model.as_bytes());
        // No language is another wish than the empty one.
        add(&[u8::from(language.is_some())]);
        add(language.as_deref().unwrap_or_default().as_bytes());
        add(&(vocabulary.len() as u64).to_le_bytes());
        vocabulary.iter().for_each(|term| add(term.as_bytes()));
        add(&(settled.len() as u64).to_le_bytes());
        settled.iter().for_each(|word| add(word.text.as_bytes()));
        add(before.as_bytes());
        let mut block = [0; 4_096];
        for samples in audio.chunks(block.len() / 4) {
            for (place, sample) in block.chunks_exact_mut(4).zip(samples) {
                place.copy_from_slice(&sample.to_le_bytes());
            }
            hash.update(&block[..samples.len() * 4]);
        }
        hash.finalize().into()
    }
}

impl<T: Transcriber> Transcriber for Cached<T> {
    fn serves(&self, priority: Priority) -> bool {
        self.inner.serves(priority)
    }

    fn capacity(&self) -> Option<usize> {
        self.inner.capacity()
    }

    fn confirm(&self, stream: u64) {
        self.inner.confirm(stream);
    }

    fn transcribe(&self, request: TranscribeRequest) -> BoxStream<'static, Event> {
        if !request.cache || request.priority == Priority::Interim {
            return self.inner.transcribe(request);
        }
        let key = self.key(&request);
        if let Some(transcript) = self.cache.texts.get(&key) {
            metrics::counter!("speech_cache_hits_total").increment(1);
            return at_once(Ok(TranscriptEvent::Final((*transcript).clone())));
        }
        metrics::counter!("speech_cache_misses_total").increment(1);
        let texts = self.cache.texts.clone();
        let mut degraded = false;
        let events = self.inner.transcribe(request);
        events
            .inspect(move |event: &Result<TranscriptEvent, TranscribeError>| match event {
                Ok(TranscriptEvent::Final(transcript)) if !degraded => {
                    texts.insert(key, Arc::new(transcript.clone()));
                }
                Ok(TranscriptEvent::Warning { .. }) => degraded = true,
                _ => {}
            })
            .boxed()
    }
}

type Key = [u8; 32];

fn weight(transcript: &Transcript) -> u32 {
    let words: usize = transcript.words.iter().map(|word| size_of::<Word>() + word.text.len()).sum();
    let text = transcript.text.len() + transcript.language.len();
    u32::try_from(size_of::<Transcript>() + words + text + OVERHEAD).unwrap_or(u32::MAX)
}

/// Key, entry and list nodes of moka, and the allocator's own, about.
const OVERHEAD: usize = 300;
