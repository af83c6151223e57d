//! Going on after damage in containers that are nothing but nested lengths (WebM, MP4): once a length is
//! wrong, the demuxer has lost its way for good. Here another one is started, with the same header, at the next
//! place that looks like a packet.
//!
//! Not here: formats with marks of their own to find back to (Ogg, FLAC, MP3, ADTS).

use std::io::{self, Read};

use symphonia::core::{
    errors::Result,
    formats::FormatReader,
    io::{MediaSourceStream, SeekBuffered},
};

use super::{
    Item, Parsed, Source,
    packets::{Emitter, Stop, decode_packets, explain, is_unanswered},
    stream,
};

/// A format that can be entered in the middle.
pub(super) struct Enterable {
    pub(super) name: &'static str,
    /// Opens a demuxer on a stream that begins with the header.
    pub(super) open: for<'s> fn(MediaSourceStream<'s>) -> Result<Box<dyn FormatReader + 's>>,
    pub(super) find: fn(&[u8]) -> Search,
}

/// Where a demuxer can start again in the bytes after damage.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    /// Here, with these bytes before it.
    Found { at: usize, prefix: &'static [u8] },
    /// Not before this place; more bytes are needed.
    NotBefore(usize),
}

/// Decodes to the end of the stream, which is `header`, `start`, and what follows in `source`.
pub(super) fn decode_enterable(
    format: &Enterable,
    header: &[u8],
    mut start: Vec<u8>,
    mut source: Source<'_, Item>,
    emitter: &mut Emitter<'_>,
) -> Parsed {
    loop {
        let from_header = [header, &start].concat();
        let mut reader =
            (format.open)(stream(from_header, &mut source)).map_err(|error| explain(format.name, &error))?;
        let error = match decode_packets(format.name, &mut *reader, false, emitter) {
            Ok(()) => return Ok(()),
            Err(Stop::Lost(error)) if !is_unanswered(&error) => error,
            Err(stop) => return Err(stop.explain(format.name)),
        };
        emitter.skipped(format!(
            "Damaged {} data was skipped ({error}): some audio is missing here.",
            format.name
        ));
        let mut unread = reader.into_inner();
        let mut window = vec![0; unread.unread_buffer_len()];
        unread.read_exact(&mut window).map_err(|error| explain(format.name, &error.into()))?;
        drop(unread);
        match search(format.find, window, &mut source) {
            Ok(Some(found)) => start = found,
            Ok(None) => return Ok(()),
            Err(error) => return Err(explain(format.name, &error.into())),
        }
    }
}

/// The bytes from the next place where a demuxer can start; `None` when the stream ends first.
fn search(
    find: fn(&[u8]) -> Search,
    mut window: Vec<u8>,
    source: &mut Source<'_, Item>,
) -> io::Result<Option<Vec<u8>>> {
    loop {
        match find(&window) {
            Search::Found { at, prefix } => return Ok(Some([prefix, &window[at..]].concat())),
            Search::NotBefore(place) => {
                window.drain(..place);
                let more = source.by_ref().take(READ_BYTES).read_to_end(&mut window)?;
                if more == 0 {
                    return Ok(None);
                }
            }
        }
    }
}

/// Bytes read before the next look.
const READ_BYTES: u64 = 64;
