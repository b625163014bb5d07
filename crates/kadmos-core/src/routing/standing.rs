//! What is known of one table peer, in 12 bytes: large simulations have tens of millions of them.

use core::cmp::Ordering;
use core::time::Duration;

use crate::limits::PROVEN_AFTER;
use crate::time::Timestamp;

/// How a table peer has done so far. Times are of the driver's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// When it last answered anything, in seconds.
    answered: u32,
    /// When it entered, in [`LONG`]s.
    admitted: u16,
    /// When it last helped an operation, in [`LONG`]s and one more; 0 for never.
    useful: u16,
    /// Moving average of its round trips, in milliseconds; 0 for unknown.
    rtt_ms: u16,
    /// Requests in a row that failed.
    failures: u8,
    flags: u8,
}

/// Ten minutes: for times that are compared by the hour. A node that runs for 455 days sees nobody as younger.
const LONG: u64 = 600;

/// It has answered this node since it was started.
const VERIFIED: u8 = 1;
/// It has answered again later, or helped an operation.
const PROVEN: u8 = 2;
/// It is to be asked again, however lately it answered.
const SUSPECT: u8 = 4;

fn secs(at: Timestamp) -> u32 {
    u32::try_from(at.as_nanos() / 1_000_000_000).unwrap_or(u32::MAX) // 136 years
}

fn longs(at: Timestamp) -> u16 {
    u16::try_from(at.as_nanos() / (LONG * 1_000_000_000)).unwrap_or(u16::MAX)
}

fn timestamp(secs: u64) -> Timestamp {
    Timestamp::from_millis(secs * 1_000)
}

impl Standing {
    /// Of a peer that has just answered for the first time, after `rtt` if that is known.
    pub fn verified(now: Timestamp, rtt: Option<Duration>) -> Self {
        let mut standing = Self::remembered(now, rtt);
        standing.flags = VERIFIED;
        standing
    }

    /// Of a peer that is only remembered: it has not answered since this node was started.
    pub fn remembered(now: Timestamp, rtt: Option<Duration>) -> Self {
        let rtt_ms = rtt.map_or(0, millis);
        Self { answered: secs(now), admitted: longs(now), useful: 0, rtt_ms, failures: 0, flags: 0 }
    }

    /// Notes an answer, and how long it took if that is known; returns whether it is the first.
    pub(super) fn answer(&mut self, now: Timestamp, rtt: Option<Duration>) -> bool {
        let first = !self.is_verified();
        let silent_for = now.since(self.last_answer());
        self.answered = secs(now);
        self.failures = 0;
        if self.is_verified() && silent_for >= PROVEN_AFTER {
            self.flags |= PROVEN;
        }
        self.flags = (self.flags | VERIFIED) & !SUSPECT;
        if let Some(rtt) = rtt {
            let (sample, known) = (u32::from(millis(rtt)), u32::from(self.rtt_ms));
            // An eighth of the new, as TCP averages (RFC 6298).
            self.rtt_ms = if known == 0 { sample as u16 } else { ((7 * known + sample) / 8).max(1) as u16 };
        }
        first
    }

    /// Notes that the answer it entered with helped an operation: that proves no more than that it answered, but another
    /// that did as much is no better.
    pub(super) fn helped_at_once(mut self, now: Timestamp) -> Self {
        self.useful = longs(now).saturating_add(1);
        self
    }

    /// Notes that it helped an operation.
    pub(super) fn help(&mut self, now: Timestamp) {
        self.useful = longs(now).saturating_add(1);
        self.flags |= PROVEN;
    }

    /// Notes a failed request; returns how many in a row that makes.
    pub(super) fn fail(&mut self) -> u32 {
        self.failures = self.failures.saturating_add(1);
        u32::from(self.failures)
    }

    /// Forgets its failures.
    pub(super) fn forgive(&mut self) {
        self.failures = 0;
    }

    /// Lets it be asked again soon, however lately it answered.
    pub(super) fn suspect(&mut self) {
        self.flags |= SUSPECT;
    }

    /// When it last answered; for a remembered peer that has not, when it was put into the table.
    pub fn last_answer(&self) -> Timestamp {
        timestamp(self.answered.into())
    }

    /// When it last helped an operation, to ten minutes, rounded down.
    pub fn last_useful(&self) -> Option<Timestamp> {
        self.useful.checked_sub(1).map(|longs| timestamp(u64::from(longs) * LONG))
    }

    /// Moving average of the time from request to answer, dials included; at most 65 s.
    pub fn rtt(&self) -> Option<Duration> {
        (self.rtt_ms > 0).then(|| Duration::from_millis(self.rtt_ms.into()))
    }

    /// Requests in a row that failed.
    pub fn failures(&self) -> u32 {
        self.failures.into()
    }

    /// Whether it has answered since this node was started.
    pub fn is_verified(&self) -> bool {
        self.flags & VERIFIED != 0
    }

    /// Whether it has answered again after [`PROVEN_AFTER`] or more of silence, or has helped an operation.
    pub fn is_proven(&self) -> bool {
        self.flags & PROVEN != 0
    }

    /// From when on it should be asked whether it is still there: at once if it only is remembered or suspected or has
    /// failed; `young` after its first answer until it has proven itself; else `after` its last answer.
    pub fn due(&self, after: Duration, young: Duration) -> Timestamp {
        if self.flags & SUSPECT != 0 || !self.is_verified() {
            return Timestamp::ZERO;
        }
        self.last_answer() + if self.is_proven() { after } else { young.min(after) }
    }

    /// Whether it may have to give way to one that answers: it has not answered, or not lately.
    pub(super) fn is_weak(&self) -> bool {
        self.failures > 0 || !self.is_verified()
    }

    /// Who is worth more: one that does not fail, has answered, has proven itself; then the longer-serving.
    pub(super) fn worth(&self, other: &Self) -> Ordering {
        let merits = |one: &Self| (one.failures == 0, one.is_verified(), one.is_proven());
        merits(self).cmp(&merits(other)).then(other.admitted.cmp(&self.admitted))
    }

    /// Whether a stranger that has answered speaks better for itself than this peer, which must not have proven itself:
    /// first by use, then by half the round trip, so that equals never take each other's places.
    pub(super) fn yields_to(&self, useful: bool, rtt: Option<Duration>) -> bool {
        if self.is_weak() {
            return true;
        }
        if self.is_proven() {
            return false;
        }
        match (useful, rtt, self.rtt()) {
            (true, ..) if self.useful == 0 => true,
            (false, ..) if self.useful > 0 => false,
            (_, Some(theirs), Some(own)) => theirs * 2 < own,
            _ => false,
        }
    }
}

/// At least 1, for 0 stands for unknown.
fn millis(rtt: Duration) -> u16 {
    u16::try_from(rtt.as_millis()).unwrap_or(u16::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(5_000);

    fn later(secs: u64) -> Timestamp {
        START + Duration::from_secs(secs)
    }

    #[test]
    fn standing_takes_12_bytes() {
        assert_eq!(core::mem::size_of::<Standing>(), 12);
    }

    #[test]
    fn peers_prove_themselves_by_a_later_answer_or_by_use() {
        let mut standing = Standing::verified(START, None);
        standing.answer(later(1), None);
        assert!(!standing.is_proven(), "the same burst of requests proves nothing");
        standing.answer(later(61), None);
        assert!(standing.is_proven());
        let mut useful = Standing::verified(START, None);
        assert_eq!(useful.last_useful(), None);
        useful.help(later(3_000));
        assert_eq!(
            (useful.is_proven(), useful.last_useful()),
            (true, Some(Timestamp::from_millis(3_000_000)))
        );
        let mut remembered = Standing::remembered(START, None);
        assert!(!remembered.is_verified() && remembered.answer(later(100), None), "first answer");
        assert!(!remembered.is_proven() && !remembered.answer(later(200), None));
        assert!(remembered.is_proven());
    }

    #[test]
    fn round_trips_are_averaged_and_bounded() {
        let mut standing = Standing::verified(START, Some(Duration::from_millis(80)));
        assert_eq!(standing.rtt(), Some(Duration::from_millis(80)));
        standing.answer(START, Some(Duration::from_millis(160)));
        assert_eq!(standing.rtt(), Some(Duration::from_millis(90)));
        standing.answer(START, None);
        assert_eq!(standing.rtt(), Some(Duration::from_millis(90)));
        let slow = Standing::verified(START, Some(Duration::from_secs(600)));
        assert_eq!(slow.rtt(), Some(Duration::from_millis(65_535)));
        assert_eq!(Standing::verified(START, Some(Duration::ZERO)).rtt(), Some(Duration::from_millis(1)));
    }

    #[test]
    fn only_the_weak_and_the_worse_of_the_unproven_yield() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let unproven = Standing::verified(START, ms(100));
        assert!(unproven.yields_to(true, None));
        assert!(unproven.yields_to(false, ms(49)));
        assert!(!unproven.yields_to(false, ms(50)) && !unproven.yields_to(false, None));
        let useful = unproven.helped_at_once(START);
        assert!(!useful.is_proven() && useful.yields_to(true, ms(49)));
        assert!(!useful.yields_to(true, ms(50)) && !useful.yields_to(false, ms(1)));
        let mut proven = unproven;
        proven.answer(later(60), None);
        assert!(!proven.yields_to(true, ms(1)));
        proven.fail();
        assert!(proven.yields_to(false, None));
        proven.forgive();
        assert!(!proven.yields_to(false, None));
        assert!(Standing::remembered(START, None).yields_to(false, None));
    }

    #[test]
    fn worth_is_ordered_by_merit_then_age() {
        let old = Standing::verified(START, None);
        let young = Standing::verified(later(900), None);
        let mut proven = young;
        proven.help(later(901));
        let mut failing = proven;
        failing.fail();
        let order = [failing, Standing::remembered(START, None), young, old, proven];
        for pair in order.windows(2) {
            assert_eq!(pair[0].worth(&pair[1]), Ordering::Less, "{pair:?}");
        }
    }

    #[test]
    fn due_is_sooner_for_the_unproven_and_at_once_for_suspects() {
        let (after, young) = (Duration::from_secs(1_000), Duration::from_secs(100));
        let mut standing = Standing::verified(START, None);
        assert_eq!(standing.due(after, young), later(100));
        standing.answer(later(60), None);
        assert_eq!(standing.due(after, young), later(1_060));
        standing.suspect();
        assert_eq!(standing.due(after, young), Timestamp::ZERO);
        standing.answer(later(70), None);
        assert_eq!(standing.due(after, young), later(1_070));
        assert_eq!(Standing::remembered(START, None).due(after, young), Timestamp::ZERO);
    }
}
