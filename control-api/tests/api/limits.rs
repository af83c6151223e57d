//! Rate limits over a real socket: before login and after it, many at once, with and without a proxy.
//!
//! Not here: the arithmetic (`seams/cache.rs`).

use crate::api;
use crate::redis_server;
use std::{sync::Arc, time::Duration};

use api::Api;
use control_api::{
    ApiSettings, ApiState,
    cache::{Limit, RedisCache, RedisConnection},
    limits::RateLimits,
};
use futures_util::future::join_all;
use reqwest::{Method, Response};

const ME: &str = "/api/v1/users/me";
const LOGIN: &str = "/api/v1/auth/login";

/// In an hour, so that none comes back while a test runs.
fn hourly(calls: u32) -> Option<Limit> {
    Some(Limit::new(calls, Duration::from_secs(3_600)).unwrap())
}

fn with(limits: RateLimits, proxies: &[&str]) -> impl FnOnce(&mut ApiState) + use<> {
    let trusted_proxies = proxies.iter().map(|proxy| proxy.parse().unwrap()).collect();
    move |state| {
        let settings = ApiSettings { limits, trusted_proxies, ..(*state.settings).clone() };
        state.settings = Arc::new(settings);
    }
}

fn few() -> RateLimits {
    RateLimits {
        entrance: hourly(3),
        anonymous: hourly(5),
        reads: hourly(10),
        writes: hourly(4),
        costly: None,
    }
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// The status of a login attempt, which `who` says is theirs.
async fn attempt(api: &Api, forwarded: Option<&str>) -> u16 {
    let mut request = api.post(LOGIN, &serde_json::json!({}));
    if let Some(forwarded) = forwarded {
        request = request.header("x-forwarded-for", forwarded);
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn one_too_many_is_refused_and_told_when_to_come_again() {
    let api = Api::start_with(with(few(), &[])).await;
    let (_, token) = api.user().await;
    for left in (0..10).rev() {
        let response = api.get(ME).bearer_auth(&token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "ratelimit-policy"), "\"reads\";q=10;w=3600");
        let told = header(&response, "ratelimit");
        assert!(told.starts_with(&format!("\"reads\";r={left};t=")), "{told}");
    }
    let response = api.get(ME).bearer_auth(&token).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), header(&response, "content-type")),
        (429, "application/problem+json")
    );
    let wait: u64 = header(&response, "retry-after").parse().unwrap();
    assert!((1..=360).contains(&wait), "{wait}");
    assert!(header(&response, "ratelimit").starts_with("\"reads\";r=0;t="));
    // Other kinds of routes, other users, and probes are not held up.
    let body = serde_json::json!({"first_name": "Anna"});
    let change = api.request(Method::PATCH, ME).bearer_auth(&token).json(&body);
    assert_eq!(change.send().await.unwrap().status(), 200);
    let (_, other) = api.user().await;
    assert_eq!(api.get(ME).bearer_auth(&other).send().await.unwrap().status(), 200);
    for _ in 0..20 {
        let probe = api.get("/health/live").send().await.unwrap();
        assert_eq!((probe.status().as_u16(), header(&probe, "ratelimit")), (200, ""));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_at_once_exactly_as_many_pass_as_may() {
    let api = Api::start_with(with(few(), &[])).await;
    let (_, token) = api.user().await;
    let all = (0..100).map(|_| api.get(ME).bearer_auth(&token).send());
    let all: Vec<_> = join_all(all).await.into_iter().map(|it| it.unwrap().status().as_u16()).collect();
    let count = |status| all.iter().filter(|it| **it == status).count();
    assert_eq!((count(200), count(429)), (10, 90));
}

#[tokio::test]
async fn limits_hold_before_login_and_a_false_token_is_none() {
    let api = Api::start_with(with(few(), &[])).await;
    for n in 0..8 {
        let token = format!("eyJhbGciOiJFZERTQSJ9.{n}.x");
        let status = api.get(ME).bearer_auth(token).send().await.unwrap().status();
        assert_eq!(status, if n < 5 { 401 } else { 429 }, "{n}");
    }
    // The entrance has its own count, and a true token does not widen it.
    let (_, token) = api.user().await;
    for n in 0..5 {
        let attempt = api.post(LOGIN, &serde_json::json!({})).bearer_auth(&token);
        let status = attempt.send().await.unwrap().status().as_u16();
        assert_eq!(status == 429, n >= 3, "{n}: {status}");
    }
    assert_eq!(api.get(ME).bearer_auth(&token).send().await.unwrap().status(), 200);
    assert_eq!(api.get("/nothing").send().await.unwrap().status(), 429, "what is not there counts too");
}

#[tokio::test]
async fn who_is_no_trusted_proxy_speaks_for_nobody() {
    let api = Api::start_with(with(few(), &["192.0.2.1"])).await;
    for n in 0..6 {
        let status = attempt(&api, Some(&format!("198.51.100.{n}"))).await;
        assert_eq!(status == 429, n >= 3, "{n}: {status}");
    }
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own() {
    let api = Api::start_with(with(few(), &["127.0.0.1"])).await;
    for n in 0..6 {
        // What the client wrote itself stands left of what the proxy added.
        let status = attempt(&api, Some(&format!("203.0.113.{n}, 198.51.100.7"))).await;
        assert_eq!(status == 429, n >= 3, "{n}: {status}");
    }
    assert_ne!(attempt(&api, Some("198.51.100.8")).await, 429);
    assert_ne!(attempt(&api, None).await, 429, "the proxy itself");
    for n in 0..6 {
        let status = attempt(&api, Some(&format!("2001:db8:0:1::{n}"))).await;
        assert_eq!(status == 429, n >= 3, "{n}: {status}, all of one network");
    }
}

#[tokio::test]
async fn without_the_cache_nobody_enters_and_who_is_in_goes_on() {
    let Some(server) = redis_server::RedisServer::start().await else { return };
    let connection = RedisConnection::new(&server.url()).unwrap();
    let cache = Arc::new(RedisCache::new(connection));
    let api = Api::start_with(|state| {
        with(few(), &[])(state);
        state.cache = cache;
    })
    .await;
    let (_, token) = api.user().await;
    assert_ne!(attempt(&api, None).await, 503);
    drop(server);
    assert_eq!(attempt(&api, None).await, 503);
    for _ in 0..12 {
        assert_eq!(api.get(ME).bearer_auth(&token).send().await.unwrap().status(), 200);
    }
}
