//! Whole files through `codecs`, the way a session hears them: small chunks in, mono at 16 kHz out.
//!
//! Not here: which files, and what is right.

#![allow(dead_code, reason = "each test that includes this file uses a part of it")]

use codecs::{DecodeError, Finish, Pcm, Resampler, StreamFormat};

/// A file that was decoded.
pub(crate) struct Decoded {
    /// Rate and channels of the source; of its first audio, should they change.
    pub(crate) spec: (u32, u16),
    /// Mono at 16 kHz.
    pub(crate) samples: Vec<f32>,
    /// How often damaged packets were skipped.
    pub(crate) skipped: usize,
    /// Whether audio came as the bytes did, and not only once the file was whole.
    pub(crate) live: bool,
}

/// Decodes `bytes`, fed in chunks of `chunk` bytes, mixes the channels and resamples.
///
/// # Errors
/// The first error after which the decoder does not go on.
pub(crate) fn decode(format: StreamFormat, bytes: &[u8], chunk: usize) -> Result<Decoded, DecodeError> {
    let mut decoder = codecs::decoder_for(format)?;
    let mut decoded = Decoded { spec: (0, 0), samples: Vec::new(), skipped: 0, live: true };
    let (mut skipped, mut live) = (0, true);
    let mut mono = Vec::new();
    let mut resampler: Option<Resampler> = None;
    let mut keep = |pcm: Pcm<'_>| {
        if decoded.spec == (0, 0) {
            decoded.spec = (pcm.sample_rate, pcm.channels);
        }
        if resampler.as_ref().is_none_or(|resampler| resampler.sample_rate() != pcm.sample_rate) {
            if let Some(mut before) = resampler.take() {
                before.flush(&mut decoded.samples);
            }
            resampler = Some(Resampler::new(pcm.sample_rate).expect("decoders give usable rates"));
        }
        mono.clear();
        codecs::downmix(pcm.interleaved, pcm.channels, &mut mono);
        if let Some(resampler) = &mut resampler {
            resampler.process(&mono, &mut decoded.samples);
        }
    };
    let mut survived = |error| {
        match error {
            DecodeError::PacketSkipped(_) => skipped += 1,
            DecodeError::NotLive(_) => live = false,
            fatal => return Err(fatal),
        }
        Ok(())
    };
    for piece in bytes.chunks(chunk) {
        decoder.decode(piece, &mut keep).or_else(&mut survived)?;
    }
    loop {
        match decoder.finish(&mut keep) {
            Ok(Finish::Done) => break,
            Ok(Finish::More) => {}
            Err(error) => survived(error)?,
        }
    }
    if let Some(mut resampler) = resampler {
        resampler.flush(&mut decoded.samples);
    }
    Ok(Decoded { skipped, live, ..decoded })
}
