//! How rust-libp2p's libp2p-kad walks and publishes.
//!
//! Models `protocols/kad/src/query/peers/closest.rs` (`ClosestPeersIter`), `query/peers/fixed.rs` and the defaults of
//! `query.rs` and `behaviour.rs` of rust-libp2p, libp2p-kad 0.49. Disjoint paths, which are off by default, are not
//! modelled, nor is the pending slot of a full bucket.

use std::time::Duration;

use kadmos_core::{Key, Peer, PeerInfo, Timestamp};

use super::candidates::{Candidates, Rank, State, Target};

/// Results and holders. Source: `K_VALUE`.
pub(super) const K: usize = 20;
/// Requests in flight. Source: `ALPHA_VALUE`.
const ALPHA: usize = 3;
/// A peer that has not answered for this long, dial included, gives up its place; an answer still counts. Source:
/// `ClosestPeersIterConfig::peer_timeout`.
const PEER_TIMEOUT: Duration = Duration::from_secs(10);
/// A dial and its answer may take this long. Source: connection upgrades end after 10 s
/// (`libp2p::SwarmBuilder::with_connection_timeout`), and so do substreams (`ProtocolConfig`, `handler.rs`).
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
/// A query ends after this long. Source: `QueryConfig::timeout`.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// A bootstrap runs this often. Source: `behaviour.rs`, `periodic_bootstrap_interval`.
pub(super) const BOOTSTRAP_INTERVAL: Duration = Duration::from_secs(300);

/// One walk.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    candidates: Candidates,
    /// When each peer that is waited for stops counting.
    until: Vec<(Rank, Timestamp)>,
    /// Answers in a row that named nobody nearer; from [`ALPHA`] on the walk is stalled and asks up to 20 at once.
    no_progress: usize,
    ended: bool,
}

impl Walk {
    pub(super) fn new<'a>(key: Key, seeds: impl IntoIterator<Item = &'a PeerInfo>) -> Self {
        let candidates = Candidates::new(Target::Hashed(key), seeds.into_iter().take(K));
        Self { candidates, until: Vec::new(), no_progress: 0, ended: false }
    }

    /// Whom to ask now; call until `None`. Ends the walk when the 20 nearest have answered or nobody is left.
    pub(super) fn next_peer(&mut self, now: Timestamp) -> Option<PeerInfo> {
        if self.ended {
            return None;
        }
        let capacity = if self.no_progress >= ALPHA { K.max(ALPHA) } else { ALPHA };
        let mut answered = 0;
        let mut waits_for_nearer = false;
        for candidate in self.candidates.iter_mut() {
            match candidate.state {
                State::Waiting => waits_for_nearer = true,
                State::Answered => {
                    answered += 1;
                    if answered >= K && !waits_for_nearer {
                        self.ended = true;
                        return None;
                    }
                }
                State::Heard => {
                    if self.until.len() >= capacity {
                        return None;
                    }
                    candidate.state = State::Waiting;
                    self.until.push((candidate.rank, now + PEER_TIMEOUT));
                    return Some(candidate.info.clone());
                }
                State::Unresponsive | State::Failed => {}
            }
        }
        self.ended = self.until.is_empty();
        None
    }

    pub(super) fn answered(&mut self, peer: &Peer, closer: &[PeerInfo]) {
        if self.ended {
            return;
        }
        let Some(hops) = self.candidates.answered(peer) else { return };
        self.free(peer);
        let mut progress = self.candidates.len() < K;
        let mut nearest = self.candidates.iter().next().map(|candidate| candidate.rank);
        for info in closer {
            let added = self.candidates.add(info, hops + 1);
            if added.is_some() && (nearest.is_none() || added < nearest) {
                nearest = added;
                progress = true;
            }
        }
        self.no_progress = if progress { 0 } else { self.no_progress + 1 };
    }

    pub(super) fn failed(&mut self, peer: &Peer) {
        if let Some(candidate) = self.candidates.find(peer)
            && matches!(candidate.state, State::Waiting | State::Unresponsive)
        {
            candidate.state = State::Failed;
            self.free(peer);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        let Self { candidates, until, .. } = self;
        until.retain(|(rank, at)| {
            let is_late = *at <= now;
            if is_late
                && let Some(candidate) = candidates.iter_mut().find(|candidate| candidate.rank == *rank)
            {
                candidate.state = State::Unresponsive;
            }
            !is_late
        });
    }

    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        if self.ended { None } else { self.until.iter().map(|(_, at)| *at).min() }
    }

    /// Ends the walk with what there is.
    pub(super) fn stop(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The nearest that have answered, at most 20.
    pub(super) fn closest(&self) -> Vec<PeerInfo> {
        let answered = self.candidates.iter().filter(|candidate| candidate.state == State::Answered);
        answered.take(K).map(|candidate| candidate.info.clone()).collect()
    }

    pub(super) fn hops(&self) -> usize {
        self.candidates.hops()
    }

    fn free(&mut self, peer: &Peer) {
        if let Some(rank) = self.candidates.find(peer).map(|candidate| candidate.rank) {
            self.until.retain(|(known, _)| *known != rank);
        }
    }
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, PeerId};

    use super::*;

    fn peers(count: u32, target: &Key) -> Vec<PeerInfo> {
        let mut peers: Vec<_> = (0..count)
            .map(|seed| {
                let mut digest = [0; 32];
                digest[..4].copy_from_slice(&seed.to_be_bytes());
                PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
            })
            .collect();
        peers.sort_by_key(|info| info.peer.key.distance(target));
        peers
    }

    fn ask_all(walk: &mut Walk, now: Timestamp) -> Vec<PeerInfo> {
        std::iter::from_fn(|| walk.next_peer(now)).collect()
    }

    #[test]
    fn all_twenty_must_answer() {
        let target = Key::of(b"t");
        let all = peers(30, &target);
        let mut walk = Walk::new(target, &all[..20]);
        let mut waiting = ask_all(&mut walk, Timestamp::ZERO);
        assert_eq!(waiting, all[..3]);
        let mut order = Vec::new();
        while let Some(info) = waiting.pop() {
            walk.answered(&info.peer, &[]);
            order.push(info);
            waiting.extend(ask_all(&mut walk, Timestamp::ZERO));
        }
        assert!(walk.has_ended());
        assert_eq!((order.len(), walk.closest()), (20, all[..20].to_vec()));
    }

    #[test]
    fn a_stalled_walk_asks_twenty_at_once_until_it_progresses() {
        let target = Key::of(b"t");
        let all = peers(60, &target);
        let mut walk = Walk::new(target, &all[10..30]);
        ask_all(&mut walk, Timestamp::ZERO);
        for info in &all[10..12] {
            walk.answered(&info.peer, &[]);
            assert_eq!(ask_all(&mut walk, Timestamp::ZERO).len(), 1);
        }
        walk.answered(&all[12].peer, &[]);
        assert_eq!(ask_all(&mut walk, Timestamp::ZERO).len(), 15, "all that are known, at once");
        walk.answered(&all[13].peer, &[all[0].clone()]);
        assert!(ask_all(&mut walk, Timestamp::ZERO).is_empty(), "back to three at once");
    }

    #[test]
    fn a_silent_peer_gives_up_its_place_after_ten_seconds_and_may_still_answer() {
        let target = Key::of(b"t");
        let all = peers(30, &target);
        let mut walk = Walk::new(target, &all[..5]);
        ask_all(&mut walk, Timestamp::ZERO);
        assert_eq!(walk.next_timeout(), Some(Timestamp::from_millis(10_000)));
        walk.handle_timeout(Timestamp::from_millis(9_999));
        assert!(ask_all(&mut walk, Timestamp::from_millis(9_999)).is_empty());
        let late = Timestamp::from_millis(10_000);
        walk.handle_timeout(late);
        assert_eq!(ask_all(&mut walk, late), all[3..5]);
        walk.answered(&all[0].peer, &[]);
        for info in &all[3..5] {
            walk.answered(&info.peer, &[]);
        }
        assert!(ask_all(&mut walk, late).is_empty() && walk.has_ended());
        assert_eq!(walk.closest(), [&all[0], &all[3], &all[4]].map(Clone::clone));
    }

    #[test]
    fn failures_are_left_out() {
        let target = Key::of(b"t");
        let all = peers(3, &target);
        let mut walk = Walk::new(target, &all);
        for info in ask_all(&mut walk, Timestamp::ZERO) {
            walk.failed(&info.peer);
        }
        assert!(ask_all(&mut walk, Timestamp::ZERO).is_empty() && walk.has_ended());
        assert!(walk.closest().is_empty());
    }
}
