//! The behaviour without a swarm: what it is told and what it does, with the time passed in.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::executor::block_on;
use kadmos_core::message::Record;
use kadmos_core::record::ValueWrite;
use kadmos_core::{Now, UnixTime};
use kadmos_store::{MemoryLimits, MemoryStore};
use libp2p_core::Endpoint;
use libp2p_core::transport::ListenerId;
use libp2p_swarm::behaviour::{DialFailure, ExpiredListenAddr, NewListenAddr};
use libp2p_swarm::{DialError, FromSwarm, NetworkBehaviour};

use super::*;
use crate::convert::PeerAddrs;

#[derive(Debug)]
struct TestClock(Mutex<Now>);

impl Clock for TestClock {
    fn now(&self) -> Now {
        *self.0.lock().unwrap()
    }
}

struct Rig {
    behaviour: Behaviour,
    dht: Dht,
    clock: Arc<TestClock>,
    store: MemoryStore,
}

impl Rig {
    fn new() -> Self {
        let now = Now { monotonic: Timestamp::from_millis(1_000), unix: UnixTime::from_secs(1_795_515_912) };
        let clock = Arc::new(TestClock(Mutex::new(now)));
        let options = Options { clock: clock.clone(), ..Options::default() };
        let store = MemoryStore::new(MemoryLimits::default());
        let mut config = Config::private("/test");
        config.protocol.mode = Mode::Server;
        let (behaviour, dht) = Behaviour::with_options(
            PeerId::random(),
            config,
            kadmos_records::amino_validators(),
            Arc::new(store.clone()),
            options,
        )
        .unwrap();
        Self { behaviour, dht, clock, store }
    }

    fn pass(&self, time: Duration) {
        let mut now = self.clock.0.lock().unwrap();
        now.monotonic = now.monotonic + time;
        now.unix = now.unix + time;
    }

    /// Everything that is to be done now.
    fn actions(&mut self) -> Vec<Action> {
        let mut cx = Context::from_waker(futures::task::noop_waker_ref());
        let mut actions = Vec::new();
        while let Poll::Ready(action) = self.behaviour.poll(&mut cx) {
            actions.push(action);
        }
        actions
    }

    fn listen(&mut self, port: u16) {
        let addr = addr(port);
        let event = NewListenAddr { listener_id: ListenerId::next(), addr: &addr };
        self.behaviour.on_swarm_event(FromSwarm::NewListenAddr(event));
    }

    /// Runs a call of the handle; the behaviour must need no peer for it.
    fn call<T>(&mut self, call: impl Future<Output = T>) -> T {
        let mut call = std::pin::pin!(call);
        for _ in 0..10 {
            let mut cx = Context::from_waker(futures::task::noop_waker_ref());
            if let Poll::Ready(result) = call.poll_unpin(&mut cx) {
                return result;
            }
            assert!(self.actions().is_empty());
        }
        panic!("the call does not end");
    }

    /// Addresses that requests are answered with.
    fn published(&self) -> usize {
        self.dht.table_now().local().addrs.len()
    }
}

fn addr(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

#[test]
fn changes_are_published_at_once_after_a_pause_and_else_every_10_ms() {
    let mut rig = Rig::new();
    rig.listen(1);
    rig.actions();
    assert_eq!(rig.published(), 1);
    for port in 2..10 {
        rig.pass(Duration::from_millis(1));
        rig.listen(port);
        rig.actions();
        assert_eq!(rig.published(), 1, "{port} ms");
    }
    rig.pass(Duration::from_millis(1));
    rig.actions();
    assert_eq!(rig.published(), 1, "9 ms");
    rig.pass(Duration::from_millis(1));
    rig.actions();
    assert_eq!(rig.published(), 9);

    let gone = addr(1);
    let event = ExpiredListenAddr { listener_id: ListenerId::next(), addr: &gone };
    rig.behaviour.on_swarm_event(FromSwarm::ExpiredListenAddr(event));
    rig.pass(Duration::from_millis(10));
    rig.actions();
    assert_eq!(rig.published(), 8);
}

#[test]
fn a_change_of_mode_is_published_before_it_is_acknowledged() {
    let mut rig = Rig::new();
    let dht = rig.dht.clone();
    for mode in [Mode::Client, Mode::Server, Mode::Server] {
        rig.call(dht.set_mode(mode)).unwrap();
        assert_eq!((rig.behaviour.mode(Realm::Wan).unwrap(), rig.dht.table_now().mode()), (mode, mode));
    }
}

#[test]
fn the_swarm_is_told_once_that_the_handles_are_gone() {
    let mut rig = Rig::new();
    let other = rig.dht.clone();
    let Rig { behaviour, dht, clock, store } = rig;
    drop(dht);
    rig = Rig { behaviour, dht: other, clock, store };
    assert!(rig.actions().is_empty());
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    drop(rig.dht);
    let told = rig.behaviour.poll(&mut cx);
    assert!(matches!(told, Poll::Ready(ToSwarm::GenerateEvent(BehaviourEvent::Abandoned))), "{told:?}");
    assert!(rig.behaviour.poll(&mut cx).is_pending());
}

#[test]
fn a_peer_is_dialled_at_all_its_addresses_and_given_up_when_that_fails() {
    let mut rig = Rig::new();
    let peer = PeerId::random();
    let dht = rig.dht.clone();
    let add = dht.add_peer(PeerAddrs::new(peer, vec![addr(1), addr(2)]));
    let mut add = std::pin::pin!(add);
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    assert!(add.as_mut().poll(&mut cx).is_pending());
    let actions = rig.actions();
    assert!(add.as_mut().poll(&mut cx).is_ready());
    let [ToSwarm::Dial { opts }] = actions.as_slice() else { panic!("{actions:?}") };
    assert_eq!(opts.get_peer_id(), Some(peer));
    let connection = opts.connection_id();
    let known =
        rig.behaviour.handle_pending_outbound_connection(connection, Some(peer), &[], Endpoint::Dialer);
    assert_eq!(known.unwrap(), [addr(1), addr(2)]);
    assert_eq!(rig.behaviour.load().requests, 1);

    let error = DialError::Transport(Vec::new());
    let event = DialFailure { peer_id: Some(peer), error: &error, connection_id: connection };
    rig.behaviour.on_swarm_event(FromSwarm::DialFailure(event));
    assert!(rig.actions().is_empty());
    assert_eq!(rig.behaviour.load(), Load::default());
}

#[test]
fn a_dial_that_takes_too_long_fails_its_request() {
    let mut rig = Rig::new();
    let timeout = Config::private("/test").lookup.request_timeout;
    let dht = rig.dht.clone();
    let add = dht.add_peer(PeerAddrs::new(PeerId::random(), vec![addr(1)]));
    let mut add = std::pin::pin!(add);
    assert!(add.as_mut().poll(&mut Context::from_waker(futures::task::noop_waker_ref())).is_pending());
    assert_eq!(rig.actions().len(), 1);
    rig.pass(timeout - Duration::from_millis(1));
    rig.actions();
    assert_eq!(rig.behaviour.load().requests, 1);
    rig.pass(Duration::from_millis(1));
    rig.actions();
    assert_eq!(rig.behaviour.load().requests, 0);
}

#[test]
fn expired_records_are_freed_every_minute() {
    let mut rig = Rig::new();
    let now = rig.clock.now().unix;
    let record = Record { key: vec![1].into(), value: vec![2].into() };
    let expires = now + Duration::from_secs(30);
    let write = ValueWrite { record, received: now, expires, expected: None };
    assert_eq!(block_on(Store::put_values(&rig.store, vec![write], now)), [Ok(())]);
    let held = |rig: &Rig| block_on(Store::stats(&rig.store)).unwrap().values;
    rig.pass(Duration::from_secs(59));
    rig.actions();
    assert_eq!(held(&rig), 1);
    rig.pass(Duration::from_secs(1));
    rig.actions();
    assert_eq!(held(&rig), 0);
}

#[test]
fn operations_of_a_closed_behaviour_end_and_later_ones_do_not_begin() {
    let mut rig = Rig::new();
    let dht = rig.dht.clone();
    let closed = kadmos_core::error::OperationError::Closed;
    let mut load = std::pin::pin!(dht.load());
    let mut cx = Context::from_waker(futures::task::noop_waker_ref());
    assert!(load.as_mut().poll(&mut cx).is_pending());
    rig.behaviour.close();
    assert_eq!(load.as_mut().poll(&mut cx), Poll::Ready(Err(closed.clone())), "it was on its way");
    assert_eq!(rig.call(dht.load()), Err(closed));
    assert!(rig.actions().is_empty());
}

#[test]
fn a_local_id_that_no_key_gives_is_refused() {
    let cut = libp2p_core::multihash::Multihash::wrap(0x12, &[7; 31]).unwrap();
    let local = PeerId::from_multihash(cut).unwrap();
    let store = Arc::new(MemoryStore::new(MemoryLimits::default()));
    let made = Behaviour::new(local, Config::private("/test"), Validators::new(), store.clone());
    assert!(matches!(made, Err(BehaviourError::LocalPeerId(_))));
    let made = Behaviour::new(PeerId::random(), Config::private("test"), Validators::new(), store);
    assert!(matches!(made, Err(BehaviourError::Config(ConfigError::ProtocolName { .. }))));
}
