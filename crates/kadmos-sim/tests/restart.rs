//! What a node knows of its network, and keeps over a restart.

use std::time::Duration;

use bytes::Bytes;
use kadmos_core::{Memory, Operation, OperationId, Outcome};
use kadmos_sim::{Keep, NodeIndex, OperationReport, OperationState, World};

/// Goal: the size of a network of 10,000 within 10 % (one sigma) after some 16 walks, with an error bar that is true.
/// Method: tables filled by an oracle; every 400th node refreshes its buckets; the root of the mean square of their
/// errors.
#[test]
fn network_size_ten_thousand_nodes_within_a_tenth() {
    const NODES: u32 = 10_000;
    let mut world = World::builder().nodes(NODES).bootstrap(3).settled(true).seed(8).build().expect("sound");
    // Not the first: its own refresh is due in the same instant, and would add its walks.
    let asked: Vec<_> = (100..NODES).step_by(400).map(NodeIndex::new).collect();
    for node in &asked {
        assert_eq!(world.node(*node).network_size(), None, "nobody has looked");
    }
    for node in &asked {
        world.start_operation(*node, Operation::Bootstrap);
    }
    assert!(world.run_until_idle(Duration::from_secs(60)));
    let (mut squares, mut mean, mut within_two) = (0.0f64, 0.0f64, 0);
    for node in &asked {
        let size = world.node(*node).network_size().expect("a refresh has told");
        assert!((5..=18).contains(&size.walks), "{size:?}");
        assert!(size.std_error < u64::from(NODES) / 10, "{size:?}");
        let error = (size.peers as f64 - f64::from(NODES)) / f64::from(NODES);
        squares += error * error / asked.len() as f64;
        mean += error / asked.len() as f64;
        within_two += usize::from(size.peers.abs_diff(NODES.into()) <= 2 * size.std_error);
    }
    assert!(squares.sqrt() < 0.1, "one sigma is {}", squares.sqrt());
    assert!(mean.abs() < 0.04, "biased by {mean}");
    assert!(within_two * 100 >= asked.len() * 85, "{within_two} of {}", asked.len());
}

/// Runs one lookup to its end and returns how long it took, and how many it found.
fn lookup(world: &mut World, node: NodeIndex, name: &str) -> (Duration, usize) {
    let key = Bytes::copy_from_slice(name.as_bytes());
    let id = world.start_operation(node, Operation::ClosestPeers { key });
    ended(world, id)
}

fn ended(world: &mut World, id: OperationId) -> (Duration, usize) {
    let mut left = 120_000;
    while world.operation(id).is_some_and(OperationReport::is_running) {
        world.run(Duration::from_millis(1));
        left -= 1;
        assert!(left > 0, "every operation ends");
    }
    let report = world.take_operation(id).expect("it was started");
    match report.state {
        OperationState::Ended { outcome: Outcome::ClosestPeers(Ok(found)), cost, .. } => {
            (cost.elapsed, found.peers.len())
        }
        state => panic!("{state:?}"),
    }
}

/// Goal: a node whose configured bootstrap peers are all gone is back from memory, and its first lookup takes at most 1.2
/// times as long as a warm one. Method: ten of 300 nodes look something up, are stopped together with the bootstrap nodes
/// for two minutes, and look the same up in the moment in which they start again.
#[test]
fn restart_without_bootstrap_nodes_comes_back_from_memory() {
    let mut world = World::builder().nodes(300).bootstrap(3).settled(true).seed(9).build().expect("sound");
    world.run(Duration::from_secs(120));
    let nodes: Vec<_> = (10..20).map(NodeIndex::new).collect();
    let mut warm = Duration::ZERO;
    for node in &nodes {
        let (took, found) = lookup(&mut world, *node, &format!("key of {node:?}"));
        assert_eq!(found, 20);
        warm += took;
    }
    let memories: Vec<_> = nodes.iter().map(|node| world.memory(*node)).collect();
    for node in (0..3).map(NodeIndex::new).chain(nodes.iter().copied()) {
        world.stop(node);
    }
    world.run(Duration::from_secs(120));
    let mut first = Duration::ZERO;
    for (node, memory) in nodes.iter().zip(memories) {
        // Through the file's form.
        let memory = Memory::decode(&memory.encode()).expect("written by us");
        let kept = memory.peers.len();
        world.restart_with(*node, Keep::Nothing, memory);
        world.run(Duration::from_millis(1)); // it starts
        // Of those beyond a full bucket, which are kept for being near, one may find no room.
        let back = world.node(*node).table().view().len();
        assert!(back * 20 >= kept * 19, "{back} of {kept} are back");
        let (took, found) = lookup(&mut world, *node, &format!("key of {node:?}"));
        assert_eq!(found, 20);
        first += took;
    }
    assert!(first <= warm * 6 / 5, "warm {warm:?}, first {first:?}");
    assert!(world.run_until_idle(Duration::from_secs(120)));
    for node in &nodes {
        let core = world.node(*node);
        let verified = core.table().iter().filter(|(_, _, standing)| standing.is_verified()).count();
        assert!(verified >= 40, "{verified} have answered");
    }
    assert_eq!(world.violations(), [""; 0]);
}
