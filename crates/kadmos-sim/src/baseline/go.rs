//! How go-libp2p-kad-dht walks and publishes.
//!
//! Models `query.go` (`query.run`, `isReadyToTerminate`, `queryPeer`), `lookup.go` (`runLookupWithFollowup`),
//! `routing.go` (`Provide`, `FindProvidersAsync`) and `lookup_optim.go` of go-libp2p-kad-dht, and the dial limits
//! of go-libp2p's swarm (`p2p/net/swarm`).

use std::time::Duration;

use kadmos_core::{Key, Peer, PeerInfo};

use super::candidates::{Candidates, State, Target};

/// Bucket size, results and holders. Source: `amino/defaults.go`, `DefaultBucketSize`.
pub(super) const K: usize = 20;
/// Requests in flight. Source: `amino/defaults.go`, `DefaultConcurrency`.
const ALPHA: usize = 10;
/// A walk ends when this many of the nearest have answered. Source: `amino/defaults.go`, `DefaultResiliency`.
const BETA: usize = 3;
/// A dial may take this long. Source: go-libp2p core/network, `DialPeerTimeout`.
pub(super) const DIAL_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer may take this long once the request is sent. Source: `internal/net/message_manager.go`,
/// `dhtReadMessageTimeout`.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// An address that could not be dialled is not dialled again for this long. So a peer all of whose addresses failed
/// within it fails at once; one whose dial took longer is dialled anew. Source: go-libp2p `swarm.go`, `BackoffBase`, and
/// `dial_worker.go`, which adds it address by address; later failures in a row wait longer, up to 5 minutes.
pub(super) const DIAL_BACKOFF: Duration = Duration::from_secs(5);
/// An ADD_PROVIDER, its dial included, may take this long since release 0.42. Source: `routing.go`,
/// `putOperationTimeout`.
pub(super) const PUT_TIMEOUT: Duration = Duration::from_secs(30);
/// A table refresh runs this often. Source: `internal/config/config.go`, `RoutingTable.RefreshInterval`.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(600);
/// Deepest bucket that a refresh asks for. Source: go-libp2p-kbucket `table_refresh.go`, `maxCplForRefresh`.
pub(super) const REFRESH_PREFIX_MAX: u16 = 15;
/// A refresh before this age of the last one is left out, unless all are forced. Source: `rt_refresh_manager.go`,
/// `refreshCplIfEligible`.
pub(super) const REFRESH_AGE_MIN: Duration = REFRESH_INTERVAL;
/// One walk of a refresh may take this long. Source: `internal/config/config.go`, `RoutingTable.RefreshQueryTimeout`.
pub(super) const REFRESH_WALK_TIMEOUT: Duration = Duration::from_secs(10);
/// Asking a peer whether it answers may take this long, its dial included. Source: `dht.go`, `lookupCheckTimeout`, is the
/// refresh query's; `rt_refresh_manager.go`, `peerPingTimeout`.
pub(super) const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Strangers asked at once; further ones are passed over. Source: `internal/config/config.go`, `LookupCheckConcurrency`.
pub(super) const CHECKS_MAX: usize = 256;
/// A peer of the table that was not asked with success for longer is pinged before a refresh: ln(1/20) / ln(1 - 10/20) refresh
/// intervals. Source: `dht.go`, `maxLastSuccessfulOutboundThreshold`.
pub(super) const PING_AFTER: Duration = Duration::from_millis(2_593_157);
/// A table of this size or less looks for more. Source: `dht_bootstrap.go`, `minRTRefreshThreshold`.
pub(super) const LOW_PEERS: usize = 10;
/// How often that is looked at, whatever happens. Source: `dht_bootstrap.go`, `periodicBootstrapInterval`.
pub(super) const LOW_PEERS_INTERVAL: Duration = Duration::from_secs(120);
/// Bootstrap peers that an empty table connects to. Source: `dht_bootstrap.go`, `maxNBoostrappers`.
pub(super) const BOOTSTRAPPERS: usize = 2;
/// From the second finished refresh of a table that was empty until nobody in it is replaced any more. Source: `dht.go`,
/// `rtFreezeTimeout`.
pub(super) const FREEZE_AFTER: Duration = Duration::from_secs(60);
/// Closer peers taken from one answer. Source: `query.go`, since #1270, twice the bucket size.
pub(super) const ANSWER_MAX: usize = 2 * K;
/// An operation without a deadline of its own. Real ones have none; the longest published provide took 126 s.
pub(super) const DEADLINE: Duration = Duration::from_secs(300);

/// Optimistic provide returns when this many of the 20 sends have ended, well or not. Source: `lookup_optim.go`,
/// `optimisticProvideReturnRatio` 0.75 of the bucket size, rounded up.
pub(super) const RETURN_AFTER: usize = 15;
/// A peer nearer than this over the network's size gets the record during the walk: the inverse of the regularised
/// incomplete gamma function for the 20th of 20 at 1 - 0.9. Source: `lookup_optim.go`,
/// `optimisticProvideIndividualThresholdCertainty`.
const INDIVIDUAL_THRESHOLD: f64 = 14.525_261;
/// The walk ends when the mean distance of the 20 nearest is below this over the network's size: the same inverse
/// for the 11th at 1 - 0.1. Source: `lookup_optim.go`, `optimisticProvideSetThresholdStrictness`.
const SET_THRESHOLD: f64 = 15.406_641;

/// One walk.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    candidates: Candidates,
    phase: Phase,
}

#[derive(Clone, Debug)]
enum Phase {
    Walking,
    /// The walk is over; what has been sent is waited for, and ignored. Dials were called off.
    Draining {
        sent: Vec<Peer>,
        follow_up: bool,
    },
    /// The rest of the 20 nearest is asked; all of them are waited for, and whom they name is ignored.
    FollowUp {
        unsent: Vec<PeerInfo>,
        waiting: Vec<Peer>,
    },
    Ended,
}

impl Walk {
    pub(super) fn new<'a>(key: Key, seeds: impl IntoIterator<Item = &'a PeerInfo>) -> Self {
        Self { candidates: Candidates::new(Target::Hashed(key), seeds), phase: Phase::Walking }
    }

    /// Whom to ask now; call until `None`.
    pub(super) fn next_peer(&mut self) -> Option<PeerInfo> {
        match &mut self.phase {
            Phase::Walking => {
                if self.candidates.count(State::Waiting) >= ALPHA {
                    return None;
                }
                let next = self.candidates.iter_mut().find(|candidate| candidate.state == State::Heard)?;
                next.state = State::Waiting;
                Some(next.info.clone())
            }
            Phase::FollowUp { unsent, waiting } => {
                let info = unsent.pop()?;
                waiting.push(info.peer.clone());
                Some(info)
            }
            Phase::Draining { .. } | Phase::Ended => None,
        }
    }

    pub(super) fn answered(&mut self, peer: &Peer, closer: &[PeerInfo]) {
        if matches!(self.phase, Phase::Walking) {
            if let Some(hops) = self.candidates.answered(peer) {
                for info in closer {
                    self.candidates.add(info, hops + 1);
                }
            }
        } else {
            self.ended(peer, State::Answered);
        }
    }

    pub(super) fn failed(&mut self, peer: &Peer) {
        if matches!(self.phase, Phase::Walking) {
            if let Some(candidate) = self.candidates.find(peer).filter(|found| found.state == State::Waiting)
            {
                candidate.state = State::Failed;
            }
        } else {
            // A peer that fails in the follow-up stays among the results.
            self.ended(peer, State::Waiting);
        }
    }

    /// Moves on after an answer or a failure. `stop` is whether the caller has what it wanted; `is_connected` tells
    /// requests that were sent from dials. Returns the peers whose dials are called off.
    pub(super) fn advance(&mut self, stop: bool, is_connected: impl Fn(&Peer) -> bool) -> Vec<Peer> {
        let mut called_off = Vec::new();
        if matches!(self.phase, Phase::Walking) && (stop || self.is_starved() || self.is_complete()) {
            let waiting = self.candidates.iter().filter(|candidate| candidate.state == State::Waiting);
            let (sent, dialling) = waiting.map(|found| found.info.peer.clone()).partition(is_connected);
            called_off = dialling;
            self.phase = Phase::Draining { sent, follow_up: !stop };
        }
        if let Phase::Draining { sent, follow_up } = &self.phase
            && sent.is_empty()
        {
            let mut unsent: Vec<_> = self
                .candidates
                .nearest_live(K)
                .filter(|found| *follow_up && matches!(found.state, State::Heard | State::Waiting))
                .map(|found| found.info.clone())
                .collect();
            unsent.reverse(); // they are popped, nearest first
            self.phase = Phase::FollowUp { unsent, waiting: Vec::new() };
        }
        if let Phase::FollowUp { unsent, waiting } = &self.phase
            && (stop || unsent.is_empty() && waiting.is_empty())
        {
            called_off.extend(waiting.iter().cloned());
            self.phase = Phase::Ended;
        }
        called_off
    }

    pub(super) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended)
    }

    /// Ends the walk with what there is.
    pub(super) fn stop(&mut self) {
        self.phase = Phase::Ended;
    }

    /// The 20 nearest that have not failed during the walk, asked or not.
    pub(super) fn closest(&self) -> Vec<PeerInfo> {
        self.candidates.nearest_live(K).map(|candidate| candidate.info.clone()).collect()
    }

    /// The 20 nearest, failed or not, for the estimate of the network's size. Source: `lookup.go`, field `closest`.
    pub(super) fn closest_of_all(&self) -> Vec<Peer> {
        self.candidates.iter().take(K).map(|candidate| candidate.info.peer.clone()).collect()
    }

    pub(super) fn hops(&self) -> usize {
        self.candidates.hops()
    }

    /// Nobody is left to ask or to wait for.
    fn is_starved(&self) -> bool {
        !self.candidates.iter().any(|found| matches!(found.state, State::Heard | State::Waiting))
    }

    /// The nearest three that have not failed have answered. Fewer than three peers end by starvation.
    fn is_complete(&self) -> bool {
        self.candidates.len() >= BETA
            && self.candidates.nearest_live(BETA).all(|found| found.state == State::Answered)
    }

    fn ended(&mut self, peer: &Peer, state: State) {
        match &mut self.phase {
            Phase::Draining { sent, .. } => sent.retain(|known| known != peer),
            Phase::FollowUp { waiting, .. } => {
                waiting.retain(|known| known != peer);
                if let Some(candidate) = self.candidates.find(peer) {
                    candidate.state = state;
                }
            }
            Phase::Walking | Phase::Ended => {}
        }
    }
}

/// The thresholds of optimistic provide for one network size, as shares of the keyspace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Thresholds {
    pub(super) individual: f64,
    pub(super) set: f64,
}

impl Thresholds {
    pub(super) fn of(network_size: f64) -> Self {
        Self { individual: INDIVIDUAL_THRESHOLD / network_size, set: SET_THRESHOLD / network_size }
    }

    /// Whether the mean distance of the nearest is small enough to end the walk. Like go's, it divides by 20 however
    /// few the peers are. Source: `lookup_optim.go`, `stopFn`.
    pub(super) fn is_near(&self, key: &Key, closest: &[PeerInfo]) -> bool {
        let sum: f64 = closest.iter().map(|info| share(key, &info.peer)).sum();
        sum / (K as f64) < self.set
    }
}

/// The distance of a peer from `key` as a share of the keyspace, 0 to 1.
pub(super) fn share(key: &Key, peer: &Peer) -> f64 {
    let [high, low, ..] = peer.key.distance(key).words();
    (high as f64 + low as f64 / 2f64.powi(64)) / 2f64.powi(64)
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, PeerId};

    use super::*;

    /// Peers whose distance to the target grows.
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
        std::iter::from_fn(|| walk.next_peer()).collect()
    }

    #[test]
    fn three_nearest_end_the_walk_and_the_rest_of_twenty_is_waited_for() {
        let target = Key::of(b"t");
        let all = peers(40, &target);
        let mut walk = Walk::new(target, &all[..30]);
        assert_eq!(ask_all(&mut walk), all[..ALPHA]);
        for info in &all[..2] {
            walk.answered(&info.peer, &[]);
            assert!(walk.advance(false, |_| false).is_empty());
        }
        assert_eq!(ask_all(&mut walk), all[10..12]);
        walk.answered(&all[2].peer, &all[30..]);
        // Two of the nine others are connected: they are waited for, the dials are called off.
        let called_off = walk.advance(false, |peer| *peer == all[3].peer || *peer == all[4].peer);
        assert_eq!(called_off.len(), 7);
        assert!(ask_all(&mut walk).is_empty());
        walk.answered(&all[3].peer, &[]);
        walk.failed(&all[4].peer);
        walk.advance(false, |_| false);
        // What came while draining does not count: they are asked again, with the rest of the 20.
        assert_eq!(ask_all(&mut walk), all[3..20]);
        for info in &all[3..19] {
            walk.answered(&info.peer, &[all[35].clone()]);
            walk.advance(false, |_| false);
        }
        assert!(!walk.has_ended());
        walk.failed(&all[19].peer);
        walk.advance(false, |_| false);
        assert!(walk.has_ended());
        assert_eq!(walk.closest(), all[..20], "who failed in the follow-up stays");
    }

    #[test]
    fn a_stopped_walk_has_no_follow_up() {
        let target = Key::of(b"t");
        let all = peers(30, &target);
        let mut walk = Walk::new(target, &all);
        let asked = ask_all(&mut walk);
        walk.answered(&asked[0].peer, &[]);
        assert_eq!(walk.advance(true, |_| false).len(), ALPHA - 1);
        assert!(walk.has_ended());
    }

    #[test]
    fn failures_make_room_until_nobody_is_left() {
        let target = Key::of(b"t");
        let all = peers(12, &target);
        let mut walk = Walk::new(target, &all);
        let mut asked = ask_all(&mut walk);
        while let Some(info) = asked.pop() {
            walk.failed(&info.peer);
            walk.advance(false, |_| true);
            asked.extend(ask_all(&mut walk));
        }
        assert!(walk.has_ended());
        assert!(walk.closest().is_empty());
        assert_eq!(walk.closest_of_all().len(), 12);
    }

    /// P(at least `a` events) for a mean of `x`: the regularised incomplete gamma function of a whole number.
    fn gamma_p(a: u32, x: f64) -> f64 {
        let mut term = (-x).exp();
        let mut sum = term;
        for i in 1..a {
            term *= x / f64::from(i);
            sum += term;
        }
        1.0 - sum
    }

    #[test]
    fn thresholds_are_the_inverse_of_the_gamma_function() {
        assert!((gamma_p(K as u32, INDIVIDUAL_THRESHOLD) - (1.0 - 0.9)).abs() < 1e-5);
        assert!((gamma_p(K as u32 / 2 + 1, SET_THRESHOLD) - (1.0 - 0.1)).abs() < 1e-5);
    }

    #[test]
    fn the_true_twenty_nearest_are_near_and_a_tenth_of_the_network_is_not() {
        let target = Key::of(b"t");
        let all = peers(2_000, &target);
        let thresholds = Thresholds::of(2_000.0);
        assert!(thresholds.is_near(&target, &all[..20]));
        assert!(!thresholds.is_near(&target, &all[200..220]));
        assert!(share(&target, &all[0].peer) < thresholds.individual);
    }
}
