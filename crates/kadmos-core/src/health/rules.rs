//! The rules: facts in, findings out.

use super::{Code, HealthConfig, Level, Limits};
use crate::config::Mode;

/// What the rules look at. [`crate::Node::health_facts`] gathers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whether the node serves.
    pub mode: Mode,
    /// What the driver knows of how others reach this node.
    pub reachability: Reachability,
    /// Peers in the table, each bucket counted up to what it could hold, of the peers that all buckets could hold. `of`
    /// is 0 while that is not known.
    pub table: Tally,
    /// Peers in the table whose last request failed, or who have been silent for longer than silent peers are left in
    /// peace.
    pub stale: Tally,
    /// Peers of the largest IP group, of all peers in the table that have a group.
    pub one_network: Tally,
    /// Recent lookups, users' and the node's own, that got answers.
    pub lookups: Tally,
    /// Recent requests that were answered.
    pub requests: Tally,
    /// Those among the k nearest to the node in its table that answered within the last three refreshes.
    pub neighbourhood: Tally,
    /// Copies of the node's own records that were placed, by the latest try for each record.
    pub records: Tally,
}

/// So many of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Those that are meant.
    pub count: u32,
    /// All.
    pub of: u32,
}

impl Tally {
    /// In per cent, rounded down, at most 100; `None` of nothing.
    pub fn percent(self) -> Option<u32> {
        let percent = (u64::from(self.count) * 100).checked_div(u64::from(self.of))?;
        Some(percent.min(100) as u32)
    }

    /// From counts; more than four thousand million count as that.
    pub(crate) fn new(count: usize, of: usize) -> Self {
        let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self { count: small(count), of: small(of) }
    }
}

/// Whether others can open connections to this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reachability {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// Somebody has, at one of our addresses.
    Reachable,
    /// They tried, and could not.
    Unreachable,
}

impl Reachability {
    /// Stable label.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Reachable => "reachable",
            Self::Unreachable => "unreachable",
        }
    }
}

/// What one rule found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub code: Code,
    /// What it says.
    pub level: Level,
    /// What was measured, in per cent; see [`Code::measures`]. Without anything to measure, a number that is well.
    pub measured: u32,
    /// The limit that was passed, in per cent; the one for degraded when none was.
    pub limit: u32,
}

/// The findings of one round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    findings: [Finding; Code::ALL.len()],
}

impl Assessment {
    /// One for each code, in the order of [`Code::ALL`].
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The worst level found.
    pub fn level(&self) -> Level {
        self.findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Healthy)
    }

    /// The findings that are not well, worst first.
    pub fn reasons(&self) -> alloc::vec::Vec<Finding> {
        let mut reasons: alloc::vec::Vec<_> = self.unwell().copied().collect();
        reasons.sort_by_key(|finding| core::cmp::Reverse(finding.level));
        reasons
    }

    pub(crate) fn unwell(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.level != Level::Healthy)
    }

    /// What the rule `code` found.
    pub fn of(&self, code: Code) -> Finding {
        // There is one for each code.
        *self.findings.iter().find(|finding| finding.code == code).unwrap_or(&self.findings[0])
    }
}

/// Applies every rule. Cost: a few comparisons.
pub fn evaluate(facts: &Facts, config: &HealthConfig) -> Assessment {
    let table = if facts.stale.of == 0 {
        Tally { count: 0, of: 1 } // an empty table is too small for every network
    } else {
        facts.table
    };
    let reached = match (facts.mode, facts.reachability) {
        (Mode::Server, Reachability::Unreachable) => Tally { count: 0, of: 1 },
        _ => Tally::default(),
    };
    let enough = |tally: Tally, samples: u32| if tally.of >= samples { tally } else { Tally::default() };
    let samples = config.samples_min;
    let findings = Code::ALL.map(|code| match code {
        Code::TableSmall => low(code, table, config.table),
        Code::TableStale => high(code, enough(facts.stale, STALE_OF_MIN), config.stale),
        Code::TableOneNetwork => high(code, enough(facts.one_network, GROUPED_MIN), config.one_network),
        Code::LookupsFailing => low(code, enough(facts.lookups, samples), config.lookups),
        Code::RequestsFailing => {
            low(code, enough(facts.requests, samples.saturating_mul(4)), config.requests)
        }
        Code::NeighbourhoodSilent => low(code, facts.neighbourhood, config.neighbourhood),
        Code::RecordsUnplaced => low(code, facts.records, config.records),
        // It still asks and answers over the connections that it opens itself.
        Code::Unreachable => low(code, reached, Limits::new(100, 0)),
    });
    Assessment { findings }
}

/// Peers with a group below which no share of one group means anything: in a table of ten, three neighbours in one
/// data centre are no attack.
const GROUPED_MIN: u32 = 20;

/// Peers in the table below which one silent one is no share worth speaking of.
const STALE_OF_MIN: u32 = 5;

/// A rule for a share that should be high.
fn low(code: Code, tally: Tally, limits: Limits) -> Finding {
    let measured = tally.percent().unwrap_or(100);
    let (level, limit) = if measured < limits.unhealthy {
        (Level::Unhealthy, limits.unhealthy)
    } else if measured < limits.degraded {
        (Level::Degraded, limits.degraded)
    } else {
        (Level::Healthy, limits.degraded)
    };
    Finding { code, level, measured, limit }
}

/// A rule for a share that should be low.
fn high(code: Code, tally: Tally, limits: Limits) -> Finding {
    let measured = tally.percent().unwrap_or(0);
    let (level, limit) = if measured > limits.unhealthy {
        (Level::Unhealthy, limits.unhealthy)
    } else if measured > limits.degraded {
        (Level::Degraded, limits.degraded)
    } else {
        (Level::Healthy, limits.degraded)
    };
    Finding { code, level, measured, limit }
}

/// How many peers the bucket `prefix_len` can hold in a network of `servers`: half of them are in bucket 0, half of the
/// others in bucket 1, and so on.
pub fn attainable(servers: u64, prefix_len: u16, bucket_size: usize) -> usize {
    let there = servers.checked_shr(u32::from(prefix_len) + 1).unwrap_or(0);
    usize::try_from(there).unwrap_or(usize::MAX).min(bucket_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> Facts {
        Facts {
            mode: Mode::Server,
            reachability: Reachability::Reachable,
            table: Tally { count: 100, of: 100 },
            stale: Tally { count: 0, of: 100 },
            one_network: Tally { count: 2, of: 100 },
            lookups: Tally { count: 30, of: 30 },
            requests: Tally { count: 60, of: 64 },
            neighbourhood: Tally { count: 20, of: 20 },
            records: Tally { count: 20, of: 20 },
        }
    }

    fn found(change: impl FnOnce(&mut Facts)) -> alloc::vec::Vec<(Code, Level, u32)> {
        let mut facts = well();
        change(&mut facts);
        let reasons = evaluate(&facts, &HealthConfig::default()).reasons();
        reasons.iter().map(|finding| (finding.code, finding.level, finding.measured)).collect()
    }

    #[test]
    fn each_rule_finds_its_own_and_nothing_else() {
        use Code::*;
        use Level::*;
        assert_eq!(found(|_| {}), []);
        let of = |count, of| Tally { count, of };
        for (change, expected) in [
            ((|f| f.table = Tally { count: 74, of: 100 }) as fn(&mut Facts), (TableSmall, Degraded, 74)),
            (|f| f.table = Tally { count: 24, of: 100 }, (TableSmall, Unhealthy, 24)),
            (|f| f.stale = Tally::default(), (TableSmall, Unhealthy, 0)),
            (|f| f.stale.count = 21, (TableStale, Degraded, 21)),
            (|f| f.stale.count = 61, (TableStale, Unhealthy, 61)),
            (|f| f.one_network.count = 26, (TableOneNetwork, Degraded, 26)),
            (|f| f.one_network.count = 61, (TableOneNetwork, Unhealthy, 61)),
            (|f| f.lookups.count = 26, (LookupsFailing, Degraded, 86)),
            (|f| f.lookups.count = 3, (LookupsFailing, Unhealthy, 10)),
            (|f| f.requests.count = 19, (RequestsFailing, Degraded, 29)),
            (|f| f.requests.count = 6, (RequestsFailing, Unhealthy, 9)),
            (|f| f.neighbourhood.count = 13, (NeighbourhoodSilent, Degraded, 65)),
            (|f| f.neighbourhood.count = 4, (NeighbourhoodSilent, Unhealthy, 20)),
            (|f| f.records.count = 14, (RecordsUnplaced, Degraded, 70)),
            (|f| f.records.count = 0, (RecordsUnplaced, Unhealthy, 0)),
            (|f| f.reachability = Reachability::Unreachable, (Unreachable, Degraded, 0)),
        ] {
            assert_eq!(found(change), [expected]);
        }
        // On the limit all is well.
        assert_eq!(found(|f| (f.table, f.stale, f.lookups) = (of(75, 100), of(20, 100), of(27, 30))), []);
    }

    #[test]
    fn too_little_to_go_by_is_no_finding() {
        assert_eq!(found(|f| f.lookups = Tally { count: 0, of: 3 }), []);
        assert_eq!(found(|f| f.requests = Tally { count: 0, of: 15 }), []);
        assert_eq!(found(|f| f.one_network = Tally { count: 19, of: 19 }), []);
        assert_eq!(found(|f| f.stale = Tally { count: 2, of: 4 }), []);
        assert_eq!(found(|f| f.table = Tally::default()), [], "what could be had is not known");
        assert_eq!(found(|f| (f.records, f.neighbourhood) = Default::default()), []);
        let client = |f: &mut Facts| (f.mode, f.reachability) = (Mode::Client, Reachability::Unreachable);
        assert_eq!(found(client), [], "nobody needs to reach a client");
    }

    #[test]
    fn the_worst_rule_decides_and_comes_first() {
        let mut facts = well();
        facts.table.count = 70;
        facts.lookups.count = 0;
        let assessment = evaluate(&facts, &HealthConfig::default());
        assert_eq!(assessment.level(), Level::Unhealthy);
        let codes: alloc::vec::Vec<_> = assessment.reasons().iter().map(|finding| finding.code).collect();
        assert_eq!(codes, [Code::LookupsFailing, Code::TableSmall]);
        assert_eq!(assessment.of(Code::TableSmall).limit, 75);
        for (code, finding) in Code::ALL.iter().zip(assessment.findings()) {
            assert_eq!(*code, finding.code);
        }
    }

    #[test]
    fn buckets_can_hold_what_the_network_has() {
        let held: alloc::vec::Vec<_> = (0..8).map(|prefix_len| attainable(200, prefix_len, 20)).collect();
        assert_eq!(held, [20, 20, 20, 12, 6, 3, 1, 0]);
        assert_eq!(attainable(u64::MAX, 200, 20), 0);
        assert_eq!(attainable(0, 0, 20), 0);
    }
}
