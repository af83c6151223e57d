//! When a turn begins and ends: a pure state machine over voice-activity scores, counting in samples.
//!
//! Not here: audio (the listener keeps it), what the words say, any clock.

use codecs::{FRAME_SAMPLES, SampleIndex};

/// When turns begin and end. Times are milliseconds of audio.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndpointerConfig {
    /// A score from here on counts as speech; 0–1.
    pub threshold: f32,
    /// Silence after which a guess is worth making that the turn has ended. Default 200.
    pub pause_ms: u32,
    /// A turn ends after this much silence when a good deal was said; no turn ends sooner. Default 500.
    pub min_silence_ms: u32,
    /// A turn ends after this much silence when next to nothing was said; no turn goes on longer. Default 1,000.
    pub max_silence_ms: u32,
    /// A turn of this length ends at the first pause, so that text keeps coming. Default 25,000.
    pub long_turn_ms: u32,
    /// A turn of this length ends at once, which bounds the audio kept. Default 60,000 (3.7 MiB).
    pub max_turn_ms: u32,
    /// How often to say that a turn grows. Default 500.
    pub growing_ms: u32,
}

impl Default for EndpointerConfig {
    fn default() -> Self {
        Self {
            threshold: 0.5,
            pause_ms: 200,
            min_silence_ms: 500,
            max_silence_ms: 1_000,
            long_turn_ms: 25_000,
            max_turn_ms: 60_000,
            growing_ms: 500,
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
/// It never ends what has not begun: boundaries come as `Started (Growing | Paused Resumed?)* Ended`.
#[derive(Debug)]
pub struct Endpointer {
    config: EndpointerConfig,
    /// The last 32 frames, newest in bit 0: was it speech?
    recent: u32,
    /// End of the frames seen so far.
    now: SampleIndex,
    turn: Option<Turn>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    start: SampleIndex,
    speech_end: SampleIndex,
    paused: bool,
    grown: SampleIndex,
}

impl Endpointer {
    /// A state machine with no turn open.
    pub fn new(config: EndpointerConfig) -> Self {
        Self { config, recent: 0, now: SampleIndex::default(), turn: None }
    }

    /// Takes a new configuration; an open turn goes on under it.
    pub fn set_config(&mut self, config: EndpointerConfig) {
        self.config = config;
    }

    /// Whether a turn is open.
    pub fn in_turn(&self) -> bool {
        self.turn.is_some()
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
        let turn = self.turn.take()?;
        self.recent = 0;
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
        self.turn = Some(Turn { start, speech_end: self.now, paused: false, grown: start });
        Some(Boundary::Started(start))
    }

    fn advance(&mut self, mut turn: Turn) -> Option<Boundary> {
        let speaking = (self.recent & RESUME_WINDOW).count_ones() >= RESUME_FRAMES;
        let boundary = if speaking { self.speech(&mut turn) } else { self.silence(&mut turn) };
        if matches!(boundary, Some(Boundary::Ended(_))) {
            self.turn = None;
            self.recent = 0;
        } else {
            self.turn = Some(turn);
        }
        boundary
    }

    fn speech(&self, turn: &mut Turn) -> Option<Boundary> {
        turn.speech_end = self.now;
        if std::mem::take(&mut turn.paused) {
            return Some(Boundary::Resumed);
        }
        if self.now - turn.start >= samples(self.config.max_turn_ms) {
            return Some(Boundary::Ended(self.now));
        }
        self.growth(turn)
    }

    fn silence(&self, turn: &mut Turn) -> Option<Boundary> {
        let silence = self.now - turn.speech_end;
        if silence >= self.silence_needed(turn) {
            return Some(Boundary::Ended(turn.speech_end));
        }
        if !turn.paused && silence >= samples(self.config.pause_ms) {
            turn.paused = true;
            return Some(Boundary::Paused(turn.speech_end));
        }
        None
    }

    fn growth(&self, turn: &mut Turn) -> Option<Boundary> {
        if self.now - turn.grown < samples(self.config.growing_ms) {
            return None;
        }
        turn.grown = self.now;
        Some(Boundary::Growing)
    }

    /// Somebody who has said little ("So, …") is likely to go on: the less was said, the longer the wait.
    fn silence_needed(&self, turn: &Turn) -> u64 {
        let spoken = turn.speech_end - turn.start;
        if spoken >= samples(self.config.long_turn_ms) {
            return samples(self.config.pause_ms);
        }
        let min = samples(self.config.min_silence_ms);
        let extra = samples(self.config.max_silence_ms).saturating_sub(min);
        let said = spoken.min(samples(FULL_TURN_MS));
        min + extra - extra * said / samples(FULL_TURN_MS)
    }
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
/// From this much speech on a turn needs no more than the minimum of silence.
const FULL_TURN_MS: u32 = 1_500;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Runs `(frames, score)` pairs; boundaries come with the millisecond at which they were known.
    fn run(config: EndpointerConfig, script: &[(usize, f32)]) -> Vec<(u64, Boundary)> {
        let mut endpointer = Endpointer::new(config);
        let scores = script.iter().flat_map(|(frames, score)| std::iter::repeat_n(*score, *frames));
        let mut at = SampleIndex::default();
        let mut boundaries = Vec::new();
        for score in scores {
            let boundary = endpointer.push(at, score);
            at = at + FRAME_SAMPLES as u64;
            boundaries.extend(boundary.map(|boundary| (at.as_ms(), boundary)));
        }
        boundaries
    }

    fn check(script: &[(usize, f32)], expected: &[(u64, Boundary)]) {
        let config = EndpointerConfig { growing_ms: 1_000, ..EndpointerConfig::default() };
        assert_eq!(run(config, script), expected, "{script:?}");
    }

    const fn ms(ms: u64) -> SampleIndex {
        SampleIndex::from_ms(ms)
    }

    #[test]
    fn turns() {
        use Boundary::{Ended, Growing, Paused, Resumed, Started};
        // Silence, a click, a whole turn.
        check(&[(500, 0.0)], &[]);
        check(&[(10, 0.0), (7, 1.0), (100, 0.0)], &[]);
        // The last voiced frame plus the two-frame tail of the 3-of-5 rule.
        check(
            &[(10, 0.0), (200, 1.0), (100, 0.0)],
            &[
                (180, Started(ms(100))),
                (1_100, Growing),
                (2_100, Growing),
                (2_320, Paused(ms(2_120))),
                (2_620, Ended(ms(2_120))),
            ],
        );
        // Little said: a longer wait.
        check(
            &[(30, 1.0), (100, 0.0)],
            &[(80, Started(ms(0))), (520, Paused(ms(320))), (1_220, Ended(ms(320)))],
        );
        // A pause inside a turn, with a lone noisy frame that is not speech.
        check(
            &[(150, 1.0), (25, 0.0), (1, 1.0), (10, 0.0), (50, 1.0), (80, 0.0)],
            &[
                (80, Started(ms(0))),
                (1_000, Growing),
                (1_720, Paused(ms(1_520))),
                (1_890, Resumed),
                (2_000, Growing),
                (2_580, Paused(ms(2_380))),
                (2_880, Ended(ms(2_380))),
            ],
        );
    }

    #[test]
    fn a_turn_is_never_longer_than_its_bound() {
        let config =
            EndpointerConfig { max_turn_ms: 2_000, growing_ms: 10_000, ..EndpointerConfig::default() };
        let boundaries = run(config, &[(450, 1.0)]);
        let ended: Vec<_> = boundaries.iter().filter(|(_, b)| matches!(b, Boundary::Ended(_))).collect();
        assert_eq!(ended, [&(2_000, Boundary::Ended(ms(2_000))), &(4_000, Boundary::Ended(ms(4_000)))]);
    }

    #[test]
    fn a_long_turn_ends_at_its_first_pause() {
        let config =
            EndpointerConfig { long_turn_ms: 2_000, growing_ms: 90_000, ..EndpointerConfig::default() };
        let boundaries = run(config, &[(250, 1.0), (30, 0.0)]);
        assert_eq!(boundaries.last(), Some(&(2_720, Boundary::Ended(ms(2_520)))));
    }

    #[test]
    fn finalize_ends_a_turn_once() {
        let mut endpointer = Endpointer::new(EndpointerConfig::default());
        assert_eq!(endpointer.end_now(), None);
        for frame in 0..20 {
            endpointer.push(SampleIndex(frame * FRAME_SAMPLES as u64), 1.0);
        }
        assert_eq!(endpointer.end_now(), Some(Boundary::Ended(ms(200))));
        assert_eq!(endpointer.end_now(), None);
    }

    proptest! {
        #[test]
        fn nothing_ends_that_has_not_begun(scores in prop::collection::vec((0usize..120, any::<bool>()), 0..40)) {
            let script: Vec<_> = scores.iter().map(|(n, speech)| (*n, f32::from(u8::from(*speech)))).collect();
            let (mut open, mut paused, mut last_end) = (false, false, ms(0));
            for (at, boundary) in run(EndpointerConfig::default(), &script) {
                match boundary {
                    Boundary::Started(start) => {
                        prop_assert!(!open && start >= last_end && start <= ms(at));
                        open = true;
                    }
                    Boundary::Growing => prop_assert!(open && !paused),
                    Boundary::Paused(end) => {
                        prop_assert!(open && !paused && end <= ms(at));
                        paused = true;
                    }
                    Boundary::Resumed => prop_assert!(open && std::mem::take(&mut paused)),
                    Boundary::Ended(end) => {
                        prop_assert!(std::mem::take(&mut open) && end <= ms(at));
                        paused = false;
                        last_end = end;
                    }
                }
            }
        }
    }
}
