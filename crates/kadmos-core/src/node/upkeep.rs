//! What the node does unasked: refresh stale buckets, probe silent peers, join again when few are left.

use alloc::vec::Vec;

use super::{Node, Serial};
use crate::bootstrap::{Bootstrap, Buckets, Refresh};
use crate::event::Event;
use crate::key::Key;
use crate::limits::{REFRESH_PREFIX_MAX, REJOIN_INTERVAL};
use crate::machine::Machine;
use crate::operation::{OperationKind, OperationOptions};
use crate::peer::PeerInfo;
use crate::time::Timestamp;

/// When what is next due. Nothing runs before the node's first input has told the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Upkeep {
    refresh_at: Option<Timestamp>,
    rejoin_at: Option<Timestamp>,
    /// The refresh or join of our own that is under way; one at a time.
    running: Option<Serial>,
    /// When a lookup towards each bucket last ended.
    refreshed: Vec<Option<Timestamp>>,
}

impl Upkeep {
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        match (self.refresh_at, self.rejoin_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Node {
    pub(super) fn start_upkeep_clock(&mut self) {
        if self.upkeep.refresh_at.is_none() {
            self.upkeep.refresh_at = Some(self.now.monotonic + self.config.table.refresh_interval);
            self.upkeep.rejoin_at = Some(self.now.monotonic + REJOIN_INTERVAL);
        }
    }

    pub(super) fn run_upkeep(&mut self) {
        let now = self.now.monotonic;
        if self.upkeep.rejoin_at.is_some_and(|at| at <= now) {
            self.upkeep.rejoin_at = Some(now + REJOIN_INTERVAL);
            let few = self.table.view().len() < self.config.table.peers_min;
            if few && !self.bootstrap_peers.is_empty() && self.upkeep.running.is_none() {
                self.launch_upkeep(Machine::Bootstrap(Bootstrap::new()));
            }
        }
        if self.upkeep.refresh_at.is_some_and(|at| at <= now) {
            self.upkeep.refresh_at = Some(now + self.config.table.refresh_interval);
            self.probe_silent_peers();
            if self.upkeep.running.is_none() && !self.table.view().is_empty() {
                let stale = self.stale_buckets();
                self.launch_upkeep(Machine::Refresh(Refresh::new(Buckets::Only(stale))));
            }
        }
    }

    pub(super) fn upkeep_ended(&mut self, serial: Serial) {
        if self.upkeep.running == Some(serial) {
            self.upkeep.running = None;
        }
    }

    pub(super) fn bucket_refreshed(&mut self, prefix_len: u16) {
        if prefix_len >= Key::BITS {
            return;
        }
        let index = usize::from(prefix_len);
        if self.upkeep.refreshed.len() <= index {
            self.upkeep.refreshed.resize(index + 1, None);
        }
        self.upkeep.refreshed[index] = Some(self.now.monotonic);
        let peers = self.table.view().buckets().nth(index).map_or(0, |(_, bucket)| bucket.len());
        self.emit(Event::BucketRefreshed { prefix_len, peers });
    }

    fn launch_upkeep(&mut self, machine: Machine) {
        let kind = OperationKind::Bootstrap;
        // A refresh that outlives its interval would only delay the next.
        let deadline = self.config.table.refresh_interval;
        let serial = self.launch(machine, kind, None, OperationOptions::default(), deadline);
        if self.running.contains_key(&serial) {
            self.upkeep.running = Some(serial);
        }
    }

    /// Buckets, up to the deepest that has peers, that saw no lookup in the last half of `table.refresh_interval`;
    /// shallowest last. Half, because a bucket that is refreshed at each interval is always a little younger than one.
    fn stale_buckets(&self) -> Vec<u16> {
        let deepest = self.table.view().buckets().map(|(prefix_len, _)| prefix_len).max().unwrap_or(0);
        let fresh_for = self.config.table.refresh_interval / 2;
        let is_stale = |prefix_len: &u16| {
            let refreshed = self.upkeep.refreshed.get(usize::from(*prefix_len)).copied().flatten();
            refreshed.is_none_or(|at| self.now.monotonic.since(at) >= fresh_for)
        };
        (0..=deepest.min(REFRESH_PREFIX_MAX)).rev().filter(is_stale).collect()
    }

    fn probe_silent_peers(&mut self) {
        let probe_after = self.config.table.probe_after;
        let now = self.now.monotonic;
        let silent: Vec<PeerInfo> = self
            .table
            .iter_answered()
            .filter(|(_, at)| now.since(*at) >= probe_after)
            .map(|(info, _)| info.clone())
            .collect();
        for info in silent {
            self.probe_silent(info);
        }
    }
}
