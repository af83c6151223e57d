//! The mel filter bank that Whisper's ggml files carry.
//!
//! Not here: applying it; `speech/whisper/features.rs` does. Slaney's scale and normalisation, as in librosa's `filters.mel` and so in
//! openai-whisper's `mel_filters.npz`, to the last bit: the file's hash includes it.

/// Triangular filters of `mels` bands over the bins of a 400-point FFT at 16 kHz, band by band, [`BINS`] values each.
pub(super) fn filters(mels: usize) -> Vec<f32> {
    let edges = edges(mels);
    let mut filters = Vec::with_capacity(mels * BINS);
    for band in edges.windows(3) {
        let (low, centre, high) = (band[0], band[1], band[2]);
        // Equal area.
        let norm = 2.0 / (high - low);
        for bin in 0..BINS {
            let frequency = bin as f64 * SAMPLE_RATE / FFT_SIZE as f64;
            let rising = -(low - frequency) / (centre - low);
            let falling = (high - frequency) / (high - centre);
            // The reference rounds to f32 before it normalises in f64. Its one -0.0 was published as +0.0.
            let weight = rising.min(falling).max(0.0) as f32;
            filters.push((f64::from(weight) * norm) as f32 + 0.0);
        }
    }
    filters
}

/// The `mels + 2` edges of the bands, in Hz, evenly spaced in mel from 0 Hz to half the sample rate.
fn edges(mels: usize) -> Vec<f64> {
    // Linear below 1 kHz (200/3 Hz a mel), logarithmic above (27 mels for a factor of 6.4).
    let hz_a_mel = 200.0 / 3.0;
    let log_step = 6.4_f64.ln() / 27.0;
    let first_log_mel = 1000.0 / hz_a_mel;
    let top = first_log_mel + (SAMPLE_RATE / 2.0 / 1000.0).ln() / log_step;
    let last = mels + 1;
    (0..=last)
        .map(|index| {
            // As numpy's linspace: the step is rounded first, the last point is exact.
            let mel = if index == last { top } else { index as f64 * (top / last as f64) };
            if mel >= first_log_mel {
                1000.0 * (log_step * (mel - first_log_mel)).exp()
            } else {
                hz_a_mel * mel
            }
        })
        .collect()
}

/// Bins of the spectrum from 0 Hz to half the sample rate.
pub(super) const BINS: usize = FFT_SIZE / 2 + 1;
const FFT_SIZE: usize = 400;
const SAMPLE_RATE: f64 = 16_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // From openai-whisper's `mel_filters.npz`, `mel_80`, bit by bit.
        let filters = filters(80);
        assert_eq!(filters.len(), 80 * BINS);
        let check = |band: usize, bin: usize, bits: u32| {
            assert_eq!(filters[band * BINS + bin].to_bits(), bits, "band {band}, bin {bin}");
        };
        check(0, 0, 0x0000_0000);
        check(0, 1, 0x3CCB_ACA4);
        check(0, 2, 0x0000_0000);
        check(1, 2, 0x3CBB_5D95);
        check(79, 196, 0x3AEB_476A);
        check(79, 199, 0x39EB_476A);
        check(79, 200, 0x0000_0000);
    }

    #[test]
    fn every_bin_between_the_edges_is_heard() {
        for mels in [80, 128] {
            let filters = filters(mels);
            for bin in 1..BINS - 1 {
                assert!(
                    (0..mels).any(|band| filters[band * BINS + bin] > 0.0),
                    "{mels} bands miss bin {bin}"
                );
            }
        }
    }
}
