//! What a node gives for keeping, and takes back after a restart.

use alloc::vec::Vec;
use core::cmp::Reverse;

use super::{Node, Output};
use crate::memory::{Memory, RememberedPeer};
use crate::peer::PeerInfo;
use crate::routing::Admission;
use crate::time::{Now, UnixTime};

impl Node {
    /// What is worth keeping over a restart: the table, who failed of late, and the network's size. Cost: O(table size).
    ///
    /// Peers that were remembered and have not answered yet are kept as they were, so that two restarts within a minute lose
    /// nobody.
    pub fn memory(&self, now: Now) -> Memory {
        let peers = self.table.iter().map(|(info, _, standing)| {
            let silent = now.monotonic.since(standing.last_answer());
            let answered = if standing.is_verified() {
                UnixTime::from_secs(now.unix.as_secs().saturating_sub(silent.as_secs()))
            } else {
                self.remembered_at
            };
            RememberedPeer {
                info: info.clone(),
                answered,
                rtt: standing.rtt(),
                failures: standing.failures(),
            }
        });
        Memory {
            written: now.unix,
            size: self.netsize.to_remember(now),
            peers: peers.collect(),
            failed: self.failures.to_remember(now),
        }
    }

    /// Puts the peers of an earlier run into the table, as far as there is room: lookups use them at once, replies do not
    /// name them until they have answered, and their first failure ends them. They are asked in the background.
    ///
    /// Dates only tell which of two peers is the likelier to be alive, so a clock that was set wrong costs nothing.
    pub(super) fn remember(&mut self, memory: Memory) {
        self.remembered_at = memory.written;
        if let Some((at, size)) = memory.size {
            self.netsize.remember(at, size);
        }
        self.failures.remember(&memory.failed, self.now);
        let mut peers: Vec<RememberedPeer> = memory.peers;
        peers.sort_by_key(|peer| (peer.failures, Reverse(peer.answered)));
        let mut changed = false;
        for RememberedPeer { info, rtt, .. } in peers {
            let info = PeerInfo::new(info.peer, self.usable(&info.addrs));
            if info.addrs.is_empty() || !self.is_wanted(&info) {
                continue;
            }
            let group = self.group_of(&info);
            changed |= self.table.remember(info, group, rtt, self.now.monotonic) == Admission::Room;
        }
        if changed {
            self.outputs.push_back(Output::TableChanged { urgent: false });
            self.probe_silent_soon();
        }
    }
}
