//! The state of one conversation and what each message of the client does to it.
//!
//! `listening` turns audio into turns and texts, `guessing` writes a turn down before it is over, `draft` keeps its text
//! steady, `answering` turns questions into answers; the loop around them is `pipeline`. Not here: waiting. Every method returns at once but [`Session::advance`], which is cancel-safe.

mod answering;
mod asking;
mod draft;
mod early;
mod events;
mod guessing;
mod hearing;
mod joining;
mod journal;
mod listening;
mod minutes;
mod opening;
mod parts;
mod receipt;
mod recovering;
mod resuming;
mod speculating;

use std::{future::ready, sync::Arc, time::Duration};

use protocol::{
    AnswerMode, AudioFormat, ClientMessage, CloseCode, ConfigUpdate, EndReason, Limits, MarkerId, Role,
    ServerMessage, Totals,
};
use tokio::sync::mpsc;

use self::{
    answering::Answers,
    events::EventLog,
    hearing::Hearing,
    journal::{GivenUp, Journal, Record},
    minutes::Minutes,
    recovering::Replay,
};
use crate::{
    Engine,
    config::{SessionConfig, SessionLimits},
    history::History,
    outbox::Outgoing,
    ports::Access,
    recorder::Recorder,
    transport::Frame,
};

/// One conversation.
pub(crate) struct Session {
    engine: Arc<Engine>,
    access: Access,
    id: String,
    /// What history calls it: another one each time that a session with this id is opened.
    run: String,
    config: SessionConfig,
    hearing: Hearing,
    answers: Answers,
    history: History,
    recorder: Option<Recorder>,
    events: EventLog,
    /// None when there is nothing to keep it in, it failed, or the client wants no trace.
    journal: Option<Journal>,
    /// The one that it had, while it may not be gone yet.
    given_up: Option<GivenUp>,
    /// Another server goes on with it: nothing is said or kept any more here.
    elsewhere: bool,
    /// While the session is being made again from its journal.
    replay: Option<Box<Replay>>,
    /// As the client described it, and must again when it comes back.
    audio: AudioFormat,
    ending: Option<Ending>,
    /// What is left is not waited for any longer.
    cut: bool,
    /// Takes effect when the next turn begins.
    next_config: Option<SessionConfig>,
    goodbye: Option<Goodbye>,
    totals: Totals,
    minutes: Minutes,
    /// Control messages that count.
    controls: u64,
    refused_messages: u32,
    history_warned: bool,
}

/// The close code and its reason.
pub(crate) type Goodbye = (CloseCode, &'static str);

/// Why a session is ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `end_stream`: everything open is finished.
    Client,
    /// The server is leaving: texts are finished, answers as far as time allows.
    Shutdown,
    /// The server is leaving, and the session goes on elsewhere, or here when the server is back.
    Leaving,
    /// The session is as long as it may be.
    Limit,
    /// Nothing came for too long.
    Idle,
    /// The client did what cannot be gone on from.
    Fatal(CloseCode, String),
    /// The connection is lost: texts are finished for history.
    Gone,
}

/// A message or a setting of the client that cannot be accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClientError {
    pub(crate) code: CloseCode,
    pub(crate) message: String,
}

impl ClientError {
    pub(crate) fn new(code: CloseCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    fn malformed(message: impl Into<String>) -> Self {
        Self::new(CloseCode::Malformed, message)
    }
}

/// Parses one control message.
pub(crate) fn parse(json: &[u8]) -> Result<ClientMessage, ClientError> {
    if json.len() > protocol::MAX_JSON_BYTES {
        let message = format!(
            "a JSON message of {} bytes; at most {} are accepted",
            json.len(),
            protocol::MAX_JSON_BYTES
        );
        return Err(ClientError::new(CloseCode::TooBig, message));
    }
    serde_json::from_slice(json)
        .map_err(|error| ClientError::malformed(format!("not a message of this protocol: {error}")))
}

impl Session {
    pub(crate) fn limits(&self) -> SessionLimits {
        self.engine.limits
    }

    /// Takes one frame of the client; true when it counts against idleness.
    pub(crate) fn on_frame(&mut self, frame: Frame) -> bool {
        // Only when something comes: on a connection that is dead and does not know it, what is missing comes with the next one.
        let is_audio = matches!(frame, Frame::Audio(_));
        if !is_audio {
            // It is about the audio before it. Audio may be what is missing.
            self.give_up_late_gaps();
        }
        let taken = match frame {
            Frame::Audio(bytes) => self.on_audio_frame(&bytes).map(|()| true),
            Frame::Control(json) => parse(&json).and_then(|message| {
                if is_counted(&message) {
                    self.controls += 1;
                    self.log(&Record::Control(&json));
                }
                self.on_message(message)
            }),
        };
        let counts = taken.unwrap_or_else(|error| {
            self.refuse(error);
            false
        });
        if is_audio {
            self.give_up_late_gaps();
        }
        counts
    }

    fn on_message(&mut self, message: ClientMessage) -> Result<bool, ClientError> {
        match message {
            ClientMessage::StartStream(_) => {
                return Err(ClientError::malformed("start_stream came twice; the session is already open"));
            }
            ClientMessage::AudioChunk { channel, seq, data } => self.on_audio(channel, seq, false, &data)?,
            ClientMessage::Finalize { channel } => self.finalize(channel)?,
            ClientMessage::AnswerNow { text, turn } => self.answer_now(text, turn)?,
            ClientMessage::CancelAnswer { answer_id } => self.cancel_answer(answer_id)?,
            ClientMessage::UpdateConfig { config } => self.update_config(config)?,
            ClientMessage::Marker { id } => self.mark(id)?,
            ClientMessage::KeepAlive {} => {}
            ClientMessage::EndStream {} => self.end(Ending::Client),
        }
        Ok(true)
    }

    fn update_config(&mut self, update: ConfigUpdate) -> Result<(), ClientError> {
        let current = self.next_config.as_ref().unwrap_or(&self.config);
        let config = current.updated(update).map_err(|error| ClientError::malformed(error.to_string()))?;
        self.take_config(config);
        Ok(())
    }

    fn take_config(&mut self, config: SessionConfig) {
        if self.hearing.in_turn() {
            self.next_config = Some(config);
        } else {
            self.configure(config);
        }
    }

    /// Takes a configuration that was sent while somebody spoke: their next turn begins.
    fn take_next_config(&mut self) {
        if let Some(config) = self.next_config.take() {
            self.configure(config);
        }
    }

    fn configure(&mut self, config: SessionConfig) {
        self.hearing.set_config(&config);
        if !config.save_history {
            self.drop_journal();
            self.recorder = None;
        } else if self.recorder.is_none() {
            self.recorder = Some(record(&self.engine, &self.access, &self.id, &self.run));
        }
        self.config = config;
    }

    /// Tells the client what was wrong; the session goes on unless that keeps happening.
    fn refuse(&mut self, error: ClientError) {
        self.refused_messages += 1;
        metrics::counter!("messages_refused_total", "code" => u16::from(error.code).to_string()).increment(1);
        if error.code == CloseCode::TooBig || self.refused_messages > MAX_REFUSED {
            self.end(Ending::Fatal(error.code, error.message));
        } else {
            self.error(error.code, error.message, None);
        }
    }

    /// Begins the end: no more audio; what is open is finished as the reason allows.
    pub(crate) fn end(&mut self, ending: Ending) {
        if ending == Ending::Shutdown && self.ending.is_none() && self.journal.is_some() {
            return self.leave();
        }
        match (&self.ending, &ending) {
            (Some(Ending::Client), Ending::Shutdown) => {}
            (Some(Ending::Leaving), _) => return,
            (Some(_), Ending::Client | Ending::Shutdown | Ending::Idle) => return,
            _ => {}
        }
        if matches!(ending, Ending::Fatal(CloseCode::Unauthenticated, _)) {
            // Perhaps the account is being erased.
            self.drop_journal();
        }
        let first = self.ending.is_none();
        tracing::info!(session_id = self.id, ending = ending.name(), "session ending");
        if matches!(ending, Ending::Gone | Ending::Fatal(..)) {
            self.cancel_all_answers(protocol::CancelReason::Shutdown);
        }
        let goes_on = matches!(ending, Ending::Client | Ending::Shutdown);
        if ending != Ending::Client {
            // No question is answered any more.
            self.drop_all_held();
        }
        self.ending = Some(ending);
        if first {
            self.finish_hearing();
        }
        if !goes_on {
            self.stop_draining();
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Whether the end is bounded in time: any but the client's own.
    pub(crate) fn is_ending_early(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| *ending != Ending::Client)
    }

    /// The time for finishing is over: what is still open is lost, and the client told.
    pub(crate) fn cut_drain(&mut self) {
        self.cut = true;
        if self.ending == Some(Ending::Leaving) {
            // It is finished where the session goes on.
            return;
        }
        self.stop_draining();
        let lost = self.drop_pending_texts();
        if lost > 0 {
            self.warn(
                "turns_lost",
                format!("{lost} turns could not be written down before the session was closed"),
            );
        }
        self.cancel_all_answers(protocol::CancelReason::Shutdown);
    }

    /// Ends without a goodbye: nobody reads.
    pub(crate) fn abandon(&self, why: &str) {
        tracing::warn!(session_id = self.id, why, "session abandoned");
    }

    /// Once everything is finished: stages the last events. The close code follows when all of them are sent.
    pub(crate) fn conclude(&mut self) {
        let Some(ending) = &self.ending else { return };
        let leaves = *ending == Ending::Leaving && self.cut;
        if self.goodbye.is_some() || (self.has_work() && !leaves) {
            return;
        }
        self.totals.audio_ms = self.hearing.heard().as_ms();
        let (reason, close) = match ending.clone() {
            Ending::Client => (Some(EndReason::Client), (CloseCode::Done, "done")),
            Ending::Shutdown => (Some(EndReason::Shutdown), (CloseCode::Leaving, "server leaving")),
            Ending::Limit => {
                let minutes = self.engine.limits.max_session.as_secs() / 60;
                let message = format!("a session lasts at most {minutes} minutes; open another one");
                self.emit(ServerMessage::StreamEnded { reason: EndReason::Limit, totals: self.totals });
                self.fatal(CloseCode::Limit, message);
                (None, (CloseCode::Limit, "session length"))
            }
            Ending::Idle => {
                let seconds = self.engine.limits.idle_timeout.as_secs();
                let message = format!("no audio, marker or keep_alive for {seconds} s");
                self.fatal(CloseCode::Idle, message);
                (None, (CloseCode::Idle, "idle"))
            }
            Ending::Fatal(code, message) => {
                self.fatal(code, message);
                (None, (code, "see the error event"))
            }
            Ending::Leaving => (None, (CloseCode::Leaving, "server leaving; resume with your token")),
            Ending::Gone => (None, (CloseCode::Done, "gone")),
        };
        if let Some(reason) = reason {
            self.emit(ServerMessage::StreamEnded { reason, totals: self.totals });
        }
        self.goodbye = Some(close);
    }

    /// What to close with, once the last events are staged.
    pub(crate) fn goodbye(&self) -> Option<Goodbye> {
        self.goodbye
    }

    /// Whether a model works for it.
    pub(crate) fn is_computing(&self) -> bool {
        self.has_work()
    }

    /// Whether something is still being computed.
    fn has_work(&self) -> bool {
        self.hearing.has_work() || self.answers.has_work()
    }

    /// Whether the client's next frame can be dealt with at once.
    pub(crate) fn wants_to_hear(&self) -> bool {
        let open = matches!(self.ending, None | Some(Ending::Client)) && self.goodbye.is_none();
        open && !self.has_staged() && self.hearing.has_room()
    }

    /// Whether events wait for room in the outbox.
    pub(crate) fn has_staged(&self) -> bool {
        self.events.has_sendable(self.written()) && self.ending != Some(Ending::Gone)
    }

    /// How far the journal is written; without one, nothing waits for it.
    fn written(&self) -> u64 {
        self.journal.as_ref().map_or(u64::MAX, Journal::written)
    }

    /// Whether there are events that were not sent, be it that their record is not written yet.
    pub(crate) fn has_unsent(&self) -> bool {
        self.events.has_unsent() && self.ending != Some(Ending::Gone)
    }

    pub(crate) fn send_next(&mut self, permit: mpsc::Permit<'_, Outgoing>) {
        if let Some(json) = self.events.take_next() {
            permit.send(Outgoing::Event(json));
        }
    }

    /// Keeps the conversation for a client that comes back, unless nothing of it is to be kept.
    fn remember(&self) {
        if self.config.save_history && !self.history.is_empty() {
            self.engine.memories.keep(&self.access.principal, &self.id, self.hearing.key, &self.history);
        }
    }

    /// Somebody speaks who may ask: does ahead what an answer would wait for.
    fn expect_question(&self, role: Role) {
        if role != Role::Candidate && self.config.answer_mode != AnswerMode::Off && self.replay.is_none() {
            self.answers.prepare();
            self.warm_model();
        }
    }

    fn warm_model(&self) {
        if self.config.answer_mode != AnswerMode::Off {
            // Bounded in time and number by the model itself.
            tokio::spawn(self.engine.chat.warm());
        }
    }

    /// Waits until the next text or piece of an answer, and stages its events. Cancel-safe; never ready when nothing
    /// is being computed.
    pub(crate) async fn advance(&mut self) {
        let drainable = self.hearing.drainable();
        let waits = self.events.has_unsent();
        tokio::select! {
            heard = self.hearing.next() => self.on_heard(heard),
            step = self.answers.next() => self.on_answer_step(step),
            Some(stream) = ready(drainable) => {
                self.log(&Record::Drained { stream: stream as u8 });
                self.finish_stream(stream);
            }
            () = progress(self.journal.as_mut()), if waits => {}
            reached = self.minutes.refused() => self.end(Ending::Fatal(CloseCode::Limit, reached.0)),
        }
    }

    /// Twice a second: acknowledges what was heard since.
    pub(crate) fn on_tick(&mut self) {
        for (channel, next_seq, audio_ms) in self.hearing.take_acks() {
            self.emit(ServerMessage::Ack { channel, next_seq, audio_ms });
        }
        if !self.is_ending() {
            let heard_ms = self.hearing.heard().as_ms();
            self.minutes.ask(&*self.engine.meter, &self.access.principal, heard_ms);
        }
        if self.recorder.as_ref().is_some_and(Recorder::failed)
            && !std::mem::replace(&mut self.history_warned, true)
        {
            self.warn("history_unavailable", "this session is not being kept in the history".to_owned());
        }
    }

    fn mark(&mut self, id: MarkerId) -> Result<(), ClientError> {
        self.hearing.mark(id)?;
        self.answer_markers();
        Ok(())
    }

    fn stream_started(&self, token: &str) -> ServerMessage {
        let limits = self.engine.limits;
        ServerMessage::StreamStarted {
            session_id: self.id.clone(),
            resume_token: token.to_owned(),
            next_seq: self.hearing.next_seqs(),
            next_control: self.controls,
            limits: Limits {
                max_chunk_bytes: protocol::MAX_AUDIO_BYTES as u64,
                max_session_ms: limits.max_session.as_millis() as u64,
                idle_timeout_ms: limits.idle_timeout.as_millis() as u64,
            },
        }
    }

    fn emit(&mut self, message: ServerMessage) {
        if let Some(replay) = &mut self.replay {
            return replay.expect(message);
        }
        let (event, json) = self.events.push(message);
        let mut after = 0;
        if let Some(journal) = &mut self.journal {
            after = journal.append(&Record::Event(json.as_bytes()));
            self.events.hold_last(after);
        }
        let written = self.written();
        if let Some(recorder) = &mut self.recorder {
            recorder.record(&event, after);
            recorder.pump(written);
        }
    }

    fn log(&mut self, record: &Record<'_>) {
        if let Some(journal) = &mut self.journal {
            journal.append(record);
        }
    }

    /// Counts speech that will never be text; whoever calls tells the client.
    fn lose_audio(&mut self, ms: u64) {
        metrics::counter!("audio_dropped_ms_total").increment(ms);
        self.totals.audio_dropped_ms += ms;
    }

    fn warn(&mut self, code: &str, message: String) {
        metrics::counter!("warnings_total", "code" => code.to_owned()).increment(1);
        self.emit(ServerMessage::Warning { code: code.to_owned(), message });
    }

    fn error(&mut self, code: CloseCode, message: String, retry_after_ms: Option<u64>) {
        metrics::counter!("errors_total", "code" => u16::from(code).to_string()).increment(1);
        self.emit(ServerMessage::Error { code, message, fatal: false, retry_after_ms });
    }

    fn fatal(&mut self, code: CloseCode, message: String) {
        metrics::counter!("errors_total", "code" => u16::from(code).to_string()).increment(1);
        self.emit(ServerMessage::Error { code, message, fatal: true, retry_after_ms: None });
    }
}

/// Who is not gone for good may come back within minutes, and go on.
impl Drop for Session {
    fn drop(&mut self) {
        if self.ending == Some(Ending::Client) || !self.config.save_history || self.elsewhere {
            self.engine.memories.forget(&self.access.principal, &self.id, self.hearing.key);
        } else {
            self.remember();
        }
        if self.ending != Some(Ending::Leaving) {
            self.drop_journal();
        }
        // Of a journal that is left for another process, what is written: the rest is told where the session goes on.
        let written = self.written();
        if let Some(recorder) = &mut self.recorder {
            recorder.pump(written);
        }
    }
}

async fn progress(journal: Option<&mut Journal>) {
    match journal {
        Some(journal) => journal.progress().await,
        None => std::future::pending().await,
    }
}

impl Ending {
    fn name(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Shutdown => "shutdown",
            Self::Leaving => "leaving",
            Self::Limit => "limit",
            Self::Idle => "idle",
            Self::Fatal(..) => "error",
            Self::Gone => "gone",
        }
    }
}

fn record(engine: &Engine, access: &Access, id: &str, run: &str) -> Recorder {
    Recorder::start(&*engine.recorder, &engine.writers, access, id, run)
}

/// Whether a client that comes back must be told that `message` was received: what changes anything, but for audio, which has
/// numbers of its own.
fn is_counted(message: &ClientMessage) -> bool {
    let others = matches!(
        message,
        ClientMessage::StartStream(_) | ClientMessage::AudioChunk { .. } | ClientMessage::KeepAlive {}
    );
    !others
}

/// What is asked of the outside must come soon or is done without.
const PORT_TIMEOUT: Duration = Duration::from_secs(2);
/// A client that sends more nonsense than this is closed.
const MAX_REFUSED: u32 = 100;
