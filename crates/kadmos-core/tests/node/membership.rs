//! Who enters the table, who stays, and how a node joins.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::{BootstrapError, RequestFailure};
use kadmos_core::event::{Eviction, Rejection};
use kadmos_core::limits::{
    LOST_ASKED_EVERY, NEIGHBOUR_ASKED_AFTER, NEIGHBOURS_HOLD_MAX, PROBES_DIALLED_MIN, PROBES_MAX,
    PROBES_WAITING_MAX, SILENT_PROBES_MAX,
};
use kadmos_core::message::{Request, Response};
use kadmos_core::operation::SourceKind;
use kadmos_core::{
    AddrList, AddressPolicy, Config, Event, Input, Mode, Operation, Outcome, PeerFilter, PeerInfo, Purpose,
};

use crate::rig::{Rig, Sent, nearest, peer, private};

fn identified(info: &PeerInfo, serves: bool) -> Input {
    Input::Identified { peer: info.peer.id, serves, addrs: info.addrs.clone() }
}

fn contains(rig: &Rig, info: &PeerInfo) -> bool {
    rig.node.table().contains(&info.peer)
}

#[test]
fn a_server_enters_after_it_has_answered_for_its_own_id() {
    let mut rig = Rig::new(private());
    let stranger = peer(1);
    rig.input(identified(&stranger, true));
    assert!(!contains(&rig, &stranger), "what a peer says of itself is no proof");
    let probe = rig.sent.pop_front().expect("a probe");
    assert_eq!(probe.to, stranger);
    let key = Bytes::copy_from_slice(stranger.peer.id.as_bytes());
    assert_eq!(probe.message, Request::FindNode { key });
    rig.answer(&probe, Response::FindNode { closer: vec![stranger.clone()] });
    assert!(contains(&rig, &stranger));
    assert!(
        rig.events
            .iter()
            .any(|event| matches!(event, Event::PeerAdmitted { peer, .. } if *peer == stranger.peer))
    );
}

#[test]
fn a_server_that_does_not_answer_stays_out() {
    let mut rig = Rig::new(private());
    rig.input(identified(&peer(1), true));
    let probe = rig.sent.pop_front().expect("a probe");
    rig.fail(&probe, RequestFailure::TimedOut);
    assert!(!contains(&rig, &peer(1)));
    let reason = Rejection::ProbeFailed;
    assert!(rig.events.contains(&Event::PeerRejected { peer: peer(1).peer, reason }));
}

#[test]
fn clients_never_enter_and_servers_that_stop_serving_leave() {
    let mut rig = Rig::with_peers(private(), 3);
    rig.input(identified(&peer(9), false));
    assert!(rig.sent.is_empty() && !contains(&rig, &peer(9)));
    rig.input(identified(&peer(1), false));
    assert!(!contains(&rig, &peer(1)));
    assert!(rig.events.contains(&Event::PeerEvicted { peer: peer(1).peer, reason: Eviction::NotServer }));
}

#[test]
fn a_peer_that_lost_the_protocol_leaves_at_once() {
    let mut rig = Rig::with_peers(private(), 3);
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
    let sent = rig.sent.pop_front().expect("a request");
    rig.fail(&sent, RequestFailure::Unsupported);
    assert!(!contains(&rig, &sent.to));
}

#[test]
fn one_failure_is_forgiven_and_our_own_overload_is_not_held_against_a_peer() {
    let mut rig = Rig::with_peers(private(), 1);
    for failure in [RequestFailure::Overloaded, RequestFailure::Overloaded, RequestFailure::TimedOut] {
        rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
        let sent = rig.sent.pop_front().expect("a request");
        rig.fail(&sent, failure);
        assert!(contains(&rig, &peer(0)), "{failure:?}");
    }
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
    let sent = rig.sent.pop_front().expect("a request");
    rig.fail(&sent, RequestFailure::TimedOut);
    assert!(!contains(&rig, &peer(0)), "two in a row evict");
}

#[test]
fn probes_are_bounded() {
    let mut rig = Rig::new(Config { table: private().table, ..private() });
    let strangers = (PROBES_MAX + PROBES_WAITING_MAX + 10) as u32;
    for n in 0..strangers {
        rig.input(identified(&peer(n), true));
        rig.input(identified(&peer(n), true)); // a second hello changes nothing
    }
    assert_eq!(rig.sent.len(), PROBES_MAX);
    let full = |event: &&Event| matches!(event, Event::PeerRejected { reason: Rejection::ProbesFull, .. });
    assert_eq!(rig.events.iter().filter(full).count(), 2 * 10);
    rig.answer_all(strangers);
    assert_eq!(rig.node.running_requests(), 0);
    assert!(rig.node.table().view().len() > 40);
}

#[test]
fn a_peer_being_asked_needs_no_probe() {
    let mut rig = Rig::with_peers(private(), 1);
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
    let sent = rig.sent.pop_front().expect("a request");
    rig.answer(&sent, Response::FindNode { closer: vec![peer(5)] });
    assert_eq!(rig.sent.len(), 1);
    rig.input(identified(&peer(5), true));
    assert_eq!(rig.sent.len(), 1);
    let sent = rig.sent.pop_front().expect("the request");
    rig.answer(&sent, Response::FindNode { closer: vec![] });
    assert!(contains(&rig, &peer(5)));
}

#[test]
fn identify_updates_the_addresses_of_a_table_peer() {
    let mut rig = Rig::with_peers(private(), 1);
    let moved = PeerInfo::new(peer(0).peer, peer(77).addrs);
    rig.input(identified(&moved, true));
    assert_eq!(rig.node.table().view().get(&moved.peer.id), Some(&moved));
    let silent = PeerInfo::new(peer(0).peer, AddrList::EMPTY);
    rig.input(identified(&silent, true));
    assert_eq!(rig.node.table().view().get(&moved.peer.id), Some(&moved), "no news is no change");
}

#[test]
fn joining_goes_through_the_bootstrap_peers_and_fills_the_buckets() {
    let mut rig = Rig::new(private());
    rig.input(Input::AddBootstrapPeers {
        kind: SourceKind::Configured,
        peers: vec![peer(0), peer(1), peer(2), peer(0)],
    });
    let id = rig.start(Operation::Bootstrap);
    let sources: Vec<_> = rig.sent.iter().map(|sent| sent.to.clone()).collect();
    assert_eq!(sources, [peer(0), peer(1), peer(2)], "all at once, each once");
    rig.answer_all(400);
    let Outcome::Bootstrap(Ok(report)) = rig.ended(id) else { panic!("{:?}", rig.ended(id)) };
    assert_eq!((report.tried, report.answered, report.peers), (3, 3, rig.node.table().view().len()));
    let own_id = peer(u32::MAX).peer.id;
    for info in nearest(400, own_id.as_bytes(), 20) {
        assert!(contains(&rig, &info), "the own neighbourhood is complete");
    }
    let buckets: Vec<_> = rig.node.table().view().buckets().map(|(_, bucket)| bucket.len()).collect();
    assert!(buckets[0] == 20 && buckets[1] == 20 && buckets[2] == 20, "{buckets:?}");
    assert_eq!(
        report.buckets,
        usize::from(rig.node.table().edge(20)) + 1,
        "deeper ones are the own lookup's"
    );
}

#[test]
fn a_silent_bootstrap_peer_delays_nobody() {
    let mut rig = Rig::new(private());
    rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(0), peer(1)] });
    let id = rig.start(Operation::Bootstrap);
    let _silent = rig.sent.pop_front().expect("the request to peer 0");
    rig.answer_all(100);
    let Outcome::Bootstrap(Ok(report)) = rig.ended(id) else { panic!() };
    assert_eq!((report.tried, report.answered), (2, 1));
}

#[test]
fn a_bootstrap_peer_that_names_nobody_decides_nothing() {
    let mut rig = Rig::new(private());
    rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(0), peer(1)] });
    let id = rig.start(Operation::Bootstrap);
    let fast = rig.sent.pop_front().expect("the request to peer 0");
    let slow = rig.sent.pop_front().expect("the request to peer 1");
    rig.answer(&fast, Response::FindNode { closer: vec![] });
    rig.answer_all(0); // peer 0 names nobody, whatever it is asked
    assert_eq!(rig.outcome(id), None, "another may know more");
    rig.answer(&slow, Response::FindNode { closer: nearest(400, b"x", 20) });
    rig.answer_all(400);
    let Outcome::Bootstrap(Ok(report)) = rig.ended(id) else { panic!("{:?}", rig.ended(id)) };
    assert_eq!((report.tried, report.answered), (2, 2));
    assert!(report.peers > 40, "{report:?}");
}

#[test]
fn a_bootstrap_peer_that_falls_silent_decides_nothing() {
    let mut rig = Rig::new(private());
    rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(0), peer(1)] });
    let id = rig.start(Operation::Bootstrap);
    let fast = rig.sent.pop_front().expect("the request to peer 0");
    let slow = rig.sent.pop_front().expect("the request to peer 1");
    rig.answer(&fast, Response::FindNode { closer: vec![] });
    let mute = rig.sent.pop_front().expect("the lookup of our own id");
    rig.fail(&mute, RequestFailure::TimedOut);
    assert_eq!(rig.outcome(id), None);
    rig.answer(&slow, Response::FindNode { closer: vec![peer(7)] });
    rig.answer_all(400);
    assert!(matches!(rig.ended(id), Outcome::Bootstrap(Ok(report)) if report.peers > 40));
}

#[test]
fn a_bootstrap_peer_with_a_private_address_leads_into_a_public_realm() {
    let mut config = private();
    config.protocol.addresses = AddressPolicy::Public;
    let mut rig = Rig::new(config);
    rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(0)] });
    let id = rig.start(Operation::Bootstrap);
    let source = rig.sent.pop_front().expect("the request to peer 0");
    let addr: &[u8] = &[4, 1, 2, 3, 4, 6, 0, 80];
    let public = PeerInfo::new(peer(5).peer, AddrList::collect(&peer(5).peer.id, [addr]));
    rig.answer(&source, Response::FindNode { closer: vec![public.clone()] });
    rig.answer_all(0);
    assert!(matches!(rig.ended(id), Outcome::Bootstrap(Ok(_))), "{:?}", rig.ended(id));
    assert!(contains(&rig, &public) && !contains(&rig, &peer(0)));
}

#[test]
fn a_peer_is_admitted_with_the_addresses_it_told_itself() {
    let mut rig = Rig::with_peers(private(), 1);
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
    let liar = rig.sent.pop_front().expect("a request");
    let lie = PeerInfo::new(peer(5).peer, peer(4_000).addrs);
    rig.answer(&liar, Response::FindNode { closer: vec![lie] });
    rig.input(identified(&peer(5), true));
    let sent = rig.sent.pop_front().expect("the request");
    rig.answer(&sent, Response::FindNode { closer: vec![] });
    assert_eq!(rig.node.table().view().get(&peer(5).peer.id), Some(&peer(5)));
}

#[test]
fn joining_without_or_with_unreachable_sources_says_so() {
    let mut rig = Rig::new(private());
    let id = rig.start(Operation::Bootstrap);
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::NoSources)));
    rig.input(Input::AddBootstrapPeers {
        kind: SourceKind::Configured,
        peers: vec![peer(0), peer(1), peer(u32::MAX)],
    });
    let id = rig.start(Operation::Bootstrap);
    for sent in rig.sent.drain(..).collect::<Vec<Sent>>() {
        rig.fail(&sent, RequestFailure::Unreachable);
    }
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::Unreachable { tried: 2 })));
}

fn refreshed(rig: &Rig) -> Vec<u16> {
    let refreshed = rig.events.iter().filter_map(|event| match event {
        Event::BucketRefreshed { prefix_len, .. } => Some(*prefix_len),
        _ => None,
    });
    refreshed.collect()
}

#[test]
fn stale_buckets_are_refreshed_in_time() {
    let mut config = private();
    config.health.recovery = false; // 40 of 400 is a small table, which health would do something about
    config.table.probe_unproven_after = Duration::from_secs(3_600); // nor is it about those who are silent
    let mut rig = Rig::with_peers(config, 40);
    rig.start(Operation::Bootstrap);
    rig.answer_all(400);
    rig.advance(NEIGHBOURS_HOLD_MAX);
    rig.answer_all(400);
    rig.updates.clear();
    for info in nearest(400, peer(u32::MAX).peer.id.as_bytes(), 20) {
        assert!(contains(&rig, &info), "the own neighbourhood is complete");
    }
    // While it is young, it looks near itself only: after two minutes, and after four more.
    for [pause, rest] in [[115, 5], [235, 5]] {
        rig.events.clear();
        rig.advance(Duration::from_secs(pause));
        assert!(rig.sent.is_empty());
        rig.advance(Duration::from_secs(rest));
        rig.answer_all(400);
        assert_eq!(refreshed(&rig), [rig.node.table().edge(20)]);
    }
    rig.events.clear();
    rig.advance(Duration::from_secs(470));
    assert!(rig.sent.is_empty());
    rig.advance(Duration::from_secs(10));
    rig.answer_all(400);
    let mut buckets = refreshed(&rig);
    buckets.sort_unstable();
    let peers: Vec<_> = rig.node.table().view().buckets().map(|(_, bucket)| bucket.len()).collect();
    let around = |prefix_len: usize| peers[prefix_len..].iter().sum::<usize>() < 20;
    let outside = (0..peers.len()).take_while(|prefix_len| !around(*prefix_len)).count() as u16;
    assert!(outside >= 3, "{peers:?}");
    assert_eq!(buckets, (0..outside).collect::<Vec<_>>());
    assert!(rig.updates.is_empty(), "upkeep is nobody's operation");
    assert_eq!(rig.node.running_operations(), 0);
}

#[test]
fn a_table_that_has_become_small_is_filled_through_the_bootstrap_peers() {
    let mut rig = Rig::with_peers(private(), 2);
    rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(50)] });
    rig.advance(Duration::from_secs(120));
    assert_eq!(rig.sent.front().map(|sent| sent.to.clone()), Some(peer(50)));
    rig.answer_all(400);
    assert!(rig.node.table().view().len() > 40);
    rig.advance(Duration::from_secs(119));
    assert!(rig.sent.is_empty());
}

#[test]
fn a_new_neighbour_is_asked_who_else_is_near_and_those_it_names_are_probed() {
    let mut rig = Rig::with_peers(private(), 40);
    let own_id = peer(u32::MAX).peer.id;
    let near = nearest(4_000, own_id.as_bytes(), 60);
    let mut strangers = near.iter().filter(|info| !contains(&rig, info)).cloned();
    let (newcomer, friend, dead) = (strangers.next(), strangers.next(), strangers.next());
    let [newcomer, friend, dead] = [newcomer, friend, dead].map(|info| info.expect("many"));
    let far = nearest(4_000, own_id.as_bytes(), 4_000).pop().expect("many");
    rig.input(identified(&newcomer, true));
    let probe = rig.sent.pop_front().expect("a probe");
    rig.answer(&probe, Response::FindNode { closer: vec![newcomer.clone()] });
    rig.advance(NEIGHBOUR_ASKED_AFTER);
    let question = rig.sent.pop_front().expect("a question");
    let own = Request::FindNode { key: Bytes::copy_from_slice(own_id.as_bytes()) };
    assert_eq!((&question.to, &question.message), (&newcomer, &own));
    let named = vec![friend.clone(), dead.clone(), far, newcomer.clone()];
    rig.answer(&question, Response::FindNode { closer: named });
    let probes: Vec<_> = rig.sent.drain(..).collect();
    assert_eq!(probes.iter().map(|sent| &sent.to).collect::<Vec<_>>(), [&friend, &dead], "the near, the new");
    rig.answer(&probes[0], Response::FindNode { closer: vec![friend.clone()] });
    rig.fail(&probes[1], RequestFailure::TimedOut);
    rig.advance(NEIGHBOUR_ASKED_AFTER);
    let question = rig.sent.pop_front().expect("the friend is a neighbour, too");
    assert_eq!((&question.to, &question.message), (&friend, &own));
    rig.answer(&question, Response::FindNode { closer: vec![dead.clone(), newcomer] });
    assert!(rig.sent.is_empty(), "who has just not answered is not asked because it is named again");
}

#[test]
fn those_who_are_connected_are_probed_before_any_that_must_be_dialled() {
    let mut rig = Rig::new(private());
    for n in 0..200 {
        rig.input(Input::AddPeer(peer(n)));
    }
    assert_eq!(rig.sent.len(), PROBES_MAX);
    for n in 200..203 {
        rig.input(Input::Connected { peer: peer(n).peer.id, remote: Some([10, 0, 0, 1].into()) });
        rig.input(identified(&peer(n), true));
    }
    let asked: Vec<_> = rig.sent.drain(..).collect();
    for probe in &asked[..3] {
        rig.answer(probe, Response::FindNode { closer: vec![probe.to.clone()] });
    }
    // The rate for dials is used up; it is none for those who are here.
    let next: Vec<_> = rig.sent.iter().map(|sent| sent.to.clone()).collect();
    assert_eq!(next, [peer(200), peer(201), peer(202)]);
}

#[test]
fn connections_that_answer_nothing_leave_places_to_those_who_must_be_dialled() {
    let mut rig = Rig::new(private());
    for n in 100..200 {
        rig.input(Input::Connected { peer: peer(n).peer.id, remote: Some([10, 0, 0, 1].into()) });
        rig.input(identified(&peer(n), true));
    }
    assert_eq!(rig.sent.len(), PROBES_MAX - PROBES_DIALLED_MIN);
    rig.input(Input::AddPeer(peer(3)));
    assert_eq!(rig.sent.back().map(|sent| &sent.to), Some(&peer(3)));
}

#[test]
fn a_place_that_becomes_free_is_given_to_the_next_silent_peer_at_once() {
    let mut config = private();
    config.health.recovery = false;
    let mut rig = Rig::with_peers(config, 40);
    rig.input(Input::NetworkChanged);
    rig.advance(Duration::from_secs(20));
    let node = &rig.node;
    let mut probes: Vec<_> =
        rig.sent.drain(..).filter(|sent| node.purpose(sent.id) == Some(Purpose::Probe)).collect();
    assert_eq!(probes.len(), SILENT_PROBES_MAX, "as many as may be under way");
    let first = probes.remove(0);
    rig.answer(&first, Response::FindNode { closer: vec![first.to.clone()] });
    rig.advance(Duration::from_secs(1));
    let next = rig.sent.iter().filter(|sent| rig.node.purpose(sent.id) == Some(Purpose::Probe)).count();
    assert_eq!(next, 1, "not only when the next look is due");
}

#[test]
fn a_peer_that_was_lost_is_asked_again_and_who_comes_back_brings_the_others() {
    let mut config = private();
    config.health.recovery = false; // the subject is who asks when nobody else does
    let mut rig = Rig::with_peers(config, 40);
    let gone: Vec<_> = table_of(&rig).into_iter().take(8).collect();
    for _ in 0..2 {
        // Table peers that fail twice, while others answer, leave.
        for info in &gone {
            rig.start(Operation::FindPeer { id: info.peer.id });
            while let Some(sent) = rig.sent.pop_front() {
                match gone.contains(&sent.to) {
                    true => rig.fail(&sent, RequestFailure::Unreachable),
                    false => rig.answer(&sent, Response::FindNode { closer: vec![] }),
                }
            }
        }
    }
    assert!(gone.iter().all(|info| !contains(&rig, info)), "they left");
    // One is asked a minute, of those in turn by chance, and is still away.
    rig.advance(LOST_ASKED_EVERY);
    let asked: Vec<_> = rig.sent.drain(..).filter(|sent| gone.contains(&sent.to)).collect();
    assert_eq!(asked.len(), 1);
    rig.fail(&asked[0], RequestFailure::Unreachable);
    assert!(!rig.sent.iter().any(|sent| gone.contains(&sent.to)));
    // Now all are back: one tells, and the others follow at once.
    rig.advance(LOST_ASKED_EVERY);
    let mut back = BTreeSet::new();
    while let Some(sent) = rig.sent.pop_front() {
        back.extend(gone.contains(&sent.to).then_some(sent.to.peer.id));
        rig.answer(&sent, Response::FindNode { closer: vec![sent.to.clone()] });
    }
    assert_eq!(back.len(), gone.len());
    assert!(gone.iter().all(|info| contains(&rig, info)));
}

fn table_of(rig: &Rig) -> Vec<PeerInfo> {
    rig.node.table().view().iter().cloned().collect()
}

/// Starts a lookup that nobody answers: everybody asked fails after ten seconds.
fn fail_a_lookup(rig: &mut Rig, name: u32) {
    rig.start(Operation::ClosestPeers { key: Bytes::copy_from_slice(&name.to_be_bytes()) });
    rig.advance(Duration::from_secs(10));
    while let Some(sent) = rig.sent.pop_front() {
        rig.fail(&sent, RequestFailure::TimedOut);
    }
}

#[test]
fn when_nobody_answers_it_is_us_and_nobody_leaves() {
    let mut rig = Rig::with_peers(private(), 40);
    rig.advance(Duration::from_secs(60));
    let before = table_of(&rig);
    for name in 0..20 {
        fail_a_lookup(&mut rig, name);
    }
    assert_eq!(table_of(&rig), before);
    let suspected = |event: &&Event| matches!(event, Event::OutageSuspected { .. });
    assert_eq!(rig.events.iter().filter(suspected).count(), 1);
    // Probes go on, less and less often, until somebody answers.
    rig.sent.clear();
    rig.advance(Duration::from_secs(61));
    let probe = rig.sent.pop_front().expect("a probe a minute at least");
    assert!(rig.sent.len() < 8, "{}", rig.sent.len());
    rig.answer(&probe, Response::FindNode { closer: vec![probe.to.clone()] });
    let over = rig.events.iter().filter(|event| matches!(event, Event::OutageOver { .. }));
    assert_eq!(over.count(), 1);
    rig.answer_all(40);
    let evicted = rig.events.iter().filter_map(|event| match event {
        Event::PeerEvicted { peer, reason } => Some((peer, *reason)),
        _ => None,
    });
    let evicted: Vec<_> = evicted.collect();
    // Who is of more use may take somebody's place in the refresh that follows.
    assert!(
        evicted.iter().all(|(_, reason)| *reason == Eviction::Replaced) && evicted.len() <= 2,
        "{evicted:?}"
    );
    for info in before.iter().filter(|info| evicted.iter().all(|(gone, _)| **gone != info.peer)) {
        let standing = rig.node.table().standing(&info.peer).expect("still there");
        assert_eq!(standing.failures(), 0, "all is forgiven");
    }
}

#[test]
fn when_the_best_answer_the_others_are_gone() {
    let mut rig = Rig::with_peers(private(), 40);
    rig.advance(Duration::from_secs(60));
    let alive: Vec<_> = table_of(&rig).into_iter().take(8).collect();
    let dead = |info: &PeerInfo| !alive.contains(info);
    for name in 0..60 {
        rig.start(Operation::ClosestPeers { key: Bytes::copy_from_slice(&u32::to_be_bytes(name)) });
        rig.advance(Duration::from_secs(1));
        while let Some(sent) = rig.sent.pop_front() {
            if dead(&sent.to) {
                rig.fail(&sent, RequestFailure::TimedOut);
            } else {
                rig.answer(&sent, Response::FindNode { closer: vec![sent.to.clone()] });
            }
        }
    }
    let left = table_of(&rig).into_iter().filter(dead).count();
    assert_eq!(left, 0, "a table of which four fifths are dead still gets rid of them");
    assert!(alive.iter().all(|info| contains(&rig, info)));
    assert!(!rig.events.iter().any(|event| matches!(event, Event::OutageSuspected { .. })));
}

#[test]
fn silent_peers_are_asked_one_by_one_the_stalest_first() {
    let mut config = private();
    config.table.probe_unproven_after = Duration::from_secs(120);
    let mut rig = Rig::with_peers(config, 1);
    for n in 1..10 {
        rig.advance(Duration::from_secs(5));
        rig.input(Input::AddPeer(peer(n)));
        rig.answer_all(10);
    }
    rig.let_neighbours_tell();
    let mut stalest = table_of(&rig);
    stalest.sort_by_key(|info| rig.node.table().standing(&info.peer).expect("in the table").last_answer());
    rig.input(Input::NetworkChanged);
    rig.input(Input::Timeout);
    let mut asked = Vec::new();
    for _ in 0..30 {
        let probes: Vec<_> = rig.sent.drain(..).collect();
        for sent in probes {
            if rig.node.purpose(sent.id) == Some(Purpose::Probe) {
                asked.push(sent.to.clone());
                rig.answer(&sent, Response::FindNode { closer: vec![sent.to.clone()] });
            }
        }
        rig.advance(Duration::from_secs(1));
    }
    assert_eq!((asked.len(), &asked), (10, &stalest), "each once");
}

#[test]
fn a_filter_has_its_say_in_peers_and_addresses() {
    #[derive(Debug)]
    struct Filter;
    impl PeerFilter for Filter {
        fn peer(&self, info: &PeerInfo) -> bool {
            info.peer != peer(1).peer
        }
        fn addr(&self, addr: &[u8]) -> bool {
            !addr.starts_with(&[4, 10, 0, 0, 2])
        }
    }
    let mut rig = Rig::new(private());
    rig.node.set_filter(std::sync::Arc::new(Filter));
    (0..3).for_each(|n| rig.input(identified(&peer(n), true)));
    let asked: Vec<_> = rig.sent.iter().map(|sent| sent.to.clone()).collect();
    assert_eq!(asked, [peer(0)]);
    for (n, reason) in [(1, Rejection::Filtered), (2, Rejection::NoAddress)] {
        assert!(rig.events.contains(&Event::PeerRejected { peer: peer(n).peer, reason }));
    }
    rig.answer_all(3);
    rig.start(Operation::ClosestPeers { key: Bytes::from_static(b"key") });
    let asked = rig.answer_all(40);
    assert!(asked.len() > 10 && asked.iter().all(|sent| sent.to != peer(1) && sent.to.peer != peer(2).peer));
}

#[test]
fn an_answer_that_names_nobody_admits_nobody_once_enough_are_known() {
    let mut rig = Rig::with_peers(private(), 30);
    rig.input(identified(&peer(2_000), true));
    let probe = rig.sent.pop_front().expect("a probe");
    rig.answer(&probe, Response::FindNode { closer: vec![] });
    assert!(!contains(&rig, &peer(2_000)));
    let reason = Rejection::NotUseful;
    assert!(rig.events.contains(&Event::PeerRejected { peer: peer(2_000).peer, reason }));
}

#[test]
fn private_addresses_never_enter_a_public_realm() {
    let mut config = private();
    config.protocol.addresses = AddressPolicy::Public;
    let mut rig = Rig::new(config);
    assert!(rig.node.table().view().local().addrs.is_empty(), "our own private address is not announced");
    rig.input(identified(&peer(1), true));
    assert!(rig.sent.is_empty());
    let reason = Rejection::NoAddress;
    assert!(rig.events.contains(&Event::PeerRejected { peer: peer(1).peer, reason }));
}

#[test]
fn a_removed_peer_is_gone_and_modes_are_told_once() {
    let mut rig = Rig::with_peers(private(), 3);
    rig.input(Input::RemovePeer(peer(1).peer.id));
    assert!(!contains(&rig, &peer(1)));
    rig.input(Input::SetMode(Mode::Server));
    rig.input(Input::SetMode(Mode::Server));
    let told = rig.events.iter().filter(|event| matches!(event, Event::ModeChanged { .. })).count();
    assert_eq!((told, rig.node.table().view().mode()), (1, Mode::Server));
}
