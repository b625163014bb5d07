//! What a node may join through, and the judgement that ends a join.

use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use crate::event::Event;
use crate::health::evaluate;
use crate::limits::BOOTSTRAP_PEERS_MAX;
use crate::machine::Machine;
use crate::operation::{Bootstrapped, Phase, PhaseOutcome, PhaseReport, SourceKind};
use crate::peer::PeerInfo;
use crate::time::Timestamp;

impl Node {
    pub(super) fn add_bootstrap_peers(&mut self, kind: SourceKind, peers: Vec<PeerInfo>) {
        let known = self.bootstrap_peers.len();
        for info in peers {
            // A bootstrap peer is the operator's word: its addresses pass whatever the policy.
            match self.bootstrap_peers.iter().position(|known| known.peer == info.peer) {
                Some(index) => {
                    let known = &mut self.bootstrap_peers[index];
                    known.addrs = known.addrs.merged(&info.addrs);
                }
                None if self.bootstrap_peers.len() < BOOTSTRAP_PEERS_MAX => {
                    self.bootstrap_peers.push(info);
                    self.source_kinds.push(kind);
                }
                None => {}
            }
        }
        self.sources_changed();
        // Named peers come before somebody joins; what a source finds later is of use at once to who knows few.
        if kind != SourceKind::Configured && self.bootstrap_peers.len() > known && !self.is_joining() {
            self.rejoin_if_few();
        }
    }

    pub(super) fn source_lookup_began(&mut self, kind: SourceKind) {
        let lookups = self.pending_sources.entry(kind).or_default();
        *lookups = lookups.saturating_add(1);
    }

    pub(super) fn source_lookup_ended(&mut self, kind: SourceKind) {
        if let Some(lookups) = self.pending_sources.get_mut(&kind) {
            *lookups -= 1; // kept only while above 0
            if *lookups == 0 {
                self.pending_sources.remove(&kind);
            }
            self.sources_changed();
        }
    }

    /// Lets joins that are under way make use of it.
    fn sources_changed(&mut self) {
        let joins =
            self.running.iter().filter(|(_, running)| matches!(running.machine, Machine::Bootstrap(_)));
        let joins: Vec<_> = joins.map(|(serial, _)| *serial).collect();
        for serial in joins {
            self.drive(serial, |machine, cx| {
                if let Machine::Bootstrap(join) = machine {
                    join.sources_changed(cx);
                }
            });
        }
    }

    /// The fourth phase: what the health rules say of what there is now. The join's own lookups and requests are among what
    /// they look at.
    pub(super) fn judge_join(&mut self, report: &mut Bootstrapped, started: Timestamp) {
        let assessment = evaluate(&self.health_facts(), &self.config.health);
        report.reasons = assessment.reasons().iter().map(|finding| finding.code.code()).collect();
        let rules = assessment.findings().len();
        let health = PhaseReport {
            phase: Phase::Health,
            outcome: if report.reasons.is_empty() { PhaseOutcome::Done } else { PhaseOutcome::Failed },
            tried: rules,
            answered: rules - report.reasons.len(),
            began: self.now.monotonic.since(started),
            elapsed: Duration::ZERO,
        };
        report.phases[Phase::Health as usize] = health;
        self.emit(Event::BootstrapPhaseEnded { report: health });
    }
}
