//! What a node knows of an earlier run: used at once, named to nobody until it answers, gone when it fails.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::error::RequestFailure;
use kadmos_core::message::Response;
use kadmos_core::operation::{Phase, PhaseOutcome, SourceKind};
use kadmos_core::{Event, Input, Memory, NetworkSize, Operation, Outcome, UnixTime};

use crate::rig::{Rig, nearest, peer, private};

/// The memory of a node that has met peers `0..count` of a network of 400.
fn memory(count: u32) -> Memory {
    let rig = Rig::with_peers(private(), count);
    rig.node.memory(rig.now)
}

fn remember(rig: &mut Rig, memory: &Memory) {
    rig.input(Input::Remember(Box::new(memory.clone())));
}

#[test]
fn a_memory_is_the_table_and_comes_back_as_it() {
    let mut rig = Rig::with_peers(private(), 60);
    rig.advance(Duration::from_secs(100));
    let memory = rig.node.memory(rig.now);
    assert_eq!(memory.written, rig.now.unix);
    assert_eq!(memory.peers.len(), rig.node.table().view().len());
    for peer in &memory.peers {
        let standing = rig.node.table().standing(&peer.info.peer).expect("it is in the table");
        let silent = rig.now.monotonic.since(standing.last_answer()).as_secs();
        assert!(silent >= 100 && peer.answered.as_secs() + silent == rig.now.unix.as_secs(), "{peer:?}");
    }

    let mut later = Rig::new(private());
    remember(&mut later, &Memory::decode(&memory.encode()).expect("written by us"));
    let (known, old) = (later.node.table().view(), rig.node.table().view());
    assert!(known.iter().eq(old.iter()), "the same peers in the same buckets");
    assert!(known.closest(&peer(1).peer.key, 20).len() == 20, "lookups use them");
    // Restarted again before anybody has answered: nothing is lost, and nobody has become fresher.
    let again = later.node.memory(later.now);
    assert_eq!(again.peers.len(), memory.peers.len());
    assert!(again.peers.iter().all(|peer| peer.answered == memory.written));
}

/// Goal: after a restart a lookup begins at once, and dead ones cost only their request. Method: half of the remembered peers
/// fail; nobody else is known.
#[test]
fn lookups_use_remembered_peers_and_failures_end_them() {
    let mut rig = Rig::new(private());
    remember(&mut rig, &memory(40));
    rig.sent.clear(); // whatever is asked in the background
    let key = Bytes::from_static(b"key");
    let id = rig.start(Operation::ClosestPeers { key: key.clone() });
    assert_eq!(rig.sent.len(), 10, "alpha requests at once");
    let mut dead = Vec::new();
    let mut turn = 0;
    while let Some(sent) = rig.sent.pop_front() {
        turn += 1;
        if turn % 2 == 0 && dead.len() < 15 {
            dead.push(sent.to.clone());
            rig.fail(&sent, RequestFailure::Unreachable);
        } else {
            rig.answer(&sent, Response::FindNode { closer: nearest(400, &key, 20) });
        }
    }
    let Outcome::ClosestPeers(Ok(found)) = rig.ended(id) else { panic!() };
    assert!(!found.peers.is_empty());
    assert!(dead.iter().any(|info| memory(40).peers.iter().any(|peer| peer.info.peer == info.peer)));
    for info in &dead {
        assert!(rig.node.table().view().get(&info.peer.id).is_none(), "one failure ends a remembered peer");
    }
}

/// Goal: nobody configured, everybody remembered: a join asks those and comes back whole.
#[test]
fn a_join_verifies_remembered_peers() {
    let mut rig = Rig::new(private());
    remember(&mut rig, &memory(100));
    rig.sent.clear();
    let id = rig.start(Operation::Bootstrap);
    // The first of them is dead.
    let dead = rig.sent.pop_front().expect("a request");
    rig.fail(&dead, RequestFailure::Unreachable);
    rig.answer_all(400);
    let Outcome::Bootstrap(Ok(report)) = rig.ended(id) else { panic!("{:?}", rig.ended(id)) };
    let verify = report.phase(Phase::Verify);
    assert!(verify.tried > 10 && verify.answered > 0 && verify.answered < verify.tried, "{report:?}");
    assert_eq!(report.phase(Phase::Connect).outcome, PhaseOutcome::Skipped);
    assert_eq!(report.source(SourceKind::Remembered).map(|source| source.tried), Some(verify.tried));
    assert!(report.peers > 40 && report.reasons.is_empty(), "{report:?}");
}

#[test]
fn remembered_peers_are_asked_in_the_background() {
    let mut rig = Rig::new(private());
    remember(&mut rig, &memory(30));
    let known = rig.node.table().view().len();
    rig.advance(Duration::from_secs(300));
    let mut asked = 0;
    for _ in 0..200 {
        while let Some(sent) = rig.sent.pop_front() {
            asked += 1;
            rig.answer(&sent, Response::FindNode { closer: vec![peer(1)] });
        }
        rig.advance(Duration::from_secs(10));
    }
    assert!(asked >= known, "{asked} of {known}");
    let verified = rig.node.table().iter().filter(|(_, _, standing)| standing.is_verified()).count();
    assert_eq!(verified, known);
}

/// Goal: clocks that were set wrong harm nothing. Method: what was written is two days ahead of now, and two behind.
#[test]
fn clock_steps_of_two_days_harm_nothing() {
    let two_days = 2 * 86_400;
    let size = NetworkSize { peers: 1_000, std_error: 50, walks: 0 };
    for shift in [-two_days, two_days] {
        let mut kept = memory(60);
        let shifted = |at: UnixTime| UnixTime::from_secs(at.as_secs().saturating_add_signed(shift));
        kept.written = shifted(kept.written);
        kept.size = Some((kept.written, size));
        kept.peers.iter_mut().for_each(|peer| peer.answered = shifted(peer.answered));
        let mut rig = Rig::new(private());
        remember(&mut rig, &kept);
        assert_eq!(rig.node.table().view().len(), kept.peers.len());
        if shift > 0 {
            assert_eq!(rig.node.network_size(), Some(size), "as good as new");
        }
        rig.sent.clear();
        let id = rig.start(Operation::Bootstrap);
        // The clock steps while we join.
        rig.now.unix = shifted(rig.now.unix);
        rig.answer_all(400);
        assert!(matches!(rig.ended(id), Outcome::Bootstrap(Ok(report)) if report.peers > 40));
        let again = rig.node.memory(rig.now);
        assert_eq!(again.written, rig.now.unix);
        assert_eq!(Memory::decode(&again.encode()), Ok(again));
    }
}

#[test]
fn a_remembered_size_serves_until_a_better_one_is_there() {
    let mut rig = Rig::new(private());
    let mut kept = Memory { written: rig.now.unix, ..Memory::default() };
    kept.size = Some((rig.now.unix, NetworkSize { peers: 5_000, std_error: 2_500, walks: 0 }));
    remember(&mut rig, &kept);
    assert_eq!(rig.node.network_size().map(|size| size.peers), Some(5_000));
    assert_eq!(rig.node.memory(rig.now).size, kept.size, "with its own date");
    rig.input(Input::AddBootstrapPeers { kind: SourceKind::Configured, peers: vec![peer(0)] });
    rig.start(Operation::Bootstrap);
    rig.answer_all(400);
    let size = rig.node.network_size().expect("measured");
    assert!(size.walks > 0 && size.peers.abs_diff(400) < 200, "{size:?}");
    assert!(rig.events.iter().any(|event| matches!(event, Event::NetworkSizeEstimated { .. })));
}

/// Goal: who failed a probe is not probed again for half an hour, over a restart, unless it connects or the caller
/// names it.
#[test]
fn failures_are_remembered() {
    let mut rig = Rig::new(private());
    rig.input(Input::AddPeer(peer(3)));
    let probe = rig.sent.pop_front().expect("a stranger is probed");
    rig.fail(&probe, RequestFailure::TimedOut);
    let heard_of = || Input::Identified { peer: peer(3).peer.id, serves: true, addrs: peer(3).addrs };
    rig.input(heard_of());
    assert!(rig.sent.is_empty(), "not again so soon");

    let kept = Memory::decode(&rig.node.memory(rig.now).encode()).expect("written by us");
    assert_eq!(kept.failed.len(), 1);
    let mut later = Rig::new(private());
    remember(&mut later, &kept);
    later.input(heard_of());
    assert!(later.sent.is_empty(), "nor after a restart");
    later.input(Input::AddPeer(peer(4)));
    assert_eq!(later.sent.len(), 1, "others are");
    later.sent.clear();
    later.input(Input::Connected { peer: peer(3).peer.id, remote: Some([1, 2, 3, 4].into()) });
    later.input(heard_of());
    assert_eq!(later.sent.len(), 1, "it is there now");

    rig.advance(Duration::from_secs(1_801));
    rig.sent.clear();
    rig.input(heard_of());
    assert_eq!(rig.sent.len(), 1, "half an hour later");

    let mut told = Rig::new(private());
    remember(&mut told, &kept);
    told.input(Input::AddPeer(peer(3)));
    assert_eq!(told.sent.len(), 1, "the caller may know better");
}
