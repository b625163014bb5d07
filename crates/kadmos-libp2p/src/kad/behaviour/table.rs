//! The table: who enters it, and what is seen of it.

use kadmos_core::routing::Admission;
use kadmos_core::{AddrList, Input, Peer, PeerInfo};
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::ConnectionId;

use super::{ADDED_MAX, Behaviour, K_VALUE};
use crate::convert::{addr_list, core_id, core_peer, multiaddrs, peer_id};
use crate::identities::Identified;
use crate::kad::addresses::Addresses;
use crate::kad::config::BucketInserts;
use crate::kad::event::{Event, KadPeer, RoutingUpdate};
use crate::kad::kbucket::{
    self, EntryView, KBucketRef, Key as KBucketKey, Node, NodeStatus, addresses, with_id, without_id,
};
use crate::kad::store::RecordStore;

/// A peer of the table.
type Entry = EntryView<KBucketKey<PeerId>, Addresses>;

impl<TStore> Behaviour<TStore>
where
    TStore: RecordStore + Send + 'static,
{
    /// Puts an address into the table, without asking whether anybody answers there.
    pub fn add_address(&mut self, peer: &PeerId, address: Multiaddr) -> RoutingUpdate {
        let (Ok(core), Some(address)) = (core_peer(peer), without_id(address, peer)) else {
            return RoutingUpdate::Failed;
        };
        if *peer == self.local {
            return RoutingUpdate::Failed;
        }
        let addrs = addr_list(&core, [&address]);
        if addrs.is_empty() {
            return RoutingUpdate::Failed; // longer than an address can be
        }
        if self.added.len() < ADDED_MAX || self.added.contains_key(peer) {
            let known = self.added.entry(*peer).or_insert(AddrList::EMPTY);
            *known = known.merged(&addrs);
        }
        let update = self.insert(core, &addrs);
        self.take_table_events();
        update
    }

    /// Takes an address out of the table. With its last one the peer goes, too, and is given back.
    pub fn remove_address(&mut self, peer: &PeerId, address: &Multiaddr) -> Option<Entry> {
        let core = core_peer(peer).ok()?;
        let address = without_id(address.clone(), peer)?;
        let keep = |addr: &[u8]| addr != address.as_ref();
        if let Some(added) = self.added.get_mut(peer) {
            *added = added.filtered(keep);
            if added.is_empty() {
                self.added.remove(peer);
            }
        }
        let known = self.inner.node().table().view().get_peer(&core)?.clone();
        let left = known.addrs.filtered(keep);
        if left.is_empty() {
            return self.remove_peer(peer);
        }
        if left != known.addrs {
            self.inner.insert(PeerInfo::new(core, left));
        }
        None
    }

    /// Takes a peer out of the table.
    pub fn remove_peer(&mut self, peer: &PeerId) -> Option<Entry> {
        self.added.remove(peer);
        let id = core_id(peer).ok()?;
        let entry = self.inner.node().table().view().get(&id).and_then(|info| self.entry(info));
        self.inner.tell(Input::RemovePeer(id));
        self.take_table_events();
        entry
    }

    /// The buckets in which somebody is, nearest first.
    pub fn kbuckets(&mut self) -> impl Iterator<Item = KBucketRef<'_, KBucketKey<PeerId>, Addresses>> {
        let view = self.inner.node().table().view();
        let mut buckets: Vec<_> = view
            .buckets()
            .filter(|(_, bucket)| !bucket.is_empty())
            .map(|(prefix_len, bucket)| {
                let entries = bucket.iter().filter_map(|info| self.entry(info)).collect();
                KBucketRef::new(index(prefix_len), entries)
            })
            .collect();
        buckets.reverse();
        buckets.into_iter()
    }

    /// The bucket to which a key belongs; `None` for this node's own.
    pub fn kbucket<K>(&mut self, key: K) -> Option<KBucketRef<'_, KBucketKey<PeerId>, Addresses>>
    where
        K: Into<KBucketKey<K>> + Clone,
    {
        let key: KBucketKey<K> = key.into();
        let bit = self.local_key.distance(&key).ilog2()?;
        let bit = u8::try_from(bit).ok()?; // at most 255
        let view = self.inner.node().table().view();
        let bucket = view.buckets().find(|(prefix_len, _)| index(*prefix_len) == bit);
        let peers = bucket.into_iter().flat_map(|(_, bucket)| bucket.iter());
        Some(KBucketRef::new(bit, peers.filter_map(|info| self.entry(info)).collect()))
    }

    /// All peers of the table, closest to a key first.
    pub fn get_closest_local_peers<'a, K: Clone>(
        &'a mut self,
        key: &'a KBucketKey<K>,
    ) -> impl Iterator<Item = KBucketKey<PeerId>> + 'a {
        self.closest(key).into_iter().map(|info| peer_id(&info.peer.id).into())
    }

    /// The 20 peers of the table closest to a key, without `source`.
    pub fn find_closest_local_peers<'a, K: Clone>(
        &'a mut self,
        key: &'a KBucketKey<K>,
        source: &'a PeerId,
    ) -> impl Iterator<Item = KadPeer> + 'a {
        let closest = self.closest(key).into_iter().filter_map(|info| self.entry(info));
        closest
            .filter(move |entry| entry.node.key.preimage() != source)
            .take(K_VALUE.get())
            .map(KadPeer::from)
    }

    fn closest<K>(&self, key: &KBucketKey<K>) -> Vec<&PeerInfo> {
        let mut hash = [0; 32];
        hash.copy_from_slice(key.hashed_bytes()); // it has 32
        let view = self.inner.node().table().view();
        view.closest(&kadmos_core::Key::from_hashed(hash), view.len())
    }

    fn entry(&self, info: &PeerInfo) -> Option<Entry> {
        let peer = peer_id(&info.peer.id);
        let status = match self.links.contains_key(&peer) {
            true => NodeStatus::Connected,
            false => NodeStatus::Disconnected,
        };
        Some(EntryView { node: Node { key: peer.into(), value: addresses(info)? }, status })
    }

    /// Puts a peer into the table, or adds addresses to it.
    fn insert(&mut self, peer: Peer, addrs: &AddrList) -> RoutingUpdate {
        let known = self.inner.node().table().view().get_peer(&peer).map(|known| known.addrs.clone());
        match known {
            Some(known) => {
                let all = known.merged(addrs);
                if all != known {
                    self.inner.insert(PeerInfo::new(peer.clone(), all));
                    self.routing_updated(&peer, false, None);
                }
                RoutingUpdate::Success
            }
            None => {
                self.inner.insert(PeerInfo::new(peer.clone(), addrs.clone()));
                match self.inner.node().table().admission(&peer) {
                    Admission::Present => RoutingUpdate::Success,
                    Admission::Full => RoutingUpdate::Pending,
                    // None of its addresses is one that this node deals with.
                    Admission::Room | Admission::GroupFull | Admission::IsSelf => RoutingUpdate::Failed,
                }
            }
        }
    }

    /// Puts those back that the user added, if the table is empty: they may have been out of reach for a while.
    pub(super) fn put_back(&mut self) {
        if !self.inner.node().table().view().is_empty() {
            return;
        }
        for (peer, addrs) in self.added.clone() {
            if let Ok(peer) = core_peer(&peer) {
                self.insert(peer, &addrs);
            }
        }
        self.take_table_events();
    }

    /// Identify has told something of a peer.
    pub(super) fn identified(&mut self, identified: Identified) {
        let Identified { peer, serves, addrs, .. } = identified;
        let Ok(core) = core_peer(&peer) else { return };
        let mut addrs = addr_list(&core, &addrs);
        if serves && self.config.only_inserted() {
            // Only the user and dials add addresses.
            if let Some(known) = self.inner.node().table().view().get_peer(&core) {
                addrs = known.addrs.clone();
            }
        } else if serves && let Some(added) = self.added.get(&peer) {
            addrs = addrs.merged(added); // what the user added stays
        }
        self.inner.tell(Input::Identified { peer: core.id, serves, addrs });
        self.take_table_events();
    }

    /// A connected peer serves: identify told so, or it has answered. As in libp2p-kad, it may enter the table with the
    /// address at which it was reached.
    pub(super) fn serves(&mut self, id: &PeerId, connection: ConnectionId) {
        let mut links = self.links.get_mut(id).into_iter().flatten();
        let Some(link) = links.find(|link| link.id == connection && !link.serves) else { return };
        link.serves = true;
        if self.config.only_inserted()
            && let Ok(peer) = core_peer(id)
        {
            let dialled = link.dialled.clone().and_then(|addr| without_id(addr, id));
            let addrs = addr_list(&peer, dialled.as_ref());
            self.routable(id, peer, &addrs);
        }
    }

    /// A peer may enter the table, or tells addresses.
    fn routable(&mut self, id: &PeerId, peer: Peer, addrs: &AddrList) {
        let is_known = self.inner.node().table().contains(&peer);
        let address = multiaddrs(addrs).into_iter().next().and_then(|addr| with_id(addr, id));
        let (peer_id, manual) = (*id, self.config.kbucket_inserts == BucketInserts::Manual);
        match address {
            None if is_known => {}
            None => self.events.push_back(Event::UnroutablePeer { peer: peer_id }),
            Some(address) if manual && !is_known => {
                self.events.push_back(Event::RoutablePeer { peer: peer_id, address });
            }
            Some(address) => {
                if self.insert(peer, addrs) == RoutingUpdate::Pending {
                    self.events.push_back(Event::PendingRoutablePeer { peer: peer_id, address });
                }
            }
        }
    }

    /// Tells that a peer has entered the table, or has other addresses.
    pub(super) fn routing_updated(&mut self, peer: &Peer, is_new_peer: bool, old_peer: Option<PeerId>) {
        let table = self.inner.node().table();
        let Some(addresses) = table.view().get_peer(peer).and_then(addresses) else { return };
        let bucket_range = kbucket::range(index(table.prefix_len(&peer.key)));
        let small = table.view().len() < K_VALUE.get();
        let peer = peer_id(&peer.id);
        let update = Event::RoutingUpdated { peer, is_new_peer, addresses, bucket_range, old_peer };
        self.events.push_back(update);
        if is_new_peer && small {
            self.jobs.join_soon(std::time::Instant::now());
        }
    }
}

/// The highest bit of distances in the bucket of a common prefix length.
fn index(prefix_len: u16) -> u8 {
    u8::try_from(255 - prefix_len.min(255)).unwrap_or_default() // at most 255
}
