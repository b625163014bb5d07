//! Health: worlds that are well say so, nodes that are not say why, and each remedy helps.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::health::{Action, Code, Level, Limits};
use kadmos_core::operation::{Operation, Outcome};
use kadmos_core::{Config, Event, HealthConfig};
use kadmos_sim::{Fact, NodeIndex, World};

const MINUTE: Duration = Duration::from_secs(60);

fn n(index: u32) -> NodeIndex {
    NodeIndex::new(index)
}

fn level(world: &World, node: NodeIndex) -> Level {
    world.node(node).health().level()
}

fn codes(world: &World, node: NodeIndex) -> Vec<Code> {
    world.node(node).health().reasons().iter().map(|finding| finding.code).collect()
}

fn lookup(name: &str) -> Operation {
    Operation::ClosestPeers { key: Bytes::copy_from_slice(name.as_bytes()) }
}

/// Health events of all nodes from now on.
fn watch(world: &mut World) -> Rc<RefCell<Vec<(NodeIndex, Event)>>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&seen);
    world.observe(Box::new(move |event| {
        if let Fact::Core(core @ (Event::HealthChanged { .. } | Event::RecoveryBegan { .. })) = event.fact {
            kept.borrow_mut().push((event.node, core.clone()));
        }
        ControlFlow::Continue(())
    }));
    seen
}

fn actions(seen: &Rc<RefCell<Vec<(NodeIndex, Event)>>>, node: NodeIndex) -> Vec<Action> {
    let began = |(by, event): &(NodeIndex, Event)| match event {
        Event::RecoveryBegan { action, .. } if *by == node => Some(*action),
        _ => None,
    };
    seen.borrow().iter().filter_map(began).collect()
}

/// Only the rule that `keep` sets has limits that anything can pass.
fn only(config: &mut Config, keep: impl FnOnce(&mut HealthConfig, &HealthConfig)) {
    let usual = HealthConfig::default();
    let (low, high) = (Limits::new(0, 0), Limits::new(100, 100));
    let health = &mut config.health;
    (health.table, health.lookups, health.requests, health.neighbourhood, health.records) =
        (low, low, low, low, low);
    (health.stale, health.one_network) = (high, high);
    keep(health, &usual);
}

/// Leaves nothing that heals a table but remedies: no refresh and no probe of a silent peer for hours.
fn without_upkeep(config: &mut kadmos_core::Config) {
    let table = &mut config.table;
    (table.refresh_interval, table.probe_after) = (6_000 * MINUTE, 600 * MINUTE);
    table.probe_unproven_after = 600 * MINUTE;
}

/// Goal: no alarm where nothing is wrong. Method: worlds of several sizes, with clients, for an hour; every node
/// is healthy within a minute of its join, and stays so, and nobody begins a remedy.
#[test]
fn healthy_world_is_healthy_everywhere() {
    for (nodes, clients) in [(2, 0), (5, 1), (40, 3)] {
        let mut world =
            World::builder().nodes(nodes).clients(clients).bootstrap(2).seed(11).build().expect("sound");
        assert!(world.run_until_idle(MINUTE));
        world.run(MINUTE);
        for node in world.nodes() {
            assert_eq!(level(&world, node), Level::Healthy, "{node} of {nodes}: {:?}", codes(&world, node));
        }
        let seen = watch(&mut world);
        world.run(60 * MINUTE);
        assert!(seen.borrow().is_empty(), "{nodes}: {:?}", seen.borrow());
        assert_eq!(world.violations(), [""; 0]);
    }
}

/// Goal: a node that is cut off knows it, and knows when it is over. Method: part one node from all others for half an
/// hour, with the public network's settings.
#[test]
fn cut_off_node_becomes_unhealthy_and_well_again() {
    let mut world = World::builder().nodes(60).seed(12).build().expect("sound");
    assert!(world.run_until_idle(MINUTE));
    world.run(2 * MINUTE);
    let others: Vec<_> = world.nodes().filter(|node| *node != n(7)).collect();
    world.partition(&[n(7)], &others);
    world.run(15 * MINUTE);
    assert_eq!(level(&world, n(7)), Level::Unhealthy, "{:?}", codes(&world, n(7)));
    assert!(!codes(&world, n(7)).is_empty());
    world.run(15 * MINUTE);
    assert_eq!(level(&world, n(7)), Level::Unhealthy);
    assert_eq!(level(&world, n(8)), Level::Healthy, "the others miss one of 60");
    world.heal();
    world.run(11 * MINUTE);
    assert_eq!(level(&world, n(7)), Level::Healthy, "{:?}", codes(&world, n(7)));
}

/// Goal: rejoin helps. Method: a node loses its whole table; upkeep's own rejoin and all refreshes are off.
#[test]
fn rejoin_brings_an_empty_table_back() {
    let peers = |recovery: bool| {
        let world = World::builder().nodes(60).seed(13).configure(|config| {
            only(config, |health, usual| health.table = usual.table);
            config.health.recovery = recovery;
            config.table.peers_min = 0;
            without_upkeep(config); // nobody else finds the node meanwhile
        });
        let mut world = world.build().expect("sound");
        assert!(world.run_until_idle(MINUTE));
        world.run(MINUTE);
        let seen = watch(&mut world);
        let known: Vec<_> = world.node(n(7)).table().view().iter().map(|info| info.peer.id).collect();
        known.into_iter().for_each(|id| world.forget_peer(n(7), id));
        world.run(10 * MINUTE);
        assert_eq!(actions(&seen, n(7)).contains(&Action::Rejoin), recovery);
        (world.node(n(7)).table().view().len(), level(&world, n(7)))
    };
    // A few others still ask it now and then, and are met so.
    let (without, ill) = peers(false);
    assert!(ill != Level::Healthy, "{without} {ill:?}");
    let (with, level) = peers(true);
    assert!(
        with > 40 && with >= without + 8 && level == Level::Healthy,
        "{with} {level:?}, {without} without"
    );
}

/// Goal: refreshing drops the dead and finds others. Method: 40 % of the nodes stop; a few lookups touch some of them.
/// Refreshes are hours away, so whatever happens, the remedy did it.
#[test]
fn refresh_drops_the_dead() {
    let dead_share = |recovery: bool| {
        let world = World::builder().nodes(60).seed(14).configure(|config| {
            only(config, |health, usual| health.stale = usual.stale);
            config.health.recovery = recovery;
            without_upkeep(config);
            config.table.failures_max = 3; // so that two lookups leave the dead where they are
        });
        let mut world = world.build().expect("sound");
        assert!(world.run_until_idle(MINUTE));
        world.run(MINUTE);
        let seen = watch(&mut world);
        (20..44).for_each(|index| world.stop(n(index)));
        for name in ["once", "and again"] {
            world.start_operation(n(7), lookup(name));
        }
        assert!(world.run_until_idle(2 * MINUTE));
        world.run(10 * MINUTE);
        assert_eq!(actions(&seen, n(7)).contains(&Action::Refresh), recovery);
        let view = world.node(n(7)).table().view();
        let is_dead = |info: &&kadmos_core::PeerInfo| {
            !world.is_running(world.find(&info.peer.id, &info.peer.key).expect("of this world"))
        };
        100 * view.iter().filter(is_dead).count() / view.len()
    };
    let (without, with) = (dead_share(false), dead_share(true));
    // Whoever sees many fail asks the best of them whether it is cut off, and so drops some of the dead by itself.
    assert!(without >= with + 8 && with <= 2, "{without} % dead without, {with} % with");
}

/// Goal: probing the neighbourhood replaces the dead among the nearest. Method: 10 of the 20 nearest to a node stop;
/// the remedy alone is due.
#[test]
fn probing_the_neighbourhood_completes_it() {
    let live_nearest = |recovery: bool| {
        let world = World::builder().nodes(60).seed(15).configure(|config| {
            only(config, |health, usual| health.neighbourhood = usual.neighbourhood);
            config.health.recovery = recovery;
            without_upkeep(config);
        });
        let mut world = world.build().expect("sound");
        assert!(world.run_until_idle(MINUTE));
        world.run(MINUTE);
        let seen = watch(&mut world);
        let own_key = world.info(n(7)).peer.key;
        let nearest = |world: &World| -> Vec<NodeIndex> {
            let nearest = world.node(n(7)).table().view().closest(&own_key, 20);
            nearest.into_iter().filter_map(|info| world.find(&info.peer.id, &info.peer.key)).collect()
        };
        // Not the bootstrap nodes, which the others join through.
        nearest(&world)
            .into_iter()
            .filter(|node| node.as_u32() > 2)
            .take(10)
            .for_each(|node| world.stop(node));
        // One failure each is forgiven: they stay.
        let id = world.info(n(7)).peer.id;
        world.start_operation(n(7), Operation::ClosestPeers { key: Bytes::copy_from_slice(id.as_bytes()) });
        assert!(world.run_until_idle(2 * MINUTE));
        world.run(10 * MINUTE);
        assert_eq!(actions(&seen, n(7)).contains(&Action::ProbeNeighbourhood), recovery);
        nearest(&world).into_iter().filter(|node| world.is_running(*node)).count()
    };
    let (without, with) = (live_nearest(false), live_nearest(true));
    // As above: some of the dead are dropped without it, and others move up.
    assert!(without <= 16 && with >= 19, "{without} of the 20 nearest live without, {with} with");
}

/// Goal: the advice to publish again comes when it helps. Method: a value is put while its node is cut off; its user
/// puts it again when advised. Another node then reads it.
#[test]
fn advice_to_republish_saves_a_record() {
    let found = |recovery: bool| {
        let world = World::builder().nodes(60).seed(16).configure(|config| config.health.recovery = recovery);
        let mut world = world.build().expect("sound");
        assert!(world.run_until_idle(MINUTE));
        world.run(MINUTE);
        let others: Vec<_> = world.nodes().filter(|node| *node != n(7)).collect();
        world.partition(&[n(7)], &others);
        let key = kadmos_sim::records::key(b"precious");
        let value = kadmos_sim::records::value(&key, 1);
        let put = Operation::PutValue { key: key.clone(), value: value.clone() };
        let failed = world.start_operation(n(7), put.clone());
        assert!(world.run_until_idle(2 * MINUTE));
        let failed = world.take_operation(failed).expect("it has ended");
        assert!(matches!(failed.outcome(), Some(Outcome::PutValue(Err(_)))), "{failed:?}");
        let seen = watch(&mut world);
        world.run(5 * MINUTE);
        assert!(!actions(&seen, n(7)).contains(&Action::AdviseRepublish), "not while it is cut off");
        world.heal();
        for _ in 0..60 {
            world.run(MINUTE / 2);
            if actions(&seen, n(7)).contains(&Action::AdviseRepublish) {
                world.start_operation(n(7), put);
                break;
            }
        }
        world.run(5 * MINUTE);
        if recovery {
            assert_eq!(level(&world, n(7)), Level::Healthy, "{:?}", codes(&world, n(7)));
        }
        world.stop(n(7)); // its own store has the value whatever happens
        let id = world.start_operation(n(8), Operation::GetValue { key, quorum: None });
        assert!(world.run_until_idle(2 * MINUTE));
        let report = world.take_operation(id).expect("it has ended");
        matches!(report.outcome(), Some(Outcome::GetValue(Ok(found))) if found.best.value == value)
    };
    assert!(!found(false) && found(true));
}

/// Goal: remedies are bounded. Method: a node is cut off for six hours; each is begun every 8 minutes at most, once
/// it has not helped three times.
#[test]
fn remedies_are_begun_rarely() {
    let mut world = World::builder().nodes(8).seed(17).build().expect("sound");
    assert!(world.run_until_idle(MINUTE));
    let others: Vec<_> = world.nodes().filter(|node| *node != n(7)).collect();
    world.partition(&[n(7)], &others);
    let seen = watch(&mut world);
    world.run(6 * 60 * MINUTE);
    let began = actions(&seen, n(7));
    for action in Action::ALL {
        let times = began.iter().filter(|it| **it == action).count();
        assert!(times <= 6 * 60 / 8 + 3, "{action:?} {times} times");
    }
    assert!(began.contains(&Action::Rejoin));
}
