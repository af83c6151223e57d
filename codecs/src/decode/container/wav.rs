//! WAV (RIFF/WAVE): symphonia reads the format chunk and decodes the samples; the chunks around them are
//! walked here.
//!
//! Walked here because a live stream breaks the rules that a file keeps: the lengths in its header are 0 or
//! 0xFFFFFFFF, and its samples must come out as they arrive (symphonia's own reader waits for 1,152 frames,
//! 72 ms at 16 kHz). Not here: RF64, whose streams nobody sends.

use std::io::Read;

use symphonia::{
    core::{
        codecs::audio::well_known::{
            CODEC_ID_PCM_ALAW, CODEC_ID_PCM_F32LE, CODEC_ID_PCM_F64LE, CODEC_ID_PCM_MULAW,
            CODEC_ID_PCM_S16LE, CODEC_ID_PCM_S24LE, CODEC_ID_PCM_S32LE, CODEC_ID_PCM_U8,
        },
        errors::Error,
        formats::{FormatOptions, FormatReader},
        io::SeekBuffered,
        packet::PacketRef,
        units::{Duration, Timestamp},
    },
    default::formats::WavReader,
};

use super::{
    super::check_layout,
    Item, Magic, Parsed, Source,
    packets::{Emitter, audio_params, explain, is_end, symphonia_decoder},
    stream,
};

pub(super) const NAME: &str = "WAV";

pub(super) fn matches(magic: &Magic) -> bool {
    magic.starts_with(b"RIFF") && magic.ends_with(b"WAVE")
}

/// Decodes to the end of the data chunk. Adds no delay: what has arrived and is a whole frame comes out.
pub(super) fn decode(_magic: &Magic, mut source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let header = read_header(&mut source).map_err(|error| explain(NAME, &error))?;
    let reader = WavReader::try_new(stream(header.canonical, source), FormatOptions::default())
        .map_err(|error| explain(NAME, &error))?;
    let params = audio_params(NAME, &reader)?;
    let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
    check_layout(params.sample_rate.unwrap_or(0), u16::try_from(channels).unwrap_or(u16::MAX))?;
    let mut decoder = symphonia_decoder(NAME, params)?;
    let sample_bytes = match params.codec {
        CODEC_ID_PCM_U8 | CODEC_ID_PCM_ALAW | CODEC_ID_PCM_MULAW => 1,
        CODEC_ID_PCM_S16LE => 2,
        CODEC_ID_PCM_S24LE => 3,
        CODEC_ID_PCM_S32LE | CODEC_ID_PCM_F32LE => 4,
        CODEC_ID_PCM_F64LE => 8,
        _ => return Err(explain(NAME, &Error::Unsupported("coding of the samples"))),
    };
    let frame_bytes = sample_bytes * params.channels.as_ref().map_or(1, |channels| channels.count());

    // The header is read, so the reader has no more to say: from here on the stream is frames.
    let mut stream = Box::new(reader).into_inner();
    let mut packet = vec![0; PACKET_FRAMES * frame_bytes];
    let mut left = header.data_bytes / frame_bytes as u64;
    while left > 0 {
        match stream.read_exact(&mut packet[..frame_bytes]).map_err(Error::from) {
            Err(error) if is_end(&error) => break,
            Err(error) => return Err(explain(NAME, &error)),
            Ok(()) => {}
        }
        let arrived = stream.unread_buffer_len() / frame_bytes;
        let frames = (1 + arrived).min(PACKET_FRAMES).min(usize::try_from(left).unwrap_or(usize::MAX));
        let bytes = &mut packet[..frames * frame_bytes];
        stream.read_exact(&mut bytes[frame_bytes..]).map_err(|error| explain(NAME, &error.into()))?;
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::from(frames as u64), bytes);
        emitter.audio(decoder.decode_ref(&packet).map_err(|error| explain(NAME, &error))?);
        left -= frames as u64;
    }
    Ok(())
}

struct Header {
    /// A header with the format chunk and nothing else, of unknown length.
    canonical: Vec<u8>,
    /// Length of the data chunk, which comes next in the source; `u64::MAX` when it lasts as long as the
    /// stream.
    data_bytes: u64,
}

/// Reads to the first byte of audio; all chunks but the format's are skipped unread, whatever they claim to
/// hold.
fn read_header(source: &mut Source<'_, Item>) -> Result<Header, Error> {
    let mut canonical = b"RIFF\xff\xff\xff\xffWAVE".to_vec();
    let mut has_format = false;
    loop {
        let mut chunk = [0; 8];
        source.read_exact(&mut chunk)?;
        let length = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
        let padded = u64::from(length) + u64::from(length % 2);
        match &chunk[..4] {
            b"fmt " if padded <= MAX_FORMAT_BYTES && !has_format => {
                has_format = true;
                canonical.extend_from_slice(&chunk);
                source.take(padded).read_to_end(&mut canonical)?;
            }
            b"fmt " => return Err(Error::DecodeError("its format chunk is doubled or too long")),
            b"data" if has_format => {
                canonical.extend_from_slice(b"data\xff\xff\xff\xff");
                let data_bytes = if matches!(length, 0 | u32::MAX) { u64::MAX } else { u64::from(length) };
                return Ok(Header { canonical, data_bytes });
            }
            b"data" => return Err(Error::DecodeError("its data come before their format")),
            _ => source.skip(padded)?,
        }
    }
}

/// Frames decoded at once: bounds the buffers.
const PACKET_FRAMES: usize = 1024;

/// The longest format chunk in use, that of Microsoft's ADPCM, has 50 bytes.
const MAX_FORMAT_BYTES: u64 = 64;
