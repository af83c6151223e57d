//! One HTTP exchange with the provider, watched: when the request left, how the response ended, what a refusal says.
//!
//! It is the service that `async-openai` sends through, in place of its own, which retries, reads error bodies of any
//! size and logs them. Not here: JSON of events, time-outs, and what may be shown of a message.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use async_openai::{error::OpenAIError, middleware::HttpRequestFactory};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, future, stream, stream::BoxStream};
use http::{StatusCode, header::CONTENT_LENGTH};
use reqwest::{Body, Request, Response};
use tokio::{runtime, sync::Notify, time::timeout};

use super::super::ChatError;
use crate::openai::{Refusal, root_cause};

/// What is seen of one exchange.
#[derive(Default)]
pub(super) struct Exchange {
    /// Told once the HTTP client has taken the last byte of the request for writing.
    pub(super) request_sent: Notify,
    /// Why the response's body broke off.
    pub(super) fault: OnceLock<ChatError>,
    ended: AtomicBool,
}

impl Exchange {
    /// Whether the response's body was read to its end. The library stops reading at `[DONE]`, so then it was not.
    pub(super) fn ended_without_done(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Sends one request over `http`, once, and reports on it to `exchange`.
pub(super) fn service(
    http: reqwest::Client,
    connect_timeout: Duration,
    exchange: Arc<Exchange>,
) -> impl tower::Service<HttpRequestFactory, Response = Response, Error = OpenAIError, Future: Send>
+ Clone
+ Send
+ Sync {
    tower::service_fn(move |factory: HttpRequestFactory| {
        let (http, exchange) = (http.clone(), Arc::clone(&exchange));
        async move {
            let mut request = factory.build().await?;
            announce(&mut request, Arc::clone(&exchange));
            let response = http.execute(request).await.map_err(|error| match error.is_timeout() {
                // The client knows no other time-out than that of connecting.
                true => boxed(ChatError::Timeout(connect_timeout.as_millis().try_into().unwrap_or(u64::MAX))),
                false => boxed(ChatError::Provider(format!("the request failed: {}", root_cause(&error)))),
            })?;
            if !response.status().is_success() {
                return Err(boxed(refused(&Refusal::read(response).await)));
            }
            Ok(observed(response, exchange))
        }
    })
}

/// Makes the client tell when it takes the body, which it does after connecting and after the headers are written.
fn announce(request: &mut Request, exchange: Arc<Exchange>) {
    let Some(body) = request.body().and_then(Body::as_bytes).map(Bytes::copy_from_slice) else { return };
    request.headers_mut().insert(CONTENT_LENGTH, body.len().into());
    let body = stream::once(async move {
        exchange.request_sent.notify_one();
        Ok::<_, io::Error>(body)
    });
    *request.body_mut() = Some(Body::wrap_stream(body));
}

/// The response with its size and lines bounded and its end noticed.
fn observed(response: Response, exchange: Arc<Exchange>) -> Response {
    let at_end = Arc::clone(&exchange);
    let mut answer = 0;
    let mut line = 0;
    let body = Remains { body: Some(response.bytes_stream().boxed()), last: Vec::new() };
    let chunks = body.map(move |chunk| {
        let fault = match chunk {
            Ok(chunk) => {
                answer += chunk.len();
                line = match chunk.iter().rposition(|&byte| byte == b'\n') {
                    Some(end) => chunk.len() - end - 1,
                    None => line + chunk.len(),
                };
                if answer <= ANSWER_BYTES && line <= LINE_BYTES {
                    return Ok(chunk);
                }
                ChatError::Provider("it sends more than an answer can hold".into())
            }
            Err(error) => ChatError::Provider(format!("it broke off: {}", root_cause(&error))),
        };
        // The library keeps only the text of a stream's error, so the error itself takes this way.
        let _ = exchange.fault.set(fault);
        Err(io::Error::other("the answer broke off"))
    });
    let end = stream::poll_fn(move |_| {
        at_end.ended.store(true, Ordering::SeqCst);
        Poll::Ready(None)
    });
    http::Response::new(Body::wrap_stream(chunks.chain(end))).into()
}

/// A response's body. The library drops it at `[DONE]`; then what is left is read, no more than its end as a rule, because only
/// then can the connection be used again. Dropped before `[DONE]`, the connection closes.
struct Remains {
    body: Option<BoxStream<'static, reqwest::Result<Bytes>>>,
    /// The last bytes, without white space at their end.
    last: Vec<u8>,
}

impl Stream for Remains {
    type Item = reqwest::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let chunk = ready!(body.poll_next_unpin(context));
        match &chunk {
            Some(Ok(bytes)) => {
                self.last.extend_from_slice(&bytes[bytes.len().saturating_sub(2 * DONE.len())..]);
                let text = self.last.trim_ascii_end().len();
                self.last.truncate(text);
                let surplus = text.saturating_sub(DONE.len());
                self.last.drain(..surplus);
            }
            _ => self.body = None,
        }
        Poll::Ready(chunk)
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let (Some(body), true, Ok(runtime)) =
            (self.body.take(), self.last == DONE, runtime::Handle::try_current())
        {
            let rest = body.take(MOST_REMAINS).for_each(|_| future::ready(()));
            runtime.spawn(timeout(super::LAST_EVENT, rest));
        }
    }
}

/// What a refusal means to the caller.
fn refused(refusal: &Refusal) -> ChatError {
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

fn boxed(error: ChatError) -> OpenAIError {
    OpenAIError::Boxed(Box::new(error))
}

const DONE: &[u8] = b"[DONE]";

/// Most chunks that are read after `[DONE]`.
const MOST_REMAINS: usize = 8;

/// Most bytes of one answer's event stream; an event of one token takes 200 to 2,000.
const ANSWER_BYTES: usize = 16 << 20;

/// Most bytes without a line's end: the library holds an unfinished line and goes through it again at every chunk.
const LINE_BYTES: usize = 256 << 10;
