//! The server against a scripted peer, with the time passed in.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::executor::block_on;
use futures::future::poll_fn;
use kadmos_core::limits::INBOUND_STREAMS_MAX;
use kadmos_core::message::Record;
use kadmos_core::record::{Read, StoredValue};
use kadmos_core::routing::TableSnapshot;
use kadmos_core::server::Responder;
use kadmos_core::wire::decode_response;
use kadmos_core::wire::frame::FrameReader;
use kadmos_core::{AddrList, Config, Mode, Peer, PeerId, PeerInfo, UnixTime};
use kadmos_store::{
    BoxFuture as StoreFuture, Expired, KeyPage, MemoryLimits, MemoryStore, RecordKind, Store, StoreError,
    StoreStats,
};
use libp2p_identity::Keypair;
use libp2p_swarm::StreamProtocol;
use tokio::sync::Semaphore;

use super::super::pipe::{Pipe, Remote, pipe};
use super::*;
use crate::clock::SystemClock;
use crate::shared::{Counters, SessionLimits};

const NOW: Now = Now { monotonic: Timestamp::from_millis(1), unix: UnixTime::from_secs(1_795_515_912) };

/// A store in memory that behaves badly on request.
struct Moody {
    inner: MemoryStore,
    /// Writes of values that meet a conflict first.
    conflicts: AtomicUsize,
    /// Whether only the slow side knows anything.
    slow: bool,
    /// Whether the slow side never answers.
    stuck: bool,
}

struct NotResident;

impl Reader for NotResident {
    fn value(&self, _: &[u8], _: UnixTime) -> Read<StoredValue> {
        Read::NotResident
    }

    fn providers(
        &self,
        _: &[u8],
        _: UnixTime,
        _: &mut dyn FnMut(&PeerInfo) -> std::ops::ControlFlow<()>,
    ) -> Read<()> {
        Read::NotResident
    }
}

impl Store for Moody {
    fn reader(&self) -> Arc<dyn Reader> {
        if self.slow { Arc::new(NotResident) } else { self.inner.reader() }
    }

    fn value<'a>(
        &'a self,
        key: &'a [u8],
        now: UnixTime,
    ) -> StoreFuture<'a, Result<Option<StoredValue>, StoreError>> {
        if self.stuck { Box::pin(std::future::pending()) } else { Store::value(&self.inner, key, now) }
    }

    fn put_values(
        &self,
        batch: Vec<ValueWrite>,
        now: UnixTime,
    ) -> StoreFuture<'_, Vec<Result<(), WriteError>>> {
        let refuse = |left: usize| left.checked_sub(1);
        if self.conflicts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuse).is_ok() {
            return Box::pin(std::future::ready(vec![Err(WriteError::Conflict)]));
        }
        self.inner.put_values(batch, now)
    }

    fn remove_value<'a>(
        &'a self,
        key: &'a [u8],
        version: Option<u64>,
    ) -> StoreFuture<'a, Result<bool, StoreError>> {
        Store::remove_value(&self.inner, key, version)
    }

    fn providers<'a>(
        &'a self,
        key: &'a [u8],
        count: usize,
        now: UnixTime,
    ) -> StoreFuture<'a, Result<Vec<PeerInfo>, StoreError>> {
        if self.stuck {
            Box::pin(std::future::pending())
        } else {
            Store::providers(&self.inner, key, count, now)
        }
    }

    fn add_providers(
        &self,
        batch: Vec<ProviderRecord>,
        now: UnixTime,
    ) -> StoreFuture<'_, Vec<Result<(), WriteError>>> {
        self.inner.add_providers(batch, now)
    }

    fn remove_provider<'a>(
        &'a self,
        key: &'a [u8],
        provider: &'a PeerId,
    ) -> StoreFuture<'a, Result<bool, StoreError>> {
        Store::remove_provider(&self.inner, key, provider)
    }

    fn keys<'a>(
        &'a self,
        kind: RecordKind,
        after: Option<&'a [u8]>,
        limit: usize,
        now: UnixTime,
    ) -> StoreFuture<'a, Result<KeyPage, StoreError>> {
        Store::keys(&self.inner, kind, after, limit, now)
    }

    fn expire(&self, now: Now, budget: usize) -> StoreFuture<'_, Result<Expired, StoreError>> {
        Store::expire(&self.inner, now, budget)
    }

    fn stats(&self) -> StoreFuture<'_, Result<StoreStats, StoreError>> {
        Store::stats(&self.inner)
    }

    fn sync(&self) -> StoreFuture<'_, Result<(), StoreError>> {
        Store::sync(&self.inner)
    }
}

/// A server, and what it shares with others.
struct Rig {
    server: Server<Pipe>,
    shared: Arc<Shared>,
}

impl Rig {
    fn new() -> Self {
        Self::with(SessionLimits::default(), |_| {})
    }

    fn with(limits: SessionLimits, mood: impl FnOnce(&mut Moody)) -> Self {
        let inner = MemoryStore::new(MemoryLimits::default());
        let mut store = Moody { inner, conflicts: AtomicUsize::new(0), slow: false, stuck: false };
        mood(&mut store);
        let config = Arc::new(Config::private("/test"));
        let table = TableSnapshot::new(local(), Mode::Server);
        let validators = Arc::new(kadmos_records::amino_validators());
        let shared = Arc::new(Shared {
            realm: Realm::Wan,
            clock: Arc::new(SystemClock::new()),
            protocol: StreamProtocol::new("/test"),
            limits,
            frame_bytes_max: config.protocol.message_bytes_max,
            table: ArcSwap::from_pointee(table),
            validators: Arc::clone(&validators),
            responder: Responder::new(config, validators),
            reader: store.reader(),
            store: Arc::new(store),
            store_permits: Arc::new(Semaphore::new(1)),
            counters: Arc::new(Counters::default()),
            tells_served: false,
        });
        Self { server: Server::new(PeerBudget::new(peer().peer.id, NOW.monotonic)), shared }
    }

    fn open(&mut self) -> Remote {
        self.open_with(1 << 20)
    }

    fn open_with(&mut self, capacity: usize) -> Remote {
        let (stream, remote) = pipe(capacity);
        self.server.accept(stream, NOW.monotonic, &self.shared);
        remote
    }

    fn run(&mut self) {
        self.run_at(NOW.monotonic);
    }

    fn run_at(&mut self, monotonic: Timestamp) {
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        self.server.poll(&mut cx, Now { monotonic, ..NOW }, &mut [0; 64], &self.shared);
    }

    /// Polls, as the store lets it, until the remote has got something.
    fn wait(&mut self, remote: &Remote) -> Vec<u8> {
        block_on(poll_fn(|cx| {
            self.server.poll(cx, NOW, &mut [0; 64], &self.shared);
            match remote.read() {
                bytes if bytes.is_empty() && !remote.sees_reset() => Poll::Pending,
                bytes => Poll::Ready(bytes),
            }
        }))
    }

    fn refusals(&self, code: Refusal) -> u64 {
        self.shared.counters.refusals(code)
    }
}

fn local() -> PeerInfo {
    info(1)
}

fn peer() -> PeerInfo {
    info(2)
}

fn info(byte: u8) -> PeerInfo {
    let id = PeerId::from_digest([byte; 32]);
    PeerInfo::new(Peer::new(id), AddrList::collect(&id, [[4, 127, 0, 0, 1, 6, 0, byte].as_slice()]))
}

fn find_self() -> Vec<u8> {
    framed(&Request::FindNode { key: Bytes::copy_from_slice(local().peer.id.as_bytes()) })
}

fn framed(request: &Request) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::write_request(request, &mut bytes);
    bytes
}

fn responses(bytes: &[u8], kinds: &[MessageKind]) -> Vec<Response> {
    let (mut reader, mut input) = (FrameReader::new(1 << 20), bytes);
    let mut kinds = kinds.iter();
    let mut responses = Vec::new();
    while let Some(frame) = reader.read(&mut input).unwrap() {
        responses.push(decode_response(&frame, *kinds.next().unwrap()).unwrap().message);
    }
    assert!(kinds.next().is_none() && reader.is_between_frames());
    responses
}

/// A `/pk` record and the request that stores it.
fn put_public_key() -> (Record, Request) {
    let public = Keypair::generate_ed25519().public();
    let key = kadmos_records::pk::key(&public.to_peer_id());
    let record = Record { key, value: kadmos_records::pk::value(&public) };
    (record.clone(), Request::PutValue { record })
}

#[test]
fn requests_of_one_stream_are_answered_in_order() {
    let mut rig = Rig::new();
    let remote = rig.open();
    let add = Request::AddProvider { key: Bytes::from_static(&[1; 34]), providers: vec![peer()] };
    let get = Request::GetProviders { key: Bytes::from_static(&[1; 34]) };
    let all = [find_self(), framed(&add), framed(&get), framed(&Request::Ping)].concat();
    remote.write(&all);
    rig.run();
    let kinds = [MessageKind::FindNode, MessageKind::GetProviders, MessageKind::Ping];
    let answer = remote.read();
    let answers = responses(&answer, &kinds);
    assert_eq!(answers[0].closer(), [local()]);
    assert!(matches!(&answers[1], Response::GetProviders { providers, .. } if *providers == [peer()]));
    assert_eq!(rig.shared.counters.requests_served(MessageKind::AddProvider), 1);
    assert_eq!(rig.shared.counters.requests_served(MessageKind::FindNode), 1);
    assert_eq!(rig.shared.counters.serving().bytes(), (all.len() as u64, answer.len() as u64));
    remote.close();
    rig.run();
    assert!(remote.sees_end());
    assert_eq!(rig.shared.counters.inbound_streams(), 0);
}

#[test]
fn a_flood_on_one_stream_is_answered_in_turns() {
    let mut rig = Rig::new();
    let (flood, other) = (rig.open(), rig.open());
    flood.write(&find_self().repeat(100));
    other.write(&find_self());
    rig.run();
    assert_eq!(rig.shared.counters.requests_served(MessageKind::FindNode), REQUESTS_PER_TURN as u64 + 1);
    for _ in 0..10 {
        rig.run();
    }
    let kinds = vec![MessageKind::FindNode; 100];
    assert_eq!(responses(&flood.read(), &kinds).len(), 100);
    assert_eq!(responses(&other.read(), &kinds[..1]).len(), 1);
}

#[test]
fn garbage_resets_its_stream_and_is_counted() {
    let garbage: [(&[u8], Refusal); 6] = [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], Refusal::FrameTooLarge),
        (&[0xff; 32], Refusal::Malformed),
        (&[2, 0xff, 0xff], Refusal::Malformed),
        (&[2, 8, 77], Refusal::UnknownType),
        (&[2, 8, 4], Refusal::KeyLength),
        (&framed(&Request::GetProviders { key: vec![1; 81].into() }), Refusal::KeyLength),
    ];
    for (bytes, code) in garbage {
        let mut rig = Rig::new();
        let (bad, good) = (rig.open(), rig.open());
        bad.write(bytes);
        good.write(&find_self());
        rig.run();
        assert!(bad.sees_reset(), "{bytes:?}");
        assert_eq!(rig.refusals(code), 1, "{bytes:?}");
        assert_eq!(responses(&good.read(), &[MessageKind::FindNode]).len(), 1, "others are not harmed");
    }
}

#[test]
fn a_cut_frame_is_malformed_and_a_whole_one_is_answered_before_the_end() {
    let mut rig = Rig::new();
    let remote = rig.open();
    remote.write(&find_self());
    remote.write(&find_self()[..5]);
    remote.close();
    rig.run();
    assert_eq!(responses(&remote.read(), &[MessageKind::FindNode]).len(), 1);
    assert!(remote.sees_reset());
    assert_eq!(rig.refusals(Refusal::Malformed), 1);
}

#[test]
fn idle_streams_end_and_requests_put_that_off() {
    let idle = SessionLimits::default().stream_idle_timeout;
    let mut rig = Rig::new();
    let (silent, trickling, live) = (rig.open(), rig.open(), rig.open());
    assert_eq!(rig.server.next_deadline(), Some(NOW.monotonic + idle));
    let later = NOW.monotonic + Duration::from_secs(30);
    live.write(&find_self());
    trickling.write(&find_self()[..4]);
    rig.run_at(later);
    rig.run_at(NOW.monotonic + idle);
    assert!(silent.sees_reset() && trickling.sees_reset() && !live.sees_reset());
    assert_eq!(rig.refusals(Refusal::StreamIdle), 2);
    assert_eq!(rig.server.next_deadline(), Some(later + idle));
    rig.run_at(later + idle);
    assert!(live.sees_reset());
    assert_eq!(rig.server.next_deadline(), None);
}

#[test]
fn a_peer_that_does_not_take_its_answer_is_let_go() {
    let mut rig = Rig::new();
    let remote = rig.open_with(3);
    remote.write(&find_self().repeat(50));
    rig.run();
    assert_eq!(remote.read().len(), 3);
    rig.run();
    assert_eq!(rig.shared.counters.requests_served(MessageKind::FindNode), 0, "nothing more was read");
    rig.run_at(NOW.monotonic + SessionLimits::default().stream_idle_timeout);
    assert!(remote.sees_reset());
    assert_eq!(rig.refusals(Refusal::StreamIdle), 1);
}

#[test]
fn streams_are_bounded() {
    let mut rig = Rig::new();
    let remotes: Vec<_> = (0..INBOUND_STREAMS_MAX).map(|_| rig.open()).collect();
    assert_eq!(rig.shared.counters.inbound_streams(), INBOUND_STREAMS_MAX);
    assert!(rig.open().sees_reset());
    assert_eq!(rig.refusals(Refusal::TooManyStreams), 1);
    remotes[7].close();
    rig.run();
    assert!(!rig.open().sees_reset());
    rig.server.stop(Realm::Wan);
    assert_eq!(rig.shared.counters.inbound_streams(), 0);
    assert!(remotes[8].sees_reset());
    assert_eq!(rig.refusals(Refusal::NotServing), INBOUND_STREAMS_MAX as u64);
}

#[test]
fn a_drain_answers_what_was_read_and_nothing_more() {
    let mut rig = Rig::new();
    let (idle, slow) = (rig.open(), rig.open_with(3));
    slow.write(&find_self().repeat(2));
    rig.run();
    rig.server.drain(Realm::Wan);
    rig.run();
    assert!(idle.sees_reset() && !slow.sees_reset(), "one waits for nothing, the other for its answer");
    let mut answer = Vec::new();
    for _ in 0..1_000 {
        answer.extend(slow.read());
        rig.run();
    }
    assert!(slow.sees_reset());
    assert_eq!(rig.shared.counters.requests_served(MessageKind::FindNode), 1, "the second was not begun");
    let mut frames = FrameReader::new(4 << 20);
    assert!(matches!(frames.read(&mut answer.as_slice()), Ok(Some(_))), "{answer:?}");
    assert_eq!((rig.refusals(Refusal::NotServing), rig.shared.counters.inbound_streams()), (2, 0));
    let again = rig.open();
    again.write(&find_self());
    rig.run();
    assert!(!again.read().is_empty(), "serving may begin again");
}

#[test]
fn unfinished_requests_are_bounded_over_all_streams() {
    let limits = SessionLimits { inbound_bytes_max: 1_000, ..SessionLimits::default() };
    let mut rig = Rig::with(limits, |_| {});
    let remotes = [400, 500, 300].map(|len| {
        let remote = rig.open();
        remote.write(&[&[0x80, 0x80, 0x04][..], &vec![0; len]].concat()); // of 64 KiB
        remote
    });
    rig.run();
    assert!(remotes[1].sees_reset() && !remotes[0].sees_reset() && !remotes[2].sees_reset());
    assert_eq!(rig.refusals(Refusal::FrameTooLarge), 1);
}

#[test]
fn put_value_is_echoed_once_it_is_stored() {
    for conflicts in [0, 3] {
        let mut rig = Rig::with(SessionLimits::default(), |store| store.conflicts = conflicts.into());
        let remote = rig.open();
        let (record, request) = put_public_key();
        remote.write(&framed(&request));
        let answer = responses(&rig.wait(&remote), &[MessageKind::PutValue]);
        assert_eq!(answer, [Response::PutValue { record: Some(record.clone()) }]);
        let stored = block_on(rig.shared.store.value(&record.key, NOW.unix)).unwrap();
        assert_eq!(stored.map(|stored| stored.record), Some(record));
    }
}

#[test]
fn put_value_gives_up_after_three_conflicts() {
    let mut rig = Rig::with(SessionLimits::default(), |store| store.conflicts = 4.into());
    let remote = rig.open();
    remote.write(&framed(&put_public_key().1));
    assert!(rig.wait(&remote).is_empty());
    assert_eq!(rig.refusals(Refusal::StoreFull), 1);
}

#[test]
fn the_slow_side_of_the_store_is_asked() {
    let mut rig = Rig::with(SessionLimits::default(), |store| store.slow = true);
    let remote = rig.open();
    let (record, request) = put_public_key();
    remote.write(&framed(&request));
    assert_eq!(responses(&rig.wait(&remote), &[MessageKind::PutValue]).len(), 1);
    remote.write(&framed(&Request::GetValue { key: record.key.clone() }));
    let answer = responses(&rig.wait(&remote), &[MessageKind::GetValue]);
    assert!(
        matches!(&answer[0], Response::GetValue { record: Some(got), .. } if *got == record),
        "{answer:?}"
    );

    let key = Bytes::from_static(&[1; 34]);
    remote.write(&framed(&Request::AddProvider { key: key.clone(), providers: vec![peer()] }));
    remote.write(&framed(&Request::GetProviders { key }));
    let answer = responses(&rig.wait(&remote), &[MessageKind::GetProviders]);
    assert!(matches!(&answer[0], Response::GetProviders { providers, .. } if *providers == [peer()]));
}

#[test]
fn a_store_that_does_not_answer_costs_its_time_and_no_more() {
    let limits = SessionLimits { store_read_timeout: Duration::from_millis(10), ..SessionLimits::default() };
    let mut rig = Rig::with(limits, |store| (store.slow, store.stuck) = (true, true));
    let remote = rig.open();
    remote.write(&framed(&Request::GetProviders { key: Bytes::from_static(&[1; 34]) }));
    let answer = responses(&rig.wait(&remote), &[MessageKind::GetProviders]);
    assert_eq!(answer, [Response::GetProviders { providers: vec![], closer: vec![] }]);
    // The permit is free again: another read gets its turn.
    remote.write(&framed(&Request::GetValue { key: put_public_key().0.key }));
    let answer = responses(&rig.wait(&remote), &[MessageKind::GetValue]);
    assert!(matches!(&answer[0], Response::GetValue { record: None, .. }));
}

#[test]
fn a_client_answers_nobody() {
    let mut rig = Rig::new();
    let remote = rig.open();
    rig.shared.table.store(Arc::new(TableSnapshot::new(local(), Mode::Client)));
    remote.write(&find_self());
    rig.run();
    assert!(remote.sees_reset());
    assert_eq!(rig.refusals(Refusal::NotServing), 1);
}
