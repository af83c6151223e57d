//! Errors as RFC 9457 problem JSON, with the fields of the original design kept.
//!
//! A handler returns a [`Problem`]; [`complete`] writes it, with what only the outside knows. It also rewrites the plain-text
//! errors of axum itself, so that no error answer looks different.

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

/// An error answer: its status, and what the caller should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    detail: String,
}

impl Problem {
    /// `detail` is shown to the caller: no internals, no secret, no words of a session.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into() }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
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
    let detail = match parts.extensions.remove::<Problem>() {
        Some(problem) => problem.detail,
        None if is_json(parts.headers.get(header::CONTENT_TYPE)) => return Response::from_parts(parts, body),
        None => plain_detail(status, body).await,
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
    };
    let body = serde_json::to_vec(&body).expect("a problem has text keys only");
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    parts.headers.remove(header::CONTENT_LENGTH);
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
        return "something failed in the server; the log says what".to_owned();
    }
    match to_bytes(body, MAX_PLAIN_DETAIL).await {
        Ok(text) if !text.is_empty() => String::from_utf8_lossy(&text).into_owned(),
        _ => "the request was refused".to_owned(),
    }
}

const PROBLEM_JSON: &str = "application/problem+json";
const MAX_PLAIN_DETAIL: usize = 1024;
