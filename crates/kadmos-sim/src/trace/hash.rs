//! The hash of a trace: four lanes of multiplication, for a tenth of SHA-256's time. Runs are not adversaries.

/// 2^64 over the golden ratio, odd: multiplying by it spreads every bit upwards.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
/// The fractional part of the square root of 2: keeps a lane from staying zero.
const OFFSET: u64 = 0x6a09_e667_f3bc_c908;

/// A running hash of 256 bits.
///
/// A step multiplies to 128 bits and folds them, so that every bit of a word moves about half of those of its lane: that a
/// later difference cancels an earlier one is as likely as that two random numbers of 64 bits are the same.
#[derive(Clone, Debug)]
pub(super) struct Lanes {
    lanes: [u64; 4],
    bytes: u64,
}

impl Default for Lanes {
    fn default() -> Self {
        Self { lanes: [1, 2, 3, 4].map(|lane: u64| lane.wrapping_mul(FACTOR)), bytes: 0 }
    }
}

impl Lanes {
    /// Adds `bytes`; what is left of a word is filled with zeros, so the pieces matter as well as the whole.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for (index, word) in words.iter().enumerate() {
            self.step(index % 4, u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.step(words.len() % 4, u64::from_le_bytes(last));
    }

    fn step(&mut self, lane: usize, word: u64) {
        let lane = &mut self.lanes[lane];
        let product = u128::from(*lane ^ word) * u128::from(FACTOR);
        *lane = (product as u64 ^ (product >> 64) as u64).wrapping_add(OFFSET); // its two halves
    }

    /// The hash of all that was added.
    pub(super) fn finish(mut self) -> [u8; 32] {
        // Twice around, each lane takes in the one before.
        let bytes = self.bytes;
        self.step(0, bytes);
        for index in 0..8 {
            let before = self.lanes[index % 4];
            self.step((index + 1) % 4, before);
        }
        let mut hash = [0; 32];
        for (piece, lane) in hash.as_chunks_mut::<8>().0.iter_mut().zip(self.lanes) {
            *piece = lane.to_be_bytes();
        }
        hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn of(pieces: &[&[u8]]) -> [u8; 32] {
        let mut lanes = Lanes::default();
        pieces.iter().for_each(|piece| lanes.update(piece));
        lanes.finish()
    }

    #[test]
    fn every_bit_and_every_length_counts() {
        let mut seen = BTreeSet::new();
        let bytes = [0; 100];
        for len in 0..=100 {
            assert!(seen.insert(of(&[&bytes[..len]])), "{len}");
        }
        for bit in 0..800 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(seen.insert(of(&[&bytes])), "bit {bit}");
            // All of the hash changes, not a part.
            let (changed, plain) = (of(&[&bytes]), of(&[&[0; 100]]));
            let differing: u32 = changed.iter().zip(plain).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!((64..192).contains(&differing), "bit {bit}: {differing}");
        }
    }

    #[test]
    fn order_counts() {
        assert_ne!(of(&[b"one event", b"another"]), of(&[b"another", b"one event"]));
        assert_eq!(of(&[b"one event", b"another"]), of(&[b"one event", b"another"]));
    }
}
