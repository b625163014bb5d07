//! The 256-bit keyspace.

use core::fmt;

use sha2::{Digest, Sha256};

/// A point in the 256-bit keyspace: SHA-256 of a peer id, a multihash or a record key. Never the unhashed bytes.
///
/// Source: ipfs/specs kad-dht, "Distance"; what is hashed is in [`Key::of`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// Number of bits in a key.
    pub const BITS: u16 = 256;

    /// Hashes `bytes` into the keyspace: raw peer id bytes for a peer, the raw **multihash** (not the CID) for
    /// content, the full binary key (`/ipns/…`, `/pk/…`) for a value.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// A point that is already a hash.
    pub const fn from_hashed(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The 32 bytes, most significant first.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The XOR distance to `other`; symmetric, zero only for equal keys.
    #[inline]
    pub fn distance(&self, other: &Self) -> Distance {
        let mut words = [0; 4];
        for (word, (a, b)) in words.iter_mut().zip(self.0.chunks_exact(8).zip(other.0.chunks_exact(8))) {
            *word = be_word(a) ^ be_word(b);
        }
        Distance(words)
    }

    /// How many leading bits `self` and `other` share: `0..=256`.
    #[inline]
    pub fn common_prefix_len(&self, other: &Self) -> u16 {
        self.distance(other).leading_zeros()
    }

    /// The first 64 bits, for compact sorted arrays.
    #[inline]
    pub fn prefix(&self) -> u64 {
        be_word(&self.0[..8])
    }

    /// Bit `index`, counted from the most significant; `false` past the end.
    #[inline]
    pub fn bit(&self, index: u16) -> bool {
        self.0.get(usize::from(index / 8)).is_some_and(|byte| byte >> (7 - index % 8) & 1 == 1)
    }
}

#[inline]
fn be_word(bytes: &[u8]) -> u64 {
    // Callers pass eight bytes, or more of which the first eight count.
    bytes.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// XOR of two [`Key`]s, compared as a big-endian integer; smaller is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Distance([u64; 4]);

impl Distance {
    /// The distance of a key to itself.
    pub const ZERO: Self = Self([0; 4]);
    /// Larger than or equal to every distance.
    pub const MAX: Self = Self([u64::MAX; 4]);

    /// Leading zero bits: the common prefix length of the two keys, `0..=256`.
    #[inline]
    pub fn leading_zeros(&self) -> u16 {
        let mut zeros = 0;
        for word in self.0 {
            zeros += word.leading_zeros() as u16; // at most 64, so the cast is exact
            if word != 0 {
                break;
            }
        }
        zeros
    }

    /// The four 64-bit words, most significant first.
    pub const fn words(&self) -> [u64; 4] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zero_distance_shares_every_bit() {
        let key = Key::of(b"a");
        assert_eq!(key.distance(&key), Distance::ZERO);
        assert_eq!(key.common_prefix_len(&key), Key::BITS);
        assert_eq!(key.to_string().len(), 64);
    }

    proptest! {
        #[test]
        fn distance_is_a_metric(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let (a, b, c) = (Key::from_hashed(a), Key::from_hashed(b), Key::from_hashed(c));
            prop_assert_eq!(a.distance(&b), b.distance(&a));
            prop_assert_eq!(a.distance(&b) == Distance::ZERO, a == b);
            let (ab, bc, ac) = (a.distance(&b).words(), b.distance(&c).words(), a.distance(&c).words());
            for i in 0..4 {
                prop_assert_eq!(ab[i] ^ bc[i], ac[i]);
            }
            let shared = a.common_prefix_len(&b);
            for i in 0..shared {
                prop_assert_eq!(a.bit(i), b.bit(i));
            }
            if shared < Key::BITS {
                prop_assert_ne!(a.bit(shared), b.bit(shared));
            }
        }
    }
}
