//! Native FLAC: symphonia finds the packets and decodes them; the metadata before them are skipped here.
//!
//! Skipped here because symphonia would keep pictures and comments in memory for the life of the stream, and
//! reserves what their lengths claim before the bytes have come. Not here: FLAC inside Ogg.

use std::io::Read;

use symphonia::{
    core::{errors::Error, formats::FormatOptions},
    default::formats::FlacReader,
};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, decode_packets, explain},
    stream,
};

pub(super) const NAME: &str = "FLAC";

pub(super) fn matches(magic: &Magic) -> bool {
    magic.starts_with(b"fLaC")
}

/// Decodes to the end of the stream. A packet comes out when the header of the next has come, which symphonia
/// looks for in steps of 1 KiB.
pub(super) fn decode(magic: &Magic, mut source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let header = read_header(magic, &mut source).map_err(|error| explain(NAME, &error))?;
    let mut reader = FlacReader::try_new(stream(header, source), FormatOptions::default())
        .map_err(|error| explain(NAME, &error))?;
    decode_packets(NAME, &mut reader, Some(0), &mut None, emitter).map_err(|stop| stop.explain(NAME))
}

/// Reads to the first packet, and gives the header without any metadata but the stream information (RFC 9639,
/// section 8).
fn read_header(magic: &Magic, source: &mut Source<'_, Item>) -> Result<Vec<u8>, Error> {
    // The magic is the marker, the header of the first metadata block, and that block's first 4 bytes.
    let (mut last, kind, length) = block_header([magic[4], magic[5], magic[6], magic[7]]);
    if kind != STREAM_INFO || length != STREAM_INFO_BYTES {
        return Err(Error::DecodeError("it does not begin with its stream information"));
    }
    let mut header = b"fLaC".to_vec();
    header.extend_from_slice(&[LAST | STREAM_INFO, 0, 0, STREAM_INFO_BYTES as u8]);
    header.extend_from_slice(&magic[8..]);
    let kept = header.len();
    header.resize(kept + STREAM_INFO_BYTES as usize - 4, 0);
    source.read_exact(&mut header[kept..])?;
    while !last {
        let mut block = [0; 4];
        source.read_exact(&mut block)?;
        let (is_last, _, length) = block_header(block);
        source.skip(length)?;
        last = is_last;
    }
    Ok(header)
}

/// Whether it is the last metadata block, its kind, and its length in bytes.
fn block_header([kind, high, middle, low]: [u8; 4]) -> (bool, u8, u64) {
    (kind & LAST != 0, kind & !LAST, u64::from(u32::from_be_bytes([0, high, middle, low])))
}

/// Marks the last metadata block.
const LAST: u8 = 0x80;

/// The kind of the stream information block.
const STREAM_INFO: u8 = 0;

const STREAM_INFO_BYTES: u64 = 34;
