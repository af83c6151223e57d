//! libFuzzer on `protocol_fuzz::control_json`. Not here: what it checks.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| protocol_fuzz::control_json(data));
