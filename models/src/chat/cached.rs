//! Answers that were written before: the same question in the same context costs nothing, and comes at once.
//!
//! In memory only, bounded in bytes and age; the least recently used goes first. Not here: what the context is (the engine
//! digests it), and answers kept for a user (history).

use std::{mem::size_of, sync::Arc, time::Duration};

use async_stream::stream;
use futures_util::{StreamExt, future::BoxFuture, stream::BoxStream};
use moka::{policy::EvictionPolicy, sync::Cache};
use sha2::{Digest, Sha256};

use super::{AnswerDelta, AnswerEnd, ChatError, ChatModel, ChatRequest, TokenUsage};

/// Answers by what they answer. Clones are the same cache, which several [`Cached`] may share.
#[derive(Clone)]
pub struct AnswerCache {
    answers: Cache<Key, Arc<Kept>>,
}

struct Kept {
    text: String,
    end: AnswerEnd,
}

impl AnswerCache {
    /// A cache of `bytes` bytes, its own bookkeeping counted in, whose answers are forgotten when they are `max_age` old. A spoken
    /// minute takes about 1 KB. Shortly, some answers more may be held, until they are weighed.
    pub fn new(bytes: u64, max_age: Duration) -> Self {
        let answers = Cache::builder()
            .max_capacity(bytes)
            .time_to_live(max_age)
            .weigher(|_, kept: &Arc<Kept>| weight(kept))
            // What was asked last is what is asked again. moka's own policy would rather keep what was asked for often.
            .eviction_policy(EvictionPolicy::lru())
            .build();
        Self { answers }
    }

    /// Bytes held, and answers. Weighs what came in since the last time.
    pub fn size(&self) -> (u64, u64) {
        self.answers.run_pending_tasks();
        (self.answers.weighted_size(), self.answers.entry_count())
    }
}

/// A chat model that answers from a cache what it can.
///
/// Only requests that allow it ([`ChatRequest::context`]) are served from there or kept. Kept are whole answers that ended with
/// `stop`. An answer from the cache streams too, word by word, without a pause; its end says `cached` and no
/// usage. Two that ask the same at once are two requests.
pub struct Cached<M> {
    inner: M,
    model: Arc<str>,
    cache: AnswerCache,
}

impl<M: ChatModel> Cached<M> {
    /// Keeps what `inner` answers in `cache`. `model` must name all that decides what `inner` makes of a request: other models,
    /// options and servers have other names.
    pub fn new(inner: M, model: impl Into<Arc<str>>, cache: AnswerCache) -> Self {
        metrics::describe_counter!("answers_cache_hits_total", "Answers from memory");
        metrics::describe_counter!(
            "answers_cache_misses_total",
            "Answers that could have come from memory, but did not"
        );
        Self { inner, model: model.into(), cache }
    }

    /// Everything that decides the answer. Fields of changing length say how long they are, so that none runs into the next.
    fn key(&self, request: &ChatRequest, context: &[u8; 32]) -> Key {
        // The messages are context and question, in the engine's words.
        let ChatRequest { messages: _, question, sources: _, max_tokens, context: _ } = request;
        let mut hash = Sha256::new();
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(bytes);
        };
        add(self.model.as_bytes());
        add(context);
        add(&max_tokens.to_le_bytes());
        add(normalised(question).as_bytes());
        hash.finalize().into()
    }
}

impl<M: ChatModel> ChatModel for Cached<M> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let Some(context) = request.context else { return self.inner.answer(request) };
        let key = self.key(&request, &context);
        let answers = self.cache.answers.clone();
        let mut deltas = self.inner.answer(request);
        Box::pin(stream! {
            if let Some(kept) = answers.get(&key) {
                metrics::counter!("answers_cache_hits_total").increment(1);
                yield Ok(AnswerDelta::RequestSent);
                for word in kept.text.split_inclusive(char::is_whitespace) {
                    yield Ok(AnswerDelta::Text(word.to_owned()));
                }
                yield Ok(AnswerDelta::Done(kept.end.clone()));
                return;
            }
            metrics::counter!("answers_cache_misses_total").increment(1);
            let mut text = Some(String::new());
            while let Some(delta) = deltas.next().await {
                match &delta {
                    Ok(AnswerDelta::Text(more)) => {
                        text = text.map(|text| text + more).filter(|text| text.len() <= LONGEST);
                    }
                    Ok(AnswerDelta::Done(end)) if end.finish_reason == "stop" => {
                        if let Some(text) = text.take() {
                            let end = AnswerEnd { usage: None, cached: true, ..end.clone() };
                            answers.insert(key, Arc::new(Kept { text, end }));
                        }
                    }
                    Ok(AnswerDelta::RequestSent | AnswerDelta::By { .. } | AnswerDelta::Done(_)) | Err(_) => {}
                }
                yield delta;
            }
        })
    }

    fn prefills(&self) -> bool {
        self.inner.prefills()
    }

    fn prefill(&self, request: ChatRequest) -> BoxFuture<'static, Option<TokenUsage>> {
        self.inner.prefill(request)
    }

    fn warm(&self) -> BoxFuture<'static, ()> {
        self.inner.warm()
    }
}

/// The question without what speech recognition writes now so and now otherwise: case, white space, marks around words, "um".
/// Marks inside of words, and those that make a word another (`C++`, `C#`, `.NET`), stay.
fn normalised(question: &str) -> String {
    let mut words = String::with_capacity(question.len());
    for word in question.split_whitespace() {
        let word =
            word.trim_start_matches(OPENING).trim_end_matches(CLOSING).replace('’', "'").to_lowercase();
        if !word.is_empty() && !FILLERS.contains(&word.as_str()) {
            words.push_str(&word);
            words.push(' ');
        }
    }
    words
}

type Key = [u8; 32];

fn weight(kept: &Kept) -> u32 {
    let AnswerEnd { finish_reason, model, .. } = &kept.end;
    let bytes = kept.text.len() + finish_reason.len() + model.len();
    u32::try_from(size_of::<Kept>() + bytes + OVERHEAD).unwrap_or(u32::MAX)
}

/// Key, entry and list nodes of moka, and the allocator's own, about.
const OVERHEAD: usize = 300;

/// Bytes of the longest answer that is kept.
const LONGEST: usize = 64 << 10;

const OPENING: &[char] =
    &['"', '\'', '“', '”', '‘', '’', '„', '«', '»', '(', '[', '¿', '¡', '-', '–', '—', '…'];
const CLOSING: &[char] =
    &['.', ',', ';', ':', '!', '?', '"', '\'', '“', '”', '‘', '’', '«', '»', ')', ']', '-', '–', '—', '…'];

/// Sounds that are no word of a language that is asked in often, but for German "um", which a question can do without.
const FILLERS: &[&str] = &["um", "uh", "uhm", "erm", "hmm", "mm", "äh", "ähm"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_that_sound_alike_are_alike() {
        let check = |a: &str, b: &str, alike: bool| {
            assert_eq!(normalised(a) == normalised(b), alike, "{a:?}, {b:?}");
        };
        check("What is Rust?", "  what, um, is “rust” …", true);
        check("What’s new", "what's new?", true);
        check("Tell me – uh – about Go.", "Tell me about go", true);
        check("Do you know C?", "Do you know C++?", false);
        check("Do you know C++?", "Do you know C#?", false);
        check("Do you know .NET?", "Do you know net?", false);
        check("Is it 1.5?", "Is it 15?", false);
        check("Go on", "Goon", false);
        check("", "um…", true);
    }
}
