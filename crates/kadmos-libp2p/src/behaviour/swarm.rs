//! What the swarm tells, and what it is told.

use std::sync::Arc;
use std::task::{Context, Poll};

use kadmos_core::Input;
use libp2p_core::transport::PortUse;
use libp2p_core::{Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p_swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour};

use super::realm::RealmNode;
use super::{Action, Behaviour, BehaviourEvent};
use crate::convert::{core_id, multiaddrs, remote_ip};
use crate::handler::{FromHandler, Handler};
use crate::own_addrs::OwnAddrs;
use crate::peers::Edge;

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = BehaviourEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer, remote)
    }

    /// Everything we know of a peer's addresses, whoever dials it.
    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer else { return Ok(Vec::new()) };
        let mut addrs: Vec<_> = self.peers.dial_addrs(&peer).cloned().collect();
        addrs.extend(self.identities.addrs(&peer));
        if let Ok(id) = core_id(&peer) {
            for realm in &self.realms {
                addrs.extend(
                    realm.node.table().view().get(&id).into_iter().flat_map(|info| multiaddrs(&info.addrs)),
                );
            }
        }
        if self.peers.dials_locally(&peer, connection) {
            addrs.retain(|addr| self.is_local(addr));
        }
        Ok(addrs)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer, remote)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let remote = endpoint.get_remote_address();
                self.identities.connected(peer_id, endpoint.is_dialer().then_some(remote));
                let local = self.is_local(remote);
                let first = self.peers.established(peer_id, connection_id, local);
                if let Ok(peer) = core_id(&peer_id) {
                    let remote = remote_ip(remote);
                    self.push_where(first, || Input::Connected { peer, remote });
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.connection_closed(peer_id, connection_id);
            }
            FromSwarm::DialFailure(DialFailure { peer_id, error, connection_id }) => {
                self.peers.dial_failed(peer_id, connection_id, error);
            }
            FromSwarm::NewExternalAddrOfPeer(event) => self.identities.listens_at(event.peer_id, event.addr),
            FromSwarm::NewListenAddr(event) => self.own_addrs(|own| own.listening(event.addr)),
            FromSwarm::ExpiredListenAddr(event) => self.own_addrs(|own| own.not_listening(event.addr)),
            FromSwarm::ExternalAddrConfirmed(event) => self.own_addrs(|own| own.external(event.addr)),
            FromSwarm::ExternalAddrExpired(event) => self.own_addrs(|own| own.not_external(event.addr)),
            _ => {}
        }
        self.pump();
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: FromHandler) {
        match event {
            FromHandler::Answered { request, response } => {
                if self.peers.done(request) {
                    self.feed(request.realm, Input::Answered { request: request.id, response });
                }
            }
            FromHandler::Flushed { request } => {
                if self.peers.done(request) {
                    self.feed(request.realm, Input::Flushed(request.id));
                }
            }
            FromHandler::Failed { request, failure } => {
                if self.peers.done(request) {
                    self.feed(request.realm, Input::Failed { request: request.id, failure });
                }
            }
            FromHandler::Support { serves } => self.identities.supports(peer, serves),
            FromHandler::Served(served) => {
                if let Some(host) = &mut self.host {
                    host.served.push_back((peer, connection, served));
                }
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Action> {
        loop {
            if let Some(action) = self.actions.pop_front() {
                return Poll::Ready(action);
            }
            if !self.progress(cx) {
                return Poll::Pending;
            }
        }
    }
}

impl Behaviour {
    fn connection_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        let last = self.peers.closed(peer, connection);
        if last.any {
            self.identities.disconnected(peer);
        } else if let Some(realm) = self.local_realm.filter(|_| last.local) {
            self.identities.left(peer, realm);
        }
        if let Ok(peer) = core_id(&peer) {
            self.push_where(last, || Input::Disconnected(peer));
        }
    }

    /// Queues an input in each realm in which a connection is a peer's first, or was its last.
    fn push_where(&mut self, edge: Edge, input: impl Fn() -> Input) {
        for node in &mut self.realms {
            let concerned = if self.local_realm == Some(node.realm()) { edge.local } else { edge.any };
            if concerned {
                node.push(input());
            }
        }
    }

    /// Changes what each realm knows of our own addresses, and tells those for which that makes a difference.
    fn own_addrs(&mut self, change: impl Fn(&mut OwnAddrs)) {
        for node in &mut self.realms {
            change(&mut node.own_addrs);
            node.push_own_addrs();
        }
    }

    /// The handler of a connection, with those realms that may be on it.
    fn handler(&self, peer: &PeerId, remote: &Multiaddr) -> Result<Handler, ConnectionDenied> {
        let peer = core_id(peer).map_err(ConnectionDenied::new)?;
        let allowed = |node: &&RealmNode| self.local_realm != Some(node.realm()) || self.is_local(remote);
        let mut nodes = self.realms.iter().filter(allowed).map(|node| (Arc::clone(&node.shared), node.mode));
        match nodes.next() {
            Some(first) => Ok(Handler::new(first, nodes.next(), peer)),
            // Never: the first realm is on every connection.
            None => Err(ConnectionDenied::new(std::io::Error::other("no realm is on this connection"))),
        }
    }
}
