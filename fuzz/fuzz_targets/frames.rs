//! Any bytes as a stream of frames in chunks.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::checks::frames(data));
