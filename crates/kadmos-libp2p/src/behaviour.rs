//! The behaviour: turns what the swarm tells into the core's inputs, and the core's outputs into what the swarm does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use kadmos_core::config::LAN_PROTOCOL;
use kadmos_core::health::Reachability;
use kadmos_core::routing::AsnMap;
use kadmos_core::server::Responder;
use kadmos_core::{
    Config, ConfigError, Event, Input, Memory, Mode, Node, Output, PeerFilter, Timestamp, Validators,
};
use kadmos_store::Store;
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::{NotifyHandler, StreamProtocol, ToSwarm};
use tokio::sync::{Semaphore, broadcast, mpsc};

pub(crate) use self::host::Host;
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
use crate::realm::{Realm, RequestKey, is_local};
use crate::results::{HealthReport, Load};
use crate::shared::{Counters, STORE_OPERATIONS_MAX, SessionLimits, Shared};

mod host;
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
    /// Tells autonomous systems by network. Default: none, and groups of peers are IP networks.
    pub asns: Option<Arc<AsnMap>>,
    /// The caller's say in whom the node deals with. Default: none.
    pub filter: Option<Arc<dyn PeerFilter>>,
}

impl Default for Options {
    fn default() -> Self {
        let (clock, limits) = (Arc::new(SystemClock::new()), SessionLimits::default());
        Self { clock, limits, asns: None, filter: None }
    }
}

/// What a realm is made of.
#[derive(Clone)]
pub struct RealmConfig {
    /// Its protocol and everything else.
    pub config: Config,
    /// Where its records are; each realm has its own, so that no record gets from one into the other.
    pub store: Arc<dyn Store>,
}

impl fmt::Debug for RealmConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealmConfig").field("config", &self.config).finish_non_exhaustive()
    }
}

/// A node of the DHT as a part of a libp2p swarm.
///
/// The swarm should have identify: peers' support of the protocol and their addresses come from it. Requests of
/// peers are answered in their connections' tasks; the swarm's task only runs this node's own operations.
pub struct Behaviour {
    /// One or two; the first is the one that is meant where none is named.
    realms: Vec<RealmNode>,
    /// The realm that is on local connections only.
    local_realm: Option<Realm>,
    peers: Peers,
    identities: Identities,
    operations: Operations,
    commands: mpsc::Receiver<Command>,
    /// The last handle is gone, and the swarm was told.
    abandoned: bool,
    events: broadcast::Sender<(Realm, Event)>,
    actions: VecDeque<Action>,
    timer: Timer,
    /// The behaviour around this one, if there is one.
    host: Option<Box<Host>>,
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
        let realm = if config.protocol.name == LAN_PROTOCOL { Realm::Lan } else { Realm::Wan };
        Self::build(local, vec![(realm, RealmConfig { config, store })], validators, options, false)
    }

    /// A node named `local` in two networks, and the first handle to both.
    ///
    /// `lan` is on connections within the local network only: those whose other end has a private, loopback or
    /// link-local address, one of this node's own public IPv4 addresses, or an IPv6 address of its own /64. There both
    /// protocols are offered, elsewhere only that of `wan`. How operations use the two is said at [`Dht`].
    ///
    /// Errors: [`BehaviourError`] when a configuration cannot work, alone or with `validators`, or when both have the
    /// same protocol id.
    pub fn with_lan(
        local: PeerId,
        wan: RealmConfig,
        lan: RealmConfig,
        validators: Validators,
        options: Options,
    ) -> Result<(Self, Dht), BehaviourError> {
        if wan.config.protocol.name == lan.config.protocol.name {
            return Err(BehaviourError::SameProtocol { name: wan.config.protocol.name });
        }
        Self::build(local, vec![(Realm::Wan, wan), (Realm::Lan, lan)], validators, options, false)
    }

    fn build(
        local: PeerId,
        configs: Vec<(Realm, RealmConfig)>,
        validators: Validators,
        options: Options,
        tells_served: bool,
    ) -> Result<(Self, Dht), BehaviourError> {
        let local_realm = (configs.len() > 1).then_some(Realm::Lan);
        let Options { clock, limits, asns, filter } = options;
        let peer = core_peer(&local)?;
        let validators = Arc::new(validators);
        let store_permits = Arc::new(Semaphore::new(STORE_OPERATIONS_MAX));
        let counters = Arc::<Counters>::default();
        let mut realms = Vec::with_capacity(configs.len());
        for (realm, RealmConfig { config, store }) in configs {
            let name = config.protocol.name.clone();
            let protocol = StreamProtocol::try_from_owned(name.clone())
                .map_err(|_| ConfigError::ProtocolName { name })?;
            let own_addrs = OwnAddrs::new(peer.clone(), config.protocol.addresses);
            let mut node = Node::new(peer.clone(), config, Arc::clone(&validators))?;
            asns.iter().for_each(|asns| node.set_asns(Arc::clone(asns)));
            filter.iter().for_each(|filter| node.set_filter(Arc::clone(filter)));
            let shared = Arc::new(Shared {
                realm,
                clock: Arc::clone(&clock),
                protocol,
                limits,
                frame_bytes_max: node.config().protocol.message_bytes_max,
                table: ArcSwap::from_pointee(node.table().view().clone()),
                validators: Arc::clone(&validators),
                responder: Responder::new(Arc::clone(node.config()), Arc::clone(&validators)),
                reader: store.reader(),
                store,
                store_permits: Arc::clone(&store_permits),
                counters: Arc::clone(&counters),
                tells_served,
            });
            realms.push(RealmNode::new(node, shared, own_addrs));
        }
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let mut shared = realms.iter().map(|realm| Arc::clone(&realm.shared));
        // Every caller gives at least one configuration.
        let first = shared.next().expect("a realm");
        let dht = Dht::new(local, sender, events.downgrade(), first, shared.next());
        let behaviour = Self {
            realms,
            local_realm,
            peers: Peers::new(limits.outbound_queue_max, local_realm),
            identities: Identities::default(),
            operations: Operations::default(),
            commands,
            abandoned: false,
            events,
            actions: VecDeque::new(),
            timer: Timer::default(),
            host: None,
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
        for (realm, id) in self.operations.close() {
            self.feed(realm, Input::Cancel(id));
        }
    }

    /// Begins or stops serving in the wide realm, as [`Dht::set_mode`] does for all; for hosts that decide by themselves.
    pub fn change_mode(&mut self, mode: Mode) {
        let realm = self.realms[0].realm(); // there is one
        self.change(realm, Change::SetMode(mode));
    }

    /// Tells the wide realm's node what is known of whether others can open connections to it.
    pub fn reached(&mut self, reachability: Reachability) {
        let realm = self.realms[0].realm(); // there is one
        self.feed(realm, Input::SetReachability(reachability));
    }

    /// Whether this node serves in a realm; `None` when it is not in it.
    pub fn mode(&self, realm: Realm) -> Option<Mode> {
        self.realms.iter().find(|node| node.realm() == realm).map(|node| node.mode)
    }

    /// What this node is busy with, in all realms.
    pub fn load(&self) -> Load {
        Load { operations: self.operations.len(), requests: self.peers.in_flight() }
    }

    /// Queues an input of a realm. There is none for a realm that this node is not in: handles, requests and handlers
    /// name those that the behaviour gave them.
    fn push(&mut self, realm: Realm, input: Input) {
        let node = self.realms.iter_mut().find(|node| node.realm() == realm);
        debug_assert!(node.is_some(), "{input:?} for {realm}, which this node is not in");
        if let Some(node) = node {
            node.push(input);
        }
    }

    /// Feeds an input, and everything that follows from it.
    fn feed(&mut self, realm: Realm, input: Input) {
        self.push(realm, input);
        self.pump();
    }

    /// Feeds what is queued, carries out every output, and feeds what those gave in turn.
    fn pump(&mut self) {
        self.drain_peers();
        let mut index = 0;
        // A realm's outputs may queue inputs of another by what they do to connections; so until none has any.
        while index < self.realms.len() {
            let Some(now) = self.realms[index].feed_next() else {
                index += 1;
                continue;
            };
            while let Some(output) = self.realms[index].next_output(now) {
                self.perform(self.realms[index].realm(), output, now);
            }
            self.drain_peers();
            index = 0;
        }
    }

    fn perform(&mut self, realm: Realm, output: Output, now: Timestamp) {
        match output {
            Output::Send { request, to, message, timeout } => {
                let key = RequestKey { realm, id: request };
                let outgoing = Outgoing { key, request: message, deadline: now + timeout };
                let mut addrs = multiaddrs(&to.addrs);
                if self.local_realm == Some(realm) {
                    addrs.retain(|addr| self.is_local(addr));
                }
                self.peers.send(peer_id(&to.peer.id), addrs, outgoing);
            }
            Output::CancelRequest(request) => self.peers.cancel(RequestKey { realm, id: request }),
            Output::Update { id, update } => {
                let update = match &mut self.host {
                    Some(host) => match host.take_update(id, update) {
                        Some(update) => update,
                        None => return,
                    },
                    None => update,
                };
                if self.operations.update(id, update) {
                    self.push(realm, Input::Cancel(id));
                }
            }
            Output::Event(event) => {
                if let Event::PeerAdmitted { peer, .. } = &event {
                    // It was admitted with the addresses it was asked at, which others may have named; its own are
                    // told once more.
                    self.identities.touch(peer_id(&peer.id), realm);
                }
                if let Some(host) = &mut self.host {
                    host.take_event(&event);
                }
                tracing::trace!(%realm, ?event);
                // Nobody may be listening.
                let _ = self.events.send((realm, event));
            }
            Output::Store { .. } | Output::TableChanged { .. } => {
                debug_assert!(false, "the realm carries these out");
            }
        }
    }

    /// Whether an address is within our local network.
    fn is_local(&self, addr: &Multiaddr) -> bool {
        // Every realm knows all of our addresses.
        is_local(addr, self.realms.iter().take(1).flat_map(|realm| realm.own_addrs.iter()))
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
                    self.push(request.realm, Input::Failed { request: request.id, failure });
                }
            }
        }
    }

    /// What the node of a realm would keep over a restart; `None` for a realm that it is not in.
    pub fn memory(&self, realm: Realm) -> Option<Memory> {
        self.realms.iter().find(|node| node.realm() == realm).map(|node| node.node.memory(node.shared.now()))
    }

    /// Gives the node of a realm what it kept; before it is asked anything, so that its first lookup can begin there.
    pub fn remember(&mut self, realm: Realm, memory: Memory) {
        self.feed(realm, Input::Remember(Box::new(memory)));
    }

    fn command(&mut self, command: Command) {
        match command {
            // Nobody waits for it any more.
            Command::Start { replies, .. } if replies.ended.is_closed() => {}
            Command::Start { realm, operation, options, replies } => {
                let id = self.operations.add(realm, operation.kind(), replies);
                self.feed(realm, Input::Start { id, operation, options });
            }
            Command::Change { realm, change, done } => {
                self.change(realm, change);
                let _ = done.send(());
            }
            Command::Load(reply) => {
                let _ = reply.send(self.load());
            }
            Command::Health { realm, reply } => {
                if let Some(RealmNode { node, shared, .. }) =
                    self.realms.iter().find(|node| node.realm() == realm)
                {
                    let health = node.health().clone();
                    let lasts = shared.now().monotonic.since(health.since());
                    let _ = reply.send(HealthReport { health, lasts, reachability: node.reachability() });
                }
            }
            Command::NetworkSize { realm, reply } => {
                if let Some(node) = self.realms.iter().find(|node| node.realm() == realm) {
                    let _ = reply.send(node.node.network_size());
                }
            }
            Command::Table { realm, reply } => {
                if let Some(node) = self.realms.iter().find(|node| node.realm() == realm) {
                    let _ = reply.send(node.node.table().view().clone());
                }
            }
        }
    }

    fn change(&mut self, realm: Realm, change: Change) {
        match change {
            Change::AddBootstrapPeers { kind, peers } => {
                self.feed(realm, Input::AddBootstrapPeers { kind, peers });
            }
            Change::SourceLookup { kind, began: true } => self.feed(realm, Input::SourceLookupBegan(kind)),
            Change::SourceLookup { kind, began: false } => self.feed(realm, Input::SourceLookupEnded(kind)),
            Change::AddPeer(peer) => self.feed(realm, Input::AddPeer(peer)),
            Change::RemovePeer(peer) => self.feed(realm, Input::RemovePeer(peer)),
            // After a drain handlers are told again: what is left of their streams ends.
            Change::SetMode(mode) => self.set_mode(realm, mode, || ToHandler::SetMode { realm, mode }),
            Change::SetReachability(reachability) => self.feed(realm, Input::SetReachability(reachability)),
            Change::Drain => self.set_mode(realm, Mode::Client, || ToHandler::Drain { realm }),
        }
    }

    fn set_mode(&mut self, realm: Realm, mode: Mode, event: impl Fn() -> ToHandler) {
        self.feed(realm, Input::SetMode(mode));
        let Some(node) = self.realms.iter_mut().find(|node| node.realm() == realm) else { return };
        node.publish();
        node.mode = mode;
        self.peers.notify_all(event);
        self.pump();
    }

    /// Does one thing that is due; tells whether there was one. Registers the task for everything that is not.
    fn progress(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some(identified) = self.identities.next_changed() {
            if let Some(host) = &mut self.host {
                host.identified.push_back(identified);
                return true;
            }
            let Identified { realm, peer, serves, addrs } = identified;
            if let Ok(peer) = core_peer(&peer) {
                let addrs = addr_list(&peer, &addrs);
                self.feed(realm, Input::Identified { peer: peer.id, serves, addrs });
            }
            return true;
        }
        if self.realms.iter_mut().any(|realm| realm.poll_stored(cx)) {
            self.pump();
            return true;
        }
        if let Poll::Ready((realm, id)) = self.operations.poll_cancelled(cx) {
            self.feed(realm, Input::Cancel(id));
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
        for realm in &mut self.realms {
            realm.poll_expiring(cx);
        }
        self.run_timers(cx)
    }

    fn run_timers(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(first) = self.realms.first() else { return false };
        let now = first.shared.now().monotonic;
        let deadlines = self.realms.iter().map(RealmNode::next_deadline).chain([self.peers.next_deadline()]);
        let deadline = deadlines.flatten().min();
        if self.timer.poll(cx, now, deadline).is_pending() {
            return false;
        }
        self.peers.expire(now);
        self.pump();
        for realm in &mut self.realms {
            realm.run_timers();
        }
        self.pump();
        true
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let realms = self.realms.iter().map(|node| (&node.shared.protocol, node.mode));
        f.debug_struct("Behaviour")
            .field("realms", &realms.collect::<Vec<_>>())
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod border_tests;
#[cfg(test)]
mod tests;
