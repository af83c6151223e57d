//! Work that is done later, at least once: mails, erasing accounts, reading CVs.
//!
//! A [`Jobs`] is the queue; a [`Worker`] takes jobs from it and runs their [`JobHandler`]s. A job is tried [`JobSettings::tries`]
//! times with growing pauses, and then lies among the dead letters. One whose worker died comes again when its lease runs out,
//! so a handler keys its effect by [`Job::key`]. Not here: what jobs do, schedules.

mod handlers;
mod local;
mod redis;
mod stored;
mod worker;

pub use handlers::{Handlers, JobFailure, JobHandler};
pub use local::LocalJobs;
pub use redis::RedisJobs;
pub use stored::StoredJobs;
pub use worker::Worker;

use std::time::Duration;

use futures_util::future::{self, BoxFuture, FutureExt as _};
use serde_json::Value;

/// A queue of jobs.
///
/// Every operation fails with [`JobsError::Unavailable`] when the queue does not answer; it may have been done. Dropping a
/// future leaves its operation done or not done.
pub trait Jobs: Send + Sync {
    /// Queues `job`, to be run after its delay; says whether. `false`: a job of this kind and key was queued already, in
    /// the last [`KEPT_KEYS`] or longer if it is not done. On return it is as safe as the queue makes it.
    fn enqueue(&self, job: NewJob) -> BoxFuture<'_, Result<bool, JobsError>>;

    /// Takes up to `most` jobs that are due, those of dead workers among them. Each is leased to the caller for
    /// [`JobSettings::lease`], and counts as tried. Jobs that ran out of tries in a worker's death become dead letters here.
    fn claim(&self, most: usize) -> BoxFuture<'_, Result<Vec<Job>, JobsError>>;

    /// Begins the lease of `job` anew; says whether the caller still has it.
    fn extend<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>>;

    /// `job` is done and is forgotten, but for its key; says whether the caller still had it.
    fn complete<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>>;

    /// `job` did not work, and comes again after `pause`; says whether the caller still had it.
    fn retry<'a>(&'a self, job: &'a Job, pause: Duration) -> BoxFuture<'a, Result<bool, JobsError>>;

    /// `job` will never work and becomes a dead letter; says whether the caller still had it. `reason`: a line for an
    /// operator, without anything of the payload.
    fn bury<'a>(&'a self, job: &'a Job, reason: &'a str) -> BoxFuture<'a, Result<bool, JobsError>>;

    /// The latest dead letters, at most `most`. About 10,000 are kept, for 30 days; in memory 1,000.
    fn dead_letters(&self, most: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, JobsError>>;

    /// Queues a dead letter again, with all its tries; says whether there was one.
    fn revive<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, JobsError>>;

    /// Completes when a job that is due was queued through this value, or a clone of it, since the last one was noticed. A queue
    /// that cannot tell never completes; its worker looks every [`JobSettings::poll`] anyway.
    fn queued(&self) -> BoxFuture<'_, ()> {
        future::pending().boxed()
    }

    /// How jobs of this queue are tried.
    fn settings(&self) -> &JobSettings;
}

/// How jobs are tried, and by how many at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSettings {
    /// Tries of a job, its first included. Default 3.
    pub tries: u32,
    /// The pause after the first try, at most; it doubles with each. Between half of it and all of it is waited, by
    /// chance, so that what failed together does not come again together. Default 10 s.
    pub first_pause: Duration,
    /// The longest pause. Default 10 min.
    pub max_pause: Duration,
    /// How long a job belongs to a worker of which nothing is heard. A living worker extends it. Default 60 s.
    pub lease: Duration,
    /// Longest run of one try, which is dropped then and has failed. Default 10 min.
    pub max_run: Duration,
    /// Jobs that one worker runs at once. Default 4.
    pub at_once: usize,
    /// How long a worker that stops waits for what it runs. What it drops then comes again elsewhere. Default 20 s.
    pub drain: Duration,
    /// How often an idle worker looks for jobs. Default 500 ms.
    pub poll: Duration,
}

impl Default for JobSettings {
    fn default() -> Self {
        Self {
            tries: 3,
            first_pause: Duration::from_secs(10),
            max_pause: Duration::from_secs(600),
            lease: Duration::from_secs(60),
            max_run: Duration::from_secs(600),
            at_once: 4,
            drain: Duration::from_secs(20),
            poll: Duration::from_millis(500),
        }
    }
}

impl JobSettings {
    /// The pause after try number `tried` (from 1), where `chance` is between 0 and 1.
    pub(crate) fn pause(&self, tried: u32, chance: f64) -> Duration {
        let doublings = tried.saturating_sub(1).min(20);
        let longest = self.first_pause.saturating_mul(1 << doublings).min(self.max_pause);
        longest.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

/// A job to be queued.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    kind: String,
    key: String,
    payload: Value,
    delay: Duration,
}

impl NewJob {
    /// A job of `kind`, such as `mail`, whose effect happens once for each `key`.
    ///
    /// # Errors
    /// [`JobsError::Invalid`] for a kind or key that is not 1 to 200 bytes, a kind with `:` in it, or a payload over 64 KiB of
    /// JSON. Put ids into it, not content.
    pub fn new(
        kind: impl Into<String>,
        key: impl Into<String>,
        payload: impl serde::Serialize,
    ) -> Result<Self, JobsError> {
        let (kind, key) = (kind.into(), key.into());
        let named = |name: &str| !name.is_empty() && name.len() <= MAX_NAME_BYTES;
        if !named(&kind) || kind.contains(':') || !named(&key) {
            return Err(JobsError::Invalid("kind and key have 1 to 200 bytes, and a kind has no `:`"));
        }
        let payload =
            serde_json::to_value(payload).map_err(|_| JobsError::Invalid("the payload is no JSON"))?;
        if payload.to_string().len() > MAX_PAYLOAD_BYTES {
            return Err(JobsError::Invalid("the payload has more than 64 KiB of JSON"));
        }
        Ok(Self { kind, key, payload, delay: Duration::ZERO })
    }

    /// The same, to be run no sooner than `delay` after it is queued; 90 days at most.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay.min(MAX_DELAY);
        self
    }

    /// What it is known by in its queue.
    fn id(&self) -> String {
        id(&self.kind, &self.key)
    }
}

/// A job that is leased to a worker.
#[derive(Clone, PartialEq)]
pub struct Job {
    /// What it is known by in its queue.
    pub id: String,
    /// Which handler runs it.
    pub kind: String,
    /// By what its effect is kept from happening twice.
    pub key: String,
    /// What the handler is told.
    pub payload: Value,
    /// Which try this is, from 1. With [`Job::id`] it names the lease: who holds an older one is told so.
    pub tried: u32,
    /// Where the queue has put it.
    pub(crate) place: String,
}

impl std::fmt::Debug for Job {
    /// Without the payload and the key, which may name people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job").field("kind", &self.kind).field("tried", &self.tried).finish_non_exhaustive()
    }
}

/// A job that never worked.
#[derive(Clone, PartialEq)]
pub struct DeadLetter {
    /// For [`Jobs::revive`].
    pub id: String,
    /// Its kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// What its handler was told.
    pub payload: Value,
    /// Why, in a line.
    pub reason: String,
}

impl std::fmt::Debug for DeadLetter {
    /// Without the payload and the key, which may name people.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeadLetter")
            .field("kind", &self.kind)
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

/// Why a queue operation failed. Names no payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobsError {
    /// The queue did not answer; try again later. The reason is for an operator.
    #[error("the job queue is unavailable: {0}")]
    Unavailable(String),
    /// Never works: the caller broke a bound of [`NewJob`].
    #[error("the job queue refuses this: {0}")]
    Invalid(&'static str),
}

fn id(kind: &str, key: &str) -> String {
    format!("{kind}:{key}")
}

/// A reason is a line.
fn short(reason: &str) -> &str {
    &reason[..reason.floor_char_boundary(MAX_REASON_BYTES)]
}

/// How long the key of a job is remembered, at the least, from when it was queued and its delay is over.
pub const KEPT_KEYS: Duration = Duration::from_secs(24 * 60 * 60);

const MAX_NAME_BYTES: usize = 200;
const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
const MAX_REASON_BYTES: usize = 500;
const MAX_DELAY: Duration = Duration::from_secs(90 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_vary() {
        let settings = JobSettings {
            first_pause: Duration::from_secs(8),
            max_pause: Duration::from_secs(20),
            ..JobSettings::default()
        };
        let seconds = |tried, chance| settings.pause(tried, chance).as_secs();
        assert_eq!([seconds(1, 0.0), seconds(1, 1.0)], [4, 8]);
        assert_eq!([seconds(2, 0.0), seconds(2, 1.0)], [8, 16]);
        assert_eq!([seconds(3, 0.0), seconds(3, 1.0)], [10, 20]);
        assert_eq!(seconds(u32::MAX, 1.0), 20);
    }

    #[test]
    fn a_job_is_bounded_and_keeps_its_payload_to_itself() {
        assert!(NewJob::new("mail", "k".repeat(200), ()).is_ok());
        for (kind, key) in [("", "k"), ("mail", ""), ("a:b", "k"), ("mail", &*"k".repeat(201))] {
            assert!(NewJob::new(kind, key, ()).is_err());
        }
        assert!(NewJob::new("mail", "k", "x".repeat(MAX_PAYLOAD_BYTES)).is_err());
        let job = Job {
            id: "mail:ann@example.org".to_owned(),
            kind: "mail".to_owned(),
            key: "ann@example.org".to_owned(),
            payload: "canary".into(),
            tried: 1,
            place: String::new(),
        };
        let shown = format!("{job:?}");
        assert!(!shown.contains("canary") && !shown.contains("ann"), "{shown}");
    }
}
