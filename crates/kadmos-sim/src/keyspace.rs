//! Who belongs into whose bucket, told from a sorted list of everybody.

use std::ops::Range;

use kadmos_core::Key;
use kadmos_core::peer::PeerInfo;
use rand_core::Rng;

use crate::random::below;

/// Peers in the order of their keys, so that each bucket of any node is one range.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keyspace {
    sorted: Vec<PeerInfo>,
}

impl Keyspace {
    pub(crate) fn new(mut peers: Vec<PeerInfo>) -> Self {
        peers.sort_unstable_by_key(|info| info.peer.key);
        Self { sorted: peers }
    }

    /// Picks peers for the table of `own`: of each of its buckets, all or `count` of them by chance.
    pub(crate) fn table_of(&self, own: &Key, count: usize, rng: &mut impl Rng) -> Vec<PeerInfo> {
        let mut table = Vec::new();
        let mut within = 0..self.sorted.len();
        for bit in 0..Key::BITS {
            if within.is_empty() {
                break;
            }
            let (bucket, rest) = self.split(within, own, bit);
            self.pick(bucket, count, rng, &mut table);
            within = rest;
        }
        table
    }

    /// Of a range whose keys agree with `own` up to `bit`, those that differ there, and those that do not.
    fn split(&self, within: Range<usize>, own: &Key, bit: u16) -> (Range<usize>, Range<usize>) {
        let is_set = |key: &Key| key.as_bytes()[usize::from(bit / 8)] >> (7 - bit % 8) & 1 == 1;
        let keys = &self.sorted[within.clone()];
        let middle = within.start + keys.partition_point(|info| !is_set(&info.peer.key));
        let (zeros, ones) = (within.start..middle, middle..within.end);
        if is_set(own) { (zeros, ones) } else { (ones, zeros) }
    }

    fn pick(&self, bucket: Range<usize>, count: usize, rng: &mut impl Rng, table: &mut Vec<PeerInfo>) {
        let mut candidates = bucket.len();
        if candidates <= count {
            return table.extend_from_slice(&self.sorted[bucket]);
        }
        // Floyd's way to draw distinct ones: as many draws as are wanted.
        let mut picked: Vec<usize> = Vec::with_capacity(count);
        candidates -= count;
        for last in candidates..bucket.len() {
            let drawn = below(rng, last as u64 + 1) as usize; // at most `last`
            picked.push(if picked.contains(&drawn) { last } else { drawn });
        }
        table.extend(picked.into_iter().map(|index| self.sorted[bucket.start + index].clone()));
    }
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, Peer, PeerId};

    use super::*;
    use crate::random::{child, child_seed};

    #[test]
    fn tables_are_full_where_there_are_enough_and_whole_where_not() {
        let peers: Vec<_> = (0..500)
            .map(|index| {
                PeerInfo::new(Peer::new(PeerId::from_digest(child_seed(1, "id", index))), AddrList::EMPTY)
            })
            .collect();
        let own = peers[17].peer.key;
        let table = Keyspace::new(peers.clone()).table_of(&own, 8, &mut child(1, "table", 0));
        for prefix_len in 0..Key::BITS {
            let of = |list: &[PeerInfo]| {
                let mut keys: Vec<_> = list.iter().map(|info| info.peer.key).collect();
                keys.retain(|key| own.common_prefix_len(key) == prefix_len);
                keys.sort_unstable();
                keys.dedup();
                keys
            };
            let (all, picked) = (of(&peers), of(&table));
            assert_eq!(picked.len(), all.len().min(8), "bucket {prefix_len}");
            assert!(picked.iter().all(|key| all.contains(key)));
        }
        assert!(table.iter().all(|info| info.peer.key != own));
    }
}
