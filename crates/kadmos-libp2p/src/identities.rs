//! What identify told about peers, joined from its two halves.
//!
//! Whether a peer serves the DHT comes from its connection, where it listens from the swarm, in any order. The swarm
//! tells an address once and not again when the peer reconnects, so addresses outlive connections here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

/// Addresses kept of one peer: identify gives 5 to 30.
const ADDRS_MAX: usize = 32;

/// Disconnected peers whose addresses are remembered, ten times as many as identify's own cache has. At 32 addresses
/// of 40 bytes they hold 1.3 MiB.
const DISCONNECTED_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Identities {
    peers: BTreeMap<PeerId, Identity>,
    /// Peers of which something changed that was not told yet.
    changed: BTreeSet<PeerId>,
    /// Disconnected peers, the one that left first at the front; those that came back are skipped.
    disconnected: VecDeque<PeerId>,
}

#[derive(Debug, Default)]
struct Identity {
    connected: bool,
    serves: Option<bool>,
    /// The address we reached it at.
    dialled: Option<Multiaddr>,
    listens: Vec<Multiaddr>,
}

/// What [`kadmos_core::Input::Identified`] needs.
#[derive(Debug, PartialEq)]
pub(crate) struct Identified {
    pub(crate) peer: PeerId,
    pub(crate) serves: bool,
    pub(crate) addrs: Vec<Multiaddr>,
}

impl Identities {
    /// A connection is up, made by dialling `dialled` if it was ours.
    pub(crate) fn connected(&mut self, peer: PeerId, dialled: Option<&Multiaddr>) {
        let identity = self.peers.entry(peer).or_default();
        identity.connected = true;
        if let Some(addr) = dialled {
            identity.dialled = Some(addr.clone());
            self.touch(peer);
        }
    }

    /// The last connection is gone.
    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        self.changed.remove(&peer);
        let Some(identity) = self.peers.get_mut(&peer) else { return };
        if identity.listens.is_empty() {
            self.peers.remove(&peer);
            return;
        }
        *identity = Identity { listens: std::mem::take(&mut identity.listens), ..Identity::default() };
        self.remember(peer);
    }

    /// Identify told whether the peer serves the DHT.
    pub(crate) fn supports(&mut self, peer: PeerId, serves: bool) {
        if let Some(identity) = self.peers.get_mut(&peer).filter(|identity| identity.connected) {
            identity.serves = Some(serves);
            self.touch(peer);
        }
    }

    /// Identify told all listen addresses of the peer.
    pub(crate) fn listens(&mut self, peer: PeerId, addrs: &[Multiaddr]) {
        let listens: Vec<_> = addrs.iter().take(ADDRS_MAX).cloned().collect();
        let identity = self.entry(peer);
        if identity.listens != listens {
            identity.listens = listens;
            self.touch(peer);
        }
    }

    /// Somebody told one address of the peer.
    pub(crate) fn listens_at(&mut self, peer: PeerId, addr: &Multiaddr) {
        let identity = self.entry(peer);
        if identity.listens.len() < ADDRS_MAX && !identity.listens.contains(addr) {
            identity.listens.push(addr.clone());
            self.touch(peer);
        }
    }

    /// The next peer about which the core must be told.
    pub(crate) fn next_changed(&mut self) -> Option<Identified> {
        while let Some(peer) = self.changed.pop_first() {
            if let Some(identity) = self.peers.get(&peer)
                && let Some(serves) = identity.serves
            {
                return Some(Identified { peer, serves, addrs: identity.addrs() });
            }
        }
        None
    }

    /// Addresses to dial a peer at.
    pub(crate) fn addrs(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.peers.get(peer).map(Identity::addrs).unwrap_or_default()
    }

    fn entry(&mut self, peer: PeerId) -> &mut Identity {
        if !self.peers.contains_key(&peer) {
            self.remember(peer);
        }
        self.peers.entry(peer).or_default()
    }

    /// Bounds what is known of disconnected peers.
    fn remember(&mut self, peer: PeerId) {
        self.disconnected.push_back(peer);
        while self.disconnected.len() > DISCONNECTED_MAX {
            let Some(oldest) = self.disconnected.pop_front() else { return };
            let again = self.disconnected.contains(&oldest);
            if !again && self.peers.get(&oldest).is_some_and(|identity| !identity.connected) {
                self.peers.remove(&oldest);
            }
        }
    }

    /// Notes a change, once there is enough to tell: a server without any address is of no use yet.
    pub(crate) fn touch(&mut self, peer: PeerId) {
        let ready = self.peers.get(&peer).is_some_and(|identity| match identity.serves {
            Some(true) => !identity.listens.is_empty() || identity.dialled.is_some(),
            Some(false) => true,
            None => false,
        });
        if ready {
            self.changed.insert(peer);
        }
    }
}

impl Identity {
    fn addrs(&self) -> Vec<Multiaddr> {
        self.dialled.iter().chain(&self.listens).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> Multiaddr {
        format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
    }

    #[test]
    fn halves_join_in_any_order() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut identities = Identities::default();
        identities.connected(a, None);
        identities.supports(a, true);
        assert_eq!(identities.next_changed(), None, "no address yet");
        identities.listens_at(a, &addr(1));
        let told = Identified { peer: a, serves: true, addrs: vec![addr(1)] };
        assert_eq!(identities.next_changed(), Some(told));

        identities.listens(b, &[addr(2)]);
        identities.connected(b, Some(&addr(3)));
        assert_eq!(identities.next_changed(), None, "not known whether it serves");
        identities.supports(b, true);
        let told = Identified { peer: b, serves: true, addrs: vec![addr(3), addr(2)] };
        assert_eq!(identities.next_changed(), Some(told));
        identities.listens_at(b, &addr(2));
        assert_eq!(identities.next_changed(), None, "nothing new");
        identities.supports(b, false);
        assert!(identities.next_changed().is_some_and(|told| !told.serves));
    }

    #[test]
    fn addresses_outlive_the_connection_and_support_does_not() {
        let peer = PeerId::random();
        let mut identities = Identities::default();
        identities.connected(peer, None);
        identities.supports(peer, true);
        identities.listens_at(peer, &addr(1));
        identities.disconnected(peer);
        assert_eq!(identities.next_changed(), None);
        assert_eq!(identities.addrs(&peer), [addr(1)]);
        identities.supports(peer, true);
        assert_eq!(identities.next_changed(), None, "it is not connected");
        identities.connected(peer, None);
        identities.supports(peer, true);
        assert_eq!(identities.next_changed().unwrap().addrs, [addr(1)]);
    }

    #[test]
    fn memory_is_bounded() {
        let mut identities = Identities::default();
        let first = PeerId::random();
        identities.connected(first, None);
        for port in 0..1_000 {
            identities.listens_at(first, &addr(port));
        }
        assert_eq!(identities.addrs(&first).len(), ADDRS_MAX);
        for _ in 0..DISCONNECTED_MAX + 10 {
            let peer = PeerId::random();
            identities.listens_at(peer, &addr(1));
            identities.connected(peer, None);
            identities.disconnected(peer);
        }
        assert!(identities.peers.len() <= DISCONNECTED_MAX + 1);
        assert!(identities.disconnected.len() <= DISCONNECTED_MAX);
        assert_eq!(identities.addrs(&first).len(), ADDRS_MAX, "a connected peer is not forgotten");
    }
}
