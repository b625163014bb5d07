//! What the model does to a network, and what faults do: each alone, in a world small enough to count by hand.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::Mode;
use kadmos_core::{Operation, Outcome};
use kadmos_sim::model::{DIAL_LONG, DeadDials, HopCosts, TCP_ROUND_TRIPS};
use kadmos_sim::network::CONNECTION_IDLE;
use kadmos_sim::{Charges, Keep, Model, NodeIndex, World};

const N0: NodeIndex = NodeIndex::new(0);
const N1: NodeIndex = NodeIndex::new(1);

fn lookup(name: &str) -> Operation {
    Operation::ClosestPeers { key: Bytes::copy_from_slice(name.as_bytes()) }
}

fn joined(nodes: u32, model: Model) -> World {
    // Two nodes are few, and health would do something about it.
    let world = World::builder().nodes(nodes).seed(11).model(model);
    let mut world = world.configure(|config| config.health.recovery = false).build().expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(120)), "all have joined");
    world.take_ended();
    world
}

/// Runs one operation to its end and returns how long it took.
fn time(world: &mut World, node: NodeIndex, operation: Operation) -> Duration {
    let began = world.now();
    world.start_operation(node, operation);
    assert!(world.run_until_idle(Duration::from_secs(120)));
    world.now().since(began)
}

/// Goal: each kind of client pays its own round trips. Method: a cold and a warm lookup between two nodes, by QUIC and
/// by TCP.
#[test]
fn hops_cost_round_trips_by_client_and_transport() {
    for (tcp_per_mille, upgrade) in [(0, 0), (1_000, TCP_ROUND_TRIPS)] {
        for hops in [HopCosts::KADMOS, HopCosts::GO, HopCosts::RUST_LIBP2P] {
            let mut world = joined(2, Model { tcp_per_mille, ..Model::calm() });
            world.set_hops(N1, hops);
            world.run(2 * CONNECTION_IDLE);
            let round_trip = world.round_trip(N0, N1);
            assert_eq!(time(&mut world, N1, lookup("cold")), round_trip * (hops.cold + upgrade), "{hops:?}");
            assert_eq!(time(&mut world, N1, lookup("warm")), round_trip * hops.warm, "{hops:?}");
        }
    }
}

/// Goal: half the round trips take half the time. Method: the same lookup in both worlds.
#[test]
fn round_trips_scale() {
    let whole = time(&mut joined(2, Model::calm()), N1, lookup("x"));
    let half = time(&mut joined(2, Model::calm().half_round_trips()), N1, lookup("x"));
    assert!(whole.abs_diff(half * 2) < Duration::from_micros(1), "{whole:?}, {half:?}");
}

/// Goal: a dial that hangs costs the request its time-out, and the dial its own. Method: all dials to the dead take a
/// minute; one node of two dies.
#[test]
fn hanging_dials_outlast_the_request() {
    let hanging = DeadDials { refused: 0, short: 0, medium: 0, long: 1_000 };
    let mut world = joined(2, Model { stopped_dials: hanging, ..Model::calm() });
    world.run(2 * CONNECTION_IDLE);
    world.stop(N0);
    assert_eq!(time(&mut world, N1, lookup("x")), Duration::from_secs(10), "request_timeout");
    assert_eq!(world.connections(), 1, "the dial hangs on");
    world.run(DIAL_LONG);
    assert_eq!((world.connections(), world.charges(N1).dials_failed), (0, 1));
}

/// Goal: mute servers answer nothing and slow ones late, and both can be healed. Method: one of two is made so.
#[test]
fn mute_and_slow_servers() {
    let mut world = joined(2, Model::calm());
    let undisturbed = time(&mut world, N1, lookup("a"));
    world.set_slow(N0, Duration::from_secs(3));
    assert_eq!(time(&mut world, N1, lookup("b")), undisturbed + Duration::from_secs(3));
    world.set_slow(N0, Duration::ZERO);
    world.set_mute(N0, true);
    assert_eq!(time(&mut world, N1, lookup("c")), Duration::from_secs(10), "request_timeout");
    world.set_mute(N0, false);
    assert_eq!(time(&mut world, N1, lookup("d")), undisturbed);
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: loss delays, and does not lose. Method: a third of the messages is lost; lookups take longer and still find
/// everybody. With all messages lost nothing is answered.
#[test]
fn loss_delays_and_only_total_loss_loses() {
    let mut world = joined(12, Model::calm());
    let mut undisturbed = Duration::ZERO;
    let mut lossy = Duration::ZERO;
    for index in 0..20 {
        world.set_loss(0);
        undisturbed += time(&mut world, N1, lookup(&format!("a{index}")));
        world.set_loss(333);
        lossy += time(&mut world, N1, lookup(&format!("a{index}")));
    }
    assert!(lossy > undisturbed * 2, "{lossy:?}, {undisturbed:?}");
    for (_, report) in world.take_ended() {
        let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
        assert!(found.peers.len() >= 10, "{report:?}");
    }
    world.set_loss(1_000);
    let id = world.start_operation(N1, lookup("none"));
    assert!(world.run_until_idle(Duration::from_secs(120)));
    let report = world.take_operation(id).expect("it has ended");
    assert!(matches!(report.outcome(), Some(Outcome::ClosestPeers(Err(_)))), "{report:?}");
}

/// Goal: nothing passes a partition, and all does after healing. Method: cut three of nine off, look up on both sides,
/// heal.
#[test]
fn partition_parts_until_healed() {
    let mut world = joined(9, Model::calm());
    let all: Vec<_> = world.nodes().collect();
    let (a, b) = all.split_at(3);
    world.partition(a, b);
    world.run(Duration::from_secs(15)); // connections across have broken
    for (node, own) in [(N0, a), (all[5], b)] {
        let id = world.start_operation(node, lookup("within"));
        assert!(world.run_until_idle(Duration::from_secs(120)));
        let report = world.take_operation(id).expect("it has ended");
        let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
        assert_eq!(found.peers.len(), own.len() - 1, "{report:?}");
        for info in &found.peers {
            let found = world.find(&info.peer.id, &info.peer.key).expect("a node");
            assert!(!world.separated(node, found));
        }
    }
    world.heal();
    world.run(Duration::from_secs(1_300));
    let id = world.start_operation(N0, lookup("after"));
    assert!(world.run_until_idle(Duration::from_secs(120)));
    let report = world.take_operation(id).expect("it has ended");
    assert!(matches!(report.outcome(), Some(Outcome::ClosestPeers(Ok(found))) if found.peers.len() == 8));
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: a node that starts again has its identity, and its records or not. Method: restart a holder both ways.
#[test]
fn restart_keeps_identity_and_what_it_may() {
    let mut world = joined(6, Model::calm());
    let key = Bytes::from_static(b"content");
    world.start_operation(N1, Operation::Provide { key: key.clone() });
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let holder = NodeIndex::new(4);
    world.run(Duration::from_secs(1));
    assert!(world.holds(holder, &key));
    for (keep, holds) in [(Keep::Records, true), (Keep::Nothing, false)] {
        let id = world.info(holder).peer.id;
        world.restart(holder, keep);
        assert!(world.is_starting(holder));
        assert!(world.run_until_idle(Duration::from_secs(60)), "it joins again");
        assert_eq!((world.is_running(holder), world.info(holder).peer.id), (true, id));
        assert_eq!(world.table(holder).len(), 5);
        assert_eq!(world.holds(holder, &key), holds);
    }
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: nodes may join at any time. Method: one more server and one more client.
#[test]
fn join_new_nodes_find_and_are_found() {
    let mut world = joined(6, Model::calm());
    let server = world.join_new(Mode::Server).expect("sound");
    let client = world.join_new(Mode::Client).expect("sound");
    assert!(world.run_until_idle(Duration::from_secs(60)));
    assert_eq!(world.oracle().len(), 7);
    let id = world.start_operation(client, lookup("all"));
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let report = world.take_operation(id).expect("it has ended");
    let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
    assert_eq!(found.peers.len(), 7);
    assert!(found.peers.iter().any(|info| info.peer.id == world.info(server).peer.id));
}

/// Goal: a record outlives a clock that is set. Method: move a holder's clock a year each way.
#[test]
fn clock_step_loses_no_record() {
    let mut world = joined(5, Model::calm());
    let key = Bytes::from_static(b"content");
    world.start_operation(N1, Operation::Provide { key: key.clone() });
    assert!(world.run_until_idle(Duration::from_secs(60)));
    world.run(Duration::from_secs(1));
    let year = 365 * 86_400;
    for secs in [year, -2 * year, year] {
        world.clock_step(N0, secs);
        world.run(Duration::from_secs(300));
        assert!(world.holds(N0, &key), "after {secs} s");
    }
}

/// Goal: no node keeps more connections than it may. Method: 40 nodes that may keep 8.
#[test]
fn connection_budget_closes_idle_ones() {
    let mut world = joined(40, Model { connections_max: Some(8), ..Model::calm() });
    let mut most = 0;
    for index in 0..10 {
        world.start_operation(N1, lookup(&format!("{index}")));
        assert!(world.run_until_idle(Duration::from_secs(60)));
        most = most.max(world.connections());
    }
    assert!(most <= 40 * 8 / 2, "{most}");
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: dead ids circulate and enter no result and no table. Method: a world with as many as the public network.
#[test]
fn undialable_ids_are_named_and_never_kept() {
    let model = Model { undialable_per_mille: 260, ..Model::calm() };
    let mut world = joined(60, model);
    assert!(world.nodes().all(|node| !world.undialable(node).is_empty()));
    let id = world.start_operation(N1, lookup("x"));
    assert!(world.run_until_idle(Duration::from_secs(120)));
    let report = world.take_operation(id).expect("it has ended");
    let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
    assert!(found.peers.iter().all(|info| world.find(&info.peer.id, &info.peer.key).is_some()));
    assert!(world.charges(N1).dials_failed > 0, "dead ids were tried");
    for node in world.nodes() {
        let view = world.table(node);
        assert!(view.iter().all(|info| world.find(&info.peer.id, &info.peer.key).is_some()));
    }
}

/// Goal: nodes come and go, and come back. Method: an hour of short sessions, then an end to it.
#[test]
fn churn_moves_nodes_and_ends() {
    let mut model = Model::amino();
    if let Some(sessions) = &mut model.sessions {
        (sessions.stable_secs, sessions.stable_away_secs, sessions.tail_percent) = (1_200, 60, 20);
    }
    let mut world = joined(30, Model { sessions: model.sessions, ..Model::calm() });
    world.churn();
    let mut least = world.oracle().len();
    for _ in 0..60 {
        world.run(Duration::from_secs(60));
        least = least.min(world.oracle().len());
    }
    assert!((5..28).contains(&least), "{least}");
    world.end_churn();
    world.run(Duration::from_secs(60));
    assert_eq!(world.oracle().len(), 30);
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: a copy of a world goes on as the world itself does, and neither disturbs the other. Method: run both with the
/// same calls, then one of them otherwise.
#[test]
#[cfg_attr(feature = "canary-random-map", ignore = "the canary breaks it, as it should")]
fn clone_goes_its_own_way() {
    let mut world = joined(20, Model { loss_per_mille: 20, ..Model::calm() });
    let mut copy = world.clone();
    let mut other = world.clone();
    for world in [&mut world, &mut copy] {
        world.start_operation(N1, Operation::Provide { key: Bytes::from_static(b"k") });
        world.run(Duration::from_secs(700));
    }
    other.run(Duration::from_secs(700));
    assert_eq!(world.trace_hash(), copy.trace_hash());
    assert_ne!(world.trace_hash(), other.trace_hash());
    let held = |world: &World| world.nodes().filter(|node| world.holds(*node, b"k")).count();
    assert_eq!((held(&world), held(&copy), held(&other)), (20, 20, 0));
}

/// Goal: what nodes do is charged by purpose. Method: a settled network on its own, then a lookup.
#[test]
fn charges_tell_upkeep_from_use() {
    let mut world = joined(30, Model::calm());
    let before = world.charges_of_all();
    world.run(Duration::from_secs(1_200));
    let upkeep = world.charges_of_all().since(&before);
    assert!(upkeep.refresh_messages > 0 && upkeep.dials > 0 && upkeep.connected_ms > 0, "{upkeep:?}");
    assert_eq!(upkeep.operation_messages, 0, "nobody used it");
    assert_eq!(upkeep.messages(), upkeep.served_messages, "and none was lost");

    let before = world.charges(N1);
    time(&mut world, N1, lookup("x"));
    let used = world.charges(N1).since(&before);
    let requests = used.operation_messages;
    assert!(requests >= 20, "{used:?}");
    assert_eq!(
        used,
        Charges {
            operation_messages: requests,
            dials: used.dials,
            connected_ms: used.connected_ms,
            served_messages: used.served_messages,
            ..Charges::default()
        }
    );
}

/// Goal: a settled world is one that has run for long. Method: it finds everybody at once, and upkeep is spread: no
/// minute has twice its share.
#[test]
fn settled_world_is_even() {
    let mut world = World::builder().nodes(200).seed(3).settled(true).build().expect("sound");
    let id = world.start_operation(N1, lookup("x"));
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let report = world.take_operation(id).expect("it has ended");
    let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
    let target = kadmos_core::Key::of(b"x");
    let recall = world.oracle().recall(&target, 20, N1, &found.peers);
    assert_eq!(recall.part, recall.whole);
    let mut minutes = Vec::new();
    for _ in 0..10 {
        let before = world.charges_of_all().refresh_messages;
        world.run(Duration::from_secs(60));
        minutes.push(world.charges_of_all().refresh_messages - before);
    }
    let total: u64 = minutes.iter().sum();
    assert!(total > 0 && minutes.iter().all(|minute| *minute < total / 5), "{minutes:?}");
    assert_eq!(world.violations(), [""; 0]);
}
