//! Takes jobs from a queue and runs them: so many at once, each under a lease that is kept up, until it is told to stop.
//!
//! Not here: the queue, the handlers.

use std::{panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use futures_util::future::FutureExt as _;
use tokio::{task::JoinSet, time};
use tracing::{debug, warn};

use super::{Handlers, Job, JobFailure, JobSettings, Jobs, JobsError};

/// Runs jobs of one queue. Any number of workers, in any number of processes, may share a queue.
#[derive(Clone)]
pub struct Worker {
    jobs: Arc<dyn Jobs>,
    handlers: Handlers,
}

impl Worker {
    /// A worker for `jobs`. A job of a kind that has no handler fails as one that did not work.
    pub fn new(jobs: Arc<dyn Jobs>, handlers: Handlers) -> Self {
        Self { jobs, handlers }
    }

    /// Runs jobs until `stop` completes; then takes no more, waits for those under way ([`JobSettings::drain`]), and drops
    /// the rest. What is dropped, here or by dropping this future, comes again when its lease has run out.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let settings = self.jobs.settings().clone();
        let mut running = JoinSet::new();
        let mut stop = pin!(stop);
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                Some(_) = running.join_next() => pause = Duration::ZERO,
                () = time::sleep(pause), if running.len() < settings.at_once => {
                    pause = self.take(&mut running, &settings, pause).await;
                }
            }
        }
        let drained =
            time::timeout(settings.drain, async { while running.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            warn!(
                jobs = running.len(),
                "jobs were still running at the end of the drain; they will come again"
            );
        }
    }

    /// Begins what is due and fits; says how long to wait before looking again.
    async fn take(&self, running: &mut JoinSet<()>, settings: &JobSettings, paused: Duration) -> Duration {
        let room = settings.at_once.saturating_sub(running.len());
        match self.jobs.claim(room).await {
            Ok(jobs) => {
                let pause = if jobs.is_empty() { settings.poll } else { Duration::ZERO };
                for job in jobs {
                    let run = Run { jobs: Arc::clone(&self.jobs), handlers: self.handlers.clone(), job };
                    running.spawn(run.go());
                }
                pause
            }
            Err(error) => {
                let pause = (paused * 2).clamp(settings.poll, MAX_OUTAGE_PAUSE);
                warn!(%error, retry_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX), "no jobs can be taken");
                pause
            }
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("handlers", &self.handlers).finish_non_exhaustive()
    }
}

/// One try of one job.
struct Run {
    jobs: Arc<dyn Jobs>,
    handlers: Handlers,
    job: Job,
}

impl Run {
    async fn go(self) {
        let settings = self.jobs.settings();
        let outcome = tokio::select! {
            outcome = self.handle(settings) => outcome,
            () = self.lose_lease(settings) => {
                warn!(job = ?self.job, "a job's lease was lost while it ran: it runs elsewhere, or comes again");
                return;
            }
        };
        let kept = self.settle(settings, &outcome).await;
        match (kept, outcome) {
            (Err(error), _) => {
                warn!(job = ?self.job, %error, "a job's outcome was not kept: it will come again")
            }
            (Ok(false), _) => warn!(job = ?self.job, "a job took longer than its lease: it came again"),
            (Ok(true), Ok(())) => debug!(job = ?self.job, "a job is done"),
            (Ok(true), Err(reason)) => warn!(job = ?self.job, %reason, "a job did not work"),
        }
    }

    /// A handler that panics has failed.
    async fn handle(&self, settings: &JobSettings) -> Result<(), JobFailure> {
        let Some(handler) = self.handlers.of(&self.job.kind) else {
            return Err(JobFailure::Retry("this process has no handler for the kind".to_owned()));
        };
        let run = AssertUnwindSafe(async { handler.run(self.job.clone()).await }).catch_unwind();
        match time::timeout(settings.max_run, run).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(JobFailure::Retry("the handler panicked".to_owned())),
            Err(_) => Err(JobFailure::Retry(format!("not done within {} s", settings.max_run.as_secs()))),
        }
    }

    /// Keeps the lease up; returns when it is lost. While the queue is down the job runs on: its lease may outlive that.
    async fn lose_lease(&self, settings: &JobSettings) {
        loop {
            time::sleep(settings.lease / 3).await;
            if self.jobs.extend(&self.job).await == Ok(false) {
                return;
            }
        }
    }

    /// Tells the queue how it went, for as long as the lease lasts. Says whether this worker still had the job.
    async fn settle(
        &self,
        settings: &JobSettings,
        outcome: &Result<(), JobFailure>,
    ) -> Result<bool, JobsError> {
        let give_up = time::Instant::now() + settings.lease;
        let mut pause = FIRST_SETTLE_PAUSE;
        loop {
            let told = match outcome {
                Ok(()) => self.jobs.complete(&self.job).await,
                Err(JobFailure::Retry(_)) if self.job.tried < settings.tries => {
                    let pause = settings.pause(self.job.tried, fastrand::f64());
                    self.jobs.retry(&self.job, pause).await
                }
                Err(JobFailure::Retry(reason) | JobFailure::Fatal(reason)) => {
                    self.jobs.bury(&self.job, reason).await
                }
            };
            match told {
                Err(JobsError::Unavailable(_)) if time::Instant::now() + pause < give_up => {
                    time::sleep(pause).await;
                    pause = (pause * 2).min(MAX_OUTAGE_PAUSE);
                }
                told => return told,
            }
        }
    }
}

const MAX_OUTAGE_PAUSE: Duration = Duration::from_secs(5);
const FIRST_SETTLE_PAUSE: Duration = Duration::from_millis(50);
