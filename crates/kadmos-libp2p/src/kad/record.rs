//! Records, under libp2p-kad's names.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::time::Instant;

use bytes::Bytes;
use libp2p_core::Multiaddr;
use libp2p_core::multihash::Multihash;
use libp2p_identity::PeerId;

/// The key of a record: any bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Key(Bytes);

impl Key {
    /// A copy of some bytes.
    pub fn new<K: AsRef<[u8]>>(key: &K) -> Self {
        Self(Bytes::copy_from_slice(key.as_ref()))
    }

    /// A copy.
    pub fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub(super) fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl From<Bytes> for Key {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }
}

impl<const S: usize> From<Multihash<S>> for Key {
    fn from(hash: Multihash<S>) -> Self {
        Self(hash.to_bytes().into())
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A value under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Vec<u8>,
    /// Who published it, if this is a copy of this node's own. It does not travel: see `docs/kad.md`.
    pub publisher: Option<PeerId>,
    /// When it stops being served here.
    pub expires: Option<Instant>,
}

impl Record {
    /// A record without publisher and end.
    pub fn new<K: Into<Key>>(key: K, value: Vec<u8>) -> Self {
        Self { key: key.into(), value, publisher: None, expires: None }
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// Somebody provides the content with this key. Equal to any other record of the same provider for the same key.
#[derive(Clone, Debug)]
pub struct ProviderRecord {
    /// The content's key, a multihash.
    pub key: Key,
    /// Who.
    pub provider: PeerId,
    /// When the record stops being served here.
    pub expires: Option<Instant>,
    /// Where.
    pub addresses: Vec<Multiaddr>,
}

impl ProviderRecord {
    /// A record without end.
    pub fn new<K: Into<Key>>(key: K, provider: PeerId, addresses: Vec<Multiaddr>) -> Self {
        Self { key: key.into(), provider, expires: None, addresses }
    }

    /// Whether its time is over.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

impl PartialEq for ProviderRecord {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.provider) == (&other.key, &other.provider)
    }
}

impl Eq for ProviderRecord {}

impl Hash for ProviderRecord {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.key, &self.provider).hash(state);
    }
}
