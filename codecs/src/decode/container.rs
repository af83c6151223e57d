//! Self-describing formats: which there are, how one is recognised, and the decoder that runs their parsers.
//!
//! A new container is one entry of `CONTAINERS` and a file of its own; what they share, the way from packets to
//! audio, is in `packets`. Not here: how a parser that pulls is fed by pushing (`push_reader`).

mod aac;
mod aiff;
mod flac;
mod mp3;
mod mp4;
mod ogg;
mod packets;
mod recovery;
mod vorbis;
mod wav;
mod webm;

use std::{
    io::{Cursor, Read},
    ops::ControlFlow,
};

use symphonia::core::io::{MediaSourceStream, ReadOnlySource};

use self::packets::Emitter;
use super::{
    Codec, DecodeError, Decoder, Finish, Pcm,
    push_reader::{Output, Panicked, Progress, PushReader, Source},
};

/// Decodes a container, push-fed. Memory: 4 KiB until the first bytes come, then 67 KiB for WAV, 79 for Opus in
/// WebM, up to 240 for AAC and 1.2 MiB for Vorbis, measured by the bench `codecs`. A hostile stream holds 16 MiB
/// at most, a file that is kept 68 (`tests/hostile.rs`).
pub(super) struct ContainerDecoder {
    state: State,
    /// No more bytes come.
    finishing: bool,
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
    /// The file is kept until it is whole; the text is for the end user.
    NotLive(String),
}

#[derive(Default)]
struct Audio {
    sample_rate: u32,
    channels: u16,
    interleaved: Vec<f32>,
}

impl Audio {
    fn seconds(&self) -> f64 {
        self.interleaved.len() as f64 / f64::from(self.channels) / f64::from(self.sample_rate)
    }
}

impl ContainerDecoder {
    /// A decoder for the container `codec`, or for any of them by content.
    pub(super) fn new(codec: Codec) -> Result<Self, DecodeError> {
        let parser = PushReader::new(move |source, output: Output<'_, Item>| {
            parse(codec, source, &mut Emitter::new(output))
        });
        match parser {
            Ok(parser) => Ok(Self { state: State::Running(parser), finishing: false }),
            Err(error) => Err(DecodeError::Undecodable(format!(
                "The server has no memory for one more decoder ({error}). Try again later."
            ))),
        }
    }

    fn fail(&mut self, why: String) -> DecodeError {
        self.state = State::Failed(why.clone());
        DecodeError::Undecodable(why)
    }

    /// Notes that the parser returned.
    fn over(&mut self, result: Result<Parsed, Panicked>) -> Result<(), DecodeError> {
        match result {
            Ok(Ok(())) => {
                self.state = State::Ended;
                Ok(())
            }
            Ok(Err(why)) => Err(self.fail(why)),
            Err(panicked) => Err(self.fail(broken(panicked))),
        }
    }
}

impl Decoder for ContainerDecoder {
    fn decode(&mut self, bytes: &[u8], sink: &mut dyn FnMut(Pcm<'_>)) -> Result<(), DecodeError> {
        let parser = match &mut self.state {
            State::Running(_) if self.finishing => return Ok(()),
            State::Running(parser) => parser,
            State::Ended => return Ok(()),
            State::Failed(why) => return Err(DecodeError::Undecodable(why.clone())),
        };
        let mut seen = Seen::new(sink);
        let returned = parser.push(bytes, &mut |item| seen.see(item));
        let notices = seen.notices();
        if let Some(result) = returned {
            self.over(result)?;
        }
        notices
    }

    fn finish(&mut self, sink: &mut dyn FnMut(Pcm<'_>)) -> Result<Finish, DecodeError> {
        self.finishing = true;
        let parser = match &mut self.state {
            State::Running(parser) => parser,
            State::Ended => return Ok(Finish::Done),
            State::Failed(why) => return Err(DecodeError::Undecodable(why.clone())),
        };
        let mut seen = Seen::new(sink);
        let progress = parser.end(&mut |item| {
            seen.see(item);
            if seen.seconds < FINISH_SECONDS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        let notices = seen.notices();
        match progress {
            Progress::Paused => notices.map(|()| Finish::More),
            Progress::Returned(result) => {
                self.over(result)?;
                // After a notice the caller asks again, and hears that this was all.
                notices.map(|()| Finish::Done)
            }
            Progress::Over => Ok(Finish::Done),
        }
    }
}

/// What a parser emitted during one call.
struct Seen<'a> {
    sink: &'a mut dyn FnMut(Pcm<'_>),
    seconds: f64,
    gaps: u32,
    skipped: String,
    not_live: Option<String>,
}

impl<'a> Seen<'a> {
    fn new(sink: &'a mut dyn FnMut(Pcm<'_>)) -> Self {
        Self { sink, seconds: 0.0, gaps: 0, skipped: String::new(), not_live: None }
    }

    fn see(&mut self, item: &Item) {
        match item {
            Item::Audio(audio) => {
                self.seconds += audio.seconds();
                let Audio { sample_rate, channels, interleaved } = audio;
                (self.sink)(Pcm { sample_rate: *sample_rate, channels: *channels, interleaved });
            }
            Item::Skipped(what) => {
                self.gaps += 1;
                self.skipped.clone_from(what);
            }
            Item::NotLive(why) => self.not_live = Some(why.clone()),
        }
    }

    /// The notices of the call; a file that is kept has no gaps yet.
    fn notices(self) -> Result<(), DecodeError> {
        let Self { gaps, skipped, not_live, .. } = self;
        match (not_live, gaps) {
            (Some(why), _) => Err(DecodeError::NotLive(why)),
            (None, 0) => Ok(()),
            (None, 1) => Err(DecodeError::PacketSkipped(skipped)),
            (None, _) => {
                Err(DecodeError::PacketSkipped(format!("{skipped} That makes {gaps} gaps close together.")))
            }
        }
    }
}

/// One entry: how a stream of this format begins, and how it is decoded from there.
struct Container {
    codec: Option<Codec>,
    name: &'static str,
    matches: fn(&Magic) -> bool,
    decode: fn(&Magic, Source<'_, Item>, &mut Emitter<'_>) -> Parsed,
}

/// The first bytes of a stream, already read from its source.
type Magic = [u8; 12];

/// In the order in which they are tried: MP3 and AAC have the weakest marks.
const CONTAINERS: [Container; 8] = [
    Container { codec: Some(Codec::Wav), name: wav::NAME, matches: wav::matches, decode: wav::decode },
    Container { codec: Some(Codec::Flac), name: flac::NAME, matches: flac::matches, decode: flac::decode },
    Container { codec: Some(Codec::Ogg), name: ogg::NAME, matches: ogg::matches, decode: ogg::decode },
    Container { codec: Some(Codec::WebM), name: webm::NAME, matches: webm::matches, decode: webm::decode },
    Container { codec: Some(Codec::Mp4), name: mp4::NAME, matches: mp4::matches, decode: mp4::decode },
    Container { codec: None, name: aiff::NAME, matches: aiff::matches, decode: aiff::decode },
    Container { codec: Some(Codec::Aac), name: aac::NAME, matches: aac::matches, decode: aac::decode },
    Container { codec: Some(Codec::Mp3), name: mp3::NAME, matches: mp3::matches, decode: mp3::decode },
];

/// The whole stream: this is what runs inside the coroutine.
fn parse(codec: Codec, mut source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let magic = read_magic(&mut source)?;
    let found = CONTAINERS.iter().find(|container| (container.matches)(&magic));
    let wanted = CONTAINERS.iter().find(|container| container.codec == Some(codec));
    match (found, wanted) {
        (Some(found), None) => (found.decode)(&magic, source, emitter),
        (Some(found), Some(wanted)) if found.codec == wanted.codec => (found.decode)(&magic, source, emitter),
        // These have no header: one can join them anywhere.
        (_, Some(wanted)) if matches!(codec, Codec::Mp3 | Codec::Aac) => {
            (wanted.decode)(&magic, source, emitter)
        }
        (Some(found), Some(wanted)) => Err(format!(
            "This stream was announced as {}, but it is {}: announce it as that, or as \"auto\".",
            wanted.name, found.name
        )),
        (None, wanted) => {
            let names = CONTAINERS.map(|container| container.name).join(", ");
            let names = wanted.map_or(format!("none of {names}"), |wanted| format!("not {}", wanted.name));
            Err(format!(
                "This stream is {names}. Send such a stream from its first byte on; for headerless audio set the codec \
                 (pcm_s16le, pcm_s24le, pcm_f32le, mulaw, alaw or opus) with its sample_rate and channels."
            ))
        }
    }
}

/// Reads the first bytes of the stream, behind the ID3v2 tags (titles, pictures) that may stand before any format.
fn read_magic(source: &mut Source<'_, Item>) -> Result<Magic, String> {
    let ended =
        |_| "The audio stream ended before its header was complete: no audio was received.".to_owned();
    let mut magic = Magic::default();
    loop {
        source.read_exact(&mut magic).map_err(ended)?;
        if !magic.starts_with(b"ID3") {
            return Ok(magic);
        }
        // ID3v2.4, section 3.1: 28 bits in four bytes; the header's 10 bytes are not counted, a footer's neither.
        let length = magic[6..10].iter().fold(0, |length, byte| length << 7 | u64::from(byte & 0x7f));
        let footer = if magic[5] & 0x10 == 0 { 0 } else { 10 };
        let behind = (length + footer).checked_sub(magic.len() as u64 - 10);
        let behind = behind.ok_or("The ID3 tag of this stream is damaged. Send the stream without it.")?;
        source.skip(behind).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => ended(error),
            _ => "The ID3 tags of this stream are larger than 32 MiB. Send it without pictures.".to_owned(),
        })?;
    }
}

/// `header`, then what follows in `source`, as symphonia reads it.
fn stream<'s>(
    header: impl AsRef<[u8]> + Send + Sync + 's,
    source: impl Read + Send + Sync + 's,
) -> MediaSourceStream<'s> {
    let source = ReadOnlySource::new(Cursor::new(header).chain(source));
    MediaSourceStream::new(Box::new(source), Default::default())
}

/// The parser panicked. Its words are for the log of the panic hook, not for the user.
fn broken(_panicked: Panicked) -> String {
    "The decoder broke down on this stream: it is damaged. Send it in another format, for example WAV with 16-bit PCM."
        .to_owned()
}

/// Audio that one call of `finish` gives, about: what a session may work off without a pause.
const FINISH_SECONDS: f64 = 10.0;

#[cfg(test)]
mod tests {
    use symphonia::core::{
        codecs::audio::AudioDecoder,
        errors::Error,
        formats::FormatReader,
        io::{MediaSource, MediaSourceStream},
    };

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
        assert_send::<packets::TrackDecoder>();
    }
}
