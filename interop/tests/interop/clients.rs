//! What the clients put on the wire, seen by a server that speaks it by hand.

use std::collections::BTreeSet;

use futures::StreamExt;
use kadmos::Mode;
use kadmos_core::PeerInfo;
use kadmos_core::message::{MessageKind, Request, Response};
use kadmos_interop::kubo::Kubo;
use kadmos_interop::raw::{Asked, RawPeer, Role, Server};
use kadmos_interop::rust_libp2p::RustPeer;
use kadmos_interop::{Transport, kadmos_node, libp2p_id, peer_info, poll};
use libp2p::PeerId;

use crate::multihash;

/// Answers everything; every FIND_NODE with `closer`.
fn answer(closer: Vec<PeerInfo>) -> impl Fn(PeerId, &Request) -> Option<Response> + Clone {
    move |_, request| match request {
        Request::FindNode { .. } => Some(Response::FindNode { closer: closer.clone() }),
        Request::GetProviders { .. } => {
            Some(Response::GetProviders { providers: vec![], closer: closer.clone() })
        }
        Request::GetValue { .. } => {
            Some(Response::GetValue { record: None, received: None, closer: closer.clone() })
        }
        Request::PutValue { record } => Some(Response::PutValue { record: Some(record.clone()) }),
        Request::AddProvider { .. } => None,
        Request::Ping => Some(Response::Ping),
    }
}

/// A server that names itself to everyone.
async fn server() -> Server {
    let raw = RawPeer::start(Role::Server).await;
    let own = peer_info(raw.id(), raw.addrs());
    raw.serve(answer(vec![own]))
}

/// Reads requests up to the first of this kind.
async fn asked_until(server: &mut Server, kind: MessageKind) -> Vec<Asked> {
    let mut all = Vec::new();
    loop {
        all.push(server.asked().await);
        if all[all.len() - 1].request.kind() == kind {
            return all;
        }
    }
}

fn streams(asked: &[Asked]) -> BTreeSet<usize> {
    asked.iter().map(|asked| asked.stream).collect()
}

/// Kubo's table holds a server that answers a FIND_NODE for its own id with a peer, and not one that answers with
/// none.
#[tokio::test]
async fn kubo_admits_servers_that_find_themselves() {
    let kubo = Kubo::start().await;
    let mut blank = RawPeer::start(Role::Server).await.serve(answer(vec![]));
    kubo.connect(&Transport::Tcp.pick(blank.addrs())).await;
    assert_eq!(blank.asked().await.request, Request::FindNode { key: blank.id().to_bytes().into() });

    let mut good = server().await;
    kubo.connect(&Transport::Tcp.pick(good.addrs())).await;
    assert_eq!(good.asked().await.request, Request::FindNode { key: good.id().to_bytes().into() });

    let raw = RawPeer::start(Role::Client).await;
    raw.dial(&Transport::Tcp.pick(kubo.addrs())).await;
    let table = poll("a peer in Kubo's table", async || {
        let found = raw.ask(kubo.id(), &Request::FindNode { key: multihash(1).into() }).await;
        (!found.closer().is_empty()).then(|| found.closer().to_vec())
    })
    .await;
    assert_eq!(table.iter().map(|info| libp2p_id(&info.peer.id)).collect::<Vec<_>>(), [good.id()]);
}

/// From joining to announcing, provider records without an answer among the requests.
#[tokio::test]
async fn kubo_sends_everything_on_one_stream() {
    for transport in Transport::ALL {
        let kubo = Kubo::start().await;
        let mut server = server().await;
        kubo.connect(&transport.pick(server.addrs())).await;
        server.asked().await;
        kubo.add(b"some content").await;
        let mut asked = asked_until(&mut server, MessageKind::AddProvider).await;
        // Looking for a peer that nobody knows asks the server once more.
        kubo.find_peer(PeerId::random()).await;
        asked.extend(asked_until(&mut server, MessageKind::FindNode).await);
        assert_eq!(streams(&asked), BTreeSet::from([0]), "{asked:?}");
        assert!(asked.len() >= 4, "{asked:?}");
        let provider = asked.iter().find_map(|asked| match &asked.request {
            Request::AddProvider { providers, .. } => Some(providers.clone()),
            _ => None,
        });
        let provider = &provider.expect("asked until there was one")[..];
        assert_eq!(provider.len(), 1);
        assert_eq!(libp2p_id(&provider[0].peer.id), kubo.id());
        assert_eq!(provider[0].addrs.len(), 2, "loopback addresses too: {provider:?}");
    }
}

#[tokio::test]
async fn rust_libp2p_opens_a_stream_for_each_request() {
    let peer = RustPeer::start().await;
    let mut server = server().await;
    peer.connect(&Transport::Tcp.pick(server.addrs())).await;
    peer.admits(server.id()).await;
    peer.find_providers(multihash(1)).await;
    peer.provide(multihash(1)).await;
    let asked = asked_until(&mut server, MessageKind::AddProvider).await;
    assert!(asked.len() >= 3, "{asked:?}");
    assert_eq!(streams(&asked).len(), asked.len(), "{asked:?}");
}

/// From joining through lookups and a provider record, which has no answer, to more lookups.
#[tokio::test]
async fn kadmos_sends_everything_on_one_stream() {
    for transport in Transport::ALL {
        let node = kadmos_node::start().await;
        let mut server = server().await;
        node.connect(transport.pick(server.addrs())).await.unwrap();
        kadmos_node::admits(&node, server.id()).await;
        for fill in 0..5 {
            assert!(node.find_providers(multihash(fill), 0).collect::<Vec<_>>().await.is_empty());
            assert_eq!(node.provide(multihash(fill)).await.unwrap().sent, 1);
        }
        node.closest_peers(multihash(9)).await.unwrap();
        let mut asked = Vec::new();
        for _ in 0..5 {
            asked.extend(asked_until(&mut server, MessageKind::AddProvider).await);
        }
        asked.extend(asked_until(&mut server, MessageKind::FindNode).await);
        assert_eq!(streams(&asked), BTreeSet::from([0]), "{asked:?}");
        assert!(asked.len() >= 12, "{asked:?}");
    }
}

/// Some servers (litep2p before 0.16, py-libp2p) answer one request a stream and close it.
#[tokio::test]
async fn kadmos_copes_with_servers_that_answer_once_a_stream() {
    let mut raw = RawPeer::start(Role::Server).await;
    let own = peer_info(raw.id(), raw.addrs());
    let (id, addrs) = (raw.id(), raw.addrs().to_vec());
    tokio::spawn(async move {
        loop {
            let (_, mut stream) = raw.accept().await;
            if let Some(request) = stream.request().await {
                stream.respond(&request, answer(vec![own.clone()])(id, &request)).await;
            }
            // Dropping the stream ends it.
        }
    });
    let node = kadmos_node::start_in(Mode::Client).await;
    node.connect(Transport::Tcp.pick(&addrs)).await.unwrap();
    kadmos_node::admits(&node, id).await;
    for fill in 0..10 {
        let found = node.closest_peers(multihash(fill)).await.unwrap();
        assert_eq!(found.peers.iter().map(|peer| peer.id).collect::<Vec<_>>(), [id]);
        assert_eq!(node.provide(multihash(fill)).await.unwrap().sent, 1);
    }
}
