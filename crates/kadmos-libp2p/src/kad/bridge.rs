//! Foreign stores: connections and the core speak to a [`RecordStore`] through the swarm's task, which owns it.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kadmos_core::message::Record as CoreRecord;
use kadmos_core::record::{ProviderRecord as CoreProvider, Read, Reader, StoredValue, ValueWrite};
use kadmos_core::time::{Now, UnixTime};
use kadmos_core::{PeerId as CorePeerId, PeerInfo};
use kadmos_store::{
    BoxFuture, Capacity, Expired, KeyPage, RecordKind, Store, StoreError, StoreStats, WriteError,
};
use libp2p_identity::PeerId;
use tokio::sync::{mpsc, oneshot};

use super::config::NEVER;
use super::record::{Key, ProviderRecord, Record};
use super::store::{Error, RecordStore};
use crate::convert::{addr_list, core_peer, multiaddrs, peer_id};

/// Calls on their way to the swarm's task: as many as served requests may have store operations, twice.
const CALLS_MAX: usize = 512;

/// The version of every value: a [`RecordStore`] has none, and replaces what it has.
const VERSION: u64 = 1;

/// The core's side.
#[derive(Clone, Debug)]
pub(super) struct BridgeStore(mpsc::Sender<Call>);

/// The swarm's side.
#[derive(Debug)]
pub(super) struct Bridge(mpsc::Receiver<Call>);

#[derive(Debug)]
struct Call {
    what: What,
    reply: oneshot::Sender<Reply>,
}

#[derive(Debug)]
enum What {
    Value(Key),
    PutValue(ValueWrite),
    RemoveValue(Key),
    Providers(Key, usize),
    AddProvider(CoreProvider),
    RemoveProvider(Key, PeerId),
    Keys { kind: RecordKind, after: Option<Bytes>, limit: usize },
    Stats,
}

#[derive(Debug)]
enum Reply {
    Value(Option<StoredValue>),
    Written(Result<(), WriteError>),
    Removed(bool),
    Providers(Vec<PeerInfo>),
    Keys(KeyPage),
    Stats(StoreStats),
}

/// How records of peers enter the store.
pub(super) struct Rules<'a> {
    pub(super) local: PeerId,
    /// Whether they do at all.
    pub(super) stores: bool,
    /// How long values live that were received now under a key.
    pub(super) value_ttl: &'a dyn Fn(&[u8]) -> Option<Duration>,
    pub(super) provider_ttl: Option<Duration>,
}

/// Both sides.
pub(super) fn bridge() -> (Arc<BridgeStore>, Bridge) {
    let (sender, receiver) = mpsc::channel(CALLS_MAX);
    (Arc::new(BridgeStore(sender)), Bridge(receiver))
}

impl Bridge {
    /// Carries out the next call on `store`. Ready with the key if that stored a value.
    pub(super) fn poll<S: RecordStore>(
        &mut self,
        cx: &mut Context<'_>,
        store: &mut S,
        rules: &Rules<'_>,
    ) -> Poll<Option<Key>> {
        let Poll::Ready(Some(Call { what, reply })) = self.0.poll_recv(cx) else { return Poll::Pending };
        if reply.is_closed() {
            return Poll::Ready(None); // its stream is gone
        }
        let key = match &what {
            What::PutValue(write) if rules.stores => Some(Key::from(write.record.key.clone())),
            _ => None,
        };
        let answer = carry_out(store, what, rules);
        let stored = matches!(answer, Reply::Written(Ok(())));
        let _ = reply.send(answer); // it may have gone meanwhile
        Poll::Ready(key.filter(|_| stored))
    }
}

fn carry_out<S: RecordStore>(store: &mut S, what: What, rules: &Rules<'_>) -> Reply {
    let now = Instant::now();
    match what {
        What::Value(key) => Reply::Value(value(store, &key, now)),
        What::PutValue(ValueWrite { record, .. }) => Reply::Written(match rules.stores {
            true => {
                let ttl = (rules.value_ttl)(&record.key);
                let mut new = Record::new(Key::from(record.key), record.value.to_vec());
                new.expires = ttl.and_then(|ttl| now.checked_add(ttl));
                if new.is_expired(now) { Ok(()) } else { put(store, new, &rules.local) } // as libp2p-kad: echoed, not kept
            }
            false => Ok(()),
        }),
        What::RemoveValue(key) => {
            let was = store.get(&key).is_some();
            store.remove(&key);
            Reply::Removed(was)
        }
        What::Providers(key, count) => Reply::Providers(providers(store, &key, count, now)),
        What::AddProvider(record) => {
            let mut new = provider_record(&record);
            let own = new.provider == rules.local; // by the native handle: as `start_providing` stores it
            if !own {
                new.expires = rules.provider_ttl.and_then(|ttl| now.checked_add(ttl));
            }
            let stores = own || rules.stores;
            Reply::Written(if stores { store.add_provider(new).map_err(refused) } else { Ok(()) })
        }
        What::RemoveProvider(key, provider) => {
            let was = store.providers(&key).iter().any(|known| known.provider == provider);
            store.remove_provider(&key, &provider);
            Reply::Removed(was)
        }
        What::Keys { kind, after, limit } => Reply::Keys(keys(store, kind, after, limit)),
        What::Stats => {
            let (mut values, mut value_bytes) = (0, 0);
            for record in store.records() {
                values += 1;
                value_bytes += record.key.as_ref().len() + record.value.len();
            }
            Reply::Stats(StoreStats { values, value_bytes, ..StoreStats::default() })
        }
    }
}

/// The value under a key. One whose time is over goes.
fn value<S: RecordStore>(store: &mut S, key: &Key, now: Instant) -> Option<StoredValue> {
    let record = store.get(key)?;
    if record.is_expired(now) {
        drop(record);
        store.remove(key);
        return None;
    }
    let lasts = record.expires.map_or(NEVER, |at| at.saturating_duration_since(now));
    Some(StoredValue {
        record: CoreRecord { key: key.bytes(), value: record.value.clone().into() },
        // Both by the wall clock; the caller puts its own time in.
        received: UnixTime::default(),
        expires: UnixTime::default() + lasts,
        version: VERSION,
    })
}

/// Stores a peer's value, unless it would take the place of one of this node's own that is the same.
fn put<S: RecordStore>(store: &mut S, new: Record, local: &PeerId) -> Result<(), WriteError> {
    let own = store
        .get(&new.key)
        .is_some_and(|held| held.publisher.as_ref() == Some(local) && held.value == new.value);
    if own { Ok(()) } else { store.put(new).map_err(refused) }
}

/// The providers of a key. Those whose time is over go.
fn providers<S: RecordStore>(store: &mut S, key: &Key, count: usize, now: Instant) -> Vec<PeerInfo> {
    let (expired, current): (Vec<_>, Vec<_>) =
        store.providers(key).into_iter().partition(|record| record.is_expired(now));
    for record in expired {
        store.remove_provider(key, &record.provider);
    }
    let count = if count == 0 { usize::MAX } else { count };
    let info = |record: ProviderRecord| {
        let peer = core_peer(&record.provider).ok()?;
        let addrs = addr_list(&peer, &record.addresses);
        Some(PeerInfo::new(peer, addrs))
    };
    current.into_iter().filter_map(info).take(count).collect()
}

/// Keys of values, or of what this node provides: a [`RecordStore`] does not tell what others provide.
fn keys<S: RecordStore>(store: &S, kind: RecordKind, after: Option<Bytes>, limit: usize) -> KeyPage {
    let all: BTreeSet<Bytes> = match kind {
        RecordKind::Value => store.records().map(|record| record.key.bytes()).collect(),
        RecordKind::Provider => store.provided().map(|record| record.key.bytes()).collect(),
    };
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    let mut keys: Vec<_> =
        all.range((from, Bound::Unbounded)).take(limit.saturating_add(1)).cloned().collect();
    let more = keys.len() > limit;
    keys.truncate(limit);
    let next = keys.last().filter(|_| more).cloned();
    KeyPage { keys, next }
}

/// A provider record of a peer, as the user sees it.
pub(super) fn provider_record(record: &CoreProvider) -> ProviderRecord {
    let provider = peer_id(&record.provider.peer.id);
    ProviderRecord::new(Key::from(record.key.clone()), provider, multiaddrs(&record.provider.addrs))
}

fn refused(error: Error) -> WriteError {
    let capacity = match error {
        Error::MaxRecords => Capacity::Values,
        Error::MaxProvidedKeys => Capacity::ProviderKeys,
        Error::ValueTooLarge => Capacity::ValueBytes,
    };
    WriteError::Full { capacity, limit: 0 } // the store does not tell its limit
}

impl BridgeStore {
    async fn call(&self, what: What) -> Result<Reply, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Call { what, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }

    async fn write(&self, what: What) -> Result<(), WriteError> {
        match self.call(what).await? {
            Reply::Written(result) => result,
            other => Err(mismatch(&other).into()),
        }
    }

    async fn removed(&self, what: What) -> Result<bool, StoreError> {
        match self.call(what).await? {
            Reply::Removed(was) => Ok(was),
            other => Err(mismatch(&other)),
        }
    }
}

fn mismatch(reply: &Reply) -> StoreError {
    StoreError::Unavailable { reason: format!("the store answered another question: {reply:?}") }
}

impl Store for BridgeStore {
    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(NothingResident)
    }

    fn value<'a>(
        &'a self,
        key: &'a [u8],
        now: UnixTime,
    ) -> BoxFuture<'a, Result<Option<StoredValue>, StoreError>> {
        Box::pin(async move {
            match self.call(What::Value(Key::new(&key))).await? {
                Reply::Value(value) => Ok(value.map(|value| StoredValue {
                    received: now,
                    expires: now + value.expires.since(UnixTime::default()),
                    ..value
                })),
                other => Err(mismatch(&other)),
            }
        })
    }

    fn put_values(&self, batch: Vec<ValueWrite>, _: UnixTime) -> BoxFuture<'_, Vec<Result<(), WriteError>>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(batch.len());
            for write in batch {
                results.push(self.write(What::PutValue(write)).await);
            }
            results
        })
    }

    fn remove_value<'a>(&'a self, key: &'a [u8], _: Option<u64>) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.removed(What::RemoveValue(Key::new(&key))))
    }

    fn providers<'a>(
        &'a self,
        key: &'a [u8],
        count: usize,
        _: UnixTime,
    ) -> BoxFuture<'a, Result<Vec<PeerInfo>, StoreError>> {
        Box::pin(async move {
            match self.call(What::Providers(Key::new(&key), count)).await? {
                Reply::Providers(providers) => Ok(providers),
                other => Err(mismatch(&other)),
            }
        })
    }

    fn add_providers(
        &self,
        batch: Vec<CoreProvider>,
        _: UnixTime,
    ) -> BoxFuture<'_, Vec<Result<(), WriteError>>> {
        Box::pin(async move {
            let mut results = Vec::with_capacity(batch.len());
            for record in batch {
                results.push(self.write(What::AddProvider(record)).await);
            }
            results
        })
    }

    fn remove_provider<'a>(
        &'a self,
        key: &'a [u8],
        provider: &'a CorePeerId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(self.removed(What::RemoveProvider(Key::new(&key), peer_id(provider))))
    }

    fn keys<'a>(
        &'a self,
        kind: RecordKind,
        after: Option<&'a [u8]>,
        limit: usize,
        _: UnixTime,
    ) -> BoxFuture<'a, Result<KeyPage, StoreError>> {
        let after = after.map(Bytes::copy_from_slice);
        Box::pin(async move {
            match self.call(What::Keys { kind, after, limit }).await? {
                Reply::Keys(page) => Ok(page),
                other => Err(mismatch(&other)),
            }
        })
    }

    /// The store's own business: records whose time is over go when they are read, when the jobs run, and from a full
    /// `MemoryStore` when it needs their place.
    fn expire(&self, _: Now, _: usize) -> BoxFuture<'_, Result<Expired, StoreError>> {
        Box::pin(std::future::ready(Ok(Expired::default())))
    }

    fn stats(&self) -> BoxFuture<'_, Result<StoreStats, StoreError>> {
        Box::pin(async move {
            match self.call(What::Stats).await? {
                Reply::Stats(stats) => Ok(stats),
                other => Err(mismatch(&other)),
            }
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Everything is on the slow side: in the swarm's task.
struct NothingResident;

impl Reader for NothingResident {
    fn value(&self, _: &[u8], _: UnixTime) -> Read<StoredValue> {
        Read::NotResident
    }

    fn providers(&self, _: &[u8], _: UnixTime, _: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>) -> Read<()> {
        Read::NotResident
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use futures::future::{Either, select};
    use kadmos_core::AddrList;

    use super::*;
    use crate::kad::store::{MemoryStore, MemoryStoreConfig};

    /// A store and how it is served.
    struct Served {
        store: MemoryStore,
        bridge: Bridge,
        local: PeerId,
        stores: bool,
        ttl: Option<Duration>,
        /// Keys of values that were stored.
        written: Vec<Key>,
    }

    impl Served {
        fn new(config: MemoryStoreConfig) -> (Arc<BridgeStore>, Self) {
            let (store, bridge) = bridge();
            let local = PeerId::random();
            let memory = MemoryStore::with_config(local, config);
            let ttl = Some(Duration::from_secs(3_600));
            (store, Self { store: memory, bridge, local, stores: true, ttl, written: Vec::new() })
        }

        /// Serves until `answer` is there.
        async fn until<T>(&mut self, answer: impl Future<Output = T>) -> T {
            let Self { store, bridge, local, stores, ttl, written } = self;
            let value_ttl = |_: &[u8]| *ttl;
            let rules = Rules { local: *local, stores: *stores, value_ttl: &value_ttl, provider_ttl: *ttl };
            let serve = poll_fn(|cx| -> Poll<()> {
                while let Poll::Ready(key) = bridge.poll(cx, store, &rules) {
                    written.extend(key);
                }
                Poll::Pending
            });
            match select(pin!(answer), serve).await {
                Either::Left((answer, _)) => answer,
                Either::Right(_) => unreachable!("it serves for ever"),
            }
        }
    }

    fn write(key: &'static [u8], value: &'static [u8]) -> ValueWrite {
        let record = CoreRecord { key: Bytes::from_static(key), value: Bytes::from_static(value) };
        let [received, expires] = [1_000, 2_000].map(UnixTime::from_secs);
        ValueWrite { record, received, expires, expected: None }
    }

    fn provider(key: &'static [u8], peer: PeerId) -> CoreProvider {
        let peer = core_peer(&peer).unwrap();
        let [received, expires] = [1_000, 2_000].map(UnixTime::from_secs);
        CoreProvider {
            key: Bytes::from_static(key),
            provider: PeerInfo::new(peer, AddrList::EMPTY),
            received,
            expires,
            addrs_expire: expires,
        }
    }

    const NOW: UnixTime = UnixTime::from_secs(1_000);

    #[tokio::test]
    async fn values_cross_it_both_ways_with_the_callers_time() {
        let (store, mut served) = Served::new(MemoryStoreConfig { max_records: 2, ..Default::default() });
        let batch = vec![write(b"a", b"1"), write(b"b", b"2"), write(b"c", b"3")];
        let results = served.until(store.put_values(batch, NOW)).await;
        let full = WriteError::Full { capacity: Capacity::Values, limit: 0 };
        assert_eq!(results, [Ok(()), Ok(()), Err(full)]);
        assert_eq!(served.written, [Key::new(b"a"), Key::new(b"b")], "what was refused is not stored");
        let found = served.until(store.value(b"a", NOW)).await.unwrap().expect("it was put");
        assert_eq!((found.record.value.as_ref(), found.received), (&b"1"[..], NOW));
        let left = found.expires.since(NOW).as_secs();
        assert!((3_500..=3_600).contains(&left), "{left}");
        assert_eq!(served.until(store.value(b"c", NOW)).await, Ok(None));
        let stats = served.until(store.stats()).await.unwrap();
        assert_eq!((stats.values, stats.value_bytes), (2, 4));
        let page = |after, limit| store.keys(RecordKind::Value, after, limit, NOW);
        let first = served.until(page(None, 1)).await.unwrap();
        assert_eq!(
            (first.keys.as_slice(), first.next.as_deref()),
            (&[Bytes::from("a")][..], Some(&b"a"[..]))
        );
        let second = served.until(page(first.next.as_deref(), 5)).await.unwrap();
        assert_eq!((second.keys.as_slice(), second.next), (&[Bytes::from("b")][..], None));
        assert_eq!(served.until(store.remove_value(b"a", None)).await, Ok(true));
        assert_eq!(served.until(store.remove_value(b"a", None)).await, Ok(false));
        let now = Now { monotonic: kadmos_core::Timestamp::ZERO, unix: NOW };
        assert_eq!(served.until(store.expire(now, 10)).await, Ok(Expired::default()));
        assert_eq!(served.until(store.sync()).await, Ok(()));
        assert!(
            matches!(store.reader().value(b"b", NOW), Read::NotResident),
            "all of it is in the swarm's task"
        );
    }

    #[tokio::test]
    async fn a_value_without_a_life_is_acknowledged_and_not_kept() {
        let (store, mut served) = Served::new(MemoryStoreConfig::default());
        served.ttl = Some(Duration::ZERO);
        assert_eq!(served.until(store.put_values(vec![write(b"a", b"1")], NOW)).await, [Ok(())]);
        assert_eq!(served.until(store.value(b"a", NOW)).await, Ok(None));
        served.ttl = None;
        served.until(store.put_values(vec![write(b"a", b"1")], NOW)).await;
        let found = served.until(store.value(b"a", NOW)).await.unwrap().expect("for ever");
        assert!(found.expires.since(NOW) > Duration::from_secs(1 << 31));
    }

    #[tokio::test]
    async fn providers_cross_it_and_a_filter_leaves_out_others_but_not_ourselves() {
        let (store, mut served) =
            Served::new(MemoryStoreConfig { max_provided_keys: 1, ..Default::default() });
        let (other, own) = (PeerId::random(), served.local);
        let batch = vec![provider(b"k", other), provider(b"l", other)];
        let full = WriteError::Full { capacity: Capacity::ProviderKeys, limit: 0 };
        assert_eq!(served.until(store.add_providers(batch, NOW)).await, [Ok(()), Err(full)]);
        served.stores = false;
        let batch = vec![provider(b"k", PeerId::random()), provider(b"k", own)];
        assert_eq!(served.until(store.add_providers(batch, NOW)).await, [Ok(()), Ok(())]);
        let found = served.until(store.providers(b"k", 20, NOW)).await.unwrap();
        let mut ids: Vec<_> = found.iter().map(|info| peer_id(&info.peer.id)).collect();
        let mut both = vec![other, own];
        ids.sort_unstable();
        both.sort_unstable();
        assert_eq!(ids, both);
        assert!(
            served.store.provided().all(|record| record.expires.is_none()),
            "as start_providing stores it"
        );
        let page = served.until(store.keys(RecordKind::Provider, None, 5, NOW)).await.unwrap();
        assert_eq!(page.keys, [Bytes::from("k")]);
        let id = core_peer(&other).unwrap().id;
        assert_eq!(served.until(store.remove_provider(b"k", &id)).await, Ok(true));
        assert_eq!(served.until(store.remove_provider(b"k", &id)).await, Ok(false));
        served.stores = false;
        assert_eq!(served.until(store.put_values(vec![write(b"a", b"1")], NOW)).await, [Ok(())]);
        assert!(served.written.is_empty() && served.store.records().count() == 0, "the user's to store");
    }

    #[tokio::test]
    async fn without_a_swarm_the_store_is_closed() {
        let (store, served) = Served::new(MemoryStoreConfig::default());
        drop(served);
        assert_eq!(store.value(b"a", NOW).await, Err(StoreError::Closed));
        assert!(matches!(
            store.put_values(vec![write(b"a", b"1")], NOW).await.as_slice(),
            [Err(WriteError::Failed(StoreError::Closed))]
        ));
    }
}
