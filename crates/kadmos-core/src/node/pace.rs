//! A rate with a burst, as one time: the generic cell rate algorithm.

use core::time::Duration;

use crate::time::Timestamp;

/// When the next of a kind may happen. Source: ITU-T I.371, annex A.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// When all that has happened would have, evenly spread.
    spread_until: Timestamp,
}

impl Pace {
    /// When the next may happen, at `per_minute` and at most `burst` at once.
    pub(super) fn next(&self, per_minute: u32, burst: u32) -> Timestamp {
        let ahead = (Self::interval(per_minute) * burst.saturating_sub(1)).as_nanos() as u64; // minutes
        Timestamp::from_nanos(self.spread_until.as_nanos().saturating_sub(ahead))
    }

    /// Whether one may happen now; then it counts.
    pub(super) fn take(&mut self, now: Timestamp, per_minute: u32, burst: u32) -> bool {
        let may = self.next(per_minute, burst) <= now;
        if may {
            self.spread_until = self.spread_until.max(now) + Self::interval(per_minute);
        }
        may
    }

    /// The configuration demands a rate above 0.
    fn interval(per_minute: u32) -> Duration {
        Duration::from_secs(60) / per_minute.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let mut pace = Pace::default();
        let start = Timestamp::from_millis(100_000);
        let taken = (0..10).filter(|_| pace.take(start, 60, 3)).count();
        assert_eq!(taken, 3);
        assert_eq!(pace.next(60, 3), start + Duration::from_secs(1));
        let mut taken = 0;
        for second in 1..=60 {
            taken += usize::from(pace.take(start + Duration::from_secs(second), 60, 3));
        }
        assert_eq!(taken, 60);
        assert!(
            (0..3).all(|_| pace.take(start + Duration::from_secs(600), 60, 3)),
            "idle time gives one burst back"
        );
        assert!(!pace.take(start + Duration::from_secs(600), 60, 3));
    }
}
