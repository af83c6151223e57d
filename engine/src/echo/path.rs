//! How loud the far end comes back, band by band, and which near frames hold nothing else.

use super::{Ring, spectrum::BANDS};

/// A known way from the loudspeaker to the microphone.
pub(super) struct Path {
    pub(super) lag: usize,
    gain: [f32; BANDS],
    reverberant: [f32; BANDS],
    explained: bool,
    smooth_r: f32,
    smooth_q: f32,
    next: u64,
}

/// Scratch space.
#[derive(Default)]
pub(super) struct PathEstimator {
    ratios: Vec<f32>,
}

impl PathEstimator {
    pub(super) fn estimate(&mut self, far: &Ring, near: &Ring, end: u64, lag: usize, known: Option<Path>) -> Option<Path> {
        let mut path = Path { lag, gain: [0.0; BANDS], reverberant: [0.0; BANDS], explained: false, smooth_q: 0.0, smooth_r: 0.0, next: 0 };
        let from = end.saturating_sub(WINDOW);
        let mut all = [0.0f32; BANDS];
        let mut some = 0;
        for band in 0..BANDS {
            self.ratios.clear();
            let mut r = 0.0f32;
            for at in from..end {
                let Some(f) = at.checked_sub(lag as u64).and_then(|at| far.get(at)) else { continue };
                let Some(n) = near.get(at) else { continue };
                r = (r * DECAY).max(f.spectrum.bands[band]);
                let d = n.spectrum.bands[band];
                if r > 16.0 * f.spectrum.noise[band] && d > 3.0 * n.spectrum.noise[band] {
                    self.ratios.push(d / r);
                }
            }
            if self.ratios.len() >= 8 {
                let mid = self.ratios.len() / 2;
                let (_, median, _) = self.ratios.select_nth_unstable_by(mid, f32::total_cmp);
                all[band] = *median;
                some += 1;
            }
        }
        if some < 3 {
            return known;
        }
        // Bands without a measure of their own take the geometric mean.
        let mean = (all.iter().filter(|g| **g > 0.0).map(|g| g.ln()).sum::<f32>() / some as f32).exp();
        for band in 0..BANDS {
            path.gain[band] = if all[band] > 0.0 { all[band] } else { mean };
            if let Some(known) = &known
                && known.lag.abs_diff(lag) <= 1
            {
                path.gain[band] = known.gain[band].powf(0.7) * path.gain[band].powf(0.3);
            }
        }
        Some(path)
    }
}

impl Path {
    pub(super) fn judge(&mut self, far: &Ring, near: &mut Ring, from: u64, to: u64) {
        if from != self.next {
            self.reverberant = [0.0; BANDS];
            self.explained = false;
            self.smooth_r = 0.0;
            self.smooth_q = 0.0;
        }
        for at in from..to {
            let now = at.checked_sub(self.lag as u64).and_then(|at| far.get(at));
            let ahead = at.checked_sub(self.lag as u64).and_then(|at| if self.lag > 0 { far.get(at + 1) } else { None });
            let Some(n) = near.get_mut(at) else { continue };
            let (mut q, mut r) = (0.0, 0.0);
            for band in 0..BANDS {
                let x = now.map_or(0.0, |f| f.spectrum.bands[band]);
                let y = ahead.map_or(0.0, |f| f.spectrum.bands[band]);
                self.reverberant[band] = (self.reverberant[band] * DECAY).max(x);
                let echo = MARGIN * self.gain[band] * self.reverberant[band].max(y);
                let d = n.spectrum.bands[band];
                let noise = 4.0 * n.spectrum.noise[band];
                q += (d - noise).max(0.0);
                r += (d - noise - echo).max(0.0);
            }
            self.smooth_q = 0.7 * self.smooth_q + q;
            self.smooth_r = 0.7 * self.smooth_r + r;
            if q > 0.0 {
                self.explained = self.smooth_r < SHARE * self.smooth_q;
            }
            n.explained = self.explained;
        }
        self.next = to;
    }
}

const WINDOW: u64 = 100;
/// 60 dB in 250 ms: 2.4 dB a frame.
const DECAY: f32 = 0.575;
/// 6 dB
const MARGIN: f32 = 4.0;
const SHARE: f32 = 0.3;
