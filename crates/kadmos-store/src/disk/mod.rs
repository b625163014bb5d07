//! A store that survives its process: everything in memory as in [`crate::MemoryStore`], and written down.
//!
//! The disk never answers; it remembers. All reads are served from memory, by the rules and within the limits of the store
//! in memory; one thread appends what changes to files, and reads them back after a restart. `docs/store.md` has the files.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use futures::channel::oneshot;
use kadmos_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
use kadmos_core::record::{ProviderRecord, Read, Reader, StoredValue, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{AddrList, Peer, PeerId, PeerInfo};

use crate::disk::engine::{Engine, Salts};
use crate::disk::format::JournalEntry;
use crate::disk::queue::{CLAIMS_MAX, ClaimChange, JOURNAL_BYTES_MAX};
use crate::disk::shared::Shared;
use crate::error::{StoreError, WriteError};
use crate::memory::MemoryLimits;
use crate::store::{BoxFuture, Condition, Expired, KeyPage, RecordKind, Store, StoreStats};

mod compaction;
mod engine;
#[cfg(any(test, feature = "conformance"))]
pub mod faulty;
mod files;
mod format;
mod queue;
mod recovery;
mod scan;
mod segment;
mod shared;
mod writer;

pub use files::{Directory, Files, LogFile};
pub use format::FORMAT;
pub use shared::DiskReport;

/// Records taken under one lock: readers wait for no more than that.
const LOCKED_RECORDS: usize = 64;

/// Where a store on disk is, and how much it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// A directory of its own, for one realm. Made when it is not there.
    pub path: PathBuf,
    /// Bytes are those in memory: everything is there, too.
    pub limits: MemoryLimits,
}

impl DiskConfig {
    /// In this directory, within the default limits.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), limits: MemoryLimits::default() }
    }
}

/// A store on disk. Values are certain when their write ends, provider records within a second.
///
/// Reads never wait for the disk: everything is in memory. Opening returns at once, and until everything has been read
/// back the reader says `NotResident` and all else waits.
/// Cost: cloning bumps a counter and shares the records; the last clone to go writes what is left and ends the thread.
#[derive(Clone, Debug)]
pub struct DiskStore {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl Handle {
    fn close(&self) {
        self.shared.queue().closing = true;
        self.shared.wake.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // a panic there has been printed, and there is nobody left to tell
        }
    }
}

impl DiskStore {
    /// Opens the store, or makes it. `now` is the wall clock.
    ///
    /// Errors: [`StoreError::InUse`], [`StoreError::Newer`], [`StoreError::Damaged`] when values cannot be read at all,
    /// [`StoreError::Unavailable`]. What else is wrong is counted in [`DiskStore::report`].
    pub fn open(config: DiskConfig, now: UnixTime) -> Result<Self, StoreError> {
        let directory = Directory::open(&config.path).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => StoreError::InUse,
            _ => StoreError::Unavailable { reason: format!("{}: {error}", config.path.display()) },
        })?;
        Self::open_in(Arc::new(directory), config.limits, now)
    }

    /// Opens the store in any kind of files. Errors: as [`DiskStore::open`].
    pub fn open_in(files: Arc<dyn Files>, limits: MemoryLimits, now: UnixTime) -> Result<Self, StoreError> {
        let survey = recovery::survey(&*files)?;
        let shared = Arc::new(Shared::new(limits));
        let engine = Engine::new(Arc::clone(&shared), files, Salts::random());
        let thread = std::thread::Builder::new()
            .name("kadmos-store".to_string())
            .spawn(move || writer::run(engine, survey, now))
            .map_err(|error| engine::unavailable(&error))?;
        Ok(Self { handle: Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) }) })
    }

    /// Without a thread: whoever holds the engine says when something is written.
    #[cfg(test)]
    fn open_by_hand(
        files: Arc<dyn Files>,
        limits: MemoryLimits,
        now: UnixTime,
        salt: u64,
    ) -> Result<(Self, Engine), StoreError> {
        let survey = recovery::survey(&*files)?;
        let shared = Arc::new(Shared::new(limits));
        let mut engine = Engine::new(Arc::clone(&shared), files, Salts(salt));
        engine.load(survey, now)?;
        shared.open_gate(Ok(()));
        Ok((Self { handle: Arc::new(Handle { shared, thread: Mutex::new(None) }) }, engine))
    }

    /// Ends when everything has been read back and is served. Errors: why that failed.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.shared().ready().await
    }

    /// Writes what is left and ends. Afterwards nothing is written; reads still answer from memory. Blocks for as long as the disk takes, as dropping the
    /// last clone does.
    pub fn close(&self) {
        self.handle.close();
    }

    /// What it has done since it was opened.
    pub fn report(&self) -> DiskReport {
        self.shared().report()
    }

    /// The bounds.
    pub fn limits(&self) -> &MemoryLimits {
        &self.shared().limits
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Puts values into memory and into the queue. Returns the results so far and whoever tells when they are certain.
    fn put(&self, batch: &[ValueWrite], now: UnixTime) -> (Vec<Result<(), WriteError>>, Option<Told>) {
        let shared = self.shared();
        let mut state = shared.write();
        let mut queue = shared.queue();
        if queue.closing {
            return (vec![Err(WriteError::Failed(StoreError::Closed)); batch.len()], None);
        }
        let mut results = Vec::with_capacity(batch.len());
        for write in batch {
            if write.record.key.len() > KEY_BYTES_MAX || write.record.value.len() > VALUE_BYTES_MAX {
                results.push(Err(WriteError::Failed(too_long())));
                continue;
            }
            if queue.journal.bytes > JOURNAL_BYTES_MAX {
                results.push(Err(WriteError::Failed(behind())));
                continue;
            }
            let written = state.put_value(write, now, &shared.limits, &mut *queue);
            results.push(written.map(|before| queue.journal.undo.push((write.record.key.clone(), before))));
        }
        let waiter = results.iter().any(Result::is_ok).then(|| {
            let (sender, receiver) = oneshot::channel();
            queue.journal.waiters.push(sender);
            receiver
        });
        drop((queue, state));
        shared.wake.notify_all();
        (results, waiter)
    }

    fn add(&self, batch: &[ProviderRecord], now: UnixTime) -> Vec<Result<(), WriteError>> {
        let shared = self.shared();
        let mut results = Vec::with_capacity(batch.len());
        for part in batch.chunks(LOCKED_RECORDS) {
            let mut state = shared.write();
            let mut queue = shared.queue();
            let was_empty = queue.claims.is_empty();
            for record in part {
                let result = if queue.closing {
                    Err(WriteError::Failed(StoreError::Closed))
                } else if record.key.len() > KEY_BYTES_MAX {
                    Err(WriteError::Failed(too_long()))
                } else if queue.claims.len() >= CLAIMS_MAX {
                    Err(WriteError::Failed(behind()))
                } else {
                    state.add_provider(record, now, &shared.limits, &mut *queue)
                };
                results.push(result);
            }
            let wakes = was_empty != queue.claims.is_empty() || queue.claims.len() >= writer::FLUSH_RECORDS;
            drop((queue, state));
            if wakes {
                shared.wake.notify_all();
            }
        }
        results
    }
}

/// Ends when something is certain, or failed.
type Told = oneshot::Receiver<Result<(), StoreError>>;

/// A record that could be written and not be read back.
fn too_long() -> StoreError {
    StoreError::Unavailable { reason: "a key or value is longer than any record's".to_string() }
}

/// The disk does not keep up with what is announced.
fn behind() -> StoreError {
    StoreError::Unavailable { reason: "the disk is too far behind".to_string() }
}

/// Everything is resident once it has been read back. The visitor of `providers` must not call the store: it runs under
/// the lock.
#[derive(Debug)]
struct DiskReader(Arc<Shared>);

impl Reader for DiskReader {
    fn value(&self, key: &[u8], now: UnixTime) -> Read<StoredValue> {
        if !self.0.is_ready() {
            return Read::NotResident;
        }
        self.0.read().value(key, now).map_or(Read::Absent, Read::Hit)
    }

    fn providers(
        &self,
        key: &[u8],
        now: UnixTime,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> Read<()> {
        if !self.0.is_ready() {
            return Read::NotResident;
        }
        if self.0.read().visit_providers(key, now, visit) > 0 { Read::Hit(()) } else { Read::Absent }
    }
}

impl Store for DiskStore {
    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(DiskReader(Arc::clone(self.shared())))
    }

    fn value<'a>(
        &'a self,
        key: &'a [u8],
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            Ok(self.shared().read().value(key, now))
        })
    }

    /// Ends when the values are certain: after the group that is being written, and theirs.
    fn put_values(
        &self,
        batch: Vec<ValueWrite>,
        now: UnixTime,
    ) -> BoxFuture<'_, Vec<Result<(), WriteError>>> {
        Box::pin(async move {
            if let Err(error) = self.ready().await {
                return vec![Err(WriteError::Failed(error)); batch.len()];
            }
            let (mut results, waiter) = self.put(&batch, now);
            let Some(waiter) = waiter else { return results };
            if let Err(error) = waiter.await.unwrap_or(Err(StoreError::Closed)) {
                for result in results.iter_mut().filter(|result| result.is_ok()) {
                    *result = Err(WriteError::Failed(error.clone()));
                }
            }
            results
        })
    }

    /// Ends when the removal is certain.
    fn remove_value<'a>(
        &'a self,
        key: &'a [u8],
        version: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            let shared = self.shared();
            let (sender, receiver) = oneshot::channel();
            {
                let mut state = shared.write();
                let mut queue = shared.queue();
                if queue.closing {
                    return Err(StoreError::Closed);
                }
                let Some(before) = state.remove_value(key, version) else { return Ok(false) };
                let key = bytes::Bytes::copy_from_slice(key);
                queue
                    .journal
                    .push(&JournalEntry::Removed { key: key.clone(), version: state.next_version() });
                queue.journal.undo.push((key, Some(before)));
                queue.journal.waiters.push(sender);
            }
            shared.wake.notify_all();
            receiver.await.unwrap_or(Err(StoreError::Closed))?;
            Ok(true)
        })
    }

    fn providers<'a>(
        &'a self,
        key: &'a [u8],
        count: usize,
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Vec<PeerInfo>, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            Ok(self.shared().read().providers(key, count, now))
        })
    }

    /// Ends at once; the records are certain within a second.
    fn add_providers(
        &self,
        batch: Vec<ProviderRecord>,
        now: UnixTime,
    ) -> BoxFuture<'_, Vec<Result<(), WriteError>>> {
        Box::pin(async move {
            match self.ready().await {
                Ok(()) => self.add(&batch, now),
                Err(error) => vec![Err(WriteError::Failed(error)); batch.len()],
            }
        })
    }

    fn remove_provider<'a>(
        &'a self,
        key: &'a [u8],
        provider: &'a PeerId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            let provider = PeerInfo::new(Peer::new(*provider), AddrList::EMPTY);
            let shared = self.shared();
            let removed = {
                let mut state = shared.write();
                let mut queue = shared.queue();
                if queue.closing {
                    return Err(StoreError::Closed);
                }
                let removed = state.remove_provider(key, &provider.peer);
                if removed {
                    queue.claims.push(key, &provider, ClaimChange::Removed);
                }
                removed
            };
            shared.wake.notify_all();
            Ok(removed)
        })
    }

    fn keys<'a>(
        &'a self,
        kind: RecordKind,
        after: Option<&'a [u8]>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'a, Result<KeyPage, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            Ok(self.shared().read().keys(kind, after, limit, now))
        })
    }

    fn expire(&self, now: Now, budget: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            let shared = self.shared();
            let mut expired = Expired { more: true, ..Expired::default() };
            let mut left = budget;
            // In parts, so that readers wait for one part only.
            while expired.more && left > 0 {
                let part = left.min(LOCKED_RECORDS);
                left -= part;
                let mut state = shared.write();
                let freed = state.expire(now, part, &mut *shared.queue());
                expired.values += freed.values;
                expired.providers += freed.providers;
                expired.more = freed.more;
            }
            if budget == 0 {
                expired.more = shared.write().expire(now, 0, &mut *shared.queue()).more;
            }
            shared.queue().tended = true;
            shared.wake.notify_all();
            Ok(expired)
        })
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            Ok(self.shared().read().stats())
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.ready().await?;
            let (sender, receiver) = oneshot::channel();
            {
                let mut queue = self.shared().queue();
                if queue.closing {
                    return Err(StoreError::Closed);
                }
                queue.syncs.push(sender);
            }
            self.shared().wake.notify_all();
            receiver.await.unwrap_or(Err(StoreError::Closed))
        })
    }

    fn condition(&self) -> Condition {
        let shared = self.shared();
        match (shared.is_ready(), shared.refusal(), shared.report().failing) {
            (_, Some(error), _) => Condition::Unusable(error),
            (false, None, _) => Condition::Loading,
            (true, None, Some(reason)) => Condition::Failing { reason },
            (true, None, None) => Condition::Ready,
        }
    }
}

#[cfg(test)]
mod tests;
