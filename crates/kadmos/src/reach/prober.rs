//! Asks others to dial us: AutoNAT v2's client, bounded, and asking again.
//!
//! libp2p's own client keeps every candidate that anybody names, and tests each once. This one hands it few, and makes
//! it anew from time to time, so that an address that stops working is found out.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll};
use std::time::Duration;

use kadmos_core::AddressPolicy;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::{ConnectionEstablished, NewExternalAddrCandidate};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use libp2p_autonat::v2::client;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

/// Addresses tested. A host has a few transports on a few addresses; peers, who name them, can invent any number.
const CANDIDATES_MAX: usize = 16;

/// Failed tests of a confirmed address in a row after which others are no longer told it.
const ADDRESS_FAILURES_MAX: u32 = 2;

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tested {
    /// Where we were, or were not, reached.
    pub(crate) addr: Multiaddr,
    /// Whether we were.
    pub(crate) reached: bool,
}

pub(crate) struct Prober {
    inner: client::Behaviour,
    policy: AddressPolicy,
    /// In the order in which they were first named.
    candidates: VecDeque<Candidate>,
    connections: BTreeMap<ConnectionId, (PeerId, ConnectedPoint)>,
    retest: Interval,
    expired: VecDeque<Multiaddr>,
}

#[derive(Debug)]
struct Candidate {
    addr: Multiaddr,
    confirmed: bool,
    failures: u32,
}

impl Prober {
    pub(crate) fn new(policy: AddressPolicy, retest: Duration) -> Self {
        let mut ticks = interval_at(Instant::now() + retest, retest);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            inner: client::Behaviour::default(),
            policy,
            candidates: VecDeque::new(),
            connections: BTreeMap::new(),
            retest: ticks,
            expired: VecDeque::new(),
        }
    }

    /// Whether a candidate is worth a test; remembers it then.
    fn accept(&mut self, addr: &Multiaddr) -> bool {
        if self.policy == AddressPolicy::Public && !kadmos_core::addr::is_public(addr.as_ref()) {
            return false;
        }
        if self.candidates.iter().any(|known| known.addr == *addr) {
            return true;
        }
        if self.candidates.len() >= CANDIDATES_MAX {
            // The oldest that was never confirmed makes room; among confirmed ones nothing does.
            let Some(index) = self.candidates.iter().position(|known| !known.confirmed) else { return false };
            self.candidates.remove(index);
        }
        self.candidates.push_back(Candidate { addr: addr.clone(), confirmed: false, failures: 0 });
        true
    }

    /// Begins all tests anew. Connections whose peers have said before that they answer tests say so no more; the
    /// next ones do.
    fn begin_again(&mut self) {
        self.inner = client::Behaviour::default();
        for (connection_id, (peer_id, endpoint)) in &self.connections {
            self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: *peer_id,
                connection_id: *connection_id,
                endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
        }
        for candidate in &self.candidates {
            let addr = &candidate.addr;
            let named = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr });
            self.inner.on_swarm_event(named);
        }
    }

    fn note(&mut self, addr: &Multiaddr, reached: bool) {
        let Some(candidate) = self.candidates.iter_mut().find(|known| known.addr == *addr) else { return };
        if reached {
            (candidate.confirmed, candidate.failures) = (true, 0);
            return;
        }
        candidate.failures = candidate.failures.saturating_add(1);
        if candidate.confirmed && candidate.failures >= ADDRESS_FAILURES_MAX {
            candidate.confirmed = false;
            self.expired.push_back(addr.clone());
        }
    }
}

impl NetworkBehaviour for Prober {
    type ConnectionHandler = <client::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = Tested;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::NewExternalAddrCandidate(named) if !self.accept(named.addr) => return,
            FromSwarm::ConnectionEstablished(new) => {
                self.connections.insert(new.connection_id, (new.peer_id, new.endpoint.clone()));
            }
            FromSwarm::ConnectionClosed(closed) => _ = self.connections.remove(&closed.connection_id),
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Tested, THandlerInEvent<Self>>> {
        if self.retest.poll_tick(cx).is_ready() {
            self.begin_again();
            cx.waker().wake_by_ref(); // the interval's next tick is not registered yet
        }
        if let Some(addr) = self.expired.pop_front() {
            return Poll::Ready(ToSwarm::ExternalAddrExpired(addr));
        }
        self.inner.poll(cx).map(|action| {
            action.map_out(|client::Event { tested_addr, result, .. }| {
                let reached = result.is_ok();
                self.note(&tested_addr, reached);
                Tested { addr: tested_addr, reached }
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(ip: u32) -> Multiaddr {
        let [a, b, c, d] = ip.to_be_bytes();
        format!("/ip4/{a}.{b}.{c}.{d}/tcp/4010").parse().unwrap()
    }

    #[tokio::test]
    async fn candidates_are_bounded_and_public() {
        let mut prober = Prober::new(AddressPolicy::Public, Duration::from_secs(60));
        assert!(!prober.accept(&addr(0x7f00_0001)) && !prober.accept(&addr(0x0a00_0001)));
        assert!(prober.accept(&addr(0x0808_0000)));
        prober.note(&addr(0x0808_0000), true);
        for n in 1..100 {
            assert!(prober.accept(&addr(0x0808_0000 + n)));
        }
        assert_eq!(prober.candidates.len(), CANDIDATES_MAX);
        assert!(
            prober.candidates.iter().any(|known| known.addr == addr(0x0808_0000)),
            "a confirmed one stays"
        );
        assert!(Prober::new(AddressPolicy::Any, Duration::from_secs(60)).accept(&addr(0x7f00_0001)));
    }

    #[tokio::test]
    async fn an_address_that_stops_working_is_taken_back() {
        let mut prober = Prober::new(AddressPolicy::Any, Duration::from_secs(60));
        prober.accept(&addr(1));
        prober.note(&addr(1), false);
        prober.note(&addr(1), false);
        assert!(prober.expired.is_empty(), "it was never announced");
        prober.note(&addr(1), true);
        prober.note(&addr(1), false);
        assert!(prober.expired.is_empty());
        prober.note(&addr(1), false);
        assert_eq!(prober.expired, [addr(1)]);
    }
}
