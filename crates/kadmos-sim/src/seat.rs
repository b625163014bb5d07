//! Who sits in a node's seat: our own core, or a model of what others run. The world drives either alike.

use std::sync::Arc;

use kadmos_core::config::Mode;
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{
    Config, ConfigError, Input, InputError, Node, Now, Output, PeerInfo, Purpose, RequestId, Timestamp,
};

use crate::baseline::{Baseline, Client};
use crate::scenario::{Blueprint, preimages};
use crate::world::{NodeIndex, OperationReport, SimNode, World};

/// Decides for a node: facts in, effects out, time as an argument.
///
/// Answering requests is not its part: the one responder answers from the table it shows, whoever it is.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are our own, and a box would cost each of their inputs"
)]
pub(crate) enum Seat {
    /// Our own core.
    Kadmos(Node),
    /// A model of what others run.
    Modelled(Box<Client>),
}

impl Seat {
    pub(crate) fn handle_input(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        match self {
            Self::Kadmos(core) => core.handle_input(now, input),
            Self::Modelled(client) => client.handle_input(now, input),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match self {
            Self::Kadmos(core) => core.poll_output(),
            Self::Modelled(client) => client.poll_output(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Kadmos(core) => core.next_timeout(),
            Self::Modelled(client) => client.next_timeout(),
        }
    }

    /// The table, as requests are answered from it.
    pub(crate) fn view(&self) -> &TableSnapshot {
        match self {
            Self::Kadmos(core) => core.table().view(),
            Self::Modelled(client) => client.view(),
        }
    }

    pub(crate) fn purpose(&self, request: RequestId) -> Option<Purpose> {
        match self {
            Self::Kadmos(core) => core.purpose(request),
            Self::Modelled(client) => client.purpose(request),
        }
    }

    pub(crate) fn running_requests(&self) -> usize {
        match self {
            Self::Kadmos(core) => core.running_requests(),
            Self::Modelled(client) => client.running_requests(),
        }
    }

    /// Fills an empty table with peers that were in it before.
    pub(crate) fn restore_table(&mut self, peers: Vec<PeerInfo>, now: Timestamp) {
        match self {
            Self::Kadmos(core) => core.restore_table(peers),
            Self::Modelled(client) => peers.into_iter().for_each(|peer| {
                client.restore(peer, now);
            }),
        }
    }

    /// Whose behaviour it has; `None` for our own.
    pub(crate) fn baseline(&self) -> Option<Baseline> {
        match self {
            Self::Kadmos(_) => None,
            Self::Modelled(client) => Some(client.baseline()),
        }
    }
}

impl Blueprint {
    /// Who decides for a node that begins to run for the `incarnation`th time.
    pub(crate) fn seat(
        &self,
        info: &PeerInfo,
        node: NodeIndex,
        incarnation: u32,
        mode: Mode,
        baseline: Option<Baseline>,
    ) -> Result<Seat, ConfigError> {
        let Some(baseline) = baseline else {
            return Ok(Seat::Kadmos(self.core(info, node, incarnation, mode)?));
        };
        Ok(Seat::Modelled(Box::new(self.model_of(baseline, info, node, incarnation, mode))))
    }

    fn model_of(
        &self,
        baseline: Baseline,
        info: &PeerInfo,
        node: NodeIndex,
        incarnation: u32,
        mode: Mode,
    ) -> Client {
        let seed = self.seed_of("baseline", node, incarnation);
        let bucket_size = self.config.table.bucket_size;
        let mut client = Client::new(baseline, info.peer.clone(), mode, bucket_size, seed);
        client.share_preimages(preimages());
        client.set_upkeep(self.upkeep);
        client.set_validators(Arc::clone(&self.validators));
        client
    }
}

impl SimNode {
    pub(crate) fn handle_input(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        self.seat.handle_input(now, input)
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.seat.poll_output()
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        self.seat.next_timeout()
    }

    pub(crate) fn purpose(&self, request: RequestId) -> Option<Purpose> {
        self.seat.purpose(request)
    }

    /// The table, as requests are answered from it.
    pub(crate) fn view(&self) -> &TableSnapshot {
        self.seat.view()
    }
}

impl World {
    /// Puts a client that others run into a node's seat: with the node's identity, table and records, but nothing of
    /// what is under way, and with the hop costs of its kind. It stays there over restarts.
    ///
    /// Panics: as [`World::node`].
    pub fn set_baseline(&mut self, node: NodeIndex, baseline: Baseline) {
        let now = self.now();
        let blueprint = Arc::clone(&self.blueprint);
        let state = &mut self.nodes[node.as_usize()];
        let (incarnation, mode) = (state.incarnation, state.view().mode());
        let mut client = blueprint.model_of(baseline, &state.info, node, incarnation, mode);
        for info in state.view().iter() {
            client.remember(info.clone(), now);
        }
        state.seat = Seat::Modelled(Box::new(client));
        state.hops = baseline.hops();
        self.take_seat(node);
    }

    /// The model in a node's seat, if it is not our own. Panics: as [`World::node`].
    pub fn baseline(&self, node: NodeIndex) -> Option<&Client> {
        match &self.nodes[node.as_usize()].seat {
            Seat::Modelled(client) => Some(client),
            Seat::Kadmos(_) => None,
        }
    }

    /// The core of a node of ours.
    ///
    /// Panics: for an index of another world that is larger, and for a node that runs another implementation.
    pub fn node(&self, node: NodeIndex) -> &Node {
        self.core(node).expect("the caller knows that this node is ours")
    }

    /// Our core in a node's seat, if it is ours. Panics: for an index of another world that is larger.
    pub fn core(&self, node: NodeIndex) -> Option<&Node> {
        match &self.nodes[node.as_usize()].seat {
            Seat::Kadmos(core) => Some(core),
            Seat::Modelled(_) => None,
        }
    }

    /// The table of a node, whoever runs it. Panics: as [`World::node`].
    pub fn table(&self, node: NodeIndex) -> &TableSnapshot {
        self.nodes[node.as_usize()].view()
    }

    /// Requests that a node itself believes to be under way. Panics: as [`World::node`].
    pub fn running_requests(&self, node: NodeIndex) -> usize {
        self.nodes[node.as_usize()].seat.running_requests()
    }

    /// Gives a node a new core of ours with other settings and this table; nothing is under way in it.
    ///
    /// Errors: [`ConfigError`] when no node can work with them. Panics: as [`World::node`].
    pub fn reseat(
        &mut self,
        node: NodeIndex,
        change: impl FnOnce(&mut Config),
        table: Vec<PeerInfo>,
    ) -> Result<(), ConfigError> {
        let blueprint = Arc::clone(&self.blueprint);
        let state = &mut self.nodes[node.as_usize()];
        let mut config = match &state.seat {
            Seat::Kadmos(core) if Arc::ptr_eq(core.config(), &blueprint.config) => {
                blueprint.config_of(node, state.incarnation, core.table().view().mode())
            }
            Seat::Kadmos(core) => Config::clone(core.config()),
            Seat::Modelled(client) => {
                state.hops = blueprint.model.hops;
                blueprint.config_of(node, state.incarnation, client.view().mode())
            }
        };
        change(&mut config);
        let mut core = Node::new(state.info.peer.clone(), config, Arc::clone(&blueprint.validators))?;
        core.restore_table(table);
        state.seat = Seat::Kadmos(core);
        self.take_seat(node);
        Ok(())
    }

    /// Spares these nodes from coming and going, for as long as nobody calls [`World::churn`] again.
    pub(crate) fn keep(&mut self, nodes: &[NodeIndex]) {
        for node in nodes {
            self.nodes[node.as_usize()].class = None;
        }
    }

    /// Tells whoever sits in a node's seat now what the seat's host knows.
    fn take_seat(&mut self, node: NodeIndex) {
        let state = &mut self.nodes[node.as_usize()];
        // What the one before asked for is not answered to this one.
        state.incarnation += 1;
        state.in_flight.clear();
        let is_its = |report: &OperationReport| report.node == node && report.is_running();
        let ids: Vec<_> =
            self.operations.iter().filter(|(_, report)| is_its(report)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| {
            self.abandon(id);
        });
        let state = &self.nodes[node.as_usize()];
        let addrs = state.info.addrs.clone();
        self.feed(node, Input::SetAddrs(addrs));
        for (peer, id) in self.connections.of(node).to_vec() {
            let is_up = self.connections.get(id).is_some_and(|one| one.end(one.side_of(node)).up);
            if is_up {
                let peer = self.info(peer).peer.id;
                self.feed(node, Input::Connected { peer, remote: None });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use kadmos_core::{Operation, Outcome};

    use super::*;

    /// The same lookups by each client in a clone of one world: all but the original find the true closest, and the
    /// world runs on without a broken promise.
    #[test]
    fn clones_of_one_world_seat_any_client() {
        let mut warmed = World::builder().nodes(60).clients(1).seed(3).build().expect("valid settings");
        assert!(warmed.run_until_idle(Duration::from_secs(60)), "everybody joins");
        let client = NodeIndex::new(60);
        let hash = warmed.trace_hash();
        for baseline in Baseline::ALL {
            let mut world = warmed.clone();
            world.set_baseline(client, baseline);
            assert_eq!(world.baseline(client).map(Client::baseline), Some(baseline));
            assert_eq!(world.table(client).len(), warmed.table(client).len());
            let key = Bytes::from_static(b"content");
            let id = world.start_operation(client, Operation::ClosestPeers { key: key.clone() });
            assert!(world.run_until_idle(Duration::from_secs(60)), "{baseline}");
            let report = world.take_operation(id).expect("it ended");
            let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else {
                panic!("{baseline}: {report:?}")
            };
            let recall = world.oracle().recall(&kadmos_core::Key::of(&key), 20, client, &found.peers);
            assert_eq!(recall.part == recall.whole, baseline != Baseline::Original, "{baseline}: {recall}");
            let id = world.start_operation(client, Operation::Provide { key: key.clone() });
            assert!(world.run_until_idle(Duration::from_secs(60)), "{baseline}");
            let report = world.take_operation(id).expect("it ended");
            assert!(matches!(report.outcome(), Some(Outcome::Provide(Ok(_)))), "{baseline}: {report:?}");
            assert_eq!(world.violations(), [] as [String; 0], "{baseline}");
        }
        assert_eq!(warmed.trace_hash(), hash, "the world that was cloned is untouched");
    }

    /// Answers to the one who sat there before do not reach the next.
    #[test]
    fn a_new_client_hears_nothing_of_what_the_old_one_asked() {
        let mut world = World::builder().nodes(30).clients(1).seed(4).build().expect("valid settings");
        assert!(world.run_until_idle(Duration::from_secs(60)), "everybody joins");
        let client = NodeIndex::new(30);
        world.start_operation(client, Operation::ClosestPeers { key: Bytes::from_static(b"a") });
        world.run(Duration::from_millis(1));
        assert!(world.requests_in_flight(client) > 0);
        world.set_baseline(client, Baseline::RustLibp2p);
        assert_eq!(world.running_operations(), 0);
        world.run(Duration::from_secs(30));
        assert_eq!(world.violations(), [] as [String; 0]);
    }
}
