//! Messages drawn from bytes: prost writes, we read; we write, prost reads.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::checks::differential(data));
