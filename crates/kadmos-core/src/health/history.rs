//! What happened of late, in little room.

use alloc::vec::Vec;
use core::time::Duration;

use super::rules::Tally;
use crate::key::Key;
use crate::time::Timestamp;

/// Recent results of lookups, requests and publications. All of it is bounded.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    lookups: Recent,
    requests: Recent,
    records: Vec<Published>,
    table_peak: Peak,
}

/// The last 64 results, newest in the lowest bit.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    bits: u64,
    count: u32,
    at: Timestamp,
}

/// How a record's latest publication went.
#[derive(Clone, Copy, Debug)]
struct Published {
    key: Key,
    placed: u32,
    wanted: u32,
    at: Timestamp,
}

/// The largest table of this span and the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    began: Timestamp,
    now: usize,
    before: usize,
}

/// Records of which the latest publication is remembered; beyond, the oldest is forgotten. A sample: who publishes
/// more has hundreds of results a minute, and they fail together.
const RECORDS_MAX: usize = 64;

/// How long a publication is remembered: records are published anew within 22 hours.
const RECORDS_AGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// A table that was twice as large half a day ago may have been too large then: the network shrinks at night.
const PEAK_SPAN: Duration = Duration::from_secs(6 * 3_600);

impl Recent {
    const LENGTH: u32 = u64::BITS;

    fn push(&mut self, good: bool, now: Timestamp) {
        self.bits = self.bits << 1 | u64::from(good);
        self.count = (self.count + 1).min(Self::LENGTH);
        self.at = now;
    }

    fn tally(&self, now: Timestamp, age_max: Duration) -> Tally {
        if now.since(self.at) > age_max {
            return Tally::default();
        }
        Tally { count: self.bits.count_ones(), of: self.count }
    }

    /// Of the newest `length` only.
    fn newest(&self, length: u32, now: Timestamp, age_max: Duration) -> Tally {
        let of = self.count.min(length);
        let mask = u64::MAX.checked_shr(Self::LENGTH - of).unwrap_or(0);
        match self.tally(now, age_max) {
            Tally { of: 0, .. } => Tally::default(),
            _ => Tally { count: (self.bits & mask).count_ones(), of },
        }
    }
}

impl History {
    /// Requests that are remembered.
    pub(crate) const REQUESTS: u32 = Recent::LENGTH;

    pub(crate) fn lookup_ended(&mut self, good: bool, now: Timestamp) {
        self.lookups.push(good, now);
    }

    pub(crate) fn request_ended(&mut self, answered: bool, now: Timestamp) {
        self.requests.push(answered, now);
    }

    /// Forgets how lookups and requests went so far.
    pub(crate) fn forget_results(&mut self) {
        (self.lookups, self.requests) = (Recent::default(), Recent::default());
    }

    pub(crate) fn published(&mut self, key: Key, placed: usize, wanted: usize, now: Timestamp) {
        self.records.retain(|record| record.key != key);
        if self.records.len() >= RECORDS_MAX {
            self.records.remove(0);
        }
        let Tally { count: placed, of: wanted } = Tally::new(placed, wanted);
        self.records.push(Published { key, placed, wanted, at: now });
    }

    /// Notes how large the table is.
    pub(crate) fn table_size(&mut self, peers: usize, now: Timestamp) {
        let peak = &mut self.table_peak;
        if now.since(peak.began) > PEAK_SPAN {
            *peak = Peak { began: now, now: 0, before: peak.now };
        }
        peak.now = peak.now.max(peers);
    }

    /// The largest table of the last six to twelve hours.
    pub(crate) fn table_peak(&self) -> usize {
        self.table_peak.now.max(self.table_peak.before)
    }

    /// The last 16 lookups, unless none has ended for `age_max`.
    pub(crate) fn lookups(&self, now: Timestamp, age_max: Duration) -> Tally {
        self.lookups.newest(16, now, age_max)
    }

    /// The last 64 requests, unless none has ended for `age_max`.
    pub(crate) fn requests(&self, now: Timestamp, age_max: Duration) -> Tally {
        self.requests.tally(now, age_max)
    }

    /// Copies placed and wanted of the records published within a day.
    pub(crate) fn records(&self, now: Timestamp) -> Tally {
        let mut all = Tally::default();
        for record in self.records.iter().filter(|record| now.since(record.at) <= RECORDS_AGE_MAX) {
            all.count = all.count.saturating_add(record.placed);
            all.of = all.of.saturating_add(record.wanted);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    fn at(hours: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn only_the_newest_results_count() {
        let mut history = History::default();
        assert_eq!(history.lookups(at(0), HOUR), Tally::default());
        for n in 0..100 {
            history.lookup_ended(n < 90, at(1));
            history.request_ended(n < 90, at(1));
        }
        assert_eq!(history.lookups(at(1), HOUR), Tally { count: 6, of: 16 });
        assert_eq!(history.requests(at(1), HOUR), Tally { count: 54, of: 64 });
        assert_eq!(history.requests(at(3), HOUR), Tally::default(), "too old to mean anything");
        assert_eq!(history.lookups(at(3), HOUR), Tally::default());
        history.forget_results();
        assert_eq!(history.requests(at(1), HOUR), Tally::default());
    }

    #[test]
    fn a_record_counts_once_and_for_a_day() {
        let mut history = History::default();
        let key = |n: usize| Key::of(&n.to_be_bytes());
        history.published(key(1), 0, 20, at(0));
        history.published(key(2), 10, 20, at(2));
        assert_eq!(history.records(at(2)), Tally { count: 10, of: 40 });
        history.published(key(1), 20, 20, at(2));
        assert_eq!(history.records(at(2)), Tally { count: 30, of: 40 }, "published again");
        assert_eq!(history.records(at(27)), Tally::default());
        for n in 0..10 * RECORDS_MAX {
            history.published(key(n), 1, 1, at(28));
        }
        assert_eq!(history.records.len(), RECORDS_MAX);
    }

    #[test]
    fn the_peak_is_forgotten_in_time() {
        let mut history = History::default();
        history.table_size(200, at(0));
        history.table_size(50, at(5));
        assert_eq!(history.table_peak(), 200);
        history.table_size(50, at(7));
        assert_eq!(history.table_peak(), 200, "of the span before");
        history.table_size(50, at(14));
        assert_eq!(history.table_peak(), 50);
    }
}
