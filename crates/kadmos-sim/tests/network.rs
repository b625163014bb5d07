//! What the network between nodes does: round trips, connections, and hosts that are gone.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::Mode;
use kadmos_core::error::RequestFailure;
use kadmos_core::operation::{Operation, Outcome};
use kadmos_core::peer::PeerInfo;
use kadmos_core::{Event, Key, Peer, PeerId, Timestamp};
use kadmos_sim::network::{CONNECTION_IDLE, DIAL_TIMEOUT};
use kadmos_sim::{Fact, NodeIndex, Ratio, World};

const N0: NodeIndex = NodeIndex::new(0);
const N1: NodeIndex = NodeIndex::new(1);

fn lookup(name: &str) -> Operation {
    Operation::ClosestPeers { key: Bytes::copy_from_slice(name.as_bytes()) }
}

/// Runs one operation to its end and returns how long it took.
fn time(world: &mut World, node: NodeIndex, operation: Operation) -> Duration {
    let began = world.now();
    world.start_operation(node, operation);
    assert!(world.run_until_idle(Duration::from_secs(120)));
    world.now().since(began)
}

/// Lines of the trace that `keep` keeps, in order.
fn watch(
    world: &mut World,
    keep: impl Fn(&Fact<'_>) -> bool + 'static,
) -> Rc<RefCell<Vec<(Timestamp, String)>>> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&lines);
    world.observe(Box::new(move |event| {
        if keep(&event.fact) {
            kept.borrow_mut().push((event.at, event.to_string()));
        }
        ControlFlow::Continue(())
    }));
    lines
}

/// Goal: a cold request takes 2 round trips, a warm one 1, and an idle connection closes. Method: two nodes; the one
/// that joins dials.
#[test]
fn connection_cold_warm_idle_round_trips() {
    let mut world = World::builder().nodes(2).bootstrap(1).seed(1).build().expect("sound");
    let round_trip = world.host(N0).round_trip(&world.host(N1));
    world.run_until(Timestamp::from_millis(100)); // n1 starts
    assert!(world.run_until_idle(Duration::from_secs(10)));
    world.run(CONNECTION_IDLE + Duration::from_secs(5));
    assert_eq!(world.connections(), 0, "idle connections close");

    let dials = world.counters().dials;
    assert_eq!(time(&mut world, N1, lookup("cold")), 2 * round_trip);
    assert_eq!(world.counters().dials, dials + 1);
    world.run(CONNECTION_IDLE - Duration::from_secs(1));
    assert_eq!(time(&mut world, N1, lookup("warm")), round_trip);
    assert_eq!(time(&mut world, N0, lookup("both ways")), round_trip);
    assert_eq!(world.counters().dials, dials + 1);
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: two nodes that dial each other at once share one connection. Method: both look up in the same instant.
#[test]
fn connection_dialled_from_both_sides_is_one() {
    let mut world = World::builder().nodes(2).bootstrap(1).seed(2).build().expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(10)));
    world.run(CONNECTION_IDLE + Duration::from_secs(5));
    let ups = watch(&mut world, |fact| matches!(fact, Fact::Connected(_) | Fact::Disconnected(_)));
    let round_trip = world.host(N0).round_trip(&world.host(N1));
    let dials = world.counters().dials;
    let began = world.now();
    world.start_operation(N0, lookup("a"));
    world.start_operation(N1, lookup("b"));
    assert!(world.run_until_idle(Duration::from_secs(10)));
    assert_eq!(world.now().since(began), 2 * round_trip, "neither waits for the other's dial");
    assert_eq!((world.counters().dials, world.connections()), (dials + 1, 1));
    world.run(2 * CONNECTION_IDLE);
    let lines = ups.borrow();
    assert_eq!(lines.iter().filter(|(_, line)| line.contains("connected to")).count(), 2, "{lines:?}");
    assert_eq!(lines.iter().filter(|(_, line)| line.contains("disconnected")).count(), 2, "{lines:?}");
}

/// Goal: every request ends in time, whatever the address. Method: introduce peers at an address where nobody is, and
/// at somebody else's; then again with a shorter time-out than a dial has.
#[test]
fn dial_wrong_address_fails_in_time() {
    let stranger = PeerId::from_digest([7; 32]);
    for (timeout, expected, failure) in [
        (Duration::from_secs(10), DIAL_TIMEOUT, RequestFailure::Unreachable),
        (Duration::from_secs(2), Duration::from_secs(2), RequestFailure::TimedOut),
    ] {
        let world = World::builder().nodes(3).bootstrap(1).seed(9);
        let mut world =
            world.configure(|config| config.lookup.request_timeout = timeout).build().expect("sound");
        world.run(Duration::from_millis(50)); // only n0 runs
        let failures = watch(&mut world, |fact| matches!(fact, Fact::Failed { .. }));
        let began = world.now();
        let n1 = world.info(N1).clone();
        world.introduce(N0, PeerInfo::new(Peer::new(stranger), n1.addrs));
        world.introduce(N0, PeerInfo::new(n1.peer, kadmos_sim::network::addrs(&stranger, 1_000, 1)));
        assert_eq!(world.requests_in_flight(N0), 2);
        world.run(Duration::from_secs(20));
        let failures: Vec<_> =
            failures.borrow().iter().map(|(at, line)| (at.since(began), line.clone())).collect();
        assert_eq!(failures.len(), 2, "{failures:?}");
        for (after, line) in failures {
            assert_eq!(after, expected, "{line}");
            assert!(line.ends_with(failure.label()), "{line}");
        }
        assert_eq!(world.requests_in_flight(N0), 0);
        assert_eq!(world.violations(), [""; 0]);
    }
}

/// Goal: a process that ends is noticed as TCP and QUIC show it. Method: stop a node with a request under way to it,
/// then ask it again.
#[test]
fn stop_node_requests_break_then_dials_are_refused() {
    let mut world = World::builder().nodes(2).bootstrap(1).seed(3).build().expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(10)));
    let failures = watch(&mut world, |fact| matches!(fact, Fact::Failed { .. } | Fact::Disconnected(_)));
    let round_trip = world.host(N0).round_trip(&world.host(N1));
    let stopped_at = world.now();
    let operation = world.start_operation(N1, lookup("a"));
    world.stop(N0);
    assert!(world.run_until_idle(Duration::from_secs(10)));
    let closed = RequestFailure::Closed.label();
    assert!(failures.borrow()[0].1.ends_with(closed), "{failures:?}");
    assert_eq!(failures.borrow()[0].0.since(stopped_at), round_trip / 2);
    let report = world.take_operation(operation).expect("it has ended");
    assert!(matches!(report.outcome(), Some(Outcome::ClosestPeers(Err(_)))), "{report:?}");
    assert_eq!(world.oracle().len(), 1);

    // One failure is no death: the table still has n0, and its host refuses the dial.
    assert_eq!(time(&mut world, N1, lookup("b")), round_trip);
    assert!(failures.borrow().last().expect("one more").1.ends_with(RequestFailure::Unreachable.label()));
    assert!(world.table(N1).is_empty(), "two failures evict");
    assert_eq!((world.requests_in_flight(N1), world.connections()), (0, 0));
    assert_eq!(world.violations(), [""; 0]);
}

/// Gives every running node a lookup and returns how many of the true 20 closest all of them found. No result may be
/// dead.
fn look_up_everywhere(world: &mut World) -> Ratio {
    let live: Vec<_> = world.nodes().filter(|node| world.is_running(*node)).collect();
    let operations: Vec<_> =
        live.iter().map(|node| world.start_operation(*node, lookup(&node.to_string()))).collect();
    assert!(world.run_until_idle(Duration::from_secs(120)));
    let mut recall = Ratio::default();
    for id in operations {
        let report = world.take_operation(id).expect("it has ended");
        let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
        for info in &found.peers {
            let node = world.find(&info.peer.id, &info.peer.key).expect("an id of this world");
            assert!(world.is_running(node), "{report:?}");
        }
        let target = Key::of(report.node.to_string().as_bytes());
        recall.add(world.oracle().recall(&target, 20, report.node, &found.peers));
    }
    recall
}

/// Goal: a network outlives a third of its nodes. Method: stop every third node at once. Lookups end and name no
/// dead peer from the first moment on; answers are still full of dead peers then, so not all that live are heard of.
/// After a refresh they are, and a value stored before is still there.
#[test]
fn stop_third_of_nodes_survivors_are_found() {
    let mut world = World::builder().nodes(45).seed(4).build().expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let key = kadmos_sim::records::key(b"kept");
    let value = kadmos_sim::records::value(&key, 1);
    world.start_operation(N1, Operation::PutValue { key: key.clone(), value: value.clone() });
    assert!(world.run_until_idle(Duration::from_secs(60)));

    let dead: Vec<_> = world.nodes().filter(|node| node.as_u32() % 3 == 2).collect();
    dead.iter().for_each(|node| world.stop(*node));
    assert_eq!((dead.len(), world.oracle().len()), (15, 30));
    let at_once = look_up_everywhere(&mut world);
    assert!(at_once.is_at_least_per_mille(600), "{at_once}");
    world.run(Duration::from_secs(660));
    let later = look_up_everywhere(&mut world);
    assert!(later.is_at_least_per_mille(990), "{later}");

    let id = world.start_operation(N0, Operation::GetValue { key, quorum: None });
    assert!(world.run_until_idle(Duration::from_secs(120)));
    let report = world.take_operation(id).expect("it has ended");
    assert!(
        matches!(report.outcome(), Some(Outcome::GetValue(Ok(found))) if found.best.value == value),
        "{report:?}"
    );
    world.run(Duration::from_secs(30));
    assert!(world.nodes().all(|node| world.requests_in_flight(node) == 0), "every request ends");
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: joining does not hang on a dead bootstrap node. Method: stop one of three before anybody else starts.
#[test]
fn stop_bootstrap_node_others_still_join() {
    let mut world = World::builder().nodes(20).bootstrap(3).seed(5).build().expect("sound");
    world.run(Duration::from_millis(50));
    world.stop(N1);
    assert!(world.run_until_idle(Duration::from_secs(120)));
    for (_, report) in world.take_ended().into_iter().filter(|(_, report)| report.node.as_u32() > 2) {
        assert!(matches!(report.outcome(), Some(Outcome::Bootstrap(Ok(_)))), "{report:?}");
    }
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: whoever stops serving leaves all tables and results. Method: a node becomes a client, the others look up.
#[test]
fn mode_client_leaves_tables_and_results() {
    let mut world = World::builder().nodes(15).seed(6).build().expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let unsupported =
        watch(&mut world, |fact| matches!(fact, Fact::Failed { failure: RequestFailure::Unsupported, .. }));
    world.run(2 * CONNECTION_IDLE); // so that nobody hears of it by a push
    world.set_mode(N1, Mode::Client);
    assert_eq!(world.oracle().len(), 14);
    for node in world.nodes() {
        world.start_operation(node, lookup("anybody"));
    }
    assert!(world.run_until_idle(Duration::from_secs(60)));
    assert!(!unsupported.borrow().is_empty());
    let id = world.info(N1).peer.id;
    let view = |node| world.table(node);
    assert!(world.nodes().all(|node| view(node).get(&id).is_none()));
    for (_, report) in world.take_ended() {
        if let Some(Outcome::ClosestPeers(found)) = report.outcome() {
            let found = found.as_ref().expect("14 others answer");
            assert!(found.peers.iter().all(|info| info.peer.id != id));
        }
    }
}

/// Goal: clients ask and are not asked. Method: clients beside servers; nobody admits them, yet they find others.
#[test]
fn clients_ask_and_enter_no_table() {
    let mut world = World::builder().nodes(10).clients(5).seed(7).build().expect("sound");
    let served = watch(&mut world, |fact| matches!(fact, Fact::Asked { .. }));
    let admitted = watch(&mut world, |fact| matches!(fact, Fact::Core(Event::PeerAdmitted { .. })));
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let client = NodeIndex::new(12);
    let id = world.start_operation(client, lookup("servers"));
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let report = world.take_operation(id).expect("it has ended");
    assert!(
        matches!(report.outcome(), Some(Outcome::ClosestPeers(Ok(found))) if found.peers.len() == 10),
        "{report:?}"
    );
    assert!(!served.borrow().iter().any(|(_, line)| line.contains(" n12: asked")));
    assert!(!admitted.borrow().is_empty());
    for node in world.nodes() {
        assert!(world.table(node).iter().all(|info| {
            world.find(&info.peer.id, &info.peer.key).is_some_and(|peer| peer.as_u32() < 10)
        }));
    }
}

/// Goal: a cancelled operation says no more. Method: cancel in mid-walk; nothing comes after, and nothing is left.
#[test]
fn cancel_operation_ends_at_once() {
    let mut world = World::builder().nodes(30).seed(8).build().expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(60)));
    world.run(2 * CONNECTION_IDLE);
    let id = world.start_operation(N0, lookup("never mind"));
    world.run(Duration::from_millis(1));
    assert!(world.requests_in_flight(N0) > 0);
    let updates = watch(&mut world, |fact| matches!(fact, Fact::Update { .. }));
    world.cancel(id);
    assert_eq!((world.running_operations(), world.requests_in_flight(N0)), (0, 0));
    world.run(Duration::from_secs(20));
    assert!(updates.borrow().is_empty());
    assert!(world.take_operation(id).is_some_and(|report| report.outcome().is_none()));
    assert_eq!(world.violations(), [""; 0]);
}
