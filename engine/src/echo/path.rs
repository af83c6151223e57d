//! How loud the far end comes back in each band, and which near frames hold nothing else.
//!
//! The echo to be expected is the far end's power some time before, falling exponentially as in a room, times the path's
//! gain. A near frame that has hardly more than that is explained (a level comparison as in Geigel's double-talk detector,
//! by bands). Not here: finding the delay (`coherence`).

use super::{coherence::Found, recent::Recent, spectrum::BANDS};

/// The way from the interviewer's channel through the loudspeaker into the microphone.
pub(super) struct Path {
    lag: u64,
    /// The greatest coherence lately.
    clearest: f32,
    /// Power in the near end for each power in the far end.
    gain: [f32; BANDS],
    /// The far end's power with its reverberation, at `next`.
    reverberant: [f32; BANDS],
    /// Power lately above the noise, and what of it the echo does not explain.
    heard: f32,
    unexplained: f32,
    explained: bool,
    /// Frames since there was more than noise.
    quiet: u32,
    /// The frame that is judged next.
    next: u64,
}

impl Path {
    /// Learns the path from the frames before `end`, in which an echo was `found`; true when it changed. Unless they are
    /// about as clear an echo as there was, somebody else speaks, whose loudness must not be learnt.
    pub(super) fn learn(
        known: &mut Option<Self>,
        far: &Recent,
        near: &Recent,
        end: u64,
        found: Found,
    ) -> bool {
        let mut clearest = found.coherence;
        if let Some(known) = known {
            known.clearest *= FORGETTING;
            if found.coherence < CLEAR * known.clearest {
                return false;
            }
            clearest = clearest.max(known.clearest);
        }
        let mut gains: [Option<f32>; BANDS] =
            std::array::from_fn(|band| gain(far, near, end, found.lag, band));
        if gains.iter().flatten().count() < MIN_BANDS {
            return false;
        }
        if let Some(known) = known.as_ref().filter(|known| known.lag.abs_diff(found.lag) <= 1) {
            for (gain, known) in gains.iter_mut().zip(known.gain) {
                *gain = Some(gain.map_or(known, |gain| known.powf(1.0 - LEARNING) * gain.powf(LEARNING)));
            }
        }
        let measured = gains.iter().flatten();
        let mean = (measured.clone().map(|gain| gain.ln()).sum::<f32>() / measured.count() as f32).exp();
        *known = Some(Self {
            lag: found.lag,
            clearest,
            gain: gains.map(|gain| gain.unwrap_or(mean)),
            reverberant: [0.0; BANDS],
            heard: 0.0,
            unexplained: 0.0,
            explained: false,
            quiet: 0,
            next: 0,
        });
        true
    }

    /// The delay, in frames.
    pub(super) fn lag(&self) -> u64 {
        self.lag
    }

    /// Judges the near frames in `from..to`. Where it does not go on from the last call, the first frames keep their judgement:
    /// what reverberates in them is not known.
    pub(super) fn judge(&mut self, far: &Recent, near: &mut Recent, from: u64, to: u64) {
        let mut certain = from;
        if from != self.next {
            certain += if from == 0 { 0 } else { SETTLING_FRAMES };
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
            if heard > 0.0 {
                self.explained = self.unexplained < MAX_UNEXPLAINED * self.heard;
                self.quiet = 0;
            } else {
                // The detector still hears the frames before the pause.
                self.quiet += 1;
                self.explained &= self.quiet < HANGOVER_FRAMES;
            }
            if at >= certain {
                frame.explained = self.explained;
            }
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
/// With seven tenths of the best coherence it is still the echo alone, or nearly: 100 ms of a voice 12 dB louder make it less.
const CLEAR: f32 = 0.7;
/// Half of the best is forgotten in 14 s with an echo: a path may become worse.
const FORGETTING: f32 = 0.995;
/// 12 dB above its noise the far end is speech; 5 dB above, the near end is more than noise.
const FAR_LOUD: f32 = 16.0;
const NEAR_LOUD: f32 = 3.0;
/// 2.4 dB a frame: 60 dB in 250 ms, between a furnished and a bare room.
const DECAY: f32 = 0.575;
/// 6 dB: what reverberation adds to the median, and what noise adds to its mean.
const MARGIN: f32 = 4.0;
const NOISE_MARGIN: f32 = 4.0;
/// How long a detector may still take for speech what was before a pause: 150 ms.
const HANGOVER_FRAMES: u32 = 15;
/// 24 dB of the reverberation.
const SETTLING_FRAMES: u64 = 10;
/// 50 ms.
const SMOOTHING: f32 = 0.8;
/// From this share of unexplained power on, somebody speaks. The more, the more double talk is lost; the less, the more echo
/// gets through: ADR 0006.
const MAX_UNEXPLAINED: f32 = 0.3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::spectrum::{BINS, Spectrum};

    /// One end with so much power in all bands, frame by frame, over noise of 1.
    fn end(powers: impl IntoIterator<Item = f32>) -> Recent {
        let mut end = Recent::default();
        for power in powers {
            let spectrum =
                Spectrum { cos: [0; BINS], sin: [0; BINS], power: [power; BANDS], noise: [1.0; BANDS] };
            end.push(spectrum, true);
        }
        end
    }

    /// Judges the near end by the path that its first 100 frames show; the judgement of the others.
    fn judge(far: impl IntoIterator<Item = f32>, near: impl IntoIterator<Item = f32>) -> Vec<bool> {
        let (far, mut near) = (end(far), end(near));
        let mut path = None;
        assert!(Path::learn(&mut path, &far, &near, 100, CLEARLY), "all bands are loud");
        let path = path.as_mut().expect("it was learnt");
        let end = near.end();
        path.judge(&far, &mut near, 0, end);
        (100..end).map(|at| near.get(at).unwrap().explained).collect()
    }

    #[test]
    fn what_the_far_end_explains() {
        let speech = |frames| std::iter::repeat_n(1e4, frames);
        let check = |name, far: &[f32], near: &[f32], expected: &[(usize, bool)]| {
            let judged = judge(
                speech(100).chain(far.iter().copied()),
                speech(100).map(|p| p / 16.0).chain(near.iter().copied()),
            );
            for (frame, explained) in expected {
                assert_eq!(judged[*frame], *explained, "{name}, frame {frame}");
            }
        };
        check("as loud as learnt", &[1e4; 30], &[625.0; 30], &[(0, true), (29, true)]);
        check("within the margin", &[1e4; 30], &[2_000.0; 30], &[(29, true)]);
        check("much louder", &[1e4; 30], &[1e4; 30], &[(9, false), (29, false)]);
        check("the far end is silent", &[1.0; 40], &[625.0; 40], &[(0, true), (25, false), (39, false)]);
        // The detector is late: noise goes on as what was before it, for a while.
        check("nothing but noise", &[1e4; 40], &[2.0; 40], &[(5, true), (39, false)]);
    }

    #[test]
    fn too_little_is_no_path() {
        let check = |far, near, name| {
            assert!(!Path::learn(&mut None, &end(far), &end(near), 100, CLEARLY), "{name}");
        };
        check([2.0; 100], [1e4; 100], "a silent far end");
        check([1e4; 100], [2.0; 100], "a silent near end");
        assert!(!Path::learn(&mut None, &end([1e4; 9]), &end([1e4; 9]), 9, CLEARLY), "four frames");
    }

    /// A louder voice over the echo does not teach the guard that echoes are loud; a louder echo does.
    #[test]
    fn learns_from_a_clear_echo_only() {
        let (far, quiet, loud) = (end([1e4; 100]), end([100.0; 100]), end([1e4; 100]));
        let mut path = None;
        assert!(Path::learn(&mut path, &far, &quiet, 100, CLEARLY));
        assert!(!Path::learn(&mut path, &far, &loud, 100, Found { lag: 5, coherence: 0.5 }));
        assert!(path.as_ref().is_some_and(|path| path.gain.iter().all(|gain| (gain - 0.01).abs() < 1e-4)));
        for _ in 0..20 {
            assert!(Path::learn(&mut path, &far, &loud, 100, CLEARLY));
        }
        assert!(path.as_ref().is_some_and(|path| path.gain.iter().all(|gain| (gain - 1.0).abs() < 0.01)));
    }

    const CLEARLY: Found = Found { lag: 5, coherence: 0.9 };
}
