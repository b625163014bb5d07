//! How long nodes stay, and how long they are away.

use std::time::Duration;

use rand_core::Rng;
use serde::{Deserialize, Serialize};

use crate::random::below;

/// Lengths of sessions on the public network: per mille of all sessions that are at most so many seconds long.
/// Between two points a length is as likely as another. Sessions of a minute or less are those that a crawl saw
/// once; the last point is our own, since the tail beyond a day is not published. Source: Nebula, November 2024.
pub const SESSION_LENGTHS: [(u32, u64); 13] = [
    (0, 10),
    (458, 60),
    (610, 180),
    (720, 900),
    (806, 1_800),
    (861, 3_600),
    (897, 7_200),
    (919, 10_800),
    (928, 14_400),
    (939, 21_600),
    (956, 43_200),
    (968, 86_400),
    (1_000, 172_800),
];

/// Nodes per mille that are stable. Source: ProbeLab, week of 8 June 2025: 8,097 ids were online for 80 % of the
/// time or more, of the some 11,000 that the shares of all classes add up to at any one time.
pub const STABLE_PER_MILLE: u32 = 740;
/// Mean session of a stable node: its machine is rebooted or its program updated every few days. Source: own choice;
/// 15 of 20 holders of a record were still there after 80 h (ProbeLab RFM17).
pub const STABLE_SESSION_SECS: u64 = 4 * 86_400;
/// Mean time that a stable node is away. Source: own choice, a restart.
pub const STABLE_AWAY_SECS: u64 = 600;

/// Two populations: servers that stay, and a tail that comes and goes. Drawing every node from the published lengths
/// would empty the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Nodes per mille that are stable.
    pub stable_per_mille: u32,
    /// Mean session of a stable node, in seconds.
    pub stable_secs: u64,
    /// Mean time that a stable node is away, in seconds.
    pub stable_away_secs: u64,
    /// Lengths of the tail's sessions, and of its absences, as hundredths of [`SESSION_LENGTHS`].
    pub tail_percent: u32,
}

/// To which population a node belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionClass {
    /// Servers that stay.
    Stable,
    /// Those that come and go.
    Tail,
}

impl Sessions {
    /// The public network's.
    pub const AMINO: Self = Self {
        stable_per_mille: STABLE_PER_MILLE,
        stable_secs: STABLE_SESSION_SECS,
        stable_away_secs: STABLE_AWAY_SECS,
        tail_percent: 100,
    };

    /// Draws the population of a node.
    pub fn class(&self, rng: &mut impl Rng) -> SessionClass {
        if below(rng, 1_000) < u64::from(self.stable_per_mille) {
            SessionClass::Stable
        } else {
            SessionClass::Tail
        }
    }

    /// Draws the length of a session.
    pub fn session(&self, class: SessionClass, rng: &mut impl Rng) -> Duration {
        match class {
            SessionClass::Stable => around(self.stable_secs, rng),
            SessionClass::Tail => self.tail(rng),
        }
    }

    /// Draws how long a node is away. The tail is away as long as it stays: how long the same id stays away is not
    /// published.
    pub fn absence(&self, class: SessionClass, rng: &mut impl Rng) -> Duration {
        match class {
            SessionClass::Stable => around(self.stable_away_secs, rng),
            SessionClass::Tail => self.tail(rng),
        }
    }

    fn tail(&self, rng: &mut impl Rng) -> Duration {
        let ticket = below(rng, 1_000_000);
        let mut from = SESSION_LENGTHS[0];
        for to in SESSION_LENGTHS {
            let (low, high) = (u64::from(from.0) * 1_000, u64::from(to.0) * 1_000);
            if ticket < high {
                let ms = from.1 * 1_000 + (to.1 - from.1) * 1_000 * (ticket - low) / (high - low);
                return Duration::from_millis(ms * u64::from(self.tail_percent) / 100);
            }
            from = to;
        }
        Duration::from_secs(from.1) // the last point is 1,000, so nobody comes here
    }
}

/// A length between a tenth of `mean_secs` and a tenth less than twice it, each as likely: simple, bounded, and its mean
/// is what it says.
fn around(mean_secs: u64, rng: &mut impl Rng) -> Duration {
    let least = mean_secs * 100;
    Duration::from_millis(least + below(rng, (mean_secs * 1_000 - least) * 2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::child;

    #[test]
    fn tail_follows_the_published_lengths() {
        let mut rng = child(1, "sessions", 0);
        let draws: Vec<_> =
            (0..20_000).map(|_| Sessions::AMINO.session(SessionClass::Tail, &mut rng).as_secs()).collect();
        for (per_mille, secs) in SESSION_LENGTHS {
            let got = draws.iter().filter(|length| **length < secs).count() as u32 / 20;
            assert!(got.abs_diff(per_mille) < 12, "{secs} s: {got} of {per_mille} per mille");
        }
    }

    #[test]
    fn stable_nodes_stay_as_long_as_they_say() {
        let mut rng = child(2, "sessions", 0);
        let sessions = Sessions::AMINO;
        let stable = (0..10_000).filter(|_| sessions.class(&mut rng) == SessionClass::Stable).count();
        assert!((7_200..7_600).contains(&stable), "{stable}");
        let total: u64 = (0..2_000).map(|_| sessions.session(SessionClass::Stable, &mut rng).as_secs()).sum();
        assert!((total / 2_000).abs_diff(STABLE_SESSION_SECS) < STABLE_SESSION_SECS / 20);
    }
}
