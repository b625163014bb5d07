//! What the node does unasked: refresh stale buckets, probe silent peers, join again when few are left.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Node, Serial};
use crate::bootstrap::{Bootstrap, Buckets, Refresh};
use crate::event::Event;
use crate::key::Key;
use crate::limits::{
    NEIGHBOURS_SETTLE, NEW_NEIGHBOURS_MIN, REFRESH_PREFIX_MAX, REJOIN_INTERVAL, REJOIN_SOON,
};
use crate::machine::Machine;
use crate::operation::{OperationKind, OperationOptions};
use crate::peer::Peer;
use crate::time::Timestamp;

/// When what is next due. Nothing runs before the node's first input has told the time.
#[derive(Clone, Debug, Default)]
pub(super) struct Upkeep {
    refresh_at: Option<Timestamp>,
    rejoin_at: Option<Timestamp>,
    /// The refresh or join of our own that is under way; one at a time.
    running: Option<Serial>,
    /// Newcomers among the k nearest since the last lookup of our own id began.
    new_neighbours: usize,
    /// When our own id is looked up on their account.
    own_at: Option<Timestamp>,
    /// When a lookup towards each bucket last ended.
    refreshed: Vec<Option<Timestamp>>,
}

impl Upkeep {
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        [self.refresh_at, self.rejoin_at, self.own_at].into_iter().flatten().min()
    }

    /// Somebody else has just begun to join again.
    pub(super) fn postpone_rejoin(&mut self, until: Timestamp) {
        self.rejoin_at = Some(until);
    }
}

impl Node {
    pub(super) fn start_upkeep_clock(&mut self) {
        if self.upkeep.refresh_at.is_none() {
            self.upkeep.refresh_at = Some(self.now.monotonic + self.config.table.refresh_interval);
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
        if self.upkeep.own_at.is_some_and(|at| at <= now) {
            self.upkeep.own_at = self.upkeep.running.map(|_| now + self.neighbours_settle());
            if self.upkeep.running.is_none() {
                let buckets = Buckets::Only(self.edge_bucket().into_iter().collect());
                self.launch_upkeep(Machine::Refresh(Refresh::new(buckets)));
            }
        }
        if self.upkeep.refresh_at.is_some_and(|at| at <= now) {
            self.upkeep.refresh_at = Some(now + self.config.table.refresh_interval);
            if self.upkeep.running.is_none() && !self.table.view().is_empty() {
                let is_small = self.table.view().len() < self.config.lookup.k.get();
                let buckets = if is_small { Buckets::All } else { Buckets::Only(self.stale_buckets()) };
                self.launch_upkeep(Machine::Refresh(Refresh::new(buckets)));
            }
        }
    }

    /// Refreshes what is stale now instead of at the end of the interval.
    pub(super) fn refresh_soon(&mut self) {
        self.upkeep.refresh_at = Some(self.now.monotonic);
    }

    /// Everybody may have gone out of reach, and others may be near now: who is still there is seen the stalest first, and
    /// every bucket is refreshed.
    pub(super) fn network_changed(&mut self) {
        self.table.suspect_all();
        self.upkeep.refreshed.clear();
        self.refresh_soon();
        self.probe_silent_soon();
        self.check_outage_soon();
    }

    /// How long newcomers near us are waited for.
    fn neighbours_settle(&self) -> Duration {
        self.config.table.refresh_interval / NEIGHBOURS_SETTLE
    }

    /// The bucket that the last of the k nearest is in. The answers to our own id are full of nearer peers, dead ones among
    /// them, and name the last ones seldom.
    fn edge_bucket(&self) -> Option<u16> {
        let view = self.table.view();
        let nearest = view.closest(&view.local().peer.key, self.config.lookup.k.get());
        let prefix_len = self.table.prefix_len(&nearest.last()?.peer.key);
        (prefix_len <= REFRESH_PREFIX_MAX).then_some(prefix_len)
    }

    /// Several new peers near us may know more of their kind: after a partition, or when a network is young, each lookup
    /// of our own id finds those who found each other since the one before. A single one has asked us, and is told.
    pub(super) fn neighbour_admitted(&mut self, peer: &Peer) {
        let view = self.table.view();
        let k = self.config.lookup.k.get();
        if !view.closest(&view.local().peer.key, k).iter().any(|near| near.peer == *peer) {
            return;
        }
        self.upkeep.new_neighbours += 1;
        if self.upkeep.new_neighbours >= NEW_NEIGHBOURS_MIN && self.upkeep.own_at.is_none() {
            self.upkeep.own_at = Some(self.now.monotonic + self.neighbours_settle());
        }
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
        // Each begins with our own id, so whoever is found from now on was not known to it.
        (self.upkeep.new_neighbours, self.upkeep.own_at) = (0, None);
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
