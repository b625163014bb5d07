//! Neighbours tell of neighbours: whoever enters among the k nearest is asked who else is near us, and those it names are
//! considered as any stranger is.
//!
//! So nodes that join together, or meet after a partition, find each other as fast as answers travel, without a lookup of
//! their own id for each newcomer; the same idea as T-Man (Jelasity and Babaoglu, 2005).

use alloc::collections::BTreeSet;

use bytes::Bytes;

use super::Node;
use crate::limits::{NEIGHBOUR_ASKED_AFTER, NEIGHBOURS_TO_ASK_MAX};
use crate::machine::Machine;
use crate::message::Request;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::routing::Admission;
use crate::time::Timestamp;

/// Neighbours to be asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Neighbours {
    /// Who has entered since the last were asked.
    to_ask: BTreeSet<PeerId>,
    ask_at: Option<Timestamp>,
    /// When the last of them will have told, and those whom it names have answered; too early by as long as a lookup of our own
    /// id delays the question, and then that lookup meets them.
    settle_at: Option<Timestamp>,
}

impl Neighbours {
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.ask_at
    }

    /// When those who have come of late will have told whom they know.
    pub(super) fn settle_at(&self) -> Option<Timestamp> {
        self.settle_at
    }
}

impl Node {
    /// A peer has entered the table that came to us, or was named by a neighbour. If it is near, it is asked soon, so that
    /// those who came with it are among those it knows by then.
    pub(super) fn newcomer_entered(&mut self, peer: &Peer) {
        if self.neighbours.to_ask.len() < NEIGHBOURS_TO_ASK_MAX && self.table.is_near(&peer.key) {
            let now = self.now.monotonic;
            self.neighbours.to_ask.insert(peer.id);
            self.neighbours.ask_at.get_or_insert(now + NEIGHBOUR_ASKED_AFTER);
            self.neighbours.settle_at = Some(now + 2 * NEIGHBOUR_ASKED_AFTER);
        }
    }

    pub(super) fn run_neighbours(&mut self) {
        if self.neighbours.ask_at.is_some_and(|at| at <= self.now.monotonic) {
            if self.looks_itself_up() {
                // It meets them on its way, and knows better who is near.
                self.neighbours.ask_at = Some(self.now.monotonic + NEIGHBOUR_ASKED_AFTER);
                return;
            }
            self.neighbours.ask_at = None;
            for id in core::mem::take(&mut self.neighbours.to_ask) {
                let peer = Peer::new(id);
                let info = self.table.view().get_peer(&peer).cloned();
                if let Some(info) = info.filter(|info| self.table.is_near(&info.peer.key)) {
                    self.ask_neighbour(info);
                }
            }
        }
    }

    /// Whether a lookup of our own id is under way.
    fn looks_itself_up(&self) -> bool {
        self.running.values().any(|running| match &running.machine {
            Machine::Bootstrap(join) => join.looks_itself_up(),
            Machine::Refresh(refresh) => refresh.looks_itself_up(),
            _ => false,
        })
    }

    /// Asks a neighbour for our own id.
    pub(super) fn ask_neighbour(&mut self, info: PeerInfo) {
        let key = Bytes::copy_from_slice(self.table.view().local().peer.id.as_bytes());
        self.send_to_neighbour(info, Request::FindNode { key });
    }

    /// Considers those whom a neighbour names, if they are neighbours, too.
    pub(super) fn consider_named(&mut self, named: &[PeerInfo]) {
        for info in named {
            let is_news = self.table.admission(&info.peer) != Admission::Present;
            if is_news && self.table.is_near(&info.peer.key) {
                self.consider(info.clone());
            }
        }
    }
}
