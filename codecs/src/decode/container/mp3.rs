//! MP3 (MPEG-1, 2 and 2.5, layer III), by symphonia.
//!
//! A frame comes out when it is whole; the first one waits for the header of the second, which tells it from
//! noise. Not here: ID3 tags, which are skipped before any format is looked for.

use symphonia::{core::formats::FormatOptions, default::formats::MpaReader};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, decode_packets, explain},
    stream,
};

pub(super) const NAME: &str = "MP3";

/// The frame sync, and a layer: with none it would be ADTS.
pub(super) fn matches(magic: &Magic) -> bool {
    magic[0] == 0xff && magic[1] & 0xe0 == 0xe0 && magic[1] & 0x06 != 0
}

/// Decodes to the end of the stream; what is no frame is skipped.
pub(super) fn decode(magic: &Magic, source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let mut reader = MpaReader::try_new(stream(magic, source), FormatOptions::default())
        .map_err(|error| explain(NAME, &error))?;
    decode_packets(NAME, &mut reader, None, &mut None, emitter).map_err(|stop| stop.explain(NAME))
}
