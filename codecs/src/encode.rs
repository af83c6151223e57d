//! Whole recordings as files that speech-recognition servers take: WAV of 16 bits, and Ogg with Opus.
//!
//! Mono at 16 kHz, the form audio has behind the listening path. Not here: encoding while audio comes.

mod ogg_opus;

pub use self::ogg_opus::encode_ogg_opus;

use crate::{SAMPLE_RATE, decode::clean};

/// Why audio could not be encoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// libopus refused, which it does only for lack of memory. Use [`encode_wav`], or try again.
    #[error("audio could not be encoded as Opus: {0}")]
    Opus(&'static str),
}

/// `audio`, mono at 16 kHz, as a WAV file of 16 bits a sample: 32 KB a second.
///
/// Samples outside [-1, 1] are clipped, those that are no number become silence. At most 2³¹ samples (37 hours) fit.
pub fn encode_wav(audio: &[f32]) -> Vec<u8> {
    let data_bytes = (audio.len() * BYTES_PER_SAMPLE) as u32;
    let mut file = Vec::with_capacity(44 + audio.len() * BYTES_PER_SAMPLE);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16u32.to_le_bytes());
    // Integer PCM, one channel.
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&1u16.to_le_bytes());
    file.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    file.extend_from_slice(&(SAMPLE_RATE * BYTES_PER_SAMPLE as u32).to_le_bytes());
    file.extend_from_slice(&(BYTES_PER_SAMPLE as u16).to_le_bytes());
    file.extend_from_slice(&(8 * BYTES_PER_SAMPLE as u16).to_le_bytes());
    file.extend_from_slice(b"data");
    file.extend_from_slice(&data_bytes.to_le_bytes());
    for sample in audio {
        // 1 becomes 32,767: the cast saturates.
        let sample = (clean(*sample) * 32_768.0).round() as i16;
        file.extend_from_slice(&sample.to_le_bytes());
    }
    file
}

const BYTES_PER_SAMPLE: usize = 2;
