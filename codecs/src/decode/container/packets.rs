//! From packets to audio: what the containers share once their header is read.
//!
//! Not here: finding the packets (symphonia's demuxers, or a container's own file).

use std::mem;

use symphonia::{
    core::{
        audio::GenericAudioBufferRef,
        codecs::audio::{
            AudioCodecParameters, AudioDecoder, AudioDecoderOptions,
            well_known::{CODEC_ID_AAC, CODEC_ID_MP3, CODEC_ID_OPUS, CODEC_ID_VORBIS},
        },
        errors::Error,
        formats::{FormatReader, TrackType},
        packet::Packet,
    },
    default::get_codecs,
};

use super::{
    super::{
        check_layout, clean,
        opus::OpusPackets,
        push_reader::{Output, Unanswered},
    },
    Audio, Item, vorbis,
};
use crate::SAMPLE_RATE;

/// Why the packets ended before the stream did.
pub(super) enum Stop {
    /// There is no audio that could be decoded; the text is for the end user.
    Refused(String),
    /// The demuxer does not know how to go on.
    Lost(Error),
}

impl Stop {
    /// For the end user.
    pub(super) fn explain(self, name: &str) -> String {
        match self {
            Self::Refused(why) => why,
            Self::Lost(error) => explain(name, &error),
        }
    }
}

/// Decodes the audio track of `reader`, packet by packet, to its end. `decoder` is the one to go on with, if
/// the stream is an earlier one's rest; it stays there for the next.
///
/// `contiguous`: each packet, but for so many at the start, starts where the last one ended, counted in
/// samples, so that a gap in the time stamps is audio that the demuxer dropped because it was damaged.
pub(super) fn decode_packets(
    name: &str,
    reader: &mut dyn FormatReader,
    contiguous: Option<u32>,
    decoder: &mut Option<TrackDecoder>,
    emitter: &mut Emitter<'_>,
) -> Result<(), Stop> {
    let decoder = match decoder {
        Some(decoder) => decoder,
        none => none.insert(TrackDecoder::of(name, reader).map_err(Stop::Refused)?),
    };
    let (mut expected, mut started) = (None, 0);
    let (mut faults, mut read, mut unsupported) = (0, 0, 0);
    loop {
        let fault = match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == decoder.track_id => {
                if let Some(starting) = contiguous {
                    let start = packet.pts.get();
                    if let Some(missing) = expected
                        .map(|expected| start.saturating_sub(expected))
                        .filter(|&missing| missing > 0 && started > starting)
                    {
                        emitter.skipped(format!(
                            "A damaged {name} packet was skipped: {missing} samples are missing here."
                        ));
                    }
                    started += 1;
                    expected = Some(start.saturating_add_unsigned(packet.dur.get()));
                }
                match decoder.packets.decode(&packet, emitter) {
                    Ok(()) => {
                        faults = 0;
                        continue;
                    }
                    // A feature that is not supported may be damage, unless nothing else comes.
                    Err(error @ Error::Unsupported(_))
                        if emitter.heard() == 0 && unsupported >= MAX_UNSUPPORTED =>
                    {
                        return Err(Stop::Refused(explain(name, &error)));
                    }
                    Err(error) => {
                        unsupported += u32::from(matches!(error, Error::Unsupported(_)));
                        format!("A damaged {name} packet was skipped ({error}): some audio is missing here.")
                    }
                }
            }
            Ok(Some(_)) => continue,
            Ok(None) => return Ok(()),
            Err(error) if is_end(&error) && emitter.ended() => return Ok(()),
            // Another stream follows, with another header: a chained Ogg file.
            Err(Error::ResetRequired) => {
                *decoder = TrackDecoder::of(name, reader).map_err(Stop::Refused)?;
                (expected, started) = (None, 0);
                // The titles of each stream would be kept.
                reader.metadata().skip_to_latest();
                continue;
            }
            // An end inside a packet, while the stream goes on, is damage too.
            Err(error) if matches!(error, Error::DecodeError(_)) || is_end(&error) => {
                format!("Damaged {name} data was skipped ({error}): some audio is missing here.")
            }
            Err(error) => return Err(Stop::Lost(error)),
        };
        // One notice for a run of faults. Of those for which nothing was read there may only be so many.
        if faults == 0 {
            emitter.skipped(fault);
        }
        faults = if emitter.unanswered() == read { faults + 1 } else { 1 };
        read = emitter.unanswered();
        if faults > MAX_FAULTS {
            return Err(Stop::Lost(Error::DecodeError("nothing but damaged packets")));
        }
    }
}

/// The track that is heard, and its decoder.
pub(super) struct TrackDecoder {
    track_id: u32,
    packets: PacketDecoder,
}

/// What decodes the packets of a track.
enum PacketDecoder {
    Symphonia(Box<dyn AudioDecoder>),
    Mp3 { decoder: Box<dyn AudioDecoder>, kind: Option<[u8; 3]> },
    Opus { packets: OpusPackets, pre_skip: usize },
}

impl TrackDecoder {
    /// The audio track of `reader` and a decoder for it, if it is usable.
    fn of(name: &str, reader: &dyn FormatReader) -> Result<Self, String> {
        let track = reader
            .default_track(TrackType::Audio)
            .ok_or_else(|| format!("This {name} stream holds no audio."))?;
        let params = audio_params(name, reader)?;
        let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
        let channels = u16::try_from(channels).unwrap_or(u16::MAX);
        if params.codec == CODEC_ID_OPUS {
            let head = params.extra_data.as_deref().and_then(OpusHead::parse).unwrap_or_default();
            let mut packets = OpusPackets::new(channels)?;
            packets.set_gain(head.gain);
            let pre_skip = usize::from(head.pre_skip) * SAMPLE_RATE as usize / OPUS_TICKS_PER_SECOND;
            return Ok(Self { track_id: track.id, packets: PacketDecoder::Opus { packets, pre_skip } });
        }
        if params.codec == CODEC_ID_VORBIS {
            vorbis::check(params.extra_data.as_deref().unwrap_or_default())?;
        }
        // Before a decoder reserves room for them; where the container does not say, the decoder's own word counts.
        check_layout(params.sample_rate.unwrap_or(SAMPLE_RATE), if channels == 0 { 1 } else { channels })?;
        let decoder = match symphonia_decoder(name, params) {
            Err(why) if params.codec == CODEC_ID_AAC => {
                match params.extra_data.as_deref().and_then(lc_core) {
                    Some(core) => symphonia_decoder(name, params.clone().with_extra_data(Box::new(core)))?,
                    None => return Err(why),
                }
            }
            decoder => decoder?,
        };
        let own = decoder.codec_params();
        let own_channels = own.channels.as_ref().map_or(channels, |channels| channels.count() as u16);
        check_layout(own.sample_rate.or(params.sample_rate).unwrap_or(0), own_channels)?;
        let packets = match params.codec {
            CODEC_ID_MP3 => PacketDecoder::Mp3 { decoder, kind: None },
            _ => PacketDecoder::Symphonia(decoder),
        };
        Ok(Self { track_id: track.id, packets })
    }
}

/// symphonia's decoder for audio with `params`.
pub(super) fn symphonia_decoder(
    name: &str,
    params: &AudioCodecParameters,
) -> Result<Box<dyn AudioDecoder>, String> {
    let decoder = get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default());
    decoder.map_err(|error| explain(name, &error))
}

/// What the container says of its audio track.
pub(super) fn audio_params<'a>(
    name: &str,
    reader: &'a dyn FormatReader,
) -> Result<&'a AudioCodecParameters, String> {
    let track = reader.default_track(TrackType::Audio);
    let params = track.and_then(|track| track.codec_params.as_ref()).and_then(|params| params.audio());
    params.ok_or_else(|| {
        format!("This {name} stream holds no audio that can be decoded. Send WAV with 16-bit PCM.")
    })
}

impl PacketDecoder {
    fn decode(&mut self, packet: &Packet, emitter: &mut Emitter<'_>) -> Result<(), Error> {
        match self {
            Self::Symphonia(decoder) => emitter.audio(usable(decoder.decode(packet)?)?),
            Self::Mp3 { decoder, kind } => {
                // symphonia's decoder keeps the rate and the channels it began with.
                let new = mp3_kind(&packet.data);
                if kind.is_some() && new.is_some() && *kind != new {
                    *decoder = get_codecs()
                        .make_audio_decoder(decoder.codec_params(), &AudioDecoderOptions::default())?;
                }
                *kind = new.or(*kind);
                emitter.audio(usable(decoder.decode(packet)?)?);
            }
            Self::Opus { packets, pre_skip } => {
                let channels = packets.channels();
                let samples = packets.decode(&packet.data).map_err(Error::DecodeError)?;
                let frames = samples.len() / usize::from(channels);
                let skipped = frames.min(*pre_skip);
                *pre_skip -= skipped;
                let padding = packet.trim_end.get() as usize * SAMPLE_RATE as usize / OPUS_TICKS_PER_SECOND;
                let kept = skipped..frames.saturating_sub(padding).max(skipped);
                let wanted = kept.start * usize::from(channels)..kept.end * usize::from(channels);
                emitter.samples(SAMPLE_RATE, channels, &samples[wanted]);
            }
        }
        Ok(())
    }
}

/// Decoded audio, if its layout is usable: a coding's own header may contradict the container's.
fn usable(decoded: GenericAudioBufferRef<'_>) -> Result<GenericAudioBufferRef<'_>, Error> {
    let channels = u16::try_from(decoded.spec().channels().count()).unwrap_or(u16::MAX);
    match check_layout(decoded.spec().rate(), channels) {
        Ok(()) => Ok(decoded),
        Err(_) => Err(Error::DecodeError("its sample rate or channels cannot be used")),
    }
}

/// What must stay the same from one MPEG audio frame to the next for one decoder: version, rate, mono or not.
fn mp3_kind(frame: &[u8]) -> Option<[u8; 3]> {
    let [_, version, rate, mode, ..] = frame else { return None };
    Some([version & 0x18, rate & 0x0c, u8::from(mode & 0xc0 == 0xc0)])
}

/// The fields of an Opus stream's header that concern a decoder (RFC 7845, section 5.1).
#[derive(Debug, Default, PartialEq, Eq)]
struct OpusHead {
    /// Samples at 48 kHz to drop at the start.
    pre_skip: u16,
    /// Output gain in 1/256 dB.
    gain: i16,
}

impl OpusHead {
    fn parse(head: &[u8]) -> Option<Self> {
        let fields = head.strip_prefix(b"OpusHead")?.first_chunk::<10>()?;
        // MP4 has version 0 and the same fields in network order (Opus in ISOBMFF, section 4.3.2).
        let network_order = fields[0] == 0;
        let (pre_skip, gain) = ([fields[2], fields[3]], [fields[8], fields[9]]);
        Some(if network_order {
            Self { pre_skip: u16::from_be_bytes(pre_skip), gain: i16::from_be_bytes(gain) }
        } else {
            Self { pre_skip: u16::from_le_bytes(pre_skip), gain: i16::from_le_bytes(gain) }
        })
    }
}

/// The configuration of the AAC-LC core of an HE-AAC stream, from the stream's own (ISO/IEC 14496-3, section
/// 1.6.2.1): the core alone is speech at half the rate, and symphonia decodes no more.
fn lc_core(config: &[u8]) -> Option<[u8; 2]> {
    let bits = config.first_chunk::<2>().map(|head| u16::from_be_bytes(*head))?;
    let (object_type, rate_index, channels) = (bits >> 11, bits >> 7 & 0x0f, bits >> 3 & 0x0f);
    let he_aac = matches!(object_type, SBR | PARAMETRIC_STEREO) || (object_type == LC && config.len() > 2);
    let core = LC << 11 | rate_index << 7 | channels << 3;
    (he_aac && rate_index != RATE_ESCAPE).then_some(core.to_be_bytes())
}

/// The emitting end for decoders.
pub(super) struct Emitter<'y> {
    output: Output<'y, Item>,
    /// The buffer of the last audio, for the next.
    spare: Audio,
    heard: u64,
}

impl<'y> Emitter<'y> {
    pub(super) fn new(output: Output<'y, Item>) -> Self {
        Self { output, spare: Audio::default(), heard: 0 }
    }

    /// Whether the stream has come to its end.
    fn ended(&self) -> bool {
        self.output.ended()
    }

    /// Bytes read since the last audio.
    fn unanswered(&self) -> usize {
        self.output.unanswered()
    }

    /// Runs of audio emitted so far.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    pub(super) fn audio(&mut self, decoded: GenericAudioBufferRef<'_>) {
        if decoded.frames() == 0 {
            return;
        }
        let mut audio = mem::take(&mut self.spare);
        audio.sample_rate = decoded.spec().rate();
        audio.channels = decoded.spec().channels().count() as u16;
        decoded.copy_to_vec_interleaved(&mut audio.interleaved);
        audio.interleaved.iter_mut().for_each(|sample| *sample = clean(*sample));
        self.emit(audio);
    }

    /// Samples that are finite and in [-1, 1] already.
    fn samples(&mut self, sample_rate: u32, channels: u16, interleaved: &[f32]) {
        if interleaved.is_empty() {
            return;
        }
        let mut audio = mem::take(&mut self.spare);
        (audio.sample_rate, audio.channels) = (sample_rate, channels);
        audio.interleaved.clear();
        audio.interleaved.extend_from_slice(interleaved);
        self.emit(audio);
    }

    fn emit(&mut self, audio: Audio) {
        self.heard += 1;
        if let Item::Audio(audio) = self.output.emit(Item::Audio(audio)) {
            self.spare = audio;
        }
    }

    pub(super) fn skipped(&mut self, what: String) {
        self.output.remark(Item::Skipped(what));
    }

    pub(super) fn not_live(&mut self, why: String) {
        self.output.remark(Item::NotLive(why));
    }
}

/// A stream cut in mid-packet reads as this; it is a clean end.
pub(super) fn is_end(error: &Error) -> bool {
    matches!(error, Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// Whether a bound on bytes without audio was reached.
pub(super) fn is_unanswered(error: &Error) -> bool {
    matches!(error, Error::IoError(error) if error.get_ref().is_some_and(|inner| inner.is::<Unanswered>()))
}

/// What is wrong with a stream and what to do, for the end user.
pub(super) fn explain(name: &str, error: &Error) -> String {
    match error {
        error if is_end(error) => {
            format!("The {name} stream ended inside its header: no audio was received.")
        }
        error if is_unanswered(error) => format!(
            "This {name} stream went on for too long without any audio: it is damaged, or its header is larger than \
             32 MiB. Send it without embedded pictures, or as WAV."
        ),
        Error::Unsupported(what) => {
            format!(
                "This {name} stream uses a feature that is not supported ({what}). Send WAV with 16-bit PCM."
            )
        }
        error => format!("This {name} stream is damaged ({error}). Send it again from its first byte on."),
    }
}

/// Packets of features that are not supported, before any audio, after which the stream is refused for them.
const MAX_UNSUPPORTED: u32 = 8;

/// Faults in a row, with nothing read between, after which a stream counts as undecodable: a demuxer that
/// fails without reading on, or an index that lists empty packets for ever, ends here. One that reads on ends
/// at the bound on bytes without audio.
const MAX_FAULTS: u32 = 1_000;

// Audio object types of MPEG-4.
const LC: u16 = 2;
const SBR: u16 = 5;
const PARAMETRIC_STEREO: u16 = 29;

/// The rate is written out instead of an index.
const RATE_ESCAPE: u16 = 15;

/// The time stamps of Opus, whatever its rate.
const OPUS_TICKS_PER_SECOND: usize = 48_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn he_aac_has_a_core() {
        // HE-AAC of 22,050 Hz doubled, mono; the same told behind the core's own; plain AAC; a cut one.
        assert_eq!(lc_core(&[0x2b, 0x8a, 0x08, 0x00]), Some([0x13, 0x88]));
        assert_eq!(lc_core(&[0x13, 0x88, 0x56, 0xe5, 0xa0]), Some([0x13, 0x88]));
        assert_eq!(lc_core(&[0x13, 0x88]), None);
        assert_eq!(lc_core(&[0x13]), None);
    }

    #[test]
    fn opus_heads_are_read_in_both_byte_orders() {
        let check = |head: &[u8], expected: Option<(u16, i16)>| {
            let expected = expected.map(|(pre_skip, gain)| OpusHead { pre_skip, gain });
            assert_eq!(OpusHead::parse(head), expected);
        };
        check(b"OpusHead\x01\x01\x38\x01\x80\xbb\x00\x00\x00\xff\x00", Some((312, -256)));
        check(b"OpusHead\x00\x01\x01\x38\x00\x00\xbb\x80\xff\x00\x00", Some((312, -256)));
        check(b"OpusHead\x01\x01\x38", None);
        check(b"OpusTags", None);
        check(b"", None);
    }
}
