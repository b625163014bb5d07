//! What the swarm tells, and what it is told.

use std::num::NonZeroUsize;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use kadmos_core::event::Eviction;
use kadmos_core::{Event as CoreEvent, PeerInfo, Update};
use libp2p_core::transport::PortUse;
use libp2p_core::{ConnectedPoint, Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{AddressChange, ConnectionClosed, ConnectionEstablished};
use libp2p_swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent,
    ToSwarm,
};

use super::{Behaviour, Link};
use crate::convert::{addr_list, core_peer, peer_id};
use crate::handler::{FromHandler, Handler, Served};
use crate::kad::bridge::{Rules, provider_record};
use crate::kad::config::StoreInserts;
use crate::kad::event::{Event, InboundRequest};
use crate::kad::kbucket::without_id;
use crate::kad::queries::End;
use crate::kad::record::{Key, Record};
use crate::kad::store::RecordStore;

/// Calls of connections to the store before the swarm's other work gets its turn.
const STORE_CALLS_PER_TURN: usize = 64;

impl<TStore> NetworkBehaviour for Behaviour<TStore>
where
    TStore: RecordStore + Send + 'static,
{
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_pending_inbound_connection(
        &mut self,
        connection: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(connection, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addrs: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        self.inner.handle_pending_outbound_connection(connection, peer, addrs, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(connection, peer, remote, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let external = self.external.on_swarm_event(&event);
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            }) => {
                let dialled = endpoint.is_dialer().then(|| endpoint.get_remote_address().clone());
                let link = Link { id: connection_id, dialled, serves: false };
                self.links.entry(peer_id).or_default().push(link);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { peer_id, connection_id, .. }) => {
                if let Some(links) = self.links.get_mut(&peer_id) {
                    links.retain(|link| link.id != connection_id);
                    if links.is_empty() {
                        self.links.remove(&peer_id);
                    }
                }
            }
            FromSwarm::AddressChange(AddressChange { peer_id, connection_id, old, new }) => {
                self.address_changed(&peer_id, connection_id, old, new);
            }
            _ => {}
        }
        self.inner.on_swarm_event(event);
        if external && self.auto_mode {
            self.mode_by_addresses();
        }
        self.take();
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        let serves = match &event {
            FromHandler::Answered { .. } => true,
            FromHandler::Support { serves } => serves.contains(&Some(true)),
            FromHandler::Flushed { .. } | FromHandler::Failed { .. } | FromHandler::Served(_) => false,
        };
        if serves {
            self.serves(&peer, connection);
        }
        self.inner.on_connection_handler_event(peer, connection, event);
        self.take();
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Event, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            match self.inner.poll(cx) {
                // A handle is in here, so this is not told, and nobody would want to hear it.
                Poll::Ready(ToSwarm::GenerateEvent(_)) => continue,
                Poll::Ready(action) => {
                    self.take();
                    // Its events were told apart above.
                    return Poll::Ready(action.map_out(|_| unreachable!("an event of the inner behaviour")));
                }
                Poll::Pending => {}
            }
            let progress = self.take() | self.take_updates() | self.serve_store(cx) | self.run_timer(cx);
            if !progress {
                return Poll::Pending;
            }
        }
    }
}

impl<TStore> Behaviour<TStore>
where
    TStore: RecordStore + Send + 'static,
{
    /// Takes what the inner behaviour has heard of peers; tells whether there was anything.
    fn take(&mut self) -> bool {
        let mut any = self.take_table_events();
        while let Some(identified) = self.inner.host().identified.pop_front() {
            any = true;
            self.identified(identified);
        }
        while let Some((peer, connection, served)) = self.inner.host().served.pop_front() {
            any = true;
            self.served(peer, connection, served);
        }
        any
    }

    /// Takes what happened to the table; tells whether there was anything.
    pub(super) fn take_table_events(&mut self) -> bool {
        let (mut any, mut replaced) = (false, None);
        while let Some(event) = self.inner.host().events.pop_front() {
            any = true;
            match event {
                CoreEvent::PeerEvicted { peer, reason } => {
                    let id = peer_id(&peer.id);
                    if reason != Eviction::Removed {
                        // It may enter again over a connection that it has, once it answers or serves again.
                        self.links.get_mut(&id).into_iter().flatten().for_each(|link| link.serves = false);
                    }
                    if reason == Eviction::Replaced {
                        replaced = Some(id);
                    }
                }
                CoreEvent::PeerAdmitted { peer, .. } => self.routing_updated(&peer, true, replaced.take()),
                _ => {}
            }
        }
        any
    }

    /// Takes what queries have given; tells whether there was anything.
    fn take_updates(&mut self) -> bool {
        let mut any = false;
        for (id, operation) in self.queries.finished() {
            any = true;
            let cost = self.inner.cost_of(operation);
            self.inner.end(operation);
            self.end_query(id, End::User { cost });
        }
        // One at a time: a user who has enough ends the query at the event.
        while self.events.is_empty()
            && let Some((operation, update)) = self.inner.host().updates.pop_front()
        {
            any = true;
            let Some(id) = self.queries.of(operation) else { continue };
            match update {
                Update::Answered { peer, response } => {
                    let cost = self.inner.cost_of(operation);
                    let event = self.queries.answered(id, &peer, response, &self.config.caching, cost);
                    self.events.extend(event);
                }
                Update::Ended { outcome, cost } => self.end_query(id, End::Core { outcome, cost }),
                Update::Provider(_) | Update::Value(_) => {} // of native operations only
            }
        }
        any
    }

    /// Carries out what connections and the core want of the store; tells whether that was anything.
    fn serve_store(&mut self, cx: &mut Context<'_>) -> bool {
        let node = self.inner.node();
        let (ttl, holders) = (self.config.record_ttl, self.config.replication_factor);
        let value_ttl = |key: &[u8]| ttl.map(|ttl| ttl.shortened(nearer_peers(node, key, holders)));
        let rules = Rules {
            local: self.local,
            stores: self.config.record_filtering == StoreInserts::Unfiltered,
            value_ttl: &value_ttl,
            provider_ttl: self.config.provider_record_ttl,
        };
        let mut any = false;
        for _ in 0..STORE_CALLS_PER_TURN {
            let Poll::Ready(written) = self.bridge.poll(cx, &mut self.store, &rules) else { return any };
            any = true;
            if let Some(key) = written {
                self.jobs.received(key);
            }
        }
        // The turn is over: the task is woken for the next one, and goes on with the rest of the swarm.
        cx.waker().wake_by_ref();
        false
    }

    /// Runs the jobs when one is due, or has made room for another; tells whether it did.
    fn run_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.inner.now();
        let deadline = self.next_deadline(now);
        if self.jobs.has_next(self.queries.jobs()) || self.timer.poll(cx, now, deadline).is_ready() {
            self.run_jobs();
            return true;
        }
        false
    }

    /// Tells of a request that was served.
    fn served(&mut self, source: PeerId, connection: ConnectionId, served: Served) {
        let filters = self.config.record_filtering == StoreInserts::FilterBoth;
        let after = |ttl: Option<Duration>| Instant::now().checked_add(ttl?);
        let request = match served {
            Served::FindNode { closer } => InboundRequest::FindNode { num_closer_peers: closer },
            Served::GetProviders { closer, providers } => {
                InboundRequest::GetProvider { num_closer_peers: closer, num_provider_peers: providers }
            }
            Served::GetValue { closer, found } => {
                InboundRequest::GetRecord { num_closer_peers: closer, present_locally: found }
            }
            Served::AddProvider(record) => {
                let record = filters.then(|| {
                    let expires = after(self.config.provider_record_ttl);
                    crate::kad::ProviderRecord { expires, ..provider_record(&record) }
                });
                InboundRequest::AddProvider { record }
            }
            Served::PutValue(record) => {
                let record = filters.then(|| {
                    let holders = self.config.replication_factor;
                    let nearer = nearer_peers(self.inner.node(), &record.key, holders);
                    let expires = after(self.config.record_ttl.map(|ttl| ttl.shortened(nearer)));
                    Record { expires, ..Record::new(Key::from(record.key), record.value.to_vec()) }
                });
                InboundRequest::PutRecord { source, connection, record }
            }
        };
        self.events.push_back(Event::InboundRequest { request });
    }

    /// A connection has moved: so has the address in the table, if it was this one.
    fn address_changed(
        &mut self,
        peer: &PeerId,
        connection: ConnectionId,
        old: &ConnectedPoint,
        new: &ConnectedPoint,
    ) {
        let ConnectedPoint::Dialer { address: new, .. } = new else { return };
        let mut links = self.links.get_mut(peer).into_iter().flatten();
        if let Some(link) = links.find(|link| link.id == connection) {
            link.dialled = Some(new.clone());
        }
        let (Ok(core), Some(new), Some(old)) = (
            core_peer(peer),
            without_id(new.clone(), peer),
            without_id(old.get_remote_address().clone(), peer),
        ) else {
            return;
        };
        let Some(known) = self.inner.node().table().view().get_peer(&core).cloned() else { return };
        let kept = known.addrs.filtered(|addr| addr != old.as_ref());
        if kept != known.addrs {
            let addrs = addr_list(&core, [&new]).merged(&kept);
            self.inner.insert(PeerInfo::new(core, addrs));
        }
    }
}

/// Peers of the table that are nearer to a key than this node, beyond those that hold its record anyway.
fn nearer_peers(node: &kadmos_core::Node, key: &[u8], holders: NonZeroUsize) -> usize {
    let key = kadmos_core::Key::of(key);
    let view = node.table().view();
    let own = view.local().peer.key.distance(&key);
    let nearer = view.iter().filter(|info| info.peer.key.distance(&key) < own).count();
    nearer.saturating_sub(holders.get())
}

/// Times that are shorter the less the node is concerned.
trait Shortened {
    fn shortened(self, halvings: usize) -> Self;
}

impl Shortened for Duration {
    fn shortened(self, halvings: usize) -> Self {
        let divisor = u32::try_from(halvings).ok().and_then(|halvings| 1_u32.checked_shl(halvings));
        divisor.map_or(Self::ZERO, |divisor| self / divisor)
    }
}
