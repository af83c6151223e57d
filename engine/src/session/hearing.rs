//! What is heard and not yet written down: streams, channels, open turns, pending texts, markers.
//!
//! Not here: what the session tells the client of it (`listening`).

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
use protocol::{AudioFormat, CloseCode, Framing, Layout, MarkerId, Role};
use tokio::time::{Instant, sleep_until};

use super::{
    ClientError,
    draft::{Draft, Pass},
    early::Early,
    guessing::{Budget, Guess},
    parts::{Part, Written},
};
use crate::{
    Engine,
    config::SessionConfig,
    echo,
    listener::{Listener, Utterance},
    turn_end::TurnEnd,
};

/// Everything heard and not yet written down.
pub(super) struct Hearing {
    pub(super) transcriber: Arc<dyn Transcriber>,
    /// Tells this session's requests from others'.
    pub(super) key: u64,
    pub(super) language: Option<String>,
    /// The client's, then the candidate's.
    pub(super) vocabulary: Arc<[String]>,
    /// Names and terms of the candidate's papers.
    candidate_terms: Vec<String>,
    /// Whether texts may be remembered beyond the session.
    pub(super) cache: bool,
    pub(super) framing: Framing,
    pub(super) streams: Vec<Stream>,
    pub(super) channels: Vec<Channel>,
    pub(super) finals: FuturesOrdered<BoxFuture<'static, FinalText>>,
    /// The turns of `finals`, in order: their channel, and how much was said.
    pub(super) pending: VecDeque<(usize, u64)>,
    pub(super) markers: VecDeque<Marker>,
    pub(super) next_turn: u64,
    /// What listeners are to be told of their pauses: channel, end of speech, what the words say.
    pub(super) owed_hints: Vec<(usize, SampleIndex, TurnEnd)>,
    pub(super) budget: Budget,
    pub(super) interim_failed: bool,
    pub(super) echo_warned: bool,
}

/// One stream of bytes: it carries one channel, or all of them interleaved.
pub(super) struct Stream {
    pub(super) listener: Listener,
    pub(super) first_channel: usize,
    pub(super) next_seq: u32,
    pub(super) acknowledged: u32,
    /// Chunks that came before their turn.
    pub(super) early: Early,
    /// No more audio comes.
    pub(super) finished: bool,
    /// There is kept audio to hear, though no more comes: a file that could not be heard live.
    pub(super) draining: bool,
    /// What comes is a file that cannot be heard before it is whole.
    pub(super) kept: bool,
}

/// One logical channel: somebody's voice.
pub(super) struct Channel {
    pub(super) role: Role,
    pub(super) stream: usize,
    /// The open turn.
    pub(super) turn: Option<u64>,
    /// The text of the open turn.
    pub(super) draft: Draft,
    pub(super) guess: Option<Guess>,
    /// Parts of the open turn, in order, whose last words are being written down.
    pub(super) parts: VecDeque<Part>,
    pub(super) interim: Option<BoxFuture<'static, InterimText>>,
    /// A newer interim text is wanted once the running one is done.
    pub(super) interim_due: bool,
    /// Audio up to here belongs to turns that are over.
    pub(super) ended: SampleIndex,
    /// Audio up to here has been written down for good.
    pub(super) settled: SampleIndex,
    /// Audio up to here has been written down in passing.
    pub(super) passed: SampleIndex,
}

pub(super) type Work = BoxStream<'static, Result<TranscriptEvent, TranscribeError>>;

/// What became of a request, with the warnings on the way.
pub(super) type Collected = (Result<Transcript, TranscribeError>, Vec<(&'static str, String)>);

pub(super) struct Marker {
    pub(super) id: MarkerId,
    /// For each channel, how far it must be settled.
    pub(super) needs: Vec<SampleIndex>,
}

/// Something was written down.
pub(super) enum Heard {
    Final(FinalText),
    Interim(InterimText),
    /// The first of this channel's parts, which is no longer among them.
    Part(usize, Written),
    /// The guess of this channel has come, or failed.
    Guess(usize),
    /// A guess has not come in time.
    GuessLate,
}

/// The text of a whole turn.
pub(super) struct FinalText {
    pub(super) turn: u64,
    pub(super) channel: usize,
    pub(super) utterance: Utterance,
    pub(super) decided: Instant,
    pub(super) warnings: Vec<(&'static str, String)>,
    /// What was known of the text before, but for `parts`.
    pub(super) draft: Draft,
    pub(super) parts: Vec<Written>,
    pub(super) result: Result<Pass, TranscribeError>,
}

/// The text of a turn so far.
pub(super) struct InterimText {
    pub(super) turn: u64,
    pub(super) channel: usize,
    pub(super) utterance: Utterance,
    pub(super) result: Result<Pass, TranscribeError>,
}

/// A question as it was heard, with what its receipt needs.
pub(super) struct HeardQuestion {
    pub(super) turn: u64,
    pub(super) channel: usize,
    pub(super) role: Role,
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
        if interleaved && roles.len() < 2 {
            return Err(ClientError::malformed(
                "layout separate needs a role for each channel in audio.roles",
            ));
        }
        let count = audio.channels.filter(|_| audio.codec.is_headerless()).map(usize::from);
        if let Some(channels) = count.filter(|channels| interleaved && *channels != roles.len()) {
            let why = format!("audio.channels is {channels}, but audio.roles names {}", roles.len());
            return Err(ClientError::malformed(why));
        }
        let format = stream_format(&audio);
        let ears = if interleaved { roles.len() } else { 1 };
        let streams = (0..roles.len() / ears)
            .map(|index| {
                let detectors = (0..ears).map(|_| (engine.vad)()).collect();
                let listener = Listener::new(format, detectors, config.listening())
                    .map_err(|error| ClientError::new(CloseCode::Undecodable, error.to_string()))?;
                Ok(Stream {
                    listener,
                    first_channel: index,
                    next_seq: 0,
                    acknowledged: 0,
                    early: Early::default(),
                    finished: false,
                    draining: false,
                    kept: false,
                })
            })
            .collect::<Result<_, ClientError>>()?;
        let channel = |(index, role): (usize, &Role)| Channel {
            role: *role,
            stream: if interleaved { 0 } else { index },
            turn: None,
            draft: Draft::default(),
            guess: None,
            parts: VecDeque::new(),
            interim: None,
            interim_due: false,
            ended: SampleIndex::default(),
            settled: SampleIndex::default(),
            passed: SampleIndex::default(),
        };
        let mut hearing = Self {
            transcriber: Arc::clone(&engine.transcriber),
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            language: config.language.clone(),
            vocabulary: Arc::clone(&config.vocabulary),
            candidate_terms: Vec::new(),
            cache: config.save_history,
            framing: audio.framing,
            streams,
            channels: roles.iter().enumerate().map(channel).collect(),
            finals: FuturesOrdered::new(),
            pending: VecDeque::new(),
            markers: VecDeque::new(),
            next_turn: 1,
            owed_hints: Vec::new(),
            budget: Budget::new(config.max_guesses_per_minute),
            interim_failed: false,
            echo_warned: false,
        };
        hearing.guard_echo();
        Ok(hearing)
    }

    /// Of one interviewer and one candidate, the candidate's microphone may hear the interviewer's loudspeaker.
    fn guard_echo(&mut self) {
        let only = |role| {
            let mut channels = (0..).zip(&self.channels).filter(|(_, channel)| channel.role == role);
            channels.next().filter(|_| channels.next().is_none()).map(|(index, _)| index)
        };
        let (Some(interviewer), Some(candidate)) = (only(Role::Interviewer), only(Role::Candidate)) else {
            return;
        };
        let (far_end, near_end) = echo::pair();
        for (index, end) in [(interviewer, echo::End::Far(far_end)), (candidate, echo::End::Near(near_end))] {
            let stream = &mut self.streams[self.channels[index].stream];
            stream.listener.guard(index - stream.first_channel, end);
        }
    }

    /// Takes in what is likely to be said about this candidate.
    pub(super) fn set_candidate_terms(&mut self, terms: Vec<String>) {
        self.candidate_terms = terms;
        let wanted = Arc::clone(&self.vocabulary);
        self.set_vocabulary(&wanted);
    }

    fn set_vocabulary(&mut self, wanted: &[String]) {
        let known = |term: &&String| !wanted.iter().any(|other| other.eq_ignore_ascii_case(term));
        self.vocabulary = wanted.iter().chain(self.candidate_terms.iter().filter(known)).cloned().collect();
    }

    pub(super) fn set_config(&mut self, config: &SessionConfig) {
        self.language.clone_from(&config.language);
        self.set_vocabulary(&config.vocabulary);
        self.cache = config.save_history;
        self.budget.set_limit(config.max_guesses_per_minute);
        self.streams.iter_mut().for_each(|stream| stream.listener.set_config(config.listening()));
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

    /// There is another connection: what is missing may come over it.
    pub(super) fn wait_for_gaps(&mut self) {
        self.streams.iter_mut().for_each(|stream| stream.early.wait());
    }

    /// Whether more audio may be heard: turns end faster than they are written down only up to a bound, and nothing is heard
    /// while the words of a pause are waited for.
    pub(super) fn has_room(&self) -> bool {
        let waiting = self.streams.iter().any(|stream| stream.listener.stands_still());
        self.finals.len() < MAX_PENDING_FINALS && !waiting
    }

    pub(super) fn has_work(&self) -> bool {
        !self.finals.is_empty() || self.streams.iter().any(|stream| stream.draining)
    }

    /// The stream whose kept audio can be heard on now.
    pub(super) fn drainable(&self) -> Option<usize> {
        if self.has_room() { self.streams.iter().position(|stream| stream.draining) } else { None }
    }

    /// Whether anybody is speaking.
    pub(super) fn in_turn(&self) -> bool {
        self.channels.iter().any(|channel| channel.turn.is_some())
    }

    /// Notes a marker, to be echoed when the audio before it is written down.
    pub(super) fn mark(&mut self, id: MarkerId) -> Result<(), ClientError> {
        if self.markers.len() >= MAX_MARKERS {
            let why = format!("{MAX_MARKERS} markers wait for their echo; send no more until some have come");
            return Err(ClientError::new(CloseCode::TooMany, why));
        }
        if matches!(&id, MarkerId::Text(text) if text.len() > MAX_MARKER_BYTES) {
            return Err(ClientError::malformed(format!("a marker id has at most {MAX_MARKER_BYTES} bytes")));
        }
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
        Ok(())
    }

    /// The file that `stream` kept has been heard: markers sent meanwhile wait for its texts.
    pub(super) fn release_markers(&mut self, stream: usize) {
        for (index, channel) in
            self.channels.iter().enumerate().filter(|(_, channel)| channel.stream == stream)
        {
            for marker in &mut self.markers {
                marker.needs[index] = marker.needs[index].max(channel.ended);
            }
        }
    }

    /// How far `index` is written down: interim text counts unless a turn before it still waits for its final.
    pub(super) fn settled(&self, index: usize) -> SampleIndex {
        let channel = &self.channels[index];
        let waits = self.pending.iter().any(|(pending, _)| *pending == index);
        if waits { channel.settled } else { channel.settled.max(channel.passed) }
    }

    /// The next text. Cancel-safe; never ready when nothing is being written down.
    pub(super) async fn next(&mut self) -> Heard {
        let due = self.channels.iter().filter_map(|channel| channel.guess.as_ref()?.hint_due).min();
        let texts = poll_fn(|context| {
            if let Poll::Ready(Some(text)) = self.finals.poll_next_unpin(context) {
                return Poll::Ready(Heard::Final(text));
            }
            for (index, channel) in self.channels.iter_mut().enumerate() {
                if let Some(Poll::Ready(part)) =
                    channel.parts.front_mut().map(|part| part.poll_unpin(context))
                {
                    channel.parts.pop_front();
                    return Poll::Ready(Heard::Part(index, part));
                }
                if channel.guess.as_mut().is_some_and(|guess| guess.poll(context).is_ready()) {
                    return Poll::Ready(Heard::Guess(index));
                }
                if let Some(Poll::Ready(text)) = channel.interim.as_mut().map(|work| work.poll_unpin(context))
                {
                    channel.interim = None;
                    return Poll::Ready(Heard::Interim(text));
                }
            }
            Poll::Pending
        });
        let late = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            text = texts => text,
            () = late => Heard::GuessLate,
        }
    }

    /// Starts an interim pass over the open turn of `index`, or notes that one is due after the running one, or after the parts
    /// before it.
    pub(super) fn request_interim(&mut self, index: usize) {
        let channel = &mut self.channels[index];
        let Some(turn) = channel.turn else { return };
        // A marker is then echoed after the final.
        if !self.transcriber.serves(Priority::Interim) {
            return;
        }
        if channel.interim.is_some() || !channel.parts.is_empty() {
            channel.interim_due = true;
            return;
        }
        let stream = &self.streams[channel.stream];
        let Some(utterance) = stream.listener.utterance(index - stream.first_channel) else { return };
        channel.interim_due = false;
        let (request, start) =
            self.request(index, &self.channels[index].draft, &utterance, Priority::Interim);
        let work = self.transcriber.transcribe(request);
        let text = async move {
            let (result, _) = collect(work).await;
            let result = result.map(|transcript| Pass { start, heard: utterance.heard, transcript });
            InterimText { turn, channel: index, utterance, result }
        };
        self.channels[index].interim = Some(text.boxed());
    }

    /// What to ask of the transcriber about `utterance`, and the first sample of what is asked about.
    pub(super) fn request(
        &self,
        index: usize,
        draft: &Draft,
        utterance: &Utterance,
        priority: Priority,
    ) -> (TranscribeRequest, SampleIndex) {
        let ask = draft.ask(utterance);
        let request = TranscribeRequest {
            audio: ask.audio,
            language: self.language.clone(),
            vocabulary: Arc::clone(&self.vocabulary),
            priority,
            stream: self.request_stream(index),
            settled: ask.settled,
            before: ask.before,
            cache: self.cache,
        };
        (request, ask.start)
    }

    /// What the transcriber knows channel `index` by.
    pub(super) fn request_stream(&self, index: usize) -> u64 {
        self.key * MAX_CHANNELS + index as u64
    }
}

/// Waits for the text of `work`, with the warnings on the way.
pub(super) async fn collect(mut work: Work) -> Collected {
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

fn stream_format(audio: &AudioFormat) -> StreamFormat {
    let codec = match audio.codec {
        protocol::Codec::Auto => codecs::Codec::Auto,
        protocol::Codec::PcmS16le => codecs::Codec::PcmS16le,
        protocol::Codec::PcmS24le => codecs::Codec::PcmS24le,
        protocol::Codec::PcmF32le => codecs::Codec::PcmF32le,
        protocol::Codec::Mulaw => codecs::Codec::Mulaw,
        protocol::Codec::Alaw => codecs::Codec::Alaw,
        protocol::Codec::Opus => codecs::Codec::Opus,
        protocol::Codec::Ogg => codecs::Codec::Ogg,
        protocol::Codec::Webm => codecs::Codec::WebM,
        protocol::Codec::Mp4 => codecs::Codec::Mp4,
        protocol::Codec::Mp3 => codecs::Codec::Mp3,
        protocol::Codec::Aac => codecs::Codec::Aac,
        protocol::Codec::Flac => codecs::Codec::Flac,
        protocol::Codec::Wav => codecs::Codec::Wav,
    };
    StreamFormat { codec, sample_rate: audio.sample_rate, channels: audio.channels }
}

/// Requests of all sessions of this process are told apart by this, so that the pool can be fair.
static NEXT_KEY: AtomicU64 = AtomicU64::new(1);
/// Channels are `u8` on the wire and at most 8.
const MAX_CHANNELS: u64 = 8;
/// Markers that wait for their echo.
const MAX_MARKERS: usize = 64;
const MAX_MARKER_BYTES: usize = 64;
/// Turns that wait to be written down before the client is heard again.
const MAX_PENDING_FINALS: usize = 4;
