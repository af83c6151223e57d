//! What the clients of model providers do alike on the wire: tell when a request has left, bound what is read, explain a refusal.
//!
//! Not here: any provider's events.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{StatusCode, header::CONTENT_LENGTH};
use reqwest::{Body, Request};
use tokio::sync::Notify;

use super::ChatError;
use crate::provider::{Refusal, root_cause};

/// Makes the client tell `sent` when it takes the body, which it does after connecting and after the headers are written.
pub(super) fn announce(request: &mut Request, sent: Arc<Notify>) {
    let Some(body) = request.body().and_then(Body::as_bytes).map(Bytes::copy_from_slice) else { return };
    request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    let body = stream::once(async move {
        sent.notify_one();
        Ok::<_, io::Error>(body)
    });
    *request.body_mut() = Some(Body::wrap_stream(body));
}

/// Why there is no response.
pub(super) fn unsent(error: &reqwest::Error, connect_timeout: Duration) -> ChatError {
    match error.is_timeout() {
        // The client knows no other time-out than that of connecting.
        true => ChatError::Timeout(connect_timeout.as_millis().try_into().unwrap_or(u64::MAX)),
        false => ChatError::Provider(format!("the request failed: {}", root_cause(error))),
    }
}

/// What a refusal means to the caller.
pub(super) fn refused(refusal: &Refusal) -> ChatError {
    match refusal.status {
        _ if refusal.is_unauthorised() => ChatError::Unauthorised(refusal.text()),
        StatusCode::TOO_MANY_REQUESTS => {
            ChatError::RateLimited { message: refusal.text(), retry_after: refusal.retry_after }
        }
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            ChatError::Refused(refusal.text())
        }
        _ => ChatError::Provider(refusal.text()),
    }
}

/// Counts what comes of one answer.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    answer: usize,
    line: usize,
}

impl Bounds {
    /// Takes the next bytes of a response in, or what is wrong with it.
    pub(super) fn check(&mut self, chunk: reqwest::Result<Bytes>) -> Result<Bytes, ChatError> {
        let chunk =
            chunk.map_err(|error| ChatError::Provider(format!("it broke off: {}", root_cause(&error))))?;
        self.answer += chunk.len();
        self.line = match chunk.iter().rposition(|&byte| byte == b'\n') {
            Some(end) => chunk.len() - end - 1,
            None => self.line + chunk.len(),
        };
        if self.answer > ANSWER_BYTES || self.line > LINE_BYTES {
            return Err(ChatError::Provider("it sends more than an answer can hold".into()));
        }
        Ok(chunk)
    }
}

/// Most bytes of one answer's event stream; an event of one token takes 200 to 2,000.
const ANSWER_BYTES: usize = 16 << 20;

/// Most bytes without a line's end: parsers hold an unfinished line and go through it again at every chunk.
const LINE_BYTES: usize = 256 << 10;
