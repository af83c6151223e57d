//! What the guard keeps of 10 ms: the phase of each frequency and the power of each band. Not here: any comparison.

use std::{
    f32::consts::TAU,
    sync::{Arc, LazyLock},
};

use codecs::FRAME_SAMPLES;
use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex32};

/// The spectrum of the 32 ms that end with a frame, 190 to 3,690 Hz: what a telephone, too, carries of a voice.
#[derive(Clone)]
pub(super) struct Spectrum {
    /// cos of each bin's phase, times 127; 0 where there is only noise.
    pub(super) cos: [i8; BINS],
    /// sin, likewise.
    pub(super) sin: [i8; BINS],
    /// Power of each band.
    pub(super) power: [f32; BANDS],
    /// Power of the noise in each band.
    pub(super) noise: [f32; BANDS],
}

impl Spectrum {
    /// How many bins are louder than the noise.
    pub(super) fn audible(&self) -> usize {
        self.cos.iter().zip(&self.sin).filter(|(cos, sin)| **cos != 0 || **sin != 0).count()
    }
}

/// Cuts one end into spectra.
pub(super) struct Analyser {
    fft: Arc<dyn RealToComplex<f32>>,
    heard: [f32; WINDOW],
    input: Vec<f32>,
    output: Vec<Complex32>,
    scratch: Vec<Complex32>,
    /// Smallest power of each band lately; infinite before the first frame.
    noise: [f32; BANDS],
}

impl Analyser {
    /// An analyser that has heard silence.
    pub(super) fn new() -> Self {
        let fft = Arc::clone(&FFT);
        Self {
            heard: [0.0; WINDOW],
            input: fft.make_input_vec(),
            output: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            noise: [f32::INFINITY; BANDS],
            fft,
        }
    }

    /// The spectrum with the next frame, at most 160 samples. Does not allocate.
    pub(super) fn spectrum(&mut self, frame: &[f32]) -> Spectrum {
        let frame = &frame[..frame.len().min(FRAME_SAMPLES)];
        self.heard.copy_within(frame.len().., 0);
        for (heard, sample) in self.heard[WINDOW - frame.len()..].iter_mut().zip(frame) {
            // One NaN would stay in the noise estimate for good.
            *heard = if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) };
        }
        for ((input, sample), weight) in self.input.iter_mut().zip(&self.heard).zip(HANN.iter()) {
            *input = sample * weight;
        }
        self.fft
            .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
            .expect("the buffers were made by this plan");
        self.read()
    }

    fn read(&mut self) -> Spectrum {
        let mut spectrum =
            Spectrum { cos: [0; BINS], sin: [0; BINS], power: [0.0; BANDS], noise: [0.0; BANDS] };
        let bands = self.output[FIRST_BIN..FIRST_BIN + BINS].chunks_exact(BAND_BINS);
        for (band, bins) in bands.enumerate() {
            let power = bins.iter().map(Complex32::norm_sqr).sum::<f32>() / BAND_BINS as f32 + SILENCE;
            // Down fast, up slowly: pauses set it, speech hardly moves it.
            let fallen = NOISE_FALL * power + (1.0 - NOISE_FALL) * self.noise[band];
            self.noise[band] =
                if fallen.is_finite() { fallen.min(NOISE_RISE * self.noise[band]) } else { power };
            spectrum.power[band] = power;
            spectrum.noise[band] = self.noise[band];
            for (bin, at) in bins.iter().zip(band * BAND_BINS..) {
                let magnitude = bin.norm_sqr();
                if magnitude > AUDIBLE * self.noise[band] {
                    let scale = 127.0 / magnitude.sqrt();
                    spectrum.cos[at] = (bin.re * scale).round() as i8;
                    spectrum.sin[at] = (bin.im * scale).round() as i8;
                }
            }
        }
        spectrum
    }
}

static FFT: LazyLock<Arc<dyn RealToComplex<f32>>> =
    LazyLock::new(|| RealFftPlanner::new().plan_fft_forward(WINDOW));
static HANN: LazyLock<[f32; WINDOW]> =
    LazyLock::new(|| std::array::from_fn(|n| 0.5 - 0.5 * (TAU * (n as f32 + 0.5) / WINDOW as f32).cos()));

/// 32 ms: long against a pitch period, so that harmonics part; short against a syllable.
const WINDOW: usize = 512;
/// 31.25 Hz each, from 187.5 Hz.
pub(super) const BINS: usize = 112;
const FIRST_BIN: usize = 6;
/// 219 Hz a band.
pub(super) const BANDS: usize = BINS / BAND_BINS;
const BAND_BINS: usize = 7;
/// Added to every power, so that digital silence divides nothing: about −90 dBFS.
const SILENCE: f32 = 1e-7;
/// Noise follows a quieter frame by a third, a louder one by 2.6 dB a second.
const NOISE_FALL: f32 = 0.3;
const NOISE_RISE: f32 = 1.006;
/// A bin 6 dB above the noise has a phase worth comparing.
const AUDIBLE: f32 = 4.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// The bin of a tone has its frequency, and its phase turns as the tone's does.
    #[test]
    fn a_tone_is_where_it_belongs() {
        let hertz = 1_000.0f32;
        let mut analyser = Analyser::new();
        let tone: Vec<f32> = (0..16_000).map(|n| 0.3 * (TAU * hertz * n as f32 / 16_000.0).sin()).collect();
        let silence = [0.0; FRAME_SAMPLES];
        for _ in 0..10 {
            analyser.spectrum(&silence);
        }
        let spectra: Vec<_> = tone.chunks(FRAME_SAMPLES).map(|frame| analyser.spectrum(frame)).collect();
        let spectrum = &spectra[10];
        let loudest = (0..BANDS).max_by(|a, b| spectrum.power[*a].total_cmp(&spectrum.power[*b])).unwrap();
        assert_eq!(loudest, (32 - FIRST_BIN) / BAND_BINS, "1,000 Hz is bin 32");
        // 10 ms are ten whole periods: the phase comes back.
        let bin = 32 - FIRST_BIN;
        let near = |a: i8, b: i8| a.abs_diff(b) <= 2;
        assert!(
            near(spectra[10].cos[bin], spectra[11].cos[bin])
                && near(spectra[10].sin[bin], spectra[11].sin[bin])
        );
        assert!(f32::from(spectrum.cos[bin]).hypot(f32::from(spectrum.sin[bin])) > 125.0);
    }

    fn noise(frames: usize, level: f32) -> Vec<[f32; FRAME_SAMPLES]> {
        let mut state = 7u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) as f32 / (1 << 23) as f32 - 1.0) * level
        };
        (0..frames).map(|_| std::array::from_fn(|_| next())).collect()
    }

    /// Steady noise is hardly audible, a voice over it is.
    #[test]
    fn what_is_audible() {
        let check = |level: f32, voice: f32, expected: std::ops::Range<usize>| {
            let mut analyser = Analyser::new();
            for _ in 0..20 {
                analyser.spectrum(&[0.0; FRAME_SAMPLES]);
            }
            let frames = noise(300, level);
            let mut audible: Vec<_> = frames.iter().map(|frame| analyser.spectrum(frame).audible()).collect();
            let loud = noise(20, voice);
            audible.extend(loud.iter().map(|frame| analyser.spectrum(frame).audible()));
            let mean = audible[310..].iter().sum::<usize>() / 10;
            assert!(expected.contains(&mean), "{mean} of {BINS} bins at {level} and {voice}");
        };
        check(0.0, 0.0, 0..1);
        check(0.0, 0.1, BINS / 2..BINS + 1);
        check(0.001, 0.1, BINS / 2..BINS + 1);
    }

    #[test]
    fn odd_samples_leave_the_estimates_sound() {
        for odd in [f32::NAN, f32::INFINITY, 1e30] {
            let mut analyser = Analyser::new();
            for frame in
                [[odd; FRAME_SAMPLES], [0.1; FRAME_SAMPLES], [odd; FRAME_SAMPLES], [0.0; FRAME_SAMPLES]]
            {
                let spectrum = analyser.spectrum(&frame);
                let estimates = spectrum.power.iter().chain(&spectrum.noise);
                assert!(estimates.into_iter().all(|power| power.is_finite() && *power > 0.0), "{odd}");
            }
        }
    }
}
