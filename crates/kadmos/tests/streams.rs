//! Streams over real sockets: reuse, time-outs, garbage, bounds, in both directions.

mod common;

use std::time::Duration;

use common::raw::{RawPeer, answer_empty, framed, read_frame, read_request, write};
use common::{PROTOCOL, multihash, server, until};
use futures::AsyncReadExt;
use kadmos::core::event::Refusal;
use kadmos::core::limits::INBOUND_STREAMS_MAX;
use kadmos::core::message::{MessageKind, Request};
use kadmos::{Config, Mode, Node, OperationError, PeerAddrs, SessionLimits};

/// A node and a raw peer that is connected to it.
async fn pair(node: Node) -> (Node, RawPeer) {
    let raw = RawPeer::start().await;
    node.connect(PeerAddrs::new(raw.id, vec![raw.addr.clone()]).to_string().parse().unwrap()).await.unwrap();
    (node, raw)
}

fn find(byte: u8) -> Vec<u8> {
    framed(&Request::FindNode { key: multihash(byte).into() })
}

/// Waits for the peer's end, or reset, of a stream that may have more to say before.
async fn ends(mut stream: libp2p::Stream) {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_stream_carries_many_requests_of_a_peer() {
    let (node, mut raw) = pair(server().start().await.unwrap()).await;
    let mut stream = raw.open(node.peer_id()).await.unwrap();
    for round in 0..3 {
        let burst: Vec<u8> = (0..100).flat_map(find).collect();
        write(&mut stream, &burst).await;
        for _ in 0..100 {
            read_frame(&mut stream).await.unwrap();
        }
        assert_eq!(node.counters().requests_served(MessageKind::FindNode), 100 * (round + 1));
        assert_eq!(node.counters().inbound_streams(), 1);
    }
    drop(stream);
    until("the stream is gone", async || node.counters().inbound_streams() == 0).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_its_stream_and_harms_nothing_else() {
    let (node, mut raw) = pair(server().start().await.unwrap()).await;
    let mut good = raw.open(node.peer_id()).await.unwrap();
    let garbage: [(&[u8], Refusal); 6] = [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f], Refusal::FrameTooLarge), // 2^32 - 1
        (&[0xff; 64], Refusal::Malformed),
        (&[3, 0xff, 0xff, 0xff], Refusal::Malformed),
        (&[2, 8, 99], Refusal::UnknownType),
        (&[4, 8, 0, 18, 0], Refusal::KeyLength),
        (&framed(&Request::GetProviders { key: vec![7; 200].into() }), Refusal::KeyLength),
    ];
    for (bytes, code) in garbage {
        let before = node.counters().refusals(code);
        let mut bad = raw.open(node.peer_id()).await.unwrap();
        write(&mut bad, bytes).await;
        ends(bad).await;
        assert_eq!(node.counters().refusals(code), before + 1, "{bytes:?}");
        write(&mut good, &find(1)).await;
        assert!(read_frame(&mut good).await.is_some(), "{bytes:?}");
    }
    // A frame that is cut short by the end of the stream.
    let before = node.counters().refusals(Refusal::Malformed);
    let mut cut = raw.open(node.peer_id()).await.unwrap();
    write(&mut cut, &find(1)[..3]).await;
    futures::AsyncWriteExt::close(&mut cut).await.unwrap();
    ends(cut).await;
    assert_eq!(node.counters().refusals(Refusal::Malformed), before + 1);
    assert_eq!(node.connections().await.unwrap().len(), 1, "the connection stands");
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_streams_of_peers_end() {
    let limits =
        SessionLimits { stream_idle_timeout: Duration::from_millis(100), ..SessionLimits::default() };
    let (node, mut raw) = pair(server().session_limits(limits).start().await.unwrap()).await;
    let mut stream = raw.open(node.peer_id()).await.unwrap();
    write(&mut stream, &find(1)).await;
    assert!(read_frame(&mut stream).await.is_some());
    write(&mut stream, &find(1)[..4]).await;
    assert!(read_frame(&mut stream).await.is_none());
    assert_eq!(node.counters().refusals(Refusal::StreamIdle), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_has_so_many_streams_and_no_more() {
    let (node, mut raw) = pair(server().start().await.unwrap()).await;
    let mut streams = Vec::new();
    for _ in 0..INBOUND_STREAMS_MAX {
        let mut stream = raw.open(node.peer_id()).await.unwrap();
        write(&mut stream, &find(1)).await;
        assert!(read_frame(&mut stream).await.is_some());
        streams.push(stream);
    }
    let mut extra = raw.open(node.peer_id()).await.unwrap();
    write(&mut extra, &find(1)).await;
    assert!(read_frame(&mut extra).await.is_none());
    assert_eq!(node.counters().refusals(Refusal::TooManyStreams), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_offers_nothing_and_a_change_of_mode_ends_streams() {
    let (node, mut raw) = pair(server().start().await.unwrap()).await;
    let mut stream = raw.open(node.peer_id()).await.unwrap();
    write(&mut stream, &find(1)).await;
    assert!(read_frame(&mut stream).await.is_some());
    node.set_mode(Mode::Client).await.unwrap();
    assert!(read_frame(&mut stream).await.is_none());
    until("the protocol is not offered", async || raw.open(node.peer_id()).await.is_err()).await;
    node.set_mode(Mode::Server).await.unwrap();
    until("it is offered again", async || raw.open(node.peer_id()).await.is_ok()).await;
    node.shutdown().await;
}

/// A node that has a raw peer in its table, and the stream on which it asked.
async fn asked(mut config: Config, limits: SessionLimits) -> (Node, RawPeer, libp2p::Stream) {
    config.lookup.deadline = Duration::from_secs(20);
    let node = server().config(config).session_limits(limits).start().await.unwrap();
    let mut raw = RawPeer::start().await;
    node.add_peer(PeerAddrs::new(raw.id, vec![raw.addr.clone()])).await.unwrap();
    let mut stream = raw.accept().await;
    assert!(matches!(read_request(&mut stream).await, Some(Request::FindNode { .. })), "the probe");
    answer_empty(&mut stream).await;
    until("the peer is in the table", async || node.table().await.unwrap().len() == 1).await;
    (node, raw, stream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_requests_share_a_stream() {
    let (node, mut raw, mut stream) = asked(Config::private(PROTOCOL), SessionLimits::default()).await;
    for byte in 0..20 {
        let (closest, ()) = tokio::join!(node.closest_peers(multihash(byte)), async {
            let request = read_request(&mut stream).await;
            assert_eq!(request, Some(Request::FindNode { key: multihash(byte).into() }));
            answer_empty(&mut stream).await;
        });
        assert_eq!(closest.unwrap().peers.len(), 1);
    }
    assert!(raw.accepted_now().is_none());
    assert_eq!(node.counters().outbound_streams_opened(), 1);
    assert_eq!(node.counters().outbound_streams_reused(), 20);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_stream_makes_a_second_one_and_answers_do_not_mix() {
    let (node, mut raw, mut first) = asked(Config::private(PROTOCOL), SessionLimits::default()).await;
    let slow = tokio::spawn({
        let node = node.clone();
        async move { node.closest_peers(multihash(1)).await }
    });
    assert!(read_request(&mut first).await.is_some());
    let quick = tokio::spawn({
        let node = node.clone();
        async move { node.closest_peers(multihash(2)).await }
    });
    let mut second = raw.accept().await;
    assert_eq!(read_request(&mut second).await, Some(Request::FindNode { key: multihash(2).into() }));
    answer_empty(&mut second).await;
    assert_eq!(quick.await.unwrap().unwrap().peers.len(), 1);
    assert!(!slow.is_finished());
    answer_empty(&mut first).await;
    assert_eq!(slow.await.unwrap().unwrap().peers.len(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_without_an_answer_resets_its_stream() {
    let mut config = Config::private(PROTOCOL);
    config.lookup.request_timeout = Duration::from_millis(300);
    config.table.failures_max = 100;
    let (node, mut raw, mut stream) = asked(config, SessionLimits::default()).await;
    let lookup = tokio::spawn({
        let node = node.clone();
        async move { node.closest_peers(multihash(1)).await }
    });
    assert!(read_request(&mut stream).await.is_some());
    assert!(read_request(&mut stream).await.is_none(), "reset");
    let error = lookup.await.unwrap().unwrap_err();
    assert_eq!(error, OperationError::NoAnswers { asked: 1 }.into());
    // The late answer is nobody's, and the next request has a stream of its own.
    answer_empty(&mut stream).await;
    let (closest, ()) = tokio::join!(node.closest_peers(multihash(2)), async {
        let mut fresh = raw.accept().await;
        assert_eq!(read_request(&mut fresh).await, Some(Request::FindNode { key: multihash(2).into() }));
        answer_empty(&mut fresh).await;
    });
    assert_eq!(closest.unwrap().peers.len(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_once_per_stream_is_asked_on_many() {
    let (node, mut raw, stream) = asked(Config::private(PROTOCOL), SessionLimits::default()).await;
    let mut old = Some(stream);
    for byte in 0..6 {
        let (closest, ()) = tokio::join!(node.closest_peers(multihash(byte)), async {
            // It takes the request on the old stream, and lets that go without an answer.
            let mut stream = old.take().unwrap();
            if node.counters().outbound_reuse_broken() < 3 {
                assert!(read_request(&mut stream).await.is_some());
            }
            drop(stream);
            let mut fresh = raw.accept().await;
            assert!(read_request(&mut fresh).await.is_some());
            answer_empty(&mut fresh).await;
            old = Some(fresh);
        });
        assert_eq!(closest.unwrap().peers.len(), 1, "no request failed");
    }
    assert_eq!(node.counters().outbound_reuse_broken(), 3);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_of_another_kind_fails_its_request_only() {
    let mut config = Config::private(PROTOCOL);
    config.table.failures_max = 100;
    let (node, _raw, mut stream) = asked(config, SessionLimits::default()).await;
    let (closest, ()) = tokio::join!(node.closest_peers(multihash(1)), async {
        assert!(read_request(&mut stream).await.is_some());
        write(&mut stream, &[2, 8, 5]).await; // PING
        assert!(read_frame(&mut stream).await.is_none());
    });
    assert_eq!(closest.unwrap_err(), OperationError::NoAnswers { asked: 1 }.into());
    assert_eq!(node.counters().refusals(Refusal::WrongResponse), 1);
    assert_eq!(node.connections().await.unwrap().len(), 1);
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_streams_do_not_hold_a_connection() {
    let limits = kadmos::ConnectionLimits {
        idle_timeout: Duration::from_millis(200),
        ..kadmos::ConnectionLimits::default()
    };
    let a = server().connection_limits(limits).start().await.unwrap();
    let b = server().connection_limits(limits).bootstrap(a.p2p_addrs().remove(0)).start().await.unwrap();
    b.bootstrap().await.unwrap();
    assert_eq!(b.connections().await.unwrap().len(), 1);
    // b's stream is parked for 50 s, a's side of it waits for 60 s; b lets the connection go.
    until("the connection is gone", async || b.connections().await.unwrap().is_empty()).await;
    assert_eq!(b.closest_peers(multihash(1)).await.unwrap().peers.len(), 1, "and is made again");
    a.shutdown().await;
    b.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_a_peer_keep_its_connection_and_an_open_stream_does_not() {
    let idle_timeout = Duration::from_millis(300);
    let limits = kadmos::ConnectionLimits { idle_timeout, ..kadmos::ConnectionLimits::default() };
    let (node, mut raw) = pair(server().connection_limits(limits).start().await.unwrap()).await;
    let mut stream = raw.open(node.peer_id()).await.unwrap();
    let started = std::time::Instant::now();
    while started.elapsed() < 4 * idle_timeout {
        write(&mut stream, &find(1)).await;
        assert!(read_frame(&mut stream).await.is_some(), "after {:?}", started.elapsed());
    }
    assert_eq!(node.counters().inbound_streams(), 1);
    assert!(read_frame(&mut stream).await.is_none(), "the connection is closed");
    until("and gone", async || node.connections().await.unwrap().is_empty()).await;
    node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_strangers_leave_room_for_our_own() {
    let limits = kadmos::ConnectionLimits {
        established: 2,
        established_incoming: 1,
        ..kadmos::ConnectionLimits::default()
    };
    let node = server().connection_limits(limits).start().await.unwrap();
    let (first, second) = (server().start().await.unwrap(), server().start().await.unwrap());
    let addr = node.p2p_addrs().remove(0);
    first.connect(addr.clone()).await.unwrap();
    until("it is connected", async || node.connections().await.unwrap().len() == 1).await;
    // The second is let in by its own side, and refused by the other.
    let _ = second.connect(addr).await;
    until("it is refused", async || second.connections().await.unwrap().is_empty()).await;
    assert_eq!(node.connect(second.p2p_addrs().remove(0)).await, Ok(second.peer_id()));
    let third = server().start().await.unwrap();
    assert_eq!(node.connect(third.p2p_addrs().remove(0)).await, Err(kadmos::ConnectError::Limited));
    for node in [node, first, second, third] {
        node.shutdown().await;
    }
}
