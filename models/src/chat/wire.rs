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

/// An answer without any text is none.
pub(super) fn without_text(finish_reason: &str) -> ChatError {
    let message = format!("it ended without any text (finish reason: {finish_reason})");
    match finish_reason {
        "content_filter" => ChatError::Refused(message),
        // Asked again it would think as long.
        "length" => {
            ChatError::Refused(format!("{message}; a model that thinks first needs answers.thinking_tokens"))
        }
        _ => ChatError::Provider(message),
    }
}

/// Counts what comes of one answer, and takes a byte-order mark off its start, which the parser of event streams trips over.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    answer: usize,
    line: usize,
    /// The first bytes, while they may be the mark's.
    head: Vec<u8>,
    begun: bool,
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
        if self.begun {
            return Ok(chunk);
        }
        self.head.extend_from_slice(&chunk);
        if self.head.len() < MARK.len() && MARK.starts_with(&self.head) {
            return Ok(Bytes::new());
        }
        self.begun = true;
        let head = std::mem::take(&mut self.head);
        Ok(match head.strip_prefix(MARK) {
            Some(rest) => Bytes::copy_from_slice(rest),
            None => head.into(),
        })
    }
}

/// UTF-8's.
const MARK: &[u8] = "\u{feff}".as_bytes();

/// Most bytes of one answer's event stream; an event of one token takes 200 to 2,000.
const ANSWER_BYTES: usize = 16 << 20;

/// Most bytes without a line's end: parsers hold an unfinished line and go through it again at every chunk.
const LINE_BYTES: usize = 256 << 10;
