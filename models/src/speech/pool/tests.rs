//! Scheduling, without weights: engines that run until told.

use std::{collections::HashSet, sync::mpsc, time::Duration};

use tokio::runtime::Runtime;

use super::*;
use crate::speech::Transcript;
use Priority::{Final, Interim, Speculative};

/// A pool of engines under the test's control, and a runtime to wait for answers.
struct Rig {
    pool: InferencePool,
    control: Arc<Control>,
    /// Streams of the requests, as they start and as they notice an abort.
    events: mpsc::Receiver<Event>,
    runtime: Runtime,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Started(u64),
    Aborted(u64),
}

#[derive(Default)]
struct Control {
    released: Mutex<HashSet<u64>>,
    changed: Condvar,
}

/// Runs each request until its stream is released or the request aborted; stream 666 panics.
struct Held {
    control: Arc<Control>,
    events: mpsc::SyncSender<Event>,
}

impl Engine for Held {
    fn recognise(
        &mut self,
        request: &TranscribeRequest,
        abort: &AtomicBool,
    ) -> Result<Recognition, EngineError> {
        self.events.send(Event::Started(request.stream)).unwrap();
        assert_ne!(request.stream, 666, "told to panic");
        let mut released = self.control.released.lock().unwrap();
        loop {
            if abort.load(Ordering::Relaxed) {
                self.events.send(Event::Aborted(request.stream)).unwrap();
                return Err(EngineError::Aborted);
            }
            if released.contains(&request.stream) {
                let transcript = Transcript { text: request.stream.to_string(), ..Transcript::default() };
                return Ok(Recognition { warnings: Vec::new(), transcript });
            }
            // As the recogniser, the engine looks at the flag now and then.
            released = self.control.changed.wait_timeout(released, Duration::from_millis(1)).unwrap().0;
        }
    }
}

type Answer = BoxStream<'static, Result<TranscriptEvent, TranscribeError>>;

impl Rig {
    fn new(workers: usize, max_waiting: usize) -> Self {
        let control = Arc::<Control>::default();
        let (sender, events) = mpsc::sync_channel(64);
        let make = {
            let control = control.clone();
            move || Ok(Box::new(Held { control: control.clone(), events: sender.clone() }) as Box<dyn Engine>)
        };
        let one = NonZeroUsize::MIN;
        let config = PoolConfig {
            workers: NonZeroUsize::new(workers).unwrap(),
            max_waiting,
            ..PoolConfig::for_cores(one)
        };
        let pool = InferencePool::start(&config, Arc::new(make)).unwrap();
        Self {
            pool,
            control,
            events,
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        }
    }

    fn request(&self, priority: Priority, stream: u64) -> Answer {
        let (audio, vocabulary) = (Arc::from([0.0; 160]), Arc::from([]));
        self.pool.transcribe(TranscribeRequest {
            audio,
            language: None,
            vocabulary,
            settled: Arc::from([]),
            before: Arc::from(""),
            priority,
            stream,
            cache: false,
        })
    }

    fn release(&self, stream: u64) {
        self.control.released.lock().unwrap().insert(stream);
        self.control.changed.notify_all();
    }

    #[track_caller]
    fn expect(&self, event: Event) {
        assert_eq!(self.events.recv_timeout(Duration::from_secs(30)), Ok(event));
    }

    #[track_caller]
    fn ends(&self, answer: Answer, expected: Result<u64, TranscribeError>) {
        let events: Vec<_> = self.runtime.block_on(answer.collect());
        let text = |stream: u64| {
            TranscriptEvent::Final(Transcript { text: stream.to_string(), ..Transcript::default() })
        };
        assert_eq!(events, [expected.map(text)]);
    }
}

#[test]
fn runs_without_being_polled_and_in_order_of_urgency() {
    let rig = Rig::new(1, 8);
    let first = rig.request(Final, 1);
    rig.expect(Event::Started(1));
    let interim = rig.request(Interim, 2);
    let speculative = rig.request(Speculative, 3);
    let last = rig.request(Final, 4);
    for stream in [1, 4, 3, 2] {
        rig.release(stream);
    }
    for stream in [4, 3, 2] {
        rig.expect(Event::Started(stream));
    }
    for (answer, stream) in [(first, 1), (interim, 2), (speculative, 3), (last, 4)] {
        rig.ends(answer, Ok(stream));
    }
}

#[test]
fn the_latest_waiting_interim_of_a_stream_wins() {
    let rig = Rig::new(1, 8);
    let _busy = rig.request(Final, 1);
    rig.expect(Event::Started(1));
    let (older, other, newer) = (rig.request(Interim, 2), rig.request(Interim, 3), rig.request(Interim, 2));
    rig.ends(older, Err(TranscribeError::Superseded));
    for stream in [1, 2, 3] {
        rig.release(stream);
    }
    rig.ends(newer, Ok(2));
    rig.ends(other, Ok(3));
}

#[test]
fn an_urgent_request_takes_the_worker_of_an_interim() {
    for urgent in [Final, Speculative] {
        let rig = Rig::new(2, 8);
        let kept = rig.request(Interim, 1);
        rig.expect(Event::Started(1));
        let given_up = rig.request(Interim, 2);
        rig.expect(Event::Started(2));
        let answer = rig.request(urgent, 3);
        rig.expect(Event::Aborted(2));
        rig.expect(Event::Started(3));
        rig.ends(given_up, Err(TranscribeError::Superseded));
        rig.release(3);
        rig.ends(answer, Ok(3));
        // The other worker was not disturbed: one was enough.
        rig.release(1);
        rig.ends(kept, Ok(1));
    }
}

#[test]
fn an_urgent_request_ends_the_interim_of_its_stream_even_where_a_worker_is_free() {
    let rig = Rig::new(2, 8);
    let stale = rig.request(Interim, 1);
    rig.expect(Event::Started(1));
    let _answer = rig.request(Final, 1);
    rig.ends(stale, Err(TranscribeError::Superseded));
}

#[test]
fn an_interim_disturbs_nobody() {
    let rig = Rig::new(1, 8);
    let running = rig.request(Interim, 1);
    rig.expect(Event::Started(1));
    let waiting = rig.request(Interim, 2);
    rig.release(1);
    rig.ends(running, Ok(1));
    rig.release(2);
    rig.ends(waiting, Ok(2));
}

#[test]
fn dropping_the_stream_cancels_queued_and_running() {
    let rig = Rig::new(1, 8);
    let running = rig.request(Final, 1);
    rig.expect(Event::Started(1));
    drop(rig.request(Final, 2));
    let next = rig.request(Final, 3);
    drop(running);
    rig.expect(Event::Aborted(1));
    // Stream 2 never starts.
    rig.expect(Event::Started(3));
    rig.release(3);
    rig.ends(next, Ok(3));
}

#[test]
fn refuses_at_the_limit_and_lets_finals_take_the_place_of_others() {
    let rig = Rig::new(1, 2);
    let _busy = rig.request(Final, 1);
    rig.expect(Event::Started(1));
    let interim = rig.request(Interim, 2);
    let speculative = rig.request(Speculative, 3);
    let overloaded = || Err(TranscribeError::Overloaded { waiting: 2, workers: 1 });
    rig.ends(rig.request(Interim, 4), overloaded());
    let (first, second) = (rig.request(Final, 5), rig.request(Final, 6));
    rig.ends(interim, overloaded());
    rig.ends(speculative, overloaded());
    rig.ends(rig.request(Final, 7), overloaded());
    for stream in [1, 5, 6] {
        rig.release(stream);
    }
    rig.ends(first, Ok(5));
    rig.ends(second, Ok(6));
}

#[test]
fn a_panic_fails_one_request_and_the_worker_goes_on() {
    let rig = Rig::new(1, 8);
    rig.ends(
        rig.request(Final, 666),
        Err(TranscribeError::Failed("internal error of the recogniser".into())),
    );
    rig.release(1);
    rig.ends(rig.request(Final, 1), Ok(1));
}

#[test]
fn dropping_the_pool_ends_everything() {
    let rig = Rig::new(1, 8);
    let running = rig.request(Final, 1);
    rig.expect(Event::Started(1));
    let waiting = rig.request(Final, 2);
    let Rig { pool, runtime, .. } = rig;
    drop(pool);
    for answer in [running, waiting] {
        let events: Vec<_> = runtime.block_on(answer.collect());
        assert_eq!(events, [Err(TranscribeError::Failed("the recogniser was shut down".into()))]);
    }
}

#[test]
fn a_busy_stream_does_not_starve_others() {
    let rig = Rig::new(1, 64);
    let _busy = rig.request(Final, 0);
    rig.expect(Event::Started(0));
    let flood: Vec<_> = (0..10).map(|_| rig.request(Final, 1)).collect();
    let single = rig.request(Final, 2);
    for stream in [0, 1, 2] {
        rig.release(stream);
    }
    for stream in [1, 2, 1] {
        rig.expect(Event::Started(stream));
    }
    rig.ends(single, Ok(2));
    for answer in flood {
        rig.ends(answer, Ok(1));
    }
}

#[test]
fn says_what_is_wrong_with_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, content: Option<&[u8]>, expected: &str| {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let error = InferencePool::load(&path, PoolConfig::default()).err().expect("not a model").to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    };
    check("missing.bin", None, "models fetch");
    check("empty.bin", Some(b""), "models verify");
    check("page.bin", Some(b"<html>404 not found</html>"), "models verify");
    check("header-only.bin", Some(b"lmgg"), "models verify");
    let mut cut = b"lmgg".to_vec();
    for field in [51864i32, 1500, 512, 8, 6, 448, 512, 8, 6, 80, 1] {
        cut.extend(field.to_le_bytes());
    }
    check("cut-short.bin", Some(&cut), "models verify");
}

#[test]
fn more_threads_than_cores_where_there_are_barriers() {
    for cores in 1..=64 {
        let config = PoolConfig::for_cores(NonZeroUsize::new(cores).unwrap());
        let threads = config.workers.get() * config.threads_per_worker.get();
        assert!(config.threads_per_worker.get() == 1 || threads > cores, "{cores}: {config:?}");
    }
}
