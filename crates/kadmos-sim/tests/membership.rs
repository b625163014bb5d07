//! Who is in the tables of a whole network: after an outage, under a flood, in churn, and when somebody is new.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kadmos_core::config::Mode;
use kadmos_core::event::Eviction;
use kadmos_core::{Event, Operation, PeerId};
use kadmos_sim::{Charges, Fact, Model, NodeIndex, World};

const MINUTE: Duration = Duration::from_secs(60);

fn table(world: &World, node: NodeIndex) -> BTreeSet<PeerId> {
    world.table(node).iter().map(|info| info.peer.id).collect()
}

fn lookup(world: &mut World, node: NodeIndex, name: u32) {
    let key = Bytes::copy_from_slice(&name.to_be_bytes());
    world.start_operation(node, Operation::ClosestPeers { key });
}

/// Lines of what `node` tells of outages.
fn outages(world: &mut World, node: NodeIndex) -> Rc<RefCell<Vec<String>>> {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let kept = Rc::clone(&lines);
    world.observe(Box::new(move |event| {
        if event.node == node
            && let Fact::Core(Event::OutageSuspected { .. } | Event::OutageOver { .. }) = event.fact
        {
            kept.borrow_mut().push(event.to_string());
        }
        ControlFlow::Continue(())
    }));
    lines
}

/// Peers of running tables that do not serve: in full buckets and in others, each as part and whole.
fn stale(world: &World, nodes: &[NodeIndex]) -> [(usize, usize); 2] {
    let mut shares = [(0, 0); 2];
    for node in nodes.iter().filter(|node| world.is_running(**node)) {
        for (_, bucket) in world.table(*node).buckets() {
            let (part, whole) = &mut shares[usize::from(bucket.len() < 20)];
            let is_stale = |id: &PeerId, key| !world.find(id, key).is_some_and(|peer| world.is_running(peer));
            *part += bucket.iter().filter(|info| is_stale(&info.peer.id, &info.peer.key)).count();
            *whole += bucket.len();
        }
    }
    shares
}

/// Goal: ten minutes without a network cost no peer, and it is noticed at both ends. Method: one node of sixty is cut off
/// from all others and goes on asking.
#[test]
fn outage_of_ten_minutes_keeps_the_table() {
    let mut world = World::builder().nodes(60).seed(11).build().expect("sound");
    assert!(world.run_until_idle(5 * MINUTE));
    world.run(15 * MINUTE);
    let node = NodeIndex::new(30);
    let others: Vec<_> = world.nodes().filter(|other| *other != node).collect();
    let told = outages(&mut world, node);
    let before = table(&world, node);
    assert!(before.len() > 40, "{}", before.len());
    world.partition(&[node], &others);
    for minute in 0..10 {
        lookup(&mut world, node, minute);
        world.run(MINUTE);
    }
    assert_eq!(table(&world, node), before, "nobody was dropped meanwhile");
    world.heal();
    assert_eq!(table(&world, node), before, "and the table is whole at once");
    world.run(2 * MINUTE);
    let told: Vec<_> = told.borrow().iter().map(|line| line.contains("OutageSuspected")).collect();
    assert_eq!(told, [true, false], "suspected once, over once");
    let after = table(&world, node);
    assert!(before.is_subset(&after), "{} of {} left", before.difference(&after).count(), before.len());
    let others_know =
        others.iter().filter(|other| table(&world, **other).contains(&world.info(node).peer.id)).count();
    assert!(others_know > 20, "those who dropped it have met it again: {others_know}");
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: a changed network is seen through at once, not at the next refresh. Method: a third of the network dies; a node
/// that is told that its own network changed has none of them left minutes later, while others still do.
#[test]
fn changed_network_is_verified_within_minutes() {
    let mut world = World::builder().nodes(60).seed(12).build().expect("sound");
    assert!(world.run_until_idle(5 * MINUTE));
    world.run(12 * MINUTE);
    let (told, untold) = (NodeIndex::new(50), NodeIndex::new(51));
    (10..30).for_each(|dead| world.stop(NodeIndex::new(dead)));
    let dead: BTreeSet<_> = (10..30).map(|dead| world.info(NodeIndex::new(dead)).peer.id).collect();
    let left = |world: &World, node| table(world, node).intersection(&dead).count();
    assert!(left(&world, told) > 10 && left(&world, untold) > 10);
    let charges = world.charges(told);
    world.change_network(told);
    world.run(4 * MINUTE);
    assert_eq!(left(&world, told), 0);
    assert!(left(&world, untold) > 0, "it goes on at its own pace");
    let probes = world.charges(told).since(&charges).probe_messages;
    assert!(probes <= 120, "the refresh asks most of them, probes the rest, and the dead twice: {probes}");
}

/// Goal: whoever has many ids but few addresses gets no further than the limits on IP groups, and drives out nobody.
/// Method: 128 nodes at 16 addresses join a network of 96 and ask around, as fast as they come.
#[test]
fn flood_from_16_addresses_stays_within_its_groups() {
    let mut world = World::builder().nodes(96).seed(13).build().expect("sound");
    assert!(world.run_until_idle(5 * MINUTE));
    world.run(25 * MINUTE); // everybody has proven itself
    let honest: Vec<_> = world.nodes().collect();
    let ids: BTreeSet<_> = honest.iter().map(|node| world.info(*node).peer.id).collect();
    let driven_out = Rc::new(RefCell::new(Vec::new()));
    let (noted, count) = (Rc::clone(&driven_out), honest.len() as u32);
    world.observe(Box::new(move |event| {
        if let Fact::Core(Event::PeerEvicted { peer, reason: Eviction::Replaced | Eviction::GroupFull }) =
            event.fact
            && event.node.as_u32() < count
            && ids.contains(&peer.id)
        {
            noted.borrow_mut().push(event.to_string());
        }
        ControlFlow::Continue(())
    }));
    for wave in 0..8 {
        for site in 0..16 {
            world.join_at(site, Mode::Server).expect("as the others");
        }
        world.run(MINUTE);
        for attacker in world.nodes().skip(honest.len() + 16 * wave).take(16).collect::<Vec<_>>() {
            lookup(&mut world, attacker, attacker.as_u32());
        }
    }
    world.run(5 * MINUTE);
    let limit = world.config().table.group_per_table;
    let mut most = 0;
    for node in &honest {
        let mut by_site = [0; 16];
        for info in world.table(*node).iter() {
            let Some(peer) = world.find(&info.peer.id, &info.peer.key).filter(|peer| peer.as_u32() >= count)
            else {
                continue;
            };
            by_site[((peer.as_u32() - count) % 16) as usize] += 1;
        }
        most = most.max(by_site.into_iter().max().unwrap_or(0));
        assert!(by_site.iter().all(|of_site| *of_site <= limit), "{node}: {by_site:?}");
    }
    assert!(most > 0, "they did get in, as far as they may");
    assert_eq!(*driven_out.borrow(), [""; 0]);
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: tables stay true and cheap where nodes come and go. Method: sessions as on the public network for two hours; who
/// is in the tables then, and what each node has sent.
#[test]
fn churn_keeps_tables_true() {
    let model = Model { sessions: Model::amino().sessions, ..Model::calm() };
    let mut world = World::builder().nodes(120).seed(14).model(model).build().expect("sound");
    assert!(world.run_until_idle(5 * MINUTE));
    world.run(10 * MINUTE);
    world.churn();
    let mut shares = [(0, 0); 2];
    let before = world.charges_of_all();
    let began = world.now();
    for round in 0..8 {
        world.run(15 * MINUTE);
        if round >= 2 {
            let nodes: Vec<_> = world.nodes().collect();
            for (sum, now) in shares.iter_mut().zip(stale(&world, &nodes)) {
                *sum = (sum.0 + now.0, sum.1 + now.1);
            }
        }
    }
    let time = world.now().since(began);
    let running = world.nodes().filter(|node| world.is_running(*node)).count() as u64;
    let spent = world.charges_of_all().since(&before);
    let per_hour = |count| Charges::per_node_hour(count, running, time);
    let [full, other] = shares.map(|(part, whole)| (1_000 * part).checked_div(whole).unwrap_or(0));
    println!(
        "stale per mille: {full} in full buckets, {other} elsewhere; {running} running; per node-hour {} messages, of these {} probes and {} refreshes",
        per_hour(spent.messages()),
        per_hour(spent.probe_messages),
        per_hour(spent.refresh_messages),
    );
    assert!(full <= 50 && other <= 100, "stale per mille: {shares:?}");
    assert_eq!(world.violations(), [""; 0]);
}

/// Goal: a newcomer is known to its neighbours within seconds, however full their buckets are. Method: small buckets; five
/// nodes join, and the nodes nearest to each are asked whether they know it.
#[test]
fn newcomer_is_known_to_its_neighbours() {
    for k in [2, 20] {
        let k = std::num::NonZeroUsize::new(k).expect("positive");
        let mut world = World::builder().nodes(80).seed(15).k(k).build().expect("sound");
        assert!(world.run_until_idle(5 * MINUTE));
        world.run(5 * MINUTE);
        for _ in 0..5 {
            let newcomer = world.join_new(Mode::Server).expect("as the others");
            world.run(MINUTE / 2);
            let peer = world.info(newcomer).peer.clone();
            for neighbour in world.oracle().closest(&peer.key, k.get(), newcomer) {
                // It must know the newcomer if that is among its own nearest.
                let key = world.info(neighbour).peer.key;
                if world.oracle().closest(&key, k.get(), neighbour).contains(&newcomer) {
                    assert!(
                        table(&world, neighbour).contains(&peer.id),
                        "k = {k}: {neighbour} of {newcomer}"
                    );
                }
            }
        }
    }
}
