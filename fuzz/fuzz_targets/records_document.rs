//! Any bytes as the signed document of an IPNS record: what the signature does not keep out.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::records::records_document(data));
