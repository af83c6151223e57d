//! Speech recognition by any server that speaks OpenAI's `POST /audio/transcriptions`, by `async-openai`.
//!
//! What the library leaves open is settled here: how much may be under way, what is worth its money, time-outs and
//! retries (`exchange`), and what an answer with fields left out means (`reading`). Not here: the reading of the
//! environment, and what to do when the server is away ([`Fallback`](super::Fallback)).

mod allowance;
mod config;
mod exchange;
mod reading;
mod upload;

pub use self::config::{OpenAiSpeechConfig, UploadFormat};

use std::sync::Arc;

use async_openai::Client;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout},
};

use self::{allowance::Allowance, upload::Upload};
use super::{
    Priority, ProviderConfigError, TranscribeError, TranscribeRequest, Transcriber, Transcript,
    TranscriptEvent,
    started::{Event, at_once, started},
};
use crate::provider::Endpoint;

/// Sends speech to a server. Connections are kept open between requests. Needs a tokio runtime to be called in.
///
/// Words have the times that the server gives them; where it gives none, those of the segment they are in, shared out by
/// length of writing; where there are no segments either, those of the whole audio. Confidence is the probability of the
/// word or of its segment; a server that reports none gets 0.5 for every word.
///
/// Audio shorter than 0.1 s, which servers refuse, has no words and is not sent; longer than 64 s is refused.
pub struct OpenAiTranscriber {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<OpenAiSpeechConfig>,
    endpoint: Endpoint,
    http: reqwest::Client,
    /// For requests under way and waiting.
    places: Arc<Semaphore>,
    /// For requests under way, first come, first served.
    slots: Semaphore,
    /// Of those, what interims and guesses may take: a final finds the rest free of them.
    unconfirmed: Semaphore,
    guesses: Allowance,
}

impl OpenAiTranscriber {
    /// Checks the configuration; contacts nobody.
    ///
    /// # Errors
    /// What is wrong with the configuration, see [`ProviderConfigError`].
    pub fn new(config: OpenAiSpeechConfig) -> Result<Self, ProviderConfigError> {
        if config.model.trim().is_empty() {
            return Err(ProviderConfigError::Model);
        }
        describe_metrics();
        let endpoint = Endpoint::new(&config.access())?;
        let http = endpoint.http_client(config.connect_timeout)?;
        let concurrent = config.max_concurrent.max(1);
        let shared = Shared {
            endpoint,
            http,
            places: Arc::new(Semaphore::new(concurrent + config.max_waiting)),
            slots: Semaphore::new(concurrent),
            unconfirmed: Semaphore::new(concurrent.div_ceil(2)),
            guesses: Allowance::new(config.max_speculative_requests_per_minute.min(MOST_GUESSES)),
            config: Arc::new(config),
        };
        Ok(Self { shared: Arc::new(shared) })
    }
}

impl Transcriber for OpenAiTranscriber {
    /// Interim requests only where configured, speculative ones while the minute's allowance lasts.
    fn serves(&self, priority: Priority) -> bool {
        match priority {
            Priority::Interim => self.shared.config.interims,
            Priority::Speculative => self.shared.guesses.has_room(),
            Priority::Final => true,
        }
    }

    /// Dropping the stream closes the connection, which is how servers learn that nobody listens any more.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    fn transcribe(&self, request: TranscribeRequest) -> BoxStream<'static, Event> {
        let priority = label(request.priority);
        let place = match self.shared.admit(&request) {
            Ok(place) => place,
            Err(error) => {
                count(priority, "refused");
                return at_once(Err(error));
            }
        };
        let shared = Arc::clone(&self.shared);
        started(async move {
            let _place = place;
            let began = Instant::now();
            let result = shared.transcript(&request).await;
            count(priority, if result.is_ok() { "done" } else { "failed" });
            metrics::histogram!("speech_remote_seconds", "priority" => priority).record(began.elapsed());
            vec![result.map(TranscriptEvent::Final)]
        })
    }
}

impl Shared {
    /// A place among the requests under way and waiting.
    fn admit(&self, request: &TranscribeRequest) -> Result<OwnedSemaphorePermit, TranscribeError> {
        if request.priority == Priority::Interim && !self.config.interims {
            return Err(TranscribeError::NotServed("interim text is not asked of a remote server"));
        }
        let seconds = request.audio.len() / SAMPLES_PER_SECOND;
        if seconds > LONGEST_SECONDS {
            let why = format!("{seconds} s of audio; at most {LONGEST_SECONDS} s are sent at once");
            return Err(TranscribeError::Failed(why));
        }
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            let workers = self.config.max_concurrent.max(1);
            return Err(TranscribeError::Overloaded { waiting: self.config.max_waiting, workers });
        };
        if request.priority == Priority::Speculative && !self.guesses.take() {
            return Err(TranscribeError::NotServed("this minute's allowance of guesses is used up"));
        }
        Ok(place)
    }

    async fn transcript(
        self: &Arc<Self>,
        request: &TranscribeRequest,
    ) -> Result<Transcript, TranscribeError> {
        if request.audio.len() < SHORTEST {
            return Ok(reading::nothing(request));
        }
        let _unconfirmed = match request.priority {
            Priority::Final => None,
            // Rather none than one that comes late.
            Priority::Interim | Priority::Speculative => match self.unconfirmed.try_acquire() {
                Ok(permit) => Some(permit),
                Err(_) => return Err(TranscribeError::Superseded),
            },
        };
        let asked = timeout(self.config.total_timeout, self.ask(request)).await;
        let answer = asked.unwrap_or_else(|_| {
            Err(format!("there was no text within {} ms", self.config.total_timeout.as_millis()))
        });
        answer.and_then(|answer| reading::transcript(&answer, request)).map_err(|why| {
            let prompt = upload::prompt(&request.vocabulary);
            let terms = request.vocabulary.iter().map(String::as_str);
            TranscribeError::Failed(
                self.config.censor(prompt.as_deref().into_iter().chain(terms).collect()).apply(why),
            )
        })
    }

    /// The server's answer.
    async fn ask(self: &Arc<Self>, request: &TranscribeRequest) -> Result<Value, String> {
        let _slot = self.slots.acquire().await.expect("it is never closed");
        let (config, copy) = (Arc::clone(&self.config), request.clone());
        let upload = spawn_blocking(move || Upload::new(&config, &copy));
        let upload = upload.await.map_err(|_| "the audio could not be encoded".to_owned())??;
        let service = exchange::service(self.http.clone(), Arc::clone(&self.config));
        let client = Client::build(self.http.clone(), self.endpoint.clone()).with_http_service(service);
        client.audio().transcription().create_byot(upload).await.map_err(exchange::explain)
    }
}

fn count(priority: &'static str, outcome: &'static str) {
    let labels = [("priority", priority), ("outcome", outcome)];
    metrics::counter!("speech_remote_requests_total", &labels).increment(1);
}

fn label(priority: Priority) -> &'static str {
    match priority {
        Priority::Interim => "interim",
        Priority::Speculative => "speculative",
        Priority::Final => "final",
    }
}

fn describe_metrics() {
    metrics::describe_counter!(
        "speech_remote_requests_total",
        "Requests to the transcription server that came to an end, by priority and outcome"
    );
    metrics::describe_counter!("speech_remote_retries_total", "Further tries of such requests");
    metrics::describe_histogram!(
        "speech_remote_seconds",
        metrics::Unit::Seconds,
        "From the request to its text or error, waiting and retries included"
    );
}

const SAMPLES_PER_SECOND: usize = 16_000;

/// OpenAI refuses less, and nobody says a word in it.
const SHORTEST: usize = SAMPLES_PER_SECOND / 10;

/// A turn has 60 s at most, and some lead-in and tail.
const LONGEST_SECONDS: usize = 64;

/// A bound of the memory that counting takes.
const MOST_GUESSES: usize = 600;
