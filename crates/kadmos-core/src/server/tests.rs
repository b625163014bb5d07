//! Every rule of the responder, on small tables.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::ControlFlow;
use core::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::addr::AddrList;
use crate::config::{Config, Mode};
use crate::key::Key;
use crate::limits::{
    CLOSER_PEERS_MAX, KEY_BYTES_MAX, PROVIDER_KEY_BYTES_MAX, PROVIDERS_PER_REPLY_MAX,
    PROVIDERS_REPLY_BYTES_MAX, REQUESTS_BURST, VALUE_BYTES_MAX,
};
use crate::message::Record;
use crate::peer::{Peer, PeerId};
use crate::record::{InvalidRecord, Validator, Validators};
use crate::routing::{Table, TableSnapshot};
use crate::time::{Now, Timestamp};
use crate::wire::{encode_response, response_len};

const PUBLIC: &[u8] = &[4, 1, 2, 3, 4, 6, 0x0f, 0xa1];
const PRIVATE: &[u8] = &[4, 192, 168, 0, 1, 6, 0x0f, 0xa1];
const NOW: Now = Now { monotonic: Timestamp::from_millis(5), unix: UnixTime::from_secs(1_000_000) };
const LOCAL: u32 = 1_000_000;
const ASKER: u32 = 2_000_000;

fn id(seed: u32) -> PeerId {
    let mut digest = [0; 32];
    digest[..4].copy_from_slice(&seed.to_be_bytes());
    PeerId::from_digest(digest)
}

fn info(seed: u32, addrs: &[&[u8]]) -> PeerInfo {
    PeerInfo::new(Peer::new(id(seed)), AddrList::collect(&id(seed), addrs.iter().copied()))
}

fn key(seed: u32) -> Bytes {
    Bytes::copy_from_slice(id(seed).as_bytes())
}

fn record(value: &'static [u8]) -> Record {
    Record { key: Bytes::from_static(b"/test/key"), value: Bytes::from_static(value) }
}

/// Values are `[valid, rank, …]`: valid when the first byte is 1, better with a larger second byte.
struct Ranked;

impl Validator for Ranked {
    fn validate(&self, _: &[u8], value: &[u8], _: UnixTime) -> Result<(), InvalidRecord> {
        match value {
            [1, _, ..] => Ok(()),
            _ => Err(InvalidRecord::Refused { code: "test_invalid", reason: "not 1".into() }),
        }
    }

    fn compare(&self, _: &[u8], a: &[u8], b: &[u8]) -> Ordering {
        a.get(1).cmp(&b.get(1))
    }
}

/// A reader of fixed content.
#[derive(Default)]
struct Shelf {
    values: BTreeMap<Bytes, StoredValue>,
    providers: Vec<PeerInfo>,
    resident: bool,
}

impl Reader for Shelf {
    fn value(&self, key: &[u8], _: UnixTime) -> Read<StoredValue> {
        match self.values.get(key) {
            Some(value) => Read::Hit(value.clone()),
            None if self.resident => Read::Absent,
            None => Read::NotResident,
        }
    }

    fn providers(
        &self,
        _: &[u8],
        _: UnixTime,
        visit: &mut dyn FnMut(&PeerInfo) -> ControlFlow<()>,
    ) -> Read<()> {
        match self.providers.iter().try_for_each(visit) {
            _ if !self.providers.is_empty() => Read::Hit(()),
            _ if self.resident => Read::Absent,
            _ => Read::NotResident,
        }
    }
}

/// A reader that knows everything at once: nothing, or one value.
fn shelf(value: Option<StoredValue>) -> Shelf {
    let values = value.into_iter().map(|value| (value.record.key.clone(), value)).collect();
    Shelf { values, providers: Vec::new(), resident: true }
}

fn stored(value: &'static [u8]) -> StoredValue {
    let (received, expires) = (UnixTime::from_secs(999_000), UnixTime::from_secs(1_000_001));
    StoredValue { record: record(value), received, expires, version: 7 }
}

struct World {
    config: Config,
    table: Table,
    reader: Shelf,
}

impl World {
    /// A server that knows the peers `0..peers` at a public and a private address each.
    fn new(peers: u32) -> Self {
        let config = Config::amino();
        let mut table = Table::new(Peer::new(id(LOCAL)), Mode::Server, config.table.clone());
        table.set_local_addrs(info(LOCAL, &[PRIVATE, PUBLIC]).addrs);
        for seed in 0..peers {
            table.insert(info(seed, &[PRIVATE, PUBLIC]), Timestamp::ZERO);
        }
        Self { config, table, reader: shelf(None) }
    }

    fn responder(&self) -> Responder {
        let validators = Validators::new().with("test", Ranked);
        Responder::new(Arc::new(self.config.clone()), Arc::new(validators))
    }

    fn view(&self) -> &TableSnapshot {
        self.table.view()
    }

    /// The reply to one request of [`ASKER`].
    fn ask(&self, request: Request) -> Reply {
        self.ask_as(ASKER, request)
    }

    fn ask_as(&self, asker: u32, request: Request) -> Reply {
        let mut budget = PeerBudget::new(id(asker), NOW.monotonic);
        self.responder().respond(NOW, request, self.view(), &self.reader, &mut budget)
    }

    fn find(&self, asker: u32, key: Bytes) -> Vec<PeerInfo> {
        match self.ask_as(asker, Request::FindNode { key }) {
            Reply::Respond(Response::FindNode { closer }) => closer,
            reply => panic!("FIND_NODE was answered with {reply:?}"),
        }
    }

    /// The `count` peers of the table closest to `key`, by sorting all of them.
    fn closest(&self, key: &[u8], count: usize, without: &[u32]) -> Vec<PeerInfo> {
        let target = Key::of(key);
        let mut all: Vec<_> = self.view().iter().cloned().collect();
        all.retain(|info| without.iter().all(|seed| info.peer.id != id(*seed)));
        all.sort_by_key(|info| info.peer.key.distance(&target));
        all.truncate(count);
        all.into_iter()
            .map(|info| PeerInfo::new(info.peer, info.addrs.filtered(|addr| addr == PUBLIC)))
            .collect()
    }
}

#[test]
fn find_node_names_the_k_closest() {
    let world = World::new(100);
    for key in [key(3_000_000), Bytes::from_static(b"anything"), Bytes::from(vec![1; KEY_BYTES_MAX])] {
        assert_eq!(world.find(ASKER, key.clone()), world.closest(&key, 20, &[]));
    }
}

#[test]
fn find_node_never_names_the_requester() {
    let world = World::new(100);
    for asker in 0..20 {
        // Even when it asks for itself; k others come instead.
        for target in [key(asker), key(50)] {
            let found = world.find(asker, target.clone());
            assert_eq!(found, world.closest(&target, 20, &[asker]));
        }
    }
    let mut world = World::new(100);
    world.table.add_client(info(ASKER, &[PUBLIC]));
    assert_eq!(world.find(ASKER, key(ASKER)), world.closest(&key(ASKER), 20, &[]));
}

#[test]
fn find_node_puts_a_known_target_first() {
    let mut world = World::new(100);
    let in_table = world.view().iter().next().unwrap().peer.id;
    let found = world.find(ASKER, Bytes::copy_from_slice(in_table.as_bytes()));
    assert_eq!((found[0].peer.id, found.len()), (in_table, 20));

    // Once, should it be known as a client, too.
    world.table.add_client(PeerInfo::new(Peer::new(in_table), found[0].addrs.clone()));
    assert_eq!(world.find(ASKER, Bytes::copy_from_slice(in_table.as_bytes())), found);

    world.table.add_client(info(7_000, &[PUBLIC, PRIVATE]));
    world.table.add_client(info(7_001, &[PRIVATE]));
    let found = world.find(ASKER, key(7_000));
    assert_eq!((found[0].clone(), found.len()), (info(7_000, &[PUBLIC]), 21));
    assert_eq!(found[1..], world.closest(&key(7_000), 20, &[]));
    // A client is named only when it is the target, and only with an address to show.
    assert_eq!(world.find(ASKER, key(7_001)), world.closest(&key(7_001), 20, &[]));
}

#[test]
fn find_node_for_our_own_id_answers_with_ourselves() {
    let mut world = World::new(100);
    assert_eq!(world.find(ASKER, key(LOCAL)), [info(LOCAL, &[PUBLIC])]);
    assert_eq!(World::new(0).find(ASKER, key(LOCAL)), [info(LOCAL, &[PUBLIC])]);
    for addrs in [AddrList::EMPTY, info(LOCAL, &[PRIVATE]).addrs] {
        world.table.set_local_addrs(addrs);
        assert_eq!(world.find(ASKER, key(LOCAL)), world.closest(&key(LOCAL), 20, &[]));
    }
}

#[test]
fn private_addresses_leave_only_private_networks() {
    let mut world = World::new(0);
    world.table.insert(info(1, &[PRIVATE]), Timestamp::ZERO);
    world.table.insert(info(2, &[PRIVATE, PUBLIC]), Timestamp::ZERO);
    world.table.insert(info(3, &[]), Timestamp::ZERO);
    world.reader.providers = vec![info(4, &[PRIVATE]), info(5, &[PUBLIC, PRIVATE])];
    assert_eq!(world.find(ASKER, key(1)), [info(2, &[PUBLIC])]);
    let Reply::Respond(Response::GetProviders { providers, closer }) =
        world.ask(Request::GetProviders { key: key(1) })
    else {
        panic!("not answered");
    };
    assert_eq!((providers, closer), (vec![info(4, &[]), info(5, &[PUBLIC])], vec![info(2, &[PUBLIC])]));

    world.config = Config::private("/mine");
    assert_eq!(world.find(ASKER, key(1)), [info(1, &[PRIVATE]), info(2, &[PRIVATE, PUBLIC])]);
    assert_eq!(world.find(ASKER, key(LOCAL)), [info(LOCAL, &[PRIVATE, PUBLIC])]);
}

#[test]
fn no_k_makes_a_reply_longer_than_its_reader_takes() {
    let mut world = World::new(200);
    world.config.lookup.k = 100.try_into().unwrap();
    world.table.add_client(info(7_000, &[PUBLIC]));
    assert_eq!(world.find(ASKER, key(7_000)).len(), CLOSER_PEERS_MAX);
    world.config.lookup.k = 3.try_into().unwrap();
    assert_eq!(world.find(ASKER, key(7_000)).len(), 4);
}

#[test]
fn get_value_gives_the_current_record_and_closer_peers() {
    let world = World::new(30);
    let key = Bytes::from_static(b"/test/key");
    let ask = |reader: Shelf| {
        let world = World { reader, table: World::new(30).table, config: Config::amino() };
        world.ask(Request::GetValue { key: key.clone() })
    };
    let response = |stored: Option<StoredValue>| {
        let (record, received) = stored.map_or((None, None), |s| (Some(s.record), Some(s.received)));
        Reply::Respond(Response::GetValue { record, received, closer: world.closest(&key, 20, &[]) })
    };
    let held = stored(&[1, 5]);
    assert_eq!(ask(shelf(Some(held.clone()))), response(Some(held.clone())));
    assert_eq!(ask(shelf(None)), response(None));
    // An expired value, should a reader give one.
    assert_eq!(ask(shelf(Some(StoredValue { expires: NOW.unix, ..held }))), response(None));
    assert_eq!(ask(Shelf::default()), Reply::Fetch(Request::GetValue { key: key.clone() }));
}

#[test]
fn put_value_takes_only_what_is_better() {
    let put = |value: &'static [u8], held: Option<StoredValue>| {
        let world = World { reader: shelf(held), ..World::new(3) };
        world.ask(Request::PutValue { record: record(value) })
    };
    let taken = |value: &'static [u8], expected| Reply::StoreValue {
        write: ValueWrite {
            record: record(value),
            received: NOW.unix,
            expires: NOW.unix + Duration::from_secs(48 * 3_600),
            expected,
        },
        response: Response::PutValue { record: Some(record(value)) },
        request: Request::PutValue { record: record(value) },
    };
    let expired = StoredValue { expires: NOW.unix, ..stored(&[1, 9]) };
    let cases = [
        ("nothing held", &[1, 5][..], None, taken(&[1, 5], None)),
        ("better", &[1, 6], Some(stored(&[1, 5])), taken(&[1, 6], Some(7))),
        ("the same, which renews it", &[1, 5], Some(stored(&[1, 5])), taken(&[1, 5], Some(7))),
        ("worse", &[1, 4], Some(stored(&[1, 5])), Reply::Reset(Refusal::OutdatedRecord)),
        (
            "other bytes of equal rank",
            &[1, 5, 0],
            Some(stored(&[1, 5])),
            Reply::Reset(Refusal::OutdatedRecord),
        ),
        ("worse than an expired one", &[1, 4], Some(expired), taken(&[1, 4], None)),
        ("worse than an invalid one", &[1, 4], Some(stored(&[0, 9])), taken(&[1, 4], Some(7))),
        ("invalid", &[0, 9], None, Reply::Reset(Refusal::InvalidRecord)),
    ];
    for (case, value, held, expected) in cases {
        assert_eq!(put(value, held), expected, "{case}");
    }
    for key in ["/other/key", "no namespace", "//x"] {
        let record = Record { key: Bytes::from_static(key.as_bytes()), value: Bytes::from_static(&[1, 1]) };
        let reply = World::new(3).ask(Request::PutValue { record });
        assert_eq!(reply, Reply::Reset(Refusal::InvalidRecord), "{key}");
    }
}

#[test]
fn put_value_decides_again_after_a_fetch_or_a_conflict() {
    let world = World { reader: Shelf::default(), ..World::new(3) };
    let request = Request::PutValue { record: record(&[1, 5]) };
    assert_eq!(world.ask(request.clone()), Reply::Fetch(request.clone()));
    let resume = |value: Option<StoredValue>| {
        let fetched = Fetched { value, providers: Vec::new() };
        world.responder().resume(NOW, request.clone(), world.view(), &fetched, &id(ASKER))
    };
    assert!(matches!(resume(None), Reply::StoreValue { write: ValueWrite { expected: None, .. }, .. }));
    let better = resume(Some(stored(&[1, 4])));
    assert!(matches!(better, Reply::StoreValue { write: ValueWrite { expected: Some(7), .. }, .. }));
    assert_eq!(resume(Some(stored(&[1, 6]))), Reply::Reset(Refusal::OutdatedRecord));
}

#[test]
fn get_providers_names_providers_the_requester_among_them() {
    let mut world = World::new(30);
    world.reader.providers =
        (100..100 + 2 * PROVIDERS_PER_REPLY_MAX as u32).map(|i| info(i, &[PUBLIC])).collect();
    world.reader.providers[0] = info(ASKER, &[PUBLIC]);
    world.reader.providers[1] = info(LOCAL, &[&[4, 9, 9, 9, 9]]);
    world.reader.providers[2] = info(2, &[]);
    let Reply::Respond(Response::GetProviders { providers, closer }) =
        world.ask(Request::GetProviders { key: key(5) })
    else {
        panic!("not answered");
    };
    assert_eq!(providers.len(), PROVIDERS_PER_REPLY_MAX);
    assert_eq!(providers[0], info(ASKER, &[PUBLIC]));
    assert_eq!(providers[1], info(LOCAL, &[PUBLIC]), "our own addresses are the current ones");
    assert_eq!(providers[2], info(2, &[]));
    assert_eq!(closer, world.closest(&key(5), 20, &[]));
}

#[test]
fn get_providers_waits_for_the_slow_side_once() {
    let mut world = World::new(3);
    world.reader.resident = false;
    let request = Request::GetProviders { key: key(5) };
    assert_eq!(world.ask(request.clone()), Reply::Fetch(request.clone()));
    let resume = |providers: Vec<PeerInfo>| {
        let fetched = Fetched { value: None, providers };
        world.responder().resume(NOW, request.clone(), world.view(), &fetched, &id(ASKER))
    };
    let closer = world.closest(&key(5), 20, &[]);
    for providers in [vec![], vec![info(9, &[PUBLIC])]] {
        let expected = Response::GetProviders { providers: providers.clone(), closer: closer.clone() };
        assert_eq!(resume(providers), Reply::Respond(expected));
    }
}

#[test]
fn add_provider_takes_only_the_sender() {
    let world = World::new(3);
    let add = |providers| world.ask(Request::AddProvider { key: key(5), providers });
    let record = ProviderRecord {
        key: key(5),
        provider: info(ASKER, &[PUBLIC]),
        received: NOW.unix,
        expires: NOW.unix + Duration::from_secs(48 * 3_600),
        addrs_expire: NOW.unix + Duration::from_secs(24 * 3_600),
    };
    let ignored = Reply::Ignore(Refusal::ForeignProvider);
    for (providers, expected) in [
        (vec![info(ASKER, &[PUBLIC])], Reply::AddProvider(record.clone())),
        (vec![info(1, &[PUBLIC]), info(ASKER, &[PRIVATE, PUBLIC])], Reply::AddProvider(record.clone())),
        (vec![info(ASKER, &[]), info(ASKER, &[PUBLIC])], Reply::AddProvider(record)),
        (vec![], ignored.clone()),
        (vec![info(1, &[PUBLIC]), info(LOCAL, &[PUBLIC])], ignored.clone()),
        (vec![info(ASKER, &[])], ignored.clone()),
        (vec![info(ASKER, &[PRIVATE])], ignored),
    ] {
        assert_eq!(add(providers.clone()), expected, "{providers:?}");
    }
}

#[test]
fn ages_are_the_configured_ones() {
    let mut world = World::new(3);
    world.config.records.value_age_max = Duration::from_secs(10);
    world.config.records.provider_age_max = Duration::from_secs(20);
    world.config.records.provider_addrs_age_max = Duration::from_secs(15);
    let at = |secs| NOW.unix + Duration::from_secs(secs);
    let Reply::StoreValue { write, .. } = world.ask(Request::PutValue { record: record(&[1, 5]) }) else {
        panic!("not stored");
    };
    assert_eq!(write.expires, at(10));
    let providers = vec![info(ASKER, &[PUBLIC])];
    let Reply::AddProvider(record) = world.ask(Request::AddProvider { key: key(5), providers }) else {
        panic!("not stored");
    };
    assert_eq!((record.expires, record.addrs_expire), (at(20), at(15)));
}

#[test]
fn ping_is_echoed() {
    assert_eq!(World::new(0).ask(Request::Ping), Reply::Respond(Response::Ping));
}

#[test]
fn clients_do_not_serve() {
    let mut world = World::new(10);
    world.table.set_mode(Mode::Client);
    for request in requests(key(1), b"v") {
        assert_eq!(world.ask(request), Reply::Reset(Refusal::NotServing));
    }
}

#[test]
fn a_peer_that_asks_too_often_is_reset() {
    let world = World::new(1);
    let responder = world.responder();
    let mut budget = PeerBudget::new(id(ASKER), NOW.monotonic);
    let mut ask = |millis| {
        let now = Now { monotonic: Timestamp::from_millis(millis), ..NOW };
        responder.respond(now, Request::Ping, world.view(), &world.reader, &mut budget)
    };
    for _ in 0..REQUESTS_BURST {
        assert_eq!(ask(5), Reply::Respond(Response::Ping));
    }
    assert_eq!(ask(5), Reply::Reset(Refusal::RateLimited));
    assert_eq!(ask(7), Reply::Respond(Response::Ping));
    assert_eq!(ask(7), Reply::Reset(Refusal::RateLimited));
}

#[test]
fn requests_out_of_bounds_are_reset() {
    let world = World::new(10);
    for request in requests(Bytes::new(), b"v") {
        let expected = match request {
            Request::Ping => Reply::Respond(Response::Ping),
            _ => Reply::Reset(Refusal::KeyLength),
        };
        assert_eq!(world.ask(request), expected);
    }
    for (len, refused) in [
        (PROVIDER_KEY_BYTES_MAX, 0),
        (PROVIDER_KEY_BYTES_MAX + 1, 2),
        (KEY_BYTES_MAX, 2),
        (KEY_BYTES_MAX + 1, 5),
    ] {
        let replies = requests(vec![7; len].into(), b"v").map(|request| world.ask(request));
        let got = replies.iter().filter(|reply| **reply == Reply::Reset(Refusal::KeyLength)).count();
        assert_eq!(got, refused, "keys of {len} bytes");
    }
    let record = Record { value: vec![1; VALUE_BYTES_MAX + 1].into(), ..record(b"") };
    assert_eq!(world.ask(Request::PutValue { record }), Reply::Reset(Refusal::ValueLength));
}

#[test]
fn a_value_that_does_not_fit_is_left_out() {
    let mut world = World::new(30);
    let value: &'static [u8] = Box::leak(vec![1; 2_000].into_boxed_slice());
    world.reader = shelf(Some(stored(value)));
    for (max, has_record, peers) in
        [(4 << 20, true, 20), (2_100, true, 1), (2_099, true, 0), (1_024, false, 20), (600, false, 12)]
    {
        world.config.protocol.message_bytes_max = max;
        let Reply::Respond(response) = world.ask(Request::GetValue { key: record(b"").key }) else {
            panic!("not answered");
        };
        let Response::GetValue { record, received, closer } = &response else { panic!("{response:?}") };
        assert_eq!(
            (record.is_some(), received.is_some(), closer.len()),
            (has_record, has_record, peers),
            "{max}"
        );
        assert!(response_len(&response, b"/test/key") <= max);
    }
}

#[test]
fn providers_fill_a_message_to_the_last_byte() {
    let mut world = World::new(30);
    world.reader.providers = (100..150).map(|seed| info(seed, &[PUBLIC])).collect();
    let request = Request::GetProviders { key: key(5) };
    let closer = world.closest(&key(5), 20, &[]);
    for count in [0, 1, 49] {
        let providers = world.reader.providers[..count].to_vec();
        let response = Response::GetProviders { providers, closer: closer.clone() };
        let len = response_len(&response, &key(5));
        world.config.protocol.message_bytes_max = len;
        assert_eq!(world.ask(request.clone()), Reply::Respond(response.clone()));
        world.config.protocol.message_bytes_max = len + 47; // one byte short of another
        assert_eq!(world.ask(request.clone()), Reply::Respond(response));
    }
}

#[test]
fn an_answer_full_of_providers_is_one_that_everybody_takes() {
    let mut world = World::new(30);
    let addrs: Vec<_> = (0..20u8).map(|n| vec![4, 1, 2, 3, n, 6, 0, 80]).collect();
    let addrs: Vec<_> = addrs.iter().map(Vec::as_slice).collect();
    world.reader.providers = (100..200).map(|seed| info(seed, &addrs)).collect();
    let Reply::Respond(response) = world.ask(Request::GetProviders { key: key(5) }) else { panic!() };
    let len = response_len(&response, &key(5));
    assert!(len <= PROVIDERS_REPLY_BYTES_MAX && len + 300 > PROVIDERS_REPLY_BYTES_MAX, "{len}");
}

/// One request of each kind.
fn requests(key: Bytes, value: &'static [u8]) -> [Request; 6] {
    [
        Request::PutValue { record: Record { key: key.clone(), value: Bytes::from_static(value) } },
        Request::GetValue { key: key.clone() },
        Request::AddProvider { key: key.clone(), providers: vec![info(ASKER, &[PUBLIC])] },
        Request::GetProviders { key: key.clone() },
        Request::FindNode { key },
        Request::Ping,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn replies_are_bounded_and_never_name_the_requester(
        peers in 0u32..120,
        asker in 0u32..130,
        target in 0u32..130,
        providers in proptest::collection::vec((0u32..200, 0usize..60), 0..150),
        clients in proptest::collection::vec(100u32..130, 0..10),
        message_bytes_max in 1_024usize..20_000,
        k in 1usize..60,
    ) {
        let mut world = World::new(peers);
        world.config.lookup.k = k.try_into().unwrap();
        world.config.protocol.message_bytes_max = message_bytes_max;
        for client in clients {
            world.table.add_client(info(client, &[PUBLIC]));
        }
        world.reader = shelf(Some(StoredValue { record: Record { key: key(target), ..record(&[1; 600]) }, ..stored(&[]) }));
        world.reader.providers = providers
            .into_iter()
            .map(|(seed, addrs)| {
                let addrs: Vec<_> = (0..addrs).map(|port| [&PUBLIC[..6], &[0, port as u8]].concat()).collect();
                info(seed, &addrs.iter().map(Vec::as_slice).collect::<Vec<_>>())
            })
            .collect();
        for request in requests(key(target), b"v") {
            let find_node = matches!(request, Request::FindNode { .. });
            if let Reply::Respond(response) = world.ask_as(asker, request) {
                let closer = response.closer();
                prop_assert!(closer.len() <= k + usize::from(find_node) && closer.len() <= CLOSER_PEERS_MAX);
                prop_assert!(closer.iter().all(|info| info.peer.id != id(asker) && !info.addrs.is_empty()));
                let mut ids: Vec<_> = closer.iter().map(|info| info.peer.id).collect();
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), closer.len());
                let mut bytes = Vec::new();
                encode_response(&response, &key(target), &mut bytes);
                prop_assert!(bytes.len() <= message_bytes_max);
                if let Response::GetProviders { providers, .. } = &response {
                    prop_assert!(providers.len() <= PROVIDERS_PER_REPLY_MAX);
                    // Only what did not fit is missing.
                    let wanted = world.reader.providers.len().min(PROVIDERS_PER_REPLY_MAX);
                    let next = world.reader.providers.get(providers.len()).filter(|_| providers.len() < wanted);
                    let bytes_max = match providers.len() {
                        0 => message_bytes_max,
                        _ => message_bytes_max.min(PROVIDERS_REPLY_BYTES_MAX),
                    };
                    prop_assert!(next.is_none_or(|next| bytes.len() + crate::wire::peer_len(next) > bytes_max));
                }
            }
        }
    }
}
