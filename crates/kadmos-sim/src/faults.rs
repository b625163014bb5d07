//! What goes wrong: nodes that stop and come back, networks that part, hosts that turn slow or mute, clocks that are set.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use kadmos_core::Memory;
use kadmos_store::{MemoryLimits, MemoryStore};
use serde::{Deserialize, Serialize};

use crate::model::{ACK_DELAY, CONNECTION_SILENT, RETRANSMIT_ROUND_TRIPS, RETRANSMITS_MAX, SessionClass};
use crate::plant::Plant;
use crate::random::{below, child};
use crate::trace::Fact;
use crate::world::{Event, NodeIndex, World};

/// Two sets of nodes between which nothing passes.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    /// By node: 0 for neither, 1 and 2 for the two sets.
    side: Vec<u8>,
}

/// What is left of a node's records when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Nothing: its store was in memory.
    Nothing,
    /// All: its store was on disk.
    Records,
}

impl Partition {
    fn side_of(&self, node: NodeIndex) -> u8 {
        self.side.get(node.as_usize()).copied().unwrap_or(0) // a node that joined later is in neither
    }
}

impl World {
    /// Starts a stopped node again, with its identity and an empty table: it joins through the bootstrap nodes. A
    /// running node is stopped first.
    pub fn restart(&mut self, node: NodeIndex, keep: Keep) {
        self.stop(node);
        // Its old connections are nobody's, but their other ends will hear so only in half a round trip.
        for (_, id) in self.connections.of(node).to_vec() {
            self.connections.detach(id);
        }
        self.renew(node, keep);
        self.starting += 1;
        let state = &mut self.nodes[node.as_usize()];
        state.will_start = true;
        let session = state.session;
        self.queue.push(self.now, Event::NodeStarts { node, session });
    }

    /// As [`World::restart`], for a node that has kept its table over the restart.
    pub fn restart_with(&mut self, node: NodeIndex, keep: Keep, memory: Memory) {
        self.restart(node, keep);
        self.nodes[node.as_usize()].memory = Some(Box::new(memory));
    }

    /// Lets nothing pass between `a` and `b` until [`World::heal`]. Connections between them break when nothing has
    /// come for [`CONNECTION_SILENT`], dials take as long as where nobody is.
    pub fn partition(&mut self, a: &[NodeIndex], b: &[NodeIndex]) {
        let mut side = vec![0; self.nodes.len()];
        a.iter().for_each(|node| side[node.as_usize()] = 1);
        b.iter().for_each(|node| side[node.as_usize()] = 2);
        self.partitions.push(Partition { side });
        for node in a {
            for (peer, connection) in self.connections.of(*node).to_vec() {
                if self.separated(*node, peer) {
                    self.queue.push(self.now + CONNECTION_SILENT, Event::Severed { connection });
                }
            }
        }
    }

    /// Ends every partition.
    pub fn heal(&mut self) {
        self.partitions.clear();
    }

    /// Whether nothing passes between two nodes.
    pub fn separated(&self, node: NodeIndex, peer: NodeIndex) -> bool {
        self.partitions.iter().any(|partition| {
            partition.side_of(node) + partition.side_of(peer) == 3 && {
                partition.side_of(node) != 0 && partition.side_of(peer) != 0
            }
        })
    }

    /// From now on loses this many messages per mille; the transports repeat them. From 1,000 on nothing arrives.
    pub fn set_loss(&mut self, per_mille: u32) {
        self.loss_per_mille = per_mille;
    }

    /// Whether a node takes connections and requests and answers none. Panics: for an index of another world that is
    /// larger.
    pub fn set_mute(&mut self, node: NodeIndex, mute: bool) {
        self.nodes[node.as_usize()].traits.mute = mute;
    }

    /// What a node adds to each of its answers; zero ends it. Panics: as [`World::set_mute`].
    pub fn set_slow(&mut self, node: NodeIndex, slow: Duration) {
        self.nodes[node.as_usize()].traits.slow = slow;
    }

    /// Ids that nobody answers at go out of circulation: servers name them no longer.
    pub fn forget_undialable(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.undialable = Vec::new());
    }

    /// Moves a node's wall clock, forwards or backwards. Its monotonic clock does not notice. Panics: as
    /// [`World::set_mute`].
    pub fn clock_step(&mut self, node: NodeIndex, secs: i64) {
        let state = &mut self.nodes[node.as_usize()];
        state.ahead_secs = state.ahead_secs.saturating_add(secs);
        let ahead_secs = state.ahead_secs;
        self.tend_store(node);
        self.note(node, Fact::ClockSet { ahead_secs });
    }

    /// From now on, nodes come and go as [`crate::Model::sessions`] says, with their records, except the bootstrap nodes.
    /// Each is found somewhere within its session. Does nothing in a model without sessions.
    pub fn churn(&mut self) {
        let Some(sessions) = self.blueprint.model.sessions else { return };
        self.churning = true;
        for node in self.nodes() {
            if node.as_u32() < self.blueprint.bootstrap_len() || !self.is_running(node) {
                continue;
            }
            let mut rng = child(self.blueprint.seed, "class", u64::from(node.as_u32()));
            let class = sessions.class(&mut rng);
            // Whom one looks at is in a long session more often than in a short one.
            let session = (0..8).map(|_| sessions.session(class, &mut rng)).max().unwrap_or_default();
            let left = Duration::from_nanos(below(&mut rng, session.as_nanos() as u64)); // below 2^63
            self.nodes[node.as_usize()].class = Some(class);
            self.push_session_end(node, left);
        }
    }

    /// Nodes no longer come and go; whoever is away comes back at once.
    pub fn end_churn(&mut self) {
        self.churning = false;
        for node in self.nodes() {
            let state = &mut self.nodes[node.as_usize()];
            let was_here = state.class.take().is_none() || state.running;
            if !was_here {
                state.session += 1; // its return, if it is due, is not awaited
                state.will_start = true;
                let session = state.session;
                self.starting += 1;
                self.queue.push(self.now, Event::NodeStarts { node, session });
            }
        }
    }

    /// A node goes, and will be back.
    pub(crate) fn end_session(&mut self, node: NodeIndex, session: u32) {
        let state = &self.nodes[node.as_usize()];
        let (Some(sessions), Some(class), true) = (self.blueprint.model.sessions, state.class, self.churning)
        else {
            return;
        };
        if state.session != session || !state.running {
            return; // it was stopped or started again meanwhile
        }
        let mut rng = self.session_rng(node, "absence");
        let away = sessions.absence(class, &mut rng);
        self.stop(node);
        self.nodes[node.as_usize()].class = Some(class); // it comes back, which a stopped node does not
        self.renew(node, Keep::Records);
        let state = &mut self.nodes[node.as_usize()];
        state.will_start = true;
        let session = state.session;
        self.queue.push(self.now + away, Event::SessionBegins { node, session });
    }

    /// A node that comes and goes has come: decides when it goes.
    pub(crate) fn begin_session(&mut self, node: NodeIndex) {
        let class = self.nodes[node.as_usize()].class;
        if let (Some(sessions), Some(class), true) = (self.blueprint.model.sessions, class, self.churning) {
            let mut rng = self.session_rng(node, "session");
            let length = sessions.session(class, &mut rng);
            self.push_session_end(node, length);
        }
    }

    fn session_rng(&self, node: NodeIndex, what: &str) -> rand_chacha::ChaCha8Rng {
        let incarnation = u64::from(self.nodes[node.as_usize()].incarnation);
        child(self.blueprint.seed, what, incarnation << 32 | u64::from(node.as_u32()))
    }

    fn push_session_end(&mut self, node: NodeIndex, length: Duration) {
        let session = self.nodes[node.as_usize()].session;
        let class = self.nodes[node.as_usize()].class;
        debug_assert!(matches!(class, Some(SessionClass::Stable | SessionClass::Tail)));
        self.queue.push(self.now + length, Event::SessionEnds { node, session });
    }

    /// Gives a stopped node's seat to a new one of its kind, which knows nothing.
    fn renew(&mut self, node: NodeIndex, keep: Keep) {
        let state = &mut self.nodes[node.as_usize()];
        state.incarnation += 1;
        state.session += 1;
        state.wake_at = None;
        if keep == Keep::Nothing {
            state.store = MemoryStore::new(MemoryLimits::default());
        }
        let (info, incarnation) = (state.info.clone(), state.incarnation);
        let (mode, baseline) = (state.view().mode(), state.seat.baseline());
        match self.blueprint.seat(&info, node, incarnation, mode, baseline) {
            Ok(seat) => self.nodes[node.as_usize()].seat = seat,
            // The first one could work with the same settings.
            Err(error) => self.violation(node, error),
        }
        self.note(node, Fact::NodeRestarted { kept_records: keep == Keep::Records });
    }

    /// How much later than undisturbed a message arrives; `None` when it does not.
    pub(crate) fn loss_delay(&mut self, one_way: Duration) -> Option<Duration> {
        if self.plant == Some(Plant::NonDeterminism) {
            // Planted: a randomly seeded hash.
            return Some(Duration::from_nanos(RandomState::new().hash_one(self.sequence) % 1_000_000));
        }
        if self.loss_per_mille == 0 {
            return Some(Duration::ZERO);
        }
        let mut delay = Duration::ZERO;
        let mut wait = one_way * 2 * RETRANSMIT_ROUND_TRIPS + ACK_DELAY;
        for _ in 0..=RETRANSMITS_MAX {
            if below(&mut self.network_rng, 1_000) >= u64::from(self.loss_per_mille) {
                return Some(delay);
            }
            delay += wait;
            wait *= 2;
        }
        None
    }
}
