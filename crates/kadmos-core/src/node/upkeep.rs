//! What the node does unasked: refresh stale buckets, probe silent peers, join again when few are left.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Node, Serial};
use crate::bootstrap::{Bootstrap, Buckets, Refresh};
use crate::event::Event;
use crate::key::Key;
use crate::limits::{REFRESH_PREFIX_MAX, REJOIN_INTERVAL, REJOIN_SOON, YOUNG_REFRESH};
use crate::machine::Machine;
use crate::operation::{OperationKind, OperationOptions};
use crate::time::Timestamp;

/// When what is next due. Nothing runs before the node's first input has told the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Upkeep {
    refresh_at: Option<Timestamp>,
    /// From the next refresh to the one after it: shorter while the node is young.
    refresh_after: Duration,
    rejoin_at: Option<Timestamp>,
    /// The refresh or join of our own that is under way; one at a time.
    running: Option<Serial>,
    /// When a lookup towards each bucket last ended.
    refreshed: Vec<Option<Timestamp>>,
}

impl Upkeep {
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        [self.refresh_at, self.rejoin_at].into_iter().flatten().min()
    }

    /// Somebody else has just begun to join again.
    pub(super) fn postpone_rejoin(&mut self, until: Timestamp) {
        self.rejoin_at = Some(until);
    }
}

impl Node {
    pub(super) fn start_upkeep_clock(&mut self) {
        if self.upkeep.refresh_at.is_none() {
            let interval = self.config.table.refresh_interval;
            // With a table that was restored before the first input, as simulators do, a node is not young.
            let first = if self.table.view().is_empty() { interval / YOUNG_REFRESH } else { interval };
            self.upkeep.refresh_after = first;
            self.upkeep.refresh_at = Some(self.now.monotonic + first);
            self.upkeep.rejoin_at = Some(self.now.monotonic + REJOIN_INTERVAL);
            self.checkup.start_clock(self.now.monotonic + self.config.health.interval);
        }
    }

    pub(super) fn run_upkeep(&mut self) {
        let now = self.now.monotonic;
        if self.upkeep.rejoin_at.is_some_and(|at| at <= now) {
            self.upkeep.rejoin_at = Some(now + REJOIN_INTERVAL);
            if self.has_few() && self.upkeep.running.is_none() {
                if !self.bootstrap_peers.is_empty() {
                    self.launch_upkeep(Machine::Bootstrap(Bootstrap::new()));
                } else if !self.table.view().is_empty() {
                    self.launch_upkeep(Machine::Refresh(Refresh::new(Buckets::All)));
                }
            }
        }
        if self.upkeep.refresh_at.is_some_and(|at| at <= now) {
            let interval = self.config.table.refresh_interval;
            let is_young = 2 * self.upkeep.refresh_after < interval;
            self.upkeep.refresh_after = (2 * self.upkeep.refresh_after).min(interval);
            self.upkeep.refresh_at = Some(now + self.upkeep.refresh_after);
            // While we are cut off nobody would answer; when that is over, there is a refresh.
            if self.upkeep.running.is_none() && !self.is_cut_off() && !self.table.view().is_empty() {
                let is_small = self.table.view().len() < self.config.lookup.k.get();
                let buckets = match is_small {
                    true => Buckets::All,
                    false if is_young => Buckets::Only(self.edge_bucket().into_iter().collect()),
                    false => Buckets::Only(self.stale_buckets()),
                };
                self.launch_upkeep(Machine::Refresh(Refresh::new(buckets)));
            }
        }
    }

    /// Refreshes what is stale now instead of at the end of the interval, also while the node is young.
    pub(super) fn refresh_soon(&mut self) {
        self.upkeep.refresh_after = self.config.table.refresh_interval;
        self.upkeep.refresh_at = Some(self.now.monotonic);
    }

    /// As [`Node::refresh_soon`], and every bucket, whenever it was looked at last.
    pub(super) fn refresh_all_soon(&mut self) {
        self.upkeep.refreshed.clear();
        self.refresh_soon();
    }

    /// Everybody may have gone out of reach, and others may be near now: who is still there is seen the stalest first, and
    /// every bucket is refreshed.
    pub(super) fn network_changed(&mut self) {
        self.table.suspect_all();
        self.refresh_all_soon();
        self.probe_silent_soon();
        self.check_outage_soon();
    }

    /// The bucket that the last of the k nearest is in. The answers to our own id are full of nearer peers, dead ones among
    /// them, and name the last ones seldom.
    fn edge_bucket(&self) -> Option<u16> {
        let prefix_len = self.table.edge(self.config.lookup.k.get());
        (prefix_len <= REFRESH_PREFIX_MAX).then_some(prefix_len)
    }

    /// Joins again soon when the table has become small; each peer that leaves brings that forward once.
    pub(super) fn rejoin_if_few(&mut self) {
        let soon = self.now.monotonic + REJOIN_SOON;
        if self.has_few() {
            self.upkeep.rejoin_at = self.upkeep.rejoin_at.map(|at| at.min(soon));
        }
    }

    fn has_few(&self) -> bool {
        self.table.view().len() < self.config.table.peers_min
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

    pub(super) fn launch_upkeep(&mut self, machine: Machine) {
        let kind = OperationKind::Bootstrap;
        // A refresh that outlives its interval would only delay the next.
        let deadline = self.config.table.refresh_interval;
        let serial = self.launch(machine, kind, None, OperationOptions::default(), deadline);
        if self.running.contains_key(&serial) {
            self.upkeep.running = Some(serial);
        }
    }

    /// Buckets, up to the deepest that has peers, that saw no lookup in the last half of `table.refresh_interval`, and
    /// empty ones above it whenever they did; shallowest last. Half, because a bucket that is refreshed at each interval is
    /// always a little younger than one.
    ///
    /// Those that lie wholly among the k nearest are left out: the lookup of our own id, which each refresh begins with,
    /// asks all of them and finds whoever else is there.
    fn stale_buckets(&self) -> Vec<u16> {
        let fresh_for = self.config.table.refresh_interval / 2;
        let is_stale = |prefix_len: u16, len: usize| {
            let refreshed = self.upkeep.refreshed.get(usize::from(prefix_len)).copied().flatten();
            len == 0 || refreshed.is_none_or(|at| self.now.monotonic.since(at) >= fresh_for)
        };
        let lens: Vec<_> =
            self.table.view().buckets().map(|(prefix_len, bucket)| (prefix_len, bucket.len())).collect();
        let mut stale = Vec::new();
        let mut deeper = 0;
        for (prefix_len, len) in lens.into_iter().rev() {
            deeper += len;
            if deeper >= self.config.lookup.k.get()
                && prefix_len <= REFRESH_PREFIX_MAX
                && is_stale(prefix_len, len)
            {
                stale.push(prefix_len);
            }
        }
        stale
    }
}
