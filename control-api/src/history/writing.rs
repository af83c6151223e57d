//! Writes the history of live sessions, event by event.
//!
//! Each method may be called again after an error, and then does nothing twice. Not here: which sessions are kept (`privacy`),
//! queues and retries (`engine::recorder`).

use super::{AnswerRecord, KeptAnswer, SessionRecord, TurnRecord};
use crate::{
    ApiState,
    interviews::Interview,
    storage::{Collection, Increment, Incremented, Record, StoreError},
};

/// Writes the history of live sessions. Cheap to clone.
///
/// Errors are those of [`HistoryError`]. Dropping a future leaves a step done or not done: call it again.
#[derive(Clone)]
pub struct SessionHistory {
    sessions: Collection<SessionRecord>,
    turns: Collection<TurnRecord>,
    answers: Collection<AnswerRecord>,
    interviews: Collection<Interview>,
}

/// A session that is being kept: what [`SessionHistory::begin`] gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptSession {
    id: String,
    user_id: String,
}

/// A session begins.
#[derive(Clone, Debug)]
pub struct Begin<'a> {
    /// UUID v7, chosen once by who keeps the session: the same for each try.
    pub id: &'a str,
    /// The protocol's `session_id`: 1 to 200 bytes, without NUL.
    pub session_id: &'a str,
    /// Whose it is.
    pub user_id: &'a str,
    /// Of which interview; one that is not theirs is left out.
    pub interview_id: Option<&'a str>,
    /// ISO 639-1, or `auto`.
    pub language: &'a str,
    /// When, in unix ms.
    pub at: i64,
}

/// The final text of a turn. Times are ms on the session's audio clock.
#[derive(Clone)]
pub struct TurnText<'a> {
    /// Its number.
    pub turn: u64,
    /// `interviewer`, `candidate` or `mixed`.
    pub role: &'a str,
    /// What was said; beyond 64 KiB it is cut.
    pub text: &'a str,
    /// When it began.
    pub start_ms: u64,
    /// When it ended.
    pub end_ms: u64,
    /// 0 to 1.
    pub confidence: f32,
    /// ISO 639-1.
    pub language: &'a str,
}

/// Why something was not kept. Names nothing of what was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HistoryError {
    /// The store; see there whether trying again helps.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user deleted the session meanwhile: keep nothing more of it.
    #[error("the session was deleted from the history")]
    Deleted,
    /// 16 MiB of text, or turn or answer 100,000: what comes after is not kept.
    #[error("the session is too large to be kept further")]
    Full,
}

impl SessionHistory {
    /// Writes into the store of `state`.
    pub fn new(state: &ApiState) -> Self {
        Self {
            sessions: state.records(),
            turns: state.records(),
            answers: state.records(),
            interviews: state.records(),
        }
    }

    /// A new session. A name that was used before, by whomever, is no matter: a client that comes back goes on in another one, as
    /// its turns are numbered anew.
    pub async fn begin(&self, begin: &Begin<'_>) -> Result<KeptSession, HistoryError> {
        let interview = match begin.interview_id {
            Some(id) => self.interviews.get(id).await?,
            None => None,
        };
        let interview = interview.filter(|interview| interview.user_id == begin.user_id);
        let session = SessionRecord {
            id: begin.id.to_owned(),
            user_id: begin.user_id.to_owned(),
            session_id: begin.session_id.to_owned(),
            interview_id: interview.as_ref().map(|interview| interview.id.clone()),
            interview_title: interview.map(|interview| interview.record.title),
            language: clean(begin.language, MAX_NAME_BYTES),
            started_at: begin.at,
            ended_at: None,
            end_reason: None,
            audio_ms: 0,
            bytes: 0,
            deleted: false,
        };
        match self.sessions.insert(&session).await {
            // An earlier try, of which no answer came.
            Ok(()) | Err(StoreError::Duplicate { index: "id" }) => {
                Ok(KeptSession { id: session.id, user_id: session.user_id })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps a turn's final text.
    pub async fn turn(&self, session: &KeptSession, turn: &TurnText<'_>) -> Result<(), HistoryError> {
        let number = numbered(turn.turn)?;
        let record = TurnRecord {
            id: format!("{}/{number:06}", session.id),
            session_id: session.id.clone(),
            user_id: session.user_id.clone(),
            turn: number,
            role: clean(turn.role, MAX_NAME_BYTES),
            text: clean(turn.text, MAX_TURN_BYTES),
            start_ms: whole(turn.start_ms),
            end_ms: whole(turn.end_ms),
            confidence: turn.confidence.into(),
            language: clean(turn.language, MAX_NAME_BYTES),
        };
        self.keep(&self.turns, session, &record, record.text.len()).await
    }

    /// Keeps a complete answer. Beyond 256 KiB of content, 8 key points of 4 KiB and 50 sources of 1 KiB it is cut.
    pub async fn answer(&self, session: &KeptSession, answer: &KeptAnswer) -> Result<(), HistoryError> {
        let number = numbered(answer.answer_id)?;
        let mut kept = answer.clone();
        kept.question = clean(&answer.question, MAX_QUESTION_BYTES);
        kept.content = clean(&answer.content, MAX_CONTENT_BYTES);
        for text in [&mut kept.variant, &mut kept.finish_reason, &mut kept.model] {
            *text = clean(text, MAX_NAME_BYTES);
        }
        kept.key_points.truncate(MAX_KEY_POINTS);
        kept.key_points.iter_mut().for_each(|point| *point = clean(point, MAX_KEY_POINT_BYTES));
        kept.sources.truncate(MAX_SOURCES);
        kept.sources.iter_mut().for_each(|source| source.text = clean(&source.text, MAX_SOURCE_BYTES));
        let record = AnswerRecord {
            id: format!("{}/{number:06}", session.id),
            session_id: session.id.clone(),
            user_id: session.user_id.clone(),
            turn: numbered(answer.turn)?,
            answer: kept,
        };
        let answer = &record.answer;
        let bytes = answer.question.len()
            + answer.content.len()
            + answer.key_points.iter().map(String::len).sum::<usize>()
            + answer.sources.iter().map(|source| source.text.len()).sum::<usize>();
        self.keep(&self.answers, session, &record, bytes).await
    }

    /// An answer was superseded after it was complete: it is not kept any more.
    pub async fn withdraw_answer(&self, session: &KeptSession, answer_id: u64) -> Result<(), HistoryError> {
        let id = format!("{}/{:06}", session.id, numbered(answer_id)?);
        self.answers.delete(&id).await?;
        Ok(())
    }

    /// The session ended, `at` unix ms, for a `reason` of the protocol, after so much audio.
    pub async fn end(
        &self,
        session: &KeptSession,
        reason: &str,
        audio_ms: u64,
        at: i64,
    ) -> Result<(), HistoryError> {
        let ended = self.sessions.update(&session.id, |record| {
            record.end_reason = Some(clean(reason, MAX_NAME_BYTES));
            record.audio_ms = whole(audio_ms);
            record.ended_at = Some(record.ended_at.unwrap_or(at));
            Ok::<_, StoreError>(())
        });
        match ended.await {
            Ok(_) => Ok(()),
            Err(StoreError::NotFound) => Err(HistoryError::Deleted),
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps `record`, in place of the same one of an earlier try.
    async fn keep<R: Record>(
        &self,
        records: &Collection<R>,
        session: &KeptSession,
        record: &R,
        bytes: usize,
    ) -> Result<(), HistoryError> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let room = Increment::add("bytes", bytes).up_to(Some(MAX_SESSION_BYTES));
        match self.sessions.increment(&session.id, &[room]).await {
            Ok(Incremented::Done(session)) if session.deleted => return Err(HistoryError::Deleted),
            Ok(Incremented::Done(_)) => {}
            Ok(Incremented::Refused { .. }) => return Err(HistoryError::Full),
            Err(StoreError::NotFound) => return Err(HistoryError::Deleted),
            Err(error) => return Err(error.into()),
        }
        match records.insert(record).await {
            Err(StoreError::Duplicate { index: "id" }) => {
                records.delete(record.id()).await?;
                records.insert(record).await?;
            }
            done => done?,
        }
        // Whoever deletes the session marks it before taking its texts away, so either they saw this one or it is seen here.
        let kept = self.sessions.get(&session.id).await?;
        if kept.is_some_and(|kept| !kept.deleted) {
            return Ok(());
        }
        records.delete(record.id()).await?;
        Err(HistoryError::Deleted)
    }
}

impl std::fmt::Debug for SessionHistory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionHistory").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for TurnText<'_> {
    /// Without what was said.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnText").field("turn", &self.turn).finish_non_exhaustive()
    }
}

/// At most `max` bytes of `text`, without control characters, of which JSON makes six bytes and a subtitle a mess.
fn clean(text: &str, max: usize) -> String {
    let mut kept: String = text.chars().filter(|it| !it.is_control() || matches!(it, '\n' | '\t')).collect();
    kept.truncate(kept.floor_char_boundary(max));
    kept
}

fn numbered(number: u64) -> Result<i64, HistoryError> {
    if number < MAX_NUMBER { Ok(whole(number)) } else { Err(HistoryError::Full) }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// 4 h of speech are about 0.3 MiB. As much is read at once when a session is shown or exported.
const MAX_SESSION_BYTES: i64 = 16 * 1024 * 1024;
/// Ids hold six digits.
const MAX_NUMBER: u64 = 100_000;
/// Escaped as JSON, at most twice as long, an answer stays below the 1 MiB of a document.
const MAX_CONTENT_BYTES: usize = 256 * 1024;
const MAX_TURN_BYTES: usize = 64 * 1024;
const MAX_QUESTION_BYTES: usize = 16 * 1024;
const MAX_KEY_POINTS: usize = 8;
const MAX_KEY_POINT_BYTES: usize = 4 * 1024;
const MAX_SOURCES: usize = 50;
const MAX_SOURCE_BYTES: usize = 1024;
const MAX_NAME_BYTES: usize = 200;
