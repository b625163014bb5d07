//! The main job over real sockets: join, provide and find, put and get, find a peer.

mod common;

use futures::{StreamExt, TryStreamExt};
use kadmos::{Keypair, Node, UnixTime, ipns, pk};

use common::{multihash, network, quic, server, until};

async fn shut_down(nodes: Vec<Node>) {
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_provide_and_find() {
    let nodes = network(2).await;
    let report = nodes[1].provide(multihash(1)).await.unwrap();
    assert_eq!((report.attempted, report.sent, report.holders.len()), (1, 1, 1), "{report:?}");
    let found: Vec<_> = nodes[0].find_providers(multihash(1), 0).try_collect().await.unwrap();
    assert_eq!(found.iter().map(|peer| peer.id).collect::<Vec<_>>(), [nodes[1].peer_id()]);
    assert!(found[0].addrs.contains(&nodes[1].listen_addrs()[0]), "{found:?}");
    assert!(nodes[0].find_providers(multihash(2), 1).next().await.is_none());
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_do_everything() {
    let nodes = network(5).await;
    for (index, node) in nodes.iter().enumerate() {
        let other = &nodes[(index + 2) % nodes.len()];
        let found = node.find_peer(other.peer_id()).await.unwrap();
        assert_eq!(found.id, other.peer_id());
        assert!(found.addrs.contains(&other.listen_addrs()[0]), "{found:?}");

        let key = multihash(index as u8);
        let report = node.provide(key.clone()).await.unwrap();
        assert_eq!(report.sent, 4, "{report:?}");
        let provider = other.find_providers(key.clone(), 1).next().await.unwrap().unwrap();
        assert_eq!(provider.id, node.peer_id());

        let closest = node.closest_peers(key).await.unwrap();
        assert_eq!(closest.peers.len(), 4);
    }
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_are_put_and_got() {
    let nodes = network(4).await;
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let valid_until = UnixTime::from_secs(4_000_000_000);
    for sequence in 1..=2 {
        let value = ipns::create(
            &keypair,
            b"/ipfs/bafkqaaa",
            sequence,
            valid_until,
            std::time::Duration::from_secs(60),
        )
        .unwrap();
        let report = nodes[1].put_value(key.clone(), value.clone()).await.unwrap();
        assert_eq!((report.attempted, report.stored), (3, 3), "{report:?}");
        let found = nodes[3].get_value(key.clone()).await.unwrap();
        assert_eq!(found.best.value, value);
        let values: Vec<_> = nodes[2].search_value(key.clone(), Some(1)).try_collect().await.unwrap();
        assert_eq!(values.last().unwrap().value, value);
    }
    let public = keypair.public();
    let (key, value) = (pk::key(&public.to_peer_id()), pk::value(&public));
    nodes[0].put_value(key.clone(), value.clone()).await.unwrap();
    assert_eq!(nodes[3].get_value(key).await.unwrap().best.value, value);
    shut_down(nodes).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_and_tcp_nodes_find_each_other() {
    let a = server().listen(quic()).start().await.unwrap();
    let over_quic = a.p2p_addrs().into_iter().find(|addr| addr.to_string().contains("quic")).unwrap();
    let b = server().listen(quic()).bootstrap(over_quic).start().await.unwrap();
    b.bootstrap().await.unwrap();
    until("each knows the other", async || a.table_now().len() + b.table_now().len() == 2).await;
    let connections = b.connections().await.unwrap();
    assert!(
        connections.iter().all(|connection| connection.addr.to_string().contains("quic")),
        "{connections:?}"
    );
    b.provide(multihash(9)).await.unwrap();
    assert_eq!(a.find_providers(multihash(9), 1).next().await.unwrap().unwrap().id, b.peer_id());
    shut_down(vec![a, b]).await;
}
