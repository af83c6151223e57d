//! The cache that many processes share: Redis 6.2 or later, one primary. Every key begins with `interviewai:cache:`.
//!
//! Each operation is one command or one script, which Redis runs alone. `KEYS` is never used. Not here: Redis Cluster, TLS
//! settings beyond a `rediss://` URL.

mod connection;
mod listener;

pub use connection::RedisConnection;
pub(crate) use connection::RedisFault;

use std::{sync::LazyLock, time::Duration};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use redis::{Script, cmd};

use self::listener::Listener;
use super::{
    Cache, CacheError, Limit, LimitState, NO_COUNTER, NO_LIMIT, Subscription, check_key, check_ttl,
    check_value,
};

/// A cache in Redis. Clones are the same cache.
///
/// What is published is heard by one more connection, which is made at the first [`Cache::subscribe`], tested every 5 s, and
/// made anew when it breaks; every subscriber is told then that it may have missed something.
#[derive(Clone, Debug)]
pub struct RedisCache {
    redis: RedisConnection,
    listener: Listener,
}

impl RedisCache {
    /// A cache in `redis`. Needs a tokio runtime from the first operation on.
    pub fn new(redis: RedisConnection) -> Self {
        Self { listener: Listener::new(redis.clone()), redis }
    }
}

impl Cache for RedisCache {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, CacheError>> {
        async move {
            let get = cmd("GET").arg(full(key)?).to_owned();
            Ok(self.redis.query(&get).await?)
        }
        .boxed()
    }

    fn set<'a>(&'a self, key: &'a str, value: Bytes, ttl: Duration) -> BoxFuture<'a, Result<(), CacheError>> {
        async move {
            check_value(&value)?;
            let set = cmd("SET").arg(full(key)?).arg(&*value).arg("PX").arg(millis(ttl)?).to_owned();
            Ok(self.redis.query(&set).await?)
        }
        .boxed()
    }

    fn set_once<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<bool, CacheError>> {
        async move {
            check_value(&value)?;
            let set =
                cmd("SET").arg(full(key)?).arg(&*value).arg("NX").arg("PX").arg(millis(ttl)?).to_owned();
            let set: Option<String> = self.redis.query(&set).await?;
            Ok(set.is_some())
        }
        .boxed()
    }

    fn take<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<Bytes>, CacheError>> {
        async move {
            let take = cmd("GETDEL").arg(full(key)?).to_owned();
            Ok(self.redis.query(&take).await?)
        }
        .boxed()
    }

    fn delete<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<bool, CacheError>> {
        async move {
            let delete = cmd("UNLINK").arg(full(key)?).to_owned();
            Ok(self.redis.query::<u64>(&delete).await? > 0)
        }
        .boxed()
    }

    fn delete_prefix<'a>(&'a self, prefix: &'a str) -> BoxFuture<'a, Result<u64, CacheError>> {
        async move {
            let pattern = format!("{}*", literal(&full(prefix)?));
            let (mut cursor, mut deleted) = (0_u64, 0);
            loop {
                let scan =
                    cmd("SCAN").arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(SCAN_PAGE).to_owned();
                let (next, keys): (u64, Vec<Vec<u8>>) = self.redis.query(&scan).await?;
                if !keys.is_empty() {
                    deleted += self.redis.query::<u64>(cmd("UNLINK").arg(keys)).await?;
                }
                if next == 0 {
                    return Ok(deleted);
                }
                cursor = next;
            }
        }
        .boxed()
    }

    fn add<'a>(&'a self, key: &'a str, delta: i64, ttl: Duration) -> BoxFuture<'a, Result<i64, CacheError>> {
        async move {
            let mut add = ADD.key(full(key)?);
            add.arg(delta).arg(millis(ttl)?);
            match self.redis.run(&add).await {
                Err(RedisFault::Refused(code)) if code == "NOCOUNTER" => Err(NO_COUNTER),
                sum => Ok(sum?),
            }
        }
        .boxed()
    }

    fn limit<'a>(&'a self, key: &'a str, limit: Limit) -> BoxFuture<'a, Result<LimitState, CacheError>> {
        async move {
            let mut call = LIMIT.key(full(key)?);
            call.arg(limit.every).arg(limit.window_micros());
            let (allowed, ahead): (bool, u64) = match self.redis.run(&call).await {
                Err(RedisFault::Refused(code)) if code == "NOLIMIT" => return Err(NO_LIMIT),
                state => state?,
            };
            Ok(limit.state(allowed, ahead))
        }
        .boxed()
    }

    fn publish<'a>(&'a self, topic: &'a str, message: Bytes) -> BoxFuture<'a, Result<(), CacheError>> {
        async move {
            check_key(topic)?;
            check_value(&message)?;
            let publish = cmd("PUBLISH").arg(format!("{TOPICS}{topic}")).arg(&*message).to_owned();
            self.redis.query::<u64>(&publish).await?;
            Ok(())
        }
        .boxed()
    }

    fn subscribe<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<Subscription, CacheError>> {
        self.listener.subscribe(topic).boxed()
    }
}

fn full(key: &str) -> Result<String, CacheError> {
    check_key(key)?;
    Ok(format!("{KEYS}{key}"))
}

fn millis(ttl: Duration) -> Result<u64, CacheError> {
    check_ttl(ttl)?;
    Ok(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))
}

/// A pattern of Redis that matches `text` alone.
fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '^' | '-' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// KEYS: the counter. ARGV: what to add, milliseconds to live. The sum comes back as text: a Lua number would round it.
static ADD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local added = redis.pcall('INCRBY', KEYS[1], ARGV[1])
        if type(added) == 'table' and added.err then return redis.error_reply('NOCOUNTER no counter') end
        if redis.call('PTTL', KEYS[1]) < 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
        return redis.call('GET', KEYS[1])",
    )
});

/// [`Limit::call`] by the clock of Redis. KEYS: the limit. ARGV: microseconds a call, microseconds of the window.
/// Microseconds since 1970 are below 2^53, so Lua's numbers hold them exactly.
static LIMIT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local every, window = tonumber(ARGV[1]), tonumber(ARGV[2])
        local held = redis.pcall('GET', KEYS[1])
        local before = 0
        if type(held) == 'table' then return redis.error_reply('NOLIMIT no limit') end
        if held then before = tonumber(held) end
        if not before then return redis.error_reply('NOLIMIT no limit') end
        if before < now then before = now end
        local after = before + every
        if after - now > window then return {0, before - now} end
        redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
        return {1, after - now}",
    )
});

const KEYS: &str = "interviewai:cache:";
const TOPICS: &str = "interviewai:topic:";
const SCAN_PAGE: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_pattern_has_no_wildcards() {
        assert_eq!(literal("user:1"), "user:1");
        assert_eq!(literal(r"a*b?c[d]e^f-g\h"), r"a\*b\?c\[d\]e\^f\-g\\h");
    }
}
