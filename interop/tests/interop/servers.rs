//! One script of requests, put to every server by hand. Where the servers differ, [`Server`] says how.

use kadmos::{Keypair, ipns, pk};
use kadmos_core::PeerInfo;
use kadmos_core::message::{MessageKind, Record, Request, Response};
use kadmos_interop::kubo::Kubo;
use kadmos_interop::raw::{RawPeer, RawStream, Role};
use kadmos_interop::rust_libp2p::RustPeer;
use kadmos_interop::{Transport, kadmos_node, peer_info, step};
use libp2p::{Multiaddr, PeerId};

use crate::{multihash, name_record};

/// The server under test, and what it does its own way.
#[derive(Clone, Debug)]
struct Server {
    id: PeerId,
    addrs: Vec<Multiaddr>,
    /// Answers a FIND_NODE for its own id with itself.
    names_itself: bool,
    /// Answers a PING.
    answers_ping: bool,
    /// Names a provider to that provider itself.
    names_asker: bool,
    /// Looks past the first provider of an ADD_PROVIDER for one that is the sender.
    reads_all_providers: bool,
    /// Refuses values that its validators reject, and older ones than it holds.
    validates: bool,
}

#[tokio::test]
async fn kadmos_serves() {
    let node = kadmos_node::start().await;
    let server = Server {
        id: node.peer_id(),
        addrs: node.p2p_addrs(),
        names_itself: true,
        answers_ping: true,
        names_asker: true,
        reads_all_providers: true,
        validates: true,
    };
    script(server).await;
}

#[tokio::test]
async fn kubo_serves() {
    let kubo = Kubo::start().await;
    let server = Server {
        id: kubo.id(),
        addrs: kubo.addrs().to_vec(),
        names_itself: true,
        answers_ping: true,
        names_asker: true,
        reads_all_providers: true,
        validates: true,
    };
    script(server).await;
}

#[tokio::test]
async fn rust_libp2p_serves() {
    let peer = RustPeer::start().await;
    let server = Server {
        id: peer.id(),
        addrs: peer.addrs().to_vec(),
        names_itself: false,
        answers_ping: false,
        names_asker: false,
        reads_all_providers: false,
        validates: false,
    };
    script(server).await;
}

async fn script(server: Server) {
    for transport in Transport::ALL {
        let raw = RawPeer::start(Role::Client).await;
        raw.dial(&transport.pick(&server.addrs)).await;
        many_requests_share_a_stream(&raw, &server).await;
        itself(&raw, &server).await;
        ping(&raw, &server).await;
        providers(&raw, &server, transport).await;
        public_key(&raw, &server).await;
        name(&raw, &server).await;
        unknown_type(&raw, &server).await;
    }
}

/// 60 requests of three kinds, sent before the first answer is read, are answered in order on their one stream.
async fn many_requests_share_a_stream(raw: &RawPeer, server: &Server) {
    let mut stream = raw.open(server.id).await;
    let requests: Vec<_> = (0..60u8)
        .map(|index| match index % 3 {
            0 => Request::FindNode { key: multihash(index).into() },
            1 => Request::GetProviders { key: multihash(index).into() },
            _ => Request::GetValue { key: pk::key(&PeerId::random()) },
        })
        .collect();
    for request in &requests {
        stream.send(request).await.unwrap();
    }
    for request in &requests {
        stream.receive(request.kind()).await;
    }
}

/// Go asks a peer for its own id before it admits it, and an empty answer keeps the peer out.
async fn itself(raw: &RawPeer, server: &Server) {
    let found = closer(raw.ask(server.id, &Request::FindNode { key: server.id.to_bytes().into() }).await);
    if server.names_itself {
        assert_eq!(ids(&found), [server.id]);
        assert_eq!(sorted(&found[0]), sorted(&peer_info(server.id, &server.addrs)));
    } else {
        assert_eq!(ids(&found), []);
    }
}

async fn ping(raw: &RawPeer, server: &Server) {
    let mut stream = raw.open(server.id).await;
    stream.send(&Request::Ping).await.unwrap();
    if server.answers_ping {
        assert_eq!(stream.receive(MessageKind::Ping).await, Response::Ping);
    } else {
        assert_ended(&mut stream).await;
    }
}

/// A provider record has no answer; the next answer on the stream comes after it was stored.
async fn providers(raw: &RawPeer, server: &Server, transport: Transport) {
    let key = multihash(if transport == Transport::Tcp { 0xa1 } else { 0xa2 });
    let add = |providers: Vec<PeerInfo>| Request::AddProvider { key: key.clone().into(), providers };
    let own = peer_info(raw.id(), raw.addrs());
    let stranger = peer_info(PeerId::random(), &["/ip4/127.0.0.1/tcp/9".parse().unwrap()]);

    let mut stream = raw.open(server.id).await;
    let both = [stranger.clone(), own.clone()];
    stream
        .send(&add(both.into_iter().skip(usize::from(!server.reads_all_providers)).collect()))
        .await
        .unwrap();
    stream.send(&add(vec![stranger.clone()])).await.unwrap();
    let ask = Request::GetProviders { key: key.clone().into() };
    let found = providers_in(stream.ask(&ask).await);
    assert_eq!(ids(&found), if server.names_asker { vec![raw.id()] } else { vec![] });

    let other = RawPeer::start(Role::Client).await;
    other.dial(&transport.pick(&server.addrs)).await;
    let found = providers_in(other.ask(server.id, &ask).await);
    assert_eq!(ids(&found), [raw.id()]);
    assert_eq!(sorted(&found[0]), sorted(&own));

    // One that names no address, and of whom no address is known, is of no use to anybody.
    let mut stream = other.open(server.id).await;
    stream.send(&add(vec![peer_info(other.id(), &[])])).await.unwrap();
    stream.ask(&ask).await;
    let found = ids(&providers_in(raw.ask(server.id, &ask).await));
    assert!(!found.contains(&other.id()), "{found:?}");
}

async fn public_key(raw: &RawPeer, server: &Server) {
    let public_key = Keypair::generate_ed25519().public();
    let (key, value) = (pk::key(&public_key.to_peer_id()), pk::value(&public_key));
    let mut stream = raw.open(server.id).await;
    let record = Record { key: key.clone(), value: value.clone() };
    let echo = stream.ask(&Request::PutValue { record: record.clone() }).await;
    assert_eq!(echo, Response::PutValue { record: Some(record) });
    assert_eq!(value_in(stream.ask(&Request::GetValue { key }).await), Some(value.clone()));

    // Another's key.
    let record = Record { key: pk::key(&PeerId::random()), value };
    put_refused(&mut stream, record, server).await;
}

/// Of two records of a name, the one with the higher sequence number stays.
async fn name(raw: &RawPeer, server: &Server) {
    let keypair = Keypair::generate_ed25519();
    let key = ipns::key(&keypair.public().to_peer_id());
    // Made once: a record names the second until which it is valid.
    let records = [(0, 'a'), (1, 'b'), (2, 'c')]
        .map(|(sequence, last)| name_record(&keypair, &format!("/ipfs/bafkqaa{last}"), sequence));
    let record = |sequence: usize| records[sequence].clone();
    let mut stream = raw.open(server.id).await;
    for sequence in [0, 2] {
        let record = Record { key: key.clone(), value: record(sequence) };
        let echo = stream.ask(&Request::PutValue { record: record.clone() }).await;
        assert_eq!(echo, Response::PutValue { record: Some(record) });
    }
    put_refused(&mut stream, Record { key: key.clone(), value: record(1) }, server).await;
    let held = value_in(raw.ask(server.id, &Request::GetValue { key: key.clone() }).await);
    assert_eq!(held, Some(record(if server.validates { 2 } else { 1 })));

    let mut forged = record(2).to_vec();
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let mut stream = raw.open(server.id).await;
    put_refused(&mut stream, Record { key, value: forged.into() }, server).await;
}

/// No implementation has an answer that says "no": a server that refuses ends the stream.
async fn put_refused(stream: &mut RawStream, record: Record, server: &Server) {
    stream.send(&Request::PutValue { record: record.clone() }).await.unwrap();
    if server.validates {
        assert_ended(stream).await;
    } else {
        let echo = stream.receive(MessageKind::PutValue).await;
        assert_eq!(echo, Response::PutValue { record: Some(record) });
    }
}

/// A type that nobody knows ends its stream, and only that: the others and the connection go on.
async fn unknown_type(raw: &RawPeer, server: &Server) {
    let mut other = raw.open(server.id).await;
    let mut stream = raw.open(server.id).await;
    stream.write(&[2, 0x08, 6]).await.unwrap(); // two bytes: type = 6
    assert_ended(&mut stream).await;
    other.ask(&Request::FindNode { key: multihash(1).into() }).await;
    raw.ask(server.id, &Request::FindNode { key: multihash(1).into() }).await;
}

async fn assert_ended(stream: &mut RawStream) {
    let end = step("the end of the stream", stream.frame()).await;
    assert!(!matches!(end, Ok(Some(_))), "an answer where none was expected: {end:?}");
}

fn ids(peers: &[PeerInfo]) -> Vec<PeerId> {
    peers.iter().map(|info| kadmos_interop::libp2p_id(&info.peer.id)).collect()
}

fn sorted(info: &PeerInfo) -> Vec<&[u8]> {
    let mut addrs: Vec<_> = info.addrs.iter().collect();
    addrs.sort();
    addrs
}

fn closer(response: Response) -> Vec<PeerInfo> {
    response.closer().to_vec()
}

fn providers_in(response: Response) -> Vec<PeerInfo> {
    match response {
        Response::GetProviders { providers, .. } => providers,
        other => panic!("expected providers, got {other:?}"),
    }
}

fn value_in(response: Response) -> Option<bytes::Bytes> {
    match response {
        Response::GetValue { record, .. } => record.map(|record| record.value),
        other => panic!("expected a value, got {other:?}"),
    }
}
