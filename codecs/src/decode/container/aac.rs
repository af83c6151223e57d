//! AAC in ADTS: the frames are found here, symphonia decodes them.
//!
//! Found here because symphonia's own reader keeps the rate and the channels of the first frame for the whole
//! stream, and takes any 12 set bits for a header after damage. Not here: AAC in MP4; HE-AAC's upper band (its
//! core is plain AAC at half the rate, and speech needs no more).

use std::io::{self, Read};

use symphonia::core::{
    codecs::audio::{AudioCodecParameters, AudioDecoder, well_known::CODEC_ID_AAC},
    packet::PacketRef,
    units::{Duration, Timestamp},
};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, explain, symphonia_decoder},
};

pub(super) const NAME: &str = "AAC";

pub(super) fn matches(magic: &Magic) -> bool {
    Header::parse(magic).is_some()
}

/// Decodes to the end of the stream; what is no frame is skipped. A frame comes out when it is whole; after damage
/// it waits for the header of the next, which tells it from noise.
pub(super) fn decode(magic: &Magic, source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let mut frames = Frames { source, window: magic.to_vec(), last: 0, config: None };
    let mut decoder: Option<(u16, Box<dyn AudioDecoder>)> = None;
    // Frames since the decoder was made: another one costs forty times as much as a frame.
    let mut age = 0;
    // Noise at the start is where the stream was joined, not damage.
    let mut damaged = true;
    while let Some((header, noise)) = frames.next().map_err(|error| explain(NAME, &error.into()))? {
        if noise {
            note(&mut damaged, "no frame begins where one should", emitter);
        }
        age += 1;
        if decoder.as_ref().is_none_or(|(config, _)| *config != header.config && age > MIN_FRAMES) {
            age = 0;
            let mut params = AudioCodecParameters::new();
            params.for_codec(CODEC_ID_AAC).with_extra_data(Box::new(header.config.to_be_bytes()));
            match symphonia_decoder(NAME, &params) {
                Ok(new) => decoder = Some((header.config, new)),
                Err(why) if decoder.is_none() => return Err(why),
                Err(_) => {}
            }
        }
        let payload = &frames.window[header.bytes..header.frame_bytes];
        let packet = PacketRef::new(0, Timestamp::ZERO, Duration::from(SAMPLES_PER_FRAME), payload);
        match decoder.as_mut().filter(|(config, _)| *config == header.config && header.blocks == 1) {
            Some((_, decoder)) => match decoder.decode_ref(&packet) {
                Ok(audio) => {
                    damaged = false;
                    emitter.audio(audio);
                }
                Err(error) => note(&mut damaged, &error.to_string(), emitter),
            },
            None if header.blocks > 1 => note(&mut damaged, "several packets in one frame", emitter),
            None => note(&mut damaged, "another profile", emitter),
        }
    }
    Ok(())
}

/// Tells of damage, once for each run of it.
fn note(damaged: &mut bool, what: &str, emitter: &mut Emitter<'_>) {
    if !std::mem::replace(damaged, true) {
        emitter.skipped(format!("A damaged {NAME} frame was skipped ({what}): some audio is missing here."));
    }
}

/// Finds the frames of a stream.
struct Frames<'y> {
    source: Source<'y, Item>,
    /// What was read and not consumed; after `next` it begins with a whole frame.
    window: Vec<u8>,
    /// Length of the last frame, which still is at the start of the window: its own word for it may be wrong.
    last: usize,
    /// That of the last frame.
    config: Option<u16>,
}

impl Frames<'_> {
    /// Brings the next whole frame to the start of the window, and says whether anything else stood before it;
    /// `None` at the end of the stream.
    ///
    /// A frame right behind the last and like it is taken at its word; any other must be followed by one like
    /// itself, which tells it from noise.
    fn next(&mut self) -> io::Result<Option<(Header, bool)>> {
        let mut at = self.last;
        let mut noise = false;
        while self.fill(at + HEADER_BYTES)? {
            if let Some(header) = Header::parse(&self.window[at..]) {
                let end = at + header.frame_bytes;
                let expected = !noise && self.config.is_none_or(|config| config == header.config);
                let followed =
                    |next: &[u8]| Header::parse(next).is_some_and(|next| next.config == header.config);
                // At the end of the stream nothing follows.
                if expected || !self.fill(end + HEADER_BYTES)? || followed(&self.window[end..]) {
                    if !self.fill(end)? {
                        return Ok(None);
                    }
                    self.window.drain(..at);
                    (self.last, self.config) = (header.frame_bytes, Some(header.config));
                    return Ok(Some((header, noise)));
                }
            }
            // From inside the last frame on, in case it claimed too much.
            at = if noise { at + 1 } else { 1 };
            noise = true;
            if at >= 2 * MAX_FRAME_BYTES {
                self.window.drain(..at);
                (at, self.last) = (0, 0);
            }
        }
        Ok(None)
    }

    /// Reads until the window has `length` bytes; `false` when the stream ends before.
    fn fill(&mut self, length: usize) -> io::Result<bool> {
        let missing = length.saturating_sub(self.window.len());
        if missing > 0 {
            self.source.by_ref().take(missing as u64).read_to_end(&mut self.window)?;
        }
        Ok(self.window.len() >= length)
    }
}

/// A frame's header (ISO/IEC 13818-7, section 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Profile, rate and channels as an AudioSpecificConfig (ISO/IEC 14496-3, section 1.6.2.1).
    config: u16,
    /// Length of the header, and of the frame with it.
    bytes: usize,
    frame_bytes: usize,
    /// Packets in the frame.
    blocks: u8,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[sync, flags, profile, channels, length, fullness, blocks] = bytes.first_chunk()?;
        if sync != 0xff || flags & 0xf6 != 0xf0 {
            return None;
        }
        let object_type = u16::from(profile >> 6) + 1;
        let rate_index = u16::from(profile >> 2 & 0x0f);
        let channel_config = u16::from(profile & 1) << 2 | u16::from(channels >> 6);
        let header_bytes = if flags & 1 == 0 { HEADER_BYTES + 2 } else { HEADER_BYTES };
        let frame_bytes =
            usize::from(channels & 3) << 11 | usize::from(length) << 3 | usize::from(fullness >> 5);
        // Index 12 is 7,350 Hz, which nobody uses for speech; behind it there are no rates.
        (rate_index < 12 && frame_bytes > header_bytes).then_some(Self {
            config: object_type << 11 | rate_index << 7 | channel_config << 3,
            bytes: header_bytes,
            frame_bytes,
            blocks: (blocks & 3) + 1,
        })
    }
}

/// Without a checksum.
const HEADER_BYTES: usize = 7;

/// 13 bits.
const MAX_FRAME_BYTES: usize = 8191;

/// Frames before the rate or the channels may change again.
const MIN_FRAMES: u32 = 16;

/// Of one packet of AAC-LC.
const SAMPLES_PER_FRAME: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_from_noise() {
        let check = |bytes: &[u8], expected: Option<(u16, usize, usize, u8)>| {
            let expected = expected.map(|(config, bytes, frame_bytes, blocks)| Header {
                config,
                bytes,
                frame_bytes,
                blocks,
            });
            assert_eq!(Header::parse(bytes), expected, "{bytes:02x?}");
        };
        // LC, 44.1 kHz, stereo, 371 bytes, one block; with a checksum; of four blocks.
        check(&[0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f, 0xfc], Some((0x1210, 7, 371, 1)));
        check(&[0xff, 0xf0, 0x50, 0x80, 0x2e, 0x7f, 0xfc], Some((0x1210, 9, 371, 1)));
        check(&[0xff, 0xf9, 0x60, 0x40, 0x2e, 0x7f, 0xff], Some((0x1408, 7, 371, 4)));
        // MP3; no such rate; shorter than its header; cut.
        check(&[0xff, 0xfb, 0x50, 0x80, 0x2e, 0x7f, 0xfc], None);
        check(&[0xff, 0xf1, 0x74, 0x80, 0x2e, 0x7f, 0xfc], None);
        check(&[0xff, 0xf1, 0x50, 0x80, 0x00, 0xff, 0xfc], None);
        check(&[0xff, 0xf1, 0x50, 0x80, 0x2e, 0x7f], None);
    }
}
