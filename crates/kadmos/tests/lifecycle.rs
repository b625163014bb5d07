//! Starting, ending and using a node at the wrong time, and what is left behind: nothing.

mod common;

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use common::raw::{RawPeer, answer_empty, read_request};
use common::{multihash, network, quic, server, tcp, until};
use futures::{FutureExt, StreamExt};
use kadmos::{
    BuildError, Config, ConfigError, ConnectError, Dht, DhtBuilder, Fault, Keypair, Load, Mode, Multiaddr,
    Node, OperationError, PeerAddrs, PeerId, Validators,
};

/// Tasks of the test's runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

async fn no_tasks() {
    until("every task has ended", async || tasks() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_named_and_free_again_after_shutdown() {
    for any in [tcp(), quic()] {
        let first = DhtBuilder::new(Keypair::generate_ed25519()).listen(any).start().await.unwrap();
        let taken = first.listen_addrs().remove(0);
        let keypair = Keypair::generate_ed25519();
        let again = || DhtBuilder::new(keypair.clone()).listen(taken.clone());
        let error = again().start().await.unwrap_err();
        assert!(matches!(&error, BuildError::AddressInUse { addr } if *addr == taken), "{error:?}");
        assert!(error.to_string().contains(&taken.to_string()), "{error}");
        assert_eq!(error.fault(), Fault::Caller);
        first.shutdown().await;
        let second = again().start().await.unwrap();
        assert_eq!(second.listen_addrs(), std::slice::from_ref(&taken));
        second.shutdown().await;
    }
    no_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_told_by_name_and_leave_nothing() {
    let node = || DhtBuilder::new(Keypair::generate_ed25519());
    let addr = |text: &str| text.parse::<Multiaddr>().unwrap();

    let mut config = Config::amino();
    config.lookup.k = 7.try_into().unwrap();
    let error = node().config(config).start().await.unwrap_err();
    assert!(matches!(error, BuildError::Config(ConfigError::Ipfs { field: "lookup.k", .. })), "{error:?}");
    let error = node().validators(Validators::new()).start().await.unwrap_err();
    assert!(matches!(error, BuildError::Config(ConfigError::MissingValidator { .. })), "{error:?}");
    let nameless = addr("/ip4/127.0.0.1/tcp/4001");
    let error = node().bootstrap(nameless.clone()).start().await.unwrap_err();
    assert!(matches!(&error, BuildError::BootstrapAddress { addr } if *addr == nameless), "{error:?}");
    for text in ["/ip4/127.0.0.1/udp/1", "/ip4/127.0.0.1/tcp/1/ws", "/memory/7"] {
        let error = node().listen(addr(text)).start().await.unwrap_err();
        assert!(
            matches!(&error, BuildError::UnsupportedAddress { addr } if addr.to_string() == text),
            "{error:?}"
        );
    }
    // TEST-NET-1 is nobody's address.
    let error = node().listen(addr("/ip4/192.0.2.1/tcp/1")).start().await.unwrap_err();
    assert!(matches!(error, BuildError::Listen { .. }), "{error:?}");
    // One listener that works does not outlive one that does not.
    let error = node().listen(tcp()).listen(addr("/memory/7")).start().await.unwrap_err();
    assert!(!error.advice().is_empty());
    no_tasks().await;
}

#[test]
fn without_a_runtime_there_is_no_node() {
    let start = DhtBuilder::new(Keypair::generate_ed25519()).start();
    assert!(matches!(futures::executor::block_on(start), Err(BuildError::NoRuntime)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_after_shutdown_says_so() {
    let node = server().start().await.unwrap();
    let mut events = node.events();
    let dht = node.dht().clone();
    tokio::join!(node.shutdown(), node.shutdown());
    node.shutdown().await;
    let closed = OperationError::Closed;
    let peer = PeerId::random();
    assert!(node.is_closed());
    assert_eq!(dht.bootstrap().await.unwrap_err(), closed.clone().into());
    assert_eq!(dht.closest_peers(multihash(1)).await.unwrap_err(), closed.clone().into());
    assert_eq!(dht.find_peer(peer).await.unwrap_err(), closed.clone().into());
    assert_eq!(dht.find_providers(multihash(1), 1).next().await, Some(Err(closed.clone().into())));
    assert_eq!(dht.get_value(multihash(1)).await.unwrap_err(), closed.clone().into());
    assert_eq!(dht.search_value(multihash(1), None).next().await, Some(Err(closed.clone().into())));
    assert_eq!(dht.put_value(multihash(1), vec![1]).await.unwrap_err(), closed.clone().into());
    assert_eq!(dht.provide(multihash(1)).await.unwrap_err(), closed.clone().into());
    assert_eq!(dht.set_mode(Mode::Client).await, Err(closed.clone()));
    assert_eq!(dht.add_bootstrap_peers([]).await, Err(closed.clone()));
    assert_eq!(dht.add_peer(PeerAddrs::new(peer, vec![])).await, Err(closed.clone()));
    assert_eq!(dht.remove_peer(peer).await, Err(closed.clone()));
    assert_eq!(dht.load().await, Err(closed.clone()));
    assert_eq!(dht.table().await.unwrap_err(), closed);
    assert_eq!(node.connect(tcp()).await, Err(ConnectError::Closed));
    assert_eq!(node.ping(peer).await, Err(ConnectError::Closed));
    assert_eq!(node.connections().await, Err(ConnectError::Closed));
    assert!(node.listen_addrs().is_empty());
    while events.next().await.is_some() {}
    assert!(dht.events().next().await.is_none());
    assert!(dht.table_now().is_empty());
    no_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_handle_ends_the_node() {
    let node = server().start().await.unwrap();
    let other = node.clone();
    drop(node);
    assert_eq!(other.load().await, Ok(Load::default()));
    let dht = other.dht().clone();
    drop(other);
    // The handle to the DHT alone keeps the node; so does an operation of it.
    assert_eq!(dht.load().await, Ok(Load::default()));
    let mut search = dht.find_providers(multihash(1), 1);
    drop(dht);
    assert_eq!(search.next().await, Some(Err(OperationError::NoPeers.into())));
    drop(search);
    no_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_operations_and_connections() {
    let node = server().start().await.unwrap();
    let mut raw = RawPeer::start().await;
    node.add_peer(PeerAddrs::new(raw.id, vec![raw.addr.clone()])).await.unwrap();
    let mut stream = raw.accept().await;
    assert!(read_request(&mut stream).await.is_some());
    answer_empty(&mut stream).await;
    until("the peer is in the table", async || node.table().await.unwrap().len() == 1).await;
    let dht = node.dht().clone();
    let lookup = tokio::spawn(async move { dht.find_peer(PeerId::random()).await });
    assert!(read_request(&mut stream).await.is_some(), "it waits for an answer");
    assert_eq!(node.load().await, Ok(Load { operations: 1, requests: 1 }));
    node.shutdown().await;
    assert_eq!(lookup.await.unwrap().unwrap_err(), OperationError::Closed.into());
    until("its connections are gone", async || node.counters().connections() == 0).await;
    assert!(read_request(&mut stream).await.is_none());
    drop((raw, stream));
    no_tasks().await;
}

/// Polls a future up to `polls` times, then drops it; tells whether it was still under way.
async fn dropped_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        // Each poll happens after something woke us, or at once for the first.
        if futures::future::poll_fn(|cx| std::task::Poll::Ready(future.poll_unpin(cx))).await.is_ready() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

async fn nothing_under_way(dht: &Dht) {
    until("nothing is under way", async || dht.load().await.unwrap() == Load::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operations_dropped_at_any_point_leave_nothing() {
    let nodes = network(4).await;
    let node: &Node = &nodes[3];
    nodes[1].provide(multihash(1)).await.unwrap();
    nothing_under_way(node).await;
    let mut midway = 0;
    for polls in [0, 1, 2, 3, 5, 10, 50, 1_000] {
        let keypair = Keypair::generate_ed25519();
        let public = keypair.public();
        let (key, value) = (kadmos::pk::key(&public.to_peer_id()), kadmos::pk::value(&public));
        let mut under_way = 0;
        under_way += usize::from(dropped_after(polls, node.bootstrap()).await);
        under_way += usize::from(dropped_after(polls, node.closest_peers(multihash(2))).await);
        under_way += usize::from(dropped_after(polls, node.find_peer(PeerId::random())).await);
        under_way += usize::from(dropped_after(polls, node.find_providers(multihash(1), 0).next()).await);
        under_way += usize::from(dropped_after(polls, node.get_value(key.clone())).await);
        under_way += usize::from(dropped_after(polls, node.put_value(key, value)).await);
        under_way += usize::from(dropped_after(polls, node.provide(multihash(3))).await);
        under_way += usize::from(dropped_after(polls, node.ping(nodes[1].peer_id())).await);
        under_way += usize::from(dropped_after(polls, node.table()).await);
        assert!(polls > 0 || under_way == 9, "nothing ends unpolled");
        midway += if polls > 0 { under_way } else { 0 };
    }
    assert!(midway > 9, "{midway} were dropped between their first poll and their end");
    nothing_under_way(node).await;
    assert_eq!(node.find_providers(multihash(1), 1).next().await.unwrap().unwrap().id, nodes[1].peer_id());
    for node in &nodes {
        node.shutdown().await;
    }
    no_tasks().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_and_pinging_tell_what_went_wrong() {
    let (a, b) = (server().start().await.unwrap(), server().start().await.unwrap());
    let [a_addr, b_addr] = [&a, &b].map(|node| node.p2p_addrs().remove(0));
    assert_eq!(a.connect(a_addr.clone()).await, Err(ConnectError::IsSelf));
    assert_eq!(a.connect(b_addr.clone()).await, Ok(b.peer_id()));
    assert_eq!(a.connect(b_addr).await, Ok(b.peer_id()));
    assert_eq!(a.connections().await.unwrap().len(), 1);
    assert!(a.ping(b.peer_id()).await.unwrap() < Duration::from_secs(5));
    until("identify has told", async || {
        a.connections().await.unwrap()[0].agent.as_deref().is_some_and(|agent| agent.starts_with("kadmos/"))
    })
    .await;

    let stranger = PeerId::random();
    let wrong = PeerAddrs::new(stranger, b.listen_addrs()).to_string().parse().unwrap();
    assert_eq!(a.connect(wrong).await, Err(ConnectError::WrongPeer { got: b.peer_id(), expected: stranger }));
    assert_eq!(a.ping(stranger).await, Err(ConnectError::NoAddresses { peer: stranger }));
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port() };
    let error = a.connect(format!("/ip4/127.0.0.1/tcp/{nobody}").parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error:?}");
    b.shutdown().await;
    until("the connection is gone", async || a.connections().await.unwrap().is_empty()).await;
    a.shutdown().await;
    no_tasks().await;
}
