//! From audio to turns to texts: the listening half of a session.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    task::Poll,
};

use codecs::{SampleIndex, StreamFormat};
use futures_util::{
    FutureExt as _, StreamExt as _,
    future::BoxFuture,
    stream::{BoxStream, FuturesOrdered},
};
use models::speech::{
    Priority, TranscribeError, TranscribeRequest, Transcriber, Transcript, TranscriptEvent,
};
use protocol::{
    AnswerMode, AudioFormat, CloseCode, FrameHeader, Framing, Layout, MarkerId, Role, ServerMessage,
    Transcription, WordTiming,
};
use tokio::time::Instant;

use super::{ClientError, Ending, Session};
use crate::{
    Engine,
    config::SessionConfig,
    listener::{ListenError, Listener, TurnEvent, TurnEventKind, Utterance},
    question::is_question,
};

/// Everything heard and not yet written down.
pub(super) struct Hearing {
    transcriber: Arc<dyn Transcriber>,
    /// Tells this session's requests from others'.
    key: u64,
    language: Option<String>,
    vocabulary: Arc<[String]>,
    framing: Framing,
    streams: Vec<Stream>,
    channels: Vec<Channel>,
    finals: FuturesOrdered<BoxFuture<'static, FinalText>>,
    markers: VecDeque<Marker>,
    next_turn: u64,
    interim_failed: bool,
}

/// One stream of bytes: it carries one channel, or all of them interleaved.
struct Stream {
    listener: Listener,
    first_channel: usize,
    next_seq: u32,
    acknowledged: u32,
    finished: bool,
}

/// One logical channel: somebody's voice.
struct Channel {
    role: Role,
    stream: usize,
    /// The open turn.
    turn: Option<u64>,
    speculation: Option<Speculation>,
    interim: Option<BoxFuture<'static, InterimText>>,
    /// A newer interim text is wanted once the running one is done.
    interim_due: bool,
    /// Audio up to here belongs to turns that are over.
    ended: SampleIndex,
    /// Audio up to here has been written down.
    settled: SampleIndex,
}

struct Speculation {
    speech_end: SampleIndex,
    work: Work,
}

type Work = BoxStream<'static, Result<TranscriptEvent, TranscribeError>>;

struct Marker {
    id: MarkerId,
    /// For each channel, how far it must be settled.
    needs: Vec<SampleIndex>,
}

/// Something was written down.
pub(super) enum Heard {
    Final(FinalText),
    Interim(InterimText),
}

/// The text of a whole turn.
pub(super) struct FinalText {
    turn: u64,
    channel: usize,
    utterance: Utterance,
    decided: Instant,
    warnings: Vec<(&'static str, String)>,
    result: Result<Transcript, TranscribeError>,
}

/// The text of a turn so far.
pub(super) struct InterimText {
    turn: u64,
    channel: usize,
    utterance: Utterance,
    result: Result<Transcript, TranscribeError>,
}

/// A question as it was heard, with what its receipt needs.
pub(super) struct HeardQuestion {
    pub(super) turn: u64,
    pub(super) channel: usize,
    pub(super) text: String,
    pub(super) language: String,
    pub(super) speech_start: SampleIndex,
    pub(super) speech_end: SampleIndex,
    pub(super) endpoint_ms: u64,
    pub(super) decided: Instant,
}

impl Hearing {
    pub(super) fn new(
        engine: &Engine,
        audio: AudioFormat,
        config: &SessionConfig,
    ) -> Result<Self, ClientError> {
        audio.validate().map_err(|error| ClientError::malformed(error.to_string()))?;
        let roles = audio.effective_roles();
        let interleaved = audio.layout == Layout::Separate;
        if roles.len() > 1 && !interleaved && audio.framing == Framing::Raw {
            let why = "several roles need layout separate (interleaved channels) or framing numbered (a stream each)";
            return Err(ClientError::malformed(why));
        }
        let format = stream_format(&audio)?;
        let ears = if interleaved { roles.len() } else { 1 };
        let streams = (0..roles.len() / ears)
            .map(|index| {
                let detectors = (0..ears).map(|_| (engine.vad)()).collect();
                let listener = Listener::new(format, detectors, config.turns)
                    .map_err(|error| ClientError::new(CloseCode::Undecodable, error.to_string()))?;
                Ok(Stream { listener, first_channel: index, next_seq: 0, acknowledged: 0, finished: false })
            })
            .collect::<Result<_, ClientError>>()?;
        let channel = |(index, role): (usize, &Role)| Channel {
            role: *role,
            stream: if interleaved { 0 } else { index },
            turn: None,
            speculation: None,
            interim: None,
            interim_due: false,
            ended: SampleIndex::default(),
            settled: SampleIndex::default(),
        };
        Ok(Self {
            transcriber: Arc::clone(&engine.transcriber),
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            language: config.language.clone(),
            vocabulary: Arc::clone(&config.vocabulary),
            framing: audio.framing,
            streams,
            channels: roles.iter().enumerate().map(channel).collect(),
            finals: FuturesOrdered::new(),
            markers: VecDeque::new(),
            next_turn: 1,
            interim_failed: false,
        })
    }

    pub(super) fn set_config(&mut self, config: &SessionConfig) {
        self.language.clone_from(&config.language);
        self.vocabulary = Arc::clone(&config.vocabulary);
        self.streams.iter_mut().for_each(|stream| stream.listener.set_config(config.turns));
    }

    pub(super) fn heard(&self) -> SampleIndex {
        self.streams.iter().map(|stream| stream.listener.heard()).max().unwrap_or_default()
    }

    pub(super) fn next_seqs(&self) -> Vec<u32> {
        self.streams.iter().map(|stream| stream.next_seq).collect()
    }

    /// Streams heard further since the last call: their number, next sequence number and audio in milliseconds.
    pub(super) fn take_acks(&mut self) -> Vec<(u8, u32, u64)> {
        let streams = (0u8..).zip(&mut self.streams);
        streams
            .filter(|(_, stream)| stream.acknowledged != stream.next_seq)
            .map(|(index, stream)| {
                stream.acknowledged = stream.next_seq;
                (index, stream.next_seq, stream.listener.heard().as_ms())
            })
            .collect()
    }

    /// Whether more audio may be heard: turns end faster than they are written down only up to a bound.
    pub(super) fn has_room(&self) -> bool {
        self.finals.len() < MAX_PENDING_FINALS
    }

    pub(super) fn has_work(&self) -> bool {
        !self.finals.is_empty()
    }

    pub(super) fn mark(&mut self, id: MarkerId) {
        let needs: Vec<_> = self
            .channels
            .iter()
            .map(|channel| match channel.turn {
                Some(_) => self.streams[channel.stream].listener.heard(),
                None => channel.ended,
            })
            .collect();
        for (index, need) in needs.iter().enumerate() {
            if *need > self.channels[index].settled && self.channels[index].turn.is_some() {
                self.request_interim(index);
            }
        }
        self.markers.push_back(Marker { id, needs });
    }

    /// The next text. Cancel-safe; never ready when nothing is being written down.
    pub(super) async fn next(&mut self) -> Heard {
        poll_fn(|context| {
            if let Poll::Ready(Some(text)) = self.finals.poll_next_unpin(context) {
                return Poll::Ready(Heard::Final(text));
            }
            for channel in &mut self.channels {
                if let Some(Poll::Ready(text)) = channel.interim.as_mut().map(|work| work.poll_unpin(context))
                {
                    channel.interim = None;
                    return Poll::Ready(Heard::Interim(text));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Starts an interim pass over the open turn of `index`, or notes that one is due after the running one.
    fn request_interim(&mut self, index: usize) {
        let channel = &mut self.channels[index];
        let Some(turn) = channel.turn else { return };
        if channel.interim.is_some() {
            channel.interim_due = true;
            return;
        }
        let stream = &self.streams[channel.stream];
        let Some(utterance) = stream.listener.utterance(index - stream.first_channel) else { return };
        channel.interim_due = false;
        let work = self.transcriber.transcribe(self.request(index, &utterance, Priority::Interim));
        let text = async move {
            let (result, _) = collect(work).await;
            InterimText { turn, channel: index, utterance, result }
        };
        self.channels[index].interim = Some(text.boxed());
    }

    fn request(&self, index: usize, utterance: &Utterance, priority: Priority) -> TranscribeRequest {
        TranscribeRequest {
            audio: Arc::clone(&utterance.audio),
            language: self.language.clone(),
            vocabulary: Arc::clone(&self.vocabulary),
            priority,
            stream: self.key * MAX_CHANNELS + index as u64,
        }
    }
}

impl Session {
    pub(super) fn on_audio_frame(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        match self.hearing.framing {
            Framing::Raw => self.on_audio(0, None, false, bytes),
            Framing::Numbered => {
                let (header, audio) =
                    FrameHeader::parse(bytes).map_err(|error| ClientError::malformed(error.to_string()))?;
                self.on_audio(header.channel, Some(header.seq), header.last, audio)
            }
        }
    }

    pub(super) fn on_audio(
        &mut self,
        index: u8,
        seq: Option<u32>,
        last: bool,
        bytes: &[u8],
    ) -> Result<(), ClientError> {
        if self.ending.is_some() {
            return Err(ClientError::malformed("audio came after end_stream and was ignored"));
        }
        if bytes.len() > protocol::MAX_AUDIO_BYTES {
            let message = format!(
                "{} bytes of audio in one message; send at most {}",
                bytes.len(),
                protocol::MAX_AUDIO_BYTES
            );
            return Err(ClientError::new(CloseCode::TooBig, message));
        }
        let count = self.hearing.streams.len();
        let Some(stream) = self.hearing.streams.get_mut(usize::from(index)) else {
            return Err(ClientError::malformed(format!(
                "audio for channel {index}; audio.roles opened {count}"
            )));
        };
        if stream.finished {
            return Err(ClientError::malformed(format!(
                "audio came after the last chunk of channel {index}"
            )));
        }
        let expected = stream.next_seq;
        let seq = seq.unwrap_or(expected);
        if seq < expected {
            metrics::counter!("audio_chunks_repeated_total").increment(1);
            return Ok(());
        }
        stream.next_seq = seq.wrapping_add(1);
        let mut events = Vec::new();
        let mut heard = stream.listener.push(bytes, &mut events);
        if last {
            stream.finished = true;
            heard = heard.and(stream.listener.finish(&mut events));
        }
        if seq > expected {
            let missing = format!(
                "audio chunks {expected} to {} of channel {index} never came; their words are lost",
                seq - 1
            );
            self.warn("audio_gap", missing);
        }
        self.on_turn_events(usize::from(index), events);
        self.on_listened(heard);
        if self.hearing.heard().as_ms() >= self.engine.limits.max_session.as_millis() as u64 {
            self.end(Ending::Limit);
        }
        Ok(())
    }

    /// No more audio comes: ends every open turn.
    pub(super) fn finish_hearing(&mut self) {
        for index in 0..self.hearing.streams.len() {
            let mut events = Vec::new();
            let stream = &mut self.hearing.streams[index];
            if !std::mem::replace(&mut stream.finished, true) {
                // A stream that never began has nothing to finish and nothing to complain of.
                let begun = stream.next_seq > 0;
                let heard = stream.listener.finish(&mut events);
                self.on_turn_events(index, events);
                if begun {
                    self.on_listened(heard);
                }
            }
        }
        self.on_tick();
    }

    pub(super) fn finalize(&mut self, channel: Option<u8>) -> Result<(), ClientError> {
        let wanted = channel.map(usize::from);
        if let Some(index) = wanted.filter(|index| *index >= self.hearing.channels.len()) {
            return Err(ClientError::malformed(format!(
                "finalize of channel {index}, which audio.roles did not open"
            )));
        }
        for index in 0..self.hearing.streams.len() {
            let mut events = Vec::new();
            let stream = &mut self.hearing.streams[index];
            let first = stream.first_channel;
            match wanted {
                Some(wanted) if self.hearing.channels[wanted].stream != index => continue,
                wanted => stream.listener.finalize(wanted.map(|wanted| wanted - first), &mut events),
            }
            self.on_turn_events(index, events);
        }
        Ok(())
    }

    fn on_listened(&mut self, heard: Result<(), ListenError>) {
        match heard {
            Ok(()) => {}
            Err(ListenError::Skipped(why)) => {
                self.warn("audio_skipped", format!("a damaged piece of audio was skipped: {why}"));
            }
            Err(ListenError::Deaf(why)) => self.end(Ending::Fatal(CloseCode::Undecodable, why)),
        }
    }

    fn on_turn_events(&mut self, stream: usize, events: Vec<TurnEvent>) {
        let first = self.hearing.streams[stream].first_channel;
        for TurnEvent { channel, kind } in events {
            self.on_turn_event(first + channel, kind);
        }
    }

    fn on_turn_event(&mut self, index: usize, kind: TurnEventKind) {
        let channel = &mut self.hearing.channels[index];
        match kind {
            TurnEventKind::Started(at) => {
                let turn = self.hearing.next_turn;
                self.hearing.next_turn += 1;
                channel.turn = Some(turn);
                let role = channel.role;
                self.emit(ServerMessage::SpeechStarted {
                    channel: index as u8,
                    role,
                    at_ms: at.as_ms(),
                    turn,
                });
            }
            TurnEventKind::Growing if self.config.interim_results => self.hearing.request_interim(index),
            TurnEventKind::Growing => {}
            TurnEventKind::Paused(utterance) if self.config.eager => self.speculate(index, &utterance),
            TurnEventKind::Paused(_) => {}
            TurnEventKind::Resumed => {
                if channel.speculation.take().is_some() {
                    metrics::counter!("speculations_total", "outcome" => "dropped").increment(1);
                }
            }
            TurnEventKind::Ended(utterance) => self.on_turn_ended(index, utterance),
        }
    }

    /// Writes the turn down on the guess that it is over. The guess takes the place of a running interim pass.
    fn speculate(&mut self, index: usize, utterance: &Utterance) {
        let work = self.hearing.transcriber.transcribe(self.hearing.request(
            index,
            utterance,
            Priority::Speculative,
        ));
        let channel = &mut self.hearing.channels[index];
        channel.interim = None;
        channel.speculation = Some(Speculation { speech_end: utterance.speech_end, work });
    }

    fn on_turn_ended(&mut self, index: usize, utterance: Utterance) {
        let decided = Instant::now();
        let channel = &mut self.hearing.channels[index];
        let Some(turn) = channel.turn.take() else { return };
        channel.interim = None;
        channel.interim_due = false;
        channel.ended = utterance.heard;
        let role = channel.role;
        let guess = channel.speculation.take();
        let confirmed =
            guess.filter(|guess| guess.speech_end == utterance.speech_end).map(|guess| guess.work);
        if confirmed.is_some() {
            metrics::counter!("speculations_total", "outcome" => "confirmed").increment(1);
        }
        let at_ms = utterance.speech_end.as_ms();
        self.emit(ServerMessage::SpeechEnded { channel: index as u8, role, at_ms, turn });

        let transcriber = Arc::clone(&self.hearing.transcriber);
        let again = self.hearing.request(index, &utterance, Priority::Final);
        let first = confirmed.unwrap_or_else(|| transcriber.transcribe(again.clone()));
        let text = async move {
            let (mut result, mut warnings) = collect(first).await;
            if result.is_err() {
                metrics::counter!("final_retries_total").increment(1);
                (result, warnings) = collect(transcriber.transcribe(again)).await;
            }
            FinalText { turn, channel: index, utterance, decided, warnings, result }
        };
        self.hearing.finals.push_back(text.boxed());
    }

    pub(super) fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Final(text) => self.on_final(text),
            Heard::Interim(text) => self.on_interim(text),
        }
        self.answer_markers();
    }

    fn on_interim(&mut self, text: InterimText) {
        let InterimText { turn, channel: index, utterance, result } = text;
        let channel = &mut self.hearing.channels[index];
        // A pass that failed settles too: a marker must not wait for what may never come.
        channel.settled = channel.settled.max(utterance.heard);
        let role = channel.role;
        if std::mem::take(&mut channel.interim_due) {
            self.hearing.request_interim(index);
        }
        match result {
            Ok(transcript) if transcript.text.is_empty() || !self.config.interim_results => {}
            Ok(transcript) => {
                let message = transcription(turn, index, role, &utterance, transcript, false);
                self.emit(ServerMessage::Transcription(message));
            }
            Err(TranscribeError::Superseded) => {}
            Err(error) => {
                metrics::counter!("interims_failed_total").increment(1);
                if !std::mem::replace(&mut self.hearing.interim_failed, true) {
                    self.warn(
                        "interim_unavailable",
                        format!("interim text is missing for now; finals still come: {error}"),
                    );
                }
            }
        }
    }

    fn on_final(&mut self, text: FinalText) {
        let FinalText { turn, channel: index, utterance, decided, warnings, result } = text;
        let channel = &mut self.hearing.channels[index];
        channel.settled = channel.settled.max(utterance.heard);
        let role = channel.role;
        for (code, message) in warnings {
            self.warn(code, message);
        }
        let transcript = match result {
            Ok(transcript) => transcript,
            Err(error) => {
                let message = format!("turn {turn} could not be written down, its words are lost: {error}");
                return self.error(CloseCode::Overloaded, message, None);
            }
        };
        metrics::histogram!("final_seconds").record(decided.elapsed().as_secs_f64());
        if transcript.text.is_empty() {
            // Noise: no words were said, so there is no text to send.
            metrics::counter!("turns_empty_total").increment(1);
            return;
        }
        self.totals.turns += 1;
        let question = HeardQuestion {
            turn,
            channel: index,
            text: transcript.text.clone(),
            language: transcript.language.clone(),
            speech_start: utterance.speech_start,
            speech_end: utterance.speech_end,
            endpoint_ms: SampleIndex(utterance.heard - utterance.speech_end).as_ms(),
            decided,
        };
        let message = transcription(turn, index, role, &utterance, transcript, true);
        self.emit(ServerMessage::Transcription(message));
        let asked = self.config.answer_mode == AnswerMode::Auto
            && role != Role::Candidate
            && (is_question(&question.text) || self.answers.continues(&question));
        if asked && self.ending.as_ref().is_none_or(|ending| *ending == Ending::Client) {
            self.answer_heard(&question);
        }
        self.history.said(turn, role, &question.text);
    }

    /// Echoes the markers whose audio is all written down.
    pub(super) fn answer_markers(&mut self) {
        while let Some(marker) = self.hearing.markers.front() {
            let settled = marker
                .needs
                .iter()
                .zip(&self.hearing.channels)
                .all(|(need, channel)| channel.settled >= *need);
            if !settled {
                return;
            }
            if let Some(marker) = self.hearing.markers.pop_front() {
                self.emit(ServerMessage::Marker { id: marker.id });
            }
        }
    }

    /// Gives up the texts still being computed; their number.
    pub(super) fn drop_pending_texts(&mut self) -> usize {
        std::mem::take(&mut self.hearing.finals).len()
    }
}

async fn collect(mut work: Work) -> (Result<Transcript, TranscribeError>, Vec<(&'static str, String)>) {
    let mut warnings = Vec::new();
    while let Some(event) = work.next().await {
        match event {
            Ok(TranscriptEvent::Warning { code, message }) => warnings.push((code, message)),
            Ok(TranscriptEvent::Final(transcript)) => return (Ok(transcript), warnings),
            Err(error) => return (Err(error), warnings),
        }
    }
    (Err(TranscribeError::Failed("it ended without a text".to_owned())), warnings)
}

fn transcription(
    turn: u64,
    channel: usize,
    role: Role,
    utterance: &Utterance,
    transcript: Transcript,
    is_final: bool,
) -> Transcription {
    let start = utterance.audio_start.as_ms();
    let words = transcript.words.into_iter().map(|word| WordTiming {
        word: word.text,
        start_ms: start + u64::from(word.start_ms),
        end_ms: start + u64::from(word.end_ms),
        confidence: word.confidence,
    });
    Transcription {
        turn,
        channel: channel as u8,
        role,
        text: transcript.text,
        is_final,
        start_ms: utterance.speech_start.as_ms(),
        end_ms: utterance.speech_end.as_ms(),
        confidence: transcript.confidence,
        language: transcript.language,
        words: is_final.then(|| words.collect()),
    }
}

fn stream_format(audio: &AudioFormat) -> Result<StreamFormat, ClientError> {
    let codec = match audio.codec {
        protocol::Codec::Auto => codecs::Codec::Auto,
        protocol::Codec::PcmS16le => codecs::Codec::PcmS16le,
        protocol::Codec::PcmF32le => codecs::Codec::PcmF32le,
        protocol::Codec::Wav => codecs::Codec::Wav,
        protocol::Codec::Flac => codecs::Codec::Flac,
        other => {
            let why = format!(
                "codec {other} is not decoded by this server yet; send pcm_s16le, pcm_f32le, wav or flac"
            );
            return Err(ClientError::new(CloseCode::Undecodable, why));
        }
    };
    Ok(StreamFormat { codec, sample_rate: audio.sample_rate, channels: audio.channels })
}

/// Requests of all sessions of this process are told apart by this, so that the pool can be fair.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
/// Channels are `u8` on the wire and at most 8.
const MAX_CHANNELS: u64 = 8;
/// Turns that wait to be written down before the client is heard again.
const MAX_PENDING_FINALS: usize = 4;
