//! What a node needs of a store.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use kadmos_core::record::{ProviderRecord, Reader, StoredValue, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{PeerId, PeerInfo};

use crate::error::{StoreError, WriteError};

/// A future that any runtime can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where records live: asynchronous, batched, compare-and-swap on values.
///
/// Every method may be called at any time, from any thread, by any number of callers; futures that are dropped
/// before they end may or may not have taken effect. Rules about which value is better are not the store's: the
/// responder and the node decide, and [`ValueWrite::expected`] keeps two of them from undoing each other.
///
/// **Time.** `now` is the wall clock; a record is served while `now < expires` and never afterwards. A write shows
/// its record to every read that starts after the write's future ended. Wall clocks get set; [`Store::expire`]
/// tells the store of both clocks, so that it notices. From then on the store counts by the clock that was not set:
/// a record lives as long as it was written for, within an hour, however often and far the clock is set. Between
/// the setting and the next `expire` reads go by the clock they are given. Dates in what a store returns are
/// by the caller's clock.
///
/// **Durability.** A write's future ends when the record is as durable as the store promises; a store that promises
/// to survive a crash must not end the future of a value before it would. Provider records may be written in
/// groups, later: they are announced again within a day.
pub trait Store: Send + Sync + 'static {
    /// The synchronous side, for requests being served. Cheap to call once per connection; sees every later write.
    fn reader(&self) -> Arc<dyn Reader>;

    /// The unexpired value under `key`.
    fn value<'a>(
        &'a self,
        key: &'a [u8],
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, StoreError>>;

    /// Writes values in order; the result has one entry per write, in the same order. Each write stands for itself:
    /// one that is refused does not undo or stop another.
    ///
    /// Errors: [`WriteError::Conflict`] unless the version held, if unexpired, is [`ValueWrite::expected`];
    /// [`WriteError::Expired`]; [`WriteError::Full`] when a bound is reached; [`WriteError::Failed`].
    fn put_values(&self, batch: Vec<ValueWrite>, now: UnixTime)
    -> BoxFuture<'_, Vec<Result<(), WriteError>>>;

    /// Removes the value under `key`, only if it has this version when one is given; tells whether it did.
    fn remove_value<'a>(
        &'a self,
        key: &'a [u8],
        version: Option<u64>,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// At most `count` unexpired providers of `key`, distinct, in the order of [`Reader::providers`]: no provider
    /// stays first for ever. A provider's addresses are the ones it announced last, for whichever key, as long as
    /// they have not expired; then it has none.
    fn providers<'a>(
        &'a self,
        key: &'a [u8],
        count: usize,
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Vec<PeerInfo>, StoreError>>;

    /// Writes provider records in order; the result has one entry per record, in the same order. A provider's
    /// earlier record of the same key is replaced.
    ///
    /// A key whose providers are as many as allowed takes the newcomer in place of another; who gives way is a rule
    /// under which a group of squatters cannot keep honest providers out.
    /// Errors: [`WriteError::Expired`]; [`WriteError::Full`] for the other bounds; [`WriteError::Failed`].
    fn add_providers(
        &self,
        batch: Vec<ProviderRecord>,
        now: UnixTime,
    ) -> BoxFuture<'_, Vec<Result<(), WriteError>>>;

    /// Removes one provider's record of `key`; tells whether there was one.
    fn remove_provider<'a>(
        &'a self,
        key: &'a [u8],
        provider: &'a PeerId,
    ) -> BoxFuture<'a, Result<bool, StoreError>>;

    /// The keys greater than `after` that hold an unexpired record, ascending by bytes; at most `limit`, which
    /// counts as 1 when it is 0. A page may hold fewer, even none, and still not be the last: [`KeyPage::next`]
    /// tells. Cost: O(limit), whatever the store holds.
    fn keys<'a>(
        &'a self,
        kind: RecordKind,
        after: Option<&'a [u8]>,
        limit: usize,
        now: UnixTime,
    ) -> BoxFuture<'a, Result<KeyPage, StoreError>>;

    /// Frees what expired records hold, oldest expiry first, visiting at most `budget` keys; and tells the store of
    /// both clocks. Call it every minute or so, and again at once while [`Expired::more`] is set.
    fn expire(&self, now: Now, budget: usize) -> BoxFuture<'_, Result<Expired, StoreError>>;

    /// What the store holds, expired records that are not collected yet included. Cost: O(1).
    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>>;

    /// Ends when every write that ended before is as durable as this store can make it.
    fn sync(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Whether the store can be relied on now. Cost: O(1), never waits for the disk.
    fn condition(&self) -> Condition {
        Condition::Ready
    }
}

/// How a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// It serves, but could not write last: what it takes may be gone after a restart.
    Failing {
        /// What the disk or the database said.
        reason: String,
    },
    /// Its records are being read; until then the reader says [`kadmos_core::record::Read::NotResident`].
    Loading,
    /// All is well.
    Ready,
    /// Its records could not be read, and nothing is served.
    Unusable(StoreError),
}

/// The two kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// Claims to provide a multihash.
    Provider,
    /// Values under `/namespace/…` keys.
    Value,
}

/// Part of a list of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Strictly ascending.
    pub keys: Vec<Bytes>,
    /// Pass it as `after` for the next page; `None` after the last.
    pub next: Option<Bytes>,
}

/// What one call of [`Store::expire`] freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Values.
    pub values: usize,
    /// Provider records.
    pub providers: usize,
    /// Whether the budget ended before the expired records did.
    pub more: bool,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Values.
    pub values: usize,
    /// What the values cost in memory or on disk, keys and index included.
    pub value_bytes: usize,
    /// Multihashes with providers.
    pub provider_keys: usize,
    /// Provider records: pairs of a multihash and a provider.
    pub provider_records: usize,
    /// Distinct providers.
    pub providers: usize,
    /// What the provider records cost in memory or on disk, addresses and index included.
    pub provider_bytes: usize,
}
