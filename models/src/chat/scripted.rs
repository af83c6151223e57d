//! A chat model that plays a script: for tests of whatever talks to a [`ChatModel`], in real or virtual time.
//!
//! Not here: any judgement of the prompt. The same script is played whatever is asked.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_stream::stream;
use futures_util::{future, future::BoxFuture, stream::BoxStream};

use super::{AnswerDelta, AnswerEnd, ChatError, ChatModel, ChatRequest};

/// One step of a script.
#[derive(Clone, Debug, PartialEq)]
pub enum ScriptedDelta {
    /// Streams this text. An empty one is skipped, as [`AnswerDelta::Text`] is never empty.
    Text(String),
    /// Waits on tokio's clock, paused or not.
    Wait(Duration),
    /// Breaks off with this error; later steps are not played.
    Fail(ChatError),
    /// Never goes on: only dropping the stream ends it.
    Hang,
    /// Ends with this; later steps are not played. A script that runs out ends with `stop`, the model's name, no
    /// confidence.
    End(AnswerEnd),
}

/// Plays a script for each request, and tells afterwards what it was asked. Clones share their records.
///
/// ```
/// # use models::chat::*; use futures_util::StreamExt;
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// let model = ScriptedChat::new([ScriptedDelta::Text("Yes.".into())]);
/// let request = ChatRequest { messages: vec![], question: "Really?".into(), sources: [].into(), max_tokens: 9, context: None };
/// let deltas: Vec<_> = model.answer(request).collect().await;
/// assert_eq!(deltas[1], Ok(AnswerDelta::Text("Yes.".into())));
/// assert_eq!(model.requests()[0].question, "Really?");
/// # });
/// ```
#[derive(Clone, Debug)]
pub struct ScriptedChat {
    scripts: Arc<[Arc<[ScriptedDelta]>]>,
    name: Arc<str>,
    requests: Arc<Mutex<Vec<ChatRequest>>>,
    cancelled: Arc<AtomicUsize>,
    warmed: Arc<AtomicUsize>,
}

impl ScriptedChat {
    /// Plays the same `steps` for every request.
    pub fn new(steps: impl IntoIterator<Item = ScriptedDelta>) -> Self {
        Self::sequence([steps.into_iter().collect()])
    }

    /// Plays the first script for the first request, the second for the second; the last one again for all further
    /// ones. Without any script every answer ends at once.
    pub fn sequence(scripts: impl IntoIterator<Item = Vec<ScriptedDelta>>) -> Self {
        Self {
            scripts: scripts.into_iter().map(Arc::from).collect(),
            name: NAME.into(),
            requests: Arc::default(),
            cancelled: Arc::default(),
            warmed: Arc::default(),
        }
    }

    /// The same under another name than `scripted`.
    pub fn named(self, name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// How often [`ChatModel::warm`] was awaited.
    pub fn warmed(&self) -> usize {
        self.warmed.load(Ordering::SeqCst)
    }

    /// The requests whose streams were polled at least once, in that order.
    pub fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many streams were polled and then dropped before they gave [`AnswerDelta::Done`] or an error.
    pub fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Records a request and finds its script.
    fn start(&self, request: ChatRequest) -> Arc<[ScriptedDelta]> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let script = self.scripts.get(requests.len()).or(self.scripts.last());
        requests.push(request);
        script.cloned().unwrap_or_default()
    }
}

impl ChatModel for ScriptedChat {
    fn name(&self) -> &str {
        &self.name
    }

    fn warm(&self) -> BoxFuture<'static, ()> {
        let warmed = Arc::clone(&self.warmed);
        Box::pin(async move {
            warmed.fetch_add(1, Ordering::SeqCst);
        })
    }

    fn answer(&self, request: ChatRequest) -> BoxStream<'static, Result<AnswerDelta, ChatError>> {
        let model = self.clone();
        Box::pin(stream! {
            let mut running = Running { cancelled: model.cancelled.clone(), ended: false };
            let script = model.start(request);
            let mut end = AnswerEnd::new("stop", &*model.name);
            yield Ok(AnswerDelta::RequestSent);
            for step in script.iter().cloned() {
                match step {
                    ScriptedDelta::Text(text) if text.is_empty() => {}
                    ScriptedDelta::Text(text) => yield Ok(AnswerDelta::Text(text)),
                    ScriptedDelta::Wait(time) => tokio::time::sleep(time).await,
                    ScriptedDelta::Hang => future::pending().await,
                    ScriptedDelta::Fail(error) => {
                        running.ended = true;
                        yield Err(error);
                        return;
                    }
                    ScriptedDelta::End(other) => {
                        end = other;
                        break;
                    }
                }
            }
            running.ended = true;
            yield Ok(AnswerDelta::Done(end));
        })
    }
}

/// Counts a stream that is dropped while it runs.
struct Running {
    cancelled: Arc<AtomicUsize>,
    ended: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            self.cancelled.fetch_add(1, Ordering::SeqCst);
        }
    }
}

const NAME: &str = "scripted";

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio::time::Instant;

    use super::*;

    fn ask(question: &str) -> ChatRequest {
        ChatRequest {
            messages: vec![],
            question: question.into(),
            sources: Arc::new([]),
            max_tokens: 100,
            context: None,
        }
    }

    fn text(text: &str) -> ScriptedDelta {
        ScriptedDelta::Text(text.into())
    }

    fn stop() -> AnswerEnd {
        AnswerEnd::new("stop", "scripted")
    }

    #[tokio::test(start_paused = true)]
    async fn plays_its_script_on_tokios_clock() {
        let length = AnswerEnd { confidence: Some(0.5), ..AnswerEnd::new("length", "m") };
        let late = ChatError::Timeout(9);
        let sent = Ok(AnswerDelta::RequestSent);
        let said = |text: &str| Ok(AnswerDelta::Text(text.into()));
        let wait = ScriptedDelta::Wait(Duration::from_secs(3));
        let cases = [
            (vec![], vec![sent.clone(), Ok(AnswerDelta::Done(stop()))], 0),
            (
                vec![text("a"), text(""), wait.clone(), text("b")],
                vec![sent.clone(), said("a"), said("b"), Ok(AnswerDelta::Done(stop()))],
                3,
            ),
            (vec![wait, ScriptedDelta::Fail(late.clone()), text("a")], vec![sent.clone(), Err(late)], 3),
            (
                vec![text("a"), ScriptedDelta::End(length.clone()), text("b")],
                vec![sent, said("a"), Ok(AnswerDelta::Done(length))],
                0,
            ),
        ];
        for (script, expected, seconds) in cases {
            let model = ScriptedChat::new(script.clone());
            let start = Instant::now();
            let deltas: Vec<_> = model.answer(ask("?")).collect().await;
            assert_eq!(deltas, expected, "{script:?}");
            assert_eq!(start.elapsed().as_secs(), seconds, "{script:?}");
            assert_eq!(model.cancelled(), 0);
        }
    }

    #[tokio::test]
    async fn plays_one_script_a_request_and_then_the_last_again() {
        let model = ScriptedChat::sequence([vec![text("one")], vec![text("two")]]);
        for (question, expected) in [("1", "one"), ("2", "two"), ("3", "two")] {
            let deltas: Vec<_> = model.answer(ask(question)).collect().await;
            assert_eq!(deltas[1], Ok(AnswerDelta::Text(expected.into())), "{question}");
        }
        let asked: Vec<_> = model.requests().into_iter().map(|request| request.question).collect();
        assert_eq!(asked, ["1", "2", "3"]);
    }

    #[tokio::test]
    async fn counts_what_was_dropped_while_it_ran() {
        let model = ScriptedChat::new([text("a"), ScriptedDelta::Hang]);
        drop(model.answer(ask("never polled")));
        assert_eq!((model.requests().len(), model.cancelled()), (0, 0));
        let mut stream = model.answer(ask("polled"));
        stream.next().await;
        assert_eq!((model.requests().len(), model.cancelled()), (1, 0));
        drop(stream);
        assert_eq!((model.requests().len(), model.cancelled()), (1, 1));
    }
}
