//! How fast one peer may ask.

use crate::limits::{REQUESTS_BURST, REQUESTS_PER_SECOND};
use crate::peer::PeerId;
use crate::time::Timestamp;

/// Credit that one request costs, in nanoseconds: the time in which it is earned back. Exact for every rate that
/// divides 10^9.
const REQUEST_COST: u64 = 1_000_000_000 / REQUESTS_PER_SECOND as u64;
/// Most credit a peer can save: a burst.
const CREDIT_MAX: u64 = REQUEST_COST * REQUESTS_BURST as u64;

/// What one connection's peer may still ask for: a token bucket of [`REQUESTS_BURST`] requests that refills with
/// [`REQUESTS_PER_SECOND`]. One per connection.
#[derive(Clone, Debug)]
pub struct PeerBudget {
    peer: PeerId,
    credit: u64,
    refilled: Timestamp,
}

impl PeerBudget {
    /// A full budget for `peer`.
    pub fn new(peer: PeerId, now: Timestamp) -> Self {
        Self { peer, credit: CREDIT_MAX, refilled: now }
    }

    /// Charges one request; `false` when there is not enough left. Time that runs backwards earns nothing.
    pub(super) fn charge(&mut self, now: Timestamp) -> bool {
        let earned = now.as_nanos().saturating_sub(self.refilled.as_nanos());
        self.credit = self.credit.saturating_add(earned).min(CREDIT_MAX);
        self.refilled = self.refilled.max(now);
        match self.credit.checked_sub(REQUEST_COST) {
            Some(credit) => {
                self.credit = credit;
                true
            }
            None => false,
        }
    }

    /// Whose.
    pub fn peer(&self) -> &PeerId {
        &self.peer
    }

    /// Requests left at once.
    pub fn remaining(&self) -> u64 {
        self.credit / REQUEST_COST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Charges until refused and tells how often that worked.
    fn drain(budget: &mut PeerBudget, now: Timestamp) -> u32 {
        (0..=REQUESTS_BURST).take_while(|_| budget.charge(now)).count() as u32 // at most the burst and one
    }

    #[test]
    fn a_burst_then_the_sustained_rate() {
        let start = Timestamp::from_millis(1_000_000);
        let mut budget = PeerBudget::new(PeerId::from_digest([1; 32]), start);
        assert_eq!(budget.remaining(), u64::from(REQUESTS_BURST));
        assert_eq!(drain(&mut budget, start), REQUESTS_BURST);
        let millis = |millis: u64| Timestamp::from_millis(1_000_000 + millis);
        for (now, allowed) in [
            (millis(0), 0),
            (millis(1), 0), // half a request
            (millis(2), 1),
            (millis(1_002), REQUESTS_PER_SECOND),
            (millis(500), 0), // backwards
            (millis(1_002), 0),
            (millis(10_000_000), REQUESTS_BURST), // never more than a burst
            (Timestamp::from_nanos(u64::MAX), REQUESTS_BURST),
        ] {
            assert_eq!(drain(&mut budget, now), allowed, "at {now:?}");
        }
    }
}
