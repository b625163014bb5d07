//! Kadmos and Kubo.

use std::time::Duration;

use futures::StreamExt;
use kadmos::{Config, Keypair, Mode, Node, Realm, ipns, pk};
use kadmos_core::message::{MessageKind, Record, Request, Response};
use kadmos_interop::kubo::{Kubo, Options};
use kadmos_interop::raw::{RawPeer, Role};
use kadmos_interop::{Transport, core_id, kadmos_node, libp2p_id, poll, poll_within, step};
use libp2p::PeerId;

use crate::{multihash, multihash_of, name_record, now, same_addrs, stores_provider};

/// Kubo publishes its name a minute after its start.
const REPUBLISHED: Duration = Duration::from_secs(100);

/// Waits until Kubo's table holds `peer`: until it names it as one of the peers closest to a key that is not its id.
async fn kubo_admits(kubo: &Kubo, peer: PeerId) {
    let raw = RawPeer::start(Role::Client).await;
    raw.dial(&Transport::Tcp.pick(kubo.addrs())).await;
    poll(&format!("{peer} in Kubo's table"), async || {
        let found = raw.ask(kubo.id(), &Request::FindNode { key: multihash(1).into() }).await;
        found.closer().iter().any(|info| libp2p_id(&info.peer.id) == peer).then_some(())
    })
    .await;
}

/// A server of ours and a Kubo that are in each other's table.
async fn pair(transport: Transport) -> (Node, Kubo) {
    let (node, kubo) = (kadmos_node::start().await, Kubo::start().await);
    node.connect(transport.pick(kubo.addrs())).await.unwrap();
    kadmos_node::admits(&node, kubo.id()).await;
    kubo_admits(&kubo, node.peer_id()).await;
    (node, kubo)
}

async fn joins(kubo: &Kubo, node: &Node, transport: Transport) {
    kubo.connect(&transport.pick(&node.p2p_addrs())).await;
    kadmos_node::admits(node, kubo.id()).await;
    kubo_admits(kubo, node.peer_id()).await;
}

/// Whoever dials, on either transport, both end in the other's table, and Kubo's requests share a stream.
#[tokio::test]
async fn tables_admit_each_other() {
    for transport in Transport::ALL {
        let (node, _kubo) = pair(transport).await;
        let connections = node.connections().await.unwrap();
        assert!(connections.iter().all(|connection| transport.is_of(&connection.addr)), "{connections:?}");

        let (node, kubo) = (kadmos_node::start().await, Kubo::start().await);
        joins(&kubo, &node, transport).await;
        kubo.find_peer(PeerId::random()).await;
        let served = node.counters().requests_served(MessageKind::FindNode);
        assert!(served >= 2, "{served}");
        assert_eq!(node.counters().inbound_streams(), 1);
    }
}

/// Kubo has nothing to say about what ours send: not in handshakes, identify or the DHT.
#[tokio::test]
async fn kubo_logs_no_error_about_kadmos() {
    for transport in Transport::ALL {
        let (node, kubo) = pair(transport).await;
        let keypair = Keypair::generate_ed25519();
        node.provide(multihash(1)).await.unwrap();
        let (key, value) = (pk::key(&keypair.public().to_peer_id()), pk::value(&keypair.public()));
        node.put_value(key.clone(), value).await.unwrap();
        node.get_value(key).await.unwrap();
        kubo.add(b"some content").await;
        kubo.find_peer(PeerId::random()).await;
        node.shutdown().await;
        poll("the end of the connection", async || kubo.peers().await.is_empty().then_some(())).await;
        assert_eq!(kubo.complaints(), Vec::<String>::new());
    }
}

/// Kubo finds a Kubo, and a client of ours finds a server of ours, each through one of the other kind.
#[tokio::test]
async fn peers_are_found_through_each_other() {
    for transport in Transport::ALL {
        let hub = kadmos_node::start().await;
        let (first, second) = (Kubo::start().await, Kubo::start().await);
        joins(&first, &hub, transport).await;
        joins(&second, &hub, transport).await;
        let found = first.find_peer(second.id()).await.expect("the hub knows it");
        same_addrs(&found, second.addrs());

        let client = kadmos_node::start_in(Mode::Client).await;
        client.connect(transport.pick(first.addrs())).await.unwrap();
        kadmos_node::admits(&client, first.id()).await;
        let found = client.find_peer(hub.peer_id()).await.unwrap();
        same_addrs(&found.addrs, &hub.p2p_addrs());
        let closest = client.closest_peers(multihash(3)).await.unwrap();
        let mut ids: Vec<_> = closest.peers.iter().map(|peer| peer.id).collect();
        let mut expected = vec![hub.peer_id(), first.id(), second.id()];
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected);
    }
}

/// What Kubo announces, ours find: from the server it sent the record to, and from Kubo.
#[tokio::test]
async fn kadmos_finds_what_kubo_provides() {
    for transport in Transport::ALL {
        let (node, kubo) = pair(transport).await;
        let key = multihash_of(&kubo.add(b"from Kubo").await);
        same_addrs(&stores_provider(&node, &key, kubo.id()).await, kubo.addrs());

        for known in [node.p2p_addrs(), kubo.addrs().to_vec()] {
            let client = kadmos_node::start_in(Mode::Client).await;
            let id = client.connect(transport.pick(&known)).await.unwrap();
            kadmos_node::admits(&client, id).await;
            let found = step("providers", client.find_providers(key.clone(), 0).collect::<Vec<_>>()).await;
            let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].id, kubo.id());
            same_addrs(&found[0].addrs, kubo.addrs());
        }
    }
}

/// A node in the public and in the local network at once meets Kubo, which is in both too, in the local one only: neither
/// has a public address. Their records go there.
#[tokio::test]
async fn a_node_in_both_networks_meets_kubo_in_the_local_one() {
    let node = kadmos_node::builder().config(Config::amino()).lan(Config::lan()).start().await.unwrap();
    let kubo = Kubo::start().await;
    node.connect(Transport::Tcp.pick(kubo.addrs())).await.unwrap();
    let local = node.realm(Realm::Lan).unwrap();
    poll("Kubo in the local table", async || local.table_now().get(&core_id(&kubo.id())).map(|_| ())).await;
    kubo_admits(&kubo, node.peer_id()).await;
    assert!(node.table_now().is_empty(), "it is no peer of the public network");

    let key = multihash_of(&kubo.add(b"from Kubo, in two networks").await);
    let announced = poll("what Kubo announced", async || {
        let found = local.store().providers(&key, 1, now()).await.unwrap();
        found.into_iter().next()
    });
    assert_eq!(libp2p_id(&announced.await.peer.id), kubo.id());
    assert_eq!(node.store().providers(&key, 1, now()).await.unwrap(), []);
    let found = step("providers", node.find_providers(key, 0).collect::<Vec<_>>()).await;
    assert_eq!(found.into_iter().map(|found| found.unwrap().id).collect::<Vec<_>>(), [kubo.id()]);

    let report = node.provide(multihash(7)).await.unwrap();
    assert_eq!(report.holders, [kubo.id()]);
    let keypair = Keypair::generate_ed25519();
    let (key, value) = (pk::key(&keypair.public().to_peer_id()), pk::value(&keypair.public()));
    assert_eq!(node.put_value(key.clone(), value.clone()).await.unwrap().holders, [kubo.id()]);
    let found = node.get_value(key).await.unwrap();
    assert_eq!(found.best.value, value);
}

/// What ours announce, Kubo finds. It connects to the provider, whom it can only know from a record: the provider is
/// a client, so no table holds it. The one who told it is our server, then another Kubo.
#[tokio::test]
async fn kubo_finds_what_kadmos_provides() {
    let (server, kubo) = (kadmos_node::start().await, Kubo::start().await);
    for (hub, addrs) in [(server.peer_id(), server.p2p_addrs()), (kubo.id(), kubo.addrs().to_vec())] {
        let provider = kadmos_node::start_in(Mode::Client).await;
        provider.connect(Transport::Tcp.pick(&addrs)).await.unwrap();
        kadmos_node::admits(&provider, hub).await;
        // Of content that nobody has, so Kubo keeps looking for it.
        let key = multihash(hub.to_bytes()[5]);
        let report = provider.provide(key.clone()).await.unwrap();
        assert_eq!(report.holders, [hub]);

        let seeker = Kubo::start().await;
        seeker.connect(&Transport::Tcp.pick(&addrs)).await;
        let cid = PeerId::from_bytes(&key).unwrap().to_base58();
        tokio::select! {
            _ = seeker.download(&cid) => panic!("nobody has the content"),
            () = poll("Kubo's connection to the provider", async || {
                seeker.peers().await.contains(&provider.peer_id()).then_some(())
            }) => {}
        }
    }
}

/// Ours put a public key and a name on Kubo, which checks them as Go does; they are read from there by hand and by
/// another node of ours.
#[tokio::test]
async fn kubo_keeps_values_of_kadmos() {
    for transport in Transport::ALL {
        let (node, kubo) = pair(transport).await;
        let keypair = Keypair::generate_ed25519();
        let peer = keypair.public().to_peer_id();
        let values = [
            (pk::key(&peer), pk::value(&keypair.public())),
            (ipns::key(&peer), name_record(&keypair, "/ipfs/bafkqaaa", 3)),
        ];
        for (key, value) in values {
            let report = node.put_value(key.clone(), value.clone()).await.unwrap();
            assert_eq!((report.stored, report.holders), (1, vec![kubo.id()]));
            assert_eq!(held_by(&kubo, &key).await, Some(value.clone()));

            let client = kadmos_node::start_in(Mode::Client).await;
            client.connect(transport.pick(kubo.addrs())).await.unwrap();
            kadmos_node::admits(&client, kubo.id()).await;
            let found = client.search_value(key, Some(1)).next().await.unwrap().unwrap();
            assert_eq!(found.value, value);
        }
    }
}

/// A reader of ours that finds a newer record elsewhere sends it to a Kubo that holds an older one.
#[tokio::test]
async fn kadmos_corrects_kubo() {
    let (node, kubo) = pair(Transport::Tcp).await;
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let (older, newer) =
        (name_record(&keypair, "/ipfs/bafkqaaa", 1), name_record(&keypair, "/ipfs/bafkqaab", 2));
    for (id, addrs, value) in
        [(kubo.id(), kubo.addrs(), &older), (node.peer_id(), &node.p2p_addrs()[..], &newer)]
    {
        let raw = RawPeer::start(Role::Client).await;
        raw.dial(&Transport::Tcp.pick(addrs)).await;
        let record = Record { key: key.clone(), value: value.clone() };
        raw.ask(id, &Request::PutValue { record }).await;
    }
    let client = kadmos_node::start_in(Mode::Client).await;
    client.connect(Transport::Tcp.pick(kubo.addrs())).await.unwrap();
    kadmos_node::admits(&client, kubo.id()).await;
    let found = client.get_value(key.clone()).await.unwrap();
    assert_eq!((found.best.value, found.corrected), (newer.clone(), 1));
    poll("the newer record at Kubo", async || {
        (held_by(&kubo, &key).await.as_ref() == Some(&newer)).then_some(())
    })
    .await;
}

/// Kubo publishes its name by itself, a minute after its start: first its public key, which its id does not hold,
/// then a record that it signed. Ours take both and readers find them.
#[tokio::test]
async fn kadmos_keeps_values_of_kubo() {
    let node = kadmos_node::start().await;
    let stopped = Kubo::create(Options { ipns_republish: true, ..Options::default() }).await;
    let public_key = stopped.keypair().public();
    let seed = name_record(stopped.keypair(), "/ipfs/bafkqaaa", 7);
    stopped.seed_ipns(&seed).await;
    let kubo = stopped.run().await;
    joins(&kubo, &node, Transport::Tcp).await;

    let name = ipns::key(&kubo.id());
    let published = poll_within(REPUBLISHED, "Kubo's IPNS record", async || {
        node.store().value(&name, now()).await.unwrap().map(|held| held.record.value)
    })
    .await;
    assert_ne!(published, seed, "signed anew by Kubo");

    let client = kadmos_node::start_in(Mode::Client).await;
    client.connect(Transport::Tcp.pick(&node.p2p_addrs())).await.unwrap();
    kadmos_node::admits(&client, node.peer_id()).await;
    let found = client.get_value(name.clone()).await.unwrap();
    assert_eq!(found.best.value, published);
    let record = ipns::validate(&name, &published, now()).unwrap();
    assert_eq!((record.path().as_deref(), record.sequence), (Some("/ipfs/bafkqaaa"), 7));
    assert!(!record.has_v1);
    let found = client.get_value(pk::key(&kubo.id())).await.unwrap();
    assert_eq!(found.best.value, pk::value(&public_key));
}

/// The main job, with our server between two Kubos that never heard of each other: one announces a file, the other
/// finds the announcement, connects to the first and fetches the file.
#[tokio::test]
async fn kubo_fetches_from_a_kubo_it_learnt_from_kadmos() {
    for (first_by, second_by) in [(Transport::Tcp, Transport::Quic), (Transport::Quic, Transport::Tcp)] {
        let node = kadmos_node::start().await;
        let first = Kubo::start().await;
        joins(&first, &node, first_by).await;
        let content = b"carried by Kadmos".repeat(1_000);
        let cid = first.add(&content).await;
        stores_provider(&node, &multihash_of(&cid), first.id()).await;
        // The second must not find the first in our table, and the first must not connect to the second: Kubos that
        // are connected fetch from each other without asking for providers.
        node.remove_peer(first.id()).await.unwrap();
        let second = Kubo::create(Options { unreachable: true, ..Options::default() }).await.run().await;
        second.connect(&second_by.pick(&node.p2p_addrs())).await;
        // It joined when it finds somebody through our server.
        let bystander = kadmos_node::start_in(Mode::Client).await;
        bystander.connect(Transport::Tcp.pick(&node.p2p_addrs())).await.unwrap();
        poll("a peer found through Kadmos", async || second.find_peer(bystander.peer_id()).await).await;
        assert!(!second.peers().await.contains(&first.id()));
        assert!(node.table_now().get(&core_id(&first.id())).is_none());
        assert_eq!(node.counters().requests_served(MessageKind::GetProviders), 0);

        assert_eq!(second.download(&cid).await, content);
        assert!(second.peers().await.contains(&first.id()));
        assert!(node.counters().requests_served(MessageKind::GetProviders) > 0);
    }
}

/// A node that stops serving tells its peers, and leaves their tables; one that begins enters them.
#[tokio::test]
async fn kubo_notices_a_change_of_mode() {
    let (node, kubo) = pair(Transport::Tcp).await;
    node.set_mode(Mode::Client).await.unwrap();
    let raw = RawPeer::start(Role::Client).await;
    raw.dial(&Transport::Tcp.pick(kubo.addrs())).await;
    poll("an empty table at Kubo", async || {
        let found = raw.ask(kubo.id(), &Request::FindNode { key: multihash(1).into() }).await;
        found.closer().is_empty().then_some(())
    })
    .await;
    node.set_mode(Mode::Server).await.unwrap();
    kubo_admits(&kubo, node.peer_id()).await;
}

/// A Kubo that is gone leaves our table after the second request that fails; lookups go on without it.
#[tokio::test]
async fn a_kubo_that_is_gone_is_evicted() {
    let (node, kubo) = pair(Transport::Tcp).await;
    let other = kadmos_node::start().await;
    other.connect(Transport::Tcp.pick(&node.p2p_addrs())).await.unwrap();
    kadmos_node::admits(&node, other.peer_id()).await;
    let id = core_id(&kubo.id());
    kubo.stop().await;
    let mut lookups = 0;
    while node.table().await.unwrap().get(&id).is_some() {
        lookups += 1;
        assert!(lookups <= 10, "still in the table after {lookups} lookups");
        let closest = step("a lookup", node.closest_peers(multihash(lookups))).await.unwrap();
        assert_eq!(closest.peers.iter().map(|peer| peer.id).collect::<Vec<_>>(), [other.peer_id()]);
    }
}

/// Nearly as many lookups at once as may wait for one peer (64): none fails, and they share a few streams.
#[tokio::test]
async fn many_lookups_at_once_share_streams() {
    for transport in Transport::ALL {
        let (node, kubo) = pair(transport).await;
        let lookups = (0..60).map(|fill| node.closest_peers(multihash(fill)));
        for closest in step("lookups", futures::future::join_all(lookups)).await {
            assert_eq!(closest.unwrap().peers[0].id, kubo.id());
        }
        let opened = node.counters().outbound_streams_opened();
        assert!(opened <= 4, "{opened}");
    }
}

/// What Kubo answers to a GET_VALUE.
async fn held_by(kubo: &Kubo, key: &[u8]) -> Option<bytes::Bytes> {
    let raw = RawPeer::start(Role::Client).await;
    raw.dial(&Transport::Tcp.pick(kubo.addrs())).await;
    match raw.ask(kubo.id(), &Request::GetValue { key: key.to_vec().into() }).await {
        Response::GetValue { record, .. } => record.map(|record| record.value),
        other => panic!("expected a value, got {other:?}"),
    }
}
