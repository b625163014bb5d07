//! The bytes of the Amino protocol: bounded decoding, exact encoding, framing.
//!
//! ```text
//! Message { type = 1 enum; key = 2 bytes; record = 3 Record; closerPeers = 8 repeated Peer;
//!           providerPeers = 9 repeated Peer; clusterLevelRaw = 10 int32 }
//! Record  { key = 1 bytes; value = 2 bytes; timeReceived = 5 string }
//! Peer    { id = 1 bytes; addrs = 2 repeated bytes; connection = 3 enum }
//! ```
//!
//! On a stream each message follows its length, an unsigned varint: [`frame`]. What is taken and given is bounded by
//! [`crate::limits`] while it is read, so nothing that a peer sends recurses, or allocates more than it may keep.
//! Source: go-libp2p-kad-dht `pb/dht.proto`; libp2p/specs kad-dht. Deviations are in `docs/wire.md`.

mod decode;
mod encode;
mod error;
mod fields;
pub mod frame;
pub mod multiaddr;
pub mod varint;

pub use decode::{Decoded, Dropped, decode_request, decode_response};
pub use encode::{encode_request, encode_response, peer_len, request_len, response_len};
pub use error::DecodeError;

/// Tags are `field number << 3 | wire type`; every field of the schema fits in one byte.
mod tag {
    /// `Message.type`, a varint.
    pub(super) const TYPE: u8 = 1 << 3;
    /// `Message.key`.
    pub(super) const KEY: u8 = 2 << 3 | 2;
    /// `Message.record`.
    pub(super) const RECORD: u8 = 3 << 3 | 2;
    /// `Message.closerPeers`.
    pub(super) const CLOSER: u8 = 8 << 3 | 2;
    /// `Message.providerPeers`.
    pub(super) const PROVIDER: u8 = 9 << 3 | 2;
    /// `Record.key`.
    pub(super) const RECORD_KEY: u8 = 1 << 3 | 2;
    /// `Record.value`.
    pub(super) const RECORD_VALUE: u8 = 2 << 3 | 2;
    /// `Record.timeReceived`.
    pub(super) const RECORD_TIME: u8 = 5 << 3 | 2;
    /// `Peer.id`.
    pub(super) const PEER_ID: u8 = 1 << 3 | 2;
}

#[cfg(test)]
mod tests;
