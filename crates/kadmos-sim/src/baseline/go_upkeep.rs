//! What go's node does unasked: refreshes, pings, and the search for peers when it has few.
//!
//! Models go-libp2p-kad-dht `rtrefresh/rt_refresh_manager.go` (`loop`, `pingAndEvictPeers`, `doRefresh`), `dht.go`
//! (`rtPeerLoop`, `runFixLowPeersLoop`, `fixLowPeers`) and `dht_bootstrap.go`. Two things are left out in go's favour: a
//! stranger that a walk asks is not asked a second time when it identifies; and the request for another refresh with
//! which the first one of a new table ends always meets a manager that is still busy.

use std::collections::BTreeMap;

use bytes::Bytes;
use kadmos_core::message::Request;
use kadmos_core::{PeerInfo, Timestamp};

use super::client::{Client, Role, Serial};
use super::go;
use super::job::{Goal, Joining};
use crate::random::below;

/// What is remembered between one thing that is done unasked and the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Upkeep {
    /// By prefix length, when a walk to it was last complete. Source: `cplRefreshedAt`.
    refreshed: BTreeMap<u16, Timestamp>,
    /// Whether the table was empty and no refresh has finished since. Source: `isBootsrapping`.
    bootstrapping: bool,
    /// Refreshes that have finished since the table was empty. Source: `bootstrapCount`.
    finished: u32,
    /// When nobody in the table is replaced any more.
    freeze_at: Option<Timestamp>,
    /// Whether somebody asked to look at how few peers there are. Source: `fixLowPeersChan`, which holds one.
    wants_peers: bool,
    /// When that is looked at next, whatever happens.
    low_at: Option<Timestamp>,
    /// Bootstrap peers being connected to, one after the other.
    connecting: Option<Connecting>,
}

#[derive(Clone, Debug)]
struct Connecting {
    /// The next one last.
    queue: Vec<PeerInfo>,
    found: usize,
}

/// How far a refresh is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Refresh {
    /// It waits for the bootstrap peers, as an operation that a user has begun.
    #[default]
    Contacting,
    /// Nothing has been done yet.
    Due,
    /// Those that were silent for long are being asked.
    Pinging,
    /// Our own id is looked up.
    OwnId { forced: bool },
    /// Prefixes are looked up one after the other, up to `last`; `gap` once one without peers was met.
    Prefixes { forced: bool, next: u16, last: u16, gap: bool },
}

impl Upkeep {
    /// Asks to look at how few peers there are. Source: `fixRTIfNeeded`.
    pub(super) fn want_peers(&mut self) {
        self.wants_peers = true;
    }

    /// A peer comes into an empty table.
    pub(super) fn begin_bootstrapping(&mut self) {
        (self.bootstrapping, self.finished, self.freeze_at) = (true, 0, None);
    }

    pub(super) fn is_bootstrapping(&self) -> bool {
        self.bootstrapping
    }

    /// A walk to a key of this prefix was complete. Source: `ResetCplRefreshedAtForID`.
    pub(super) fn refreshed(&mut self, prefix_len: u16, now: Timestamp) {
        if prefix_len <= go::REFRESH_PREFIX_MAX {
            self.refreshed.insert(prefix_len, now);
        }
    }

    /// A refresh has finished without a gap. Source: `rtPeerLoop`, `refreshFinishedCh`.
    fn refresh_finished(&mut self, now: Timestamp) {
        self.finished = self.finished.saturating_add(1);
        self.bootstrapping = false;
        if self.finished == 2 {
            self.freeze_at = Some(now + go::FREEZE_AFTER);
        }
    }

    /// Whether a prefix has not been looked up for long enough. Source: `refreshCplIfEligible`.
    fn is_stale(&self, prefix_len: u16, now: Timestamp) -> bool {
        self.refreshed.get(&prefix_len).is_none_or(|at| now.since(*at) > go::REFRESH_AGE_MIN)
    }
}

impl Client {
    /// When the earliest of go's own is due.
    pub(super) fn next_upkeep(&self) -> Option<Timestamp> {
        self.upkeep.low_at.into_iter().chain(self.upkeep.freeze_at).min()
    }

    /// Does what is due of go's own, but for the refresh.
    pub(super) fn run_go_upkeep(&mut self) {
        let now = self.now.monotonic;
        if self.upkeep.freeze_at.is_some_and(|at| at <= now) {
            self.upkeep.freeze_at = None;
            self.table.freeze();
        }
        if self.upkeep.low_at.is_some_and(|at| at <= now) {
            self.upkeep.low_at = Some(now + go::LOW_PEERS_INTERVAL);
            self.upkeep.want_peers();
        }
    }

    /// Looks for more peers if somebody asked to and there are few. Source: `fixLowPeers`.
    pub(super) fn fix_low_peers(&mut self) {
        if !self.baseline.is_go() || !self.keeps_up {
            return;
        }
        if self.upkeep.low_at.is_none() {
            self.upkeep.low_at = Some(self.now.monotonic + go::LOW_PEERS_INTERVAL);
        }
        // The loop is busy while it connects; what is asked for meanwhile waits.
        if self.upkeep.connecting.is_some() || !std::mem::take(&mut self.upkeep.wants_peers) {
            return;
        }
        if self.table.len() > go::LOW_PEERS {
            return;
        }
        let servers: Vec<_> = self.connected.values().flatten().cloned().collect();
        servers.into_iter().for_each(|info| self.consider(info));
        if !self.table.is_empty() {
            return self.refresh_unforced();
        }
        let mut queue = self.bootstrap_peers.clone();
        for end in (1..queue.len()).rev() {
            let other = below(&mut self.rng, end as u64 + 1) as usize; // at most `end`
            queue.swap(end, other);
        }
        if !queue.is_empty() {
            self.upkeep.connecting = Some(Connecting { queue, found: 0 });
            self.connect_next();
        }
    }

    /// A connection to a bootstrap peer is up, or failed.
    pub(super) fn connect_ended(&mut self, succeeded: bool) {
        if let Some(connecting) = &mut self.upkeep.connecting {
            connecting.found += usize::from(succeeded);
            self.connect_next();
        }
    }

    fn connect_next(&mut self) {
        while let Some(connecting) = &mut self.upkeep.connecting {
            let next = connecting.queue.pop().filter(|_| connecting.found < go::BOOTSTRAPPERS);
            match next {
                None => self.upkeep.connecting = None,
                Some(info) if self.connected.contains_key(&info.peer.id) => connecting.found += 1,
                Some(info) => {
                    // Connecting ends with identify, and that with the check whether it answers: one request here.
                    let key = Bytes::copy_from_slice(info.peer.id.as_bytes());
                    return self.ask(Role::Connect, info, Request::FindNode { key });
                }
            }
        }
        self.refresh_unforced();
    }

    /// Begins a refresh of what is stale, unless one is under way. Source: `RefreshNoWait`.
    pub(super) fn refresh_unforced(&mut self) {
        self.refresh(Joining { refresh: Refresh::Due, ..Joining::default() });
    }

    /// A refresh goes on, now that nothing of it is under way.
    pub(super) fn advance_refresh(&mut self, serial: Serial) {
        let Some(stage) = self.refresh_stage(serial) else { return };
        let next = match *stage {
            Refresh::Due => {
                *stage = Refresh::Pinging;
                return self.ping_silent(serial);
            }
            Refresh::Contacting => Refresh::OwnId { forced: true },
            Refresh::Pinging => Refresh::OwnId { forced: false },
            Refresh::OwnId { forced } => {
                let deepest = self.table.view().buckets().map(|(prefix_len, _)| prefix_len).last();
                let last = deepest.unwrap_or(0).min(go::REFRESH_PREFIX_MAX);
                Refresh::Prefixes { forced, next: 0, last, gap: false }
            }
            prefixes @ Refresh::Prefixes { .. } => prefixes,
        };
        if self.table.is_empty() {
            return self.finish(serial, false);
        }
        match next {
            Refresh::Prefixes { forced, next, last, gap } => {
                self.refresh_prefixes(serial, forced, next, last, gap);
            }
            own_id => {
                let key = Bytes::copy_from_slice(self.table.view().local().peer.id.as_bytes());
                self.refresh_walk(serial, own_id, key);
            }
        }
    }

    /// Asks those of the table to whom no query has succeeded for long, all at once. Source: `pingAndEvictPeers`.
    fn ping_silent(&mut self, serial: Serial) {
        for info in self.table.silent_for(go::PING_AFTER, self.now.monotonic) {
            let key = Bytes::copy_from_slice(info.peer.id.as_bytes());
            self.ask(Role::Ping(serial), info, Request::FindNode { key });
        }
        if self.jobs.get(&serial).is_some_and(|job| job.open == 0) {
            self.advance_refresh(serial);
        }
    }

    /// Looks up the next prefix that is stale. Source: `doRefresh`.
    fn refresh_prefixes(&mut self, serial: Serial, forced: bool, from: u16, last: u16, gap: bool) {
        let now = self.now.monotonic;
        let (mut next, mut last, mut gap) = (from, last, gap);
        loop {
            // Behind the first prefix without peers, not much more is looked up.
            if !gap && next > 0 && self.table.peers_in(next - 1) == 0 {
                (gap, last) = (true, last.min(2 * next));
            }
            if next > last {
                break;
            }
            let prefix_len = next;
            next += 1;
            if forced || self.upkeep.is_stale(prefix_len, now) {
                let Some(key) = self.key_in_bucket(prefix_len) else { continue };
                return self.refresh_walk(serial, Refresh::Prefixes { forced, next, last, gap }, key);
            }
        }
        if !gap {
            self.upkeep.refresh_finished(now);
        }
        self.finish(serial, false);
    }

    fn refresh_walk(&mut self, serial: Serial, stage: Refresh, key: Bytes) {
        if let Some(known) = self.refresh_stage(serial) {
            *known = stage;
        }
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.key = key;
        }
        self.begin_walk(serial);
        let until = self.now.monotonic + go::REFRESH_WALK_TIMEOUT;
        if let Some(job) = self.jobs.get_mut(&serial) {
            job.walk_until = Some(until);
        }
        self.advance(serial);
    }

    fn refresh_stage(&mut self, serial: Serial) -> Option<&mut Refresh> {
        match &mut self.jobs.get_mut(&serial)?.goal {
            Goal::Bootstrap(joining) => Some(&mut joining.refresh),
            _ => None,
        }
    }
}
