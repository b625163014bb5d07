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
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    ends: [End; 2],
    /// One direction, in nanoseconds: half the round trip.
    pub(crate) one_way_nanos: u64,
    /// When a request or an answer last used it.
    pub(crate) used_at: Timestamp,
    /// Requests of both sides that have not ended.
    pub(crate) in_flight: u32,
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
    /// Requests that wait for the handshake, in order.
    pub(crate) waiting: Vec<Waiting>,
    /// What the node at the other end may still ask of this one.
    pub(crate) budget: Option<PeerBudget>,
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

    /// The end that is `node`'s.
    pub(crate) fn side_of(&self, node: NodeIndex) -> Side {
        if self.ends[0].node == node { Side::Dialler } else { Side::Listener }
    }
}

impl End {
    fn new(node: NodeIndex) -> Self {
        Self { node, dialled: false, up: false, up_at: Timestamp::ZERO, waiting: Vec::new(), budget: None }
    }
}

/// All connections of a world, and by node who is connected to whom.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    slots: Vec<(u32, Option<Connection>)>,
    free: Vec<u32>,
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
        let connection = Connection {
            ends: [End { dialled: true, ..End::new(dialler) }, End::new(listener)],
            one_way_nanos,
            used_at: now,
            in_flight: 0,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push((0, None));
                self.slots.len() as u32 - 1 // bounded by nodes squared, and memory ends long before 2^32
            }
        };
        let (generation, place) = &mut self.slots[slot as usize];
        *place = Some(connection);
        let id = ConnectionId { slot, generation: *generation };
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
        let (generation, connection) = self.slots.get_mut(id.slot as usize)?;
        if *generation == id.generation { connection.as_mut() } else { None }
    }

    /// As [`Connections::get_mut`], to look at.
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let (generation, connection) = self.slots.get(id.slot as usize)?;
        if *generation == id.generation { connection.as_ref() } else { None }
    }

    /// Forgets a connection.
    pub(crate) fn close(&mut self, id: ConnectionId) -> Option<Connection> {
        let (generation, place) = self.slots.get_mut(id.slot as usize)?;
        if *generation != id.generation {
            return None;
        }
        let connection = place.take()?;
        *generation += 1;
        self.free.push(id.slot);
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
    use super::*;

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
