//! Dials and connections as a swarm would tell them.

use kadmos_core::RequestId;
use kadmos_core::message::Request;
use libp2p_swarm::dial_opts::PeerCondition;

use super::*;

const DEADLINE: Timestamp = Timestamp::from_millis(10);

fn key(id: u64) -> RequestKey {
    RequestKey { realm: Realm::Wan, id: RequestId(id) }
}

fn request(id: u64) -> Outgoing {
    Outgoing { key: key(id), request: Request::Ping, deadline: DEADLINE }
}

fn local_request(id: u64) -> Outgoing {
    Outgoing { key: RequestKey { realm: Realm::Lan, id: RequestId(id) }, ..request(id) }
}

fn addr(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}

fn peers() -> Peers {
    Peers::new(64, Some(Realm::Lan))
}

/// What is to be done, with the connection of each dial.
fn effects(peers: &mut Peers) -> (Vec<String>, Vec<ConnectionId>) {
    let (mut texts, mut dials) = (Vec::new(), Vec::new());
    while let Some(effect) = peers.next_effect() {
        texts.push(match effect {
            Effect::Dial(opts) => {
                dials.push(opts.connection_id());
                "dial".to_owned()
            }
            Effect::Notify { event: ToHandler::Send(request), .. } => format!("send {}", request.key.id.0),
            Effect::Notify { event: ToHandler::Cancel(request), .. } => format!("cancel {}", request.id.0),
            Effect::Notify { event: ToHandler::SetMode { mode, .. }, .. } => format!("{mode:?}"),
            Effect::Notify { event: ToHandler::Drain { .. }, .. } => "drain".to_owned(),
            Effect::Failed { request, failure } => format!("{} {}", request.id.0, failure.label()),
        });
    }
    (texts, dials)
}

fn unreachable() -> DialError {
    DialError::Transport(Vec::new())
}

#[test]
fn one_dial_serves_all_requests_for_a_peer() {
    let (mut peers, peer) = (peers(), PeerId::random());
    peers.send(peer, vec![addr(1)], request(1));
    peers.send(peer, vec![addr(1)], request(2));
    let (texts, dials) = effects(&mut peers);
    assert_eq!(texts, ["dial"]);
    assert_eq!(peers.dial_addrs(&peer).cloned().collect::<Vec<_>>(), [addr(1)]);
    assert!(peers.established(peer, dials[0], true).any);
    assert_eq!(effects(&mut peers).0, ["send 1", "send 2"]);
    peers.send(peer, vec![], request(3));
    assert_eq!(effects(&mut peers).0, ["send 3"]);
    assert!(peers.done(key(1)) && !peers.done(key(1)) && !peers.done(key(9)));
    assert!(peers.closed(peer, dials[0]).any);
    assert_eq!(effects(&mut peers).0, ["2 closed", "3 closed"]);
    assert_eq!(peers.in_flight(), 0);
}

#[test]
fn a_failed_dial_fails_its_requests_and_tries_new_addresses_first() {
    let (mut peers, peer) = (peers(), PeerId::random());
    peers.send(peer, vec![addr(1)], request(1));
    let (_, first) = effects(&mut peers);
    peers.send(peer, vec![addr(1), addr(2)], request(2));
    peers.dial_failed(Some(peer), first[0], &unreachable());
    let (texts, second) = effects(&mut peers);
    assert_eq!(texts, ["dial"], "an address was not tried");
    peers.dial_failed(Some(peer), first[0], &unreachable());
    assert!(effects(&mut peers).0.is_empty(), "that one has failed before");
    peers.dial_failed(Some(peer), second[0], &unreachable());
    assert_eq!(effects(&mut peers).0, ["1 unreachable", "2 unreachable"]);
    peers.send(peer, vec![addr(1)], request(3));
    let (_, dials) = effects(&mut peers);
    let denied = DialError::Denied { cause: libp2p_swarm::ConnectionDenied::new("limit") };
    peers.dial_failed(Some(peer), dials[0], &denied);
    assert_eq!(effects(&mut peers).0, ["3 overloaded"], "our limit is not the peer's fault");
    assert!(peers.dials.is_empty() && peers.dialling.is_empty() && peers.deadlines.is_empty());
}

#[test]
fn anothers_dial_is_waited_for_and_does_not_replace_ours() {
    let (mut peers, peer) = (peers(), PeerId::random());
    let foreign = ConnectionId::new_unchecked(usize::MAX);
    let condition = DialError::DialPeerConditionFalse(PeerCondition::DisconnectedAndNotDialing);
    peers.send(peer, vec![addr(1)], request(1));
    let (_, dials) = effects(&mut peers);
    peers.dial_failed(Some(peer), dials[0], &condition);
    assert!(effects(&mut peers).0.is_empty());
    peers.dial_failed(Some(peer), foreign, &unreachable());
    let (texts, dials) = effects(&mut peers);
    assert_eq!(texts, ["dial"], "the other did not know our address");
    peers.dial_failed(Some(peer), foreign, &unreachable());
    assert!(effects(&mut peers).0.is_empty(), "ours goes on");
    peers.dial_failed(Some(peer), dials[0], &condition);
    assert!(peers.established(peer, foreign, true).any);
    assert_eq!(effects(&mut peers).0, ["send 1"]);
    assert!(peers.dialling.is_empty());
}

#[test]
fn dials_are_bounded_and_wait_their_turn() {
    let mut peers = peers();
    let ids: Vec<_> = (0..DIALS_MAX + 2).map(|_| PeerId::random()).collect();
    for (index, peer) in ids.iter().enumerate() {
        peers.send(*peer, vec![], request(index as u64));
    }
    let (texts, dials) = effects(&mut peers);
    assert_eq!(texts.len(), DIALS_MAX);
    peers.established(ids[0], dials[0], true);
    assert_eq!(effects(&mut peers).0, ["send 0", "dial"]);
    // The last one gives up before its turn, and is not dialled.
    peers.cancel(key(DIALS_MAX as u64 + 1));
    peers.dial_failed(Some(ids[1]), dials[1], &unreachable());
    assert_eq!(effects(&mut peers).0, ["1 unreachable"]);
    assert!(peers.waiting.is_empty());
}

#[test]
fn requests_for_one_peer_are_bounded() {
    let (mut peers, peer) = (Peers::new(2, None), PeerId::random());
    for id in 0..3 {
        peers.send(peer, vec![], request(id));
    }
    assert_eq!(effects(&mut peers).0, ["dial", "2 overloaded"]);
    assert_eq!(peers.in_flight(), 2);
}

#[test]
fn a_request_that_waits_for_a_dial_times_out() {
    let (mut peers, peer) = (peers(), PeerId::random());
    peers.send(peer, vec![], request(1));
    let (_, dials) = effects(&mut peers);
    assert_eq!(peers.next_deadline(), Some(DEADLINE));
    peers.expire(Timestamp::from_millis(9));
    assert!(effects(&mut peers).0.is_empty());
    peers.expire(DEADLINE);
    assert_eq!(effects(&mut peers).0, ["1 timed_out"]);
    assert_eq!(peers.next_deadline(), None);
    // The dial goes on; a request that comes meanwhile uses it.
    peers.send(peer, vec![], request(2));
    assert!(effects(&mut peers).0.is_empty());
    peers.established(peer, dials[0], true);
    assert_eq!(effects(&mut peers).0, ["send 2"]);
    assert_eq!(peers.next_deadline(), None, "now it is the handler's");
}

#[test]
fn requests_spread_over_connections_and_die_with_theirs() {
    let (mut peers, peer) = (peers(), PeerId::random());
    let [a, b] = [1, 2].map(ConnectionId::new_unchecked);
    assert!(peers.established(peer, a, true).any);
    assert!(!peers.established(peer, b, true).any);
    for id in 1..=4 {
        peers.send(peer, vec![], request(id));
    }
    effects(&mut peers);
    peers.notify_all(|| ToHandler::SetMode { realm: Realm::Wan, mode: kadmos_core::Mode::Client });
    assert_eq!(effects(&mut peers).0, ["Client", "Client"]);
    peers.cancel(key(1));
    assert_eq!(effects(&mut peers).0, ["cancel 1"]);
    assert!(!peers.done(key(1)));
    assert!(!peers.closed(peer, a).any);
    assert_eq!(effects(&mut peers).0, ["3 closed"]);
    assert!(!peers.closed(peer, a).any, "it is gone already");
    assert!(peers.closed(peer, b).any);
    assert_eq!(effects(&mut peers).0, ["2 closed", "4 closed"]);
    assert_eq!(peers.in_flight(), 0);
}

#[test]
fn a_peer_that_was_never_tried_is_not_to_blame() {
    let mut peers = peers();
    for id in 0..=DIALS_MAX as u64 {
        peers.send(PeerId::random(), vec![addr(1)], request(id));
    }
    let (texts, _) = effects(&mut peers);
    assert_eq!(texts.len(), DIALS_MAX, "the last one waits for a place");
    peers.expire(DEADLINE);
    let (texts, _) = effects(&mut peers);
    let blamed = |text: &&String| text.ends_with(RequestFailure::TimedOut.label());
    assert_eq!(texts.iter().filter(blamed).count(), DIALS_MAX);
    assert!(texts.contains(&format!("{DIALS_MAX} {}", RequestFailure::Overloaded.label())), "{texts:?}");
    assert_eq!(peers.in_flight(), 0);
}

#[test]
fn a_line_of_dials_that_nobody_waits_for_is_forgotten() {
    let mut peers = peers();
    for id in 0..20_000 {
        peers.send(PeerId::random(), vec![addr(1)], request(id));
    }
    peers.expire(DEADLINE);
    assert!(peers.waiting.len() <= 2 * DIALS_MAX + DIALS_MAX, "{}", peers.waiting.len());
    assert_eq!(peers.in_flight(), 0);
}

#[test]
fn addresses_to_dial_are_bounded() {
    let (mut peers, peer) = (peers(), PeerId::random());
    for id in 0..10 {
        let addrs = (0..60).map(|n| addr(1 + 100 * id as u16 + n)).collect();
        peers.send(peer, addrs, request(id));
    }
    assert_eq!(peers.dial_addrs(&peer).count(), DIAL_ADDRS_MAX);
}

#[test]
fn requests_of_the_local_realm_go_over_local_connections_only() {
    let (mut peers, peer) = (peers(), PeerId::random());
    let [far, near] = [usize::MAX, usize::MAX - 1].map(ConnectionId::new_unchecked);
    peers.send(peer, vec![], local_request(1));
    assert_eq!(effects(&mut peers).0, ["1 unreachable"], "it has no local address");
    // A dial at a local address that another answers, from elsewhere.
    peers.send(peer, vec![addr(1)], local_request(2));
    let (_, dials) = effects(&mut peers);
    assert!(peers.dials_locally(&peer, dials[0]) && !peers.dials_locally(&peer, far));
    peers.send(peer, vec![], request(3));
    assert!(!peers.dials_locally(&peer, dials[0]), "the wide realm may use any address");
    assert_eq!(peers.established(peer, far, false), Edge { any: true, local: false });
    assert_eq!(effects(&mut peers).0, ["2 unreachable", "send 3"]);
    peers.send(peer, vec![addr(1)], local_request(4));
    assert_eq!(effects(&mut peers).0, ["4 unreachable"]);

    assert_eq!(peers.established(peer, near, true), Edge { any: false, local: true });
    for id in 5..8 {
        peers.send(peer, vec![], local_request(id));
    }
    assert_eq!(effects(&mut peers).0, ["send 5", "send 6", "send 7"]);
    assert_eq!(peers.closed(peer, near), Edge { any: false, local: true });
    assert_eq!(effects(&mut peers).0, ["5 closed", "6 closed", "7 closed"]);
    assert_eq!(peers.closed(peer, far), Edge { any: true, local: false });
    assert_eq!(peers.in_flight(), 0);
}

#[test]
fn the_same_number_in_two_realms_is_two_requests() {
    let (mut peers, peer) = (peers(), PeerId::random());
    peers.established(peer, ConnectionId::new_unchecked(1), true);
    peers.send(peer, vec![], request(1));
    peers.send(peer, vec![], local_request(1));
    effects(&mut peers);
    assert!(peers.done(local_request(1).key) && !peers.done(local_request(1).key));
    assert_eq!(peers.in_flight(), 1);
    assert!(peers.done(key(1)));
}
