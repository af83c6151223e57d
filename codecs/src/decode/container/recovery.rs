//! Going on after damage in containers that are nothing but nested lengths (WebM, MP4): once a length is
//! wrong, a demuxer goes astray, or skips to the end of the stream. So each element is looked at before the
//! demuxer sees it, and where none begins, another demuxer is started, with the same header, at the next place
//! that looks like a packet.
//!
//! Not here: formats with marks of their own to find back to (Ogg, FLAC, MP3, ADTS).

use std::io::{self, Cursor, Read};

use symphonia::core::{
    errors::{Error, Result},
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
    /// What the first bytes behind the header, or behind an element, say of the element they begin.
    pub(super) look: fn(&[u8]) -> Element,
    /// Where a demuxer can start again in the bytes after damage.
    pub(super) find: fn(&[u8]) -> Search,
}

/// An element of the stream, by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// To tell, so many bytes are needed in all.
    Needs(usize),
    /// These bytes are its head, and so many more are its own; what follows is looked at again.
    Is(u64),
    /// As `Is`, but the demuxer is given another head.
    As(&'static [u8], u64),
    /// As `Is`, and the demuxer keeps so many bytes for it: an index.
    Kept { kept: u64, body: u64 },
    /// As `Is`, but no demuxer needs it.
    Skip(u64),
    /// No element of this format begins so.
    Unknown,
}

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
    let (mut heard, mut vain, mut told) = (0, 0, false);
    let mut decoder = None;
    let mut opened = false;
    loop {
        let mut elements = Elements {
            input: Cursor::new(start).chain(&mut source),
            look: format.look,
            head: Vec::new(),
            given: 0,
            body: 0,
            kept: 0,
            lost: false,
        };
        let mut window = Vec::new();
        let error = match (format.open)(stream(header, &mut elements)) {
            Ok(mut reader) => {
                opened = true;
                let error = match decode_packets(format.name, &mut *reader, None, &mut decoder, emitter) {
                    Ok(()) => return Ok(()),
                    Err(Stop::Lost(error)) if !is_unanswered(&error) && vain < MAX_VAIN => error,
                    Err(stop) => return Err(stop.explain(format.name)),
                };
                let mut unread = reader.into_inner();
                window.resize(unread.unread_buffer_len(), 0);
                unread.read_exact(&mut window).map_err(|error| explain(format.name, &error.into()))?;
                error
            }
            // The header was good before: what stands behind it is not.
            Err(error) if opened && !is_unanswered(&error) && vain < MAX_VAIN => error,
            Err(error) => return Err(explain(format.name, &error)),
        };
        elements.take_unread(&mut window);
        if is_full(&error) {
            start = window;
            continue;
        }
        if emitter.heard() != heard {
            (heard, vain, told) = (emitter.heard(), 0, false);
        }
        vain += 1;
        if !std::mem::replace(&mut told, true) {
            emitter.skipped(format!(
                "Damaged {} data was skipped ({error}): some audio is missing here.",
                format.name
            ));
        }
        match search(format, window, &mut source) {
            Ok(Some(found)) => start = found,
            Ok(None) => return Ok(()),
            Err(error) => return Err(explain(format.name, &error.into())),
        }
    }
}

/// The stream behind its header, for a demuxer: it ends with an error where no element begins.
struct Elements<'a, 'y> {
    input: io::Chain<Cursor<Vec<u8>>, &'a mut Source<'y, Item>>,
    look: fn(&[u8]) -> Element,
    /// The head of the element under way, and how much of it was given.
    head: Vec<u8>,
    given: usize,
    /// What is left of its body.
    body: u64,
    /// Bytes that the demuxer keeps.
    kept: u64,
    /// No element begins here: nothing more is given.
    lost: bool,
}

impl Elements<'_, '_> {
    /// Reads the head of the next element; `false` at the end of the stream.
    fn read_head(&mut self) -> io::Result<bool> {
        self.head.clear();
        self.given = 0;
        loop {
            match (self.look)(&self.head) {
                Element::Needs(length) => {
                    let missing = length - self.head.len();
                    if self.input.by_ref().take(missing as u64).read_to_end(&mut self.head)? < missing {
                        return Ok(false);
                    }
                }
                Element::Is(body) => {
                    self.body = body;
                    return Ok(true);
                }
                Element::As(head, body) => {
                    self.head.clear();
                    self.head.extend_from_slice(head);
                    self.body = body;
                    return Ok(true);
                }
                Element::Kept { kept, body } => {
                    if self.kept > 0 && self.kept.saturating_add(kept) > MAX_KEPT_BYTES {
                        self.lost = true;
                        return Err(io::Error::other(Full));
                    }
                    self.kept += kept;
                    self.body = body;
                    return Ok(true);
                }
                Element::Skip(size) => {
                    let (start, source) = self.input.get_mut();
                    let here = size.min(start.get_ref().len() as u64 - start.position());
                    start.set_position(start.position() + here);
                    source.skip(size - here)?;
                    self.head.clear();
                }
                Element::Unknown => {
                    self.lost = true;
                    return Err(io::Error::other(NoElement));
                }
            }
        }
    }

    /// Appends what was read and not given, but for what is still in the source.
    fn take_unread(self, window: &mut Vec<u8>) {
        window.extend_from_slice(&self.head[self.given..]);
        let (start, _) = self.input.into_inner();
        window.extend_from_slice(&start.get_ref()[start.position() as usize..]);
    }
}

impl Read for Elements<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.lost {
            return Err(io::Error::other(NoElement));
        }
        if self.given == self.head.len() && self.body == 0 && !self.read_head()? {
            return Ok(0);
        }
        if self.given < self.head.len() {
            let count = buffer.len().min(self.head.len() - self.given);
            buffer[..count].copy_from_slice(&self.head[self.given..self.given + count]);
            self.given += count;
            return Ok(count);
        }
        let most = usize::try_from(self.body).map_or(buffer.len(), |body| body.min(buffer.len()));
        let count = self.input.read(&mut buffer[..most])?;
        self.body -= count as u64;
        Ok(count)
    }
}

/// See [`Element::Unknown`].
#[derive(Debug, thiserror::Error)]
#[error("no packet begins where one should")]
struct NoElement;

/// The demuxer keeps enough: another one goes on.
#[derive(Debug, thiserror::Error)]
#[error("the demuxer keeps enough")]
struct Full;

fn is_full(error: &Error) -> bool {
    matches!(error, Error::IoError(error) if error.get_ref().is_some_and(|inner| inner.is::<Full>()))
}

/// The bytes from the next place where a demuxer can start; `None` when the stream ends first.
fn search(
    format: &Enterable,
    mut window: Vec<u8>,
    source: &mut Source<'_, Item>,
) -> io::Result<Option<Vec<u8>>> {
    loop {
        let mut from = 0;
        let place = loop {
            match (format.find)(&window[from..]) {
                Search::NotBefore(place) => break from + place,
                Search::Found { at, prefix } => match (format.look)(&window[from + at..]) {
                    // It only looked like one.
                    Element::Unknown => from += at + 1,
                    Element::Needs(_) => break from + at,
                    _ => return Ok(Some([prefix, &window[from + at..]].concat())),
                },
            }
        };
        window.drain(..place);
        if source.by_ref().take(READ_BYTES).read_to_end(&mut window)? == 0 {
            return Ok(None);
        }
    }
}

/// Bytes read before the next look.
const READ_BYTES: u64 = 256;

/// What a demuxer may keep: the indices of a few thousand fragments.
const MAX_KEPT_BYTES: u64 = 2 * 1024 * 1024;

/// Demuxers that may be started in a row without any audio: each costs a buffer of 64 KiB.
const MAX_VAIN: u32 = 100;
