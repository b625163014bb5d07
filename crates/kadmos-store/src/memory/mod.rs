//! A store that keeps everything in memory, within bounds.

use std::future::ready;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use kadmos_core::record::{ProviderRecord, Read, Reader, StoreReply, StoreRequest, StoredValue, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{Peer, PeerId, PeerInfo};

use crate::error::{StoreError, WriteError};
use crate::execute::written;
use crate::store::{BoxFuture, Expired, KeyPage, RecordKind, Store, StoreStats};

pub(crate) mod clock;
mod expiry;
mod limits;
pub(crate) mod log;
pub(crate) mod providers;
mod replacement;
pub(crate) mod roster;
pub(crate) mod state;
mod tree;
mod values;

pub use limits::MemoryLimits;
use state::State;

/// A store in memory: fast, bounded, gone with the process.
///
/// Every operation is synchronous and short; the futures of its [`Store`] side are ready at once. Reads share a
/// lock, writes take it one at a time. The order of everything it returns follows from the calls made alone, so
/// simulations repeat.
/// Cost: cloning bumps a counter and shares the records. An empty store takes less than a kilobyte.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: MemoryLimits,
    state: RwLock<State>,
}

impl MemoryStore {
    /// An empty store within `limits`.
    pub fn new(limits: MemoryLimits) -> Self {
        Self { inner: Arc::new(Inner { limits, state: RwLock::new(State::default()) }) }
    }

    /// A store of its own with the same records. A clone shares them instead.
    #[must_use]
    pub fn fork(&self) -> Self {
        let state = self.read().clone();
        Self { inner: Arc::new(Inner { limits: self.inner.limits.clone(), state: RwLock::new(state) }) }
    }

    /// See [`Store::put_values`], for one value.
    pub fn put_value(&self, write: &ValueWrite, now: UnixTime) -> Result<(), WriteError> {
        self.write().put_value(write, now, &self.inner.limits, &mut ()).map(|_| ())
    }

    /// See [`Store::remove_value`].
    pub fn remove_value(&self, key: &[u8], version: Option<u64>) -> bool {
        self.write().remove_value(key, version).is_some()
    }

    /// See [`Store::add_providers`], for one record.
    pub fn add_provider(&self, record: &ProviderRecord, now: UnixTime) -> Result<(), WriteError> {
        self.write().add_provider(record, now, &self.inner.limits, &mut ())
    }

    /// See [`Store::remove_provider`].
    pub fn remove_provider(&self, key: &[u8], provider: &PeerId) -> bool {
        let provider = Peer::new(*provider); // hashes before the lock is taken
        self.write().remove_provider(key, &provider)
    }

    /// See [`Store::expire`].
    pub fn expire(&self, now: Now, budget: usize) -> Expired {
        self.write().expire(now, budget, &mut ())
    }

    /// See [`Store::value`].
    pub fn value(&self, key: &[u8], now: UnixTime) -> Option<StoredValue> {
        self.read().value(key, now)
    }

    /// See [`Store::providers`].
    pub fn providers(&self, key: &[u8], count: usize, now: UnixTime) -> Vec<PeerInfo> {
        self.read().providers(key, count, now)
    }

    /// Whether there is a record for `key`, a value or a provider's. Whoever looks on may ask: it changes nothing, not
    /// even which provider comes first in the next answer.
    pub fn holds(&self, key: &[u8], now: UnixTime) -> bool {
        self.read().holds(key, now)
    }

    /// See [`Store::keys`].
    pub fn keys(&self, kind: RecordKind, after: Option<&[u8]>, limit: usize, now: UnixTime) -> KeyPage {
        self.read().keys(kind, after, limit, now)
    }

    /// See [`Store::stats`].
    pub fn stats(&self) -> StoreStats {
        self.read().stats()
    }

    /// The bounds.
    pub fn limits(&self) -> &MemoryLimits {
        &self.inner.limits
    }

    /// Runs one store operation of a node, as [`crate::execute()`] does, at once.
    pub fn execute(&self, request: &StoreRequest, now: UnixTime) -> StoreReply {
        match request {
            StoreRequest::Value { key } => StoreReply::Value(self.value(key, now)),
            StoreRequest::Providers { key, count } => StoreReply::Providers(self.providers(key, *count, now)),
            StoreRequest::PutValue(write) => written(Some(self.put_value(write, now))),
            StoreRequest::AddProvider(record) => written(Some(self.add_provider(record, now))),
        }
    }

    /// A panic while the lock was held, in a caller's visitor for instance, must not take the store with it: readers
    /// change nothing, and writers keep their bookkeeping in step from one statement to the next.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.inner.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.inner.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(MemoryLimits::default())
    }
}

/// Everything is resident. The visitor of `providers` must not call the store: it runs under the lock.
impl Reader for MemoryStore {
    fn value(&self, key: &[u8], now: UnixTime) -> Read<StoredValue> {
        MemoryStore::value(self, key, now).map_or(Read::Absent, Read::Hit)
    }

    fn providers(
        &self,
        key: &[u8],
        now: UnixTime,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> Read<()> {
        if self.read().visit_providers(key, now, visit) > 0 { Read::Hit(()) } else { Read::Absent }
    }
}

impl Store for MemoryStore {
    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.clone())
    }

    fn value<'a>(
        &'a self,
        key: &'a [u8],
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::value(self, key, now)) })
    }

    fn put_values(
        &self,
        batch: Vec<ValueWrite>,
        now: UnixTime,
    ) -> BoxFuture<'_, Vec<Result<(), WriteError>>> {
        Box::pin(async move { batch.iter().map(|write| self.put_value(write, now)).collect() })
    }

    fn remove_value<'a>(
        &'a self,
        key: &'a [u8],
        version: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::remove_value(self, key, version)) })
    }

    fn providers<'a>(
        &'a self,
        key: &'a [u8],
        count: usize,
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Vec<PeerInfo>, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::providers(self, key, count, now)) })
    }

    fn add_providers(
        &self,
        batch: Vec<ProviderRecord>,
        now: UnixTime,
    ) -> BoxFuture<'_, Vec<Result<(), WriteError>>> {
        Box::pin(async move { batch.iter().map(|record| self.add_provider(record, now)).collect() })
    }

    fn remove_provider<'a>(
        &'a self,
        key: &'a [u8],
        provider: &'a PeerId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::remove_provider(self, key, provider)) })
    }

    fn keys<'a>(
        &'a self,
        kind: RecordKind,
        after: Option<&'a [u8]>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'a, Result<KeyPage, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::keys(self, kind, after, limit, now)) })
    }

    fn expire(&self, now: Now, budget: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::expire(self, now, budget)) })
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        Box::pin(async move { Ok(MemoryStore::stats(self)) })
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(ready(Ok(())))
    }
}

#[cfg(test)]
mod tests;
