//! The peers that one walk knows, nearest first, and how each stands. What the three kinds of walk share.

use kadmos_core::{Key, Peer, PeerInfo};

/// Peers one walk remembers, the nearest of all it heard. The clients that are modelled here have no such bound; a
/// walk that hears of more has long found its nearest.
const CANDIDATES_MAX: usize = 4_096;

/// Where a walk goes, in the terms in which its client measures distance.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// Distance of SHA-256 hashes, as libp2p/specs has it.
    Hashed(Key),
    /// Distance of the bytes themselves, the shorter padded with zeros on the right.
    Raw(Vec<u8>),
}

/// A distance in either of the two terms; smaller is nearer.
///
/// 48 bytes hold any peer id. What a raw key has beyond them differs from every padded id alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank([u64; 6]);

impl Target {
    pub(super) fn rank(&self, peer: &Peer) -> Rank {
        match self {
            Self::Hashed(key) => {
                let [a, b, c, d] = peer.key.distance(key).words();
                Rank([a, b, c, d, 0, 0])
            }
            Self::Raw(bytes) => {
                let id = peer.id.as_bytes();
                let byte = |bytes: &[u8], i: usize| bytes.get(i).copied().unwrap_or(0);
                Rank(std::array::from_fn(|word| {
                    u64::from_be_bytes(std::array::from_fn(|i| {
                        byte(id, word * 8 + i) ^ byte(bytes, word * 8 + i)
                    }))
                }))
            }
        }
    }
}

/// How a peer stands in a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Named, not asked.
    Heard,
    /// Asked.
    Waiting,
    /// Asked, and too long silent to count; an answer still does. Of rust-libp2p only.
    Unresponsive,
    /// It answered.
    Answered,
    /// It cannot be reached, or broke off.
    Failed,
}

/// A peer of a walk.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) rank: Rank,
    pub(super) info: PeerInfo,
    pub(super) state: State,
    /// Length of the chain of peers that named each other up to this one; 1 for those of the table.
    pub(super) hops: usize,
}

/// Candidates, nearest first.
#[derive(Clone, Debug)]
pub(super) struct Candidates {
    target: Target,
    list: Vec<Candidate>,
    hops: usize,
}

impl Candidates {
    pub(super) fn new<'a>(target: Target, seeds: impl IntoIterator<Item = &'a PeerInfo>) -> Self {
        let mut candidates = Self { target, list: Vec::new(), hops: 0 };
        for seed in seeds {
            candidates.add(seed, 1);
        }
        candidates
    }

    /// Adds a peer that is not there yet; returns its rank if it is new.
    pub(super) fn add(&mut self, info: &PeerInfo, hops: usize) -> Option<Rank> {
        let rank = self.target.rank(&info.peer);
        let index = self.list.partition_point(|known| known.rank < rank);
        if self.list.get(index).is_some_and(|known| known.rank == rank) || index >= CANDIDATES_MAX {
            return None;
        }
        self.list.insert(index, Candidate { rank, info: info.clone(), state: State::Heard, hops });
        self.list.truncate(CANDIDATES_MAX);
        Some(rank)
    }

    pub(super) fn find(&mut self, peer: &Peer) -> Option<&mut Candidate> {
        let rank = self.target.rank(peer);
        let index = self.list.binary_search_by_key(&rank, |known| known.rank).ok()?;
        Some(&mut self.list[index])
    }

    /// Marks the answer of a peer that was asked; returns its hops, `None` for one that was not.
    pub(super) fn answered(&mut self, peer: &Peer) -> Option<usize> {
        let candidate = self.find(peer)?;
        if !matches!(candidate.state, State::Waiting | State::Unresponsive) {
            return None;
        }
        candidate.state = State::Answered;
        let hops = candidate.hops;
        self.hops = self.hops.max(hops);
        Some(hops)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Candidate> {
        self.list.iter_mut()
    }

    /// The nearest that have not failed, at most `count`.
    pub(super) fn nearest_live(&self, count: usize) -> impl Iterator<Item = &Candidate> {
        self.list.iter().filter(|candidate| candidate.state != State::Failed).take(count)
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn count(&self, state: State) -> usize {
        self.list.iter().filter(|candidate| candidate.state == state).count()
    }

    /// Longest chain of peers that named each other and answered.
    pub(super) fn hops(&self) -> usize {
        self.hops
    }
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, PeerId};

    use super::*;

    fn info(first: u8) -> PeerInfo {
        let mut digest = [0; 32];
        digest[0] = first;
        PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
    }

    #[test]
    fn raw_distance_is_of_ids_and_hashed_distance_of_their_hashes() {
        // The raw key is a peer id that differs from info(1) in one bit of the third byte, from info(8) in three.
        let key = info(0).peer.id.as_bytes().to_vec();
        let raw = Candidates::new(Target::Raw(key.clone()), &[info(8), info(1), info(2)]);
        let order: Vec<_> = raw.iter().map(|candidate| candidate.info.clone()).collect();
        assert_eq!(order, [info(1), info(2), info(8)]);

        let target = Key::of(&key);
        let hashed = Candidates::new(Target::Hashed(target), &[info(8), info(1), info(2)]);
        let distances: Vec<_> =
            hashed.iter().map(|candidate| candidate.info.peer.key.distance(&target)).collect();
        assert!(distances.is_sorted());
    }

    #[test]
    fn a_peer_is_one_candidate_and_answers_once() {
        let mut candidates = Candidates::new(Target::Hashed(Key::of(b"t")), &[info(1)]);
        assert_eq!(candidates.add(&info(1), 7), None);
        assert_eq!(candidates.answered(&info(1).peer), None, "it was not asked");
        candidates.find(&info(1).peer).expect("known").state = State::Waiting;
        assert_eq!(candidates.answered(&info(1).peer), Some(1));
        assert_eq!(candidates.answered(&info(1).peer), None);
        assert_eq!((candidates.len(), candidates.hops()), (1, 1));
    }

    #[test]
    fn the_nearest_are_kept_of_too_many() {
        let target = Target::Hashed(Key::of(b"t"));
        let mut candidates = Candidates::new(target, []);
        for seed in 0..(CANDIDATES_MAX as u32 + 500) {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&seed.to_be_bytes());
            candidates.add(&PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY), 1);
        }
        assert_eq!(candidates.len(), CANDIDATES_MAX);
        assert!(candidates.iter().is_sorted_by_key(|candidate| candidate.rank));
    }
}
