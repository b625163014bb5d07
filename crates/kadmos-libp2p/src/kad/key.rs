//! Keys of the keyspace and their distances, under libp2p-kad's names.

use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

use libp2p_core::multihash::Multihash;
use libp2p_identity::PeerId;

use super::record;
use super::u256::U256;

/// A point in the keyspace together with what was hashed into it.
#[derive(Clone, Copy, Debug)]
pub struct Key<T> {
    preimage: T,
    bytes: KeyBytes,
}

/// A point in the keyspace: a SHA-256 digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyBytes([u8; 32]);

/// The XOR of two keys as an integer; smaller is closer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Distance(pub U256);

impl<T> Key<T> {
    /// The key of some bytes.
    pub fn new(preimage: T) -> Self
    where
        T: Borrow<[u8]>,
    {
        let bytes = KeyBytes::new(preimage.borrow());
        Self { preimage, bytes }
    }

    /// What was hashed.
    pub fn preimage(&self) -> &T {
        &self.preimage
    }

    /// What was hashed.
    pub fn into_preimage(self) -> T {
        self.preimage
    }

    /// How far another key is.
    pub fn distance<U: AsRef<KeyBytes>>(&self, other: &U) -> Distance {
        self.bytes.distance(other)
    }

    /// The digest.
    pub fn hashed_bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    /// The key at this distance.
    pub fn for_distance(&self, d: Distance) -> KeyBytes {
        self.bytes.for_distance(d)
    }
}

impl KeyBytes {
    /// The key of some bytes.
    pub fn new<T: Borrow<[u8]>>(value: T) -> Self {
        Self(*kadmos_core::Key::of(value.borrow()).as_bytes())
    }

    /// How far another key is.
    pub fn distance<U: AsRef<Self>>(&self, other: &U) -> Distance {
        Distance(self.number() ^ other.as_ref().number())
    }

    /// The key at this distance.
    pub fn for_distance(&self, d: Distance) -> Self {
        Self((self.number() ^ d.0).to_big_endian())
    }

    fn number(&self) -> U256 {
        U256::from_big_endian(&self.0)
    }
}

impl Distance {
    /// The index of the highest bit that is set; `None` for distance 0. 255 minus the length of the common prefix.
    pub fn ilog2(&self) -> Option<u32> {
        (256 - self.0.leading_zeros()).checked_sub(1)
    }
}

impl From<PeerId> for Key<PeerId> {
    fn from(peer: PeerId) -> Self {
        let bytes = KeyBytes::new(peer.to_bytes());
        Self { preimage: peer, bytes }
    }
}

impl<const S: usize> From<Multihash<S>> for Key<Multihash<S>> {
    fn from(hash: Multihash<S>) -> Self {
        let bytes = KeyBytes::new(hash.to_bytes());
        Self { preimage: hash, bytes }
    }
}

impl From<Vec<u8>> for Key<Vec<u8>> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl From<record::Key> for Key<record::Key> {
    fn from(key: record::Key) -> Self {
        Self::new(key)
    }
}

impl<T> From<Key<T>> for KeyBytes {
    fn from(key: Key<T>) -> Self {
        key.bytes
    }
}

impl<T> AsRef<KeyBytes> for Key<T> {
    fn as_ref(&self) -> &KeyBytes {
        &self.bytes
    }
}

impl AsRef<Self> for KeyBytes {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<T, U> PartialEq<Key<U>> for Key<T> {
    fn eq(&self, other: &Key<U>) -> bool {
        self.bytes == other.bytes
    }
}

impl<T> Eq for Key<T> {}

impl<T> Hash for Key<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bytes.0.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_cores() {
        for _ in 0..100 {
            let (a, b) = (PeerId::random(), PeerId::random());
            let distance = Key::from(a).distance(&Key::from(b));
            let (core_a, core_b) = (kadmos_core::Key::of(&a.to_bytes()), kadmos_core::Key::of(&b.to_bytes()));
            let prefix = u32::from(core_a.common_prefix_len(&core_b));
            assert_eq!(distance.ilog2(), Some(255 - prefix));
            assert_eq!(Key::from(a).for_distance(distance), KeyBytes::from(Key::from(b)));
        }
        assert_eq!(Distance::default().ilog2(), None);
    }

    #[test]
    fn keys_of_all_kinds_are_those_of_their_bytes() {
        let peer = PeerId::random();
        let bytes = peer.to_bytes();
        let key = Key::from(peer);
        assert_eq!((key.preimage(), key.hashed_bytes()), (&peer, &KeyBytes::new(&*bytes).0[..]));
        assert!(key == Key::from(bytes.clone()) && key == Key::from(record::Key::new(&bytes)));
        let hash = Multihash::<64>::from_bytes(&bytes).expect("a peer id is a multihash");
        assert!(key == Key::from(hash) && key.distance(&Key::from(hash)) == Distance::default());
        let kinds: std::collections::HashSet<_> = [Key::from(bytes.clone()), Key::from(bytes.clone())].into();
        assert_eq!((kinds.len(), key.into_preimage()), (1, peer));
    }
}
