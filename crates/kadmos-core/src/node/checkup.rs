//! Health rounds: gathering what the rules look at, telling when the state changes, and beginning remedies.

use alloc::collections::BTreeMap;

use super::{Node, Running};
use crate::bootstrap::{Bootstrap, Buckets, Refresh};
use crate::error::{BootstrapError, OperationError, ProvideError, PutValueError};
use crate::event::Event;
use crate::health::{Action, Facts, Health, History, Reachability, Recovery, Tally, attainable};
use crate::key::Key;
use crate::limits::{PROBES_MAX, REJOIN_INTERVAL};
use crate::machine::Machine;
use crate::operation::{OperationKind, Outcome};
use crate::peer::PeerInfo;
use crate::routing::Group;
use crate::time::Timestamp;

/// What a node knows about its own health.
#[derive(Clone, Debug, Default)]
pub(super) struct Checkup {
    pub(super) health: Health,
    pub(super) history: History,
    pub(super) reachability: Reachability,
    recovery: Recovery,
    next_at: Option<Timestamp>,
}

impl Checkup {
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.next_at
    }

    /// What failed while the node was cut off says nothing about what is now, and remedies may help again.
    pub(super) fn outage_over(&mut self) {
        self.history.forget_results();
        self.recovery = Recovery::default();
    }

    pub(super) fn start_clock(&mut self, at: Timestamp) {
        self.next_at.get_or_insert(at);
    }
}

impl Node {
    /// How well the node is. Cost: none; the rules are applied every `health.interval`.
    pub fn health(&self) -> &Health {
        &self.checkup.health
    }

    /// What the driver last told of how others reach the node.
    pub fn reachability(&self) -> Reachability {
        self.checkup.reachability
    }

    /// What the health rules look at, as of now. Cost: O(table size).
    pub fn health_facts(&self) -> Facts {
        let now = self.now.monotonic;
        let refresh = self.config.table.refresh_interval;
        // A silent peer is probed at the first refresh after `probe_after`; the probe has until the next.
        let silent_before = self.config.table.probe_after + refresh * 2;
        let stale = self.table.iter().filter(|(_, _, standing)| {
            now.since(standing.last_answer()) > silent_before || standing.failures() > 0
        });
        let peers = self.table.view().len();
        let history = &self.checkup.history;
        let recent = refresh * 2; // each refresh makes some
        Facts {
            mode: self.table.view().mode(),
            reachability: self.checkup.reachability,
            table: self.table_filled(peers),
            stale: Tally::new(stale.count(), peers),
            one_network: self.one_network(),
            lookups: history.lookups(now, recent),
            // Cut off means that every peer asked of late was silent, whatever answered before.
            requests: match self.is_cut_off() {
                true => Tally { count: 0, of: History::REQUESTS },
                false => history.requests(now, recent),
            },
            neighbourhood: self.neighbourhood(),
            records: history.records(now),
        }
    }

    /// What the network can give, if its size is known; else what the table held at its best of late.
    fn table_filled(&self, peers: usize) -> Tally {
        let Some(servers) = self.network_servers() else {
            let peak = self.checkup.history.table_peak();
            return Tally::new(peers.min(peak), peak);
        };
        let size = self.config.table.bucket_size.get();
        let mut buckets = self.table.view().buckets().map(|(_, bucket)| bucket.len());
        let (mut filled, mut all) = (0, 0);
        for prefix_len in 0..Key::BITS {
            match attainable(servers, prefix_len, size) {
                0 => break,
                could_hold => {
                    filled += buckets.next().unwrap_or(0).min(could_hold);
                    all += could_hold;
                }
            }
        }
        Tally::new(filled, all)
    }

    /// Servers that the network has at least, by two standard errors, so that an estimate that is off is no alarm.
    fn network_servers(&self) -> Option<u64> {
        self.network_size().map(|size| size.peers.saturating_sub(size.std_error.saturating_mul(2)))
    }

    /// The largest group among the peers that have one.
    fn one_network(&self) -> Tally {
        let mut groups: BTreeMap<Group, usize> = BTreeMap::new();
        for (_, group, _) in self.table.iter().filter(|(_, group, _)| !group.is_exempt()) {
            *groups.entry(group.network()).or_default() += 1;
        }
        Tally::new(groups.values().max().copied().unwrap_or(0), groups.values().sum())
    }

    fn neighbourhood(&self) -> Tally {
        let near = self.nearest_to_self();
        let answered = near.iter().filter(|info| !self.is_silent_neighbour(info)).count();
        Tally::new(answered, near.len())
    }

    fn nearest_to_self(&self) -> alloc::vec::Vec<&PeerInfo> {
        let view = self.table.view();
        view.closest(&view.local().peer.key, self.config.lookup.k.get())
    }

    /// Whether one of those nearest to us has missed three refreshes, each of which asks all of them, or has just
    /// failed.
    fn is_silent_neighbour(&self, info: &PeerInfo) -> bool {
        let recent = self.config.table.refresh_interval * 3;
        self.table.standing(&info.peer).is_none_or(|standing| {
            self.now.monotonic.since(standing.last_answer()) > recent || standing.failures() > 0
        })
    }

    pub(super) fn run_checkup(&mut self) {
        let now = self.now.monotonic;
        if self.checkup.next_at.is_some_and(|at| at <= now) {
            self.checkup.next_at = Some(now + self.config.health.interval);
            self.health_round();
        }
    }

    fn health_round(&mut self) {
        let now = self.now.monotonic;
        self.checkup.history.table_size(self.table.view().len(), now);
        let facts = self.health_facts();
        let config = alloc::sync::Arc::clone(&self.config);
        if self.checkup.health.round(&facts, &config.health, now) {
            let (level, reasons) = (self.checkup.health.level(), self.checkup.health.reasons());
            self.emit(Event::HealthChanged { level, reasons });
        }
        let Some(assessment) = self.checkup.health.assessment().filter(|_| config.health.recovery) else {
            return;
        };
        for (action, code) in self.checkup.recovery.due(assessment, now) {
            if self.recover(action) {
                self.checkup.recovery.began(action, config.health.recovery_interval, now);
                self.emit(Event::RecoveryBegan { action, code });
            }
        }
    }

    /// Begins a remedy; returns whether it could begin now.
    fn recover(&mut self, action: Action) -> bool {
        match action {
            Action::AdviseRepublish => true, // the event is the advice
            Action::Rejoin if !self.bootstrap_peers.is_empty() => {
                let begins = !self.is_joining();
                if begins {
                    self.launch_upkeep(Machine::Bootstrap(Bootstrap::new()));
                    self.upkeep.postpone_rejoin(self.now.monotonic + REJOIN_INTERVAL);
                }
                begins
            }
            Action::Rejoin | Action::Refresh => {
                let begins = !self.is_joining() && !self.table.view().is_empty();
                if begins {
                    self.probe_failing_peers();
                    self.launch_upkeep(Machine::Refresh(Refresh::new(Buckets::All)));
                }
                begins
            }
            Action::ProbeNeighbourhood => {
                let silent = self.nearest_to_self().into_iter().filter(|info| self.is_silent_neighbour(info));
                let silent: alloc::vec::Vec<_> = silent.cloned().collect();
                let begins = !self.is_joining() && !self.table.view().is_empty();
                if begins {
                    silent.into_iter().for_each(|info| self.probe(info));
                    self.launch_upkeep(Machine::Refresh(Refresh::new(Buckets::Only(alloc::vec::Vec::new()))));
                }
                begins
            }
        }
    }

    /// Whether a join or a refresh is under way, the node's own or a user's.
    pub(super) fn is_joining(&self) -> bool {
        self.running.values().any(|running| running.kind == OperationKind::Bootstrap)
    }

    /// Asks those again whose last request failed: they answer, or they leave the table.
    fn probe_failing_peers(&mut self) {
        let failing = self.table.iter().filter(|(_, _, standing)| standing.failures() > 0);
        let failing: alloc::vec::Vec<_> = failing.take(PROBES_MAX).map(|(info, _, _)| info.clone()).collect();
        failing.into_iter().for_each(|info| self.probe(info));
    }

    /// Remembers how an operation went.
    pub(super) fn note_outcome(&mut self, running: &Running, outcome: &Outcome) {
        let now = self.now.monotonic;
        let answered = running.requests > running.failures + running.in_flight.len();
        match operation_error(outcome) {
            None => {}
            Some(Ok(())) => self.checkup.history.lookup_ended(true, now),
            // Whoever gave it too little time cannot conclude anything from its end.
            Some(Err(OperationError::TimedOut)) if answered => {}
            Some(Err(
                OperationError::NoPeers | OperationError::NoAnswers { .. } | OperationError::TimedOut,
            )) => {
                self.checkup.history.lookup_ended(false, now);
            }
            Some(Err(_)) => {}
        }
        let (Machine::Publish(publish), Some((placed, wanted))) = (&running.machine, self.placed(outcome))
        else {
            return;
        };
        self.checkup.history.published(Key::of(publish.key()), placed, wanted, now);
    }

    /// Holders reached and holders wanted, of a publication that depended on the network.
    fn placed(&self, outcome: &Outcome) -> Option<(usize, usize)> {
        let none = (0, self.config.lookup.k.get());
        match outcome {
            Outcome::Provide(Ok(report)) | Outcome::PutValue(Ok(report)) => {
                Some((report.holders.len(), report.attempted))
            }
            Outcome::Provide(Err(ProvideError::NotSent { attempted, .. }))
            | Outcome::PutValue(Err(PutValueError::NotStored { attempted, .. })) => {
                Some((0, (*attempted).max(1)))
            }
            Outcome::Provide(Err(ProvideError::Operation(error)))
            | Outcome::PutValue(Err(PutValueError::Operation(error))) => match error {
                OperationError::NoPeers | OperationError::NoAnswers { .. } | OperationError::TimedOut => {
                    Some(none)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// After a join, what it came to is known: no need to wait for the next round.
    pub(super) fn joined(&mut self, outcome: &Outcome) {
        if matches!(outcome, Outcome::Bootstrap(_)) {
            self.health_round();
        }
    }
}

/// Whether an operation's lookup got answers, if it came to a lookup.
fn operation_error(outcome: &Outcome) -> Option<Result<(), OperationError>> {
    let error = match outcome {
        Outcome::Bootstrap(Err(BootstrapError::Unreachable { tried })) => {
            return Some(Err(OperationError::NoAnswers { asked: *tried }));
        }
        Outcome::Bootstrap(Err(BootstrapError::Operation(error))) => error,
        Outcome::ClosestPeers(Err(crate::error::ClosestPeersError::Operation(error))) => error,
        Outcome::FindPeer(Err(crate::error::FindPeerError::Operation(error))) => error,
        Outcome::FindProviders(Err(crate::error::FindProvidersError::Operation(error))) => error,
        Outcome::GetValue(Err(crate::error::GetValueError::Operation(error))) => error,
        Outcome::Provide(Err(ProvideError::Operation(error))) => error,
        Outcome::PutValue(Err(PutValueError::Operation(error))) => error,
        Outcome::FindPeer(Err(crate::error::FindPeerError::NotFound { answered }))
        | Outcome::GetValue(Err(crate::error::GetValueError::NotFound { answered })) => {
            return (*answered > 0).then_some(Ok(()));
        }
        outcome => return outcome.fault().is_none().then_some(Ok(())),
    };
    Some(Err(error.clone()))
}
