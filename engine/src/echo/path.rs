//! How loud the far end comes back in each band, and which near frames hold nothing else.
//!
//! The echo to be expected is the far end's power some time before, falling exponentially as in a room, times the path's
//! gain. A near frame that has hardly more than that is explained (a level comparison as in Geigel's double-talk detector,
//! by bands). Not here: finding the delay (`coherence`).

use super::{recent::Recent, spectrum::BANDS};

/// The way from the interviewer's channel through the loudspeaker into the microphone.
pub(super) struct Path {
    lag: u64,
    /// Power in the near end for each power in the far end.
    gain: [f32; BANDS],
    /// The far end's power with its reverberation, at `next`.
    reverberant: [f32; BANDS],
    /// Power lately above the noise, and what of it the echo does not explain.
    heard: f32,
    unexplained: f32,
    explained: bool,
    /// The frame that is judged next.
    next: u64,
}

impl Path {
    /// The path as the frames before `end` show it, which were compared and are mostly echo; where they show too little,
    /// what was known.
    pub(super) fn learn(
        known: Option<Self>,
        far: &Recent,
        near: &Recent,
        end: u64,
        lag: u64,
    ) -> Option<Self> {
        let mut gains: [Option<f32>; BANDS] = std::array::from_fn(|band| gain(far, near, end, lag, band));
        let measured = gains.iter().flatten().count();
        if measured < MIN_BANDS {
            return known;
        }
        if let Some(known) = known.filter(|known| known.lag.abs_diff(lag) <= 1) {
            for (gain, known) in gains.iter_mut().zip(known.gain) {
                *gain = Some(gain.map_or(known, |gain| known.powf(1.0 - LEARNING) * gain.powf(LEARNING)));
            }
        }
        let known = gains.iter().flatten();
        let mean = (known.clone().map(|gain| gain.ln()).sum::<f32>() / known.count() as f32).exp();
        Some(Self {
            lag,
            gain: gains.map(|gain| gain.unwrap_or(mean)),
            reverberant: [0.0; BANDS],
            heard: 0.0,
            unexplained: 0.0,
            explained: false,
            next: 0,
        })
    }

    /// The delay, in frames.
    pub(super) fn lag(&self) -> u64 {
        self.lag
    }

    /// Judges the near frames in `from..to`.
    pub(super) fn judge(&mut self, far: &Recent, near: &mut Recent, from: u64, to: u64) {
        if from != self.next {
            self.reverberant = [0.0; BANDS];
            (self.heard, self.unexplained, self.explained) = (0.0, 0.0, false);
        }
        for at in from..to {
            let source = at.checked_sub(self.lag).and_then(|at| far.get(at));
            let Some(frame) = near.get_mut(at) else { continue };
            let (mut heard, mut unexplained) = (0.0, 0.0);
            for band in 0..BANDS {
                let reverberant = &mut self.reverberant[band];
                *reverberant = (*reverberant * DECAY).max(source.map_or(0.0, |far| far.spectrum.power[band]));
                let above_noise = frame.spectrum.power[band] - NOISE_MARGIN * frame.spectrum.noise[band];
                heard += above_noise.max(0.0);
                unexplained += (above_noise - MARGIN * self.gain[band] * *reverberant).max(0.0);
            }
            self.heard = SMOOTHING * self.heard + heard;
            self.unexplained = SMOOTHING * self.unexplained + unexplained;
            // A frame of noise only is what the frame before it was: the detector still hears that one.
            if heard > 0.0 {
                self.explained = self.unexplained < MAX_UNEXPLAINED * self.heard;
            }
            frame.explained = self.explained;
        }
        self.next = to.max(from);
    }
}

/// The median of near power over far power in one band, over the last second's frames in which both are loud enough.
fn gain(far: &Recent, near: &Recent, end: u64, lag: u64, band: usize) -> Option<f32> {
    let mut ratios = [0.0; LEARNT_FRAMES as usize];
    let mut count = 0;
    let mut reverberant = 0.0f32;
    for at in end.saturating_sub(LEARNT_FRAMES).max(lag)..end {
        let (Some(far), Some(near)) = (far.get(at - lag), near.get(at)) else { continue };
        let (far, near) = (&far.spectrum, &near.spectrum);
        reverberant = (reverberant * DECAY).max(far.power[band]);
        if reverberant > FAR_LOUD * far.noise[band] && near.power[band] > NEAR_LOUD * near.noise[band] {
            ratios[count] = near.power[band] / reverberant;
            count += 1;
        }
    }
    let ratios = &mut ratios[..count];
    (count >= MIN_FRAMES).then(|| *ratios.select_nth_unstable_by(count / 2, f32::total_cmp).1)
}

/// One second, the coherence's memory.
const LEARNT_FRAMES: u64 = 100;
/// A band's gain is known from this many frames, a path from this many bands.
const MIN_FRAMES: usize = 8;
const MIN_BANDS: usize = 3;
/// A second measurement moves the gain by a third, in decibels.
const LEARNING: f32 = 0.3;
/// 12 dB above its noise the far end is speech; 5 dB above, the near end is more than noise.
const FAR_LOUD: f32 = 16.0;
const NEAR_LOUD: f32 = 3.0;
/// 2.4 dB a frame: 60 dB in 250 ms, between a furnished and a bare room.
const DECAY: f32 = 0.575;
/// 6 dB: what reverberation adds to the median, and what noise adds to its mean.
const MARGIN: f32 = 4.0;
const NOISE_MARGIN: f32 = 4.0;
/// 50 ms.
const SMOOTHING: f32 = 0.8;
/// From this share of unexplained power on, somebody speaks. The more, the more double talk is lost; the less, the more echo
/// gets through: ADR 0006.
const MAX_UNEXPLAINED: f32 = 0.3;
