//! Peers that were in the table and failed: now and then one of them is asked whether it is back.
//!
//! Nothing else leads from one half of a network to the other when both have forgotten each other: each refreshes among
//! its own. One that answers has the next one asked at once, so that the halves are one again as fast as answers come.

use alloc::collections::VecDeque;

use rand_core::Rng;

use super::Node;
use crate::limits::{LOST_ASKED_EVERY, LOST_BACK_IN_A_ROW, LOST_MAX};
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::Timestamp;

/// Who was lost, and who of them is being asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    peers: VecDeque<PeerInfo>,
    asking: Option<PeerId>,
    ask_at: Option<Timestamp>,
    back_in_a_row: usize,
}

impl Lost {
    pub(super) fn next_timeout(&self) -> Option<Timestamp> {
        self.ask_at
    }
}

impl Node {
    /// A table peer has been dropped because it failed.
    pub(super) fn peer_lost(&mut self, info: PeerInfo) {
        let lost = &mut self.lost;
        lost.peers.retain(|known| known.peer != info.peer);
        if lost.peers.len() >= LOST_MAX {
            lost.peers.pop_front();
        }
        lost.peers.push_back(info);
        lost.ask_at.get_or_insert(self.now.monotonic + LOST_ASKED_EVERY);
    }

    pub(super) fn run_lost(&mut self) {
        if self.lost.ask_at.is_some_and(|at| at <= self.now.monotonic) {
            self.lost.ask_at = Some(self.now.monotonic + LOST_ASKED_EVERY);
            self.ask_lost();
        }
    }

    /// Asks one of them, by chance, so that none that is dead for good has a turn more often than others.
    fn ask_lost(&mut self) {
        if self.lost.asking.is_some() || self.is_cut_off() {
            return;
        }
        while !self.lost.peers.is_empty() {
            let index = self.rng.next_u32() as usize % self.lost.peers.len();
            let Some(info) = self.lost.peers.get(index).cloned() else { break };
            if self.table.contains(&info.peer) {
                self.lost.peers.remove(index); // it has come by itself
                continue;
            }
            if !self.is_asking(&info.peer) {
                self.lost.asking = Some(info.peer.id);
                self.probe(info);
            }
            return;
        }
        (self.lost.ask_at, self.lost.back_in_a_row) = (None, 0);
    }

    /// The end of a probe that may have been of a lost peer.
    pub(super) fn lost_probe_ended(&mut self, peer: &Peer, answered: bool) {
        if self.lost.asking.take_if(|asking| *asking == peer.id).is_none() {
            return;
        }
        if !answered {
            self.lost.back_in_a_row = 0;
            return;
        }
        self.lost.peers.retain(|known| known.peer != *peer);
        self.lost.back_in_a_row += 1;
        if self.lost.back_in_a_row == LOST_BACK_IN_A_ROW {
            // A part of the network is back, and knows of us as little as we know of it.
            self.failures.clear();
            self.refresh_all_soon();
        }
        self.ask_lost();
    }
}
