//! Connections between pairs of nodes: at most one for each pair, as the core sees it.

use kadmos_core::server::PeerBudget;
use kadmos_core::{RequestId, Timestamp};

use crate::world::NodeIndex;

/// Names one connection; never names a later one, although its slot may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionId {
    slot: u32,
    generation: u32,
}

/// One of the two ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// The end of the node that dialled first.
    Dialler,
    /// The other end.
    Listener,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Dialler => Self::Listener,
            Self::Listener => Self::Dialler,
        }
    }
}

/// A connection, being dialled or up.
///
/// Large worlds have a million and nearly every event reads one that is in no cache: what all events read comes first, and
/// fits in one cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(crate) struct Connection {
    ends: [End; 2],
    /// One direction, in nanoseconds: half the round trip.
    pub(crate) one_way_nanos: u64,
    /// When a request or an answer last used it.
    pub(crate) used_at: Timestamp,
    /// Requests of both sides that have not ended.
    pub(crate) in_flight: u32,
    generation: u32,
    /// By end: requests that wait for the handshake, in order.
    waiting: [Vec<Waiting>; 2],
    /// By end: what the node at the other end may still ask of this one.
    budgets: [Option<PeerBudget>; 2],
}

/// What one node knows of a connection.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) node: NodeIndex,
    /// Whether this node has dialled; the listener may too, before it knows of the other's dial.
    pub(crate) dialled: bool,
    /// Whether the handshake is over at this end.
    pub(crate) up: bool,
    /// When it was.
    pub(crate) up_at: Timestamp,
}

/// A request that waits for a handshake.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) request: RequestId,
    pub(crate) message: kadmos_core::message::Request,
}

impl Connection {
    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// The requests of `side` that wait for the handshake.
    pub(crate) fn waiting_mut(&mut self, side: Side) -> &mut Vec<Waiting> {
        &mut self.waiting[side as usize]
    }

    /// What the node at the other end may still ask of `side`; made when it first asks.
    pub(crate) fn budget(&mut self, side: Side, make: impl FnOnce() -> PeerBudget) -> &mut PeerBudget {
        self.budgets[side as usize].get_or_insert_with(make)
    }

    /// The end that is `node`'s.
    pub(crate) fn side_of(&self, node: NodeIndex) -> Side {
        if self.ends[0].node == node { Side::Dialler } else { Side::Listener }
    }
}

impl End {
    fn new(node: NodeIndex) -> Self {
        Self { node, dialled: false, up: false, up_at: Timestamp::ZERO }
    }
}

/// All connections of a world, and by node who is connected to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<Option<Connection>>,
    /// Empty slots, and the generation of the next connection in each.
    free: Vec<(u32, u32)>,
    /// By node: the other node and the connection, sorted by node.
    by_node: Vec<Vec<(NodeIndex, ConnectionId)>>,
}

impl Connections {
    /// Makes room for one more node.
    pub(crate) fn add_node(&mut self) {
        self.by_node.push(Vec::new());
    }

    /// Begins a connection of `dialler` to `listener`, which have none.
    pub(crate) fn open(
        &mut self,
        dialler: NodeIndex,
        listener: NodeIndex,
        one_way_nanos: u64,
        now: Timestamp,
    ) -> ConnectionId {
        let (slot, generation) = match self.free.pop() {
            Some(free) => free,
            None => {
                self.slots.push(None);
                (self.slots.len() as u32 - 1, 0) // bounded by nodes squared, and memory ends long before 2^32
            }
        };
        self.slots[slot as usize] = Some(Connection {
            ends: [End { dialled: true, ..End::new(dialler) }, End::new(listener)],
            one_way_nanos,
            used_at: now,
            in_flight: 0,
            generation,
            waiting: [Vec::new(), Vec::new()],
            budgets: [None, None],
        });
        let id = ConnectionId { slot, generation };
        for (node, peer) in [(dialler, listener), (listener, dialler)] {
            let links = &mut self.by_node[node.as_usize()];
            let index = links.partition_point(|(known, _)| *known < peer);
            debug_assert!(links.get(index).is_none_or(|(known, _)| *known != peer));
            links.insert(index, (peer, id));
        }
        id
    }

    /// The connection between two nodes.
    pub(crate) fn between(&self, node: NodeIndex, peer: NodeIndex) -> Option<ConnectionId> {
        let links = &self.by_node[node.as_usize()];
        let index = links.binary_search_by_key(&peer, |(known, _)| *known).ok()?;
        Some(links[index].1)
    }

    /// The connection, unless it is gone.
    pub(crate) fn get_mut(&mut self, id: ConnectionId) -> Option<&mut Connection> {
        self.slots
            .get_mut(id.slot as usize)?
            .as_mut()
            .filter(|connection| connection.generation == id.generation)
    }

    /// As [`Connections::get_mut`], to look at.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.slots.get(id.slot as usize)?.as_ref().filter(|connection| connection.generation == id.generation)
    }

    /// Forgets a connection.
    pub(crate) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        self.get(id)?;
        let connection = self.slots[id.slot as usize].take()?;
        self.free.push((id.slot, id.generation + 1));
        let [a, b] = &connection.ends;
        self.unlink(id, a.node, b.node);
        Some(connection)
    }

    /// Lets the two nodes open another connection while this one still waits to be found gone.
    pub(crate) fn detach(&mut self, id: ConnectionId) {
        if let Some(connection) = self.get(id) {
            let [a, b] = [connection.ends[0].node, connection.ends[1].node];
            self.unlink(id, a, b);
        }
    }

    fn unlink(&mut self, id: ConnectionId, a: NodeIndex, b: NodeIndex) {
        for (node, peer) in [(a, b), (b, a)] {
            let links = &mut self.by_node[node.as_usize()];
            if let Ok(index) = links.binary_search_by_key(&peer, |(known, _)| *known)
                && links[index].1 == id
            {
                links.remove(index);
            }
        }
    }

    /// Who `node` is connected to, and by which connection, by node.
    pub(crate) fn of(&self, node: NodeIndex) -> &[(NodeIndex, ConnectionId)] {
        &self.by_node[node.as_usize()]
    }

    /// Connections that are being dialled or up.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use std::mem::{offset_of, size_of};

    use super::*;

    #[test]
    fn what_every_event_reads_fits_in_a_cache_line() {
        assert!(offset_of!(Connection, waiting) <= 64);
        assert_eq!(size_of::<Option<Connection>>(), size_of::<Connection>());
    }

    #[test]
    fn connection_is_found_from_both_sides_until_closed() {
        let mut connections = Connections::default();
        let [a, b, c] = [0, 1, 2].map(NodeIndex::new);
        (0..3).for_each(|_| connections.add_node());
        let id = connections.open(b, a, 10, Timestamp::ZERO);
        assert_eq!(connections.between(a, b), Some(id));
        assert_eq!(connections.between(b, a), Some(id));
        assert_eq!(connections.between(a, c), None);
        let connection = connections.get_mut(id).expect("open");
        assert_eq!(connection.side_of(b), Side::Dialler);
        assert_eq!(connection.end(Side::Listener).node, a);

        assert!(connections.close(id).is_some());
        assert_eq!((connections.between(a, b), connections.len()), (None, 0));
        let next = connections.open(a, b, 10, Timestamp::ZERO);
        assert!(connections.get_mut(id).is_none(), "an old name never names a new connection");
        assert!(connections.close(id).is_none());
        assert_eq!(connections.of(b), [(a, next)]);

        connections.detach(next);
        assert_eq!(connections.between(a, b), None);
        let third = connections.open(b, a, 10, Timestamp::ZERO);
        assert!(connections.close(next).is_some(), "it was still there");
        assert_eq!((connections.between(a, b), connections.len()), (Some(third), 1));
    }
}
