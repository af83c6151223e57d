//! The queue over any store: the default, as safe as what the store acknowledges.
//!
//! A job is one document from when it is queued until its key is forgotten, and each step is one conditional write of it, so
//! that nothing is between two states. Due times and leases go by the clocks of the nodes, which must agree to a few seconds.
//! Not here: running jobs.

use std::{sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::future::{BoxFuture, FutureExt as _, join_all};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;
use uuid::Uuid;

use super::{DeadLetter, Job, JobSettings, Jobs, JobsError, KEPT_KEYS, NewJob, id, short};
use crate::{
    storage::{Collection, Filter, Index, MAX_PAGE, Query, Record, Schema, Store, StoreError, Stored},
    time::now_ms,
};

/// A queue in a store. Clones are the same queue.
///
/// A dead letter keeps its place until a job of the same kind and key is queued, which then takes it.
#[derive(Clone)]
pub struct StoredJobs {
    jobs: Collection<QueuedJob>,
    settings: JobSettings,
    queued: Arc<Notify>,
}

/// A job, as kept. Times are unix ms.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct QueuedJob {
    /// Hash of kind and key, which are too long for an id and may name people.
    id: String,
    /// Its name in the queue; none when it is done.
    job: Option<Named>,
    /// When it is to be run, or its lease ends. None when it is done or dead.
    due_at: Option<i64>,
    /// Who has it.
    lease: Option<String>,
    tried: u32,
    /// Until when the key is remembered.
    known_until: i64,
    died_at: Option<i64>,
    /// Why it died.
    reason: Option<String>,
    /// When a done or dead one vanishes.
    expires_at: Option<i64>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Named {
    kind: String,
    key: String,
    /// JSON as text: it may have names of fields that no store takes.
    payload: String,
}

impl Record for QueuedJob {
    const COLLECTION: &'static str = "jobs";
    const INDEXES: &'static [Index] = &[
        Index::on("due", &["due_at"]).sparse(),
        Index::on("dead", &["died_at"]).sparse(),
        Index::expiry(&["expires_at"]),
    ];

    fn id(&self) -> &str {
        &self.id
    }
}

impl StoredJobs {
    /// What the store is opened with.
    pub const SCHEMA: &'static Schema = QueuedJob::SCHEMA;

    /// The queue in `store`; every process that shares it has the same `settings`.
    pub fn new(store: Arc<dyn Store>, settings: JobSettings) -> Self {
        Self { jobs: Collection::new(store), settings, queued: Arc::default() }
    }

    async fn insert(&self, fresh: &QueuedJob) -> Result<bool, JobsError> {
        for _ in 0..MAX_TRIES {
            match self.jobs.insert(fresh).await {
                Err(StoreError::Duplicate { .. }) => {}
                done => return Ok(done.map(|()| true)?),
            }
            let Some(mut known) = self.jobs.get(&fresh.id).await? else { continue };
            if known.due_at.is_some() || known.known_until > now_ms() {
                return Ok(false);
            }
            known.record = fresh.clone();
            match self.jobs.replace(&mut known).await {
                Err(StoreError::Conflict | StoreError::NotFound) => {}
                done => return Ok(done.map(|()| true)?),
            }
        }
        Err(JobsError::Unavailable("others keep changing the same job".to_owned()))
    }

    /// Takes one that is due; `None` when somebody else has it, or it died.
    async fn lease(&self, mut due: Stored<QueuedJob>) -> Result<Option<Job>, JobsError> {
        let (now, lease) = (now_ms(), Uuid::new_v4().to_string());
        let record = &mut due.record;
        if record.tried >= self.settings.tries {
            record.bury("its worker died in the last try", now);
        } else {
            record.tried += 1;
            record.due_at = Some(now + millis(self.settings.lease));
            record.lease = Some(lease.clone());
        }
        match self.jobs.replace(&mut due).await {
            Ok(()) => Ok(due.record.leased(lease)),
            Err(StoreError::Conflict | StoreError::NotFound) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// One step of the one who has the lease of `job`; `false` for everybody else.
    async fn held(&self, job: &Job, step: impl Fn(&mut QueuedJob)) -> Result<bool, JobsError> {
        let id = hashed(&job.id);
        let changed = self.jobs.update(&id, |record| {
            if record.lease.as_deref() != Some(&*job.place) {
                return Err(Step::Lost);
            }
            step(record);
            Ok(())
        });
        match changed.await {
            Ok(_) => Ok(true),
            Err(Step::Lost | Step::Failed(StoreError::NotFound)) => Ok(false),
            Err(Step::Failed(error)) => Err(error.into()),
        }
    }

    async fn drop_oldest_dead(&self) -> Result<(), JobsError> {
        let dead = Filter::all().within("died_at", 0i64..);
        if self.jobs.count(&dead).await? > MAX_DEAD {
            let oldest = self.jobs.find(&Query::new(dead).order("died_at").limit(MAX_PAGE / 2)).await?;
            for letter in oldest.records {
                self.jobs.delete_unchanged(&letter).await?;
            }
        }
        Ok(())
    }
}

impl Jobs for StoredJobs {
    fn enqueue(&self, job: NewJob) -> BoxFuture<'_, Result<bool, JobsError>> {
        async move {
            let (id, now, delay) = (hashed(&job.id()), now_ms(), millis(job.delay));
            let NewJob { kind, key, payload, .. } = job;
            let fresh = QueuedJob {
                id,
                job: Some(Named { kind, key, payload: payload.to_string() }),
                due_at: Some(now + delay),
                lease: None,
                tried: 0,
                known_until: now + delay + millis(KEPT_KEYS),
                died_at: None,
                reason: None,
                expires_at: None,
            };
            let queued = self.insert(&fresh).await?;
            if queued && delay == 0 {
                self.queued.notify_one();
            }
            Ok(queued)
        }
        .boxed()
    }

    fn claim(&self, most: usize) -> BoxFuture<'_, Result<Vec<Job>, JobsError>> {
        async move {
            let mut claimed = Vec::new();
            // More than asked for, as other workers ask for the same.
            let page = (4 * most).clamp(1, MAX_PAGE);
            for _ in 0..MAX_TRIES {
                let due = Filter::all().within("due_at", ..=now_ms());
                let mut due = self.jobs.find(&Query::new(due).order("due_at").limit(page)).await?.records;
                if due.is_empty() {
                    break;
                }
                while claimed.len() < most && !due.is_empty() {
                    let now: Vec<_> = due.drain(..due.len().min(most - claimed.len())).collect();
                    for leased in join_all(now.into_iter().map(|job| self.lease(job))).await {
                        match leased {
                            Ok(job) => claimed.extend(job),
                            // What is leased already is not left to its lease's end.
                            Err(error) if claimed.is_empty() => return Err(error),
                            Err(_) => return Ok(claimed),
                        }
                    }
                }
                if !claimed.is_empty() {
                    break;
                }
            }
            Ok(claimed)
        }
        .boxed()
    }

    fn extend<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
        let lease = millis(self.settings.lease);
        self.held(job, move |record| record.due_at = Some(now_ms() + lease)).boxed()
    }

    fn complete<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
        self.held(job, |record| {
            record.job = None;
            record.due_at = None;
            record.lease = None;
            record.expires_at = Some(record.known_until);
        })
        .boxed()
    }

    fn retry<'a>(&'a self, job: &'a Job, pause: Duration) -> BoxFuture<'a, Result<bool, JobsError>> {
        self.held(job, move |record| {
            record.due_at = Some(now_ms() + millis(pause));
            record.lease = None;
        })
        .boxed()
    }

    fn bury<'a>(&'a self, job: &'a Job, reason: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move {
            let held = self.held(job, |record| record.bury(reason, now_ms())).await?;
            if held && let Err(error) = self.drop_oldest_dead().await {
                tracing::warn!(%error, "old dead letters are kept for now");
            }
            Ok(held)
        }
        .boxed()
    }

    fn dead_letters(&self, most: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, JobsError>> {
        async move {
            let mut letters = Vec::new();
            let mut after = None;
            while letters.len() < most {
                let latest = Query::new(Filter::all()).order("died_at").descending();
                let limit = (most - letters.len()).min(MAX_PAGE);
                let found = self.jobs.find(&latest.limit(limit).after(after)).await?;
                letters.extend(found.records.into_iter().filter_map(|letter| letter.record.letter()));
                after = found.next;
                if after.is_none() {
                    break;
                }
            }
            Ok(letters)
        }
        .boxed()
    }

    fn revive<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
        async move {
            if id.len() != ID_CHARS || !id.is_ascii() {
                return Ok(false);
            }
            let Some(mut letter) = self.jobs.get(id).await? else { return Ok(false) };
            if letter.died_at.is_none() {
                return Ok(false);
            }
            let record = &mut letter.record;
            (record.died_at, record.reason, record.expires_at) = (None, None, None);
            (record.tried, record.due_at) = (0, Some(now_ms()));
            match self.jobs.replace(&mut letter).await {
                Ok(()) => {
                    self.queued.notify_one();
                    Ok(true)
                }
                // Somebody else revived it.
                Err(StoreError::Conflict | StoreError::NotFound) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
        .boxed()
    }

    fn queued(&self) -> BoxFuture<'_, ()> {
        self.queued.notified().boxed()
    }

    fn settings(&self) -> &JobSettings {
        &self.settings
    }
}

impl QueuedJob {
    fn bury(&mut self, reason: &str, now_ms: i64) {
        (self.due_at, self.lease) = (None, None);
        self.died_at = Some(now_ms);
        self.reason = Some(short(reason).to_owned());
        self.expires_at = Some(now_ms + millis(KEPT_DEAD));
    }

    /// The job that the holder of `lease` was given.
    fn leased(self, lease: String) -> Option<Job> {
        if self.lease.as_deref() != Some(&*lease) {
            return None;
        }
        let Named { kind, key, payload } = self.job?;
        let payload = serde_json::from_str(&payload).ok()?;
        Some(Job { id: id(&kind, &key), kind, key, payload, tried: self.tried, place: lease })
    }

    fn letter(self) -> Option<DeadLetter> {
        let Named { kind, key, payload } = self.job?;
        let payload = serde_json::from_str(&payload).ok()?;
        Some(DeadLetter { id: self.id, kind, key, payload, reason: self.reason? })
    }
}

/// Why a step was not done.
enum Step {
    Lost,
    Failed(StoreError),
}

impl From<StoreError> for Step {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for JobsError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(_) => Self::Invalid("a stored job cannot be read"),
            StoreError::Invalid(reason) => Self::Invalid(reason),
            error => Self::Unavailable(error.to_string()),
        }
    }
}

impl std::fmt::Debug for StoredJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredJobs").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn hashed(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(id))
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

const MAX_TRIES: usize = 8;
const MAX_DEAD: u64 = 10_000;
const KEPT_DEAD: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Of SHA-256 in base64url.
const ID_CHARS: usize = 43;
