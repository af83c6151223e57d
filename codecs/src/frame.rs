//! The clock and the unit of the listening path: sample indices at 16 kHz and 10 ms frames.
//!
//! Not here: resampling (the framer takes 16 kHz mono) and any notion of speech.

use std::ops::{Add, Sub};

/// Samples per second of everything behind the resampler.
pub const SAMPLE_RATE: u32 = 16_000;

/// Samples in one frame: 10 ms at [`SAMPLE_RATE`].
pub const FRAME_SAMPLES: usize = 160;

/// Samples at 16 kHz since the session began: the only clock of the listening path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleIndex(pub u64);

impl SampleIndex {
    /// The index `ms` milliseconds after the session began.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms * (SAMPLE_RATE as u64 / 1000))
    }

    /// Whole milliseconds since the session began, rounded down.
    pub const fn as_ms(self) -> u64 {
        self.0 / (SAMPLE_RATE as u64 / 1000)
    }

    /// This index moved back by `samples`, never before the start of the session.
    pub const fn saturating_sub(self, samples: u64) -> Self {
        Self(self.0.saturating_sub(samples))
    }
}

impl Add<u64> for SampleIndex {
    type Output = Self;
    fn add(self, samples: u64) -> Self {
        Self(self.0 + samples)
    }
}

impl Sub for SampleIndex {
    type Output = u64;
    /// Samples from `earlier` to `self`; zero when `earlier` is later.
    fn sub(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// [`FRAME_SAMPLES`] samples of mono f32 in [-1, 1] at 16 kHz, borrowed from the [`Framer`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AudioFrame<'a> {
    /// Index of the first sample.
    pub start: SampleIndex,
    /// The samples.
    pub samples: &'a [f32],
}

/// Cuts a stream of samples into exact frames. Loses and invents no sample under any split of its input.
///
/// Push what the resampler gave, then take frames until there is none:
///
/// ```
/// let mut framer = codecs::Framer::new();
/// framer.push(&[0.0; 400]);
/// let mut frames = 0;
/// while framer.next_frame().is_some() { frames += 1; }
/// assert_eq!((frames, framer.pending()), (2, 80));
/// ```
#[derive(Debug, Default)]
pub struct Framer {
    samples: Vec<f32>,
    taken: usize,
    start: SampleIndex,
}

impl Framer {
    /// An empty framer; its first frame starts at sample 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends mono 16 kHz samples. Memory grows with what is pushed and not taken.
    pub fn push(&mut self, samples: &[f32]) {
        // Room freed by the frames already taken is reused, so that a steady stream does not allocate.
        self.samples.drain(..self.taken);
        self.taken = 0;
        self.samples.extend_from_slice(samples);
    }

    /// The next whole frame, or `None` until more is pushed.
    pub fn next_frame(&mut self) -> Option<AudioFrame<'_>> {
        let samples = self.samples.get(self.taken..self.taken + FRAME_SAMPLES)?;
        let start = self.start;
        self.taken += FRAME_SAMPLES;
        self.start = self.start + FRAME_SAMPLES as u64;
        Some(AudioFrame { start, samples })
    }

    /// Samples pushed and not yet part of a frame.
    pub fn pending(&self) -> usize {
        self.samples.len() - self.taken
    }

    /// Pads the last partial frame with silence, so that the end of the audio is heard. No-op when nothing is
    /// pending.
    pub fn pad(&mut self) {
        let missing = self.pending().next_multiple_of(FRAME_SAMPLES) - self.pending();
        self.samples.extend(std::iter::repeat_n(0.0, missing));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn milliseconds_and_samples_agree() {
        let check = |ms, samples, back| {
            assert_eq!(SampleIndex::from_ms(ms), SampleIndex(samples));
            assert_eq!(SampleIndex(samples).as_ms(), back);
        };
        check(0, 0, 0);
        check(10, 160, 10);
        check(3_600_000, 57_600_000, 3_600_000);
        assert_eq!(SampleIndex(159).as_ms(), 9);
        assert_eq!((SampleIndex(5) + 3, SampleIndex(5) - SampleIndex(3)), (SampleIndex(8), 2));
        assert_eq!((SampleIndex(3) - SampleIndex(5), SampleIndex(3).saturating_sub(5)), (0, SampleIndex(0)));
    }

    #[test]
    fn padding_completes_the_last_frame_once() {
        let check = |pushed: usize, frames: usize| {
            let mut framer = Framer::new();
            framer.push(&vec![1.0; pushed]);
            framer.pad();
            framer.pad();
            let mut samples = Vec::new();
            while let Some(frame) = framer.next_frame() {
                samples.extend_from_slice(frame.samples);
            }
            assert_eq!((samples.len(), framer.pending()), (frames * FRAME_SAMPLES, 0));
            assert!(
                samples[..pushed].iter().all(|&s| s == 1.0) && samples[pushed..].iter().all(|&s| s == 0.0)
            );
        };
        check(0, 0);
        check(1, 1);
        check(159, 1);
        check(160, 1);
        check(161, 2);
    }

    proptest! {
        /// However samples are pushed, and however many frames are taken in between, they come out once, in
        /// order.
        #[test]
        fn no_sample_is_lost_or_invented(
            steps in proptest::collection::vec((0usize..700, 0usize..6), 0..40),
        ) {
            let mut framer = Framer::new();
            let (mut pushed, mut taken) = (0usize, 0usize);
            for (push, take) in steps.into_iter().chain([(0, usize::MAX)]) {
                let samples: Vec<f32> = (pushed..pushed + push).map(|n| n as f32).collect();
                framer.push(&samples);
                pushed += push;
                for _ in 0..take {
                    let Some(frame) = framer.next_frame() else { break };
                    prop_assert_eq!(frame.start, SampleIndex(taken as u64));
                    let expected: Vec<f32> = (taken..taken + FRAME_SAMPLES).map(|n| n as f32).collect();
                    prop_assert_eq!(frame.samples, &expected[..]);
                    taken += FRAME_SAMPLES;
                }
                prop_assert_eq!(framer.pending(), pushed - taken);
            }
            prop_assert!(framer.pending() < FRAME_SAMPLES);
        }
    }
}
