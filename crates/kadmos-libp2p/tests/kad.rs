//! The interface of libp2p-kad between real swarms in one task, over libp2p's memory transport.

use std::borrow::Cow;
use std::collections::HashSet;
use std::task::Poll;
use std::time::Duration;

use futures::StreamExt;
use futures::future::{Either, poll_fn, select};
use kadmos_libp2p::kad::store::{self, MemoryStore, RecordStore};
use kadmos_libp2p::kad::{
    self, Behaviour, BucketInserts, Config, Event, GetProvidersOk, GetRecordError, GetRecordOk,
    InboundRequest, Mode, ProgressStep, PutRecordError, QueryId, QueryInfo, QueryResult, Quorum, Record,
    RecordKey, RoutingUpdate, StoreInserts,
};
use libp2p::core::transport::{MemoryTransport, Transport as _};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, StreamProtocol, noise, yamux};

/// The longest a test waits: a hang is a failure, not a hang.
const PATIENCE: Duration = Duration::from_secs(60);

struct Net<S: RecordStore + Send + 'static>(Vec<(Swarm<Behaviour<S>>, Multiaddr)>);

fn config() -> Config {
    let mut config = Config::new(StreamProtocol::new("/test/kad/1.0.0"));
    config.set_periodic_bootstrap_interval(None);
    config
}

fn node<S: RecordStore + Send + 'static>(
    config: Config,
    store: impl Fn(PeerId) -> S,
) -> (Swarm<Behaviour<S>>, Multiaddr) {
    let keypair = Keypair::generate_ed25519();
    let id = keypair.public().to_peer_id();
    let transport = MemoryTransport::default()
        .upgrade(Version::V1)
        .authenticate(noise::Config::new(&keypair).unwrap())
        .multiplex(yamux::Config::default())
        .boxed();
    let behaviour = Behaviour::with_config(id, store(id), config);
    let mut swarm = Swarm::new(transport, behaviour, id, libp2p::swarm::Config::with_tokio_executor());
    // A port of its own: 8 bytes of the id, which is random.
    let port = u64::from_be_bytes(id.to_bytes()[20..28].try_into().unwrap());
    let addr = Multiaddr::from(Protocol::Memory(port.max(1)));
    swarm.listen_on(addr.clone()).unwrap();
    swarm.add_external_address(addr.clone());
    (swarm, addr)
}

impl Net<MemoryStore> {
    /// Nodes of which each knows the next one.
    fn chain(count: usize, config: &Config) -> Self {
        Self::chain_of(count, config, MemoryStore::new)
    }
}

impl<S: RecordStore + Send + 'static> Net<S> {
    fn chain_of(count: usize, config: &Config, store: impl Fn(PeerId) -> S) -> Self {
        let mut nodes: Vec<_> = (0..count).map(|_| node(config.clone(), &store)).collect();
        for index in 1..count {
            let (peer, addr) = (*nodes[index].0.local_peer_id(), nodes[index].1.clone());
            let update = nodes[index - 1].0.behaviour_mut().add_address(&peer, addr);
            assert_eq!(update, RoutingUpdate::Success);
        }
        Self(nodes)
    }

    fn kad(&mut self, index: usize) -> &mut Behaviour<S> {
        self.0[index].0.behaviour_mut()
    }

    fn id(&self, index: usize) -> PeerId {
        *self.0[index].0.local_peer_id()
    }

    /// Drives all until `want` has what it waits for.
    async fn until<T>(&mut self, mut want: impl FnMut(&mut Self, usize, Event) -> Option<T>) -> T {
        let found = poll_fn(|cx| {
            for index in 0..self.0.len() {
                while let Poll::Ready(event) = self.0[index].0.poll_next_unpin(cx) {
                    if let Some(SwarmEvent::Behaviour(event)) = event
                        && let Some(found) = want(self, index, event)
                    {
                        return Poll::Ready(found);
                    }
                }
            }
            Poll::Pending
        });
        tokio::time::timeout(PATIENCE, found).await.expect("it came in time")
    }

    /// All results of a query, in order: the last one says so, and no other.
    async fn results(&mut self, at: usize, query: QueryId) -> Vec<QueryResult> {
        let mut results = Vec::new();
        self.until(|_, index, event| match event {
            Event::OutboundQueryProgressed { id, result, stats, step: ProgressStep { count, last } }
                if (index, id) == (at, query) =>
            {
                results.push(result);
                assert_eq!(count.get(), results.len());
                assert!(stats.num_requests() >= stats.num_successes() + stats.num_failures());
                last.then_some(())
            }
            _ => None,
        })
        .await;
        assert!(self.kad(at).query(&query).is_none(), "it is over");
        results
    }
}

fn key(byte: u8) -> RecordKey {
    RecordKey::from([&[0x12, 0x20][..], &[byte; 32]].concat())
}

#[tokio::test]
async fn values_are_put_and_found_and_the_last_result_says_so() {
    let mut net = Net::chain(3, &config());
    let record = Record::new(key(1), b"value".to_vec());
    let put = net.kad(0).put_record(record.clone(), Quorum::N(2.try_into().unwrap())).unwrap();
    assert!(matches!(
        net.kad(0).query(&put).unwrap().info(),
        QueryInfo::PutRecord { record, .. } if record.publisher.is_some() && record.expires.is_some()
    ));
    let results = net.results(0, put).await;
    assert!(
        matches!(results.as_slice(), [QueryResult::PutRecord(Ok(ok))] if ok.key == key(1)),
        "{results:?}"
    );
    assert_eq!(net.kad(2).store_mut().get(&key(1)).unwrap().value, b"value");

    // Its own store has it, and both others.
    let get = net.kad(0).get_record(key(1));
    let results = net.results(0, get).await;
    let (last, found) = results.split_last().unwrap();
    let mut holders = HashSet::new();
    for found in found {
        let QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) = found else { panic!("{found:?}") };
        assert_eq!(found.record.value, b"value");
        holders.insert(found.peer);
    }
    assert_eq!(holders, HashSet::from([None, Some(net.id(1)), Some(net.id(2))]));
    assert!(matches!(
        last,
        QueryResult::GetRecord(Ok(GetRecordOk::FinishedWithNoAdditionalRecord { cache_candidates }))
            if cache_candidates.is_empty()
    ));

    net.kad(0).remove_record(&key(1));
    assert!(net.kad(0).store_mut().get(&key(1)).is_none());
    let get = net.kad(0).get_record(key(2));
    let results = net.results(0, get).await;
    assert!(matches!(
        results.as_slice(),
        [QueryResult::GetRecord(Err(GetRecordError::NotFound { closest_peers, .. }))]
            if closest_peers.len() == 2
    ));
    // More must take it than there are.
    let put = net.kad(0).put_record(Record::new(key(3), vec![1]), Quorum::All).unwrap();
    let results = net.results(0, put).await;
    assert!(matches!(
        results.as_slice(),
        [QueryResult::PutRecord(Err(PutRecordError::QuorumFailed { success, quorum, .. }))]
            if success.len() == 2 && quorum.get() == 20
    ));
}

#[tokio::test]
async fn a_value_goes_to_the_peers_that_are_named() {
    let mut net = Net::chain(3, &config());
    let only = net.id(1);
    let put = net.kad(0).put_record_to(Record::new(key(1), vec![7]), [only].into_iter(), Quorum::All);
    let results = net.results(0, put).await;
    assert!(matches!(results.as_slice(), [QueryResult::PutRecord(Ok(_))]), "{results:?}");
    let holds = |net: &mut Net<MemoryStore>, index| net.kad(index).store_mut().get(&key(1)).is_some();
    assert_eq!([0, 1, 2].map(|index| holds(&mut net, index)), [false, true, false]);
}

#[tokio::test]
async fn providers_are_announced_found_and_enough_is_enough() {
    let mut net = Net::chain(3, &config());
    let provide = net.kad(0).start_providing(key(1)).unwrap();
    assert_eq!(net.kad(0).store_mut().provided().count(), 1, "at once");
    let results = net.results(0, provide).await;
    assert!(matches!(results.as_slice(), [QueryResult::StartProviding(Ok(_))]), "{results:?}");

    // ADD_PROVIDER has no answer: a peer has it when it says so.
    for index in [1, 2] {
        if net.kad(index).store_mut().providers(&key(1)).is_empty() {
            net.until(|_, at, event| {
                let added =
                    matches!(event, Event::InboundRequest { request: InboundRequest::AddProvider { .. } });
                (added && at == index).then_some(())
            })
            .await;
        }
    }
    let provider = net.id(0);
    let search = net.kad(1).get_providers(key(1));
    let mut found = HashSet::new();
    let closest = net
        .until(|net, index, event| {
            let Event::OutboundQueryProgressed {
                id, result: QueryResult::GetProviders(Ok(ok)), step, ..
            } = event
            else {
                return None;
            };
            assert_eq!((index, id), (1, search));
            match ok {
                GetProvidersOk::FoundProviders { providers, .. } => {
                    assert!(!step.last);
                    found.extend(providers);
                    if let Some(mut query) = net.kad(1).query_mut(&search) {
                        query.finish();
                    }
                    assert!(net.kad(1).query(&search).is_none(), "at once");
                    None
                }
                GetProvidersOk::FinishedWithNoAdditionalRecord { closest_peers } => {
                    step.last.then_some(closest_peers)
                }
            }
        })
        .await;
    assert_eq!(found, HashSet::from([provider]));
    assert!(closest.len() <= 1, "the search was ended at its first result");

    // The native handle gives their addresses, too.
    let dht = net.kad(1).handle();
    let mut providers = dht.find_providers(key(1).to_vec(), 0);
    let native = loop {
        let drive = Box::pin(net.until(|_, _, _| None::<()>));
        let Either::Left((Some(Ok(native)), _)) = select(providers.next(), drive).await else { panic!() };
        // The own store's comes first, and has the address that came with the announcement.
        if !native.addrs.is_empty() {
            break native;
        }
    };
    assert_eq!(native.id, provider);
    net.kad(0).stop_providing(&key(1));
    assert_eq!(net.kad(0).store_mut().provided().count(), 0);
}

#[tokio::test]
async fn a_bootstrap_tells_each_lookup_and_fills_the_table() {
    let mut net = Net::chain(4, &config());
    let bootstrap = net.kad(0).bootstrap().unwrap();
    let results = net.results(0, bootstrap).await;
    let left: Vec<_> = results
        .iter()
        .map(|result| match result {
            QueryResult::Bootstrap(Ok(ok)) => ok.num_remaining,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(left, (0..results.len() as u32).rev().collect::<Vec<_>>());
    let mut known = HashSet::new();
    for bucket in net.kad(0).kbuckets() {
        for entry in bucket.iter() {
            assert_eq!(entry.status, kad::NodeStatus::Connected);
            known.insert(*entry.node.key.preimage());
        }
    }
    assert_eq!(known, (1..4).map(|index| net.id(index)).collect());

    let mut lonely = Net::chain(1, &config());
    assert!(lonely.kad(0).bootstrap().is_err());
}

#[tokio::test]
async fn filtered_records_are_the_users_to_store() {
    let mut config = config();
    config.set_record_filtering(StoreInserts::FilterBoth);
    let mut net = Net::chain(2, &config);
    net.kad(0).put_record(Record::new(key(1), vec![7]), Quorum::One).unwrap();
    let source = net.id(0);
    let record = net
        .until(|_, index, event| match event {
            Event::InboundRequest {
                request: InboundRequest::PutRecord { source: from, record: Some(record), .. },
            } => {
                assert_eq!((index, from), (1, source));
                Some(record)
            }
            _ => None,
        })
        .await;
    assert_eq!((record.key.clone(), record.value.as_slice()), (key(1), &[7][..]));
    assert!(net.kad(1).store_mut().get(&key(1)).is_none(), "until the user does");
    net.kad(0).start_providing(key(2)).unwrap();
    let record = net
        .until(|_, _, event| match event {
            Event::InboundRequest { request: InboundRequest::AddProvider { record } } => record,
            _ => None,
        })
        .await;
    assert_eq!((record.key, record.provider, record.addresses.len()), (key(2), source, 1));
    assert!(net.kad(1).store_mut().providers(&key(2)).is_empty());
}

#[tokio::test]
async fn mode_and_table_are_as_the_user_says() {
    let mut manual = config();
    manual.set_kbucket_inserts(BucketInserts::Manual);
    let mut net = Net::chain(3, &manual);
    net.until(|_, index, event| {
        (index == 0 && matches!(event, Event::ModeChanged { new_mode: Mode::Server })).then_some(())
    })
    .await;
    assert_eq!(net.kad(0).mode(), Mode::Server);
    net.kad(0).set_mode(Some(Mode::Client));
    assert_eq!(net.kad(0).mode(), Mode::Client);

    let (local, near, far) = (net.id(0), net.id(1), net.id(2));
    net.kad(0).get_closest_peers(far);
    let address = net
        .until(|_, index, event| match event {
            Event::RoutablePeer { peer, address } if (index, peer) == (0, far) => Some(address),
            _ => None,
        })
        .await;
    assert!(net.kad(0).kbucket(local).is_none());
    let is_known = |net: &mut Net<MemoryStore>, peer| {
        net.kad(0).kbucket(peer).unwrap().iter().any(|entry| *entry.node.key.preimage() == peer)
    };
    assert!(is_known(&mut net, near) && !is_known(&mut net, far));
    assert_eq!(net.kad(0).add_address(&far, address.clone()), RoutingUpdate::Success);
    assert!(is_known(&mut net, far));
    assert_eq!(net.kad(0).add_address(&local, address.clone()), RoutingUpdate::Failed);
    let other: Multiaddr = "/memory/1".parse().unwrap();
    assert_eq!(net.kad(0).add_address(&far, other.clone()), RoutingUpdate::Success);
    assert!(net.kad(0).remove_address(&far, &address).is_none());
    let entry = net.kad(0).remove_address(&far, &other).expect("that was its last");
    assert_eq!(entry.node.value.into_vec(), [other.with(Protocol::P2p(far))]);
    assert!(!is_known(&mut net, far) && net.kad(0).remove_peer(&far).is_none());
    let key = kad::KBucketKey::from(far);
    assert_eq!(net.kad(0).get_closest_local_peers(&key).count(), 1);
    assert_eq!(net.kad(0).find_closest_local_peers(&key, &near).count(), 0);
}

/// A store of a user's own, which takes one value and no providers.
#[derive(Default)]
struct OneValue(Option<Record>);

impl RecordStore for OneValue {
    type RecordsIter<'a> = std::option::IntoIter<Cow<'a, Record>>;
    type ProvidedIter<'a> = std::iter::Empty<Cow<'a, kad::ProviderRecord>>;

    fn get(&self, k: &RecordKey) -> Option<Cow<'_, Record>> {
        self.0.as_ref().filter(|record| record.key == *k).map(Cow::Borrowed)
    }

    fn put(&mut self, r: Record) -> store::Result<()> {
        if self.0.as_ref().is_some_and(|held| held.key != r.key) {
            return Err(store::Error::MaxRecords);
        }
        self.0 = Some(r);
        Ok(())
    }

    fn remove(&mut self, k: &RecordKey) {
        self.0.take_if(|record| record.key == *k);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.0.as_ref().map(Cow::Borrowed).into_iter()
    }

    fn add_provider(&mut self, _: kad::ProviderRecord) -> store::Result<()> {
        Err(store::Error::MaxProvidedKeys)
    }

    fn providers(&self, _: &RecordKey) -> Vec<kad::ProviderRecord> {
        Vec::new()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        std::iter::empty()
    }

    fn remove_provider(&mut self, _: &RecordKey, _: &PeerId) {}
}

#[tokio::test]
async fn a_store_of_the_users_own_is_served_and_its_refusals_are_heard() {
    let mut net = Net::chain_of(2, &config(), |_| OneValue::default());
    assert!(matches!(net.kad(0).start_providing(key(1)), Err(store::Error::MaxProvidedKeys)));
    let put = net.kad(0).put_record(Record::new(key(1), vec![1]), Quorum::One).unwrap();
    assert!(matches!(net.results(0, put).await.as_slice(), [QueryResult::PutRecord(Ok(_))]));
    assert!(matches!(
        net.kad(0).put_record(Record::new(key(2), vec![1]), Quorum::One),
        Err(store::Error::MaxRecords)
    ));
    // The other's store is full: it is refused at once, not after a time-out.
    net.kad(0).store_mut().remove(&key(1));
    let put = net.kad(0).put_record(Record::new(key(2), vec![1]), Quorum::One).unwrap();
    assert!(matches!(
        net.results(0, put).await.as_slice(),
        [QueryResult::PutRecord(Err(PutRecordError::QuorumFailed { success, .. }))] if success.is_empty()
    ));
    let get = net.kad(0).get_record(key(1));
    let results = net.results(0, get).await;
    let holder = net.id(1);
    assert!(matches!(
        &results[0],
        QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))) if found.peer == Some(holder)
    ));
}

/// What is seen of a query from inside: by its name, and among all, also to be ended.
fn seen(kad: &mut Behaviour<MemoryStore>, id: QueryId) -> usize {
    assert_eq!(kad.query(&id).map(|query| query.id()), Some(id));
    assert_eq!(kad.query_mut(&id).map(|query| query.id()), Some(id));
    let by_number = format!("{id}");
    assert!(kad.iter_queries().any(|query| format!("{}", query.id()) == by_number));
    let running = kad.iter_queries().count();
    assert_eq!(kad.iter_queries_mut().filter(|query| query.stats().num_failures() == 0).count(), running);
    running
}

#[tokio::test]
async fn queries_are_seen_while_they_run_and_end_at_their_users_word() {
    let mut net = Net::chain(3, &config());
    let far = net.id(2);
    let searches = [net.kad(0).get_closest_peers(far), net.kad(0).get_record(key(1))];
    assert_eq!(seen(net.kad(0), searches[0]), 2);
    assert_eq!(seen(net.kad(0), searches[1]), 2);
    assert!(matches!(
        net.kad(0).query(&searches[0]).unwrap().info(),
        QueryInfo::GetClosestPeers { num_results, .. } if num_results.get() == 20
    ));
    for mut query in net.kad(0).iter_queries_mut() {
        assert!(!matches!(query.info(), QueryInfo::Bootstrap { .. }));
        query.finish();
    }
    assert_eq!(net.kad(0).iter_queries().count(), 0, "at once");
    let mut last = HashSet::new();
    net.until(|_, _, event| {
        if let Event::OutboundQueryProgressed { id, step, stats, .. } = event {
            assert!(step.last && stats.duration().is_some());
            assert!(last.insert(id), "each once");
        }
        (last.len() == 2).then_some(())
    })
    .await;
    assert_eq!(last, HashSet::from(searches));
}

#[tokio::test]
async fn records_are_sent_again_by_those_who_made_them() {
    let mut often = config();
    let soon = Some(Duration::from_secs(1)); // the least
    often
        .set_publication_interval(soon)
        .set_provider_publication_interval(soon)
        .set_replication_interval(None);
    let mut net = Net::chain(3, &often);
    net.kad(0).put_record(Record::new(key(1), vec![1]), Quorum::One).unwrap();
    net.kad(0).start_providing(key(2)).unwrap();
    let (mut published, mut announced) = (false, false);
    net.until(|_, index, event| {
        if let Event::OutboundQueryProgressed { result, step, .. } = event {
            match result {
                QueryResult::RepublishRecord(Ok(_)) => published |= step.last,
                QueryResult::RepublishProvider(Ok(_)) => announced |= step.last,
                QueryResult::RepublishRecord(_) | QueryResult::RepublishProvider(_) => panic!("{result:?}"),
                _ => return None,
            }
            assert_eq!(index, 0, "the others have none of their own");
        }
        (published && announced).then_some(())
    })
    .await;
}

#[tokio::test]
async fn values_are_sent_on_by_those_who_hold_them() {
    let mut often = config();
    often.set_publication_interval(None).set_replication_interval(Some(Duration::from_secs(1)));
    let mut net = Net::chain(3, &often);
    net.kad(0).put_record(Record::new(key(1), vec![1]), Quorum::One).unwrap();
    // Each knows the next one only: what comes to the last from the one before was not sent by its publisher.
    let between = net.id(1);
    net.until(|_, index, event| match event {
        Event::InboundRequest { request: InboundRequest::PutRecord { source, .. } } => {
            (index == 2 && source == between).then_some(())
        }
        Event::OutboundQueryProgressed { result: QueryResult::RepublishRecord(_), .. } => {
            panic!("as in libp2p-kad, nobody is told of it")
        }
        _ => None,
    })
    .await;
}
