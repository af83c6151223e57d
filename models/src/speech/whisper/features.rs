//! What Whisper's encoder sees: the log-mel spectrogram of the audio.
//!
//! As openai-whisper's `log_mel_spectrogram`: frames of 400 samples every 160, Hann window, power, mel filters,
//! logarithm, the loudest 8 (80 dB) of it, scaled. Not here: the filters, which come with the weights.

use std::{f32::consts::TAU, sync::Arc};

use realfft::{RealFftPlanner, RealToComplex};

use super::ggml::FFT_BINS;

/// Computes spectrograms.
pub(super) struct MelSpectrogram {
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// Each band's first bin and weights from there on: a filter is narrow.
    bands: Vec<(usize, Vec<f32>)>,
}

impl MelSpectrogram {
    /// `filters`: bands of [`FFT_BINS`] weights each.
    pub(super) fn new(filters: &[f32]) -> Self {
        let bands = filters.chunks(FFT_BINS).map(|weights| {
            let first = weights.iter().position(|weight| *weight != 0.0).unwrap_or_default();
            let last = weights.iter().rposition(|weight| *weight != 0.0).unwrap_or_default();
            (first, weights[first..=last].to_vec())
        });
        let hann = (0..FFT_SIZE).map(|n| 0.5 - 0.5 * (TAU * n as f32 / FFT_SIZE as f32).cos());
        Self {
            fft: RealFftPlanner::new().plan_fft_forward(FFT_SIZE),
            window: hann.collect(),
            bands: bands.collect(),
        }
    }

    /// `frames` frames (10 ms each) of `audio` (16 kHz), silence behind its end; band by band.
    pub(super) fn of(&self, audio: &[f32], frames: usize) -> Vec<f32> {
        let silence = QUIETEST.log10();
        let mut mel = vec![silence; self.bands.len() * frames];
        let (mut windowed, mut spectrum) = (self.fft.make_input_vec(), self.fft.make_output_vec());
        let mut power = [0.0; FFT_BINS];
        // Behind its last sample all is silence.
        let sounding = frames.min((audio.len() + FFT_SIZE / 2).div_ceil(HOP));
        for frame in 0..sounding {
            self.cut(audio, frame, &mut windowed);
            self.fft.process(&mut windowed, &mut spectrum).expect("both have the lengths it made them with");
            for (power, bin) in power.iter_mut().zip(&spectrum) {
                *power = bin.norm_sqr();
            }
            for (band, (first, weights)) in self.bands.iter().enumerate() {
                let energy: f32 =
                    weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum();
                mel[band * frames + frame] = energy.max(QUIETEST).log10();
            }
        }
        let floor = mel.iter().copied().fold(silence, f32::max) - RANGE;
        mel.iter_mut().for_each(|value| *value = (value.max(floor) + 4.0) / 4.0);
        mel
    }

    /// The windowed samples of a frame, whose middle is at `frame * HOP`; the beginning is mirrored.
    fn cut(&self, audio: &[f32], frame: usize, windowed: &mut [f32]) {
        let start = (frame * HOP) as isize - (FFT_SIZE / 2) as isize;
        for (n, (out, weight)) in windowed.iter_mut().zip(&self.window).enumerate() {
            let at = (start + n as isize).unsigned_abs();
            // One NaN would make the whole spectrogram NaN.
            let sample = audio.get(at).copied().filter(|sample| sample.is_finite()).unwrap_or_default();
            *out = weight * sample.clamp(-LOUDEST, LOUDEST);
        }
    }
}

const FFT_SIZE: usize = 400;
const HOP: usize = 160;
/// The least energy that is told from none.
const QUIETEST: f32 = 1e-10;
/// Far beyond full scale; squares of more would overflow.
const LOUDEST: f32 = 1e4;
/// How much of the logarithm below the loudest is kept.
const RANGE: f32 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Filters that pick the bins 0 to 3, and one that sums ten.
    fn spectrogram() -> MelSpectrogram {
        let mut filters = vec![0.0; 5 * FFT_BINS];
        for band in 0..4 {
            filters[band * FFT_BINS + band * 40] = 1.0;
        }
        filters[4 * FFT_BINS + 35..4 * FFT_BINS + 45].fill(1.0);
        MelSpectrogram::new(&filters)
    }

    #[test]
    fn a_tone_is_in_its_band() {
        // 1,600 Hz is bin 40.
        let tone: Vec<f32> = (0..16_000).map(|n| (TAU * 1600.0 * n as f32 / 16_000.0).sin()).collect();
        let mel = spectrogram().of(&tone, 100);
        let at = |band: usize, frame: usize| mel[band * 100 + frame];
        // A full-scale sine's peak is N/4 for a Hann window of N: power 1e4, logarithm 4, scaled 2.
        assert!((at(1, 50) - 2.0).abs() < 1e-3, "{}", at(1, 50));
        // Three bins hold a Hann window's peak: 1 + 1/4 + 1/4.
        assert!((at(4, 50) - (4.0 + 1.5f32.log10() + 4.0) / 4.0).abs() < 1e-3);
        // Everything else is 8 below the loudest.
        assert!((at(3, 50) - (at(4, 50) - 2.0)).abs() < 1e-2);
    }

    #[test]
    fn silence_and_nonsense_are_finite() {
        let spectrogram = spectrogram();
        let silence = spectrogram.of(&[], 4);
        assert!(silence.iter().all(|value| *value == -1.5), "{silence:?}");
        let nonsense = spectrogram.of(&[f32::NAN, f32::INFINITY, -1e30, 1e30].repeat(400), 20);
        assert!(nonsense.iter().all(|value| value.is_finite()));
    }
}
