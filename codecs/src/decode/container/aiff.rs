//! AIFF and AIFF-C, by symphonia: people upload it, so it is recognised; there is no codec name for it.
//!
//! Not here: any care for live streams, which nobody sends in it.

use symphonia::{core::formats::FormatOptions, default::formats::AiffReader};

use super::{
    Item, Magic, Parsed, Source,
    packets::{Emitter, decode_packets, explain},
    stream,
};

pub(super) const NAME: &str = "AIFF";

pub(super) fn matches(magic: &Magic) -> bool {
    magic.starts_with(b"FORM") && matches!(&magic[8..], b"AIFF" | b"AIFC")
}

/// Decodes to the end of the sound data.
pub(super) fn decode(magic: &Magic, source: Source<'_, Item>, emitter: &mut Emitter<'_>) -> Parsed {
    let mut reader = AiffReader::try_new(stream(magic, source), FormatOptions::default())
        .map_err(|error| explain(NAME, &error))?;
    decode_packets(NAME, &mut reader, None, &mut None, emitter).map_err(|stop| stop.explain(NAME))
}
