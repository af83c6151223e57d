//! What a server says when it refuses, and why a request did not get through.
//!
//! Reads no more than a short message needs. Not here: what to show of it (`censor`), whether to ask again.

use std::{error::Error, time::Duration};

use futures_util::StreamExt;
use http::{StatusCode, header::RETRY_AFTER};
use reqwest::Response;
use serde_json::Value;

/// A response that is no success.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// Its status.
    pub(crate) status: StatusCode,
    /// The machine-readable reason, where the server gives one.
    pub(crate) code: Option<String>,
    /// When to ask again, where the server says so in seconds. Dates are not read.
    pub(crate) retry_after: Option<Duration>,
    message: Option<String>,
}

impl Refusal {
    /// Reads `response`, whatever its size.
    pub(crate) async fn read(response: Response) -> Self {
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| value.trim().parse::<f64>().ok());
        let retry_after = retry_after.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        let mut body = Vec::new();
        let mut chunks = response.bytes_stream();
        while let Some(Ok(chunk)) = chunks.next().await {
            let room = ERROR_BYTES - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == ERROR_BYTES {
                break;
            }
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let error = &json["error"];
        let code = error["code"].as_str().or(error["type"].as_str()).map(str::to_owned);
        Self { status, code, retry_after, message: server_message(&json) }
    }

    /// Whether it is about the credentials.
    pub(crate) fn is_unauthorised(&self) -> bool {
        matches!(self.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
    }

    /// The status and what the server says; of refused credentials only the code.
    pub(crate) fn text(&self) -> String {
        // Some have no name, such as 529 of servers that are overloaded.
        let status = match self.status.canonical_reason() {
            Some(_) => self.status.to_string(),
            None => self.status.as_str().to_owned(),
        };
        match &self.message {
            // The message of these repeats the key, or most of it.
            _ if self.is_unauthorised() => {
                format!("{status}, {}", self.code.as_deref().unwrap_or("no further reason"))
            }
            Some(message) => format!("{status}: {message}"),
            None => status,
        }
    }
}

/// The innermost reason of an HTTP client's error: the outer ones repeat each other, and the address.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// What a server says in one of the usual shapes of an error body.
pub(crate) fn server_message(body: &Value) -> Option<String> {
    let detail = &body["detail"];
    let candidates = [
        &body["error"]["message"],
        &body["error"],
        &body["message"],
        detail,
        &detail["error"]["message"],
        &detail[0]["msg"],
    ];
    candidates
        .into_iter()
        .find_map(Value::as_str)
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// Most bytes read of an error's body.
const ERROR_BYTES: usize = 8 << 10;
