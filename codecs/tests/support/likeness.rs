//! How much a decoded recording is like the one that was encoded.
//!
//! Not here: any format. What codecs are free to change is left out: the delay, which is searched for, and what lies
//! above the telephone band.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

/// What two recordings have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Likeness {
    /// Samples at 16 kHz by which the decoded one comes later.
    pub(crate) lag: isize,
    /// Energy of the original against that of the difference, below 3.4 kHz, in dB.
    pub(crate) snr_db: f64,
    /// Level of the decoded against the original, in dB.
    pub(crate) gain_db: f64,
}

/// Compares mono recordings at 16 kHz, over the part that both have.
pub(crate) fn likeness(original: &[f32], decoded: &[f32]) -> Likeness {
    let (original, decoded) = (telephone_band(original), telephone_band(decoded));
    let common = |lag: isize| {
        let skip = |samples: usize| usize::try_from(samples as isize + lag).unwrap_or(0);
        let (from, to) = (skip(0), skip(original.len()).min(decoded.len()));
        (from..to).map(move |n| ((n as isize - lag) as usize, n))
    };
    let correlation =
        |lag| common(lag).map(|(o, d)| f64::from(original[o]) * f64::from(decoded[d])).sum::<f64>();
    let lag = (-MAX_LAG..=MAX_LAG)
        .max_by(|&a, &b| correlation(a).total_cmp(&correlation(b)))
        .expect("there are lags");
    let energy =
        |value: &dyn Fn(usize, usize) -> f64| common(lag).map(|(o, d)| value(o, d).powi(2)).sum::<f64>();
    let of_original = energy(&|o, _| original[o].into());
    let of_decoded = energy(&|_, d| decoded[d].into());
    let of_difference = energy(&|o, d| f64::from(original[o]) - f64::from(decoded[d]));
    let db = |ratio: f64| 10.0 * ratio.log10();
    Likeness { lag, snr_db: db(of_original / of_difference), gain_db: db(of_decoded / of_original) }
}

/// Where a stretch is found in a longer recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Its first sample there.
    pub(crate) at: usize,
    /// 1 is the same wave form, at whatever level.
    pub(crate) correlation: f64,
}

/// Looks for `stretch` everywhere in `recording`, both mono at 16 kHz.
pub(crate) fn find(recording: &[f32], stretch: &[f32]) -> Found {
    // In the telephone band every second sample tells all.
    let half = |samples: &[f32]| telephone_band(samples).into_iter().step_by(2).collect::<Vec<_>>();
    let (recording, stretch) = (half(recording), half(stretch));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let places = recording.windows(stretch.len()).enumerate();
    let (at, correlation) = places
        .map(|(at, window)| {
            (at, dot(window, &stretch) / (dot(window, window) * dot(&stretch, &stretch)).sqrt())
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("the recording is longer");
    Found { at: 2 * at, correlation: correlation.into() }
}

/// Low-passed at 3.4 kHz by a windowed sinc (Blackman window, 129 taps), without delay.
fn telephone_band(samples: &[f32]) -> Vec<f32> {
    use std::f64::consts::TAU;
    let half = TAPS / 2;
    let tap = |n: isize| {
        let phase = TAU * n as f64 * CUTOFF_HZ / 16_000.0;
        let sinc = if n == 0 { 1.0 } else { phase.sin() / phase };
        let turn = TAU * (n + half) as f64 / (TAPS - 1) as f64;
        let window = 0.42 - 0.5 * turn.cos() + 0.08 * (2.0 * turn).cos();
        (2.0 * CUTOFF_HZ / 16_000.0 * sinc * window) as f32
    };
    let taps: Vec<f32> = (-half..=half).map(tap).collect();
    let at = |n: isize| usize::try_from(n).ok().and_then(|n| samples.get(n)).copied().unwrap_or(0.0);
    let filtered = |n: isize| taps.iter().zip(-half..).map(|(tap, k)| tap * at(n + k)).sum();
    (0..samples.len() as isize).map(filtered).collect()
}

/// More than the delay of any codec here: AAC's is 1,024 samples at its own rate, MP3's 1,105.
const MAX_LAG: isize = 3_000;

const CUTOFF_HZ: f64 = 3_400.0;

const TAPS: isize = 129;
