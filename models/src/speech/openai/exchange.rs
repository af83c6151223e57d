//! HTTP with the server: one request, tried again where that is worth it, and what went wrong.
//!
//! It is the service that `async-openai` sends through, in place of its own, which retries everything, reads bodies of
//! any size and logs them. Not here: JSON beyond whether it is any.

use std::{sync::Arc, time::Duration};

use async_openai::{error::OpenAIError, middleware::HttpRequestFactory};
use futures_util::StreamExt;
use http::StatusCode;
use reqwest::{Body, Response};
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::OpenAiSpeechConfig;
use crate::provider::{Refusal, root_cause};

/// Why a request failed, and whether another try may help.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(super) struct Fault {
    message: String,
    again: Again,
}

/// What is to be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Again {
    /// It would fail again.
    No,
    /// Try again, after a pause of our own choice.
    Soon,
    /// Try again, not before.
    After(Duration),
}

/// Sends requests over `http` as `config` says. Every error is a [`Fault`], boxed.
pub(super) fn service(
    http: reqwest::Client,
    config: Arc<OpenAiSpeechConfig>,
) -> impl tower::Service<HttpRequestFactory, Response = Response, Error = OpenAIError, Future: Send>
+ Clone
+ Send
+ Sync {
    tower::service_fn(move |factory: HttpRequestFactory| {
        let (http, config) = (http.clone(), Arc::clone(&config));
        async move {
            let body = send(&factory, &http, &config).await;
            let body = body.map_err(|fault| OpenAIError::Boxed(Box::new(fault)))?;
            Ok(http::Response::new(Body::from(body)).into())
        }
    })
}

/// The text of an error of [`service`]; the library's own quote what was received.
pub(super) fn explain(error: OpenAIError) -> String {
    match error {
        OpenAIError::Boxed(error) => match error.downcast::<Fault>() {
            Ok(fault) => fault.message,
            Err(_) => "the HTTP client failed".into(),
        },
        OpenAIError::JSONDeserialize(..) => NOT_JSON.into(),
        _ => "the request could not be made".into(),
    }
}

async fn send(
    factory: &HttpRequestFactory,
    http: &reqwest::Client,
    config: &OpenAiSpeechConfig,
) -> Result<Vec<u8>, Fault> {
    let mut retries = 0;
    loop {
        let fault = match timeout(config.try_timeout, once(factory, http, config)).await {
            Ok(Ok(body)) => return Ok(body),
            Ok(Err(fault)) => fault,
            Err(_) => timed_out(config.try_timeout),
        };
        let pause = match fault.again {
            Again::Soon if retries < config.retries => jittered(config.retry_pause, retries),
            Again::After(pause) if retries < config.retries => pause,
            _ => return Err(fault),
        };
        retries += 1;
        metrics::counter!("speech_remote_retries_total").increment(1);
        sleep(pause).await;
    }
}

/// One try.
async fn once(
    factory: &HttpRequestFactory,
    http: &reqwest::Client,
    config: &OpenAiSpeechConfig,
) -> Result<Vec<u8>, Fault> {
    let request = factory
        .build()
        .await
        .map_err(|_| Fault { message: "the request could not be made".into(), again: Again::No })?;
    let response = http.execute(request).await.map_err(|error| match error.is_timeout() {
        // The client knows no other time-out than that of connecting.
        true => timed_out(config.connect_timeout),
        false => broken("the request failed", &error),
    })?;
    if !response.status().is_success() {
        return Err(refused(&Refusal::read(response).await));
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        body.extend_from_slice(&chunk.map_err(|error| broken("the answer broke off", &error))?);
        if body.len() > ANSWER_BYTES {
            return Err(Fault {
                message: "the server sent more than a transcript can hold".into(),
                again: Again::No,
            });
        }
    }
    // Looked at here, because the library logs what it cannot read.
    match serde_json::from_slice::<Value>(&body) {
        Ok(_) => Ok(body),
        Err(_) => Err(Fault { message: NOT_JSON.into(), again: Again::No }),
    }
}

fn refused(refusal: &Refusal) -> Fault {
    let limited = refusal.status == StatusCode::TOO_MANY_REQUESTS;
    // Time does not bring money back.
    let out_of_quota = limited && refusal.code.as_deref() == Some("insufficient_quota");
    let again = match refusal.retry_after {
        _ if out_of_quota || !(limited || refusal.status.is_server_error()) => Again::No,
        Some(pause) if pause > LONGEST_WISH => Again::No,
        Some(pause) => Again::After(pause),
        None => Again::Soon,
    };
    let text = refusal.text();
    let message = match refusal.status {
        _ if refusal.is_unauthorised() => format!("the server refused the credentials: {text}"),
        _ if limited => format!("the server is rate limiting: {text}"),
        _ => format!("the server refused: {text}"),
    };
    Fault { message, again }
}

fn broken(what: &str, error: &reqwest::Error) -> Fault {
    Fault { message: format!("{what}: {}", root_cause(error)), again: Again::Soon }
}

fn timed_out(length: Duration) -> Fault {
    Fault {
        message: format!("the server did not answer within {} ms", length.as_millis()),
        again: Again::Soon,
    }
}

/// Exponential back-off with full jitter (Brooker, "Exponential Backoff And Jitter", 2015).
fn jittered(base: Duration, retries: u32) -> Duration {
    base.saturating_mul(1 << retries.min(16)).min(LONGEST_PAUSE).mul_f64(fastrand::f64())
}

const NOT_JSON: &str = "the server answered something that is not JSON";

/// Most bytes of one answer: a minute of fast speech with times, tokens and probabilities takes 60 KB.
const ANSWER_BYTES: usize = 2 << 20;

/// A server that wants a longer pause is not asked again: the turn would be over, and another may write it down.
const LONGEST_WISH: Duration = Duration::from_secs(5);

const LONGEST_PAUSE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound() {
        for (retries, most) in [(0, 250), (1, 500), (4, 4_000), (40, 4_000)] {
            let longest = (0..1_000).map(|_| jittered(Duration::from_millis(250), retries)).max().unwrap();
            let most = Duration::from_millis(most);
            assert!(longest <= most && longest > most.mul_f64(0.9), "{longest:?} of {most:?}");
        }
    }
}
