//! Who failed of late. Whoever left the table or never got in for not answering is not probed again for a while, unless it
//! shows by itself that it is there: somebody who names dead peers again and again costs one probe each.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::limits::MEMORY_FAILED_MAX;
use crate::peer::PeerId;
use crate::time::{Now, Timestamp, UnixTime};

/// For how long. A node that restarts is back within minutes, and connects to those it knows; servers that are gone stay
/// away for hours, mostly.
const FAILED_FOR: Duration = Duration::from_secs(1_800);

/// Peers by when they may be probed again.
#[derive(Clone, Debug, Default)]
pub(super) struct Failures {
    until: BTreeMap<PeerId, Timestamp>,
}

impl Failures {
    /// Notes that a peer failed. Of too many, those that failed first are forgotten.
    pub(super) fn note(&mut self, id: PeerId, now: Timestamp) {
        self.insert(id, now + FAILED_FOR, now);
    }

    fn insert(&mut self, id: PeerId, until: Timestamp, now: Timestamp) {
        if self.until.len() >= MEMORY_FAILED_MAX && !self.until.contains_key(&id) {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= MEMORY_FAILED_MAX
                && let Some(first) = self.until.iter().min_by_key(|(_, until)| **until).map(|(id, _)| *id)
            {
                self.until.remove(&first);
            }
        }
        self.until.insert(id, until);
    }

    /// It is there.
    pub(super) fn forget(&mut self, id: &PeerId) {
        self.until.remove(id);
    }

    /// What failed may have been us.
    pub(super) fn clear(&mut self) {
        self.until.clear();
    }

    pub(super) fn has(&self, id: &PeerId, now: Timestamp) -> bool {
        self.until.get(id).is_some_and(|until| *until > now)
    }

    /// For keeping over a restart.
    pub(super) fn to_remember(&self, now: Now) -> Vec<(PeerId, UnixTime)> {
        let left = self.until.iter().filter(|(_, until)| **until > now.monotonic);
        let dated = left.map(|(id, until)| {
            let left = until.since(now.monotonic).as_secs();
            (*id, UnixTime::from_secs(now.unix.as_secs().saturating_add(left)))
        });
        dated.collect()
    }

    /// Takes back what an earlier run knew. A clock that was set wrong makes nobody wait longer than after a failure.
    pub(super) fn remember(&mut self, failed: &[(PeerId, UnixTime)], now: Now) {
        for (id, until) in failed {
            let left = Duration::from_secs(until.as_secs().saturating_sub(now.unix.as_secs()));
            if !left.is_zero() {
                self.insert(*id, now.monotonic + left.min(FAILED_FOR), now.monotonic);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u16) -> PeerId {
        let mut digest = [0; 32];
        digest[..2].copy_from_slice(&n.to_be_bytes());
        PeerId::from_digest(digest)
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn failures_pass_and_are_bounded() {
        let mut failures = Failures::default();
        failures.note(id(0), at(0));
        assert!(failures.has(&id(0), at(1_799)) && !failures.has(&id(0), at(1_800)));
        failures.forget(&id(0));
        assert!(!failures.has(&id(0), at(1)));
        for n in 0..MEMORY_FAILED_MAX as u16 + 10 {
            failures.note(id(n), at(u64::from(n)));
        }
        assert_eq!(failures.until.len(), MEMORY_FAILED_MAX);
        assert!(!failures.has(&id(9), at(300)) && failures.has(&id(10), at(300)), "the first are forgotten");
        failures.note(id(9_999), at(10_000));
        assert_eq!(failures.until.len(), 1, "those that are over make room");
    }

    /// Goal: a restart keeps who failed for the time that is left, and a clock that was set wrong harms nothing.
    #[test]
    fn failures_outlive_a_restart_by_what_is_left() {
        let unix = UnixTime::from_secs(1_800_000_000);
        let mut failures = Failures::default();
        failures.note(id(1), at(0));
        failures.note(id(2), at(600));
        let kept = failures.to_remember(Now { monotonic: at(1_000), unix });
        assert_eq!(kept.len(), 2);
        let later =
            |by: i64| Now { monotonic: at(5), unix: UnixTime::from_secs((1_800_000_000 + by) as u64) };
        let after = |by| {
            let mut again = Failures::default();
            again.remember(&kept, later(by));
            let left = |n| again.until.get(&id(n)).map(|until| until.since(at(5)).as_secs());
            [left(1), left(2)]
        };
        assert_eq!(after(100), [Some(700), Some(1_300)]);
        assert_eq!(after(1_000), [None, Some(400)]);
        assert_eq!(after(-200_000), [Some(1_800), Some(1_800)], "never longer than after a failure");
        assert_eq!(after(200_000), [None, None]);
    }
}
