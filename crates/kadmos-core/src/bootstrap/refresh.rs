//! Lookups for the table's own sake: our neighbourhood, then a random key in each bucket.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use super::preimages::id_in_bucket;
use crate::error::BootstrapError;
use crate::key::Key;
use crate::limits::{NEIGHBOURS_HOLD_MAX, REFRESH_PREFIX_MAX, REFRESH_WALKS_MAX};
use crate::lookup::{Walk, walk_failure};
use crate::machine::{Context, Effect, Tag};
use crate::message::{Request, Response};
use crate::netsize::Sample;
use crate::operation::{Bootstrapped, Outcome};
use crate::peer::{Peer, PeerInfo};
use crate::time::Timestamp;

/// Which buckets to refresh after the lookup of our own id.
#[derive(Clone, Debug)]
pub(crate) enum Buckets {
    /// All up to that of the last of the k nearest when the own lookup has ended: it has asked all in deeper ones.
    All,
    /// These.
    Only(Vec<u16>),
}

/// First the own id, which completes the neighbourhood and tells how deep the table is; then the buckets, at most
/// [`REFRESH_WALKS_MAX`] at once. go-libp2p-kad-dht refreshes one after the other and stops at the first gap.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    buckets: Buckets,
    /// Buckets still to do, the next one last: of all the deepest, of stale ones the shallowest; filled once the own lookup has ended.
    pending: Option<Vec<u16>>,
    /// The walks under way, with the key that is asked for.
    walks: BTreeMap<Tag, (Bytes, Walk)>,
    next_tag: Tag,
    /// Until when the first bucket waits for neighbours, at the longest, and when to look again.
    held_until: Option<Timestamp>,
    look_at: Option<Timestamp>,
    refreshed: usize,
    requests: usize,
    failure: Option<BootstrapError>,
}

impl Refresh {
    pub(crate) fn new(buckets: Buckets) -> Self {
        Self {
            buckets,
            pending: None,
            walks: BTreeMap::new(),
            next_tag: 0,
            held_until: None,
            look_at: None,
            refreshed: 0,
            requests: 0,
            failure: None,
        }
    }

    pub(crate) fn start(&mut self, cx: &mut Context<'_>) {
        self.start_from(cx, &[]);
    }

    /// As [`Refresh::start`]; the lookup of the own id also begins at `seeds`.
    pub(super) fn start_from(&mut self, cx: &mut Context<'_>, seeds: &[PeerInfo]) {
        let own_id = Bytes::copy_from_slice(cx.table.view().local().peer.id.as_bytes());
        self.begin(cx, own_id, seeds);
        self.advance(cx);
    }

    /// Further peers for the lookup of the own id, if it is under way.
    pub(super) fn seed(&mut self, cx: &mut Context<'_>, seeds: &[PeerInfo]) {
        if self.pending.is_none()
            && let Some((_, walk)) = self.walks.values_mut().next()
        {
            walk.refill(seeds, cx.now.monotonic);
            self.advance(cx);
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag, response: &Response) {
        if let Some((_, walk)) = self.walks.get_mut(&tag) {
            walk.answered(peer, response.closer(), cx.now.monotonic);
            self.advance(cx);
        }
    }

    pub(crate) fn failed(&mut self, cx: &mut Context<'_>, peer: &Peer, tag: Tag) {
        if let Some((_, walk)) = self.walks.get_mut(&tag) {
            walk.failed(peer, cx.now.monotonic);
            self.advance(cx);
        }
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        for (_, walk) in self.walks.values_mut() {
            walk.handle_timeout(cx.now.monotonic);
        }
        self.advance(cx);
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        let walks = self.walks.values().filter_map(|(_, walk)| walk.next_timeout());
        walks.chain(self.look_at).min()
    }

    /// Whether our own id is being looked up.
    pub(crate) fn looks_itself_up(&self) -> bool {
        self.pending.is_none()
    }

    pub(crate) fn expired(&mut self) -> Outcome {
        Outcome::Bootstrap(Ok(Bootstrapped { buckets: self.refreshed, ..Bootstrapped::default() }))
    }

    /// Buckets refreshed so far.
    pub(super) fn refreshed(&self) -> usize {
        self.refreshed
    }

    /// Requests sent so far.
    pub(super) fn requests(&self) -> usize {
        self.requests
    }

    fn begin(&mut self, cx: &mut Context<'_>, key: Bytes, seeds: &[PeerInfo]) {
        let walk = cx.walk_from(Key::of(&key), seeds);
        self.walks.insert(self.next_tag, (key, walk));
        self.next_tag += 1;
    }

    /// Sends what the walks want to send, ends those that are done and begins the next, until nothing changes.
    fn advance(&mut self, cx: &mut Context<'_>) {
        loop {
            let mut ended = Vec::new();
            for (tag, (key, walk)) in &mut self.walks {
                if cx.has_ended(walk) {
                    ended.push(*tag);
                }
                while let Some(to) = walk.next_peer() {
                    self.requests += 1;
                    cx.send(to, Request::FindNode { key: key.clone() }, *tag);
                }
            }
            for tag in &ended {
                if let Some((_, walk)) = self.walks.remove(tag) {
                    self.finish_walk(cx, &walk);
                }
            }
            let began = self.begin_next(cx);
            if ended.is_empty() && !began {
                break;
            }
        }
        if self.walks.is_empty() && self.look_at.is_none() {
            let done = Bootstrapped { buckets: self.refreshed, ..Bootstrapped::default() };
            let result = self.failure.take().map_or(Ok(done), Err);
            cx.emit(Effect::Ended(Outcome::Bootstrap(result)));
        }
    }

    fn finish_walk(&mut self, cx: &mut Context<'_>, walk: &Walk) {
        let prefix_len = cx.table.prefix_len(walk.target());
        if prefix_len < Key::BITS {
            self.refreshed += 1;
            cx.emit(Effect::Refreshed { prefix_len, answered: walk_failure(walk).is_none() });
        }
        // The own neighbourhood is no random place; a walk that was cut short has not seen the nearest, and one most of
        // whose peers failed says more of our own connection than of the network.
        if self.pending.is_some() && walk.is_complete() && walk.asked() <= 2 * walk.answers() {
            let own = &cx.table.view().local().peer.key;
            let k = cx.config.lookup.k.get();
            if let Some(sample) = Sample::of(own, walk.target(), &walk.closest(), k) {
                cx.emit(Effect::Measured(sample));
            }
        }
        if self.pending.is_none() {
            self.failure = walk_failure(walk).map(BootstrapError::Operation);
            self.pending = Some(match (&self.buckets, &self.failure) {
                (_, Some(_)) => Vec::new(),
                (Buckets::Only(buckets), None) => buckets.clone(),
                (Buckets::All, None) => {
                    self.held_until = Some(cx.now.monotonic + NEIGHBOURS_HOLD_MAX);
                    let edge = cx.table.edge(cx.config.lookup.k.get());
                    (0..=edge.min(REFRESH_PREFIX_MAX)).collect()
                }
            });
        }
    }

    fn begin_next(&mut self, cx: &mut Context<'_>) -> bool {
        if self.walks.len() >= REFRESH_WALKS_MAX {
            return false;
        }
        // Those who join with us come first: where many do at once, dials far away would delay them.
        let now = cx.now.monotonic;
        self.look_at = match (self.held_until, cx.neighbours_settle_at) {
            (Some(until), Some(at)) if now < until && now < at => Some(at.min(until)),
            _ => None,
        };
        if self.look_at.is_some() {
            return false;
        }
        self.held_until = None;
        let Some(prefix_len) = self.pending.as_mut().and_then(Vec::pop) else { return false };
        let own_key = cx.table.view().local().peer.key;
        let id = match cx.preimages {
            Some(preimages) => preimages.pick(&own_key, prefix_len, cx.rng),
            None => id_in_bucket(&own_key, prefix_len, cx.rng),
        };
        self.begin(cx, Bytes::copy_from_slice(id.as_bytes()), &[]);
        true
    }
}
