//! The decoder seam: bytes as a client sends them in, PCM out, with any chunk boundaries.
//!
//! One file a family of formats. Not here: resampling, channel roles, anything that waits.

mod container;
mod pcm;
mod push_reader;

use self::{
    container::ContainerDecoder,
    pcm::{Coding, PcmDecoder},
};

/// What the client said its audio is. Containers carry their own rate and channel count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFormat {
    /// The coding.
    pub codec: Codec,
    /// Samples per second; required for headerless codecs, ignored for containers.
    pub sample_rate: Option<u32>,
    /// Interleaved channels; required for headerless codecs, ignored for containers.
    pub channels: Option<u16>,
}

/// Codings with a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Headerless signed 16-bit little-endian.
    PcmS16le,
    /// Headerless 32-bit float little-endian.
    PcmF32le,
    /// RIFF/WAVE.
    Wav,
    /// Native FLAC.
    Flac,
    /// WAV or FLAC, recognised by its first 12 bytes.
    Auto,
}

/// A run of decoded audio, borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pcm<'a> {
    /// Samples per second of each channel.
    pub sample_rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// Interleaved, finite, in [-1, 1]; a whole number of frames, never empty.
    pub interleaved: &'a [f32],
}

/// Why bytes could not become audio. Each variant says what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The stream format is missing or absurd. Close the session; the client must send another `audio`
    /// object.
    #[error("{0}")]
    Format(String),
    /// The bytes are not in the named format, or the header is damaged: nothing can be decoded. Close the
    /// session.
    #[error("{0}")]
    Undecodable(String),
    /// Damaged packets were skipped: some audio is missing. Warn the client and go on feeding the same
    /// decoder.
    #[error("{0}")]
    PacketSkipped(String),
}

/// Turns the bytes of one channel's stream into PCM.
///
/// Push-fed and synchronous: bytes go in with any boundaries, down to one at a time, and what they complete
/// comes out at once. What can be held back: of PCM and WAV less than one frame; of FLAC the packet under way
/// and, because a FLAC packet ends where the next begins, up to 1 KiB of the one after it (so at 16 kHz, in
/// packets of 4,096 samples, audio is up to 0.3 s old when it comes out: a format for files more than for
/// conversations).
///
/// Dropping a decoder in mid-stream frees all it holds.
pub trait Decoder: Send {
    /// Feeds the next bytes of the stream; `sink` is called for each run of audio they complete, in order.
    /// All of `bytes` are taken, also when an error is returned. Bytes behind the end of a container's audio
    /// are ignored.
    ///
    /// Compressed audio can grow a thousandfold: who must bound it counts in `sink`.
    ///
    /// # Errors
    /// After [`DecodeError::PacketSkipped`] the decoder goes on with the next packet and audio given to `sink` stands;
    /// after any other error every further call returns the same error.
    fn decode(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError>;

    /// Says that no more bytes come; what was held back is given to `sink`. A stream cut in mid-packet is a
    /// clean end: the part of a packet is dropped. Bytes decoded after `finish` are ignored.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); also when a container ended before its header was complete.
    fn finish(&mut self, sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError>;
}

/// A decoder for `format`. It costs next to nothing until the first bytes come.
///
/// # Errors
/// [`DecodeError::Format`] when a headerless codec lacks its rate (8–192 kHz) or channel count (1–8);
/// [`DecodeError::Undecodable`] when the system gives no address space for a container's parser.
pub fn decoder_for(format: StreamFormat) -> Result<Box<dyn Decoder>, DecodeError> {
    let coding = match format.codec {
        Codec::PcmS16le => Coding::S16le,
        Codec::PcmF32le => Coding::F32le,
        Codec::Wav | Codec::Flac | Codec::Auto => return Ok(Box::new(ContainerDecoder::new(format.codec)?)),
    };
    let (Some(sample_rate), Some(channels)) = (format.sample_rate, format.channels) else {
        return Err(DecodeError::Format(
            "Headerless PCM says nothing about itself: give its sample_rate and channels.".to_owned(),
        ));
    };
    check_layout(sample_rate, channels).map_err(DecodeError::Format)?;
    Ok(Box::new(PcmDecoder::new(coding, sample_rate, channels)))
}

/// Whether audio of this shape can be used; the error is for the end user.
fn check_layout(sample_rate: u32, channels: u16) -> Result<(), String> {
    if !(8_000..=192_000).contains(&sample_rate) {
        return Err(format!(
            "A sample rate of {sample_rate} Hz cannot be used: send audio at 8,000 to 192,000 Hz, best at 16,000."
        ));
    }
    if !(1..=8).contains(&channels) {
        return Err(format!("Audio of {channels} channels cannot be used: send 1 to 8, best one."));
    }
    Ok(())
}

/// A sample as everything behind the decoders may expect it: finite, in [-1, 1]. What is no number becomes
/// silence.
fn clean(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_formats_are_refused_with_advice() {
        let check = |codec, sample_rate, channels, expected: Option<&str>| {
            let error = decoder_for(StreamFormat { codec, sample_rate, channels }).err().map(|e| {
                assert!(matches!(e, DecodeError::Format(_)), "{e:?}");
                e.to_string()
            });
            assert_eq!(error.is_some(), expected.is_some(), "{codec:?} {sample_rate:?} {channels:?}");
            if let (Some(error), Some(expected)) = (error, expected) {
                assert!(error.contains(expected), "{error}");
            }
        };
        for codec in [Codec::PcmS16le, Codec::PcmF32le] {
            check(codec, Some(8_000), Some(1), None);
            check(codec, Some(192_000), Some(8), None);
            check(codec, None, Some(1), Some("give its sample_rate"));
            check(codec, Some(16_000), None, Some("give its sample_rate"));
            check(codec, Some(7_999), Some(1), Some("7999 Hz"));
            check(codec, Some(192_001), Some(1), Some("192001 Hz"));
            check(codec, Some(16_000), Some(0), Some("0 channels"));
            check(codec, Some(16_000), Some(9), Some("9 channels"));
        }
        for codec in [Codec::Wav, Codec::Flac, Codec::Auto] {
            check(codec, None, None, None);
            check(codec, Some(0), Some(0), None);
        }
    }
}
