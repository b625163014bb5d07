//! Which peers a reply names.

use alloc::vec;
use alloc::vec::Vec;

use super::Responder;
use crate::addr::{AddrList, is_public};
use crate::config::AddressPolicy;
use crate::key::Key;
use crate::limits::CLOSER_PEERS_MAX;
use crate::message::Response;
use crate::peer::{PeerId, PeerInfo};
use crate::routing::TableSnapshot;
use crate::wire::{peer_len, response_len};

impl Responder {
    /// FIND_NODE: the peers closest to `key`, and the target itself, if it is a peer we know.
    ///
    /// For our own id only ourselves: go asks a new peer for that before it takes it into its table, and an empty
    /// answer keeps the peer out. Without an address of ours to show, those around us are the next best answer.
    pub(super) fn find_node(&self, key: &[u8], table: &TableSnapshot, peer: &PeerId) -> Response {
        let target = PeerId::from_bytes(key).ok();
        if target == Some(table.local().peer.id)
            && let Some(local) = self.shown(table.local())
        {
            return self.fitting(vec![local]);
        }
        let mut closer = self.closer(key, table, peer);
        // A target in the table has distance 0 and so is the first already. Never tell a peer about itself.
        if let Some(client) = target.filter(|id| id != peer).and_then(|id| table.client(&id))
            && let Some(client) = self.shown(client)
            && closer.first().is_none_or(|first| first.peer != client.peer)
        {
            closer.insert(0, client);
        }
        self.fitting(closer)
    }

    /// The k peers of the table closest to `key` that have answered us, without the requester, nearest first, of one IP
    /// group at most `table.group_per_reply`; those without an address to show are left out and not replaced, as in go.
    pub(super) fn closer(&self, key: &[u8], table: &TableSnapshot, peer: &PeerId) -> Vec<PeerInfo> {
        // With the target, a reply never holds more than its reader takes, whatever k is.
        let k = self.config.lookup.k.get().min(CLOSER_PEERS_MAX - 1);
        let per_group = self.config.table.group_per_reply;
        // One more: the requester may be among them.
        let nearest = table.closest_to_tell(&Key::of(key), k + 1, per_group);
        nearest
            .into_iter()
            .filter(|info| info.peer.id != *peer)
            .take(k)
            .filter_map(|info| self.shown(info))
            .collect()
    }

    /// `info` with the addresses that may be given away; `None` when there are none.
    pub(super) fn shown(&self, info: &PeerInfo) -> Option<PeerInfo> {
        let addrs = self.shown_addrs(&info.addrs);
        if addrs.is_empty() { None } else { Some(PeerInfo::new(info.peer.clone(), addrs)) }
    }

    /// The addresses that may be given away. Public networks get no private ones: ipfs/specs kad-dht demands it of
    /// servers.
    pub(super) fn shown_addrs(&self, addrs: &AddrList) -> AddrList {
        match self.config.protocol.addresses {
            AddressPolicy::Any => addrs.clone(),
            AddressPolicy::Public => addrs.filtered(is_public),
        }
    }

    fn fitting(&self, mut closer: Vec<PeerInfo>) -> Response {
        let fixed = response_len(&Response::FindNode { closer: Vec::new() }, &[]);
        Self::truncate(&mut closer, fixed, self.config.protocol.message_bytes_max);
        Response::FindNode { closer }
    }

    /// Drops the last of `peers` until a message of them and `used` other bytes fits in `bytes_max`; returns
    /// the bytes of the message then.
    pub(super) fn truncate(peers: &mut Vec<PeerInfo>, mut used: usize, bytes_max: usize) -> usize {
        let fit = peers.iter().take_while(|info| {
            let len = used + peer_len(info);
            let fits = len <= bytes_max;
            if fits {
                used = len;
            }
            fits
        });
        let fit = fit.count();
        peers.truncate(fit);
        used
    }
}
