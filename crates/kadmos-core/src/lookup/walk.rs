//! One walk: from the peers we know to the k peers closest to a key.
//!
//! The walk asks the nearest peers it knows, `alpha` at once, and learns nearer ones from their answers. Once the
//! `beta` nearest have answered, the rest of the k nearest is asked at once (the follow-up), and peers they name
//! still count: so a walk ends when each of the k nearest it knows has answered, or the follow-up's time is up.
//! Source: libp2p kad-dht r2, "Peer routing"; go-libp2p-kad-dht `query.go`, whose follow-up ignores what it learns.

use alloc::vec::Vec;
use core::time::Duration;

use super::candidates::{Candidate, Candidates, State};
use crate::key::Key;
use crate::peer::{Peer, PeerInfo};
use crate::time::Timestamp;

/// The numbers of one walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WalkLimits {
    pub(crate) k: usize,
    pub(crate) alpha: usize,
    pub(crate) beta: usize,
    pub(crate) follow_up: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Walking,
    FollowUp { until: Timestamp },
    Ended { complete: bool },
}

#[derive(Clone, Debug)]
pub(crate) struct Walk {
    limits: WalkLimits,
    candidates: Candidates,
    waiting: usize,
    answered: usize,
    asked: usize,
    hops: usize,
    phase: Phase,
}

impl Walk {
    pub(crate) fn new<'a>(
        target: Key,
        limits: WalkLimits,
        seeds: impl IntoIterator<Item = &'a PeerInfo>,
        now: Timestamp,
    ) -> Self {
        let mut candidates = Candidates::new(target);
        for seed in seeds {
            candidates.add(seed, 1);
        }
        let mut walk =
            Self { limits, candidates, waiting: 0, answered: 0, asked: 0, hops: 0, phase: Phase::Walking };
        walk.advance(now);
        walk
    }

    pub(crate) fn target(&self) -> &Key {
        self.candidates.target()
    }

    /// The next peer to ask now; call until `None`.
    pub(crate) fn next_peer(&mut self) -> Option<PeerInfo> {
        match self.phase {
            Phase::Walking if self.waiting >= self.limits.alpha => return None,
            Phase::Ended { .. } => return None,
            Phase::Walking | Phase::FollowUp { .. } => {}
        }
        let k = self.limits.k;
        let index = live(self.candidates.iter().enumerate(), |(_, candidate)| candidate)
            .take(k) // a peer farther than k others cannot be a result
            .find(|(_, candidate)| candidate.state == State::Heard)?
            .0;
        let candidate = self.candidates.get_mut(index)?;
        candidate.state = State::Waiting;
        self.waiting += 1;
        self.asked += 1;
        Some(candidate.info.clone())
    }

    /// Notes an answer of `peer` that names `closer`; peers that were not asked are ignored.
    pub(crate) fn answered<'a>(
        &mut self,
        peer: &Peer,
        closer: impl IntoIterator<Item = &'a PeerInfo>,
        now: Timestamp,
    ) {
        let Some(hops) = self.settle(peer, State::Answered) else { return };
        self.answered += 1;
        self.hops = self.hops.max(hops);
        for info in closer {
            self.candidates.add(info, hops + 1);
        }
        self.advance(now);
    }

    /// Notes that `peer` did not answer.
    pub(crate) fn failed(&mut self, peer: &Peer, now: Timestamp) {
        if self.settle(peer, State::Failed).is_some() {
            self.advance(now);
        }
    }

    /// Ends the follow-up when its time is up.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        if matches!(self.phase, Phase::FollowUp { until } if until <= now) {
            self.phase = Phase::Ended { complete: false };
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::FollowUp { until } => Some(until),
            Phase::Walking | Phase::Ended { .. } => None,
        }
    }

    /// Gives a walk further peers to start from. One that has ended goes on if they are worth asking. Returns whether
    /// there is somebody to ask.
    pub(crate) fn refill<'a>(
        &mut self,
        seeds: impl IntoIterator<Item = &'a PeerInfo>,
        now: Timestamp,
    ) -> bool {
        for seed in seeds {
            self.candidates.add(seed, 1);
        }
        let heard = live(self.candidates.iter(), |candidate| candidate)
            .take(self.limits.k)
            .any(|candidate| candidate.state == State::Heard);
        if heard && self.has_ended() {
            self.phase = Phase::FollowUp { until: now + self.limits.follow_up };
        }
        heard
    }

    /// Whether the walk has ended with fewer than k peers although it has asked that many.
    pub(crate) fn fell_short(&self) -> bool {
        self.is_complete() && self.answered < self.limits.k && self.asked > self.answered
    }

    /// Ends the walk now, with what has answered.
    pub(crate) fn stop(&mut self) {
        if !self.has_ended() {
            self.phase = Phase::Ended { complete: false };
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended { .. })
    }

    /// Whether each of the k nearest peers heard of has answered or failed.
    pub(crate) fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Ended { complete: true })
    }

    /// The nearest peers that have answered, at most k, nearest first.
    pub(crate) fn closest(&self) -> Vec<PeerInfo> {
        self.candidates
            .iter()
            .filter(|candidate| candidate.state == State::Answered)
            .take(self.limits.k)
            .map(|candidate| candidate.info.clone())
            .collect()
    }

    /// Peers that have answered.
    pub(crate) fn answers(&self) -> usize {
        self.answered
    }

    /// Peers that were asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    /// Longest chain of peers that named each other and answered.
    pub(crate) fn hops(&self) -> usize {
        self.hops
    }

    /// Moves a waiting peer to `state` and returns its hops.
    fn settle(&mut self, peer: &Peer, state: State) -> Option<usize> {
        let index = self.candidates.find(peer)?;
        let candidate = self.candidates.get_mut(index)?;
        if candidate.state != State::Waiting {
            return None;
        }
        candidate.state = state;
        self.waiting -= 1;
        Some(candidate.hops)
    }

    fn advance(&mut self, now: Timestamp) {
        if self.phase == Phase::Walking && self.nearest_answered(self.limits.beta) {
            self.phase = Phase::FollowUp { until: now + self.limits.follow_up };
        }
        if matches!(self.phase, Phase::FollowUp { .. }) && self.nearest_answered(self.limits.k) {
            self.phase = Phase::Ended { complete: true };
        }
    }

    /// Whether the `count` nearest peers that have not failed, or all if they are fewer, have answered.
    fn nearest_answered(&self, count: usize) -> bool {
        live(self.candidates.iter(), |candidate| candidate)
            .take(count)
            .all(|candidate| candidate.state == State::Answered)
    }
}

/// Leaves out candidates that failed.
fn live<T>(items: impl Iterator<Item = T>, candidate: impl Fn(&T) -> &Candidate) -> impl Iterator<Item = T> {
    items.filter(move |item| candidate(item).state != State::Failed)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::addr::AddrList;
    use crate::peer::PeerId;

    const LIMITS: WalkLimits = WalkLimits { k: 4, alpha: 2, beta: 2, follow_up: Duration::from_secs(10) };

    /// Peers whose distance to the target grows with `0..count`.
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

    fn ask_all(walk: &mut Walk) -> Vec<PeerInfo> {
        core::iter::from_fn(|| walk.next_peer()).collect()
    }

    #[test]
    fn nobody_to_ask_ends_at_once() {
        let walk = Walk::new(Key::of(b"t"), LIMITS, [], Timestamp::ZERO);
        assert!(walk.is_complete());
        assert!(walk.closest().is_empty());
    }

    #[test]
    fn alpha_bounds_the_walk_and_k_the_follow_up() {
        let target = Key::of(b"t");
        let all = peers(8, &target);
        let mut walk = Walk::new(target, LIMITS, &all, Timestamp::ZERO);
        assert_eq!(ask_all(&mut walk), all[..2]);
        walk.answered(&all[0].peer, [], Timestamp::ZERO);
        assert_eq!(ask_all(&mut walk), all[2..3]);
        walk.answered(&all[1].peer, [], Timestamp::ZERO); // beta nearest have answered
        assert_eq!(ask_all(&mut walk), all[3..4], "the follow-up asks the rest of k and no more");
        walk.answered(&all[3].peer, [], Timestamp::ZERO);
        assert!(!walk.has_ended());
        walk.answered(&all[2].peer, [], Timestamp::ZERO);
        assert!(walk.is_complete());
        assert_eq!(walk.closest(), all[..4]);
        assert_eq!((walk.asked(), walk.answers(), walk.hops()), (4, 4, 1));
    }

    #[test]
    fn nearer_peers_named_in_the_follow_up_are_asked() {
        let target = Key::of(b"t");
        let all = peers(8, &target);
        let mut walk = Walk::new(target, LIMITS, &all[4..], Timestamp::ZERO);
        let first = ask_all(&mut walk);
        assert_eq!(first, all[4..6]);
        walk.answered(&all[4].peer, [], Timestamp::ZERO);
        walk.answered(&all[5].peer, [], Timestamp::ZERO);
        ask_all(&mut walk);
        walk.answered(&all[6].peer, [&all[0]], Timestamp::ZERO);
        assert_eq!(ask_all(&mut walk), all[..1]);
        walk.answered(&all[0].peer, [], Timestamp::ZERO);
        assert!(walk.is_complete());
        assert_eq!(walk.closest(), [&all[0], &all[4], &all[5], &all[6]].map(Clone::clone));
        assert_eq!(walk.hops(), 2);
    }

    #[test]
    fn the_follow_up_has_a_deadline() {
        let target = Key::of(b"t");
        let all = peers(4, &target);
        let mut walk = Walk::new(target, LIMITS, &all, Timestamp::ZERO);
        ask_all(&mut walk);
        walk.answered(&all[0].peer, [], Timestamp::ZERO);
        walk.answered(&all[1].peer, [], Timestamp::from_millis(5));
        let until = Timestamp::from_millis(10_005);
        assert_eq!(walk.next_timeout(), Some(until));
        walk.handle_timeout(Timestamp::from_millis(10_004));
        assert!(!walk.has_ended());
        walk.handle_timeout(until);
        assert!(walk.has_ended() && !walk.is_complete());
        assert_eq!(walk.closest(), all[..2]);
    }

    #[test]
    fn failed_peers_make_room() {
        let target = Key::of(b"t");
        let all = peers(6, &target);
        let mut walk = Walk::new(target, LIMITS, &all, Timestamp::ZERO);
        while !walk.has_ended() {
            for info in ask_all(&mut walk) {
                if info == all[0] || info == all[2] {
                    walk.failed(&info.peer, Timestamp::ZERO);
                } else {
                    walk.answered(&info.peer, [], Timestamp::ZERO);
                }
            }
        }
        assert_eq!(walk.closest(), [&all[1], &all[3], &all[4], &all[5]].map(Clone::clone));
    }

    #[test]
    fn a_walk_that_fell_short_goes_on_with_more_peers() {
        let target = Key::of(b"t");
        let all = peers(6, &target);
        let mut walk = Walk::new(target, LIMITS, &all[..3], Timestamp::ZERO);
        while !walk.has_ended() {
            for info in ask_all(&mut walk) {
                walk.failed(&info.peer, Timestamp::ZERO);
            }
        }
        assert!(walk.fell_short());
        assert!(!walk.refill(&all[..3], Timestamp::ZERO), "those have failed");
        assert!(walk.refill(&all, Timestamp::ZERO));
        assert_eq!(ask_all(&mut walk), all[3..]);
        for info in &all[3..] {
            walk.answered(&info.peer, [], Timestamp::ZERO);
        }
        assert!(walk.is_complete());
        assert_eq!(walk.closest(), all[3..]);
    }

    #[test]
    fn unasked_and_repeated_answers_change_nothing() {
        let target = Key::of(b"t");
        let all = peers(6, &target);
        let mut walk = Walk::new(target, LIMITS, &all, Timestamp::ZERO);
        walk.answered(&all[5].peer, [], Timestamp::ZERO);
        assert_eq!(walk.answers(), 0);
        ask_all(&mut walk);
        walk.answered(&all[0].peer, [], Timestamp::ZERO);
        walk.answered(&all[0].peer, [], Timestamp::ZERO);
        walk.failed(&all[0].peer, Timestamp::ZERO);
        assert_eq!((walk.answers(), walk.waiting), (1, 1));
    }

    proptest! {
        /// In any network whose answers are true, whatever fails, a walk ends, and with the nearest that answer.
        #[test]
        fn a_walk_ends_with_the_nearest_that_answer(count in 1u32..60, dead: u64, seeds in 1usize..5, order: u64) {
            let target = Key::of(&order.to_be_bytes());
            let all = peers(count, &target);
            let alive = |info: &PeerInfo| all.iter().position(|peer| peer == info).is_some_and(|i| dead >> (i % 64) & 1 == 0 || i % 7 == 0);
            let start: Vec<_> = all.iter().rev().filter(|info| alive(info)).take(seeds).cloned().collect();
            let mut walk = Walk::new(target, LIMITS, &start, Timestamp::ZERO);
            let mut queue = vec![];
            let mut steps = 0;
            while !walk.has_ended() {
                queue.extend(ask_all(&mut walk));
                prop_assert!(!queue.is_empty(), "a walk that has not ended waits for somebody");
                let info = queue.swap_remove((order as usize).wrapping_mul(steps + 1) % queue.len());
                if alive(&info) {
                    walk.answered(&info.peer, all.iter().take(9), Timestamp::ZERO);
                } else {
                    walk.failed(&info.peer, Timestamp::ZERO);
                }
                steps += 1;
                prop_assert!(steps <= all.len());
            }
            let reachable: Vec<_> = all.iter().enumerate().filter(|(i, info)| (*i < 9 || start.contains(info)) && alive(info)).map(|(_, info)| info.clone()).take(LIMITS.k).collect();
            prop_assert_eq!(walk.closest(), reachable);
        }
    }
}
