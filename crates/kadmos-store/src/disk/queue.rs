//! What waits to be written.

use bytes::Bytes;
use futures::channel::oneshot;
use kadmos_core::{PeerInfo, time::UnixTime};

use crate::disk::format::{JournalEntry, PAYLOAD_MAX};
use crate::error::StoreError;
use crate::memory::log::{ClaimDates, Held, Log};

/// Provider records that may wait. The writer takes 500,000 a second; where these are full, the disk has stood still for
/// seconds, and further announcements are refused. 262,144 take some 25 MiB.
pub(super) const CLAIMS_MAX: usize = 262_144;
/// Bytes of values that may wait, for the same reason.
pub(super) const JOURNAL_BYTES_MAX: usize = 16 << 20;

/// Whoever waits for something to be certain.
pub(super) type Waiter = oneshot::Sender<Result<(), StoreError>>;

/// Filled under the lock of the state, so that it is in the order in which the state changed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) journal: JournalQueue,
    pub(super) claims: ClaimQueue,
    /// Wait for everything queued before.
    pub(super) syncs: Vec<Waiter>,
    /// Somebody looked at the clocks: hours may be over.
    pub(super) tended: bool,
    pub(super) closing: bool,
}

/// Entries for the journal; those who wait for them; and how to take them back.
#[derive(Debug, Default)]
pub(super) struct JournalQueue {
    /// Each as long as a frame's payload may be.
    pub(super) payloads: Vec<Vec<u8>>,
    pub(super) bytes: usize,
    /// Keys and what was there before, in order.
    pub(super) undo: Vec<(Bytes, Option<Held>)>,
    pub(super) waiters: Vec<Waiter>,
}

impl JournalQueue {
    pub(super) fn push(&mut self, entry: &JournalEntry) {
        // An entry is at most 66 KiB and its numbers.
        if self.payloads.last().is_none_or(|payload| payload.len() + (80 << 10) > PAYLOAD_MAX) {
            self.payloads.push(Vec::new());
        }
        if let Some(payload) = self.payloads.last_mut() {
            let before = payload.len();
            entry.write(payload);
            self.bytes += payload.len() - before;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.payloads.is_empty() && self.waiters.is_empty()
    }
}

/// Provider records and removals, in order. Keys stand one after the other in one buffer: one allocation for many.
#[derive(Debug, Default)]
pub(super) struct ClaimQueue {
    keys: Vec<u8>,
    items: Vec<Item>,
}

#[derive(Debug)]
struct Item {
    key_end: usize,
    provider: PeerInfo,
    change: ClaimChange,
}

/// What became of a provider record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimChange {
    Added(ClaimDates),
    /// Added in place of one that would have lived longer, and is still on disk: this must be there as long.
    AddedShorter(ClaimDates),
    Removed,
}

impl ClaimChange {
    pub(super) fn dates(&self) -> Option<ClaimDates> {
        match self {
            Self::Added(dates) | Self::AddedShorter(dates) => Some(*dates),
            Self::Removed => None,
        }
    }
}

impl ClaimQueue {
    pub(super) fn push(&mut self, key: &[u8], provider: &PeerInfo, change: ClaimChange) {
        self.keys.extend_from_slice(key);
        self.items.push(Item { key_end: self.keys.len(), provider: provider.clone(), change });
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Key, provider and change.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &PeerInfo, ClaimChange)> {
        let mut start = 0;
        self.items.iter().map(move |item| {
            let key = &self.keys[start..item.key_end];
            start = item.key_end;
            (key, &item.provider, item.change)
        })
    }

    /// Puts what could not be written before what came meanwhile.
    pub(super) fn put_back(&mut self, mut earlier: Self) {
        for (key, provider, change) in self.iter() {
            earlier.push(key, provider, change);
        }
        *self = earlier;
    }
}

impl Log for Queue {
    fn claim(&mut self, key: &[u8], provider: &PeerInfo, dates: ClaimDates, is_shorter: bool) {
        let change = if is_shorter { ClaimChange::AddedShorter(dates) } else { ClaimChange::Added(dates) };
        self.claims.push(key, provider, change);
    }

    fn value(&mut self, key: &Bytes, held: &Held) {
        self.journal.push(&value_entry(key, held));
    }
}

pub(super) fn value_entry(key: &Bytes, held: &Held) -> JournalEntry {
    let Held { value, received, expires, version } = held;
    JournalEntry::Value {
        key: key.clone(),
        value: value.clone(),
        received: *received,
        expires: *expires,
        version: *version,
    }
}

/// The clock as it was last written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClockMark {
    pub(super) ahead: i64,
    pub(super) tended: UnixTime,
}
