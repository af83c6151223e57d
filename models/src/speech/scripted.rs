//! A transcriber that says what it is told to, for tests in virtual time.
//!
//! Not here: scheduling. Every request runs at once, each on its own timer of the runtime.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::time::{Instant, sleep_until};

use super::{TranscribeError, TranscribeRequest, Transcriber, Transcript, TranscriptEvent};

/// Answers each request by a script, after a delay on tokio's clock (which a test may pause), and remembers it.
///
/// Clones share script and memory.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// # use futures_util::StreamExt;
/// # use models::speech::*;
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let speech = ScriptedTranscriber::from_texts(Duration::from_millis(300), ["What is a lifetime?"]);
/// let request = TranscribeRequest {
///     audio: Arc::from([0.0; 160]),
///     language: None,
///     vocabulary: Arc::from([]),
///     priority: Priority::Final,
///     stream: 1,
///     settled: Arc::from([]),
///     before: Arc::from(""),
/// };
/// let events: Vec<_> = speech.transcribe(request).collect().await;
/// assert!(matches!(&events[..], [Ok(TranscriptEvent::Final(said))] if said.text == "What is a lifetime?"));
/// assert_eq!(speech.requests().len(), 1);
/// # });
/// ```
#[derive(Clone)]
pub struct ScriptedTranscriber {
    script: Arc<Script>,
    memory: Arc<Memory>,
}

type Answer = (Duration, Result<Transcript, TranscribeError>);
type Script = dyn Fn(&TranscribeRequest) -> Answer + Send + Sync;

#[derive(Default)]
struct Memory {
    requests: Mutex<Vec<TranscribeRequest>>,
    cancelled: AtomicUsize,
}

impl ScriptedTranscriber {
    /// Answers as `script` says, which is asked once for each request, at the call.
    pub fn new(script: impl Fn(&TranscribeRequest) -> Answer + Send + Sync + 'static) -> Self {
        Self { script: Arc::new(script), memory: Arc::default() }
    }

    /// Answers the first request with the first of `answers`, and so on; past the end with [`TranscribeError::Failed`].
    pub fn in_order(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = Mutex::new(answers.into_iter().collect::<VecDeque<_>>());
        Self::new(move |_| {
            let next = answers.lock().expect("nothing under this lock panics").pop_front();
            next.unwrap_or_else(|| {
                (Duration::ZERO, Err(TranscribeError::Failed("the script is at its end".into())))
            })
        })
    }

    /// [`in_order`](Self::in_order) with these texts, each after `delay`; see [`Transcript::scripted`] for their words.
    pub fn from_texts<'a>(delay: Duration, texts: impl IntoIterator<Item = &'a str>) -> Self {
        Self::in_order(texts.into_iter().map(|text| (delay, Ok(Transcript::scripted(text)))))
    }

    /// Every request so far, in the order of the calls.
    pub fn requests(&self) -> Vec<TranscribeRequest> {
        self.memory.requests.lock().expect("nothing under this lock panics").clone()
    }

    /// Streams that were dropped before their last event was taken.
    pub fn cancelled(&self) -> usize {
        self.memory.cancelled.load(Ordering::Relaxed)
    }
}

impl Transcript {
    /// An English transcript for tests: `text` trimmed and single-spaced, sure of itself, 300 ms a word from 0.
    pub fn scripted(text: &str) -> Self {
        let words: Vec<_> = (0..)
            .step_by(300)
            .zip(text.split_whitespace())
            .map(|(start_ms, word)| super::Word {
                text: word.into(),
                start_ms,
                end_ms: start_ms + 300,
                confidence: 1.0,
            })
            .collect();
        let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
        let confidence = if words.is_empty() { 0.0 } else { 1.0 };
        Self { text, language: "en".into(), confidence, words }
    }
}

impl Transcriber for ScriptedTranscriber {
    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        let (delay, result) = (self.script)(&request);
        let due = Instant::now() + delay;
        self.memory.requests.lock().expect("nothing under this lock panics").push(request);
        let mut unfinished = Unfinished { memory: self.memory.clone(), armed: true };
        stream::once(async move {
            sleep_until(due).await;
            unfinished.disarm();
            result.map(TranscriptEvent::Final)
        })
        .boxed()
    }
}

/// Counts a stream that is dropped early.
struct Unfinished {
    memory: Arc<Memory>,
    armed: bool,
}

impl Unfinished {
    fn disarm(&mut self) {
        self.armed = false;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.armed {
            self.memory.cancelled.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::speech::Priority;

    fn request(stream: u64) -> TranscribeRequest {
        TranscribeRequest {
            audio: Arc::from([0.0; 160]),
            language: None,
            vocabulary: Arc::from([]),
            priority: Priority::Final,
            stream,
            settled: Arc::from([]),
            before: Arc::from(""),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_in_order_on_the_paused_clock() {
        let speech = ScriptedTranscriber::from_texts(Duration::from_secs(3600), ["one", " two  three "]);
        let begin = Instant::now();
        // The work starts with the call: both are due at the same time.
        let (first, second) = (speech.transcribe(request(1)), speech.transcribe(request(2)));
        let first: Vec<_> = first.collect().await;
        let second: Vec<_> = second.collect().await;
        assert_eq!(begin.elapsed(), Duration::from_secs(3600));
        assert_eq!(first, [Ok(TranscriptEvent::Final(Transcript::scripted("one")))]);
        assert_eq!(second, [Ok(TranscriptEvent::Final(Transcript::scripted("two three")))]);
        let third: Vec<_> = speech.transcribe(request(3)).collect().await;
        assert!(matches!(third[..], [Err(TranscribeError::Failed(_))]));
        assert_eq!(speech.requests().iter().map(|request| request.stream).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(speech.cancelled(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn counts_streams_dropped_early() {
        let speech = ScriptedTranscriber::new(|request| {
            (Duration::from_millis(request.stream), Err(TranscribeError::Superseded))
        });
        drop(speech.transcribe(request(5)));
        let mut polled = speech.transcribe(request(1000));
        assert!(tokio::time::timeout(Duration::from_millis(10), polled.next()).await.is_err());
        drop(polled);
        let mut taken = speech.transcribe(request(1));
        assert_eq!(taken.next().await, Some(Err(TranscribeError::Superseded)));
        drop(taken);
        assert_eq!(speech.cancelled(), 2);
    }
}
