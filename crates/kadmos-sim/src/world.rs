//! The world: nodes, the network between them, and one queue of what happens next.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kadmos_core::config::Mode;
use kadmos_core::message::{Request, Response};
use kadmos_core::operation::{Cost, Outcome};
use kadmos_core::peer::PeerInfo;
use kadmos_core::record::StoreReply;
use kadmos_core::server::Responder;
use kadmos_core::{
    Key, Memory, Now, Operation, OperationId, OperationOptions, PeerId, RequestId, StoreId, Timestamp,
    UnixTime, Update,
};
use kadmos_store::MemoryStore;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::charges::Charges;
use crate::connections::{ConnectionId, Connections, Side};
use crate::directory::Directory;
use crate::faults::Partition;
use crate::model::{HopCosts, Model, SessionClass, Traits};
use crate::network::Host;
use crate::oracle::Oracle;
use crate::plant::Plant;
use crate::queue::EventQueue;
use crate::scenario::{Blueprint, WorldBuilder};
use crate::seat::Seat;
use crate::trace::{Fact, Observer, Trace, TraceEvent, TraceHash};

/// Wall-clock time at the world's beginning, for the dates in records: 2026-01-01T00:00:00Z.
pub const WORLD_BEGAN: UnixTime = UnixTime::from_secs(1_767_225_600);

/// Names a node of a world, by the order of creation. Prints as `n17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(u32);

impl NodeIndex {
    /// Node number `index`, counted from 0.
    pub const fn new(index: u32) -> Self {
        Self(index)
    }

    /// The number.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    pub(crate) const fn as_usize(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// A set of nodes, the network between them and virtual time. Built by [`World::builder`]; the same builder makes the
/// same world, and the same calls make the same things happen in it.
///
/// One thread, no clock, no other randomness than the seed's. A clone goes on from the same state by itself, watched by
/// nobody: so different futures of one past are compared.
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) blueprint: Arc<Blueprint>,
    pub(crate) wire: bool,
    pub(crate) now: Timestamp,
    /// The number of the event at hand.
    pub(crate) sequence: u64,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) nodes: Vec<SimNode>,
    /// How the network finds who has an id.
    pub(crate) directory: Directory,
    pub(crate) connections: Connections,
    pub(crate) responder: Responder,
    pub(crate) oracle: Oracle,
    pub(crate) trace: Trace,
    pub(crate) operations: BTreeMap<OperationId, OperationReport>,
    pub(crate) running_operations: usize,
    /// Nodes that will start.
    pub(crate) starting: usize,
    pub(crate) next_operation: u64,
    pub(crate) counters: Counters,
    pub(crate) violations: Vec<String>,
    /// What messages meet on their way.
    pub(crate) network_rng: ChaCha8Rng,
    /// Messages per mille that are lost.
    pub(crate) loss_per_mille: u32,
    pub(crate) partitions: Vec<Partition>,
    /// Whether nodes come and go.
    pub(crate) churning: bool,
    pub(crate) plant: Option<Plant>,
}

/// One node and what its driver knows.
///
/// What nearly every event reads comes first, in two cache lines: in large worlds, an event's node is in no cache.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct SimNode {
    pub(crate) running: bool,
    /// How often it has been started again.
    pub(crate) incarnation: u32,
    /// When the earliest [`Event::Timeout`] in the queue will wake it.
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) info: PeerInfo,
    pub(crate) host: Host,
    pub(crate) traits: Traits,
    pub(crate) hops: HopCosts,
    /// Its requests that have not ended.
    pub(crate) in_flight: BTreeMap<RequestId, InFlight>,
    /// By how many seconds its wall clock is ahead of the world's.
    pub(crate) ahead_secs: i64,
    /// Who decides for it.
    pub(crate) seat: Seat,
    pub(crate) store: MemoryStore,
    pub(crate) charges: Charges,
    /// Ids nobody answers at that it names to others.
    pub(crate) undialable: Vec<PeerInfo>,
    /// Counts what has ended or begun its sessions, so that outdated events are known.
    pub(crate) session: u32,
    pub(crate) class: Option<SessionClass>,
    /// Whether its start waits in the queue.
    pub(crate) will_start: bool,
    /// What it has kept for its next start.
    pub(crate) memory: Option<Box<Memory>>,
}

/// The records of a copied node are its own.
impl Clone for SimNode {
    fn clone(&self) -> Self {
        Self {
            seat: self.seat.clone(),
            store: self.store.fork(),
            info: self.info.clone(),
            undialable: self.undialable.clone(),
            in_flight: self.in_flight.clone(),
            memory: self.memory.clone(),
            ..*self
        }
    }
}

/// A request that has not ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// `None` when there can be none.
    pub(crate) connection: Option<ConnectionId>,
    /// When it fails if nothing has come by then.
    pub(crate) expires: Timestamp,
}

/// What waits in the queue.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A node begins to run.
    NodeStarts { node: NodeIndex, session: u32 },
    /// A node that has a table already joins.
    NodeJoins { node: NodeIndex, session: u32 },
    /// A node that comes and goes, comes.
    SessionBegins { node: NodeIndex, session: u32 },
    /// A node that comes and goes, goes.
    SessionEnds { node: NodeIndex, session: u32 },
    /// A node asked to be woken.
    Timeout(NodeIndex),
    /// A user gives a node something to do.
    OperationStarts { node: NodeIndex, id: OperationId, operation: Operation, options: OperationOptions },
    /// The handshake is over at one end.
    Up { connection: ConnectionId, side: Side },
    /// One end hears who the other is.
    Identified { connection: ConnectionId, side: Side },
    /// A request arrives at the end `side`.
    Asked { connection: ConnectionId, side: Side, request: RequestId, message: Request },
    /// An answer arrives at the end `side`, which asked.
    Answered { connection: ConnectionId, side: Side, request: RequestId, response: Response },
    /// The end `side` hears that its request failed.
    Reset {
        connection: ConnectionId,
        side: Side,
        request: RequestId,
        failure: kadmos_core::error::RequestFailure,
    },
    /// A request that could not be sent at all fails.
    Unsendable { node: NodeIndex, request: RequestId },
    /// A request without an answer has left the node.
    Flushed { node: NodeIndex, request: RequestId },
    /// The time for a request is over.
    Expired { node: NodeIndex, request: RequestId },
    /// A store operation ended.
    Stored { node: NodeIndex, id: StoreId, reply: StoreReply },
    /// Time to see whether a connection is idle.
    IdleCheck { connection: ConnectionId },
    /// A connection is found to be gone, or to have been refused.
    Lost { connection: ConnectionId },
    /// Nothing has come over a connection for as long as it bears.
    Severed { connection: ConnectionId },
}

/// What the world has counted since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Events taken from the queue.
    pub events: u64,
    /// Calls of [`kadmos_core::Node::handle_input`], or of a model's.
    pub inputs: u64,
    /// Requests handed to the network.
    pub requests: u64,
    /// Requests that arrived and were handed to the responder.
    pub requests_served: u64,
    /// Requests that the responder refused or reset.
    pub requests_refused: u64,
    /// Answers that arrived in time.
    pub answers: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Connections dialled.
    pub dials: u64,
    /// Connections open or being dialled, the most at one time.
    pub connections_max: u64,
}

/// An operation that a user gave to a node, and what came of it.
#[derive(Clone, Debug)]
pub struct OperationReport {
    /// Whose.
    pub node: NodeIndex,
    /// What.
    pub operation: Operation,
    /// When it began.
    pub started: Timestamp,
    /// The providers and values it found, in order.
    pub found: Vec<Update>,
    /// How far it is.
    pub state: OperationState,
}

/// How far an operation is.
#[derive(Clone, Debug)]
pub enum OperationState {
    /// It has not ended.
    Running,
    /// It has ended.
    Ended {
        /// How.
        outcome: Outcome,
        /// At which cost.
        cost: Cost,
    },
    /// It never ends: it was cancelled, or its node has stopped.
    Abandoned,
}

impl OperationReport {
    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        matches!(self.state, OperationState::Running)
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.state {
            OperationState::Ended { outcome, .. } => Some(outcome),
            OperationState::Running | OperationState::Abandoned => None,
        }
    }
}

impl World {
    /// Violations kept; what matters is the first.
    const VIOLATIONS_MAX: usize = 100;

    /// A world to be described.
    pub fn builder() -> WorldBuilder {
        WorldBuilder::default()
    }

    /// Lets everything happen that is due within `duration`, then moves the clock to its end.
    pub fn run(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Lets everything happen that is due at `until` or before, then moves the clock there.
    pub fn run_until(&mut self, until: Timestamp) {
        while self.step(until) {}
        if !self.is_halted() {
            self.now = self.now.max(until);
        }
    }

    /// Runs until every node has started and no user's operation is left, at most for `limit`. Returns whether it
    /// came to that.
    pub fn run_until_idle(&mut self, limit: Duration) -> bool {
        let until = self.now + limit;
        while self.running_operations + self.starting > 0 && self.step(until) {}
        self.running_operations + self.starting == 0
    }

    /// Lets the next event happen if it is due at `until` or before, and an observer has not halted the world.
    /// Returns whether one happened.
    pub fn step(&mut self, until: Timestamp) -> bool {
        if self.is_halted() {
            return false;
        }
        self.look_ahead();
        let Some(due) = self.queue.pop_due(until) else { return false };
        debug_assert!(due.at >= self.now, "the queue never goes back");
        self.now = due.at;
        self.sequence = due.sequence;
        self.counters.events += 1;
        self.handle(due.event);
        true
    }

    /// Virtual time since the world's beginning.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The true date. The wall clocks of nodes agree with it unless they were set.
    pub fn unix(&self) -> UnixTime {
        WORLD_BEGAN + Duration::from_secs(self.now.as_nanos() / 1_000_000_000)
    }

    /// Every node ever created, running or not.
    pub fn nodes(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..self.nodes.len() as u32).map(NodeIndex) // the builder takes a u32
    }

    /// What the network does.
    pub fn model(&self) -> &Model {
        &self.blueprint.model
    }

    /// What its host is like. Panics: as [`World::node`].
    pub fn traits(&self, node: NodeIndex) -> Traits {
        self.nodes[node.as_usize()].traits
    }

    /// Ids that nobody answers at and that a node names to others. Panics: as [`World::node`].
    pub fn undialable(&self, node: NodeIndex) -> &[PeerInfo] {
        &self.nodes[node.as_usize()].undialable
    }

    /// What a node has done since the beginning. Panics: as [`World::node`]. Cost: O(its connections).
    pub fn charges(&self, node: NodeIndex) -> Charges {
        let mut charges = self.nodes[node.as_usize()].charges;
        for (_, id) in self.connections.of(node) {
            if let Some(connection) = self.connections.get(*id) {
                let end = connection.end(connection.side_of(node));
                if end.up {
                    charges.connected_ms += self.now.since(end.up_at).as_millis() as u64; // below a run's length
                }
            }
        }
        charges
    }

    /// What all nodes have done.
    pub fn charges_of_all(&self) -> Charges {
        let mut charges = Charges::default();
        self.nodes().for_each(|node| charges.add(&self.charges(node)));
        charges
    }

    /// The round trip between two nodes. Panics: as [`World::node`].
    pub fn round_trip(&self, node: NodeIndex, peer: NodeIndex) -> Duration {
        let full = self.host(node).round_trip(&self.host(peer));
        match self.blueprint.model.round_trip_percent {
            100 => full,
            percent => full * percent / 100,
        }
    }

    /// What a node that runs our own core would keep over a restart now. Panics: for an index of another world, and for a
    /// node of another kind.
    pub fn memory(&self, node: NodeIndex) -> Memory {
        self.node(node).memory(self.clock_of(node))
    }

    /// The records a node holds. Panics: as [`World::node`].
    pub fn store(&self, node: NodeIndex) -> &MemoryStore {
        &self.nodes[node.as_usize()].store
    }

    /// A node's identity and address. Panics: as [`World::node`].
    pub fn info(&self, node: NodeIndex) -> &PeerInfo {
        &self.nodes[node.as_usize()].info
    }

    /// Where a node is. Panics: as [`World::node`].
    pub fn host(&self, node: NodeIndex) -> Host {
        self.nodes[node.as_usize()].host
    }

    /// Whether a node runs. Panics: as [`World::node`].
    pub fn is_running(&self, node: NodeIndex) -> bool {
        self.nodes[node.as_usize()].running
    }

    /// The node with a peer id.
    pub fn find(&self, id: &PeerId, key: &Key) -> Option<NodeIndex> {
        self.directory.find(key).filter(|node| self.info(*node).peer.id == *id)
    }

    /// The checker that knows every serving node.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// What was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// When the latest request of a node that has not ended will fail, if nothing comes by then.
    pub fn requests_end_by(&self, node: NodeIndex) -> Option<Timestamp> {
        self.nodes[node.as_usize()].in_flight.values().map(|in_flight| in_flight.expires).max()
    }

    /// Requests of a node that have not ended. Panics: as [`World::node`].
    pub fn requests_in_flight(&self, node: NodeIndex) -> usize {
        self.nodes[node.as_usize()].in_flight.len()
    }

    /// Connections open or being dialled.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Broken promises between a core and its driver, found on the way; empty in a sound run. At most 100 are kept.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    /// An operation, running or ended.
    pub fn operation(&self, id: OperationId) -> Option<&OperationReport> {
        self.operations.get(&id)
    }

    /// As [`World::operation`], and forgets the operation; `None` while it runs.
    pub fn take_operation(&mut self, id: OperationId) -> Option<OperationReport> {
        if self.operations.get(&id)?.is_running() { None } else { self.operations.remove(&id) }
    }

    /// Takes every operation that has ended or was abandoned, in the order in which they began.
    pub fn take_ended(&mut self) -> Vec<(OperationId, OperationReport)> {
        let ended: Vec<_> =
            self.operations.iter().filter(|(_, report)| !report.is_running()).map(|(id, _)| *id).collect();
        ended.into_iter().filter_map(|id| Some((id, self.operations.remove(&id)?))).collect()
    }

    /// Operations that have not ended.
    pub fn running_operations(&self) -> usize {
        self.running_operations
    }

    /// Shows everything that happens from now on to `observer`.
    pub fn observe(&mut self, observer: Observer) {
        self.trace.observe(observer);
    }

    /// Keeps the last `capacity` lines of the trace from now on; 0 keeps none.
    pub fn record_last(&mut self, capacity: usize) {
        self.trace.record_last(capacity);
    }

    /// The lines kept since [`World::record_last`].
    pub fn recorded(&self) -> impl Iterator<Item = &str> {
        self.trace.lines()
    }

    /// The hash of all that has happened.
    pub fn trace_hash(&self) -> TraceHash {
        self.trace.hash()
    }

    /// Delivered events and state changes in [`World::trace_hash`].
    pub fn trace_events(&self) -> u64 {
        self.trace.events()
    }

    /// Whether an observer has halted the world. It stays halted.
    pub fn is_halted(&self) -> bool {
        self.trace.is_halted()
    }

    /// Whether a stopped node's start, or its return, waits in the queue. Panics: as [`World::node`].
    pub fn is_starting(&self, node: NodeIndex) -> bool {
        let state = &self.nodes[node.as_usize()];
        !state.running && state.will_start
    }

    /// Operations that have not ended, by node.
    pub fn running_operations_by_node(&self) -> BTreeMap<NodeIndex, usize> {
        let mut running = BTreeMap::new();
        for report in self.operations.values().filter(|report| report.is_running()) {
            *running.entry(report.node).or_insert(0) += 1;
        }
        running
    }

    /// Whether a node holds a record for `key` that has not expired by its clock, a value or a provider's. Panics: as
    /// [`World::node`].
    pub fn holds(&self, node: NodeIndex, key: &[u8]) -> bool {
        self.store(node).holds(key, self.clock_of(node).unix)
    }

    /// The settings of every node, but for those that differ from node to node: mode and seed.
    pub fn config(&self) -> &kadmos_core::Config {
        &self.blueprint.config
    }

    /// As [`World::run`], but gives up when more than `events_max` events happen on the way. Returns whether it came to
    /// the end.
    pub fn run_bounded(&mut self, duration: Duration, events_max: u64) -> bool {
        let until = self.now + duration;
        for _ in 0..events_max {
            if !self.step(until) {
                if !self.is_halted() {
                    self.now = self.now.max(until);
                }
                return true;
            }
        }
        false
    }

    /// Both clocks of a node.
    pub(crate) fn clock_of(&self, node: NodeIndex) -> Now {
        let unix = self.unix();
        let unix = match self.nodes[node.as_usize()].ahead_secs {
            0 => unix,
            ahead => UnixTime::from_secs(unix.as_secs().saturating_add_signed(ahead)),
        };
        Now { monotonic: self.now, unix }
    }

    /// Where a host would be whose id nobody has.
    pub(crate) fn unknown_host(&self, key: &Key) -> Host {
        Host::place(self.blueprint.seed, key.prefix() as u32) // any number: it is drawn from
    }

    /// Whether `addr` is the address of a node.
    pub(crate) fn is_at(&self, node: NodeIndex, addr: &[u8]) -> bool {
        self.info(node).addrs.iter().any(|own| own == addr)
    }

    /// Notes that something happened to `node`.
    pub(crate) fn note(&mut self, node: NodeIndex, fact: Fact<'_>) {
        self.trace.record(&TraceEvent { at: self.now, sequence: self.sequence, node, fact });
    }

    pub(crate) fn violation(&mut self, node: NodeIndex, what: impl fmt::Display) {
        if self.violations.len() < Self::VIOLATIONS_MAX {
            self.violations.push(format!(
                "{} s, #{}, {node}: {what}",
                self.now.as_nanos() / 1_000_000_000,
                self.sequence
            ));
        }
    }

    /// A world without nodes.
    pub(crate) fn new(blueprint: Blueprint) -> Self {
        Self {
            wire: blueprint.wire,
            now: Timestamp::ZERO,
            sequence: 0,
            queue: EventQueue::default(),
            nodes: Vec::new(),
            directory: Directory::default(),
            connections: Connections::default(),
            responder: Responder::new(Arc::clone(&blueprint.config), Arc::clone(&blueprint.validators)),
            oracle: Oracle::default(),
            trace: Trace::default(),
            operations: BTreeMap::new(),
            running_operations: 0,
            starting: 0,
            next_operation: 0,
            counters: Counters::default(),
            violations: Vec::new(),
            network_rng: crate::random::child(blueprint.seed, "network", 0),
            loss_per_mille: blueprint.model.loss_per_mille,
            partitions: Vec::new(),
            churning: false,
            plant: blueprint.plant,
            blueprint: Arc::new(blueprint),
        }
    }

    /// Tells the oracle whether a node is part of the truth now.
    pub(crate) fn update_oracle(&mut self, node: NodeIndex) {
        let state = &self.nodes[node.as_usize()];
        if state.running && state.view().mode() == Mode::Server {
            let peer = &state.info.peer;
            self.oracle.add(peer.key, node, peer.id);
        } else {
            self.oracle.remove(node);
        }
    }
}
