//! libFuzzer on `codecs_fuzz::targets::container` with `Codec::Mp4`. Not here: what it checks.

#![no_main]

use codecs::Codec;

libfuzzer_sys::fuzz_target!(init: codecs_fuzz::guard::pass_caught_panics(), |data: &[u8]| codecs_fuzz::targets::container(Codec::Mp4, data));
