//! Dials others who ask whether they are reachable: AutoNAT v2's server, which dials only where strangers may be.

use std::collections::BTreeSet;
use std::task::{Context, Poll};

use kadmos_core::AddressPolicy;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use libp2p_autonat::v2::server;

pub(crate) struct Service {
    inner: server::Behaviour,
    policy: AddressPolicy,
    /// Dials on request that are under way.
    dials: BTreeSet<ConnectionId>,
}

/// A stranger asked us to dial into a network that is not public.
#[derive(Debug, thiserror::Error)]
#[error("{addr} is no public address")]
struct NotPublic {
    addr: Multiaddr,
}

impl Service {
    pub(crate) fn new(policy: AddressPolicy) -> Self {
        Self { inner: server::Behaviour::default(), policy, dials: BTreeSet::new() }
    }
}

impl NetworkBehaviour for Service {
    type ConnectionHandler = <server::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = ();

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    /// The address is the stranger's word: on the public network it must not lead into ours.
    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        _: Option<PeerId>,
        addrs: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        if self.policy == AddressPolicy::Public
            && self.dials.contains(&id)
            && let Some(addr) = addrs.iter().find(|addr| !kadmos_core::addr::is_public(addr.as_ref()))
        {
            return Err(ConnectionDenied::new(NotPublic { addr: addr.clone() }));
        }
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        addr: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<Self::ConnectionHandler, ConnectionDenied> {
        self.dials.remove(&id);
        self.inner.handle_established_outbound_connection(id, peer, addr, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        if let FromSwarm::DialFailure(failure) = &event {
            self.dials.remove(&failure.connection_id);
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<(), THandlerInEvent<Self>>> {
        let action = std::task::ready!(self.inner.poll(cx));
        if let ToSwarm::Dial { opts } = &action {
            self.dials.insert(opts.connection_id());
        }
        Poll::Ready(
            action.map_out(
                |event| tracing::debug!(client = %event.client, addr = %event.tested_addr, "tested"),
            ),
        )
    }
}
