//! Any bytes as an IPNS record: refused with a code, or signed by the name's owner.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::records::records_ipns(data));
