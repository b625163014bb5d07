//! A modelled client in the seat of a node: the world drives it in place of the node's own core.

use std::sync::Arc;

use kadmos_core::routing::{Table, TableSnapshot};
use kadmos_core::{Config, Input, InputError, Node, Now, Output, PeerInfo, Purpose, RequestId, Timestamp};

use super::{Baseline, Client};
use crate::model::HopCosts;
use crate::random::child_seed;
use crate::world::{NodeIndex, OperationReport, SimNode, World};

impl SimNode {
    pub(crate) fn handle_input(&mut self, now: Now, input: Input) -> Result<(), InputError> {
        match &mut self.client {
            Some(client) => client.handle_input(now, input),
            None => self.core.handle_input(now, input),
        }
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        match &mut self.client {
            Some(client) => client.poll_output(),
            None => self.core.poll_output(),
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match &self.client {
            Some(client) => client.next_timeout(),
            None => self.core.next_timeout(),
        }
    }

    pub(crate) fn table(&self) -> &Table {
        match &self.client {
            Some(client) => client.table(),
            None => self.core.table(),
        }
    }

    pub(crate) fn purpose(&self, request: RequestId) -> Option<Purpose> {
        match &self.client {
            Some(client) => client.purpose(request),
            None => self.core.purpose(request),
        }
    }
}

impl World {
    /// Puts a client that others run into a node's seat: with the node's identity, table and records, but nothing of
    /// what is under way, and with the hop costs of its kind. A node that is started again is our own again.
    ///
    /// Panics: as [`World::node`].
    pub fn set_baseline(&mut self, node: NodeIndex, baseline: Baseline) {
        let now = self.now();
        let index = u64::from(node.as_u32());
        let [seed @ .., _, _, _, _, _, _, _, _] = child_seed(self.blueprint.seed, "baseline", index);
        let seed = seed[..8].iter().fold(0, |seed, byte| seed << 8 | u64::from(*byte));
        let config = self.blueprint.config.table.clone();
        let state = &mut self.nodes[node.as_usize()];
        let view = state.table().view();
        let mut client = Client::new(baseline, state.info.peer.clone(), view.mode(), config, seed);
        for info in view.iter() {
            client.remember(info.clone(), now);
        }
        state.client = Some(Box::new(client));
        let costs = baseline.round_trips();
        state.hops = HopCosts { cold: costs.cold, warm: costs.warm };
        self.take_seat(node);
    }

    /// The client in a node's seat, if it is not our own. Panics: as [`World::node`].
    pub fn baseline(&self, node: NodeIndex) -> Option<&Client> {
        self.nodes[node.as_usize()].client.as_deref()
    }

    /// The table of a node, whoever runs it. Panics: as [`World::node`].
    pub fn table(&self, node: NodeIndex) -> &TableSnapshot {
        self.nodes[node.as_usize()].table().view()
    }

    /// Gives a node of ours a new core with other settings and this table; nothing is under way in it.
    ///
    /// Errors: [`kadmos_core::ConfigError`] when no node can work with them. Panics: as [`World::node`].
    pub fn reseat(
        &mut self,
        node: NodeIndex,
        change: impl FnOnce(&mut Config),
        table: Vec<PeerInfo>,
    ) -> Result<(), kadmos_core::ConfigError> {
        let mut config = Config::clone(self.node(node).config());
        change(&mut config);
        let peer = self.info(node).peer.clone();
        let mut core = Node::new(peer, config, Arc::clone(&self.blueprint.validators))?;
        core.restore_table(table);
        let state = &mut self.nodes[node.as_usize()];
        (state.core, state.client) = (core, None);
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
                self.feed(node, Input::Connected(peer));
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
