//! Peer ids and addresses, between the core's raw bytes and libp2p's types.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use kadmos_core::peer::PeerIdError;
use kadmos_core::{AddrList, Peer, PeerInfo};
use libp2p_core::Multiaddr;
use libp2p_core::multiaddr::Protocol;
use libp2p_identity::PeerId;

/// A peer and the addresses it is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddrs {
    /// Who.
    pub id: PeerId,
    /// Where, without a trailing `/p2p/<id>`; may be empty.
    pub addrs: Vec<Multiaddr>,
}

impl PeerAddrs {
    /// A peer with its addresses.
    pub fn new(id: PeerId, addrs: Vec<Multiaddr>) -> Self {
        Self { id, addrs }
    }

    /// The peer in the core's form. Addresses that no longer fit a peer record are left out.
    ///
    /// Errors: [`PeerIdError`] for an id that is neither a SHA-256 nor an identity multihash of a public key.
    pub fn to_core(&self) -> Result<PeerInfo, PeerIdError> {
        let peer = core_peer(&self.id)?;
        let addrs = addr_list(&peer, &self.addrs);
        Ok(PeerInfo::new(peer, addrs))
    }
}

impl From<&PeerInfo> for PeerAddrs {
    fn from(info: &PeerInfo) -> Self {
        Self { id: peer_id(&info.peer.id), addrs: multiaddrs(&info.addrs) }
    }
}

impl From<PeerInfo> for PeerAddrs {
    fn from(info: PeerInfo) -> Self {
        Self::from(&info)
    }
}

/// The peer's addresses, each with `/p2p/<id>`, separated by spaces; the bare `/p2p/<id>` without addresses.
impl fmt::Display for PeerAddrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.addrs.is_empty() {
            return write!(f, "/p2p/{}", self.id);
        }
        for (index, addr) in self.addrs.iter().enumerate() {
            write!(f, "{}{addr}/p2p/{}", if index == 0 { "" } else { " " }, self.id)?;
        }
        Ok(())
    }
}

/// An address that does not name its peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerAddrsError {
    /// Not a multiaddress at all.
    #[error("read {text:?}, expected a multiaddress such as /ip4/192.0.2.1/tcp/4001/p2p/<peer id>: {reason}")]
    Syntax {
        /// What was read.
        text: String,
        /// What the parser said.
        reason: String,
    },
    /// A multiaddress without a peer id at its end.
    #[error("read {addr}, expected it to end in /p2p/<peer id>")]
    NoPeerId {
        /// What was read.
        addr: Multiaddr,
    },
}

/// Takes `/…/p2p/<id>` apart.
impl TryFrom<Multiaddr> for PeerAddrs {
    type Error = PeerAddrsError;

    fn try_from(mut addr: Multiaddr) -> Result<Self, PeerAddrsError> {
        match addr.pop() {
            Some(Protocol::P2p(id)) => {
                Ok(Self { id, addrs: if addr.is_empty() { Vec::new() } else { vec![addr] } })
            }
            last => Err(PeerAddrsError::NoPeerId {
                addr: last.map_or_else(Multiaddr::empty, |last| addr.with(last)),
            }),
        }
    }
}

impl FromStr for PeerAddrs {
    type Err = PeerAddrsError;

    fn from_str(text: &str) -> Result<Self, PeerAddrsError> {
        let addr = Multiaddr::from_str(text)
            .map_err(|error| PeerAddrsError::Syntax { text: text.to_owned(), reason: error.to_string() })?;
        Self::try_from(addr)
    }
}

/// The core's form of a peer id. libp2p also takes SHA-256 multihashes that were cut short; no peer has such an id.
///
/// Errors: [`PeerIdError`].
pub fn core_id(id: &PeerId) -> Result<kadmos_core::PeerId, PeerIdError> {
    kadmos_core::PeerId::from_bytes(&id.to_bytes())
}

/// The core's descriptor of a peer. Errors and cost: [`core_id`], and one SHA-256.
pub fn core_peer(id: &PeerId) -> Result<Peer, PeerIdError> {
    core_id(id).map(Peer::new)
}

/// libp2p's form of a peer id.
pub fn peer_id(id: &kadmos_core::PeerId) -> PeerId {
    // A core id is `0x12 0x20` and 32 bytes, or `0x00 len` and at most 42 bytes, whoever sent it: its constructor
    // checks that, and libp2p accepts exactly these two codes and lengths.
    PeerId::from_bytes(id.as_bytes()).expect("the core's peer ids are libp2p's")
}

/// The addresses that libp2p can read; the others are of protocols it does not know.
pub fn multiaddrs(addrs: &AddrList) -> Vec<Multiaddr> {
    addrs.iter().filter_map(|addr| Multiaddr::try_from(addr.to_vec()).ok()).collect()
}

/// The addresses of `peer` in the core's form.
pub fn addr_list<'a>(peer: &Peer, addrs: impl IntoIterator<Item = &'a Multiaddr>) -> AddrList {
    AddrList::collect(&peer.id, addrs.into_iter().map(|addr| addr.as_ref()))
}

/// The IP address that a connection comes from; `None` through a relay, whose address it is then.
pub(crate) fn remote_ip(addr: &Multiaddr) -> Option<IpAddr> {
    let is_relayed = addr.iter().any(|protocol| matches!(protocol, Protocol::P2pCircuit));
    if is_relayed { None } else { kadmos_core::addr::leading_ip(addr.as_ref()) }
}

#[cfg(test)]
mod tests {
    use libp2p_core::multihash::Multihash;
    use libp2p_identity::Keypair;

    use super::*;

    #[test]
    fn peer_ids_round_trip() {
        for len in 0..=42 {
            let id = PeerId::from_multihash(Multihash::wrap(0, &vec![7; len]).unwrap()).unwrap();
            assert_eq!(peer_id(&core_id(&id).unwrap()), id);
        }
        let hashed = kadmos_core::PeerId::from_digest([9; 32]);
        assert_eq!(core_id(&peer_id(&hashed)).unwrap(), hashed);
        let own = Keypair::generate_ed25519().public().to_peer_id();
        assert_eq!(peer_id(&core_id(&own).unwrap()), own);
    }

    #[test]
    fn a_cut_short_digest_is_refused() {
        let id = PeerId::from_multihash(Multihash::wrap(0x12, &[7; 31]).unwrap()).unwrap();
        assert!(core_id(&id).is_err());
    }

    #[test]
    fn addresses_of_unknown_protocols_are_left_out() {
        let peer = core_peer(&PeerId::random()).unwrap();
        let known: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let unknown = [0xff, 0xff, 0x7f, 1, 2, 3];
        let list = AddrList::collect(&peer.id, [known.as_ref(), unknown.as_slice()]);
        assert_eq!(multiaddrs(&list), [known]);
    }

    #[test]
    fn peer_addresses_are_parsed_and_printed() {
        let id = PeerId::random();
        let text = format!("/ip4/127.0.0.1/udp/4001/quic-v1/p2p/{id}");
        let peer: PeerAddrs = text.parse().unwrap();
        assert_eq!((peer.id, peer.addrs.len()), (id, 1));
        assert_eq!(peer.to_string(), text);
        let bare = format!("/p2p/{id}");
        assert_eq!(bare.parse::<PeerAddrs>().unwrap().to_string(), bare);
        let info = peer.to_core().unwrap();
        assert_eq!(PeerAddrs::from(info), peer);

        let nameless: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        assert_eq!(PeerAddrs::try_from(nameless.clone()), Err(PeerAddrsError::NoPeerId { addr: nameless }));
        assert!(matches!("127.0.0.1:1".parse::<PeerAddrs>(), Err(PeerAddrsError::Syntax { .. })));
    }
}
