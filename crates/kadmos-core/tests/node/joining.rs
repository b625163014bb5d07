//! Joining in phases: what each reports, and that nothing waits for what does not come.

use std::time::Duration;

use kadmos_core::error::{BootstrapError, RequestFailure};
use kadmos_core::health::Code;
use kadmos_core::limits::{
    BOOTSTRAP_PEERS_AT_ONCE_MAX, BOOTSTRAP_PEERS_MAX, CONNECT_BUDGET, REJOIN_INTERVAL, REJOIN_SOON,
};
use kadmos_core::message::Response;
use kadmos_core::operation::{Bootstrapped, Phase, PhaseOutcome, SourceKind, SourceReport};
use kadmos_core::{Event, Input, Operation, OperationId, Outcome};

use crate::rig::{Rig, Sent, nearest, peer, private};

fn add(rig: &mut Rig, kind: SourceKind, peers: &[u32]) {
    rig.input(Input::AddBootstrapPeers { kind, peers: peers.iter().copied().map(peer).collect() });
}

fn joined(rig: &Rig, id: OperationId) -> Bootstrapped {
    match rig.ended(id) {
        Outcome::Bootstrap(Ok(report)) => report,
        other => panic!("{other:?}"),
    }
}

/// Takes the request to `n` off the line.
fn take(rig: &mut Rig, n: u32) -> Sent {
    let place = rig.sent.iter().position(|sent| sent.to.peer == peer(n).peer).expect("it was asked");
    rig.sent.remove(place).expect("it is there")
}

/// Goal: the report says of each phase and source what was tried, what answered and when. Method: two kinds of sources, one
/// peer of which is silent; answers come at known times.
#[test]
fn report_tells_phases_sources_and_prefixes() {
    let mut rig = Rig::new(private());
    add(&mut rig, SourceKind::Configured, &[0, 1]);
    add(&mut rig, SourceKind::File, &[2]);
    let id = rig.start(Operation::Bootstrap);
    let (silent, file, fast) = (take(&mut rig, 0), take(&mut rig, 2), take(&mut rig, 1));
    rig.advance(Duration::from_secs(1));
    rig.answer(&fast, Response::FindNode { closer: nearest(400, b"x", 20) });
    assert!(!rig.sent.is_empty(), "discovery begins with the first answer");
    rig.advance(Duration::from_secs(1));
    rig.answer(&file, Response::FindNode { closer: nearest(400, b"y", 20) });
    rig.fail(&silent, RequestFailure::TimedOut);
    let requests = rig.answer_all(400).len();
    let report = joined(&rig, id);
    let source = |kind, tried, answered| SourceReport { kind, tried, answered, pending: false };
    assert_eq!(report.sources, [source(SourceKind::Configured, 2, 1), source(SourceKind::File, 1, 1)]);
    assert_eq!((report.tried, report.answered), (3, 2));
    let connect = report.phase(Phase::Connect);
    assert_eq!((connect.outcome, connect.tried, connect.answered), (PhaseOutcome::Done, 3, 2));
    assert_eq!((connect.began, connect.elapsed), (Duration::ZERO, Duration::from_secs(2)));
    assert_eq!(report.phase(Phase::Verify).outcome, PhaseOutcome::Skipped, "nobody is remembered");
    let discover = report.phase(Phase::Discover);
    assert_eq!(
        (discover.outcome, discover.tried, discover.answered),
        (PhaseOutcome::Done, requests, requests)
    );
    assert_eq!(discover.began, Duration::from_secs(1));
    assert!((1.0..2.0).contains(&discover.elapsed.as_secs_f64()), "{discover:?}");
    let health = report.phase(Phase::Health);
    assert_eq!((health.outcome, health.answered), (PhaseOutcome::Done, health.tried));
    assert!(report.reasons.is_empty(), "{report:?}");
    assert_eq!(report.prefixes.iter().sum::<usize>(), report.peers);
    assert_eq!(report.prefixes[..3], [20, 20, 20]);
    let ended: Vec<_> = rig
        .events
        .iter()
        .filter_map(|event| match event {
            Event::BootstrapPhaseEnded { report } => Some(report.phase),
            _ => None,
        })
        .collect();
    assert_eq!(ended, [Phase::Connect, Phase::Discover, Phase::Health], "each is told once, as it ends");
}

/// Goal: a source that is looked up for ever delays nobody who can join otherwise.
#[test]
fn black_holed_lookup_delays_nobody() {
    let mut rig = Rig::new(private());
    rig.input(Input::SourceLookupBegan(SourceKind::Dnsaddr));
    add(&mut rig, SourceKind::Configured, &[0]);
    let id = rig.start(Operation::Bootstrap);
    rig.answer_all(400);
    let report = joined(&rig, id);
    assert!(report.peers > 40, "{report:?}");
    assert_eq!(report.phase(Phase::Connect).outcome, PhaseOutcome::Cut);
    let pending = SourceReport { kind: SourceKind::Dnsaddr, tried: 0, answered: 0, pending: true };
    assert_eq!(report.source(SourceKind::Dnsaddr), Some(&pending));

    // Nor in a network of two, where few are known for ever.
    let mut rig = Rig::new(private());
    rig.input(Input::SourceLookupBegan(SourceKind::Url));
    let id = rig.start(Operation::Bootstrap);
    assert_eq!(rig.outcome(id), None, "nobody is known yet");
    add(&mut rig, SourceKind::File, &[0]);
    while let Some(sent) = rig.sent.pop_front() {
        rig.answer(&sent, Response::FindNode { closer: Vec::new() });
    }
    assert_eq!(joined(&rig, id).peers, 1);
}

/// Goal: who has no other source waits for a lookup, and asks whom it finds at once.
#[test]
fn peers_found_while_joining_join_in() {
    let mut rig = Rig::new(private());
    rig.input(Input::SourceLookupBegan(SourceKind::Dnsaddr));
    let id = rig.start(Operation::Bootstrap);
    rig.advance(Duration::from_secs(5));
    assert_eq!(rig.outcome(id), None);
    add(&mut rig, SourceKind::Dnsaddr, &[3]);
    rig.input(Input::SourceLookupEnded(SourceKind::Dnsaddr));
    rig.answer_all(400);
    let report = joined(&rig, id);
    assert_eq!(
        report.source(SourceKind::Dnsaddr).map(|source| (source.tried, source.answered)),
        Some((1, 1))
    );
    assert_eq!(report.phase(Phase::Discover).began, Duration::from_secs(5));
}

/// Goal: a node without a way in joins soon after a source has found one, and not only when its time comes.
#[test]
fn peers_found_later_are_joined_through_soon() {
    let mut rig = Rig::new(private());
    let id = rig.start(Operation::Bootstrap);
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::NoSources)));
    rig.advance(Duration::from_secs(1));
    add(&mut rig, SourceKind::File, &[3]);
    assert!(rig.sent.is_empty());
    rig.advance(REJOIN_SOON);
    take(&mut rig, 3);
    assert!(REJOIN_SOON * 2 < REJOIN_INTERVAL);
}

#[test]
fn lookup_that_never_ends_is_given_up_within_the_budget() {
    let mut rig = Rig::new(private());
    rig.input(Input::SourceLookupBegan(SourceKind::Dnsaddr));
    let id = rig.start(Operation::Bootstrap);
    rig.advance(CONNECT_BUDGET - Duration::from_secs(1));
    assert_eq!(rig.outcome(id), None);
    rig.advance(Duration::from_secs(1));
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::NoSources)));
    rig.input(Input::SourceLookupEnded(SourceKind::Dnsaddr));
    rig.input(Input::SourceLookupEnded(SourceKind::Dnsaddr));
    let id = rig.start(Operation::Bootstrap);
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::NoSources)), "at once");
}

#[test]
fn lookup_that_finds_nobody_ends_the_wait() {
    let mut rig = Rig::new(private());
    rig.input(Input::SourceLookupBegan(SourceKind::File));
    rig.input(Input::SourceLookupBegan(SourceKind::File));
    let id = rig.start(Operation::Bootstrap);
    rig.input(Input::SourceLookupEnded(SourceKind::File));
    assert_eq!(rig.outcome(id), None, "the other may find somebody");
    rig.input(Input::SourceLookupEnded(SourceKind::File));
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::NoSources)));
}

/// Goal: any number of sources is tried, a bounded number at once.
#[test]
fn many_sources_are_tried_a_bounded_number_at_once() {
    let mut rig = Rig::new(private());
    let all: Vec<u32> = (1_000..1_300).collect();
    add(&mut rig, SourceKind::File, &all);
    assert_eq!(rig.node.bootstrap_peers().len(), BOOTSTRAP_PEERS_MAX);
    let id = rig.start(Operation::Bootstrap);
    let mut tried = 0;
    while let Some(sent) = rig.sent.pop_front() {
        assert!(rig.sent.len() < BOOTSTRAP_PEERS_AT_ONCE_MAX);
        rig.fail(&sent, RequestFailure::Unreachable);
        tried += 1;
    }
    assert_eq!(tried, BOOTSTRAP_PEERS_MAX);
    assert_eq!(rig.ended(id), Outcome::Bootstrap(Err(BootstrapError::Unreachable { tried })));
}

/// Goal: joining a network that is not well says so. Method: one peer, which names nobody.
#[test]
fn a_join_that_finds_too_few_says_what_is_amiss() {
    let mut rig = Rig::new(private());
    add(&mut rig, SourceKind::Configured, &[0]);
    let id = rig.start(Operation::Bootstrap);
    while let Some(sent) = rig.sent.pop_front() {
        rig.answer(&sent, Response::FindNode { closer: Vec::new() });
    }
    let report = joined(&rig, id);
    assert_eq!((report.peers, report.answered), (1, 1));
    // The network has one server as far as we know, and we know it: nothing more can be had.
    assert!(report.reasons.is_empty(), "{report:?}");

    let mut rig = Rig::with_peers(private(), 6);
    add(&mut rig, SourceKind::Configured, &[0]);
    let id = rig.start(Operation::Bootstrap);
    rig.advance(Duration::from_secs(1));
    let source = take(&mut rig, 0);
    rig.answer(&source, Response::FindNode { closer: nearest(400, b"x", 20) });
    let sent = rig.sent.pop_front().expect("a request");
    rig.answer(&sent, Response::FindNode { closer: Vec::new() });
    while let Some(sent) = rig.sent.pop_front() {
        rig.fail(&sent, RequestFailure::TimedOut);
    }
    let report = joined(&rig, id);
    assert_eq!(report.phase(Phase::Health).outcome, PhaseOutcome::Failed);
    assert_eq!(report.reasons, ["requests_failing", "neighbourhood_silent"], "{report:?}");
    let health = report.phase(Phase::Health);
    assert_eq!((health.tried, health.tried - health.answered), (Code::ALL.len(), 2));
    let found: Vec<_> = rig.node.health().reasons().iter().map(|finding| finding.code.code()).collect();
    assert_eq!(report.reasons, found, "a join is judged by the rules of health");
}
