//! Telling time by a wall clock that may be set.

use std::time::Duration;

use kadmos_core::time::{Now, UnixTime};

/// A wall clock that is off by more than this was set. Less does not matter to records that live a day or two: off by
/// half an hour one way when a record is written and the other way when it is read, it lives an hour more or less.
/// NTP slews seconds, and a crystal that is off by 50 ppm needs a year to drift this far.
pub(crate) const STEP_MIN: Duration = Duration::from_secs(1_800);

/// Keeps the store's own time: the wall clock as it was when first seen, not following when it is set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clock {
    /// Seconds by which the wall clock is ahead of the store's time: the sum of all steps noticed.
    ahead: i128,
    /// Both clocks, when they were last in agreement about `ahead`.
    anchor: Option<Now>,
    /// The latest store time at which both clocks were seen.
    tended: UnixTime,
}

/// One moment in both times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The moment in store time.
    pub(crate) now: UnixTime,
    ahead: i128,
}

impl Clock {
    /// A clock that goes on after a restart: `ahead` and the store time last seen, as [`Clock::kept`] gave them.
    pub(crate) fn restored(ahead: i64, tended: UnixTime) -> Self {
        Self { ahead: ahead.into(), anchor: None, tended }
    }

    /// What has to be kept over a restart.
    pub(crate) fn kept(&self) -> (i64, UnixTime) {
        let ahead = i64::try_from(self.ahead).unwrap_or(if self.ahead < 0 { i64::MIN } else { i64::MAX });
        (ahead, self.tended)
    }

    /// Takes a look at both clocks, as often as the driver can: a step is noticed here.
    pub(crate) fn tend(&mut self, now: Now) -> Moment {
        if self.anchor.is_none() && unix(seconds(now.unix) - self.ahead) + STEP_MIN < self.tended {
            // Set back while nobody ran. How long that was is unknown; no time is what harms least.
            self.ahead = seconds(now.unix) - seconds(self.tended);
        }
        let anchor = *self.anchor.get_or_insert(now);
        let elapsed = now.monotonic.since(anchor.monotonic).as_secs();
        let step = seconds(now.unix) - seconds(anchor.unix) - i128::from(elapsed);
        if step.unsigned_abs() > u128::from(STEP_MIN.as_secs()) {
            self.ahead += step;
            self.anchor = Some(now);
        }
        let moment = Moment { now: unix(seconds(now.unix) - self.ahead), ahead: self.ahead };
        self.tended = self.tended.max(moment.now);
        moment
    }

    /// What the wall clock `now` means. Time does not run backwards: a wall clock far behind the last one seen was
    /// set, and until that is told for sure, no time has passed since.
    pub(crate) fn moment(&self, now: UnixTime) -> Moment {
        let moment = Moment { now: unix(seconds(now) - self.ahead), ahead: self.ahead };
        if moment.now + STEP_MIN < self.tended {
            Moment { now: self.tended, ahead: seconds(now) - seconds(self.tended) }
        } else {
            moment
        }
    }
}

impl Moment {
    /// A moment whose dates are in store time already.
    pub(crate) fn of(now: UnixTime) -> Self {
        Self { now, ahead: 0 }
    }

    /// A wall-clock date in store time.
    pub(crate) fn local(&self, wall: UnixTime) -> UnixTime {
        unix(seconds(wall) - self.ahead)
    }

    /// A date in store time by the wall clock.
    pub(crate) fn wall(&self, local: UnixTime) -> UnixTime {
        unix(seconds(local) + self.ahead)
    }

    /// Whether a record of this date was written between a step of the clock and its discovery: nothing can have
    /// been received in the future.
    pub(crate) fn is_impossible(&self, received: UnixTime) -> bool {
        received > self.now + STEP_MIN
    }
}

fn seconds(time: UnixTime) -> i128 {
    i128::from(time.as_secs())
}

/// Clamps to what a date can be.
fn unix(seconds: i128) -> UnixTime {
    UnixTime::from_secs(u64::try_from(seconds.max(0)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use kadmos_core::time::Timestamp;

    use super::*;

    const DAY: u64 = 86_400;

    fn at(monotonic_secs: u64, unix_secs: u64) -> Now {
        Now {
            monotonic: Timestamp::from_millis(monotonic_secs * 1_000),
            unix: UnixTime::from_secs(unix_secs),
        }
    }

    #[test]
    fn clock_that_is_not_set_passes_time_through() {
        let mut clock = Clock::default();
        for elapsed in [0, 1, 60, 30 * DAY] {
            let unix = UnixTime::from_secs(1_000_000 + elapsed);
            assert_eq!(clock.moment(unix).now, unix);
            let moment = clock.tend(at(elapsed, unix.as_secs()));
            assert_eq!((moment.now, moment.wall(moment.now)), (unix, unix));
        }
    }

    #[test]
    fn steps_in_both_directions_do_not_move_store_time() {
        let mut clock = Clock::default();
        let start = 50 * DAY;
        clock.tend(at(0, start));
        for (elapsed, wall) in
            [(60, start + 9 * DAY), (120, start - 9 * DAY), (180, 0), (240, 400 * 365 * DAY)]
        {
            let moment = clock.tend(at(elapsed, wall));
            assert_eq!(moment.now, UnixTime::from_secs(start + elapsed));
            assert_eq!(moment.wall(moment.now), UnixTime::from_secs(wall));
            assert_eq!(moment.local(UnixTime::from_secs(wall)), moment.now);
        }
    }

    #[test]
    fn step_backwards_is_clamped_before_it_is_noticed() {
        let mut clock = Clock::default();
        clock.tend(at(0, 50 * DAY));
        let moment = clock.moment(UnixTime::from_secs(40 * DAY));
        assert_eq!(moment.now, UnixTime::from_secs(50 * DAY));
        assert_eq!(moment.local(UnixTime::from_secs(42 * DAY)), UnixTime::from_secs(52 * DAY));
        // Small disorder among threads that read the clock one after the other is left alone.
        assert_eq!(clock.moment(UnixTime::from_secs(50 * DAY - 5)).now, UnixTime::from_secs(50 * DAY - 5));
    }

    #[test]
    fn extreme_dates_do_not_overflow() {
        let mut clock = Clock::default();
        clock.tend(at(0, u64::MAX));
        clock.tend(at(1, 0));
        clock.tend(at(2, u64::MAX));
        clock.tend(at(3, 0));
        let moment = clock.moment(UnixTime::from_secs(u64::MAX));
        assert!(!moment.is_impossible(moment.now));
        let _ = (moment.local(UnixTime::from_secs(0)), moment.wall(UnixTime::from_secs(u64::MAX)));
    }
}
