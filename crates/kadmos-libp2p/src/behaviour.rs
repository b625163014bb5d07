//! The behaviour: turns what the swarm tells into the core's inputs, and the core's outputs into what the swarm does.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kadmos_core::record::{StoreReply, StoreRequest};
use kadmos_core::server::Responder;
use kadmos_core::{Config, ConfigError, Event, Input, Mode, Node, Output, StoreId, Timestamp, Validators};
use kadmos_store::{Store, execute};
use libp2p_core::transport::PortUse;
use libp2p_core::{Endpoint, Multiaddr};
use libp2p_identity::PeerId;
use libp2p_swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p_swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler, StreamProtocol, ToSwarm,
};
use tokio::sync::{Semaphore, broadcast, mpsc};

use crate::clock::{Clock, SystemClock, Timer};
use crate::command::{COMMANDS_MAX, Change, Command};
use crate::convert::{addr_list, core_id, core_peer, multiaddrs, peer_id};
use crate::dht::Dht;
use crate::error::BehaviourError;
use crate::events::EVENTS_MAX;
use crate::handler::{FromHandler, Handler, Outgoing, ToHandler};
use crate::identities::{Identified, Identities};
use crate::operations::Operations;
use crate::own_addrs::OwnAddrs;
use crate::peers::{Effect, Peers};
use crate::results::Load;
use crate::shared::{STORE_OPERATIONS_MAX, SessionLimits, Shared};

/// Changes to the table are published to the connections no more often than this, but for removals.
const PUBLISH_DELAY: Duration = Duration::from_millis(10);

/// How often the store is asked to free expired records.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60);

/// Keys the store looks at in one go, so that freeing much does not hold up others.
const EXPIRE_BUDGET: usize = 1_024;

/// The node's own store operations at once; further ones wait in the order they came. The core has at most one for
/// each operation.
const OWN_STORE_OPERATIONS_MAX: usize = 64;

/// The node is given timeouts no closer together than this, whatever it asks for: a bug there must not keep the swarm
/// from its other work.
const TIMEOUT_SPACING: Duration = Duration::from_millis(1);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Action = ToSwarm<BehaviourEvent, ToHandler>;

/// What a swarm with this behaviour is told. What happens in the DHT is in [`Dht::events`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BehaviourEvent {
    /// The last [`Dht`] handle is gone: nobody can ask this node for anything any more. It still serves others.
    Abandoned,
}

/// What tests and unusual hosts set; [`Default`] is right for everybody else.
#[derive(Clone, Debug)]
pub struct Options {
    /// Default: the machine's clocks.
    pub clock: Arc<dyn Clock>,
    /// Default: [`kadmos_core::limits`].
    pub limits: SessionLimits,
}

impl Default for Options {
    fn default() -> Self {
        Self { clock: Arc::new(SystemClock::new()), limits: SessionLimits::default() }
    }
}

/// A node of the DHT as a part of a libp2p swarm.
///
/// The swarm should have identify: peers' support of the protocol and their addresses come from it. Requests of
/// peers are answered in their connections' tasks; the swarm's task only runs this node's own operations.
pub struct Behaviour {
    node: Node,
    shared: Arc<Shared>,
    mode: Mode,
    peers: Peers,
    identities: Identities,
    own_addrs: OwnAddrs,
    operations: Operations,
    commands: mpsc::Receiver<Command>,
    /// The last handle is gone, and the swarm was told.
    abandoned: bool,
    events: broadcast::Sender<Event>,
    inputs: VecDeque<Input>,
    actions: VecDeque<Action>,
    storing: FuturesUnordered<BoxFuture<(StoreId, StoreReply)>>,
    to_store: VecDeque<(StoreId, StoreRequest)>,
    expiring: Option<BoxFuture<bool>>,
    expire_at: Timestamp,
    publish_at: Option<Timestamp>,
    /// When the table was last published.
    published: Timestamp,
    /// When the node was last given a timeout.
    timeout_fed: Timestamp,
    timer: Timer,
}

impl Behaviour {
    /// A node named `local`, and the first handle to it.
    ///
    /// Errors: [`BehaviourError`] when `config` cannot work, alone or with `validators`.
    pub fn new(
        local: PeerId,
        config: Config,
        validators: Validators,
        store: Arc<dyn Store>,
    ) -> Result<(Self, Dht), BehaviourError> {
        Self::with_options(local, config, validators, store, Options::default())
    }

    /// As [`Behaviour::new`], with another clock or other limits.
    pub fn with_options(
        local: PeerId,
        config: Config,
        validators: Validators,
        store: Arc<dyn Store>,
        options: Options,
    ) -> Result<(Self, Dht), BehaviourError> {
        let Options { clock, limits } = options;
        let name = config.protocol.name.clone();
        let protocol =
            StreamProtocol::try_from_owned(name.clone()).map_err(|_| ConfigError::ProtocolName { name })?;
        let peer = core_peer(&local)?;
        let own_addrs = OwnAddrs::new(peer.clone(), config.protocol.addresses);
        let mode = config.protocol.mode;
        let validators = Arc::new(validators);
        let node = Node::new(peer, config, Arc::clone(&validators))?;
        let shared = Arc::new(Shared {
            protocol,
            limits,
            frame_bytes_max: node.config().protocol.message_bytes_max,
            table: ArcSwap::from_pointee(node.table().view().clone()),
            responder: Responder::new(Arc::clone(node.config()), validators),
            reader: store.reader(),
            store,
            store_permits: Arc::new(Semaphore::new(STORE_OPERATIONS_MAX)),
            counters: Arc::default(),
            clock,
        });
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let dht = Dht::new(local, sender, events.downgrade(), Arc::clone(&shared));
        let behaviour = Self {
            mode,
            peers: Peers::new(limits.outbound_queue_max),
            identities: Identities::default(),
            own_addrs,
            operations: Operations::default(),
            commands,
            abandoned: false,
            events,
            inputs: VecDeque::new(),
            actions: VecDeque::new(),
            storing: FuturesUnordered::new(),
            to_store: VecDeque::new(),
            expiring: None,
            expire_at: shared.now().monotonic + EXPIRE_INTERVAL,
            publish_at: None,
            published: Timestamp::ZERO,
            timeout_fed: Timestamp::ZERO,
            timer: Timer::default(),
            node,
            shared,
        };
        Ok((behaviour, dht))
    }

    /// Tells all listen addresses of a connected peer, as identify received them.
    ///
    /// Not needed with an identify that announces addresses to the swarm (`NewExternalAddrOfPeer`), but exact: the
    /// swarm is told an address once, and never that it is gone.
    pub fn identified(&mut self, peer: PeerId, listen_addrs: &[Multiaddr]) {
        self.identities.listens(peer, listen_addrs);
    }

    /// Ends every operation of handles with [`OperationError::Closed`], as any later one will; the rest of the node
    /// goes on until the behaviour is dropped, which closes handles too.
    ///
    /// [`OperationError::Closed`]: kadmos_core::error::OperationError::Closed
    pub fn close(&mut self) {
        self.abandoned = true;
        self.commands.close();
        // Dropping a command tells its sender.
        while self.commands.try_recv().is_ok() {}
        for id in self.operations.close() {
            self.feed(Input::Cancel(id));
        }
    }

    /// Whether this node serves.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What this node is busy with.
    pub fn load(&self) -> Load {
        Load { operations: self.operations.len(), requests: self.peers.in_flight() }
    }

    /// Feeds an input, and everything that follows from it.
    fn feed(&mut self, input: Input) {
        self.inputs.push_back(input);
        self.pump();
    }

    /// Feeds what is queued, carries out every output, and feeds what those gave in turn.
    fn pump(&mut self) {
        self.drain_peers();
        while let Some(input) = self.inputs.pop_front() {
            let now = self.shared.now();
            if let Err(error) = self.node.handle_input(now, input) {
                tracing::trace!(%error, "input refused");
            }
            while let Some(output) = self.node.poll_output() {
                self.perform(output, now.monotonic);
            }
            self.drain_peers();
        }
    }

    fn perform(&mut self, output: Output, now: Timestamp) {
        match output {
            Output::Send { request, to, message, timeout } => {
                let outgoing = Outgoing { id: request, request: message, deadline: now + timeout };
                self.peers.send(peer_id(&to.peer.id), multiaddrs(&to.addrs), outgoing);
            }
            Output::CancelRequest(request) => self.peers.cancel(request),
            Output::Store { id, request } => {
                self.to_store.push_back((id, request));
                self.begin_storing();
            }
            Output::Update { id, update } => {
                if self.operations.update(id, update) {
                    self.inputs.push_back(Input::Cancel(id));
                }
            }
            Output::TableChanged { urgent: true } => self.publish(),
            Output::TableChanged { urgent: false } => {
                // The first of a burst at once: a newcomer that asks next shall hear of the one before it.
                let earliest = self.published + PUBLISH_DELAY;
                self.publish_at.get_or_insert_with(|| now.max(earliest));
            }
            Output::Event(event) => {
                if let Event::PeerAdmitted { peer, .. } = &event {
                    // It was admitted with the addresses it was asked at, which others may have named; its own are
                    // told once more.
                    self.identities.touch(peer_id(&peer.id));
                }
                self.record(&event);
                // Nobody may be listening.
                let _ = self.events.send(event);
            }
        }
    }

    /// The one place that every event passes.
    fn record(&self, event: &Event) {
        tracing::trace!(?event);
    }

    fn publish(&mut self) {
        self.publish_at = None;
        self.published = self.shared.now().monotonic;
        self.shared.table.store(Arc::new(self.node.table().view().clone()));
    }

    fn drain_peers(&mut self) {
        while let Some(effect) = self.peers.next_effect() {
            match effect {
                Effect::Dial(opts) => self.actions.push_back(ToSwarm::Dial { opts }),
                Effect::Notify { peer, connection, event } => {
                    let handler = NotifyHandler::One(connection);
                    self.actions.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event });
                }
                Effect::Failed { request, failure } => {
                    self.inputs.push_back(Input::Failed { request, failure });
                }
            }
        }
    }

    fn begin_storing(&mut self) {
        while self.storing.len() < OWN_STORE_OPERATIONS_MAX {
            let Some((id, request)) = self.to_store.pop_front() else { return };
            let store = Arc::clone(&self.shared.store);
            let now = self.shared.now().unix;
            self.storing.push(Box::pin(async move { (id, execute(&*store, request, now).await) }));
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            // Nobody waits for it any more.
            Command::Start { replies, .. } if replies.ended.is_closed() => {}
            Command::Start { operation, options, replies } => {
                let id = self.operations.add(operation.kind(), replies);
                self.feed(Input::Start { id, operation, options });
            }
            Command::Change { change, done } => {
                self.change(change);
                let _ = done.send(());
            }
            Command::Load(reply) => {
                let _ = reply.send(self.load());
            }
            Command::Table(reply) => {
                let _ = reply.send(self.node.table().view().clone());
            }
        }
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::AddBootstrapPeers(peers) => self.feed(Input::AddBootstrapPeers(peers)),
            Change::AddPeer(peer) => self.feed(Input::AddPeer(peer)),
            Change::RemovePeer(peer) => self.feed(Input::RemovePeer(peer)),
            Change::SetMode(mode) => {
                self.feed(Input::SetMode(mode));
                self.publish();
                if self.mode != mode {
                    self.mode = mode;
                    self.peers.notify_all(|| ToHandler::SetMode(mode));
                    self.pump();
                }
            }
        }
    }

    /// Does one thing that is due; tells whether there was one. Registers the task for everything that is not.
    fn progress(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(Identified { peer, serves, addrs }) = self.identities.next_changed() {
            if let Ok(peer) = core_peer(&peer) {
                let addrs = addr_list(&peer, &addrs);
                self.feed(Input::Identified { peer: peer.id, serves, addrs });
            }
            return true;
        }
        if let Poll::Ready(Some((id, reply))) = self.storing.poll_next_unpin(cx) {
            self.begin_storing();
            self.feed(Input::Stored { id, reply });
            return true;
        }
        if let Poll::Ready(id) = self.operations.poll_cancelled(cx) {
            self.feed(Input::Cancel(id));
            return true;
        }
        match self.commands.poll_recv(cx) {
            Poll::Ready(Some(command)) => {
                self.command(command);
                return true;
            }
            Poll::Ready(None) if !self.abandoned => {
                self.abandoned = true;
                self.actions.push_back(ToSwarm::GenerateEvent(BehaviourEvent::Abandoned));
                return true;
            }
            Poll::Ready(None) | Poll::Pending => {}
        }
        if let Some(expiring) = &mut self.expiring
            && let Poll::Ready(more) = expiring.as_mut().poll(cx)
        {
            self.expiring = None;
            if more {
                self.expire_at = self.shared.now().monotonic;
            }
        }
        self.run_timers(cx)
    }

    fn run_timers(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.shared.now();
        let node_at = self.node.next_timeout().map(|at| at.max(self.timeout_fed + TIMEOUT_SPACING));
        let deadlines = [node_at, self.publish_at, self.peers.next_deadline(), Some(self.expire_at)];
        let deadline = deadlines.into_iter().flatten().min();
        if self.timer.poll(cx, now.monotonic, deadline).is_pending() {
            return false;
        }
        if self.publish_at.is_some_and(|at| at <= now.monotonic) {
            self.publish();
        }
        if self.expire_at <= now.monotonic {
            self.expire_at = now.monotonic + EXPIRE_INTERVAL;
            let store = Arc::clone(&self.shared.store);
            self.expiring.get_or_insert_with(|| {
                Box::pin(async move {
                    let expired = store.expire(now, EXPIRE_BUDGET).await;
                    expired
                        .inspect_err(|error| tracing::warn!(%error, "expired records not freed"))
                        .is_ok_and(|expired| expired.more)
                })
            });
        }
        self.peers.expire(now.monotonic);
        self.pump();
        if node_at.is_some_and(|at| at <= now.monotonic) {
            self.timeout_fed = now.monotonic;
            self.feed(Input::Timeout);
        }
        true
    }

    fn connection_closed(&mut self, peer: PeerId, connection: ConnectionId) {
        if self.peers.closed(peer, connection) {
            self.identities.disconnected(peer);
            if let Ok(peer) = core_id(&peer) {
                self.feed(Input::Disconnected(peer));
            }
        }
    }

    fn own_addrs_changed(&mut self) {
        if let Some(addrs) = self.own_addrs.take_changed() {
            self.feed(Input::SetAddrs(addrs));
        }
    }

    fn handler(&self, peer: &PeerId) -> Result<Handler, ConnectionDenied> {
        let peer = core_id(peer).map_err(ConnectionDenied::new)?;
        Ok(Handler::new(Arc::clone(&self.shared), peer, self.mode))
    }
}

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
            && let Some(info) = self.node.table().view().get(&id)
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
            FromSwarm::NewListenAddr(event) => self.own_addrs.listening(event.addr),
            FromSwarm::ExpiredListenAddr(event) => self.own_addrs.not_listening(event.addr),
            FromSwarm::ExternalAddrConfirmed(event) => self.own_addrs.external(event.addr),
            FromSwarm::ExternalAddrExpired(event) => self.own_addrs.not_external(event.addr),
            _ => {}
        }
        self.own_addrs_changed();
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

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("protocol", &self.shared.protocol)
            .field("mode", &self.mode)
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
