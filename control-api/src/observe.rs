//! What is seen of each request: its id, a log line, two metrics.
//!
//! By the route's template: paths have ids in them, queries may have tickets. No address of a user. Not here: what a handler
//! says of its own.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderMap, HeaderName, HeaderValue, Method},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument as _, info, info_span};
use uuid::Uuid;

/// Gives the request an id, runs it in a span that has it, and says what became of it.
pub(crate) async fn observed(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let id = id(request.headers());
    let span = info_span!("request", id = id.to_str().unwrap_or_default());
    async move {
        let mut response = next.run(request).await;
        let (status, taken) = (response.status().as_u16(), started.elapsed());
        let milliseconds = taken.as_millis();
        info!(method, route, status, ms = milliseconds, "answered");
        metrics::counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status.to_string())
            .increment(1);
        metrics::histogram!("http_request_seconds", "route" => route).record(taken.as_secs_f64());
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
    .instrument(span)
    .await
}

/// The caller's, if it is a sane one; else a new one.
fn id(headers: &HeaderMap) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=MAX_ID_BYTES).contains(&value.len()) && value.as_bytes().iter().all(allowed)
    };
    headers.get(REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        HeaderValue::try_from(Uuid::now_v7().to_string()).expect("a UUID is a header's value")
    })
}

/// As few as there are: a label must not be the caller's to choose.
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|known| method == known).unwrap_or("other")
}

/// The header with the request's id.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_BYTES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sane_id_is_kept_and_another_replaced() {
        let given = |text: &str| {
            let headers =
                HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_bytes(text.as_bytes()).unwrap())]);
            id(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(given("a-B_9.x"), "a-B_9.x");
        for strange in ["", "a b", "ä", "a\tb", &"x".repeat(65)] {
            assert_eq!(Uuid::parse_str(&given(strange)).unwrap().get_version_num(), 7, "{strange}");
        }
    }
}
