//! Any bytes as a request: agree with prost, survive the way out and back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::checks::request(data));
