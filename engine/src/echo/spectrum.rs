//! Spectrum of a frame.

use std::sync::{Arc, LazyLock};

use realfft::{RealFftPlanner, RealToComplex, num_complex::Complex32};

/// What the guard keeps of a 10 ms frame.
#[derive(Clone)]
pub(super) struct Spectrum {
    /// Phase of each bin, magnitude 1, or 0 where there is only noise.
    pub(super) re: [f32; BINS],
    pub(super) im: [f32; BINS],
    /// Power of each band.
    pub(super) bands: [f32; BANDS],
    /// Power of the noise in each band.
    pub(super) noise: [f32; BANDS],
}

/// Cuts a channel into overlapping spectra.
pub(super) struct Analyser {
    fft: Arc<dyn RealToComplex<f32>>,
    window: [f32; WINDOW],
    recent: [f32; WINDOW],
    input: Vec<f32>,
    output: Vec<Complex32>,
    scratch: Vec<Complex32>,
    noise: [f32; BANDS],
    frames: u64,
}

static FFT: LazyLock<Arc<dyn RealToComplex<f32>>> =
    LazyLock::new(|| RealFftPlanner::new().plan_fft_forward(WINDOW));

impl Analyser {
    pub(super) fn new() -> Self {
        let fft = Arc::clone(&FFT);
        let window = std::array::from_fn(|n| {
            0.5 - 0.5 * (std::f32::consts::TAU * (n as f32 + 0.5) / WINDOW as f32).cos()
        });
        Self {
            window,
            recent: [0.0; WINDOW],
            input: fft.make_input_vec(),
            output: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            noise: [0.0; BANDS],
            frames: 0,
            fft,
        }
    }

    pub(super) fn next(&mut self, frame: &[f32]) -> Spectrum {
        self.recent.copy_within(frame.len().., 0);
        for (kept, sample) in self.recent[WINDOW - frame.len()..].iter_mut().zip(frame) {
            *kept = if sample.is_nan() { 0.0 } else { sample.clamp(-1.0, 1.0) };
        }
        for ((input, sample), weight) in self.input.iter_mut().zip(&self.recent).zip(&self.window) {
            *input = sample * weight;
        }
        self.fft
            .process_with_scratch(&mut self.input, &mut self.output, &mut self.scratch)
            .expect("the buffers were made by the same plan");
        let bins = &self.output[FIRST_BIN..FIRST_BIN + BINS];
        let mut spectrum =
            Spectrum { re: [0.0; BINS], im: [0.0; BINS], bands: [0.0; BANDS], noise: [0.0; BANDS] };
        for (band, bins) in bins.chunks_exact(BAND_BINS).enumerate() {
            let power = bins.iter().map(|bin| bin.norm_sqr()).sum::<f32>() / BAND_BINS as f32 + POWER_FLOOR;
            spectrum.bands[band] = power;
            let noise = &mut self.noise[band];
            *noise = if self.frames == 0 { power } else { (*noise * NOISE_CREEP).min(0.7 * *noise + 0.3 * power) };
            spectrum.noise[band] = *noise;
            for (bin, at) in bins.iter().zip(band * BAND_BINS..) {
                let power = bin.norm_sqr();
                if power > AUDIBLE * *noise {
                    let scale = power.sqrt().recip();
                    spectrum.re[at] = bin.re * scale;
                    spectrum.im[at] = bin.im * scale;
                }
            }
        }
        self.frames += 1;
        spectrum
    }
}

const WINDOW: usize = 512;
const FIRST_BIN: usize = 6;
pub(super) const BINS: usize = 112;
const BAND_BINS: usize = 7;
pub(super) const BANDS: usize = BINS / BAND_BINS;
/// -90 dBFS.
const POWER_FLOOR: f32 = 1e-7;
const NOISE_CREEP: f32 = 1.006;
const AUDIBLE: f32 = 4.0;
