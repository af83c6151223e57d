//! Errors as RFC 9457 problem JSON, with the fields of the original design kept.
//!
//! A handler returns a [`Problem`]; [`complete`] writes it, with what only the outside knows. It also rewrites the plain-text
//! errors of axum itself, so that no error answer looks different.

use std::time::Duration;

use axum::{
    body::{Body, to_bytes},
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use chrono::{SecondsFormat, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{blobs::BlobError, cache::CacheError, jobs::JobsError, storage::StoreError};

/// An error answer: its status, and what the caller should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// `detail` is shown to the caller: no internals, no secret, no words of a session.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after: None }
    }

    /// 400: these fields are not as they must be.
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let detail = match &errors[..] {
            [error] => format!("`{}`: {}", error.field, error.message),
            errors => format!("{} fields are not as they must be; see `errors`", errors.len()),
        };
        Self { errors, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    /// 400: this one field is not as it must be.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![FieldError { field: field.into(), message: message.into() }])
    }

    /// 404, for what is not there and for what is another user's alike.
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("you have no such {what}"))
    }

    /// 503: something that is needed does not answer.
    pub fn unavailable(what: &str, retry_after: Duration) -> Self {
        let detail = format!("{what} does not answer for now; nothing is lost, try again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(retry_after)
    }

    /// The same, with the `Retry-After` header.
    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..self }
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(retry_after) = self.retry_after {
            // Whole seconds, rounded up: sooner would be in vain.
            let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
            response.headers_mut().insert(
                header::RETRY_AFTER,
                HeaderValue::from_str(&seconds.to_string()).expect("digits are a header's value"),
            );
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable { retry_after, .. } => Self::unavailable("the store", retry_after),
            StoreError::Conflict => Self::new(
                StatusCode::CONFLICT,
                "it was changed meanwhile; read it again, then repeat the change",
            ),
            StoreError::NotFound => Self::new(StatusCode::NOT_FOUND, "it does not exist, or not any more"),
            StoreError::Duplicate { index } => {
                Self::new(StatusCode::CONFLICT, format!("there is one with the same {index} already"))
            }
            error @ (StoreError::Corrupt(_) | StoreError::Invalid(_)) => internal(&error),
        }
    }
}

impl From<CacheError> for Problem {
    fn from(error: CacheError) -> Self {
        match error {
            CacheError::Unavailable(_) => Self::unavailable("the cache", RETRY_AFTER),
            error @ CacheError::Invalid(_) => internal(&error),
        }
    }
}

impl From<JobsError> for Problem {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Unavailable(_) => Self::unavailable("the job queue", RETRY_AFTER),
            error @ JobsError::Invalid(_) => internal(&error),
        }
    }
}

impl From<BlobError> for Problem {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::NotFound => Self::new(StatusCode::NOT_FOUND, "it does not exist, or not any more"),
            BlobError::Unavailable(_) => Self::unavailable("the file store", RETRY_AFTER),
            error => internal(&error),
        }
    }
}

/// 500: a mistake of ours, or damaged data. The log says what, the caller is told that much.
pub(crate) fn internal(error: &dyn std::error::Error) -> Problem {
    tracing::error!(%error, "a request failed");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
}

/// One field of a request that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Its path in the body, or the parameter's name.
    #[schema(example = "password")]
    pub field: String,
    /// What it must be like.
    pub message: String,
}

/// The body of every error answer, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `about:blank`: the status says it all (RFC 9457, 4.2.1).
    #[schema(example = "about:blank")]
    pub r#type: &'static str,
    /// The status in words.
    #[schema(example = "Not Found")]
    pub title: &'static str,
    /// HTTP status.
    #[schema(example = 404)]
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// As `status`; a field of the original design.
    #[serde(rename = "statusCode")]
    #[schema(example = 404)]
    pub status_code: u16,
    /// When, RFC 3339 in UTC; a field of the original design.
    #[schema(example = "2026-11-23T20:15:00.000Z")]
    pub timestamp: String,
    /// The path that was asked for, without its query; a field of the original design.
    #[schema(example = "/api/v1/nothing")]
    pub path: String,
    /// As `title`; a field of the original design.
    #[schema(example = "Not Found")]
    pub error: &'static str,
    /// What is wrong with the fields of the request.
    #[serde(skip_serializing_if = "<[FieldError]>::is_empty")]
    pub errors: Vec<FieldError>,
}

/// Gives every error answer its body, unless a handler gave it JSON of its own.
pub(crate) async fn complete(request: Request, next: Next) -> Response {
    // Not the query: it may hold a ticket.
    let path = request.uri().path().to_owned();
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let (detail, errors) = match parts.extensions.remove::<Problem>() {
        Some(problem) => (problem.detail, problem.errors),
        None if is_json(parts.headers.get(header::CONTENT_TYPE)) => return Response::from_parts(parts, body),
        None => (plain_detail(status, body).await, Vec::new()),
    };
    let title = status.canonical_reason().unwrap_or("Error");
    let body = ProblemBody {
        r#type: "about:blank",
        title,
        status: status.as_u16(),
        detail,
        status_code: status.as_u16(),
        timestamp: Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true),
        path,
        error: title,
        errors,
    };
    let body = serde_json::to_vec(&body).expect("a problem has text keys only");
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    parts.headers.remove(header::CONTENT_LENGTH);
    if status == StatusCode::UNAUTHORIZED {
        parts.headers.entry(header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
    }
    Response::from_parts(parts, Body::from(body))
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"))
}

/// What axum says of a request that it refused. What it says of a failure of ours is none of the caller's business.
async fn plain_detail(status: StatusCode, body: Body) -> String {
    if status.is_server_error() {
        return FAILED.to_owned();
    }
    match to_bytes(body, MAX_PLAIN_DETAIL).await {
        Ok(text) if !text.is_empty() => String::from_utf8_lossy(&text).into_owned(),
        _ => "the request was refused".to_owned(),
    }
}

const PROBLEM_JSON: &str = "application/problem+json";
const FAILED: &str = "something failed in the server; the log says what";
const RETRY_AFTER: Duration = Duration::from_secs(2);
const MAX_PLAIN_DETAIL: usize = 1024;
