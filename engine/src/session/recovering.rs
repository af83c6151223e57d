//! A session made again from its journal, after its process was killed.
//!
//! What came in is heard again: the same audio with the same hints gives the same turns. What had gone out is taken from the
//! journal, and nothing is asked of a model again that it had answered. In the end, what was made again but never written
//! goes out, and what was being computed begins anew. Not here: the form of a journal.

use std::{collections::BTreeMap, sync::Arc};

use codecs::SampleIndex;
use protocol::{
    AnswerMode, CancelReason, ClientMessage, CloseCode, FrameHeader, Role, ServerEvent, ServerMessage,
    Transcription, Variant,
};
use tokio::{task::yield_now, time::Instant};

use super::{
    ClientError, Ending, Session,
    answering::{Asked, Withdrawn},
    draft::Draft,
    hearing::HeardQuestion,
    journal::{Journal, Record, read},
    opening::known,
    parse,
};
use crate::{
    Engine,
    listener::Utterance,
    ports::{Access, JournalError, KeptJournal},
};

/// What is known while a session is made again.
#[derive(Default)]
pub(super) struct Replay {
    /// Made again; its record has not come yet.
    expected: Vec<ServerMessage>,
    /// Turns that are over and have no text yet.
    turns: BTreeMap<u64, Turn>,
    /// By channel.
    pauses: BTreeMap<usize, Pause>,
    questions: Vec<Question>,
}

/// A turn that is over.
struct Turn {
    channel: usize,
    utterance: Utterance,
    /// What was heard when it paused for the last time: that is written down, as it would have been.
    paused: Option<Utterance>,
}

/// A pause that lasts.
struct Pause {
    utterance: Utterance,
    /// The listener was told what the words before it mean.
    hinted: bool,
}

/// A question, and what had become of it.
struct Question {
    asked: Asked,
    /// Not yet begun.
    waiting: Vec<Variant>,
    /// Begun and not complete: id, variant, text so far.
    open: Vec<(u64, Variant, String)>,
}

impl Replay {
    /// `message` would be sent now.
    pub(super) fn expect(&mut self, message: ServerMessage) {
        // Acknowledgements depend on the clock, and are made anew.
        if !matches!(message, ServerMessage::Ack { .. }) {
            self.expected.push(message);
        }
    }

    fn met(&mut self, message: &ServerMessage) {
        if let Some(index) = self.expected.iter().position(|expected| expected == message) {
            self.expected.remove(index);
        }
    }

    pub(super) fn paused(&mut self, channel: usize, utterance: &Utterance) {
        self.pauses.insert(channel, Pause { utterance: utterance.clone(), hinted: false });
    }

    fn hinted(&mut self, channel: usize, speech_end: SampleIndex) {
        if let Some(pause) =
            self.pauses.get_mut(&channel).filter(|pause| pause.utterance.speech_end == speech_end)
        {
            pause.hinted = true;
        }
    }

    pub(super) fn pause_over(&mut self, channel: usize) {
        self.pauses.remove(&channel);
    }

    pub(super) fn turn_ended(&mut self, turn: u64, channel: usize, utterance: Utterance) {
        let paused = self.pauses.remove(&channel).map(|pause| pause.utterance);
        let paused = paused.filter(|paused| paused.speech_end == utterance.speech_end);
        self.turns.insert(turn, Turn { channel, utterance, paused });
    }

    pub(super) fn asked(&mut self, asked: Asked, variants: Vec<Variant>) {
        self.questions.push(Question { asked, waiting: variants, open: Vec::new() });
    }

    /// The answers to `turn` give way to others.
    pub(super) fn supersede(&mut self, turn: u64) -> Withdrawn {
        let mut withdraws = Withdrawn::default();
        let mut open = Vec::new();
        let superseded = |it: &&mut Question| it.asked.heard && it.asked.turn == turn;
        for question in self.questions.iter_mut().filter(superseded) {
            withdraws.extend(std::mem::take(&mut question.asked.withdraws));
            question.waiting.clear();
            open.extend(question.open.iter().map(|(id, ..)| *id));
        }
        open.into_iter().for_each(|id| self.cancelled(id, CancelReason::Superseded));
        withdraws
    }

    /// The answer `answer_id` will be cancelled.
    pub(super) fn cancelled(&mut self, answer_id: u64, reason: CancelReason) {
        self.expected.push(ServerMessage::AnswerCancelled { answer_id, reason });
    }

    fn started(&mut self, answer_id: u64, turn: u64, variant: Variant) {
        let of_turn = |question: &&mut Question| question.asked.turn == turn;
        if let Some(question) = self.questions.iter_mut().rev().find(of_turn) {
            question.asked.withdraws = Withdrawn::default();
            question.waiting.retain(|waiting| *waiting != variant);
            question.open.push((answer_id, variant, String::new()));
        }
    }

    fn grew(&mut self, answer_id: u64, text: &str) {
        let open = self.questions.iter_mut().flat_map(|question| &mut question.open);
        if let Some((_, _, content)) = { open }.find(|(id, ..)| *id == answer_id) {
            content.push_str(text);
        }
    }

    /// An answer is over: the turn that it was to, and its text so far.
    fn over(&mut self, answer_id: u64) -> Option<(Option<u64>, String)> {
        self.questions.iter_mut().find_map(|question| {
            let index = question.open.iter().position(|(id, ..)| *id == answer_id)?;
            let (_, _, content) = question.open.remove(index);
            Some((question.asked.heard.then_some(question.asked.turn), content))
        })
    }
}

impl Session {
    /// Makes the session of `kept` again, for a client with `access`.
    pub(crate) async fn recover(
        engine: Arc<Engine>,
        access: Access,
        kept: KeptJournal,
    ) -> Result<Self, ClientError> {
        let (bytes, mut writer) = kept;
        let forbidden = || {
            let why =
                "this resume token opens no session, or none any more; open a new session without `resume`";
            ClientError::new(CloseCode::Forbidden, why)
        };
        let (beginning, mut records) = read(&bytes).ok_or_else(forbidden)?;
        let theirs = access.session_id.as_ref().is_none_or(|only| *only == beginning.session_id);
        if beginning.access().principal != access.principal || !theirs {
            return Err(forbidden());
        }
        let mut known = known(&engine, &access).await?;
        // As they were: what was heard depends on them.
        known.context.preferences.clone_from(&beginning.preferences);
        let start = &beginning.start;
        let (mut session, _) =
            Self::build(engine, access, start, &known, &beginning.session_id, &beginning.run)?;
        session.replay = Some(Box::default());
        let mut count = 0u32;
        for record in records.by_ref() {
            session.replay(record);
            count += 1;
            if count.is_multiple_of(RECORDS_AT_ONCE) {
                yield_now().await;
            }
        }
        let length = bytes.len() - records.left();
        let truncated = writer.truncate(length as u64).await;
        if truncated == Err(JournalError::TakenOver) {
            // Another server did the same, and came later.
            session.leave_to_others();
            let why = "another connection goes on with the session; ask again";
            return Err(ClientError::new(CloseCode::Overloaded, why));
        }
        session.journal = Some(Journal::start(writer, &session.engine.writers, length as u64));
        session.go_on();
        if truncated.is_err() {
            session.lose_journal();
        }
        metrics::counter!("sessions_recovered_total").increment(1);
        tracing::info!(session_id = session.id, records = count, "session recovered");
        Ok(session)
    }

    fn replay(&mut self, record: Record<'_>) {
        match record {
            Record::Audio(frame) => {
                if let Ok((header, audio)) = FrameHeader::parse(frame) {
                    // Refused again what was refused then.
                    let _ = self.on_audio(header.channel, Some(header.seq), header.last, audio);
                }
            }
            Record::Control(json) => {
                self.controls += 1;
                let _ = parse(json).and_then(|message: ClientMessage| self.on_message(message));
            }
            Record::Config(json) => {
                let _ = parse(json).and_then(|message: ClientMessage| self.on_message(message));
            }
            Record::Hint { channel, speech_end, hint } => {
                let channel = usize::from(channel);
                if channel < self.hearing.channels.len() {
                    self.replaying().hinted(channel, speech_end);
                    self.hearing.owed_hints.push((channel, speech_end, hint));
                    self.give_owed_hints();
                    self.check_length();
                }
            }
            Record::GapGivenUp { stream } if usize::from(stream) < self.hearing.streams.len() => {
                self.give_up_gap(stream.into());
            }
            Record::Drained { stream } if usize::from(stream) < self.hearing.streams.len() => {
                self.finish_stream(stream.into());
            }
            Record::GapGivenUp { .. } | Record::Drained { .. } => {}
            Record::NoText { turn } => {
                self.replay_settled(turn);
            }
            Record::Event(json) => {
                if let Ok(text) = std::str::from_utf8(json)
                    && let Ok(event) = serde_json::from_str::<ServerEvent>(text)
                    && self.events.take_over(&event, text)
                {
                    if let Some(recorder) = &mut self.recorder {
                        // Storage may have it or not; it is kept once.
                        recorder.record(&event, 0);
                    }
                    self.replay_event(event.message);
                }
            }
        }
    }

    fn replay_event(&mut self, message: ServerMessage) {
        match message {
            ServerMessage::Transcription(words) if words.is_final => self.replay_final(words),
            ServerMessage::AnswerStarted { answer_id, turn, variant, .. } => {
                self.answers.skip_ids(answer_id);
                self.replaying().started(answer_id, turn, variant);
            }
            ServerMessage::AnswerDelta { answer_id, text, .. } => self.replaying().grew(answer_id, &text),
            ServerMessage::Answer(answer) => {
                let id = answer.answer_id;
                let turn = self.replaying().over(id).and_then(|(turn, _)| turn);
                self.totals.answers += 1;
                self.history.suggested(id, &answer.content);
                self.answers.note_complete(turn, id, true);
            }
            ServerMessage::AnswerCancelled { answer_id, reason } => {
                self.replaying().met(&ServerMessage::AnswerCancelled { answer_id, reason });
                match self.replaying().over(answer_id) {
                    Some((_, content)) if reason != CancelReason::Superseded && !content.is_empty() => {
                        self.history.suggested(answer_id, &content);
                    }
                    Some(_) => {}
                    // It was complete, or never asked for.
                    None => {
                        self.totals.answers = self.totals.answers.saturating_sub(1);
                        self.history.withdraw(answer_id);
                        self.answers.note_complete(None, answer_id, false);
                    }
                }
            }
            ServerMessage::Ack { channel, next_seq, .. } => {
                if let Some(stream) = self.hearing.streams.get_mut(usize::from(channel)) {
                    stream.acknowledged = next_seq;
                }
            }
            ServerMessage::Marker { id } => {
                let markers = &mut self.hearing.markers;
                if let Some(index) = markers.iter().position(|marker| marker.id == id) {
                    markers.remove(index);
                }
            }
            ServerMessage::StreamEnded { .. } => self.goodbye = Some((CloseCode::Done, "done")),
            other => self.replaying().met(&other),
        }
    }

    fn replay_final(&mut self, words: Transcription) {
        let Some((channel, utterance)) = self.replay_settled(words.turn) else { return };
        self.totals.turns += 1;
        self.history.said(words.turn, words.role, &words.text);
        let answerable = self.config.answer_mode == AnswerMode::Auto && words.role != Role::Candidate;
        if answerable && self.ending.as_ref().is_none_or(|ending| *ending == Ending::Client) {
            self.answer_heard(&HeardQuestion {
                turn: words.turn,
                channel,
                role: words.role,
                text: words.text,
                language: words.language,
                speech_start: utterance.speech_start,
                speech_end: utterance.speech_end,
                endpoint_ms: SampleIndex(utterance.heard - utterance.speech_end).as_ms(),
                decided: Instant::now(),
            });
        }
    }

    fn replay_settled(&mut self, turn: u64) -> Option<(usize, Utterance)> {
        let Turn { channel: index, utterance, .. } = self.replaying().turns.remove(&turn)?;
        let channel = &mut self.hearing.channels[index];
        channel.settled = channel.settled.max(utterance.heard);
        Some((index, utterance))
    }

    fn replaying(&mut self) -> &mut Replay {
        self.replay.get_or_insert_default()
    }

    /// The journal is at its end: what had not gone out goes out, and what was being computed begins anew.
    fn go_on(&mut self) {
        let Replay { expected, turns, pauses, questions } = *self.replay.take().unwrap_or_default();
        self.minutes.skip(self.hearing.heard().as_ms());
        expected.into_iter().for_each(|message| self.emit(message));
        for (turn, Turn { channel, utterance, paused }) in turns {
            if let Some(paused) = paused {
                self.on_pause(channel, &paused);
            }
            let guess = self.take_guess(channel, utterance.speech_end);
            self.write_down(turn, channel, utterance, Draft::default(), Default::default(), guess);
        }
        for (channel, Pause { utterance, hinted }) in pauses {
            self.on_pause(channel, &utterance);
            if let Some(guess) = self.hearing.channels[channel].guess.as_mut().filter(|_| hinted) {
                guess.hint_due = None;
            }
        }
        self.give_owed_hints();
        self.answer_markers();
        for Question { asked, waiting, open } in questions {
            for (answer_id, variant, content) in open {
                self.warn(
                    "answer_asked_again",
                    "the server was restarted in the middle of an answer, and a new one is asked for"
                        .to_owned(),
                );
                if !content.is_empty() {
                    self.history.suggested(answer_id, &content);
                }
                self.emit(ServerMessage::AnswerCancelled { answer_id, reason: CancelReason::ProviderError });
                let mut again = asked.clone();
                again.again = true;
                self.begin(again, variant, Vec::new());
            }
            if let [first, others @ ..] = &waiting[..] {
                self.begin(asked, *first, others.to_vec());
            }
        }
    }
}

/// Others are served in between.
const RECORDS_AT_ONCE: u32 = 64;
