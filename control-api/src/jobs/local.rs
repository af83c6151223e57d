//! A queue in memory: for tests, and to try things out. It is lost with the process.
//!
//! Not here: a queue for real work, which is in Redis or over the store.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::future::{self, BoxFuture, FutureExt as _};
use tokio::time::Instant;

use super::{DeadLetter, Job, JobSettings, Jobs, JobsError, KEPT_KEYS, NewJob, id, short};

/// A queue in memory. Clones are the same queue. Time is tokio's, so that tests may pause it.
#[derive(Clone)]
pub struct LocalJobs {
    queue: Arc<Mutex<Queue>>,
    settings: JobSettings,
}

#[derive(Default)]
struct Queue {
    jobs: HashMap<String, Held>,
    /// Ids by when they are due: queued, between tries, or at the end of a lease.
    due: BTreeMap<Due, String>,
    /// Keys that were queued, and until when that is remembered.
    known: HashMap<String, Instant>,
    /// The oldest first.
    dead: VecDeque<DeadLetter>,
    /// Orders what is due at the same time, and names dead letters.
    count: u64,
}

struct Held {
    /// With the number of its latest try.
    job: Job,
    due: Due,
}

type Due = (Instant, u64);

impl LocalJobs {
    /// An empty queue.
    pub fn new(settings: JobSettings) -> Self {
        Self { queue: Arc::default(), settings }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing panics while it is locked")
    }

    /// One step of the one who has the lease of `job`; `false` for everybody else.
    fn held(&self, job: &Job, step: impl FnOnce(&mut Queue)) -> BoxFuture<'_, Result<bool, JobsError>> {
        let mut queue = self.queue();
        let held = queue.jobs.get(&job.id).is_some_and(|held| held.job.tried == job.tried);
        if held {
            step(&mut queue);
        }
        future::ready(Ok(held)).boxed()
    }
}

impl Jobs for LocalJobs {
    fn enqueue(&self, job: NewJob) -> BoxFuture<'_, Result<bool, JobsError>> {
        future::ready(self.queue().enqueue(job)).boxed()
    }

    fn claim(&self, most: usize) -> BoxFuture<'_, Result<Vec<Job>, JobsError>> {
        future::ready(Ok(self.queue().claim(most, &self.settings))).boxed()
    }

    fn extend<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
        self.held(job, |queue| queue.put_off(&job.id, self.settings.lease))
    }

    fn complete<'a>(&'a self, job: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
        self.held(job, |queue| {
            queue.remove(&job.id);
        })
    }

    fn retry<'a>(&'a self, job: &'a Job, pause: Duration) -> BoxFuture<'a, Result<bool, JobsError>> {
        self.held(job, |queue| queue.put_off(&job.id, pause))
    }

    fn bury<'a>(&'a self, job: &'a Job, reason: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
        self.held(job, |queue| queue.bury(&job.id, reason))
    }

    fn dead_letters(&self, most: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, JobsError>> {
        let letters = self.queue().dead.iter().rev().take(most).cloned().collect();
        future::ready(Ok(letters)).boxed()
    }

    fn revive<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
        future::ready(Ok(self.queue().revive(id))).boxed()
    }

    fn settings(&self) -> &JobSettings {
        &self.settings
    }
}

impl Queue {
    fn enqueue(&mut self, job: NewJob) -> Result<bool, JobsError> {
        let (id, now) = (job.id(), Instant::now());
        if self.jobs.contains_key(&id) || self.known.get(&id).is_some_and(|until| *until > now) {
            return Ok(false);
        }
        if self.known.len() >= MAX_KNOWN {
            self.known.retain(|_, until| *until > now);
        }
        if self.jobs.len() >= MAX_JOBS || self.known.len() >= MAX_KNOWN {
            return Err(JobsError::Unavailable("the queue in memory is full".to_owned()));
        }
        self.known.insert(id.clone(), now + job.delay + KEPT_KEYS);
        let NewJob { kind, key, payload, delay } = job;
        self.insert(Job { id, kind, key, payload, tried: 0, place: String::new() }, now + delay);
        Ok(true)
    }

    fn claim(&mut self, most: usize, settings: &JobSettings) -> Vec<Job> {
        let mut claimed = Vec::new();
        while claimed.len() < most {
            let Some((due, id)) = self.due.first_key_value() else { break };
            if due.0 > Instant::now() {
                break;
            }
            let id = id.clone();
            self.put_off(&id, settings.lease);
            let Some(held) = self.jobs.get_mut(&id) else { continue };
            held.job.tried += 1;
            if held.job.tried > settings.tries {
                self.bury(&id, "its worker died in the last try");
            } else {
                claimed.push(held.job.clone());
            }
        }
        claimed
    }

    fn insert(&mut self, job: Job, at: Instant) {
        self.count += 1;
        let due = (at, self.count);
        self.due.insert(due, job.id.clone());
        self.jobs.insert(job.id.clone(), Held { job, due });
    }

    fn remove(&mut self, id: &str) -> Option<Job> {
        let held = self.jobs.remove(id)?;
        self.due.remove(&held.due);
        Some(held.job)
    }

    fn put_off(&mut self, id: &str, pause: Duration) {
        if let Some(job) = self.remove(id) {
            self.insert(job, Instant::now() + pause);
        }
    }

    fn bury(&mut self, id: &str, reason: &str) {
        let Some(Job { kind, key, payload, .. }) = self.remove(id) else { return };
        self.count += 1;
        if self.dead.len() >= MAX_DEAD {
            self.dead.pop_front();
        }
        let reason = short(reason).to_owned();
        self.dead.push_back(DeadLetter { id: self.count.to_string(), kind, key, payload, reason });
    }

    fn revive(&mut self, letter: &str) -> bool {
        let Some(at) = self.dead.iter().position(|dead| dead.id == letter) else { return false };
        let id = id(&self.dead[at].kind, &self.dead[at].key);
        if self.jobs.contains_key(&id) {
            return false;
        }
        if let Some(DeadLetter { kind, key, payload, .. }) = self.dead.remove(at) {
            self.insert(Job { id, kind, key, payload, tried: 0, place: String::new() }, Instant::now());
        }
        true
    }
}

impl std::fmt::Debug for LocalJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalJobs").field("settings", &self.settings).finish_non_exhaustive()
    }
}

const MAX_JOBS: usize = 10_000;
const MAX_KNOWN: usize = 100_000;
const MAX_DEAD: usize = 1_000;
