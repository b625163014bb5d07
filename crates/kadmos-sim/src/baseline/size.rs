//! go's estimate of how many servers the network has.
//!
//! Models go-libp2p-kad-dht `netsize/netsize.go`: every completed lookup tells the distances of the 20 nearest; of
//! the i-th nearest the mean distance is i / (N + 1) of the keyspace, and a line through the origin gives N.

use std::collections::VecDeque;
use std::time::Duration;

use kadmos_core::routing::TableSnapshot;
use kadmos_core::{Key, Peer, Timestamp};

use super::go::{K, share};

/// Older measurements do not count. Source: `MaxMeasurementAge`.
const AGE_MAX: Duration = Duration::from_secs(2 * 3_600);
/// Fewer measurements give no estimate. Source: `MinMeasurementsThreshold`.
const MEASUREMENTS_MIN: usize = 5;
/// No more are kept. Source: `MaxMeasurementsThreshold`.
const MEASUREMENTS_MAX: usize = 150;

/// Measurements, and what they say.
#[derive(Clone, Debug, Default)]
pub(super) struct SizeEstimator {
    measured: VecDeque<Measurement>,
}

/// One lookup.
#[derive(Clone, Debug)]
struct Measurement {
    at: Timestamp,
    /// By rank, as shares of the keyspace.
    distances: [f64; K],
    /// Lookups into buckets that are not full count less: half for each peer that is missing.
    weight: f64,
}

impl SizeEstimator {
    /// Takes the 20 nearest peers that a completed lookup heard of, dead ones included; other numbers tell nothing.
    pub(super) fn track(&mut self, now: Timestamp, key: &Key, closest: &[Peer], table: &TableSnapshot) {
        let Ok(closest) = <&[Peer; K]>::try_from(closest) else { return };
        if self.measured.len() == MEASUREMENTS_MAX {
            self.measured.pop_front();
        }
        let distances = closest.each_ref().map(|peer| share(key, peer));
        self.measured.push_back(Measurement { at: now, distances, weight: weight(key, closest, table) });
    }

    /// How many servers there are, once five lookups of the last two hours have told.
    pub(super) fn size(&self, now: Timestamp) -> Option<f64> {
        let recent: Vec<_> = self.measured.iter().filter(|one| now.since(one.at) <= AGE_MAX).collect();
        if recent.len() < MEASUREMENTS_MIN {
            return None;
        }
        let weights: f64 = recent.iter().map(|one| one.weight).sum();
        let (mut xy, mut xx) = (0.0, 0.0);
        for rank in 0..K {
            let mean = recent.iter().map(|one| one.weight * one.distances[rank]).sum::<f64>() / weights;
            let squares = recent.iter().map(|one| one.weight * (one.distances[rank] - mean).powi(2));
            // Like go's, ranks with more spread count more, not less.
            let deviation =
                (squares.sum::<f64>() * recent.len() as f64 / ((recent.len() - 1) as f64 * weights)).sqrt();
            let x = (rank + 1) as f64;
            xy += deviation * x * mean;
            xx += deviation * x * x;
        }
        let size = xx / xy - 1.0; // the slope's inverse
        (size.is_finite() && size >= 1.0).then_some(size)
    }
}

/// 2^(peers of the bucket of `key` - 20). Source: `calcWeight`.
fn weight(key: &Key, closest: &[Peer; K], table: &TableSnapshot) -> f64 {
    let local = table.local().peer.key;
    let prefix_len = local.common_prefix_len(key);
    let in_table =
        table.buckets().find(|(index, _)| *index == prefix_len).map_or(0, |(_, bucket)| bucket.len());
    let named = closest.iter().filter(|peer| local.common_prefix_len(&peer.key) == prefix_len).count();
    let level = if in_table < K { in_table.max(named) } else { in_table };
    2f64.powi(level.min(K) as i32 - K as i32) // both at most 20
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, Mode, PeerId, PeerInfo};
    use rand_core::Rng;

    use super::*;

    #[test]
    fn the_estimate_is_near_the_truth_after_a_few_lookups() {
        let mut rng = crate::random::child(1, "size", 0);
        let mut random = || {
            let mut digest = [0; 32];
            rng.fill_bytes(&mut digest);
            Peer::new(PeerId::from_digest(digest))
        };
        let peers: Vec<_> = (0..3_000).map(|_| random()).collect();
        let table = TableSnapshot::new(PeerInfo::new(random(), AddrList::EMPTY), Mode::Client);
        let mut estimator = SizeEstimator::default();
        for lookup in 0..30 {
            let key = random().key;
            let mut closest = peers.clone();
            closest.sort_by_key(|peer| peer.key.distance(&key));
            estimator.track(Timestamp::ZERO, &key, &closest[..19], &table); // too few: ignored
            assert_eq!(estimator.size(Timestamp::ZERO).is_some(), lookup >= MEASUREMENTS_MIN);
            estimator.track(Timestamp::ZERO, &key, &closest[..K], &table);
        }
        let size = estimator.size(Timestamp::ZERO).expect("thirty lookups");
        assert!((2_400.0..3_600.0).contains(&size), "{size}");
        let later = Timestamp::ZERO + AGE_MAX + Duration::from_secs(1);
        assert_eq!(estimator.size(later), None, "old measurements do not count");
    }
}
