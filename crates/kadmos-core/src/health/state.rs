//! A state made of many rounds: worse after two in a row, better after three.

use alloc::vec::Vec;

use super::rules::{Assessment, Finding};
use super::{Facts, HealthConfig, Level, evaluate};
use crate::time::Timestamp;

/// How well a node is, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    level: Level,
    since: Timestamp,
    assessment: Option<Assessment>,
    /// Rounds in a row that were worse than `level`, and the best of them.
    worse: (u32, Level),
    /// Rounds in a row that were better than `level`, and the worst of them.
    better: (u32, Level),
    /// Whether the node has ever known a peer. Before, there is nothing that a state could be slower than.
    begun: bool,
}

impl Default for Health {
    /// Of a node that knows nobody yet.
    fn default() -> Self {
        Self {
            level: Level::Unhealthy,
            since: Timestamp::ZERO,
            assessment: None,
            worse: NONE_WORSE,
            better: NONE_BETTER,
            begun: false,
        }
    }
}

const NONE_WORSE: (u32, Level) = (0, Level::Unhealthy);
const NONE_BETTER: (u32, Level) = (0, Level::Healthy);

impl Health {
    /// Of a node that was just made, with the reason why it is not well yet. No round: nothing follows from it.
    pub(crate) fn newborn(facts: &Facts, config: &HealthConfig) -> Self {
        Self { assessment: Some(evaluate(facts, config)), ..Self::default() }
    }

    /// The state: that of the last rounds together.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Since when.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// What the last round found; before the first, that a node which knows nobody is not well. `None` only of
    /// [`Health::default`], which belongs to no node.
    pub fn assessment(&self) -> Option<&Assessment> {
        self.assessment.as_ref()
    }

    /// What is not well by the last round, worst first. May be empty while a bad state still waits for more good
    /// rounds.
    pub fn reasons(&self) -> Vec<Finding> {
        self.assessment.as_ref().map_or_else(Vec::new, Assessment::reasons)
    }

    /// Takes one round; returns whether the state changed.
    pub(crate) fn round(&mut self, facts: &Facts, config: &HealthConfig, now: Timestamp) -> bool {
        let assessment = evaluate(facts, config);
        let found = assessment.level();
        self.assessment = Some(assessment);
        if !self.begun {
            self.begun = facts.stale.of > 0;
            return self.settle(found, now);
        }
        match found.cmp(&self.level) {
            core::cmp::Ordering::Equal => {
                (self.worse, self.better) = (NONE_WORSE, NONE_BETTER);
                false
            }
            core::cmp::Ordering::Greater => {
                self.better = NONE_BETTER;
                self.worse = (self.worse.0 + 1, self.worse.1.min(found));
                self.worse.0 >= config.rounds_worse && self.settle(self.worse.1, now)
            }
            core::cmp::Ordering::Less => {
                self.worse = NONE_WORSE;
                self.better = (self.better.0 + 1, self.better.1.max(found));
                self.better.0 >= config.rounds_better && self.settle(self.better.1, now)
            }
        }
    }

    fn settle(&mut self, level: Level, now: Timestamp) -> bool {
        (self.worse, self.better) = (NONE_WORSE, NONE_BETTER);
        let changed = self.level != level;
        if changed {
            self.since = now;
        }
        self.level = level;
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::health::{Reachability, Tally};

    fn facts(filled: u32) -> Facts {
        let none = Tally::default();
        Facts {
            mode: Mode::Client,
            reachability: Reachability::Unknown,
            table: Tally { count: filled, of: 100 },
            stale: Tally { count: 0, of: filled },
            one_network: none,
            lookups: none,
            requests: none,
            neighbourhood: none,
            records: none,
        }
    }

    /// Feeds how well the table is filled, round by round, and returns the level after each.
    fn levels(filled: &[u32]) -> alloc::string::String {
        let mut health = Health::default();
        let config = HealthConfig::default();
        let letter = |(at, filled): (usize, &u32)| {
            let now = Timestamp::from_millis(at as u64);
            let before = health.level();
            let changed = health.round(&facts(*filled), &config, now);
            assert_eq!(changed, before != health.level());
            assert!(!changed || health.since() == now);
            match health.level() {
                Level::Healthy => 'h',
                Level::Degraded => 'd',
                Level::Unhealthy => 'u',
            }
        };
        filled.iter().enumerate().map(letter).collect()
    }

    #[test]
    fn worse_after_two_rounds_better_after_three() {
        assert_eq!(levels(&[100, 50, 50, 50, 100, 100, 100]), "hhddddh");
        assert_eq!(levels(&[100, 50, 100, 50, 100, 50]), "hhhhhh", "no two in a row");
        assert_eq!(
            levels(&[100, 10, 10, 100, 100, 50, 100, 100]),
            "hhuuuddd",
            "better only as far as all three"
        );
        assert_eq!(levels(&[100, 50, 10, 10, 10]), "hhddu", "worse only as far as both");
    }

    #[test]
    fn a_newborn_says_why_and_nothing_follows() {
        let mut health = Health::newborn(&facts(0), &HealthConfig::default());
        let reasons: Vec<_> = health.reasons().iter().map(|finding| finding.code).collect();
        assert_eq!(
            (health.level(), reasons),
            (Level::Unhealthy, alloc::vec![crate::health::Code::TableSmall])
        );
        assert!(health.round(&facts(100), &HealthConfig::default(), Timestamp::ZERO));
        assert_eq!(health.level(), Level::Healthy, "the first round decides as ever");
    }

    #[test]
    fn the_first_peers_count_at_once() {
        assert_eq!(levels(&[0, 0, 100, 100]), "uuhh");
        assert_eq!(levels(&[0, 50, 100, 100, 100]), "udddh");
    }
}
