//! Recordings on disk: decoded whole, with the moments at which a live encoder would have sent each byte.
//!
//! Not here: pacing or sending.

use std::{ops::Range, path::Path};

use codecs::{Codec, DecodeError, Finish, Pcm, StreamFormat};
use protocol::{AudioFormat, Role};

use crate::Error;

/// One chunk to be sent, and when: the audio time at which its last sample was spoken.
pub(crate) struct Chunk {
    pub(crate) bytes: Range<usize>,
    pub(crate) at_ms: f64,
}

/// A recording, ready to be streamed.
pub(crate) struct Recording {
    pub(crate) format: AudioFormat,
    pub(crate) bytes: Vec<u8>,
    pub(crate) chunks: Vec<Chunk>,
    pub(crate) duration_ms: f64,
}

impl Recording {
    /// The file as a microphone would have sent it: PCM in pieces of 20 ms.
    pub(crate) fn as_microphone(path: &Path) -> Result<Self, Error> {
        let file = read(path)?;
        Self::microphone(&file).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    /// As [`as_microphone`](Self::as_microphone), of a file already in memory.
    pub(crate) fn microphone(file: &[u8]) -> Result<Self, DecodeError> {
        let mut bytes = Vec::new();
        let mut spec = None;
        let mut changed = false;
        let notices = codecs::decode_whole(AUTO, file, &mut |pcm| {
            changed |=
                *spec.get_or_insert((pcm.sample_rate, pcm.channels)) != (pcm.sample_rate, pcm.channels);
            let samples = pcm.interleaved.iter().map(|sample| (sample * 32_768.0) as i16);
            bytes.extend(samples.flat_map(i16::to_le_bytes));
        })?;
        for notice in notices {
            if let DecodeError::PacketSkipped(what) = notice {
                tracing::warn!("{what}");
            }
        }
        if changed {
            let why =
                "The file changes its sample rate or channels in the middle: stream it with --original.";
            return Err(DecodeError::Undecodable(why.to_owned()));
        }
        let (sample_rate, channels) = spec.unwrap_or((16_000, 1));
        let frame = 2 * usize::from(channels);
        let chunk = frame * (sample_rate as usize / 50);
        let time = |byte: usize| (byte / frame) as f64 * 1e3 / f64::from(sample_rate);
        let chunks = (0..bytes.len()).step_by(chunk.max(frame)).map(|from| {
            let to = bytes.len().min(from + chunk);
            Chunk { bytes: from..to, at_ms: time(to) }
        });
        let chunks = chunks.collect();
        let mut format = AudioFormat::mono(protocol::Codec::PcmS16le, Some(sample_rate), Role::Mixed);
        format.channels = Some(channels);
        Ok(Self { format, duration_ms: time(bytes.len()), bytes, chunks })
    }

    /// Goes on with `ms` of silence. Only PCM can: a recorded container ends where it ends.
    pub(crate) fn add_silence(&mut self, ms: u32) {
        let (protocol::Codec::PcmS16le, Some(rate), Some(channels)) =
            (self.format.codec, self.format.sample_rate, self.format.channels)
        else {
            return;
        };
        let chunk = 2 * usize::from(channels) * (rate as usize / 50);
        for _ in 0..ms / 20 {
            let from = self.bytes.len();
            self.bytes.resize(from + chunk, 0);
            self.duration_ms += 20.0;
            self.chunks.push(Chunk { bytes: from..from + chunk, at_ms: self.duration_ms });
        }
    }

    /// The file's own bytes, each as soon as a live encoder would have had it.
    pub(crate) fn as_recorded(path: &Path) -> Result<Self, Error> {
        let bytes = read(path)?;
        let mut decoder = codecs::decoder_for(AUTO)?;
        let mut chunks = Vec::new();
        let mut decoded_ms = 0.0;
        for from in (0..bytes.len()).step_by(PIECE_BYTES) {
            let range = from..bytes.len().min(from + PIECE_BYTES);
            let heard = decoder.decode(&bytes[range.clone()], &mut |pcm| decoded_ms += milliseconds(pcm));
            match heard {
                // The server tells of it.
                Ok(()) | Err(DecodeError::PacketSkipped(_) | DecodeError::NotLive(_)) => {}
                Err(error) => return Err(format!("{}: {error}", path.display()).into()),
            }
            chunks.push(Chunk { bytes: range, at_ms: decoded_ms });
        }
        // What the end of the stream brings: of a file that cannot be heard live, all of it.
        while let Ok(Finish::More) | Err(DecodeError::PacketSkipped(_)) =
            decoder.finish(&mut |pcm| decoded_ms += milliseconds(pcm))
        {}
        let format = AudioFormat::mono(protocol::Codec::Auto, None, Role::Mixed);
        Ok(Self { format, bytes, chunks, duration_ms: decoded_ms })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn milliseconds(pcm: Pcm<'_>) -> f64 {
    (pcm.interleaved.len() / usize::from(pcm.channels)) as f64 * 1e3 / f64::from(pcm.sample_rate)
}

const AUTO: StreamFormat = StreamFormat { codec: Codec::Auto, sample_rate: None, channels: None };
const PIECE_BYTES: usize = 1024;
