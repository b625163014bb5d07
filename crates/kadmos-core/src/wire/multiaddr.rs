//! Just enough of binary multiaddrs to tell which may be kept for a peer.
//!
//! The core stores and forwards addresses as they came. It walks their components only to drop those that nobody
//! could parse, and to recognise a trailing `/p2p/<id>`. Source: the multiaddr protocol table.

use super::varint;
use crate::peer::PeerId;

/// Multiaddr protocol code of `/p2p`.
const P2P: u64 = 421;

/// How long the value of a component is.
enum Size {
    /// This many bytes.
    Fixed(usize),
    /// As many bytes as the varint before it says.
    Prefixed,
}

/// What to keep of `addr` as an address of `peer`: all of it, all but a trailing `/p2p/<peer>` (rust-libp2p appends
/// it), or nothing.
///
/// Nothing is kept of an address that is empty, that ends inside a component, or that names another peer at its end.
/// From the first component with an unknown code on, the address is opaque and kept whole: newer transports must
/// pass through older servers.
pub fn kept<'a>(addr: &'a [u8], peer: &PeerId) -> Option<&'a [u8]> {
    let mut rest = addr;
    let mut last_peer = None;
    while !rest.is_empty() {
        let start = addr.len() - rest.len();
        let (code, after_code) = varint::read(rest).ok()?;
        let Some(size) = size(code) else { return Some(addr) };
        let (len, after_len) = match size {
            Size::Fixed(len) => (len, after_code),
            Size::Prefixed => {
                let (len, after_len) = varint::read(after_code).ok()?;
                (usize::try_from(len).ok()?, after_len)
            }
        };
        let (value, tail) = after_len.split_at_checked(len)?;
        last_peer = (code == P2P).then_some((start, value));
        rest = tail;
    }
    let kept = match last_peer {
        Some((start, id)) if id == peer.as_bytes() => &addr[..start],
        Some(_) => return None,
        None => addr,
    };
    Some(kept).filter(|kept| !kept.is_empty())
}

/// The value size of protocol `code`, if it is known here.
fn size(code: u64) -> Option<Size> {
    Some(match code {
        43 => Size::Fixed(1),                 // ipcidr
        6 | 33 | 132 | 273 => Size::Fixed(2), // tcp, dccp, sctp, udp
        4 => Size::Fixed(4),                  // ip4
        444 => Size::Fixed(12),               // onion
        41 => Size::Fixed(16),                // ip6
        445 => Size::Fixed(37),               // onion3
        // p2p-webrtc-star, p2p-webrtc-direct, p2p-stardust, webrtc-direct, webrtc, p2p-circuit, udt, utp
        275..=277 | 280 | 281 | 290 | 301 | 302 => Size::Fixed(0),
        // https, tls, noise, quic, quic-v1, webtransport, ws, wss, p2p-websocket-star, http
        443 | 448 | 454 | 460 | 461 | 465 | 477..=480 => Size::Fixed(0),
        // ip6zone, dns, dns4, dns6, dnsaddr, unix, p2p, garlic64, garlic32, sni, certhash, http-path
        42 | 53..=56 | 400 | P2P | 446 | 447 | 449 | 466 | 481 => Size::Prefixed,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const TCP: &[u8] = &[4, 1, 2, 3, 4, 6, 0x0f, 0xa1];

    fn with_peer(head: &[u8], id: &PeerId) -> Vec<u8> {
        let mut addr = head.to_vec();
        varint::write(&mut addr, P2P);
        varint::write(&mut addr, id.as_bytes().len() as u64);
        addr.extend(id.as_bytes());
        addr
    }

    #[test]
    fn trailing_ids_decide() {
        let (own, other) = (PeerId::from_digest([1; 32]), PeerId::from_digest([2; 32]));
        let mut relayed = with_peer(TCP, &other);
        varint::write(&mut relayed, 290);
        assert_eq!(kept(TCP, &own), Some(TCP));
        assert_eq!(kept(&with_peer(TCP, &own), &own), Some(TCP));
        assert_eq!(kept(&with_peer(TCP, &other), &own), None);
        assert_eq!(kept(&relayed, &own), Some(relayed.as_slice()));
        assert_eq!(kept(&with_peer(&relayed, &own), &own), Some(relayed.as_slice()));
        assert_eq!(kept(&with_peer(&[], &own), &own), None);
    }

    #[test]
    fn unreadable_addresses_are_dropped_and_unknown_ones_kept() {
        let own = PeerId::from_digest([1; 32]);
        let cases: &[(&[u8], bool)] = &[
            (&[], false),
            (&[4, 1, 2, 3], false),                             // half an IPv4 address
            (&[4, 1, 2, 3, 4, 6, 1], false),                    // half a port
            (&[54, 3, b'a'], false),                            // a name shorter than its length
            (&[54, 0xff, 0xff, 0xff, 0xff, 0x0f, b'a'], false), // a length of 2^32 - 1
            (&[0x80], false),                                   // half a code
            (&[4, 1, 2, 3, 4, 0x91, 0x02, 0x0f, 0xa1, 0xcd, 0x03], true), // ip4, udp, quic-v1
            (&[0xff, 0x7f, 9, 9], true),                        // unknown code
            (&[4, 1, 2, 3, 4, 0xff, 0x7f], true),               // known, then unknown
        ];
        for (addr, keep) in cases {
            assert_eq!(kept(addr, &own).is_some(), *keep, "{addr:x?}");
        }
    }

    proptest! {
        #[test]
        fn keeps_a_prefix_of_anything(addr: Vec<u8>) {
            if let Some(kept) = kept(&addr, &PeerId::from_digest([1; 32])) {
                prop_assert!(!kept.is_empty() && addr.starts_with(kept));
            }
        }
    }
}
