//! Two transcribers: the second writes down what the first cannot, until the first is well again.
//!
//! Not here: the transcribers' own retries.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use futures_util::{StreamExt, stream, stream::BoxStream};
use tokio::time::{Instant, timeout};

use super::{
    Priority, TranscribeError, TranscribeRequest, Transcriber, TranscriptEvent,
    started::{Event, at_once, started},
};

/// When the second takes over, and when the first is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FallbackConfig {
    /// From a request to the first transcriber's text; later the second is asked. Interim requests may take longer: they
    /// give way to others. Default: 10 s.
    pub patience: Duration,
    /// How long the first rests after a failure. Then one request probes it. Default: 30 s.
    pub cool_down: Duration,
}

impl Default for FallbackConfig {
    fn default() -> Self {
        Self { patience: Duration::from_secs(10), cool_down: Duration::from_secs(30) }
    }
}

/// Asks the first transcriber, and where that fails or is late, at once the second. Needs a tokio runtime to be called in.
///
/// After a failure the first rests: all requests go to the second, until one, after the cool-down, probes the first. Each
/// switch is reported once, as a warning (`speech_fallback`, `speech_restored`) to the next speculative or final
/// request that gets its text, whoever made it.
///
/// No failure are: [`TranscribeError::Superseded`], [`TranscribeError::NotServed`], and
/// [`TranscribeError::Overloaded`] of anything but a final. They are passed on.
///
/// A guess becomes the final text, so only who writes finals may guess. Interim text is shown for a moment only, so
/// the second writes it where the first does not: local interims before remote finals.
pub struct Fallback {
    shared: Arc<Shared>,
}

struct Shared {
    first: Arc<dyn Transcriber>,
    second: Arc<dyn Transcriber>,
    config: FallbackConfig,
    state: Mutex<State>,
}

struct State {
    health: Health,
    /// Switches that nobody was told of yet, oldest first; at most [`MOST_NEWS`].
    news: VecDeque<TranscriptEvent>,
}

/// Of the first transcriber.
#[derive(Clone, Copy)]
enum Health {
    Well,
    /// Not asked until then.
    Resting(Instant),
    /// One request is trying it.
    Probed,
}

/// Who serves a request.
enum Route {
    First(Option<Probe>),
    Second,
    Nobody,
}

impl Fallback {
    /// `first`, and `second` in its place when it fails.
    pub fn new(first: Arc<dyn Transcriber>, second: Arc<dyn Transcriber>, config: FallbackConfig) -> Self {
        metrics::describe_counter!(
            "speech_switches_total",
            "Switches to the second transcriber and back to the first"
        );
        let state = Mutex::new(State { health: Health::Well, news: VecDeque::new() });
        Self { shared: Arc::new(Shared { first, second, config, state }) }
    }
}

impl Transcriber for Fallback {
    fn serves(&self, priority: Priority) -> bool {
        let health = self.shared.lock().health;
        match health {
            Health::Well => {
                self.shared.first.serves(priority)
                    || (priority == Priority::Interim && self.shared.second.serves(priority))
            }
            Health::Resting(_) | Health::Probed => self.shared.second.serves(priority),
        }
    }

    /// Of the first: the second is for emergencies.
    fn capacity(&self) -> Option<usize> {
        self.shared.first.capacity()
    }

    /// Whichever of the two has the guess.
    fn confirm(&self, stream: u64) {
        self.shared.first.confirm(stream);
        self.shared.second.confirm(stream);
    }

    /// # Panics
    /// Outside a tokio runtime.
    fn transcribe(&self, request: TranscribeRequest) -> BoxStream<'static, Event> {
        let (shared, priority) = (Arc::clone(&self.shared), request.priority);
        let events = match shared.route(priority) {
            Route::Nobody => {
                return at_once(Err(TranscribeError::NotServed("neither transcriber takes it now")));
            }
            Route::Second => shared.second.transcribe(request),
            Route::First(probe) => {
                let first = shared.first.transcribe(request.clone());
                started(Arc::clone(&shared).ask(request, first, probe))
            }
        };
        if priority == Priority::Interim {
            // Its warnings are not shown.
            return events;
        }
        // With the text, so that the request that caused the switch tells of it; an error may be followed by another
        // try, and its warnings be forgotten.
        let last = |event: &Event| matches!(event, Ok(TranscriptEvent::Final(_)));
        events
            .flat_map(move |event| {
                let news = if last(&event) { shared.take_news() } else { VecDeque::new() };
                stream::iter(news.into_iter().map(Ok).chain([event]))
            })
            .boxed()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing under this lock panics")
    }

    fn take_news(&self) -> VecDeque<TranscriptEvent> {
        std::mem::take(&mut self.lock().news)
    }

    fn route(self: &Arc<Self>, priority: Priority) -> Route {
        let (by_first, by_second) = (self.first.serves(priority), self.second.serves(priority));
        let mut state = self.lock();
        match state.health {
            Health::Well if by_first => return Route::First(None),
            Health::Well if priority != Priority::Interim => return Route::Nobody,
            // An interim request often ends without saying anything about the transcriber.
            Health::Resting(until)
                if until <= Instant::now() && by_first && priority != Priority::Interim =>
            {
                state.health = Health::Probed;
                return Route::First(Some(Probe { shared: Arc::clone(self) }));
            }
            _ => {}
        }
        if by_second { Route::Second } else { Route::Nobody }
    }

    /// What the first makes of `request`, or else the second.
    async fn ask(
        self: Arc<Self>,
        request: TranscribeRequest,
        first: BoxStream<'static, Event>,
        probe: Option<Probe>,
    ) -> Vec<Event> {
        let first = first.collect::<Vec<_>>();
        let events = if request.priority == Priority::Interim {
            first.await
        } else {
            let patience = self.config.patience;
            timeout(patience, first).await.unwrap_or_else(|_| {
                vec![Err(TranscribeError::Failed(format!("no text within {} ms", patience.as_millis())))]
            })
        };
        let failure = match events.last() {
            Some(Ok(TranscriptEvent::Final(_))) => {
                if let Some(probe) = probe {
                    probe.succeeded();
                }
                return events;
            }
            Some(Err(error)) if !is_failure(error, request.priority) => return events,
            Some(Err(error)) => error.to_string(),
            _ => "it ended without a text".to_owned(),
        };
        self.failed(probe, &failure);
        if !self.second.serves(request.priority) {
            return events;
        }
        // What the first lost time with is urgent now, and may have been confirmed meanwhile.
        let priority = match request.priority {
            Priority::Speculative => Priority::Final,
            other => other,
        };
        self.second.transcribe(TranscribeRequest { priority, ..request }).collect().await
    }

    /// The first did not do its work.
    fn failed(&self, probe: Option<Probe>, why: &str) {
        let mut state = self.lock();
        let until = Instant::now() + self.config.cool_down;
        let switched = matches!(state.health, Health::Well);
        // Others that were under way may fail after the first that did: it rests no longer for that.
        if switched || probe.is_some() {
            state.health = Health::Resting(until);
        }
        if switched {
            let seconds = self.config.cool_down.as_secs();
            state.switch("second", "speech_fallback", format!(
                "{why}; another recogniser writes for now, and the usual one is tried again after {seconds} s"
            ));
        }
        drop(state);
        // After the lock, which it takes too.
        drop(probe);
    }
}

impl State {
    fn switch(&mut self, to: &'static str, code: &'static str, message: String) {
        metrics::counter!("speech_switches_total", "to" => to).increment(1);
        tracing::warn!(to, "speech recognition switched");
        if self.news.len() == MOST_NEWS {
            self.news.pop_front();
        }
        self.news.push_back(TranscriptEvent::Warning { code, message });
    }
}

/// The one request that tries the first again. Dropped without a verdict, it leaves that to the next request.
struct Probe {
    shared: Arc<Shared>,
}

impl Probe {
    fn succeeded(self) {
        let mut state = self.shared.lock();
        state.health = Health::Well;
        state.switch("first", "speech_restored", "the usual recogniser writes down again".to_owned());
        // `self` is dropped after `state`, whose lock it takes too.
        drop(state);
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if matches!(state.health, Health::Probed) {
            state.health = Health::Resting(Instant::now());
        }
    }
}

/// Whether `error` says that the transcriber does not do its work.
fn is_failure(error: &TranscribeError, priority: Priority) -> bool {
    match error {
        TranscribeError::Failed(_) => true,
        // What is less urgent gives way to finals; where those find no place, the machine is too small.
        TranscribeError::Overloaded { .. } => priority == Priority::Final,
        TranscribeError::Superseded | TranscribeError::NotServed(_) => false,
    }
}

/// A switch and its return; older ones are of no interest any more.
const MOST_NEWS: usize = 2;
