//! Random numbers that every run with the same seed draws alike.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The seed of one part of the world seeded with `seed`. Parts do not disturb each other: a world with one more node
/// draws the same numbers for the others.
pub(crate) fn child_seed(seed: u64, part: &str, index: u64) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(seed.to_be_bytes());
    hash.update(index.to_be_bytes());
    hash.update(part);
    hash.finalize().into()
}

/// A generator with [`child_seed`].
pub(crate) fn child(seed: u64, part: &str, index: u64) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(child_seed(seed, part, index))
}

/// A number below `bound`, 0 for a bound of 0. The bias is below `bound` / 2^64.
pub(crate) fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    let product = u128::from(rng.next_u64()) * u128::from(bound);
    (product >> 64) as u64 // less than `bound`
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_differ_and_repeat() {
        assert_eq!(child_seed(1, "a", 2), child_seed(1, "a", 2));
        let seeds =
            [child_seed(1, "a", 2), child_seed(2, "a", 2), child_seed(1, "b", 2), child_seed(1, "a", 3)];
        assert!(seeds.iter().enumerate().all(|(i, seed)| !seeds[i + 1..].contains(seed)));
    }

    #[test]
    fn below_covers_its_range() {
        let mut rng = child(1, "test", 0);
        let mut counts = [0; 7];
        for _ in 0..7_000 {
            counts[below(&mut rng, 7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
        assert_eq!(below(&mut rng, 0), 0);
    }
}
