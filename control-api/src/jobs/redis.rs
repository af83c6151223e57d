//! The queue over Redis Streams, 6.2 or later. Every key begins with `interviewai:jobs:`.
//!
//! `ready` is a stream with one consumer group, whose pending entries are the leases; `delayed` is a sorted set by due time;
//! `bodies` and `tried` are hashes by job id; `dead` is a stream; `once:…` remembers keys. Every operation is one script, by
//! the clock of Redis. Jobs are as durable as Redis is: `appendonly yes` loses a second at most, `appendfsync always`
//! nothing; the eviction policy must leave keys without a time to live alone (`noeviction`, `volatile-*`).
//! Not here: running jobs.

use std::{sync::LazyLock, time::Duration};

use futures_util::future::{BoxFuture, FutureExt as _};
use redis::{Script, ScriptInvocation, cmd};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use super::{DeadLetter, Job, JobSettings, Jobs, JobsError, KEPT_KEYS, NewJob};
use crate::cache::{RedisConnection, RedisFault};

/// A queue in Redis. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct RedisJobs {
    redis: RedisConnection,
    settings: JobSettings,
}

impl RedisJobs {
    /// A queue in `redis`; every process that shares it has the same `settings`.
    pub fn new(redis: RedisConnection, settings: JobSettings) -> Self {
        Self { redis, settings }
    }

    async fn still_had(&self, step: &ScriptInvocation<'_>) -> Result<bool, JobsError> {
        Ok(self.redis.run(step).await?)
    }
}

impl Jobs for RedisJobs {
    fn enqueue(&self, job: NewJob) -> BoxFuture<'_, Result<bool, JobsError>> {
        async move {
            let id = job.id();
            let NewJob { kind, key, payload, delay } = job;
            let body = serde_json::to_string(&Body { kind, key, payload }).expect("JSON of text keys");
            let mut enqueue = invoke(&ENQUEUE);
            enqueue.key(format!("{PREFIX}once:{id}"));
            enqueue.arg(id).arg(body).arg(millis(delay)).arg(millis(delay + KEPT_KEYS));
            Ok(self.redis.run(&enqueue).await?)
        }
        .boxed()
    }

    fn claim(&self, most: usize) -> BoxFuture<'_, Result<Vec<Job>, JobsError>> {
        async move {
            let mut claim = invoke(&CLAIM);
            claim.arg(most).arg(millis(self.settings.lease)).arg(self.settings.tries);
            let claimed: Vec<(String, String, u32, Vec<u8>)> = self.redis.run(&claim).await?;
            let jobs = claimed.into_iter().filter_map(|(place, id, tried, body)| {
                let Some(Body { kind, key, payload }) = read(&body) else {
                    warn!(tried, "a job in Redis cannot be read");
                    return None;
                };
                Some(Job { id, kind, key, payload, tried, place })
            });
            Ok(jobs.collect())
        }
        .boxed()
    }

    fn extend<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move { self.still_had(&lease(&EXTEND, job)).await }.boxed()
    }

    fn complete<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move { self.still_had(&lease(&COMPLETE, job)).await }.boxed()
    }

    fn retry<'a>(&'a self, job: &'a Job, pause: Duration) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move {
            let mut retry = lease(&RETRY, job);
            retry.arg(millis(pause));
            self.still_had(&retry).await
        }
        .boxed()
    }

    fn bury<'a>(&'a self, job: &'a Job, reason: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move {
            let mut bury = lease(&BURY, job);
            bury.arg(super::short(reason));
            self.still_had(&bury).await
        }
        .boxed()
    }

    fn dead_letters(&self, most: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, JobsError>> {
        async move {
            let latest =
                cmd("XREVRANGE").arg(key("dead")).arg("+").arg("-").arg("COUNT").arg(most).to_owned();
            let letters: Vec<Letter> = self.redis.query(&latest).await?;
            let letters = letters.into_iter().filter_map(|(id, [(_, body), (_, reason)])| {
                let Body { kind, key, payload } = read(&body)?;
                let reason = String::from_utf8_lossy(&reason).into_owned();
                Some(DeadLetter { id, kind, key, payload, reason })
            });
            Ok(letters.collect())
        }
        .boxed()
    }

    fn revive<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move {
            let number = |text: &str| text.parse::<u64>().is_ok();
            if !id.split_once('-').is_some_and(|(time, count)| number(time) && number(count)) {
                return Ok(false);
            }
            let letter = cmd("XRANGE").arg(key("dead")).arg(id).arg(id).to_owned();
            let letter: Vec<Letter> = self.redis.query(&letter).await?;
            let body = letter.first().and_then(|(_, [(_, body), _])| read(body));
            let Some(Body { kind, key, .. }) = body else { return Ok(false) };
            let mut revive = invoke(&REVIVE);
            revive.arg(id).arg(super::id(&kind, &key));
            self.still_had(&revive).await
        }
        .boxed()
    }

    fn settings(&self) -> &JobSettings {
        &self.settings
    }
}

impl From<RedisFault> for JobsError {
    fn from(fault: RedisFault) -> Self {
        match fault {
            RedisFault::Down(reason) => Self::Unavailable(reason),
            RedisFault::Refused(code) => Self::Unavailable(format!("Redis says {code}")),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    kind: String,
    key: String,
    payload: Value,
}

/// A dead letter as its stream has it: place, then body and reason with their names.
type Letter = (String, [(String, Vec<u8>); 2]);

fn read(body: &[u8]) -> Option<Body> {
    serde_json::from_slice(body).ok()
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// With the keys that [`PRELUDE`] names.
fn invoke(script: &Script) -> ScriptInvocation<'_> {
    let mut call = script.prepare_invoke();
    for name in ["ready", "delayed", "bodies", "tried", "dead"] {
        call.key(key(name));
    }
    call
}

/// A step that only the holder of the lease may take: [`HELD`].
fn lease<'a>(script: &'a Script, job: &Job) -> ScriptInvocation<'a> {
    let mut call = invoke(script);
    call.arg(&job.place).arg(&job.id).arg(job.tried);
    call
}

const PREFIX: &str = "interviewai:jobs:";

/// Names, the time in milliseconds, and what several steps do. All workers are one consumer: who holds a job is told by the
/// number of its try, so no names of dead workers pile up.
const PRELUDE: &str = r"
local ready, delayed, bodies, tried, dead = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function leave(place)
    redis.call('XACK', ready, 'workers', place)
    redis.call('XDEL', ready, place)
end
local function forget(id)
    redis.call('HDEL', bodies, id)
    redis.call('HDEL', tried, id)
end
local function bury(place, id, body, reason)
    leave(place)
    forget(id)
    redis.call('XADD', dead, 'MAXLEN', '~', 10000, '*', 'body', body, 'reason', reason)
    redis.call('XTRIM', dead, 'MINID', '~', string.format('%.0f', now - 30 * 24 * 3600 * 1000))
end
";

/// For steps of a leased job: ARGV is its place, its id and the number of the try.
const HELD: &str = r"
local place, id = ARGV[1], ARGV[2]
if redis.call('HGET', tried, id) ~= ARGV[3] then return 0 end
";

/// ARGV: id, body, delay, how long the key is remembered. KEYS[6]: the key.
static ENQUEUE: LazyLock<Script> = LazyLock::new(|| {
    script(&[r"
local id, delay = ARGV[1], tonumber(ARGV[3])
if redis.call('HEXISTS', bodies, id) == 1 then return 0 end
if not redis.call('SET', KEYS[6], 1, 'NX', 'PX', ARGV[4]) then return 0 end
redis.call('HSET', bodies, id, ARGV[2])
if delay > 0 then redis.call('ZADD', delayed, now + delay, id) else redis.call('XADD', ready, '*', 'id', id) end
return 1"])
});

/// ARGV: how many at most, the lease, tries. What is due becomes ready; then leases that ran out, then what is ready.
static CLAIM: LazyLock<Script> = LazyLock::new(|| {
    script(&[r"
local most, tries = tonumber(ARGV[1]), tonumber(ARGV[3])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)) do
    redis.call('ZREM', delayed, id)
    redis.call('XADD', ready, '*', 'id', id)
end
redis.pcall('XGROUP', 'CREATE', ready, 'workers', '0', 'MKSTREAM')
local claimed = {}
local function give(entries)
    for _, entry in ipairs(entries) do
        local place, id = entry[1], entry[2][2]
        local body = redis.call('HGET', bodies, id)
        if not body then
            leave(place)
        else
            local try = redis.call('HINCRBY', tried, id, 1)
            if try > tries then
                bury(place, id, body, 'its worker died in the last try')
            else
                claimed[#claimed + 1] = {place, id, try, body}
            end
        end
    end
end
local from = '0-0'
repeat
    if #claimed >= most then return claimed end
    local died = redis.call('XAUTOCLAIM', ready, 'workers', 'worker', ARGV[2], from, 'COUNT', most - #claimed)
    from = died[1]
    give(died[2])
until from == '0-0'
if #claimed >= most then return claimed end
local fresh = redis.call('XREADGROUP', 'GROUP', 'workers', 'worker', 'COUNT', most - #claimed, 'STREAMS', ready, '>')
if fresh then give(fresh[1][2]) end
return claimed"])
});

static EXTEND: LazyLock<Script> = LazyLock::new(|| {
    script(&[HELD, r"return #redis.call('XCLAIM', ready, 'workers', 'worker', 0, place, 'JUSTID')"])
});

static COMPLETE: LazyLock<Script> = LazyLock::new(|| script(&[HELD, "leave(place) forget(id) return 1"]));

/// One more ARGV: the pause.
static RETRY: LazyLock<Script> = LazyLock::new(|| {
    script(&[HELD, "leave(place) redis.call('ZADD', delayed, now + tonumber(ARGV[4]), id) return 1"])
});

/// One more ARGV: the reason.
static BURY: LazyLock<Script> =
    LazyLock::new(|| script(&[HELD, "bury(place, id, redis.call('HGET', bodies, id), ARGV[4]) return 1"]));

/// ARGV: the dead letter's place, its job's id. A job that is queued again already stays as it is.
static REVIVE: LazyLock<Script> = LazyLock::new(|| {
    script(&[r"
local letter = redis.call('XRANGE', dead, ARGV[1], ARGV[1])[1]
if not letter or redis.call('HEXISTS', bodies, ARGV[2]) == 1 then return 0 end
redis.call('HSET', bodies, ARGV[2], letter[2][2])
redis.call('XADD', ready, '*', 'id', ARGV[2])
redis.call('XDEL', dead, ARGV[1])
return 1"])
});

fn script(parts: &[&str]) -> Script {
    Script::new(&[&[PRELUDE], parts].concat().concat())
}
