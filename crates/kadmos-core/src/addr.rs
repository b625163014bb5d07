//! Multiaddresses as opaque bytes. Only the leading component is read, for filters and diversity.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{ADDRS_PER_PEER_MAX, PEER_RECORD_BYTES_MAX};
use crate::peer::PeerId;
use crate::wire::{multiaddr, varint};

/// Multiaddr protocol code of `/ip4`, followed by 4 bytes. Source: the multiaddr protocol table.
const IP4: u64 = 4;
/// Multiaddr protocol code of `/ip6`, followed by 16 bytes.
const IP6: u64 = 41;
/// Protobuf tag of `Message.Peer.addrs`: field 2, length-delimited.
pub(crate) const ADDRS_TAG: u8 = 0x12;
/// Bytes of a peer record left to its addresses: all but the longest id and a connection field, two bytes of
/// framing each counted.
const ADDRS_BYTES_MAX: usize = PEER_RECORD_BYTES_MAX - (2 + PeerId::BYTES_MAX) - 2;

/// A peer's addresses, kept exactly as the wire carries them: protobuf field 2 of `Message.Peer`, repeated.
///
/// So a reply copies them in one piece, and a decoded reply keeps one allocation per peer. Each address is a binary
/// multiaddr without a trailing `/p2p/<own id>`. At most [`ADDRS_PER_PEER_MAX`] addresses, and never so long that the
/// peer's record would exceed [`PEER_RECORD_BYTES_MAX`].
/// Cost: cloning bumps a counter; an empty list allocates nothing.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrList(Option<Arc<[u8]>>);

impl AddrList {
    /// No addresses.
    pub const EMPTY: Self = Self(None);

    /// Collects binary multiaddrs of `peer`, in order, without duplicates.
    ///
    /// A trailing `/p2p/<peer>` is stripped (rust-libp2p sends it). Addresses of which [`multiaddr::kept`] keeps
    /// nothing and those that no longer fit are left out; after [`ADDRS_PER_PEER_MAX`] no more are looked at.
    pub fn collect<'a>(peer: &PeerId, addrs: impl IntoIterator<Item = &'a [u8]>) -> Self {
        Self::collect_with(&mut Vec::new(), peer, addrs)
    }

    /// As [`AddrList::collect`], building in `scratch`, so that collecting many lists allocates once for each.
    pub(crate) fn collect_with<'a>(
        scratch: &mut Vec<u8>,
        peer: &PeerId,
        addrs: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        scratch.clear();
        for addr in addrs.into_iter().take(ADDRS_PER_PEER_MAX) {
            if let Some(addr) = multiaddr::kept(addr, peer) {
                push(scratch, addr);
            }
        }
        if scratch.is_empty() { Self::EMPTY } else { Self(Some(scratch.as_slice().into())) }
    }

    /// Whether there are no addresses.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the two are one list, not merely equal. Cost: one comparison, nothing is read.
    pub(crate) fn is_shared(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (own, other) => own.is_none() && other.is_none(),
        }
    }

    /// Number of addresses. Cost: O(bytes).
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// The binary multiaddrs, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        split(self.encoded())
    }

    /// The addresses as repeated protobuf field 2.
    pub fn encoded(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }

    /// Only the addresses for which `keep` holds; shares the list when all do.
    pub fn filtered(&self, mut keep: impl FnMut(&[u8]) -> bool) -> Self {
        if self.iter().all(&mut keep) {
            return self.clone();
        }
        let mut encoded = Vec::new();
        // The list is distinct and short enough already, so nothing is compared again.
        for addr in self.iter().filter(|addr| keep(addr)) {
            append(&mut encoded, addr);
        }
        if encoded.is_empty() { Self::EMPTY } else { Self(Some(encoded.into())) }
    }

    /// The first `count` addresses; shares the list when it has no more.
    pub fn truncated(&self, count: usize) -> Self {
        if self.iter().nth(count).is_none() {
            return self.clone();
        }
        let mut encoded = Vec::new();
        for addr in self.iter().take(count) {
            append(&mut encoded, addr);
        }
        if encoded.is_empty() { Self::EMPTY } else { Self(Some(encoded.into())) }
    }

    /// The addresses of `self`, then those of `other` that are new; shares a list when nothing is added.
    pub fn merged(&self, other: &Self) -> Self {
        if self.is_shared(other) || other.iter().all(|addr| self.iter().any(|own| own == addr)) {
            return self.clone();
        }
        if self.is_empty() {
            return other.clone();
        }
        let mut encoded = self.encoded().to_vec();
        for addr in other.iter() {
            push(&mut encoded, addr);
        }
        Self(Some(encoded.into()))
    }
}

/// Appends `addr` as protobuf field 2 unless it is empty, already there or no longer fits.
fn push(encoded: &mut Vec<u8>, addr: &[u8]) {
    let framed_len = 1 + varint::len(addr.len() as u64) + addr.len();
    if addr.is_empty() || encoded.len() + framed_len > ADDRS_BYTES_MAX {
        return;
    }
    let mut count = 0;
    for known in split(encoded) {
        count += 1;
        if known == addr || count == ADDRS_PER_PEER_MAX {
            return;
        }
    }
    append(encoded, addr);
}

fn append(encoded: &mut Vec<u8>, addr: &[u8]) {
    encoded.push(ADDRS_TAG);
    varint::write(encoded, addr.len() as u64);
    encoded.extend_from_slice(addr);
}

/// Walks bytes that [`push`] wrote.
fn split(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    core::iter::from_fn(move || {
        let (tag, after_tag) = rest.split_first()?;
        debug_assert_eq!(*tag, ADDRS_TAG);
        let (len, after_len) = varint::read(after_tag).ok()?;
        let (addr, tail) = after_len.split_at_checked(usize::try_from(len).ok()?)?;
        rest = tail;
        Some(addr)
    })
}

impl fmt::Debug for AddrList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// The IP address a binary multiaddr begins with, if it begins with one.
pub fn leading_ip(addr: &[u8]) -> Option<IpAddr> {
    let (code, rest) = varint::read(addr).ok()?;
    match code {
        IP4 => Some(IpAddr::V4(Ipv4Addr::from(*rest.first_chunk::<4>()?))),
        IP6 => Some(IpAddr::V6(Ipv6Addr::from(*rest.first_chunk::<16>()?))),
        _ => None,
    }
}

/// Whether strangers on the internet could reach `addr`: a public IP address, or a name.
///
/// Public IPv6 is `2000::/3`, as go-libp2p-kad-dht has it. Names (`/dns…`) are trusted until they are resolved.
/// Source: ipfs/specs kad-dht, "servers must not return private or loopback addresses".
pub fn is_public(addr: &[u8]) -> bool {
    match leading_ip(addr) {
        Some(ip) => is_public_ip(ip),
        None => matches!(varint::read(addr), Ok((53..=56, _))), // /dns, /dns4, /dns6, /dnsaddr
    }
}

/// Whether strangers on the internet could reach `ip`. Source: as [`is_public`].
pub fn is_public_ip(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let shared = a == 100 && b & 0xc0 == 64; // RFC 6598, carrier-grade NAT
            let benchmark = a == 198 && b & 0xfe == 18; // RFC 2544
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || shared
                || benchmark)
        }
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(ip: [u8; 4], port: u16) -> Vec<u8> {
        let mut addr = alloc::vec![4];
        addr.extend(ip);
        addr.push(6);
        addr.extend(port.to_be_bytes());
        addr
    }

    #[test]
    fn list_strips_own_id_and_duplicates() {
        let peer = PeerId::from_digest([7; 32]);
        let plain = tcp([1, 2, 3, 4], 4001);
        let mut suffixed = plain.clone();
        suffixed.extend([0xa5, 0x03, 34]);
        suffixed.extend(peer.as_bytes());
        let list = AddrList::collect(&peer, [plain.as_slice(), &suffixed, &[]]);
        assert_eq!(list.iter().collect::<Vec<_>>(), [plain.as_slice()]);
        assert_eq!(list.merged(&list), list);
        assert!(list.filtered(|_| false).is_empty());
    }

    #[test]
    fn list_never_exceeds_the_peer_record_limit() {
        let peer = PeerId::from_digest([7; 32]);
        let addrs: Vec<_> = (0..10_000u32).map(|i| tcp(i.to_be_bytes(), 1)).collect();
        let list = AddrList::collect(&peer, addrs.iter().map(Vec::as_slice));
        assert_eq!(list.len(), ADDRS_PER_PEER_MAX);
        let long: Vec<_> = (0..100u8).map(|i| [&[54, 200, 1][..], &[i; 200]].concat()).collect();
        let list = AddrList::collect(&peer, long.iter().map(Vec::as_slice));
        assert!(list.encoded().len() + 2 + PeerId::BYTES_MAX <= PEER_RECORD_BYTES_MAX);
        assert_eq!(list.len(), (PEER_RECORD_BYTES_MAX - 48) / 206);
        let other: Vec<_> = (0..200u32).map(|i| tcp(i.to_be_bytes(), 1)).collect();
        let merged = list.merged(&AddrList::collect(&peer, other.iter().map(Vec::as_slice)));
        assert!(merged.len() > list.len() && merged.len() <= ADDRS_PER_PEER_MAX);
        assert!(merged.encoded().len() + 2 + PeerId::BYTES_MAX <= PEER_RECORD_BYTES_MAX);
    }

    #[test]
    fn public_addresses_are_told_from_private_ones() {
        for (ip, public) in [
            ([1, 2, 3, 4], true),
            ([127, 0, 0, 1], false),
            ([10, 0, 0, 1], false),
            ([192, 168, 0, 1], false),
            ([172, 16, 0, 1], false),
            ([172, 32, 0, 1], true),
            ([100, 64, 0, 1], false),
            ([169, 254, 1, 1], false),
            ([0, 0, 0, 0], false),
            ([224, 0, 0, 1], false),
        ] {
            assert_eq!(is_public(&tcp(ip, 1)), public, "{ip:?}");
        }
        assert!(is_public(&[54, 1, b'a', 6, 0, 1]));
        assert!(!is_public(&[41, 0xfe, 0x80]));
        assert!(!is_public(&[]));
    }
}
