//! An immutable view of the table, cheap to copy and share.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::bucket::{Bucket, Mark, Nearest, Seen};
use super::diversity::Census;
use crate::addr::AddrList;
use crate::config::Mode;
use crate::key::Key;
use crate::limits::CLIENTS_MAX;
use crate::peer::{Peer, PeerId, PeerInfo};

/// The table as requests are answered from it: our own identity, the buckets, and the addresses of connected peers
/// that do not serve.
///
/// Cost: cloning bumps one counter per non-empty bucket prefix; unchanged buckets are shared between snapshots.
#[derive(Clone, Debug)]
pub struct TableSnapshot {
    pub(super) local: PeerInfo,
    pub(super) mode: Mode,
    pub(super) buckets: Vec<Arc<Bucket>>,
    /// `None` for none, as most nodes have: so nothing is read to find that out.
    pub(super) clients: Option<Arc<BTreeMap<PeerId, PeerInfo>>>,
}

impl TableSnapshot {
    /// An empty table of `local`.
    pub fn new(local: PeerInfo, mode: Mode) -> Self {
        Self { local, mode, buckets: Vec::new(), clients: None }
    }

    /// This node and the addresses at which others reach it.
    pub fn local(&self) -> &PeerInfo {
        &self.local
    }

    /// Whether this node serves.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Number of peers in the table.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.len()).sum()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.buckets.iter().all(|bucket| bucket.is_empty())
    }

    /// The buckets by common prefix length with the local node, up to the deepest that has peers.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, &Bucket)> {
        (0..).zip(self.buckets.iter().map(Arc::as_ref))
    }

    /// All peers, bucket by bucket.
    pub fn iter(&self) -> impl Iterator<Item = &PeerInfo> {
        self.buckets.iter().flat_map(|bucket| bucket.iter())
    }

    /// The table's entry for a peer. Cost: one SHA-256 and a binary search.
    pub fn get(&self, id: &PeerId) -> Option<&PeerInfo> {
        let key = Key::of(id.as_bytes());
        self.bucket_of(&key)?.get(id, &key)
    }

    /// As [`TableSnapshot::get`], for a peer whose key is known. Cost: a binary search.
    pub fn get_peer(&self, peer: &Peer) -> Option<&PeerInfo> {
        self.bucket_of(&peer.key)?.get(&peer.id, &peer.key)
    }

    /// A connected peer that does not serve but whose addresses are known.
    pub fn client(&self, id: &PeerId) -> Option<&PeerInfo> {
        self.clients.as_ref()?.get(id)
    }

    /// Peers of the table nearest to `target`, nearest first.
    ///
    /// Shape: `0..=count` distinct peers, strictly increasing distance, never the local node.
    /// Cost: the target's own bucket first; only buckets that can still contribute are read.
    /// Source: libp2p kad-dht r2, "Peer routing".
    pub fn closest(&self, target: &Key, count: usize) -> Vec<&PeerInfo> {
        self.nearest(target, count, |_| true).into_iter().map(|(.., info)| info).collect()
    }

    /// As [`TableSnapshot::closest`], for telling others: only peers that have answered, and at most `per_group` of one IP
    /// group (0: any number), those farther away being left out for the next nearest.
    pub fn closest_to_tell(&self, target: &Key, count: usize, per_group: usize) -> Vec<&PeerInfo> {
        // Few answers leave anybody out, so a few more than `count` nearly always do.
        for wanted in [count.saturating_add(SPARE), usize::MAX] {
            let found = self.nearest(target, wanted, Mark::is_verified);
            let all = found.len() < wanted;
            let told = diverse(found, count, per_group);
            if told.len() >= count || all {
                return told;
            }
        }
        Vec::new() // not reached: no table has as many peers as there are numbers
    }

    fn nearest(&self, target: &Key, count: usize, keep: impl Fn(Mark) -> bool) -> Vec<Seen<'_>> {
        let shared = usize::from(self.local.peer.key.common_prefix_len(target));
        let split = shared.min(self.buckets.len());
        let mut nearest = Nearest::new(*target, count);
        // A peer in the bucket `shared` agrees with the target in at least one bit more than any other peer does.
        if let Some(bucket) = self.buckets.get(shared) {
            nearest.add([bucket], &keep);
        }
        // Deeper buckets agree with us, so all of them leave the target at bit `shared`: one group.
        if nearest.is_short() {
            nearest.add(self.buckets.iter().skip(split + 1), &keep);
        }
        // Each shallower bucket leaves the target one bit earlier than the one before.
        for bucket in self.buckets[..split].iter().rev() {
            if !nearest.is_short() {
                break;
            }
            nearest.add([bucket], &keep);
        }
        nearest.into_seen()
    }

    fn bucket_of(&self, key: &Key) -> Option<&Bucket> {
        self.buckets.get(usize::from(self.local.peer.key.common_prefix_len(key))).map(Arc::as_ref)
    }

    /// Adds a peer to its bucket, whatever is there already, or replaces its entry; returns whether it is new. No
    /// policy: for tables that admit by rules of their own, as models of other clients do. The local node is not added.
    ///
    /// Cost: O(bucket), and copying the bucket if another snapshot shares it.
    pub fn place(&mut self, info: PeerInfo) -> bool {
        let index = self.local.peer.key.common_prefix_len(&info.peer.key);
        if index == Key::BITS {
            return false;
        }
        let index = usize::from(index);
        if self.buckets.len() <= index {
            self.buckets.resize_with(index + 1, Arc::default);
        }
        Arc::make_mut(&mut self.buckets[index]).insert(info, Mark::default()).is_some()
    }

    /// Removes a peer from its bucket. Cost: as [`TableSnapshot::place`].
    pub fn take(&mut self, key: &Key) -> Option<PeerInfo> {
        let index = usize::from(self.local.peer.key.common_prefix_len(key));
        let bucket = self.buckets.get_mut(index)?;
        bucket.position(key).ok()?;
        let taken = Arc::make_mut(bucket).remove(key);
        while self.buckets.last().is_some_and(|bucket| bucket.is_empty()) {
            self.buckets.pop();
        }
        taken
    }

    /// Remembers a connected peer that does not serve, so that FIND_NODE for it can be answered. Bounded by
    /// [`CLIENTS_MAX`]: further ones are not remembered. Returns whether the view changed.
    pub fn add_client(&mut self, info: PeerInfo) -> bool {
        let known = self.client(&info.peer.id);
        let len = self.clients.as_ref().map_or(0, |clients| clients.len());
        if info.addrs.is_empty() || known == Some(&info) || (known.is_none() && len >= CLIENTS_MAX) {
            return false;
        }
        Arc::make_mut(self.clients.get_or_insert_default()).insert(info.peer.id, info);
        true
    }

    /// Forgets such a peer. Returns whether the view changed.
    pub fn remove_client(&mut self, id: &PeerId) -> bool {
        let Some(clients) = self.clients.as_mut().filter(|clients| clients.contains_key(id)) else {
            return false;
        };
        let clients = Arc::make_mut(clients);
        clients.remove(id);
        if clients.is_empty() {
            self.clients = None;
        }
        true
    }

    /// Sets whether the local node serves; returns whether that changed.
    pub fn set_mode(&mut self, mode: Mode) -> bool {
        let changed = self.mode != mode;
        self.mode = mode;
        changed
    }

    /// Sets the addresses at which others reach the local node; returns whether they changed.
    pub fn set_local_addrs(&mut self, addrs: AddrList) -> bool {
        let changed = self.local.addrs != addrs;
        self.local.addrs = addrs;
        changed
    }
}

/// Peers looked at beyond those wanted, to take the places of those left out.
const SPARE: usize = 8;

/// The first `count` of `found` of which no group has more than `per_group`.
fn diverse<'a>(found: Vec<Seen<'a>>, count: usize, per_group: usize) -> Vec<&'a PeerInfo> {
    let mut told: Vec<(Mark, &'a PeerInfo)> = Vec::with_capacity(count.min(found.len()));
    for (_, mark, info) in found {
        if told.len() >= count {
            break;
        }
        let mut census = Census::new(mark.group());
        if per_group > 0 && !mark.group().is_exempt() {
            told.iter().for_each(|(known, _)| census.count(known.group()));
        }
        if !census.is_full(per_group) {
            told.push((mark, info));
        }
    }
    told.into_iter().map(|(_, info)| info).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn info(seed: u32) -> PeerInfo {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&seed.to_be_bytes());
        PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
    }

    #[test]
    fn placed_peers_are_found_and_taken_ones_are_not() {
        let local = info(u32::MAX);
        let mut table = TableSnapshot::new(local.clone(), Mode::Server);
        assert!(!table.place(local), "never the local node");
        assert!((0..50).all(|seed| table.place(info(seed))));
        assert!(!table.place(info(7)), "it is there already");
        let before = table.clone();
        assert_eq!(table.take(&info(7).peer.key), Some(info(7)));
        assert_eq!(table.take(&info(7).peer.key), None);
        assert_eq!((table.len(), before.len()), (49, 50), "snapshots taken before stay as they were");
        (0..50).for_each(|seed| drop(table.take(&info(seed).peer.key)));
        assert_eq!(table.buckets().count(), 0, "no empty buckets are left at the end");
        assert!(table.set_mode(Mode::Client) && !table.set_mode(Mode::Client));
    }

    #[test]
    fn answers_leave_out_the_unverified_and_the_over_many_of_a_group() {
        let mut table = TableSnapshot::new(info(u32::MAX), Mode::Server);
        let target = Key::of(b"target");
        let mut all: Vec<_> = (0..200).map(info).collect();
        all.sort_by_key(|peer| peer.peer.key.distance(&target));
        for (place, peer) in all.iter().enumerate() {
            let index = usize::from(table.local.peer.key.common_prefix_len(&peer.peer.key));
            if table.buckets.len() <= index {
                table.buckets.resize_with(index + 1, Arc::default);
            }
            // The 60 nearest: every third is unverified, the others are of one group.
            let ip = [1, 2 + if place < 60 { 0 } else { place as u8 }, 3, 4];
            let mark = Mark::new(crate::routing::Group::of(ip.into(), None), place % 3 != 0 || place >= 60);
            Arc::make_mut(&mut table.buckets[index]).insert(peer.clone(), mark);
        }
        let told = table.closest_to_tell(&target, 20, 3);
        let expected: Vec<_> = [1, 2, 4].into_iter().chain(60..77).map(|place| &all[place]).collect();
        assert_eq!(told, expected);
        assert_eq!(table.closest_to_tell(&target, 4, 0), [1, 2, 4, 5].map(|place| &all[place]));
        assert_eq!(table.closest(&target, 3), [0, 1, 2].map(|place| &all[place]), "walks ask anybody");
        assert_eq!(table.closest_to_tell(&target, 1_000, 3).len(), 143);
    }

    proptest! {
        #[test]
        fn closest_equals_sorting_everything(peers in 0u32..300, target: [u8; 32], count in 0usize..40) {
            let local = info(u32::MAX);
            let mut table = TableSnapshot::new(local.clone(), Mode::Server);
            let target = Key::from_hashed(target);
            let mut all: Vec<_> = (0..peers).map(info).collect();
            for peer in &all {
                let index = usize::from(local.peer.key.common_prefix_len(&peer.peer.key));
                if table.buckets.len() <= index {
                    table.buckets.resize_with(index + 1, Arc::default);
                }
                Arc::make_mut(&mut table.buckets[index]).insert(peer.clone(), Mark::default());
            }
            all.sort_by_key(|peer| peer.peer.key.distance(&target));
            all.truncate(count);
            prop_assert_eq!(table.closest(&target, count), all.iter().collect::<Vec<_>>());
        }
    }
}
