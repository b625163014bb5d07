//! Any bytes as multiaddrs of a peer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kadmos_fuzz::checks::addrs(data));
