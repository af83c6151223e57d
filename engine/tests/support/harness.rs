//! A session over the memory transport, with scripted models and a loudness meter for a detector.

use std::{sync::Arc, time::Duration};

use engine::{
    Engine,
    config::{SessionConfig, SessionLimits},
    pipeline,
    ports::{
        Access, CandidateContext, ContextProvider, Journals, Principal, SessionRecorder, UsageMeter,
        memory::{MonthlyLimits, MonthlyMeter, NoAuth, OneCandidate, RecentSessions},
    },
    registry::Registry,
    transport::memory::{self, ClientSender, MemoryClient},
};
use models::{
    chat::{ChatModel, ScriptedChat, ScriptedDelta},
    speech::{ScriptedTranscriber, Transcriber, Transcript, Word},
    vad::VoiceActivityDetector,
};
use protocol::{
    AudioFormat, ClientMessage, CloseCode, Codec, ConfigUpdate, Framing, Role, ServerEvent, ServerMessage,
    StartStream,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Anything louder than −40 dB is speech.
pub(crate) struct Loudness;

impl VoiceActivityDetector for Loudness {
    fn classify(&mut self, frame: &[f32]) -> f32 {
        let mean = frame.iter().map(|sample| sample.abs()).sum::<f32>() / frame.len() as f32;
        f32::from(u8::from(mean > 0.01))
    }

    fn reset(&mut self) {}
}

/// `ms` of something loud, as 16 kHz PCM.
pub(crate) fn speech(ms: usize) -> Vec<u8> {
    (0..ms * 16).flat_map(|n| if n % 8 < 4 { 8_000i16 } else { -8_000 }.to_le_bytes()).collect()
}

/// `ms` of nothing, as 16 kHz PCM.
pub(crate) fn silence(ms: usize) -> Vec<u8> {
    vec![0; ms * 32]
}

/// A text as a model would give it.
pub(crate) fn transcript(text: &str) -> Transcript {
    let words = text.split_whitespace().zip(0u32..).map(|(word, n)| Word {
        text: word.to_owned(),
        start_ms: n * 100,
        end_ms: n * 100 + 80,
        confidence: 0.9,
    });
    Transcript { text: text.to_owned(), language: "en".to_owned(), confidence: 0.9, words: words.collect() }
}

/// A chat model that says each of `words`, 10 ms apart.
pub(crate) fn chat(words: &[&str]) -> ScriptedChat {
    let steps = words.iter().flat_map(|word| {
        [ScriptedDelta::Wait(Duration::from_millis(10)), ScriptedDelta::Text((*word).to_owned())]
    });
    ScriptedChat::new(steps.collect::<Vec<_>>())
}

/// What a session is made of; change what a test is about.
pub(crate) struct Setup {
    pub(crate) limits: SessionLimits,
    pub(crate) defaults: SessionConfig,
    pub(crate) transcriber: Arc<dyn Transcriber>,
    pub(crate) chat: Arc<dyn ChatModel>,
    pub(crate) context: Arc<dyn ContextProvider>,
    pub(crate) recorder: Arc<dyn SessionRecorder>,
    pub(crate) meter: Arc<dyn UsageMeter>,
    pub(crate) journals: Option<Arc<dyn Journals>>,
}

impl Setup {
    /// Every turn is `text`, written down in 50 ms, and answered "One two."
    pub(crate) fn hearing(text: &str) -> Self {
        let transcript = transcript(text);
        Self::with(ScriptedTranscriber::new(move |_| (Duration::from_millis(50), Ok(transcript.clone()))))
    }

    /// As [`hearing`](Self::hearing), by another transcriber.
    pub(crate) fn with(transcriber: ScriptedTranscriber) -> Self {
        let context = CandidateContext { cv: "Ada\nBuilt engines".to_owned(), ..CandidateContext::default() };
        Self {
            limits: SessionLimits::default(),
            defaults: SessionConfig { interim_results: false, ..SessionConfig::default() },
            transcriber: Arc::new(transcriber),
            chat: Arc::new(chat(&["One", " two."])),
            context: Arc::new(OneCandidate(context)),
            recorder: Arc::new(RecentSessions::default()),
            meter: Arc::new(MonthlyMeter::new(MonthlyLimits::default())),
            journals: None,
        }
    }

    pub(crate) fn engine(self) -> Arc<Engine> {
        Arc::new(Engine {
            limits: self.limits,
            defaults: self.defaults,
            vad: Arc::new(|| Box::new(Loudness)),
            transcriber: self.transcriber,
            chat: self.chat,
            authorizer: Arc::new(NoAuth),
            context: self.context,
            recorder: self.recorder,
            meter: self.meter,
            memories: engine::memory::Memories::default(),
            resumables: engine::resume::Resumables::default(),
            journals: self.journals,
            registry: Registry::new(self.limits.max_sessions).per_user(self.limits.max_per_user),
            writers: tokio_util::task::TaskTracker::new(),
        })
    }

    /// Opens a connection; nothing is sent yet.
    pub(crate) fn connect(self) -> Conversation {
        Conversation::new(self.engine())
    }

    /// Opens a session of one mixed channel of PCM.
    pub(crate) async fn start(self) -> Conversation {
        let mut conversation = self.connect();
        conversation.send(start_message()).await;
        conversation.wait_for(|message| matches!(message, ServerMessage::StreamStarted { .. })).await;
        conversation
    }
}

/// `start_stream` for one mixed channel of 16 kHz PCM.
pub(crate) fn start_message() -> ClientMessage {
    start_with(|_| {})
}

/// [`start_message`], changed.
pub(crate) fn start_with(change: impl FnOnce(&mut StartStream)) -> ClientMessage {
    let audio = AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Mixed);
    let mut start = StartStream { session_id: Some("test".to_owned()), audio, config: None, resume: None };
    change(&mut start);
    ClientMessage::StartStream(Box::new(start))
}

/// `start_stream` for an interviewer and a candidate on numbered channels.
pub(crate) fn two_voices() -> ClientMessage {
    start_with(|start| {
        start.audio.roles = vec![Role::Interviewer, Role::Candidate];
        start.audio.framing = Framing::Numbered;
    })
}

/// `update_config` from JSON.
pub(crate) fn config(json: &str) -> ClientMessage {
    let config: ConfigUpdate = serde_json::from_str(json).expect("the test's config is of the protocol");
    ClientMessage::UpdateConfig { config }
}

/// One connection, from the client's side.
pub(crate) struct Conversation {
    pub(crate) client: MemoryClient,
    pub(crate) sender: ClientSender,
    pub(crate) stop: CancellationToken,
    /// Everything received so far.
    pub(crate) events: Vec<ServerEvent>,
    pub(crate) session: JoinHandle<()>,
}

impl Conversation {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self::of_user(engine, "ada")
    }

    pub(crate) fn of_user(engine: Arc<Engine>, user: &str) -> Self {
        Self::with_access(engine, Principal { user: user.to_owned() }.into())
    }

    pub(crate) fn with_access(engine: Arc<Engine>, access: Access) -> Self {
        let (receive, transmit, client) = memory::pair();
        let stop = CancellationToken::new();
        let session =
            tokio::spawn(pipeline::serve_in_memory(engine, access, receive, transmit, stop.clone()));
        Self { sender: client.sender(), client, stop, events: Vec::new(), session }
    }

    pub(crate) async fn send(&self, message: ClientMessage) {
        self.sender.send(&message).await.expect("the session is open");
    }

    /// Sends audio in pieces of 20 ms, in real time on the test's clock.
    pub(crate) async fn say(&mut self, audio: &[u8]) {
        self.say_at(audio, 20).await;
    }

    /// Sends audio in pieces of 20 ms, one every `every_ms`.
    pub(crate) async fn say_at(&mut self, audio: &[u8], every_ms: u64) {
        for piece in audio.chunks(640) {
            tokio::time::sleep(Duration::from_millis(every_ms)).await;
            self.sender.audio(piece.to_vec()).await.expect("the session is open");
            self.take_in();
        }
    }

    /// Takes in what has arrived.
    pub(crate) fn take_in(&mut self) {
        use futures_util::FutureExt as _;
        while let Some(Some(event)) = self.client.next().now_or_never() {
            self.events.push(event);
        }
    }

    /// The first event that `wanted` accepts, read for if it has not come yet.
    pub(crate) async fn wait_for(&mut self, wanted: impl Fn(&ServerMessage) -> bool) -> ServerMessage {
        if let Some(event) = self.events.iter().find(|event| wanted(&event.message)) {
            return event.message.clone();
        }
        loop {
            let event = self.client.next().await.expect("the session ended before the event came");
            self.events.push(event.clone());
            if wanted(&event.message) {
                return event.message;
            }
        }
    }

    /// Says `end_stream` and reads to the end.
    pub(crate) async fn finish(self) -> Ended {
        self.send(ClientMessage::EndStream {}).await;
        self.read_to_end().await
    }

    /// Reads to the end.
    pub(crate) async fn read_to_end(mut self) -> Ended {
        while let Some(event) = self.client.next().await {
            self.events.push(event);
        }
        let code = self.client.closed();
        // A peer that has read the goodbye hangs up; the server may have before.
        let _ = self.sender.close().await;
        self.client.hang_up();
        drop(self.sender);
        self.session.await.expect("the session does not panic");
        Ended { events: self.events, code }
    }
}

/// Everything a session sent, and how it was closed.
pub(crate) struct Ended {
    pub(crate) events: Vec<ServerEvent>,
    pub(crate) code: Option<CloseCode>,
}

impl Ended {
    /// One line an event, acknowledgements left out; what a test is not about is left out too.
    pub(crate) fn story(&self) -> Vec<String> {
        self.events.iter().filter_map(|event| line(&event.message)).collect()
    }

    /// The finals' texts with their turns.
    pub(crate) fn finals(&self) -> Vec<(u64, String)> {
        let finals = self.events.iter().filter_map(|event| match &event.message {
            ServerMessage::Transcription(words) if words.is_final => Some((words.turn, words.text.clone())),
            _ => None,
        });
        finals.collect()
    }
}

/// One event in one line.
pub(crate) fn line(message: &ServerMessage) -> Option<String> {
    Some(match message {
        ServerMessage::StreamStarted { .. } => "stream_started".to_owned(),
        ServerMessage::SpeechStarted { turn, at_ms, .. } => format!("speech_started {turn} at {at_ms}"),
        ServerMessage::SpeechEnded { turn, at_ms, .. } => format!("speech_ended {turn} at {at_ms}"),
        ServerMessage::Transcription(words) => {
            let kind = if words.is_final { "final" } else { "interim" };
            format!("{kind} {} {}-{} {}", words.turn, words.start_ms, words.end_ms, words.text)
        }
        ServerMessage::AnswerStarted { answer_id, turn, question, .. } => {
            format!("answer_started {answer_id} turn {turn}: {question}")
        }
        ServerMessage::AnswerDelta { answer_id, index, text } => {
            format!("answer_delta {answer_id}.{index} {text}")
        }
        ServerMessage::Answer(answer) => format!("answer {} {}", answer.answer_id, answer.content),
        ServerMessage::AnswerCancelled { answer_id, reason } => {
            format!("answer_cancelled {answer_id} {reason:?}")
        }
        ServerMessage::Ack { .. } => return None,
        ServerMessage::Marker { id } => format!("marker {id:?}"),
        ServerMessage::Warning { code, .. } => format!("warning {code}"),
        ServerMessage::Error { code, fatal, .. } => format!("error {} fatal {fatal}", u16::from(*code)),
        ServerMessage::StreamEnded { reason, totals } => {
            format!(
                "stream_ended {reason:?} {} ms {} turns {} answers",
                totals.audio_ms, totals.turns, totals.answers
            )
        }
    })
}
