//! Where peers are connected from, and who is exempt from limits or not wanted at all.

use alloc::sync::Arc;
use core::fmt::Debug;
use core::net::IpAddr;

use super::{Node, Output};
use crate::event::Eviction;
use crate::key::Key;
use crate::peer::{PeerId, PeerInfo};
use crate::routing::{AsnMap, Group};

/// A caller's own say in whom a node deals with, beside the address policy.
pub trait PeerFilter: Debug + Send + Sync {
    /// Whether a peer may be asked in lookups and be in the table; with the addresses it is known by at that moment.
    fn peer(&self, info: &PeerInfo) -> bool {
        let _ = info;
        true
    }

    /// Whether an address, a binary multiaddr, may be kept, dialled and told to others.
    fn addr(&self, addr: &[u8]) -> bool {
        let _ = addr;
        true
    }
}

impl Node {
    /// Asks `filter` before a peer or an address is taken, from now on; those taken before stay.
    pub fn set_filter(&mut self, filter: Arc<dyn PeerFilter>) {
        self.filter = Some(filter);
    }

    /// Groups peers by autonomous system where `asns` tells it, from now on; else by network.
    pub fn set_asns(&mut self, asns: Arc<AsnMap>) {
        self.asns = Some(asns);
    }

    pub(super) fn connected(&mut self, id: PeerId, remote: Option<IpAddr>) {
        let Some(remote) = remote else { return };
        let group = Group::of(remote, self.asns.as_deref());
        self.links.insert(id, group);
        let key = Key::of(id.as_bytes());
        if self.table.group(&key).is_some_and(|known| known != group)
            && !self.is_trusted(&id)
            && let Some(least) = self.table.set_group(&key, group)
        {
            self.left(least.peer, Eviction::GroupFull);
        }
    }

    pub(super) fn disconnected(&mut self, id: &PeerId) {
        self.links.remove(id);
        if self.table.remove_client(id) {
            self.outputs.push_back(Output::TableChanged { urgent: false });
        }
    }

    /// The group of a peer: of its connection if there is one, else of the addresses it is said to have. Bootstrap peers
    /// and those that the configuration trusts are exempt.
    pub(super) fn group_of(&self, info: &PeerInfo) -> Group {
        let id = &info.peer.id;
        if self.is_trusted(id) {
            return Group::EXEMPT;
        }
        self.links.get(id).unwrap_or_else(|| Group::claimed(&info.addrs, self.asns.as_deref()))
    }

    pub(super) fn is_wanted(&self, info: &PeerInfo) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.peer(info))
    }

    fn is_trusted(&self, id: &PeerId) -> bool {
        self.config.table.trusted.contains(id) || self.bootstrap_peers.iter().any(|info| info.peer.id == *id)
    }
}
