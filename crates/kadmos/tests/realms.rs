//! A node in two networks at once, on real sockets. Both have private names, since the public ones take no loopback
//! address; which connection carries which network, and what may be named in it, is tested in `kadmos-libp2p`.

mod common;

use common::{multihash, tcp, until};
use futures::StreamExt;
use kadmos::convert::core_id;
use kadmos::{
    BuildError, Config, Dht, DhtBuilder, Event, Fault, FindPeerError, GetValueError, Keypair, Load, Mode,
    Node, OperationError, PeerAddrs, PeerId, Realm, UnixTime, ipns,
};

const WAN: &str = "/kadmos/test/kad/1.0.0";

fn wan() -> Config {
    Config::private(WAN)
}

fn builder(config: Config) -> DhtBuilder {
    DhtBuilder::new(Keypair::generate_ed25519()).config(config).mode(Mode::Server).listen(tcp())
}

fn part(node: &Dht, realm: Realm) -> Dht {
    node.realm(realm).unwrap()
}

fn knows(dht: &Dht, peer: PeerId) -> bool {
    dht.table_now().get(&core_id(&peer).unwrap()).is_some()
}

/// A node in both networks, a server in the wide one and a server in the local one, each connected to the first.
struct Trio {
    dual: Node,
    wan: Node,
    lan: Node,
}

impl Trio {
    async fn start() -> Self {
        let dual = builder(wan()).lan(wan().on_lan()).start().await.unwrap();
        let wide = builder(wan()).start().await.unwrap();
        let local = builder(wan().on_lan()).start().await.unwrap();
        let trio = Self { dual, wan: wide, lan: local };
        for (node, realm) in [(&trio.wan, Realm::Wan), (&trio.lan, Realm::Lan)] {
            trio.dual.connect(node.p2p_addrs().remove(0)).await.unwrap();
            let dual = part(&trio.dual, realm);
            until("both know each other", async || {
                knows(&dual, node.peer_id()) && knows(node, trio.dual.peer_id())
            })
            .await;
        }
        trio
    }

    async fn shutdown(self) {
        for node in [self.dual, self.wan, self.lan] {
            node.shutdown().await;
        }
    }
}

fn name(keypair: &Keypair, sequence: u64) -> (Vec<u8>, Vec<u8>) {
    let now = UnixTime::from_secs(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
    let hour = std::time::Duration::from_secs(3_600);
    let record = ipns::create(keypair, b"/ipfs/bafkqaaa", sequence, now + hour, hour).unwrap();
    (ipns::key(&keypair.public().to_peer_id()).to_vec(), record.to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn providers_of_both_networks_are_found_and_each_comes_once() {
    let trio = Trio::start().await;
    let found = async |count| {
        let found = trio.dual.find_providers(multihash(1), count).map(|found| found.unwrap().id);
        let mut found: Vec<_> = found.collect().await;
        found.sort();
        found
    };
    assert_eq!(found(0).await, []);
    trio.lan.provide(multihash(1)).await.unwrap();
    until("it is found in the local network", async || found(0).await == [trio.lan.peer_id()]).await;
    trio.wan.provide(multihash(1)).await.unwrap();
    let mut both = [trio.lan.peer_id(), trio.wan.peer_id()];
    both.sort();
    until("both are found", async || found(0).await == both).await;
    assert_eq!(found(1).await.len(), 1);

    // The node itself, known as a provider in both networks, with the same addresses.
    for realm in Realm::ALL {
        part(&trio.dual, realm).provide(multihash(2)).await.unwrap();
    }
    until("it finds itself once", async || {
        let found: Vec<_> = trio.dual.find_providers(multihash(2), 0).collect().await;
        found.iter().map(|found| found.as_ref().unwrap().id).collect::<Vec<_>>() == [trio.dual.peer_id()]
    })
    .await;
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_better_value_of_two_networks_is_found_and_crosses_into_neither() {
    let trio = Trio::start().await;
    let keypair = Keypair::generate_ed25519();
    let (key, older) = name(&keypair, 1);
    let (_, newer) = name(&keypair, 2);
    let error = trio.dual.get_value(key.clone()).await.unwrap_err();
    assert!(matches!(&error, GetValueError::NotFound { answered: 1 }), "the same in both: {error:?}");

    trio.wan.put_value(key.clone(), older.clone()).await.unwrap();
    assert_eq!(trio.dual.get_value(key.clone()).await.unwrap().best.value, older);
    trio.lan.put_value(key.clone(), newer.clone()).await.unwrap();
    let found = trio.dual.get_value(key.clone()).await.unwrap();
    assert_eq!(found.best.value, newer);
    assert!(found.answers >= 2, "{found:?}");
    let mut values = trio.dual.search_value(key.clone(), None);
    let mut last = None;
    while let Some(value) = values.next().await {
        last = Some(value.unwrap().value);
    }
    assert_eq!(last.as_ref(), Some(&values.found().unwrap().best.value));
    assert_eq!(last.unwrap(), newer);

    // Neither network was told what the other has: stores and answers are apart.
    for (realm, value) in [(Realm::Wan, &older), (Realm::Lan, &newer)] {
        let part = part(&trio.dual, realm);
        assert_eq!(part.get_value(key.clone()).await.unwrap().best.value, *value, "{realm}");
        let now = UnixTime::from_secs(std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs());
        let held = part.store().value(&key, now).await.unwrap().unwrap();
        assert_eq!(held.record.value, *value, "{realm}");
    }
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_of_one_network_are_never_named_in_the_other() {
    let trio = Trio::start().await;
    let (wan_peer, lan_peer) = (trio.wan.peer_id(), trio.lan.peer_id());
    // Everybody is connected to the node in both networks, which knows where everybody is; asked in one network, it
    // names nobody of the other, not even to who asks for exactly this peer.
    for (asker, hidden) in [(&trio.wan, lan_peer), (&trio.lan, wan_peer)] {
        let error = asker.find_peer(hidden).await.unwrap_err();
        assert!(matches!(error, FindPeerError::NotFound { answered: 1 }), "{error:?}");
        let closest = asker.closest_peers(hidden.to_bytes()).await.unwrap();
        assert_eq!(closest.peers.iter().map(|peer| peer.id).collect::<Vec<_>>(), [trio.dual.peer_id()]);
    }
    // It finds both itself.
    for peer in [&trio.wan, &trio.lan] {
        let found = trio.dual.find_peer(peer.peer_id()).await.unwrap();
        assert_eq!(found.addrs, peer.listen_addrs());
    }
    let error = trio.dual.find_peer(PeerId::random()).await.unwrap_err();
    assert_eq!(error.fault(), Fault::Network);
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_go_to_the_wide_network_or_without_one_to_the_local_one() {
    let trio = Trio::start().await;
    let (key, value) = name(&Keypair::generate_ed25519(), 1);
    let report = trio.dual.put_value(key.clone(), value.clone()).await.unwrap();
    assert_eq!(report.holders, [trio.wan.peer_id()]);
    trio.wan.shutdown().await;
    trio.dual.realm(Realm::Wan).unwrap().remove_peer(trio.wan.peer_id()).await.unwrap();
    until("the wide table is empty", async || trio.dual.table_now().is_empty()).await;
    let report = trio.dual.put_value(key, value).await.unwrap();
    assert_eq!(report.holders, [trio.lan.peer_id()]);
    trio.dual.provide(multihash(1)).await.unwrap();
    let provider = trio.lan.find_providers(multihash(1), 1).next().await.unwrap().unwrap();
    assert_eq!(provider.id, trio.dual.peer_id());
    let error = trio.dual.get_value(name(&Keypair::generate_ed25519(), 1).0).await.unwrap_err();
    let GetValueError::Realms { failed } = &error else { panic!("{error:?}") };
    assert_eq!(failed[0], (Realm::Wan, OperationError::NoPeers.into()));
    assert_eq!(failed[1], (Realm::Lan, GetValueError::NotFound { answered: 1 }));
    assert_eq!(error.deciding(), &failed[1].1);
    // One network that cannot be asked fails no search.
    let found: Vec<_> = trio.dual.find_providers(multihash(9), 0).collect().await;
    assert_eq!(found, []);
    assert_eq!(trio.dual.bootstrap_each().await.len(), 2);
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_tells_what_came_of_it_in_each_network() {
    let dual = builder(wan()).lan(wan().on_lan()).start().await.unwrap();
    let local = builder(wan().on_lan()).start().await.unwrap();
    let error = dual.bootstrap().await.unwrap_err();
    assert_eq!(error, kadmos::BootstrapError::NoSources, "the same in both");
    dual.add_bootstrap_peers([PeerAddrs::new(local.peer_id(), local.listen_addrs())]).await.unwrap();
    let joined = dual.bootstrap_each().await;
    let [(Realm::Wan, Err(_)), (Realm::Lan, Ok(lan))] = joined.as_slice() else { panic!("{joined:?}") };
    assert_eq!(lan.answered, 1);
    assert_eq!(dual.bootstrap().await.unwrap().answered, 1, "one network is enough");
    let error = part(&dual, Realm::Wan).bootstrap().await.unwrap_err();
    assert!(matches!(error, kadmos::BootstrapError::Unreachable { tried: 1 }), "{error:?}");
    dual.shutdown().await;
    local.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modes_and_events_are_each_networks_own() {
    let trio = Trio::start().await;
    let mut all = trio.dual.events();
    let mut lan = part(&trio.dual, Realm::Lan).events();
    part(&trio.dual, Realm::Wan).set_mode(Mode::Client).await.unwrap();
    part(&trio.dual, Realm::Lan).set_mode(Mode::Client).await.unwrap();
    part(&trio.dual, Realm::Lan).set_mode(Mode::Server).await.unwrap();
    let modes = [(Realm::Wan, Mode::Client), (Realm::Lan, Mode::Client), (Realm::Lan, Mode::Server)];
    let mut seen = Vec::new();
    while seen.len() < modes.len() {
        let (realm, event) = all.next_in().await.unwrap();
        if let Event::ModeChanged { mode } = event {
            seen.push((realm, mode));
        }
    }
    assert_eq!(seen, modes);
    loop {
        let (realm, event) = lan.next_in().await.unwrap();
        assert_eq!(realm, Realm::Lan);
        if event == (Event::ModeChanged { mode: Mode::Server }) {
            break;
        }
    }
    until("it left the wide table and stays in the local one", async || {
        !knows(&trio.wan, trio.dual.peer_id()) && knows(&trio.lan, trio.dual.peer_id())
    })
    .await;
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_search_ends_in_both_networks() {
    let trio = Trio::start().await;
    until("nothing is under way", async || trio.dual.load().await == Ok(Load::default())).await;
    let mut search = trio.dual.find_providers(multihash(1), 0);
    let mut values = trio.dual.search_value(name(&Keypair::generate_ed25519(), 1).0, None);
    // Polled once, so that they begin, then dropped.
    futures::future::poll_fn(|cx| {
        let _ = (search.poll_next_unpin(cx), values.poll_next_unpin(cx));
        std::task::Poll::Ready(())
    })
    .await;
    drop((search, values));
    until("nothing is under way", async || trio.dual.load().await == Ok(Load::default())).await;
    trio.dual.shutdown().await;
    let error = trio.dual.find_peer(PeerId::random()).await.unwrap_err();
    assert_eq!(error, OperationError::Closed.into(), "the same in both");
    trio.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_network_is_one_and_two_have_two_names() {
    let node = builder(wan()).start().await.unwrap();
    assert_eq!(node.realms().collect::<Vec<_>>(), [Realm::Wan]);
    assert!(node.realm(Realm::Lan).is_none());
    let lan = builder(Config::lan()).start().await.unwrap();
    assert_eq!(lan.realms().collect::<Vec<_>>(), [Realm::Lan]);
    let error = builder(wan()).lan(wan()).start().await.unwrap_err();
    assert!(matches!(&error, BuildError::SameProtocol { name } if name == WAN), "{error:?}");
    assert_eq!(error.fault(), Fault::Caller);
    node.shutdown().await;
    lan.shutdown().await;
}
