//! The conformance suite on memory, and random operations compared with a naive model.

use std::collections::BTreeMap;

use bytes::Bytes;
use kadmos_core::AddrList;
use kadmos_core::message::Record;
use kadmos_core::time::Timestamp;
use proptest::prelude::*;

use super::replacement::{Group, gives_way};
use super::*;
use crate::conformance::CASES;
use crate::error::Capacity;

const HOUR: u64 = 3_600;
const START: u64 = 1_795_515_912;

#[test]
fn memory_store_conforms() {
    for case in CASES {
        eprintln!("{}", case.name);
        futures::executor::block_on((case.run)(&|limits| {
            Box::pin(async move { Arc::new(MemoryStore::new(limits)) as Arc<dyn Store> })
        }));
    }
}

#[test]
fn forks_part_and_clones_do_not() {
    let store = MemoryStore::default();
    let now = UnixTime::from_secs(START);
    store.add_provider(&record(1, 2, 3, (48, 24), now), now).unwrap();
    let (fork, clone) = (store.fork(), store.clone());
    store.add_provider(&record(1, 3, 3, (48, 24), now), now).unwrap();
    assert_eq!([&store, &fork, &clone].map(|store| store.providers(&[1], 10, now).len()), [2, 1, 2]);
    assert!(fork.holds(&[1], now) && !fork.holds(&[4], now));
    fork.add_provider(&record(4, 3, 3, (48, 24), now), now).unwrap();
    assert!(store.providers(&[4], 10, now).is_empty());
}

#[test]
fn store_survives_a_visitor_that_panics() {
    let store = MemoryStore::default();
    let now = UnixTime::from_secs(START);
    store.add_provider(&record(1, 2, 3, (48, 24), now), now).unwrap();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = Reader::providers(&store, &[1], now, &mut |_| panic!("the visitor fails"));
    }));
    assert!(panicked.is_err());
    store.add_provider(&record(1, 3, 3, (48, 24), now), now).unwrap();
    assert_eq!(store.providers(&[1], 10, now).len(), 2);
}

#[test]
fn executed_requests_are_answered_in_kind() {
    let store = MemoryStore::new(MemoryLimits { provider_keys: 1, ..MemoryLimits::default() });
    let now = UnixTime::from_secs(START);
    let put = |expected| StoreRequest::PutValue(write(1, 7, 48, expected, now));
    let requests = [
        StoreRequest::Value { key: Bytes::from_static(&[1]) },
        put(None),
        put(None),
        put(Some(1)),
        StoreRequest::Value { key: Bytes::from_static(&[1]) },
        StoreRequest::AddProvider(record(1, 2, 3, (48, 24), now)),
        StoreRequest::AddProvider(record(2, 2, 3, (48, 24), now)),
        StoreRequest::Providers { key: Bytes::from_static(&[1]), count: 3 },
    ];
    let mut replies = Vec::new();
    for request in requests {
        replies.push(store.execute(&request, now));
    }
    let StoreReply::Value(Some(stored)) = &replies[4] else { panic!("{replies:?}") };
    assert_eq!(stored.version, 2);
    replies.remove(4);
    let full = "the store is full: provider_keys is limited to 1".to_string();
    assert_eq!(
        replies,
        [
            StoreReply::Value(None),
            StoreReply::Written,
            StoreReply::Conflict,
            StoreReply::Written,
            StoreReply::Written,
            StoreReply::Failed { reason: full },
            StoreReply::Providers(vec![provider(2, 3)]),
        ]
    );
    // The same through the trait.
    let again = StoreRequest::Providers { key: Bytes::from_static(&[1]), count: 3 };
    let reply = futures::executor::block_on(crate::execute(&store, again, now));
    assert_eq!(reply, StoreReply::Providers(vec![provider(2, 3)]));
    let reply = futures::executor::block_on(crate::execute(&store, put(None), now));
    assert_eq!(reply, StoreReply::Conflict);
}

/// Answers of three out of ten follow each other through the whole: the next begins where this one broke off.
#[test]
fn partial_answers_continue_where_the_last_ended() {
    let store = MemoryStore::default();
    let now = UnixTime::from_secs(START);
    for peer in 0..10 {
        store.add_provider(&record(1, peer, 3, (48, 24), now), now).unwrap();
    }
    let answers: Vec<Vec<u8>> = (0..5)
        .map(|_| store.providers(&[1], 3, now).iter().map(|found| found.peer.id.as_bytes()[2]).collect())
        .collect();
    assert_eq!(answers, [[0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8], [8, 9, 0]]);
}

/// The claim of an hour brings the visit that finds the addresses of the other expired.
#[test]
fn collecting_lets_go_of_expired_addresses() {
    let store = MemoryStore::default();
    let now = UnixTime::from_secs(START);
    store.add_provider(&record(1, 2, 3, (48, 1), now), now).unwrap();
    store.add_provider(&record(1, 3, 3, (1, 1), now), now).unwrap();
    store.expire(Now { unix: later(now, 2), ..Now::default() }, 10);
    let collected = store.stats().provider_bytes;
    let bare = MemoryStore::default();
    let mut record = record(1, 2, 3, (48, 1), now);
    record.provider.addrs = AddrList::EMPTY;
    bare.add_provider(&record, now).unwrap();
    assert_eq!(collected, bare.stats().provider_bytes);
}

/// One operation on a store of few keys and few peers, so that they meet.
#[derive(Clone, Debug)]
enum Op {
    Put { key: u8, body: u8, hours: u64, expected: Expect },
    RemoveValue { key: u8, expected: Expect },
    Value { key: u8 },
    Add { key: u8, peer: u8, network: u8, hours: (u64, u64) },
    RemoveProvider { key: u8, peer: u8 },
    Providers { key: u8, count: usize },
    Keys { kind: RecordKind },
    Pass { secs: u64 },
    Expire { budget: usize },
}

/// Which version a writer expects.
#[derive(Clone, Copy, Debug)]
enum Expect {
    Nothing,
    Current,
    Other,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let expect =
        || prop_oneof![3 => Just(Expect::Current), 2 => Just(Expect::Nothing), 1 => Just(Expect::Other)];
    let op = prop_oneof![
        4 => (0..7u8, any::<u8>(), 0..72u64, expect())
            .prop_map(|(key, body, hours, expected)| Op::Put { key, body, hours, expected }),
        1 => (0..7u8, expect()).prop_map(|(key, expected)| Op::RemoveValue { key, expected }),
        2 => (0..7u8).prop_map(|key| Op::Value { key }),
        8 => (0..7u8, 0..12u8, 0..4u8, 0..72u64, 0..72u64).prop_map(|(key, peer, network, claim, addrs)| {
            Op::Add { key, peer, network, hours: (claim, addrs) }
        }),
        1 => (0..7u8, 0..12u8).prop_map(|(key, peer)| Op::RemoveProvider { key, peer }),
        4 => (0..7u8, 0..8usize).prop_map(|(key, count)| Op::Providers { key, count }),
        1 => prop_oneof![Just(RecordKind::Provider), Just(RecordKind::Value)].prop_map(|kind| Op::Keys { kind }),
        2 => (0..30 * HOUR).prop_map(|secs| Op::Pass { secs }),
        2 => (0..20usize).prop_map(|budget| Op::Expire { budget }),
    ];
    prop::collection::vec(op, 1..200)
}

fn limits() -> impl Strategy<Value = MemoryLimits> {
    (1..6usize, 1..6usize, 0..5usize, 1..6usize).prop_map(|(values, keys, per_key, per_provider)| {
        MemoryLimits {
            values,
            provider_keys: keys,
            providers_per_key: per_key,
            records_per_provider: per_provider,
            ..MemoryLimits::default()
        }
    })
}

fn addr(peer: u8, network: u8) -> [u8; 8] {
    [4, 93, network, peer, 1, 6, 0, 1]
}

fn provider(peer: u8, network: u8) -> PeerInfo {
    let id = PeerId::from_digest([peer; 32]);
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [addr(peer, network).as_slice()]))
}

fn later(now: UnixTime, hours: u64) -> UnixTime {
    UnixTime::from_secs(now.as_secs() + hours * HOUR)
}

fn write(key: u8, body: u8, hours: u64, expected: Option<u64>, now: UnixTime) -> ValueWrite {
    let record = Record { key: Bytes::from(vec![key]), value: Bytes::from(vec![body]) };
    ValueWrite { record, received: now, expires: later(now, hours), expected }
}

/// A claim of `hours.0` whose addresses live for `hours.1`.
fn record(key: u8, peer: u8, network: u8, hours: (u64, u64), now: UnixTime) -> ProviderRecord {
    ProviderRecord {
        key: Bytes::from(vec![key]),
        provider: provider(peer, network),
        received: now,
        expires: later(now, hours.0),
        addrs_expire: later(now, hours.1),
    }
}

/// What a store should hold: lists, walked from end to end; expired entries go at every step.
#[derive(Default)]
struct Model {
    /// Key, body, expiry, version.
    values: Vec<(u8, u8, UnixTime, u64)>,
    /// Key, peer, expiry; in the order of announcement.
    claims: Vec<(u8, u8, UnixTime)>,
    /// Network and expiry of the addresses of each peer with a claim.
    addrs: BTreeMap<u8, (u8, UnixTime)>,
}

impl Model {
    fn purge(&mut self, now: UnixTime) {
        self.values.retain(|value| value.2 > now);
        self.claims.retain(|claim| claim.2 > now);
        self.addrs.retain(|peer, _| self.claims.iter().any(|claim| claim.1 == *peer));
    }

    fn version(&self, key: u8) -> Option<u64> {
        self.values.iter().find(|value| value.0 == key).map(|value| value.3)
    }

    fn put(
        &mut self,
        key: u8,
        expires: UnixTime,
        expected: Option<u64>,
        now: UnixTime,
        limits: &MemoryLimits,
    ) -> Result<(), WriteError> {
        if expires <= now {
            return Err(WriteError::Expired);
        }
        if self.version(key) != expected {
            return Err(WriteError::Conflict);
        }
        if expected.is_none() && self.values.len() >= limits.values {
            return Err(WriteError::Full { capacity: Capacity::Values, limit: limits.values });
        }
        self.values.retain(|value| value.0 != key);
        Ok(())
    }

    fn add(
        &mut self,
        (key, peer, expires): (u8, u8, UnixTime),
        (network, addrs_expire): (u8, UnixTime),
        now: UnixTime,
        limits: &MemoryLimits,
    ) -> Result<(), WriteError> {
        if expires <= now {
            return Err(WriteError::Expired);
        }
        let full = |capacity, limit| Err(WriteError::Full { capacity, limit });
        let renews = self.claims.iter().any(|claim| (claim.0, claim.1) == (key, peer));
        if !renews {
            if self.claims.iter().filter(|claim| claim.1 == peer).count() >= limits.records_per_provider {
                return full(Capacity::RecordsPerProvider, limits.records_per_provider);
            }
            if self.of(key).next().is_none() && self.keys().len() >= limits.provider_keys {
                return full(Capacity::ProviderKeys, limits.provider_keys);
            }
            let held: Vec<_> = self.of(key).map(|claim| Group::V4([93, self.addrs[&claim.1].0])).collect();
            if held.len() >= limits.providers_per_key.max(1) {
                let index = gives_way(&held, Group::V4([93, network])).unwrap();
                let gone = *self.of(key).nth(index).unwrap();
                self.claims.retain(|claim| *claim != gone);
            }
        }
        self.claims.retain(|claim| (claim.0, claim.1) != (key, peer));
        self.claims.push((key, peer, expires));
        self.addrs.insert(peer, (network, addrs_expire));
        self.purge(now);
        Ok(())
    }

    fn of(&self, key: u8) -> impl Iterator<Item = &(u8, u8, UnixTime)> {
        self.claims.iter().filter(move |claim| claim.0 == key)
    }

    fn keys(&self) -> Vec<u8> {
        let mut keys: Vec<_> = self.claims.iter().map(|claim| claim.0).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The providers of `key`, by id.
    fn providers(&self, key: u8, now: UnixTime) -> Vec<PeerInfo> {
        let mut found: Vec<_> = self
            .of(key)
            .map(|claim| {
                let (network, expires) = self.addrs[&claim.1];
                let info = provider(claim.1, network);
                if expires > now { info } else { PeerInfo::new(info.peer, AddrList::EMPTY) }
            })
            .collect();
        found.sort_by_key(|found| found.peer.id);
        found
    }
}

/// A store and the model beside it.
struct Bench {
    store: MemoryStore,
    model: Model,
    elapsed: u64,
}

impl Bench {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(START + self.elapsed)
    }

    fn expected(&self, key: u8, expect: Expect) -> Option<u64> {
        match expect {
            Expect::Nothing => None,
            Expect::Current => self.model.version(key),
            Expect::Other => Some(self.model.version(key).unwrap_or(0) + 1_000_000),
        }
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now();
        self.model.purge(now);
        let limits = self.store.limits().clone();
        match *op {
            Op::Put { key, body, hours, expected } => {
                let expected = self.expected(key, expected);
                let written = self.store.put_value(&write(key, body, hours, expected, now), now);
                let expires = later(now, hours);
                assert_eq!(written, self.model.put(key, expires, expected, now, &limits));
                if written.is_ok() {
                    let version = self.store.value(&[key], now).unwrap().version;
                    assert!(self.model.values.iter().all(|value| value.3 != version));
                    self.model.values.push((key, body, expires, version));
                }
            }
            Op::RemoveValue { key, expected } => {
                let version = self.expected(key, expected);
                let held = self.model.version(key);
                let goes = held.is_some() && version.is_none_or(|version| Some(version) == held);
                let removed = self.store.remove_value(&[key], version);
                // An expired value that is not collected yet may be removed, unseen.
                assert!(removed == goes || held.is_none());
                if goes {
                    self.model.values.retain(|value| value.0 != key);
                }
            }
            Op::Value { key } => {
                let found = self.store.value(&[key], now);
                let found = found.map(|v| (key, v.record.value[0], v.expires, v.version));
                assert_eq!(found.as_ref(), self.model.values.iter().find(|value| value.0 == key));
            }
            Op::Add { key, peer, network, hours } => {
                let written = self.store.add_provider(&record(key, peer, network, hours, now), now);
                let (claim, addrs) = ((key, peer, later(now, hours.0)), (network, later(now, hours.1)));
                assert_eq!(written, self.model.add(claim, addrs, now, &limits));
            }
            Op::RemoveProvider { key, peer } => {
                let held = self.model.of(key).any(|claim| claim.1 == peer);
                let removed = self.store.remove_provider(&[key], &PeerId::from_digest([peer; 32]));
                assert!(removed || !held);
                self.model.claims.retain(|claim| (claim.0, claim.1) != (key, peer));
                self.model.purge(now);
            }
            Op::Providers { key, count } => {
                let all = self.model.providers(key, now);
                let mut found = self.store.providers(&[key], count, now);
                assert_eq!(found.len(), count.min(all.len()));
                found.sort_by_key(|found| found.peer.id);
                found.dedup();
                assert_eq!(found.len(), count.min(all.len()));
                assert!(found.iter().all(|found| all.contains(found)), "{found:?} not in {all:?}");
            }
            Op::Keys { kind } => {
                let page = self.store.keys(kind, None, 100, now);
                let expected = match kind {
                    RecordKind::Provider => self.model.keys(),
                    RecordKind::Value => {
                        let mut keys: Vec<_> = self.model.values.iter().map(|value| value.0).collect();
                        keys.sort_unstable();
                        keys
                    }
                };
                assert_eq!(page.keys.iter().map(|key| key[0]).collect::<Vec<_>>(), expected);
            }
            Op::Pass { secs } => self.elapsed += secs,
            Op::Expire { budget } => {
                self.expire(budget);
            }
        }
        let state = self.store.read();
        state.values.check();
        state.providers.check();
    }

    fn expire(&self, budget: usize) -> Expired {
        let monotonic = Timestamp::from_millis(self.elapsed * 1_000);
        self.store.expire(Now { monotonic, unix: self.now() }, budget)
    }

    /// Once everything expired is collected, the store holds what the model holds, no more.
    fn settle(&mut self) {
        while self.expire(3).more {}
        self.model.purge(self.now());
        let stats = self.store.stats();
        assert_eq!(stats.values, self.model.values.len());
        assert_eq!(stats.provider_records, self.model.claims.len());
        assert_eq!(stats.provider_keys, self.model.keys().len());
        assert_eq!(stats.providers, self.model.addrs.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn store_behaves_like_the_model(limits in limits(), ops in ops()) {
        let mut bench = Bench { store: MemoryStore::new(limits), model: Model::default(), elapsed: 0 };
        for op in &ops {
            bench.apply(op);
        }
        bench.settle();
        bench.elapsed += 100 * HOUR;
        bench.settle();
        prop_assert_eq!(bench.store.stats(), StoreStats::default());
    }

    #[test]
    fn bytes_never_exceed_their_bounds(value_bytes in 0..4_000usize, provider_bytes in 0..8_000usize, ops in ops()) {
        let limits = MemoryLimits { value_bytes, provider_bytes, providers_per_key: 3, ..MemoryLimits::default() };
        let store = MemoryStore::new(limits);
        let mut now = UnixTime::from_secs(START);
        for op in ops {
            match op {
                Op::Put { key, body, hours, .. } => {
                    let body = Bytes::from(vec![body; 8 * usize::from(body)]);
                    let mut write = write(key, 0, hours, store.value(&[key], now).map(|v| v.version), now);
                    write.record.value = body;
                    let _ = store.put_value(&write, now);
                }
                Op::Add { key, peer, network, hours } => {
                    let _ = store.add_provider(&record(key, peer, network, hours, now), now);
                }
                Op::RemoveProvider { key, peer } => {
                    store.remove_provider(&[key], &PeerId::from_digest([peer; 32]));
                }
                Op::Pass { secs } => now = UnixTime::from_secs(now.as_secs() + secs),
                _ => {}
            }
            let stats = store.stats();
            prop_assert!(stats.value_bytes <= value_bytes, "{:?}", stats);
            prop_assert!(stats.provider_bytes <= provider_bytes, "{:?}", stats);
            let state = store.read();
            state.values.check();
            state.providers.check();
        }
    }
}

proptest! {
    // Each case is eight days of ticks.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// However the wall clock is set, a record lives as long as it was written for, within an hour.
    #[test]
    fn lifetimes_hold_whatever_the_clock_says(
        // Every ten minutes of eight days: seldom a step, of minutes or of weeks.
        steps in prop::collection::vec(
            prop_oneof![60 => Just(0i64), 1 => -1_500..1_500i64, 1 => -2_000_000..2_000_000i64],
            1_152,
        ),
        hours in 2..96u64,
    ) {
        const TICK: u64 = 600;
        let store = MemoryStore::default();
        let mut wall = START as i64;
        let mut written: Vec<u64> = Vec::new();
        for (tick, step) in steps.into_iter().enumerate() {
            let elapsed = tick as u64 * TICK;
            wall += TICK as i64 + step;
            let unix = UnixTime::from_secs(wall as u64);
            store.expire(Now { monotonic: Timestamp::from_millis(elapsed * 1_000), unix }, 1_000);
            if tick % 36 == 0 && written.len() < 30 {
                let key = written.len() as u8;
                store.put_value(&write(key, 1, hours, None, unix), unix).unwrap();
                store.add_provider(&record(key, key, 1, (hours, hours), unix), unix).unwrap();
                written.push(elapsed);
            }
            for (key, since) in written.iter().enumerate() {
                let age = elapsed - since;
                let served = [
                    store.value(&[key as u8], unix).is_some(),
                    !store.providers(&[key as u8], 1, unix).is_empty(),
                ];
                prop_assert!(age + HOUR > hours * HOUR || served == [true; 2], "{}: gone after {} s", key, age);
                prop_assert!(age < (hours + 1) * HOUR || served == [false; 2], "{}: there after {} s", key, age);
            }
        }
    }
}
