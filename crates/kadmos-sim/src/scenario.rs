//! How worlds are described, and what a person or a fault does to them.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use kadmos_core::config::{AddressPolicy, Mode};
use kadmos_core::operation::SourceKind;
use kadmos_core::peer::PeerInfo;
use kadmos_core::{
    Config, ConfigError, Input, Node, Operation, OperationId, OperationOptions, Peer, PeerId, Preimages,
    Timestamp, Validators,
};
use kadmos_store::{MemoryLimits, MemoryStore};
use rand_chacha::ChaCha8Rng;

use crate::baseline::Baseline;
use crate::charges::Charges;
use crate::keyspace::Keyspace;
use crate::model::{HopCosts, Model};
use crate::network::{Host, addrs};
use crate::plant::Plant;
use crate::random::{below, child, child_seed};
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
    oracle_start: bool,
    settled: bool,
    go_per_mille: u32,
    upkeep: bool,
    model: Model,
    config: Config,
    plant: Option<Plant>,
}

/// What every node of a world is made by.
#[derive(Debug)]
pub(crate) struct Blueprint {
    pub(crate) seed: u64,
    pub(crate) wire: bool,
    /// Servers per mille that run go's implementation.
    pub(crate) go_per_mille: u32,
    /// Whether nodes do anything unasked.
    pub(crate) upkeep: bool,
    pub(crate) model: Model,
    pub(crate) config: Arc<Config>,
    pub(crate) validators: Arc<Validators>,
    /// The nodes known beforehand: the first ones.
    pub(crate) bootstrap: Vec<PeerInfo>,
    pub(crate) plant: Option<Plant>,
}

impl Blueprint {
    /// Nodes known beforehand.
    pub(crate) fn bootstrap_len(&self) -> u32 {
        self.bootstrap.len() as u32 // the builder takes a u32
    }

    pub(crate) fn info(&self, index: u32) -> PeerInfo {
        let id = PeerId::from_digest(child_seed(self.seed, "id", u64::from(index)));
        PeerInfo::new(Peer::new(id), addrs(&id, index, self.model.hosts_per_group.max(1)))
    }

    /// The core of a node that begins to run for the `incarnation`th time.
    pub(crate) fn core(
        &self,
        info: &PeerInfo,
        node: NodeIndex,
        incarnation: u32,
        mode: Mode,
    ) -> Result<Node, ConfigError> {
        // One for all: each input would have to fetch a node's own from memory.
        let config = match self.plant {
            Some(Plant::BrokenBound) => Arc::new(self.config_of(node, incarnation, mode)),
            _ => Arc::clone(&self.config),
        };
        let seed = self.seed_of("core", node, incarnation);
        let mut core = Node::sharing(info.peer.clone(), config, mode, seed, Arc::clone(&self.validators))?;
        core.share_preimages(preimages());
        Ok(core)
    }

    /// The settings of a core that begins to run for the `incarnation`th time.
    pub(crate) fn config_of(&self, node: NodeIndex, incarnation: u32, mode: Mode) -> Config {
        let mut config = Config::clone(&self.config);
        config.seed = self.seed_of("core", node, incarnation);
        config.protocol.mode = mode;
        if self.plant == Some(Plant::BrokenBound) {
            config.table.bucket_size = config.table.bucket_size.saturating_mul(non_zero(3));
        }
        config
    }

    /// The seed of what a node does by chance when it runs for the `incarnation`th time.
    pub(crate) fn seed_of(&self, what: &str, node: NodeIndex, incarnation: u32) -> u64 {
        let index = u64::from(incarnation) << 32 | u64::from(node.as_u32());
        let seed = child_seed(self.seed, what, index);
        seed[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte))
    }

    /// What a node runs from its first start on; `None` for our own core. Clients are ours.
    fn baseline_of(&self, node: NodeIndex, mode: Mode) -> Option<Baseline> {
        if self.go_per_mille == 0 || mode != Mode::Server {
            return None;
        }
        let mut rng: ChaCha8Rng = child(self.seed, "implementation", u64::from(node.as_u32()));
        (below(&mut rng, 1_000) < u64::from(self.go_per_mille)).then_some(Baseline::Go)
    }

    fn node(&self, info: PeerInfo, node: NodeIndex, mode: Mode) -> Result<SimNode, ConfigError> {
        let baseline = self.baseline_of(node, mode);
        Ok(SimNode {
            incarnation: 0,
            seat: self.seat(&info, node, 0, mode, baseline)?,
            store: MemoryStore::new(MemoryLimits::default()),
            info,
            host: Host::place(self.seed, node.as_u32()),
            traits: self.model.traits(self.seed, node.as_u32()),
            hops: baseline.map_or(self.model.hops, Baseline::hops),
            undialable: Vec::new(),
            ahead_secs: 0,
            session: 0,
            class: None,
            will_start: true,
            charges: Charges::default(),
            running: false,
            wake_at: None,
            in_flight: BTreeMap::new(),
            memory: None,
        })
    }
}

/// Found once for all worlds of the process; they are the same in every process.
pub(crate) fn preimages() -> Arc<Preimages> {
    static FOUND: OnceLock<Arc<Preimages>> = OnceLock::new();
    Arc::clone(FOUND.get_or_init(|| Arc::new(Preimages::find())))
}

const fn non_zero(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}

/// The first site of [`World::join_at`], as a number of a host.
const SITES_FROM: u32 = 10_000;

/// The first number of an id that nobody answers at, far above those of nodes.
const UNDIALABLE_FROM: u32 = 1 << 30;

/// No run is that long.
const NEVER: Duration = Duration::from_secs(30 * 86_400);

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
            oracle_start: false,
            settled: false,
            go_per_mille: 0,
            upkeep: true,
            model: Model::calm(),
            config,
            plant: None,
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
        self.config = self.config.replication(k);
        self
    }

    /// Whether each message is encoded and decoded on its way, and nodes also take the records of the public network.
    /// Default: no, the values travel as they are.
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

    /// What the network does. Default [`Model::calm`].
    #[must_use]
    pub fn model(mut self, model: Model) -> Self {
        self.model = model;
        self
    }

    /// Whether all nodes run from the beginning, with tables that were filled by somebody who knows everybody; each
    /// still joins at its time. For networks whose joining would take too long. Default: no.
    #[must_use]
    pub fn oracle_start(mut self, oracle_start: bool) -> Self {
        self.oracle_start = oracle_start;
        self
    }

    /// As [`WorldBuilder::oracle_start`], and nobody joins: the world begins one refresh interval after the first node
    /// began to run, and each did at another moment within it, so that upkeep is spread evenly from the beginning.
    /// Default: no.
    #[must_use]
    pub fn settled(mut self, settled: bool) -> Self {
        self.settled = settled;
        self
    }

    /// Servers per mille, drawn from the seed, that run a model of go-libp2p-kad-dht instead of our core: those of the
    /// beginning, the bootstrap nodes among them, and those that join later. Over 1,000 counts as 1,000. Default 0.
    #[must_use]
    pub fn go_share(mut self, per_mille: u32) -> Self {
        self.go_per_mille = per_mille;
        self
    }

    /// Whether nodes refresh their tables. Without, models of others do nothing unasked but ask strangers that connect, and
    /// our own cores have a `table.refresh_interval` that no run reaches. Default: yes.
    #[must_use]
    pub fn upkeep(mut self, upkeep: bool) -> Self {
        self.upkeep = upkeep;
        self
    }

    /// Plants a bug.
    #[doc(hidden)]
    #[must_use]
    pub fn plant(mut self, plant: Option<Plant>) -> Self {
        self.plant = plant;
        self
    }

    /// The world, at its beginning: nothing has happened, and each node's start waits in the queue.
    ///
    /// Errors: [`ConfigError`] when no node can work with the settings.
    pub fn build(mut self) -> Result<World, ConfigError> {
        if !self.upkeep {
            self.config.table.refresh_interval = NEVER;
        }
        let mut blueprint = Blueprint {
            seed: self.seed,
            wire: self.wire,
            go_per_mille: self.go_per_mille.min(1_000),
            upkeep: self.upkeep,
            model: self.model,
            config: Arc::new(self.config),
            validators: Arc::new(if self.wire { records::wire_validators() } else { records::validators() }),
            bootstrap: Vec::new(),
            plant: self.plant,
        };
        let infos: Vec<_> = (0..self.nodes + self.clients).map(|index| blueprint.info(index)).collect();
        blueprint.bootstrap = infos.iter().take(self.bootstrap.min(self.nodes) as usize).cloned().collect();
        let mut world = World::new(blueprint);
        for (index, info) in (0..).zip(infos.iter()) {
            let mode = if index < self.nodes { Mode::Server } else { Mode::Client };
            world.add(info.clone(), mode)?;
        }
        world.hand_out_undialable(self.nodes);
        if self.oracle_start || self.settled {
            world.fill_tables(&infos[..self.nodes as usize]);
        }
        if self.settled {
            world.settle_upkeep();
            return Ok(world);
        }
        for node in world.nodes() {
            let place = node.as_u32().saturating_sub(self.bootstrap.saturating_sub(1));
            let at = Timestamp::ZERO + self.start_spacing * place;
            world.starting += 1;
            let starts = Event::NodeStarts { node, session: 0 };
            let joins = Event::NodeJoins { node, session: 0 };
            world.queue.push(at, if self.oracle_start { joins } else { starts });
        }
        Ok(world)
    }
}

impl World {
    /// Adds a node that begins to run now, and joins.
    ///
    /// Errors: none that [`WorldBuilder::build`] did not have.
    pub fn join_new(&mut self, mode: Mode) -> Result<NodeIndex, ConfigError> {
        let info = self.blueprint.info(self.nodes.len() as u32); // the builder takes a u32, and nobody adds 2^32
        let node = self.add(info, mode)?;
        self.starting += 1;
        self.queue.push(self.now, Event::NodeStarts { node, session: 0 });
        Ok(node)
    }

    /// What a hop costs a node, when it differs from the model's. Panics: for an index of another world that is larger.
    pub fn set_hops(&mut self, node: NodeIndex, hops: HopCosts) {
        self.nodes[node.as_usize()].hops = hops;
    }

    fn add(&mut self, info: PeerInfo, mode: Mode) -> Result<NodeIndex, ConfigError> {
        let node = NodeIndex::new(self.nodes.len() as u32); // as in `join_new`
        self.directory.add(&info.peer.key, node);
        self.nodes.push(self.blueprint.node(info, node, mode)?);
        self.connections.add_node();
        Ok(node)
    }

    /// Gives each server ids that nobody answers at: in each bucket as many beside a full one, or of all there are,
    /// that the model's share is reached.
    fn hand_out_undialable(&mut self, servers: u32) {
        let blueprint = Arc::clone(&self.blueprint);
        let count = blueprint.model.undialable_for(servers as usize) as u32; // below 1,000 times the servers
        if count == 0 {
            return;
        }
        let all = (0..count).map(|index| blueprint.info(UNDIALABLE_FROM + index)).collect();
        let keyspace = Keyspace::new(all);
        let per_bucket = blueprint.model.undialable_for(blueprint.config.table.bucket_size.get());
        for (index, node) in (0..).zip(self.nodes.iter_mut().take(servers as usize)) {
            let mut rng = child(blueprint.seed, "undialable", index);
            node.undialable = keyspace.table_of(&node.info.peer.key, per_bucket, &mut rng);
        }
    }

    /// Fills tables, and lets everybody run.
    fn fill_tables(&mut self, servers: &[PeerInfo]) {
        let keyspace = Keyspace::new(servers.to_vec());
        let count = self.blueprint.config.table.bucket_size.get();
        let now = self.now;
        for (node, index) in self.nodes.iter_mut().zip(0..) {
            let mut rng = child(self.blueprint.seed, "table", index);
            let table = keyspace.table_of(&node.info.peer.key, count, &mut rng);
            node.seat.restore_table(table, now);
            (node.running, node.will_start) = (true, false);
        }
        for node in self.nodes() {
            self.update_oracle(node);
        }
    }

    /// Starts every node's clock of upkeep, each at its moment, and moves the world to the end of them.
    fn settle_upkeep(&mut self) {
        let interval = self.blueprint.config.table.refresh_interval;
        let count = self.nodes.len().max(1) as u32; // the builder takes a u32
        self.now = Timestamp::ZERO + interval;
        let blueprint = Arc::clone(&self.blueprint);
        for (node, index) in self.nodes.iter_mut().zip(0..) {
            let monotonic = Timestamp::ZERO + interval * index / count;
            let now = kadmos_core::Now { monotonic, unix: crate::world::WORLD_BEGAN };
            let known = blueprint.bootstrap.iter().filter(|known| known.peer != node.info.peer);
            let inputs = [
                Input::SetAddrs(node.info.addrs.clone()),
                Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: known.cloned().collect() },
            ];
            for input in inputs {
                // Neither can be refused, and what they cause is that the responder may look at the table again.
                let _ = node.seat.handle_input(now, input);
                while node.seat.poll_output().is_some() {}
            }
        }
        for node in self.nodes() {
            self.schedule_wake(node, self.now);
        }
    }

    /// As [`World::join_new`], for one of many nodes at one place: all that join at the same `site` have one IP address, each
    /// its own port. No two sites below 10,000, and no ordinary node of a world that small, share a /16 network.
    pub fn join_at(&mut self, site: u32, mode: Mode) -> Result<NodeIndex, ConfigError> {
        let mut info = self.blueprint.info(self.nodes.len() as u32); // as in `join_new`
        let mut addr = crate::network::addr(SITES_FROM + site, 1);
        let port = 10_000 + (self.nodes.len() % 50_000) as u16; // below 60,000
        let [.., high, low] = &mut addr;
        [*high, *low] = port.to_be_bytes();
        info.addrs = kadmos_core::AddrList::collect(&info.peer.id, [addr.as_slice()]);
        let node = self.add(info, mode)?;
        self.starting += 1;
        self.queue.push(self.now, Event::NodeStarts { node, session: 0 });
        Ok(node)
    }

    /// Tells a node that its own network has changed. Panics: as [`World::node`].
    pub fn change_network(&mut self, node: NodeIndex) {
        if self.is_running(node) {
            self.feed(node, Input::NetworkChanged);
        }
    }

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

    /// Takes a peer out of a node's table. Panics: as [`World::node`].
    pub fn forget_peer(&mut self, node: NodeIndex, peer: PeerId) {
        if self.is_running(node) {
            self.feed(node, Input::RemovePeer(peer));
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
        let state = &mut self.nodes[node.as_usize()];
        state.class = None; // whoever comes and goes comes back; this one does not
        if !std::mem::take(&mut state.running) {
            return;
        }
        state.session += 1;
        state.wake_at = None;
        assert!(self.plant != Some(Plant::Crash) || state.incarnation == 0, "planted: stopped again");
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
    pub(crate) fn start_node(&mut self, node: NodeIndex, session: u32) {
        let state = &mut self.nodes[node.as_usize()];
        if state.session != session || state.running {
            return; // it was stopped, or started otherwise, meanwhile
        }
        state.running = true;
        state.will_start = false;
        self.note(node, Fact::NodeStarted);
        self.update_oracle(node);
        self.begin_session(node);
        self.join(node, session);
    }

    /// A running node hears its addresses and whom it may join through, and joins.
    pub(crate) fn join(&mut self, node: NodeIndex, session: u32) {
        let state = &self.nodes[node.as_usize()];
        if state.session != session || !state.running {
            return; // it was stopped meanwhile
        }
        self.tend_store(node); // a clock that is set later is found out by what it was now
        let addrs = state.info.addrs.clone();
        let known = self.blueprint.bootstrap.iter().filter(|known| known.peer != state.info.peer);
        let bootstrap = known.cloned().collect();
        self.feed(node, Input::SetAddrs(addrs));
        if let Some(memory) = self.nodes[node.as_usize()].memory.take() {
            self.feed(node, Input::Remember(memory));
        }
        self.feed(node, Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: bootstrap });
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
