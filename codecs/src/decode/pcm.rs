//! Headerless PCM and G.711: a fixed number of bytes a sample, with the frame split over two chunks carried.
//!
//! Not here: WAV, which has a header.

use super::{DecodeError, Decoder, Finish, Pcm, clean};

/// How one sample is coded.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coding {
    /// Signed 16-bit little-endian.
    S16le,
    /// Signed 24-bit little-endian.
    S24le,
    /// 32-bit float little-endian.
    F32le,
    /// µ-law.
    Mulaw,
    /// A-law.
    Alaw,
}

/// Decodes headerless PCM and G.711. Adds no delay; takes its buffer when the first audio comes, and nothing after that.
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
        Self { coding, sample_rate, channels, carry: [0; MAX_FRAME_BYTES], carried: 0, samples: Vec::new() }
    }

    fn frame_bytes(&self) -> usize {
        let sample_bytes = match self.coding {
            Coding::Mulaw | Coding::Alaw => 1,
            Coding::S16le => 2,
            Coding::S24le => 3,
            Coding::F32le => 4,
        };
        sample_bytes * usize::from(self.channels)
    }

    /// Decodes whole frames to the end of `samples`.
    fn convert(coding: Coding, frames: &[u8], samples: &mut Vec<f32>) {
        let from_16_bits = |sample| f32::from(sample) / 32_768.0;
        match coding {
            Coding::S16le => {
                samples.extend(frames.as_chunks().0.iter().map(|&b| from_16_bits(i16::from_le_bytes(b))));
            }
            Coding::S24le => samples.extend(frames.as_chunks().0.iter().map(|&[low, middle, high]| {
                // Exact: 24 bits fit a float's mantissa.
                i32::from_le_bytes([0, low, middle, high]) as f32 / 2_147_483_648.0
            })),
            Coding::Mulaw => samples.extend(frames.iter().map(|&code| from_16_bits(mulaw(code)))),
            Coding::Alaw => samples.extend(frames.iter().map(|&code| from_16_bits(alaw(code)))),
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

    fn finish(&mut self, _sink: &mut dyn FnMut(Pcm<'_>)) -> Result<Finish, DecodeError> {
        self.carried = 0;
        Ok(Finish::Done)
    }
}

/// The sample that a µ-law code stands for, as 16-bit PCM (ITU-T G.711, table 2, scaled by 4).
fn mulaw(code: u8) -> i16 {
    let code = !code;
    let magnitude = ((i16::from(code & 0x0f) * 2 + 33) << ((code >> 4) & 7)) - 33;
    4 * if code & 0x80 == 0 { magnitude } else { -magnitude }
}

/// The sample that an A-law code stands for, as 16-bit PCM (ITU-T G.711, table 1, scaled by 8).
fn alaw(code: u8) -> i16 {
    let code = code ^ 0x55;
    let (step, segment) = (i16::from(code & 0x0f) * 2 + 1, (code >> 4) & 7);
    let magnitude = if segment == 0 { step } else { (step + 32) << (segment - 1) };
    8 * if code & 0x80 == 0 { -magnitude } else { magnitude }
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
        assert_eq!(decoder.finish(&mut sink).unwrap(), Finish::Done);
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
        let thirds = [0, 0, 0x80, 0xff, 0xff, 0x7f, 0, 0, 0x40, 1, 0, 0, 9];
        check(Coding::S24le, &thirds, &[-1.0, 8_388_607.0 / 8_388_608.0, 0.5, 1.0 / 8_388_608.0]);
        let bytes: Vec<u8> = floats.iter().flat_map(|f| f.to_le_bytes()).collect();
        check(Coding::F32le, &bytes, &[0.25, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 1e-40]);
    }

    #[test]
    fn g711_codes_stand_for_the_samples_of_the_standard() {
        let check = |decode: fn(u8) -> i16, code, expected| assert_eq!(decode(code), expected, "{code:#04x}");
        // The ends, the smallest steps and one of the middle: G.711 tables 1 and 2, character signals.
        for (code, expected) in
            [(0x00, -32_124), (0x80, 32_124), (0xff, 0), (0x7f, 0), (0xfe, 8), (0x8f, 16_764)]
        {
            check(mulaw, code, expected);
        }
        for (code, expected) in
            [(0x2a, -32_256), (0xaa, 32_256), (0xd5, 8), (0x55, -8), (0xd4, 24), (0x80, 5_504)]
        {
            check(alaw, code, expected);
        }
        let bytes: Vec<u8> = (0..=255).collect();
        let expected: Vec<f32> = bytes.iter().map(|&code| f32::from(mulaw(code)) / 32_768.0).collect();
        assert_eq!(decode_in(Coding::Mulaw, 1, &[&bytes]), expected);
        let expected: Vec<f32> = bytes.iter().map(|&code| f32::from(alaw(code)) / 32_768.0).collect();
        assert_eq!(decode_in(Coding::Alaw, 1, &[&bytes]), expected);
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
            coding in prop::sample::select(&[
                Coding::S16le, Coding::S24le, Coding::F32le, Coding::Mulaw, Coding::Alaw,
            ]),
        ) {
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
