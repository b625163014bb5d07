//! Looking ahead: what the next events will read is fetched into the processor's cache, many at a time.
//!
//! In a large world nearly every event meets a node and a connection that are in no cache, and finds its way to what it needs
//! from one address to the next, each of which takes as long as a few hundred instructions. The events of a slot of the queue
//! are known together, so here each step of those ways is taken for all of them before the next: the processor waits for many
//! at a time. Nothing is changed and nothing decided by it.

use std::hint::black_box;

use kadmos_core::RequestId;

use crate::connections::{ConnectionId, Side};
use crate::world::{Event, NodeIndex, World};

/// Looks at so many events at a time: what they need is some kilobytes each, and is to be there still when its turn comes.
const EVENTS_MAX: usize = 64;

/// What an event will read.
#[derive(Clone, Copy, Debug, Default)]
struct Ahead {
    place: u32,
    connection: Option<(ConnectionId, Side)>,
    /// To whom it happens, and who is at the other end.
    node: Option<NodeIndex>,
    peer: Option<NodeIndex>,
    what: What,
}

/// What its node's core will be told of.
#[derive(Clone, Copy, Debug, Default)]
enum What {
    Peer,
    Request(RequestId),
    #[default]
    Other,
}

impl Ahead {
    fn see(&mut self, event: &Event) {
        let (connection, what) = match event {
            Event::Up { connection, side } | Event::Identified { connection, side } => {
                (Some((*connection, *side)), What::Peer)
            }
            Event::Answered { connection, side, request, .. } => {
                (Some((*connection, *side)), What::Request(*request))
            }
            Event::Asked { connection, side, .. } => (Some((*connection, *side)), What::Other),
            Event::IdleCheck { connection } => (Some((*connection, Side::Dialler)), What::Peer),
            Event::Timeout(node) => {
                self.node = Some(*node);
                (None, What::Other)
            }
            _ => (None, What::Other), // few
        };
        (self.connection, self.what) = (connection, what);
    }
}

impl World {
    /// Reads what the next events will read, whenever further ones have become known. Cost: a comparison when not.
    #[inline]
    pub(crate) fn look_ahead(&mut self) {
        let unseen = self.queue.unseen(EVENTS_MAX);
        if unseen.len() > 0 {
            let mut ahead = [Ahead::default(); EVENTS_MAX];
            let len = ahead.iter_mut().zip(unseen).map(|(ahead, place)| ahead.place = place).count();
            self.look_at(&mut ahead[..len]);
        }
    }

    fn look_at(&self, ahead: &mut [Ahead]) {
        for one in ahead.iter() {
            black_box(self.queue.waiting(one.place).is_some());
        }
        for one in ahead.iter_mut() {
            if let Some(event) = self.queue.waiting(one.place) {
                one.see(event);
            }
        }
        for (id, _) in ahead.iter().filter_map(|one| one.connection) {
            black_box(self.connections.get(id).is_some());
        }
        for one in ahead.iter_mut() {
            let connection = one.connection.and_then(|(id, side)| Some((self.connections.get(id)?, side)));
            if let Some((connection, side)) = connection {
                one.node = Some(connection.end(side).node);
                one.peer = Some(connection.end(side.other()).node);
            }
        }
        for node in ahead.iter().flat_map(|one| [one.node, one.peer]).flatten() {
            black_box(self.is_running(node));
        }
        for one in ahead.iter() {
            if let Some(node) = one.node {
                black_box(self.nodes[node.as_usize()].next_timeout());
            }
            if let Some(peer) = one.peer {
                black_box(self.info(peer).peer.key.prefix());
            }
        }
        for one in ahead.iter() {
            let Some(core) = one.node.and_then(|node| self.core(node)) else { continue };
            match (one.what, one.peer) {
                (What::Peer, Some(peer)) => {
                    black_box(core.table().contains(&self.info(peer).peer));
                }
                (What::Request(request), _) => {
                    black_box(core.purpose(request));
                }
                (What::Peer | What::Other, _) => {}
            }
        }
    }
}
