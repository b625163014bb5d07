//! go's IP groups: whose addresses count as one owner's.
//!
//! Models go-libp2p-kbucket `peerdiversity/filter.go` (`IPGroupKey`, `TryAdd`) and go-libp2p-kad-dht
//! `rt_diversity_filter.go` (`Allow`, `filterPeersByIPDiversity`). A host of the simulator has one address, so that
//! the address of its live connection, which go looks at, is the one it announces.

use std::collections::BTreeMap;

use kadmos_core::{AddrList, PeerInfo};

/// Peers of one group in a bucket. Source: `amino/defaults.go`, `DefaultMaxPeersPerIPGroupPerCpl`.
const PER_BUCKET_MAX: u32 = 2;
/// Peers of one group in the table, and in one answer. Source: `amino/defaults.go`, `DefaultMaxPeersPerIPGroup`; `query.go`,
/// `maxPeersPerIPGroup`, is the same number.
const PER_TABLE_MAX: u32 = 3;

/// IPv4 networks that one organisation has held whole. Source: `peerdiversity/filter.go`, `legacyClassA`.
const CLASS_A: [u8; 8] = [12, 17, 19, 38, 48, 53, 56, 73];

/// Multiaddr code of `/ip4`.
const IP4: u8 = 4;
/// Multiaddr code of `/ip6`.
const IP6: u8 = 41;

/// Who is taken for one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IpGroup {
    /// A /8 of [`CLASS_A`].
    ClassA(u8),
    /// A /16.
    V4([u8; 2]),
    /// All IPv6 addresses whose autonomous system is not known; go's key for them is the same whatever the address.
    V6,
}

impl IpGroup {
    /// The group of a binary multiaddr; `None` if it does not begin with an IP address.
    pub(super) fn of(addr: &[u8]) -> Option<Self> {
        match addr {
            [IP4, a, ..] if CLASS_A.contains(a) => Some(Self::ClassA(*a)),
            [IP4, a, b, ..] => Some(Self::V4([*a, *b])),
            [IP6, ..] => Some(Self::V6),
            _ => None,
        }
    }
}

/// How many of each group the table holds.
#[derive(Clone, Debug, Default)]
pub(super) struct IpGroups {
    in_bucket: BTreeMap<(u16, IpGroup), u32>,
    in_table: BTreeMap<IpGroup, u32>,
}

impl IpGroups {
    /// The groups of a peer's addresses, if the table may have one more of each; an address without a group, or no
    /// address, is refused.
    pub(super) fn allowed(&self, prefix_len: u16, addrs: &AddrList) -> Option<Vec<IpGroup>> {
        let groups = groups_of(addrs).collect::<Option<Vec<_>>>()?;
        let is_allowed = |group: &IpGroup| {
            let in_table = self.in_table.get(group).copied().unwrap_or(0);
            let in_bucket = self.in_bucket.get(&(prefix_len, *group)).copied().unwrap_or(0);
            in_table < PER_TABLE_MAX && in_bucket < PER_BUCKET_MAX
        };
        (!groups.is_empty() && groups.iter().all(is_allowed)).then_some(groups)
    }

    pub(super) fn add(&mut self, prefix_len: u16, groups: &[IpGroup]) {
        for group in groups {
            *self.in_bucket.entry((prefix_len, *group)).or_insert(0) += 1;
            *self.in_table.entry(*group).or_insert(0) += 1;
        }
    }

    pub(super) fn remove(&mut self, prefix_len: u16, groups: &[IpGroup]) {
        for group in groups {
            decrement(&mut self.in_bucket, &(prefix_len, *group));
            decrement(&mut self.in_table, group);
        }
    }
}

/// One fewer; nothing is left of the last.
fn decrement<K: Ord>(counts: &mut BTreeMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

/// The group of each address, `None` for one that has none.
pub(super) fn groups_of(addrs: &AddrList) -> impl Iterator<Item = Option<IpGroup>> {
    addrs.iter().map(IpGroup::of)
}

/// Drops from an answer every peer of a group that has more than three peers in it. Source: `filterPeersByIPDiversity`.
pub(super) fn filter_answer(peers: &mut Vec<PeerInfo>) {
    let mut counts = BTreeMap::new();
    for info in peers.iter() {
        let mut groups: Vec<_> = groups_of(&info.addrs).flatten().collect();
        groups.sort_unstable();
        groups.dedup(); // a peer counts once in each group
        groups.into_iter().for_each(|group| *counts.entry(group).or_insert(0) += 1);
    }
    if counts.values().any(|count| *count > PER_TABLE_MAX) {
        peers.retain(|info| {
            groups_of(&info.addrs)
                .flatten()
                .all(|group| counts.get(&group).is_none_or(|n| *n <= PER_TABLE_MAX))
        });
    }
}

#[cfg(test)]
mod tests {
    use kadmos_core::{Peer, PeerId};

    use super::*;

    fn addrs(addr: &[u8]) -> AddrList {
        AddrList::collect(&PeerId::from_digest([1; 32]), [addr])
    }

    #[test]
    fn groups_are_sixteen_bits_or_an_old_class_a() {
        let group = |a, b| IpGroup::of(&[IP4, a, b, 1, 1, 6, 0, 1]);
        assert_eq!(group(20, 1), group(20, 1));
        assert_ne!(group(20, 1), group(20, 2));
        assert_eq!(group(38, 1), group(38, 2), "Cogent's");
        assert_eq!(IpGroup::of(&[54, 1, b'a']), None, "a name is no address");
    }

    #[test]
    fn two_of_a_bucket_and_three_of_the_table() {
        let mut groups = IpGroups::default();
        let one = addrs(&[IP4, 20, 1, 1, 1]);
        for (prefix_len, fits) in [(0, true), (0, true), (0, false), (1, true), (2, false)] {
            let allowed = groups.allowed(prefix_len, &one);
            assert_eq!(allowed.is_some(), fits, "{prefix_len}");
            groups.add(prefix_len, &allowed.unwrap_or_default());
        }
        let of_one = [IpGroup::V4([20, 1])];
        groups.remove(0, &of_one);
        assert!(groups.allowed(2, &one).is_some());
        assert!(groups.allowed(0, &AddrList::EMPTY).is_none(), "who has no address has no group");
        groups.remove(0, &of_one);
        groups.remove(1, &of_one);
        assert!(groups.in_table.is_empty() && groups.in_bucket.is_empty());
    }

    #[test]
    fn a_crowded_group_is_dropped_from_an_answer() {
        let info = |seed: u8, a: u8| {
            let id = PeerId::from_digest([seed; 32]);
            PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[IP4, a, 1, 1, seed].as_slice()]))
        };
        let mut three: Vec<_> = (0..3).map(|seed| info(seed, 20)).chain([info(9, 21)]).collect();
        filter_answer(&mut three);
        assert_eq!(three.len(), 4);
        let mut four: Vec<_> = (0..4).map(|seed| info(seed, 20)).chain([info(9, 21)]).collect();
        filter_answer(&mut four);
        assert_eq!(four, [info(9, 21)], "all of them, not those beyond three");
    }
}
