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
use reqwest::{Body, Response};
use tokio::{runtime, sync::Notify, time::timeout};

use super::super::{
    ChatError,
    wire::{self, Bounds},
};
use crate::provider::Refusal;

/// What is seen of one exchange.
#[derive(Default)]
pub(super) struct Exchange {
    /// Told once the HTTP client has taken the last byte of the request for writing.
    pub(super) request_sent: Arc<Notify>,
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
            wire::announce(&mut request, Arc::clone(&exchange.request_sent));
            let response = http.execute(request).await;
            let response = response.map_err(|error| boxed(wire::unsent(&error, connect_timeout)))?;
            if !response.status().is_success() {
                return Err(boxed(wire::refused(&Refusal::read(response).await)));
            }
            Ok(observed(response, exchange))
        }
    })
}

/// The response with its size and lines bounded and its end noticed.
fn observed(response: Response, exchange: Arc<Exchange>) -> Response {
    let at_end = Arc::clone(&exchange);
    let mut bounds = Bounds::default();
    let body = Remains { body: Some(response.bytes_stream().boxed()), last: Vec::new() };
    let chunks = body.map(move |chunk| {
        bounds.check(chunk).map_err(|fault| {
            // The library keeps only the text of a stream's error, so the error itself takes this way.
            let _ = exchange.fault.set(fault);
            io::Error::other("the answer broke off")
        })
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

fn boxed(error: ChatError) -> OpenAIError {
    OpenAIError::Boxed(Box::new(error))
}

const DONE: &[u8] = b"[DONE]";

/// Most chunks that are read after `[DONE]`.
const MOST_REMAINS: usize = 8;
