//! Admission to the table, and leaving it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::bucket::{Bucket, insert_exact};
use super::snapshot::TableSnapshot;
use crate::addr::AddrList;
use crate::config::{Mode, TableConfig};
use crate::key::Key;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::Timestamp;

/// The table of serving peers: buckets by common prefix length, filled by seniority.
///
/// A peer that answers is never displaced by a stranger; a peer leaves when `failures_max` requests to it failed in
/// a row, or when it no longer serves. Source: Kademlia paper 2.2; go-libp2p-kbucket.
#[derive(Clone, Debug)]
pub struct Table {
    config: TableConfig,
    view: TableSnapshot,
    /// By bucket, in the order of its peers.
    liveness: Vec<Vec<Liveness>>,
}

/// What is known of a table peer's answers. Beside the view, so that an answer copies no bucket; 16 bytes, because large
/// simulations have tens of millions.
#[derive(Clone, Copy, Debug)]
struct Liveness {
    answered: Timestamp,
    failures: u32,
}

/// Whether the table would take a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Room,
    /// It is there already.
    Present,
    /// Its bucket is full.
    Full,
    /// It is the local node.
    IsSelf,
}

impl Table {
    /// An empty table of `local`.
    pub fn new(local: Peer, mode: Mode, config: TableConfig) -> Self {
        let view = TableSnapshot::new(PeerInfo::new(local, AddrList::EMPTY), mode);
        Self { config, view, liveness: Vec::new() }
    }

    /// The table as it stands. Clone it to publish it.
    pub fn view(&self) -> &TableSnapshot {
        &self.view
    }

    /// Whether `peer` would be taken. Cost: a binary search.
    pub fn admission(&self, peer: &Peer) -> Admission {
        let prefix_len = self.prefix_len(&peer.key);
        if prefix_len == Key::BITS {
            return Admission::IsSelf;
        }
        match self.view.buckets.get(usize::from(prefix_len)) {
            Some(bucket) if bucket.position(&peer.key).is_ok() => Admission::Present,
            Some(bucket) if bucket.len() >= self.config.bucket_size.get() => Admission::Full,
            _ => Admission::Room,
        }
    }

    /// Takes a peer that has proven that it answers; updates the addresses of one that is there.
    pub fn insert(&mut self, info: PeerInfo, now: Timestamp) -> Admission {
        let admission = self.admission(&info.peer);
        match admission {
            Admission::Room => {
                let index = usize::from(self.prefix_len(&info.peer.key));
                if self.view.buckets.len() <= index {
                    self.view.buckets.resize_with(index + 1, Arc::default);
                }
                if self.liveness.len() <= index {
                    self.liveness.resize_with(index + 1, Vec::new);
                }
                if let Some(place) = Arc::make_mut(&mut self.view.buckets[index]).insert(info) {
                    let liveness = Liveness { answered: now, failures: 0 };
                    insert_exact(&mut self.liveness[index], place, liveness);
                }
            }
            Admission::Present => {
                self.answered(&info.peer, now);
                self.update_addrs(&info);
            }
            Admission::Full | Admission::IsSelf => {}
        }
        admission
    }

    /// Replaces the addresses of a table peer; returns whether they changed. Empty lists change nothing.
    pub fn update_addrs(&mut self, info: &PeerInfo) -> bool {
        if info.addrs.is_empty() || !self.contains(&info.peer) {
            return false;
        }
        let index = usize::from(self.prefix_len(&info.peer.key));
        let bucket = &mut self.view.buckets[index];
        if bucket.get(&info.peer.id, &info.peer.key).is_some_and(|known| known.addrs == info.addrs) {
            return false;
        }
        Arc::make_mut(bucket).insert(info.clone());
        true
    }

    /// Notes that a table peer answered.
    pub fn answered(&mut self, peer: &Peer, now: Timestamp) {
        if let Some((bucket, place)) = self.place(peer) {
            self.liveness[bucket][place] = Liveness { answered: now, failures: 0 };
        }
    }

    /// Notes that a request to a table peer failed; removes the peer and returns it when that was one too many.
    pub fn failed(&mut self, peer: &Peer) -> Option<PeerInfo> {
        let (bucket, place) = self.place(peer)?;
        let liveness = &mut self.liveness[bucket][place];
        liveness.failures += 1;
        if liveness.failures >= self.config.failures_max { self.remove(peer) } else { None }
    }

    /// Removes a peer.
    pub fn remove(&mut self, peer: &Peer) -> Option<PeerInfo> {
        let (index, place) = self.place(peer)?;
        self.liveness[index].remove(place);
        let removed = Arc::make_mut(&mut self.view.buckets[index]).remove(&peer.key);
        while self.view.buckets.last().is_some_and(|bucket| bucket.is_empty()) {
            self.view.buckets.pop();
            self.liveness.pop();
        }
        removed
    }

    /// Whether a peer is in the table.
    pub fn contains(&self, peer: &Peer) -> bool {
        self.place(peer).is_some()
    }

    /// The peers and when each last answered, bucket by bucket.
    pub fn iter_answered(&self) -> impl Iterator<Item = (&PeerInfo, Timestamp)> {
        let liveness = self.liveness.iter().flatten();
        self.view.iter().zip(liveness).map(|(info, liveness)| (info, liveness.answered))
    }

    /// Bytes that the table has allocated for its peers, beside descriptors and addresses, which it shares with whoever
    /// named them. Cost: O(buckets).
    pub fn allocated_bytes(&self) -> usize {
        let buckets: usize = self.view.buckets.iter().map(|bucket| bucket.allocated_bytes()).sum();
        let liveness: usize = self.liveness.iter().map(Vec::capacity).sum();
        buckets
            + self.view.buckets.capacity() * size_of::<Arc<Bucket>>()
            + self.liveness.capacity() * size_of::<Vec<Liveness>>()
            + liveness * size_of::<Liveness>()
    }

    /// In which bucket a peer is, and where in it. The liveness of a bucket's peers has the places of the bucket.
    fn place(&self, peer: &Peer) -> Option<(usize, usize)> {
        let index = usize::from(self.prefix_len(&peer.key));
        let place = self.view.buckets.get(index)?.position(&peer.key).ok()?;
        Some((index, place))
    }

    /// The common prefix length of `key` with the local node.
    pub fn prefix_len(&self, key: &Key) -> u16 {
        self.view.local.peer.key.common_prefix_len(key)
    }

    /// Sets the addresses at which others reach the local node; returns whether they changed.
    pub fn set_local_addrs(&mut self, addrs: AddrList) -> bool {
        self.view.set_local_addrs(addrs)
    }

    /// Sets whether the local node serves; returns whether that changed.
    pub fn set_mode(&mut self, mode: Mode) -> bool {
        let changed = self.view.mode != mode;
        self.view.mode = mode;
        changed
    }

    /// Remembers a connected peer that does not serve, so that FIND_NODE for it can be answered. Bounded by
    /// [`crate::limits::CLIENTS_MAX`]: further ones are not remembered. Returns whether the view changed.
    pub fn add_client(&mut self, info: PeerInfo) -> bool {
        self.view.add_client(info)
    }

    /// Forgets such a peer. Returns whether the view changed.
    pub fn remove_client(&mut self, id: &PeerId) -> bool {
        self.view.remove_client(id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Config;
    use crate::limits::CLIENTS_MAX;

    fn peer(seed: u32) -> PeerInfo {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&seed.to_be_bytes());
        let id = PeerId::from_digest(digest);
        PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[4, 1, 2, 3, 4].as_slice()]))
    }

    fn table(bucket_size: usize, failures_max: u32) -> Table {
        let mut config = Config::default().table;
        config.bucket_size = bucket_size.try_into().expect("positive in these tests");
        config.failures_max = failures_max;
        Table::new(peer(u32::MAX).peer, Mode::Server, config)
    }

    #[test]
    fn full_buckets_keep_their_seniors() {
        let mut table = table(3, 2);
        for seed in 0..200 {
            table.insert(peer(seed), Timestamp::ZERO);
        }
        let seniors: alloc::vec::Vec<_> = table.view().iter().cloned().collect();
        for seed in 200..400 {
            assert_ne!(table.insert(peer(seed), Timestamp::ZERO), Admission::Present);
        }
        assert!(seniors.iter().all(|senior| table.contains(&senior.peer)));
    }

    #[test]
    fn failures_in_a_row_evict_and_an_answer_forgives() {
        let mut table = table(20, 2);
        let info = peer(1);
        table.insert(info.clone(), Timestamp::ZERO);
        assert_eq!(table.failed(&info.peer), None);
        table.answered(&info.peer, Timestamp::from_millis(1));
        assert_eq!(table.failed(&info.peer), None);
        assert_eq!(table.failed(&info.peer), Some(info.clone()));
        assert!(table.view().is_empty());
        assert_eq!(table.failed(&info.peer), None);
    }

    #[test]
    fn self_never_enters() {
        let mut table = table(20, 2);
        assert_eq!(table.insert(peer(u32::MAX), Timestamp::ZERO), Admission::IsSelf);
        assert!(table.view().is_empty());
    }

    #[test]
    fn clients_are_bounded() {
        let mut table = table(20, 2);
        for seed in 0..CLIENTS_MAX as u32 + 10 {
            table.add_client(peer(seed));
        }
        assert_eq!(table.view().clients.len(), CLIENTS_MAX);
        assert!(table.remove_client(&peer(0).peer.id));
        assert!(!table.remove_client(&peer(0).peer.id));
    }

    proptest! {
        #[test]
        fn buckets_never_exceed_their_size(seeds: alloc::vec::Vec<u16>, remove: alloc::vec::Vec<u16>, size in 1usize..5) {
            let mut table = table(size, 1);
            for seed in seeds {
                table.insert(peer(seed.into()), Timestamp::ZERO);
            }
            for seed in remove {
                table.failed(&peer(seed.into()).peer);
            }
            let mut count = 0;
            for (prefix_len, bucket) in table.view().buckets() {
                prop_assert!(bucket.len() <= size);
                for info in bucket.iter() {
                    prop_assert_eq!(table.prefix_len(&info.peer.key), prefix_len);
                    prop_assert!(table.contains(&info.peer));
                    count += 1;
                }
            }
            prop_assert_eq!(count, table.liveness.iter().flatten().count());
            prop_assert_eq!(table.liveness.len(), table.view.buckets.len());
            prop_assert!(table.liveness.iter().zip(table.view().buckets()).all(|(l, (_, b))| l.len() == b.len()));
        }
    }
}
