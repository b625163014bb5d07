//! Realms: the one or two networks that a node is in, and where the border between them runs.
//!
//! With two, the wide network is on every connection, the local one only on connections within the local network. So
//! what belongs to the local network crosses that border neither way: a stranger cannot open a stream of its protocol,
//! and no request of it goes to one.

pub use kadmos_core::Realm;
use kadmos_core::{RequestId, addr};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;

/// Names a request: each realm's node numbers its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestKey {
    /// Whose.
    pub realm: Realm,
    /// Which.
    pub id: RequestId,
}

/// Whether `remote`, the other end of a connection, is on our local network: its address is private, loopback or
/// link-local; or it has one of our own public IPv4 addresses, or an IPv6 address of our own /64. Relayed connections
/// and names are not.
///
/// Source: go-libp2p-kad-dht `PrivateRoutingTableFilter`, which also asks the system for a route without a gateway.
pub(crate) fn is_local<'a>(remote: &Multiaddr, own: impl IntoIterator<Item = &'a Multiaddr>) -> bool {
    if remote.iter().any(|part| matches!(part, Protocol::P2pCircuit)) {
        return false;
    }
    match (addr::leading_ip(remote.as_ref()), remote.iter().next()) {
        (None, first) => matches!(first, Some(Protocol::Memory(_))),
        (Some(_), _) if !addr::is_public(remote.as_ref()) => true,
        (Some(ip), _) => {
            let own = own.into_iter().filter(|own| addr::is_public(own.as_ref()));
            own.filter_map(|own| addr::leading_ip(own.as_ref())).any(|own| match (own, ip) {
                (std::net::IpAddr::V4(own), std::net::IpAddr::V4(ip)) => own == ip,
                (std::net::IpAddr::V6(own), std::net::IpAddr::V6(ip)) => {
                    own.octets()[..8] == ip.octets()[..8]
                }
                _ => false,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_local_network_is_private_addresses_our_own_public_one_and_our_own_prefix() {
        let own: Vec<Multiaddr> = [
            "/ip4/8.8.4.4/tcp/1",
            "/ip6/2001:db9:1:2::1/tcp/1",
            "/ip4/10.0.0.1/tcp/1",
            "/dns4/a.example/tcp/1",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec();
        for (remote, local) in [
            ("/ip4/127.0.0.1/tcp/1", true),
            ("/ip4/192.168.0.7/udp/1/quic-v1", true),
            ("/ip4/169.254.1.1/tcp/1", true),
            ("/ip6/::1/tcp/1", true),
            ("/ip6/fe80::1/tcp/1", true),
            ("/ip6/fd00::1/tcp/1", true),
            ("/memory/7", true),
            ("/ip4/8.8.4.4/tcp/9", true),
            ("/ip6/2001:db9:1:2:3:4:5:6/tcp/1", true),
            ("/ip4/8.8.8.8/tcp/1", false),
            ("/ip6/2001:db9:1:3::1/tcp/1", false),
            ("/dns4/a.example/tcp/1", false),
            (
                "/ip4/192.168.0.7/tcp/1/p2p/12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA/p2p-circuit",
                false,
            ),
        ] {
            assert_eq!(is_local(&remote.parse().unwrap(), &own), local, "{remote}");
        }
        assert!(!is_local(&"/ip4/8.8.4.4/tcp/9".parse().unwrap(), []), "not known to be ours");
    }
}
