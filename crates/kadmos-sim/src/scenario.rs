//! How worlds are described, and what a person or a fault does to them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use kadmos_core::config::{AddressPolicy, Mode};
use kadmos_core::peer::PeerInfo;
use kadmos_core::{
    Config, ConfigError, Input, Node, Operation, OperationId, OperationOptions, Peer, PeerId, Timestamp,
};
use kadmos_store::{MemoryLimits, MemoryStore};

use crate::network::{Host, addrs};
use crate::random::child_seed;
use crate::records;
use crate::trace::Fact;
use crate::world::{Event, NodeIndex, OperationReport, OperationState, SimNode, World};

/// The protocol of simulated nodes. Not one of IPFS's, so that k is free and the validators are the world's own.
const PROTOCOL: &str = "/kadmos-sim/kad/1.0.0";

/// Describes a [`World`]. Every setter may be called in any order.
///
/// ```
/// use std::time::Duration;
///
/// use kadmos_sim::World;
///
/// let mut world = World::builder().nodes(20).bootstrap(3).seed(7).build()?;
/// assert!(world.run_until_idle(Duration::from_secs(60)), "all nodes have joined");
/// # Ok::<(), kadmos_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct WorldBuilder {
    nodes: u32,
    clients: u32,
    bootstrap: u32,
    seed: u64,
    start_spacing: Duration,
    wire: bool,
    config: Config,
}

impl Default for WorldBuilder {
    fn default() -> Self {
        let mut config = Config::private(PROTOCOL);
        config.protocol.addresses = AddressPolicy::Public;
        Self {
            nodes: 20,
            clients: 0,
            bootstrap: 3,
            seed: 0,
            start_spacing: Duration::from_millis(100),
            wire: false,
            config,
        }
    }
}

impl WorldBuilder {
    /// Servers, the bootstrap nodes among them. Default 20.
    #[must_use]
    pub fn nodes(mut self, nodes: u32) -> Self {
        self.nodes = nodes;
        self
    }

    /// Further nodes that only ask. They come after the servers. Default 0.
    #[must_use]
    pub fn clients(mut self, clients: u32) -> Self {
        self.clients = clients;
        self
    }

    /// How many of the servers are known to all others beforehand: the first ones. Default 3.
    #[must_use]
    pub fn bootstrap(mut self, bootstrap: u32) -> Self {
        self.bootstrap = bootstrap;
        self
    }

    /// Whatever happens by chance is drawn from it. Default 0.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Time from one node's start to the next one's; the bootstrap nodes start together, at the beginning. Default
    /// 100 ms.
    #[must_use]
    pub fn start_spacing(mut self, spacing: Duration) -> Self {
        self.start_spacing = spacing;
        self
    }

    /// Peers in an answer, in a result and in a bucket. Default 20.
    #[must_use]
    pub fn k(mut self, k: NonZeroUsize) -> Self {
        self.config.lookup.k = k;
        self.config.lookup.beta = self.config.lookup.beta.min(k);
        self.config.table.bucket_size = k;
        self
    }

    /// Whether each message is encoded and decoded on its way. Default: no, the values travel as they are.
    #[must_use]
    pub fn wire(mut self, wire: bool) -> Self {
        self.wire = wire;
        self
    }

    /// Changes the settings of every node. `seed`, `protocol.mode` and the validators are the world's.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// The world, at its beginning: nothing has happened, and each node's start waits in the queue.
    ///
    /// Errors: [`ConfigError`] when no node can work with the settings.
    pub fn build(self) -> Result<World, ConfigError> {
        let validators = Arc::new(records::validators());
        let infos: Vec<_> = (0..self.nodes + self.clients)
            .map(|index| {
                let id = PeerId::from_digest(child_seed(self.seed, "id", u64::from(index)));
                PeerInfo::new(Peer::new(id), addrs(&id, index))
            })
            .collect();
        let bootstrap: Vec<_> = infos.iter().take(self.bootstrap.min(self.nodes) as usize).cloned().collect();
        let mut nodes = Vec::with_capacity(infos.len());
        for (index, info) in (0..).zip(&infos) {
            let mut config = self.config.clone();
            let [seed @ .., _, _, _, _, _, _, _, _] = child_seed(self.seed, "core", u64::from(index));
            config.seed = seed[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
            config.protocol.mode = if index < self.nodes { Mode::Server } else { Mode::Client };
            nodes.push(SimNode {
                core: Node::new(info.peer.clone(), config, Arc::clone(&validators))?,
                store: MemoryStore::new(MemoryLimits::default()),
                info: info.clone(),
                host: Host::place(self.seed, index),
                bootstrap: bootstrap.iter().filter(|known| known.peer != info.peer).cloned().collect(),
                running: false,
                wake_at: None,
                in_flight: BTreeMap::new(),
            });
        }
        let mut world = World::new(self.wire, nodes, Arc::new(self.config), validators);
        for node in world.nodes() {
            let place = node.as_u32().saturating_sub(self.bootstrap.saturating_sub(1));
            world.starting += 1;
            world.queue.push(Timestamp::ZERO + self.start_spacing * place, Event::NodeStarts(node));
        }
        Ok(world)
    }
}

impl World {
    /// Gives a node something to do, with its settings.
    pub fn start_operation(&mut self, node: NodeIndex, operation: Operation) -> OperationId {
        self.start_operation_with(node, operation, OperationOptions::default())
    }

    /// As [`World::start_operation`], with settings of its own. It begins with the next event; on a node that does
    /// not run it never does.
    pub fn start_operation_with(
        &mut self,
        node: NodeIndex,
        operation: Operation,
        options: OperationOptions,
    ) -> OperationId {
        let id = OperationId(self.next_operation);
        self.next_operation += 1;
        self.running_operations += 1;
        let report = OperationReport {
            node,
            operation: operation.clone(),
            started: self.now,
            found: Vec::new(),
            state: OperationState::Running,
        };
        self.operations.insert(id, report);
        self.queue.push(self.now, Event::OperationStarts { node, id, operation, options });
        id
    }

    /// Ends an operation at once, as a user who no longer waits does.
    pub fn cancel(&mut self, id: OperationId) {
        if let Some(node) = self.abandon(id)
            && self.is_running(node)
        {
            self.feed(node, Input::Cancel(id));
        }
    }

    /// Tells a node of a peer, true or not, that it has not heard of in the DHT.
    pub fn introduce(&mut self, node: NodeIndex, peer: PeerInfo) {
        if self.is_running(node) {
            self.feed(node, Input::AddPeer(peer));
        }
    }

    /// Ends a node's process, without a word to anybody: the operating system closes its connections, and refuses
    /// new ones.
    pub fn stop(&mut self, node: NodeIndex) {
        if !std::mem::take(&mut self.nodes[node.as_usize()].running) {
            return;
        }
        self.note(node, Fact::NodeStopped);
        self.update_oracle(node);
        self.nodes[node.as_usize()].in_flight.clear();
        let running: Vec<_> = self
            .operations
            .iter()
            .filter(|(_, report)| report.node == node && report.is_running())
            .map(|(id, _)| *id)
            .collect();
        for id in running {
            self.abandon(id);
        }
        for (_, id) in self.connections.of(node).to_vec() {
            if let Some(connection) = self.connections.get_mut(id) {
                let heard = self.now + Duration::from_nanos(connection.one_way_nanos);
                self.queue.push(heard, Event::Lost { connection: id });
            }
        }
    }

    /// Tells a node to serve, or not to. Whoever is connected to it hears so half a round trip later.
    pub fn set_mode(&mut self, node: NodeIndex, mode: Mode) {
        if !self.is_running(node) {
            return;
        }
        self.note(node, Fact::ModeSet(mode));
        self.feed(node, Input::SetMode(mode));
        self.update_oracle(node);
        for (_, id) in self.connections.of(node).to_vec() {
            if let Some(connection) = self.connections.get_mut(id) {
                let side = connection.side_of(node).other();
                if connection.end(side).up && connection.end(side.other()).up {
                    let heard = self.now + Duration::from_nanos(connection.one_way_nanos);
                    self.queue.push(heard, Event::Identified { connection: id, side });
                }
            }
        }
    }

    /// A node begins to run, and joins.
    pub(crate) fn start_node(&mut self, node: NodeIndex) {
        self.starting -= 1;
        self.note(node, Fact::NodeStarted);
        let state = &mut self.nodes[node.as_usize()];
        state.running = true;
        let addrs = state.info.addrs.clone();
        let bootstrap = std::mem::take(&mut state.bootstrap);
        self.update_oracle(node);
        self.feed(node, Input::SetAddrs(addrs));
        self.feed(node, Input::AddBootstrapPeers(bootstrap));
        self.start_operation(node, Operation::Bootstrap);
    }

    /// Gives up an operation that has not ended; returns whose it was.
    pub(crate) fn abandon(&mut self, id: OperationId) -> Option<NodeIndex> {
        let report = self.operations.get_mut(&id).filter(|report| report.is_running())?;
        report.state = OperationState::Abandoned;
        self.running_operations -= 1;
        Some(report.node)
    }
}
