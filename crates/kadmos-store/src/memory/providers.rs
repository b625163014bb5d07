//! Provider records in memory.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kadmos_core::record::ProviderRecord;
use kadmos_core::time::UnixTime;
use kadmos_core::{Peer, PeerInfo};

use crate::error::{Capacity, WriteError};
use crate::memory::clock::Moment;
use crate::memory::expiry::DueIndex;
use crate::memory::limits::{MemoryLimits, ROOM_VISITS_MAX};
use crate::memory::log::{ClaimDates, Log};
use crate::memory::replacement::{Group, gives_way};
use crate::memory::roster::{Place, Roster};
use crate::memory::values::page;
use crate::store::KeyPage;

/// What a key costs beyond its bytes, at most: an entry of 64 bytes in the map and one of 24 in the index, both in
/// nodes that are half full and linked; the key's allocation with two counters. `tests/memory.rs` measures it.
const KEY_COST: usize = 288;
/// What a lifetime's 32 bits hold: 136 years.
const LIFETIME_MAX: Duration = Duration::from_secs(u32::MAX as u64);
/// What a claim costs: twice its size, as a growing vector doubles.
const CLAIM_COST: usize = 2 * size_of::<Claim>();

/// The provider records, by key, and what they cost.
#[derive(Clone, Debug)]
pub(super) struct Providers {
    keys: BTreeMap<Arc<[u8]>, Claims>,
    /// Every key, under [`Claims::due`].
    due: DueIndex<Arc<[u8]>>,
    roster: Roster,
    records: usize,
    /// Without the roster's.
    bytes: usize,
    /// Records by the hour since 1970 in which they expire.
    hours: BTreeMap<u32, u64>,
}

/// The claims to provide one key.
#[derive(Debug)]
struct Claims {
    /// No claim expires before this date: a lower bound, so that renewing the earliest claim leaves the index alone.
    due: UnixTime,
    /// Where the next answer begins. One count for each key: with one for the store, whoever asks for two keys in
    /// turn would always see the same providers first.
    turn: AtomicUsize,
    /// In the order of announcement, oldest first.
    list: Vec<Claim>,
}

impl Clone for Claims {
    fn clone(&self) -> Self {
        let turn = AtomicUsize::new(self.turn.load(Ordering::Relaxed));
        Self { due: self.due, turn, list: self.list.clone() }
    }
}

#[derive(Clone, Copy, Debug)]
struct Claim {
    received: UnixTime,
    /// Seconds from `received` to expiry; 136 years at most.
    lifetime: u32,
    place: Place,
}

impl Claim {
    fn expires(&self) -> UnixTime {
        self.received + Duration::from_secs(self.lifetime.into())
    }

    fn dates(&self, addrs_expire: UnixTime) -> ClaimDates {
        ClaimDates { received: self.received, expires: self.expires(), addrs_expire }
    }
}

impl Claims {
    fn earliest_expiry(&self) -> Option<UnixTime> {
        self.list.iter().map(Claim::expires).min()
    }
}

impl Providers {
    pub(super) fn new() -> Self {
        Self {
            keys: BTreeMap::new(),
            due: DueIndex::new(),
            roster: Roster::default(),
            records: 0,
            bytes: 0,
            hours: BTreeMap::new(),
        }
    }

    pub(super) fn keys_len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn records(&self) -> usize {
        self.records
    }

    pub(super) fn providers_len(&self) -> usize {
        self.roster.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.roster.bytes()
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
        let Some(claims) = self.keys.get(key) else { return 0 };
        let start = claims.turn.load(Ordering::Relaxed) % claims.list.len().max(1);
        let (before, after) = claims.list.split_at(start);
        let mut visited = 0;
        let mut advance = 1;
        for (passed, claim) in after.iter().chain(before).enumerate() {
            let Some(member) = self.roster.member(claim.place).filter(|_| claim.expires() > at.now) else {
                continue;
            };
            visited += 1;
            if visit(&member.info(at)).is_break() {
                advance = passed.max(1);
                break;
            }
        }
        // Two answers at the same moment may begin alike; neither that nor wrapping around harms the rotation.
        claims.turn.store(start + advance, Ordering::Relaxed);
        visited
    }

    /// Whether anybody provides `key`. Unlike an answer, takes nobody's turn.
    pub(super) fn contains(&self, key: &[u8], at: &Moment) -> bool {
        self.keys.get(key).is_some_and(|claims| claims.list.iter().any(|claim| claim.expires() > at.now))
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
        let (place, replaced) = self.claim(&record.key, &record.provider, dates, at, limits, log)?;
        self.roster.announce(place, &record.provider.addrs, dates.addrs_expire);
        let is_shorter =
            replaced.is_some_and(|replaced| hour_of(replaced.expires()) > hour_of(dates.expires));
        log.claim(&record.key, &record.provider, dates, is_shorter);
        Ok(())
    }

    /// Takes a record that was kept; tells whether it replaced one that would have lived into a later hour. They do not come in order of time, so the addresses that expire last are the ones
    /// that were announced last.
    pub(super) fn load(
        &mut self,
        key: &[u8],
        provider: &PeerInfo,
        dates: ClaimDates,
        at: &Moment,
        limits: &MemoryLimits,
    ) -> Result<bool, WriteError> {
        let (place, replaced) = self.claim(key, provider, dates, at, limits, &mut ())?;
        if self.roster.member(place).is_some_and(|member| member.addrs_expire() <= dates.addrs_expire) {
            self.roster.announce(place, &provider.addrs, dates.addrs_expire);
        }
        Ok(replaced.is_some_and(|replaced| hour_of(replaced.expires()) > hour_of(dates.expires)))
    }

    /// Makes `provider` one of the providers of `key`, whatever its addresses. Returns its place, and what was replaced.
    fn claim(
        &mut self,
        key: &[u8],
        provider: &PeerInfo,
        dates: ClaimDates,
        at: &Moment,
        limits: &MemoryLimits,
        log: &mut dyn Log,
    ) -> Result<(Place, Option<Claim>), WriteError> {
        if dates.expires <= at.now {
            return Err(WriteError::Expired);
        }
        let per_key = limits.providers_per_key.max(1);
        if self.keys.get(key).is_some_and(|claims| claims.list.len() >= per_key) {
            self.collect(key, at, log);
        }
        self.make_room(key, provider, at, limits, log)?;

        if let Some(index) = self.gives_way(key, provider, per_key) {
            self.take(key, |at, _| at == index);
        }
        let lifetime = u32::try_from(dates.expires.since(dates.received).as_secs()).unwrap_or(u32::MAX);
        let place = self.roster.find_or_join(&provider.peer);
        let replaced = self.insert(key, Claim { received: dates.received, lifetime, place });
        Ok((place, replaced))
    }

    /// Records that expire in this hour.
    pub(super) fn claims_in(&self, hour: u32) -> u64 {
        self.hours.get(&hour).copied().unwrap_or(0)
    }

    /// Whether exactly this record is held.
    pub(super) fn has(&self, key: &[u8], peer: &Peer, dates: &ClaimDates) -> bool {
        let Some(place) = self.roster.find(peer) else { return false };
        self.keys.get(key).is_some_and(|claims| {
            claims.list.iter().any(|claim| {
                claim.place == place && claim.received == dates.received && claim.expires() == dates.expires
            })
        })
    }

    pub(super) fn remove(&mut self, key: &[u8], peer: &Peer) -> bool {
        let Some(place) = self.roster.find(peer) else { return false };
        self.take(key, |_, claim| claim.place == place) > 0
    }

    pub(super) fn keys(&self, after: Option<&[u8]>, limit: usize, at: &Moment) -> KeyPage {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let visited = self.keys.range::<[u8], _>((start, Bound::Unbounded)).map(|(key, claims)| {
            let key: &[u8] = key;
            (key, claims.list.iter().any(|claim| claim.expires() > at.now))
        });
        page(visited, limit)
    }

    /// The date of the next visit that [`Providers::visit_due`] wants.
    pub(super) fn first_due(&self) -> Option<UnixTime> {
        self.due.first_due()
    }

    /// Frees what has expired of the key that is due first, if one is; returns how many records that were: none when
    /// all have been renewed since the key was filed.
    pub(super) fn visit_due(&mut self, at: &Moment, log: &mut dyn Log) -> Option<usize> {
        let key = self.due.due_key(at.now)?;
        Some(self.collect(&key, at, log))
    }

    /// Corrects the claims on the key that is due last, if their dates show that they were written while the clock
    /// was wrong.
    pub(super) fn visit_misdated(&mut self, at: &Moment, log: &mut dyn Log) -> bool {
        let Some((_, key)) = self.due.last() else { return false };
        let misdated = self
            .keys
            .get(&key)
            .is_some_and(|claims| claims.list.iter().any(|claim| at.is_impossible(claim.received)));
        if misdated {
            self.collect(&key, at, log);
        }
        misdated
    }

    /// Puts `key` in order: frees expired claims and addresses, corrects impossible dates, files the key anew.
    fn collect(&mut self, key: &[u8], at: &Moment, log: &mut dyn Log) -> usize {
        if let Some(claims) = self.keys.get_mut(key) {
            for claim in &mut claims.list {
                if at.is_impossible(claim.received) {
                    uncount(&mut self.hours, claim);
                    claim.received = at.now;
                    count(&mut self.hours, claim);
                    if let Some(member) = self.roster.member(claim.place) {
                        log.claim(key, member.announced(), claim.dates(member.addrs_expire()), false);
                    }
                }
                self.roster.drop_expired_addrs(claim.place, at);
            }
        }
        let freed = self.take(key, |_, claim| claim.expires() <= at.now);
        self.file(key);
        freed
    }

    fn make_room(
        &mut self,
        key: &[u8],
        provider: &PeerInfo,
        at: &Moment,
        limits: &MemoryLimits,
        log: &mut dyn Log,
    ) -> Result<(), WriteError> {
        for _ in 0..ROOM_VISITS_MAX {
            match self.shortage(key, provider, limits) {
                None => return Ok(()),
                Some(full) => self.visit_due(at, log).ok_or(full)?,
            };
        }
        self.shortage(key, provider, limits).map_or(Ok(()), Err)
    }

    /// The bound that keeps a record from being written now.
    fn shortage(&self, key: &[u8], provider: &PeerInfo, limits: &MemoryLimits) -> Option<WriteError> {
        let claims = self.keys.get(key);
        let place = self.roster.find(&provider.peer);
        let renews =
            claims.zip(place).is_some_and(|(claims, place)| claims.list.iter().any(|c| c.place == place));

        let records = place.and_then(|place| self.roster.member(place)).map_or(0, |member| member.records());
        if !renews && records >= limits.records_per_provider {
            return Some(full(Capacity::RecordsPerProvider, limits.records_per_provider));
        }
        if claims.is_none() && self.keys.len() >= limits.provider_keys {
            return Some(full(Capacity::ProviderKeys, limits.provider_keys));
        }
        let mut bytes = self.bytes() + self.roster.cost_of(provider);
        if claims.is_none() {
            bytes += KEY_COST + key.len();
        }
        if !renews {
            bytes += CLAIM_COST;
        }
        if let Some((claims, index)) =
            claims.zip(self.gives_way(key, provider, limits.providers_per_key.max(1)))
        {
            bytes -= CLAIM_COST + self.roster.freed_by_leaving(claims.list[index].place);
        }
        (bytes > limits.provider_bytes).then(|| full(Capacity::ProviderBytes, limits.provider_bytes))
    }

    /// The index of the claim that must go for `provider` to claim `key`, if one must.
    fn gives_way(&self, key: &[u8], provider: &PeerInfo, per_key: usize) -> Option<usize> {
        let claims = self.keys.get(key).filter(|claims| claims.list.len() >= per_key)?;
        let place = self.roster.find(&provider.peer);
        if place.is_some_and(|place| claims.list.iter().any(|claim| claim.place == place)) {
            return None;
        }
        let groups: Vec<_> = claims
            .list
            .iter()
            .filter_map(|claim| self.roster.member(claim.place))
            .map(|m| m.group())
            .collect();
        gives_way(&groups, Group::of(&provider.addrs))
    }

    /// Appends a claim, in place of an earlier one of the same provider, which is returned.
    fn insert(&mut self, key: &[u8], claim: Claim) -> Option<Claim> {
        let mut replaced = None;
        let expires = claim.expires();
        // The new record is counted before the old one goes, so that its provider stays.
        self.roster.add_record(claim.place);
        count(&mut self.hours, &claim);
        self.records += 1;
        self.bytes += CLAIM_COST;
        match self.keys.get_mut(key) {
            Some(claims) => {
                let earlier = claims.list.iter().position(|other| other.place == claim.place);
                if let Some(index) = earlier {
                    let earlier = claims.list.remove(index);
                    uncount(&mut self.hours, &earlier);
                    replaced = Some(earlier);
                    self.roster.drop_record(claim.place);
                    self.records -= 1;
                    self.bytes -= CLAIM_COST;
                }
                claims.list.push(claim);
                if expires < claims.due {
                    self.file(key);
                }
            }
            None => {
                let key: Arc<[u8]> = key.into();
                self.bytes += KEY_COST + key.len();
                self.due.file(expires, Arc::clone(&key));
                self.keys.insert(key, Claims { due: expires, turn: AtomicUsize::new(0), list: vec![claim] });
            }
        }
        replaced
    }

    /// Removes the claims on `key` that `goes` picks by index and claim; the last takes the key with it.
    fn take(&mut self, key: &[u8], goes: impl Fn(usize, &Claim) -> bool) -> usize {
        let Some(claims) = self.keys.get_mut(key) else { return 0 };
        let held = claims.list.len();
        let mut index = 0;
        claims.list.retain(|claim| {
            let stays = !goes(index, claim);
            index += 1;
            if !stays {
                uncount(&mut self.hours, claim);
                self.roster.drop_record(claim.place);
            }
            stays
        });
        let taken = held - claims.list.len();
        self.records -= taken;
        self.bytes -= taken * CLAIM_COST;
        if claims.list.is_empty() {
            if let Some((key, claims)) = self.keys.remove_entry(key) {
                self.bytes -= KEY_COST + key.len();
                self.due.unfile(claims.due, key);
            }
        } else if claims.list.len() < claims.list.capacity() / 2 {
            claims.list.shrink_to_fit();
        }
        taken
    }

    /// Files `key` under its earliest expiry.
    fn file(&mut self, key: &[u8]) {
        let Some((shared, _)) = self.keys.get_key_value(key) else { return };
        let shared = Arc::clone(shared);
        let Some(claims) = self.keys.get_mut(key) else { return };
        let Some(earliest) = claims.earliest_expiry() else { return };
        self.due.unfile(claims.due, Arc::clone(&shared));
        claims.due = earliest;
        self.due.file(earliest, shared);
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.due.len(), self.keys.len());
        let mut records = BTreeMap::new();
        let mut bytes = 0;
        for (key, claims) in &self.keys {
            assert!(claims.earliest_expiry().is_some_and(|earliest| claims.due <= earliest));
            bytes += KEY_COST + key.len() + claims.list.len() * CLAIM_COST;
            for claim in &claims.list {
                *records.entry(claim.place).or_default() += 1;
            }
        }
        assert_eq!(self.bytes, bytes);
        let mut hours = BTreeMap::new();
        self.keys.values().flat_map(|claims| &claims.list).for_each(|claim| count(&mut hours, claim));
        assert_eq!(self.hours, hours);
        assert_eq!(self.records, records.values().sum::<usize>());
        self.roster.check(&records);
    }
}

fn count(hours: &mut BTreeMap<u32, u64>, claim: &Claim) {
    *hours.entry(hour_of(claim.expires())).or_default() += 1;
}

fn uncount(hours: &mut BTreeMap<u32, u64>, claim: &Claim) {
    let hour = hour_of(claim.expires());
    if let Some(count) = hours.get_mut(&hour) {
        *count -= 1;
        if *count == 0 {
            hours.remove(&hour);
        }
    }
}

/// The hour since 1970 in which a record expires. The year 491,000 is the last.
pub(crate) fn hour_of(expires: UnixTime) -> u32 {
    u32::try_from(expires.as_secs() / 3_600).unwrap_or(u32::MAX)
}

fn full(capacity: Capacity, limit: usize) -> WriteError {
    WriteError::Full { capacity, limit }
}
