//! Searches what was said and answered, the newest sessions first.
//!
//! There is no index of words: a request reads through at most 2,000 turns and answers of the caller, and says where to go on. Not here: how
//! words are compared (`folding`).

use std::collections::HashMap;

use axum::{Json, extract::State};
use garde::Validate;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    AnswerRecord, SessionRecord, TurnRecord,
    folding::{Snippet, Words},
};
use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    body::ValidQuery,
    pages::no_cursor,
    storage::{Collection, Cursor, Filter, Key, Query, Record, StoreError},
    time::rfc3339,
};

/// What to look for, and from where on.
#[derive(Deserialize, Validate, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SearchQuery {
    /// 1 to 10 words in 1 to 200 characters. All of them must occur in a turn, or in an answer with its question; their case does not matter.
    #[garde(length(chars, min = 1, max = 200), custom(few_words))]
    #[param(min_length = 1, max_length = 200)]
    q: String,
    /// `next` of the page before; leave it out for the first one.
    #[garde(skip)]
    #[serde(default)]
    #[param(nullable = false)]
    cursor: Option<String>,
}

/// What was found.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchPage {
    /// The newest sessions first; at most 50, and perhaps none though more are to come.
    items: Vec<SearchHit>,
    /// `cursor` of the next page; null when all was searched. A page ends after 2,000 turns and answers, whether something was found
    /// in them or not.
    next: Option<String>,
}

/// A turn or an answer in which all words occur.
#[derive(Serialize, ToSchema)]
pub(super) struct SearchHit {
    /// Of which session: its id in the history.
    id: String,
    /// What its interview was called.
    interview_title: Option<String>,
    /// When the session began, RFC 3339 in UTC.
    started_at: String,
    /// What it is.
    kind: HitKind,
    /// Which turn, or to which turn the answer is.
    turn: i64,
    /// Which answer; null for a turn.
    answer_id: Option<u64>,
    /// Who spoke; null for an answer.
    role: Option<String>,
    /// The text around the first match, at most 200 characters; of an answer, the question and then the answer.
    snippet: String,
    /// Where words are in the snippet, in order and without overlaps.
    matches: Vec<Match>,
}

/// What was found.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum HitKind {
    /// Something that was said.
    Turn,
    /// An answer.
    Answer,
}

/// A place in a snippet, in characters (Unicode code points).
#[derive(Serialize, ToSchema)]
struct Match {
    /// From 0.
    start: usize,
    /// How many.
    length: usize,
}

/// Searches your turns and answers.
#[utoipa::path(
    get,
    path = "/api/v1/history/search",
    tag = "history",
    security(("bearer" = [])),
    params(SearchQuery),
    responses(
        (status = 200, description = "What was found in a part of your history", body = SearchPage),
    )
)]
pub(super) async fn search(
    State(state): State<ApiState>,
    current: CurrentUser,
    ValidQuery(query): ValidQuery<SearchQuery>,
) -> Result<Json<SearchPage>, Problem> {
    let words = Words::of(&query.q);
    let (turns, answers) = match &query.cursor {
        Some(cursor) => places(cursor).ok_or_else(no_cursor)?,
        None => (Place::Start, Place::Start),
    };
    let mut turns = Reader::<TurnRecord>::new(&state, current.id(), turns);
    let mut answers = Reader::<AnswerRecord>::new(&state, current.id(), answers);
    let mut sessions = Sessions { state: &state, known: HashMap::new() };
    let mut items = Vec::new();
    let (mut records, mut bytes) = (0, 0);
    while items.len() < MAX_HITS && records < MAX_RECORDS && bytes < MAX_BYTES {
        turns.fill().await?;
        answers.fill().await?;
        // The newest session's first, as ids of sessions grow; its turns before its answers.
        let turn_first = match (turns.head(), answers.head()) {
            (Some(turn), Some(answer)) => turn.session_id >= answer.session_id,
            (turn, answer) => match (turn, answer) {
                (None, None) => break,
                (turn, _) => turn.is_some(),
            },
        };
        let hit = if turn_first {
            let Some(turn) = turns.take(|turn| &turn.session_id) else { break };
            bytes += turn.text.len();
            words
                .find(&turn.text)
                .map(|snippet| (turn.session_id, HitKind::Turn, turn.turn, None, Some(turn.role), snippet))
        } else {
            let Some(found) = answers.take(|answer| &answer.session_id) else { break };
            let answer = found.answer;
            let text = format!("{}\n{}", answer.question, answer.content);
            bytes += text.len();
            let id = Some(answer.answer_id);
            words
                .find(&text)
                .map(|snippet| (found.session_id, HitKind::Answer, found.turn, id, None, snippet))
        };
        records += 1;
        let Some((id, kind, turn, answer_id, role, snippet)) = hit else { continue };
        let Some((interview_title, started_at)) = sessions.get(&id).await? else { continue };
        let Snippet { text: snippet, places } = snippet;
        let matches = places.iter().map(|place| Match { start: place.start, length: place.length }).collect();
        items.push(SearchHit {
            id,
            interview_title,
            started_at,
            kind,
            turn,
            answer_id,
            role,
            snippet,
            matches,
        });
    }
    turns.fill().await?;
    answers.fill().await?;
    let more = turns.head().is_some() || answers.head().is_some();
    Ok(Json(SearchPage { items, next: more.then(|| format!("{}.{}", turns.place, answers.place)) }))
}

/// Titles and beginnings of sessions, each read once.
struct Sessions<'a> {
    state: &'a ApiState,
    known: HashMap<String, Option<(Option<String>, String)>>,
}

impl Sessions<'_> {
    /// None when it is deleted.
    async fn get(&mut self, id: &str) -> Result<Option<(Option<String>, String)>, StoreError> {
        if let Some(known) = self.known.get(id) {
            return Ok(known.clone());
        }
        let session = self.state.records::<SessionRecord>().get(id).await?;
        let session = session.filter(|session| !session.deleted);
        let about =
            session.map(|session| (session.record.interview_title, rfc3339(session.record.started_at)));
        self.known.insert(id.to_owned(), about.clone());
        Ok(about)
    }
}

/// Reads one kind of record, the newest session's first.
struct Reader<R> {
    records: Collection<R>,
    query: Query,
    /// The page that is read, backwards.
    page: Vec<R>,
    /// Where the page after it begins; none when there is none.
    next: Option<Option<Cursor>>,
    /// What was taken.
    place: Place,
}

/// How far a reader is.
#[derive(Clone, PartialEq)]
enum Place {
    Start,
    After(Cursor),
}

impl<R: Record> Reader<R> {
    fn new(state: &ApiState, user_id: &str, place: Place) -> Self {
        let filter = Filter::all().eq("user_id", user_id);
        let next = match &place {
            Place::Start => None,
            Place::After(cursor) => Some(cursor.clone()),
        };
        Self {
            records: state.records(),
            query: Query::new(filter).order("session_id").descending().limit(PAGE),
            page: Vec::new(),
            next: Some(next),
            place,
        }
    }

    /// There is a head from now on, unless all was read.
    async fn fill(&mut self) -> Result<(), StoreError> {
        if self.page.is_empty()
            && let Some(after) = self.next.take()
        {
            let found = self.records.find(&self.query.clone().after(after)).await?;
            self.page.extend(found.records.into_iter().rev().map(|stored| stored.record));
            self.next = found.next.map(Some);
        }
        Ok(())
    }

    fn head(&self) -> Option<&R> {
        self.page.last()
    }

    fn take(&mut self, session_id: impl Fn(&R) -> &String) -> Option<R> {
        let record = self.page.pop()?;
        let key = Some(Key::Text(session_id(&record).clone()));
        self.place = Place::After(Cursor { key, id: record.id().to_owned() });
        Some(record)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Start => f.write_str("-"),
            Self::After(cursor) => cursor.fmt(f),
        }
    }
}

/// The places of both readers in a client's cursor.
fn places(cursor: &str) -> Option<(Place, Place)> {
    let place = |text: &str| match text {
        "-" => Some(Place::Start),
        text => {
            let cursor = text.parse::<Cursor>().ok()?;
            matches!(cursor.key, Some(Key::Text(_))).then_some(Place::After(cursor))
        }
    };
    let (turns, answers) = cursor.split_once('.')?;
    Some((place(turns)?, place(answers)?))
}

fn few_words(text: &str, (): &()) -> garde::Result {
    match Words::of(text).count() {
        0 => Err(garde::Error::new("has no word")),
        count if count > MAX_WORDS => Err(garde::Error::new("has more than 10 words")),
        _ => Ok(()),
    }
}

const MAX_WORDS: usize = 10;
/// Of one request.
const MAX_HITS: usize = 50;
const MAX_RECORDS: usize = 2_000;
/// Of one request: far more than 2,000 usual turns.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Read at once.
const PAGE: usize = 200;
