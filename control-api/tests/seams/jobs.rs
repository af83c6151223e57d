//! What every `Jobs` must do, run on each queue with real workers; and what only Redis can show.
//!
//! Not here: the worker's timing, which is tested in virtual time beside it.

use crate::log;
use crate::mongod;
use crate::redis_server;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use control_api::{
    cache::{Cache, LocalCache, RedisConnection},
    jobs::{Handlers, Job, JobFailure, JobSettings, Jobs, LocalJobs, NewJob, RedisJobs, StoredJobs, Worker},
    storage::{MongoSettings, MongoStore, SqliteStore, Store, start},
};
use futures_util::future::join_all;
use log::Log;
use redis_server::RedisServer;
use serde_json::json;
use tokio::{sync::Notify, task::JoinHandle};

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    Log::of_this_process();
    suite(&|settings| Arc::new(LocalJobs::new(settings))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_redis() {
    let Some(server) = RedisServer::start().await else { return };
    Log::of_this_process();
    suite(&|settings| {
        assert_eq!(server.type_in("FLUSHALL"), "+OK\r\n+OK\r\n");
        Arc::new(RedisJobs::new(RedisConnection::new(&server.url()).unwrap(), settings))
    })
    .await;
    let keys = server.type_in("SCAN 0 COUNT 100000");
    let keys: Vec<&str> = keys.lines().filter(|line| line.contains(':')).collect();
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|key| key.starts_with("interviewai:jobs:")), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_sqlite() {
    Log::of_this_process();
    let folder = tempfile::tempdir().unwrap();
    let count = AtomicUsize::new(0);
    suite(&|settings| {
        let path = folder.path().join(format!("{}.db", count.fetch_add(1, Ordering::SeqCst)));
        now(async { Arc::new(StoredJobs::new(sqlite(&path).await, settings)) })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mongodb() {
    let Some(server) = mongod::Mongod::start().await else { return };
    Log::of_this_process();
    let count = AtomicUsize::new(0);
    suite(&|settings| {
        let database = format!("jobs_{}", count.fetch_add(1, Ordering::SeqCst));
        now(async {
            let store = MongoStore::connect(&MongoSettings::new(server.url(&database).into())).await.unwrap();
            start(&store, &[StoredJobs::SCHEMA], &[]).await.unwrap();
            Arc::new(StoredJobs::new(Arc::new(store), settings))
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_in_a_store_are_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let open = async || StoredJobs::new(sqlite(&path).await, short_lease());
    let before = open().await;
    for key in ["leased", "waiting", "done", "dead"] {
        before.enqueue(named(key)).await.unwrap();
    }
    let jobs = before.claim(10).await.unwrap();
    let job = |key| jobs.iter().find(|job| job.key == key).unwrap();
    assert_eq!(before.complete(job("done")).await, Ok(true));
    assert_eq!(before.retry(job("waiting"), Duration::ZERO).await, Ok(true));
    assert_eq!(before.bury(job("dead"), "why").await, Ok(true));
    drop(before);
    let after = open().await;
    let claimed = Mutex::new(BTreeMap::new());
    until(async || {
        let jobs = after.claim(10).await.unwrap();
        claimed.lock().unwrap().extend(jobs.into_iter().map(|job| (job.key, job.tried)));
        claimed.lock().unwrap().len() == 2
    })
    .await;
    assert!(claimed.into_inner().unwrap().into_keys().eq(["leased", "waiting"]));
    assert_eq!(after.enqueue(named("done")).await, Ok(false), "its key is remembered");
    assert_eq!(after.dead_letters(1).await.unwrap()[0].key, "dead");
}

/// A worker that looks once an hour is told of what is queued beside it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_in_this_process_runs_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let settings = JobSettings { poll: Duration::from_secs(3600), ..quick() };
    let store = sqlite(&folder.path().join("store.db")).await;
    let jobs: Arc<dyn Jobs> = Arc::new(StoredJobs::new(store, settings));
    let ran = Arc::new(Ran::default());
    let worker = work(&jobs, Handlers::new().on("mail", ran.handler()));
    for number in 0..20 {
        jobs.enqueue(named(&number.to_string())).await.unwrap();
        ran.wait_for(number + 1).await;
    }
    worker.stop().await;
}

async fn sqlite(path: &std::path::Path) -> Arc<dyn Store> {
    let store = SqliteStore::open(path.to_path_buf()).await.unwrap();
    start(&store, &[StoredJobs::SCHEMA], &[]).await.unwrap();
    Arc::new(store)
}

/// Waits in a place that is not async.
fn now<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// Makes an empty queue.
type Fresh<'a> = &'a dyn Fn(JobSettings) -> Arc<dyn Jobs>;

async fn suite(fresh: Fresh<'_>) {
    a_job_runs_once_and_is_gone(fresh(quick())).await;
    one_of_many_with_a_key_is_queued(fresh(quick())).await;
    a_poison_job_is_buried_after_three_tries(fresh(quick())).await;
    what_will_never_work_is_buried_at_once(fresh(quick())).await;
    a_dead_letter_comes_back(fresh(quick())).await;
    a_job_whose_worker_is_dropped_runs_again(fresh(short_lease())).await;
    a_job_that_kills_its_workers_is_buried(fresh(short_lease())).await;
    who_lost_a_lease_is_told(fresh(short_lease())).await;
    an_extended_lease_lasts(fresh).await;
    a_delayed_job_waits(fresh(quick())).await;
    so_many_run_at_once(fresh(quick())).await;
    a_worker_that_stops_ends_what_it_began(fresh(quick())).await;
    many_workers_share_a_queue(fresh(quick())).await;
    no_payload_is_logged(fresh(quick())).await;
}

async fn a_job_runs_once_and_is_gone(jobs: Arc<dyn Jobs>) {
    let ran = Arc::new(Ran::default());
    let job = NewJob::new("mail", "k1", json!({"user": 7, "text": "ä\0"})).unwrap();
    assert_eq!(jobs.enqueue(job).await, Ok(true));
    let worker = work(&jobs, Handlers::new().on("mail", ran.handler()));
    ran.wait_for(1).await;
    worker.stop().await;
    let job = ran.all()[0].clone();
    assert_eq!((&*job.kind, &*job.key, job.tried), ("mail", "k1", 1));
    assert_eq!(job.payload, json!({"user": 7, "text": "ä\0"}));
    assert_eq!(jobs.claim(10).await, Ok(vec![]));
    assert_eq!(jobs.dead_letters(10).await, Ok(vec![]));
    assert_eq!(jobs.enqueue(named("k1")).await, Ok(false), "its key is remembered");
}

async fn one_of_many_with_a_key_is_queued(jobs: Arc<dyn Jobs>) {
    let tries = (0..50).map(|_| {
        let jobs = Arc::clone(&jobs);
        tokio::spawn(async move { jobs.enqueue(named("same")).await.unwrap() })
    });
    let queued = join_all(tries).await.into_iter().filter(|queued| *queued.as_ref().unwrap()).count();
    assert_eq!(queued, 1);
    let other_kind = NewJob::new("erase", "same", ()).unwrap();
    assert_eq!(jobs.enqueue(other_kind).await, Ok(true), "a key is one of its kind");
    assert_eq!(jobs.claim(10).await.unwrap().len(), 2);
}

async fn a_poison_job_is_buried_after_three_tries(jobs: Arc<dyn Jobs>) {
    let ran = Arc::new(Ran::default());
    let fails = ran.handler_that(|job| match job.tried {
        // A handler that panics has failed like any other.
        2 => panic!("on purpose, in try 2"),
        _ => Err(JobFailure::Retry("the server says no".to_owned())),
    });
    let handlers = Handlers::new().on("mail", fails).on("good", ran.handler());
    jobs.enqueue(named("poison")).await.unwrap();
    jobs.enqueue(NewJob::new("good", "after", ()).unwrap()).await.unwrap();
    let worker = work(&jobs, handlers);
    until(async || jobs.dead_letters(10).await.unwrap().len() == 1).await;
    worker.stop().await;
    let tries: Vec<u32> = ran.of("poison").iter().map(|job| job.tried).collect();
    assert_eq!(tries, [1, 2, 3]);
    assert_eq!(ran.of("after").len(), 1, "others are not held up");
    let letter = &jobs.dead_letters(10).await.unwrap()[0];
    assert_eq!((&*letter.kind, &*letter.key, &*letter.reason), ("mail", "poison", "the server says no"));
    assert_eq!(letter.payload, json!({"of": "poison"}));
    assert_eq!(jobs.claim(10).await, Ok(vec![]));
}

async fn what_will_never_work_is_buried_at_once(jobs: Arc<dyn Jobs>) {
    let ran = Arc::new(Ran::default());
    let fails = ran.handler_that(|_| Err(JobFailure::Fatal("é".repeat(1000))));
    jobs.enqueue(named("fatal")).await.unwrap();
    jobs.enqueue(NewJob::new("unknown", "kind", ()).unwrap()).await.unwrap();
    let worker = work(&jobs, Handlers::new().on("mail", fails));
    until(async || jobs.dead_letters(10).await.unwrap().len() == 2).await;
    worker.stop().await;
    assert_eq!(ran.all().len(), 1);
    let letters = jobs.dead_letters(10).await.unwrap();
    let of = |key: &str| letters.iter().find(|letter| letter.key == key).unwrap();
    assert_eq!(of("fatal").reason, "é".repeat(250), "a reason is cut to 500 bytes");
    assert!(of("kind").reason.contains("no handler"));
    assert_eq!(jobs.dead_letters(1).await.unwrap().len(), 1);
}

async fn a_dead_letter_comes_back(jobs: Arc<dyn Jobs>) {
    jobs.enqueue(named("revived")).await.unwrap();
    let job = jobs.claim(1).await.unwrap().remove(0);
    assert_eq!(jobs.bury(&job, "why").await, Ok(true));
    let letter = jobs.dead_letters(1).await.unwrap().remove(0);
    for absent in ["", "1-1", "x", "999999999999999999999-0"] {
        assert_eq!(jobs.revive(absent).await, Ok(false), "{absent:?}");
    }
    assert_eq!(jobs.revive(&letter.id).await, Ok(true));
    assert_eq!(jobs.revive(&letter.id).await, Ok(false));
    assert_eq!(jobs.dead_letters(1).await, Ok(vec![]));
    let again = jobs.claim(10).await.unwrap();
    assert_eq!(again.len(), 1);
    assert_eq!((&*again[0].key, again[0].tried, &again[0].payload), ("revived", 1, &job.payload));
    assert_eq!(jobs.complete(&again[0]).await, Ok(true));
}

/// The effect is done, the worker dies before it could say so, another one gets the job: one effect.
async fn a_job_whose_worker_is_dropped_runs_again(jobs: Arc<dyn Jobs>) {
    let once: Arc<dyn Cache> = Arc::new(LocalCache::new(100, 1 << 20));
    let effects = Arc::new(AtomicUsize::new(0));
    let effect = {
        let (once, effects) = (Arc::clone(&once), Arc::clone(&effects));
        move |job: Job| {
            let (once, effects) = (Arc::clone(&once), Arc::clone(&effects));
            async move {
                if once.set_once(&job.key, "".into(), Duration::from_secs(60)).await.unwrap() {
                    effects.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
    };
    let done = Arc::new(Notify::new());
    let never_ends = {
        let (effect, done) = (effect.clone(), Arc::clone(&done));
        move |job: Job| {
            let (effect, done) = (effect.clone(), Arc::clone(&done));
            async move {
                effect(job).await;
                done.notify_one();
                std::future::pending().await
            }
        }
    };
    jobs.enqueue(named("crash")).await.unwrap();
    let dying = work(&jobs, Handlers::new().on("mail", never_ends));
    done.notified().await;
    dying.kill().await;

    let tried = Arc::new(AtomicUsize::new(0));
    let ends = {
        let tried = Arc::clone(&tried);
        move |job: Job| {
            let (effect, tried) = (effect.clone(), Arc::clone(&tried));
            async move {
                tried.store(job.tried as usize, Ordering::SeqCst);
                effect(job).await;
                Ok(())
            }
        }
    };
    let worker = work(&jobs, Handlers::new().on("mail", ends));
    until(async || tried.load(Ordering::SeqCst) > 0).await;
    worker.stop().await;
    assert_eq!(tried.load(Ordering::SeqCst), 2);
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    assert_eq!(jobs.claim(10).await, Ok(vec![]));
}

async fn a_job_that_kills_its_workers_is_buried(jobs: Arc<dyn Jobs>) {
    jobs.enqueue(named("killer")).await.unwrap();
    // Who claims says no more, as if it died of it.
    until(async || jobs.claim(1).await.unwrap().iter().any(|job| job.tried == 3)).await;
    until(async || {
        assert_eq!(jobs.claim(1).await, Ok(vec![]), "there is no fourth try");
        jobs.dead_letters(10).await.unwrap().len() == 1
    })
    .await;
    let letter = &jobs.dead_letters(10).await.unwrap()[0];
    assert!(letter.reason.contains("died"), "{letter:?}");
}

async fn who_lost_a_lease_is_told(jobs: Arc<dyn Jobs>) {
    jobs.enqueue(named("late")).await.unwrap();
    let late = jobs.claim(1).await.unwrap().remove(0);
    let current = Mutex::new(None);
    until(async || {
        let claimed = jobs.claim(1).await.unwrap();
        *current.lock().unwrap() = claimed.into_iter().next();
        current.lock().unwrap().is_some()
    })
    .await;
    let current = current.into_inner().unwrap().unwrap();
    assert_eq!((&*current.id, current.tried), (&*late.id, 2));
    assert_eq!(jobs.extend(&late).await, Ok(false));
    assert_eq!(jobs.complete(&late).await, Ok(false));
    assert_eq!(jobs.retry(&late, Duration::ZERO).await, Ok(false));
    assert_eq!(jobs.bury(&late, "x").await, Ok(false));
    assert_eq!(jobs.complete(&current).await, Ok(true), "the late one did no harm");
    assert_eq!(jobs.complete(&current).await, Ok(false));
    assert_eq!(jobs.extend(&current).await, Ok(false));
    assert_eq!(jobs.dead_letters(1).await, Ok(vec![]));
}

/// On a machine that stalls for longer than a lease this shows nothing, and is tried again.
async fn an_extended_lease_lasts(fresh: Fresh<'_>) {
    let settings = JobSettings { lease: Duration::from_millis(500), ..quick() };
    for _ in 0..5 {
        let jobs = fresh(settings.clone());
        jobs.enqueue(named("long")).await.unwrap();
        let begun = Instant::now();
        let job = jobs.claim(1).await.unwrap().remove(0);
        let mut extended = begun;
        let mut longest_gap = Duration::ZERO;
        let mut taken = Vec::new();
        while begun.elapsed() < 3 * settings.lease {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let asked = Instant::now();
            let kept = jobs.extend(&job).await.unwrap();
            taken = jobs.claim(1).await.unwrap();
            longest_gap = longest_gap.max(extended.elapsed());
            extended = asked;
            if !kept || !taken.is_empty() {
                break;
            }
        }
        if taken.is_empty() {
            assert_eq!(jobs.complete(&job).await, Ok(true));
            return;
        }
        assert!(longest_gap > settings.lease / 2, "taken away {longest_gap:?} after it was extended");
    }
    panic!("this machine stalls too often to show anything");
}

async fn a_delayed_job_waits(jobs: Arc<dyn Jobs>) {
    jobs.enqueue(named("tomorrow").after(Duration::from_secs(24 * 3600))).await.unwrap();
    jobs.enqueue(named("soon").after(Duration::from_millis(200))).await.unwrap();
    let asked = Instant::now();
    let mut claimed = Vec::new();
    while claimed.is_empty() {
        assert!(asked.elapsed() < PATIENT);
        claimed = jobs.claim(10).await.unwrap();
    }
    assert!(
        asked.elapsed() > Duration::from_millis(150),
        "it came {:?} after it was queued",
        asked.elapsed()
    );
    assert_eq!(claimed.iter().map(|job| &*job.key).collect::<Vec<_>>(), ["soon"]);
    // A pause between tries is the same.
    assert_eq!(jobs.retry(&claimed[0], Duration::from_secs(3600)).await, Ok(true));
    assert_eq!(jobs.claim(10).await, Ok(vec![]));
    assert_eq!(jobs.enqueue(named("soon")).await, Ok(false));
}

async fn so_many_run_at_once(jobs: Arc<dyn Jobs>) {
    let most = jobs.settings().at_once;
    let (running, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let ran = Arc::new(AtomicUsize::new(0));
    let handler = {
        let (running, peak, ran) = (Arc::clone(&running), Arc::clone(&peak), Arc::clone(&ran));
        move |_: Job| {
            let (running, peak, ran) = (Arc::clone(&running), Arc::clone(&peak), Arc::clone(&ran));
            async move {
                peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                // Until as many are here as may be, once; more would show.
                while peak.load(Ordering::SeqCst) < most {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                ran.fetch_add(1, Ordering::SeqCst);
                Ok(())
            }
        }
    };
    for number in 0..5 * most {
        jobs.enqueue(named(&number.to_string())).await.unwrap();
    }
    let worker = work(&jobs, Handlers::new().on("mail", handler));
    until(async || ran.load(Ordering::SeqCst) == 5 * most).await;
    worker.stop().await;
    assert_eq!(peak.load(Ordering::SeqCst), most);
}

async fn a_worker_that_stops_ends_what_it_began(jobs: Arc<dyn Jobs>) {
    let (begun, may_end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let handler = {
        let (begun, may_end) = (Arc::clone(&begun), Arc::clone(&may_end));
        move |_: Job| {
            let (begun, may_end) = (Arc::clone(&begun), Arc::clone(&may_end));
            async move {
                begun.notify_one();
                may_end.notified().await;
                Ok(())
            }
        }
    };
    jobs.enqueue(named("begun")).await.unwrap();
    let worker = work(&jobs, Handlers::new().on("mail", handler));
    begun.notified().await;
    worker.stop.notify_one();
    // It takes nothing more, which is seen as nothing begins.
    until(async || worker.stopping()).await;
    jobs.enqueue(named("waits")).await.unwrap();
    may_end.notify_one();
    worker.task.await.unwrap();
    let left = jobs.claim(10).await.unwrap();
    assert_eq!(left.iter().map(|job| &*job.key).collect::<Vec<_>>(), ["waits"]);
}

async fn many_workers_share_a_queue(jobs: Arc<dyn Jobs>) {
    let ran = Arc::new(Ran::default());
    let workers: Vec<_> = (0..4).map(|_| work(&jobs, Handlers::new().on("mail", ran.handler()))).collect();
    for number in 0..100 {
        jobs.enqueue(named(&number.to_string())).await.unwrap();
    }
    ran.wait_for(100).await;
    for worker in workers {
        worker.stop().await;
    }
    let counts = ran.counts();
    assert!(counts.len() == 100 && counts.values().all(|count| *count == 1), "{counts:?}");
}

async fn no_payload_is_logged(jobs: Arc<dyn Jobs>) {
    let log = Log::of_this_process();
    let fails = |job: Job| async move {
        match job.tried {
            1 => Err(JobFailure::Retry("busy".to_owned())),
            _ => Ok(()),
        }
    };
    let canary = NewJob::new("mail", "canary key", json!({"cv": "canary payload"})).unwrap();
    jobs.enqueue(canary).await.unwrap();
    let never = NewJob::new("unknown", "canary key", json!({"cv": "canary payload"})).unwrap();
    jobs.enqueue(never).await.unwrap();
    let worker = work(&jobs, Handlers::new().on("mail", fails));
    until(async || !jobs.dead_letters(1).await.unwrap().is_empty()).await;
    worker.stop().await;
    let said = log.text();
    assert!(said.contains("a job did not work") && said.contains("busy"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

/// Killed while workers run, and started again from its append-only file: every job that was acknowledged runs.
#[tokio::test(flavor = "multi_thread")]
async fn redis_is_killed_and_no_job_is_lost() {
    let Some(mut server) = RedisServer::start().await else { return };
    let settings = JobSettings { lease: Duration::from_secs(2), at_once: 2, ..quick() };
    let jobs: Arc<dyn Jobs> =
        Arc::new(RedisJobs::new(RedisConnection::new(&server.url()).unwrap(), settings));
    let ran = Arc::new(Ran::default());
    let mut acknowledged = 0;
    for number in 0..200 {
        assert_eq!(jobs.enqueue(named(&number.to_string())).await, Ok(true));
        acknowledged += 1;
    }
    let worker = work(&jobs, Handlers::new().on("mail", ran.handler()));
    ran.wait_for(20).await;
    server.kill();
    let error = jobs.enqueue(named("while it is down")).await.unwrap_err();
    assert!(error.to_string().contains("unavailable"), "{error}");
    let before = ran.counts().len();
    assert!(before < acknowledged, "it was killed too late to show anything");
    server.restart().await;
    until(async || ran.counts().len() == acknowledged).await;
    worker.stop().await;
    assert_eq!(jobs.dead_letters(10).await, Ok(vec![]));
    assert_eq!(jobs.enqueue(named("afterwards")).await, Ok(true));
}

/// Tries come fast, leases do not run out by themselves.
fn quick() -> JobSettings {
    JobSettings {
        first_pause: Duration::from_millis(10),
        max_pause: Duration::from_millis(20),
        poll: Duration::from_millis(5),
        lease: Duration::from_secs(600),
        ..JobSettings::default()
    }
}

fn short_lease() -> JobSettings {
    JobSettings { lease: Duration::from_millis(200), ..quick() }
}

fn named(key: &str) -> NewJob {
    NewJob::new("mail", key, json!({"of": key})).unwrap()
}

/// What a worker ran.
#[derive(Default)]
struct Ran {
    jobs: Mutex<Vec<Job>>,
}

impl Ran {
    fn handler(self: &Arc<Self>) -> impl Fn(Job) -> std::future::Ready<Result<(), JobFailure>> + use<> {
        self.handler_that(|_| Ok(()))
    }

    fn handler_that(
        self: &Arc<Self>,
        does: fn(&Job) -> Result<(), JobFailure>,
    ) -> impl Fn(Job) -> std::future::Ready<Result<(), JobFailure>> + use<> {
        let ran = Arc::clone(self);
        move |job| {
            ran.jobs.lock().unwrap().push(job.clone());
            std::future::ready(does(&job))
        }
    }

    fn all(&self) -> Vec<Job> {
        self.jobs.lock().unwrap().clone()
    }

    fn of(&self, key: &str) -> Vec<Job> {
        self.all().into_iter().filter(|job| job.key == key).collect()
    }

    fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for job in self.all() {
            *counts.entry(job.key).or_default() += 1;
        }
        counts
    }

    async fn wait_for(&self, count: usize) {
        until(async || self.jobs.lock().unwrap().len() >= count).await;
    }
}

struct Working {
    task: JoinHandle<()>,
    stop: Arc<Notify>,
}

fn work(jobs: &Arc<dyn Jobs>, handlers: Handlers) -> Working {
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let worker = Worker::new(Arc::clone(jobs), handlers);
    Working { task: tokio::spawn(worker.run(async move { stopped.notified().await })), stop }
}

impl Working {
    /// Lets it end what it runs.
    async fn stop(self) {
        self.stop.notify_one();
        self.task.await.unwrap();
    }

    /// As a crash would.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Whether it was told to stop: only the worker holds the other half while it listens.
    fn stopping(&self) -> bool {
        Arc::strong_count(&self.stop) == 1
    }
}

/// Asks until it is so.
async fn until(so: impl AsyncFn() -> bool) {
    let asked = Instant::now();
    while !so().await {
        assert!(asked.elapsed() < PATIENT, "it never came to be so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Long enough for any machine; nothing waits for it unless it fails.
const PATIENT: Duration = Duration::from_secs(60);
