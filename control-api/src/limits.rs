//! What may be called how often: by address before login, by user and kind of route after it.
//!
//! Asked of the cache in one step, for every route but those that probe the process. Not here: what a plan allows in a month
//! (`quotas`), the arithmetic (`cache::Limit`), whose address it is (`address`).

mod address;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    ApiState, Problem, auth,
    cache::{Limit, LimitState},
    time::now_ms,
};

/// What may be called how often. `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// By address, logged in or not: whatever takes a password, a token or a code, or sends a mail. Where the cache is away,
    /// these are refused.
    pub entrance: Option<Limit>,
    /// By address: everything else of who has not logged in.
    pub anonymous: Option<Limit>,
    /// By user: what only reads.
    pub reads: Option<Limit>,
    /// By user: what changes something.
    pub writes: Option<Limit>,
    /// By user: what costs much, such as an export.
    pub costly: Option<Limit>,
}

impl RateLimits {
    /// No limit at all: for tests.
    pub const fn unlimited() -> Self {
        Self { entrance: None, anonymous: None, reads: None, writes: None, costly: None }
    }

    fn of(&self, class: Class) -> Option<Limit> {
        match class {
            Class::Entrance => self.entrance,
            Class::Anonymous => self.anonymous,
            Class::Reads => self.reads,
            Class::Writes => self.writes,
            Class::Costly => self.costly,
        }
    }
}

impl Default for RateLimits {
    /// In a minute: 30 at the entrance, so that an office behind one address can log in; 120 others of an address; 600 reads,
    /// 120 writes and 20 costly calls of a user.
    fn default() -> Self {
        let minute = |calls| {
            Some(Limit::new(calls, Duration::from_secs(60)).expect("it lies within the bounds of a limit"))
        };
        Self {
            entrance: minute(30),
            anonymous: minute(120),
            reads: minute(600),
            writes: minute(120),
            costly: minute(20),
        }
    }
}

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Entrance,
    Anonymous,
    Reads,
    Writes,
    Costly,
}

impl Class {
    fn of(path: &str, method: &Method, logged_in: bool) -> Self {
        let of_auth = path.strip_prefix("/api/v1/auth/");
        if of_auth.is_some_and(|rest| !rest.starts_with("logout")) {
            Self::Entrance
        } else if !logged_in {
            Self::Anonymous
        } else if COSTLY.iter().any(|part| path.contains(part)) {
            Self::Costly
        } else if method.is_safe() {
            Self::Reads
        } else {
            Self::Writes
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Entrance => "entrance",
            Self::Anonymous => "anonymous",
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Costly => "costly",
        }
    }
}

/// What the middleware needs.
#[derive(Clone)]
pub(crate) struct Limiter {
    state: ApiState,
    /// When it was last said that the cache is away, unix ms.
    said_at: Arc<AtomicI64>,
}

impl Limiter {
    pub(crate) fn new(state: ApiState) -> Self {
        Self { state, said_at: Arc::default() }
    }

    /// Counts it and says so once a minute, as there is one of these for each request.
    fn unavailable(&self, error: &dyn std::error::Error) {
        metrics::counter!("ratelimit_unavailable_total").increment(1);
        let (now, said_at) = (now_ms(), self.said_at.load(Ordering::Relaxed));
        let mine =
            || self.said_at.compare_exchange(said_at, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now - said_at >= SAY_EVERY_MS && mine() {
            tracing::warn!(%error, "the cache is away: logins are refused, other calls are not limited");
        }
    }
}

/// Refuses what comes too often. Who shows a token that is not ours is counted by address, as are those who show none.
pub(crate) async fn limited(State(limiter): State<Limiter>, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let path = matched.unwrap_or_else(|| request.uri().path());
    if FREE.contains(&path) {
        return next.run(request).await;
    }
    let state = &limiter.state;
    let token = auth::bearer(request.headers());
    let user = token.and_then(|token| state.tokens.verify(token).ok()).map(|claims| claims.sub);
    let class = Class::of(path, request.method(), user.is_some());
    let Some(limit) = state.settings.limits.of(class) else { return next.run(request).await };
    let whose = match (class, user) {
        (Class::Reads | Class::Writes | Class::Costly, Some(user)) => user,
        _ => address::of_client(&request, &state.settings.trusted_proxies),
    };
    let counted = state.cache.limit(&format!("rate/{}/{whose}", class.name()), limit).await;
    let told = match counted {
        Ok(told) => told,
        Err(error) => {
            limiter.unavailable(&error);
            if class == Class::Entrance {
                return Problem::unavailable("the cache", Duration::from_secs(2)).into_response();
            }
            return next.run(request).await;
        }
    };
    let mut response = if told.allowed { next.run(request).await } else { refusal(told).into_response() };
    tell(&mut response, class, limit, told);
    response
}

fn refusal(told: LimitState) -> Problem {
    let detail =
        "that is too often; wait as long as Retry-After says, the RateLimit header shows what is left";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).retry_after(told.retry_after)
}

/// The headers of draft-ietf-httpapi-ratelimit-headers-10; times in whole seconds, rounded up.
fn tell(response: &mut Response, class: Class, limit: Limit, told: LimitState) {
    let (name, calls) = (class.name(), limit.calls());
    let seconds = |time: Duration| time.as_millis().div_ceil(1_000);
    let policy = format!("\"{name}\";q={calls};w={}", seconds(limit.window()).max(1));
    let left = format!("\"{name}\";r={};t={}", told.remaining, seconds(told.reset));
    for (header, value) in [(POLICY, policy), (LEFT, left)] {
        response.headers_mut().insert(header, HeaderValue::try_from(value).expect("names and digits"));
    }
}

/// The header that says what is allowed.
pub(crate) const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The header that says what is left.
pub(crate) const LEFT: HeaderName = HeaderName::from_static("ratelimit");
/// Probes, which must not be refused.
const FREE: &[&str] = &["/health/live", "/health/ready", "/metrics"];
/// Parts of the paths of costly routes.
const COSTLY: &[&str] = &["/export"];
const SAY_EVERY_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_counted_by_what_they_cost() {
        for (path, method, logged_in, class) in [
            ("/api/v1/auth/login", Method::POST, false, Class::Entrance),
            ("/api/v1/auth/login", Method::POST, true, Class::Entrance),
            ("/api/v1/auth/google/callback", Method::GET, false, Class::Entrance),
            ("/api/v1/auth/logout", Method::POST, true, Class::Writes),
            ("/api/v1/auth/logout", Method::POST, false, Class::Anonymous),
            ("/api/v1/users/me", Method::GET, false, Class::Anonymous),
            ("/api/v1/users/me", Method::GET, true, Class::Reads),
            ("/api/v1/users/me", Method::PATCH, true, Class::Writes),
            ("/api/v1/sessions/{id}/export", Method::GET, true, Class::Costly),
            ("", Method::GET, false, Class::Anonymous),
        ] {
            assert_eq!(Class::of(path, &method, logged_in), class, "{method} {path}");
        }
    }
}
