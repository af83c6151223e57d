//! The cache of one process, bounded in entries and bytes.
//!
//! Not here: anything shared with another process, anything that outlives this one.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::{self, BoxFuture, FutureExt as _};
use moka::{ops::compute::Op, policy::EvictionPolicy};
use tokio::time::Instant;

use super::{
    Cache, CacheError, Heard, Limit, LimitState, NO_COUNTER, NO_LIMIT, Subscription, check_key, check_ttl,
    check_value, subscription::Topics,
};

/// A cache in memory. Clones are the same cache.
///
/// Full, it drops what was used longest ago. Time is tokio's, so that tests may pause it.
#[derive(Clone)]
pub struct LocalCache {
    entries: moka::sync::Cache<String, Entry>,
    topics: Arc<Topics>,
    /// What the clock of rate limits counts from.
    start: Instant,
}

#[derive(Clone)]
struct Entry {
    value: Bytes,
    expires: Instant,
}

impl LocalCache {
    /// A cache of at most `entries` entries and `bytes` bytes, about 200 bytes of bookkeeping an entry counted in. Shortly,
    /// some more may be held, until they are weighed.
    pub fn new(entries: u64, bytes: u64) -> Self {
        // One capacity bounds both: an entry weighs no less than its share.
        let share = (bytes / entries.max(1)).max(1);
        let weigh = move |key: &String, entry: &Entry| {
            let size = (key.len() + entry.value.len() + ENTRY_OVERHEAD) as u64;
            u32::try_from(size.max(share)).unwrap_or(u32::MAX)
        };
        let entries = moka::sync::Cache::builder()
            .max_capacity(bytes)
            .weigher(weigh)
            // moka's own policy may turn away what is new: a ticket that was given out must be found.
            .eviction_policy(EvictionPolicy::lru())
            .expire_after(Expiry)
            .build();
        Self { entries, topics: Arc::default(), start: Instant::now() }
    }

    /// Entries held, and bytes. Weighs what came in since the last time, and drops what has run out.
    pub fn size(&self) -> (u64, u64) {
        self.entries.run_pending_tasks();
        (self.entries.entry_count(), self.entries.weighted_size())
    }

    /// One atomic step: what `step` makes of the present entry, and its result. moka serialises steps of one key.
    fn step<T>(&self, key: &str, step: impl FnOnce(Option<Entry>) -> (Op<Entry>, T)) -> T {
        let mut result = None;
        self.entries.entry_by_ref(key).and_compute_with(|present| {
            let present = present.map(moka::Entry::into_value).filter(|entry| entry.expires > Instant::now());
            let (op, out) = step(present);
            result = Some(out);
            op
        });
        result.expect("the step is run once")
    }

    fn now_micros(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX / 2)
    }
}

impl Cache for LocalCache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, CacheError>> {
        let get = || {
            check_key(key)?;
            let entry = self.entries.get(key).filter(|entry| entry.expires > Instant::now());
            Ok(entry.map(|entry| entry.value))
        };
        future::ready(get()).boxed()
    }

    fn set<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), CacheError>> {
        let set = || {
            let entry = entry(key, value, ttl)?;
            self.step(key, |_| (Op::Put(entry), ()));
            Ok(())
        };
        future::ready(set()).boxed()
    }

    fn set_once<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, CacheError>> {
        let set_once = || {
            let entry = entry(key, value, ttl)?;
            Ok(self.step(key, |present| match present {
                Some(_) => (Op::Nop, false),
                None => (Op::Put(entry), true),
            }))
        };
        future::ready(set_once()).boxed()
    }

    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, CacheError>> {
        let take = || {
            check_key(key)?;
            Ok(self.step(key, |present| (Op::Remove, present.map(|entry| entry.value))))
        };
        future::ready(take()).boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool, CacheError>> {
        let delete = || {
            check_key(key)?;
            Ok(self.step(key, |present| (Op::Remove, present.is_some())))
        };
        future::ready(delete()).boxed()
    }

    fn delete_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, CacheError>> {
        let delete_prefix = || {
            check_key(prefix)?;
            let keys = self.entries.iter().map(|(key, _)| key).filter(|key| key.starts_with(prefix));
            Ok(keys.map(|key| u64::from(self.step(&key, |present| (Op::Remove, present.is_some())))).sum())
        };
        future::ready(delete_prefix()).boxed()
    }

    fn add<'a>(&'a self, key: &'a str, delta: i64, ttl: Duration) -> BoxFuture<'a, Result<i64, CacheError>> {
        let add = || {
            let fresh = entry(key, Bytes::new(), ttl)?;
            self.step(key, |present| {
                let (before, expires) = match &present {
                    Some(entry) => (number(&entry.value), entry.expires),
                    None => (Some(0), fresh.expires),
                };
                match before.and_then(|before: i64| before.checked_add(delta)) {
                    Some(sum) => (Op::Put(Entry { value: sum.to_string().into(), expires }), Ok(sum)),
                    None => (Op::Nop, Err(NO_COUNTER)),
                }
            })
        };
        future::ready(add()).boxed()
    }

    fn limit<'a>(&'a self, key: &'a str, limit: Limit) -> BoxFuture<'a, Result<LimitState, CacheError>> {
        let count = || {
            check_key(key)?;
            self.step(key, |present| {
                let free_at = match &present {
                    Some(entry) => number(&entry.value),
                    None => Some(0),
                };
                let Some(free_at) = free_at else { return (Op::Nop, Err(NO_LIMIT)) };
                let now = self.now_micros();
                let (allowed, free_at) = limit.call(now, free_at);
                let state = limit.state(allowed, free_at - now);
                if !allowed {
                    return (Op::Nop, Ok(state));
                }
                let entry =
                    Entry { value: free_at.to_string().into(), expires: Instant::now() + state.reset };
                (Op::Put(entry), Ok(state))
            })
        };
        future::ready(count()).boxed()
    }

    fn publish<'a>(&'a self, topic: &'a str, message: Bytes) -> BoxFuture<'a, Result<(), CacheError>> {
        let publish = || {
            check_key(topic)?;
            check_value(&message)?;
            self.topics.tell(topic, Heard::Message(message));
            Ok(())
        };
        future::ready(publish()).boxed()
    }

    fn subscribe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Subscription, CacheError>> {
        future::ready(self.topics.subscribe(topic)).boxed()
    }
}

impl std::fmt::Debug for LocalCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalCache").finish_non_exhaustive()
    }
}

fn entry(key: &str, value: Bytes, ttl: Duration) -> Result<Entry, CacheError> {
    check_key(key)?;
    check_value(&value)?;
    check_ttl(ttl)?;
    // A slice of something large would keep all of it.
    Ok(Entry { value: Bytes::copy_from_slice(&value), expires: Instant::now() + ttl })
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Lets moka drop what has run out; whether it has is decided by [`Entry::expires`] alone.
struct Expiry;

impl moka::Expiry<String, Entry> for Expiry {
    fn expire_after_create(&self, _: &String, entry: &Entry, _: std::time::Instant) -> Option<Duration> {
        Some(entry.expires.saturating_duration_since(Instant::now()))
    }

    fn expire_after_update(
        &self,
        _: &String,
        entry: &Entry,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.expires.saturating_duration_since(Instant::now()))
    }
}

/// Key, entry and list nodes of moka, and the allocator's own, about.
const ENTRY_OVERHEAD: usize = 200;
