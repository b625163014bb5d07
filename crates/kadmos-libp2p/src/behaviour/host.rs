//! A behaviour around this one: it hears what the node's operations give, decides who enters the table, and is told
//! which requests were served. The drop-in for libp2p-kad is one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use kadmos_core::operation::Cost;
use kadmos_core::{
    Config, Event, Input, Node, Operation, OperationId, OperationOptions, PeerInfo, Timestamp, Update,
    Validators,
};
use kadmos_store::Store;
use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use super::{Behaviour, Options, RealmConfig};
use crate::dht::Dht;
use crate::error::BehaviourError;
use crate::handler::Served;
use crate::identities::Identified;
use crate::realm::Realm;

/// What waits for the host, which takes all of it whenever the behaviour was polled or fed.
#[derive(Debug, Default)]
pub(crate) struct Host {
    /// Of operations that the host has started.
    pub(crate) updates: VecDeque<(OperationId, Update)>,
    /// Of the node, those that a host needs.
    pub(crate) events: VecDeque<Event>,
    /// Peers of which identify has told something. The node hears of them from the host.
    pub(crate) identified: VecDeque<Identified>,
    /// Requests of peers that were served.
    pub(crate) served: VecDeque<(PeerId, ConnectionId, Served)>,
    operations: BTreeSet<OperationId>,
}

impl Host {
    /// Takes an update if it is of an operation of the host, else gives it back.
    pub(super) fn take_update(&mut self, id: OperationId, update: Update) -> Option<Update> {
        if !self.operations.contains(&id) {
            return Some(update);
        }
        if matches!(update, Update::Ended { .. }) {
            self.operations.remove(&id);
        }
        self.updates.push_back((id, update));
        None
    }

    pub(super) fn take_event(&mut self, event: &Event) {
        if matches!(event, Event::PeerAdmitted { .. } | Event::PeerEvicted { .. }) {
            self.events.push_back(event.clone());
        }
    }
}

impl Behaviour {
    /// A behaviour inside another one, in one realm.
    pub(crate) fn hosted(
        local: PeerId,
        config: Config,
        validators: Validators,
        store: Arc<dyn Store>,
        only_inserted: bool,
    ) -> Result<(Self, Dht), BehaviourError> {
        let realms = vec![(Realm::Wan, RealmConfig { config, store })];
        let (mut behaviour, dht) = Self::build(local, realms, validators, Options::default(), true)?;
        behaviour.host = Some(Box::default());
        if only_inserted {
            behaviour.realms[0].node.admit_only_inserted(); // there is one
        }
        Ok((behaviour, dht))
    }

    /// What waits for the host.
    pub(crate) fn host(&mut self) -> &mut Host {
        self.host.get_or_insert_default()
    }

    /// Begins an operation of the host.
    pub(crate) fn begin(&mut self, operation: Operation, options: OperationOptions) -> OperationId {
        let id = self.operations.next_id();
        self.host().operations.insert(id);
        self.tell(Input::Start { id, operation, options });
        id
    }

    /// Ends an operation of the host, without a further update.
    pub(crate) fn end(&mut self, id: OperationId) {
        self.host().operations.remove(&id);
        self.host().updates.retain(|(known, _)| *known != id);
        self.tell(Input::Cancel(id));
    }

    /// What an operation of the host has cost so far, or in all if its end waits to be taken.
    pub(crate) fn cost_of(&self, id: OperationId) -> Option<Cost> {
        let mut updates = self.host.iter().flat_map(|host| &host.updates);
        let ended = updates.find_map(|(known, update)| match update {
            Update::Ended { cost, .. } if *known == id => Some(*cost),
            _ => None,
        });
        ended.or_else(|| self.node().cost_so_far(id))
    }

    /// Feeds the node of the first realm.
    pub(crate) fn tell(&mut self, input: Input) {
        let realm = self.realms[0].realm(); // there is one
        self.feed(realm, input);
    }

    /// Puts a peer into the table, and lets requests be answered with it from now on: whoever put it there by hand relies
    /// on that, and does so seldom.
    pub(crate) fn insert(&mut self, info: PeerInfo) {
        self.tell(Input::InsertPeer(info));
        self.realms[0].publish(); // there is one
    }

    /// The time, by the node's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.realms[0].shared.now().monotonic // there is one
    }

    /// The node of the first realm.
    pub(crate) fn node(&self) -> &Node {
        &self.realms[0].node // there is one
    }
}
