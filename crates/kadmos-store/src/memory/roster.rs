//! The providers themselves, once each, whatever they provide.

use std::collections::{BTreeMap, BTreeSet};

use kadmos_core::time::UnixTime;
use kadmos_core::{AddrList, Peer, PeerInfo};

use crate::memory::clock::Moment;
use crate::memory::replacement::Group;

/// What a provider costs beyond its addresses, at most: an allocation of 96 bytes for the descriptor, one of 16 and
/// the addresses, an entry of 24 bytes in a map whose nodes are half full. `tests/memory.rs` measures it.
const MEMBER_COST: usize = 224;
/// What a place in the roster costs, taken or free: twice its size, as a growing vector doubles.
const PLACE_COST: usize = 2 * size_of::<Option<Member>>();

/// A place in the roster; claims hold it instead of a pointer, at half the size.
pub(crate) type Place = u32;

/// The providers, their addresses, and what they cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    places: Vec<Option<Member>>,
    /// Places that are free. The lowest is taken first, so that the end empties and can be cut off.
    free: BTreeSet<Place>,
    /// By the first bytes of the peer's key, so that looking up seldom reads a descriptor, and by the peer.
    by_peer: BTreeMap<(u64, Peer), Place>,
    member_bytes: usize,
}

/// One provider.
#[derive(Clone, Debug)]
pub(super) struct Member {
    info: PeerInfo,
    addrs_expire: UnixTime,
    group: Group,
    records: usize,
}

impl Member {
    /// Its network, by the addresses it announced last, also when they have expired.
    pub(super) fn group(&self) -> Group {
        self.group
    }

    /// Whether it is this peer.
    pub(super) fn is(&self, peer: &Peer) -> bool {
        self.info.peer == *peer
    }

    /// Records it has here.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// The peer with the addresses it announced last.
    pub(super) fn announced(&self) -> &PeerInfo {
        &self.info
    }

    /// When those expire.
    pub(super) fn addrs_expire(&self) -> UnixTime {
        self.addrs_expire
    }

    /// The peer with the addresses that have not expired.
    pub(super) fn info(&self, at: &Moment) -> PeerInfo {
        let addrs = if self.addrs_expire > at.now { self.info.addrs.clone() } else { AddrList::EMPTY };
        PeerInfo::new(self.info.peer.clone(), addrs)
    }
}

impl Roster {
    /// Distinct providers.
    pub(super) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.member_bytes + self.places.len() * PLACE_COST
    }

    pub(super) fn find(&self, peer: &Peer) -> Option<Place> {
        self.by_peer.get(&name(peer)).copied()
    }

    /// The member at `place`, which a claim holds.
    pub(super) fn member(&self, place: Place) -> Option<&Member> {
        self.places.get(place as usize)?.as_ref()
    }

    /// How many bytes more [`Roster::announce`] would take.
    pub(super) fn cost_of(&self, place: Option<Place>, provider: &PeerInfo) -> usize {
        let addrs = provider.addrs.encoded().len();
        match place.and_then(|place| self.member(place)) {
            Some(member) => addrs.saturating_sub(member.info.addrs.encoded().len()),
            None => MEMBER_COST + addrs + if self.free.is_empty() { PLACE_COST } else { 0 },
        }
    }

    /// Takes the addresses of an announcement in place of earlier ones.
    pub(super) fn announce(&mut self, place: Place, addrs: &AddrList, addrs_expire: UnixTime) {
        if let Some(Some(member)) = self.places.get_mut(place as usize) {
            self.member_bytes -= member.info.addrs.encoded().len();
            self.member_bytes += addrs.encoded().len();
            member.info.addrs = addrs.clone();
            member.addrs_expire = addrs_expire;
            member.group = Group::of(addrs);
        }
    }

    /// Counts a record of the member at `place`.
    pub(super) fn add_record(&mut self, place: Place) {
        if let Some(Some(member)) = self.places.get_mut(place as usize) {
            member.records += 1;
        }
    }

    /// Counts a record less; the last one takes the member with it.
    pub(super) fn drop_record(&mut self, place: Place) {
        let Some(slot) = self.places.get_mut(place as usize) else { return };
        let Some(member) = slot else { return };
        member.records = member.records.saturating_sub(1);
        if member.records > 0 {
            return;
        }
        self.member_bytes -= MEMBER_COST + member.info.addrs.encoded().len();
        self.by_peer.remove(&name(&member.info.peer));
        *slot = None;
        self.free.insert(place);
        self.cut();
    }

    /// Lets go of addresses that have expired.
    pub(super) fn drop_expired_addrs(&mut self, place: Place, at: &Moment) {
        if let Some(Some(member)) = self.places.get_mut(place as usize)
            && member.addrs_expire <= at.now
        {
            self.member_bytes -= member.info.addrs.encoded().len();
            member.info.addrs = AddrList::EMPTY;
        }
    }

    /// Takes in a peer that is not there: without addresses, and without records yet.
    pub(super) fn join(&mut self, peer: Peer) -> Place {
        let member = Member {
            info: PeerInfo::new(peer.clone(), AddrList::EMPTY),
            addrs_expire: UnixTime::default(),
            group: Group::Unknown,
            records: 0,
        };
        let place = match self.free.pop_first() {
            Some(place) => {
                self.places[place as usize] = Some(member); // free places are within the vector
                place
            }
            None => {
                self.places.push(Some(member));
                // 2^32 places with their members take a terabyte and more; a wrapped place would be another's.
                Place::try_from(self.places.len() - 1).expect("fewer than 2^32 providers fit in memory")
            }
        };
        self.by_peer.insert(name(&peer), place);
        self.member_bytes += MEMBER_COST;
        place
    }

    /// Gives back the free places at the end.
    fn cut(&mut self) {
        while let Some(None) = self.places.last() {
            self.places.pop();
            self.free.remove(&(self.places.len() as Place)); // it was a place, so it fits
        }
        if self.places.len() < self.places.capacity() / 2 {
            self.places.shrink_to_fit();
        }
    }

    #[cfg(test)]
    pub(super) fn check(&self, records: &BTreeMap<Place, usize>) {
        assert_eq!(self.places.len(), self.by_peer.len() + self.free.len());
        assert_eq!(self.by_peer.len(), records.len());
        let mut bytes = 0;
        for ((_, peer), place) in &self.by_peer {
            let member = self.member(*place).expect("a filed place is taken");
            assert_eq!(&member.info.peer, peer);
            assert_eq!(member.records, records[place]);
            bytes += MEMBER_COST + member.info.addrs.encoded().len();
        }
        assert_eq!(self.member_bytes, bytes);
        assert!(!matches!(self.places.last(), Some(None)));
    }
}

fn name(peer: &Peer) -> (u64, Peer) {
    let [a, b, c, d, e, f, g, h, ..] = *peer.key.as_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), peer.clone())
}
