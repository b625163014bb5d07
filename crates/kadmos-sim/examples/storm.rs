//! A network that begins at once: everybody joins through three nodes in the same moment. Prints how far it is and what
//! it has cost, until all know their 20 closest: `cargo run --release --example storm -- [NODES [SEED [ROUND_TRIP_PERCENT]]]`.

use std::error::Error;
use std::time::Duration;

use kadmos_sim::{Model, World};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<u32> = std::env::args().skip(1).map(|word| word.parse()).collect::<Result<_, _>>()?;
    let word = |index: usize, default| words.get(index).copied().unwrap_or(default);
    let (nodes, seed, percent) = (word(0, 103), word(1, 1), word(2, 100));
    let model = Model { round_trip_percent: percent, ..Model::calm() };
    let builder = World::builder().nodes(nodes).seed(seed.into()).model(model).start_spacing(Duration::ZERO);
    let mut world = builder.build()?;
    println!("{:>6} {:>6} {:>6} {:>8} {:>8} {:>6}", "ms", "whole", "table", "dials", "requests", "links");
    for step in 1..=120u32 {
        world.run(Duration::from_millis(100));
        let closest = |node| world.oracle().closest(&world.info(node).peer.key, 20, node);
        let knows = |node| {
            closest(node).iter().all(|peer| world.table(node).get(&world.info(*peer).peer.id).is_some())
        };
        let whole = world.nodes().filter(|node| knows(*node)).count();
        let entries: usize = world.nodes().map(|node| world.table(node).len()).sum();
        let counters = world.counters();
        if whole == nodes as usize || step % 2 == 0 {
            println!(
                "{:>6} {whole:>6} {:>6} {:>8} {:>8} {:>6}",
                step * 100,
                entries / nodes as usize,
                counters.dials,
                counters.requests,
                world.connections()
            );
        }
        if whole == nodes as usize {
            return Ok(());
        }
    }
    Err("not whole in 12 s".into())
}
