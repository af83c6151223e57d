//! What browsers are told: which pages may call the API, and what they must not do with an answer.
//!
//! Credentials are tokens that a page sends itself, never cookies, so no page can use another one's. Not here: who may do what.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, Uri, header, request::Parts},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::{idempotency, limits, observe};

/// Pages of these origins, `https://app.example` or `chrome-extension://…`, and those of this machine may call the API.
pub(crate) fn cors(allowed: &[String]) -> CorsLayer {
    let allowed: Vec<_> = allowed.iter().map(|origin| origin.trim_end_matches('/').to_owned()).collect();
    let is_allowed = move |origin: &HeaderValue, _: &Parts| {
        origin.to_str().is_ok_and(|origin| allowed.iter().any(|one| one == origin) || is_loopback(origin))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(is_allowed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([header::AUTHORIZATION, header::CONTENT_TYPE, idempotency::KEY, observe::REQUEST_ID])
        .expose_headers([
            limits::LEFT,
            limits::POLICY,
            header::RETRY_AFTER,
            header::LOCATION,
            header::CONTENT_DISPOSITION,
            idempotency::REPLAYED,
            observe::REQUEST_ID,
        ])
        .max_age(PREFLIGHT)
}

fn is_loopback(origin: &str) -> bool {
    let Ok(origin) = origin.parse::<Uri>() else { return false };
    let web = matches!(origin.scheme_str(), Some("http" | "https"));
    web && matches!(origin.host(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Answers are what they say they are, are kept by nobody unless the handler says so, and are no page, except `/docs`.
pub(crate) async fn guarded(request: Request, next: Next) -> Response {
    let of_docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    let policy = if of_docs { DOCS_POLICY } else { POLICY };
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (CROSS_ORIGIN_OPENER, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const CROSS_ORIGIN_OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// Swagger UI sets styles on elements and has pictures in its sheet; every file is ours.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";
/// How long a browser keeps what a preflight said.
const PREFLIGHT: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_this_machine_are_told_from_those_that_look_like_it() {
        for page in
            ["http://localhost", "http://localhost:5173", "https://127.0.0.1:8443", "http://[::1]:3000"]
        {
            assert!(is_loopback(page), "{page}");
        }
        for page in [
            "http://localhost.evil.example",
            "http://evil.example:80/localhost",
            "http://127.0.0.1.nip.io",
            "ftp://localhost",
            "null",
            "",
            "chrome-extension://abcdef",
            "http://evil.example@localhost.evil.example",
        ] {
            assert!(!is_loopback(page), "{page}");
        }
    }
}
