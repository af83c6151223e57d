//! One session of a bench: says its script in real time, and notes what comes back and when.
//!
//! Not here: what is made of the numbers (`report`).

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use client::{ClientConfig, ClientError, Closed, Events, Pacer, Sender, connect};
use protocol::{
    AnswerMode, AnswersUpdate, AudioFormat, ClientMessage, CloseCode, Codec, ConfigUpdate, Framing, MarkerId,
    Role, ServerMessage, StartStream,
};
use tokio::time::{Instant, sleep_until, timeout};

use super::speech::{PIECE_MS, Script};

/// A session to be held.
pub(super) struct Talker<'a> {
    pub(super) target: &'a ClientConfig,
    /// As any client's, with history and journal. Without, a server that runs already takes no text from memory.
    pub(super) kept: bool,
    /// Counts sessions that are open.
    pub(super) open: &'a AtomicUsize,
    /// Nothing for a session that says nothing but `keep_alive`.
    pub(super) script: Option<Script>,
    /// Says it as fast as the server takes it.
    pub(super) floods: bool,
    pub(super) until: Instant,
    pub(super) farewell: Farewell,
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Farewell {
    /// By `end_stream`, reading to the end.
    Ends,
    /// As a network that breaks off: without a word, perhaps in the middle of one.
    HangsUp,
}

/// What became of one session. Times in milliseconds.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// It was one of those that flood: its numbers are none of the others'.
    pub(super) flooded: bool,
    /// From the first packet to `stream_started`.
    pub(super) admission_ms: Option<f64>,
    /// By the close code or the HTTP status, and how long it took.
    pub(super) refused: Option<(u16, f64)>,
    /// What else went wrong.
    pub(super) failure: Option<String>,
    /// End of speech, as the server heard it, to the final text.
    pub(super) finals_ms: Vec<f64>,
    /// `speech_ended` to the final text.
    pub(super) decided_ms: Vec<f64>,
    /// Speech that was said and heard to its end, by recording; and those of which no text came.
    pub(super) clips: usize,
    pub(super) clips_without_text: usize,
    pub(super) markers: usize,
    pub(super) markers_missing: usize,
    /// By code.
    pub(super) warnings: BTreeMap<String, u64>,
    /// By code: those that are not fatal.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) audio_dropped_ms: u64,
    pub(super) audio_ms: u64,
    pub(super) talk_ms: u64,
    /// Pieces that this program sent more than 50 ms late, which makes its other numbers doubtful.
    pub(super) late_pieces: usize,
}

impl Outcome {
    pub(super) fn was_let_in(&self) -> bool {
        self.admission_ms.is_some()
    }
}

impl Talker<'_> {
    pub(super) async fn run(mut self) -> Outcome {
        let mut outcome = Outcome { flooded: self.floods, ..Outcome::default() };
        let asked = Instant::now();
        let opened = match open(self.target, self.kept || self.script.is_none()).await {
            Ok(opened) => opened,
            Err(NotOpened::Refused(code)) => {
                outcome.refused = Some((code, ms(asked.elapsed())));
                return outcome;
            }
            Err(NotOpened::Failed(why)) => {
                outcome.failure = Some(why);
                return outcome;
            }
        };
        outcome.admission_ms = Some(ms(asked.elapsed()));
        self.open.fetch_add(1, Ordering::Relaxed);
        self.converse(opened, &mut outcome).await;
        self.open.fetch_sub(1, Ordering::Relaxed);
        outcome
    }

    async fn converse(&mut self, (mut sender, mut events): (Sender, Events), outcome: &mut Outcome) {
        let mut heard = Heard { started: Instant::now(), ..Heard::default() };
        let said = {
            let speed = if self.floods { 0.0 } else { 1.0 };
            let saying = say(self.script.as_mut(), speed, &mut sender, self.until, self.farewell);
            tokio::pin!(saying);
            loop {
                tokio::select! {
                    said = &mut saying => break said,
                    event = events.next() => match event {
                        Some(Ok(event)) => heard.take(event.message, outcome),
                        Some(Err(error)) => {
                            outcome.failure = Some(error.to_string());
                            return;
                        }
                        None => {
                            let code = events.closed().map_or(0, |closed| closed.code);
                            outcome.failure = Some(format!("closed with {code} before it was over"));
                            return;
                        }
                    },
                }
            }
        };
        let said = match said {
            Ok(said) => said,
            Err(error) => {
                outcome.failure = Some(error.to_string());
                return;
            }
        };
        outcome.late_pieces = said.late_pieces;
        if let Some(script) = &self.script {
            outcome.audio_ms = script.at_ms;
            let until = |(start, end): &(u64, u64)| end.min(&script.at_ms) - start;
            outcome.talk_ms = script.spoken.iter().map(until).sum();
        }
        if self.farewell == Farewell::HangsUp {
            return;
        }
        let reading = async {
            while let Some(event) = events.next().await {
                match event {
                    Ok(event) => heard.take(event.message, outcome),
                    Err(error) => outcome.failure = Some(error.to_string()),
                }
            }
        };
        if timeout(LONGEST_END, reading).await.is_err() {
            outcome.failure = Some(format!("not over {} s after end_stream", LONGEST_END.as_secs()));
        } else if outcome.failure.is_none()
            && events.closed().and_then(Closed::meaning) != Some(CloseCode::Done)
        {
            outcome.failure = Some(format!("closed with {:?}", events.closed().map(|closed| closed.code)));
        }
        outcome.markers = said.markers;
        outcome.markers_missing = said.markers.saturating_sub(heard.markers);
        // The last one may have been cut short.
        let whole = self
            .script
            .iter()
            .flat_map(|script| script.spoken.iter().filter(|(_, end)| *end + PIECE_MS <= script.at_ms));
        for (start, end) in whole {
            outcome.clips += 1;
            let has_text = heard.texts.iter().any(|(from, to)| from < end && to > start);
            outcome.clips_without_text += usize::from(!has_text);
        }
    }
}

enum NotOpened {
    Refused(u16),
    Failed(String),
}

async fn open(target: &ClientConfig, kept: bool) -> Result<(Sender, Events), NotOpened> {
    let failed = |error: ClientError| NotOpened::Failed(error.to_string());
    let (mut sender, mut events) = connect(target).await.map_err(|error| match error {
        ClientError::Rejected { status, .. } => NotOpened::Refused(status),
        error => failed(error),
    })?;
    let answers = AnswersUpdate { mode: Some(AnswerMode::Off), ..AnswersUpdate::default() };
    let save_history = (!kept).then_some(false);
    let config = ConfigUpdate { answers: Some(answers), save_history, ..ConfigUpdate::default() };
    let mut audio = AudioFormat::mono(Codec::PcmS16le, Some(16_000), Role::Interviewer);
    // So that it can be resumed, as any client's.
    audio.framing = Framing::Numbered;
    let start = StartStream { session_id: None, audio, config: Some(config), resume: None };
    // A server that refuses may have closed before it reads this; its events say why.
    let sent = sender.start(start).await;
    let mut refused = None;
    while let Some(event) = events.next().await {
        match event.map(|event| event.message) {
            Ok(ServerMessage::StreamStarted { .. }) => return Ok((sender, events)),
            Ok(ServerMessage::Error { code, fatal: true, .. }) => {
                refused = Some(u16::from(code));
                break;
            }
            Ok(_) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    match (refused.or_else(|| events.closed().map(|closed| closed.code)), sent) {
        (Some(code), _) => Err(NotOpened::Refused(code)),
        (None, Err(error)) => Err(failed(error)),
        (None, Ok(())) => Err(NotOpened::Failed("closed before it was open".to_owned())),
    }
}

#[derive(Default)]
struct Said {
    markers: usize,
    late_pieces: usize,
}

/// Says the script until it is time to go.
async fn say(
    script: Option<&mut Script>,
    speed: f64,
    sender: &mut Sender,
    until: Instant,
    farewell: Farewell,
) -> Result<Said, ClientError> {
    let mut said = Said::default();
    match script {
        None => {
            let mut next = Instant::now() + KEEP_ALIVE;
            while next < until {
                sleep_until(next).await;
                sender.send(&ClientMessage::KeepAlive {}).await?;
                next += KEEP_ALIVE;
            }
            sleep_until(until).await;
        }
        Some(script) => {
            let mut pacer = Pacer::new(speed).expect("none and one are speeds");
            pacer.wait(Duration::ZERO).await;
            while Instant::now() < until {
                // It leaves when its last sample has been said.
                let due = pacer.due(Duration::from_millis(script.at_ms + PIECE_MS));
                let due = due.unwrap_or_else(Instant::now);
                sleep_until(due).await;
                said.late_pieces += usize::from(due.elapsed() > LATE);
                let (piece, over) = script.piece();
                sender.numbered_audio(0, false, piece).await?;
                // Of those that come at once only so many may wait for their echo.
                if over && speed > 0.0 {
                    sender.send(&ClientMessage::Marker { id: MarkerId::Number(said.markers as u64) }).await?;
                    said.markers += 1;
                }
            }
        }
    }
    if farewell == Farewell::Ends {
        sender.send(&ClientMessage::EndStream {}).await?;
    }
    Ok(said)
}

/// What has come back.
struct Heard {
    /// When the session's clock began: audio of its millisecond `t` left `t` later.
    started: Instant,
    /// When each turn was decided.
    decided: BTreeMap<u64, Instant>,
    /// Where the finals lie.
    texts: Vec<(u64, u64)>,
    markers: usize,
}

impl Default for Heard {
    fn default() -> Self {
        Self { started: Instant::now(), decided: BTreeMap::new(), texts: Vec::new(), markers: 0 }
    }
}

impl Heard {
    fn take(&mut self, message: ServerMessage, outcome: &mut Outcome) {
        match message {
            ServerMessage::SpeechEnded { turn, .. } => {
                self.decided.insert(turn, Instant::now());
            }
            ServerMessage::Transcription(words) if words.is_final => {
                let now = self.started.elapsed();
                outcome.finals_ms.push(ms(now) - words.end_ms as f64);
                outcome.decided_ms.extend(self.decided.remove(&words.turn).map(|at| ms(at.elapsed())));
                self.texts.push((words.start_ms, words.end_ms));
            }
            ServerMessage::Marker { .. } => self.markers += 1,
            ServerMessage::Warning { code, .. } => *outcome.warnings.entry(code).or_default() += 1,
            ServerMessage::Error { code, fatal: false, .. } => {
                *outcome.errors.entry(u16::from(code).to_string()).or_default() += 1;
            }
            ServerMessage::Error { code, fatal: true, .. } => {
                outcome.failure = Some(format!("ended by error {}", u16::from(code)));
            }
            ServerMessage::StreamEnded { totals, .. } => outcome.audio_dropped_ms = totals.audio_dropped_ms,
            _ => {}
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A third of what the server waits by default.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const LATE: Duration = Duration::from_millis(50);
const LONGEST_END: Duration = Duration::from_secs(60);
