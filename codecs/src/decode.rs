//! The decoder seam: bytes as a client sends them in, PCM out, with any chunk boundaries.
//!
//! One file a family of formats. Not here: resampling, channel roles, anything that waits.

mod container;
mod opus;
mod pcm;
mod push_reader;

use self::{
    container::ContainerDecoder,
    opus::OpusDecoder,
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
    /// Headerless signed 24-bit little-endian, three bytes a sample.
    PcmS24le,
    /// Headerless 32-bit float little-endian.
    PcmF32le,
    /// Headerless µ-law (ITU-T G.711), a byte a sample.
    Mulaw,
    /// Headerless A-law (ITU-T G.711), a byte a sample.
    Alaw,
    /// Raw Opus packets, without a container: each call of [`Decoder::decode`] takes exactly one.
    Opus,
    /// Ogg with Opus, Vorbis or FLAC.
    Ogg,
    /// WebM or Matroska with Opus, Vorbis, or another coding of this list.
    WebM,
    /// MP4 with AAC, Opus, or another coding of this list; live when it is fragmented.
    Mp4,
    /// MP3, MPEG-1 to 2.5.
    Mp3,
    /// AAC-LC in ADTS.
    Aac,
    /// Native FLAC.
    Flac,
    /// RIFF/WAVE.
    Wav,
    /// Any of the containers (from [`Ogg`](Self::Ogg) on), or AIFF, recognised by its first 12 bytes.
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
    /// The file cannot be decoded as it comes: it is kept, and decoded by [`Decoder::finish`]. Warn the client
    /// and go on feeding the same decoder. Comes once.
    #[error("{0}")]
    NotLive(String),
}

/// Whether [`Decoder::finish`] has come to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Finish {
    /// There is more audio: call again.
    More,
    /// All audio has been given to the sink.
    Done,
}

/// Turns the bytes of one channel's stream into PCM.
///
/// Push-fed and synchronous: bytes go in with any boundaries, down to one at a time (but raw Opus: a packet a
/// call), and what they complete comes out at once. What can be held back: of PCM, G.711 and WAV less than one
/// frame; of WebM, MP4, MP3 and AAC less than one packet; of Ogg less than one page; of FLAC the packet under
/// way and, because a FLAC packet ends where the next begins, up to 1 KiB of the one after it (so at 16 kHz,
/// in packets of 4,096 samples, audio is up to 0.3 s old when it comes out: a format for files more than for
/// conversations). An MP4 file whose index comes last is held back whole: see [`DecodeError::NotLive`].
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
    /// After [`DecodeError::PacketSkipped`] and [`DecodeError::NotLive`] the decoder goes on and audio given to
    /// `sink` stands; after any other error every further call returns the same error.
    fn decode(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError>;

    /// Says that `chunks` calls' worth of bytes were lost before the next. True when the decoder will fill the
    /// gap with concealed audio, as part of the next [`decode`](Self::decode).
    fn lose(&mut self, _chunks: u32) -> bool {
        false
    }

    /// Says that no more bytes come; what was held back is given to `sink`, at most about ten seconds a call.
    /// Call it until it returns [`Finish::Done`] or an error that ends the stream. A stream cut in mid-packet
    /// is a clean end: the part of a packet is dropped. Bytes decoded after `finish` are ignored.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); also when a container ended before its header was complete.
    fn finish(&mut self, sink: &mut dyn FnMut(Pcm<'_>)) -> Result<Finish, DecodeError>;
}

/// A decoder for `format`. It costs next to nothing until the first bytes come.
///
/// # Errors
/// [`DecodeError::Format`] when a headerless codec lacks its rate (8–192 kHz) or channel count (1–8; Opus
/// 1–2); [`DecodeError::Undecodable`] when the system gives no address space for a container's parser.
pub fn decoder_for(format: StreamFormat) -> Result<Box<dyn Decoder>, DecodeError> {
    let coding = match format.codec {
        Codec::PcmS16le => Some(Coding::S16le),
        Codec::PcmS24le => Some(Coding::S24le),
        Codec::PcmF32le => Some(Coding::F32le),
        Codec::Mulaw => Some(Coding::Mulaw),
        Codec::Alaw => Some(Coding::Alaw),
        Codec::Opus => None,
        container => return Ok(Box::new(ContainerDecoder::new(container)?)),
    };
    let (Some(sample_rate), Some(channels)) = (format.sample_rate, format.channels) else {
        return Err(DecodeError::Format(
            "Headerless audio says nothing about itself: give its sample_rate and channels.".to_owned(),
        ));
    };
    check_layout(sample_rate, channels).map_err(DecodeError::Format)?;
    match coding {
        Some(coding) => Ok(Box::new(PcmDecoder::new(coding, sample_rate, channels))),
        None => Ok(Box::new(OpusDecoder::new(channels)?)),
    }
}

/// Decodes a whole recording; gives what went wrong on the way without ending it.
///
/// # Errors
/// As [`decoder_for`] and [`Decoder::decode`]; audio given to `sink` before stands.
pub fn decode_whole(
    format: StreamFormat,
    bytes: &[u8],
    sink: &mut dyn FnMut(Pcm<'_>),
) -> Result<Vec<DecodeError>, DecodeError> {
    let mut decoder = decoder_for(format)?;
    let mut notices = Vec::new();
    let mut decoded = decoder.decode(bytes, sink).map(|()| Finish::More);
    loop {
        match decoded {
            Ok(Finish::Done) => return Ok(notices),
            Ok(Finish::More) => {}
            Err(notice @ (DecodeError::PacketSkipped(_) | DecodeError::NotLive(_))) => notices.push(notice),
            Err(error) => return Err(error),
        }
        decoded = decoder.finish(sink);
    }
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
pub(crate) fn clean(sample: f32) -> f32 {
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
        let headerless =
            [Codec::PcmS16le, Codec::PcmS24le, Codec::PcmF32le, Codec::Mulaw, Codec::Alaw, Codec::Opus];
        for codec in headerless {
            check(codec, Some(8_000), Some(1), None);
            check(codec, Some(192_000), Some(8), (codec == Codec::Opus).then_some("8 channels"));
            check(codec, None, Some(1), Some("give its sample_rate"));
            check(codec, Some(16_000), None, Some("give its sample_rate"));
            check(codec, Some(7_999), Some(1), Some("7999 Hz"));
            check(codec, Some(192_001), Some(1), Some("192001 Hz"));
            check(codec, Some(16_000), Some(0), Some("0 channels"));
            check(codec, Some(16_000), Some(9), Some("9 channels"));
        }
        use Codec::{Aac, Auto, Flac, Mp3, Mp4, Ogg, Wav, WebM};
        for codec in [Ogg, WebM, Mp4, Mp3, Aac, Flac, Wav, Auto] {
            check(codec, None, None, None);
            check(codec, Some(0), Some(0), None);
        }
    }
}
