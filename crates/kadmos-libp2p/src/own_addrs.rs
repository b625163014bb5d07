//! The addresses at which others reach this node, as the swarm tells them.

use kadmos_core::{AddrList, AddressPolicy, Peer, addr};
use libp2p_core::Multiaddr;

/// Listen addresses and confirmed external addresses.
#[derive(Debug)]
pub(crate) struct OwnAddrs {
    peer: Peer,
    policy: AddressPolicy,
    /// One entry per listener that reports it: an address is gone when its last listener is.
    listening: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    told: AddrList,
    /// Whether an interface has come or gone since the last time it was asked for.
    moved: bool,
    /// Whether a listen address has ever gone: the first ones to come are the start, no move.
    settled: bool,
}

impl OwnAddrs {
    pub(crate) fn new(peer: Peer, policy: AddressPolicy) -> Self {
        Self {
            peer,
            policy,
            listening: Vec::new(),
            external: Vec::new(),
            told: AddrList::EMPTY,
            moved: false,
            settled: false,
        }
    }

    pub(crate) fn listening(&mut self, addr: &Multiaddr) {
        self.moved |= self.settled;
        self.listening.push(addr.clone());
    }

    pub(crate) fn not_listening(&mut self, addr: &Multiaddr) {
        if let Some(index) = self.listening.iter().position(|known| known == addr) {
            self.listening.remove(index);
            (self.moved, self.settled) = (true, true);
        }
    }

    pub(crate) fn external(&mut self, addr: &Multiaddr) {
        if !self.external.contains(addr) {
            self.external.push(addr.clone());
        }
    }

    pub(crate) fn not_external(&mut self, addr: &Multiaddr) {
        self.external.retain(|known| known != addr);
    }

    /// All of them, whatever the policy.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Multiaddr> {
        self.external.iter().chain(&self.listening)
    }

    /// Whether the addresses this node listens at have changed since the last call, other than by their coming up at
    /// the start: then it was moved to another network, or a network has gone.
    pub(crate) fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// All addresses that the policy lets others know, external ones first; `None` if they are the same as the last
    /// time.
    ///
    /// [`AddressPolicy::Any`] tells listen addresses too, private ones among them; [`AddressPolicy::Public`] only
    /// public ones: a listen address that is public needs nobody to confirm it.
    pub(crate) fn take_changed(&mut self) -> Option<AddrList> {
        let all = self.iter().map(|addr| addr.as_ref());
        let policy = self.policy;
        let told = AddrList::collect(
            &self.peer.id,
            all.filter(|addr| policy == AddressPolicy::Any || addr::is_public(addr)),
        );
        if told == self.told {
            return None;
        }
        self.told = told.clone();
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::PeerId;

    use super::*;
    use crate::convert::{core_peer, multiaddrs};

    fn own(policy: AddressPolicy) -> OwnAddrs {
        OwnAddrs::new(core_peer(&PeerId::random()).unwrap(), policy)
    }

    fn addr(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn any_policy_tells_listen_addresses_after_external_ones() {
        let mut own = own(AddressPolicy::Any);
        let (private, public) = (addr("/ip4/127.0.0.1/tcp/1"), addr("/ip4/1.2.3.4/tcp/1"));
        own.listening(&private);
        own.external(&public);
        own.external(&public);
        assert_eq!(multiaddrs(&own.take_changed().unwrap()), [public.clone(), private.clone()]);
        assert_eq!(own.take_changed(), None);
        own.not_external(&public);
        assert_eq!(multiaddrs(&own.take_changed().unwrap()), [private]);
    }

    #[test]
    fn only_addresses_that_go_or_come_after_one_went_are_a_move() {
        let mut own = own(AddressPolicy::Any);
        own.listening(&addr("/ip4/127.0.0.1/tcp/1"));
        own.listening(&addr("/ip4/192.168.0.7/tcp/1"));
        own.external(&addr("/ip4/1.2.3.4/tcp/1"));
        assert!(!own.take_moved(), "the start is no move");
        own.not_listening(&addr("/ip4/192.168.0.7/tcp/1"));
        assert!(own.take_moved() && !own.take_moved());
        own.listening(&addr("/ip4/10.0.0.7/tcp/1"));
        assert!(own.take_moved());
        own.not_listening(&addr("/ip4/9.9.9.9/tcp/1"));
        assert!(!own.take_moved(), "it was not there");
    }

    #[test]
    fn public_policy_keeps_private_addresses_to_itself() {
        let mut own = own(AddressPolicy::Public);
        own.listening(&addr("/ip4/192.168.0.7/tcp/1"));
        own.external(&addr("/ip4/127.0.0.1/tcp/1"));
        assert_eq!(own.take_changed(), None);
        own.listening(&addr("/ip4/1.2.3.4/udp/1/quic-v1"));
        assert_eq!(multiaddrs(&own.take_changed().unwrap()), [addr("/ip4/1.2.3.4/udp/1/quic-v1")]);
    }

    #[test]
    fn an_address_of_two_listeners_stays_until_both_are_gone() {
        let mut own = own(AddressPolicy::Any);
        let shared = addr("/ip4/127.0.0.1/tcp/1");
        own.listening(&shared);
        own.listening(&shared);
        assert_eq!(own.take_changed().map(|told| told.len()), Some(1));
        own.not_listening(&shared);
        assert_eq!(own.take_changed(), None);
        own.not_listening(&shared);
        assert_eq!(own.take_changed(), Some(AddrList::EMPTY));
    }
}
