//! Opus, by libopus: raw packets as clients send them, and the packets of containers.
//!
//! Decoded straight at 16 kHz, whatever rate it was recorded at: Opus has no rate of its own (RFC 6716,
//! section 2.1.3), and this saves the resampler and its delay. Not here: Opus of more than two channels.

use opusic_c::{Channels, ErrorCode, SampleRate};

use super::{DecodeError, Decoder, Finish, Pcm, clean};
use crate::SAMPLE_RATE;

/// Decodes raw Opus packets, one a call, and conceals lost ones. Needs no thread and no coroutine; about 30 KiB.
pub(super) struct OpusDecoder {
    packets: OpusPackets,
    /// Packets lost before the next.
    lost: u32,
    over: bool,
}

impl OpusDecoder {
    /// A decoder to `channels` channels, whatever the packets hold: libopus mixes as needed.
    pub(super) fn new(channels: u16) -> Result<Self, DecodeError> {
        let packets = OpusPackets::new(channels).map_err(DecodeError::Format)?;
        Ok(Self { packets, lost: 0, over: false })
    }
}

impl Decoder for OpusDecoder {
    fn decode(&mut self, packet: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        if self.over {
            return Ok(());
        }
        let channels = self.packets.channels;
        let mut give = |interleaved: &[f32]| {
            if !interleaved.is_empty() {
                sink(Pcm { sample_rate: SAMPLE_RATE, channels, interleaved });
            }
        };
        let lost = std::mem::take(&mut self.lost);
        if lost > 0 {
            self.packets.conceal(lost, packet, &mut give);
        }
        match self.packets.decode(packet) {
            Ok(samples) => {
                give(samples);
                Ok(())
            }
            Err(why) => {
                // As if it had been lost: the gap is filled when the next packet has come.
                self.lost = 1;
                Err(DecodeError::PacketSkipped(format!(
                    "A message of {} bytes is no Opus packet ({why}): it was skipped. Each message must be exactly one \
                     packet; for Ogg or WebM set the codec to ogg, webm or auto.",
                    packet.len()
                )))
            }
        }
    }

    fn lose(&mut self, chunks: u32) -> bool {
        self.lost = self.lost.saturating_add(chunks);
        true
    }

    fn finish(&mut self, _sink: &mut dyn FnMut(Pcm<'_>)) -> Result<Finish, DecodeError> {
        self.over = true;
        Ok(Finish::Done)
    }
}

/// One stream of packets, as libopus sees it.
pub(super) struct OpusPackets {
    decoder: opusic_c::Decoder,
    channels: u16,
    /// Decoded samples of one packet.
    samples: Vec<f32>,
    /// Frames of the last packet.
    frames: usize,
}

impl OpusPackets {
    /// A decoder to one or two channels; the error is for the end user.
    pub(super) fn new(channels: u16) -> Result<Self, String> {
        let layout = match channels {
            1 => Channels::Mono,
            2 => Channels::Stereo,
            _ => {
                return Err(format!("Opus of {channels} channels is not decoded: send one channel, or two."));
            }
        };
        let decoder = opusic_c::Decoder::new(layout, SampleRate::Hz16000)
            .map_err(|error| format!("The server could not make an Opus decoder ({error:?})."))?;
        Ok(Self { decoder, channels, samples: Vec::new(), frames: USUAL_FRAMES })
    }

    pub(super) fn channels(&self) -> u16 {
        self.channels
    }

    /// The samples of `packet`, interleaved at 16 kHz, finite, in [-1, 1].
    pub(super) fn decode(&mut self, packet: &[u8]) -> Result<&[f32], ErrorText> {
        if packet.is_empty() {
            // libopus would take it for a lost packet.
            return Err("it is empty");
        }
        if packet.len() > MAX_PACKET_BYTES {
            return Err("it is too long");
        }
        let frames = self.decoder.get_nb_samples(packet).map_err(text)?;
        self.run(packet, frames, false).map_err(text)?;
        self.frames = frames;
        Ok(&self.samples)
    }

    /// Fills the place of `lost` packets before `next`, as long as the last one each: the last of them from
    /// the redundancy that `next` may carry (in-band FEC), those before by extrapolation, which fades to
    /// silence.
    fn conceal(&mut self, lost: u32, next: &[u8], give: &mut dyn FnMut(&[f32])) {
        let most = MAX_CONCEALED_FRAMES / self.frames;
        let lost = usize::try_from(lost).map_or(most, |lost| lost.min(most));
        for left in (0..lost).rev() {
            let redundancy = left == 0 && !next.is_empty() && next.len() <= MAX_PACKET_BYTES;
            let mut filled = redundancy && self.run(next, self.frames, true).is_ok();
            filled = filled || self.run(&[], self.frames, false).is_ok();
            // What cannot be filled is left out: the gap is warned of in any case.
            if filled {
                give(&self.samples);
            }
        }
    }

    fn run(&mut self, packet: &[u8], frames: usize, redundancy: bool) -> Result<(), ErrorCode> {
        self.samples.resize(frames * usize::from(self.channels), 0.0);
        let decoded = self.decoder.decode_float_to_slice(packet, &mut self.samples, redundancy)?;
        self.samples.truncate(decoded * usize::from(self.channels));
        self.samples.iter_mut().for_each(|sample| *sample = clean(*sample));
        Ok(())
    }

    /// Applies the output gain of the stream's header, in 1/256 dB (RFC 7845, section 5.1).
    pub(super) fn set_gain(&mut self, gain: i16) {
        // It can fail only outside the range of `i16`.
        let _ = self.decoder.set_gain(gain.into());
    }
}

/// What was wrong with a packet.
type ErrorText = &'static str;

fn text(error: ErrorCode) -> ErrorText {
    error.message()
}

/// 20 ms, the length of nearly all packets in use: for losses before the first packet.
const USUAL_FRAMES: usize = 320;

/// 48 frames of at most 1,275 bytes (RFC 6716, section 3), and their lengths: what libopus itself takes.
const MAX_PACKET_BYTES: usize = 61_298;

/// Ten seconds: a longer gap is not worth the work, and the client is told of it.
const MAX_CONCEALED_FRAMES: usize = 10 * SAMPLE_RATE as usize;
