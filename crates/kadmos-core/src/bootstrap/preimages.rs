//! Peer ids whose keys begin as wanted, to ask for when a bucket is refreshed.

use alloc::vec::Vec;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use crate::key::Key;
use crate::limits::REFRESH_PREFIX_MAX;
use crate::peer::PeerId;

/// A peer id for each of the 65,536 ways in which a key can begin, found once and shared by many nodes.
///
/// One node does not need it: it finds an id of its own for each bucket it refreshes, and asks for another one each time. A
/// simulation of ten thousand would spend a sixth of its time on that. Same means as go-libp2p-kbucket, which carries the
/// table in its code.
#[derive(Clone, Debug)]
pub struct Preimages {
    /// By the first 16 bits of the key: what to put into the first 4 bytes of an otherwise empty digest.
    counters: Vec<u32>,
}

/// Bits that tell the ids apart: one more than the longest prefix shared.
const BITS: u32 = REFRESH_PREFIX_MAX as u32 + 1;

impl Preimages {
    /// Finds them. Cost: about 800,000 hashes, and 256 KiB.
    pub fn find() -> Self {
        let mut counters = alloc::vec![None; 1 << BITS];
        let mut missing = counters.len();
        let mut block = Block::of(&PeerId::from_digest([0; 32]));
        // Ends: after 2^32 tries a place is empty with a chance of e^-65536.
        for counter in 0..=u32::MAX {
            block.set_counter(counter);
            let place = &mut counters[(block.key_prefix() >> (32 - BITS)) as usize];
            if place.is_none() {
                *place = Some(counter);
                missing -= 1;
                if missing == 0 {
                    break;
                }
            }
        }
        Self { counters: counters.into_iter().map(Option::unwrap_or_default).collect() }
    }

    /// A random one whose key shares exactly `prefix_len` bits with `own_key`; longer prefixes than
    /// [`REFRESH_PREFIX_MAX`] count as that.
    pub fn pick(&self, own_key: &Key, prefix_len: u16, rng: &mut ChaCha8Rng) -> PeerId {
        let shared = u32::from(prefix_len.min(REFRESH_PREFIX_MAX));
        let own = (own_key.prefix() >> (64 - BITS)) as u32; // its first 16 bits
        let free = (1 << (BITS - 1 - shared)) - 1; // the bits behind the first that differs
        let differs = 1 << (BITS - 1 - shared);
        let prefix = (own ^ differs) & !free | rng.next_u32() & free;
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&self.counters[prefix as usize].to_be_bytes());
        PeerId::from_digest(digest)
    }
}

/// A random peer id whose key shares exactly `prefix_len` bits with `own_key`.
///
/// Servers hash what they are asked for, so the id must be found by trying: 2^(prefix_len + 1) hashes on average,
/// 65,536 at [`REFRESH_PREFIX_MAX`]. After 16 times that many (once in 9 million calls) the last try is taken: a
/// lookup next to the bucket refreshes almost as well.
pub(super) fn id_in_bucket(own_key: &Key, prefix_len: u16, rng: &mut ChaCha8Rng) -> PeerId {
    let mut digest = [0; 32];
    rng.fill_bytes(&mut digest);
    let mut block = Block::of(&PeerId::from_digest(digest));
    let own_prefix = (own_key.prefix() >> 32) as u32; // REFRESH_PREFIX_MAX is below 32
    let wanted_zeros = u32::from(prefix_len.min(REFRESH_PREFIX_MAX));
    for counter in 0u32..16 << (wanted_zeros + 1) {
        digest[..4].copy_from_slice(&counter.to_be_bytes());
        block.set_counter(counter);
        if (block.key_prefix() ^ own_prefix).leading_zeros() == wanted_zeros {
            break;
        }
    }
    PeerId::from_digest(digest)
}

/// The one block of SHA-256 that a peer id of 34 bytes fills: 65,536 tries at a time need no more of a hash than its
/// core. Source: FIPS 180-4, 5.1.1 and 6.2.
struct Block([u8; 64]);

impl Block {
    /// The two bytes of the multihash's header come before the counter.
    const COUNTER: core::ops::Range<usize> = 2..6;
    /// Initial hash value of SHA-256. Source: FIPS 180-4, 5.3.3.
    const INITIAL: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    fn of(id: &PeerId) -> Self {
        let bytes = id.as_bytes(); // 34 of them
        let mut block = [0; 64];
        block[..bytes.len()].copy_from_slice(bytes);
        block[bytes.len()] = 0x80;
        block[56..].copy_from_slice(&(8 * bytes.len() as u64).to_be_bytes());
        Self(block)
    }

    fn set_counter(&mut self, counter: u32) {
        self.0[Self::COUNTER].copy_from_slice(&counter.to_be_bytes());
    }

    /// The first 32 bits of the id's key.
    fn key_prefix(&self) -> u32 {
        let mut state = Self::INITIAL;
        sha2::block_api::compress256(&mut state, core::slice::from_ref(&self.0));
        state[0]
    }
}

#[cfg(test)]
mod tests {
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn block_hashes_as_keys_do() {
        for counter in [0, 1, 0xdead_beef] {
            let mut digest = [7; 32];
            let mut block = Block::of(&PeerId::from_digest(digest));
            block.set_counter(counter);
            digest[..4].copy_from_slice(&counter.to_be_bytes());
            let key = Key::of(PeerId::from_digest(digest).as_bytes());
            assert_eq!(u64::from(block.key_prefix()), key.prefix() >> 32);
        }
    }

    #[test]
    fn shared_ids_fall_into_their_bucket() {
        let preimages = Preimages::find();
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for own in [b"a".as_slice(), b"b", b"c"] {
            let own_key = Key::of(own);
            for prefix_len in 0..=REFRESH_PREFIX_MAX {
                let mut ids = alloc::collections::BTreeSet::new();
                for _ in 0..20 {
                    let id = preimages.pick(&own_key, prefix_len, &mut rng);
                    assert_eq!(own_key.common_prefix_len(&Key::of(id.as_bytes())), prefix_len);
                    ids.insert(id);
                }
                assert!(prefix_len > 11 || ids.len() > 8, "{prefix_len}: {}", ids.len());
            }
        }
    }

    #[test]
    fn random_ids_fall_into_their_bucket() {
        let own_key = Key::of(b"own");
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for prefix_len in 0..=10 {
            let id = id_in_bucket(&own_key, prefix_len, &mut rng);
            assert_eq!(own_key.common_prefix_len(&Key::of(id.as_bytes())), prefix_len);
        }
    }
}
