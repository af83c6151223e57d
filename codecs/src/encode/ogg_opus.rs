//! Ogg with Opus (RFC 7845): libopus for the packets, the crate `ogg` for the pages.
//!
//! Not here: tags, more than one channel, other rates.

use ogg::{PacketWriteEndInfo, PacketWriter};
use opusic_c::{Application, Bitrate, Channels, Encoder, ErrorCode, SampleRate, Signal};

use super::EncodeError;
use crate::{SAMPLE_RATE, decode::clean};

/// `audio`, mono at 16 kHz, as an Ogg file with Opus at about 32 kbit/s: 4 KB a second.
///
/// The file says exactly how long the audio is: a decoder that heeds it gives as many samples back. Samples outside
/// [-1, 1] are clipped, those that are no number become silence. Costs 11 ms of CPU for each second of audio.
///
/// # Errors
/// [`EncodeError::Opus`] for lack of memory.
pub fn encode_ogg_opus(audio: &[f32]) -> Result<Vec<u8>, EncodeError> {
    encode(audio).map_err(|error| EncodeError::Opus(error.message()))
}

fn encode(audio: &[f32]) -> Result<Vec<u8>, ErrorCode> {
    // Not `Voip`, whose filters change the wave form: 6 dB of signal to noise instead of 22.
    let mut encoder = Encoder::new(Channels::Mono, SampleRate::Hz16000, Application::Audio)?;
    encoder.set_bitrate(Bitrate::Value(BITS_PER_SECOND))?;
    encoder.set_signal(Signal::Voice)?;
    // Samples at the start that the codec adds, to be left out by the decoder.
    let delay = encoder.get_look_ahead()? as usize;

    let mut pages = PacketWriter::new(Vec::with_capacity(1_024 + audio.len() / 4));
    let mut add = |packet: Vec<u8>, end, granule| {
        pages.write_packet(packet, SERIAL, end, granule).expect("writing to a Vec cannot fail");
    };
    add(head(delay), PacketWriteEndInfo::EndPage, 0);
    add(tags(), PacketWriteEndInfo::EndPage, 0);

    let total = delay + audio.len();
    let packets = total.div_ceil(PACKET_SAMPLES).max(1);
    let mut frame = [0.0; PACKET_SAMPLES];
    let mut packet = [0; MAX_PACKET_BYTES];
    for index in 0..packets {
        let start = (index * PACKET_SAMPLES).min(audio.len());
        let samples = &audio[start..audio.len().min(start + PACKET_SAMPLES)];
        frame.fill(0.0);
        for (place, sample) in frame.iter_mut().zip(samples) {
            *place = clean(*sample);
        }
        let length = encoder.encode_float_to_slice(&frame, &mut packet)?;
        let last = index + 1 == packets;
        let end = if last { PacketWriteEndInfo::EndStream } else { PacketWriteEndInfo::NormalPacket };
        // The last one says where the audio ends within its packet (RFC 7845, section 4.4).
        let samples = if last { total } else { (index + 1) * PACKET_SAMPLES };
        add(packet[..length].to_vec(), end, (samples * GRANULES_PER_SAMPLE) as u64);
    }
    Ok(pages.into_inner())
}

/// The identification header (RFC 7845, section 5.1).
fn head(delay: usize) -> Vec<u8> {
    let mut head = b"OpusHead\x01\x01".to_vec();
    head.extend_from_slice(&((delay * GRANULES_PER_SAMPLE) as u16).to_le_bytes());
    head.extend_from_slice(&SAMPLE_RATE.to_le_bytes());
    // No gain; one stream, mono.
    head.extend_from_slice(&[0, 0, 0]);
    head
}

/// The comment header (section 5.2): a vendor and no comments.
fn tags() -> Vec<u8> {
    let mut tags = b"OpusTags".to_vec();
    tags.extend_from_slice(&(VENDOR.len() as u32).to_le_bytes());
    tags.extend_from_slice(VENDOR.as_bytes());
    tags.extend_from_slice(&0u32.to_le_bytes());
    tags
}

/// Wide-band speech is transparent from about 24 kbit/s on; the rest is for microphones that are none too good.
const BITS_PER_SECOND: u32 = 32_000;

/// 20 ms.
const PACKET_SAMPLES: usize = 320;

/// Positions count at 48 kHz, whatever was encoded (section 4).
const GRANULES_PER_SAMPLE: usize = 3;

/// The most that libopus writes for one frame (RFC 6716, section 3.2.1).
const MAX_PACKET_BYTES: usize = 1_276;

/// Tells streams of one file apart; there is one.
const SERIAL: u32 = 1;

const VENDOR: &str = "interviewai";
