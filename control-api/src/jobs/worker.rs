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
                () = self.idle(pause), if running.len() < settings.at_once => {
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

    async fn idle(&self, pause: Duration) {
        tokio::select! {
            () = time::sleep(pause) => {}
            () = self.jobs.queued() => {}
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Mutex};

    use futures_util::future::BoxFuture;
    use serde_json::Value;

    use super::*;
    use crate::jobs::{DeadLetter, NewJob};

    /// A queue that holds some jobs and notes at which second it is told what. Answers `leases` to extensions, `true` after that.
    struct Scripted {
        settings: JobSettings,
        jobs: Mutex<VecDeque<Job>>,
        leases: Mutex<VecDeque<bool>>,
        /// The queue is away until this second.
        away_until: u64,
        told: Mutex<Vec<(u64, &'static str)>>,
        start: time::Instant,
    }

    impl Scripted {
        fn new(jobs: u32, leases: &[bool], away_until: u64) -> Arc<Self> {
            let job = |number: u32| Job {
                id: format!("test:{number}"),
                kind: "test".to_owned(),
                key: number.to_string(),
                payload: Value::Null,
                tried: 1,
                place: String::new(),
            };
            Arc::new(Self {
                settings: JobSettings::default(),
                jobs: Mutex::new((0..jobs).map(job).collect()),
                leases: Mutex::new(leases.iter().copied().collect()),
                away_until,
                told: Mutex::default(),
                start: time::Instant::now(),
            })
        }

        fn told(&self) -> Vec<(u64, &'static str)> {
            self.told.lock().unwrap().clone()
        }

        fn note(&self, what: &'static str, answer: bool) -> BoxFuture<'_, Result<bool, JobsError>> {
            let second = self.start.elapsed().as_secs();
            self.told.lock().unwrap().push((second, what));
            let away = second < self.away_until;
            std::future::ready(if away { Err(JobsError::Unavailable("away".to_owned())) } else { Ok(answer) })
                .boxed()
        }
    }

    impl Jobs for Scripted {
        fn enqueue(&self, _: NewJob) -> BoxFuture<'_, Result<bool, JobsError>> {
            std::future::ready(Ok(true)).boxed()
        }

        fn claim(&self, most: usize) -> BoxFuture<'_, Result<Vec<Job>, JobsError>> {
            let mut jobs = self.jobs.lock().unwrap();
            let most = most.min(jobs.len());
            std::future::ready(Ok(jobs.drain(..most).collect())).boxed()
        }

        fn extend<'a>(&'a self, _: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
            let lease = self.leases.lock().unwrap().pop_front().unwrap_or(true);
            self.note("extend", lease)
        }

        fn complete<'a>(&'a self, _: &'a Job) -> BoxFuture<'a, Result<bool, JobsError>> {
            self.note("complete", true)
        }

        fn retry<'a>(&'a self, _: &'a Job, _: Duration) -> BoxFuture<'a, Result<bool, JobsError>> {
            self.note("retry", true)
        }

        fn bury<'a>(&'a self, _: &'a Job, _: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
            self.note("bury", true)
        }

        fn dead_letters(&self, _: usize) -> BoxFuture<'_, Result<Vec<DeadLetter>, JobsError>> {
            std::future::ready(Ok(Vec::new())).boxed()
        }

        fn revive<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<bool, JobsError>> {
            std::future::ready(Ok(false)).boxed()
        }

        fn settings(&self) -> &JobSettings {
            &self.settings
        }
    }

    /// Runs a worker for `stop_after` seconds, whose jobs take `seconds`; says at which second it returned, and how many
    /// jobs ran to their end.
    async fn work(jobs: &Arc<Scripted>, seconds: u64, stop_after: u64) -> (u64, usize) {
        let ended = Arc::new(Mutex::new(0));
        let count = Arc::clone(&ended);
        let handlers = Handlers::new().on("test", move |_: Job| {
            let count = Arc::clone(&count);
            async move {
                time::sleep(Duration::from_secs(seconds)).await;
                *count.lock().unwrap() += 1;
                Ok(())
            }
        });
        let worker = Worker::new(Arc::clone(jobs) as Arc<dyn Jobs>, handlers);
        worker.run(time::sleep(Duration::from_secs(stop_after))).await;
        let ended = *ended.lock().unwrap();
        (jobs.start.elapsed().as_secs(), ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_job_keeps_its_lease() {
        let jobs = Scripted::new(1, &[], 0);
        assert_eq!(work(&jobs, 90, 100).await, (100, 1));
        assert_eq!(
            jobs.told(),
            [(20, "extend"), (40, "extend"), (60, "extend"), (80, "extend"), (90, "complete")]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_whose_lease_is_lost_is_dropped() {
        let jobs = Scripted::new(1, &[true, false], 0);
        assert_eq!(work(&jobs, 90, 100).await, (100, 0));
        assert_eq!(jobs.told(), [(20, "extend"), (40, "extend")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_takes_too_long_has_failed() {
        let jobs = Scripted::new(1, &[], 0);
        assert_eq!(work(&jobs, 700, 800).await, (800, 0));
        assert_eq!(jobs.told().last(), Some(&(600, "retry")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_outcome_is_told_when_the_queue_is_back() {
        let jobs = Scripted::new(1, &[], 30);
        assert_eq!(work(&jobs, 1, 100).await, (100, 1));
        let told = jobs.told();
        let (last, others) = told.split_last().unwrap();
        assert!(others.iter().all(|(second, what)| *second < 30 && *what == "complete"), "{told:?}");
        assert!((30..=35).contains(&last.0), "{told:?}");
        assert!(told.len() < 20, "it asks ever less often: {told:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stops_waits_so_long_and_no_longer() {
        // What ends within the drain of 20 s is waited for; the fifth job is not begun.
        let jobs = Scripted::new(5, &[], 0);
        assert_eq!(work(&jobs, 15, 10).await, (15, 4));
        assert_eq!(jobs.told(), [(15, "complete"); 4]);
        let jobs = Scripted::new(1, &[], 0);
        assert_eq!(work(&jobs, 50, 10).await, (30, 0));
        assert_eq!(jobs.told(), [(20, "extend")]);
    }
}
