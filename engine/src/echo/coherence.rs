//! Is the far end in the near end, and how much later? Phase coherence, at each delay of a range.
//!
//! For each delay and frequency, the phase differences of the two ends are added up as unit vectors. Where the near
//! end repeats the far end they all point one way and the sum grows with their number; where it does not, with the root
//! of it. This is the generalised cross-correlation with phase transform (Knapp and Carter, 1976), kept per
//! frequency so that a room may turn each as it likes. Not here: how loud the echo is.

use super::{recent::Recent, spectrum::BINS};

/// Coherence of the near end with the far end of some time before, for each delay.
pub(super) struct Coherence {
    /// In frames of 10 ms, from 0.
    delays: Vec<Delay>,
    frames: u64,
}

/// What is known of one delay. All sums forget at [`MEMORY`].
#[derive(Clone)]
struct Delay {
    cos: [f32; BINS],
    sin: [f32; BINS],
    /// How many vectors each bin's sum is of.
    count: [f32; BINS],
    /// The power the sums would have, were their vectors independent.
    independent: f32,
    /// Times more power than that.
    gain: f32,
    /// Share of what it would be, did the vectors all point one way; without what chance gives.
    coherence: f32,
}

impl Coherence {
    /// Compares near frame `at` with the far frames up to it; false when there is nothing to compare.
    pub(super) fn push(&mut self, far: &Recent, near: &Recent, at: u64) -> bool {
        let earlier = |delay: usize| far.get(at.checked_sub(delay as u64)?).map(|frame| &frame.spectrum);
        let Some(near) =
            near.get(at).map(|frame| &frame.spectrum).filter(|near| near.audible() >= AUDIBLE_BINS)
        else {
            return false;
        };
        if !(0..DELAYS).filter_map(earlier).any(|far| far.audible() >= AUDIBLE_BINS) {
            return false;
        }
        self.frames += 1;
        for (delay, sums) in self.delays.iter_mut().enumerate() {
            if let Some(far) = earlier(delay) {
                sums.add(far, near);
            }
        }
        true
    }

    /// Frames compared so far.
    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// The delay, in frames, at which the far end is most of what the near end hears, if there is one.
    pub(super) fn lag(&self) -> Option<u64> {
        let (lag, best) = (0..).zip(&self.delays).max_by(|(_, a), (_, b)| a.gain.total_cmp(&b.gain))?;
        (best.gain > MIN_GAIN && best.coherence > MIN_COHERENCE).then_some(lag)
    }
}

impl Default for Coherence {
    fn default() -> Self {
        let nothing = Delay {
            cos: [0.0; BINS],
            sin: [0.0; BINS],
            count: [0.0; BINS],
            independent: 0.0,
            gain: 0.0,
            coherence: 0.0,
        };
        Self { delays: vec![nothing; DELAYS], frames: 0 }
    }
}

impl Delay {
    fn add(&mut self, far: &super::spectrum::Spectrum, near: &super::spectrum::Spectrum) {
        let (mut vectors, mut power, mut most) = (0.0, 0.0, 0.0);
        for bin in 0..BINS {
            let [a, b] = [far.cos[bin], far.sin[bin]].map(i16::from);
            let [c, d] = [near.cos[bin], near.sin[bin]].map(i16::from);
            // cos(α−β) and sin(α−β); 127² of each product fits 16 bits, and their sum is no longer.
            let cos = f32::from(a * c + b * d) * UNIT;
            let sin = f32::from(a * d - b * c) * UNIT;
            let vector = cos * cos + sin * sin;
            vectors += vector;
            self.cos[bin] = self.cos[bin] * MEMORY + cos;
            self.sin[bin] = self.sin[bin] * MEMORY + sin;
            self.count[bin] = self.count[bin] * MEMORY + vector;
            power += self.cos[bin] * self.cos[bin] + self.sin[bin] * self.sin[bin];
            most += self.count[bin] * self.count[bin];
        }
        self.independent = self.independent * MEMORY * MEMORY + vectors;
        let chance = OVERLAP * self.independent;
        self.gain = power / self.independent.max(MIN_VECTORS);
        self.coherence = (power - chance) / (most - chance).max(1.0);
    }
}

/// 0–450 ms: network and sound card of a video call, and a room.
const DELAYS: usize = 46;
/// Of each 20 ms: a second and a half back it is a twentieth, so that a path that changes is found again.
const MEMORY: f32 = 0.96;
/// A frame with fewer audible bins tells nothing.
const AUDIBLE_BINS: usize = 12;
/// Vectors of fewer bins than these are taken for as many: a few agree by chance.
const MIN_VECTORS: f32 = 200.0;
const UNIT: f32 = 1.0 / (127.0 * 127.0);
/// Neighbouring spectra overlap: independent ones reach this many times the power that independent vectors would.
const OVERLAP: f32 = 1.3;
/// Independent voices stay below 2.7 (ADR 0006); echoes reach 8 to 98.
const MIN_GAIN: f32 = 4.0;
/// With less, somebody else is louder than the echo, and its loudness cannot be learnt now.
const MIN_COHERENCE: f32 = 0.12;
