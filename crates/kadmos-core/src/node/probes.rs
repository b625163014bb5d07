//! Admission probes: a stranger enters the table after it has answered us once.

use alloc::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::Node;
use crate::event::{Event, Rejection};
use crate::limits::{PROBES_MAX, PROBES_WAITING_MAX};
use crate::message::Request;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::routing::Admission;

/// Strangers being asked, and strangers in line.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    asking: BTreeSet<PeerId>,
    waiting: VecDeque<PeerInfo>,
}

impl Node {
    /// Considers a server that is not in the table: asks it for its own id, as go-libp2p-kad-dht does, if the table
    /// has room for it.
    pub(super) fn consider(&mut self, info: PeerInfo) {
        let peer = &info.peer;
        if self.table.admission(peer) != Admission::Room
            || self.probes.asking.contains(&peer.id)
            || self.probes.waiting.iter().any(|known| known.peer == *peer)
            || self.is_asking(peer)
        {
            return;
        }
        let reason = if info.addrs.is_empty() {
            Rejection::NoAddress
        } else if self.probes.waiting.len() >= PROBES_WAITING_MAX {
            Rejection::ProbesFull
        } else {
            self.probes.waiting.push_back(info);
            return self.send_probes();
        };
        self.emit(Event::PeerRejected { peer: info.peer, reason });
    }

    /// Asks a table peer that has been silent for long.
    pub(super) fn probe_silent(&mut self, info: PeerInfo) {
        if self.probes.waiting.len() < PROBES_WAITING_MAX && !self.probes.asking.contains(&info.peer.id) {
            self.probes.waiting.push_back(info);
        }
        self.send_probes();
    }

    pub(super) fn probe_ended(&mut self, peer: &Peer, answered: bool) {
        self.probes.asking.remove(&peer.id);
        if !answered && !self.table.contains(peer) {
            self.emit(Event::PeerRejected { peer: peer.clone(), reason: Rejection::ProbeFailed });
        }
        self.send_probes();
    }

    fn send_probes(&mut self) {
        while self.probes.asking.len() < PROBES_MAX
            && let Some(info) = self.probes.waiting.pop_front()
        {
            if self.table.admission(&info.peer) == Admission::Full {
                self.emit(Event::PeerRejected { peer: info.peer, reason: Rejection::BucketFull });
                continue;
            }
            self.probes.asking.insert(info.peer.id);
            let key = Bytes::copy_from_slice(info.peer.id.as_bytes());
            self.send_probe(info, Request::FindNode { key });
        }
    }
}
