//! Who gets into the table, and who gives way.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::time::Duration;

use super::bucket::{Mark, lengthen_exact};
use super::diversity::{Census, Group};
use super::standing::Standing;
use super::table::{Admission, Table, Waiting};
use crate::event::Eviction;
use crate::key::Key;
use crate::peer::{Peer, PeerInfo};
use crate::time::Timestamp;

/// A peer that has answered, and what its answer was worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Who.
    pub info: PeerInfo,
    /// Where it is connected from.
    pub group: Group,
    /// How long its answer took.
    pub rtt: Option<Duration>,
    /// Whether its answer helped an operation; an answer to a probe does not.
    pub useful: bool,
}

/// What came of a newcomer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// [`Admission::Room`] when it is in the table now.
    pub admission: Admission,
    /// Who had to give way, and why.
    pub evicted: Vec<(PeerInfo, Eviction)>,
}

impl Table {
    /// Whether a stranger would get a place if it answered a probe; `group` is asked for its group if that matters. Cost: a
    /// pass over the table at most.
    pub fn prospect(&self, peer: &Peer, group: impl FnOnce() -> Group) -> Admission {
        match self.admission(peer) {
            Admission::Full if !self.is_near(&peer.key) && self.victim(&peer.key, false, None).is_none() => {
                Admission::Full
            }
            Admission::Room | Admission::Full => {
                let group = group();
                if self.group_is_full(&peer.key, group) && self.weakest_of(group).is_none() {
                    Admission::GroupFull
                } else {
                    Admission::Room
                }
            }
            admission => admission,
        }
    }

    /// Whether there is a free place in the bucket of `peer`. Cost: a binary search.
    pub fn admission(&self, peer: &Peer) -> Admission {
        let prefix_len = self.prefix_len(&peer.key);
        if prefix_len == Key::BITS {
            return Admission::IsSelf;
        }
        match self.view.buckets.get(usize::from(prefix_len)) {
            Some(bucket) if bucket.position(&peer.key).is_ok() => Admission::Present,
            Some(bucket) if bucket.len() >= self.bucket_size(prefix_len.into()) => Admission::Full,
            _ => Admission::Room,
        }
    }

    /// Takes a peer that has answered, if it gets a place: a free one, one among the k nearest, or that of somebody who
    /// failed, or who has not proven itself and does worse.
    ///
    /// Of an over-full IP group the best stay, so a newcomer gets in for one that failed or never answered only.
    pub fn admit(&mut self, newcomer: Newcomer, now: Timestamp) -> Admitted {
        let Newcomer { info, group, rtt, useful } = newcomer;
        let key = info.peer.key;
        let mut evicted = Vec::new();
        let refuse = |admission| Admitted { admission, evicted: Vec::new() };
        let admission = self.admission(&info.peer);
        let near = match admission {
            Admission::Room => self.is_near(&key),
            Admission::Full => self.is_near(&key),
            other => return refuse(other),
        };
        let victim =
            if admission == Admission::Full && !near { self.victim(&key, useful, rtt) } else { None };
        if admission == Admission::Full && !near && victim.is_none() {
            self.wait(info, now);
            return refuse(Admission::Full);
        }
        if self.group_is_full(&key, group) {
            let Some(weakest) = self.weakest_of(group) else { return refuse(Admission::GroupFull) };
            evicted.extend(self.remove(&weakest).map(|info| (info, Eviction::GroupFull)));
            if self.group_is_full(&key, group) {
                return Admitted { admission: Admission::GroupFull, evicted };
            }
        }
        // The one of its group that left may have left the place that it needs.
        if self.admission(&info.peer) == Admission::Full
            && let Some(victim) = victim.filter(|victim| self.contains(victim))
        {
            evicted.extend(self.remove(&victim).map(|info| (info, Eviction::Replaced)));
        }
        let standing = Standing::verified(now, rtt);
        self.put(info, group, if useful { standing.helped_at_once(now) } else { standing });
        self.trim(&mut evicted);
        Admitted { admission: Admission::Room, evicted }
    }

    /// Takes a peer that has proven that it answers, as far as there is room, whatever its group; notes the answer of one
    /// that is there, and its addresses.
    pub fn insert(&mut self, info: PeerInfo, now: Timestamp) -> Admission {
        let admission = self.admission(&info.peer);
        match admission {
            Admission::Room => self.put(info, Group::EXEMPT, Standing::verified(now, None)),
            Admission::Present => {
                self.answered(&info.peer, now, None);
                self.update_addrs(&info);
            }
            Admission::Full | Admission::GroupFull | Admission::IsSelf => {}
        }
        admission
    }

    /// Takes a peer of a table that was kept, as far as there is room in its bucket and its group. Lookups use it at once;
    /// it is named to others when it has answered, and dropped at its first failure.
    pub fn remember(
        &mut self,
        info: PeerInfo,
        group: Group,
        rtt: Option<Duration>,
        now: Timestamp,
    ) -> Admission {
        let mut admission = self.admission(&info.peer);
        if admission == Admission::Room && self.group_is_full(&info.peer.key, group) {
            admission = Admission::GroupFull;
        }
        if admission == Admission::Room {
            self.put(info, group, Standing::remembered(now, rtt));
        }
        admission
    }

    /// Notes from where a table peer is connected now. Returns who had to leave because its new group is over-full with it:
    /// the least of the group.
    pub fn set_group(&mut self, key: &Key, group: Group) -> Option<PeerInfo> {
        let (bucket, place) = self.place(key)?;
        let mark = self.view.buckets[bucket].mark(place);
        if mark.group() == group {
            return None;
        }
        let standing = self.standings[bucket][place];
        if self.has_room_for(group, bucket, mark.group()) {
            let mark = Mark::new(group, standing.is_verified());
            Arc::make_mut(&mut self.view.buckets[bucket]).set_mark(place, mark);
            return None;
        }
        let peer = self.at((bucket, place)).peer.clone();
        let info = self.remove(&peer)?;
        // Counted without itself, as a newcomer is.
        let over = self.group_is_full(key, group);
        self.put(info, group, standing);
        let least = over.then(|| self.least_of(group, |_| true))??;
        self.remove(&least)
    }

    /// Takes the stranger that waits for a place in a bucket.
    pub fn take_waiting(&mut self, prefix_len: u16) -> Option<PeerInfo> {
        self.waiting.get_mut(usize::from(prefix_len))?.take().map(|waiting| waiting.info)
    }

    /// Lets a stranger wait for the next free place in its bucket. One waits at a time: who came first, until it has waited
    /// for `table.refresh_interval`; then it may be gone itself.
    pub fn wait(&mut self, info: PeerInfo, now: Timestamp) {
        let index = usize::from(self.prefix_len(&info.peer.key));
        if index >= self.view.buckets.len() {
            return; // there is no such bucket, so it is not full
        }
        lengthen_exact(&mut self.waiting, index + 1, || None);
        let interval = self.config.refresh_interval;
        let place = &mut self.waiting[index];
        if place.as_ref().is_none_or(|waiting| now.since(waiting.since) >= interval) {
            *place = Some(Box::new(Waiting { info, since: now }));
        }
    }

    /// Peers a bucket holds beside those of the k nearest.
    pub fn bucket_size(&self, index: usize) -> usize {
        let size = self.config.bucket_size.get();
        self.config.top_buckets.get(index).map_or(size, |top| size.max(*top))
    }

    /// Whether a peer with `key` would be among the k nearest to us. Cost: a pass over its bucket.
    pub(crate) fn is_near(&self, key: &Key) -> bool {
        let index = usize::from(self.prefix_len(key));
        let deeper: usize = self.view.buckets.iter().skip(index + 1).map(|bucket| bucket.len()).sum();
        let count = self.config.neighbours;
        deeper < count && {
            let own = self.view.local.peer.key;
            let nearer = self.view.buckets.get(index).map_or(0, |bucket| bucket.nearer(&own, key));
            deeper + nearer < count
        }
    }

    /// Who in the bucket of `key` would give way to a stranger that answered so: the least of those that may. Never one of
    /// the k nearest, unless it fails.
    fn victim(&self, key: &Key, useful: bool, rtt: Option<Duration>) -> Option<Peer> {
        let index = usize::from(self.prefix_len(key));
        let bucket = self.view.buckets.get(index)?;
        let yields = |(_, standing): &(&PeerInfo, &Standing)| standing.yields_to(useful, rtt);
        let yielding = bucket.iter().zip(&self.standings[index]).filter(yields);
        let victim = yielding.min_by(|(_, a), (_, b)| a.worth(b))?;
        if !victim.1.is_weak() && self.is_near(&victim.0.peer.key) {
            return None;
        }
        Some(victim.0.peer.clone())
    }

    /// Whether the table has as many of `group` as it may beside a peer with `key`: in its bucket, and in all. Outside of
    /// the k nearest a bucket's share of the table's number is left free, so that a large group far away hides no
    /// neighbour.
    fn group_is_full(&self, key: &Key, group: Group) -> bool {
        if group.is_exempt() {
            return false;
        }
        let (per_bucket, per_table) = (self.config.group_per_bucket, self.config.group_per_table);
        let (in_bucket, in_table) = self.census(group, self.prefix_len(key).into());
        let far_share = self.far_share();
        let far_is_full = || {
            per_table > 0
                && in_table.total() >= far_share
                && !self.is_near(key)
                && self.far_of(group) >= far_share
        };
        in_bucket.is_full(per_bucket) || in_table.is_full(per_table) || far_is_full()
    }

    /// How many of a group a bucket has, and how many the table.
    fn census(&self, group: Group, index: usize) -> (Census, Census) {
        let (mut in_bucket, mut in_table) = (Census::new(group), Census::new(group));
        for (place, bucket) in self.view.buckets.iter().enumerate() {
            let mut census = Census::new(group);
            bucket.marks().for_each(|mark| census.count(mark.group()));
            in_table.add(census);
            if place == index {
                in_bucket = census;
            }
        }
        (in_bucket, in_table)
    }

    /// How many of a group the table may have before those who are not among the k nearest are counted by themselves.
    fn far_share(&self) -> usize {
        self.config.group_per_table.saturating_sub(self.config.group_per_bucket).max(1)
    }

    /// Whether a table peer that was of group `from` may be of `group`, by nothing but numbers that it cannot reach. So it
    /// is with nearly all, and what each has to be asked for a closer look need not be.
    fn has_room_for(&self, group: Group, index: usize, from: Group) -> bool {
        if group.is_exempt() {
            return true;
        }
        if from.is_shared_with(group) {
            return false;
        }
        let (per_bucket, per_table) = (self.config.group_per_bucket, self.config.group_per_table);
        let (in_bucket, in_table) = self.census(group, index);
        let far_has_room = per_table == 0 || in_table.total() < self.far_share();
        far_has_room && !in_bucket.is_full(per_bucket) && !in_table.is_full(per_table)
    }

    /// How many of a group are not among the k nearest.
    fn far_of(&self, group: Group) -> usize {
        let of_group = self.iter().filter(|(_, other, _)| group.is_shared_with(*other));
        of_group.filter(|(info, ..)| !self.is_near(&info.peer.key)).count()
    }

    /// The one of a group that has to give way to one that answers, if there is one.
    fn weakest_of(&self, group: Group) -> Option<Peer> {
        self.least_of(group, Standing::is_weak)
    }

    fn least_of(&self, group: Group, may: impl Fn(&Standing) -> bool) -> Option<Peer> {
        let of_group =
            self.iter().filter(|(_, other, standing)| group.is_shared_with(*other) && may(standing));
        of_group.min_by(|a, b| a.2.worth(b.2)).map(|(info, ..)| info.peer.clone())
    }

    /// Brings buckets back to their size after one of the k nearest has entered: whoever is no longer among them counts
    /// again. Those who have proven themselves and answer stay all the same, so that nobody drives out neighbours by being
    /// nearer; but never more than once the k.
    fn trim(&mut self, evicted: &mut Vec<(PeerInfo, Eviction)>) {
        let mut deeper = 0;
        for index in (0..self.view.buckets.len()).rev() {
            let len = self.view.buckets[index].len();
            let near = self.config.neighbours.saturating_sub(deeper).min(len);
            deeper += len;
            let over = (len - near).saturating_sub(self.bucket_size(index));
            if over == 0 {
                continue;
            }
            let bucket = &self.view.buckets[index];
            let far =
                bucket.iter().zip(&self.standings[index]).filter(|(info, _)| !self.is_near(&info.peer.key));
            let own = self.view.local.peer.key;
            let farther =
                |a: &PeerInfo, b: &PeerInfo| b.peer.key.distance(&own).cmp(&a.peer.key.distance(&own));
            let least = far.min_by(|(a, a_standing), (b, b_standing)| match a_standing.worth(b_standing) {
                Ordering::Equal => farther(a, b),
                other => other,
            });
            let may_go = |(_, standing): &(&PeerInfo, &Standing)| {
                over > self.config.neighbours || standing.is_weak() || !standing.is_proven()
            };
            if let Some(peer) = least.filter(may_go).map(|(info, _)| info.peer.clone()) {
                evicted.extend(self.remove(&peer).map(|info| (info, Eviction::Replaced)));
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use core::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;
    use crate::addr::AddrList;
    use crate::config::{Config, Mode};
    use crate::peer::PeerId;

    pub(in super::super) fn peer(seed: u32) -> PeerInfo {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&seed.to_be_bytes());
        let id = PeerId::from_digest(digest);
        PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[4, 1, 2, 3, 4].as_slice()]))
    }

    pub(in super::super) fn table(bucket_size: usize, failures_max: u32) -> Table {
        with(bucket_size, 0, |config| config.failures_max = failures_max)
    }

    fn with(
        bucket_size: usize,
        neighbours: usize,
        change: impl FnOnce(&mut crate::config::TableConfig),
    ) -> Table {
        let mut config = Config::default().table;
        config.bucket_size = NonZeroUsize::new(bucket_size).expect("positive in these tests");
        config.neighbours = neighbours;
        change(&mut config);
        Table::new(peer(u32::MAX).peer, Mode::Server, config)
    }

    fn newcomer(seed: u32, group: Group) -> Newcomer {
        Newcomer { info: peer(seed), group, rtt: Some(Duration::from_millis(100)), useful: false }
    }

    fn group(n: u32) -> Group {
        let [_, _, a, b] = n.to_be_bytes();
        Group::of([20 + a, b, 0, 1].into(), None)
    }

    /// Peers of one bucket.
    fn of_bucket(table: &Table, prefix_len: u16) -> impl Iterator<Item = u32> + use<> {
        let local = table.view.local.peer.key;
        (0..100_000).filter(move |seed| local.common_prefix_len(&peer(*seed).peer.key) == prefix_len)
    }

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    #[test]
    fn full_buckets_keep_their_seniors() {
        let mut table = table(3, 2);
        for seed in 0..200 {
            table.insert(peer(seed), Timestamp::ZERO);
        }
        let seniors: Vec<_> = table.view().iter().cloned().collect();
        for seed in 200..400 {
            assert_ne!(table.insert(peer(seed), Timestamp::ZERO), Admission::Present);
        }
        assert!(seniors.iter().all(|senior| table.contains(&senior.peer)));
    }

    #[test]
    fn self_never_enters() {
        let mut table = table(20, 2);
        assert_eq!(table.insert(peer(u32::MAX), Timestamp::ZERO), Admission::IsSelf);
        assert_eq!(table.admit(newcomer(u32::MAX, group(1)), NOW).admission, Admission::IsSelf);
        assert_eq!(table.prospect(&peer(u32::MAX).peer, || group(1)), Admission::IsSelf);
        assert!(table.view().is_empty());
    }

    #[test]
    fn a_stranger_takes_the_place_of_one_that_fails_but_of_no_live_one() {
        let mut table = table(3, 9);
        let seeds: Vec<_> = of_bucket(&table, 0).take(6).collect();
        for seed in &seeds[..3] {
            table.admit(newcomer(*seed, Group::EXEMPT), NOW);
        }
        let stranger = newcomer(seeds[3], Group::EXEMPT);
        assert_eq!(
            table.prospect(&stranger.info.peer, || Group::EXEMPT),
            Admission::Full,
            "not worth a probe"
        );
        assert_eq!(table.admit(stranger.clone(), NOW).admission, Admission::Full);
        table.failed(&peer(seeds[1]).peer);
        assert_eq!(table.prospect(&stranger.info.peer, || Group::EXEMPT), Admission::Room);
        let admitted = table.admit(stranger, NOW);
        assert_eq!(admitted.evicted, [(peer(seeds[1]), Eviction::Replaced)]);
        assert!(table.contains(&peer(seeds[3]).peer) && table.view().len() == 3);
    }

    #[test]
    fn use_then_speed_decide_among_the_unproven() {
        let mut table = table(2, 2);
        let seeds: Vec<_> = of_bucket(&table, 0).take(6).collect();
        table.admit(newcomer(seeds[0], Group::EXEMPT), NOW);
        table.admit(newcomer(seeds[1], Group::EXEMPT), NOW);
        table.helped(&peer(seeds[0]).peer, NOW);
        let mut fast = newcomer(seeds[2], Group::EXEMPT);
        fast.rtt = Some(Duration::from_millis(50));
        assert_eq!(table.admit(fast.clone(), NOW).admission, Admission::Full, "not twice as fast");
        fast.rtt = Some(Duration::from_millis(49));
        assert_eq!(table.admit(fast, NOW).evicted, [(peer(seeds[1]), Eviction::Replaced)]);
        let useful = Newcomer { useful: true, rtt: None, ..newcomer(seeds[3], Group::EXEMPT) };
        assert_eq!(table.admit(useful, NOW).evicted, [(peer(seeds[2]), Eviction::Replaced)]);
        table.helped(&peer(seeds[3]).peer, NOW);
        let best = Newcomer {
            useful: true,
            rtt: Some(Duration::from_millis(1)),
            ..newcomer(seeds[4], Group::EXEMPT)
        };
        assert_eq!(table.admit(best, NOW).admission, Admission::Full, "the proven stay");
    }

    #[test]
    fn one_stranger_waits_for_each_bucket_and_gives_way_in_time() {
        let mut table = table(1, 2);
        let seeds: Vec<_> = of_bucket(&table, 0).take(4).collect();
        table.wait(peer(seeds[1]), NOW);
        assert_eq!(table.take_waiting(0), None, "there is no bucket yet, so nobody need wait");
        table.admit(newcomer(seeds[0], Group::EXEMPT), NOW);
        for seed in &seeds[1..3] {
            table.admit(newcomer(*seed, Group::EXEMPT), NOW);
        }
        assert_eq!(table.take_waiting(0), Some(peer(seeds[1])), "who came first");
        assert_eq!(table.take_waiting(0), None);
        table.wait(peer(seeds[1]), NOW);
        table.wait(peer(seeds[2]), NOW + table.config.refresh_interval);
        assert_eq!(table.take_waiting(0), Some(peer(seeds[2])));
        assert_eq!(table.take_waiting(77), None);
    }

    #[test]
    fn of_a_group_only_so_many_enter_and_the_failing_give_way() {
        let mut table = with(20, 0, |config| (config.group_per_bucket, config.group_per_table) = (2, 5));
        let [one, two]: [Vec<_>; 2] =
            [0, 1].map(|prefix_len| of_bucket(&table, prefix_len).take(5).collect());
        let mut enter = |seed| table.admit(newcomer(seed, group(7)), NOW).admission;
        assert_eq!(
            [0, 1, 2].map(|i| enter(one[i])),
            [Admission::Room, Admission::Room, Admission::GroupFull]
        );
        assert_eq!([0, 1].map(|i| enter(two[i])), [Admission::Room, Admission::GroupFull], "three far away");
        assert_eq!(table.admit(newcomer(one[2], group(8)), NOW).admission, Admission::Room);
        assert_eq!(table.admit(newcomer(one[3], Group::EXEMPT), NOW).admission, Admission::Room);
        assert_eq!(table.prospect(&peer(one[4]).peer, || group(7)), Admission::GroupFull);
        table.failed(&peer(one[1]).peer);
        assert_eq!(table.prospect(&peer(one[4]).peer, || group(7)), Admission::Room);
        let admitted = table.admit(newcomer(one[4], group(7)), NOW);
        assert_eq!(admitted.evicted, [(peer(one[1]), Eviction::GroupFull)]);
    }

    #[test]
    fn neighbours_of_a_large_group_still_find_a_place() {
        let mut table = with(20, 4, |config| (config.group_per_bucket, config.group_per_table) = (2, 5));
        let mut seeds: Vec<_> = (0..3_000).collect();
        let own = table.view.local.peer.key;
        seeds.sort_by_key(|seed| peer(*seed).peer.key.distance(&own));
        let enter = |table: &mut Table, seed, of| table.admit(newcomer(seed, group(of)), NOW).admission;
        // Somebody else is near already, so that those far away are not.
        for (near, seed) in (5..).zip(&seeds[5..9]) {
            assert_eq!(enter(&mut table, *seed, near), Admission::Room);
        }
        let [far @ .., fourth] =
            [0, 1, 2, 3].map(|prefix_len| of_bucket(&table, prefix_len).next().expect("many"));
        for seed in far {
            assert_eq!(enter(&mut table, seed, 99), Admission::Room);
        }
        assert_eq!(enter(&mut table, fourth, 99), Admission::GroupFull, "three far away are enough");
        assert_eq!(enter(&mut table, seeds[0], 99), Admission::Room, "but a neighbour enters");
        let of_group = table.iter().filter(|(_, of, _)| group(99).is_shared_with(*of)).count();
        assert_eq!(of_group, 4);
    }

    #[test]
    fn a_changed_group_that_is_over_full_loses_its_least() {
        let mut table = with(20, 0, |config| (config.group_per_bucket, config.group_per_table) = (2, 5));
        let seeds: Vec<_> = of_bucket(&table, 0).take(3).collect();
        for (seed, of) in [(seeds[0], 7), (seeds[1], 7), (seeds[2], 8)] {
            table.admit(newcomer(seed, group(of)), NOW);
            table.helped(&peer(seed).peer, NOW);
        }
        assert_eq!(table.set_group(&peer(seeds[2]).peer.key, group(8)), None, "no change");
        table.failed(&peer(seeds[0]).peer);
        assert_eq!(table.set_group(&peer(seeds[2]).peer.key, group(7)), Some(peer(seeds[0])));
        assert_eq!(table.set_group(&peer(seeds[2]).peer.key, Group::EXEMPT), None);
        assert_eq!(table.view().len(), 2);
    }

    #[test]
    fn larger_top_buckets_are_a_setting() {
        let mut table = with(2, 0, |config| config.top_buckets = alloc::vec![5, 1]);
        (0..400).for_each(|seed| drop(table.admit(newcomer(seed, Group::EXEMPT), NOW)));
        let sizes: Vec<_> = table.view().buckets().map(|(_, bucket)| bucket.len()).take(3).collect();
        assert_eq!(sizes, [5, 2, 2], "never smaller than bucket_size");
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit { seed: u32, group: u32, useful: bool, rtt_ms: u64 },
        Answer(u32),
        Fail(u32),
        Regroup(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let seed = || 0u32..400;
        prop_oneof![
            6 => (seed(), 0u32..60, any::<bool>(), 1u64..300)
                .prop_map(|(seed, group, useful, rtt_ms)| Step::Admit { seed, group, useful, rtt_ms }),
            2 => seed().prop_map(Step::Answer),
            2 => seed().prop_map(Step::Fail),
            1 => (seed(), 0u32..60).prop_map(|(seed, group)| Step::Regroup(seed, group)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// The bounds hold whatever happens, the nearest that ever entered and did not leave are there, and nobody who is
        /// live and proven leaves for a stranger.
        #[test]
        fn bounds_hold_and_the_proven_stay(steps in prop::collection::vec(step(), 0..200), size in 1usize..5, near in 0usize..8) {
            let mut table = with(size, near, |config| (config.group_per_bucket, config.group_per_table) = (2, 5));
            let mut now = NOW;
            for step in steps {
                now = now + Duration::from_secs(10);
                match step {
                    Step::Admit { seed, group: of, useful, rtt_ms } => {
                        let before = table.clone();
                        let rtt = Some(Duration::from_millis(rtt_ms));
                        let joins = Newcomer { info: peer(seed), group: group(of), rtt, useful };
                        let admitted = table.admit(joins, now);
                        for (gone, reason) in &admitted.evicted {
                            let standing = before.standing(&gone.peer);
                            prop_assert!(!table.contains(&gone.peer));
                            // The newcomer itself never goes, and of those that were there only the weak and the unproven;
                            // unless very many were pushed out from among the neighbours.
                            let standing = standing.expect("it was there");
                            let bucket = table.view().buckets().nth(usize::from(table.prefix_len(&gone.peer.key)));
                            let far = bucket.map_or(0, |(_, bucket)| {
                                bucket.iter().filter(|info| !table.is_near(&info.peer.key)).count()
                            });
                            let may = standing.is_weak() || !standing.is_proven() || far >= size + near;
                            prop_assert!(may, "{reason:?}");
                        }
                        prop_assert_eq!(table.contains(&peer(seed).peer),
                            matches!(admitted.admission, Admission::Room | Admission::Present));
                    }
                    Step::Answer(seed) => {
                        table.answered(&peer(seed).peer, now, None);
                    }
                    Step::Fail(seed) => {
                        table.failed(&peer(seed).peer);
                    }
                    Step::Regroup(seed, of) => {
                        table.set_group(&peer(seed).peer.key, group(of));
                    }
                }
                let mut count = 0;
                for (prefix_len, bucket) in table.view().buckets() {
                    let far = bucket.iter().filter(|info| !table.is_near(&info.peer.key)).count();
                    prop_assert!(far <= size + near, "{} beside the neighbours", far);
                    for info in bucket.iter() {
                        prop_assert_eq!(table.prefix_len(&info.peer.key), prefix_len);
                        prop_assert!(table.contains(&info.peer));
                        count += 1;
                    }
                }
                prop_assert_eq!(count, table.standings.iter().flatten().count());
                prop_assert_eq!(table.standings.len(), table.view.buckets.len());
                prop_assert!(table.standings.iter().zip(table.view().buckets()).all(|(s, (_, b))| s.len() == b.len()));
                for of in 0..60 {
                    let census = table.iter().filter(|(_, other, _)| group(of).is_shared_with(*other));
                    prop_assert!(census.count() <= 5);
                }
                let near_count = table.view().iter().filter(|info| table.is_near(&info.peer.key)).count();
                prop_assert_eq!(near_count, near.min(table.view().len()));
            }
        }
    }
}
