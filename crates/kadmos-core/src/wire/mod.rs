//! The bytes of the Amino protocol.

pub mod varint;
