//! libFuzzer on `protocol_fuzz::frame_header`. Not here: what it checks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocol_fuzz::frame_header(data));
