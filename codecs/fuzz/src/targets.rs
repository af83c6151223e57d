//! What the fuzz targets do with an input; `codecs/tests/seeds.rs` does the same with every seed and finding.
//!
//! A target panics when a promise of `codecs` is broken. Not here: libFuzzer, whose entry points are in `targets/`, and
//! limits on memory (`guard`).

#[path = "../../tests/support/stream.rs"]
mod stream;

use std::{borrow::Cow, ops::ControlFlow};

use codecs::{Codec, DecodeError, Finish, Resampler, StreamFormat, decoder_for};

/// Decodes `data` as `codec`, in chunks whose sizes are its own last bytes, so that every file is a good input.
pub fn container(codec: Codec, data: &[u8]) {
    let mut left = MAX_SAMPLES;
    let data = if codec == Codec::Ogg { with_checksums(data) } else { data.into() };
    stream::decode(stream::container(codec), chunks(&data), &mut |pcm| {
        left = left.saturating_sub(pcm.interleaved.len());
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// Decodes raw Opus packets: each stands behind two bytes, 3 bits the number of lost packets before it, 13 bits its
/// length. Stereo when the whole input is of odd length.
pub fn opus_packets(data: &[u8]) {
    let channels = 1 + (data.len() % 2) as u16;
    let format = StreamFormat { codec: Codec::Opus, sample_rate: Some(48_000), channels: Some(channels) };
    let mut decoder = decoder_for(format).expect("the format is sound");
    let mut rest = data;
    while let Some((&[high, low], after)) = rest.split_first_chunk() {
        let (lost, length) = (high >> 5, usize::from(high & 0x1f) << 8 | usize::from(low));
        let (packet, after) = after.split_at(length.min(after.len()));
        rest = after;
        if lost > 0 {
            assert!(decoder.lose(lost.into()), "raw Opus is concealed");
        }
        let mut frames = 0;
        let result = decoder.decode(packet, &mut |pcm| {
            assert_eq!((pcm.sample_rate, pcm.channels), (16_000, channels));
            assert!(!pcm.interleaved.is_empty() && pcm.interleaved.len().is_multiple_of(channels.into()));
            assert!(pcm.interleaved.iter().all(|sample| (-1.0..=1.0).contains(sample)));
            frames += pcm.interleaved.len() / usize::from(channels);
        });
        assert!(matches!(result, Ok(()) | Err(DecodeError::PacketSkipped(_))), "{result:?}");
        // A packet holds 120 ms at most; so does each lost one before it, of which a skipped packet is one.
        assert!(frames <= 16_000 * 120 / 1_000 * (2 + usize::from(lost)) + TEN_SECONDS, "{frames} frames");
    }
    let finished = decoder.finish(&mut |_| panic!("nothing is held back")).expect("a clean end");
    assert_eq!(finished, Finish::Done);
}

/// Resamples what follows four bytes of rate, as 32-bit floats of any value, in chunks of any size.
pub fn resampler(data: &[u8]) {
    let Some((rate, samples)) = data.split_first_chunk() else { return };
    let rate = u32::from_le_bytes(*rate);
    let sound = (8_000..=192_000).contains(&rate);
    let mut resampler = match Resampler::new(rate) {
        Ok(resampler) => resampler,
        Err(error) => {
            assert!(!sound, "{error}");
            return;
        }
    };
    assert!(sound, "{rate} Hz was taken");
    let samples: Vec<f32> = samples.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let clean: Vec<f32> =
        samples.iter().map(|s| if s.is_finite() { s.clamp(-1.0, 1.0) } else { 0.0 }).collect();
    let expected = (samples.len() as u64 * 16_000 + u64::from(rate) / 2) / u64::from(rate);
    // Clean, then anything, then clean again: what is no number must not outlive a flush.
    let mut outputs = [&clean, &samples, &clean].map(|input| {
        let mut output = Vec::new();
        let mut rest = &input[..];
        for size in data.iter().rev().take(8).cycle() {
            let (chunk, after) = rest.split_at(rest.len().min(1 + usize::from(*size) * 4));
            resampler.process(chunk, &mut output);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        resampler.flush(&mut output);
        assert_eq!(output.len() as u64, expected, "{} samples at {rate} Hz", input.len());
        output
    });
    let first = std::mem::take(&mut outputs[0]);
    assert!(first.iter().all(|sample| (-1.0..=1.0).contains(sample)), "clean in, clean out");
    assert_eq!(first, outputs[2], "flushed is as new");
}

/// The pages of an Ogg file with right checksums, in three of four inputs: no mutation finds one.
fn with_checksums(data: &[u8]) -> Cow<'_, [u8]> {
    if data.len().is_multiple_of(4) {
        return data.into();
    }
    let mut data = data.to_vec();
    let mut at = 0;
    while let Some(page) = data.get(at..).filter(|page| page.len() > 27) {
        if !page.starts_with(b"OggS") {
            at += 1;
            continue;
        }
        let lacing = page[27..].iter().take(page[26].into());
        let length = 27 + usize::from(page[26]) + lacing.map(|length| usize::from(*length)).sum::<usize>();
        let Some(page) = data.get_mut(at..at + length) else { break };
        page[22..26].fill(0);
        let checksum = page.iter().fold(0, ogg_checksum);
        page[22..26].copy_from_slice(&checksum.to_le_bytes());
        at += length;
    }
    data.into()
}

/// RFC 3533, section 6: CRC-32 with polynomial 0x04c11db7, neither reflected nor inverted.
fn ogg_checksum(checksum: u32, byte: &u8) -> u32 {
    (0..8).fold(checksum ^ u32::from(*byte) << 24, |checksum, _| {
        checksum << 1 ^ if checksum >> 31 == 1 { 0x04c1_1db7 } else { 0 }
    })
}

/// Cuts `data`: its last eight bytes are sizes, 0 for all that is left.
fn chunks(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut sizes = data.iter().rev().take(8).cycle();
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let size = match sizes.next() {
            None | Some(0) => rest.len(),
            Some(&size) => rest.len().min(size.into()),
        };
        let (chunk, after) = rest.split_at(size);
        rest = after;
        Some(chunk)
    })
}

/// Where a run ends: compressed audio grows without bound, and the one who listens counts it.
const MAX_SAMPLES: usize = 4_000_000;

/// The longest gap that is concealed, in frames.
const TEN_SECONDS: usize = 160_000;
