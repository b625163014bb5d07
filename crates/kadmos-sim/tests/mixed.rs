//! Worlds in which some servers run go's implementation: both kinds join, find, store and come back, and a seed is still a run.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::{Key, Mode, Operation, Outcome, Update};
use kadmos_sim::checkers::Watch;
use kadmos_sim::{Baseline, Keep, Model, NodeIndex, Ratio, World};

fn go_nodes(world: &World) -> Vec<NodeIndex> {
    let is_go = |node: &NodeIndex| world.baseline(*node).is_some_and(|it| it.baseline() == Baseline::Go);
    world.nodes().filter(is_go).collect()
}

fn mixed(nodes: u32, seed: u64) -> World {
    let builder = World::builder().nodes(nodes).clients(4).seed(seed).go_share(500);
    builder.build().expect("valid settings")
}

fn key(name: &str) -> Bytes {
    Bytes::copy_from_slice(name.as_bytes())
}

#[test]
fn both_kinds_join_and_find_each_other() {
    let mut world = mixed(60, 5);
    let watch = Watch::all(&mut world);
    assert!(world.run_until_idle(Duration::from_secs(120)), "everybody joins");
    for (_, report) in world.take_ended() {
        assert!(report.outcome().is_some_and(|outcome| outcome.fault().is_none()), "{report:?}");
    }
    let go = go_nodes(&world);
    assert!((20..40).contains(&go.len()), "{}", go.len());
    let ours: Vec<_> = world.nodes().filter(|node| !go.contains(node)).collect();
    assert!(ours.contains(&NodeIndex::new(60)), "clients are ours");
    world.run(Duration::from_secs(1_300)); // two refreshes

    let (mut recall, mut asked) = (Ratio::default(), Vec::new());
    for index in 0..40 {
        let node = if index % 2 == 0 { go[index % go.len()] } else { ours[index % ours.len()] };
        let key = key(&format!("looked up {index}"));
        asked.push((world.start_operation(node, Operation::ClosestPeers { key: key.clone() }), key, node));
    }
    assert!(world.run_until_idle(Duration::from_secs(60)));
    for (id, key, node) in asked {
        let report = world.take_operation(id).expect("it ended");
        let Some(Outcome::ClosestPeers(Ok(found))) = report.outcome() else { panic!("{report:?}") };
        recall.add(world.oracle().recall(&Key::of(&key), 20, node, &found.peers));
    }
    assert!(recall.is_at_least_per_mille(990), "{recall}");

    // Each kind finds what the other provides.
    for (provider, seeker) in [(go[3], ours[5]), (ours[7], go[6])] {
        let key = key(&format!("of {provider}"));
        world.start_operation(provider, Operation::Provide { key: key.clone() });
        assert!(world.run_until_idle(Duration::from_secs(60)));
        let id = world.start_operation(seeker, Operation::FindProviders { key, count: 1 });
        assert!(world.run_until_idle(Duration::from_secs(60)));
        let report = world.take_operation(id).expect("it ended");
        let provider = world.info(provider).peer.id;
        let is_it = |update: &Update| matches!(update, Update::Provider(found) if found.peer.id == provider);
        assert!(report.found.iter().any(is_it), "{report:?}");
    }
    // A client is found through whoever it is connected to, go's servers, too.
    let client = world.info(NodeIndex::new(61)).peer.id;
    world.start_operation(
        NodeIndex::new(61),
        Operation::ClosestPeers { key: Bytes::copy_from_slice(client.as_bytes()) },
    );
    world.run(Duration::from_secs(2));
    let id = world.start_operation(go[4], Operation::FindPeer { id: client });
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let report = world.take_operation(id).expect("it ended");
    assert!(
        matches!(report.outcome(), Some(Outcome::FindPeer(Ok(found))) if found.peer.id == client),
        "{report:?}"
    );
    assert_eq!(watch.finish(&mut world), []);
}

#[test]
fn a_mixed_world_is_repeated_by_its_seed_and_charges_both_kinds() {
    let run = |seed| {
        let mut world = mixed(40, seed);
        world.run(Duration::from_secs(3_600));
        assert_eq!(world.violations(), [] as [String; 0]);
        world
    };
    let world = run(1);
    assert_eq!(world.trace_hash(), run(1).trace_hash());
    assert_ne!(world.trace_hash(), run(2).trace_hash());
    let go = go_nodes(&world);
    for node in world.nodes().take(40) {
        let charges = world.charges(node);
        assert!(charges.refresh_messages > 0 && charges.served_messages > 0, "{node}: {charges:?}");
    }
    // Nothing fails in a calm network, so that go pings nobody; whoever is new to it was asked once.
    assert!(go.iter().any(|node| world.charges(*node).probe_messages > 0));
}

#[test]
fn shares_are_drawn_for_newcomers_too_and_kinds_stay_over_restarts() {
    let all_go = World::builder().nodes(10).clients(2).go_share(1_000).build().expect("valid settings");
    assert_eq!(go_nodes(&all_go), (0..10).map(NodeIndex::new).collect::<Vec<_>>());
    let none = World::builder().nodes(10).build().expect("valid settings");
    assert_eq!(go_nodes(&none), []);

    let mut world = mixed(30, 9);
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let before = go_nodes(&world);
    let new: Vec<_> = (0..40).map(|_| world.join_new(Mode::Server).expect("valid settings")).collect();
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let joined = go_nodes(&world).into_iter().filter(|node| new.contains(node)).count();
    assert!((8..32).contains(&joined), "{joined}");
    let all = go_nodes(&world);
    for node in world.nodes().skip(3).step_by(2).collect::<Vec<_>>() {
        world.restart(node, Keep::Records);
    }
    assert!(world.run_until_idle(Duration::from_secs(120)));
    assert_eq!(go_nodes(&world), all);
    assert!(before.iter().all(|node| !world.table(*node).is_empty()));
    assert_eq!(world.violations(), [] as [String; 0]);
}

#[test]
fn half_go_on_a_network_like_the_public_one_comes_and_goes() {
    let model = Model {
        sessions: Model::amino().sessions.map(|it| kadmos_sim::model::Sessions { stable_secs: 1_200, ..it }),
        ..Model::amino()
    };
    let builder = World::builder().nodes(80).seed(3).model(model).go_share(500);
    let mut world = builder.settled(true).build().expect("valid settings");
    let go = go_nodes(&world);
    assert!(go.iter().all(|node| world.table(*node).len() > 30), "an oracle fills their tables, too");
    world.churn();
    world.run(Duration::from_secs(3_600));
    assert_eq!(world.violations(), [] as [String; 0]);
    assert_eq!(go_nodes(&world), go);
    world.end_churn();
    world.run(Duration::from_secs(1_500));
    assert!(world.nodes().all(|node| world.is_running(node) && world.table(node).len() > 20));
}
