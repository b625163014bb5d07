//! Any bytes as a public key, and as the text of a name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::records::records_public_key(data));
