//! From questions to answers: the speaking half of a session.
//!
//! Not here: the request itself (`asking`), what is asked on a guess (`speculating`), the prompt (`answerer`).

use std::{cmp::Ordering, collections::BTreeSet, future::poll_fn, sync::Arc, task::Poll};

use codecs::SampleIndex;
use futures_util::StreamExt as _;
use models::chat::{AnswerDelta, AnswerEnd, ChatError};
use protocol::{Answer, AnswerMode, CancelReason, CloseCode, Role, ServerMessage, Variant};
use sha2::{Digest as _, Sha256};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{
    ClientError, Session,
    asking::{self, Step, Steps},
    guessing::Budget,
    hearing::HeardQuestion,
    receipt::Clock,
    speculating::Held,
};
use crate::{
    answerer::{Answerer, Citations, Prompt, Question},
    config::{OnBreak, SessionConfig},
    history::History,
    question::{goes_on, is_question},
    turn_end::{TurnEnd, turn_end},
};

/// The answers of a session that are being written.
pub(super) struct Answers {
    answerer: Answerer,
    /// Of user and candidate: part of what an answer is remembered by.
    identity: [u8; 32],
    running: Vec<Running>,
    /// Answers to turns that may not be over; at most one a channel.
    pub(super) held: Vec<Held>,
    /// Answers begun on a guess.
    pub(super) budget: Budget,
    /// Who is polled first, so that a flood of one answer does not starve the others.
    turn_to_poll: usize,
    next_id: u64,
    /// Who of several providers answered last; 0 is the usual one.
    place: usize,
    /// Ends with the session.
    prefilling: Option<AbortOnDropHandle<()>>,
    /// The last turn that could have been answered, in case it goes on.
    last: Option<LastTurn>,
}

struct LastTurn {
    turn: u64,
    channel: usize,
    speech_end: SampleIndex,
    /// With the turns that it went on with.
    text: String,
    answered: bool,
    shown: Withdrawn,
}

/// Answers to a question that may go on.
#[derive(Clone, Default)]
pub(super) struct Withdrawn {
    pub(super) complete: BTreeSet<u64>,
    /// Their text stands, though they broke off.
    broken: BTreeSet<u64>,
}

impl Withdrawn {
    pub(super) fn extend(&mut self, others: Self) {
        self.complete.extend(others.complete);
        self.broken.extend(others.broken);
    }

    fn forget(&mut self, others: &Self) {
        self.complete.retain(|answer| !others.complete.contains(answer));
        self.broken.retain(|answer| !others.broken.contains(answer));
    }
}

impl LastTurn {
    fn new(heard: &HeardQuestion, text: String, answered: bool) -> Self {
        let HeardQuestion { turn, channel, speech_end, .. } = *heard;
        Self { turn, channel, speech_end, text, answered, shown: Withdrawn::default() }
    }

    fn is_just_before(&self, heard: &HeardQuestion) -> bool {
        self.channel == heard.channel && heard.speech_start - self.speech_end < CONTINUATION_SAMPLES
    }
}

/// A question that is being answered.
#[derive(Clone)]
pub(super) struct Asked {
    pub(super) turn: u64,
    text: String,
    language: String,
    clock: Clock,
    /// The interviewer asked it, and may go on.
    pub(super) heard: bool,
    /// Complete answers, and texts that broke off, to the first part of the question: withdrawn once this one is granted.
    pub(super) withdraws: Withdrawn,
    /// Its answer broke off before, and the next provider is asked.
    pub(super) again: bool,
}

struct Running {
    id: u64,
    asked: Asked,
    variant: Variant,
    /// Asked for when this one's first text has come.
    waiting: Vec<Variant>,
    steps: Steps,
    started: bool,
    citations: Citations,
    content: String,
    deltas: u64,
    clock: Clock,
}

impl Answers {
    pub(super) fn new(answerer: Answerer, identity: [u8; 32], config: &SessionConfig) -> Self {
        Self {
            answerer,
            identity,
            running: Vec::new(),
            held: Vec::new(),
            budget: Budget::new(config.max_speculative_requests_per_minute),
            turn_to_poll: 0,
            next_id: 1,
            place: 0,
            prefilling: None,
            last: None,
        }
    }

    pub(super) fn has_work(&self) -> bool {
        !self.running.is_empty()
    }

    /// Reads the CV now, which the first question would else wait for.
    pub(super) fn prepare(&self) {
        self.answerer.prepare();
    }

    /// The next step of any answer. Cancel-safe; never ready when none is running.
    pub(super) async fn next(&mut self) -> (u64, Step) {
        poll_fn(|context| {
            for held in &mut self.held {
                held.poll(context);
            }
            let count = self.running.len();
            for n in 0..count {
                let index = (self.turn_to_poll + n) % count;
                let running = &mut self.running[index];
                if let Poll::Ready(step) = running.steps.poll_next_unpin(context) {
                    self.turn_to_poll = index + 1;
                    return Poll::Ready((running.id, step.unwrap_or(Step::Over)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// What to answer now that `heard` is the newest turn, if anything, and the turn whose answers that takes the place of.
    pub(super) fn question(&self, heard: &HeardQuestion) -> Option<(String, Option<u64>)> {
        let before = self.last.as_ref().filter(|last| last.is_just_before(heard));
        let text = &heard.text;
        if let Some(last) = before {
            let both = format!("{} {text}", last.text);
            // On one channel for two the next voice may be the candidate's, who answers.
            let same_voice = heard.role == Role::Interviewer
                || is_question(text)
                || broke_off(&last.text)
                || adds_to_a_question(text);
            if last.answered && same_voice && goes_on(&last.text, text) {
                return Some((both, Some(last.turn)));
            }
            if !last.answered && broke_off(&last.text) && is_question(&both) {
                return Some((both, None));
            }
        }
        is_question(text).then(|| (text.clone(), None))
    }

    /// The last turn, if `asked` is what was heard in it.
    fn last_of(&mut self, asked: &Asked) -> Option<&mut LastTurn> {
        self.last.as_mut().filter(|last| asked.heard && last.turn == asked.turn)
    }

    /// Ids up to `id` were given out by an earlier process.
    pub(super) fn skip_ids(&mut self, id: u64) {
        self.next_id = self.next_id.max(id + 1);
    }

    /// An answer to `turn` was complete in an earlier process, or was withdrawn there.
    pub(super) fn note_complete(&mut self, turn: Option<u64>, id: u64, complete: bool) {
        let Some(last) = &mut self.last else { return };
        if complete && turn == Some(last.turn) {
            last.shown.complete.insert(id);
        } else if !complete {
            last.shown.complete.remove(&id);
        }
    }

    fn take(&mut self, id: u64) -> Option<Running> {
        let index = self.running.iter().position(|running| running.id == id)?;
        Some(self.running.remove(index))
    }
}

impl Session {
    /// A turn that could be a question is over: answers it if it is one. A question that goes on supersedes the answers to
    /// its first part.
    pub(super) fn answer_heard(&mut self, heard: &HeardQuestion) {
        let question = self.answers.question(heard);
        let before = self.answers.last.take_if(|last| last.is_just_before(heard));
        let mut withdraws = Withdrawn::default();
        if let Some((_, Some(turn))) = question {
            withdraws = before.as_ref().map(|last| last.shown.clone()).unwrap_or_default();
            withdraws.extend(self.supersede_running(turn));
        }
        self.answers.last = match (&question, before) {
            // A remark: the question may still go on after it. On one channel for two it may be an answer.
            (None, Some(last)) if last.answered && heard.role == Role::Interviewer => {
                Some(LastTurn { speech_end: heard.speech_end, ..last })
            }
            // The next part of a question that is not one yet.
            (None, Some(last)) if broke_off(&last.text) => {
                Some(LastTurn::new(heard, format!("{} {}", last.text, heard.text), false))
            }
            (None, _) => Some(LastTurn::new(heard, heard.text.clone(), false)),
            (Some((text, _)), _) => Some(LastTurn::new(heard, text.clone(), true)),
        };
        if let Some((text, _)) = question {
            let clock = Clock::new(heard.endpoint_ms, heard.decided);
            let language = heard.language.clone();
            let turn = heard.turn;
            self.ask(Asked { turn, text, language, clock, heard: true, withdraws, again: false });
        }
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
        // No language leaves it to the question.
        let language = self.config.language.clone().unwrap_or_default();
        let clock = Clock::new(0, Instant::now());
        let withdraws = Withdrawn::default();
        self.ask(Asked { turn, text, language, clock, heard: false, withdraws, again: false });
        Ok(())
    }

    pub(super) fn cancel_answer(&mut self, id: u64) -> Result<(), ClientError> {
        if let Some(replay) = &mut self.replay {
            replay.cancelled(id, CancelReason::Client);
            return Ok(());
        }
        let Some(running) = self.answers.take(id) else {
            return Err(ClientError::malformed(format!("no answer {id} is being written")));
        };
        // Whoever wants none of its answers does not want one to what goes on either.
        let turn = running.asked.turn;
        let others = self.answers.running.iter().any(|other| other.asked.turn == turn && other.asked.heard);
        let unwanted = running.asked.heard && !others && running.waiting.is_empty();
        self.answers.last.take_if(|last| unwanted && last.turn == turn && last.shown.complete.is_empty());
        self.ask_waiting(&running.asked, &running.waiting);
        self.cancelled(running, CancelReason::Client);
        Ok(())
    }

    pub(super) fn cancel_all_answers(&mut self, reason: CancelReason) {
        self.drop_all_held();
        for running in std::mem::take(&mut self.answers.running) {
            self.cancelled(running, reason);
        }
    }

    /// Asks for the preferred variant; the others follow its first text, so that they take nothing from it.
    fn ask(&mut self, asked: Asked) {
        let variants = self.config.variants.clone();
        if let Some(replay) = &mut self.replay {
            return replay.asked(asked, variants);
        }
        if let [first, others @ ..] = &variants[..] {
            self.begin(asked, *first, others.to_vec());
        }
    }

    fn ask_waiting(&mut self, asked: &Asked, waiting: &[Variant]) {
        for variant in waiting {
            self.begin(asked.clone(), *variant, Vec::new());
        }
    }

    pub(super) fn begin(&mut self, asked: Asked, variant: Variant, waiting: Vec<Variant>) {
        let id = self.answers.next_id;
        self.answers.next_id += 1;
        let prompt = self.prompt_without(&asked.withdraws, &asked.text, &asked.language, variant);
        let held = self.take_held(asked.turn, &prompt);
        let (steps, taken) = match held {
            Some(held) => (held.steps, held.taken),
            None => (self.steps(prompt), Vec::new()),
        };
        self.answers.running.push(Running {
            id,
            clock: asked.clock,
            asked,
            variant,
            waiting,
            steps,
            started: false,
            citations: self.answers.answerer.citations(),
            content: String::new(),
            deltas: 0,
        });
        for step in taken {
            self.on_answer_step((id, step));
        }
        while self.answers.running.len() > MAX_RUNNING {
            let oldest = self.answers.running.remove(0);
            self.cancelled(oldest, CancelReason::Superseded);
        }
    }

    /// The prompt for the preferred variant of `text`, which goes on with the question of turn `superseded`.
    pub(super) fn prompt_superseding(&self, text: &str, language: &str, superseded: Option<u64>) -> Prompt {
        let last = self.answers.last.as_ref().filter(|last| superseded == Some(last.turn));
        let withdrawn = last.map(|last| last.shown.clone()).unwrap_or_default();
        self.prompt_without(&withdrawn, text, language, self.config.variants[0])
    }

    /// A prompt whose conversation does not hold the `withdrawn` answers.
    fn prompt_without(&self, withdrawn: &Withdrawn, text: &str, language: &str, variant: Variant) -> Prompt {
        if withdrawn.complete.is_empty() && withdrawn.broken.is_empty() {
            return self.prompt(text, language, variant, &self.history);
        }
        let mut history = self.history.clone();
        withdrawn.complete.iter().chain(&withdrawn.broken).for_each(|answer| history.withdraw(*answer));
        self.prompt(text, language, variant, &history)
    }

    fn prompt(&self, text: &str, language: &str, variant: Variant, history: &History) -> Prompt {
        let question = Question {
            text: text.to_owned(),
            variant,
            length: self.config.length,
            language: language.to_owned(),
        };
        let mut prompt = self.answers.answerer.prompt(&question, history);
        if self.config.save_history {
            let options = format!("{variant:?} {:?} {language}\n", self.config.length);
            let mut context = Sha256::new().chain_update(self.answers.identity).chain_update(options);
            history.digest_before(text, &mut context);
            prompt.request.context = Some(context.finalize().into());
        }
        prompt
    }

    /// Lets the model read ahead what all prompts of this session begin with, where that costs nothing but its time.
    pub(super) fn prefill(&mut self) {
        if self.config.answer_mode == AnswerMode::Off || !self.engine.chat.prefills() {
            return;
        }
        let language = self.config.language.clone().unwrap_or_default();
        let prompt = self.prompt("", &language, self.config.variants[0], &History::default());
        let (meter, principal) = (Arc::clone(&self.engine.meter), self.access.principal.clone());
        let prefill = asking::prefill(meter, principal, Arc::clone(&self.engine.chat), prompt);
        self.answers.prefilling = Some(AbortOnDropHandle::new(tokio::spawn(prefill)));
    }

    pub(super) fn steps(&self, prompt: Prompt) -> Steps {
        let meter = Arc::clone(&self.engine.meter);
        asking::ask(meter, self.access.principal.clone(), &self.answers.answerer, prompt)
    }

    /// Ends the answers to `turn` that are being written; what they would have withdrawn, had they been granted.
    fn supersede_running(&mut self, turn: u64) -> Withdrawn {
        if let Some(replay) = &mut self.replay {
            return replay.supersede(turn);
        }
        let running = std::mem::take(&mut self.answers.running);
        let (superseded, kept): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|running| running.asked.heard && running.asked.turn == turn);
        self.answers.running = kept;
        let mut withdraws = Withdrawn::default();
        for mut running in superseded {
            withdraws.extend(std::mem::take(&mut running.asked.withdraws));
            self.cancelled(running, CancelReason::Superseded);
        }
        withdraws
    }

    /// Takes back what was shown for the first part of a question, now that the whole is being answered.
    fn withdraw(&mut self, withdrawn: Withdrawn) {
        for other in &mut self.answers.running {
            other.asked.withdraws.forget(&withdrawn);
        }
        withdrawn.broken.into_iter().for_each(|answer_id| self.history.withdraw(answer_id));
        for answer_id in withdrawn.complete {
            metrics::counter!("answers_withdrawn_total").increment(1);
            self.totals.answers -= 1;
            self.history.withdraw(answer_id);
            let reason = CancelReason::Superseded;
            self.emit(ServerMessage::AnswerCancelled { answer_id, reason });
        }
    }

    fn cancelled(&mut self, running: Running, reason: CancelReason) {
        metrics::counter!("answers_cancelled_total").increment(1);
        if !running.started {
            self.started(&running);
        }
        // The candidate may have read out what there is of it.
        if reason != CancelReason::Superseded && !running.content.is_empty() {
            self.history.suggested(running.id, &running.content);
        }
        self.emit(ServerMessage::AnswerCancelled { answer_id: running.id, reason });
    }

    fn started(&mut self, running: &Running) {
        let (answer_id, variant) = (running.id, running.variant);
        let (turn, question) = (running.asked.turn, running.asked.text.clone());
        self.emit(ServerMessage::AnswerStarted { answer_id, turn, variant, question });
    }

    pub(super) fn on_answer_step(&mut self, (id, step): (u64, Step)) {
        let Some(index) = self.answers.running.iter().position(|running| running.id == id) else { return };
        let running = &mut self.answers.running[index];
        match step {
            Step::Granted => {
                running.started = true;
                let withdraws = std::mem::take(&mut running.asked.withdraws);
                let (turn, variant) = (running.asked.turn, running.variant);
                let question = running.asked.text.clone();
                self.withdraw(withdraws);
                self.emit(ServerMessage::AnswerStarted { answer_id: id, turn, variant, question });
            }
            Step::Refused(why) => {
                if let Some(refused) = self.answers.take(id)
                    && let Some(last) = self.answers.last_of(&refused.asked)
                {
                    // They stand, unless the question goes on and is answered.
                    last.shown.extend(refused.asked.withdraws);
                }
                let message = format!("{why}; what is said is still written down");
                self.error(CloseCode::Limit, message, None);
            }
            Step::Delta(AnswerDelta::RequestSent) => running.clock.asked = Some(Instant::now()),
            Step::Delta(AnswerDelta::By { place, name, why }) => self.tell_who_answers(place, &name, why),
            Step::Delta(AnswerDelta::Text(text)) => {
                let shown = running.citations.push(&text);
                let (asked, waiting) = (running.asked.clone(), std::mem::take(&mut running.waiting));
                self.show(id, shown);
                self.ask_waiting(&asked, &waiting);
            }
            Step::Delta(AnswerDelta::Done(end)) => self.on_answer_done(id, end),
            Step::Failed(error) => self.on_answer_failed(id, &error.to_string()),
            Step::Over => self.on_answer_failed(id, "the model provider broke off"),
        }
    }

    /// Tells of a switch to another provider, or back.
    fn tell_who_answers(&mut self, place: usize, name: &str, why: Option<ChatError>) {
        let before = std::mem::replace(&mut self.answers.place, place);
        let (code, message) = match place.cmp(&before) {
            Ordering::Equal => return,
            Ordering::Less => ("answers_restored", format!("{name} answers again")),
            Ordering::Greater => {
                let why = why.map_or("another provider is left alone after a failure".to_owned(), |why| {
                    why.to_string()
                });
                ("answers_fallback", format!("{why}; {name} answers instead for now"))
            }
        };
        metrics::counter!("answers_switches_total", "to" => name.to_owned()).increment(1);
        self.warn(code, message);
    }

    /// Sends the next text of an answer.
    fn show(&mut self, id: u64, text: String) {
        let Some(running) = self.answers.running.iter_mut().find(|running| running.id == id) else { return };
        if text.is_empty() {
            return;
        }
        running.clock.stamp_text();
        running.content.push_str(&text);
        let index = running.deltas;
        running.deltas += 1;
        self.emit(ServerMessage::AnswerDelta { answer_id: id, index, text });
    }

    /// Sends what is held back of an answer's text, and takes it from the running ones.
    fn take_finished(&mut self, id: u64) -> Option<Running> {
        let running = self.answers.running.iter_mut().find(|running| running.id == id)?;
        let rest = running.citations.finish();
        metrics::counter!("citations_removed_total").increment(running.citations.removed());
        if !rest.trim().is_empty() {
            self.show(id, rest);
        }
        self.answers.take(id)
    }

    fn on_answer_done(&mut self, id: u64, end: AnswerEnd) {
        let Some(running) = self.take_finished(id) else { return };
        let reading = self.answers.answerer.read(&running.content);
        self.totals.answers += 1;
        let timings = running.clock.receipt();
        metrics::histogram!("first_token_seconds").record(timings.total_to_first_token as f64 / 1e3);
        self.history.suggested(id, &running.content);
        if let Some(last) = self.answers.last_of(&running.asked) {
            last.shown.complete.insert(id);
        }
        self.remember();
        self.emit(ServerMessage::Answer(Box::new(Answer {
            answer_id: id,
            turn: running.asked.turn,
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
        self.ask_waiting(&running.asked, &running.waiting);
    }

    fn on_answer_failed(&mut self, id: u64, why: &str) {
        let Some(running) = self.take_finished(id) else { return };
        let broke_off = !running.content.is_empty();
        let asked = running.asked.clone();
        let (variant, waiting) = (running.variant, running.waiting.clone());
        if let Some(last) = self.answers.last_of(&asked).filter(|_| broke_off) {
            last.shown.broken.insert(id);
        }
        if broke_off && self.config.on_break == OnBreak::AskNext && !running.asked.again {
            let message = format!("{why}; the text so far stands, and a new answer is asked for");
            self.warn("answer_asked_again", message);
            self.cancelled(running, CancelReason::ProviderError);
            self.begin(Asked { again: true, ..asked }, variant, waiting);
            return;
        }
        let kept = if broke_off { "the text so far stands" } else { "there is no answer" };
        let message = format!("{why}; {kept}; send answer_now to try again");
        self.error(CloseCode::Overloaded, message, Some(RETRY_AFTER_MS));
        self.cancelled(running, CancelReason::ProviderError);
        self.ask_waiting(&asked, &waiting);
    }
}

/// Whether `text` begins as what is added to a question does, and is not about whoever says it.
fn adds_to_a_question(text: &str) -> bool {
    let mut words = text.split(|c: char| !(c.is_alphanumeric() || c == '\'')).filter(|word| !word.is_empty());
    let is_of = |list: &[&str], word: &str| list.iter().any(|other| other.eq_ignore_ascii_case(word));
    words.next().is_some_and(|first| is_of(&ADDING, first)) && !words.any(|word| is_of(&OF_ONESELF, word))
}

/// Whether `text` ends in the middle of a sentence, or as a recogniser leaves one.
fn broke_off(text: &str) -> bool {
    matches!(turn_end(text), TurnEnd::Unfinished | TurnEnd::Unknown)
}

/// The same voice again within 1.5 s may go on with its question.
const CONTINUATION_SAMPLES: u64 = SampleIndex::from_ms(1_500).0;
const ADDING: [&str; 9] =
    ["and", "or", "plus", "including", "especially", "specifically", "particularly", "preferably", "ideally"];
const OF_ONESELF: [&str; 8] = ["i", "i'm", "i've", "i'd", "i'll", "my", "we", "our"];
/// Answers written at once; a further one supersedes the oldest.
const MAX_RUNNING: usize = 6;
/// When to ask a failed provider again.
const RETRY_AFTER_MS: u64 = 1_000;
