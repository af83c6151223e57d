//! Is the far end in the near end, and how late? Phase coherence at each of a range of delays.

use super::{Ring, spectrum::BINS};

/// Coherence of near end and delayed far end, for each delay.
pub(super) struct Coherence {
    lags: Vec<Lag>,
    frames: u64,
    n1: f32,
    n2: f32,
}

#[derive(Clone)]
struct Lag {
    re: [f32; BINS],
    im: [f32; BINS],
    /// What the sum's power would be, were its terms independent.
    independent: f32,
    gain: f32,
}

impl Default for Coherence {
    fn default() -> Self {
        let lag = Lag { re: [0.0; BINS], im: [0.0; BINS], independent: 0.0, gain: 0.0 };
        Self { lags: vec![lag; LAGS], frames: 0, n1: 0.0, n2: 0.0 }
    }
}

impl Coherence {
    /// Compares near frame `at` with the far frames before it; false when one of them is silent.
    pub(super) fn push(&mut self, far: &Ring, near: &Ring, at: u64) -> bool {
        let Some(near) = near.get(at).map(|frame| &frame.spectrum) else { return false };
        let active = |re: &[f32; BINS], im: &[f32; BINS]| re.iter().zip(im).filter(|(re, im)| **re != 0.0 || **im != 0.0).count();
        if active(&near.re, &near.im) < ACTIVE_BINS {
            return false;
        }
        let heard = (0..LAGS).filter_map(|lag| far.get(at.checked_sub(lag as u64)?)).any(|f| f.spectrum.re.iter().filter(|r| **r != 0.0).count() >= ACTIVE_BINS);
        if !heard {
            return false;
        }
        self.frames += 1;
        self.n1 = self.n1 * MEMORY + 1.0;
        self.n2 = self.n2 * MEMORY * MEMORY + 1.0;
        for (lag, sum) in self.lags.iter_mut().enumerate() {
            let Some(far) = at.checked_sub(lag as u64).and_then(|at| far.get(at)).map(|frame| &frame.spectrum) else {
                continue;
            };
            let (mut independent, mut power) = (0.0, 0.0);
            for bin in 0..BINS {
                let re = far.re[bin] * near.re[bin] + far.im[bin] * near.im[bin];
                let im = far.re[bin] * near.im[bin] - far.im[bin] * near.re[bin];
                independent += re * re + im * im;
                sum.re[bin] = sum.re[bin] * MEMORY + re;
                sum.im[bin] = sum.im[bin] * MEMORY + im;
                power += sum.re[bin] * sum.re[bin] + sum.im[bin] * sum.im[bin];
            }
            sum.independent = sum.independent * MEMORY * MEMORY + independent;
            sum.gain = power / sum.independent.max(MIN_INDEPENDENT);
        }
        true
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    /// Lag, gain, coherence.
    pub(super) fn best(&self) -> (usize, f32, f32) {
        let (lag, best) = self
            .lags
            .iter()
            .map(|lag| lag.gain)
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or_default();
        let full = self.n1 * self.n1 / self.n2.max(1e-9);
        (lag, best, (best - 1.0) / (full - 1.0).max(1.0))
    }

    /// The delay at which the far end is in the near end.
    pub(super) fn lag(&self) -> Option<usize> {
        let (lag, gain, coherence) = self.best();
        (gain > DETECTED && coherence > COHERENT).then_some(lag)
    }
}

pub(super) const LAGS: usize = 46;
const MEMORY: f32 = 0.98;
const ACTIVE_BINS: usize = 12;
const MIN_INDEPENDENT: f32 = 200.0;
const DETECTED: f32 = 5.0;
const COHERENT: f32 = 0.12;
