//! One walk of any of the modelled clients.

use bytes::Bytes;
use kadmos_core::{Key, Peer, PeerInfo, Timestamp};

use super::{Baseline, go, original, rust_libp2p};

#[derive(Clone, Debug)]
pub(super) enum Walk {
    Go(go::Walk),
    Original(original::Walk),
    RustLibp2p(rust_libp2p::Walk),
}

impl Walk {
    /// A walk to `key` from the peers of the table, nearest first.
    pub(super) fn new<'a>(
        baseline: Baseline,
        key: &Bytes,
        seeds: impl IntoIterator<Item = &'a PeerInfo>,
    ) -> Self {
        match baseline {
            Baseline::Go | Baseline::GoOptimistic => Self::Go(go::Walk::new(Key::of(key), seeds)),
            Baseline::Original => Self::Original(original::Walk::new(key, seeds)),
            Baseline::RustLibp2p => Self::RustLibp2p(rust_libp2p::Walk::new(Key::of(key), seeds)),
        }
    }

    pub(super) fn next_peer(&mut self, now: Timestamp) -> Option<PeerInfo> {
        match self {
            Self::Go(walk) => walk.next_peer(),
            Self::Original(walk) => walk.next_peer(),
            Self::RustLibp2p(walk) => walk.next_peer(now),
        }
    }

    pub(super) fn answered(&mut self, peer: &Peer, closer: &[PeerInfo]) {
        match self {
            Self::Go(walk) => walk.answered(peer, closer),
            Self::Original(walk) => walk.answered(peer, closer),
            Self::RustLibp2p(walk) => walk.answered(peer, closer),
        }
    }

    pub(super) fn failed(&mut self, peer: &Peer) {
        match self {
            Self::Go(walk) => walk.failed(peer),
            Self::Original(walk) => walk.failed(peer),
            Self::RustLibp2p(walk) => walk.failed(peer),
        }
    }

    /// Moves on; returns the peers whose requests are called off.
    pub(super) fn advance(&mut self, stop: bool, is_connected: impl Fn(&Peer) -> bool) -> Vec<Peer> {
        match self {
            Self::Go(walk) => return walk.advance(stop, is_connected),
            // Its rounds end as a whole: what it wants is looked for when all have answered or failed.
            Self::Original(walk) if stop && !walk.is_in_round() => walk.stop(),
            Self::RustLibp2p(walk) if stop => walk.stop(),
            Self::Original(_) | Self::RustLibp2p(_) => {}
        }
        Vec::new()
    }

    /// Ends the walk with what there is.
    pub(super) fn stop(&mut self) {
        match self {
            Self::Go(walk) => walk.stop(),
            Self::Original(walk) => walk.stop(),
            Self::RustLibp2p(walk) => walk.stop(),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        if let Self::RustLibp2p(walk) = self {
            walk.handle_timeout(now);
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::RustLibp2p(walk) => walk.next_timeout(),
            Self::Go(_) | Self::Original(_) => None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        match self {
            Self::Go(walk) => walk.has_ended(),
            Self::Original(walk) => walk.has_ended(),
            Self::RustLibp2p(walk) => walk.has_ended(),
        }
    }

    pub(super) fn closest(&self) -> Vec<PeerInfo> {
        match self {
            Self::Go(walk) => walk.closest(),
            Self::Original(walk) => walk.closest(),
            Self::RustLibp2p(walk) => walk.closest(),
        }
    }

    pub(super) fn hops(&self) -> usize {
        match self {
            Self::Go(walk) => walk.hops(),
            Self::Original(walk) => walk.hops(),
            Self::RustLibp2p(walk) => walk.hops(),
        }
    }
}
