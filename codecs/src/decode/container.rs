//! Self-describing formats, parsed by symphonia: which there are, how one is recognised, and the loop over
//! its packets.
//!
//! A new container is one entry of `CONTAINERS` (and a symphonia feature); one that needs care has a file of
//! its own. Not here: how a parser that pulls is fed by pushing (`push_reader`).

mod flac;
mod wav;

use std::{io::Read, mem};

use symphonia::{
    core::{
        audio::GenericAudioBufferRef,
        codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions},
        errors::Error,
        formats::{FormatReader, TrackType},
    },
    default::get_codecs,
};

use super::{
    Codec, DecodeError, Decoder, Pcm, check_layout, clean,
    push_reader::{Output, Panicked, PushReader, Source, Unanswered},
};

/// Decodes a container, push-fed. Memory, measured: 4 KiB until the first bytes come, then about 80 KiB, of
/// which 64 KiB are symphonia's read buffer and 12 KiB the parser's stack, and what one packet needs.
pub(super) struct ContainerDecoder {
    state: State,
}

enum State {
    Running(PushReader<Item, Parsed>),
    /// The audio is over; what follows is ignored.
    Ended,
    /// Nothing more can be decoded, for the reason given.
    Failed(String),
}

/// How a parse ended: cleanly, or with a message for the end user.
type Parsed = Result<(), String>;

/// What a parser emits.
enum Item {
    Audio(Audio),
    /// Audio is missing here; the text is for the end user.
    Skipped(String),
}

#[derive(Default)]
struct Audio {
    sample_rate: u32,
    channels: u16,
    interleaved: Vec<f32>,
}

impl ContainerDecoder {
    /// A decoder for the container `codec`, or for any of them by content.
    pub(super) fn new(codec: Codec) -> Result<Self, DecodeError> {
        let parser = PushReader::new(move |source, output| {
            parse(codec, source, &mut Emitter { output, spare: Audio::default() })
        });
        match parser {
            Ok(parser) => Ok(Self { state: State::Running(parser) }),
            Err(error) => Err(DecodeError::Undecodable(format!(
                "The server has no memory for one more decoder ({error}). Try again later."
            ))),
        }
    }

    fn run(&mut self, bytes: Option<&[u8]>, sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        let parser = match &mut self.state {
            State::Running(parser) => parser,
            State::Ended => return Ok(()),
            State::Failed(why) => return Err(DecodeError::Undecodable(why.clone())),
        };
        let mut skips = 0;
        let mut skipped = String::new();
        let mut see = |item: &Item| match item {
            Item::Audio(Audio { sample_rate, channels, interleaved }) => {
                sink(Pcm { sample_rate: *sample_rate, channels: *channels, interleaved });
            }
            Item::Skipped(what) => {
                skips += 1;
                skipped.clone_from(what);
            }
        };
        let outcome = match bytes {
            Some(bytes) => parser.push(bytes, &mut see),
            None => parser.end(&mut see),
        };
        match outcome {
            None => {}
            Some(Ok(Ok(()))) => self.state = State::Ended,
            Some(Ok(Err(why))) => return Err(self.fail(why)),
            Some(Err(panicked)) => return Err(self.fail(broken(panicked))),
        }
        match skips {
            0 => Ok(()),
            1 => Err(DecodeError::PacketSkipped(skipped)),
            _ => {
                Err(DecodeError::PacketSkipped(format!("{skipped} That makes {skips} gaps close together.")))
            }
        }
    }

    fn fail(&mut self, why: String) -> DecodeError {
        self.state = State::Failed(why.clone());
        DecodeError::Undecodable(why)
    }
}

impl Decoder for ContainerDecoder {
    fn decode(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        self.run(Some(bytes), sink)
    }

    fn finish(&mut self, sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        self.run(None, sink)
    }
}

/// One entry: how a stream of this format begins, and how it is decoded from there.
struct Container {
    codec: Codec,
    name: &'static str,
    matches: fn(&Magic) -> bool,
    decode: fn(&Magic, Source<'_, Item>, &mut Emitter<'_>) -> Parsed,
}

/// The first bytes of a stream, already read from its source.
type Magic = [u8; 12];

const CONTAINERS: [Container; 2] = [
    Container { codec: Codec::Wav, name: wav::NAME, matches: wav::matches, decode: wav::decode },
    Container { codec: Codec::Flac, name: flac::NAME, matches: flac::matches, decode: flac::decode },
];

/// The whole stream, as symphonia sees it: this is what runs inside the coroutine.
fn parse(codec: Codec, mut source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let mut magic = Magic::default();
    if source.read_exact(&mut magic).is_err() {
        return Err(
            "The audio stream ended before its header was complete: no audio was received.".to_owned()
        );
    }
    let found = CONTAINERS.iter().find(|container| (container.matches)(&magic));
    let wanted = CONTAINERS.iter().find(|container| container.codec == codec);
    match (found, wanted) {
        (Some(found), None) => (found.decode)(&magic, source, emitter),
        (Some(found), Some(wanted)) if found.codec == wanted.codec => (found.decode)(&magic, source, emitter),
        (Some(found), Some(wanted)) => Err(format!(
            "This stream was announced as {}, but it is {}: announce it as that, or as \"auto\".",
            wanted.name, found.name
        )),
        (None, wanted) => {
            let names = CONTAINERS.map(|container| container.name).join(" nor ");
            let names = wanted.map_or(format!("neither {names}"), |wanted| format!("not {}", wanted.name));
            Err(format!(
                "This stream is {names}. Send a WAV or FLAC stream from its first byte on; for headerless PCM set the \
                 codec to pcm_s16le or pcm_f32le with its sample_rate and channels."
            ))
        }
    }
}

/// Decodes the audio track of `reader`, packet by packet, to its end.
///
/// `contiguous`: each packet starts where the last one ended, counted in samples, so that a gap in the time
/// stamps is audio that the demuxer dropped because it was damaged.
fn decode_packets(
    name: &str,
    mut reader: Box<dyn FormatReader + '_>,
    contiguous: bool,
    emitter: &mut Emitter<'_>,
) -> Parsed {
    let track =
        reader.default_track(TrackType::Audio).ok_or_else(|| format!("This {name} holds no audio."))?;
    let track_id = track.id;
    let mut decoder = decoder_of(name, &*reader)?;
    let mut expected = None;
    let mut faults = 0;
    loop {
        let packet = match reader.next_packet() {
            Ok(Some(packet)) if packet.track_id == track_id => packet,
            Ok(Some(_)) => continue,
            Ok(None) => return Ok(()),
            Err(error) if is_end(&error) => return Ok(()),
            // Bounded, because a demuxer may fail without reading on.
            Err(Error::DecodeError(what)) if faults < MAX_FAULTS => {
                faults += 1;
                emitter.skipped(format!(
                    "Damaged {name} data was skipped ({what}): some audio is missing here."
                ));
                continue;
            }
            Err(error) => return Err(explain(name, &error)),
        };
        if contiguous {
            let start = packet.pts.get();
            if let Some(missing) =
                expected.map(|expected| start.saturating_sub(expected)).filter(|&missing| missing > 0)
            {
                emitter.skipped(format!(
                    "A damaged {name} packet was skipped: {missing} samples are missing here."
                ));
            }
            expected = Some(start.saturating_add_unsigned(packet.dur.get()));
        }
        match decoder.decode(&packet) {
            Ok(audio) => {
                faults = 0;
                emitter.audio(&audio);
            }
            Err(error @ (Error::DecodeError(_) | Error::IoError(_))) => emitter.skipped(format!(
                "A damaged {name} packet was skipped ({error}): some audio is missing here."
            )),
            Err(error) => return Err(explain(name, &error)),
        }
    }
}

/// A decoder for the audio track of `reader`, if the layout is usable.
fn decoder_of(name: &str, reader: &dyn FormatReader) -> Result<Box<dyn AudioDecoder>, String> {
    let params = audio_params(name, reader)?;
    let channels = params.channels.as_ref().map_or(0, |channels| channels.count());
    check_layout(params.sample_rate.unwrap_or(0), u16::try_from(channels).unwrap_or(u16::MAX))?;
    let decoder = get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default());
    decoder.map_err(|error| explain(name, &error))
}

fn audio_params<'a>(name: &str, reader: &'a dyn FormatReader) -> Result<&'a AudioCodecParameters, String> {
    let track = reader.default_track(TrackType::Audio);
    let params = track.and_then(|track| track.codec_params.as_ref()).and_then(|params| params.audio());
    params.ok_or_else(|| {
        format!("This {name} stream holds no audio that can be decoded. Send WAV with 16-bit PCM.")
    })
}

/// The emitting end for decoders.
struct Emitter<'y> {
    output: Output<'y, Item>,
    /// The buffer of the last audio, for the next.
    spare: Audio,
}

impl Emitter<'_> {
    fn audio(&mut self, decoded: &GenericAudioBufferRef<'_>) {
        if decoded.frames() == 0 {
            return;
        }
        let mut audio = mem::take(&mut self.spare);
        audio.sample_rate = decoded.spec().rate();
        audio.channels = decoded.spec().channels().count() as u16;
        decoded.copy_to_vec_interleaved(&mut audio.interleaved);
        audio.interleaved.iter_mut().for_each(|sample| *sample = clean(*sample));
        if let Item::Audio(audio) = self.output.emit(Item::Audio(audio)) {
            self.spare = audio;
        }
    }

    fn skipped(&mut self, what: String) {
        self.output.emit(Item::Skipped(what));
    }
}

/// A stream cut in mid-packet reads as this; it is a clean end.
fn is_end(error: &Error) -> bool {
    matches!(error, Error::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof)
}

/// What is wrong with a stream and what to do, for the end user.
fn explain(name: &str, error: &Error) -> String {
    match error {
        error if is_end(error) => {
            format!("The {name} stream ended inside its header: no audio was received.")
        }
        Error::IoError(error) if error.get_ref().is_some_and(|inner| inner.is::<Unanswered>()) => format!(
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

/// The parser panicked. Its words are for the log of the panic hook, not for the user.
fn broken(_panicked: Panicked) -> String {
    "The decoder broke down on this stream: it is damaged. Send it in another format, for example WAV with 16-bit PCM."
        .to_owned()
}

/// Demuxer errors in a row after which a stream counts as undecodable.
const MAX_FAULTS: u32 = 16;

#[cfg(test)]
mod tests {
    use symphonia::core::io::{MediaSource, MediaSourceStream};

    use super::*;

    /// What lies on a parser's stack must be able to move between threads: the contract of `PushReader::new`.
    #[test]
    fn everything_a_parser_keeps_is_send() {
        fn assert_send<T: Send + ?Sized>() {}
        assert_send::<ContainerDecoder>();
        assert_send::<dyn Decoder>();
        assert_send::<dyn MediaSource>();
        assert_send::<MediaSourceStream<'_>>();
        assert_send::<dyn FormatReader>();
        assert_send::<dyn AudioDecoder>();
        assert_send::<symphonia::core::packet::Packet>();
        assert_send::<Error>();
        assert_send::<Item>();
    }
}
