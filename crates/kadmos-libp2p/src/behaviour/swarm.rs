//! What the swarm tells, and what it is told.

use std::sync::Arc;
use std::task::{Context, Poll};

use kadmos_core::Input;
use libp2p_core::transport::PortUse;
use libp2p_core::{Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p_swarm::{ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour};

use super::{Action, Behaviour, BehaviourEvent};
use crate::convert::{core_id, multiaddrs};
use crate::handler::{FromHandler, Handler};

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = BehaviourEvent;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer)
    }

    /// Everything we know of a peer's addresses, whoever dials it.
    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer else { return Ok(Vec::new()) };
        let mut addrs: Vec<_> = self.peers.dial_addrs(&peer).cloned().collect();
        addrs.extend(self.identities.addrs(&peer));
        if let Ok(id) = core_id(&peer)
            && let Some(info) = self.realm.node.table().view().get(&id)
        {
            addrs.extend(multiaddrs(&info.addrs));
        }
        Ok(addrs)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        self.handler(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let dialled = endpoint.is_dialer().then(|| endpoint.get_remote_address());
                self.identities.connected(peer_id, dialled);
                let first = self.peers.established(peer_id, connection_id);
                match core_id(&peer_id) {
                    Ok(peer) if first => self.feed(Input::Connected(peer)),
                    _ => {}
                }
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                self.connection_closed(peer_id, connection_id);
            }
            FromSwarm::DialFailure(DialFailure { peer_id, error, connection_id }) => {
                self.peers.dial_failed(peer_id, connection_id, error);
            }
            FromSwarm::NewExternalAddrOfPeer(event) => self.identities.listens_at(event.peer_id, event.addr),
            FromSwarm::NewListenAddr(event) => self.realm.own_addrs.listening(event.addr),
            FromSwarm::ExpiredListenAddr(event) => self.realm.own_addrs.not_listening(event.addr),
            FromSwarm::ExternalAddrConfirmed(event) => self.realm.own_addrs.external(event.addr),
            FromSwarm::ExternalAddrExpired(event) => self.realm.own_addrs.not_external(event.addr),
            _ => {}
        }
        self.realm.push_own_addrs();
        self.pump();
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, _: ConnectionId, event: FromHandler) {
        match event {
            FromHandler::Answered { request, response } => {
                if self.peers.done(request) {
                    self.feed(Input::Answered { request, response });
                }
            }
            FromHandler::Flushed { request } => {
                if self.peers.done(request) {
                    self.feed(Input::Flushed(request));
                }
            }
            FromHandler::Failed { request, failure } => {
                if self.peers.done(request) {
                    self.feed(Input::Failed { request, failure });
                }
            }
            FromHandler::Support { serves } => self.identities.supports(peer, serves),
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
        if self.peers.closed(peer, connection) {
            self.identities.disconnected(peer);
            if let Ok(peer) = core_id(&peer) {
                self.feed(Input::Disconnected(peer));
            }
        }
    }

    fn handler(&self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        let peer = core_id(peer).map_err(ConnectionDenied::new)?;
        Ok(Handler::new(Arc::clone(&self.realm.shared), peer, self.realm.mode))
    }
}
