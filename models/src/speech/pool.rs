//! The local Whisper workers: a bounded queue, dedicated threads, one state each.
//!
//! Not here: the order of waiting jobs (`queue.rs`), decoding (`whisper.rs`). Nothing here blocks an async task: the
//! async side takes a lock for microseconds and waits for its reply; a cancelled pass is never waited for.

use std::{
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::sync::oneshot;

use super::{
    Priority, TranscribeError, TranscribeRequest, Transcriber, TranscriptEvent,
    engine::{Engine, EngineError, Recognition},
    ggml,
    queue::{Queue, Queued},
    whisper::{self, WhisperEngine},
};

/// How many workers there are and how much may wait for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Requests that run at the same time. Each keeps a state: about 54 MiB for `tiny.en`, 75 MiB for `base.en`.
    pub workers: NonZeroUsize,
    /// Threads that compute one request.
    pub threads_per_worker: NonZeroUsize,
    /// Requests that may wait, of all classes. A final request takes the place of a waiting interim or speculative one,
    /// so it is refused only when this many final requests wait.
    pub max_waiting: usize,
}

impl PoolConfig {
    /// What suits a machine of `cores` cores: a worker a core, two threads each (one on a single core).
    ///
    /// Twice as many threads as cores, on purpose. ggml's threads meet at a barrier after every operation, and GNU
    /// OpenMP lets them spin there 300,000 rounds as long as it has no more threads than cores: then one other busy
    /// process stretched single passes from 0.5 to 14 s. With more threads than cores it spins 1,000 rounds and
    /// sleeps. Milliseconds for one utterance of 3 / 6 / 11 s with `base.en` on two cores, median, and for two at once:
    ///
    /// | workers × threads | one | two at once | one, beside two busy loops |
    /// |---|---|---|---|
    /// | 1 × 2 | 365–738 / 545–632 / 833–948 (worst 11,000) | 673 / 1,130 / 1,860 (worst 14,200) | 985 / – / – |
    /// | 1 × 2, `OMP_WAIT_POLICY=passive` | 676 / 743 / 1,453 | 1,287 / 1,649 / 3,002 | 846 / – / – |
    /// | 2 × 1 | 416 / 659 / 1,130 | 441 / 769 / 1,436 | 713 / 1,201 / 1,966 |
    /// | **2 × 2** | 299 / 567 / 906 | 488 / 1,037 / 1,580 | 954 / 983 / 2,336 |
    ///
    /// More than two threads a worker has not been measured. Where a container limits CPU time instead of the set of
    /// CPUs, OpenMP counts too many cores: give the process `GOMP_SPINCOUNT=1000` in its environment.
    pub fn for_cores(cores: NonZeroUsize) -> Self {
        Self { workers: cores, threads_per_worker: cores.min(THREADS), max_waiting: 64 }
    }
}

impl Default for PoolConfig {
    /// [`for_cores`](Self::for_cores) of the cores this process may use.
    fn default() -> Self {
        Self::for_cores(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// Why there is no pool. Each variant says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the speech weights {}: {error}; fetch them with `interviewai models fetch base.en`", path.display())]
    Unreadable {
        /// Where they were looked for.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file is no ggml model or a damaged one.
    #[error("{} holds no Whisper model in ggml format, or is damaged; check it with `interviewai models verify`", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// No state or thread for a worker: most often too little memory. Configure fewer workers or smaller weights.
    #[error("cannot start a speech worker: {0}; use fewer workers or smaller weights")]
    Worker(String),
}

/// Local speech recognition on dedicated threads; see [`Transcriber`] for how to use it.
///
/// Final requests run first, then speculative, then interim ones, each class in turn among streams. A waiting interim
/// request ends as [`TranscribeError::Superseded`] when anything newer of its stream arrives, and a running one when a
/// more urgent request of its stream arrives or finds no free worker. That is noticed at the end of an encoder pass, so
/// a final request waits for at most that.
///
/// Words have the times of the phrase they are in, shared out by length of writing: within half a second for most.
///
/// Dropping the pool ends all requests with [`TranscribeError::Failed`] and joins the threads, for which it blocks for
/// as long as an encoder pass takes.
pub struct InferencePool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl InferencePool {
    /// Loads Whisper weights (a ggml file) and starts the workers, which warm up by themselves. Blocks for a fraction of
    /// a second; call it before serving.
    ///
    /// whisper.cpp's own messages, which hold no text, go to `tracing` under the target `whisper_rs`. It calls every
    /// aborted pass an error, so leave that target out of the log unless you look for a fault.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: impl AsRef<Path>, config: PoolConfig) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let invalid = || LoadError::Invalid { path: path.into() };
        if !ggml::is_whole_model(path).map_err(|error| LoadError::Unreadable { path: path.into(), error })? {
            return Err(invalid());
        }
        let weights = whisper::load_weights(path).map_err(|_| invalid())?;
        let threads = config.threads_per_worker.get();
        let make = move || match WhisperEngine::new(weights.clone(), threads) {
            Ok(engine) => Ok(Box::new(engine) as Box<dyn Engine>),
            Err(error) => Err(format!("whisper.cpp: {error}")),
        };
        Self::start(&config, Arc::new(make))
    }

    /// Starts the workers, each with an engine that `make` gives.
    fn start(config: &PoolConfig, make: Arc<MakeEngine>) -> Result<Self, LoadError> {
        describe_metrics();
        let workers = config.workers.get();
        let queue = Queue::new(config.max_waiting);
        let state = State { queue, running: (0..workers).map(|_| None).collect(), next_id: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let mut pool = Self { shared: shared.clone(), threads: Vec::new() };
        for index in 0..workers {
            let worker = Worker {
                index,
                engine: Some(make().map_err(LoadError::Worker)?),
                make: make.clone(),
                shared: shared.clone(),
            };
            let thread = thread::Builder::new().name(format!("speech-{index}"));
            pool.threads.push(
                thread.spawn(move || worker.work()).map_err(|error| LoadError::Worker(error.to_string()))?,
            );
        }
        Ok(pool)
    }
}

impl Transcriber for InferencePool {
    fn transcribe(
        &self,
        request: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        let (reply, answer) = oneshot::channel();
        let id = self.shared.submit(request, reply);
        let mut pending = Pending { answer, shared: self.shared.clone(), id };
        stream::once(async move {
            match (&mut pending.answer).await {
                Ok(Ok(Recognition { warnings, transcript })) => stream::iter(warnings)
                    .chain(stream::iter([TranscriptEvent::Final(transcript)]))
                    .map(Ok)
                    .boxed(),
                Ok(Err(error)) => stream::iter([Err(error)]).boxed(),
                Err(_) => stream::iter([Err(TranscribeError::Failed("the recogniser was shut down".into()))])
                    .boxed(),
            }
        })
        .flatten()
        .boxed()
    }
}

impl Drop for InferencePool {
    fn drop(&mut self) {
        self.shared.close();
        for thread in self.threads.drain(..) {
            // A panic of the worker itself has nobody left to tell.
            let _ = thread.join();
        }
    }
}

type MakeEngine = dyn Fn() -> Result<Box<dyn Engine>, String> + Send + Sync;
type Reply = oneshot::Sender<Result<Recognition, TranscribeError>>;

struct Job {
    id: u64,
    request: TranscribeRequest,
    reply: Reply,
    queued: Instant,
}

impl Queued for Job {
    fn id(&self) -> u64 {
        self.id
    }
    fn priority(&self) -> Priority {
        self.request.priority
    }
    fn stream(&self) -> u64 {
        self.request.stream
    }
}

impl Job {
    /// Ends the job and counts how.
    fn finish(self, result: Result<Recognition, TranscribeError>) {
        let outcome = match &result {
            // Also where a cancelled pass came to its end before the flag was read.
            _ if self.reply.is_closed() => "cancelled",
            Ok(_) => "done",
            Err(TranscribeError::Superseded) => "superseded",
            Err(TranscribeError::Overloaded { .. }) => "overloaded",
            Err(TranscribeError::Failed(_) | TranscribeError::NotServed(_)) => "failed",
        };
        let labels = [("priority", label(self.request.priority)), ("outcome", outcome)];
        metrics::counter!("speech_jobs_total", &labels).increment(1);
        // Nobody may be listening any more.
        let _ = self.reply.send(result);
    }
}

/// A job in a worker's hands.
struct Running {
    id: u64,
    priority: Priority,
    stream: u64,
    abort: Arc<AtomicBool>,
}

struct State {
    queue: Queue<Job>,
    /// By worker.
    running: Vec<Option<Running>>,
    next_id: u64,
    closed: bool,
}

struct Shared {
    state: Mutex<State>,
    /// Signalled when a job is queued or the pool closes.
    work: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }

    /// Queues `request`, ends what it makes pointless and frees a worker for it where it may.
    fn submit(&self, request: TranscribeRequest, reply: Reply) -> u64 {
        let (priority, stream) = (request.priority, request.stream);
        let mut state = self.lock();
        let id = state.next_id;
        state.next_id += 1;
        let pushed = state.queue.push(Job { id, request, reply, queued: Instant::now() });
        if pushed.refused.is_none() && priority > Priority::Interim {
            state.preempt(stream);
        }
        let overloaded =
            || TranscribeError::Overloaded { waiting: state.queue.len(), workers: state.running.len() };
        let refused = pushed.refused.into_iter().chain(pushed.evicted).map(|job| (job, overloaded()));
        let ended: Vec<_> = refused
            .chain(pushed.superseded.into_iter().map(|job| (job, TranscribeError::Superseded)))
            .collect();
        drop(state);
        self.work.notify_one();
        for (job, error) in ended {
            job.finish(Err(error));
        }
        id
    }

    /// Forgets the job `id`: out of the queue, or its pass aborted.
    fn cancel(&self, id: u64) {
        let mut state = self.lock();
        let queued = state.queue.remove(id);
        for running in state.running.iter().flatten().filter(|running| running.id == id) {
            running.abort.store(true, Ordering::Relaxed);
        }
        drop(state);
        if let Some(job) = queued {
            job.finish(Err(TranscribeError::Superseded));
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for running in state.running.iter().flatten() {
            running.abort.store(true, Ordering::Relaxed);
        }
        let waiting: Vec<_> = std::iter::from_fn(|| state.queue.pop()).collect();
        drop(state);
        self.work.notify_all();
        for job in waiting {
            job.finish(Err(TranscribeError::Failed("the recogniser was shut down".into())));
        }
    }
}

impl State {
    /// Aborts interim passes after an urgent job of `stream` was queued: those of the stream, whose text it will
    /// replace, and one other when urgent jobs outnumber the workers that are or become free.
    fn preempt(&self, stream: u64) {
        let free = self.running.iter().filter(|slot| slot.as_ref().is_none_or(Running::aborting)).count();
        let mut missing = self.queue.urgent().saturating_sub(free);
        let mut interims: Vec<_> = self
            .running
            .iter()
            .flatten()
            .filter(|running| running.priority == Priority::Interim && !running.aborting())
            .collect();
        // Its own stream's first; of others the youngest, which loses the least work.
        interims.sort_by_key(|running| (running.stream != stream, std::cmp::Reverse(running.id)));
        for running in interims {
            if running.stream == stream || missing > 0 {
                running.abort.store(true, Ordering::Relaxed);
                missing = missing.saturating_sub(1);
            }
        }
    }
}

impl Running {
    fn aborting(&self) -> bool {
        self.abort.load(Ordering::Relaxed)
    }
}

struct Worker {
    index: usize,
    /// `None` after a panic, until a new one is made.
    engine: Option<Box<dyn Engine>>,
    make: Arc<MakeEngine>,
    shared: Arc<Shared>,
}

impl Worker {
    fn work(mut self) {
        if let Some(engine) = &mut self.engine {
            engine.warm_up();
        }
        while let Some((job, abort)) = self.next() {
            let priority = label(job.request.priority);
            metrics::histogram!("speech_queue_wait_seconds", "priority" => priority)
                .record(job.queued.elapsed());
            let began = Instant::now();
            let result = self.recognise(&job.request, &abort);
            metrics::histogram!("speech_inference_seconds", "priority" => priority).record(began.elapsed());
            // Before the reply, so that who sends the next request on getting it finds this worker free.
            self.shared.lock().running[self.index] = None;
            job.finish(result);
        }
    }

    /// Waits for a job; `None` when the pool closes.
    fn next(&self) -> Option<(Job, Arc<AtomicBool>)> {
        let mut state = self.shared.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(job) = state.queue.pop() {
                let abort = Arc::new(AtomicBool::new(false));
                state.running[self.index] = Some(Running {
                    id: job.id,
                    priority: job.priority(),
                    stream: job.stream(),
                    abort: abort.clone(),
                });
                return Some((job, abort));
            }
            state = self.shared.work.wait(state).expect("nothing under this lock panics");
        }
    }

    fn recognise(
        &mut self,
        request: &TranscribeRequest,
        abort: &AtomicBool,
    ) -> Result<Recognition, TranscribeError> {
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => (self.make)().map_err(TranscribeError::Failed)?,
        };
        // The engine is dropped if it panics: nothing half-changed is used again.
        match catch_unwind(AssertUnwindSafe(|| engine.recognise(request, abort))) {
            Ok(result) => {
                self.engine = Some(engine);
                result.map_err(|error| match error {
                    EngineError::Aborted if self.shared.lock().closed => {
                        TranscribeError::Failed("the recogniser was shut down".into())
                    }
                    EngineError::Aborted => TranscribeError::Superseded,
                    EngineError::Failed(reason) => TranscribeError::Failed(reason),
                })
            }
            Err(_) => {
                tracing::error!(worker = self.index, "a speech worker panicked; its state is made anew");
                Err(TranscribeError::Failed("internal error of the recogniser".into()))
            }
        }
    }
}

/// A request somebody waits for; dropping it cancels the request, without effect when that is finished.
struct Pending {
    answer: oneshot::Receiver<Result<Recognition, TranscribeError>>,
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.answer.close();
        self.shared.cancel(self.id);
    }
}

fn label(priority: Priority) -> &'static str {
    match priority {
        Priority::Interim => "interim",
        Priority::Speculative => "speculative",
        Priority::Final => "final",
    }
}

fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!("speech_jobs_total", "Recognition requests ended, by priority and outcome");
    describe_counter!("speech_retries_total", "Passes run again at full context, by reason");
    describe_histogram!("speech_queue_wait_seconds", Unit::Seconds, "From request to start, by priority");
    describe_histogram!("speech_inference_seconds", Unit::Seconds, "From start to end, by priority");
}

/// Threads for one request where there is more than one core.
const THREADS: NonZeroUsize = NonZeroUsize::new(2).expect("two is not zero");

#[cfg(test)]
mod tests;
