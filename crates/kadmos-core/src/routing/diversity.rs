//! IP groups: one operator has many peer ids cheaply, but not addresses all over the internet.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::asn::AsnMap;
use crate::addr::{AddrList, is_public_ip, leading_ip};

/// Class A blocks that one organisation holds as a whole. Source: go-libp2p-kbucket `peerdiversity`.
const LEGACY_CLASS_A: [u8; 8] = [12, 17, 19, 38, 48, 53, 56, 73];

/// Whose addresses a peer comes from, as far as that can be told: an IPv4 /16 (or /8 of a legacy class A block), an IPv6
/// /32 and in it a /48, or an autonomous system. Or nobody's: then it is exempt from every limit.
///
/// 8 bytes: a tag in the highest, 48 bits of what it names in the lowest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(u64);

const TAG_SHIFT: u32 = 56;
const TAG_V4: u64 = 1 << TAG_SHIFT;
const TAG_V6: u64 = 2 << TAG_SHIFT;
const TAG_ASN: u64 = 3 << TAG_SHIFT;
/// Bits of an IPv6 group below its /32.
const SITE_BITS: u32 = 16;

impl Group {
    /// In no group: a private address, a name, or a peer that is trusted.
    pub const EXEMPT: Self = Self(0);

    /// The group of an address. Private, loopback and link-local ones have none.
    pub fn of(ip: IpAddr, asns: Option<&AsnMap>) -> Self {
        let ip = match ip {
            IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
            IpAddr::V4(_) => ip,
        };
        if !is_public_ip(ip) {
            return Self::EXEMPT;
        }
        if let Some(asn) = asns.and_then(|asns| asns.asn(ip)) {
            return Self(TAG_ASN | u64::from(asn));
        }
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    /// The group of the first address that has one, of those that a peer claims to have.
    pub fn claimed(addrs: &AddrList, asns: Option<&AsnMap>) -> Self {
        let groups = addrs.iter().filter_map(leading_ip).map(|ip| Self::of(ip, asns));
        groups.into_iter().find(|group| !group.is_exempt()).unwrap_or(Self::EXEMPT)
    }

    /// Whether no limit holds for it.
    pub fn is_exempt(self) -> bool {
        self == Self::EXEMPT
    }

    fn of_v4(ip: Ipv4Addr) -> Self {
        let [a, b, ..] = ip.octets();
        let network =
            if LEGACY_CLASS_A.contains(&a) { u64::from(a) << 16 } else { u64::from(a) << 8 | u64::from(b) };
        Self(TAG_V4 | network)
    }

    fn of_v6(ip: Ipv6Addr) -> Self {
        let [a, b, c, ..] = ip.segments();
        Self(TAG_V6 | u64::from(a) << 32 | u64::from(b) << SITE_BITS | u64::from(c))
    }

    fn is_v6(self) -> bool {
        self.0 & !0 << TAG_SHIFT == TAG_V6
    }

    /// The group without the /48 inside an IPv6 /32.
    pub fn network(self) -> Self {
        if self.is_v6() { Self(self.0 >> SITE_BITS << SITE_BITS) } else { self }
    }

    pub(super) const fn to_bits(self) -> u64 {
        self.0
    }

    /// Only of what [`Group::to_bits`] gave.
    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether a limit holds for the two together.
    pub fn is_shared_with(self, other: Self) -> bool {
        !self.is_exempt() && self.network() == other.network()
    }
}

/// How many of a group there are somewhere; IPv6 counts its /48 as well.
#[derive(Clone, Copy, Debug)]
pub(super) struct Census {
    group: Group,
    /// The bits that tell whether another is counted: all but the /48 of an IPv6 group.
    mask: u64,
    coarse: usize,
    fine: usize,
}

impl Census {
    pub(super) fn new(group: Group) -> Self {
        let mask = if group.is_v6() { !0 << SITE_BITS } else { !0 };
        Self { group, mask, coarse: 0, fine: 0 }
    }

    /// Counts one, if it is of the group. What is counted for an exempt group means nothing. A table's census is of some two
    /// hundred, so this has no branch.
    pub(super) fn count(&mut self, other: Group) {
        self.coarse += usize::from((self.group.0 ^ other.0) & self.mask == 0);
        self.fine += usize::from(self.group == other);
    }

    /// Adds what another counted of the same group.
    pub(super) fn add(&mut self, other: Self) {
        self.coarse += other.coarse;
        self.fine += other.fine;
    }

    /// How many were counted.
    pub(super) fn total(&self) -> usize {
        self.coarse
    }

    /// Whether one more would exceed `limit` for the group, or half of it for an IPv6 /48; 0 is no limit.
    pub(super) fn is_full(&self, limit: usize) -> bool {
        limit > 0
            && !self.group.is_exempt()
            && (self.coarse >= limit || (self.group.is_v6() && self.fine >= limit.div_ceil(2)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::peer::PeerId;

    fn group(ip: &str) -> Group {
        Group::of(ip.parse().expect("an address"), None)
    }

    #[test]
    fn groups_follow_the_networks() {
        for (a, b, shared) in [
            ("1.2.3.4", "1.2.200.1", true),
            ("1.2.3.4", "1.3.3.4", false),
            ("17.1.2.3", "17.200.2.3", true), // a legacy class A
            ("17.1.2.3", "18.1.2.3", false),
            ("53.0.0.1", "53.255.0.1", true),
            ("2001:db9:1::1", "2001:db9:2::1", true),
            ("2001:db9:1::1", "2001:dba:1::1", false),
            ("::ffff:1.2.3.4", "1.2.9.9", true),
            ("10.1.2.3", "10.1.2.4", false), // private: exempt
            ("127.0.0.1", "127.0.0.1", false),
            ("fe80::1", "fe80::1", false),
        ] {
            assert_eq!(group(a).is_shared_with(group(b)), shared, "{a} and {b}");
        }
        assert!(group("192.168.1.1").is_exempt() && !group("1.2.3.4").is_exempt());
    }

    #[test]
    fn numbers_of_systems_join_what_networks_part() {
        let asns = AsnMap::parse("1.2.0.0/16 7\n9.0.0.0/8 7\n2001:db9::/32 7").expect("well-formed");
        let of = |ip: &str| Group::of(ip.parse().expect("an address"), Some(&asns));
        assert!(of("1.2.3.4").is_shared_with(of("9.9.9.9")));
        assert!(of("1.2.3.4").is_shared_with(of("2001:db9::1")));
        assert!(!of("1.2.3.4").is_shared_with(of("1.3.3.4")), "not in the file: its network");
    }

    #[test]
    fn limits_hold_for_networks_and_half_of_them_for_sites() {
        let mut census = Census::new(group("1.2.3.4"));
        (0..2).for_each(|_| census.count(group("1.2.9.9")));
        census.count(group("1.3.0.1"));
        assert!(census.is_full(2) && !census.is_full(3) && !census.is_full(0));
        let mut site = Census::new(group("2001:db9:1::1"));
        site.count(group("2001:db9:1::2"));
        assert!(site.is_full(2) && !site.is_full(3), "one of two, two of three");
        let mut elsewhere = Census::new(group("2001:db9:2::1"));
        elsewhere.count(group("2001:db9:1::2"));
        assert!(!elsewhere.is_full(2) && elsewhere.total() == 1);
        let mut exempt = Census::new(Group::EXEMPT);
        (0..9).for_each(|_| exempt.count(Group::EXEMPT));
        assert!(!exempt.is_full(1), "{exempt:?}");
    }

    #[test]
    fn claimed_addresses_give_the_first_public_group() {
        let id = PeerId::from_digest([1; 32]);
        let addrs: [&[u8]; 3] =
            [&[4, 10, 0, 0, 1, 6, 0, 80], &[54, 1, b'a', 6, 0, 1], &[4, 1, 2, 3, 4, 6, 0, 80]];
        assert_eq!(Group::claimed(&AddrList::collect(&id, addrs), None), group("1.2.0.1"));
        assert!(Group::claimed(&AddrList::collect(&id, [addrs[0]]), None).is_exempt(), "{}", id.to_string());
    }
}
