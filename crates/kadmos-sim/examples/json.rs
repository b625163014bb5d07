//! Runs a network and prints its report as one JSON object, without the rest of the program around it:
//! `cargo run --release -p kadmos-sim --example json -- NODES SEED LOOKUPS`.

use std::error::Error;

use kadmos_sim::{RunConfig, run};

fn main() -> Result<(), Box<dyn Error>> {
    let mut config = RunConfig::default();
    let mut numbers = std::env::args().skip(1).map(|argument| argument.parse::<u32>());
    config.nodes = numbers.next().transpose()?.unwrap_or(config.nodes);
    config.seed = numbers.next().transpose()?.map_or(config.seed, u64::from);
    config.lookups = numbers.next().transpose()?.unwrap_or(config.lookups);
    println!("{}", serde_json::to_string(&run(&config, &mut |_| {})?)?);
    Ok(())
}
