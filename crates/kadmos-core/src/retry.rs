//! When and how often to try again.

use core::time::Duration;

use rand_core::Rng;

/// A bounded, growing, jittered series of delays.
///
/// Only failures of the network are retried; whoever breaks the protocol or refuses is not asked again. A policy is
/// plain data: give the same generator and the same attempt numbers, get the same delays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries in all, the first one included. 1 means never again. Default 2: most lost requests are lost once.
    pub attempts: u32,
    /// Delay before the second try. Default 500 ms, as the original's `retryInitialBackoff`.
    pub first: Duration,
    /// Each delay is the one before, times this many hundredths. Default 200: doubling.
    pub factor_percent: u32,
    /// No delay is longer. Default 30 s.
    pub cap: Duration,
    /// Each delay is moved by up to this many hundredths of itself, either way, so that many nodes do not retry in
    /// step. Default 20, at most 100.
    pub jitter_percent: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 2,
            first: Duration::from_millis(500),
            factor_percent: 200,
            cap: Duration::from_secs(30),
            jitter_percent: 20,
        }
    }
}

impl RetryPolicy {
    /// One try.
    pub const NEVER: Self = Self {
        attempts: 1,
        first: Duration::ZERO,
        factor_percent: 100,
        cap: Duration::ZERO,
        jitter_percent: 0,
    };

    /// The delay after `failed` failed tries, or `None` when there shall be no further one.
    ///
    /// Draws one number from `rng` per delay with jitter.
    pub fn delay(&self, failed: u32, rng: &mut impl Rng) -> Option<Duration> {
        if failed == 0 || failed >= self.attempts {
            return None;
        }
        let mut nanos = self.first.as_nanos();
        let cap = self.cap.as_nanos();
        for _ in 1..failed {
            nanos = nanos.saturating_mul(u128::from(self.factor_percent)) / 100;
            if nanos >= cap {
                break; // growing further changes nothing, and attempts may be large
            }
        }
        let nanos = u64::try_from(nanos.min(cap)).unwrap_or(u64::MAX);
        let spread =
            u64::try_from(u128::from(nanos) * u128::from(self.jitter_percent.min(100)) / 100).unwrap_or(0);
        if spread == 0 {
            return Some(Duration::from_nanos(nanos));
        }
        // A modulo bias of 2^-30 or less does not matter to a delay.
        let offset = rng.next_u64() % spread.saturating_mul(2).saturating_add(1);
        Some(Duration::from_nanos(nanos - spread).saturating_add(Duration::from_nanos(offset)))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::SeedableRng;

    use super::*;

    #[test]
    fn delays_are_exact_without_jitter() {
        let policy = RetryPolicy {
            attempts: 6,
            jitter_percent: 0,
            cap: Duration::from_secs(3),
            ..RetryPolicy::default()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let delays: alloc::vec::Vec<_> =
            (0..8).map(|failed| policy.delay(failed, &mut rng).map(|delay| delay.as_millis())).collect();
        assert_eq!(delays, [None, Some(500), Some(1_000), Some(2_000), Some(3_000), Some(3_000), None, None]);
    }

    #[test]
    fn jitter_is_bounded_and_exact_under_a_seed() {
        let policy = RetryPolicy { attempts: 100, ..RetryPolicy::default() };
        let draw = |seed| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            (0..50).map(|_| policy.delay(1, &mut rng)).collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        for delay in draw(7).into_iter().flatten() {
            assert!((400..=600).contains(&delay.as_millis()), "{delay:?}");
        }
    }

    #[test]
    fn never_means_one_try() {
        assert_eq!(RetryPolicy::NEVER.delay(1, &mut ChaCha8Rng::seed_from_u64(0)), None);
    }
}
