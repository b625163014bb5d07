//! The checker that stands outside the nodes and knows them all.

use kadmos_core::peer::PeerInfo;
use kadmos_core::{Distance, Key, PeerId};
use serde::{Deserialize, Serialize};

use crate::world::NodeIndex;

/// Every serving node of a world, with its place in the keyspace. Shares nothing with the nodes' tables.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Sorted by node.
    servers: Vec<(Key, NodeIndex, PeerId)>,
}

/// A fraction, kept exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ratio {
    /// How many.
    pub part: u64,
    /// Of how many.
    pub whole: u64,
}

impl Oracle {
    /// Adds a node that serves.
    pub(crate) fn add(&mut self, key: Key, node: NodeIndex, id: PeerId) {
        let index = self.servers.partition_point(|(_, known, _)| *known < node);
        match self.servers.get_mut(index).filter(|(_, known, _)| *known == node) {
            Some(known) => *known = (key, node, id),
            None => self.servers.insert(index, (key, node, id)),
        }
    }

    /// Removes a node that serves no longer.
    pub(crate) fn remove(&mut self, node: NodeIndex) {
        if let Ok(index) = self.servers.binary_search_by_key(&node, |(_, known, _)| *known) {
            self.servers.remove(index);
        }
    }

    /// Nodes that serve.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether no node serves.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// The `k` serving nodes truly closest to `target`, nearest first, without `except`: what a lookup by that node
    /// should find. Found by sorting all of them. Cost: O(nodes).
    pub fn closest(&self, target: &Key, k: usize, except: NodeIndex) -> Vec<NodeIndex> {
        self.ranked(target, k, except).into_iter().map(|(_, node, _)| node).collect()
    }

    /// How many of the `k` serving nodes truly closest to `target`, without `except`, are in `found`.
    pub fn recall(&self, target: &Key, k: usize, except: NodeIndex, found: &[PeerInfo]) -> Ratio {
        let truth = self.ranked(target, k, except);
        let part = truth.iter().filter(|(_, _, id)| found.iter().any(|info| info.peer.id == *id)).count();
        Ratio { part: part as u64, whole: truth.len() as u64 }
    }

    fn ranked(&self, target: &Key, k: usize, except: NodeIndex) -> Vec<(Distance, NodeIndex, PeerId)> {
        let mut ranked: Vec<_> = self
            .servers
            .iter()
            .filter(|(_, node, _)| *node != except)
            .map(|(key, node, id)| (key.distance(target), *node, *id))
            .collect();
        if k > 0 && k < ranked.len() {
            ranked.select_nth_unstable_by_key(k - 1, |(distance, ..)| *distance);
        }
        ranked.truncate(k);
        ranked.sort_unstable_by_key(|(distance, ..)| *distance);
        ranked
    }
}

impl Ratio {
    /// Adds the parts and the wholes.
    pub fn add(&mut self, other: Self) {
        self.part += other.part;
        self.whole += other.whole;
    }

    /// Counts one more, and whether it is part of the part.
    pub fn count(&mut self, hit: bool) {
        self.part += u64::from(hit);
        self.whole += 1;
    }

    /// Whether the part is at least `per_mille` thousandths of the whole; holds for a whole of 0.
    pub fn is_at_least_per_mille(&self, per_mille: u64) -> bool {
        u128::from(self.part) * 1_000 >= u128::from(self.whole) * u128::from(per_mille)
    }
}

/// `99.9500 %` (truncated, so that only a perfect ratio prints as 100), or `-` for a whole of 0.
impl std::fmt::Display for Ratio {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Some(scaled) = (u128::from(self.part) * 1_000_000).checked_div(u128::from(self.whole)) else {
            return f.pad("-");
        };
        f.pad(&format!("{}.{:04} %", scaled / 10_000, scaled % 10_000))
    }
}

#[cfg(test)]
mod tests {
    use kadmos_core::{AddrList, Peer};

    use super::*;

    fn key(first: u8) -> Key {
        let mut hash = [0; 32];
        hash[0] = first;
        Key::from_hashed(hash)
    }

    fn id(index: u8) -> PeerId {
        PeerId::from_digest([index; 32])
    }

    fn oracle(firsts: &[u8]) -> Oracle {
        let mut oracle = Oracle::default();
        for (index, first) in (0..).zip(firsts) {
            oracle.add(key(*first), NodeIndex::new(index), id(index as u8));
        }
        oracle
    }

    #[test]
    fn closest_is_by_xor_not_by_difference() {
        // Distances to 0b1000_0000: 1, 0x80 ^ 0x7f = 0xff, 0x40, 0x80
        let oracle = oracle(&[0b1000_0001, 0b0111_1111, 0b1100_0000, 0]);
        let found = oracle.closest(&key(0b1000_0000), 3, NodeIndex::new(9));
        assert_eq!(found, [0, 2, 3].map(NodeIndex::new));
        assert_eq!(oracle.closest(&key(0x80), 1, NodeIndex::new(0)), [NodeIndex::new(2)]);
        assert_eq!(oracle.closest(&key(0x80), 9, NodeIndex::new(0)).len(), 3);
        assert!(oracle.closest(&key(0x80), 0, NodeIndex::new(0)).is_empty());
    }

    #[test]
    fn recall_counts_the_true_ones_only() {
        let mut oracle = oracle(&[1, 2, 4, 8]);
        let found: Vec<_> =
            [0, 3].map(|index| PeerInfo::new(Peer::new(id(index)), AddrList::EMPTY)).into_iter().collect();
        assert_eq!(oracle.recall(&key(0), 2, NodeIndex::new(9), &found), Ratio { part: 1, whole: 2 });
        oracle.remove(NodeIndex::new(1));
        assert_eq!(oracle.recall(&key(0), 4, NodeIndex::new(9), &found), Ratio { part: 2, whole: 3 });
    }

    #[test]
    fn ratio_never_rounds_up() {
        let mut ratio = Ratio { part: 1_999_999, whole: 2_000_000 };
        assert_eq!(ratio.to_string(), "99.9999 %");
        assert!(ratio.is_at_least_per_mille(999) && !ratio.is_at_least_per_mille(1_000));
        ratio.add(Ratio { part: 1, whole: 0 });
        assert_eq!(ratio.to_string(), "100.0000 %");
        assert_eq!(Ratio::default().to_string(), "-");
    }
}
