//! libFuzzer on `codecs_fuzz::targets::resampler`. Not here: what it checks.

#![no_main]

libfuzzer_sys::fuzz_target!(init: codecs_fuzz::guard::pass_caught_panics(), |data: &[u8]| codecs_fuzz::targets::resampler(data));
