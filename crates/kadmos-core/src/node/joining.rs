//! What a node may join through, and the judgement that ends a join.

use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use crate::event::Event;
use crate::limits::BOOTSTRAP_PEERS_MAX;
use crate::machine::Machine;
use crate::operation::{Bootstrapped, Phase, PhaseOutcome, PhaseReport, SourceKind};
use crate::peer::PeerInfo;
use crate::time::Timestamp;

impl Node {
    pub(super) fn add_bootstrap_peers(&mut self, kind: SourceKind, peers: Vec<PeerInfo>) {
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

    /// The fourth phase: what is amiss with what there is now.
    pub(super) fn judge_join(&mut self, report: &mut Bootstrapped, started: Timestamp) {
        let rules = [
            ("table_small", self.is_table_small()),
            ("neighbourhood_silent", self.is_neighbourhood_silent(started)),
        ];
        report.reasons = rules.iter().filter(|(_, amiss)| *amiss).map(|(code, _)| *code).collect();
        let health = PhaseReport {
            phase: Phase::Health,
            outcome: if report.reasons.is_empty() { PhaseOutcome::Done } else { PhaseOutcome::Failed },
            tried: rules.len(),
            answered: rules.len() - report.reasons.len(),
            began: self.now.monotonic.since(started),
            elapsed: Duration::ZERO,
        };
        report.phases[Phase::Health as usize] = health;
        self.emit(Event::BootstrapPhaseEnded { report: health });
    }

    /// Whether the table holds less than it should, as far as the network has that many.
    fn is_table_small(&self) -> bool {
        let peers = self.table.view().len();
        let there = self.network_size().map_or(u64::MAX, |size| size.peers);
        peers < self.config.table.peers_min && (peers as u64) < there
    }

    /// Whether half of those nearest to us, or more, have not answered since the join began.
    fn is_neighbourhood_silent(&self, since: Timestamp) -> bool {
        let view = self.table.view();
        let near = view.closest(&view.local().peer.key, self.config.lookup.k.get());
        let heard = near.iter().filter_map(|info| self.table.standing(&info.peer));
        // Standings are kept in whole seconds.
        let heard = heard.filter(|standing| {
            standing.is_verified() && standing.last_answer() + Duration::from_secs(1) > since
        });
        heard.count() * 2 < near.len()
    }
}
