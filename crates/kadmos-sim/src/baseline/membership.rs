//! Who is in the table of a modelled node, by the rules of its kind.
//!
//! For go it models go-libp2p-kbucket `table.go` (`addPeer`, `UsefulNewPeer`, `removePeer`, `MarkAllPeersIrreplaceable`) and
//! `rtPeerLoop` of go-libp2p-kad-dht's `dht.go`. That table begins as one bucket whose last one unfolds when it is
//! full. A peer then enters if fewer than 20 share exactly its prefix with us, as in a table with a bucket for each
//! prefix: while the last bucket is not full, nobody in it can have 20 of his prefix, and a full one unfolds until the
//! newcomer's prefix has a bucket of its own or there is room. So the buckets here are by prefix.
//!
//! It shares no rule with our own table: only the snapshot that requests are answered from.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use kadmos_core::config::Mode;
use kadmos_core::routing::TableSnapshot;
use kadmos_core::{AddrList, Key, Peer, PeerId, PeerInfo, Timestamp};

use super::Baseline;
use super::ip_groups::{IpGroup, IpGroups};

/// The table, and what its rules need to know of each peer.
#[derive(Clone, Debug)]
pub(super) struct Membership {
    /// Whether one failed request evicts. libp2p-kad keeps a peer until its place is wanted.
    evicts: bool,
    /// Whether IP groups are bounded, and newcomers replaced: go's rules.
    is_go: bool,
    bucket_size: usize,
    view: TableSnapshot,
    members: BTreeMap<PeerId, Member>,
    groups: IpGroups,
    entered: u64,
}

/// A peer of the table.
#[derive(Clone, Debug)]
struct Member {
    /// Its place in the order of entry.
    entered: u64,
    /// When a query to it last succeeded. Source: `LastSuccessfulOutboundQueryAt`.
    answered: Timestamp,
    /// Whether a newcomer may take its place in a full bucket: it entered while the node was bootstrapping.
    replaceable: bool,
    groups: Vec<IpGroup>,
}

/// What became of a peer that would enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is in, in the place of another if the bucket was full.
    Added { replaced: Option<Peer> },
    /// It was in.
    Present,
    /// The bucket is full, or has too many of its IP group; or it is the local node, or has no address.
    Refused,
}

impl Membership {
    pub(super) fn new(baseline: Baseline, local: Peer, mode: Mode, bucket_size: NonZeroUsize) -> Self {
        Self {
            evicts: baseline != Baseline::RustLibp2p,
            is_go: baseline.is_go(),
            bucket_size: bucket_size.get(),
            view: TableSnapshot::new(PeerInfo::new(local, AddrList::EMPTY), mode),
            members: BTreeMap::new(),
            groups: IpGroups::default(),
            entered: 0,
        }
    }

    pub(super) fn view(&self) -> &TableSnapshot {
        &self.view
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn contains(&self, peer: &Peer) -> bool {
        self.members.contains_key(&peer.id)
    }

    pub(super) fn prefix_len(&self, key: &Key) -> u16 {
        self.view.local().peer.key.common_prefix_len(key)
    }

    pub(super) fn peers_in(&self, prefix_len: u16) -> usize {
        self.view.buckets().nth(usize::from(prefix_len)).map_or(0, |(_, bucket)| bucket.len())
    }

    pub(super) fn set_mode(&mut self, mode: Mode) -> bool {
        self.view.set_mode(mode)
    }

    pub(super) fn set_local_addrs(&mut self, addrs: AddrList) -> bool {
        self.view.set_local_addrs(addrs)
    }

    /// Remembers a connected peer that does not serve, so that others find it through this node, and forgets it. go answers
    /// from its peerstore, which knows whoever is connected. Source: `handlers.go`, `handleFindPeer`.
    pub(super) fn add_client(&mut self, info: PeerInfo) {
        self.view.add_client(info);
    }

    pub(super) fn remove_client(&mut self, id: &PeerId) {
        self.view.remove_client(id);
    }

    /// Whether it is worth asking whether a stranger answers. Source: `UsefulNewPeer`.
    pub(super) fn is_useful(&self, peer: &Peer) -> bool {
        let prefix_len = self.prefix_len(&peer.key);
        let has_room = self.peers_in(prefix_len) < self.bucket_size || self.replaceable(prefix_len).is_some();
        prefix_len < Key::BITS && !self.contains(peer) && has_room
    }

    /// Takes a peer that has proven that it answers. `replaceable` is whether a later one may take its place.
    pub(super) fn enter(&mut self, info: PeerInfo, now: Timestamp, replaceable: bool) -> Entry {
        let prefix_len = self.prefix_len(&info.peer.key);
        if self.contains(&info.peer) {
            return Entry::Present;
        }
        // The diversity filter comes first, so that nobody is replaced by one that it refuses.
        let groups = if self.is_go { self.groups.allowed(prefix_len, &info.addrs) } else { Some(Vec::new()) };
        let (Some(groups), false) = (groups, info.addrs.is_empty()) else { return Entry::Refused };
        if prefix_len == Key::BITS {
            return Entry::Refused;
        }
        let replaced = if self.peers_in(prefix_len) < self.bucket_size {
            None
        } else {
            let Some(replaced) = self.replaceable(prefix_len) else { return Entry::Refused };
            self.remove(&replaced);
            Some(replaced)
        };
        self.insert(info, now, replaceable, groups);
        Entry::Added { replaced }
    }

    /// Takes a peer as a table that somebody else has filled has it: where there is room, whatever its IP group, though
    /// it counts.
    pub(super) fn take_over(&mut self, info: PeerInfo, now: Timestamp) -> bool {
        let prefix_len = self.prefix_len(&info.peer.key);
        let has_room = prefix_len < Key::BITS && self.peers_in(prefix_len) < self.bucket_size;
        if !has_room || self.contains(&info.peer) {
            return false;
        }
        let groups = super::ip_groups::groups_of(&info.addrs).flatten().collect();
        self.insert(info, now, false, groups);
        true
    }

    /// Notes that a query to a peer succeeded.
    pub(super) fn answered(&mut self, peer: &Peer, now: Timestamp) {
        if let Some(member) = self.members.get_mut(&peer.id) {
            member.answered = now;
        }
    }

    /// Notes that a query to a peer failed; returns whether that cost it its place.
    pub(super) fn failed(&mut self, peer: &Peer) -> bool {
        self.evicts && self.remove(peer)
    }

    /// Removes a peer; returns whether it was there.
    pub(super) fn remove(&mut self, peer: &Peer) -> bool {
        let Some(member) = self.members.remove(&peer.id) else { return false };
        self.groups.remove(self.prefix_len(&peer.key), &member.groups);
        self.view.take(&peer.key);
        true
    }

    /// From now on nobody in the table is replaced. Source: `MarkAllPeersIrreplaceable`.
    pub(super) fn freeze(&mut self) {
        self.members.values_mut().for_each(|member| member.replaceable = false);
    }

    /// Peers to which no query has succeeded for longer than `grace`, bucket by bucket.
    pub(super) fn silent_for(&self, grace: Duration, now: Timestamp) -> Vec<PeerInfo> {
        let is_silent = |info: &&PeerInfo| {
            self.members.get(&info.peer.id).is_some_and(|member| now.since(member.answered) > grace)
        };
        self.view.iter().filter(is_silent).cloned().collect()
    }

    fn insert(&mut self, info: PeerInfo, now: Timestamp, replaceable: bool, groups: Vec<IpGroup>) {
        let prefix_len = self.prefix_len(&info.peer.key);
        self.groups.add(prefix_len, &groups);
        let replaceable = replaceable && self.is_go;
        let member = Member { entered: self.entered, answered: now, replaceable, groups };
        self.entered += 1;
        self.members.insert(info.peer.id, member);
        self.view.place(info);
    }

    /// The peer of a bucket that has been there longest of those that may be replaced. Source: `bucket.min`, which returns
    /// the last that compares less, of a list whose front is the newest.
    fn replaceable(&self, prefix_len: u16) -> Option<Peer> {
        let (_, bucket) = self.view.buckets().nth(usize::from(prefix_len))?;
        let member = |info: &PeerInfo| self.members.get(&info.peer.id).filter(|member| member.replaceable);
        let (_, peer) = bucket
            .iter()
            .filter_map(|info| Some((member(info)?.entered, &info.peer)))
            .min_by_key(|(entered, _)| *entered)?;
        Some(peer.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::child_seed;

    /// Peer number `index`, in an IP group with `hosts - 1` others.
    fn info(index: u32, hosts: u32) -> PeerInfo {
        let id = PeerId::from_digest(child_seed(7, "member", u64::from(index)));
        PeerInfo::new(Peer::new(id), crate::network::addrs(&id, index, hosts))
    }

    fn table(baseline: Baseline) -> Membership {
        let size = NonZeroUsize::new(20).expect("positive");
        Membership::new(baseline, info(u32::MAX, 1).peer, Mode::Server, size)
    }

    #[test]
    fn seniors_stay_and_full_buckets_refuse() {
        let mut table = table(Baseline::Go);
        let entered: Vec<_> = (0..2_000)
            .filter(|index| {
                let entry = table.enter(info(*index, 1), Timestamp::ZERO, false);
                entry == Entry::Added { replaced: None }
            })
            .collect();
        assert!(table.view().buckets().all(|(_, bucket)| bucket.len() <= 20));
        assert_eq!(table.peers_in(0), 20);
        assert_eq!(entered.len(), table.len());
        assert!(entered.iter().all(|index| table.contains(&info(*index, 1).peer)));
        assert!(!table.is_useful(&info(entered[0], 1).peer));
    }

    #[test]
    fn while_bootstrapping_the_oldest_of_a_full_bucket_makes_room_until_the_freeze() {
        let mut table = table(Baseline::Go);
        let own = table.view().local().peer.key;
        let far: Vec<_> = (0..200)
            .map(|index| info(index, 1))
            .filter(|info| own.common_prefix_len(&info.peer.key) == 0)
            .collect();
        for info in &far[..20] {
            table.enter(info.clone(), Timestamp::ZERO, true);
        }
        assert!(table.is_useful(&far[20].peer));
        let entry = table.enter(far[20].clone(), Timestamp::ZERO, true);
        assert_eq!(entry, Entry::Added { replaced: Some(far[0].peer.clone()) });
        assert_eq!(table.peers_in(0), 20);
        table.freeze();
        assert!(!table.is_useful(&far[21].peer));
        assert_eq!(table.enter(far[21].clone(), Timestamp::ZERO, true), Entry::Refused);
    }

    #[test]
    fn one_owner_has_three_places_and_leaves_them_free_when_evicted() {
        let mut table = table(Baseline::Go);
        let all: Vec<_> = (0..50).map(|index| info(index, 50)).collect(); // one /16
        let mut entered = Vec::new();
        for info in &all {
            if table.enter(info.clone(), Timestamp::ZERO, false) != Entry::Refused {
                entered.push(info.peer.clone());
            }
        }
        assert_eq!(entered.len(), 3);
        assert!(table.failed(&entered[0]), "one failure evicts");
        assert!(!table.failed(&entered[0]));
        let again =
            all.iter().filter(|one| table.enter((*one).clone(), Timestamp::ZERO, false) != Entry::Present);
        assert!(again.count() > 0 && table.len() == 3);
        let mut of_rust = self::table(Baseline::RustLibp2p);
        let entered =
            all.iter().filter(|one| of_rust.enter((*one).clone(), Timestamp::ZERO, false) != Entry::Refused);
        assert_eq!(entered.count(), of_rust.len());
        assert!(of_rust.len() > 20 && !of_rust.failed(&all[0].peer), "it knows no groups and evicts nobody");
    }

    #[test]
    fn silence_is_counted_from_the_last_answer() {
        let mut table = table(Baseline::Go);
        (0..2).for_each(|index| drop(table.enter(info(index, 1), Timestamp::ZERO, false)));
        table.answered(&info(1, 1).peer, Timestamp::from_millis(5_000));
        let silent = table.silent_for(Duration::from_secs(6), Timestamp::from_millis(7_000));
        assert_eq!(silent, [info(0, 1)]);
    }
}
