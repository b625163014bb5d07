//! The behaviour: turns what the swarm tells into the core's inputs, and the core's outputs into what the swarm does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use kadmos_core::server::Responder;
use kadmos_core::{Config, ConfigError, Event, Input, Mode, Node, Output, Timestamp, Validators};
use kadmos_store::Store;
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::{NotifyHandler, StreamProtocol, ToSwarm};
use tokio::sync::{Semaphore, broadcast, mpsc};

use self::realm::RealmNode;
use crate::clock::{Clock, SystemClock, Timer};
use crate::command::{COMMANDS_MAX, Change, Command};
use crate::convert::{addr_list, core_peer, multiaddrs, peer_id};
use crate::dht::Dht;
use crate::error::BehaviourError;
use crate::events::EVENTS_MAX;
use crate::handler::{Outgoing, ToHandler};
use crate::identities::{Identified, Identities};
use crate::operations::Operations;
use crate::own_addrs::OwnAddrs;
use crate::peers::{Effect, Peers};
use crate::results::Load;
use crate::shared::{STORE_OPERATIONS_MAX, SessionLimits, Shared};

mod realm;
mod swarm;

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
    realm: RealmNode,
    peers: Peers,
    identities: Identities,
    operations: Operations,
    commands: mpsc::Receiver<Command>,
    /// The last handle is gone, and the swarm was told.
    abandoned: bool,
    events: broadcast::Sender<Event>,
    actions: VecDeque<Action>,
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
            realm: RealmNode::new(node, shared, own_addrs),
            peers: Peers::new(limits.outbound_queue_max),
            identities: Identities::default(),
            operations: Operations::default(),
            commands,
            abandoned: false,
            events,
            actions: VecDeque::new(),
            timer: Timer::default(),
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
        self.realm.mode
    }

    /// What this node is busy with.
    pub fn load(&self) -> Load {
        Load { operations: self.operations.len(), requests: self.peers.in_flight() }
    }

    /// Feeds an input, and everything that follows from it.
    fn feed(&mut self, input: Input) {
        self.realm.push(input);
        self.pump();
    }

    /// Feeds what is queued, carries out every output, and feeds what those gave in turn.
    fn pump(&mut self) {
        self.drain_peers();
        while let Some(now) = self.realm.feed_next() {
            while let Some(output) = self.realm.next_output(now) {
                self.perform(output, now);
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
            Output::Update { id, update } => {
                if self.operations.update(id, update) {
                    self.realm.push(Input::Cancel(id));
                }
            }
            Output::Event(event) => {
                if let Event::PeerAdmitted { peer, .. } = &event {
                    // It was admitted with the addresses it was asked at, which others may have named; its own are
                    // told once more.
                    self.identities.touch(peer_id(&peer.id));
                }
                tracing::trace!(?event);
                // Nobody may be listening.
                let _ = self.events.send(event);
            }
            Output::Store { .. } | Output::TableChanged { .. } => {
                debug_assert!(false, "the realm carries these out");
            }
        }
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
                    self.realm.push(Input::Failed { request, failure });
                }
            }
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
            Command::NetworkSize(reply) => {
                let _ = reply.send(self.realm.node.network_size());
            }
            Command::Table(reply) => {
                let _ = reply.send(self.realm.node.table().view().clone());
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
                self.realm.publish();
                if self.realm.mode != mode {
                    self.realm.mode = mode;
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
        if self.realm.poll_stored(cx) {
            self.pump();
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
        self.realm.poll_expiring(cx);
        self.run_timers(cx)
    }

    fn run_timers(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.realm.shared.now().monotonic;
        let deadline = [self.realm.next_deadline(), self.peers.next_deadline()].into_iter().flatten().min();
        if self.timer.poll(cx, now, deadline).is_pending() {
            return false;
        }
        self.peers.expire(now);
        self.pump();
        self.realm.run_timers();
        self.pump();
        true
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("protocol", &self.realm.shared.protocol)
            .field("mode", &self.realm.mode)
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
