//! Lists sessions, shows one in full, deletes one or all.
//!
//! Not here: search, exports.

use std::{collections::HashMap, ops::Bound};

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use futures_util::future::try_join_all;
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{AnswerRecord, KeptAnswer, SessionRecord, TurnRecord, delete_texts, missing, own};
use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    body::ValidQuery,
    pages::{PageQuery, no_cursor},
    storage::{Cursor, Filter, Key, MAX_PAGE, Query, StoreError},
    time::rfc3339,
};

/// A session of the history.
#[derive(Serialize, ToSchema)]
#[schema(as = HistorySession)]
pub(super) struct SessionBody {
    /// Its id in the history.
    pub(super) id: String,
    /// What it was called on the wire.
    pub(super) session_id: String,
    /// Of which interview, if of one.
    pub(super) interview_id: Option<String>,
    /// What the interview was called then.
    pub(super) interview_title: Option<String>,
    /// ISO 639-1, or `auto`.
    pub(super) language: String,
    /// When it began, RFC 3339 in UTC.
    pub(super) started_at: String,
    /// When it ended; null while it lasts, or when its end was lost.
    pub(super) ended_at: Option<String>,
    /// Why it ended: `client`, `shutdown`, `limit`, or `lost` when the connection ended in another way.
    pub(super) end_reason: Option<String>,
    /// How much audio there was, in ms; 0 until it ended.
    pub(super) audio_ms: i64,
    /// How many turns are kept.
    pub(super) turns: u64,
    /// How many answers are kept.
    pub(super) answers: u64,
}

/// A page of the history.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryPage {
    /// The newest first.
    items: Vec<SessionBody>,
    /// `cursor` of the next page; null on the last one.
    next: Option<String>,
}

/// A turn, and the answers to it.
#[derive(Serialize, ToSchema)]
#[schema(as = HistoryTurn)]
pub(super) struct TurnBody {
    /// Its number in the session.
    pub(super) turn: i64,
    /// Who spoke: `interviewer`, `candidate`, `mixed`.
    pub(super) role: String,
    /// What was said.
    pub(super) text: String,
    /// When it began, in ms on the session's audio clock.
    pub(super) start_ms: i64,
    /// When it ended.
    pub(super) end_ms: i64,
    /// 0 to 1.
    pub(super) confidence: f64,
    /// ISO 639-1.
    pub(super) language: String,
    /// In the order in which they were asked for.
    pub(super) answers: Vec<KeptAnswer>,
}

/// A session with what was said in it.
#[derive(Serialize, ToSchema)]
pub(super) struct HistoryDetail {
    /// About it.
    session: SessionBody,
    /// In their order; at most 1,000.
    turns: Vec<TurnBody>,
    /// Answers to texts that are no kept turn.
    other_answers: Vec<KeptAnswer>,
    /// `cursor` of the next page; null on the last one.
    next: Option<String>,
}

/// Which page of the turns.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DetailQuery {
    /// `next` of the page before; leave it out for the first one.
    #[garde(skip)]
    #[serde(default)]
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// Your sessions, the newest first.
#[utoipa::path(
    get,
    path = "/api/v1/history",
    tag = "history",
    security(("bearer" = [])),
    params(PageQuery),
    responses(
        (status = 200, description = "A page of them", body = HistoryPage),
    )
)]
pub(super) async fn list(
    State(state): State<ApiState>,
    current: CurrentUser,
    ValidQuery(page): ValidQuery<PageQuery>,
) -> Result<Json<HistoryPage>, Problem> {
    let filter = Filter::all().eq("user_id", current.id()).eq("deleted", false);
    let query = Query::new(filter).order("started_at").descending().limit(page.limit).after(page.after()?);
    let found = state.records::<SessionRecord>().find(&query).await?;
    let items = found.records.into_iter().map(|session| counted(&state, session.record));
    Ok(Json(HistoryPage { items: try_join_all(items).await?, next: found.next.map(|next| next.to_string()) }))
}

/// A session in full: its turns, with their answers. Of more than 1,000 turns, page by page.
#[utoipa::path(
    get,
    path = "/api/v1/history/{id}",
    tag = "history",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id in the history"), DetailQuery),
    responses(
        (status = 200, description = "The session", body = HistoryDetail),
    )
)]
pub(super) async fn read(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
    ValidQuery(query): ValidQuery<DetailQuery>,
) -> Result<Json<HistoryDetail>, Problem> {
    let after = match &query.cursor {
        Some(text) => Some(text.parse::<Cursor>().map_err(|_| no_cursor())?),
        None => None,
    };
    if after.as_ref().is_some_and(|after| !matches!(after.key, Some(Key::Int(_)))) {
        return Err(no_cursor());
    }
    let session = shown(&state, &current, &id).await?;
    let said = said(&state, &session.id, after, MAX_TURNS).await?;
    Ok(Json(HistoryDetail {
        session: counted(&state, session).await?,
        turns: said.turns,
        other_answers: said.other_answers,
        next: said.next.map(|next| next.to_string()),
    }))
}

/// Deletes a session from the history, with all that was said.
#[utoipa::path(
    delete,
    path = "/api/v1/history/{id}",
    tag = "history",
    security(("bearer" = [])),
    params(("id" = String, Path, description = "Its id in the history")),
    responses(
        (status = 204, description = "It is deleted"),
    )
)]
pub(super) async fn delete(
    State(state): State<ApiState>,
    current: CurrentUser,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = own(&state, current.id(), &id).await?.record.id;
    mark(&state, &id).await?;
    delete_texts(&state, &Filter::all().eq("session_id", &*id)).await?;
    state.records::<SessionRecord>().delete(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes your whole history. After a 503 some of it may be deleted: do it again.
#[utoipa::path(
    delete,
    path = "/api/v1/history",
    tag = "history",
    security(("bearer" = [])),
    responses((status = 204, description = "It is deleted"),)
)]
pub(super) async fn delete_all(
    State(state): State<ApiState>,
    current: CurrentUser,
) -> Result<StatusCode, Problem> {
    let sessions = state.records::<SessionRecord>();
    let of_user = Filter::all().eq("user_id", current.id());
    let mut query = Query::new(of_user.clone()).order("started_at").limit(MAX_PAGE);
    loop {
        let found = sessions.find(&query).await?;
        for session in &found.records {
            mark(&state, &session.id).await?;
        }
        if found.next.is_none() {
            break;
        }
        query = query.after(found.next);
    }
    delete_texts(&state, &of_user).await?;
    // One that began meanwhile goes on.
    sessions.delete_many(&of_user.eq("deleted", true)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn mark(state: &ApiState, id: &str) -> Result<(), StoreError> {
    let sessions = state.records::<SessionRecord>();
    let marked = sessions.update(id, |session| {
        session.deleted = true;
        Ok::<_, StoreError>(())
    });
    match marked.await {
        // Somebody else is deleting it.
        Ok(_) | Err(StoreError::NotFound) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The caller's session, unless it is being deleted.
pub(super) async fn shown(
    state: &ApiState,
    current: &CurrentUser,
    id: &str,
) -> Result<SessionRecord, Problem> {
    let session = own(state, current.id(), id).await?.record;
    if session.deleted { Err(missing()) } else { Ok(session) }
}

/// What was said in a session, or a part of it.
pub(super) struct Said {
    pub(super) turns: Vec<TurnBody>,
    pub(super) other_answers: Vec<KeptAnswer>,
    pub(super) next: Option<Cursor>,
}

/// At least `enough` turns after the cursor, if there are so many, and at most a page of the store more. Answers that belong to
/// no kept turn come where it would be.
pub(super) async fn said(
    state: &ApiState,
    session_id: &str,
    after: Option<Cursor>,
    enough: usize,
) -> Result<Said, StoreError> {
    let of_session = Filter::all().eq("session_id", session_id);
    let from = match after.as_ref().and_then(|after| after.key.as_ref()) {
        Some(Key::Int(turn)) => Bound::Excluded(*turn),
        _ => Bound::Unbounded,
    };
    let mut turns = Vec::new();
    let mut query = Query::new(of_session.clone()).order("turn").limit(MAX_PAGE).after(after);
    let next = loop {
        let found = state.records::<TurnRecord>().find(&query).await?;
        turns.extend(found.records.into_iter().map(|turn| TurnBody::from(turn.record)));
        if found.next.is_none() || turns.len() >= enough {
            break found.next;
        }
        query = query.after(found.next);
    };
    let to = match (&next, turns.last()) {
        (Some(_), Some(last)) => Bound::Included(last.turn),
        _ => Bound::Unbounded,
    };
    let place: HashMap<i64, usize> = turns.iter().enumerate().map(|(at, turn)| (turn.turn, at)).collect();
    let mut other_answers = Vec::new();
    let mut query = Query::new(of_session.within("turn", (from, to))).order("turn").limit(MAX_PAGE);
    loop {
        let found = state.records::<AnswerRecord>().find(&query).await?;
        for answer in found.records {
            match place.get(&answer.turn) {
                Some(at) => turns[*at].answers.push(answer.record.answer),
                None => other_answers.push(answer.record.answer),
            }
        }
        if found.next.is_none() {
            return Ok(Said { turns, other_answers, next });
        }
        query = query.after(found.next);
    }
}

/// With how many turns and answers are kept of it.
pub(super) async fn counted(state: &ApiState, session: SessionRecord) -> Result<SessionBody, StoreError> {
    let of_session = Filter::all().eq("session_id", &*session.id);
    Ok(SessionBody {
        turns: state.records::<TurnRecord>().count(&of_session).await?,
        answers: state.records::<AnswerRecord>().count(&of_session).await?,
        id: session.id,
        session_id: session.session_id,
        interview_id: session.interview_id,
        interview_title: session.interview_title,
        language: session.language,
        started_at: rfc3339(session.started_at),
        ended_at: session.ended_at.map(rfc3339),
        end_reason: session.end_reason,
        audio_ms: session.audio_ms,
    })
}

impl From<TurnRecord> for TurnBody {
    fn from(turn: TurnRecord) -> Self {
        Self {
            turn: turn.turn,
            role: turn.role,
            text: turn.text,
            start_ms: turn.start_ms,
            end_ms: turn.end_ms,
            confidence: turn.confidence,
            language: turn.language,
            answers: Vec::new(),
        }
    }
}

/// Of one page. 1,000 turns are more than an hour.
const MAX_TURNS: usize = 1_000;
