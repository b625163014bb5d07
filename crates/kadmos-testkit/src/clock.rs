//! A clock that tests turn.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kadmos::Clock;
use kadmos::core::{Now, Timestamp, UnixTime};

/// Runs like the machine's clock, from wherever the test has turned it to.
///
/// [`FakeClock::advance`] is time that passes; [`FakeClock::set_unix`] is a wall clock that is set, which must not
/// touch any deadline. A node that sleeps notices at its next input: ask it for something.
#[derive(Debug)]
pub struct FakeClock {
    started: Instant,
    /// Nanoseconds that [`FakeClock::advance`] has added.
    advanced: AtomicU64,
    /// Seconds of the wall clock at `started`, moved by [`FakeClock::set_unix`]; negative after it was set back.
    unix: AtomicI64,
}

impl FakeClock {
    /// A clock whose wall clock shows `unix` now.
    pub fn new(unix: UnixTime) -> Self {
        Self {
            started: Instant::now(),
            advanced: AtomicU64::new(0),
            unix: AtomicI64::new(signed(unix.as_secs())),
        }
    }

    /// Lets `by` pass on both clocks.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.advanced.fetch_add(nanos, Ordering::SeqCst);
    }

    /// Sets the wall clock.
    pub fn set_unix(&self, unix: UnixTime) {
        let base = signed(unix.as_secs()) - signed(self.passed().as_secs());
        self.unix.store(base, Ordering::SeqCst);
    }

    fn passed(&self) -> Duration {
        self.started.elapsed() + Duration::from_nanos(self.advanced.load(Ordering::SeqCst))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Now {
        let passed = self.passed();
        let unix = self.unix.load(Ordering::SeqCst).saturating_add_unsigned(passed.as_secs());
        Now { monotonic: Timestamp::ZERO + passed, unix: UnixTime::from_secs(unix.max(0).unsigned_abs()) }
    }
}

fn signed(secs: u64) -> i64 {
    i64::try_from(secs).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_advance_and_only_one_is_set() {
        let clock = FakeClock::new(UnixTime::from_secs(1_000));
        let before = clock.now();
        clock.advance(Duration::from_secs(100));
        let after = clock.now();
        assert!(after.monotonic.since(before.monotonic) >= Duration::from_secs(100));
        assert!(after.unix.since(before.unix) >= Duration::from_secs(100));
        clock.set_unix(UnixTime::from_secs(50));
        let set = clock.now();
        assert!((50..60).contains(&set.unix.as_secs()));
        assert!(set.monotonic >= after.monotonic);
    }
}
