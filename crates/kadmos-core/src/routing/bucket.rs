//! One bucket: the peers that share a prefix of one length with us, sorted by key.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::diversity::Group;
use crate::key::{Distance, Key};
use crate::peer::{PeerId, PeerInfo};

/// Peers whose common prefix length with the local node is the bucket's index, sorted by key.
///
/// The first 64 bits of each key lie beside the descriptors, so that searches touch one dense array.
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    tags: Vec<(u64, Mark)>,
    entries: Vec<PeerInfo>,
}

/// What answers need to know of a peer beside its descriptor, in 8 bytes: its group, and whether it may be named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark(u64);

/// The highest bit: groups leave it free.
const UNVERIFIED: u64 = 1 << 63;

impl Mark {
    pub(super) const fn new(group: Group, verified: bool) -> Self {
        Self(if verified { group.to_bits() } else { group.to_bits() | UNVERIFIED })
    }

    pub(super) const fn group(self) -> Group {
        Group::from_bits(self.0 & !UNVERIFIED)
    }

    pub(super) const fn is_verified(self) -> bool {
        self.0 & UNVERIFIED == 0
    }
}

/// A peer as searches see it: the first 64 bits of its key, its mark and its descriptor.
pub(super) type Seen<'a> = (u64, Mark, &'a PeerInfo);

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
            + self.tags.capacity() * size_of::<(u64, Mark)>()
            + self.entries.capacity() * size_of::<PeerInfo>()
    }

    /// Adds `info`, or replaces the entry with the same key, whose mark stays. Returns its place if it is new.
    /// Cost: O(len).
    pub(super) fn insert(&mut self, info: PeerInfo, mark: Mark) -> Option<usize> {
        match self.position(&info.peer.key) {
            Ok(index) => {
                self.entries[index] = info;
                None
            }
            Err(index) => {
                insert_exact(&mut self.tags, index, (info.peer.key.prefix(), mark));
                insert_exact(&mut self.entries, index, info);
                Some(index)
            }
        }
    }

    /// Removes the peer with `key`. Cost: O(len).
    pub(super) fn remove(&mut self, key: &Key) -> Option<PeerInfo> {
        let index = self.position(key).ok()?;
        self.tags.remove(index);
        Some(self.entries.remove(index))
    }

    /// Each peer as searches see it, in key order.
    pub(super) fn iter_seen(&self) -> impl Iterator<Item = Seen<'_>> {
        self.tags.iter().zip(&self.entries).map(|((prefix, mark), info)| (*prefix, *mark, info))
    }

    /// The marks, in key order.
    pub(super) fn marks(&self) -> impl Iterator<Item = Mark> {
        self.tags.iter().map(|(_, mark)| *mark)
    }

    /// The peer at `place`. Panics: where there is none.
    pub(super) fn at(&self, place: usize) -> &PeerInfo {
        &self.entries[place]
    }

    /// The mark of the peer at `place`.
    pub(super) fn mark(&self, place: usize) -> Mark {
        self.tags[place].1
    }

    /// Replaces the mark of the peer at `place`.
    pub(super) fn set_mark(&mut self, place: usize, mark: Mark) {
        self.tags[place].1 = mark;
    }

    /// Peers nearer to `own` than `key` is, which shares as many bits with it.
    pub(super) fn nearer(&self, own: &Key, key: &Key) -> usize {
        let (own_prefix, distance) = (own.prefix(), key.distance(own));
        let is_nearer = |(prefix, _, info): &Seen<'_>| {
            let known = prefix ^ own_prefix;
            let words = distance.words();
            known < words[0] || (known == words[0] && info.peer.key.distance(own) < distance)
        };
        self.iter_seen().filter(is_nearer).count()
    }

    /// Where the peer with `key` is, or would be.
    pub(super) fn position(&self, key: &Key) -> Result<usize, usize> {
        let prefix = key.prefix();
        let mut index = self.tags.partition_point(|(known, _)| *known < prefix);
        while self.tags.get(index).is_some_and(|(known, _)| *known == prefix) {
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

/// Places that a bucket grows by: ten steps to a full one. The buckets near us never are full, and there are as many of them
/// as of full ones.
const ROOM: usize = 2;

/// Lengthens a list that has an item for each bucket, without room for more: there are seldom more.
pub(super) fn lengthen_exact<T>(list: &mut Vec<T>, len: usize, item: impl FnMut() -> T) {
    if list.len() < len {
        list.reserve_exact(len - list.len());
        list.resize_with(len, item);
    }
}

/// Collects the `count` peers nearest to a target from groups of buckets, nearest group first.
///
/// The first 64 bits decide, but for peers that share them with another; so descriptors are hardly ever read.
pub(super) struct Nearest<'a> {
    target: Key,
    count: usize,
    /// With the first 64 bits of their distances, nearest first.
    ranked: Vec<Seen<'a>>,
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
    pub(super) fn add(
        &mut self,
        group: impl IntoIterator<Item = &'a Arc<Bucket>>,
        keep: impl Fn(Mark) -> bool,
    ) {
        let (from, target, target_prefix) = (self.ranked.len(), self.target, self.target.prefix());
        if self.ranked.capacity() == 0 {
            self.ranked.reserve(self.count.saturating_mul(2).min(RESERVED_MAX));
        }
        for bucket in group {
            let kept = bucket.iter_seen().filter(|(_, mark, _)| keep(*mark));
            self.ranked.extend(kept.map(|(prefix, mark, info)| (prefix ^ target_prefix, mark, info)));
        }
        let by_distance = |a: &Seen<'_>, b: &Seen<'_>| {
            let full = |info: &PeerInfo| -> Distance { info.peer.key.distance(&target) };
            a.0.cmp(&b.0).then_with(|| full(a.2).cmp(&full(b.2)))
        };
        if self.ranked.len() > self.count {
            if let Some(last) = self.count.checked_sub(1).filter(|last| *last >= from) {
                self.ranked[from..].select_nth_unstable_by(last - from, by_distance);
            }
            self.ranked.truncate(self.count.max(from));
        }
        self.ranked[from..].sort_unstable_by(by_distance);
    }

    /// The peers, nearest first.
    pub(super) fn into_seen(self) -> Vec<Seen<'a>> {
        self.ranked
    }
}

/// Places reserved for a search at most; a larger one grows.
const RESERVED_MAX: usize = 256;
