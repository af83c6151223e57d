//! Headerless PCM: samples as they lie in memory, with the frame split over two chunks carried.
//!
//! Not here: WAV, which has a header.

use super::{DecodeError, Decoder, Pcm, clean};

/// How one sample is coded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coding {
    /// Signed 16-bit little-endian.
    S16le,
    /// 32-bit float little-endian.
    F32le,
}

/// Decodes headerless PCM. Adds no delay, and allocates nothing after its construction.
pub(super) struct PcmDecoder {
    coding: Coding,
    sample_rate: u32,
    channels: u16,
    /// The start of a frame whose rest has not come: `carried` bytes of it.
    carry: [u8; MAX_FRAME_BYTES],
    carried: usize,
    /// Decoded samples on their way to the sink; empty between calls.
    samples: Vec<f32>,
}

impl PcmDecoder {
    /// A decoder; the caller has checked the rate and that there are 1–8 channels.
    pub(super) fn new(coding: Coding, sample_rate: u32, channels: u16) -> Self {
        let samples = Vec::with_capacity((BLOCK_FRAMES + 1) * usize::from(channels));
        Self { coding, sample_rate, channels, carry: [0; MAX_FRAME_BYTES], carried: 0, samples }
    }

    fn frame_bytes(&self) -> usize {
        let sample_bytes = match self.coding {
            Coding::S16le => 2,
            Coding::F32le => 4,
        };
        sample_bytes * usize::from(self.channels)
    }

    /// Decodes whole frames to the end of `samples`.
    fn convert(coding: Coding, frames: &[u8], samples: &mut Vec<f32>) {
        match coding {
            Coding::S16le => {
                samples.extend(
                    frames.as_chunks().0.iter().map(|&b| f32::from(i16::from_le_bytes(b)) / 32_768.0),
                );
            }
            Coding::F32le => {
                samples.extend(frames.as_chunks().0.iter().map(|&b| clean(f32::from_le_bytes(b))));
            }
        }
    }
}

impl Decoder for PcmDecoder {
    fn decode(&mut self, mut bytes: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        let frame_bytes = self.frame_bytes();
        if self.carried > 0 {
            let missing = (frame_bytes - self.carried).min(bytes.len());
            let (head, rest) = bytes.split_at(missing);
            self.carry[self.carried..self.carried + missing].copy_from_slice(head);
            self.carried += missing;
            bytes = rest;
            if self.carried < frame_bytes {
                return Ok(());
            }
            // Not given to the sink alone: it goes out with the frames behind it.
            Self::convert(self.coding, &self.carry[..frame_bytes], &mut self.samples);
            self.carried = 0;
        }
        let (frames, tail) = bytes.split_at(bytes.len() - bytes.len() % frame_bytes);
        let mut blocks = frames.chunks(BLOCK_FRAMES * frame_bytes);
        loop {
            if let Some(block) = blocks.next() {
                Self::convert(self.coding, block, &mut self.samples);
            } else if self.samples.is_empty() {
                break;
            }
            sink(Pcm { sample_rate: self.sample_rate, channels: self.channels, interleaved: &self.samples });
            self.samples.clear();
        }
        self.carry[..tail.len()].copy_from_slice(tail);
        self.carried = tail.len();
        Ok(())
    }

    fn finish(&mut self, _sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        self.carried = 0;
        Ok(())
    }
}

/// 8 channels of 4 bytes.
const MAX_FRAME_BYTES: usize = 32;

/// Frames decoded at once: bounds the buffer, however much is pushed.
const BLOCK_FRAMES: usize = 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode_in(coding: Coding, channels: u16, chunks: &[&[u8]]) -> Vec<f32> {
        let mut decoder = PcmDecoder::new(coding, 16_000, channels);
        let mut samples = Vec::new();
        let mut sink = |pcm: Pcm<'_>| {
            assert_eq!((pcm.sample_rate, pcm.channels), (16_000, channels));
            assert!(!pcm.interleaved.is_empty());
            assert_eq!(pcm.interleaved.len() % usize::from(channels), 0);
            samples.extend_from_slice(pcm.interleaved);
        };
        for chunk in chunks {
            decoder.decode(chunk, &mut sink).unwrap();
        }
        decoder.finish(&mut sink).unwrap();
        samples
    }

    #[test]
    fn samples_are_scaled_cleaned_and_clipped() {
        let check = |coding, bytes: &[u8], expected: &[f32]| {
            assert_eq!(decode_in(coding, 1, &[bytes]), expected);
        };
        check(Coding::S16le, &[], &[]);
        check(Coding::S16le, &[0, 0x80, 0xff, 0x7f, 0, 0x40, 0x99], &[-1.0, 32_767.0 / 32_768.0, 0.5]);
        let floats = [0.25, -1.0, 1.5, -7.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40];
        let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
        check(Coding::F32le, &bytes, &[0.25, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 1e-40]);
    }

    #[test]
    fn a_chunk_larger_than_the_block_loses_nothing() {
        let bytes: Vec<u8> = (0..5_000i16).flat_map(|n| n.to_le_bytes()).collect();
        let expected: Vec<f32> = (0..5_000i16).map(|n| f32::from(n) / 32_768.0).collect();
        assert_eq!(decode_in(Coding::S16le, 1, &[&bytes[..1], &bytes[1..]]), expected);
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_samples(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            sizes in proptest::collection::vec(1usize..40, 1..40),
            channels in 1u16..=8,
            float in any::<bool>(),
        ) {
            let coding = if float { Coding::F32le } else { Coding::S16le };
            let whole = decode_in(coding, channels, &[&bytes]);
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (chunk, later) = rest.split_at((*size).min(rest.len()));
                chunks.push(chunk);
                rest = later;
            }
            prop_assert_eq!(decode_in(coding, channels, &chunks), whole);
        }
    }
}
