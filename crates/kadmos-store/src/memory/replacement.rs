//! Who gives way when a key has as many providers as it may have.
//!
//! Keeping the providers closest to the key lets an attacker compute ids that are closer than all others; keeping
//! whoever came first lets it come first (rust-libp2p #5536 went from the one to the other). So neither: the newcomer
//! always enters, and the place it takes is that of the largest group of neighbours in address space. Squatters in
//! one network then displace each other, and a lone provider elsewhere stays. Among groups of equal size the claim
//! announced longest ago gives way, which an honest provider renews within a day.
//!
//! What this does not stop: addresses are claimed, not proven, so an attacker who claims a different network with
//! each id makes every group a group of one; then the order of announcement decides, and staying costs it a new
//! identity and a connection for each newcomer, again and again.

use std::net::IpAddr;

use kadmos_core::AddrList;
use kadmos_core::addr::leading_ip;

/// A network that one party is likely to run: /16 of IPv4, /32 of IPv6, what registries give to one holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    /// No IP address: names, relays, nothing. All of these are one group.
    Unknown,
    V4([u8; 2]),
    V6([u8; 4]),
}

impl Group {
    /// The group of the first IP address.
    pub(super) fn of(addrs: &AddrList) -> Self {
        match addrs.iter().find_map(leading_ip) {
            None => Self::Unknown,
            Some(IpAddr::V4(ip)) => {
                let [a, b, ..] = ip.octets();
                Self::V4([a, b])
            }
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
        }
    }
}

/// The index of the claim that gives way to a newcomer: of `held`, ordered by announcement, oldest first, the oldest
/// of those whose group is largest once the newcomer is counted. `None` only when `held` is empty.
///
/// Cost: O(n log n) for n claims.
pub(super) fn gives_way(held: &[Group], newcomer: Group) -> Option<usize> {
    let mut sorted = held.to_vec();
    sorted.push(newcomer);
    sorted.sort_unstable();
    let size_of = |group: &Group| {
        sorted.partition_point(|other| other <= group) - sorted.partition_point(|other| other < group)
    };
    let largest = held.iter().map(size_of).max()?;
    held.iter().position(|group| size_of(group) == largest)
}

#[cfg(test)]
mod tests {
    use kadmos_core::PeerId;

    use super::*;

    const A: Group = Group::V4([1, 1]);
    const B: Group = Group::V4([2, 2]);
    const C: Group = Group::V6([0x20, 1, 0, 0]);

    #[test]
    fn largest_group_gives_way_oldest_first() {
        for (held, newcomer, expected) in [
            (vec![], A, None),
            (vec![A], A, Some(0)),
            (vec![A], B, Some(0)),
            (vec![B, A, A], C, Some(1)),
            (vec![A, B, B, A], C, Some(0)),
            // The newcomer's own group counts with it, so a squatter displaces a squatter…
            (vec![B, A, C], A, Some(1)),
            // …and all groups of one are equal.
            (vec![B, A, C], Group::Unknown, Some(0)),
        ] {
            assert_eq!(gives_way(&held, newcomer), expected, "{held:?} {newcomer:?}");
        }
    }

    #[test]
    fn honest_provider_enters_and_stays_among_squatters() {
        let mut held = vec![A; 20];
        held.remove(gives_way(&held, B).unwrap());
        held.push(B);
        for _ in 0..1_000 {
            held.remove(gives_way(&held, A).unwrap());
            held.push(A);
        }
        assert!(held.contains(&B));
        assert_eq!(held.len(), 20);
    }

    #[test]
    fn groups_are_networks() {
        let id = PeerId::from_digest([1; 32]);
        let group = |addrs: &[&[u8]]| Group::of(&AddrList::collect(&id, addrs.iter().copied()));
        assert_eq!(group(&[]), Group::Unknown);
        assert_eq!(group(&[&[54, 1, b'a']]), Group::Unknown);
        assert_eq!(group(&[&[54, 1, b'a'], &[4, 9, 8, 7, 6, 6, 0, 1]]), Group::V4([9, 8]));
        let mut v6 = vec![41];
        v6.extend([0x20, 1, 0xd, 0xb8, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(group(&[&v6]), Group::V6([0x20, 1, 0xd, 0xb8]));
    }
}
