//! One engine for a row of the bench, and clients that hold conversations with it over real WebSockets.
//!
//! Real: server, sessions, ear, prompt, chat client. In place of the real: the recogniser, which gives each turn a numbered
//! question after a set time, and the detector, which measures loudness. Not here: what is done with the times.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use client::{ClientConfig, Pacer, Sender, connect};
use engine::{
    Engine,
    config::{SessionConfig, SessionLimits},
    ports::{
        CandidateContext,
        memory::{MonthlyLimits, MonthlyMeter, NoAuth, OneCandidate, RecentSessions},
    },
    registry::Registry,
};
use futures_util::{StreamExt as _, stream, stream::BoxStream};
use models::{
    chat::{AnswerCache, Cached, Fallback, Link, OpenAiChat, OpenAiChatConfig},
    speech::{TranscribeError, TranscribeRequest, Transcriber, Transcript, TranscriptEvent},
    vad::VoiceActivityDetector,
};
use protocol::{AudioFormat, ClientMessage, Codec, Role, ServerMessage, StartStream, Variant};
use tokio::{net::TcpListener, runtime::Handle};
use tokio_util::sync::CancellationToken;

use crate::upstream::{Tokens, Upstream, ms_between, now_us, question, question_number};

/// An engine that serves, on a runtime of its own.
pub(crate) struct Host {
    pub(crate) url: String,
    pub(crate) scribe: Arc<Scribe>,
    stop: CancellationToken,
}

impl Host {
    /// An engine on `runtime` that asks `upstream`.
    pub(crate) async fn start(
        runtime: &Handle,
        upstream: &Upstream,
        eager: bool,
        variants: Vec<Variant>,
    ) -> Self {
        let mut chat = OpenAiChatConfig::new("fake");
        chat.base_url = format!("http://{}/v1", upstream.address);
        // As the program puts it together. No question comes twice, so nothing comes from the cache.
        let chat = OpenAiChat::new(chat).expect("a loopback address is valid");
        let chat = Cached::new(chat, "fake", AnswerCache::new(CACHE_BYTES, CACHE_AGE));
        let chat = Fallback::new(Link::new(Arc::new(chat)), [], RESTS);
        let scribe = Arc::new(Scribe::default());
        let limits = SessionLimits { max_sessions: MAX_SESSIONS, ..SessionLimits::default() };
        let cv = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/samples/cv.txt"));
        let candidate = CandidateContext { cv: cv.expect("the sample CV"), ..CandidateContext::default() };
        let engine = Engine {
            limits,
            defaults: SessionConfig { eager, variants, ..SessionConfig::default() },
            vad: Arc::new(|| Box::new(Loudness)),
            transcriber: Arc::clone(&scribe) as Arc<dyn Transcriber>,
            chat: Arc::new(chat),
            authorizer: Arc::new(NoAuth),
            context: Arc::new(OneCandidate(candidate)),
            recorder: Arc::new(RecentSessions::default()),
            meter: Arc::new(MonthlyMeter::new(MonthlyLimits::default())),
            memories: engine::memory::Memories::default(),
            resumables: engine::resume::Resumables::default(),
            journals: None,
            registry: Registry::new(limits.max_sessions),
            writers: tokio_util::task::TaskTracker::new(),
        };
        let stop = CancellationToken::new();
        let (engine, stopped) = (Arc::new(engine), stop.clone());
        // Bound there: a socket belongs to the runtime whose reactor watches it.
        let bound = runtime.spawn(async move {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback has a free port");
            let address = listener.local_addr().expect("a bound socket has an address");
            tokio::spawn(engine::server::serve(engine, listener, Arc::from([]), stopped));
            address
        });
        let address = bound.await.expect("binding does not panic");
        Self { url: format!("ws://{address}{}", protocol::AUDIO_PATH), scribe, stop }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Writes every turn down as the next question, and remembers when it handed each over.
#[derive(Default)]
pub(crate) struct Scribe {
    last: AtomicU64,
    handed_us: Arc<Mutex<HashMap<u64, u64>>>,
}

impl Scribe {
    /// When the text of question `id` was handed over.
    pub(crate) fn handed_us(&self, id: u64) -> Option<u64> {
        self.handed_us.lock().expect("nothing under this lock panics").get(&id).copied()
    }
}

impl Transcriber for Scribe {
    fn transcribe(
        &self,
        _: TranscribeRequest,
    ) -> BoxStream<'static, Result<TranscriptEvent, TranscribeError>> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let handed = Arc::clone(&self.handed_us);
        let text = async move {
            tokio::time::sleep(WRITING_DOWN).await;
            let transcript = Transcript::scripted(&question(id));
            handed.lock().expect("nothing under this lock panics").insert(id, now_us());
            Ok(TranscriptEvent::Final(transcript))
        };
        stream::once(text).boxed()
    }
}

/// Anything louder than −40 dB is speech.
struct Loudness;

impl VoiceActivityDetector for Loudness {
    fn classify(&mut self, frame: &[f32]) -> f32 {
        let mean = frame.iter().map(|sample| sample.abs()).sum::<f32>() / frame.len() as f32;
        f32::from(u8::from(mean > 0.01))
    }

    fn reset(&mut self) {}
}

/// What a client says, in real time.
#[derive(Clone, Copy)]
pub(crate) struct Script {
    pub(crate) questions: usize,
    /// Silence after each question.
    pub(crate) pause: Duration,
    /// Wait before the first.
    pub(crate) offset: Duration,
}

/// One question as its client saw it.
pub(crate) struct Asked {
    pub(crate) id: u64,
    /// The last of its speech left the client.
    pub(crate) speech_end_us: u64,
    /// The first text of its preferred answer.
    pub(crate) first_text_us: Option<u64>,
}

/// What one client got.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) asked: Vec<Asked>,
    /// Age of each token when its `answer_delta` had been parsed, in milliseconds.
    pub(crate) token_ms: Vec<f64>,
    /// Whole answers.
    pub(crate) answers: usize,
    /// What the server complained of.
    pub(crate) complaints: Vec<String>,
}

/// Holds one conversation with the server at `url`, from handshake to goodbye.
pub(crate) async fn converse(url: String, script: Script) -> Heard {
    let (mut sender, mut events) = connect(&ClientConfig::new(url)).await.expect("the server accepts");
    let audio = AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Interviewer);
    let start = StartStream { session_id: None, audio, config: None, resume: None };
    sender.start(start).await.expect("the session opens");
    let speech_end_us = Arc::new(AtomicU64::new(0));
    let speaking = tokio::spawn(speak(sender, script, Arc::clone(&speech_end_us)));

    let mut heard = Heard::default();
    let mut answers: HashMap<u64, Tokens> = HashMap::new();
    let mut preferred = HashMap::new();
    while let Some(event) = events.next().await {
        match event.expect("the connection holds").message {
            ServerMessage::AnswerStarted { answer_id, question, .. } => {
                answers.insert(answer_id, Tokens::default());
                let Some(id) = question_number(&question) else { continue };
                // The first answer of a question is of the preferred variant.
                if heard.asked.iter().all(|asked| asked.id != id) {
                    preferred.insert(answer_id, heard.asked.len());
                    let speech_end_us = speech_end_us.load(Ordering::Relaxed);
                    heard.asked.push(Asked { id, speech_end_us, first_text_us: None });
                }
            }
            ServerMessage::AnswerDelta { answer_id, text, .. } => {
                answers.entry(answer_id).or_default().ages(&text, &mut heard.token_ms);
                if let Some(asked) = preferred.remove(&answer_id) {
                    heard.asked[asked].first_text_us = Some(now_us());
                }
            }
            ServerMessage::Answer(_) => heard.answers += 1,
            ServerMessage::Error { message, .. } | ServerMessage::Warning { message, .. } => {
                heard.complaints.push(message);
            }
            _ => {}
        }
    }
    speaking.await.expect("speaking does not panic");
    heard
}

/// Sends 20 ms of audio every 20 ms, as a microphone does.
async fn speak(mut sender: Sender, script: Script, speech_end_us: Arc<AtomicU64>) {
    tokio::time::sleep(script.offset).await;
    let speech: Vec<u8> =
        (0..320).flat_map(|n| if n % 8 < 4 { 8_000i16 } else { -8_000 }.to_le_bytes()).collect();
    let silence = vec![0; speech.len()];
    let mut pacer = Pacer::new(1.0).expect("a sensible speed");
    let mut said = Duration::ZERO;
    pacer.wait(said).await;
    for _ in 0..script.questions {
        for (chunk, length) in [(&speech, QUESTION), (&silence, script.pause)] {
            for _ in 0..length.as_millis() / CHUNK.as_millis() {
                said += CHUNK;
                pacer.wait(said).await;
                sender.audio(chunk).await.expect("the session is open");
            }
            if chunk == &speech {
                speech_end_us.store(now_us(), Ordering::Relaxed);
            }
        }
    }
    sender.send(&ClientMessage::EndStream {}).await.expect("the session is open");
}

/// Milliseconds from the text of each question to its request, those over a new connection apart: `(warm, cold)`.
pub(crate) fn request_ms(heard: &[Heard], scribe: &Scribe, upstream: &Upstream) -> (Vec<f64>, Vec<f64>) {
    let (mut warm, mut cold) = (Vec::new(), Vec::new());
    for asked in heard.iter().flat_map(|heard| &heard.asked) {
        if let (Some(text_us), Some(arrival)) = (scribe.handed_us(asked.id), upstream.arrival(asked.id)) {
            let ms = ms_between(text_us, arrival.at_us);
            if arrival.cold { &mut cold } else { &mut warm }.push(ms);
        }
    }
    (warm, cold)
}

/// The length of a question, too short for interim passes.
pub(crate) const QUESTION: Duration = Duration::from_millis(500);
/// How long the recogniser takes for every pass.
pub(crate) const WRITING_DOWN: Duration = Duration::from_millis(150);
const CHUNK: Duration = Duration::from_millis(20);
const MAX_SESSIONS: usize = 1_000;
// As by default.
const CACHE_BYTES: u64 = 16 << 20;
const CACHE_AGE: Duration = Duration::from_secs(7_200);
const RESTS: Duration = Duration::from_secs(30);
