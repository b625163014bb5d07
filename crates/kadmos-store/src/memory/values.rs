//! Values in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use kadmos_core::message::Record;
use kadmos_core::record::{StoredValue, ValueWrite};
use kadmos_core::time::UnixTime;

use crate::error::{Capacity, WriteError};
use crate::memory::clock::Moment;
use crate::memory::expiry::DueIndex;
use crate::memory::limits::{MemoryLimits, ROOM_VISITS_MAX};
use crate::memory::log::{Held, Log};
use crate::store::KeyPage;

/// What a value costs beyond its key and value, at most: an entry of 96 bytes in the map and one of 40 in the index,
/// both in nodes that are half full and linked; four small allocations of 16 to 32 bytes. `tests/memory.rs` measures
/// it.
const VALUE_COST: usize = 400;

/// The values, and what they cost.
#[derive(Clone, Debug)]
pub(super) struct Values {
    held: BTreeMap<Bytes, Held>,
    /// Every key, under its value's expiry.
    due: DueIndex<Bytes>,
    bytes: usize,
    versions: u64,
}

impl Values {
    pub(super) fn new() -> Self {
        Self { held: BTreeMap::new(), due: DueIndex::new(), bytes: 0, versions: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn get(&self, key: &[u8], at: &Moment) -> Option<StoredValue> {
        let (key, held) = self.held.get_key_value(key).filter(|(_, held)| held.expires > at.now)?;
        Some(StoredValue {
            record: Record { key: key.clone(), value: held.value.clone() },
            received: at.wall(held.received),
            expires: at.wall(held.expires),
            version: held.version,
        })
    }

    pub(super) fn put(
        &mut self,
        write: &ValueWrite,
        at: &Moment,
        limits: &MemoryLimits,
        log: &mut dyn Log,
    ) -> Result<Option<Held>, WriteError> {
        let Record { key, value } = &write.record;
        let expires = at.local(write.expires);
        if expires <= at.now {
            return Err(WriteError::Expired);
        }
        let current = self.held.get(key).filter(|held| held.expires > at.now).map(|held| held.version);
        if current != write.expected {
            return Err(WriteError::Conflict);
        }
        self.make_room(key, value, at, limits)?;

        let replaced = self.take(key);
        // Copies: what arrives is a slice of a frame of up to 4 MiB, which it would keep alive.
        let key = Bytes::copy_from_slice(key);
        let value = Bytes::copy_from_slice(value);
        let received = at.local(write.received).min(at.now);
        let held = Held { value, received, expires, version: self.next_version() };
        log.value(&key, &held);
        self.insert(key, held);
        Ok(replaced)
    }

    /// Removes the value under `key`, if it has this version when one is given; returns it.
    pub(super) fn remove(&mut self, key: &[u8], version: Option<u64>) -> Option<Held> {
        let wanted =
            self.held.get(key).is_some_and(|held| version.is_none_or(|version| version == held.version));
        if wanted { self.take(key) } else { None }
    }

    /// Puts a value back that was there before, with its version, or takes away what is there now.
    pub(super) fn restore(&mut self, key: &[u8], before: Option<Held>) {
        self.take(key);
        if let Some(held) = before {
            self.versions = self.versions.max(held.version);
            self.insert(Bytes::copy_from_slice(key), held);
        }
    }

    /// Takes a value that was kept over a restart, when there is room for it.
    pub(super) fn load(&mut self, key: &[u8], held: Held, limits: &MemoryLimits) -> Result<(), WriteError> {
        self.shortage(key, &held.value, limits).map_or(Ok(()), Err)?;
        self.restore(key, Some(held));
        Ok(())
    }

    /// A version that no value had yet.
    pub(super) fn next_version(&mut self) -> u64 {
        self.versions += 1;
        self.versions
    }

    /// Makes versions up to this one count as given.
    pub(super) fn skip_versions(&mut self, last: u64) {
        self.versions = self.versions.max(last);
    }

    pub(super) fn last_version(&self) -> u64 {
        self.versions
    }

    /// The values after `after`, by key.
    pub(super) fn after(&self, after: Option<&[u8]>) -> impl Iterator<Item = (&Bytes, &Held)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.held.range::<[u8], _>((start, Bound::Unbounded))
    }

    pub(super) fn keys(&self, after: Option<&[u8]>, limit: usize, at: &Moment) -> KeyPage {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let visited = self.held.range::<[u8], _>((start, Bound::Unbounded)).map(|(key, held)| {
            let key: &[u8] = key;
            (key, held.expires > at.now)
        });
        page(visited, limit)
    }

    /// The date of the next visit that [`Values::visit_due`] wants.
    pub(super) fn first_due(&self) -> Option<UnixTime> {
        self.due.first_due()
    }

    /// Frees the value that expired first, if one has.
    pub(super) fn visit_due(&mut self, now: UnixTime) -> Option<usize> {
        let key = self.due.due_key(now)?;
        self.take(&key);
        Some(1)
    }

    /// Corrects the value that expires last, if its dates show that it was written while the clock was wrong.
    pub(super) fn visit_misdated(&mut self, at: &Moment, log: &mut dyn Log) -> bool {
        let Some((due, key)) = self.due.last() else { return false };
        let Some(held) = self.held.get_mut(&key).filter(|held| at.is_impossible(held.received)) else {
            return false;
        };
        held.expires = at.now + held.expires.since(held.received);
        held.received = at.now;
        let expires = held.expires;
        log.value(&key, held);
        self.due.unfile(due, key.clone());
        self.due.file(expires, key);
        true
    }

    fn make_room(
        &mut self,
        key: &[u8],
        value: &[u8],
        at: &Moment,
        limits: &MemoryLimits,
    ) -> Result<(), WriteError> {
        for _ in 0..ROOM_VISITS_MAX {
            match self.shortage(key, value, limits) {
                None => return Ok(()),
                Some(full) => self.visit_due(at.now).ok_or(full)?,
            };
        }
        self.shortage(key, value, limits).map_or(Ok(()), Err)
    }

    /// The bound that keeps `value` from being written now.
    fn shortage(&self, key: &[u8], value: &[u8], limits: &MemoryLimits) -> Option<WriteError> {
        let replaced = self.held.get(key).map(|held| cost(key, &held.value));
        if replaced.is_none() && self.held.len() >= limits.values {
            return Some(WriteError::Full { capacity: Capacity::Values, limit: limits.values });
        }
        let bytes = self.bytes - replaced.unwrap_or(0) + cost(key, value);
        (bytes > limits.value_bytes)
            .then_some(WriteError::Full { capacity: Capacity::ValueBytes, limit: limits.value_bytes })
    }

    fn insert(&mut self, key: Bytes, held: Held) {
        self.bytes += cost(&key, &held.value);
        self.due.file(held.expires, key.clone());
        self.held.insert(key, held);
    }

    fn take(&mut self, key: &[u8]) -> Option<Held> {
        let (key, held) = self.held.remove_entry(key)?;
        self.bytes -= cost(&key, &held.value);
        self.due.unfile(held.expires, key);
        Some(held)
    }

    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.due.len(), self.held.len());
        let bytes: usize = self.held.iter().map(|(key, held)| cost(key, &held.value)).sum();
        assert_eq!(self.bytes, bytes);
    }
}

fn cost(key: &[u8], value: &[u8]) -> usize {
    VALUE_COST + key.len() + value.len()
}

/// A page of the keys that are wanted, of at most `limit` visited.
pub(super) fn page<'a>(visited: impl Iterator<Item = (&'a [u8], bool)>, limit: usize) -> KeyPage {
    let mut visited = visited.peekable();
    let mut page = KeyPage::default();
    let mut last = None;
    for (key, wanted) in visited.by_ref().take(limit.max(1)) {
        last = Some(key);
        if wanted {
            page.keys.push(Bytes::copy_from_slice(key));
        }
    }
    page.next = visited.peek().and(last).map(Bytes::copy_from_slice);
    page
}
