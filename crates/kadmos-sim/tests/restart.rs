//! What a node knows of its network, and keeps over a restart.

use std::time::Duration;

use kadmos_core::Operation;
use kadmos_sim::{NodeIndex, World};

/// Goal: the size of a network of 10,000 within 10 % (one sigma) after at most 16 walks, with an error bar that is true.
/// Method: tables filled by an oracle; every 400th node refreshes its buckets; the root of the mean square of their
/// errors.
#[test]
fn network_size_ten_thousand_nodes_within_a_tenth() {
    const NODES: u32 = 10_000;
    let mut world = World::builder().nodes(NODES).bootstrap(3).settled(true).seed(8).build().expect("sound");
    let asked: Vec<_> = (0..NODES).step_by(400).map(NodeIndex::new).collect();
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
        assert!((5..=16).contains(&size.walks), "{size:?}");
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
