//! From questions to answers: the speaking half of a session.

use std::sync::Arc;

use codecs::SampleIndex;
use futures_util::{
    StreamExt as _,
    stream::{AbortHandle, Abortable, BoxStream, SelectAll},
};
use models::chat::{AnswerDelta, AnswerEnd, ChatError};
use protocol::{Answer, CancelReason, CloseCode, ServerMessage, Timings, Variant};
use tokio::time::{Instant, timeout};

use super::{ClientError, PORT_TIMEOUT, Session, hearing::HeardQuestion};
use crate::answerer::{Answerer, Question};

/// The answers of a session that are being written.
pub(super) struct Answers {
    answerer: Answerer,
    running: Vec<Running>,
    steps: SelectAll<BoxStream<'static, (u64, Step)>>,
    next_id: u64,
    /// The last question answered unasked, in case it goes on.
    last: Option<LastQuestion>,
}

struct LastQuestion {
    turn: u64,
    channel: usize,
    speech_end: SampleIndex,
    text: String,
}

struct Running {
    id: u64,
    turn: u64,
    variant: Variant,
    question: String,
    started: bool,
    content: String,
    deltas: u64,
    clock: Clock,
    abort: AbortHandle,
}

/// When what happened, for the receipt.
#[derive(Clone, Copy)]
struct Clock {
    endpoint_ms: u64,
    decided: Instant,
    text: Instant,
    asked: Option<Instant>,
    first: Option<Instant>,
    last: Option<Instant>,
}

/// What an answer's stream gives.
pub(super) enum Step {
    /// The plan allows it: the model is being asked.
    Granted,
    /// The plan does not.
    Refused(String),
    Delta(AnswerDelta),
    Failed(ChatError),
    /// The stream is over; after [`AnswerDelta::Done`] this says nothing new.
    Over,
}

impl Answers {
    pub(super) fn new(answerer: Answerer) -> Self {
        Self { answerer, running: Vec::new(), steps: SelectAll::new(), next_id: 1, last: None }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.running.is_empty()
    }

    /// The next step of any answer. Cancel-safe; never ready when none is running.
    pub(super) async fn next(&mut self) -> (u64, Step) {
        match self.steps.next().await {
            Some(step) => step,
            None => std::future::pending().await,
        }
    }

    /// Whether `heard` goes on with a question whose answer is still being written: the same voice after a short pause.
    pub(super) fn continues(&self, heard: &HeardQuestion) -> bool {
        self.last.as_ref().is_some_and(|last| {
            last.channel == heard.channel
                && heard.speech_start - last.speech_end < CONTINUATION_SAMPLES
                && self.running.iter().any(|running| running.turn == last.turn)
        })
    }

    fn take(&mut self, id: u64) -> Option<Running> {
        let index = self.running.iter().position(|running| running.id == id)?;
        let running = self.running.remove(index);
        running.abort.abort();
        Some(running)
    }
}

impl Session {
    /// Answers a question the interviewer asked. A continued question supersedes the answer to its first part.
    pub(super) fn answer_heard(&mut self, heard: &HeardQuestion) {
        let mut text = heard.text.clone();
        if self.answers.continues(heard)
            && let Some(last) = self.answers.last.take()
        {
            text = format!("{} {text}", last.text);
            self.supersede(|running| running.turn == last.turn);
        }
        let clock = Clock::new(heard.endpoint_ms, heard.decided);
        self.ask(heard.turn, &text, &heard.language, clock);
        self.answers.last = Some(LastQuestion {
            turn: heard.turn,
            channel: heard.channel,
            speech_end: heard.speech_end,
            text,
        });
    }

    pub(super) fn answer_now(&mut self, text: Option<String>, turn: Option<u64>) -> Result<(), ClientError> {
        let last = self.history.turn(turn).map(|(turn, text)| (turn, text.to_owned()));
        let (turn, text) = match (text.filter(|text| !text.trim().is_empty()), turn, last) {
            (Some(text), wanted, last) => (wanted.or(last.map(|(turn, _)| turn)).unwrap_or(0), text),
            (None, _, Some((turn, text))) => (turn, text),
            (None, Some(turn), None) => {
                return Err(ClientError::malformed(format!(
                    "answer_now names turn {turn}, which has no text"
                )));
            }
            (None, None, None) => {
                return Err(ClientError::malformed(
                    "there is nothing to answer yet; send answer_now with a text",
                ));
            }
        };
        let language = self.config.language.clone().unwrap_or_else(|| "en".to_owned());
        self.ask(turn, &text, &language, Clock::new(0, Instant::now()));
        Ok(())
    }

    pub(super) fn cancel_answer(&mut self, id: u64) -> Result<(), ClientError> {
        match self.answers.take(id) {
            Some(running) => {
                self.cancelled(&running, CancelReason::Client);
                Ok(())
            }
            None => Err(ClientError::malformed(format!("no answer {id} is being written"))),
        }
    }

    pub(super) fn cancel_all_answers(&mut self, reason: CancelReason) {
        for running in std::mem::take(&mut self.answers.running) {
            running.abort.abort();
            self.cancelled(&running, reason);
        }
    }

    fn ask(&mut self, turn: u64, text: &str, language: &str, clock: Clock) {
        for variant in self.config.variants.clone() {
            let id = self.answers.next_id;
            self.answers.next_id += 1;
            let question = Question {
                text: text.to_owned(),
                variant,
                length: self.config.length,
                language: language.to_owned(),
            };
            let prompt = self.answers.answerer.prompt(&question, &self.history);
            let tokens = prompt.prompt_tokens + u64::from(prompt.request.max_tokens);
            let deltas = self.answers.answerer.ask(prompt);
            let (meter, principal) = (Arc::clone(&self.engine.meter), self.principal.clone());
            let steps = async_stream::stream! {
                match timeout(PORT_TIMEOUT, meter.reserve(&principal, tokens)).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(limit)) => {
                        yield (id, Step::Refused(limit.0));
                        return;
                    }
                    Err(_) => {
                        let why = "the plan could not be looked up in time; send answer_now to try again";
                        yield (id, Step::Refused(why.to_owned()));
                        return;
                    }
                }
                yield (id, Step::Granted);
                for await delta in deltas {
                    yield (id, delta.map_or_else(Step::Failed, Step::Delta));
                }
                yield (id, Step::Over);
            };
            let (abort, registration) = AbortHandle::new_pair();
            self.answers.steps.push(Abortable::new(steps, registration).boxed());
            self.answers.running.push(Running {
                id,
                turn,
                variant,
                question: question.text,
                started: false,
                content: String::new(),
                deltas: 0,
                clock,
                abort,
            });
        }
        while self.answers.running.len() > MAX_RUNNING {
            let oldest = self.answers.running[0].id;
            self.supersede(|running| running.id == oldest);
        }
    }

    fn supersede(&mut self, which: impl Fn(&Running) -> bool) {
        let ids: Vec<u64> = self.answers.running.iter().filter(|r| which(r)).map(|r| r.id).collect();
        for id in ids {
            if let Some(running) = self.answers.take(id) {
                self.cancelled(&running, CancelReason::Superseded);
            }
        }
    }

    fn cancelled(&mut self, running: &Running, reason: CancelReason) {
        metrics::counter!("answers_cancelled_total").increment(1);
        if !running.started {
            self.started(running.id, running.turn, running.variant, running.question.clone());
        }
        self.emit(ServerMessage::AnswerCancelled { answer_id: running.id, reason });
    }

    fn started(&mut self, answer_id: u64, turn: u64, variant: Variant, question: String) {
        self.emit(ServerMessage::AnswerStarted { answer_id, turn, variant, question });
    }

    pub(super) fn on_answer_step(&mut self, (id, step): (u64, Step)) {
        let Some(running) = self.answers.running.iter_mut().find(|running| running.id == id) else { return };
        let now = Instant::now();
        match step {
            Step::Granted => {
                running.started = true;
                let (turn, variant, question) = (running.turn, running.variant, running.question.clone());
                self.started(id, turn, variant, question);
            }
            Step::Refused(why) => {
                self.answers.take(id);
                self.error(CloseCode::Limit, why, None);
            }
            Step::Delta(AnswerDelta::RequestSent) => running.clock.asked = Some(now),
            Step::Delta(AnswerDelta::Warning { code, message }) => self.warn(code, message),
            Step::Delta(AnswerDelta::Text(text)) => {
                running.clock.first.get_or_insert(now);
                running.clock.last = Some(now);
                running.content.push_str(&text);
                let index = running.deltas;
                running.deltas += 1;
                self.emit(ServerMessage::AnswerDelta { answer_id: id, index, text });
            }
            Step::Delta(AnswerDelta::Done(end)) => self.on_answer_done(id, end),
            Step::Failed(error) => self.on_answer_failed(id, &error.to_string()),
            Step::Over => self.on_answer_failed(id, "the model provider broke off"),
        }
    }

    fn on_answer_done(&mut self, id: u64, end: AnswerEnd) {
        let Some(running) = self.answers.take(id) else { return };
        let reading = self.answers.answerer.read(&running.content);
        self.totals.answers += 1;
        let timings = running.clock.receipt();
        metrics::histogram!("first_token_seconds").record(timings.total_to_first_token as f64 / 1e3);
        self.history.suggested(id, &running.content);
        self.emit(ServerMessage::Answer(Box::new(Answer {
            answer_id: id,
            turn: running.turn,
            variant: running.variant,
            content: running.content,
            key_points: reading.key_points,
            confidence: end.confidence,
            finish_reason: end.finish_reason,
            model: end.model,
            cached: end.cached,
            sources: reading.sources,
            timings,
        })));
    }

    fn on_answer_failed(&mut self, id: u64, why: &str) {
        let Some(running) = self.answers.take(id) else { return };
        let kept = if running.content.is_empty() { "there is no answer" } else { "the text so far stands" };
        self.error(
            CloseCode::Overloaded,
            format!("{why}; {kept}; send answer_now to try again"),
            Some(RETRY_AFTER_MS),
        );
        self.cancelled(&running, CancelReason::ProviderError);
    }
}

impl Clock {
    /// The final text is there now.
    fn new(endpoint_ms: u64, decided: Instant) -> Self {
        Self { endpoint_ms, decided, text: Instant::now(), asked: None, first: None, last: None }
    }

    /// Each stage is the difference of rounded instants, so that the stages add up exactly.
    fn receipt(&self) -> Timings {
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

/// The same voice again within 1.5 s goes on with its question.
const CONTINUATION_SAMPLES: u64 = SampleIndex::from_ms(1_500).0;
/// Answers written at once; a further one supersedes the oldest.
const MAX_RUNNING: usize = 6;
/// When to ask a failed provider again.
const RETRY_AFTER_MS: u64 = 1_000;
