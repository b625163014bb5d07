//! Provider records in memory.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use kadmos_core::record::ProviderRecord;
use kadmos_core::time::UnixTime;
use kadmos_core::{Peer, PeerInfo};

use crate::error::{Capacity, WriteError};
use crate::memory::clock::{Moment, STEP_MIN};
use crate::memory::limits::{MemoryLimits, ROOM_VISITS_MAX};
use crate::memory::log::{ClaimDates, Log};
use crate::memory::replacement::{Group, gives_way};
use crate::memory::roster::{Place, Roster};
use crate::memory::tree::{Claim, Spot, Tree};
use crate::memory::values::page;
use crate::store::KeyPage;

/// What a lifetime's 32 bits hold: 136 years.
const LIFETIME_MAX: Duration = Duration::from_secs(u32::MAX as u64);
/// Places for turns, at first and at most. Keys that share one go on with each other's turn: harmless, and rare.
const TURNS_MIN: usize = 256;
/// See [`TURNS_MIN`].
const TURNS_MAX: usize = 65_536;

/// Claims of which the allocation is kept for the next write.
const CLAIMS_KEPT: usize = 32;

/// The provider records, by key, and what they cost.
#[derive(Debug)]
pub(super) struct Providers {
    tree: Tree,
    roster: Roster,
    records: usize,
    /// Records by the hour since 1970 in which they expire.
    hours: BTreeMap<u32, u64>,
    /// The tree's dates count from here: half of what 32 bits hold before the first record.
    epoch: Option<u64>,
    /// No record was received later than this.
    latest: u32,
    /// The leaf that is looked at next for impossible dates.
    sweep: usize,
    /// Where the next answer for a key with several providers begins, by a hash of the key. One count for each: with one
    /// for the store, whoever asks for two keys in turn would always see the same providers first.
    turns: Vec<AtomicU16>,
    /// Keys with several providers.
    shared_keys: usize,
    /// Built anew by each write; one allocation for all of them.
    claims: Vec<Claim>,
}

impl Clone for Providers {
    fn clone(&self) -> Self {
        Self {
            tree: self.tree.clone(),
            roster: self.roster.clone(),
            hours: self.hours.clone(),
            turns: self.turns.iter().map(|turn| AtomicU16::new(turn.load(Ordering::Relaxed))).collect(),
            claims: Vec::new(),
            ..*self
        }
    }
}

impl Providers {
    pub(super) fn new() -> Self {
        Self {
            tree: Tree::default(),
            roster: Roster::default(),
            records: 0,
            hours: BTreeMap::new(),
            epoch: None,
            latest: 0,
            sweep: 0,
            turns: Vec::new(),
            shared_keys: 0,
            claims: Vec::new(),
        }
    }

    pub(super) fn keys_len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn providers_len(&self) -> usize {
        self.roster.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.tree.bytes() + self.roster.bytes() + self.turns.len() * 2
    }

    /// Visits unexpired providers of `key` until `visit` breaks; returns how many were visited.
    ///
    /// The next answer begins with the provider at which this one broke off, or, after a complete one, with the
    /// second: so each has its turn, and answers of a part follow each other through the whole.
    pub(super) fn visit(
        &self,
        key: &[u8],
        at: &Moment,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> usize {
        let claims = self.tree.claims(&self.tree.find(key));
        let turn = if claims.len() > 1 { self.turn(key) } else { None };
        let start = turn.map_or(0, |turn| usize::from(turn.load(Ordering::Relaxed)) % claims.len());
        let (before, after) = claims.split_at(start);
        let now = self.date(at.now);
        let mut visited = 0;
        let mut advance = 1;
        for (passed, claim) in after.iter().chain(before.iter()).enumerate() {
            let Some(member) = self.roster.member(claim.place).filter(|_| claim.expires() > now) else {
                continue;
            };
            visited += 1;
            if visit(&member.info(at)).is_break() {
                advance = passed.max(1);
                break;
            }
        }
        if let Some(turn) = turn {
            // Two answers at the same moment may begin alike; neither that nor wrapping around harms the rotation.
            turn.store(((start + advance) % claims.len()) as u16, Ordering::Relaxed); // any 16 bits will do
        }
        visited
    }

    /// Whether anybody provides `key`. Unlike an answer, takes nobody's turn.
    pub(super) fn contains(&self, key: &[u8], at: &Moment) -> bool {
        let now = self.date(at.now);
        self.tree.claims(&self.tree.find(key)).iter().any(|claim| claim.expires() > now)
    }

    pub(super) fn add(
        &mut self,
        record: &ProviderRecord,
        at: &Moment,
        limits: &MemoryLimits,
        log: &mut dyn Log,
    ) -> Result<(), WriteError> {
        let received = at.local(record.received).min(at.now);
        let dates = ClaimDates {
            received,
            expires: at.local(record.expires).min(received + LIFETIME_MAX),
            addrs_expire: at.local(record.addrs_expire),
        };
        let (place, is_shorter) = self.claim(&record.key, &record.provider, dates, at, limits, log, None)?;
        self.roster.announce(place, &record.provider.addrs, dates.addrs_expire);
        log.claim(&record.key, &record.provider, dates, is_shorter);
        Ok(())
    }

    /// Takes a record that was kept. `hint` is where its provider was last time. Returns where it is, and whether it replaced one that would have lived into a later hour. They do not come in order of time, so the addresses that expire last are the ones
    /// that were announced last.
    pub(super) fn load(
        &mut self,
        key: &[u8],
        provider: &PeerInfo,
        dates: ClaimDates,
        at: &Moment,
        limits: &MemoryLimits,
        hint: Option<Place>,
    ) -> Result<(Place, bool), WriteError> {
        let (place, is_shorter) = self.claim(key, provider, dates, at, limits, &mut (), hint)?;
        if self.roster.member(place).is_some_and(|member| member.addrs_expire() <= dates.addrs_expire) {
            self.roster.announce(place, &provider.addrs, dates.addrs_expire);
        }
        Ok((place, is_shorter))
    }

    #[expect(clippy::too_many_arguments, reason = "what a write is, and what it is written into")]
    /// Makes `provider` one of the providers of `key`, whatever its addresses. Returns its place, and whether it replaced
    /// a claim that would have lived into a later hour.
    fn claim(
        &mut self,
        key: &[u8],
        provider: &PeerInfo,
        dates: ClaimDates,
        at: &Moment,
        limits: &MemoryLimits,
        log: &mut dyn Log,
        hint: Option<Place>,
    ) -> Result<(Place, bool), WriteError> {
        if dates.expires <= at.now {
            return Err(WriteError::Expired);
        }
        if self.epoch.is_none() {
            self.epoch = Some(at.now.as_secs().saturating_sub(1 << 31));
        }
        let per_key = limits.providers_per_key.max(1);
        let mut spot = self.tree.find(key);
        if self.tree.claims(&spot).len() >= per_key {
            self.collect(key, at, log);
            spot = self.tree.find(key);
        }
        let hint = hint.filter(|hint| self.roster.member(*hint).is_some_and(|held| held.is(&provider.peer)));
        let mut place = hint.or_else(|| self.roster.find(&provider.peer));
        for visit in 0.. {
            let Some(full) = self.shortage(key, &spot, provider, place, limits) else { break };
            if visit == ROOM_VISITS_MAX || self.visit_due(at, log).is_none() {
                return Err(full);
            }
            (spot, place) = (self.tree.find(key), self.roster.find(&provider.peer));
        }

        let mut claims = std::mem::take(&mut self.claims);
        claims.clear();
        claims.extend(self.tree.claims(&spot).iter());
        let shared_before = claims.len() > 1;
        let earlier = claims.iter().position(|claim| Some(claim.place) == place);
        let mut is_shorter = false;
        // The new record is counted before the old one goes, so that its provider stays.
        let place = place.unwrap_or_else(|| self.roster.join(provider.peer.clone()));
        self.roster.add_record(place);
        if let Some(index) = earlier {
            let earlier = claims.remove(index);
            is_shorter = self.hour(&earlier) > hour_of(dates.expires);
            self.forget(&earlier);
        } else if let Some(index) = self.gives_way(&claims, provider, per_key) {
            let other = claims.remove(index);
            self.forget(&other);
        }
        let received = self.date(dates.received);
        let lifetime = u32::try_from(dates.expires.since(dates.received).as_secs()).unwrap_or(u32::MAX);
        let claim = Claim { place, received, lifetime };
        self.records += 1;
        *self.hours.entry(self.hour(&claim)).or_default() += 1;
        self.latest = self.latest.max(received);
        claims.push(claim);
        self.tree.set(&spot, key, &claims);
        self.count_shared(shared_before, claims.len() > 1);
        if claims.capacity() <= CLAIMS_KEPT {
            self.claims = claims;
        }
        Ok((place, is_shorter))
    }

    /// Records that expire in this hour.
    pub(super) fn claims_in(&self, hour: u32) -> u64 {
        self.hours.get(&hour).copied().unwrap_or(0)
    }

    /// Whether exactly this record is held.
    pub(super) fn has(&self, key: &[u8], peer: &Peer, dates: &ClaimDates) -> bool {
        let Some(place) = self.roster.find(peer) else { return false };
        self.tree.claims(&self.tree.find(key)).iter().any(|claim| {
            let found = self.dates(&claim, dates.addrs_expire);
            claim.place == place && found == *dates
        })
    }

    pub(super) fn remove(&mut self, key: &[u8], peer: &Peer) -> bool {
        let Some(place) = self.roster.find(peer) else { return false };
        self.take(key, |claim| claim.place == place) > 0
    }

    pub(super) fn keys(&self, after: Option<&[u8]>, limit: usize, at: &Moment) -> KeyPage {
        let now = self.date(at.now);
        let visited = self.tree.after(after);
        page(visited.map(|(key, claims)| (key, claims.iter().any(|claim| claim.expires() > now))), limit)
    }

    /// The date of the next visit that [`Providers::visit_due`] wants.
    pub(super) fn first_due(&self) -> Option<UnixTime> {
        self.tree.first_due().map(|due| self.unix(due))
    }

    /// Frees what has expired of one key, if something has; returns how many records that were: none when all have been
    /// renewed since they were filed.
    pub(super) fn visit_due(&mut self, at: &Moment, log: &mut dyn Log) -> Option<usize> {
        let key = self.tree.due_key(self.date(at.now))?;
        // Only a leaf was filed anew, unless there is a key of no bytes, which is no worse for a visit.
        Some(self.collect(&key, at, log))
    }

    /// Corrects the claims of one leaf whose dates show that they were written while the clock was wrong. Tells whether
    /// there may be more.
    pub(super) fn visit_misdated(&mut self, at: &Moment, log: &mut dyn Log) -> bool {
        if self.records == 0 || !at.is_impossible(self.unix(self.latest)) {
            return false;
        }
        let date = self.date(at.now + STEP_MIN);
        match self.tree.received_after(self.sweep, date) {
            Some(keys) => {
                for key in keys {
                    self.collect(&key, at, log);
                }
                self.sweep += 1;
            }
            None => (self.sweep, self.latest) = (0, date),
        }
        true
    }

    /// Puts `key` in order: frees expired claims and addresses, corrects impossible dates.
    fn collect(&mut self, key: &[u8], at: &Moment, log: &mut dyn Log) -> usize {
        let spot = self.tree.find(key);
        let mut claims: Vec<Claim> = self.tree.claims(&spot).iter().collect();
        let mut changed = false;
        for claim in &mut claims {
            if at.is_impossible(self.unix(claim.received)) {
                self.uncount(claim);
                claim.received = self.date(at.now);
                *self.hours.entry(self.hour(claim)).or_default() += 1;
                changed = true;
                if let Some(member) = self.roster.member(claim.place) {
                    log.claim(key, member.announced(), self.dates(claim, member.addrs_expire()), false);
                }
            }
            self.roster.drop_expired_addrs(claim.place, at);
        }
        if changed {
            self.tree.set(&spot, key, &claims);
        }
        let now = self.date(at.now);
        self.take(key, |claim| claim.expires() <= now)
    }

    /// The bound that keeps a record from being written now.
    fn shortage(
        &self,
        key: &[u8],
        spot: &Spot,
        provider: &PeerInfo,
        place: Option<Place>,
        limits: &MemoryLimits,
    ) -> Option<WriteError> {
        let claims = self.tree.claims(spot);
        let renews = place.is_some_and(|place| claims.iter().any(|claim| claim.place == place));
        let records = place.and_then(|place| self.roster.member(place)).map_or(0, |member| member.records());
        if !renews && records >= limits.records_per_provider {
            return Some(full(Capacity::RecordsPerProvider, limits.records_per_provider));
        }
        if !spot.is_taken() && self.tree.len() >= limits.provider_keys {
            return Some(full(Capacity::ProviderKeys, limits.provider_keys));
        }
        let mut bytes = self.bytes() + self.roster.cost_of(place, provider);
        let takes_place = claims.len() >= limits.providers_per_key.max(1);
        if !renews && !takes_place {
            bytes += Tree::cost_of(if spot.is_taken() { 0 } else { key.len() }, 1);
            if claims.len() == 1 && self.turns.is_empty() {
                bytes += TURNS_MIN * 2;
            }
        }
        (bytes > limits.provider_bytes).then(|| full(Capacity::ProviderBytes, limits.provider_bytes))
    }

    /// The index of the claim that must go for a new provider, if one must.
    fn gives_way(&self, claims: &[Claim], provider: &PeerInfo, per_key: usize) -> Option<usize> {
        if claims.len() < per_key {
            return None;
        }
        let members = claims.iter().filter_map(|claim| self.roster.member(claim.place));
        let groups: Vec<_> = members.map(|member| member.group()).collect();
        gives_way(&groups, Group::of(&provider.addrs))
    }

    /// Removes the claims on `key` that `goes` picks; the last takes the key with it.
    fn take(&mut self, key: &[u8], goes: impl Fn(&Claim) -> bool) -> usize {
        let spot = self.tree.find(key);
        let held = self.tree.claims(&spot);
        if !held.iter().any(|claim| goes(&claim)) {
            return 0;
        }
        let (gone, left): (Vec<Claim>, Vec<Claim>) = held.iter().partition(|claim| goes(claim));
        self.tree.set(&spot, key, &left);
        gone.iter().for_each(|claim| self.forget(claim));
        self.count_shared(gone.len() + left.len() > 1, left.len() > 1);
        gone.len()
    }

    /// Counts a claim less.
    fn forget(&mut self, claim: &Claim) {
        self.uncount(claim);
        self.roster.drop_record(claim.place);
        self.records -= 1;
    }

    fn uncount(&mut self, claim: &Claim) {
        let hour = self.hour(claim);
        if let Some(count) = self.hours.get_mut(&hour) {
            *count -= 1;
            if *count == 0 {
                self.hours.remove(&hour);
            }
        }
    }

    /// Keeps enough places for turns.
    fn count_shared(&mut self, before: bool, now: bool) {
        self.shared_keys += usize::from(now);
        self.shared_keys -= usize::from(before);
        if self.shared_keys == 0 {
            self.turns = Vec::new();
        } else if self.shared_keys * 2 > self.turns.len() && self.turns.len() < TURNS_MAX {
            // Four times as many; each goes on with the turn of the place it had.
            let len = (self.turns.len() * 4).clamp(TURNS_MIN, TURNS_MAX);
            let turn = |index: usize| {
                let before =
                    if self.turns.is_empty() { None } else { self.turns.get(index % self.turns.len()) };
                AtomicU16::new(before.map_or(0, |turn| turn.load(Ordering::Relaxed)))
            };
            self.turns = (0..len).map(turn).collect();
        }
    }

    fn turn(&self, key: &[u8]) -> Option<&AtomicU16> {
        // FNV-1a, folded: fixed, so that the same calls give the same answers.
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325, step);
        let index = (hash ^ (hash >> 32)) as usize;
        self.turns.get(index.checked_rem(self.turns.len())?)
    }

    /// A date as the tree has it.
    fn date(&self, unix: UnixTime) -> u32 {
        let epoch = self.epoch.unwrap_or(0);
        u32::try_from(unix.as_secs().saturating_sub(epoch)).unwrap_or(u32::MAX)
    }

    fn unix(&self, date: u32) -> UnixTime {
        UnixTime::from_secs(self.epoch.unwrap_or(0).saturating_add(date.into()))
    }

    fn dates(&self, claim: &Claim, addrs_expire: UnixTime) -> ClaimDates {
        let received = self.unix(claim.received);
        ClaimDates { received, expires: self.unix(claim.expires()), addrs_expire }
    }

    fn hour(&self, claim: &Claim) -> u32 {
        hour_of(self.unix(claim.expires()))
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        self.tree.check();
        let mut records = BTreeMap::new();
        let mut hours: BTreeMap<u32, u64> = BTreeMap::new();
        let mut shared = 0;
        for (_, claims) in self.tree.after(None) {
            shared += usize::from(claims.len() > 1);
            for claim in claims.iter() {
                *records.entry(claim.place).or_default() += 1;
                *hours.entry(self.hour(&claim)).or_default() += 1;
                assert!(claim.received <= self.latest);
            }
        }
        assert_eq!(self.hours, hours);
        assert_eq!(self.shared_keys, shared);
        assert_eq!(self.records, records.values().sum::<usize>());
        self.roster.check(&records);
    }
}

/// The hour since 1970 in which a record expires. The year 491,000 is the last.
pub(crate) fn hour_of(expires: UnixTime) -> u32 {
    u32::try_from(expires.as_secs() / 3_600).unwrap_or(u32::MAX)
}

fn full(capacity: Capacity, limit: usize) -> WriteError {
    WriteError::Full { capacity, limit }
}
