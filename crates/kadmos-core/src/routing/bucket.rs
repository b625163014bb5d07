//! One bucket: the peers that share a prefix of one length with us, sorted by key.

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

    /// Each peer with the first 64 bits of its key, in key order.
    pub(super) fn iter_prefixes(&self) -> impl Iterator<Item = (u64, &PeerInfo)> {
        self.prefixes.iter().copied().zip(&self.entries)
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

/// The `count` nearest of `candidates`, which come with the first 64 bits of their keys, to `target`, nearest first,
/// appended to `out`.
///
/// The first 64 bits decide, but for peers that share them with another; so descriptors are hardly ever read.
pub(super) fn nearest<'a>(
    candidates: impl Iterator<Item = (u64, &'a PeerInfo)>,
    target: &Key,
    count: usize,
    out: &mut Vec<&'a PeerInfo>,
) {
    let target_prefix = target.prefix();
    let mut ranked: Vec<(u64, &PeerInfo)> =
        candidates.map(|(prefix, info)| (prefix ^ target_prefix, info)).collect();
    let by_distance = |a: &(u64, &PeerInfo), b: &(u64, &PeerInfo)| {
        let full = |info: &PeerInfo| -> Distance { info.peer.key.distance(target) };
        a.0.cmp(&b.0).then_with(|| full(a.1).cmp(&full(b.1)))
    };
    if ranked.len() > count {
        if count == 0 {
            return;
        }
        ranked.select_nth_unstable_by(count - 1, by_distance);
        ranked.truncate(count);
    }
    ranked.sort_unstable_by(by_distance);
    out.extend(ranked.into_iter().map(|(_, info)| info));
}
