//! WebM and Matroska, live as browsers record it: symphonia reads clusters and blocks; the header before them
//! is walked here.
//!
//! Walked here because of what stands in a header only the track list is needed: titles, pictures and the
//! index are skipped, not kept in memory for the life of the stream; and because the header is needed again
//! after damage. Not here: that recovery (`recovery`).

use std::io::Read;

use symphonia::{core::errors::Error, core::formats::FormatOptions, default::formats::MkvReader};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, explain},
    recovery::{Element, Enterable, Search, decode_enterable},
};

pub(super) const NAME: &str = "WebM";

pub(super) fn matches(magic: &Magic) -> bool {
    magic.starts_with(EBML)
}

/// Decodes to the end of the stream. A packet comes out when its block is whole.
pub(super) fn decode(magic: &Magic, mut source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let (header, cluster) = read_header(magic, &mut source).map_err(|error| explain(NAME, &error))?;
    let format = Enterable {
        name: NAME,
        open: |stream| Ok(Box::new(MkvReader::try_new(stream, FormatOptions::default())?)),
        look: look_at_element,
        find: find_block,
    };
    decode_enterable(&format, &header, cluster, source, emitter)
}

/// Reads to the first cluster: a header of nothing but the segment's information and tracks, and the head of the
/// cluster.
fn read_header(magic: &Magic, source: &mut Source<'_, Item>) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut input = magic.chain(source);
    let ebml = ElementHead::read(&mut input)?;
    let mut header = Vec::new();
    ebml.keep(&mut input, &mut header)?;
    let segment = ElementHead::read(&mut input)?;
    if segment.id() != SEGMENT {
        return Err(Error::DecodeError("its segment is missing"));
    }
    header.extend_from_slice(SEGMENT);
    header.extend_from_slice(&UNKNOWN_SIZE);
    loop {
        let element = ElementHead::read(&mut input)?;
        match element.id() {
            CLUSTER => return Ok((header, element.bytes)),
            INFO | TRACKS => element.keep(&mut input, &mut header)?,
            _ => {
                let size = element.size.ok_or(Error::DecodeError("an element of unknown size"))?;
                // The magic is read by now: it is shorter than the elements before.
                input.get_mut().1.skip(size)?;
            }
        }
    }
}

/// The head of an EBML element (RFC 8794, sections 5 and 6).
struct ElementHead {
    /// As it was read.
    bytes: Vec<u8>,
    id_bytes: usize,
    /// `None`: unknown, as in a live stream.
    size: Option<u64>,
}

impl ElementHead {
    fn read(input: &mut impl Read) -> Result<Self, Error> {
        let mut bytes = Vec::with_capacity(12);
        let id_bytes = read_vint(input, &mut bytes)?;
        let size_bytes = read_vint(input, &mut bytes)?;
        let size = bytes[id_bytes..].iter().fold(0, |size, byte| size << 8 | u64::from(*byte));
        let largest = (1 << (7 * size_bytes)) - 1;
        let size = Some(size & largest).filter(|size| *size != largest);
        Ok(Self { bytes, id_bytes, size })
    }

    fn id(&self) -> &[u8] {
        &self.bytes[..self.id_bytes]
    }

    /// Appends the whole element to `header`.
    fn keep(&self, input: &mut impl Read, header: &mut Vec<u8>) -> Result<(), Error> {
        let size = self.size.ok_or(Error::DecodeError("an element of unknown size"))?;
        header.extend_from_slice(&self.bytes);
        // Grows as the bytes come, whatever the size claims.
        let read = input.take(size).read_to_end(header)?;
        if (read as u64) < size {
            return Err(Error::IoError(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}

/// Appends one number of variable length to `bytes`; its length, which the leading zeros of its first byte tell.
fn read_vint(input: &mut impl Read, bytes: &mut Vec<u8>) -> Result<usize, Error> {
    let mut number = [0; 8];
    input.read_exact(&mut number[..1])?;
    let length = number[0].leading_zeros() as usize + 1;
    if length > number.len() {
        return Err(Error::DecodeError("a length of more than eight bytes"));
    }
    input.read_exact(&mut number[1..length])?;
    bytes.extend_from_slice(&number[..length]);
    Ok(length)
}

/// An element of the segment or of a cluster. Clusters are entered: a live one has no size, and the size of
/// another, were it wrong, would hide what follows from symphonia.
fn look_at_element(bytes: &[u8]) -> Element {
    let Some(first) = bytes.first() else { return Element::Needs(1) };
    let id_bytes = first.leading_zeros() as usize + 1;
    if id_bytes > 4 {
        return Element::Unknown;
    }
    let Some(size_first) = bytes.get(id_bytes) else { return Element::Needs(id_bytes + 1) };
    let size_bytes = size_first.leading_zeros() as usize + 1;
    let head = id_bytes + size_bytes;
    if size_bytes > 8 {
        return Element::Unknown;
    }
    if bytes.len() < head {
        return Element::Needs(head);
    }
    let largest = (1 << (7 * size_bytes)) - 1;
    let size = bytes[id_bytes..head].iter().fold(0, |size, byte| size << 8 | u64::from(*byte)) & largest;
    // All ones: of unknown size.
    let is = |most, element: fn(u64) -> Element| {
        if size <= most && size != largest { element(size) } else { Element::Unknown }
    };
    match &bytes[..id_bytes] {
        CLUSTER => Element::As(CLUSTER_HEAD, 0),
        SIMPLE_BLOCK | BLOCK_GROUP => is(MAX_BLOCK_BYTES, Element::Is),
        TIMESTAMP | POSITION | PREVIOUS_SIZE | CHECKSUM => is(8, Element::Is),
        VOID => is(MAX_VOID_BYTES, Element::Skip),
        CUES | TAGS | SEEK_HEAD | INFO | TRACKS | ATTACHMENTS | CHAPTERS => {
            is(MAX_OTHER_BYTES, Element::Skip)
        }
        _ => Element::Unknown,
    }
}

/// The next cluster, or the next simple block behind which something stands that may follow one.
fn find_block(bytes: &[u8]) -> Search {
    for at in 0..bytes.len() {
        let rest = &bytes[at..];
        if CLUSTER.starts_with(&rest[..rest.len().min(CLUSTER.len())]) {
            return match rest.len() {
                0..4 => Search::NotBefore(at),
                _ => Search::Found { at, prefix: &[] },
            };
        }
        if rest[0] != SIMPLE_BLOCK[0] {
            continue;
        }
        // Sizes of one or two bytes: up to 16 KiB, more than any audio packet.
        let (head, size) = match rest.get(1..3) {
            None => return Search::NotBefore(at),
            Some(&[short, _]) if short & 0x80 != 0 => (2, usize::from(short & 0x7f)),
            Some(&[high, low]) if high & 0x40 != 0 => (3, usize::from(high & 0x3f) << 8 | usize::from(low)),
            Some(_) => continue,
        };
        // Track number, time stamp, flags; then the next element.
        match (rest.get(head), rest.get(head + size)) {
            (Some(track), _) if !(0x81..=0x8f).contains(track) || size < 5 => {}
            (Some(_), Some(next)) if [SIMPLE_BLOCK[0], BLOCK_GROUP[0], CLUSTER[0]].contains(next) => {
                return Search::Found { at, prefix: &BLOCK_PREFIX };
            }
            (Some(_), Some(_)) => {}
            (_, None) => return Search::NotBefore(at),
            (None, Some(_)) => {}
        }
    }
    Search::NotBefore(bytes.len())
}

// Matroska, RFC 9559, section 5.1.
const EBML: &[u8] = &[0x1a, 0x45, 0xdf, 0xa3];
const SEGMENT: &[u8] = &[0x18, 0x53, 0x80, 0x67];
const SEEK_HEAD: &[u8] = &[0x11, 0x4d, 0x9b, 0x74];
const INFO: &[u8] = &[0x15, 0x49, 0xa9, 0x66];
const TRACKS: &[u8] = &[0x16, 0x54, 0xae, 0x6b];
const CUES: &[u8] = &[0x1c, 0x53, 0xbb, 0x6b];
const TAGS: &[u8] = &[0x12, 0x54, 0xc3, 0x67];
const ATTACHMENTS: &[u8] = &[0x19, 0x41, 0xa4, 0x69];
const CHAPTERS: &[u8] = &[0x10, 0x43, 0xa7, 0x70];
const CLUSTER: &[u8] = &[0x1f, 0x43, 0xb6, 0x75];
const TIMESTAMP: &[u8] = &[0xe7];
const POSITION: &[u8] = &[0xa7];
const PREVIOUS_SIZE: &[u8] = &[0xab];
const SIMPLE_BLOCK: &[u8] = &[0xa3];
const BLOCK_GROUP: &[u8] = &[0xa0];
const VOID: &[u8] = &[0xec];
const CHECKSUM: &[u8] = &[0xbf];

/// A key frame of a video beside the audio; audio needs a hundredth.
const MAX_BLOCK_BYTES: u64 = 256 * 1024;

/// Room left for later. Its name is but one byte, which noise has too.
const MAX_VOID_BYTES: u64 = 64 * 1024;

/// An index, titles, pictures.
const MAX_OTHER_BYTES: u64 = 16 * 1024 * 1024;

const UNKNOWN_SIZE: [u8; 8] = [0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// A cluster of unknown size.
const CLUSTER_HEAD: &[u8] = &[0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// A cluster of unknown size at time 0, for blocks whose own cluster is lost: nobody asks for the time.
const BLOCK_PREFIX: [u8; 15] =
    [0x1f, 0x43, 0xb6, 0x75, 0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xe7, 0x81, 0x00];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_told_by_their_heads() {
        let check = |bytes: &[u8], expected: Element| {
            assert_eq!(look_at_element(bytes), expected, "{bytes:02x?}");
        };
        check(&[], Element::Needs(1));
        check(&[0xa3], Element::Needs(2));
        check(&[0xa3, 0x41], Element::Needs(3));
        check(&[0xa3, 0x41, 0x02], Element::Is(0x102));
        check(&[0xe7, 0x81], Element::Is(1));
        check(&[0x1f, 0x43, 0xb6, 0x75, 0xff], Element::As(CLUSTER_HEAD, 0));
        check(&[0x1f, 0x43, 0xb6, 0x75, 0x41, 0x00], Element::As(CLUSTER_HEAD, 0));
        // Of unknown size, too long, of more than eight bytes, of no name, of the name of a header's element.
        check(&[0xa3, 0xff], Element::Unknown);
        check(&[0xa3, 0x10, 0x20, 0, 0], Element::Unknown);
        check(&[0xa3, 0x00], Element::Unknown);
        check(&[0x00], Element::Unknown);
        check(&[0xd7, 0x81], Element::Unknown);
        check(&[0x1a, 0x45, 0xdf, 0xa3, 0x80], Element::Unknown);
    }

    #[test]
    fn a_block_is_found_by_what_follows_it() {
        let check = |bytes: &[u8], expected: Search| assert_eq!(find_block(bytes), expected, "{bytes:02x?}");
        let block = Search::Found { at: 2, prefix: &BLOCK_PREFIX };
        check(&[], Search::NotBefore(0));
        check(&[1, 2, 3], Search::NotBefore(3));
        check(&[9, 0x1f, 0x43], Search::NotBefore(1));
        check(&[9, 0x1f, 0x43, 0xb6, 0x75], Search::Found { at: 1, prefix: &[] });
        check(&[9, 9, 0xa3, 0x85, 0x81, 0, 1, 0x80, 7, 0xa3], block);
        check(
            &[9, 9, 0xa3, 0x40, 5, 0x81, 0, 1, 0x80, 7, 0x1f],
            Search::Found { at: 2, prefix: &BLOCK_PREFIX },
        );
        check(&[9, 9, 0xa3, 0x85, 0x81, 0, 1, 0x80, 7], Search::NotBefore(2));
        check(&[9, 9, 0xa3, 0x85, 0x81, 0, 1, 0x80, 7, 0x55], Search::NotBefore(10));
        check(&[9, 9, 0xa3, 0x85, 0x70, 0, 1, 0x80, 7, 0xa3], Search::NotBefore(9));
    }
}
