//! Feeds a decoder to its end, and checks on the way what `Decoder` promises whatever the bytes.
//!
//! Not here: what the audio should be. Shared by tests and fuzz targets; each uses a part.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use std::ops::ControlFlow;

use codecs::{Codec, DecodeError, Decoder, Finish, Pcm, StreamFormat, decoder_for};

/// What a container needs to be told: nothing but its name.
pub(crate) fn container(codec: Codec) -> StreamFormat {
    StreamFormat { codec, sample_rate: None, channels: None }
}

/// What a stream had to say beside its audio.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Texts of `PacketSkipped`.
    pub(crate) skips: Vec<String>,
    /// Text of `NotLive`.
    pub(crate) not_live: Option<String>,
    /// Why the stream ended before its bytes did.
    pub(crate) failure: Option<String>,
}

/// Decodes `chunks` and finishes; `sink` sees the audio, and ends the stream early by breaking.
pub(crate) fn decode<'a>(
    format: StreamFormat,
    chunks: impl IntoIterator<Item = &'a [u8]>,
    sink: &mut dyn FnMut(Pcm<'_>) -> ControlFlow<()>,
) -> Outcome {
    let mut decoder = decoder_for(format).expect("the format is sound");
    let mut outcome = Outcome::default();
    let mut enough = false;
    let mut chunks = chunks.into_iter();
    loop {
        let chunk = chunks.next();
        let mut given = 0;
        let mut checked = |pcm: Pcm<'_>| {
            check(pcm);
            given += pcm.interleaved.len();
            enough = enough || sink(pcm).is_break();
        };
        let result = match chunk {
            Some(chunk) => decoder.decode(chunk, &mut checked).map(|()| Finish::More),
            None => decoder.finish(&mut checked),
        };
        match result {
            Ok(Finish::Done) => {
                assert_over(&mut *decoder);
                return outcome;
            }
            Ok(Finish::More) => assert!(chunk.is_some() || given > 0, "a step of finish gives audio"),
            Err(DecodeError::PacketSkipped(what)) => outcome.skips.push(what),
            Err(DecodeError::NotLive(why)) => assert_eq!(outcome.not_live.replace(why), None, "said once"),
            Err(DecodeError::Undecodable(why)) => {
                assert_failed(&mut *decoder, &why);
                outcome.failure = Some(why);
                return outcome;
            }
            Err(DecodeError::Format(why)) => panic!("a sound format became unsound: {why}"),
        }
        if enough {
            return outcome;
        }
    }
}

/// What the seam promises of every run of audio.
fn check(pcm: Pcm<'_>) {
    let Pcm { sample_rate, channels, interleaved } = pcm;
    assert!((1..=8).contains(&channels), "{channels} channels");
    assert!((8_000..=192_000).contains(&sample_rate), "{sample_rate} Hz");
    assert!(!interleaved.is_empty());
    assert!(interleaved.len().is_multiple_of(channels.into()), "whole frames");
    assert!(interleaved.len() <= MAX_RUN, "{} samples at once", interleaved.len());
    assert!(interleaved.iter().all(|sample| (-1.0..=1.0).contains(sample)), "finite, in [-1, 1]");
}

/// After the end nothing comes, whatever is fed.
fn assert_over(decoder: &mut dyn Decoder) {
    decoder.decode(b"more", &mut |_| panic!("audio after the end")).expect("bytes after the end are ignored");
}

/// A failed decoder repeats its error, which says something.
fn assert_failed(decoder: &mut dyn Decoder, why: &str) {
    assert!(why.len() > 20, "an error says what was wrong and what to do: {why:?}");
    let again = decoder.decode(b"more", &mut |_| panic!("audio after a failure"));
    assert_eq!(again.expect_err("failed").to_string(), why);
    let again = decoder.finish(&mut |_| panic!("audio after a failure"));
    assert_eq!(again.expect_err("failed").to_string(), why);
}

/// The largest packet there is: 65,535 frames of FLAC, in eight channels.
const MAX_RUN: usize = 65_535 * 8;
