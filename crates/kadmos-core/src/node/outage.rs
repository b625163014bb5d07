//! Whether it is us who are cut off: then nobody is dropped for not answering.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use super::Node;
use crate::event::{Event, Eviction};
use crate::limits::{OUTAGE_FAILURES_MAX, OUTAGE_PEERS, OUTAGE_PROBE_MAX, OUTAGE_PROBE_MIN, OUTAGE_PROBES};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::Timestamp;

/// What the failures and answers of late say about our own connection.
///
/// ```text
/// connected ── several table peers fail, none answered since they were asked ──> checking: the best are asked
/// checking ── one answers ──> connected: the failures were theirs, and count
/// checking ── none answers ──> cut off: a few are asked now and then ── one answers ──> connected: all is forgiven
/// ```
#[derive(Clone, Debug, Default)]
pub(super) struct Outage {
    state: State,
    /// When anybody last answered.
    answered: Option<Timestamp>,
}

#[derive(Clone, Debug)]
enum State {
    /// Table peers that failed, none having answered since they were asked.
    Connected { failed: BTreeSet<PeerId> },
    Checking {
        /// Those being asked.
        asked: BTreeSet<PeerId>,
        /// Failures that count if it is not us.
        failed: Vec<Peer>,
    },
    CutOff {
        since: Timestamp,
        probe_at: Timestamp,
        /// From one round of probes to the next.
        pause: Duration,
        /// Whose turn it is, as a place in the table.
        turn: usize,
    },
}

impl Default for State {
    fn default() -> Self {
        Self::Connected { failed: BTreeSet::new() }
    }
}

impl Node {
    /// Whether nobody answers, so that no failure counts.
    pub(super) fn is_cut_off(&self) -> bool {
        matches!(self.outage.state, State::CutOff { .. })
    }

    pub(super) fn next_outage_probe(&self) -> Option<Timestamp> {
        match self.outage.state {
            State::CutOff { probe_at, .. } => Some(probe_at),
            State::Connected { .. } | State::Checking { .. } => None,
        }
    }

    /// Something came back from the network, even if it was no use.
    pub(super) fn network_answers(&mut self) {
        self.outage.answered = Some(self.now.monotonic);
        match &mut self.outage.state {
            State::Connected { failed } => failed.clear(),
            State::Checking { failed, .. } => {
                let failed = core::mem::take(failed);
                self.outage.state = State::default();
                failed.iter().for_each(|peer| self.count_failure(peer));
            }
            State::CutOff { since, .. } => {
                let elapsed = self.now.monotonic.since(*since);
                self.outage.state = State::default();
                self.table.forgive();
                self.emit(Event::OutageOver { elapsed });
                self.checkup.outage_over();
                self.failures.clear();
                self.refresh_soon();
                self.probe_silent_soon();
            }
        }
    }

    /// A request that was sent to `peer` at `sent` was not answered.
    pub(super) fn peer_is_silent(&mut self, peer: &Peer, sent: Timestamp) {
        if self.check_failed(peer) {
            return self.cut_off();
        }
        if !self.table.contains(peer) {
            return;
        }
        let answered_since = self.outage.answered.is_some_and(|at| at > sent);
        match &mut self.outage.state {
            State::Connected { failed } => {
                if !answered_since {
                    failed.insert(peer.id);
                }
                let failed = failed.len();
                let suspected = failed >= OUTAGE_PEERS.min(self.table.view().len().max(OUTAGE_PEERS_MIN));
                self.count_failure(peer);
                if suspected {
                    self.begin_checking();
                }
            }
            State::Checking { failed, .. } => {
                if failed.len() < OUTAGE_FAILURES_MAX && !failed.contains(peer) {
                    failed.push(peer.clone());
                }
            }
            State::CutOff { .. } => {}
        }
    }

    /// Sends the probes that are due while we are cut off.
    pub(super) fn run_outage(&mut self) {
        let now = self.now.monotonic;
        let State::CutOff { probe_at, pause, turn, .. } = &mut self.outage.state else { return };
        if *probe_at > now {
            return;
        }
        *probe_at = now + *pause;
        *pause = (*pause * 2).min(OUTAGE_PROBE_MAX);
        let first = *turn;
        *turn = first.wrapping_add(OUTAGE_PROBES);
        let len = self.table.view().len();
        let mut asked: Vec<PeerInfo> = Vec::new();
        if len > 0 {
            let peers = self.table.view().iter().chain(self.table.view().iter());
            asked.extend(peers.skip(first % len).take(OUTAGE_PROBES.min(len)).cloned());
        }
        if !self.bootstrap_peers.is_empty() {
            asked.push(self.bootstrap_peers[first % self.bootstrap_peers.len()].clone());
        }
        asked.retain(|info| !self.is_asking(&info.peer));
        asked.into_iter().for_each(|info| self.probe(info));
    }

    /// The network that we are connected by has changed: if we were cut off, we may be so no longer.
    pub(super) fn check_outage_soon(&mut self) {
        let now = self.now.monotonic;
        if let State::CutOff { probe_at, pause, .. } = &mut self.outage.state {
            (*probe_at, *pause) = (now, OUTAGE_PROBE_MIN);
        }
    }

    /// Counts a failed request against a table peer, which leaves with the last that it has.
    pub(super) fn count_failure(&mut self, peer: &Peer) {
        let info = self.table.view().get_peer(peer).cloned();
        if self.table.failed(peer).is_some() {
            if let Some(info) = info {
                self.peer_lost(info);
            }
            self.left(peer.clone(), Eviction::Failed);
        }
    }

    /// Asks those who answered last, and somebody to join through; those who have failed would say nothing new.
    fn begin_checking(&mut self) {
        let State::Connected { failed } = &self.outage.state else { return };
        let failed = failed.clone();
        let mut best: Vec<_> = self
            .table
            .iter()
            .filter(|(info, ..)| !failed.contains(&info.peer.id))
            .map(|(info, _, standing)| (standing.last_answer(), info))
            .collect();
        best.sort_by_key(|(answered, _)| core::cmp::Reverse(*answered));
        let mut asked: Vec<PeerInfo> =
            best.into_iter().take(OUTAGE_PROBES).map(|(_, info)| info.clone()).collect();
        let join = self.bootstrap_peers.iter().find(|info| !failed.contains(&info.peer.id));
        if let Some(join) = join.filter(|join| asked.iter().all(|info| info.peer != join.peer)) {
            asked.push(join.clone());
        }
        let ids = asked.iter().map(|info| info.peer.id).collect();
        self.outage.state = State::Checking { asked: ids, failed: Vec::new() };
        if asked.is_empty() {
            return self.cut_off();
        }
        // One that is being asked anyway will tell as well.
        asked.into_iter().for_each(|info| self.probe(info));
    }

    /// Notes that one of those being asked failed; returns whether it was the last.
    fn check_failed(&mut self, peer: &Peer) -> bool {
        let State::Checking { asked, .. } = &mut self.outage.state else { return false };
        asked.remove(&peer.id) && asked.is_empty()
    }

    fn cut_off(&mut self) {
        let failed = match &self.outage.state {
            State::Checking { failed, .. } => failed.len(),
            State::Connected { .. } | State::CutOff { .. } => 0,
        };
        let since = self.now.monotonic;
        let probe_at = since + OUTAGE_PROBE_MIN;
        self.outage.state = State::CutOff { since, probe_at, pause: OUTAGE_PROBE_MIN * 2, turn: 0 };
        self.emit(Event::OutageSuspected { failed });
    }
}

/// In a smaller table so many failures are needed: one or two peers that do not answer are just gone.
const OUTAGE_PEERS_MIN: usize = 3;
