//! One bucket: the peers that share a prefix of one length with us, sorted by key.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::key::{Distance, Key};
use crate::peer::{PeerId, PeerInfo};

/// Peers whose common prefix length with the local node is the bucket's index, sorted by key.
///
/// The first 64 bits of each key lie beside the descriptors, so that searches touch one dense array.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    prefixes: Vec<u64>,
    entries: Vec<PeerInfo>,
}

impl Bucket {
    /// Number of peers.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no peers.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The peers, in key order.
    pub fn iter(&self) -> core::slice::Iter<'_, PeerInfo> {
        self.entries.iter()
    }

    /// The entry of the peer with `id` and `key`.
    pub fn get(&self, id: &PeerId, key: &Key) -> Option<&PeerInfo> {
        let index = self.position(key).ok()?;
        Some(&self.entries[index]).filter(|info| info.peer.id == *id)
    }

    /// Bytes allocated for the bucket, its own header included, beside what its descriptors take.
    pub(super) fn allocated_bytes(&self) -> usize {
        ARC_HEADER_BYTES
            + size_of::<Self>()
            + self.prefixes.capacity() * size_of::<u64>()
            + self.entries.capacity() * size_of::<PeerInfo>()
    }

    /// Adds `info`, or replaces the entry with the same key. Returns its place if it is new. Cost: O(len).
    pub(super) fn insert(&mut self, info: PeerInfo) -> Option<usize> {
        match self.position(&info.peer.key) {
            Ok(index) => {
                self.entries[index] = info;
                None
            }
            Err(index) => {
                insert_exact(&mut self.prefixes, index, info.peer.key.prefix());
                insert_exact(&mut self.entries, index, info);
                Some(index)
            }
        }
    }

    /// Removes the peer with `key`. Cost: O(len).
    pub(super) fn remove(&mut self, key: &Key) -> Option<PeerInfo> {
        let index = self.position(key).ok()?;
        self.prefixes.remove(index);
        Some(self.entries.remove(index))
    }

    /// Where the peer with `key` is, or would be.
    pub(super) fn position(&self, key: &Key) -> Result<usize, usize> {
        let prefix = key.prefix();
        let mut index = self.prefixes.partition_point(|known| *known < prefix);
        while self.prefixes.get(index) == Some(&prefix) {
            match self.entries[index].peer.key.cmp(key) {
                core::cmp::Ordering::Less => index += 1,
                core::cmp::Ordering::Equal => return Ok(index),
                core::cmp::Ordering::Greater => break,
            }
        }
        Err(index)
    }
}

/// Two counters stand before what an [`Arc`] holds.
const ARC_HEADER_BYTES: usize = 2 * size_of::<usize>();

/// Inserts without the room that [`Vec`] takes for more: a bucket is full at 20, and a table of a thousand full of
/// room for 32 would be a third larger than it need be.
pub(super) fn insert_exact<T>(list: &mut Vec<T>, index: usize, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact(ROOM);
    }
    list.insert(index, item);
}

/// Places that a bucket grows by: five steps to a full one.
const ROOM: usize = 4;

/// Collects the `count` peers nearest to a target from groups of buckets, nearest group first.
///
/// The first 64 bits decide, but for peers that share them with another; so descriptors are hardly ever read.
pub(super) struct Nearest<'a> {
    target: Key,
    count: usize,
    /// With the first 64 bits of their distances, nearest first.
    ranked: Vec<(u64, &'a PeerInfo)>,
}

impl<'a> Nearest<'a> {
    pub(super) fn new(target: Key, count: usize) -> Self {
        Self { target, count, ranked: Vec::new() }
    }

    /// Whether there is room for a further group.
    pub(super) fn is_short(&self) -> bool {
        self.ranked.len() < self.count
    }

    /// Adds the nearest of a group, all of whose peers are farther than those added before.
    pub(super) fn add(&mut self, group: impl IntoIterator<Item = &'a Arc<Bucket>>) {
        let (from, target, target_prefix) = (self.ranked.len(), self.target, self.target.prefix());
        if self.ranked.capacity() == 0 {
            self.ranked.reserve(self.count.saturating_mul(2).min(RESERVED_MAX));
        }
        for bucket in group {
            let peers = bucket.prefixes.iter().zip(&bucket.entries);
            self.ranked.extend(peers.map(|(prefix, info)| (prefix ^ target_prefix, info)));
        }
        let by_distance = |a: &(u64, &PeerInfo), b: &(u64, &PeerInfo)| {
            let full = |info: &PeerInfo| -> Distance { info.peer.key.distance(&target) };
            a.0.cmp(&b.0).then_with(|| full(a.1).cmp(&full(b.1)))
        };
        if self.ranked.len() > self.count {
            if let Some(last) = self.count.checked_sub(1).filter(|last| *last >= from) {
                self.ranked[from..].select_nth_unstable_by(last - from, by_distance);
            }
            self.ranked.truncate(self.count.max(from));
        }
        self.ranked[from..].sort_unstable_by(by_distance);
    }

    pub(super) fn into_peers(self) -> Vec<&'a PeerInfo> {
        self.ranked.into_iter().map(|(_, info)| info).collect()
    }
}

/// Places reserved for a search at most; a larger one grows.
const RESERVED_MAX: usize = 256;
