//! Peers: their ids, their shared descriptors and their addresses.

use alloc::sync::Arc;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;

use crate::addr::AddrList;
use crate::error::Fault;
use crate::key::Key;

/// The raw bytes of a libp2p peer id: a multihash, either SHA-256 (34 bytes) or identity (up to 44 bytes).
///
/// Parsed once: every value of this type has one of the two shapes, so drivers convert it without failing.
/// Source: libp2p/specs peer-ids.
#[derive(Clone, Copy)]
pub struct PeerId {
    len: u8,
    bytes: [u8; PeerId::BYTES_MAX],
}

impl PeerId {
    /// An identity multihash of a 42-byte public key, the longest that libp2p inlines, and its two-byte header.
    pub const BYTES_MAX: usize = 44;

    /// Reads a peer id.
    ///
    /// Errors: [`PeerIdError`] for anything but `0x12 0x20 <32 bytes>` and `0x00 <len <= 42> <len bytes>`.
    pub fn from_bytes(raw: &[u8]) -> Result<Self, PeerIdError> {
        match raw {
            [0x12, 0x20, digest @ ..] if digest.len() == 32 => {}
            [0x00, len, digest @ ..] if digest.len() == usize::from(*len) && digest.len() <= 42 => {}
            _ => return Err(PeerIdError { len: raw.len() }),
        }
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..raw.len()].copy_from_slice(raw);
        Ok(Self { len: raw.len() as u8, bytes }) // at most 44
    }

    /// A SHA-256 peer id of the given digest, as simulators and refresh targets use.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[0] = 0x12;
        bytes[1] = 0x20;
        bytes[2..34].copy_from_slice(&digest);
        Self { len: 34, bytes }
    }

    /// The multihash bytes, 2 to 44 of them.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl PartialEq for PeerId {
    /// Bytes past the end are zero, so all of them may be compared: a fixed length needs no call.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.bytes == other.bytes
    }
}

impl Eq for PeerId {}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PeerId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for PeerId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId({self})")
    }
}

/// Hexadecimal: the core knows no base58. Drivers print ids in their own form.
impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes that are no peer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{len} bytes are no peer id: expected a SHA-256 multihash of 34 bytes or an identity multihash of at most 44"
)]
pub struct PeerIdError {
    /// Bytes read.
    pub len: usize,
}

impl PeerIdError {
    /// Whoever gave the bytes: the caller. Bytes from a peer are skipped instead.
    pub const fn fault(&self) -> Fault {
        Fault::Caller
    }

    /// What to do about it.
    pub const fn advice(&self) -> &'static str {
        "give the raw bytes of a libp2p peer id, not its text"
    }
}

/// A peer's id and its place in the keyspace, hashed once and shared by reference count.
///
/// Equal and ordered by id. Cost: cloning bumps a counter.
#[derive(Clone)]
pub struct Peer(Arc<PeerDescriptor>);

/// What a [`Peer`] points at.
#[derive(Debug)]
pub struct PeerDescriptor {
    /// The peer's id.
    pub id: PeerId,
    /// SHA-256 of the id's bytes.
    pub key: Key,
}

impl Peer {
    /// Interns `id`. Cost: one SHA-256 and one allocation.
    pub fn new(id: PeerId) -> Self {
        Self::hashed(id, Key::of(id.as_bytes()))
    }

    /// As [`Peer::new`], of an id whose key is known.
    pub(crate) fn hashed(id: PeerId, key: Key) -> Self {
        Self(Arc::new(PeerDescriptor { id, key }))
    }
}

impl Deref for Peer {
    type Target = PeerDescriptor;

    fn deref(&self) -> &PeerDescriptor {
        &self.0
    }
}

impl PartialEq for Peer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.id == other.id
    }
}

impl Eq for Peer {}

impl PartialOrd for Peer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Peer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.id.cmp(&other.id)
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peer({})", self.id)
    }
}

/// A peer and the addresses it is known by; the unit in which peers travel.
///
/// Cost: cloning bumps two counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// Who.
    pub peer: Peer,
    /// Where; may be empty, then the peer must be found first.
    pub addrs: AddrList,
}

impl PeerInfo {
    /// A peer with its addresses.
    pub fn new(peer: Peer, addrs: AddrList) -> Self {
        Self { peer, addrs }
    }
}
