//! What joining a network came to, phase by phase and source by source.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

/// From where a peer to join through is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum SourceKind {
    /// The operator named it.
    Configured,
    /// It was in the table of an earlier run.
    Remembered,
    /// TXT records of a domain name.
    Dnsaddr,
    /// A file of addresses.
    File,
    /// A page of addresses.
    Url,
    /// Multicast on the local network.
    Mdns,
}

impl SourceKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Configured, Self::Remembered, Self::Dnsaddr, Self::File, Self::Url, Self::Mdns];

    /// Stable label for logs and programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Remembered => "remembered",
            Self::Dnsaddr => "dnsaddr",
            Self::File => "file",
            Self::Url => "url",
            Self::Mdns => "mdns",
        }
    }
}

/// A part of joining. A phase begins when the one before has something to work on, so that they overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// All sources are asked at once.
    Connect,
    /// Remembered peers are asked whether they are still there.
    Verify,
    /// The own id is looked up, then a random key in each bucket.
    Discover,
    /// What there is, is judged.
    Health,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 4] = [Self::Connect, Self::Verify, Self::Discover, Self::Health];

    /// Stable label for metrics, logs and programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Verify => "verify",
            Self::Discover => "discover",
            Self::Health => "health",
        }
    }
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PhaseOutcome {
    /// It had nothing to do, or was never reached.
    #[default]
    Skipped,
    /// It did all it had to do, and somebody answered; for health: nothing is amiss.
    Done,
    /// Its time was up, or joining had ended, with something left to do; whoever answers later still counts.
    Cut,
    /// Nobody answered; for health: something is amiss.
    Failed,
}

impl PhaseOutcome {
    /// Every outcome.
    pub const ALL: [Self; 4] = [Self::Skipped, Self::Done, Self::Cut, Self::Failed];

    /// Stable label for metrics, logs and programs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Done => "done",
            Self::Cut => "cut",
            Self::Failed => "failed",
        }
    }
}

/// One phase of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseReport {
    /// Which.
    pub phase: Phase,
    /// How it ended.
    pub outcome: PhaseOutcome,
    /// Peers asked, each once; for discovery, requests; for health, rules applied.
    pub tried: usize,
    /// Those that answered; for health, rules that found nothing amiss.
    pub answered: usize,
    /// From the start of joining to its own.
    pub began: Duration,
    /// From its start to its end.
    pub elapsed: Duration,
}

impl PhaseReport {
    /// Of a phase that was never reached.
    pub const fn skipped(phase: Phase) -> Self {
        Self {
            phase,
            outcome: PhaseOutcome::Skipped,
            tried: 0,
            answered: 0,
            began: Duration::ZERO,
            elapsed: Duration::ZERO,
        }
    }
}

/// What one kind of source gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceReport {
    /// Which.
    pub kind: SourceKind,
    /// Its peers that were asked.
    pub tried: usize,
    /// Those that answered.
    pub answered: usize,
    /// Whether it was still being looked up when joining ended.
    pub pending: bool,
}

/// What joining a network came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bootstrapped {
    /// Peers to join through that were tried, of all sources.
    pub tried: usize,
    /// Those that answered.
    pub answered: usize,
    /// Peers in the table afterwards.
    pub peers: usize,
    /// Buckets that were refreshed.
    pub buckets: usize,
    /// The phases, in the order of [`Phase::ALL`].
    pub phases: Box<[PhaseReport; 4]>,
    /// The kinds of sources there were, in the order of [`SourceKind::ALL`].
    pub sources: Vec<SourceReport>,
    /// Peers in the table by common prefix length with this node, from 0 on.
    pub prefixes: Vec<usize>,
    /// What the health rules ([`crate::health::evaluate`]) found amiss when it ended, as stable codes, worst first;
    /// `docs/codes.md` has a paragraph for each.
    pub reasons: Vec<&'static str>,
}

impl Default for Bootstrapped {
    fn default() -> Self {
        Self {
            tried: 0,
            answered: 0,
            peers: 0,
            buckets: 0,
            phases: Box::new(Phase::ALL.map(PhaseReport::skipped)),
            sources: Vec::new(),
            prefixes: Vec::new(),
            reasons: Vec::new(),
        }
    }
}

impl Bootstrapped {
    /// The report of one phase.
    pub fn phase(&self, phase: Phase) -> &PhaseReport {
        &self.phases[phase as usize] // declared in the order of `ALL`
    }

    /// What one kind of source gave; `None` if there was none of that kind.
    pub fn source(&self, kind: SourceKind) -> Option<&SourceReport> {
        self.sources.iter().find(|source| source.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// docs/membership.md has a row for each kind of source, in the order of reports.
    #[test]
    fn every_kind_of_source_is_documented() {
        let page = include_str!("../../../../docs/membership.md");
        let (_, table) = page.split_once("| Source |").expect("a table of sources");
        let rows = table.lines().skip(2).take_while(|line| line.starts_with("| `"));
        let documented: Vec<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
        let labels: Vec<_> = SourceKind::ALL.iter().map(|kind| kind.label()).collect();
        assert_eq!(documented, labels);
    }

    #[test]
    fn phases_are_found_by_name() {
        let report = Bootstrapped::default();
        for phase in Phase::ALL {
            assert_eq!(report.phase(phase).phase, phase);
        }
    }
}
