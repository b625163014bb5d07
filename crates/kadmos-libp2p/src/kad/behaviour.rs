//! The behaviour: what a user of libp2p-kad calls, on Kadmos' core.

mod network;
mod table;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Instant;

use kadmos_core::operation::{Delivery, Holders, Question};
use kadmos_core::{AddrList, Operation, OperationOptions, Peer, PeerInfo, Timestamp};
use libp2p_core::Multiaddr;
use libp2p_identity::PeerId;
use libp2p_swarm::{ConnectionId, ExternalAddresses, StreamProtocol};

use super::K_VALUE;
use super::bridge::{Bridge, bridge};
use super::config::Config;
use super::event::{
    BootstrapOk, Event, GetProvidersOk, GetRecordOk, Mode, NoKnownPeers, PeerRecord, ProgressStep,
    QueryResult, Quorum,
};
use super::jobs::{Job, Jobs};
use super::kbucket::Key as KBucketKey;
use super::queries::{End, Next, Queries, Query};
use super::query::{
    AddProviderContext, AddProviderPhase, PutRecordContext, PutRecordPhase, QueryId, QueryInfo, QueryMut,
    QueryRef, QueryStats,
};
use super::record::{self, ProviderRecord, Record};
use super::store::{self, RecordStore};
use crate::clock::Timer;
use crate::convert::{addr_list, core_peer};
use crate::dht::Dht;

/// Tries to find a peer id of one bucket. 2^n are needed for the n-th from the far end; one that is not hit is
/// represented by the nearest miss.
const TARGET_TRIES: usize = 4_096;

/// A node of the DHT as a part of a libp2p swarm, with the interface of `libp2p_kad::Behaviour`.
///
/// It is a [`crate::Behaviour`] inside. [`Behaviour::handle`] gives the native handle to the same node.
pub struct Behaviour<TStore> {
    inner: crate::Behaviour,
    dht: Dht,
    local: PeerId,
    local_key: KBucketKey<PeerId>,
    config: Config,
    store: TStore,
    bridge: Bridge,
    queries: Queries,
    jobs: Jobs,
    events: VecDeque<Event>,
    links: BTreeMap<PeerId, Vec<Link>>,
    /// Peers that the user added: they are put back when the table is empty. Bounded by [`ADDED_MAX`].
    added: BTreeMap<PeerId, AddrList>,
    external: ExternalAddresses,
    mode: Mode,
    /// Whether external addresses decide on the mode.
    auto_mode: bool,
    timer: Timer,
}

/// Peers that the user added and that are remembered in case they leave the table: as many as the core keeps to join
/// through.
const ADDED_MAX: usize = kadmos_core::limits::BOOTSTRAP_PEERS_MAX;

/// A connection to a peer.
#[derive(Debug)]
struct Link {
    id: ConnectionId,
    /// The address at which this node reached it.
    dialled: Option<Multiaddr>,
    /// The peer is known to serve, from this connection.
    serves: bool,
}

impl<TStore> Behaviour<TStore>
where
    TStore: RecordStore + Send + 'static,
{
    /// A node named `id` on the public IPFS protocol id with libp2p-kad's defaults. [`Config::amino`] has better ones.
    ///
    /// # Panics
    ///
    /// As [`Behaviour::with_config`].
    pub fn new(id: PeerId, store: TStore) -> Self {
        Self::with_config(id, store, Config::default())
    }

    /// A node named `id`.
    ///
    /// # Panics
    ///
    /// If `id` is no peer's: neither the SHA-256 multihash nor the identity multihash of a public key.
    pub fn with_config(id: PeerId, store: TStore, config: Config) -> Self {
        let (bridge_store, bridge) = bridge();
        let hosted = crate::Behaviour::hosted(
            id,
            config.core(),
            config.validators(),
            bridge_store,
            config.only_inserted(),
        );
        // `Config::core` holds every setting to its range, and a `StreamProtocol` is a protocol id.
        let (inner, dht) = hosted.expect("a peer id and settings within their ranges");
        Self {
            inner,
            dht,
            local: id,
            local_key: id.into(),
            store,
            bridge,
            queries: Queries::default(),
            jobs: Jobs::new(&config, Instant::now()),
            config,
            events: VecDeque::new(),
            links: BTreeMap::new(),
            added: BTreeMap::new(),
            external: ExternalAddresses::default(),
            mode: Mode::Client,
            auto_mode: true,
            timer: Timer::default(),
        }
    }

    /// The native handle to this node: futures and streams, providers with their addresses, peers found by their id,
    /// options for each operation, the table, health, metrics. Its operations are no queries of this interface.
    pub fn handle(&self) -> Dht {
        self.dht.clone()
    }

    /// The protocol id, in a list of one.
    pub fn protocol_names(&self) -> &[StreamProtocol] {
        &self.config.protocols
    }

    /// Queries under way.
    pub fn iter_queries(&self) -> impl Iterator<Item = QueryRef<'_>> {
        self.queries.iter().map(|query| QueryRef { query, stats: self.stats(query) })
    }

    /// Queries under way, to be ended.
    pub fn iter_queries_mut(&mut self) -> impl Iterator<Item = QueryMut<'_>> {
        let inner = &self.inner;
        self.queries.iter_mut().map(|query| {
            let stats = query.stats_with(inner.cost_of(query.operation));
            QueryMut { query, stats }
        })
    }

    /// A query under way; `None` once it has ended, or was ended.
    pub fn query(&self, id: &QueryId) -> Option<QueryRef<'_>> {
        self.queries.get(*id).map(|query| QueryRef { query, stats: self.stats(query) })
    }

    /// A query under way, to be ended.
    pub fn query_mut<'a>(&'a mut self, id: &QueryId) -> Option<QueryMut<'a>> {
        let query = self.queries.get_mut(*id)?;
        let stats = query.stats_with(self.inner.cost_of(query.operation));
        Some(QueryMut { query, stats })
    }

    fn stats(&self, query: &Query) -> QueryStats {
        query.stats_with(self.inner.cost_of(query.operation))
    }

    /// Looks for the 20 peers closest to a key.
    pub fn get_closest_peers<K>(&mut self, key: K) -> QueryId
    where
        K: Into<KBucketKey<K>> + Into<Vec<u8>> + Clone,
    {
        self.get_n_closest_peers(key, K_VALUE)
    }

    /// Looks for the `num_results` peers closest to a key, 20 at most.
    pub fn get_n_closest_peers<K>(&mut self, key: K, num_results: NonZeroUsize) -> QueryId
    where
        K: Into<KBucketKey<K>> + Into<Vec<u8>> + Clone,
    {
        let key: Vec<u8> = key.into();
        let num_results = num_results.min(K_VALUE);
        let info = QueryInfo::GetClosestPeers { key: key.clone(), step: ProgressStep::FIRST, num_results };
        self.survey(info, key, Question::ClosestPeers)
    }

    /// Looks for the values under a key: in the own store first, then on the way to the closest peers. Ends when the
    /// closest have answered, or with [`QueryMut::finish`]. No value is judged, and none is written anywhere.
    pub fn get_record(&mut self, key: record::Key) -> QueryId {
        let now = Instant::now();
        let held = self.store.get(&key).map(std::borrow::Cow::into_owned);
        let held = held.filter(|record| {
            let expired = record.is_expired(now);
            if expired {
                self.store.remove(&key);
            }
            !expired
        });
        let info = QueryInfo::GetRecord {
            key: key.clone(),
            step: ProgressStep::FIRST,
            found_a_record: held.is_some(),
            cache_candidates: BTreeMap::new(),
        };
        let id = self.survey(info, key.to_vec(), Question::Value);
        if let Some(record) = held {
            let found = GetRecordOk::FoundRecord(PeerRecord { peer: None, record });
            self.events.extend(self.queries.progress(id, QueryResult::GetRecord(Ok(found)), false, None));
        }
        id
    }

    /// Stores a value here and on the closest peers, as many as the replication factor. `quorum` of them must take it.
    ///
    /// Errors: the own store does not take it, and nobody is sent it.
    pub fn put_record(&mut self, mut record: Record, quorum: Quorum) -> Result<QueryId, store::Error> {
        record.publisher = Some(self.local);
        self.store.put(record.clone())?;
        record.expires = self.expires(record.expires);
        let quorum = quorum.of(self.config.replication_factor);
        Ok(self.put_closest(record, quorum, PutRecordContext::Publish))
    }

    /// Sends a value to these peers, and does not store it here. `quorum` of them must take it. For writing a value
    /// back to peers that a lookup has named.
    pub fn put_record_to<I>(&mut self, mut record: Record, peers: I, quorum: Quorum) -> QueryId
    where
        I: ExactSizeIterator<Item = PeerId>,
    {
        let quorum = NonZeroUsize::new(peers.len()).map_or(NonZeroUsize::MIN, |total| quorum.of(total));
        record.expires = self.expires(record.expires);
        let peers = peers.filter_map(|peer| self.known(&peer)).collect();
        let phase =
            PutRecordPhase::PutRecord { success: Vec::new(), get_closest_peers_stats: QueryStats::empty() };
        self.put(record, Holders::Peers(peers), quorum, phase, PutRecordContext::Custom)
    }

    /// Forgets a value that this node has published; others keep it until its time is over.
    pub fn remove_record(&mut self, key: &record::Key) {
        let own = self.store.get(key).is_some_and(|record| record.publisher == Some(self.local));
        if own {
            self.store.remove(key);
        }
    }

    /// The store.
    pub fn store_mut(&mut self) -> &mut TStore {
        &mut self.store
    }

    /// Looks up this node itself and then a peer id of each farther bucket, so that all are filled. Each lookup is a
    /// result of the query. Runs by itself, too: see [`Config::set_periodic_bootstrap_interval`], and half a second after
    /// somebody has entered a table of fewer than 20.
    ///
    /// Errors: [`NoKnownPeers`].
    pub fn bootstrap(&mut self) -> Result<QueryId, NoKnownPeers> {
        self.jobs.bootstrapped(Instant::now());
        self.put_back();
        if self.inner.node().table().view().is_empty() {
            return Err(NoKnownPeers());
        }
        let info = QueryInfo::Bootstrap { peer: self.local, remaining: None, step: ProgressStep::FIRST };
        Ok(self.survey(info, self.local.to_bytes(), Question::ClosestPeers))
    }

    /// Stores here that this node provides the content with a key, and announces it to the closest peers, now and every
    /// [`Config::set_provider_publication_interval`]. They are told the swarm's external addresses.
    ///
    /// Errors: the own store does not take it, and nobody is told.
    pub fn start_providing(&mut self, key: record::Key) -> Result<QueryId, store::Error> {
        self.store.add_provider(ProviderRecord::new(key.clone(), self.local, Vec::new()))?;
        Ok(self.announce(key, AddProviderContext::Publish))
    }

    /// Forgets that this node provides the content with a key; others do so when their records' time is over.
    pub fn stop_providing(&mut self, key: &record::Key) {
        self.store.remove_provider(key, &self.local);
    }

    /// Looks for providers of the content with a key: in the own store first, then on the way to the closest peers. Ends
    /// when the closest have answered, or with [`QueryMut::finish`].
    pub fn get_providers(&mut self, key: record::Key) -> QueryId {
        let now = Instant::now();
        let (expired, held): (Vec<_>, Vec<_>) =
            self.store.providers(&key).into_iter().partition(|record| record.is_expired(now));
        expired.iter().for_each(|record| self.store.remove_provider(&key, &record.provider));
        let providers: HashSet<_> = held.into_iter().map(|record| record.provider).collect();
        let info = QueryInfo::GetProviders {
            key: key.clone(),
            providers_found: providers.len(),
            step: ProgressStep::FIRST,
        };
        let id = self.survey(info, key.to_vec(), Question::Providers);
        if !providers.is_empty() {
            let found = GetProvidersOk::FoundProviders { key, providers };
            self.events.extend(self.queries.progress(id, QueryResult::GetProviders(Ok(found)), false, None));
        }
        id
    }

    /// Sets whether this node serves; `None` lets external addresses decide: it does while there is one.
    pub fn set_mode(&mut self, mode: Option<Mode>) {
        self.auto_mode = mode.is_none();
        match mode {
            Some(mode) => self.change_mode(mode),
            None => self.mode_by_addresses(),
        }
    }

    /// Whether this node serves.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn change_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.inner.change_mode(match mode {
            Mode::Client => kadmos_core::Mode::Client,
            Mode::Server => kadmos_core::Mode::Server,
        });
    }

    fn mode_by_addresses(&mut self) {
        let reachable = self.external.iter().next().is_some();
        let mode = if reachable { Mode::Server } else { Mode::Client };
        if mode != self.mode {
            self.change_mode(mode);
            self.events.push_back(Event::ModeChanged { new_mode: mode });
        }
    }

    /// Begins a query that asks on the way to a key.
    fn survey(&mut self, info: QueryInfo, key: Vec<u8>, question: Question) -> QueryId {
        let target = KBucketKey::new(key.as_slice()).into();
        let operation = Operation::Survey { key: key.into(), question };
        let operation = self.inner.begin(operation, OperationOptions::default());
        self.queries.add(info, target, operation)
    }

    fn deliver(&mut self, info: QueryInfo, delivery: Delivery, holders: Holders) -> QueryId {
        let target = KBucketKey::new(delivery.key().as_ref()).into();
        let operation = Operation::Deliver { delivery, holders };
        let operation = self.inner.begin(operation, OperationOptions::default());
        self.queries.add(info, target, operation)
    }

    fn put_closest(&mut self, record: Record, quorum: NonZeroUsize, context: PutRecordContext) -> QueryId {
        let holders = Holders::Closest(self.config.replication_factor);
        self.put(record, holders, quorum, PutRecordPhase::GetClosestPeers, context)
    }

    fn put(
        &mut self,
        record: Record,
        holders: Holders,
        quorum: NonZeroUsize,
        phase: PutRecordPhase,
        context: PutRecordContext,
    ) -> QueryId {
        let (key, value) = (record.key.bytes(), record.value.clone().into());
        let delivery = Delivery::Value(kadmos_core::message::Record { key, value });
        self.deliver(QueryInfo::PutRecord { record, quorum, phase, context }, delivery, holders)
    }

    fn announce(&mut self, key: record::Key, context: AddProviderContext) -> QueryId {
        let local = self.inner.node().table().view().local().peer.clone();
        let addrs = addr_list(&local, self.external.iter());
        let delivery = Delivery::Provider { key: key.bytes(), provider: PeerInfo::new(local, addrs) };
        let info = QueryInfo::AddProvider { key, phase: AddProviderPhase::GetClosestPeers, context };
        self.deliver(info, delivery, Holders::Closest(self.config.replication_factor))
    }

    /// When a value ends that the user has given no end.
    fn expires(&self, set: Option<Instant>) -> Option<Instant> {
        set.or_else(|| Instant::now().checked_add(self.config.record_ttl?))
    }

    /// A peer with what addresses of it are known here; the swarm knows others.
    fn known(&self, peer: &PeerId) -> Option<PeerInfo> {
        let peer: Peer = core_peer(peer).ok()?;
        let known = self.inner.node().table().view().get_peer(&peer).cloned();
        Some(known.unwrap_or_else(|| PeerInfo::new(peer, AddrList::EMPTY)))
    }

    /// Ends a query's operation, and begins what follows.
    fn end_query(&mut self, id: QueryId, end: End) {
        let (event, next) = self.queries.end(id, end, self.config.query_timeout);
        self.events.extend(event);
        if matches!(next, Next::Bootstrap) {
            self.next_bootstrap_lookup(id);
        }
    }

    /// Tells that a lookup of a bootstrap has ended, and begins the next.
    fn next_bootstrap_lookup(&mut self, id: QueryId) {
        let targets = || self.bootstrap_targets().into_iter();
        let is_first = matches!(
            self.queries.get(id).map(|query| &query.info),
            Some(QueryInfo::Bootstrap { remaining: None, .. })
        );
        let first = is_first.then(targets);
        let Some(Query { info: QueryInfo::Bootstrap { peer, remaining, .. }, .. }) = self.queries.get_mut(id)
        else {
            return;
        };
        if let Some(first) = first {
            *remaining = Some(first);
        }
        let ended = *peer;
        let next = remaining.as_mut().and_then(Iterator::next);
        let left = remaining.as_ref().map_or(0, ExactSizeIterator::len) + usize::from(next.is_some());
        if let Some(next) = &next {
            *peer = *next.preimage();
        }
        let num_remaining = u32::try_from(left).unwrap_or(u32::MAX); // at most 256
        let result = QueryResult::Bootstrap(Ok(BootstrapOk { peer: ended, num_remaining }));
        match next {
            Some(next) => {
                self.events.extend(self.queries.progress(id, result, false, None));
                let key = next.preimage().to_bytes();
                let operation = Operation::Survey { key: key.into(), question: Question::ClosestPeers };
                let operation = self.inner.begin(operation, OperationOptions::default());
                self.queries.go_on(id, next.into(), operation);
            }
            None => self.events.extend(self.queries.conclude(id, result)),
        }
    }

    /// A peer id for each bucket beyond the one of the nearest peer, nearest bucket first.
    fn bootstrap_targets(&self) -> Vec<KBucketKey<PeerId>> {
        let view = self.inner.node().table().view();
        let Some(deepest) = view.buckets().filter(|(_, bucket)| !bucket.is_empty()).map(|(n, _)| n).max()
        else {
            return Vec::new();
        };
        let local = view.local().peer.key;
        let mut nearest: Vec<Option<(u16, PeerId)>> = vec![None; usize::from(deepest)];
        let mut missing = nearest.len();
        for _ in 0..TARGET_TRIES {
            if missing == 0 {
                break;
            }
            let id = PeerId::random();
            let prefix = local.common_prefix_len(&kadmos_core::Key::of(&id.to_bytes()));
            for (bucket, place) in nearest.iter_mut().enumerate() {
                let bucket = bucket as u16; // at most 256
                let miss = bucket.abs_diff(prefix);
                if place.is_none_or(|(known, _)| miss < known) {
                    missing -= usize::from(miss == 0);
                    *place = Some((miss, id));
                }
            }
        }
        let mut ids: Vec<_> = nearest.into_iter().rev().flatten().map(|(_, id)| id).collect();
        ids.dedup(); // buckets that no try has reached share the nearest miss
        ids.into_iter().map(KBucketKey::from).collect()
    }

    /// Begins queries of jobs while there is room.
    fn run_jobs(&mut self) {
        let now = Instant::now();
        self.jobs.collect(&mut self.store, &self.local, now);
        while let Some(job) = self.jobs.next(self.queries.jobs()) {
            match job {
                Job::Provide(key) => {
                    self.announce(key, AddProviderContext::Republish);
                }
                Job::Publish(key) => self.put_again(&key, PutRecordContext::Republish),
                Job::Replicate(key) => self.put_again(&key, PutRecordContext::Replicate),
            }
        }
        if self.jobs.take_bootstrap(now) && !self.is_bootstrapping() {
            // An empty table is no error here: nobody asked.
            let _ = self.bootstrap();
        }
    }

    fn is_bootstrapping(&self) -> bool {
        self.queries.iter().any(|query| matches!(query.info, QueryInfo::Bootstrap { .. }))
    }

    fn put_again(&mut self, key: &record::Key, context: PutRecordContext) {
        // It may have gone meanwhile.
        if let Some(record) = self.store.get(key).map(std::borrow::Cow::into_owned) {
            self.put_closest(record, NonZeroUsize::MIN, context);
        }
    }

    /// When a job is due, by the inner behaviour's clock.
    fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let at = self.jobs.next_deadline()?;
        Some(now + at.saturating_duration_since(Instant::now()))
    }
}

impl<TStore> fmt::Debug for Behaviour<TStore> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("local", &self.local)
            .field("mode", &self.mode)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
