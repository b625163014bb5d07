//! Which remedies are due: each after two rounds with a reason for it, and not again too soon.

use alloc::vec::Vec;
use core::time::Duration;

use super::rules::Assessment;
use super::{Code, Level};
use crate::time::Timestamp;

/// Something that a node does so that it gets better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Joins the network again through its bootstrap peers; without any, as [`Action::Refresh`].
    Rejoin,
    /// Asks the peers that no longer answer, and looks up its own id and a key in each bucket.
    Refresh,
    /// Asks those nearest to itself that have been silent, and looks up its own id.
    ProbeNeighbourhood,
    /// Tells its user to publish records again that reached too few holders. Only the user has them.
    AdviseRepublish,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Rejoin, Self::Refresh, Self::ProbeNeighbourhood, Self::AdviseRepublish];

    /// Stable label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rejoin => "rejoin",
            Self::Refresh => "refresh",
            Self::ProbeNeighbourhood => "probe_neighbourhood",
            Self::AdviseRepublish => "advise_republish",
        }
    }
}

/// Remembers since when each action has had a reason, and when it may begin again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    plans: [Plan; Action::ALL.len()],
}

#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// Rounds in a row with a reason.
    rounds: u32,
    /// Times it was begun without a round that had no reason any more.
    begun: u32,
    not_before: Timestamp,
}

/// Rounds in a row with a reason after which an action begins: as many as make the state worse by default.
const ROUNDS: u32 = 2;

/// An action that does not help is begun less and less often, down to once in so many intervals: two minutes
/// become eight, which still finds a network that is back within its next refresh.
const BACKOFF_MAX: u32 = 4;

impl Recovery {
    /// What is due after a round, each with the code that asks for it.
    pub(crate) fn due(&mut self, assessment: &Assessment, now: Timestamp) -> Vec<(Action, Code)> {
        let mut due = Vec::new();
        for (action, plan) in Action::ALL.into_iter().zip(&mut self.plans) {
            let reason = assessment.unwell().find(|finding| finding.code.action() == Some(action));
            let Some(reason) = reason else {
                (plan.rounds, plan.begun) = (0, 0);
                continue;
            };
            plan.rounds = plan.rounds.saturating_add(1);
            if plan.rounds >= ROUNDS && plan.not_before <= now && is_timely(action, assessment) {
                due.push((action, reason.code));
            }
        }
        due
    }

    /// Notes that an action was begun.
    pub(crate) fn began(&mut self, action: Action, interval: Duration, now: Timestamp) {
        for (known, plan) in Action::ALL.into_iter().zip(&mut self.plans) {
            if known == action {
                let factor = 1u32.checked_shl(plan.begun).unwrap_or(BACKOFF_MAX).min(BACKOFF_MAX);
                plan.begun = plan.begun.saturating_add(1);
                plan.not_before = now + interval.saturating_mul(factor);
            }
        }
    }
}

/// Publishing again helps only once the network can be reached.
fn is_timely(action: Action, assessment: &Assessment) -> bool {
    action != Action::AdviseRepublish
        || assessment
            .findings()
            .iter()
            .all(|finding| finding.code == Code::RecordsUnplaced || finding.level != Level::Unhealthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::health::{Facts, HealthConfig, Reachability, Tally, evaluate};

    fn assessment(filled: u32, placed: u32) -> Assessment {
        let none = Tally::default();
        let facts = Facts {
            mode: Mode::Client,
            reachability: Reachability::Unknown,
            table: Tally { count: filled, of: 100 },
            stale: Tally { count: 0, of: 100 },
            one_network: none,
            lookups: none,
            requests: none,
            neighbourhood: none,
            records: Tally { count: placed, of: 20 },
        };
        evaluate(&facts, &HealthConfig::default())
    }

    /// Rounds, half a minute each, in which an action began.
    fn begun(assessments: impl Iterator<Item = Assessment>) -> Vec<(usize, Action)> {
        let (mut recovery, config) = (Recovery::default(), HealthConfig::default());
        let mut all = Vec::new();
        for (round, assessment) in assessments.enumerate() {
            let now = Timestamp::ZERO + Duration::from_secs(30 * round as u64);
            for (action, _) in recovery.due(&assessment, now) {
                recovery.began(action, config.recovery_interval, now);
                all.push((round, action));
            }
        }
        all
    }

    #[test]
    fn actions_begin_after_two_rounds_and_then_less_and_less_often() {
        let rounds = begun((0..60).map(|_| assessment(50, 20)));
        let rounds: Vec<_> = rounds.iter().map(|(round, _)| *round).collect();
        assert_eq!(rounds, [1, 5, 13, 29, 45]);
    }

    #[test]
    fn one_bad_round_begins_nothing_and_recovery_forgets() {
        assert_eq!(begun((0..20).map(|n| assessment(if n % 2 == 0 { 50 } else { 100 }, 20))), []);
        // Well again after a while: the next time is the first again.
        let filled = |n: usize| if (20..30).contains(&n) { 100 } else { 50 };
        let rounds: Vec<_> =
            begun((0..40).map(|n| assessment(filled(n), 20))).iter().map(|it| it.0).collect();
        assert_eq!(rounds, [1, 5, 13, 31, 35]);
    }

    #[test]
    fn publishing_again_waits_for_the_network() {
        let actions = begun((0..6).map(|n| assessment(if n < 3 { 10 } else { 100 }, 0)));
        assert_eq!(actions, [(1, Action::Rejoin), (3, Action::AdviseRepublish)]);
    }

    #[test]
    fn every_action_has_a_code() {
        for action in Action::ALL {
            assert!(Code::ALL.iter().any(|code| code.action() == Some(action)), "{action:?}");
        }
    }
}
