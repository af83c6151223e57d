//! What every `Cache` must do, run on the one in process and on a real Redis; and what only one of them can show.
//!
//! Not here: what keys mean.

use crate::redis_server;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use control_api::cache::{
    Cache, CacheError, Heard, Limit, LocalCache, MAX_KEY_BYTES, MAX_TTL, MAX_VALUE_BYTES, PATIENCE,
    RedisCache, RedisConnection, Subscription,
};
use futures_util::future::join_all;
use redis_server::RedisServer;

#[tokio::test(flavor = "multi_thread")]
async fn in_process() {
    let cache = LocalCache::new(100_000, 64 << 20);
    suite(&Two { one: Arc::new(cache.clone()), other: Arc::new(cache) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_redis() {
    let Some(server) = RedisServer::start().await else { return };
    suite(&Two { one: Arc::new(redis(&server)), other: Arc::new(redis(&server)) }).await;

    let used = server.type_in("INFO commandstats");
    assert!(used.contains("cmdstat_scan:") && !used.contains("cmdstat_keys:"), "{used}");
    let keys = server.type_in("SCAN 0 COUNT 100000");
    let keys: Vec<&str> = keys.lines().filter(|line| line.contains(':')).collect();
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|key| key.starts_with("interviewai:cache:")), "{keys:?}");
}

/// Two handles of one cache, in Redis over a connection each.
struct Two {
    one: Arc<dyn Cache>,
    other: Arc<dyn Cache>,
}

async fn suite(caches: &Two) {
    values_come_back_until_they_run_out(caches).await;
    one_of_many_wins_a_once_key(caches).await;
    one_of_many_takes_a_ticket(caches).await;
    counters_add_up(caches).await;
    a_counter_keeps_its_first_life(caches).await;
    a_limit_lets_exactly_so_many_through(caches).await;
    calls_come_back(caches).await;
    a_prefix_goes_and_nothing_else(caches).await;
    all_subscribers_hear(caches).await;
    a_slow_subscriber_is_told(caches).await;
    what_is_out_of_bounds_is_refused(caches).await;
}

async fn values_come_back_until_they_run_out(Two { one, other }: &Two) {
    let binary = Bytes::from_static(&[0, 255, b'\r', b'\n']);
    assert_eq!(one.get("values:a").await, Ok(None));
    one.set("values:a", binary.clone(), HOUR).await.unwrap();
    assert_eq!(other.get("values:a").await, Ok(Some(binary)));
    one.set("values:a", "new".into(), HOUR).await.unwrap();
    assert_eq!(other.get("values:a").await, Ok(Some("new".into())));
    assert_eq!(other.delete("values:a").await, Ok(true));
    assert_eq!(one.delete("values:a").await, Ok(false));
    assert_eq!(one.get("values:a").await, Ok(None));

    one.set("values:long", "x".into(), HOUR).await.unwrap();
    one.set("values:short", "x".into(), Duration::from_millis(50)).await.unwrap();
    until(async || other.get("values:short").await == Ok(None)).await;
    assert_eq!(other.set_once("values:short", "y".into(), HOUR).await, Ok(true));
    assert_eq!(other.get("values:long").await, Ok(Some("x".into())));
    let large = Bytes::from(vec![7; MAX_VALUE_BYTES]);
    one.set("values:large", large.clone(), HOUR).await.unwrap();
    assert_eq!(other.get("values:large").await, Ok(Some(large)));
}

async fn one_of_many_wins_a_once_key(Two { one, other }: &Two) {
    let tries = (0..50).map(|number| {
        let cache = Arc::clone(if number % 2 == 0 { one } else { other });
        tokio::spawn(async move { cache.set_once("once:a", number.to_string().into(), HOUR).await.unwrap() })
    });
    let won: Vec<bool> = join_all(tries).await.into_iter().map(Result::unwrap).collect();
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    assert_eq!(one.get("once:a").await, Ok(Some(winner.to_string().into())));
}

async fn one_of_many_takes_a_ticket(Two { one, other }: &Two) {
    one.set("take:a", "ticket".into(), HOUR).await.unwrap();
    let tries = (0..50).map(|number| {
        let cache = Arc::clone(if number % 2 == 0 { one } else { other });
        tokio::spawn(async move { cache.take("take:a").await.unwrap() })
    });
    let taken: Vec<Bytes> = join_all(tries).await.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(taken, ["ticket"]);
}

async fn counters_add_up(Two { one, other }: &Two) {
    let calls = (0..100).map(|number| {
        let cache = Arc::clone(if number % 2 == 0 { one } else { other });
        tokio::spawn(async move { cache.add("count:a", 3, HOUR).await.unwrap() })
    });
    let sums: BTreeSet<i64> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(sums, (1..=100).map(|number| 3 * number).collect());
    assert_eq!(one.add("count:a", -301, HOUR).await, Ok(-1));
    assert_eq!(one.get("count:a").await, Ok(Some("-1".into())));

    // Exact where a float is not, and never past its end.
    let large = (1 << 53) + 1;
    assert_eq!(one.add("count:large", large, HOUR).await, Ok(large));
    assert_eq!(one.add("count:large", 2, HOUR).await, Ok(large + 2));
    assert!(matches!(one.add("count:large", i64::MAX, HOUR).await, Err(CacheError::Invalid(_))));
    assert_eq!(one.add("count:large", 0, HOUR).await, Ok(large + 2));

    one.set("count:text", "text".into(), HOUR).await.unwrap();
    assert!(matches!(one.add("count:text", 1, HOUR).await, Err(CacheError::Invalid(_))));
    let limit = Limit::new(1, HOUR).unwrap();
    assert!(matches!(one.limit("count:text", limit).await, Err(CacheError::Invalid(_))));
    assert_eq!(one.get("count:text").await, Ok(Some("text".into())));
}

async fn a_counter_keeps_its_first_life(Two { one, .. }: &Two) {
    assert_eq!(one.add("life:a", 1, Duration::from_millis(200)).await, Ok(1));
    // Did these lengthen its life, it would never begin anew.
    until(async || one.add("life:a", 1, HOUR).await == Ok(1)).await;
    assert_eq!(one.add("life:a", 1, HOUR).await, Ok(2));
}

/// Defect 3 of the original design: get, then increment.
async fn a_limit_lets_exactly_so_many_through(Two { one, other }: &Two) {
    let limit = Limit::new(50, HOUR).unwrap();
    let calls = (0..200).map(|number| {
        let cache = Arc::clone(if number % 2 == 0 { one } else { other });
        tokio::spawn(async move { cache.limit("limit:a", limit).await.unwrap() })
    });
    let states: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let (allowed, refused): (Vec<_>, Vec<_>) = states.into_iter().partition(|state| state.allowed);
    // Each is told of its own place; together they are the limit.
    let remaining: Vec<u32> = allowed.iter().map(|state| state.remaining).collect();
    assert_eq!(remaining.len(), 50);
    assert_eq!(remaining.iter().copied().collect::<BTreeSet<_>>(), (0..50).collect());
    assert!(allowed.iter().all(|state| state.reset <= HOUR && state.reset > Duration::ZERO));
    assert_eq!(refused.len(), 150);
    let one_call = HOUR / 50;
    for state in refused {
        assert_eq!(state.remaining, 0);
        assert!(state.retry_after > Duration::ZERO && state.retry_after <= one_call, "{state:?}");
        assert!(state.reset > HOUR - one_call && state.reset <= HOUR, "{state:?}");
    }
    assert!(one.limit("limit:b", limit).await.unwrap().allowed, "another key has a limit of its own");
}

async fn calls_come_back(Two { one, .. }: &Two) {
    let limit = Limit::new(2, Duration::from_millis(400)).unwrap();
    until(async || !one.limit("back:a", limit).await.unwrap().allowed).await;
    until(async || one.limit("back:a", limit).await.unwrap().allowed).await;
    // A refused call costs nothing, so asking all the time does not keep it shut.
    let asked = Instant::now();
    while asked.elapsed() < Duration::from_millis(100) {
        one.limit("back:a", limit).await.unwrap();
    }
    until(async || one.limit("back:a", limit).await.unwrap().allowed).await;
}

async fn a_prefix_goes_and_nothing_else(Two { one, other }: &Two) {
    // More than one page of a scan.
    join_all((0..1200).map(|number| {
        let key = format!("user:1:{number}");
        async move { one.set(&key, "x".into(), HOUR).await.unwrap() }
    }))
    .await;
    for key in ["user:10:a", "user:1", "a*b:1", "aXb:1", "[c]:1", "c:1", r"d\:1"] {
        one.set(key, "x".into(), HOUR).await.unwrap();
    }
    assert_eq!(other.delete_prefix("user:1:").await, Ok(1200));
    assert_eq!(other.delete_prefix("a*b:").await, Ok(1));
    assert_eq!(other.delete_prefix("[c]:").await, Ok(1));
    assert_eq!(other.delete_prefix(r"d\").await, Ok(1));
    assert_eq!(other.delete_prefix("absent:").await, Ok(0));
    for key in ["user:10:a", "user:1", "aXb:1", "c:1"] {
        assert_eq!(one.get(key).await, Ok(Some("x".into())), "{key}");
    }
}

async fn all_subscribers_hear(Two { one, other }: &Two) {
    let mut subscribers = Vec::new();
    for cache in [one, other, one] {
        subscribers.push(cache.subscribe("topic:a").await.unwrap());
    }
    let mut elsewhere = one.subscribe("topic:b").await.unwrap();
    drop(other.subscribe("topic:a").await.unwrap());
    for (number, cache) in [one, other, one, other].into_iter().enumerate() {
        cache.publish("topic:a", number.to_string().into()).await.unwrap();
    }
    other.publish("topic:b", "only this".into()).await.unwrap();
    other.publish("topic:nobody", "x".into()).await.unwrap();
    for subscriber in &mut subscribers {
        // Two publishers: in the order of each.
        let mut heard = Vec::new();
        for _ in 0..4 {
            heard.push(message(subscriber).await);
        }
        heard.sort();
        assert_eq!(heard, ["0", "1", "2", "3"]);
    }
    assert_eq!(message(&mut elsewhere).await, "only this");
}

async fn a_slow_subscriber_is_told(Two { one, other }: &Two) {
    let mut slow = one.subscribe("topic:slow").await.unwrap();
    let mut quick = one.subscribe("topic:slow").await.unwrap();
    let last = Heard::Message("299".into());
    let hear = async { while quick.next().await.unwrap() != last {} };
    let publish = async {
        for number in 0..300 {
            other.publish("topic:slow", number.to_string().into()).await.unwrap();
        }
    };
    tokio::join!(hear, publish);
    assert_eq!(next(&mut slow).await, Some(Heard::Missed));
    // What is left is the latest, in order.
    let mut next = 300 - 256;
    while next < 300 {
        assert_eq!(message(&mut slow).await, next.to_string());
        next += 1;
    }
}

async fn what_is_out_of_bounds_is_refused(Two { one, .. }: &Two) {
    let long = "k".repeat(MAX_KEY_BYTES + 1);
    let large = Bytes::from(vec![0; MAX_VALUE_BYTES + 1]);
    let limit = Limit::new(1, HOUR).unwrap();
    for key in ["", &long] {
        assert!(matches!(one.get(key).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.set(key, "x".into(), HOUR).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.set_once(key, "x".into(), HOUR).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.take(key).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.delete(key).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.delete_prefix(key).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.add(key, 1, HOUR).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.limit(key, limit).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.publish(key, "x".into()).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.subscribe(key).await, Err(CacheError::Invalid(_))));
    }
    assert!(matches!(one.set("k", large.clone(), HOUR).await, Err(CacheError::Invalid(_))));
    assert!(matches!(one.publish("k", large).await, Err(CacheError::Invalid(_))));
    for ttl in [Duration::ZERO, MAX_TTL + HOUR] {
        assert!(matches!(one.set("k", "x".into(), ttl).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.set_once("k", "x".into(), ttl).await, Err(CacheError::Invalid(_))));
        assert!(matches!(one.add("k", 1, ttl).await, Err(CacheError::Invalid(_))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_goes_and_comes_back() {
    let Some(mut server) = RedisServer::start().await else { return };
    let cache = redis(&server);
    let limit = Limit::new(10, HOUR).unwrap();
    cache.set("a", "kept".into(), HOUR).await.unwrap();
    assert_eq!(cache.limit("l", limit).await.unwrap().remaining, 9);
    let mut subscriber = cache.subscribe("topic").await.unwrap();

    server.kill();
    for _ in 0..3 {
        let asked = Instant::now();
        assert!(matches!(cache.get("a").await, Err(CacheError::Unavailable(_))));
        assert!(matches!(cache.limit("l", limit).await, Err(CacheError::Unavailable(_))));
        assert!(matches!(cache.publish("topic", "lost".into()).await, Err(CacheError::Unavailable(_))));
        // Quick: nobody waits for more than the patience of each call. A refused connection takes no time at all.
        assert!(asked.elapsed() < 3 * PATIENCE + Duration::from_secs(2), "{:?}", asked.elapsed());
    }

    server.restart().await;
    assert_eq!(cache.get("a").await, Ok(Some("kept".into())), "at the first call, from what was on disk");
    assert_eq!(cache.limit("l", limit).await.unwrap().remaining, 8);
    assert_eq!(next(&mut subscriber).await, Some(Heard::Missed), "the subscriber may have missed something");
    cache.publish("topic", "heard".into()).await.unwrap();
    assert_eq!(message(&mut subscriber).await, "heard");
}

#[tokio::test]
async fn without_redis_every_call_fails_and_shows_no_password() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("redis://:secret@127.0.0.1:{port}/0").into();
    let redis = RedisConnection::new(&url).unwrap();
    let error = redis.ping().await.unwrap_err();
    assert!(matches!(error, CacheError::Unavailable(_)));
    let cache = RedisCache::new(redis);
    assert!(matches!(cache.subscribe("topic").await, Err(CacheError::Unavailable(_))));
    let shown = format!("{error} {error:?} {cache:?}");
    assert!(!shown.contains("secret"), "{shown}");
    let error = RedisConnection::new(&"http://:secret@host".into()).unwrap_err();
    assert!(!format!("{error:?}").contains("secret"));
}

/// A server that takes the connection and never answers.
#[tokio::test]
async fn a_silent_redis_is_given_up_on() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://127.0.0.1:{}/0", listener.local_addr().unwrap().port()).into();
    let cache = RedisCache::new(RedisConnection::new(&url).unwrap());
    let calls = (0..20).map(|_| cache.get("a"));
    let asked = Instant::now();
    for answer in join_all(calls).await {
        assert!(matches!(answer, Err(CacheError::Unavailable(_))), "{answer:?}");
    }
    // All at once, and not one after the other.
    assert!(asked.elapsed() < 10 * PATIENCE, "{:?}", asked.elapsed());
}

#[tokio::test(start_paused = true)]
async fn in_process_time_is_exact() {
    let cache = LocalCache::new(1000, 1 << 20);
    cache.set("a", "x".into(), Duration::from_secs(10)).await.unwrap();
    let limit = Limit::new(2, Duration::from_secs(60)).unwrap();
    for remaining in [1, 0] {
        assert_eq!(cache.limit("l", limit).await.unwrap().remaining, remaining);
    }
    let refused = cache.limit("l", limit).await.unwrap();
    assert!(!refused.allowed);
    assert_eq!((refused.retry_after.as_secs(), refused.reset.as_secs()), (30, 60));

    tokio::time::advance(Duration::from_millis(9_999)).await;
    assert_eq!(cache.get("a").await, Ok(Some("x".into())));
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(cache.get("a").await, Ok(None));
    assert_eq!(cache.take("a").await, Ok(None));
    assert_eq!(cache.delete("a").await, Ok(false));

    tokio::time::advance(Duration::from_millis(19_999)).await;
    assert!(!cache.limit("l", limit).await.unwrap().allowed);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(cache.limit("l", limit).await.unwrap().allowed);
}

#[tokio::test]
async fn in_process_is_bounded_in_entries_and_bytes() {
    let large = LocalCache::new(1_000_000, 1 << 20);
    let small = LocalCache::new(100, 1 << 30);
    for number in 0..5000 {
        let value = Bytes::from(vec![0; 1000]);
        large.set(&number.to_string(), value.clone(), HOUR).await.unwrap();
        small.set(&number.to_string(), value, HOUR).await.unwrap();
    }
    let (entries, bytes) = large.size();
    assert!(bytes <= 1 << 20 && entries > 500, "{entries} entries, {bytes} bytes");
    let (entries, _) = small.size();
    assert!((90..=100).contains(&entries), "{entries} entries");
    // The latest is never what goes.
    for cache in [large, small] {
        assert_eq!(cache.get("4999").await.unwrap().unwrap().len(), 1000);
        assert_eq!(cache.get("0").await, Ok(None));
    }
}

fn redis(server: &RedisServer) -> RedisCache {
    RedisCache::new(RedisConnection::new(&server.url()).unwrap())
}

async fn message(subscription: &mut Subscription) -> Bytes {
    match next(subscription).await {
        Some(Heard::Message(message)) => message,
        other => panic!("{other:?} instead of a message"),
    }
}

async fn next(subscription: &mut Subscription) -> Option<Heard> {
    tokio::time::timeout(PATIENT, subscription.next()).await.expect("something is heard")
}

/// Asks until it is so.
async fn until(so: impl AsyncFn() -> bool) {
    let asked = Instant::now();
    while !so().await {
        assert!(asked.elapsed() < PATIENT, "it never came to be so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const HOUR: Duration = Duration::from_secs(3600);
/// Long enough for any machine; nothing waits for it unless it fails.
const PATIENT: Duration = Duration::from_secs(30);
