//! Ogg with Opus, Vorbis or FLAC, by symphonia; chained streams too.
//!
//! Audio comes out a page at a time, because a page's checksum covers all of it: who writes Ogg for a live
//! listener flushes its pages often. Not here: the header of Opus streams (`packets`).

use symphonia::{core::formats::FormatOptions, default::formats::OggReader};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, decode_packets, explain},
    stream,
};

pub(super) const NAME: &str = "Ogg";

pub(super) fn matches(magic: &Magic) -> bool {
    magic.starts_with(b"OggS")
}

/// Decodes to the end of the stream.
pub(super) fn decode(magic: &Magic, source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let mut reader = OggReader::try_new(stream(magic, source), FormatOptions::default())
        .map_err(|error| explain(NAME, &error))?;
    // A page with a wrong checksum is dropped without a word: its time is missing.
    decode_packets(NAME, &mut reader, Some(STARTING_PACKETS), &mut None, emitter)
        .map_err(|stop| stop.explain(NAME))
}

/// The first packet of Vorbis has no audio, and symphonia's first times take no account of that.
const STARTING_PACKETS: u32 = 2;
