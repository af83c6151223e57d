//! When a turn begins and ends: a pure state machine over voice-activity scores, counting in samples.
//!
//! Not here: audio (the listener keeps it), how words are read (`turn_end`), any clock.

mod rhythm;
#[cfg(test)]
mod tests;

use codecs::{FRAME_SAMPLES, SampleIndex};

use self::rhythm::Rhythm;
use crate::turn_end::TurnEnd;

/// When turns begin and end. Times are milliseconds of audio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndpointerConfig {
    /// A score from here on counts as speech; 0–1.
    pub threshold: f32,
    /// Silence after which a guess is worth making that the turn has ended. Default 80.
    pub pause_ms: u32,
    /// A turn ends after this much silence when its words are a whole question; no turn ends sooner. Default 250.
    pub min_silence_ms: u32,
    /// A turn ends after this much silence when its words break off; no turn goes on longer. Default 1,200.
    pub max_silence_ms: u32,
    /// A turn of this length ends at its first pause of `min_silence_ms`, so that text keeps coming. Default 25,000.
    pub long_turn_ms: u32,
    /// A turn of this length ends at once, which bounds the audio kept. Default 60,000 (3.7 MiB).
    pub max_turn_ms: u32,
    /// How often to say that a turn grows. Default 500; the first time comes 100 later.
    pub growing_ms: u32,
    /// Whether each pause is answered by [`Endpointer::hint`]. Then no pause goes beyond `min_silence_ms` without one: see
    /// [`Endpointer::is_waiting`]. Default false.
    pub hints: bool,
}

impl Default for EndpointerConfig {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            pause_ms: 80,
            min_silence_ms: 250,
            max_silence_ms: 800,
            long_turn_ms: 25_000,
            max_turn_ms: 60_000,
            growing_ms: 500,
            hints: false,
        }
    }
}

/// What a frame changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Boundary {
    /// A turn began; its first speech is at this sample.
    Started(SampleIndex),
    /// The turn has grown by [`growing_ms`](EndpointerConfig::growing_ms).
    Growing,
    /// Silence since the speech ended at this sample; perhaps the turn is over.
    Paused(SampleIndex),
    /// Speech again: it was not over.
    Resumed,
    /// The turn is over; its speech ended at this sample.
    Ended(SampleIndex),
}

/// Turns voice-activity scores into [`Boundary`]s, one 10 ms frame at a time.
///
/// It never ends what has not begun: boundaries come as `Started (Growing | Paused Resumed?)* Ended`. Unless a turn is cut
/// for its length or by [`end_now`](Self::end_now), it ends after `min_silence_ms` to `max_silence_ms` of silence, whatever
/// the words say.
#[derive(Debug)]
pub struct Endpointer {
    config: EndpointerConfig,
    /// The last 32 frames, newest in bit 0: was it speech?
    recent: u32,
    /// End of the frames seen so far.
    now: SampleIndex,
    turn: Option<Turn>,
    rhythm: Rhythm,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    start: SampleIndex,
    speech_end: SampleIndex,
    paused: bool,
    grown: SampleIndex,
    /// What the words before this pause say.
    hint: Option<TurnEnd>,
}

impl Endpointer {
    /// A state machine with no turn open.
    pub fn new(config: EndpointerConfig) -> Self {
        Self { config, recent: 0, now: SampleIndex::default(), turn: None, rhythm: Rhythm::default() }
    }

    /// Takes a new configuration; an open turn goes on under it.
    pub fn set_config(&mut self, config: EndpointerConfig) {
        if config.hints
            && !self.config.hints
            && let Some(turn) = self.turn.as_mut().filter(|turn| turn.paused)
        {
            // Nobody was asked for the words before this pause, and nobody will be.
            turn.hint.get_or_insert(TurnEnd::Unknown);
        }
        self.config = config;
    }

    /// Whether a turn is open.
    pub fn in_turn(&self) -> bool {
        self.turn.is_some()
    }

    /// Whether the words now decide and have not been heard of: give a [`hint`](Self::hint) before the next frame. A frame
    /// pushed all the same finds the turn as if there were no words.
    pub fn is_waiting(&self) -> bool {
        self.waits_for().is_some()
    }

    /// The pause that waits for its hint, by the end of the speech before it.
    pub fn waits_for(&self) -> Option<SampleIndex> {
        let min = samples(self.config.min_silence_ms);
        let turn = self.turn.filter(|turn| self.words_decide(turn))?;
        (self.now - turn.speech_end >= min).then_some(turn.speech_end)
    }

    /// Says what the words before the pause at `speech_end` mean, which may end the turn at once. Of a pause that is over it
    /// says nothing.
    pub fn hint(&mut self, speech_end: SampleIndex, hint: TurnEnd) -> Option<Boundary> {
        let mut turn = self.turn.filter(|turn| turn.paused && turn.speech_end == speech_end)?;
        turn.hint = Some(hint);
        self.turn = Some(turn);
        let silence = self.now - turn.speech_end;
        (silence >= self.silence_needed(&turn)).then(|| {
            self.close();
            Boundary::Ended(turn.speech_end)
        })
    }

    /// Takes the score of the frame that starts at `start`; frames come in order and without gaps.
    pub fn push(&mut self, start: SampleIndex, score: f32) -> Option<Boundary> {
        self.recent = self.recent << 1 | u32::from(score >= self.config.threshold);
        self.now = start + FRAME_SAMPLES as u64;
        match self.turn {
            None => self.begin(),
            Some(turn) => self.advance(turn),
        }
    }

    /// Ends the open turn now, if there is one: the client said so, or the audio is over.
    pub fn end_now(&mut self) -> Option<Boundary> {
        let turn = self.turn?;
        self.close();
        let speech_end = if turn.paused { turn.speech_end } else { self.now };
        Some(Boundary::Ended(speech_end))
    }

    fn begin(&mut self) -> Option<Boundary> {
        let window = self.recent & ONSET_WINDOW;
        if window.count_ones() < ONSET_FRAMES {
            return None;
        }
        let frames_back = u64::from(u32::BITS - window.leading_zeros());
        let start = self.now.saturating_sub(frames_back * FRAME_SAMPLES as u64);
        let grown = start + samples(FIRST_GROWTH_MS);
        self.turn = Some(Turn { start, speech_end: self.now, paused: false, grown, hint: None });
        Some(Boundary::Started(start))
    }

    fn close(&mut self) {
        self.turn = None;
        self.recent = 0;
    }

    fn advance(&mut self, mut turn: Turn) -> Option<Boundary> {
        let speaking = (self.recent & RESUME_WINDOW).count_ones() >= RESUME_FRAMES;
        let boundary = if speaking { self.speech(&mut turn) } else { self.silence(&mut turn) };
        if matches!(boundary, Some(Boundary::Ended(_))) {
            self.close();
        } else {
            self.turn = Some(turn);
        }
        boundary
    }

    fn speech(&mut self, turn: &mut Turn) -> Option<Boundary> {
        let silence = self.now - turn.speech_end;
        turn.speech_end = self.now;
        if std::mem::take(&mut turn.paused) {
            turn.hint = None;
            self.rhythm.paused(SampleIndex(silence).as_ms() as u32);
            return Some(Boundary::Resumed);
        }
        if self.now - turn.start >= samples(self.config.max_turn_ms) {
            return Some(Boundary::Ended(self.now));
        }
        self.growth(turn)
    }

    fn silence(&self, turn: &mut Turn) -> Option<Boundary> {
        let silence = self.now - turn.speech_end;
        if !turn.paused && silence >= samples(self.config.pause_ms) {
            turn.paused = true;
            return Some(Boundary::Paused(turn.speech_end));
        }
        (silence >= self.silence_needed(turn)).then_some(Boundary::Ended(turn.speech_end))
    }

    fn growth(&self, turn: &mut Turn) -> Option<Boundary> {
        if self.now - turn.grown < samples(self.config.growing_ms) {
            return None;
        }
        turn.grown = self.now;
        Some(Boundary::Growing)
    }

    /// Whether a hint makes a difference and has not come.
    fn words_decide(&self, turn: &Turn) -> bool {
        let possible = self.config.hints && self.config.min_silence_ms < self.config.max_silence_ms;
        possible && turn.paused && turn.hint.is_none() && !self.is_long(turn)
    }

    fn is_long(&self, turn: &Turn) -> bool {
        turn.speech_end - turn.start >= samples(self.config.long_turn_ms)
    }

    /// The silence that ends the turn.
    fn silence_needed(&self, turn: &Turn) -> u64 {
        let (min, max) = (self.config.min_silence_ms, self.config.max_silence_ms);
        if self.is_long(turn) {
            return samples(min);
        }
        let needed = match turn.hint {
            Some(TurnEnd::Finished) => min,
            Some(TurnEnd::Unfinished) => max,
            Some(TurnEnd::Open) => self.rhythm.silence_ms(),
            Some(TurnEnd::Unknown) | None => without_words(turn.speech_end - turn.start),
        };
        let needed = samples(needed.min(max).max(min));
        // The frame that reaches the minimum asks for the words first.
        if self.words_decide(turn) { needed.max(samples(min) + FRAME_SAMPLES as u64) } else { needed }
    }
}

/// Somebody who has said little ("So, …") is likely to go on: the less was said, the longer the wait.
fn without_words(spoken: u64) -> u32 {
    let said = SampleIndex(spoken).as_ms().min(FULL_TURN_MS.into()) as u32;
    FULL_SILENCE_MS + LITTLE_SILENCE_MS - LITTLE_SILENCE_MS * said / FULL_TURN_MS
}

const fn samples(ms: u32) -> u64 {
    SampleIndex::from_ms(ms as u64).0
}

/// A turn begins when [`ONSET_FRAMES`] of the last 12 frames are speech: a click is shorter.
const ONSET_WINDOW: u32 = (1 << 12) - 1;
const ONSET_FRAMES: u32 = 8;
/// Speech goes on while [`RESUME_FRAMES`] of the last 5 frames are speech: a lone frame is noise.
const RESUME_WINDOW: u32 = (1 << 5) - 1;
const RESUME_FRAMES: u32 = 3;
/// Without words, a turn of this much speech ends after [`FULL_SILENCE_MS`]; a shorter one after up to
/// [`LITTLE_SILENCE_MS`] more.
const FULL_TURN_MS: u32 = 1_500;
const FULL_SILENCE_MS: u32 = 500;
const LITTLE_SILENCE_MS: u32 = 500;
/// The first words are asked for when a few have been said.
const FIRST_GROWTH_MS: u32 = 100;
