//! Kadmos and libp2p-kad.

use std::num::NonZeroUsize;
use std::time::Duration;

use futures::StreamExt;
use kadmos::{Keypair, Mode, Node, ipns, pk};
use kadmos_core::message::MessageKind;
use kadmos_core::record::ProviderRecord;
use kadmos_interop::rust_libp2p::RustPeer;
use kadmos_interop::{Transport, kadmos_node, peer_info, poll, step};
use libp2p::PeerId;

use crate::{multihash, name_record, now, same_addrs, stores_provider};

/// A server of ours and one of libp2p-kad that are in each other's table; the latter dialled.
async fn pair(transport: Transport) -> (Node, RustPeer) {
    let (node, peer) = (kadmos_node::start().await, RustPeer::start().await);
    joins(&peer, &node, transport).await;
    (node, peer)
}

async fn joins(peer: &RustPeer, node: &Node, transport: Transport) {
    peer.connect(&transport.pick(&node.p2p_addrs())).await;
    kadmos_node::admits(node, peer.id()).await;
    peer.admits(node.peer_id()).await;
}

/// A client of ours that knows only this peer.
async fn client_of(peer: &RustPeer, transport: Transport) -> Node {
    let client = kadmos_node::start_in(Mode::Client).await;
    client.connect(transport.pick(peer.addrs())).await.unwrap();
    kadmos_node::admits(&client, peer.id()).await;
    client
}

/// Whoever dials, on either transport, both end in the other's table: ours although libp2p-kad answers nothing when
/// it is asked for itself.
#[tokio::test]
async fn tables_admit_each_other() {
    for transport in Transport::ALL {
        let (node, _peer) = pair(transport).await;
        let connections = node.connections().await.unwrap();
        assert!(connections.iter().all(|connection| transport.is_of(&connection.addr)), "{connections:?}");

        let (node, peer) = (kadmos_node::start().await, RustPeer::start().await);
        node.connect(transport.pick(peer.addrs())).await.unwrap();
        kadmos_node::admits(&node, peer.id()).await;
        peer.admits(node.peer_id()).await;
    }
}

#[tokio::test]
async fn peers_are_found_through_each_other() {
    for transport in Transport::ALL {
        let (node, first) = pair(transport).await;
        let second = RustPeer::start().await;
        joins(&second, &node, transport).await;
        let found = first.closest_peers(second.id().to_bytes()).await;
        let found = found.iter().find(|info| info.peer_id == second.id()).expect("our server knows it");
        same_addrs(&found.addrs, second.addrs());

        let client = client_of(&first, transport).await;
        let found = client.find_peer(node.peer_id()).await.unwrap();
        same_addrs(&found.addrs, &node.p2p_addrs());
        let found = client.find_peer(second.id()).await.unwrap();
        same_addrs(&found.addrs, second.addrs());
    }
}

#[tokio::test]
async fn providers_are_found_both_ways() {
    for transport in Transport::ALL {
        let (node, peer) = pair(transport).await;
        let (ours, theirs) = (multihash(1), multihash(2));
        assert_eq!(node.provide(ours.clone()).await.unwrap().holders, [peer.id()]);
        same_addrs(&peer.stores_provider(ours.clone(), node.peer_id()).await, &node.p2p_addrs());
        peer.provide(theirs.clone()).await;
        same_addrs(&stores_provider(&node, &theirs, peer.id()).await, peer.addrs());

        // Through the other kind, by one who did not announce.
        let third = RustPeer::start().await;
        joins(&third, &node, transport).await;
        assert!(third.find_providers(theirs.clone()).await.contains(&peer.id()));
        assert!(third.find_providers(ours.clone()).await.contains(&node.peer_id()));
        let client = client_of(&peer, transport).await;
        for (key, provider) in [(ours, node.peer_id()), (theirs, peer.id())] {
            let found = step("providers", client.find_providers(key, 0).collect::<Vec<_>>()).await;
            let found: Vec<PeerId> = found.into_iter().map(|found| found.unwrap().id).collect();
            assert_eq!(found, [provider]);
        }
    }
}

/// libp2p-kad keeps and gives any value; ours check. Its records carry fields of its own (publisher, ttl).
#[tokio::test]
async fn values_go_both_ways() {
    for transport in Transport::ALL {
        let (node, peer) = pair(transport).await;
        let keypair = Keypair::generate_ed25519();
        let id = keypair.public().to_peer_id();
        let name = name_record(&keypair, "/ipfs/bafkqaaa", 1);
        for (key, value) in [(pk::key(&id), pk::value(&keypair.public())), (ipns::key(&id), name)] {
            let report = node.put_value(key.clone(), value.clone()).await.unwrap();
            assert_eq!((report.stored, report.holders), (1, vec![peer.id()]));
            assert_eq!(peer.stores(key.to_vec()).await, value);
            // Ours kept a copy, and libp2p-kad asks beyond its own.
            let found = peer.get(key.to_vec()).await;
            assert!(found.contains(&(Some(node.peer_id()), value.to_vec())), "{found:?}");
            let client = client_of(&peer, transport).await;
            assert_eq!(client.get_value(key).await.unwrap().best.value, value);
        }

        let keypair = Keypair::generate_ed25519();
        let id = keypair.public().to_peer_id();
        let name = name_record(&keypair, "/ipfs/bafkqaaa", 1);
        for (key, value) in [(pk::key(&id), pk::value(&keypair.public())), (ipns::key(&id), name)] {
            peer.put(key.to_vec(), value.to_vec(), NonZeroUsize::MIN).await;
            let held = node.store().value(&key, now()).await.unwrap();
            assert_eq!(held.expect("it was echoed").record.value, value);
        }
    }
}

/// A value that libp2p-kad holds but that is not valid is never given to a user of ours, and never kept.
#[tokio::test]
async fn invalid_values_of_libp2p_kad_are_refused() {
    let (node, peer) = pair(Transport::Tcp).await;
    let key = pk::key(&PeerId::random());
    peer.put_refused(key.to_vec(), b"no public key".to_vec()).await;
    assert_eq!(peer.stores(key.to_vec()).await, b"no public key");
    assert!(node.store().value(&key, now()).await.unwrap().is_none());
    let client = client_of(&peer, Transport::Tcp).await;
    let refused = client.get_value(key).await.unwrap_err();
    assert!(matches!(refused, kadmos::GetValueError::NotFound { .. }), "{refused:?}");
}

/// Ours reuse a stream of libp2p-kad, which opens one for each request of its own and closes it.
#[tokio::test]
async fn streams_are_reused_or_ended() {
    for transport in Transport::ALL {
        let (node, peer) = pair(transport).await;
        let before = node.counters().outbound_streams_opened();
        for fill in 0..20 {
            node.closest_peers(multihash(fill)).await.unwrap();
            node.provide(multihash(fill)).await.unwrap();
        }
        assert!(node.counters().outbound_streams_opened() - before <= 1);
        assert!(node.counters().outbound_streams_reused() >= 39);

        // More than the 32 streams that one connection may have at once.
        let before = node.counters().requests_served(MessageKind::FindNode);
        // libp2p-kad may add lookups of its own.
        for fill in 0..40 {
            assert_eq!(peer.closest_peers(multihash(fill)).await.len(), 1);
        }
        assert!(node.counters().requests_served(MessageKind::FindNode) - before >= 40);
        poll("the end of all streams", async || (node.counters().inbound_streams() == 0).then_some(())).await;
    }
}

/// Many lookups at once, each way, on one connection: libp2p-kad takes and opens no more than 32 streams.
#[tokio::test]
async fn many_lookups_at_once_all_end() {
    for transport in Transport::ALL {
        let (node, peer) = pair(transport).await;
        let lookups = (0..60).map(|fill| node.closest_peers(multihash(fill)));
        for closest in step("lookups", futures::future::join_all(lookups)).await {
            assert_eq!(closest.unwrap().peers[0].id, peer.id());
        }
        let lookups = (0..100).map(|fill| peer.closest_peers(multihash(fill)));
        for closest in step("lookups", futures::future::join_all(lookups)).await {
            assert_eq!(closest.iter().map(|found| found.peer_id).collect::<Vec<_>>(), [node.peer_id()]);
        }
    }
}

/// With its default settings libp2p-kad reads no answer above 16 KiB, and takes the server for failed. A hundred
/// providers with many addresses would be one, so we name as many as fit.
#[tokio::test]
async fn libp2p_kad_can_read_every_provider_answer() {
    let (node, peer) = pair(Transport::Tcp).await;
    for (fill, addrs, all) in [(1, 4, true), (2, 20, false)] {
        let key = multihash(fill);
        let providers: Vec<_> = (0..100).map(|_| provider_record(&key, addrs)).collect();
        for added in node.store().add_providers(providers, now()).await {
            added.unwrap();
        }
        let found = peer.find_providers(key.clone()).await;
        assert!(if all { found.len() == 100 } else { (50..100).contains(&found.len()) }, "{}", found.len());
        // Our client is given the same answer.
        let client = kadmos_node::start_in(Mode::Client).await;
        client.connect(Transport::Tcp.pick(&node.p2p_addrs())).await.unwrap();
        kadmos_node::admits(&client, node.peer_id()).await;
        assert!(client.find_providers(key, 0).count().await >= found.len().min(50));
    }
}

/// Some peer provides `key` at so many addresses.
fn provider_record(key: &[u8], addrs: u16) -> ProviderRecord {
    let addrs: Vec<_> =
        (1..=addrs).map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).collect();
    let expires = now() + Duration::from_secs(3_600);
    ProviderRecord {
        key: key.to_vec().into(),
        provider: peer_info(PeerId::random(), &addrs),
        received: now(),
        expires,
        addrs_expire: expires,
    }
}
