//! The peers one walk knows of, nearest first.

use alloc::vec::Vec;

use crate::key::{Distance, Key};
use crate::limits::CANDIDATES_MAX;
use crate::peer::{Peer, PeerInfo};

/// Where a candidate stands. Allowed: `Heard -> Waiting -> Answered | Failed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Named by somebody, not asked.
    Heard,
    /// Asked.
    Waiting,
    /// Has answered.
    Answered,
    /// Did not answer.
    Failed,
}

#[derive(Clone, Debug)]
pub(super) struct Candidate {
    distance: Distance,
    pub(super) info: PeerInfo,
    pub(super) state: State,
    /// Length of the chain of peers that led here; 1 for peers of the table.
    pub(super) hops: usize,
}

/// At most [`CANDIDATES_MAX`] candidates in strictly increasing distance to the target.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    target: Key,
    sorted: Vec<Candidate>,
}

impl Candidates {
    pub(super) fn new(target: Key) -> Self {
        Self { target, sorted: Vec::new() }
    }

    pub(super) fn target(&self) -> &Key {
        &self.target
    }

    pub(super) fn iter(&self) -> core::slice::Iter<'_, Candidate> {
        self.sorted.iter()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Candidate> {
        self.sorted.get_mut(index)
    }

    /// Adds a peer, or addresses to a peer that was heard of and has not been asked yet. When full, the farthest
    /// peer that was only heard of makes room; a peer farther than all is not added.
    pub(super) fn add(&mut self, info: &PeerInfo, hops: usize) {
        let distance = info.peer.key.distance(&self.target);
        match self.position(distance) {
            Ok(index) => {
                let known = &mut self.sorted[index];
                if known.state == State::Heard {
                    known.info.addrs = known.info.addrs.merged(&info.addrs);
                }
            }
            Err(index) => {
                if self.sorted.len() >= CANDIDATES_MAX {
                    match self.sorted.iter().rposition(|candidate| candidate.state == State::Heard) {
                        Some(farthest) if farthest >= index => {
                            self.sorted.remove(farthest);
                        }
                        _ => return,
                    }
                }
                self.sorted
                    .insert(index, Candidate { distance, info: info.clone(), state: State::Heard, hops });
            }
        }
    }

    /// The index of `peer`.
    pub(super) fn find(&self, peer: &Peer) -> Option<usize> {
        self.position(peer.key.distance(&self.target)).ok()
    }

    fn position(&self, distance: Distance) -> Result<usize, usize> {
        self.sorted.binary_search_by(|candidate| candidate.distance.cmp(&distance))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::addr::AddrList;
    use crate::peer::PeerId;

    fn peer(seed: u32) -> PeerInfo {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&seed.to_be_bytes());
        PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
    }

    proptest! {
        #[test]
        fn the_closest_are_kept_in_order(seeds in proptest::collection::vec(0u32..5_000, 0..2_000)) {
            let target = Key::of(b"target");
            let mut candidates = Candidates::new(target);
            for seed in &seeds {
                candidates.add(&peer(*seed), 1);
            }
            let mut expected: Vec<_> = seeds.iter().map(|seed| peer(*seed).peer.key.distance(&target)).collect();
            expected.sort_unstable();
            expected.dedup();
            expected.truncate(CANDIDATES_MAX);
            prop_assert_eq!(candidates.iter().map(|candidate| candidate.distance).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn asked_peers_are_never_displaced() {
        let mut candidates = Candidates::new(Key::of(b"target"));
        for seed in 0..CANDIDATES_MAX as u32 {
            candidates.add(&peer(seed), 1);
        }
        for candidate in &mut candidates.sorted {
            candidate.state = State::Waiting;
        }
        for seed in 0..2_000 {
            candidates.add(&peer(10_000 + seed), 1);
        }
        assert!(candidates.iter().all(|candidate| candidate.state == State::Waiting));
    }
}
