//! What may be forgotten: values with a time to live, counters, rate limits, once-keys, single-use tickets, announcements.
//!
//! [`LocalCache`] is one process's; [`RedisCache`] is shared by many. An entry may vanish before its time, as a full cache
//! evicts and a restart forgets, so whatever must not be lost belongs in the store. Not here: records, jobs, and what a key means.

mod limit;
mod local;
mod redis;
mod subscription;

pub use limit::{Limit, LimitState};
pub use local::LocalCache;
pub(crate) use redis::RedisFault;
pub use redis::{RedisCache, RedisConnection};
pub use subscription::{Heard, Subscription};

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A cache, in process or not. Values are bytes, at most [`MAX_VALUE_BYTES`]; keys are 1 to [`MAX_KEY_BYTES`] bytes; a
/// time to live is 1 ms to [`MAX_TTL`].
///
/// Counters and rate limits share the keys with values: a counter read by [`Cache::get`] is its decimal digits. Every
/// operation is one atomic step, except [`Cache::delete_prefix`]. Dropping a future leaves its operation done or not done,
/// never half done.
///
/// Every operation fails with [`CacheError::Unavailable`] within [`PATIENCE`] when the cache does not answer, and with
/// [`CacheError::Invalid`] when its arguments break a bound or the entry is no counter. An operation that failed may have
/// been done.
pub trait Cache: Send + Sync {
    /// The value of `key`, unless it has run out.
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, CacheError>>;

    /// Keeps `value` for `ttl`, in place of what `key` had.
    fn set<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), CacheError>>;

    /// Keeps `value` for `ttl` if `key` has nothing; says whether. Of many at once, one is told `true`.
    fn set_once<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, CacheError>>;

    /// The value of `key`, which has nothing from then on: tickets and tokens that work once. Of many at once, one gets it.
    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, CacheError>>;

    /// Forgets `key`; says whether it had something.
    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool, CacheError>>;

    /// Forgets every key that begins with the bytes of `prefix`; says how many. Not atomic: a key that is set meanwhile may
    /// stay. `user:1` is a prefix of `user:10`, so end it with a separator.
    fn delete_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, CacheError>>;

    /// Adds `delta` to the counter and returns the sum. A counter that does not exist begins at 0 and lives for `ttl`
    /// from then on; later additions do not lengthen its life.
    fn add<'a>(&'a self, key: &'a str, delta: i64, ttl: Duration) -> BoxFuture<'a, Result<i64, CacheError>>;

    /// Counts one call against `limit`, if it is allowed. See [`Limit`] for the algorithm.
    ///
    /// When the cache is unavailable, the caller decides: refuse where the limit is for safety (login), allow where it is
    /// for fairness.
    fn limit<'a>(&'a self, key: &'a str, limit: Limit) -> BoxFuture<'a, Result<LimitState, CacheError>>;

    /// Tells all present subscribers of `topic`, in every process that shares the cache. Nothing is kept for later ones.
    /// Topics are few (256 heard at once) and fixed: whom it is about belongs into the message.
    fn publish<'a>(&'a self, topic: &'a str, message: Bytes) -> BoxFuture<'a, Result<(), CacheError>>;

    /// Hears what is published on `topic` from now on.
    fn subscribe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Subscription, CacheError>>;
}

/// Why a cache operation failed. Names no key and no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The cache did not answer; try again later. The reason is for an operator.
    #[error("the cache is unavailable: {0}")]
    Unavailable(String),
    /// Never works: the caller broke a bound of [`Cache`].
    #[error("the cache refuses this: {0}")]
    Invalid(&'static str),
}

fn check_key(key: &str) -> Result<(), CacheError> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(CacheError::Invalid("a key, prefix or topic has 1 to 512 bytes"));
    }
    Ok(())
}

fn check_value(value: &[u8]) -> Result<(), CacheError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(CacheError::Invalid("a value has at most 1 MiB"));
    }
    Ok(())
}

fn check_ttl(ttl: Duration) -> Result<(), CacheError> {
    if ttl < Duration::from_millis(1) || ttl > MAX_TTL {
        return Err(CacheError::Invalid("a time to live is 1 ms to 400 days"));
    }
    Ok(())
}

/// Longest key, prefix or topic.
pub const MAX_KEY_BYTES: usize = 512;
/// Largest value or message.
pub const MAX_VALUE_BYTES: usize = 1024 * 1024;
/// Longest time to live: 400 days.
pub const MAX_TTL: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// Longest wait for one operation; [`Cache::delete_prefix`] may take this for each 500 keys.
pub const PATIENCE: Duration = Duration::from_secs(1);

const NO_COUNTER: CacheError = CacheError::Invalid("the entry is no counter, or the sum is out of range");
const NO_LIMIT: CacheError = CacheError::Invalid("the entry is no rate limit");
