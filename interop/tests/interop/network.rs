//! One network of three implementations, joined through a single node of ours.

use std::collections::BTreeSet;

use futures::StreamExt;
use kadmos::{Keypair, Node, ipns};
use kadmos_interop::kubo::Kubo;
use kadmos_interop::rust_libp2p::RustPeer;
use kadmos_interop::{Transport, kadmos_node, poll, step};
use libp2p::PeerId;

use crate::{multihash, multihash_of, name_record};

/// Seven servers. Everyone finds everyone, and what anyone announced; a value reaches all.
#[tokio::test]
async fn three_implementations_are_one_network() {
    let entry = kadmos_node::start().await;
    let mut nodes = vec![entry.clone()];
    for transport in Transport::ALL {
        let node =
            kadmos_node::builder().bootstrap(transport.pick(&entry.p2p_addrs())).start().await.unwrap();
        node.bootstrap().await.unwrap();
        nodes.push(node);
    }
    let (mut kubos, mut rusts) = (Vec::new(), Vec::new());
    for transport in Transport::ALL {
        let kubo = Kubo::start().await;
        kubo.connect(&transport.pick(&entry.p2p_addrs())).await;
        kadmos_node::admits(&entry, kubo.id()).await;
        kubos.push(kubo);
        let rust = RustPeer::start().await;
        rust.connect(&transport.pick(&entry.p2p_addrs())).await;
        kadmos_node::admits(&entry, rust.id()).await;
        rusts.push(rust);
    }
    let all: BTreeSet<PeerId> = nodes
        .iter()
        .map(Node::peer_id)
        .chain(kubos.iter().map(Kubo::id))
        .chain(rusts.iter().map(RustPeer::id))
        .collect();
    assert_eq!(all.len(), 7);
    let but = |id: PeerId| -> BTreeSet<PeerId> { all.iter().copied().filter(|other| *other != id).collect() };

    // Peers: the walk of each ends with all the others.
    for node in &nodes {
        let closest = node.closest_peers(multihash(1)).await.unwrap();
        assert_eq!(closest.peers.iter().map(|peer| peer.id).collect::<BTreeSet<_>>(), but(node.peer_id()));
    }
    for rust in &rusts {
        let closest = rust.closest_peers(multihash(1)).await;
        assert_eq!(closest.iter().map(|peer| peer.peer_id).collect::<BTreeSet<_>>(), but(rust.id()));
    }
    for kubo in &kubos {
        for id in but(kubo.id()) {
            poll(&format!("{id}, found by Kubo"), async || kubo.find_peer(id).await).await;
        }
    }

    // Providers: a key for each, told to whoever its own walk ends with.
    let mut announced = Vec::new();
    for (node, fill) in nodes.iter().zip(0x10..) {
        assert_eq!(node.provide(multihash(fill)).await.unwrap().sent, 6);
        announced.push((multihash(fill), node.peer_id()));
    }
    for (rust, fill) in rusts.iter().zip(0x20..) {
        rust.provide(multihash(fill)).await;
        announced.push((multihash(fill), rust.id()));
    }
    let mut files = Vec::new();
    for (kubo, fill) in kubos.iter().zip(0..) {
        let content = [fill; 1_000];
        let cid = kubo.add(&content).await;
        announced.push((multihash_of(&cid), kubo.id()));
        files.push((cid, content));
    }
    for (key, provider) in &announced {
        for node in nodes.iter().filter(|node| node.peer_id() != *provider) {
            poll(&format!("{provider}, found by Kadmos as a provider"), async || {
                let found = node.find_providers(key.clone(), 1).next().await;
                found.map(|found| assert_eq!(found.unwrap().id, *provider))
            })
            .await;
        }
        for rust in rusts.iter().filter(|rust| rust.id() != *provider) {
            assert_eq!(rust.find_providers(key.clone()).await, [*provider].into());
        }
    }
    for (kubo, (cid, content)) in kubos.iter().rev().zip(&files) {
        assert_eq!(kubo.download(cid).await, content);
    }

    // Values: put by one, held by all, found by all.
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    let value = name_record(&keypair, "/ipfs/bafkqaaa", 1);
    let report = step("a value stored", nodes[1].put_value(key.clone(), value.clone())).await.unwrap();
    assert_eq!(report.holders.into_iter().collect::<BTreeSet<_>>(), but(nodes[1].peer_id()));
    for node in &nodes {
        let found = node.get_value(key.clone()).await.unwrap();
        assert_eq!((found.best.value, found.answers, found.corrected), (value.clone(), 7, 0));
    }
    for rust in &rusts {
        let found = rust.get(key.to_vec()).await;
        assert!(found.iter().all(|(_, held)| *held == value) && found.len() >= 6, "{found:?}");
    }
}
