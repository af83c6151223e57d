//! MP4 (ISO base media): live when it is fragmented or its index (`moov`) comes first; kept until it is whole
//! when the index comes last.
//!
//! symphonia reads the index and the samples; the atoms before the first audio are walked here, to bound them,
//! to know which kind it is, and because they are needed again after damage. Not here: that recovery
//! (`recovery`).

use std::{
    io::Cursor,
    sync::atomic::{AtomicUsize, Ordering},
};

use symphonia::{
    core::{
        errors::{Error, Result},
        formats::{FormatOptions, FormatReader},
        io::{MediaSourceStream, ReadBytes},
    },
    default::formats::IsoMp4Reader,
};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, decode_packets, explain},
    recovery::{Element, Enterable, Search, decode_enterable},
};

pub(super) const NAME: &str = "MP4";

pub(super) fn matches(magic: &Magic) -> bool {
    magic[4..8] == *b"ftyp"
}

/// Decodes to the end of the stream. A packet comes out when it is whole, as far as the index before it allows.
pub(super) fn decode(magic: &Magic, mut source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let mut file = Spool::new(magic);
    match read_header(&mut file, &mut source)? {
        Kind::Live => {
            let format = Enterable { name: NAME, open, look: look_at_atom, find: find_fragment };
            // The head of the atom with the first samples has been read.
            let header = file.bytes.len() - HEAD_BYTES;
            let start = file.bytes.split_off(header);
            decode_enterable(&format, &file.bytes, start, source, emitter)
        }
        Kind::IndexLast => {
            emitter.not_live(
                "This MP4 file has its index at the end, so it can be written down only once it is whole: nothing is \
                 heard before. Record fragmented MP4 or WebM to be heard live."
                    .to_owned(),
            );
            file.read_all(&mut source)?;
            for atom in Atoms(&file.bytes).flatten().filter(|(kind, _)| kind == b"moov") {
                check_index(atom.1)?;
            }
            let stream = MediaSourceStream::new(Box::new(Cursor::new(&*file.bytes)), Default::default());
            let mut reader = open(stream).map_err(|error| explain(NAME, &error))?;
            decode_packets(NAME, &mut *reader, None, &mut None, emitter).map_err(|stop| stop.explain(NAME))
        }
    }
}

/// symphonia's demuxer expects that the first four bytes, the length of `ftyp`, have been read.
fn open(mut stream: MediaSourceStream<'_>) -> Result<Box<dyn FormatReader + '_>> {
    stream.ignore_bytes(4)?;
    Ok(Box::new(IsoMp4Reader::try_new(stream, FormatOptions::default())?))
}

/// How a file is laid out.
enum Kind {
    /// The index has come.
    Live,
    /// The samples come before their index.
    IndexLast,
}

/// Reads the atoms before the first samples; the head of the atom with the samples is the last.
fn read_header(file: &mut Spool, source: &mut Source<'_, Item>) -> std::result::Result<Kind, String> {
    let mut has_index = false;
    let mut at = 0;
    loop {
        file.read_to(source, at + HEAD_BYTES)?;
        let kind: [u8; 4] = *file.bytes[at + 4..].first_chunk().expect("it was read just now");
        match &kind {
            b"mdat" if !has_index => return Ok(Kind::IndexLast),
            b"mdat" | b"moof" => return Ok(Kind::Live),
            b"moov" => has_index = true,
            _ => {}
        }
        let (head, length) = match atom_head(&file.bytes[at..]) {
            Some(head) => head,
            None => {
                file.read_to(source, at + 2 * HEAD_BYTES)?;
                atom_head(&file.bytes[at..]).expect("a long head has twice the bytes")
            }
        };
        let at_of_body = at + head;
        let end = usize::try_from(length).ok().and_then(|length| at.checked_add(length));
        at = end.filter(|end| *end >= at + head && *end <= MAX_HEADER_BYTES).ok_or_else(|| {
            format!(
                "The header of this MP4 stream is damaged, or larger than {} MiB. Send it without embedded pictures, or \
                 as WAV.",
                MAX_HEADER_BYTES >> 20
            )
        })?;
        file.read_to(source, at)?;
        if kind == *b"moov" {
            check_index(&file.bytes[at_of_body..at])?;
        }
    }
}

/// The bytes of a file kept in memory, counted over all decoders of the process.
struct Spool {
    bytes: Vec<u8>,
    counted: usize,
}

impl Spool {
    fn new(start: &[u8]) -> Self {
        Self { bytes: start.to_vec(), counted: 0 }
    }

    /// Keeps the first `length` bytes of the file, at least.
    fn read_to(&mut self, source: &mut Source<'_, Item>, length: usize) -> std::result::Result<(), String> {
        while self.bytes.len() < length {
            let step = (length - self.bytes.len()).min(STEP_BYTES);
            self.make_room(step)?;
            if !source.keep(&mut self.bytes, step) {
                return Err(explain(NAME, &Error::IoError(std::io::ErrorKind::UnexpectedEof.into())));
            }
        }
        Ok(())
    }

    /// Keeps the rest of the file.
    fn read_all(&mut self, source: &mut Source<'_, Item>) -> std::result::Result<(), String> {
        loop {
            self.make_room(STEP_BYTES)?;
            if !source.keep(&mut self.bytes, STEP_BYTES) {
                return Ok(());
            }
            if self.bytes.len() > MAX_FILE_BYTES {
                return Err(format!(
                    "This MP4 file has its index at the end and is longer than {} MiB. Send it as fragmented MP4, as \
                     WebM, or with its index first (\"fast start\").",
                    MAX_FILE_BYTES >> 20
                ));
            }
        }
    }

    /// Room for `step` more bytes, and not much more: a quarter, where a `Vec` would double.
    fn make_room(&mut self, step: usize) -> std::result::Result<(), String> {
        if self.bytes.capacity() - self.bytes.len() < step {
            self.bytes.reserve_exact(step.max(self.bytes.len() / 4));
        }
        let more = self.bytes.capacity() - self.counted;
        self.counted += more;
        if KEPT_BYTES.fetch_add(more, Ordering::Relaxed) + more > MAX_KEPT_BYTES {
            return Err("The server is busy with other files whose index is at their end. Send this one later, or as \
                        fragmented MP4 or WebM."
                .to_owned());
        }
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        KEPT_BYTES.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// An atom that may stand behind the index. A fragment's index is looked at together with the head of its
/// samples: what it says of them must be true.
fn look_at_atom(bytes: &[u8]) -> Element {
    let Some((head, length)) = atom_head(bytes) else {
        return Element::Needs(if bytes.len() < HEAD_BYTES { HEAD_BYTES } else { 2 * HEAD_BYTES });
    };
    let most = match &bytes[4..8] {
        b"mdat" => u64::MAX,
        b"moof" => return look_at_fragment(bytes, length),
        b"styp" | b"sidx" | b"ssix" | b"prft" | b"emsg" | b"free" | b"skip" | b"wide" | b"uuid" | b"mfra"
        | b"meta" | b"udta" => MAX_HEADER_BYTES as u64,
        _ => return Element::Unknown,
    };
    match length.checked_sub(head as u64) {
        // To the end of the file.
        _ if length == 0 => Element::Is(most),
        Some(body) if body <= most => Element::Is(body),
        _ => Element::Unknown,
    }
}

/// The length of an atom's head, and of all of it; 0 when it lasts to the end.
fn atom_head(bytes: &[u8]) -> Option<(usize, u64)> {
    let head = bytes.first_chunk::<HEAD_BYTES>()?;
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    if length != 1 {
        return Some((HEAD_BYTES, u64::from(length)));
    }
    let long = bytes[HEAD_BYTES..].first_chunk::<HEAD_BYTES>()?;
    Some((2 * HEAD_BYTES, u64::from_be_bytes(*long)))
}

fn look_at_fragment(bytes: &[u8], length: u64) -> Element {
    let Some(length) =
        usize::try_from(length).ok().filter(|length| (16..=MAX_FRAGMENT_BYTES).contains(length))
    else {
        return Element::Unknown;
    };
    if bytes.len() < length + HEAD_BYTES {
        return Element::Needs(length + HEAD_BYTES);
    }
    let (fragment, samples) = bytes.split_at(length);
    let Some(size) = samples_size(fragment).filter(|_| samples[4..8] != *b"moof") else {
        return Element::Unknown;
    };
    match look_at_atom(samples) {
        Element::Needs(more) => Element::Needs(length + more),
        Element::Is(body) if size <= body => Element::Kept { kept: length as u64 + SEGMENT_BYTES, body },
        _ => Element::Unknown,
    }
}

/// The size of the samples that a fragment's index lists (ISO/IEC 14496-12, section 8.8); `None` when it is
/// malformed, or lists what symphonia would work on for long: it goes through as many samples as are claimed.
fn samples_size(fragment: &[u8]) -> Option<u64> {
    let (mut size, mut count) = (0u64, 0u64);
    for track in Atoms(&fragment[HEAD_BYTES..]) {
        let (kind, track) = track?;
        // Where the samples lie counts from here, unless the track says otherwise.
        let mut relative = true;
        for atom in Atoms(if kind == *b"traf" { track } else { &[] }) {
            let (kind, body) = atom?;
            let numbers: Vec<u32> =
                body.as_chunks().0.iter().map(|number| u32::from_be_bytes(*number)).collect();
            if kind == *b"tfhd" {
                relative = numbers.first()? & TFHD_BASE_OFFSET == 0;
            }
            if kind == *b"trun" {
                let run = Run::parse(&numbers)?;
                let inside = run.offset.is_none_or(|offset| offset as usize >= fragment.len());
                if relative && !inside {
                    return None;
                }
                size = size.checked_add(run.size)?;
                count += u64::from(run.count);
            }
        }
    }
    (count <= MAX_SAMPLES).then_some(size)
}

/// A run of samples.
struct Run {
    count: u32,
    /// Where it lies, from the start of the fragment.
    offset: Option<u32>,
    /// Of its samples, where they have sizes of their own.
    size: u64,
}

impl Run {
    fn parse(numbers: &[u32]) -> Option<Self> {
        let [flags, count, fields @ ..] = numbers else { return None };
        let has = |flag: u32| flags & flag != 0;
        let offset = fields.first().copied().filter(|_| has(TRUN_DATA_OFFSET));
        let fields = fields.get(usize::from(has(TRUN_DATA_OFFSET)) + usize::from(has(TRUN_FIRST_FLAGS))..)?;
        let each =
            [TRUN_DURATION, TRUN_SIZE, TRUN_FLAGS, TRUN_TIME].into_iter().filter(|flag| has(*flag)).count();
        let fields = fields.get(..each.checked_mul(*count as usize)?)?;
        let sizes = fields.iter().skip(usize::from(has(TRUN_DURATION))).step_by(each.max(1));
        let size = if has(TRUN_SIZE) { sizes.map(|size| u64::from(*size)).sum() } else { 0 };
        Some(Self { count: *count, offset, size })
    }
}

/// Whether symphonia can look up the samples of a movie's index (`moov`) in good time: it goes through all entries
/// for each packet. The error is for the end user.
fn check_index(movie: &[u8]) -> std::result::Result<(), String> {
    let damaged =
        || "The index of this MP4 stream is damaged. Send it again from its first byte on.".to_owned();
    let mut level = vec![movie];
    for kind in [b"trak", b"mdia", b"minf", b"stbl"] {
        let mut below = Vec::new();
        for atom in level.iter().flat_map(|atoms| Atoms(atoms)) {
            let (found, body) = atom.ok_or_else(damaged)?;
            if found == *kind {
                below.push(body);
            }
            if below.len() > MAX_TRACKS {
                return Err(damaged());
            }
        }
        level = below;
    }
    let mut entries = 0;
    for atom in level.iter().flat_map(|atoms| Atoms(atoms)) {
        let (kind, body) = atom.ok_or_else(damaged)?;
        let bytes = match &kind {
            b"stts" => 8,
            b"stsc" => 12,
            _ => continue,
        };
        let table = body.get(8..).ok_or_else(damaged)?;
        // How many samples a run has: first or second in an entry.
        let count = if bytes == 8 { 0 } else { 4 };
        if table.chunks_exact(bytes).any(|entry| entry[count..count + 4] == [0; 4]) {
            return Err(damaged());
        }
        entries += table.len() / bytes;
    }
    if entries > MAX_INDEX_ENTRIES {
        return Err(format!(
            "The index of this MP4 stream has {entries} entries (a video whose frames are of many lengths?), which takes \
             too long to follow. Send the audio alone."
        ));
    }
    Ok(())
}

/// The atoms that lie side by side: their names and bodies; `None`, as the last, where one is malformed.
struct Atoms<'a>(&'a [u8]);

impl<'a> Iterator for Atoms<'a> {
    type Item = Option<([u8; 4], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = std::mem::take(&mut self.0);
        if bytes.is_empty() {
            return None;
        }
        Some(atom_head(bytes).and_then(|(head, length)| {
            let length = usize::try_from(length).ok().filter(|length| *length >= head)?;
            let body = bytes.get(head..length)?;
            self.0 = &bytes[length..];
            Some((*bytes[4..].first_chunk()?, body))
        }))
    }
}

/// The next fragment: the head of a `moof` atom of a sensible length.
fn find_fragment(bytes: &[u8]) -> Search {
    for at in 0..bytes.len().saturating_sub(7) {
        if bytes[at + 4..at + 8] == *b"moof" && bytes[at] == 0 && bytes[at + 1] < 0x10 {
            return Search::Found { at, prefix: &[] };
        }
    }
    Search::NotBefore(bytes.len().saturating_sub(7))
}

/// The length and the name of an atom; a long length follows in as many bytes.
const HEAD_BYTES: usize = 8;

/// A flag of a track fragment's header.
const TFHD_BASE_OFFSET: u32 = 0x1;

// The flags of a track run.
const TRUN_DATA_OFFSET: u32 = 0x1;
const TRUN_FIRST_FLAGS: u32 = 0x4;
const TRUN_DURATION: u32 = 0x100;
const TRUN_SIZE: u32 = 0x200;
const TRUN_FLAGS: u32 = 0x400;
const TRUN_TIME: u32 = 0x800;

/// The longest index of a fragment; one of a minute of audio and video has 100 KiB.
const MAX_FRAGMENT_BYTES: usize = 512 * 1024;

/// The samples of a fragment: three minutes of audio.
const MAX_SAMPLES: u64 = 10_000;

/// A film has its pictures, its sound in some languages, and subtitles.
const MAX_TRACKS: usize = 64;

/// The entries of an index: audio has a handful, a video whose frames are of many lengths one a frame.
const MAX_INDEX_ENTRIES: usize = 20_000;

/// What symphonia keeps for a fragment beside its index, and what looking through it costs.
const SEGMENT_BYTES: u64 = 1024;

/// Bytes that all decoders of the process keep for files.
static KEPT_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The bound on [`KEPT_BYTES`].
const MAX_KEPT_BYTES: usize = 256 * 1024 * 1024;

/// The longest file kept until it is whole: half an hour at 128 kbit/s.
const MAX_FILE_BYTES: usize = 32 * 1024 * 1024;

/// The atoms before the samples. The index of an hour of AAC has about 1 MiB.
const MAX_HEADER_BYTES: usize = 8 * 1024 * 1024;

/// Memory grows by this much as the bytes come, whatever a length claims.
const STEP_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atoms_are_told_by_their_heads() {
        let check =
            |bytes: &[u8], expected: Element| assert_eq!(look_at_atom(bytes), expected, "{bytes:02x?}");
        check(b"", Element::Needs(8));
        check(b"\0\0\x01\0styp", Element::Is(0xf8));
        check(b"\0\0\x01\0moof", Element::Needs(0x108));
        check(b"\xff\0\0\0mdat", Element::Is(0xfeff_fff8));
        check(b"\0\0\0\0mdat", Element::Is(u64::MAX));
        check(b"\0\0\0\x01mdat", Element::Needs(16));
        check(b"\0\0\0\x01mdat\0\0\0\0\0\0\x01\0", Element::Is(0xf0));
        check(b"\0\0\0\x01mdat\0\0\0\0\0\0\0\x0f", Element::Unknown);
        check(b"\0\0\0\x07mdat", Element::Unknown);
        check(b"\x7f\0\0\0moof", Element::Unknown);
        check(b"\0\0\x01\0trak", Element::Unknown);
    }

    #[test]
    fn a_fragment_must_fit_its_samples() {
        let atom =
            |kind: &[u8; 4], body: &[u8]| [&(body.len() as u32 + 8).to_be_bytes()[..], kind, body].concat();
        let check = |flags: u32, fields: &[u32], samples: u32, expected: Option<u64>| {
            let run: Vec<u8> = [&[flags], fields].concat().iter().flat_map(|n| n.to_be_bytes()).collect();
            let fragment = atom(b"moof", &atom(b"traf", &atom(b"trun", &run)));
            let head = [&(samples + 8).to_be_bytes()[..], b"mdat"].concat();
            let expected = match expected {
                Some(body) => Element::Kept { kept: fragment.len() as u64 + SEGMENT_BYTES, body },
                None => Element::Unknown,
            };
            assert_eq!(look_at_atom(&[fragment, head].concat()), expected, "{flags:#x} {fields:?} {samples}");
        };
        check(TRUN_SIZE, &[2, 30, 40], 70, Some(70));
        check(TRUN_DATA_OFFSET | TRUN_DURATION | TRUN_SIZE, &[2, 99, 1_024, 30, 1_024, 40], 70, Some(70));
        // The samples lie before their index.
        check(TRUN_DATA_OFFSET | TRUN_SIZE, &[2, 9, 30, 40], 70, None);
        check(TRUN_DURATION, &[2, 1_024, 1_024], 70, Some(70));
        // Longer than the samples; fewer fields than samples; more samples than anyone has.
        check(TRUN_SIZE, &[2, 30, 41], 70, None);
        check(TRUN_SIZE, &[3, 30, 40], 70, None);
        check(0, &[u32::MAX], 70, None);
        check(TRUN_SIZE, &[], 70, None);
        // Nested as deep as it can be, which is no deeper than two.
        let deep = (0..7_000).fold(Vec::new(), |inner, _| atom(b"traf", &inner));
        let fragment = atom(b"moof", &deep);
        let kept = fragment.len() as u64 + SEGMENT_BYTES;
        let bytes = [&fragment[..], b"\0\0\0\x08mdat"].concat();
        assert_eq!(look_at_atom(&bytes), Element::Kept { kept, body: 0 });
        // Not followed by samples.
        let fragment = atom(b"moof", &atom(b"mfhd", &[0; 8]));
        assert_eq!(look_at_atom(&[&fragment[..], &fragment].concat()), Element::Unknown);
    }

    #[test]
    fn a_fragment_is_found_by_its_head() {
        let check =
            |bytes: &[u8], expected: Search| assert_eq!(find_fragment(bytes), expected, "{bytes:02x?}");
        check(b"", Search::NotBefore(0));
        check(b"1234567", Search::NotBefore(0));
        check(b"junk\0\0\x02\0moof", Search::Found { at: 4, prefix: &[] });
        check(b"junk\0\0\x02\0moo", Search::NotBefore(4));
        check(b"junk\x7f\0\x02\0moofjunk", Search::NotBefore(9));
    }
}
