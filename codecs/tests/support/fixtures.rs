//! The files of `codecs/fixtures`, and what was recorded in them.
//!
//! Not here: what decoding them must give (`golden.rs`). Shared by tests; each uses a part.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::{fs, ops::ControlFlow, path::Path};

use codecs::{Codec, Pcm, Resampler, downmix};

use crate::stream::{self, Outcome};

/// The bytes of a fixture.
pub(crate) fn read(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The codec that a fixture's name begins with.
pub(crate) fn codec_of(name: &str) -> Codec {
    match name.split('-').next().expect("a name has a beginning") {
        "wav" | "reference.wav" => Codec::Wav,
        "flac" => Codec::Flac,
        "ogg" => Codec::Ogg,
        "webm" | "mkv" => Codec::WebM,
        "mp4" | "m4a" => Codec::Mp4,
        "mp3" => Codec::Mp3,
        "aac" => Codec::Aac,
        "aiff" => Codec::Auto,
        _ => panic!("{name} is of no known format"),
    }
}

/// Two seconds of speech, 16 kHz mono: what the lossy fixtures say.
pub(crate) fn reference() -> Vec<f32> {
    reference_samples().map(|sample| f32::from(sample) / 32_768.0).collect()
}

fn reference_samples() -> impl Iterator<Item = i16> {
    let file = read("reference.wav");
    let samples = file[WAV_HEADER_BYTES..].as_chunks().0.to_vec();
    samples.into_iter().map(i16::from_le_bytes)
}

/// What the lossless fixtures hold, as `layout.py` laid it out.
pub(crate) fn exact(bits: u32, channels: u16) -> Vec<f32> {
    let samples: Vec<i32> = reference_samples().map(i32::from).collect();
    let sample = |n: usize, c: usize| {
        let sample = samples[4_000 + n + 331 * c];
        match bits {
            8 => (sample >> 8) as f32 / 128.0,
            16 => sample as f32 / 32_768.0,
            24 => ((sample << 8) | ((n as i32 * 37 + c as i32) % 256)) as f32 / 8_388_608.0,
            _ => panic!("no fixture has {bits} bits"),
        }
    };
    (0..EXACT_FRAMES).flat_map(|n| (0..usize::from(channels)).map(move |c| sample(n, c))).collect()
}

/// Audio of one rate and channel count.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Segment {
    pub(crate) sample_rate: u32,
    pub(crate) channels: u16,
    pub(crate) samples: Vec<f32>,
    /// Runs in which it came.
    pub(crate) runs: usize,
}

impl Segment {
    pub(crate) fn frames(&self) -> usize {
        self.samples.len() / usize::from(self.channels)
    }

    /// As the ear hears it: mono, 16 kHz.
    pub(crate) fn heard(&self) -> Vec<f32> {
        let (mut mono, mut heard) = (Vec::new(), Vec::new());
        downmix(&self.samples, self.channels, &mut mono);
        let mut resampler = Resampler::new(self.sample_rate).expect("a usable rate");
        resampler.process(&mono, &mut heard);
        resampler.flush(&mut heard);
        heard
    }
}

/// All that came out of a stream.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decoded {
    pub(crate) segments: Vec<Segment>,
    pub(crate) outcome: Outcome,
}

impl Decoded {
    /// Runs of audio in all.
    pub(crate) fn runs(&self) -> usize {
        self.segments.iter().map(|segment| segment.runs).sum()
    }

    /// All samples, whatever their rate.
    pub(crate) fn samples(&self) -> Vec<f32> {
        self.segments.iter().flat_map(|segment| segment.samples.iter().copied()).collect()
    }

    fn add(&mut self, pcm: Pcm<'_>) {
        let Pcm { sample_rate, channels, interleaved } = pcm;
        match self.segments.last_mut() {
            Some(last) if (last.sample_rate, last.channels) == (sample_rate, channels) => {
                last.samples.extend_from_slice(interleaved);
                last.runs += 1;
            }
            _ => {
                self.segments.push(Segment { sample_rate, channels, samples: interleaved.to_vec(), runs: 1 });
            }
        }
    }
}

/// Decodes a container that comes in `chunks`.
pub(crate) fn decode<'a>(codec: Codec, chunks: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let mut decoded = Decoded::default();
    decoded.outcome = stream::decode(stream::container(codec), chunks, &mut |pcm| {
        decoded.add(pcm);
        ControlFlow::Continue(())
    });
    decoded
}

/// By ffmpeg's reading, each compressed fixture and the bytes at which its packets end.
pub(crate) fn packet_ends() -> Vec<(String, Vec<usize>)> {
    let text = String::from_utf8(read("packets.txt")).expect("text");
    let line = |line: &str| {
        let (name, ends) = line.split_once(' ').expect("a name, then numbers");
        (name.to_owned(), ends.split(' ').map(|end| end.parse().expect("a number")).collect())
    };
    text.lines().map(line).collect()
}

const WAV_HEADER_BYTES: usize = 44;

const EXACT_FRAMES: usize = 500;
