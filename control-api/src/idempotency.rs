//! `Idempotency-Key`: a creating request that is sent twice is done once.
//!
//! A feature puts [`layer`] around its creating routes and `IdempotencyKey` into their description. Only what succeeded is
//! remembered, for a day: what failed had no effect, so it is done anew. A request under way goes on when its client leaves, so
//! that the next try finds its answer; only a crash in the midst of one can let it be done twice. Not here: the requests.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody as _},
    extract::{FromRequest as _, FromRequestParts as _, Request},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::{FromFnLayer, Next, from_fn},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::Instrument as _;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    ApiState, Problem,
    auth::CurrentUser,
    storage::{Index, Record, StoreError},
    time::now_ms,
};

/// A request that carried a key, and its answer, as kept for a day. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Hash of user, method, path and key.
    pub id: String,
    /// Whose.
    pub user_id: String,
    /// Hash of query and body: the same key with another one is a mistake.
    pub body_hash: String,
    /// Which try does it, or did.
    pub run: String,
    /// When that began.
    pub begun_at: i64,
    /// What came of it; none while it is under way.
    pub answer: Option<Answer>,
    /// When it is forgotten.
    pub expires_at: i64,
}

/// An answer that is given again.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    status: u16,
    content_type: Option<String>,
    location: Option<String>,
    body: String,
}

impl Record for Remembered {
    const COLLECTION: &'static str = "idempotency";
    const INDEXES: &'static [Index] = &[Index::on("of_user", &["user_id"]), Index::expiry(&["expires_at"])];

    fn id(&self) -> &str {
        &self.id
    }
}

impl std::fmt::Debug for Remembered {
    /// Without the answer.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remembered").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The header, as routes with [`layer`] describe it: `params(IdempotencyKey)`.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it is only described")]
pub(crate) struct IdempotencyKey {
    /// A random text of yours, 1 to 255 printable characters. The same request with the same key is done once in 24 hours; the
    /// answer comes again with `Idempotency-Replayed: true`.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255, pattern = "^[!-~]+$")]
    key: Option<String>,
}

/// Around routes that create something for a user: `.layer(idempotency::layer())`. A route's own limit of the body goes outside
/// of it. Requests without the header pass as they are.
pub fn layer() -> FromFnLayer<Middleware, (), (Request,)> {
    from_fn(once as Middleware)
}

/// What [`layer`] is made of.
pub type Middleware = fn(Request, Next) -> BoxFuture<'static, Response>;

fn once(request: Request, next: Next) -> BoxFuture<'static, Response> {
    async move {
        match key_of(request.headers()) {
            Ok(None) => next.run(request).await,
            Ok(Some(key)) => {
                with_key(key, request, next).await.unwrap_or_else(|problem| problem.into_response())
            }
            Err(problem) => problem.into_response(),
        }
    }
    .boxed()
}

fn key_of(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(&KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let bytes = value.as_bytes();
    let fine = (1..=255).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic);
    match value.to_str() {
        Ok(key) if fine && values.next().is_none() => Ok(Some(key.to_owned())),
        _ => {
            Err(Problem::field("Idempotency-Key", "one key of 1 to 255 printable characters without spaces"))
        }
    }
}

async fn with_key(key: String, request: Request, next: Next) -> Result<Response, Problem> {
    let state = request.extensions().get::<Arc<ApiState>>().cloned().expect("the router puts it there");
    let (mut parts, body) = request.into_parts();
    let current = CurrentUser::from_request_parts(&mut parts, &state).await?;
    let body = Bytes::from_request(Request::from_parts(parts.clone(), body), &())
        .await
        .map_err(|rejection| Problem::new(rejection.status(), rejection.body_text()))?;
    let now = now_ms();
    let fresh = Remembered {
        id: hash(&[current.id(), parts.method.as_str(), parts.uri.path(), &key].map(str::as_bytes)),
        user_id: current.id().to_owned(),
        body_hash: hash(&[parts.uri.query().unwrap_or_default().as_bytes(), &body]),
        run: Uuid::new_v4().to_string(),
        begun_at: now,
        answer: None,
        expires_at: now + REMEMBERED_MS,
    };
    if let Some(answer) = begin(&state, &fresh).await? {
        return Ok(replayed(answer));
    }
    // A task of its own: who hangs up and asks again is to find the answer.
    let run = run(state, fresh, parts, body, next).in_current_span();
    tokio::spawn(run).await.map_err(|error| crate::problem::internal(&error))
}

/// Whether it is ours to do; if not, the answer of who did it.
async fn begin(state: &ApiState, fresh: &Remembered) -> Result<Option<Answer>, Problem> {
    let remembered = state.records::<Remembered>();
    for _ in 0..TRIES {
        match remembered.insert(fresh).await {
            Ok(()) => return Ok(None),
            Err(StoreError::Duplicate { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let Some(mut known) = remembered.get(&fresh.id).await? else { continue };
        if known.expires_at <= fresh.begun_at {
            remembered.delete_unchanged(&known).await?;
            continue;
        }
        if known.body_hash != fresh.body_hash {
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key was used for another request; take a new key for a new request",
            ));
        }
        if known.answer.is_some() {
            return Ok(known.record.answer);
        }
        if fresh.begun_at - known.begun_at < ABANDONED_MS {
            break;
        }
        // Who did it is gone: a crash. One of those who ask now takes it over.
        known.record = fresh.clone();
        match remembered.replace(&mut known).await {
            Ok(()) => return Ok(None),
            Err(StoreError::Conflict | StoreError::NotFound) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(StatusCode::CONFLICT, "the same request is under way; ask again for its answer")
        .retry_after(Duration::from_secs(1)))
}

/// Does it, and keeps the answer or forgets the try.
async fn run(state: Arc<ApiState>, fresh: Remembered, parts: Parts, body: Bytes, next: Next) -> Response {
    let run = next.run(Request::from_parts(parts, Body::from(body)));
    let Ok(response) = tokio::time::timeout(LONGEST_RUN, run).await else {
        // It may have been done in part: only the time tells when another may try.
        return Problem::unavailable("what this needs", Duration::from_secs(60)).into_response();
    };
    let (parts, body) = response.into_parts();
    let small = body.size_hint().exact().is_some_and(|bytes| bytes <= MAX_ANSWER_BYTES);
    if !parts.status.is_success() || !small {
        forget(&state, &fresh).await;
        return Response::from_parts(parts, body);
    }
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        forget(&state, &fresh).await;
        return Problem::unavailable("the answer", Duration::from_secs(1)).into_response();
    };
    let text =
        |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::to_owned);
    let answer = Answer {
        status: parts.status.as_u16(),
        content_type: text(header::CONTENT_TYPE),
        location: text(header::LOCATION),
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    let remembered = state.records::<Remembered>();
    let kept = remembered.update(&fresh.id, |known| {
        if known.run != fresh.run {
            return Err(StoreError::Conflict);
        }
        known.answer = Some(answer.clone());
        Ok(())
    });
    if let Err(error) = kept.await {
        tracing::warn!(%error, "an answer is not remembered; the request may be done again in a minute");
    }
    Response::from_parts(parts, Body::from(body))
}

async fn forget(state: &ApiState, fresh: &Remembered) {
    let remembered = state.records::<Remembered>();
    let forgotten = async {
        match remembered.get(&fresh.id).await? {
            Some(known) if known.run == fresh.run => remembered.delete_unchanged(&known).await,
            _ => Ok(false),
        }
    };
    if let Err(error) = forgotten.await {
        tracing::warn!(%error, "a failed try is not forgotten; its key works again in a minute");
    }
}

fn replayed(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    for (name, value) in [(header::CONTENT_TYPE, answer.content_type), (header::LOCATION, answer.location)] {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(name, value);
        }
    }
    response
}

/// Of parts with their lengths, so that none passes for a part of another.
fn hash(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// The header that carries the key.
pub(crate) const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header of an answer that is given again.
pub(crate) const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// How long answers are remembered: a day.
const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1_000;
/// Longest run; shorter than [`ABANDONED_MS`], so that nobody takes over what is still done.
const LONGEST_RUN: Duration = Duration::from_secs(45);
const ABANDONED_MS: i64 = 60_000;
const MAX_ANSWER_BYTES: u64 = 64 * 1024;
const TRIES: usize = 4;
