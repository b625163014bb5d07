//! How many servers the network has, from lookups of random keys.
//!
//! Peer ids are hashes, so the servers lie in the keyspace as if thrown. A walk to a random key sees the nearest of them: the
//! smaller the part of the keyspace that its results fill, the larger the network. Only the refreshes of our own buckets
//! are looked at. Their targets are random and nobody else knows them, while a crowd can be placed around a stored key;
//! and only peers that answered count, since half of what is named is dead.
//!
//! A bucket is a part of the keyspace that no other bucket overlaps. A walk into it that ends with k peers inside has
//! looked at the part nearer than the farthest of them; one that ends with fewer has looked at all of the bucket. Over all
//! walks, peers seen divided by keyspace looked at is the maximum-likelihood density, with a relative standard error of
//! one over the root of the peers seen: 16 walks that end with 20 peers give 5.6 %.
//! A walk that ends with fewer than k peers in all has seen the whole network, and is a count.
//!
//! go-libp2p-kad-dht fits a line through the mean distance of each rank, weighted by the deviation, so that the noisiest
//! ranks count most; the farthest distance alone tells all that the ranks together do.

use alloc::vec::Vec;

use crate::key::Key;
use crate::limits::{NETWORK_SIZE_AGE_MAX, NETWORK_SIZE_REMEMBERED_MAX, NETWORK_SIZE_WALKS_MAX};
use crate::peer::PeerInfo;
use crate::time::{Now, Timestamp, UnixTime};

/// The whole keyspace, in the unit in which it is measured.
const KEYSPACE: u128 = 1 << 64;

/// How many servers answer in this network, this node not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSize {
    /// The estimate.
    pub peers: u64,
    /// Its standard error (one sigma), in peers: two times out of three the truth is no farther away.
    pub std_error: u64,
    /// Walks it comes from; 0 if it was remembered from an earlier run.
    pub walks: usize,
}

/// What one walk into one of our own buckets saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    /// The bucket.
    prefix_len: u16,
    /// Peers of the bucket that answered, at most k.
    seen: u32,
    /// The part of the keyspace looked at, in 2^-64 of it.
    looked_at: u64,
    /// Whether that is all of the bucket.
    whole: bool,
}

impl Sample {
    /// What a complete walk to `target` saw that ended with `closest`, nearest first, of which it wanted `k`. `None`
    /// for a bucket too deep to measure.
    pub(crate) fn of(own: &Key, target: &Key, closest: &[PeerInfo], k: usize) -> Option<Self> {
        let prefix_len = own.common_prefix_len(target);
        let bucket = u64::MAX.checked_shr(u32::from(prefix_len) + 1).filter(|width| *width > 0)?;
        if closest.len() < k {
            let seen = closest.len() as u32; // below k, which is a bucket's size
            return Some(Self { prefix_len, seen, looked_at: u64::MAX, whole: true });
        }
        // Whoever shares more bits with the target than we do is in the target's bucket, and nearer than all others.
        let inside =
            || closest.iter().filter(|info| info.peer.key.common_prefix_len(target) > prefix_len).take(k);
        let seen = inside().count();
        let farthest = inside().last().map(|info| info.peer.key.distance(target).words()[0]);
        let (looked_at, whole) = match farthest {
            Some(distance) if seen == k => (distance.saturating_add(1), false),
            _ => (bucket, true),
        };
        Some(Self { prefix_len, seen: u32::try_from(seen).unwrap_or(u32::MAX), looked_at, whole })
    }

    /// Walks into the bucket that tell something new: as many as look at half of it.
    fn worth_keeping(&self) -> usize {
        let bucket = u64::MAX >> (self.prefix_len + 1); // `of` makes none so deep that this overflows
        let walks = usize::try_from(bucket / 2 / self.looked_at.max(1)).unwrap_or(usize::MAX);
        walks.clamp(1, NETWORK_SIZE_WALKS_MAX)
    }
}

/// The last walks, by bucket, and what they come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Estimator {
    /// Oldest first. At most [`NETWORK_SIZE_WALKS_MAX`] of a bucket, and as many buckets as are refreshed.
    samples: Vec<(Timestamp, Sample)>,
    remembered: Option<(UnixTime, NetworkSize)>,
}

impl Estimator {
    /// Takes what a walk saw.
    pub(crate) fn add(&mut self, now: Timestamp, sample: Sample) {
        self.samples.retain(|(at, _)| now.since(*at) < NETWORK_SIZE_AGE_MAX);
        let of_bucket = |(_, known): &(Timestamp, Sample)| known.prefix_len == sample.prefix_len;
        let mut surplus = (self.samples.iter().filter(|known| of_bucket(known)).count() + 1)
            .saturating_sub(sample.worth_keeping());
        self.samples.retain(|known| {
            let drop = surplus > 0 && of_bucket(known);
            surplus -= usize::from(drop);
            !drop
        });
        self.samples.push((now, sample));
    }

    /// Takes an estimate of an earlier run, made at `at`.
    pub(crate) fn remember(&mut self, at: UnixTime, size: NetworkSize) {
        self.remembered = Some((at, NetworkSize { walks: 0, ..size }));
    }

    /// The estimate and when it was made, for keeping.
    pub(crate) fn to_remember(&self, now: Now) -> Option<(UnixTime, NetworkSize)> {
        let size = self.estimate(now)?;
        let at = match self.remembered {
            Some((at, _)) if size.walks == 0 => at,
            _ => now.unix,
        };
        Some((at, NetworkSize { walks: 0, ..size }))
    }

    /// The estimate, if there is one that is not out of date: that of our own walks, or the remembered one as long as
    /// it is the sharper of the two.
    pub(crate) fn estimate(&self, now: Now) -> Option<NetworkSize> {
        let measured = self.measured(now.monotonic);
        let remembered = self.remembered.filter(|(at, _)| {
            // A clock that was set back makes it look as if it came from the future: as good as new.
            now.unix.since(*at) < NETWORK_SIZE_REMEMBERED_MAX
        });
        match (measured, remembered) {
            (Some(own), Some((_, old))) if relative(&own) > relative(&old) => Some(old),
            (Some(own), _) => Some(own),
            (None, old) => old.map(|(_, size)| size),
        }
    }

    fn measured(&self, now: Timestamp) -> Option<NetworkSize> {
        let mut samples: Vec<&Sample> = self
            .samples
            .iter()
            .filter(|(at, _)| now.since(*at) < NETWORK_SIZE_AGE_MAX)
            .map(|(_, sample)| sample)
            .collect();
        if let Some(last) = samples.last()
            && last.looked_at == u64::MAX
        {
            return Some(NetworkSize { peers: last.seen.into(), std_error: 1, walks: 1 });
        }
        samples.sort_by_key(|sample| sample.prefix_len);
        samples.retain(|sample| sample.looked_at < u64::MAX);
        // A network that the first bucket does not fill is small, and every bucket of it is needed.
        let is_small = samples.first().is_some_and(|sample| sample.whole);
        let mut sum = Sum::default();
        for bucket in samples.chunk_by(|a, b| a.prefix_len == b.prefix_len) {
            // Buckets deeper than the walks can fill add next to nothing, and are where a crowd around our own id would
            // show. Which ones those are is told by the shallower ones alone, so that no walk decides on its own weight.
            if let Some(peers) = sum.peers()
                && !is_small
            {
                let expected = u128::from(peers) >> (bucket[0].prefix_len + 1);
                if expected < u128::from(sum.most_seen / 2) {
                    break;
                }
            }
            bucket.iter().for_each(|sample| sum.add(sample));
        }
        sum.size()
    }
}

/// The relative error of an estimate in millionths.
fn relative(size: &NetworkSize) -> u128 {
    u128::from(size.std_error) * 1_000_000 / u128::from(size.peers.max(1))
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    walks: usize,
    seen: u64,
    most_seen: u32,
    looked_at: u128,
    /// Whether a walk stopped at a peer; the sum then ends where one was found, and that one does not count.
    stopped: bool,
}

impl Sum {
    fn add(&mut self, sample: &Sample) {
        self.walks += 1;
        self.seen += u64::from(sample.seen);
        self.most_seen = self.most_seen.max(sample.seen);
        self.looked_at += u128::from(sample.looked_at);
        self.stopped |= !sample.whole;
    }

    fn peers(&self) -> Option<u64> {
        if self.seen == 0 || self.looked_at == 0 {
            return None;
        }
        let seen = u128::from(self.seen - u64::from(self.stopped && self.seen > 1));
        Some(u64::try_from((seen * KEYSPACE + self.looked_at / 2) / self.looked_at).unwrap_or(u64::MAX))
    }

    fn size(&self) -> Option<NetworkSize> {
        let peers = self.peers()?;
        // peers / sqrt(seen), in integers; for a few peers that all were seen, too, it says "about".
        let std_error = (u128::from(peers).pow(2) / u128::from(self.seen)).isqrt();
        let std_error = u64::try_from(std_error).unwrap_or(u64::MAX).max(1);
        Some(NetworkSize { peers, std_error, walks: self.walks })
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_core::{Rng, SeedableRng};

    use super::*;
    use crate::addr::AddrList;
    use crate::peer::{Peer, PeerId};

    const K: usize = 20;

    fn random_peer(rng: &mut ChaCha8Rng) -> PeerInfo {
        let mut digest = [0; 32];
        rng.fill_bytes(&mut digest);
        PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
    }

    /// A network of `count` peers, sorted by key, and our own key.
    fn network(count: usize, rng: &mut ChaCha8Rng) -> (Vec<PeerInfo>, Key) {
        let mut peers: Vec<_> = (0..count).map(|_| random_peer(rng)).collect();
        peers.sort_by_key(|info| info.peer.key);
        (peers, random_peer(rng).peer.key)
    }

    /// A random key that shares exactly `prefix_len` bits with `own`.
    fn target(own: &Key, prefix_len: u16, rng: &mut ChaCha8Rng) -> Key {
        let mut random = [0; 32];
        rng.fill_bytes(&mut random);
        let random = Key::from_hashed(random);
        let mut bytes = [0u8; 32];
        for bit in 0..Key::BITS {
            let one = match bit.cmp(&prefix_len) {
                core::cmp::Ordering::Less => own.bit(bit),
                core::cmp::Ordering::Equal => !own.bit(bit),
                core::cmp::Ordering::Greater => random.bit(bit),
            };
            bytes[usize::from(bit / 8)] |= u8::from(one) << (7 - bit % 8);
        }
        Key::from_hashed(bytes)
    }

    fn closest(peers: &[PeerInfo], target: &Key) -> Vec<PeerInfo> {
        let mut near = peers.to_vec();
        let count = K.min(near.len());
        if near.len() > K {
            near.select_nth_unstable_by_key(K - 1, |info| info.peer.key.distance(target));
        }
        near.truncate(count);
        near.sort_by_key(|info| info.peer.key.distance(target));
        near
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn now(seconds: u64) -> Now {
        Now { monotonic: at(seconds), unix: UnixTime::from_secs(1_800_000_000 + seconds) }
    }

    /// What a node comes to that has made `walks` walks into its buckets `0..buckets`, in turns.
    fn estimate(
        peers: &[PeerInfo],
        own: &Key,
        walks: usize,
        buckets: u16,
        rng: &mut ChaCha8Rng,
    ) -> NetworkSize {
        let mut estimator = Estimator::default();
        for walk in 0..walks {
            let target = target(own, walk as u16 % buckets, rng);
            let sample =
                Sample::of(own, &target, &closest(peers, &target), K).expect("no bucket is that deep");
            estimator.add(at(walk as u64), sample);
        }
        estimator.estimate(now(walks as u64)).expect("there were walks")
    }

    /// Goal: the bar, within 10 % (one sigma) after 16 walks, and an error bar that is true. Method: many networks of
    /// 10,000 random keys; the root of the mean square of the relative error, and how often the truth is within one and
    /// two error bars.
    #[test]
    fn sixteen_walks_measure_ten_thousand_peers_within_a_tenth() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut squares = 0.0;
        let mut mean = 0.0;
        let mut within = [0; 2];
        let rounds = 60;
        for _ in 0..rounds {
            let (peers, own) = network(10_000, &mut rng);
            let size = estimate(&peers, &own, 16, 8, &mut rng);
            let error = (size.peers as f64 - 10_000.0) / 10_000.0;
            mean += error / f64::from(rounds);
            squares += error * error / f64::from(rounds);
            for (sigmas, count) in within.iter_mut().enumerate() {
                *count += usize::from(size.peers.abs_diff(10_000) <= size.std_error * (sigmas as u64 + 1));
            }
            assert!(size.std_error < 1_000, "{size:?}");
        }
        let sigma = squares.sqrt();
        assert!(sigma < 0.1, "{sigma}");
        assert!(mean.abs() < 0.03, "biased by {mean}");
        assert!(within[0] >= rounds as usize * 50 / 100, "{within:?} of {rounds}");
        assert!(within[1] >= rounds as usize * 85 / 100, "{within:?} of {rounds}");
    }

    #[test]
    fn networks_of_every_size_are_measured() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for count in [1, 3, 19, 20, 25, 60, 300, 2_000] {
            let mut mean = 0.0;
            let rounds = 40;
            for _ in 0..rounds {
                let (peers, own) = network(count, &mut rng);
                let deepest =
                    peers.iter().map(|info| own.common_prefix_len(&info.peer.key)).max().unwrap_or(0);
                let buckets = deepest.min(15) + 1;
                let size = estimate(&peers, &own, usize::from(buckets), buckets, &mut rng);
                mean += size.peers as f64 / f64::from(rounds);
            }
            let ratio = mean / count as f64;
            assert!((0.9..1.12).contains(&ratio), "{count} peers look like {mean}");
        }
    }

    /// A crowd around our own id is in buckets too deep to matter.
    #[test]
    fn a_crowd_around_us_changes_little() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let (mut peers, own) = network(10_000, &mut rng);
        let honest = estimate(&peers, &own, 16, 16, &mut rng.clone());
        while peers.len() < 10_300 {
            let sybil = random_peer(&mut rng);
            if own.common_prefix_len(&sybil.peer.key) >= 8 {
                peers.push(sybil);
            }
        }
        let crowded = estimate(&peers, &own, 16, 16, &mut rng);
        let ratio = crowded.peers as f64 / honest.peers as f64;
        assert!((0.8..1.3).contains(&ratio), "{honest:?} {crowded:?}");
    }

    #[test]
    fn old_walks_are_forgotten_and_a_remembered_size_steps_in() {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let (peers, own) = network(1_000, &mut rng);
        let mut estimator = Estimator::default();
        assert_eq!(estimator.estimate(now(0)), None);
        let key = target(&own, 0, &mut rng);
        let sample = Sample::of(&own, &key, &closest(&peers, &key), K).unwrap();
        estimator.add(at(0), sample);
        let measured = estimator.estimate(now(1)).unwrap();
        assert_eq!(measured.walks, 1);
        let late = NETWORK_SIZE_AGE_MAX.as_secs();
        assert_eq!(estimator.estimate(now(late)), None);

        let old = NetworkSize { peers: 900, std_error: 45, walks: 30 };
        estimator.remember(UnixTime::from_secs(1_800_000_000), old);
        let remembered = NetworkSize { walks: 0, ..old };
        assert_eq!(estimator.estimate(now(1)), Some(remembered), "the sharper of the two");
        assert_eq!(estimator.estimate(now(late)), Some(remembered));
        let too_old = NETWORK_SIZE_REMEMBERED_MAX.as_secs();
        assert_eq!(estimator.estimate(now(too_old)), None);
        let earlier = Now { monotonic: at(late), unix: UnixTime::from_secs(1) };
        assert_eq!(estimator.estimate(earlier), Some(remembered), "a clock that was set back harms nothing");
    }

    #[test]
    fn the_window_is_bounded() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let (peers, own) = network(3_000, &mut rng);
        let mut estimator = Estimator::default();
        for walk in 0..2_000u64 {
            let key = target(&own, walk as u16 % 16, &mut rng);
            estimator.add(at(walk), Sample::of(&own, &key, &closest(&peers, &key), K).unwrap());
        }
        assert!(estimator.samples.len() <= 16 * NETWORK_SIZE_WALKS_MAX);
        let deep = estimator.samples.iter().filter(|(_, sample)| sample.prefix_len == 12).count();
        assert_eq!(deep, 1, "a bucket that a walk sees whole is counted once");
        let size = estimator.estimate(now(2_000)).unwrap();
        assert!(size.peers.abs_diff(3_000) < 3 * size.std_error, "{size:?}");
    }
}
