//! What is kept of a session: each event becomes a record, sooner or later.
//!
//! A store that is away is tried for a while, as events wait behind. What is lost then is counted by the engine. Not here: which sessions are kept, the queue (`engine`),
//! what the records look like (`control_api::history`).

use std::{collections::HashMap, sync::Arc, time::Duration};

use control_api::{
    ApiState,
    history::{
        Begin, HistoryError, KeptAnswer, KeptSession, KeptSource, KeptTimings, SessionHistory, TurnText,
    },
    storage::StoreError,
};
use engine::ports::{Access, PortError, SessionRecorder, SessionWriter};
use futures_util::future::{BoxFuture, FutureExt as _};
use protocol::{Answer, ServerEvent, ServerMessage};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::has_account;

/// The histories of accounts, and beside them what is kept of who has none.
pub(crate) struct Histories {
    history: SessionHistory,
    /// Of who sits at this machine.
    local: Arc<dyn SessionRecorder>,
    /// How long a store that is away is tried, before what waits is lost and the client warned.
    patience: Duration,
}

impl Histories {
    pub(crate) fn new(state: &ApiState, local: Arc<dyn SessionRecorder>, patience: Duration) -> Self {
        Self { history: SessionHistory::new(state), local, patience }
    }
}

impl SessionRecorder for Histories {
    fn open(&self, access: &Access, session_id: &str, run: &str) -> Box<dyn SessionWriter> {
        if !has_account(&access.principal) {
            return self.local.open(access, session_id, run);
        }
        Box::new(Writer {
            history: self.history.clone(),
            access: access.clone(),
            session_id: session_id.to_owned(),
            record_id: run.to_owned(),
            kept: None,
            questions: HashMap::new(),
            heard_ms: 0,
            end: None,
            deleted: false,
            full: false,
            patience: self.patience,
            away_since: None,
        })
    }
}

/// One session over one connection: a record of its own, as turns are numbered anew when a client comes back.
struct Writer {
    history: SessionHistory,
    access: Access,
    session_id: String,
    record_id: String,
    kept: Option<KeptSession>,
    /// Of answers that are not complete: as many as run at once.
    questions: HashMap<u64, String>,
    heard_ms: u64,
    /// How it ended: reason, audio in ms, unix ms.
    end: Option<(String, u64, i64)>,
    /// The user deleted it: nothing more is kept.
    deleted: bool,
    /// It is too large: nothing more is kept, but its end.
    full: bool,
    patience: Duration,
    /// The store was not there when it was last asked. When the patience has run out, each event has one try.
    away_since: Option<Instant>,
}

impl SessionWriter for Writer {
    fn write<'a>(&'a mut self, event: &'a ServerEvent) -> BoxFuture<'a, Result<(), PortError>> {
        self.patiently(Some(&event.message)).boxed()
    }

    /// Keeps how it ended. Of a connection that was lost, the end is when it was noticed.
    fn close(&mut self) -> BoxFuture<'_, Result<(), PortError>> {
        self.patiently(None).boxed()
    }
}

impl Writer {
    /// Keeps `message`, or that there are no more, as often as it takes.
    async fn patiently(&mut self, message: Option<&ServerMessage>) -> Result<(), PortError> {
        if self.deleted || (self.full && message.is_some()) {
            return Ok(());
        }
        if message.is_none() {
            self.end.get_or_insert_with(|| (LOST.to_owned(), self.heard_ms, now_ms()));
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let kept = match message {
                Some(message) => self.keep(message).await,
                None => self.keep_end().await,
            };
            match kept {
                Err(HistoryError::Store(StoreError::Unavailable { .. })) if self.is_patient() => {
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                // The user does not want it.
                Err(HistoryError::Deleted) => {
                    self.deleted = true;
                    return Ok(());
                }
                Err(error) => {
                    self.full |= error == HistoryError::Full;
                    return Err(PortError(error.to_string()));
                }
                Ok(()) => return Ok(()),
            }
        }
    }

    /// Whether to try again, as the store is away; asked each time that it is.
    fn is_patient(&mut self) -> bool {
        self.away_since.get_or_insert_with(Instant::now).elapsed() < self.patience
    }

    /// May be called again with the same message after an error.
    async fn keep(&mut self, message: &ServerMessage) -> Result<(), HistoryError> {
        match message {
            ServerMessage::Transcription(heard) => {
                let kept = self.begun(&heard.language).await?;
                let role = name(&heard.role);
                let turn = TurnText {
                    turn: heard.turn,
                    role: &role,
                    text: &heard.text,
                    start_ms: heard.start_ms,
                    end_ms: heard.end_ms,
                    confidence: heard.confidence,
                    language: &heard.language,
                };
                self.history.turn(&kept, &turn).await?;
                self.heard_ms = self.heard_ms.max(heard.end_ms);
            }
            ServerMessage::AnswerStarted { answer_id, question, .. } => {
                self.questions.insert(*answer_id, question.clone());
                return Ok(());
            }
            ServerMessage::Answer(answer) => {
                let kept = self.begun("auto").await?;
                let question = self.questions.get(&answer.answer_id).cloned().unwrap_or_default();
                self.history.answer(&kept, &record(answer, question)).await?;
                self.questions.remove(&answer.answer_id);
            }
            ServerMessage::AnswerCancelled { answer_id, .. } => {
                // One that was not complete was not kept.
                if self.questions.remove(answer_id).is_some() {
                    return Ok(());
                }
                let Some(kept) = &self.kept else { return Ok(()) };
                self.history.withdraw_answer(kept, *answer_id).await?;
            }
            ServerMessage::StreamEnded { reason, totals } => {
                self.end = Some((name(reason), totals.audio_ms, now_ms()));
                return Ok(());
            }
            _ => return Ok(()),
        }
        // It was asked, and was there.
        self.away_since = None;
        Ok(())
    }

    async fn keep_end(&mut self) -> Result<(), HistoryError> {
        let Some((reason, audio_ms, at)) = self.end.clone() else { return Ok(()) };
        // Of a connection on which nothing was said and that was lost, there is nothing to tell.
        if self.kept.is_none() && reason == LOST {
            return Ok(());
        }
        let kept = self.begun("auto").await?;
        self.history.end(&kept, &reason, audio_ms, at).await
    }

    /// The session's record, made with the first thing that there is to keep.
    async fn begun(&mut self, language: &str) -> Result<KeptSession, HistoryError> {
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        let begin = Begin {
            id: &self.record_id,
            session_id: &self.session_id,
            user_id: &self.access.principal.user,
            interview_id: self.access.interview.as_deref(),
            language,
            at: now_ms(),
        };
        let kept = self.history.begin(&begin).await?;
        self.kept = Some(kept.clone());
        Ok(kept)
    }
}

fn record(answer: &Answer, question: String) -> KeptAnswer {
    let timings = answer.timings;
    KeptAnswer {
        answer_id: answer.answer_id,
        turn: answer.turn,
        variant: name(&answer.variant),
        question,
        content: answer.content.clone(),
        key_points: answer.key_points.clone(),
        confidence: answer.confidence.map(f64::from),
        finish_reason: answer.finish_reason.clone(),
        model: answer.model.clone(),
        cached: answer.cached,
        sources: answer
            .sources
            .iter()
            .map(|source| KeptSource { cv_line: source.cv_line, text: source.text.clone() })
            .collect(),
        timings: KeptTimings {
            endpoint: ms(timings.endpoint),
            transcript: ms(timings.transcript),
            request: ms(timings.request),
            first_token: ms(timings.first_token),
            last_token: ms(timings.last_token),
            total_to_first_token: ms(timings.total_to_first_token),
        },
    }
}

/// As the protocol writes it: `interviewer`, `client`, `balanced`.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

/// Forty days at most.
fn ms(ms: u64) -> u32 {
    u32::try_from(ms).unwrap_or(u32::MAX)
}

fn now_ms() -> i64 {
    chrono::Utc::now().timestamp_millis()
}

/// The end of a connection that said no goodbye.
const LOST: &str = "lost";
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
