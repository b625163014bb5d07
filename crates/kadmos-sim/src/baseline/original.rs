//! How the Dart port walks and publishes: the project that this one set out from.
//!
//! Models dart_libp2p_kad_dht 1.2, `lib/src/query/query_runner.dart` (`runLookupWithFollowup`),
//! `lib/src/query/qpeerset.dart` (the order of raw keys), `lib/src/dht/v2/managers/query_manager.dart` (the stop rule,
//! three holders, addresses that are not kept) and `lib/src/dht/v2/errors/dht_errors.dart` (retries).

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::{Peer, PeerInfo};

use super::candidates::{Candidates, State, Target};

/// Requests of one round. Source: `AminoConstants.concurrency`.
const ALPHA: usize = 10;
/// A walk ends after the round in which this many have answered, whichever they are. Source: `query_manager.dart`,
/// `stopFn`, `AminoConstants.resiliency`.
const ANSWERS: usize = 3;
/// Holders of a record. Source: `query_manager.dart`, `.take(resiliency)`.
pub(super) const HOLDERS: usize = 3;
/// Bucket size.
pub(super) const K: usize = 20;
/// A stream may take this long to open, an answer as long again. Source: `DHTConfigV2.networkTimeout`.
pub(super) const NETWORK_TIMEOUT: Duration = Duration::from_secs(30);
/// Delays before the second and the third try. Source: `DHTErrorHandler.handleQueryError`, 500 ms times 1.5.
pub(super) const RETRY_DELAYS: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(750)];
/// A walk ends after this long. Source: `DHTConfigV2.queryTimeout`.
pub(super) const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Table peers that a bootstrap asks, one hop only. Source: `routing_manager.dart`, the discovery phase.
pub(super) const BOOTSTRAP_ASKED: usize = 3;

/// One walk: rounds of ten, each waiting for the slowest.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    candidates: Candidates,
    /// Peers of the round at hand that are yet to be asked.
    unsent: Vec<PeerInfo>,
    waiting: Vec<Peer>,
    answers: usize,
    ended: bool,
}

impl Walk {
    pub(super) fn new<'a>(key: &Bytes, seeds: impl IntoIterator<Item = &'a PeerInfo>) -> Self {
        let candidates = Candidates::new(Target::Raw(key.to_vec()), seeds);
        Self { candidates, unsent: Vec::new(), waiting: Vec::new(), answers: 0, ended: false }
    }

    /// Whom to ask now; call until `None`. Begins the next round when one is over, or ends the walk.
    pub(super) fn next_peer(&mut self) -> Option<PeerInfo> {
        if !self.is_in_round() && !self.ended {
            self.next_round();
        }
        if self.ended {
            return None;
        }
        let info = self.unsent.pop()?;
        self.waiting.push(info.peer.clone());
        Some(info)
    }

    pub(super) fn answered(&mut self, peer: &Peer, closer: &[PeerInfo]) {
        let Some(hops) = self.candidates.answered(peer) else { return };
        self.answers += 1;
        for info in closer {
            self.candidates.add(info, hops + 1);
        }
        self.settled(peer);
    }

    pub(super) fn failed(&mut self, peer: &Peer) {
        if let Some(candidate) = self.candidates.find(peer).filter(|found| found.state == State::Waiting) {
            candidate.state = State::Failed;
            self.settled(peer);
        }
    }

    /// Whether somebody of the round is still waited for.
    pub(super) fn is_in_round(&self) -> bool {
        !self.waiting.is_empty() || !self.unsent.is_empty()
    }

    /// Ends the walk with what there is.
    pub(super) fn stop(&mut self) {
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The nearest by raw bytes that have not failed, asked or not.
    pub(super) fn closest(&self) -> Vec<PeerInfo> {
        self.candidates.nearest_live(K).map(|candidate| candidate.info.clone()).collect()
    }

    pub(super) fn hops(&self) -> usize {
        self.candidates.hops()
    }

    fn settled(&mut self, peer: &Peer) {
        self.waiting.retain(|known| known != peer);
    }

    fn next_round(&mut self) {
        if self.answers >= ANSWERS {
            self.ended = true;
            return;
        }
        for candidate in self.candidates.iter_mut().filter(|found| found.state == State::Heard).take(ALPHA) {
            candidate.state = State::Waiting;
            self.unsent.push(candidate.info.clone());
        }
        self.unsent.reverse(); // they are popped, nearest first
        self.ended = self.unsent.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, PeerId};

    use super::*;

    fn info(seed: u8) -> PeerInfo {
        let mut digest = [0; 32];
        digest[0] = seed;
        PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
    }

    /// The raw bytes of info(0)'s id: distances are the seeds themselves.
    fn key() -> Bytes {
        Bytes::copy_from_slice(info(0).peer.id.as_bytes())
    }

    fn ask_all(walk: &mut Walk) -> Vec<PeerInfo> {
        std::iter::from_fn(|| walk.next_peer()).collect()
    }

    #[test]
    fn a_round_waits_for_its_slowest_and_three_answers_of_anybody_end_it() {
        let all: Vec<_> = (1..40).map(info).collect();
        let mut walk = Walk::new(&key(), &all);
        let round = ask_all(&mut walk);
        assert_eq!(round, all[..10]);
        for info in &round[..9] {
            walk.answered(&info.peer, &[]);
        }
        assert!(!walk.has_ended() && ask_all(&mut walk).is_empty());
        walk.failed(&round[9].peer);
        assert!(ask_all(&mut walk).is_empty() && walk.has_ended());
        assert_eq!(walk.closest()[..HOLDERS], all[..HOLDERS]);
    }

    #[test]
    fn a_round_with_too_few_answers_is_followed_by_another() {
        let all: Vec<_> = (1..13).map(info).collect();
        let mut walk = Walk::new(&key(), &all);
        for (i, info) in ask_all(&mut walk).into_iter().enumerate() {
            if i < 2 { walk.answered(&info.peer, &[]) } else { walk.failed(&info.peer) }
        }
        assert_eq!(ask_all(&mut walk), all[10..12]);
        walk.answered(&all[10].peer, &[info(200)]);
        walk.failed(&all[11].peer);
        assert!(ask_all(&mut walk).is_empty() && walk.has_ended(), "three have answered");
        assert_eq!(walk.closest(), [info(1), info(2), info(11), info(200)], "one was never asked");
    }

    #[test]
    fn nobody_to_ask_ends_at_once() {
        let mut walk = Walk::new(&key(), []);
        assert!(ask_all(&mut walk).is_empty() && walk.has_ended());
    }
}
