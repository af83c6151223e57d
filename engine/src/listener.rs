//! The ear: bytes of one stream in, turn events out. Synchronous; time is counted in samples.
//!
//! Decode → resample → frame → classify → endpoint, in [`Listener::push`]. Nothing is allocated per frame after
//! warm-up. Where the words must say whether a turn is over and have not, the listener *stands still*: it keeps what it is
//! given and hears it after [`Listener::hint`], so that turns are the same however fast audio and words come.
//! Not here: transcription, events for the client, any clock.

use std::sync::Arc;

use codecs::{
    DecodeError, Decoder, FRAME_SAMPLES, Finish, Framer, Pcm, Resampler, SampleIndex, StreamFormat,
};
use models::vad::VoiceActivityDetector;

use crate::{
    echo::{self, NearEnd},
    endpointer::{Boundary, Endpointer, EndpointerConfig},
    turn_end::TurnEnd,
};

/// Something heard on one channel of the stream.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnEvent {
    /// Index of the channel within the stream: 0 for a mono stream.
    pub channel: usize,
    /// What was heard.
    pub kind: TurnEventKind,
}

/// What was heard.
#[derive(Clone, Debug, PartialEq)]
pub enum TurnEventKind {
    /// A turn began with speech at this sample.
    Started(SampleIndex),
    /// The turn goes on; [`Listener::utterance`] has it so far.
    Growing,
    /// A pause; perhaps the turn is over. With [`EndpointerConfig::hints`] it is answered by [`Listener::hint`].
    Paused(Utterance),
    /// It was not over.
    Resumed,
    /// The turn is over.
    Ended(Utterance),
    /// The turn is over, and was another channel's echo: nobody said it here.
    Echoed(Utterance),
    /// Another channel is heard again on this one, and suppressed. Comes once.
    EchoFound,
}

/// The audio of one turn, so far or whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Utterance {
    /// Index of the first sample of `audio`: some pre-roll before the speech, so that no onset is clipped.
    pub audio_start: SampleIndex,
    /// First speech.
    pub speech_start: SampleIndex,
    /// End of the last speech.
    pub speech_end: SampleIndex,
    /// Audio heard when this was known; the difference to `speech_end` is what the decision took.
    pub heard: SampleIndex,
    /// Mono f32 at 16 kHz from `audio_start` to `heard`.
    pub audio: Arc<[f32]>,
}

/// Why a listener could not take what it was given.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// One packet was skipped; the listener goes on. Warn the client.
    #[error("{0}")]
    Skipped(String),
    /// The file cannot be heard as it comes, only by [`Listener::finish`]; the listener goes on. Warn the
    /// client.
    #[error("{0}")]
    NotLive(String),
    /// The stream cannot be heard. End the session.
    #[error("{0}")]
    Deaf(String),
}

/// Hears one stream: one decoder, and an ear for each channel kept apart.
pub struct Listener {
    decoder: Box<dyn Decoder>,
    /// The decoder has given all it had.
    decoded: bool,
    ears: Ears,
}

impl Listener {
    /// A listener for a stream in `format`, with one ear for each of `detectors`: one ear hears all channels mixed,
    /// several hear one interleaved channel each.
    ///
    /// # Errors
    /// [`ListenError::Deaf`] when the format cannot be decoded.
    pub fn new(
        format: StreamFormat,
        detectors: Vec<Box<dyn VoiceActivityDetector>>,
        config: EndpointerConfig,
    ) -> Result<Self, ListenError> {
        let decoder = codecs::decoder_for(format)?;
        let ears: Vec<_> = detectors.into_iter().map(|vad| Ear::new(vad, config)).collect();
        let order = (0..ears.len()).collect();
        Ok(Self {
            decoder,
            decoded: false,
            ears: Ears { ears, order, mono: Vec::new(), heard_ms: 0.0, mismatch: None },
        })
    }

    /// Gives the ear of `channel` its end of an echo guard.
    pub fn guard(&mut self, channel: usize, end: echo::End) {
        if matches!(end, echo::End::Far(_)) {
            // The far end hears first: its echo comes later.
            self.ears.order.sort_by_key(|index| *index != channel);
        }
        if let Some(ear) = self.ears.ears.get_mut(channel) {
            ear.echo = Some(end);
        }
    }

    /// Takes the next bytes of the stream, appending what was heard to `events`.
    ///
    /// # Errors
    /// After [`ListenError::Skipped`] go on; after [`ListenError::Deaf`] only [`finish`](Self::finish) makes sense.
    /// Events appended before the error stand. While the listener stands still the bytes are decoded and kept.
    pub fn push(&mut self, bytes: &[u8], events: &mut Vec<TurnEvent>) -> Result<(), ListenError> {
        let ears = &mut self.ears;
        ears.heard_ms = 0.0;
        self.decoder.decode(bytes, &mut |pcm| ears.hear(pcm, events))?;
        self.ears.check()
    }

    /// Says that `chunks` messages of the stream were lost before the next. True when their place will be
    /// filled with concealed audio.
    pub fn lose(&mut self, chunks: u32) -> bool {
        self.decoder.lose(chunks)
    }

    /// The stream is over: hears what was held back, about ten seconds of it a call, and in the end ends every
    /// open turn. Call it again after [`Finish::More`] and [`ListenError::Skipped`]; while the listener stands still it does
    /// nothing.
    ///
    /// # Errors
    /// As [`push`](Self::push); after [`ListenError::Deaf`] open turns are ended all the same.
    pub fn finish(&mut self, events: &mut Vec<TurnEvent>) -> Result<Finish, ListenError> {
        if self.stands_still() {
            return Ok(Finish::More);
        }
        if !self.decoded {
            let ears = &mut self.ears;
            ears.heard_ms = 0.0;
            let finished = self.decoder.finish(&mut |pcm| ears.hear(pcm, events)).map_err(ListenError::from);
            match finished.and_then(|finish| self.ears.check().map(|()| finish)) {
                Ok(Finish::Done) => {}
                Err(ListenError::Deaf(why)) => {
                    self.decoded = true;
                    self.ears.flush(events);
                    self.finalize(None, events);
                    return Err(ListenError::Deaf(why));
                }
                unfinished => return unfinished,
            }
            self.decoded = true;
            self.ears.flush(events);
            if self.stands_still() {
                return Ok(Finish::More);
            }
        }
        self.finalize(None, events);
        Ok(Finish::Done)
    }

    /// Ends the open turn of `channel` now, or of every channel. What was kept while the listener stood still is heard
    /// first, as if there were no words.
    pub fn finalize(&mut self, channel: Option<usize>, events: &mut Vec<TurnEvent>) {
        self.ears.hear_out(events);
        for (index, ear) in self.ears.ears.iter_mut().enumerate() {
            if channel.is_none_or(|wanted| wanted == index) {
                ear.end_now(index, events);
            }
        }
    }

    /// Says what the words before the pause of `channel` at `speech_end` mean: the answer to [`TurnEventKind::Paused`].
    /// Goes on with what was kept if that was what the listener stood still for; a pause that is over needs no answer.
    pub fn hint(
        &mut self,
        channel: usize,
        speech_end: SampleIndex,
        hint: TurnEnd,
        events: &mut Vec<TurnEvent>,
    ) {
        if let Some(ear) = self.ears.ears.get_mut(channel) {
            ear.hint(channel, speech_end, hint, events);
        }
        self.ears.listen(events);
    }

    /// Whether the words of a pause decide and have not come: nothing is heard until [`hint`](Self::hint) tells of them. Give
    /// the listener nothing meanwhile, since it keeps what it is given.
    pub fn stands_still(&self) -> bool {
        self.ears.stand_still()
    }

    /// Whether [`finish`](Self::finish) has taken everything out of the decoder: from then on [`finalize`](Self::finalize)
    /// loses nothing.
    pub fn is_decoded(&self) -> bool {
        self.decoded
    }

    /// The turn open on `channel`, so far.
    pub fn utterance(&self, channel: usize) -> Option<Utterance> {
        let ear = self.ears.ears.get(channel)?;
        let turn = ear.turn?;
        Some(ear.buffer.utterance(turn, ear.buffer.end()))
    }

    /// Takes a new configuration; open turns go on under it.
    pub fn set_config(&mut self, config: EndpointerConfig) {
        self.ears.ears.iter_mut().for_each(|ear| ear.endpointer.set_config(config));
    }

    /// Audio heard so far.
    pub fn heard(&self) -> SampleIndex {
        self.ears.ears.iter().map(|ear| ear.buffer.end()).max().unwrap_or_default()
    }
}

struct Ears {
    ears: Vec<Ear>,
    /// The order in which they hear.
    order: Vec<usize>,
    mono: Vec<f32>,
    /// Audio of the message being heard, in milliseconds.
    heard_ms: f64,
    mismatch: Option<String>,
}

impl Ears {
    fn hear(&mut self, pcm: Pcm<'_>, events: &mut Vec<TurnEvent>) {
        if self.ears.len() > 1 && self.ears.len() != usize::from(pcm.channels) {
            self.mismatch = Some(format!(
                "audio.layout is separate with {} roles, but the audio has {} channels; name one role for each",
                self.ears.len(),
                pcm.channels
            ));
            return;
        }
        self.heard_ms +=
            pcm.interleaved.len() as f64 * 1e3 / f64::from(pcm.channels) / f64::from(pcm.sample_rate);
        if self.heard_ms > MAX_MESSAGE_MS {
            self.mismatch = Some("one message unpacked to more than ten minutes of audio".to_owned());
            return;
        }
        for (index, ear) in self.ears.iter_mut().enumerate() {
            self.mono.clear();
            if self.order.len() > 1 {
                codecs::pick_channel(pcm.interleaved, pcm.channels, index as u16, &mut self.mono);
            } else {
                codecs::downmix(pcm.interleaved, pcm.channels, &mut self.mono);
            }
            if let Err(error) = ear.take(pcm.sample_rate, &self.mono) {
                self.mismatch = Some(error.to_string());
            }
        }
        self.listen(events);
    }

    /// Hears what the ears have taken, until one must stand still. Then all do: they take turns, frame by frame, because one
    /// may hear the other's echo.
    fn listen(&mut self, events: &mut Vec<TurnEvent>) {
        while !self.stand_still() {
            let mut heard = false;
            for &index in &self.order {
                heard |= self.ears[index].listen(index, events);
            }
            if !heard {
                return;
            }
        }
    }

    fn stand_still(&self) -> bool {
        self.ears.iter().any(|ear| ear.endpointer.is_waiting())
    }

    /// Hears all that was taken, as if there were no words.
    fn hear_out(&mut self, events: &mut Vec<TurnEvent>) {
        self.listen(events);
        while self.stand_still() {
            for (index, ear) in self.ears.iter_mut().enumerate() {
                if let Some(speech_end) = ear.endpointer.waits_for() {
                    ear.hint(index, speech_end, TurnEnd::Unknown, events);
                }
            }
            self.listen(events);
        }
    }

    /// Takes what the resamplers hold back.
    fn flush(&mut self, events: &mut Vec<TurnEvent>) {
        self.ears.iter_mut().for_each(Ear::flush);
        self.listen(events);
    }

    fn check(&self) -> Result<(), ListenError> {
        self.mismatch.clone().map_or(Ok(()), |why| Err(ListenError::Deaf(why)))
    }
}

struct Ear {
    resampler: Option<(u32, Resampler)>,
    resampled: Vec<f32>,
    framer: Framer,
    vad: Box<dyn VoiceActivityDetector>,
    endpointer: Endpointer,
    buffer: AudioBuffer,
    turn: Option<OpenTurn>,
    echo: Option<echo::End>,
}

#[derive(Clone, Copy)]
struct OpenTurn {
    audio_start: SampleIndex,
    speech_start: SampleIndex,
}

impl Ear {
    fn new(vad: Box<dyn VoiceActivityDetector>, config: EndpointerConfig) -> Self {
        Self {
            resampler: None,
            resampled: Vec::new(),
            framer: Framer::new(),
            vad,
            endpointer: Endpointer::new(config),
            buffer: AudioBuffer::default(),
            turn: None,
            echo: None,
        }
    }

    /// Keeps audio to be heard by [`listen`](Self::listen).
    fn take(&mut self, sample_rate: u32, mono: &[f32]) -> Result<(), codecs::ResampleError> {
        if self.resampler.as_ref().is_none_or(|(rate, _)| *rate != sample_rate) {
            self.flush();
            self.resampler = Some((sample_rate, Resampler::new(sample_rate)?));
        }
        if let Some((_, resampler)) = &mut self.resampler {
            self.resampled.clear();
            resampler.process(mono, &mut self.resampled);
            self.framer.push(&self.resampled);
        }
        Ok(())
    }

    /// Takes what the resampler and the framer hold back: at the end, or before the sample rate changes.
    fn flush(&mut self) {
        if let Some((_, mut resampler)) = self.resampler.take() {
            self.resampled.clear();
            resampler.flush(&mut self.resampled);
            self.framer.push(&self.resampled);
            self.framer.pad();
        }
    }

    /// Hears the next frame, if there is one.
    fn listen(&mut self, channel: usize, events: &mut Vec<TurnEvent>) -> bool {
        let Some(frame) = self.framer.next_frame() else { return false };
        let mut score = self.vad.classify(frame.samples);
        let mut samples = frame.samples;
        match &mut self.echo {
            Some(echo::End::Far(far_end)) => far_end.hear(samples),
            Some(echo::End::Near(near_end)) => {
                if near_end.hear(samples, score) {
                    // Nobody hears it: not the endpointer, nor the transcriber before and after a turn's speech.
                    (samples, score) = (&SILENT_FRAME, 0.0);
                }
                if near_end.take_notice() {
                    events.push(TurnEvent { channel, kind: TurnEventKind::EchoFound });
                }
            }
            None => {}
        }
        self.buffer.push(samples, self.turn.is_some());
        let boundary = self.endpointer.push(frame.start, score);
        let told = self.tell(channel, boundary, events);
        if let Some(Boundary::Paused(speech_end)) = boundary.filter(|_| !told) {
            // Nobody knows of this pause who could say anything of its words.
            self.hint(channel, speech_end, TurnEnd::Unknown, events);
        }
        true
    }

    fn hint(&mut self, channel: usize, speech_end: SampleIndex, hint: TurnEnd, events: &mut Vec<TurnEvent>) {
        let boundary = self.endpointer.hint(speech_end, hint);
        self.tell(channel, boundary, events);
    }

    fn end_now(&mut self, channel: usize, events: &mut Vec<TurnEvent>) {
        let boundary = self.endpointer.end_now();
        self.tell(channel, boundary, events);
    }

    /// Appends the event of `boundary`, if it has one.
    fn tell(&mut self, channel: usize, boundary: Option<Boundary>, events: &mut Vec<TurnEvent>) -> bool {
        let near_end = self.echo.as_mut().and_then(near);
        let kind = boundary.and_then(|boundary| note(&mut self.turn, &mut self.buffer, near_end, boundary));
        let told = kind.is_some();
        events.extend(kind.map(|kind| TurnEvent { channel, kind }));
        told
    }
}

fn near(end: &mut echo::End) -> Option<&mut NearEnd> {
    match end {
        echo::End::Near(near_end) => Some(near_end),
        echo::End::Far(_) => None,
    }
}

/// Keeps the open turn in step with the endpointer, and gives each boundary its audio. While a turn is the other
/// channel's echo, only its ends are worth telling.
fn note(
    turn: &mut Option<OpenTurn>,
    buffer: &mut AudioBuffer,
    near_end: Option<&mut NearEnd>,
    boundary: Boundary,
) -> Option<TurnEventKind> {
    let open = turn.unwrap_or(OpenTurn { audio_start: buffer.end(), speech_start: buffer.end() });
    let is_echo = || near_end.as_ref().is_some_and(|near_end| near_end.turn_is_echo());
    Some(match boundary {
        Boundary::Started(speech_start) => {
            let audio_start = buffer.pre_roll(speech_start);
            *turn = Some(OpenTurn { audio_start, speech_start });
            if let Some(near_end) = near_end {
                near_end.start_turn(speech_start);
            }
            TurnEventKind::Started(speech_start)
        }
        Boundary::Growing | Boundary::Paused(_) if is_echo() => return None,
        Boundary::Growing => TurnEventKind::Growing,
        Boundary::Paused(speech_end) => TurnEventKind::Paused(buffer.utterance(open, speech_end)),
        Boundary::Resumed => TurnEventKind::Resumed,
        Boundary::Ended(speech_end) => {
            let utterance = buffer.utterance(open, speech_end);
            *turn = None;
            buffer.floor = speech_end;
            if is_echo() { TurnEventKind::Echoed(utterance) } else { TurnEventKind::Ended(utterance) }
        }
    })
}

/// The audio of the open turn, or the pre-roll of the next one.
#[derive(Default)]
struct AudioBuffer {
    samples: Vec<f32>,
    start: SampleIndex,
    /// End of the last turn's speech: no later turn's audio reaches back behind it.
    floor: SampleIndex,
}

impl AudioBuffer {
    fn push(&mut self, samples: &[f32], in_turn: bool) {
        if !in_turn && self.samples.len() >= 2 * KEPT_SAMPLES {
            let surplus = self.samples.len() - KEPT_SAMPLES;
            self.samples.drain(..surplus);
            self.samples.shrink_to(2 * KEPT_SAMPLES + FRAME_SAMPLES);
            self.start = self.start + surplus as u64;
        }
        self.samples.extend_from_slice(samples);
    }

    fn end(&self) -> SampleIndex {
        self.start + self.samples.len() as u64
    }

    fn pre_roll(&self, speech_start: SampleIndex) -> SampleIndex {
        speech_start.saturating_sub(PRE_ROLL_SAMPLES).max(self.floor).max(self.start)
    }

    fn utterance(&self, turn: OpenTurn, speech_end: SampleIndex) -> Utterance {
        let skipped = (turn.audio_start - self.start) as usize;
        Utterance {
            audio_start: turn.audio_start,
            speech_start: turn.speech_start,
            speech_end,
            heard: self.end(),
            audio: Arc::from(self.samples.get(skipped..).unwrap_or_default()),
        }
    }
}

impl From<DecodeError> for ListenError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::PacketSkipped(why) => Self::Skipped(why),
            DecodeError::NotLive(why) => Self::NotLive(why),
            DecodeError::Format(why) | DecodeError::Undecodable(why) => Self::Deaf(why),
        }
    }
}

/// A few bytes can unpack to hours of silence, all of it heard at once: more than any real codec packs into a message.
const MAX_MESSAGE_MS: f64 = 600_000.0;
/// What is kept of a frame that is only an echo.
const SILENT_FRAME: [f32; FRAME_SAMPLES] = [0.0; FRAME_SAMPLES];
/// 300 ms before the first speech frame: detectors are late, and a plosive's burst is quiet.
const PRE_ROLL_SAMPLES: u64 = SampleIndex::from_ms(300).0;
/// Kept between turns: the pre-roll and the onset window of the endpointer.
const KEPT_SAMPLES: usize = SampleIndex::from_ms(500).0 as usize;
