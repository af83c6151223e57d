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
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use ct2rs::sys::ComputeType;
use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::sync::oneshot;

use super::{
    Priority, TranscribeError, TranscribeRequest, Transcriber, TranscriptEvent,
    engine::{Engine, EngineError, Recognition},
    queue::{Queue, Queued},
    whisper::{ModelError, WhisperEngine, WhisperModel},
};

/// How many workers there are, how they compute, and how much may wait for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Requests that run at the same time. Each has a copy of the weights: 75 MB of 8-bit integers for `base.en`.
    pub workers: NonZeroUsize,
    /// Threads that compute one request.
    pub threads_per_worker: NonZeroUsize,
    /// How exactly the weights are kept and multiplied.
    pub precision: Precision,
    /// Requests that may wait, of all classes. A final request takes the place of a waiting interim or speculative one,
    /// so it is refused only when this many final requests wait.
    pub max_waiting: usize,
}

/// How exactly weights are kept and multiplied. The file is the same; CTranslate2 converts it as it loads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 8-bit integers: half the memory of the file, and the fastest where the processor has VNNI or AVX2.
    #[default]
    Int8,
    /// 32-bit floating point: twice the memory of the file.
    Float32,
}

impl PoolConfig {
    /// What suits a machine of `cores` cores: a worker a core, one thread each, and what the processor is fast at. Measured
    /// in `docs/adr/0008-ctranslate2.md`.
    pub fn for_cores(cores: NonZeroUsize) -> Self {
        let precision = if multiplies_bytes() { Precision::Int8 } else { Precision::Float32 };
        Self { workers: cores, threads_per_worker: NonZeroUsize::MIN, precision, max_waiting: 64 }
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
    /// The file is no ggml model of f16 or f32 values, or a damaged one.
    #[error("{} holds no Whisper model in ggml format with f16 or f32 values, or is damaged; check it with `interviewai models verify`", path.display())]
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
/// more urgent request of its stream arrives or finds no free worker. That is noticed between the networks of a pass, a tenth
/// of a second apart for a few seconds of speech. A running guess of another stream is not aborted: it may be a final soon.
///
/// Words have the times at which they were said, by alignment (see `whisper/model.rs`).
///
/// Dropping the pool ends all requests with [`TranscribeError::Failed`] and joins the threads, for which it blocks for
/// as long as one network takes.
pub struct InferencePool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    pass_time: Option<Duration>,
}

impl InferencePool {
    /// Loads Whisper weights (a ggml file), starts the workers and measures their speed. Blocks for a second or two; call it
    /// before serving.
    ///
    /// # Errors
    /// See [`LoadError`].
    pub fn load(path: impl AsRef<Path>, config: PoolConfig) -> Result<Self, LoadError> {
        let path = path.as_ref();
        let compute_type = match config.precision {
            Precision::Int8 => ComputeType::INT8,
            Precision::Float32 => ComputeType::FLOAT32,
        };
        let (workers, threads) = (config.workers.get(), config.threads_per_worker.get());
        let model = WhisperModel::load(path, compute_type, workers, threads);
        let model = Arc::new(model.map_err(|error| match error {
            ModelError::Unreadable(error) => LoadError::Unreadable { path: path.into(), error },
            ModelError::Invalid => LoadError::Invalid { path: path.into() },
            ModelError::Refused(reason) => LoadError::Worker(reason),
        })?);
        let make = move || Ok(Box::new(WhisperEngine::new(Arc::clone(&model))) as Box<dyn Engine>);
        Self::start(&config, Arc::new(make))
    }

    /// What a worker took for five seconds of speech when the pool started, all workers computing at once; `None` when it
    /// could not be measured. Includes whatever else kept the machine busy then.
    pub fn pass_time(&self) -> Option<Duration> {
        self.pass_time
    }

    /// Starts the workers, each with an engine that `make` gives.
    fn start(config: &PoolConfig, make: Arc<MakeEngine>) -> Result<Self, LoadError> {
        describe_metrics();
        let workers = config.workers.get();
        let queue = Queue::new(config.max_waiting);
        let state = State { queue, running: (0..workers).map(|_| None).collect(), next_id: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), work: Condvar::new() });
        let mut pool = Self { shared: shared.clone(), threads: Vec::new(), pass_time: None };
        let (measured, speeds) = mpsc::sync_channel(workers);
        for index in 0..workers {
            let worker = Worker {
                index,
                engine: Some(make().map_err(LoadError::Worker)?),
                make: make.clone(),
                shared: shared.clone(),
            };
            let measured = measured.clone();
            let thread = thread::Builder::new().name(format!("speech-{index}"));
            pool.threads.push(
                thread
                    .spawn(move || worker.work(measured))
                    .map_err(|error| LoadError::Worker(error.to_string()))?,
            );
        }
        drop(measured);
        // The slowest: a final may be its.
        pool.pass_time = speeds.iter().flatten().max();
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

    /// Enough to write every turn down nearly twice (a wrong guess costs a pass) with the workers busy half of the time at
    /// most, so that a final seldom waits; interim texts get what is left. By the speed measured when the pool started.
    fn capacity(&self) -> Option<usize> {
        let load = TALK * PASSES_PER_TURN * self.pass_time?.as_secs_f64() / MEASURED_SECONDS;
        let sessions = self.threads.len() as f64 * BUSY / load.max(f64::MIN_POSITIVE);
        Some((sessions as usize).max(1))
    }

    fn confirm(&self, stream: u64) {
        self.shared.confirm(stream);
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

    /// Makes the guess of `stream` a final.
    fn confirm(&self, stream: u64) {
        let mut state = self.lock();
        let running = state.running.iter_mut().flatten();
        for running in
            running.filter(|running| running.stream == stream && running.priority == Priority::Speculative)
        {
            running.priority = Priority::Final;
        }
        let Some(mut job) = state.queue.take_guess(stream) else { return };
        job.request.priority = Priority::Final;
        // The place it had is free, so there is room for it.
        let superseded = state.queue.push(job).superseded;
        state.preempt(stream);
        drop(state);
        for job in superseded {
            job.finish(Err(TranscribeError::Superseded));
        }
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
    fn work(mut self, measured: mpsc::SyncSender<Option<Duration>>) {
        let speed = self.engine.as_mut().and_then(|engine| engine.warm_up());
        // Fails only when the pool was given up.
        let _ = measured.try_send(speed);
        // Who waits for the speeds waits until no worker can send one.
        drop(measured);
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

/// Whether the processor multiplies vectors of bytes faster than of floats.
fn multiplies_bytes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

fn describe_metrics() {
    use metrics::{Unit, describe_counter, describe_histogram};
    describe_counter!("speech_jobs_total", "Recognition requests ended, by priority and outcome");
    describe_counter!("speech_retries_total", "Passes run again at full context, by reason");
    describe_histogram!("speech_queue_wait_seconds", Unit::Seconds, "From request to start, by priority");
    describe_histogram!("speech_inference_seconds", Unit::Seconds, "From start to end, by priority");
}

/// Of a session, how much is speech.
const TALK: f64 = 0.5;
/// 46 guesses in a hundred are dropped (bench `turns`), and each turn is written down once.
const PASSES_PER_TURN: f64 = 1.85;
/// Of the workers' time, what turns may take: above half, waiting grows fast (M/M/c).
const BUSY: f64 = 0.5;
/// Speech in a warm-up's pass.
const MEASURED_SECONDS: f64 = 5.0;

#[cfg(test)]
mod tests;
