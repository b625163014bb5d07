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

    /// Adds `info`, or replaces the entry with the same key. Returns whether it is new. Cost: O(len).
    pub(super) fn insert(&mut self, info: PeerInfo) -> bool {
        match self.position(&info.peer.key) {
            Ok(index) => {
                self.entries[index] = info;
                false
            }
            Err(index) => {
                self.prefixes.insert(index, info.peer.key.prefix());
                self.entries.insert(index, info);
                true
            }
        }
    }

    /// Removes the peer with `key`. Cost: O(len).
    pub(super) fn remove(&mut self, key: &Key) -> Option<PeerInfo> {
        let index = self.position(key).ok()?;
        self.prefixes.remove(index);
        Some(self.entries.remove(index))
    }

    fn position(&self, key: &Key) -> Result<usize, usize> {
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

/// The `count` nearest of `candidates` to `target`, nearest first, appended to `out`.
pub(super) fn nearest<'a>(
    candidates: impl Iterator<Item = &'a PeerInfo>,
    target: &Key,
    count: usize,
    out: &mut Vec<&'a PeerInfo>,
) {
    let mut ranked: Vec<(Distance, &PeerInfo)> =
        candidates.map(|info| (info.peer.key.distance(target), info)).collect();
    if ranked.len() > count {
        if count == 0 {
            return;
        }
        ranked.select_nth_unstable_by_key(count - 1, |(distance, _)| *distance);
        ranked.truncate(count);
    }
    ranked.sort_unstable_by_key(|(distance, _)| *distance);
    out.extend(ranked.into_iter().map(|(_, info)| info));
}
