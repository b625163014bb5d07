//! The peers that are kept, and what is known of each.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::bucket::{Bucket, Mark, insert_exact, lengthen_exact};
use super::diversity::Group;
use super::snapshot::TableSnapshot;
use super::standing::Standing;
use crate::addr::AddrList;
use crate::config::{Mode, TableConfig};
use crate::key::Key;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::time::Timestamp;

/// The table of serving peers: buckets by common prefix length, filled by seniority.
///
/// Who gets in is in `routing/admission.rs`. A peer leaves when `failures_max` requests to it failed in a row, when it no
/// longer serves, or when it has to give way. Source: Kademlia paper 2.2; go-libp2p-kbucket.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) config: TableConfig,
    pub(super) view: TableSnapshot,
    /// By bucket, in the order of its peers. Beside the view, so that an answer copies no bucket.
    pub(super) standings: Vec<Vec<Standing>>,
    /// By bucket: the stranger that is asked when a place becomes free.
    pub(super) waiting: Vec<Option<Box<Waiting>>>,
}

/// A stranger that found its bucket full.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) info: PeerInfo,
    pub(super) since: Timestamp,
}

/// Whether the table would take a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room, or somebody would have to give way.
    Room,
    /// It is there already.
    Present,
    /// Its bucket is full of live peers.
    Full,
    /// The table has as many of its IP group as it may.
    GroupFull,
    /// It is the local node.
    IsSelf,
}

impl Table {
    /// An empty table of `local`.
    pub fn new(local: Peer, mode: Mode, config: TableConfig) -> Self {
        let view = TableSnapshot::new(PeerInfo::new(local, AddrList::EMPTY), mode);
        Self { config, view, standings: Vec::new(), waiting: Vec::new() }
    }

    /// The table as it stands. Clone it to publish it.
    pub fn view(&self) -> &TableSnapshot {
        &self.view
    }

    /// Replaces the addresses of a table peer; returns whether they changed. Empty lists change nothing.
    pub fn update_addrs(&mut self, info: &PeerInfo) -> bool {
        let Some((index, place)) = self.place(&info.peer.key) else { return false };
        let bucket = &mut self.view.buckets[index];
        let known = &bucket.at(place).addrs;
        if info.addrs.is_empty() || known.is_shared(&info.addrs) || *known == info.addrs {
            return false;
        }
        Arc::make_mut(bucket).insert(info.clone(), Mark::default()); // it keeps its mark
        true
    }

    /// Notes that a table peer answered, and how long that took if it is known. Returns whether the view changed: from its
    /// first answer on, a remembered peer is named to others.
    pub fn answered(&mut self, peer: &Peer, now: Timestamp, rtt: Option<Duration>) -> bool {
        let Some((bucket, place)) = self.place(&peer.key) else { return false };
        let first = self.standings[bucket][place].answer(now, rtt);
        if first {
            let group = self.view.buckets[bucket].mark(place).group();
            Arc::make_mut(&mut self.view.buckets[bucket]).set_mark(place, Mark::new(group, true));
        }
        first
    }

    /// Notes that a table peer's answer helped an operation.
    pub fn helped(&mut self, peer: &Peer, now: Timestamp) {
        if let Some((bucket, place)) = self.place(&peer.key) {
            self.standings[bucket][place].help(now);
        }
    }

    /// Notes that a request to a table peer failed; removes the peer and returns it when that was one too many. A
    /// remembered peer that never answered is removed at once.
    pub fn failed(&mut self, peer: &Peer) -> Option<PeerInfo> {
        let (bucket, place) = self.place(&peer.key)?;
        let standing = &mut self.standings[bucket][place];
        let is_over = standing.fail() >= self.config.failures_max || !standing.is_verified();
        if is_over { self.remove(peer) } else { None }
    }

    /// Forgets the failures of all peers: it was us.
    pub fn forgive(&mut self) {
        self.standings.iter_mut().flatten().for_each(Standing::forgive);
    }

    /// Lets all peers be asked again soon: what they were reached by has changed.
    pub fn suspect_all(&mut self) {
        self.standings.iter_mut().flatten().for_each(Standing::suspect);
    }

    /// Removes a peer.
    pub fn remove(&mut self, peer: &Peer) -> Option<PeerInfo> {
        let (index, place) = self.place(&peer.key)?;
        self.standings[index].remove(place);
        let removed = Arc::make_mut(&mut self.view.buckets[index]).remove(&peer.key);
        while self.view.buckets.last().is_some_and(|bucket| bucket.is_empty()) {
            self.view.buckets.pop();
            self.standings.pop();
        }
        removed
    }

    /// The descriptor of the peer with an id: the table's own, if it is there. Cost: one SHA-256, and an allocation if not.
    pub(crate) fn peer(&self, id: PeerId) -> Peer {
        let key = Key::of(id.as_bytes());
        let known = self.place(&key).map(|place| &self.at(place).peer).filter(|peer| peer.id == id);
        known.cloned().unwrap_or_else(|| Peer::hashed(id, key))
    }

    /// Whether a peer is in the table.
    pub fn contains(&self, peer: &Peer) -> bool {
        self.place(&peer.key).is_some()
    }

    /// What is known of a table peer.
    pub fn standing(&self, peer: &Peer) -> Option<&Standing> {
        let (bucket, place) = self.place(&peer.key)?;
        Some(&self.standings[bucket][place])
    }

    /// The IP group of a table peer.
    pub fn group(&self, key: &Key) -> Option<Group> {
        let (bucket, place) = self.place(key)?;
        Some(self.view.buckets[bucket].mark(place).group())
    }

    /// The peers with their groups and standings, bucket by bucket.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerInfo, Group, &Standing)> {
        let marks = self.view.buckets.iter().flat_map(|bucket| bucket.marks());
        let standings = self.standings.iter().flatten();
        self.view
            .iter()
            .zip(marks)
            .zip(standings)
            .map(|((info, mark), standing)| (info, mark.group(), standing))
    }

    /// The standings, and where in the table the peers are that they are of, for [`Table::at`].
    pub(crate) fn standings(&self) -> impl Iterator<Item = ((usize, usize), &Standing)> {
        self.standings.iter().enumerate().flat_map(|(bucket, standings)| {
            standings.iter().enumerate().map(move |(place, standing)| ((bucket, place), standing))
        })
    }

    /// The peer at a place of the table as it stands. Panics: where there is none.
    pub(crate) fn at(&self, (bucket, place): (usize, usize)) -> &PeerInfo {
        self.view.buckets[bucket].at(place)
    }

    /// Bytes that the table has allocated for its peers, beside descriptors and addresses, which it shares with whoever
    /// named them. Cost: O(buckets).
    pub fn allocated_bytes(&self) -> usize {
        let buckets: usize = self.view.buckets.iter().map(|bucket| bucket.allocated_bytes()).sum();
        let standings: usize = self.standings.iter().map(Vec::capacity).sum();
        buckets
            + self.view.buckets.capacity() * size_of::<Arc<Bucket>>()
            + self.standings.capacity() * size_of::<Vec<Standing>>()
            + standings * size_of::<Standing>()
            + self.waiting.capacity() * size_of::<Option<Box<Waiting>>>()
    }

    /// In which bucket a peer is, and where in it. The standings of a bucket's peers have the places of the bucket.
    pub(super) fn place(&self, key: &Key) -> Option<(usize, usize)> {
        let index = usize::from(self.prefix_len(key));
        let place = self.view.buckets.get(index)?.position(key).ok()?;
        Some((index, place))
    }

    /// Puts a peer that is not there into its bucket, whatever is there already.
    pub(super) fn put(&mut self, info: PeerInfo, group: Group, standing: Standing) {
        let index = usize::from(self.prefix_len(&info.peer.key));
        lengthen_exact(&mut self.view.buckets, index + 1, Arc::default);
        lengthen_exact(&mut self.standings, index + 1, Vec::new);
        let mark = Mark::new(group, standing.is_verified());
        if let Some(place) = Arc::make_mut(&mut self.view.buckets[index]).insert(info, mark) {
            insert_exact(&mut self.standings[index], place, standing);
        }
    }

    /// The common prefix length of `key` with the local node.
    pub fn prefix_len(&self, key: &Key) -> u16 {
        self.view.local.peer.key.common_prefix_len(key)
    }

    /// The bucket that the last of the `count` nearest to us is in; 0 if there are fewer. Cost: O(buckets).
    pub fn edge(&self, count: usize) -> u16 {
        let mut there = 0;
        let edge = self.view.buckets.iter().rposition(|bucket| {
            there += bucket.len();
            there >= count
        });
        edge.unwrap_or(0) as u16 // at most 255
    }

    /// Sets the addresses at which others reach the local node; returns whether they changed.
    pub fn set_local_addrs(&mut self, addrs: AddrList) -> bool {
        self.view.set_local_addrs(addrs)
    }

    /// Sets whether the local node serves; returns whether that changed.
    pub fn set_mode(&mut self, mode: Mode) -> bool {
        self.view.set_mode(mode)
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
    use super::super::admission::tests::{peer, table};
    use super::*;
    use crate::limits::CLIENTS_MAX;

    #[test]
    fn failures_in_a_row_evict_and_an_answer_forgives() {
        let mut table = table(20, 2);
        let info = peer(1);
        table.insert(info.clone(), Timestamp::ZERO);
        assert_eq!(table.failed(&info.peer), None);
        table.answered(&info.peer, Timestamp::from_millis(1), None);
        assert_eq!(table.failed(&info.peer), None);
        table.forgive();
        assert_eq!(table.failed(&info.peer), None);
        assert_eq!(table.failed(&info.peer), Some(info.clone()));
        assert!(table.view().is_empty());
        assert_eq!(table.failed(&info.peer), None);
    }

    #[test]
    fn a_remembered_peer_is_named_from_its_first_answer_on_and_leaves_at_its_first_failure() {
        let mut table = table(20, 2);
        let (good, bad) = (peer(1), peer(2));
        for info in [&good, &bad] {
            table.remember(info.clone(), Group::EXEMPT, None, Timestamp::ZERO);
        }
        let told = |table: &Table| table.view().closest_to_tell(&Key::of(b"x"), 20, 0).len();
        assert_eq!((table.view().len(), told(&table)), (2, 0));
        assert!(table.answered(&good.peer, Timestamp::ZERO, None), "the view changes");
        assert!(!table.answered(&good.peer, Timestamp::ZERO, None));
        assert_eq!(told(&table), 1);
        assert_eq!(table.failed(&good.peer), None);
        assert_eq!(table.failed(&bad.peer), Some(bad));
    }

    #[test]
    fn new_addresses_change_neither_group_nor_standing() {
        let mut table = table(20, 2);
        let group = Group::of([1, 2, 3, 4].into(), None);
        table.remember(peer(1), group, None, Timestamp::ZERO);
        let moved =
            PeerInfo::new(peer(1).peer, AddrList::collect(&peer(1).peer.id, [[4, 9, 9, 9, 9].as_slice()]));
        assert!(table.update_addrs(&moved) && !table.update_addrs(&moved));
        assert_eq!(table.group(&moved.peer.key), Some(group));
        assert!(!table.standing(&moved.peer).expect("there").is_verified());
    }

    #[test]
    fn clients_are_bounded() {
        let mut table = table(20, 2);
        for seed in 0..CLIENTS_MAX as u32 + 10 {
            table.add_client(peer(seed));
        }
        assert_eq!(table.view().clients.as_ref().map(|clients| clients.len()), Some(CLIENTS_MAX));
        assert!(table.remove_client(&peer(0).peer.id));
        assert!(!table.remove_client(&peer(0).peer.id));
    }
}
