//! What identify told about peers, joined from its two halves.
//!
//! Whether a peer serves the DHT comes from its connection, by realm; where it listens from the swarm, in any order. The
//! swarm tells an address once and not again when the peer reconnects, so addresses outlive connections here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;

use crate::realm::Realm;

/// Addresses kept of one peer: identify gives 5 to 30.
const ADDRS_MAX: usize = 32;

/// Disconnected peers whose addresses are remembered, ten times as many as identify's own cache has. At 32 addresses
/// of 40 bytes they hold 1.3 MiB.
const DISCONNECTED_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Identities {
    peers: BTreeMap<PeerId, Identity>,
    /// Peers of which something changed that was not told yet, and in which realm.
    changed: BTreeSet<(PeerId, Realm)>,
    /// Disconnected peers, the one that left first at the front; those that came back are skipped.
    disconnected: VecDeque<PeerId>,
}

#[derive(Debug, Default)]
struct Identity {
    connected: bool,
    /// In each realm.
    serves: [Option<bool>; Realm::ALL.len()],
    /// The address we reached it at.
    dialled: Option<Multiaddr>,
    listens: Vec<Multiaddr>,
}

/// What [`kadmos_core::Input::Identified`] needs.
#[derive(Debug, PartialEq)]
pub(crate) struct Identified {
    pub(crate) realm: Realm,
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
            self.touch_all(peer);
        }
    }

    /// The last connection is gone.
    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        for realm in Realm::ALL {
            self.changed.remove(&(peer, realm));
        }
        let Some(identity) = self.peers.get_mut(&peer) else { return };
        if identity.listens.is_empty() {
            self.peers.remove(&peer);
            return;
        }
        *identity = Identity { listens: std::mem::take(&mut identity.listens), ..Identity::default() };
        self.remember(peer);
    }

    /// The last connection that carries a realm is gone; others remain.
    pub(crate) fn left(&mut self, peer: PeerId, realm: Realm) {
        self.changed.remove(&(peer, realm));
        if let Some(identity) = self.peers.get_mut(&peer) {
            identity.serves[realm.index()] = None;
            self.touch(peer, realm.other());
        }
    }

    /// Identify told which realms the peer serves, by [`Realm::index`]; `None` where nothing has changed.
    pub(crate) fn supports(&mut self, peer: PeerId, serves: [Option<bool>; Realm::ALL.len()]) {
        if let Some(identity) = self.peers.get_mut(&peer).filter(|identity| identity.connected) {
            for (known, told) in identity.serves.iter_mut().zip(serves) {
                *known = told.or(*known);
            }
            // Its standing in one realm decides whether the other may name it.
            self.touch_all(peer);
        }
    }

    /// Identify told all listen addresses of the peer.
    pub(crate) fn listens(&mut self, peer: PeerId, addrs: &[Multiaddr]) {
        let listens: Vec<_> = addrs.iter().take(ADDRS_MAX).cloned().collect();
        let identity = self.entry(peer);
        if identity.listens != listens {
            identity.listens = listens;
            self.touch_all(peer);
        }
    }

    /// Somebody told one address of the peer.
    pub(crate) fn listens_at(&mut self, peer: PeerId, addr: &Multiaddr) {
        let identity = self.entry(peer);
        if identity.listens.len() < ADDRS_MAX && !identity.listens.contains(addr) {
            identity.listens.push(addr.clone());
            self.touch_all(peer);
        }
    }

    /// The next peer about which the core must be told.
    ///
    /// A peer that serves in one realm only is told to the other without addresses: what asks there for exactly this
    /// peer must not be shown the way to it.
    pub(crate) fn next_changed(&mut self) -> Option<Identified> {
        while let Some((peer, realm)) = self.changed.pop_first() {
            if let Some(identity) = self.peers.get(&peer)
                && let Some(serves) = identity.serves[realm.index()]
            {
                let foreign = !serves && identity.serves[realm.other().index()] == Some(true);
                let addrs = if foreign { Vec::new() } else { identity.addrs() };
                return Some(Identified { realm, peer, serves, addrs });
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
    pub(crate) fn touch(&mut self, peer: PeerId, realm: Realm) {
        let ready = self.peers.get(&peer).is_some_and(|identity| match identity.serves[realm.index()] {
            Some(true) => !identity.listens.is_empty() || identity.dialled.is_some(),
            Some(false) => true,
            None => false,
        });
        if ready {
            self.changed.insert((peer, realm));
        }
    }

    fn touch_all(&mut self, peer: PeerId) {
        for realm in Realm::ALL {
            self.touch(peer, realm);
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
        identities.supports(a, [Some(true), None]);
        assert_eq!(identities.next_changed(), None, "no address yet");
        identities.listens_at(a, &addr(1));
        let told = Identified { realm: Realm::Wan, peer: a, serves: true, addrs: vec![addr(1)] };
        assert_eq!(identities.next_changed(), Some(told));

        identities.listens(b, &[addr(2)]);
        identities.connected(b, Some(&addr(3)));
        assert_eq!(identities.next_changed(), None, "not known whether it serves");
        identities.supports(b, [Some(true), None]);
        let told = Identified { realm: Realm::Wan, peer: b, serves: true, addrs: vec![addr(3), addr(2)] };
        assert_eq!(identities.next_changed(), Some(told));
        identities.listens_at(b, &addr(2));
        assert_eq!(identities.next_changed(), None, "nothing new");
        identities.supports(b, [Some(false), None]);
        assert!(identities.next_changed().is_some_and(|told| !told.serves));
    }

    #[test]
    fn addresses_outlive_the_connection_and_support_does_not() {
        let peer = PeerId::random();
        let mut identities = Identities::default();
        identities.connected(peer, None);
        identities.supports(peer, [Some(true), None]);
        identities.listens_at(peer, &addr(1));
        identities.disconnected(peer);
        assert_eq!(identities.next_changed(), None);
        assert_eq!(identities.addrs(&peer), [addr(1)]);
        identities.supports(peer, [Some(true), None]);
        assert_eq!(identities.next_changed(), None, "it is not connected");
        identities.connected(peer, None);
        identities.supports(peer, [Some(true), None]);
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

    /// Everything that is to be told: realm, whether it serves, number of addresses.
    fn told(identities: &mut Identities) -> Vec<(Realm, bool, usize)> {
        std::iter::from_fn(|| identities.next_changed())
            .map(|told| (told.realm, told.serves, told.addrs.len()))
            .collect()
    }

    #[test]
    fn a_peer_of_one_realm_has_no_address_in_the_other() {
        for realm in Realm::ALL {
            let peer = PeerId::random();
            let mut identities = Identities::default();
            let serves = |realms: &[Realm]| Realm::ALL.map(|realm| Some(realms.contains(&realm)));
            identities.connected(peer, None);
            identities.listens(peer, &[addr(1), addr(2)]);
            identities.supports(peer, serves(&[realm]));
            let mut one = [(realm, true, 2), (realm.other(), false, 0)];
            one.sort();
            assert_eq!(told(&mut identities), one);
            identities.supports(peer, serves(&Realm::ALL));
            assert_eq!(told(&mut identities), Realm::ALL.map(|realm| (realm, true, 2)), "a peer of both");
            identities.supports(peer, serves(&[]));
            assert_eq!(told(&mut identities), Realm::ALL.map(|realm| (realm, false, 2)), "a client of both");
            identities.supports(peer, serves(&[realm]));
            assert_eq!(told(&mut identities), one, "told without addresses, so that it is forgotten there");
            identities.supports(peer, serves(&[Realm::Lan]));
            told(&mut identities);
            identities.left(peer, Realm::Lan);
            assert_eq!(told(&mut identities), [(Realm::Wan, false, 2)], "a client of the wide one alone");
        }
    }
}
