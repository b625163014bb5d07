//! Probes: a stranger enters the table after it has answered us, and a table peer that was silent for long is asked whether
//! it is still there. Each has a queue and a rate of its own, so that a flood of one delays no other.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::ops::Bound;
use core::time::Duration;

use bytes::Bytes;

use super::Node;
use super::pace::Pace;
use crate::event::{Event, Rejection};
use crate::limits::{
    PROBE_AGAIN, PROBES_DIALLED_MIN, PROBES_MAX, PROBES_PER_GROUP_MAX, PROBES_WAITING_MAX, SILENT_PROBES_MAX,
    SILENT_RETRIES_MAX,
};
use crate::message::Request;
use crate::peer::{Peer, PeerId, PeerInfo};
use crate::routing::{Admission, Group};
use crate::time::Timestamp;

/// Who is being asked, and who is in line.
#[derive(Clone, Debug, Default)]
pub(super) struct Probes {
    /// Strangers being asked, and whether each had to be dialled.
    strangers: BTreeMap<PeerId, bool>,
    /// Strangers who are connected: to ask one is a message more on a connection that it has paid for, too.
    connected: Line,
    /// Strangers who would have to be dialled.
    line: Line,
    strangers_pace: Pace,
    silent: BTreeSet<PeerId>,
    silent_pace: Pace,
    /// When to look for silent peers; `None` before the first input.
    silent_at: Option<Timestamp>,
    /// Silent peers that failed, and when each is asked again: a loss of packets lasts longer than a moment.
    again: BTreeMap<PeerId, Timestamp>,
}

/// Strangers in line: each IP group has its turn, and none more than its share.
#[derive(Clone, Debug, Default)]
struct Line {
    by_group: BTreeMap<Group, VecDeque<PeerInfo>>,
    len: usize,
    /// Whose turn was last.
    last: Option<Group>,
}

impl Line {
    fn contains(&self, peer: &Peer) -> bool {
        self.by_group.values().flatten().any(|known| known.peer == *peer)
    }

    /// Puts a stranger in line. Returns who has to go: itself if its group has its share or none has more than it; else the
    /// last of the longest.
    fn push(&mut self, group: Group, info: PeerInfo) -> Option<PeerInfo> {
        let group = group.network();
        let own = self.by_group.get(&group).map_or(0, VecDeque::len);
        let share = if group.is_exempt() { PROBES_WAITING_MAX } else { PROBES_PER_GROUP_MAX };
        if own >= share {
            return Some(info);
        }
        let mut dropped = None;
        if self.len >= PROBES_WAITING_MAX {
            let longest = self.by_group.iter_mut().max_by_key(|(_, line)| line.len());
            match longest.filter(|(_, line)| line.len() > own + 1) {
                Some((_, line)) => dropped = line.pop_back(),
                None => return Some(info),
            }
            self.len -= 1;
        }
        self.by_group.entry(group).or_default().push_back(info);
        self.len += 1;
        dropped
    }

    /// The next of the group whose turn it is.
    fn pop(&mut self) -> Option<PeerInfo> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            self.by_group.range((after, Bound::Unbounded)).next().or_else(|| self.by_group.iter().next());
        let group = *next?.0;
        self.last = Some(group);
        let line = self.by_group.get_mut(&group)?;
        let info = line.pop_front();
        if line.is_empty() {
            self.by_group.remove(&group);
        }
        self.len -= usize::from(info.is_some());
        info
    }
}

impl Node {
    pub(super) fn start_probe_clock(&mut self) {
        self.probes.silent_at.get_or_insert(self.now.monotonic + LOOK_INTERVAL);
    }

    /// When there is a probe to send, or time to look for one.
    pub(super) fn next_probe(&self) -> Option<Timestamp> {
        let probes = &self.probes;
        // Those who are connected wait for an answer to others only.
        let stranger = (probes.line.len > 0 && probes.strangers.len() < PROBES_MAX)
            .then(|| probes.strangers_pace.next(self.config.table.strangers_per_minute, PROBES_MAX as u32)); // 32
        match (stranger, probes.silent_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Considers a server that is not in the table: asks it for its own id, as go-libp2p-kad-dht does, if it would get a
    /// place.
    pub(super) fn consider(&mut self, info: PeerInfo) {
        if self.only_inserted {
            return;
        }
        let peer = &info.peer;
        let prospect = self.table.prospect(peer, || self.group_of(&info));
        if matches!(prospect, Admission::Present | Admission::IsSelf) {
            return;
        }
        let reason = if info.addrs.is_empty() {
            Rejection::NoAddress
        } else if !self.is_wanted(&info) {
            Rejection::Filtered
        } else if self.failures.has(&peer.id, self.now.monotonic) && self.links.get(&peer.id).is_none() {
            Rejection::ProbeFailed
        } else if prospect == Admission::GroupFull {
            Rejection::GroupFull
        } else if prospect == Admission::Full {
            return self.table.wait(info, self.now.monotonic);
        } else if self.probes.strangers.contains_key(&peer.id)
            || self.probes.line.contains(peer)
            || self.probes.connected.contains(peer)
            || self.is_asking(peer)
        {
            return;
        } else {
            let group = self.group_of(&info);
            let is_connected = self.links.get(&peer.id).is_some();
            let line = if is_connected { &mut self.probes.connected } else { &mut self.probes.line };
            if let Some(dropped) = line.push(group, info) {
                self.emit(Event::PeerRejected { peer: dropped.peer, reason: Rejection::ProbesFull });
            }
            return self.send_probes();
        };
        self.emit(Event::PeerRejected { peer: info.peer, reason });
    }

    /// A stranger's probe ended; if it was answered, its admission has been decided.
    pub(super) fn probe_ended(&mut self, peer: &Peer, answered: bool) {
        if self.probes.strangers.remove(&peer.id).is_some() {
            if !answered && !self.table.contains(peer) {
                self.failures.note(peer.id, self.now.monotonic);
                self.emit(Event::PeerRejected { peer: peer.clone(), reason: Rejection::ProbeFailed });
            }
        } else if self.probes.silent.remove(&peer.id) {
            if self.probes.silent.len() + 1 == SILENT_PROBES_MAX {
                self.probe_silent_soon(); // the next may have waited for this place
            }
            if !answered && self.table.contains(peer) && self.probes.again.len() < SILENT_RETRIES_MAX {
                self.probes.again.insert(peer.id, self.now.monotonic + PROBE_AGAIN);
            }
        }
        self.lost_probe_ended(peer, answered);
        self.send_probes();
    }

    /// Looks for silent peers at once.
    pub(super) fn probe_silent_soon(&mut self) {
        self.probes.silent_at = Some(self.now.monotonic);
    }

    /// Sends what the rates allow.
    pub(super) fn run_probes(&mut self) {
        self.send_probes();
        if self.probes.silent_at.is_some_and(|at| at <= self.now.monotonic) {
            self.probe_silent();
        }
    }

    fn send_probes(&mut self) {
        while self.probes.strangers.len() < PROBES_MAX
            && let Some((info, paced)) = self.next_stranger()
        {
            let reason = match self.table.prospect(&info.peer, || self.group_of(&info)) {
                Admission::Room => {
                    if paced {
                        let (now, rate) = (self.now.monotonic, self.config.table.strangers_per_minute);
                        self.probes.strangers_pace.take(now, rate, PROBES_MAX as u32); // 32
                    }
                    self.probes.strangers.insert(info.peer.id, paced);
                    self.probe(info);
                    continue;
                }
                Admission::Full => Rejection::BucketFull,
                Admission::GroupFull => Rejection::GroupFull,
                Admission::Present | Admission::IsSelf => continue,
            };
            self.emit(Event::PeerRejected { peer: info.peer, reason });
        }
    }

    /// Whose turn it is: those who are connected first, as far as they leave places to others, then one to dial if the rate
    /// allows it; and whether it has to be dialled.
    fn next_stranger(&mut self) -> Option<(PeerInfo, bool)> {
        let connected = self.probes.strangers.values().filter(|dialled| !**dialled).count();
        while connected < PROBES_MAX - PROBES_DIALLED_MIN
            && let Some(info) = self.probes.connected.pop()
        {
            if self.links.get(&info.peer.id).is_some() {
                return Some((info, false));
            }
            // It has gone meanwhile: now it would have to be dialled.
            if let Some(dropped) = self.probes.line.push(self.group_of(&info), info) {
                self.emit(Event::PeerRejected { peer: dropped.peer, reason: Rejection::ProbesFull });
            }
        }
        let rate = self.config.table.strangers_per_minute;
        let may = self.probes.strangers_pace.next(rate, PROBES_MAX as u32) <= self.now.monotonic; // 32
        let info = if may { self.probes.line.pop() } else { None };
        Some((info?, true))
    }

    /// Asks the table peer that was silent for longest, if it was so for long, and sets when to look again. One at a time, as
    /// the rate has no burst. While we seem cut off, nobody is asked here.
    fn probe_silent(&mut self) {
        let (now, rate) = (self.now.monotonic, self.config.table.probes_per_minute);
        self.probes.again.retain(|_, at| *at > now);
        let mut look_at = now + LOOK_INTERVAL;
        if !self.is_cut_off() && self.probes.silent.len() < SILENT_PROBES_MAX {
            let (stalest, mut more) = self.find_silent(&mut look_at);
            if let Some(info) = stalest {
                if self.probes.silent_pace.take(now, rate, 1) {
                    self.probes.silent.insert(info.peer.id);
                    self.probe(info);
                    more &= self.probes.silent.len() < SILENT_PROBES_MAX;
                } else {
                    more = true;
                }
                if more {
                    look_at = look_at.min(self.probes.silent_pace.next(rate, 1));
                }
            }
        }
        let soonest = now + Duration::from_millis(1);
        self.probes.silent_at = Some(look_at.max(soonest));
    }

    /// Of the table peers that are due to be asked and are not being asked, the one that was silent for longest, and whether
    /// there are more. Lowers `look_at` to when the next is due.
    ///
    /// Reads standings, and descriptors only of those that matter: they lie all over the memory.
    fn find_silent(&self, look_at: &mut Timestamp) -> (Option<PeerInfo>, bool) {
        let (now, table) = (self.now.monotonic, &self.config.table);
        let (after, young) = (table.probe_after, table.probe_unproven_after);
        let (mut stalest, mut more) = (None, false);
        for (place, standing) in self.table.standings() {
            let due = standing.due(after, young);
            let matters = if due > now {
                due < *look_at
            } else {
                !more || stalest.is_none_or(|(known, _)| standing.last_answer() < known)
            };
            if !matters || self.is_silent_asked(&self.table.at(place).peer.id) {
                continue;
            }
            if due > now {
                *look_at = due;
                continue;
            }
            more = stalest.is_some();
            if stalest.is_none_or(|(known, _)| standing.last_answer() < known) {
                stalest = Some((standing.last_answer(), place));
            }
        }
        (stalest.map(|(_, place)| self.table.at(place).clone()), more)
    }

    /// Whether a table peer is being asked whether it is still there, or will be again soon.
    fn is_silent_asked(&self, id: &PeerId) -> bool {
        self.probes.silent.contains(id) || self.probes.again.contains_key(id)
    }

    /// Asks a peer for its own id; one that is a neighbour already for ours, since it costs the same.
    pub(super) fn probe(&mut self, info: PeerInfo) {
        if self.table.contains(&info.peer) && self.table.is_near(&info.peer.key) {
            return self.ask_neighbour(info);
        }
        let key = Bytes::copy_from_slice(info.peer.id.as_bytes());
        self.send_probe(info, Request::FindNode { key });
    }
}

/// How often to look for silent peers when none is due: whoever enters meanwhile is due later than that.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::AddrList;

    fn info(seed: u32) -> PeerInfo {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&seed.to_be_bytes());
        PeerInfo::new(Peer::new(PeerId::from_digest(digest)), AddrList::EMPTY)
    }

    fn group(n: u32) -> Group {
        let [_, _, a, b] = n.to_be_bytes();
        Group::of([20 + a, b, 0, 1].into(), None)
    }

    #[test]
    fn each_group_has_its_turn_and_no_more_than_its_share() {
        let mut line = Line::default();
        let refused = (0..100).filter(|seed| line.push(group(1), info(*seed)).is_some()).count();
        assert_eq!(refused, 100 - PROBES_PER_GROUP_MAX);
        assert_eq!(line.push(group(2), info(200)), None);
        let first: alloc::vec::Vec<_> = (0..3).filter_map(|_| line.pop()).collect();
        assert_eq!(
            first,
            [info(0), info(200), info(1)],
            "one of the flood, then the other, then the flood again"
        );
    }

    #[test]
    fn a_full_line_still_takes_a_stranger_of_a_short_group() {
        let mut line = Line::default();
        for seed in 0..PROBES_WAITING_MAX as u32 {
            assert_eq!(line.push(group(seed / PROBES_PER_GROUP_MAX as u32), info(seed)), None);
        }
        let honest = info(1_000_000);
        let dropped = line.push(group(50_000), honest.clone());
        assert!(dropped.is_some() && dropped != Some(honest.clone()), "the flood loses one");
        assert!(line.contains(&honest.peer) && line.len == PROBES_WAITING_MAX);
        let mut left = 0;
        while line.pop().is_some() {
            left += 1;
        }
        assert_eq!((left, line.len), (PROBES_WAITING_MAX, 0));
    }

    #[test]
    fn without_groups_the_line_is_bounded_as_a_whole() {
        let mut line = Line::default();
        let taken = (0..1_000).filter(|seed| line.push(Group::EXEMPT, info(*seed)).is_none()).count();
        assert_eq!(taken, PROBES_WAITING_MAX);
        assert_eq!(line.push(group(1), info(5_000)), Some(info(PROBES_WAITING_MAX as u32 - 1)));
    }
}
