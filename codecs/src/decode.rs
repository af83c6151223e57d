//! The decoder seam: bytes as a client sends them in, PCM out, with any chunk boundaries.
//!
//! One file a family of formats. Not here: resampling, channel roles, anything that waits.

mod container;
mod pcm;

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
    /// WAV or FLAC, recognised by content.
    Auto,
}

/// A run of decoded audio, borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pcm<'a> {
    /// Samples per second of each channel.
    pub sample_rate: u32,
    /// Interleaved channels.
    pub channels: u16,
    /// Interleaved f32, nominally in [-1, 1]; a whole number of frames.
    pub interleaved: &'a [f32],
}

/// Why bytes could not become audio. Each variant says what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The stream format is missing or absurd. Close the session; the client must send another `audio` object.
    #[error("{0}")]
    Format(String),
    /// The bytes are not in the named format, or the header is damaged: nothing can be decoded. Close the session.
    #[error("{0}")]
    Undecodable(String),
    /// One packet was damaged and skipped. Warn the client and go on feeding the same decoder.
    #[error("{0}")]
    PacketSkipped(String),
}

/// Turns the bytes of one channel's stream into PCM.
///
/// Push-fed and synchronous: bytes go in with any boundaries, down to one at a time, and what they complete comes out at once.
pub trait Decoder: Send {
    /// Feeds the next bytes of the stream; `sink` is called for each run of audio they complete, in order.
    ///
    /// # Errors
    /// After [`DecodeError::PacketSkipped`] the decoder goes on with the next packet and audio given to `sink` stands;
    /// after any other error every further call returns the same error.
    fn decode(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError>;

    /// Says that no more bytes come; what was held back is given to `sink`. A stream cut in mid-packet is a clean end.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); also when not even a header had arrived.
    fn finish(&mut self, sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError>;
}

/// A decoder for `format`.
///
/// # Errors
/// [`DecodeError::Format`] when a headerless codec lacks its rate (8–192 kHz) or channel count (1–8).
pub fn decoder_for(format: StreamFormat) -> Result<Box<dyn Decoder>, DecodeError> {
    todo!()
}
