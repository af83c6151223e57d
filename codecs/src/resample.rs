//! Any sample rate to 16 kHz mono, by rubato: its synchronous FFT resampler, or for odd rates its sinc
//! resampler.
//!
//! Not here: choosing or mixing channels (`channels`).

use rubato::{
    Async, Fft, FixedAsync, FixedSync, SincInterpolationParameters,
    audioadapter_buffers::direct::InterleavedSlice,
};

use crate::{decode::clean, frame::SAMPLE_RATE};

/// The rate cannot be resampled. Tell the client which rates can: 8,000 to 192,000.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ResampleError(String);

/// Mono samples at one rate in, mono samples at 16 kHz out, delay compensated.
///
/// The filter's delay is taken off the start, so that output sample `n` is the same instant as input sample
/// `n × rate / 16,000` to within 50 µs: time stamps need no correction. It is still waited for: see
/// [`delay_ms`](Self::delay_ms). At 16 kHz samples pass through at once. From other rates the pass band
/// (0.2 dB) reaches 7 kHz, from 12 kHz 5 kHz, from 11,025 Hz 3 kHz and from 8 kHz 3.4 kHz, and what lies above
/// 8.1 kHz is 120 dB down: measured in the tests below.
///
/// ```
/// let mut resampler = codecs::Resampler::new(48_000)?;
/// let mut out = Vec::new();
/// for _ in 0..50 {
///     resampler.process(&[0.0; 960], &mut out);
/// }
/// resampler.flush(&mut out);
/// assert_eq!(out.len(), 16_000);
/// # Ok::<(), codecs::ResampleError>(())
/// ```
pub struct Resampler {
    sample_rate: u32,
    /// `None`: the rate is 16 kHz already.
    block: Option<Block>,
}

/// The block-wise resampler and what surrounds it.
struct Block {
    filter: Box<dyn rubato::Resampler<f32>>,
    /// Input waiting for a whole block.
    input: Vec<f32>,
    /// One block of output.
    output: Vec<f32>,
    /// Output samples still to drop: the filter's delay.
    lead: usize,
    /// Samples taken and given since the start or the last flush.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// A resampler from `sample_rate` to 16 kHz.
    ///
    /// # Errors
    /// When `sample_rate` is not in 8,000–192,000.
    pub fn new(sample_rate: u32) -> Result<Self, ResampleError> {
        if !(8_000..=192_000).contains(&sample_rate) {
            return Err(ResampleError(format!(
                "A sample rate of {sample_rate} Hz cannot be used: send audio at 8,000 to 192,000 Hz, best at 16,000."
            )));
        }
        if sample_rate == SAMPLE_RATE {
            return Ok(Self { sample_rate, block: None });
        }
        let filter = filter(sample_rate).map_err(|error| {
            ResampleError(format!(
                "Audio at {sample_rate} Hz cannot be converted ({error}). Send it at 16,000 Hz."
            ))
        })?;
        let block = Block {
            input: Vec::with_capacity(filter.input_frames_max()),
            output: vec![0.0; filter.output_frames_max()],
            lead: filter.output_delay(),
            filter,
            taken: 0,
            given: 0,
        };
        Ok(Self { sample_rate, block: Some(block) })
    }

    /// The rate it resamples from.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// How long a sample may be held back, at most: one block and the filter's delay. 0 at 16 kHz, 15 ms at
    /// all other usual rates but 8,000 and 22,050 (30 ms) and 11,025 (60 ms).
    pub fn delay_ms(&self) -> f64 {
        self.block.as_ref().map_or(0.0, |block| {
            let block_ms = block.filter.input_frames_max() as f64 * 1000.0 / f64::from(self.sample_rate);
            block_ms + block.filter.output_delay() as f64 * 1000.0 / f64::from(SAMPLE_RATE)
        })
    }

    /// Takes `mono`, of any values, and appends to `out` what it completes, in [-1, 1]; what is no number counts
    /// as silence. Allocates only when `out` must grow.
    pub fn process(&mut self, mono: &[f32], out: &mut Vec<f32>) {
        match &mut self.block {
            Some(block) => block.process(mono, out),
            None => out.extend(mono.iter().copied().map(clean)),
        }
    }

    /// Appends what is held back to `out`, so that all output since the start, or since the last flush, is as
    /// long as its input: `round(samples × 16,000 / rate)`. The resampler is then as new.
    pub fn flush(&mut self, out: &mut Vec<f32>) {
        if let Some(block) = &mut self.block {
            block.flush(self.sample_rate, out);
        }
    }
}

impl std::fmt::Debug for Resampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resampler").field("sample_rate", &self.sample_rate).finish_non_exhaustive()
    }
}

impl Block {
    fn process(&mut self, mut mono: &[f32], out: &mut Vec<f32>) {
        self.taken += mono.len() as u64;
        while !mono.is_empty() {
            let needed = self.filter.input_frames_next();
            let (head, rest) = mono.split_at(mono.len().min(needed - self.input.len()));
            // The FFT panics on what is no number.
            self.input.extend(head.iter().copied().map(clean));
            mono = rest;
            if self.input.len() == needed {
                self.resample(out);
            }
        }
    }

    fn flush(&mut self, sample_rate: u32, out: &mut Vec<f32>) {
        let (rate, target_rate) = (u64::from(sample_rate), u64::from(SAMPLE_RATE));
        let length = (self.taken * target_rate + rate / 2) / rate;
        while self.given < length {
            self.input.resize(self.filter.input_frames_next(), 0.0);
            self.resample(out);
        }
        // The last block brought silence too.
        out.truncate(out.len().saturating_sub((self.given - length) as usize));
        self.filter.reset();
        self.input.clear();
        self.lead = self.filter.output_delay();
        (self.taken, self.given) = (0, 0);
    }

    /// Resamples the block in `input`, which is whole.
    fn resample(&mut self, out: &mut Vec<f32>) {
        let frames = self.filter.output_frames_next();
        let input =
            InterleavedSlice::new(&self.input, 1, self.input.len()).expect("the length is the slice's own");
        let mut output =
            InterleavedSlice::new_mut(&mut self.output, 1, frames).expect("it has room for the largest");
        self.filter
            .process_into_buffer(&input, &mut output, None)
            .expect("both buffers have the lengths asked for");
        self.input.clear();
        let lead = self.lead.min(frames);
        self.lead -= lead;
        // The filter rings: beside full-scale steps it goes a little past full scale.
        out.extend(self.output[lead..frames].iter().map(|sample| sample.clamp(-1.0, 1.0)));
        self.given += (frames - lead) as u64;
    }
}

/// The FFT resampler works in blocks of whole periods of both rates. That is 10 ms for the rates in use (20
/// ms at 22,050 and 40 ms at 11,025; at 8,000 it could be 10 ms too), but a second for a rate that shares no factor with 16,000: such a one
/// gets the sinc resampler, which costs more and takes blocks of any length.
fn filter(sample_rate: u32) -> Result<Box<dyn rubato::Resampler<f32>>, rubato::ResamplerConstructionError> {
    let (from, to) = (sample_rate as usize, SAMPLE_RATE as usize);
    // A filter is as steep as its block is long, and telephone speech reaches 3.4 kHz: with blocks of 10 ms,
    // which pass 3 kHz, a telephone call of 273 words had 22 more errors, with 20 ms 5.
    let chunk = if from < 11_000 { from / 50 } else { from / 100 };
    if gcd(from, to) >= MIN_BLOCKS_PER_SECOND {
        return Ok(Box::new(Fft::<f32>::new(from, to, chunk, 1, FixedSync::Both)?));
    }
    let ratio = to as f64 / from as f64;
    let parameters = SincInterpolationParameters::default();
    Ok(Box::new(Async::<f32>::new_sinc(ratio, 1.0, &parameters, chunk, 1, FixedAsync::Input)?))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// Blocks are at most 40 ms long.
const MIN_BLOCKS_PER_SECOND: usize = 25;

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use proptest::prelude::*;

    use super::*;

    const RATES: [u32; 13] = [
        8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000,
        44_101,
    ];

    fn resample(sample_rate: u32, mono: &[f32], chunk: usize) -> Vec<f32> {
        let mut resampler = Resampler::new(sample_rate).unwrap();
        let mut out = Vec::new();
        for part in mono.chunks(chunk) {
            resampler.process(part, &mut out);
        }
        resampler.flush(&mut out);
        out
    }

    fn tone(sample_rate: u32, hertz: f64, seconds: f64) -> Vec<f32> {
        let length = (f64::from(sample_rate) * seconds) as usize;
        (0..length).map(|n| (0.5 * (TAU * hertz * n as f64 / f64::from(sample_rate)).sin()) as f32).collect()
    }

    /// What is left of a tone after resampling, in decibels, without the transients at both ends.
    fn gain_db(sample_rate: u32, hertz: f64) -> f64 {
        let out = resample(sample_rate, &tone(sample_rate, hertz, 1.0), 777);
        let power = |samples: &[f32]| {
            samples.iter().map(|&s| f64::from(s).powi(2)).sum::<f64>() / samples.len() as f64
        };
        10.0 * (power(&out[4_000..12_000]) / 0.125).log10()
    }

    #[test]
    fn the_pass_band_passes_and_the_stop_band_stops() {
        for sample_rate in RATES {
            let edge = match sample_rate {
                0..11_000 => 3_400.0,
                11_000..12_000 => 3_000.0,
                12_000..16_000 => 5_000.0,
                _ => 7_000.0,
            };
            for hertz in [100.0, 1_000.0, edge] {
                let gain = gain_db(sample_rate, hertz);
                assert!(gain.abs() < 0.2, "{sample_rate} Hz: {hertz} Hz changes by {gain:.2} dB");
            }
            // The sinc filter of the odd rates is less steep than that of the FFT.
            let steep = if sample_rate == 44_101 { -30.0 } else { -120.0 };
            for (hertz, limit) in [
                (8_100.0, steep),
                (9_000.0, -120.0),
                (12_000.0, -120.0),
                (20_000.0, -120.0),
                (90_000.0, -120.0),
            ] {
                if hertz < f64::from(sample_rate) / 2.0 {
                    let gain = gain_db(sample_rate, hertz);
                    assert!(gain < limit, "{sample_rate} Hz: {hertz} Hz only loses {gain:.1} dB");
                }
            }
        }
    }

    /// A click at any place comes out at the same instant, and no later than `delay_ms` after it went in.
    #[test]
    fn the_delay_is_compensated_and_as_stated() {
        for sample_rate in RATES {
            for milliseconds in [0, 1, 500, 777] {
                let at = sample_rate as usize * milliseconds / 1000;
                let mut mono = vec![0.0; sample_rate as usize];
                mono[at] = 1.0;
                let out = resample(sample_rate, &mono, 480);
                let peak = (0..out.len()).max_by(|&a, &b| out[a].abs().total_cmp(&out[b].abs())).unwrap();
                let expected = at as f64 * 16_000.0 / f64::from(sample_rate);
                assert!((peak as f64 - expected).abs() <= 1.0, "{sample_rate} Hz: {expected} is at {peak}");
            }

            let mut resampler = Resampler::new(sample_rate).unwrap();
            let (mut out, mut held) = (Vec::new(), 0.0f64);
            for taken in 1..=sample_rate / 2 {
                resampler.process(&[0.0], &mut out);
                let ms = f64::from(taken) * 1000.0 / f64::from(sample_rate);
                held = held.max(ms - out.len() as f64 / 16.0);
            }
            let stated = resampler.delay_ms();
            assert!(
                held <= stated + 0.2 && held > stated - 1.0,
                "{sample_rate} Hz: {held} ms held, {stated} ms stated"
            );
        }
    }

    #[test]
    fn a_tone_keeps_its_wave_form() {
        for sample_rate in RATES {
            let expected = tone(16_000, 440.0, 1.0);
            let out = resample(sample_rate, &tone(sample_rate, 440.0, 1.0), 333);
            let error = (200..15_800).map(|n| (out[n] - expected[n]).abs()).fold(0.0, f32::max);
            // The middle of a filter may lie between two samples: half an input sample at 11,025 Hz is 45 µs.
            let shifted = (0.5 * TAU * 440.0 * 50e-6) as f32;
            assert!(error < shifted, "{sample_rate} Hz: off by {error}");
        }
    }

    #[test]
    fn full_scale_stays_in_range_and_16_khz_is_untouched() {
        for sample_rate in RATES {
            let square: Vec<f32> =
                (0..sample_rate).map(|n| if n / 40 % 2 == 0 { 1.0 } else { -1.0 }).collect();
            let out = resample(sample_rate, &square, 480);
            assert!(out.iter().all(|sample| (-1.0..=1.0).contains(sample)));
            if sample_rate == 16_000 {
                assert_eq!(out, square);
            }
        }
    }

    #[test]
    fn absurd_rates_are_refused() {
        for sample_rate in [0, 1, 7_999, 192_001, u32::MAX] {
            assert!(Resampler::new(sample_rate).unwrap_err().to_string().contains("8,000 to 192,000"));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_output_is_as_long_as_the_input_under_any_split(
            sample_rate in prop_oneof![proptest::sample::select(&RATES[..]), 8_000u32..=192_000],
            length in 0usize..20_000,
            sizes in proptest::collection::vec(1usize..3_000, 1..20),
        ) {
            let mono: Vec<f32> = (0..length).map(|n| ((n * n) as f32 * 1e-4).sin() * 0.8).collect();
            let whole = resample(sample_rate, &mono, usize::MAX);
            let expected = (length as f64 * 16_000.0 / f64::from(sample_rate)).round();
            prop_assert!((whole.len() as f64 - expected).abs() <= 1.0);

            let mut resampler = Resampler::new(sample_rate).unwrap();
            // Twice, because a flushed resampler is as new.
            for _ in 0..2 {
                let (mut out, mut rest) = (Vec::new(), &mono[..]);
                for &size in sizes.iter().cycle() {
                    if rest.is_empty() { break; }
                    let (chunk, later) = rest.split_at(size.min(rest.len()));
                    resampler.process(chunk, &mut out);
                    rest = later;
                }
                resampler.flush(&mut out);
                prop_assert_eq!(&out, &whole);
            }
        }
    }
}
