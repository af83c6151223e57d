//! Is the far end in the near end, and how much later? Phase coherence, at each delay of a range.
//!
//! For each delay and frequency, the phase differences of the two ends are added up as unit vectors. Where the near
//! end repeats the far end they all point one way and the sum grows with their number; where it does not, with the root
//! of it. This is the generalised cross-correlation with phase transform (Knapp and Carter, 1976), kept per
//! frequency so that a room may turn each as it likes. Not here: how loud the echo is.

use super::{
    recent::Recent,
    spectrum::{BINS, Spectrum},
};

/// Coherence of the near end with the far end of some time before, for each delay.
#[derive(Default)]
pub(super) struct Coherence {
    /// In frames of 10 ms, from 0; empty until there is something to compare.
    delays: Vec<Delay>,
    frames: u64,
}

/// An echo.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    /// Its delay, in frames.
    pub(super) lag: u64,
    /// Its share of what the near end hears, 0–1: with a room or a louder voice less.
    pub(super) coherence: f32,
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
        self.delays.resize(DELAYS, UNHEARD);
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

    /// Where the far end is in what the near end hears, if it is.
    pub(super) fn found(&self) -> Option<Found> {
        let (lag, best) = (0..).zip(&self.delays).max_by(|(_, a), (_, b)| a.gain.total_cmp(&b.gain))?;
        let found = best.gain > MIN_GAIN && best.coherence > MIN_COHERENCE;
        found.then_some(Found { lag, coherence: best.coherence })
    }
}

impl Delay {
    fn add(&mut self, far: &Spectrum, near: &Spectrum) {
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

const UNHEARD: Delay = Delay {
    cos: [0.0; BINS],
    sin: [0.0; BINS],
    count: [0.0; BINS],
    independent: 0.0,
    gain: 0.0,
    coherence: 0.0,
};
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
/// Two people reach 1.9 at most, echoes without noise 10 to 49 (ADR 0006).
const MIN_GAIN: f32 = 4.0;
/// With less, somebody else is louder than the echo, and its loudness cannot be learnt now.
const MIN_COHERENCE: f32 = 0.12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::spectrum::Analyser;

    fn noise(seed: u32) -> Vec<f32> {
        let mut state = seed;
        let noise = (0..48_000).map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Silence first, for the noise estimate.
            if n < 3_200 { 0.0 } else { (state >> 8) as f32 / (1 << 24) as f32 - 0.5 }
        });
        noise.collect()
    }

    fn lag(far: &[f32], near: &[f32]) -> Option<u64> {
        let [far, near] = [far, near].map(|samples| {
            let (mut analyser, mut end) = (Analyser::new(), Recent::default());
            for frame in samples[..160 * 250].chunks(160) {
                end.push(analyser.spectrum(frame), true);
            }
            end
        });
        let mut coherence = Coherence::default();
        let compared = (0..near.end()).filter(|at| coherence.push(&far, &near, *at)).count() as u64;
        assert_eq!(coherence.frames(), compared);
        coherence.found().map(|found| found.lag)
    }

    #[test]
    fn finds_the_delay_and_only_a_delay() {
        let (far, other) = (noise(1), noise(99));
        for delay_ms in [0usize, 10, 130, 400] {
            let mut near = vec![0.0; delay_ms * 16];
            near.extend(far.iter().map(|sample| -0.05 * sample));
            assert_eq!(lag(&far, &near), Some(delay_ms as u64 / 10));
            let mixed: Vec<f32> = near.iter().zip(&other).map(|(echo, own)| echo + 0.05 * own).collect();
            assert_eq!(lag(&far, &mixed), Some(delay_ms as u64 / 10), "as loud as another voice");
            let faint: Vec<f32> = near.iter().zip(&other).map(|(echo, own)| echo + own).collect();
            assert_eq!(lag(&far, &faint), None, "26 dB below another voice");
        }
        assert_eq!(lag(&far, &other), None);
        assert_eq!(lag(&far, &vec![0.0; 48_000]), None);
        assert_eq!(lag(&vec![0.0; 48_000], &far), None);
        let early = &far[3_200..];
        assert_eq!(lag(&far, early), None, "nobody is heard before he speaks");
    }
}
